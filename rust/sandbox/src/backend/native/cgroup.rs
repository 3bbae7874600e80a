//! Limits on memory, processes and CPU by control groups (version 2), where this user may make them.
//!
//! Three ways, in this order: a group that root makes under `/sys/fs/cgroup/nix-jail`; a group beside or below our own,
//! where that has been delegated to us; a scope of the user's systemd, in which the stage is started. Where none is
//! open the job runs without these limits, and the user is told which.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Pid, geteuid};

use crate::backend::Error;
use crate::plan::Limits;

const ROOT: &str = "/sys/fs/cgroup";
/// What our groups are called, with the launcher's pid behind: who finds one without its launcher removes it.
const PREFIX: &str = "nix-jail-";

/// How a plan's limits are enforced.
#[derive(Debug)]
pub(super) enum Enforcement {
    /// Nothing is limited that needs a group.
    Unneeded,
    /// By a group of ours.
    Group(Group),
    /// By a scope of the user's systemd, whose command line begins so.
    Scope(Vec<String>),
    /// Not; these are the sentences that say so.
    None(Vec<String>),
}

/// A control group of ours, removed at the end.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

/// Finds the way for these limits.
pub(super) fn enforcement(limits: &Limits) -> Result<Enforcement, Error> {
    if limits.memory.is_none() && limits.pids.is_none() && limits.cpus.is_none() {
        return Ok(Enforcement::Unneeded);
    }
    if let Some(parent) = parent() {
        reap(&parent);
        return make(&parent, limits).map(Enforcement::Group);
    }
    if user_manager_is_there() {
        return Ok(Enforcement::Scope(scope(limits)));
    }
    Ok(Enforcement::None(sentences(limits)))
}

impl Group {
    /// Puts the stage, which has no children yet, into the group.
    pub(super) fn take(&self, stage: Pid) -> Result<(), Error> {
        write(&self.0.join("cgroup.procs"), &stage.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty as soon as the stage is reaped. If that takes too long, the next job of this user removes it.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether limits could be enforced; makes nothing but what the first job would.
pub(super) fn may_limit() -> bool {
    parent().is_some() || user_manager_is_there()
}

/// Where we may make groups with the controllers that limit.
fn parent() -> Option<PathBuf> {
    if fs::metadata(Path::new(ROOT).join("cgroup.controllers")).is_err() {
        // Version 1, or both side by side: their controllers are not ours to use.
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
    let own = own_group()?;
    // Its parent first: a group with processes of its own cannot hand controllers down.
    [own.parent(), Some(own.as_path())]
        .into_iter()
        .flatten()
        .find(|group| {
            group.starts_with(ROOT) && *group != Path::new(ROOT) && enable_controllers(group).is_ok()
        })
        .map(Path::to_owned)
}

/// The sentence for each limit that a group would enforce and nothing else does.
fn sentences(limits: &Limits) -> Vec<String> {
    let cure = "no control group of version 2 is delegated to this user (`jail doctor` says more)";
    let mut sentences = Vec::new();
    if limits.memory.is_some() {
        sentences.push(format!("the memory limit is not enforced: {cure}"));
    }
    if limits.cpus.is_some() {
        sentences.push(format!("the limit on CPUs is not enforced: {cure}"));
    }
    if limits.pids.is_some() {
        sentences.push(format!("the limit on processes is enforced by RLIMIT_NPROC only: {cure}"));
    }
    sentences
}

fn own_group() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(ROOT).join(path))
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
        return nix::unistd::access(group, nix::unistd::AccessFlags::W_OK).map_err(io::Error::from);
    }
    fs::write(file, missing.join(" "))
}

fn make(parent: &Path, limits: &Limits) -> Result<Group, Error> {
    let number = std::sync::atomic::AtomicU32::fetch_add(&MADE, 1, std::sync::atomic::Ordering::Relaxed);
    let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
    fs::create_dir(&path).map_err(|error| Error::ControlGroup { path: path.clone(), os: error.into() })?;
    let group = Group(path.clone());
    if let Some(bytes) = limits.memory {
        write(&path.join("memory.max"), &bytes.to_string())?;
        // A limit that the job can step over into swap is none; not every kernel accounts swap.
        let _ = fs::write(path.join("memory.swap.max"), "0");
        let _ = fs::write(path.join("memory.oom.group"), "1");
    }
    if let Some(pids) = limits.pids {
        // The stage and init are in the group too.
        write(&path.join("pids.max"), &pids.saturating_add(2).to_string())?;
    }
    if let Some(cpus) = limits.cpus {
        let period = 100_000_f64;
        write(&path.join("cpu.max"), &format!("{} {period}", (cpus * period).max(1000.0).round()))?;
    }
    Ok(group)
}

static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|error| Error::ControlGroup { path: path.to_owned(), os: error.into() })
}

