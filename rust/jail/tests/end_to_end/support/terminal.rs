//! A job in a terminal: the test is the person in front of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::running::end_of;
use super::{Captured, Jail, PATIENCE, find};

/// A pseudo-terminal with a program that leads its session.
pub(crate) struct Terminal {
    screen: Captured,
    keyboard: File,
    /// Kept open so that the terminal's state can be read after the program has left it.
    line: File,
    leader: Pid,
    end: Receiver<ExitStatus>,
    ended: bool,
    position: usize,
    secrets: Vec<String>,
    _place: Arc<TempDir>,
}

impl Terminal {
    /// Starts `command` on a terminal of 24 lines and 80 columns. `setsid --ctty` makes it the session's leader, which
    /// in Rust takes code between fork and exec.
    #[track_caller]
    pub(super) fn start(command: &Command, jail: &Jail) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let (keyboard, line) = (File::from(pty.master), File::from(pty.slave));
        let mut leader = Command::new(find("setsid").expect("setsid(1) of util-linux"));
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        leader.current_dir(command.get_current_dir().unwrap());
        let stream = || Stdio::from(line.try_clone().unwrap());
        leader.stdin(stream()).stdout(stream()).stderr(stream());
        let child = leader.spawn().unwrap();
        // The command holds the terminal's other side; with it gone, the end of the program is the end of its output.
        drop(leader);
        Terminal {
            screen: Captured::of(keyboard.try_clone().unwrap()),
            keyboard,
            line,
            leader: Pid::from_raw(child.id().try_into().unwrap()),
            end: end_of(child),
            ended: false,
            position: 0,
            secrets: jail.secrets().to_vec(),
            _place: jail.keep(),
        }
    }

    /// Presses keys; `\x03` is ^C, `\x1a` is ^Z.
    #[track_caller]
    pub(crate) fn types(&mut self, keys: &str) -> &mut Terminal {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Waits until the screen has shown `text`, after what was waited for before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Terminal {
        self.position = self.screen.try_wait_for(text, self.position).unwrap_or_else(|why| panic!("{why}"));
        self
    }

    /// Changes the size of the window.
    #[track_caller]
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) -> &mut Terminal {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.keyboard, size).unwrap();
        self
    }

    /// Whether the terminal edits lines and echoes keys, as it does before and after every program.
    pub(crate) fn is_cooked(&self) -> bool {
        let flags = tcgetattr(self.line.as_fd()).unwrap().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Everything that came to the screen.
    pub(crate) fn screen(&self) -> Vec<u8> {
        self.screen.so_far()
    }

    /// Waits for the end; the exit code.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> i32 {
        let Ok(status) = self.end.recv_timeout(PATIENCE) else {
            panic!(
                "did not end in {PATIENCE:?}; the screen:\n{}",
                String::from_utf8_lossy(&self.screen.so_far())
            );
        };
        self.ended = true;
        let screen = String::from_utf8_lossy(&self.screen.so_far()).into_owned();
        assert!(!screen.contains("panicked at"), "the launcher panicked:\n{screen}");
        assert!(!self.secrets.iter().any(|secret| screen.contains(secret)), "a secret is on the screen");
        status.code().unwrap_or_else(|| panic!("ended by {status}; the screen:\n{screen}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.leader, Signal::SIGKILL);
        }
    }
}
