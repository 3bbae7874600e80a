//! What is typed goes to the job, what the job writes goes to the user, filtered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::unistd::{read, write};

use super::filter::Filter;
use super::left::Left;
use super::outside::Outside;
use crate::sys::terminal::set_window_size;

/// One read's worth.
const CHUNK: usize = 16 * 1024;

/// Both terminals, and what is on its way between them.
#[derive(Debug)]
pub(crate) struct Relay {
    outside: Outside,
    master: OwnedFd,
    filter: Filter,
    /// What the job leaves in force on the screen.
    left: Left,
    /// Typed, and not yet taken by the job.
    typed: Vec<u8>,
    /// The keyboard has hung up.
    deaf: bool,
    /// The screen has.
    blind: bool,
    /// The job's side has.
    mute: bool,
}

impl Relay {
    /// Joins the two.
    pub(crate) fn new(outside: Outside, master: OwnedFd) -> std::io::Result<Relay> {
        // A job that does not read must not stop us; this end of the pseudo-terminal is ours alone.
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR))?;
        let mut relay = Relay {
            outside,
            master,
            filter: Filter::default(),
            left: Left::default(),
            typed: Vec::new(),
            deaf: false,
            blind: false,
            mute: false,
        };
        relay.resume();
        Ok(relay)
    }

    /// Takes the keyboard (again) and tells the job how large the window is.
    pub(crate) fn resume(&mut self) {
        // Without the keyboard the job goes on in the background.
        let _ = self.outside.take();
        self.resize();
    }

    /// Leaves the user's terminal as it was.
    pub(crate) fn suspend(&mut self) {
        self.outside.give_back();
    }

    /// The window may have another size.
    pub(crate) fn resize(&self) {
        if let Ok(size) = self.outside.size() {
            let _ = set_window_size(self.master.as_fd(), size);
        }
    }

    /// What to wait for at the keyboard.
    pub(crate) fn keyboard(&self) -> (BorrowedFd<'_>, PollFlags) {
        // What was typed and not taken is the bound on what is read ahead.
        let listens = self.outside.is_taken() && self.typed.is_empty();
        let flags = if listens { PollFlags::POLLIN } else { PollFlags::empty() };
        (self.outside.keyboard(), flags)
    }

    /// What to wait for at the job's side; `None` when nobody there has it open any more.
    pub(crate) fn job(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !self.typed.is_empty());
        (!self.mute).then_some((self.master.as_fd(), flags))
    }

    /// Moves what can be moved; whether the user's side has hung up.
    pub(crate) fn turn(&mut self, keyboard: PollFlags, job: PollFlags) -> bool {
        if keyboard.contains(PollFlags::POLLIN) {
            self.read_keyboard();
        } else if keyboard.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            self.deaf = true;
        }
        if !self.typed.is_empty() {
            self.type_on();
        }
        if job.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.show();
        }
        self.deaf
    }

    /// Shows what the job has written before its end, and takes back what it has set: what the launcher has to say is
    /// to be seen.
    pub(crate) fn finish(mut self) {
        while !self.mute && self.show() {}
        let mut last = Vec::new();
        self.filter.finish(&mut last);
        last.extend(self.left.reset());
        self.write_out(&last);
    }

    fn read_keyboard(&mut self) {
        let mut buffer = [0; CHUNK];
        match read(self.outside.keyboard(), &mut buffer) {
            Ok(0) => self.deaf = true,
            Ok(length) => self.typed.extend(buffer.iter().take(length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.deaf = true,
        }
    }

    fn type_on(&mut self) {
        match write(&self.master, &self.typed) {
            Ok(length) => drop(self.typed.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// Whether there was something to show.
    fn show(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        match read(&self.master, &mut buffer) {
            Ok(length) if length > 0 => {
                let mut output = Vec::with_capacity(length);
                self.filter.pass(buffer.get(..length).unwrap_or_default(), &mut output);
                self.left.note(&output);
                self.write_out(&output);
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            // EIO: no process of the job has its terminal open any more.
            Ok(_) | Err(_) => {
                self.mute = true;
                false
            }
        }
    }

    fn write_out(&mut self, mut output: &[u8]) {
        while !output.is_empty() && !self.blind {
            match write(self.outside.screen(), output) {
                Ok(length) => output = output.get(length..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(_) => self.blind = true,
            }
        }
    }
}