/// Removes the groups of launchers that are gone (killed before they could).
fn reap(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let launcher = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if launcher.is_some_and(|pid| fs::metadata(format!("/proc/{pid}")).is_err()) {
            // Fails if a process is still in it, and then it is not left over.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether the user has a systemd that makes scopes.
fn user_manager_is_there() -> bool {
    let unified = fs::metadata(Path::new(ROOT).join("cgroup.controllers")).is_ok();
    let socket =
        std::env::var_os("XDG_RUNTIME_DIR").map(|runtime| Path::new(&runtime).join("systemd/private"));
    unified && socket.is_some_and(|socket| socket.exists())
}

fn scope(limits: &Limits) -> Vec<String> {
    let mut words: Vec<String> =
        ["systemd-run", "--user", "--scope", "--quiet", "--collect"].map(str::to_owned).into();
    let mut property = |text: String| words.extend(["-p".to_owned(), text]);
    if let Some(bytes) = limits.memory {
        property(format!("MemoryMax={bytes}"));
        property("MemorySwapMax=0".to_owned());
    }
    if let Some(pids) = limits.pids {
        property(format!("TasksMax={}", pids.saturating_add(2)));
    }
    if let Some(cpus) = limits.cpus {
        property(format!("CPUQuota={}%", (cpus * 100.0).max(1.0).round()));
    }
    words.push("--".to_owned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_carries_every_limit_as_an_argument_of_its_own() {
        let limits = Limits { memory: Some(1 << 20), pids: Some(10), cpus: Some(1.5), timeout: None };
        assert_eq!(
            scope(&limits),
            [
                "systemd-run",
                "--user",
                "--scope",
                "--quiet",
                "--collect",
                "-p",
                "MemoryMax=1048576",
                "-p",
                "MemorySwapMax=0",
                "-p",
                "TasksMax=12",
                "-p",
                "CPUQuota=150%",
                "--",
            ]
        );
    }

    #[test]
    fn each_limit_without_a_group_has_its_sentence() {
        let limits = Limits { memory: Some(1), pids: Some(1), cpus: Some(1.0), timeout: None };
        assert_eq!(sentences(&limits).len(), 3);
        assert!(sentences(&Limits::default()).is_empty());
    }

    #[test]
    fn a_group_gets_its_limits_and_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let limits = Limits { memory: Some(4096), pids: Some(10), cpus: Some(0.5), timeout: None };
        let group = make(parent.path(), &limits).unwrap();
        let read = |name: &str| fs::read_to_string(group.0.join(name)).unwrap();
        assert_eq!([read("memory.max"), read("pids.max"), read("cpu.max")], ["4096", "12", "50000 100000"]);
    }

    #[test]
    fn groups_of_launchers_that_are_gone_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let gone = parent.path().join(format!("{PREFIX}4194304-0"));
        let alive = parent.path().join(format!("{PREFIX}{}-0", std::process::id()));
        let foreign = parent.path().join("user.slice");
        for path in [&gone, &alive, &foreign] {
            fs::create_dir(path).unwrap();
        }
        reap(parent.path());
        assert_eq!([gone.exists(), alive.exists(), foreign.exists()], [false, true, true]);
    }
}
