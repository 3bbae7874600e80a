//! Other processes of this host, each named for good: a number is given to another process when its owner is gone, a
//! descriptor of a process is not.

use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// One process, and never another one of the same number.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    descriptor: OwnedFd,
}

impl Process {
    /// The process of this number that started at this time; `None` if it is gone.
    pub fn open(pid: u32, started_ticks: u64) -> Option<Process> {
        let process = Process::of_number(pid)?;
        // Looked at after the process was taken hold of: what is found is the held one, or a later one.
        (self::started_ticks(pid) == Some(started_ticks)).then_some(process)
    }

    fn of_number(pid: u32) -> Option<Process> {
        let descriptor = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        Some(Process { pid, descriptor })
    }

    /// Sends it a signal. That it has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        match pidfd_send_signal(self.descriptor.as_fd(), signal) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Waits for its end until `deadline` (without one: however long it takes); whether it has ended.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<bool, Errno> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut events = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut events, left.map_or(PollTimeout::NONE, rounded_up)) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(os) => return Err(os),
            }
        }
    }

    /// The processes that it has started itself and that are still there.
    pub fn children(&self) -> Vec<Process> {
        let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // Held first and looked at then, as above.
        numbers
            .filter_map(Process::of_number)
            .filter(|process| stat_field(process.pid, PARENT) == Some(self.pid))
            .collect()
    }
}

/// Where fields stand behind the name in /proc/PID/stat (proc_pid_stat(5) counts from 1, and two stand before).
const STATE: usize = 0;
const PARENT: usize = 1;
const START: usize = 19;

/// When a process started, in clock ticks since the boot: with its number it names one process for good.
pub fn started_ticks(pid: u32) -> Option<u64> {
    // One that has ended is listed until its parent has heard of it.
    let has_ended = stat_field::<char>(pid, STATE)? == 'Z';
    if has_ended { None } else { stat_field(pid, START) }
}

/// Returns true if a process is stopped, by a signal or for a tracer.
pub(crate) fn is_stopped(pid: i32) -> bool {
    u32::try_from(pid)
        .ok()
        .and_then(|pid| stat_field::<char>(pid, STATE))
        .is_some_and(|state| matches!(state, 'T' | 't'))
}

fn stat_field<T: FromStr>(pid: u32, position: usize) -> Option<T> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything, parentheses and spaces too.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(position)?.parse().ok()
}

/// So that the time is over when the wait is.
fn rounded_up(left: Duration) -> PollTimeout {
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that lives until it is killed or its standard input, held by the `Child`, is closed.
    fn reader() -> (Child, Process) {
        let child = Command::new("/bin/sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::open(child.id(), started_ticks(child.id()).unwrap()).unwrap();
        (child, process)
    }

    #[test]
    fn a_process_is_ended_and_its_end_awaited() {
        let (mut child, process) = reader();
        let soon = Some(Instant::now() + Duration::from_millis(20));
        assert_eq!(process.wait(soon), Ok(false));
        process.signal(Signal::SIGTERM).unwrap();
        assert_eq!(process.wait(None), Ok(true));
        assert_eq!(started_ticks(child.id()), None, "nobody has asked for its end yet");
        child.wait().unwrap();
        assert_eq!(process.signal(Signal::SIGTERM), Ok(()), "the end is no error");
    }

    #[test]
    fn another_process_of_the_same_number_is_not_the_one() {
        let own = std::process::id();
        let ticks = started_ticks(own).unwrap();
        assert!(Process::open(own, ticks).is_some());
        assert!(Process::open(own, ticks - 1).is_none());
        assert!(Process::open(u32::MAX, ticks).is_none());
    }

    #[test]
    fn children_are_found() {
        let (mut child, process) = reader();
        let own = Process::of_number(std::process::id()).unwrap();
        assert!(own.children().iter().any(|found| found.pid == child.id()));
        assert!(process.children().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
