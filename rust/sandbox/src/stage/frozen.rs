//! Stops every process of a job, and continues those that ran: while the launcher itself is stopped, nothing of the job
//! may run, because nobody enforces its limits.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use crate::process::is_stopped;

/// The whole job is stopped.
pub(super) struct Frozen {
    /// Processes that were stopped before, as by a shell inside; they stay so.
    stopped_before: BTreeSet<i32>,
}

impl Frozen {
    /// Stops every process below this one. The kernel does it in one step: none can fork its way around it.
    pub(super) fn freeze() -> Frozen {
        let stopped_before = processes().filter(|pid| is_stopped(*pid)).collect();
        let everybody = Pid::from_raw(-1);
        // Without any process there is nobody to stop.
        let _ = kill(everybody, Signal::SIGSTOP);
        Frozen { stopped_before }
    }

    /// Continues those that ran. Nobody has come or gone meanwhile.
    pub(super) fn thaw(self) {
        for pid in processes().filter(|pid| !self.stopped_before.contains(pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }
}

/// All but this one and the first one of this PID namespace.
fn processes() -> impl Iterator<Item = i32> {
    let own = getpid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(move |pid| *pid > 1 && *pid != own)
}
