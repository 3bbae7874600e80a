//! The user's own terminal: raw while a job has the keyboard, and always given back as it was.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::pty::Winsize;
use nix::sys::stat::{Mode, fstat};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, ttyname};

use crate::sys::terminal::window_size;

/// The keyboard that is taken, and its settings from before, for a panic: that ends the program and drops nothing.
static TAKEN: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// The terminal at which the user sits.
#[derive(Debug)]
pub(crate) struct Outside {
    keyboard: OwnedFd,
    screen: OwnedFd,
    /// Its settings before they were changed; `None` while they are not.
    before: Option<Termios>,
}

impl Outside {
    /// The terminal among our standard streams. In `x | jail less` the keyboard is behind standard output, which a
    /// shell opens for both directions.
    pub(crate) fn open() -> std::io::Result<Outside> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let (stdin, stdout, stderr) = (stdin.as_fd(), stdout.as_fd(), stderr.as_fd());
        let first = |streams: [BorrowedFd<'_>; 3]| {
            let terminal = streams.into_iter().find(IsTerminal::is_terminal);
            terminal.ok_or(Errno::ENOTTY)?.try_clone_to_owned()
        };
        let keyboard = first([stdin, stdout, stderr])?;
        Ok(Outside {
            keyboard: opened_again(&keyboard).unwrap_or(keyboard),
            screen: first([stdout, stderr, stdin])?,
            before: None,
        })
    }

    /// Makes it raw if its keyboard is ours (we are in its foreground), also if somebody has changed its settings since.
    pub(crate) fn take(&mut self) -> nix::Result<()> {
        if tcgetpgrp(&self.keyboard).is_ok_and(|foreground| foreground != getpgrp()) {
            // The shell's own settings are in force: there is nothing to give back.
            self.forget();
            return Ok(());
        }
        let before = match self.before.take() {
            Some(before) => before,
            None => tcgetattr(&self.keyboard)?,
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if let (Ok(mut taken), Ok(keyboard)) = (TAKEN.lock(), self.keyboard.try_clone()) {
            *taken = Some((keyboard, before.clone()));
            give_back_in_panics();
        }
        // At once: a terminal that nobody drains would be waited for without end.
        tcsetattr(&self.keyboard, SetArg::TCSANOW, &raw)?;
        self.before = Some(before);
        Ok(())
    }

    /// Gives it back as it was.
    pub(crate) fn give_back(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.keyboard, SetArg::TCSANOW, before);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.before = None;
        if let Ok(mut taken) = TAKEN.lock() {
            *taken = None;
        }
    }

    /// Whether the keyboard is ours.
    pub(crate) fn is_taken(&self) -> bool {
        self.before.is_some()
    }

    /// Its settings as they were before it was taken.
    pub(crate) fn settings(&self) -> Option<&Termios> {
        self.before.as_ref()
    }

    /// Where the user types.
    pub(crate) fn keyboard(&self) -> BorrowedFd<'_> {
        self.keyboard.as_fd()
    }

    /// Where the user reads.
    pub(crate) fn screen(&self) -> BorrowedFd<'_> {
        self.screen.as_fd()
    }

    /// The size of its window.
    pub(crate) fn size(&self) -> nix::Result<Winsize> {
        window_size(self.keyboard.as_fd())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The same terminal with an open file description of our own, which does not block: another program (`| less`) may read
/// the key that we were told of. A terminal of another user's (`su`) cannot be opened.
fn opened_again(terminal: &OwnedFd) -> Option<OwnedFd> {
    let path = ttyname(terminal).ok()?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = open(&path, flags, Mode::empty()).ok()?;
    let (same, found) = (fstat(terminal).ok()?, fstat(&opened).ok()?);
    ((same.st_dev, same.st_ino, same.st_rdev) == (found.st_dev, found.st_ino, found.st_rdev))
        .then_some(opened)
}

fn give_back_in_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Without waiting: the panic may have come while it was held.
            if let Ok(mut taken) = TAKEN.try_lock()
                && let Some((keyboard, before)) = taken.take()
            {
                let _ = tcsetattr(&keyboard, SetArg::TCSANOW, &before);
            }
            next(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::termios::LocalFlags;

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let keyboard = terminal.slave.try_clone().unwrap();
        let mut outside = Outside { keyboard, screen: terminal.slave.try_clone().unwrap(), before: None };
        let is_raw = || !tcgetattr(&terminal.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
        outside.take().unwrap();
        assert!(is_raw());
        assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        assert!(!is_raw());
    }
}
