//! How much work one look into a job's tree may be.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{BeneathError, Exceeded};

/// The bounds of one or several lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many entries of directories are listed.
    pub entries: usize,
    /// How many directories may be nested below the start of a walk.
    pub depth: usize,
    /// How long all lookups may take together.
    pub time: Duration,
}

/// What is left of [`Limits`]. Lookups that belong together share one.
#[derive(Debug)]
pub struct Budget {
    entries: usize,
    pub(super) depth: usize,
    deadline: Instant,
}

impl Budget {
    /// Starts the clock.
    pub fn new(limits: Limits) -> Budget {
        Budget { entries: limits.entries, depth: limits.depth, deadline: Instant::now() + limits.time }
    }

    /// Takes one entry; an error once none is left or the time is over.
    pub fn take_entry(&mut self, path: impl Fn() -> PathBuf) -> Result<(), BeneathError> {
        match self.entries.checked_sub(1) {
            Some(entries) => self.entries = entries,
            None => return Err(BeneathError::Budget { path: path(), exceeded: Exceeded::Entries }),
        }
        self.check_time(path)
    }

    /// An error once the time is over.
    pub fn check_time(&self, path: impl Fn() -> PathBuf) -> Result<(), BeneathError> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(BeneathError::Budget { path: path(), exceeded: Exceeded::Time })
    }
}
