//! Watches over the free space of the file systems that a job writes to: nothing the kernel offers to an ordinary user
//! bounds what a directory tree takes.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statvfs::fstatvfs;

use super::Error;
use crate::plan::{Access, Entry, Plan};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// A bound, and what there was before the job.
pub(super) struct Disk {
    most: u64,
    systems: Vec<System>,
    next: Instant,
}

/// One file system.
struct System {
    /// Somewhere in it: held open, it cannot be taken away.
    place: File,
    device: u64,
    free: u64,
}

impl Disk {
    /// For a plan that has a bound; `own` is where else the job writes.
    pub(super) fn of(plan: &Plan, own: Option<&Path>) -> Result<Option<Disk>, Error> {
        let Some(most) = plan.limits.disk else { return Ok(None) };
        let mut systems: Vec<System> = Vec::new();
        // A socket, a pipe or a device of the host's holds nothing, and cannot just be opened.
        let holds = |place: &&Path| std::fs::metadata(place).is_ok_and(|it| it.is_dir() || it.is_file());
        for place in plan.tree.iter().filter_map(written).chain(own).filter(holds) {
            let failed = |error: std::io::Error| Error::Watch {
                step: format!("look at the free space of {}", place.display()),
                os: error.into(),
            };
            let file = File::open(place).map_err(failed)?;
            let device = file.metadata().map_err(failed)?.dev();
            if systems.iter().all(|system| system.device != device) {
                let free = free(&file).map_err(|os| failed(os.into()))?;
                systems.push(System { place: file, device, free });
            }
        }
        Ok(Some(Disk { most, systems, next: Instant::now() + LOOK }))
    }

    /// When to look again.
    #[cfg(target_os = "linux")]
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether more is gone than may be; before [`Disk::next`] nobody looks.
    pub(super) fn is_used_up(&mut self) -> bool {
        if Instant::now() < self.next {
            return false;
        }
        self.next = Instant::now() + LOOK;
        // A file system that does not answer any more counts as full.
        self.systems
            .iter()
            .any(|system| free(&system.place).map_or(true, |now| system.free.saturating_sub(now) > self.most))
    }
}

/// Where of the host's this piece lets a job write.
fn written(entry: &Entry) -> Option<&Path> {
    match entry {
        Entry::Bind { source, access: Access::ReadWrite, .. } => Some(source),
        Entry::Overlay { upper, .. } => Some(upper),
        _ => None,
    }
}

/// Bytes that an ordinary user can still write.
#[allow(clippy::useless_conversion, reason = "on macOS it counts in 32 bits")]
fn free(file: &File) -> nix::Result<u64> {
    let system = fstatvfs(file)?;
    Ok(u64::from(system.blocks_available()).saturating_mul(system.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_nothing_takes_no_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let plan = |names: &[&str]| {
            let bind = |name: &&str| Entry::Bind {
                source: path(name),
                target: path(name),
                access: Access::ReadWrite,
            };
            let limits = crate::plan::Limits { disk: Some(1 << 30), ..Default::default() };
            Plan { tree: names.iter().map(bind).collect(), limits, ..Plan::default() }
        };
        let systems = |names: &[&str]| Disk::of(&plan(names), None).unwrap().unwrap().systems.len();
        assert_eq!(systems(&["socket"]), 0);
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(path("file"), "").unwrap();
        assert_eq!(systems(&["socket", "pipe", "file", ""]), 1);
    }
}
