//! File descriptors: passing them to another process, closing what must not be inherited.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg, sendmsg};

/// How many file descriptors one message may carry; the kernel's own bound is 253.
pub(crate) const FDS_PER_MESSAGE: usize = 200;

/// Sends one message with file descriptors. Without `wait` it fails with EAGAIN while the peer's queue is full.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> nix::Result<()> {
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    flags.set(MsgFlags::MSG_DONTWAIT, !wait);
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one message with its file descriptors, which are close-on-exec; no bytes means the peer is gone.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: bool,
) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; FDS_PER_MESSAGE]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                for fd in raw {
                    // SAFETY: the kernel has just installed this descriptor in our table; nobody else knows it.
                    // JUSTIFICATION: nix hands received descriptors out as plain numbers.
                    fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        return Ok((message.bytes, fds));
    }
}

/// Accepts a connection.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    // JUSTIFICATION: nix hands an accepted socket out as a plain number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Marks every descriptor from `first` on close-on-exec, so that a program started next inherits none of them.
pub(crate) fn close_on_exec_from(first: u32) -> nix::Result<()> {
    // SAFETY: takes three numbers, touches no memory of ours; no descriptor is closed before exec.
    // JUSTIFICATION: nix has no wrapper, and walking /proc/self/fd would need a /proc.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).map(drop)
}

/// Takes over the descriptors that systemd passes to a service: this many, from 3 on. Only the first call gets them.
pub(crate) fn take_passed(count: u16) -> Vec<OwnedFd> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static TAKEN: AtomicBool = AtomicBool::new(false);
    const FIRST: RawFd = 3;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let passed = FIRST..FIRST + RawFd::from(count);
    // A number that is no descriptor is left alone.
    let open = passed.filter(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok());
    // SAFETY: systemd opened them for this process before it started, nobody else here has taken them over (we do so
    // once), and each was seen to be open.
    // JUSTIFICATION: the protocol passes descriptors as plain numbers.
    open.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}
