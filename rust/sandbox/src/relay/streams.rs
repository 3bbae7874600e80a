//! The job's standard streams, told to the far end and made again there.

use std::io::{IsTerminal, pipe};
use std::os::fd::{AsFd, OwnedFd};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::stat::fstat;
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use serde::{Deserialize, Serialize};

use super::lanes::{End, Lanes};
use crate::backend::Error;
use crate::sys::terminal;

/// Lanes that are there from the beginning; those of connections have higher numbers.
pub(super) const STDIN: u32 = 1;
pub(super) const STDOUT: u32 = 2;
pub(super) const STDERR: u32 = 3;
pub(super) const TERMINAL: u32 = 4;
pub(super) const FIRST_CONNECTION: u32 = 16;

/// What the streams are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Streams {
    /// Which of them are a terminal.
    terminals: [bool; 3],
    /// Whether output and errors go to the same place, and must stay in order.
    is_one: bool,
    /// How that terminal is set up.
    setting: Option<Setting>,
}

/// How a terminal is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Setting {
    flags: [u64; 4],
    characters: Vec<u8>,
    size: Size,
}

/// A window's rows and columns.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Size(u16, u16);

impl Size {
    /// Of a terminal.
    pub(super) fn of(terminal: &impl AsFd) -> nix::Result<Size> {
        terminal::window_size(terminal.as_fd()).map(|size| Size(size.ws_row, size.ws_col))
    }

    /// Gives it to a terminal; whoever is in its foreground is told.
    pub(super) fn give(self, terminal: &impl AsFd) -> nix::Result<()> {
        let Size(ws_row, ws_col) = self;
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        terminal::set_window_size(terminal.as_fd(), size)
    }
}

impl Streams {
    /// Looks at the launcher's.
    pub(super) fn of(streams: &[OwnedFd; 3]) -> Result<Streams, Error> {
        let terminals = streams.each_ref().map(IsTerminal::is_terminal);
        let [_, stdout, stderr] = streams.each_ref().map(fstat);
        let is_one = matches!((stdout, stderr), (Ok(out), Ok(err)) if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino));
        let terminal = streams.iter().find(|stream| stream.is_terminal());
        let setting = terminal.map(Setting::of).transpose().map_err(|os| step("look at it", os))?;
        Ok(Streams { terminals, is_one, setting })
    }

    /// Whether one of them is a terminal.
    pub(super) fn has_terminal(&self) -> bool {
        self.setting.is_some()
    }

    /// Joins the launcher's own to their lanes.
    pub(super) fn join(&self, lanes: &mut Lanes, streams: [OwnedFd; 3]) {
        let [is_in, is_out, is_err] = self.terminals;
        let [stdin, stdout, stderr] = streams;
        if !is_in {
            lanes.join(STDIN, End::Borrowed, Some(stdin), None);
        }
        if !is_out {
            lanes.join(STDOUT, End::Borrowed, None, Some(stdout));
        }
        if !is_err && (is_out || !self.is_one) {
            lanes.join(STDERR, End::Borrowed, None, Some(stderr));
        }
    }

    /// Makes their like for the stage, each joined to its lane; with a terminal also the other side of it, without which it
    /// would have hung up before the stage has looked at it.
    pub(super) fn make(&self, lanes: &mut Lanes) -> Result<([OwnedFd; 3], Option<OwnedFd>), Error> {
        let [is_in, is_out, is_err] = self.terminals;
        let stand_in =
            self.setting.as_ref().map(Setting::make).transpose().map_err(|os| step("make it", os))?;
        let failed = |error: std::io::Error| Error::StartStage { os: error.into() };
        let mut make = |is_terminal: bool, lane: u32| -> std::io::Result<OwnedFd> {
            if let Some(stand_in) = stand_in.as_ref().filter(|_| is_terminal) {
                return stand_in.slave.try_clone();
            }
            let (reader, writer) = pipe()?;
            if lane == STDIN {
                lanes.join(lane, End::Pipe, None, Some(writer.into()));
                return Ok(reader.into());
            }
            lanes.join(lane, End::Pipe, Some(reader.into()), None);
            Ok(writer.into())
        };
        let stdin = make(is_in, STDIN).map_err(failed)?;
        let stdout = make(is_out, STDOUT).map_err(failed)?;
        let stderr = if !is_err && !is_out && self.is_one {
            stdout.try_clone().map_err(failed)?
        } else {
            make(is_err, STDERR).map_err(failed)?
        };
        Ok(([stdin, stdout, stderr], stand_in.map(|pair| pair.master)))
    }
}

impl Setting {
    fn of(terminal: &OwnedFd) -> nix::Result<Setting> {
        let termios = tcgetattr(terminal)?;
        let flags = [
            u64::from(termios.input_flags.bits()),
            u64::from(termios.output_flags.bits()),
            u64::from(termios.control_flags.bits()),
            u64::from(termios.local_flags.bits()),
        ];
        let size = Size::of(terminal).unwrap_or(Size(0, 0));
        Ok(Setting { flags, characters: termios.control_chars.to_vec(), size })
    }

    /// A terminal like it, from which the stage takes how to set up the job's own.
    fn make(&self) -> nix::Result<OpenptyResult> {
        let pair = openpty(None, None)?;
        let mut termios = tcgetattr(&pair.slave)?;
        let [input, output, control, local] = self.flags.map(|flags| flags as u32);
        termios.input_flags = InputFlags::from_bits_truncate(input);
        termios.output_flags = OutputFlags::from_bits_truncate(output);
        termios.control_flags = ControlFlags::from_bits_truncate(control);
        termios.local_flags = LocalFlags::from_bits_truncate(local);
        for (ours, theirs) in termios.control_chars.iter_mut().zip(&self.characters) {
            *ours = *theirs;
        }
        tcsetattr(&pair.slave, SetArg::TCSANOW, &termios)?;
        self.size.give(&pair.slave)?;
        Ok(pair)
    }
}

/// A terminal for the launcher in place of the job's: its bytes pass unchanged, its size is ours to read.
pub(super) fn launchers_terminal() -> Result<OpenptyResult, Error> {
    let make = || -> nix::Result<OpenptyResult> {
        let pair = openpty(None, None)?;
        let mut termios: Termios = tcgetattr(&pair.slave)?;
        cfmakeraw(&mut termios);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &termios)?;
        // Its session is ours: we are told of a new size.
        terminal::take_as_controlling(pair.slave.as_fd())?;
        Ok(pair)
    };
    make().map_err(|os| step("make one for the launcher", os))
}

fn step(step: &str, os: nix::errno::Errno) -> Error {
    Error::Terminal { step: step.to_owned(), os: os.into() }
}
