//! What a job may take of things that the kernel counts for a user or for the machine, not for a process: the
//! operator's other programs need some of each.
//!
//! | thing | counted for | bound by |
//! |---|---|---|
//! | processes | user | RLIMIT_NPROC |
//! | queued signals, POSIX timers | user | RLIMIT_SIGPENDING, a quarter of the operator's |
//! | POSIX message queues | user | RLIMIT_MSGQUEUE, half of the operator's |
//! | inotify instances and watches | user, in each user namespace | the limits of the job's own user namespace |
//! | descriptors on their way through sockets | user | RLIMIT_NOFILE, half of the operator's |
//! | asynchronous I/O (`io_setup`) | machine | not offered at all ([`filter`](super::filter)) |
//!
//! A container of an engine with root's rights has no user namespace of its own: there inotify is not bounded.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::stat::Mode;

use crate::backend::Error;

/// The size limit of core files, in bytes. At 1 the kernel writes no file, which would be larger, and starts no handler
/// (`kernel.core_pattern` with a pipe), which it does at 0: such a handler is a program of the host, often run by root,
/// that reads what the job had in memory.
const CORE_BYTES: rlim_t = 1;
/// More descriptors than any job of one machine needs. The operator's programs fail to pass descriptors to each other
/// when more of them are on their way than one program may have open.
const MOST_OPEN_FILES: rlim_t = 65_536;
/// A limit that is not above this is not halved.
const FEW_OPEN_FILES: rlim_t = 8192;
/// Enough for any program, where the operator has no limit.
const MOST_SIGNALS: rlim_t = 65_536;

/// Limits in the job's user namespace: the name there, the host's own, and the divisor for the job's share.
const NAMESPACE_LIMITS: [(&str, &str, u64); 2] = [
    ("sys/user/max_inotify_instances", "sys/fs/inotify/max_user_instances", 4),
    ("sys/user/max_inotify_watches", "sys/fs/inotify/max_user_watches", 2),
];
/// However few the host has, a job gets some.
const FEWEST: u64 = 16;

/// Turns core files and core handlers off for this process and what it starts. Root does it before it enters the job's
/// user namespace: only there the limit can be raised again after the operator has set it to 0.
pub(crate) fn turn_core_files_off() -> Result<(), Error> {
    match setrlimit(Resource::RLIMIT_CORE, CORE_BYTES, CORE_BYTES) {
        // The operator's limit is 0: a core handler of the host is started, as for every other program of theirs.
        Err(Errno::EPERM) => Ok(()),
        other => other.map_err(|os| failed("core files", os)),
    }
}

/// Sets the limits of the job's processes. `open_files` is the operator's soft and hard limit; `processes` is `None`
/// where somebody else counts them.
pub(crate) fn set(open_files: (rlim_t, rlim_t), processes: Option<rlim_t>) -> Result<(), Error> {
    let (soft, hard) = open_files;
    let hard = most_open_files(hard);
    set_one("open files", Resource::RLIMIT_NOFILE, soft.min(hard), hard)?;
    if let Some(most) = processes {
        lower("processes", Resource::RLIMIT_NPROC, |_| most)?;
    }
    lower("pending signals", Resource::RLIMIT_SIGPENDING, |hard| (hard / 4).min(MOST_SIGNALS))?;
    lower("message queues", Resource::RLIMIT_MSGQUEUE, |hard| hard / 2)
}

/// Sets the limits of the job's user namespace, through the `/proc` that the job will see, before it becomes read-only.
pub(crate) fn set_in_user_namespace(proc: &OwnedFd) -> Result<(), Error> {
    for (name, of_host, divisor) in NAMESPACE_LIMITS {
        let set = share(proc, of_host, divisor).and_then(|share| {
            let file = openat(proc, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            File::from(file).write_all(share.to_string().as_bytes())
        });
        match set {
            // A kernel without inotify, or without these limits (Linux 4.9 and earlier).
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(|error| Error::Limit { what: name.to_owned(), os: error.into() })?,
        }
    }
    Ok(())
}

/// The job's share of a limit of the host.
fn share(proc: impl AsFd, of_host: &str, divisor: u64) -> std::io::Result<u64> {
    let file = openat(proc, of_host, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(file).take(32).read_to_string(&mut text)?;
    let all = text.trim().parse::<u64>().map_err(std::io::Error::other)?;
    Ok((all / divisor).max(FEWEST))
}

fn most_open_files(hard: rlim_t) -> rlim_t {
    if hard <= FEW_OPEN_FILES { hard } else { (hard / 2).clamp(FEW_OPEN_FILES, MOST_OPEN_FILES) }
}

/// Lowers a limit, soft and hard, to what `share` says of the hard one; a limit that is lower already stays.
fn lower(what: &str, resource: Resource, share: impl Fn(rlim_t) -> rlim_t) -> Result<(), Error> {
    let (_, hard) = getrlimit(resource).map_err(|os| failed(what, os))?;
    let most = share(hard).min(hard);
    set_one(what, resource, most, most)
}

fn set_one(what: &str, resource: Resource, soft: rlim_t, hard: rlim_t) -> Result<(), Error> {
    setrlimit(resource, soft, hard).map_err(|os| failed(what, os))
}

fn failed(what: &str, os: Errno) -> Error {
    Error::Limit { what: what.to_owned(), os: os.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_gets_half_of_many_open_files_and_all_of_few() {
        let limits = [64, 1024, 8192, 10_000, 20_000, 524_288, rlim_t::MAX].map(most_open_files);
        assert_eq!(limits, [64, 1024, 8192, 8192, 10_000, 65_536, 65_536]);
    }
}
