//! The hierarchy of control groups on this host.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// Returns true if the host has version 2 alone. With version 1, or both side by side, the controllers are not ours to use.
pub(super) fn is_unified() -> bool {
    fs::metadata(Path::new(ROOT).join("cgroup.controllers")).is_ok()
}

/// Returns the group of a process, named by its number or `self`.
pub(super) fn group_of(process: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(ROOT).join(path))
}

/// The value of `pids.max` for a job of this many processes: the stage and init are in the group too.
pub(super) fn processes(pids: u64) -> u64 {
    pids.saturating_add(2)
}
