//! The user's own terminal: raw while a job has the keyboard, and always given back as it was.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::pty::Winsize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::sys::terminal::window_size;

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
        Ok(Outside {
            keyboard: first([stdin, stdout, stderr])?,
            screen: first([stdout, stderr, stdin])?,
            before: None,
        })
    }

    /// Makes it raw if its keyboard is ours (we are in its foreground) and it is not so already.
    pub(crate) fn take(&mut self) -> nix::Result<()> {
        if self.before.is_some() || tcgetpgrp(&self.keyboard).is_ok_and(|foreground| foreground != getpgrp())
        {
            return Ok(());
        }
        let before = tcgetattr(&self.keyboard)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&self.keyboard, SetArg::TCSADRAIN, &raw)?;
        self.before = Some(before);
        Ok(())
    }

    /// Gives it back as it was.
    pub(crate) fn give_back(&mut self) {
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(&self.keyboard, SetArg::TCSADRAIN, &before);
        }
    }

    /// Whether the keyboard is ours.
    pub(crate) fn is_taken(&self) -> bool {
        self.before.is_some()
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
