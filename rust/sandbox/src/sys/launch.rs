//! Starting a job as a process like any other: a session of its own, limits, no descriptor but the standard streams.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;

/// What the new process does before it becomes the program.
pub(crate) struct Before {
    /// The standard stream that is its controlling terminal.
    pub(crate) terminal: Option<RawFd>,
    /// Soft and hard limits.
    pub(crate) limits: Vec<(Limit, u64)>,
}

/// What the kernel limits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The size of core files.
    CoreFiles,
    /// The processes of the user.
    Processes,
    /// The seconds of processor time that one process may take.
    CpuSeconds,
}

/// Makes the command start so.
#[expect(
    clippy::disallowed_methods,
    reason = "three system calls and no more: macOS has no stage, as there is nothing to build before the command"
)]
pub(crate) fn prepare(command: &mut Command, before: Before) {
    // SAFETY: between fork and exec of a program with threads only async-signal-safe functions may be called. setsid,
    // ioctl and setrlimit are bare system calls, nothing is allocated or freed, no lock is taken.
    // JUSTIFICATION: std has no safe way to a session of one's own.
    unsafe {
        command.pre_exec(move || begin(&before));
    }
}

fn begin(before: &Before) -> io::Result<()> {
    nix::unistd::setsid()?;
    if let Some(terminal) = before.terminal {
        // SAFETY: takes numbers.
        // JUSTIFICATION: an ioctl has no safe form.
        Errno::result(unsafe { libc::ioctl(terminal, libc::TIOCSCTTY as _, 0) })?;
    }
    for (limit, value) in &before.limits {
        set(*limit, *value)?;
    }
    Ok(())
}

fn set(limit: Limit, value: u64) -> nix::Result<()> {
    let resource = match limit {
        Limit::CoreFiles => libc::RLIMIT_CORE,
        Limit::Processes => libc::RLIMIT_NPROC,
        Limit::CpuSeconds => libc::RLIMIT_CPU,
    };
    let both = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads one rlimit.
    // JUSTIFICATION: nix does not have the limit on processes on every system.
    match Errno::result(unsafe { libc::setrlimit(resource, &raw const both) }) {
        // The host's own limit is lower already.
        Err(Errno::EPERM | Errno::EINVAL) if matches!(limit, Limit::Processes) => Ok(()),
        result => result.map(drop),
    }
}

/// Marks every descriptor beyond the standard streams close-on-exec: those that this process has inherited itself
/// would go on to the job.
pub(crate) fn keep_descriptors() -> io::Result<()> {
    for entry in std::fs::read_dir("/dev/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if number > 2 {
            // SAFETY: takes numbers. The descriptor of the listing itself is closed or marked, whichever comes first.
            // JUSTIFICATION: the descriptors are not ours to own, and the safe form borrows an owned one.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}
