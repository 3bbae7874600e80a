//! Which network namespace a socket is in.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// The kernel's number for the network namespace of a socket; never given twice while the kernel runs (Linux 5.14).
pub(crate) fn namespace_cookie(socket: &impl AsFd) -> nix::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to live variables, and `length` is the size of the one that is written to.
    // JUSTIFICATION: nix does not know this option.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| cookie)
}
