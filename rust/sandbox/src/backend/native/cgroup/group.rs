//! Groups of our own: below `/sys/fs/cgroup/nix-jail` for root, beside or below our own group where that has been
//! delegated to us. When their launcher is killed nobody is left who could remove them (nothing but a directory): the
//! next command of the same user does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::{AccessFlags, Pid, access, geteuid};

use super::hierarchy::{ROOT, group_of, is_unified, processes};
use crate::backend::Error;
use crate::plan::Limits;

/// What our groups are called, with the launcher's pid behind: who finds one without its launcher removes it.
const PREFIX: &str = "nix-jail-";

/// A control group of ours, removed at the end.
#[derive(Debug)]
pub(in crate::backend) struct Group(PathBuf);

impl Group {
    /// Makes one with these limits.
    pub(super) fn make(parent: &Path, limits: &Limits) -> Result<Group, Error> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| Error::ControlGroup { path: path.clone(), os: error.into() })?;
        let group = Group(path.clone());
        if let Some(bytes) = limits.memory {
            write(&path.join("memory.max"), &bytes.to_string())?;
            // A limit that the job can step over into swap is none; not every kernel accounts swap.
            let _ = fs::write(path.join("memory.swap.max"), "0");
        }
        if let Some(pids) = limits.pids {
            write(&path.join("pids.max"), &processes(pids).to_string())?;
        }
        if let Some(cpus) = limits.cpus {
            let period = 100_000_f64;
            write(&path.join("cpu.max"), &format!("{} {period}", (cpus * period).max(1000.0).round()))?;
        }
        Ok(group)
    }

    /// Puts the stage, which has no children yet, into the group.
    pub(in crate::backend::native) fn take(&self, stage: Pid) -> Result<(), Error> {
        write(&self.0.join("cgroup.procs"), &stage.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty as soon as the stage is reaped. If that takes too long, the next command of this user removes it.
        let _ = fs::remove_dir(&self.0);
    }
}

static MADE: AtomicU32 = AtomicU32::new(0);

/// Where we may make groups with the controllers that limit.
pub(super) fn parent() -> Option<PathBuf> {
    if !is_unified() {
        return None;
    }
    if geteuid().is_root() {
        let parent = Path::new(ROOT).join("nix-jail");
        let made = match fs::create_dir(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => enable_controllers(Path::new(ROOT)).and_then(|()| enable_controllers(&parent)),
        };
        if made.is_ok() {
            return Some(parent);
        }
    }
    let own = group_of("self")?;
    // Its parent first: a group with processes of its own cannot hand controllers down.
    [own.parent(), Some(own.as_path())]
        .into_iter()
        .flatten()
        .find(|group| {
            group.starts_with(ROOT) && *group != Path::new(ROOT) && enable_controllers(group).is_ok()
        })
        .map(Path::to_owned)
}

fn enable_controllers(group: &Path) -> io::Result<()> {
    let file = group.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file)?;
    let missing: Vec<String> = ["memory", "pids", "cpu"]
        .into_iter()
        .filter(|name| !enabled.split_whitespace().any(|word| word == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        // Without a right to write here, no group can be made below either.
        return access(group, AccessFlags::W_OK).map_err(io::Error::from);
    }
    fs::write(file, missing.join(" "))
}

/// Removes the groups of launchers that are gone (killed before they could).
fn reap(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let launcher = entry.file_name().to_str().and_then(launcher);
        if launcher.is_some_and(|pid| fs::metadata(format!("/proc/{pid}")).is_err()) {
            // Fails if a process is still in it, and then it is not left over.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The same wherever this user's jobs may have made groups; makes none.
pub(in crate::backend::native) fn reap_everywhere() {
    let own = group_of("self");
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    [Some(Path::new(ROOT).join("nix-jail")), beside, own]
        .into_iter()
        .flatten()
        .for_each(|parent| reap(&parent));
}

/// The launcher whose group has this name. A scope's name, `nix-jail-JOB.scope`, is none: its group is systemd's to
/// remove, and one that is empty may just be being made.
fn launcher(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|error| Error::ControlGroup { path: path.to_owned(), os: error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_gets_its_limits_and_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let limits = Limits { memory: Some(4096), pids: Some(10), cpus: Some(0.5), ..Limits::default() };
        let group = Group::make(parent.path(), &limits).unwrap();
        let read = |name: &str| fs::read_to_string(group.0.join(name)).unwrap();
        assert_eq!([read("memory.max"), read("pids.max"), read("cpu.max")], ["4096", "12", "50000 100000"]);
    }

    #[test]
    fn groups_of_launchers_that_are_gone_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let gone = parent.path().join(format!("{PREFIX}4194304-0"));
        let alive = parent.path().join(format!("{PREFIX}{}-0", std::process::id()));
        let foreign = ["user.slice", "nix-jail-job-1f09c2aa.scope", "nix-jail-4194304-1f09c2aa.scope"]
            .map(|name| parent.path().join(name));
        for path in [&gone, &alive].into_iter().chain(&foreign) {
            fs::create_dir(path).unwrap();
        }
        reap(parent.path());
        assert_eq!([gone.exists(), alive.exists()], [false, true]);
        assert!(foreign.iter().all(|path| path.exists()), "a group of somebody else's was removed");
    }
}
