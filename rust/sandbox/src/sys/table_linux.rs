//! The same on Linux, where the tests of the macOS backend run it against a stand-in for Apple's program.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::backend::seatbelt::watchdog::Process;
use crate::sys::process::pidfd_open;

/// Becomes readable when a process has ended.
#[derive(Debug)]
pub(crate) struct End(OwnedFd);

impl End {
    /// Of a child that has not been waited for.
    pub(crate) fn of(pid: Pid) -> nix::Result<End> {
        pidfd_open(pid).map(End)
    }

    /// What to poll.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Every process.
pub(crate) fn processes() -> nix::Result<Vec<Process>> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    Ok(entries.filter_map(|entry| process(entry.file_name().to_str()?)).collect())
}

fn process(name: &str) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
    // proc_pid_stat(5), from field 3 on: the command before may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = sysconf(SysconfVar::CLK_TCK).ok()??.unsigned_abs().max(1);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??.unsigned_abs();
    Some(Process {
        pid: name.parse().ok()?,
        parent: i32::try_from(number(4)?).ok()?,
        group: i32::try_from(number(5)?).ok()?,
        started: number(22)?,
        memory: number(24)? * page,
        cpu: Duration::from_millis((number(14)? + number(15)?) * 1000 / ticks),
    })
}
