//! Processes: fork for the stage, pidfds.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

/// Says that this process has one thread. Only the stage's entry point makes one: there a fork may run any code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingleThreaded(());

impl SingleThreaded {
    /// Looks at the number of threads; `None` if there are more than one.
    pub(crate) fn check() -> Option<SingleThreaded> {
        let tasks = std::fs::read_dir("/proc/self/task").ok()?;
        (tasks.count() == 1).then_some(SingleThreaded(()))
    }
}

/// Where a process finds itself after a fork.
pub(crate) enum Forked {
    /// In the new process.
    Child,
    /// In the old one.
    Parent(Pid),
}

/// Forks.
pub(crate) fn fork(_proof: SingleThreaded) -> nix::Result<Forked> {
    // SAFETY: the process has one thread, so that no lock can be held by a thread that the child lacks.
    // JUSTIFICATION: pid namespaces begin with a child, and fork has no safe form.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Forked::Child),
        ForkResult::Parent { child } => Ok(Forked::Parent(child)),
    }
}

/// A descriptor that becomes readable when the process has ended.
pub(crate) fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: takes two numbers and returns a new descriptor.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(result)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us.
    // JUSTIFICATION: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process of a descriptor that [`pidfd_open`] made.
pub(crate) fn pidfd_send_signal(process: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: with a null pointer the kernel fills the details in itself; the rest are numbers.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as libc::c_int, no_details, 0)
    };
    Errno::result(result).map(drop)
}
