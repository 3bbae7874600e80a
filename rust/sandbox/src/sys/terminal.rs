//! Terminals: the requests that have no safe wrapper.

use std::os::fd::{AsRawFd, BorrowedFd};
#[cfg(target_os = "linux")]
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::pty::Winsize;

/// The size of a terminal's window.
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> nix::Result<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize.
    // JUSTIFICATION: an ioctl has no safe form.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).map(|_| size)
}

/// Sets the size of a terminal's window; its foreground processes get SIGWINCH if it changed.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: Winsize) -> nix::Result<()> {
    // SAFETY: the kernel reads one winsize.
    // JUSTIFICATION: an ioctl has no safe form.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result).map(drop)
}

/// Makes a terminal the controlling one of this session, whose leader the caller is.
#[cfg(target_os = "linux")]
pub(crate) fn take_as_controlling(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: takes a number.
    // JUSTIFICATION: an ioctl has no safe form.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(result).map(drop)
}

/// Unlocks the slave of a pseudo-terminal and opens it, without a path.
#[cfg(target_os = "linux")]
pub(crate) fn open_slave(master: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    // JUSTIFICATION: an ioctl has no safe form.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes open flags, returns a new descriptor.
    // JUSTIFICATION: an ioctl has no safe form, and a path could name another instance of devpts.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    // JUSTIFICATION: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
