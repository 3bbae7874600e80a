//! The same where there are no descriptors of processes: a number and a start time name one for good, and both are
//! looked at right before each signal.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys::table::{self, End};

pub use table::started_ticks;

/// One process, and never another one of the same number.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    started: u64,
    end: End,
}

impl Process {
    /// The process of this number that started at this time; `None` if it is gone.
    pub fn open(pid: u32, started_ticks: u64) -> Option<Process> {
        let end = End::of(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        let process = Process { pid, started: started_ticks, end };
        // Looked at after its end is watched for: what is found is the watched one, or a later one.
        process.is_there().then_some(process)
    }

    fn is_there(&self) -> bool {
        started_ticks(self.pid) == Some(self.started)
    }

    /// Sends it a signal. That it has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let Ok(pid) = i32::try_from(self.pid) else { return Ok(()) };
        match self.is_there().then(|| kill(Pid::from_raw(pid), signal)) {
            None | Some(Err(Errno::ESRCH)) => Ok(()),
            Some(other) => other,
        }
    }

    /// Waits for its end until `deadline` (without one: however long it takes); whether it has ended.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<bool, Errno> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut events = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
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
        let children = table::processes().unwrap_or_default().into_iter();
        children
            .filter(|process| u32::try_from(process.parent) == Ok(self.pid))
            .filter_map(|process| Process::open(u32::try_from(process.pid).ok()?, process.started))
            .collect()
    }
}

/// So that the time is over when the wait is.
fn rounded_up(left: Duration) -> PollTimeout {
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
