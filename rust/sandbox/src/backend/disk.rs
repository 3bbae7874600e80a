//! Watches the free space and the free inodes of the file systems that a job writes to: the kernel offers an ordinary user
//! no other bound on a directory tree.
//!
//! What is compared is the file system's own account, so it does not matter how the space was taken: by several binds, by
//! files without a name, by sparse files that were filled, by hard links (which take nothing). A job may write as fast as
//! the machine can, so the watcher looks again before the rest of the limit can be used up ([`interval`]). What reserves
//! space without writing is refused by the job's system call filter.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::statvfs::fstatvfs;

use super::{Error, Exhausted};
use crate::plan::{Access, Entry, Plan};

/// Longest interval between two looks: far from the limit nothing wakes up more often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest interval between two looks.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(2);
/// Bytes that a job is expected to write in a second at most.
const BYTES_PER_SECOND: u64 = 4 << 30;
/// Files that a job is expected to make in a second at most.
const INODES_PER_SECOND: u64 = 500_000;

/// Bytes of the limit for each inode that the job may take. Files with contents take a block of this size at least, so
/// that only empty files, links and directories reach this limit before the other.
const BYTES_PER_INODE: u64 = 4096;
/// The part of a file system's free inodes that a job may take at most, as a divisor.
const PART_OF_FREE_INODES: u64 = 4;

/// The limit of a plan, and the file systems that it holds for.
pub(super) struct Disk {
    systems: Vec<System>,
    next: Instant,
}

/// A file system that the job writes to.
struct System {
    /// A file or directory of it. While it is open, the file system cannot be unmounted.
    place: File,
    device: u64,
    before: Account,
    limit: Usage,
}

/// A file system's own account. What is used of the inodes counts, not what is free: where inodes are made as they are
/// needed (XFS, ZFS), fewer are free as soon as there is less space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    free_bytes: u64,
    free_inodes: u64,
    used_inodes: u64,
}

/// An amount of space and inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    bytes: u64,
    inodes: u64,
}

impl Disk {
    /// Returns the watcher for a plan with a limit; `own` is where else the job writes.
    pub(super) fn of(plan: &Plan, own: Option<&Path>) -> Result<Option<Disk>, Error> {
        let Some(limit) = plan.limits.disk else { return Ok(None) };
        let mut systems: Vec<System> = Vec::new();
        for place in plan.tree.iter().filter_map(writable_source).chain(own) {
            let failed = |error: std::io::Error| Error::Watch {
                step: format!("look at the free space of {}", place.display()),
                os: error.into(),
            };
            let Some(file) = open(place).map_err(failed)? else { continue };
            let device = file.metadata().map_err(failed)?.dev();
            if systems.iter().all(|system| system.device != device) {
                let before = account(&file).map_err(|os| failed(os.into()))?;
                systems.push(System { place: file, device, before, limit: limit_on(before, limit) });
            }
        }
        Ok(Some(Disk { systems, next: Instant::now() }))
    }

    /// Returns the time of the next look.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time to, and returns what is used up.
    pub(super) fn exhausted(&mut self) -> Option<Exhausted> {
        if Instant::now() < self.next {
            return None;
        }
        let mut wait = LONGEST_INTERVAL;
        for system in &self.systems {
            // A file system that does not answer any more counts as full.
            let Ok(now) = account(&system.place) else { return Some(Exhausted::Space) };
            match remaining(taken(system.before, now), system.limit) {
                Ok(left) => wait = wait.min(interval(left)),
                Err(exhausted) => return Some(exhausted),
            }
        }
        self.next = Instant::now() + wait;
        None
    }
}

/// Returns the directory or file of the host that an entry lets the job write to.
fn writable_source(entry: &Entry) -> Option<&Path> {
    match entry {
        Entry::Bind { source, access: Access::ReadWrite, .. } => Some(source),
        Entry::Overlay { upper, .. } => Some(upper),
        _ => None,
    }
}

/// Opens a directory or regular file; returns `None` for a socket, a FIFO or a device, which take no space.
fn open(place: &Path) -> std::io::Result<Option<File>> {
    // Only to name the file, where the system can do that: nothing happens to a FIFO or a device.
    #[cfg(target_os = "linux")]
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match File::options().read(true).custom_flags(flags.bits()).open(place) {
        Ok(file) => file,
        // A socket, where it cannot be opened only to name it.
        Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    Ok((metadata.is_dir() || metadata.is_file()).then_some(file))
}

/// Asks a file system what an ordinary user can still take of it.
#[allow(clippy::useless_conversion, reason = "on macOS the counts have 32 bits")]
fn account(file: &File) -> nix::Result<Account> {
    let system = fstatvfs(file)?;
    let free_bytes = u64::from(system.blocks_available()).saturating_mul(system.fragment_size());
    if system.files() == 0 {
        // It counts no inodes (btrfs).
        return Ok(Account { free_bytes, free_inodes: u64::MAX, used_inodes: 0 });
    }
    let used_inodes = u64::from(system.files()).saturating_sub(u64::from(system.files_free()));
    Ok(Account { free_bytes, free_inodes: u64::from(system.files_available()), used_inodes })
}

/// Returns what a job with a limit of `bytes` may take of a file system.
fn limit_on(before: Account, bytes: u64) -> Usage {
    Usage { bytes, inodes: (bytes / BYTES_PER_INODE).max(1).min(before.free_inodes / PART_OF_FREE_INODES) }
}

/// Returns what was taken of a file system between two accounts.
fn taken(before: Account, now: Account) -> Usage {
    Usage {
        bytes: before.free_bytes.saturating_sub(now.free_bytes),
        inodes: now.used_inodes.saturating_sub(before.used_inodes),
    }
}

/// Returns what is left of a limit, or what is used up.
fn remaining(taken: Usage, limit: Usage) -> Result<Usage, Exhausted> {
    Ok(Usage {
        bytes: limit.bytes.checked_sub(taken.bytes).ok_or(Exhausted::Space)?,
        inodes: limit.inodes.checked_sub(taken.inodes).ok_or(Exhausted::Inodes)?,
    })
}

/// Returns how long a job needs at least to use up what is left, within what is sensible.
fn interval(left: Usage) -> Duration {
    let seconds = (left.bytes as f64 / BYTES_PER_SECOND as f64)
        .min(left.inodes as f64 / INODES_PER_SECOND as f64)
        .min(LONGEST_INTERVAL.as_secs_f64());
    Duration::from_secs_f64(seconds).max(SHORTEST_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sources: &[&Path], disk: u64) -> Plan {
        let bind = |source: &&Path| Entry::Bind {
            source: source.to_path_buf(),
            target: source.to_path_buf(),
            access: Access::ReadWrite,
        };
        let limits = crate::plan::Limits { disk: Some(disk), ..Default::default() };
        Plan { tree: sources.iter().map(bind).collect(), limits, ..Plan::default() }
    }

    #[test]
    fn only_directories_and_regular_files_take_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let systems = |names: &[&str]| {
            let paths: Vec<_> = names.iter().map(|name| path(name)).collect();
            let sources: Vec<_> = paths.iter().map(|path| path.as_path()).collect();
            Disk::of(&plan(&sources, 1 << 30), None).unwrap().unwrap().systems.len()
        };
        assert_eq!(systems(&["socket"]), 0);
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(path("file"), "").unwrap();
        assert_eq!(systems(&["socket", "pipe", "file", ""]), 1);
        let absent = path("absent");
        assert!(Disk::of(&plan(&[&absent], 1 << 30), None).is_err());
    }

    #[test]
    fn the_closer_the_limit_the_sooner_the_next_look() {
        let after = |bytes, inodes| interval(Usage { bytes, inodes });
        assert_eq!(after(100 << 30, u64::MAX), Duration::from_secs(1));
        assert_eq!(after(1 << 30, u64::MAX), Duration::from_millis(250));
        assert_eq!(after(100 << 30, 50_000), Duration::from_millis(100));
        assert_eq!(after(1 << 20, u64::MAX), Duration::from_millis(2));
        assert_eq!(after(0, 0), Duration::from_millis(2));
    }

    #[test]
    fn a_job_may_take_an_inode_per_block_and_a_quarter_of_the_free_ones() {
        let limit = |free_inodes, bytes| {
            limit_on(Account { free_bytes: 0, free_inodes, used_inodes: 7 }, bytes).inodes
        };
        assert_eq!(limit(1_000_000, 10 << 20), 2560);
        assert_eq!(limit(4000, 10 << 20), 1000);
        assert_eq!(limit(u64::MAX, 20 << 30), 5 << 20);
    }

    #[test]
    fn what_is_taken_counts_until_the_limit() {
        let limit = Usage { bytes: 100, inodes: 10 };
        let taken = |bytes, inodes| remaining(Usage { bytes, inodes }, limit);
        assert_eq!(taken(40, 2), Ok(Usage { bytes: 60, inodes: 8 }));
        assert_eq!(taken(100, 10), Ok(Usage { bytes: 0, inodes: 0 }));
        assert_eq!(taken(101, 0), Err(Exhausted::Space));
        assert_eq!(taken(0, 11), Err(Exhausted::Inodes));
    }

    #[test]
    fn fewer_free_inodes_for_want_of_space_are_not_taken() {
        let before = Account { free_bytes: 8192, free_inodes: 16, used_inodes: 5 };
        let now = Account { free_bytes: 4096, free_inodes: 7, used_inodes: 6 };
        assert_eq!(taken(before, now), Usage { bytes: 4096, inodes: 1 });
        assert_eq!(taken(now, before), Usage { bytes: 0, inodes: 0 });
    }

    #[test]
    fn the_file_system_is_asked_when_it_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::of(&plan(&[folder.path()], u64::MAX), None).unwrap().unwrap();
        assert_eq!(disk.exhausted(), None);
        assert!(disk.next() > Instant::now());
        disk.systems[0].before.free_bytes = u64::MAX;
        disk.systems[0].limit.bytes = 0;
        assert_eq!(disk.exhausted(), None, "before its time nobody looks");
        disk.next = Instant::now();
        assert_eq!(disk.exhausted(), Some(Exhausted::Space));
    }
}
