//! The directory that a job works in, and the files in it that run later on the host.

mod fingerprint;
mod runs_later;
mod submodules;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use sandbox::plan::{Access, Entry};

use crate::operator::Operator;
use crate::spec::{self, WorkspaceMode};
use fingerprint::Fingerprint;

/// Why a directory is not taken as a workspace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    /// It is not there.
    #[error("the workspace {path} cannot be used: {error}; name a directory that exists with --workspace, or --workspace none", path = .path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is a file.
    #[error("the workspace {path} is not a directory; name one with --workspace, or --workspace none", path = .path.display())]
    NotADirectory {
        /// Which.
        path: PathBuf,
    },
    /// It holds too much.
    #[error("the workspace would be {path}, {why}: the job could read and change all of it; change to a project's directory, name one with --workspace DIR, use --workspace none, or insist with --workspace-any", path = .path.display())]
    TooMuch {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
}

/// A directory that a job may work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its real path, the same inside.
    pub(crate) path: PathBuf,
    mode: WorkspaceMode,
    runs_later: Vec<PathBuf>,
    /// What jails keep, where it lies in the workspace: changed by launchers, and by nobody else.
    records: Vec<PathBuf>,
    before: BTreeMap<PathBuf, Fingerprint>,
}

impl Workspace {
    /// Takes `directory`, unless it is `/`, the home directory or something that holds it (`any` insists). `protect` is
    /// what no job may change in it: relative to it, or absolute and perhaps elsewhere.
    pub(crate) fn open(
        directory: &Path,
        mode: WorkspaceMode,
        protect: &[PathBuf],
        any: bool,
        operator: &Operator,
    ) -> Result<Workspace, WorkspaceError> {
        let path = operator.path(directory);
        let path = path.canonicalize().map_err(|error| WorkspaceError::Missing { path, error })?;
        if !path.is_dir() {
            return Err(WorkspaceError::NotADirectory { path });
        }
        if !any && let Some(why) = too_much(&path, operator) {
            return Err(WorkspaceError::TooMuch { path, why });
        }
        let inside = |own: &[PathBuf]| -> Vec<PathBuf> {
            let inside = own.iter().filter_map(|own| own.strip_prefix(&path).ok());
            // Who insists on one of them as the workspace has it.
            let inside = inside.filter(|inside| *inside != Path::new(""));
            inside.filter(|inside| inside.components().all(is_name)).map(Path::to_owned).collect()
        };
        let (absolute, mut protect): (Vec<_>, Vec<_>) =
            protect.iter().cloned().partition(|path| path.is_absolute());
        protect.extend(inside(&absolute));
        protect.extend(inside(&real(absolute)));
        protect.extend(inside(&declarations(operator)));
        let runs_later = runs_later::of(&path, &protect);
        let records = inside(&records(operator));
        let mut workspace = Workspace { path, mode, runs_later, records, before: BTreeMap::new() };
        if mode == WorkspaceMode::Rw {
            workspace.before = workspace.fingerprints(&workspace.runs_later);
        }
        Ok(workspace)
    }

    /// The workspace as pieces of the jail's file tree; `layer` is an empty directory for the overlay's changes.
    pub(crate) fn entries(&self, layer: &Path) -> Vec<Entry> {
        let target = self.path.clone();
        match self.mode {
            WorkspaceMode::Ro => {
                vec![Entry::Bind { source: target.clone(), target, access: Access::ReadOnly }]
            }
            WorkspaceMode::Overlay => {
                vec![Entry::Overlay { lower: target.clone(), upper: layer.to_owned(), target }]
            }
            WorkspaceMode::Rw => {
                let mut entries =
                    vec![Entry::Bind { source: target.clone(), target, access: Access::ReadWrite }];
                entries.extend(self.protections());
                entries
            }
        }
    }

    /// Files of the list that are not there: their real paths, for backends that can keep it so.
    pub(crate) fn absent(&self) -> Vec<PathBuf> {
        if self.mode != WorkspaceMode::Rw {
            return Vec::new();
        }
        self.runs_later.iter().filter(|path| self.is_absent(path)).map(|path| self.path.join(path)).collect()
    }

    /// Mounts of [`Workspace::entries`] that must last when the host replaces what they lie on.
    pub(crate) fn durable(&self) -> Vec<PathBuf> {
        if self.mode != WorkspaceMode::Rw {
            return Vec::new();
        }
        let target = |entry| match entry {
            Entry::Bind { target, .. } => Some(target),
            _ => None,
        };
        self.protections().into_iter().filter_map(target).collect()
    }

    /// Whether the job's changes stay on a layer of its own.
    pub(crate) fn is_overlay(&self) -> bool {
        self.mode == WorkspaceMode::Overlay
    }

    /// The files that run later on the host and are not what they were before the job, as far as can be told.
    pub(crate) fn changed(&self) -> Vec<PathBuf> {
        if self.mode != WorkspaceMode::Rw {
            return Vec::new();
        }
        let is_as_before = |path: &PathBuf, now: &Fingerprint| {
            *now != Fingerprint::Unknown && self.before.get(path).unwrap_or(&Fingerprint::Absent) == now
        };
        // Repositories that the job made, or led git to, are on no list of before.
        let after = self.fingerprints(&runs_later::of(&self.path, &self.runs_later)).into_iter();
        after.filter(|(path, now)| !is_as_before(path, now)).map(|(path, _)| path).collect()
    }

    fn protections(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut pinned: Vec<PathBuf> = Vec::new();
        let protected = || self.runs_later.iter().chain(&self.records).filter(|path| self.is_plain(path));
        for relative in protected() {
            // A directory above a mount point can be renamed away together with it; one that is a mount point
            // itself cannot. So each directory on the way is bound onto itself.
            for parent in relative.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                if !pinned.iter().any(|pin| pin == parent) {
                    pinned.push(parent.to_owned());
                }
            }
        }
        pinned.sort();
        entries.extend(pinned.iter().map(|path| self.bind(path, Access::ReadWrite)));
        entries.extend(protected().map(|path| self.bind(path, Access::ReadOnly)));
        entries
    }

    fn bind(&self, relative: &Path, access: Access) -> Entry {
        let path = self.path.join(relative);
        Entry::Bind { source: path.clone(), target: path, access }
    }

    /// Whether it exists and no part of it is a symbolic link: a link cannot be a mount point, and where it leads is
    /// not in the jail, or is on the list itself. [`Workspace::changed`] reports links that were changed.
    fn is_plain(&self, relative: &Path) -> bool {
        let mut path = self.path.clone();
        relative.components().all(|part| {
            path.push(part);
            std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_symlink())
        })
    }

    /// Whether nothing is there, and no link on the way to it.
    fn is_absent(&self, relative: &Path) -> bool {
        let mut path = self.path.clone();
        for part in relative.components() {
            path.push(part);
            match std::fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return false,
                Err(_) => return true,
            }
        }
        false
    }

    fn fingerprints(&self, runs_later: &[PathBuf]) -> BTreeMap<PathBuf, Fingerprint> {
        let fingerprint = |relative: PathBuf| {
            let fingerprint = Fingerprint::of(&self.path.join(&relative));
            (relative, fingerprint)
        };
        let built_later = runs_later::BUILT_LATER.iter().map(PathBuf::from);
        runs_later.iter().cloned().chain(built_later).map(fingerprint).collect()
    }
}

/// The beginning of a file that a job may have made; not of a pipe, which would never end.
fn read(path: &Path, most: usize) -> Option<Vec<u8>> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut contents = Vec::new();
    file.take(most as u64).read_to_end(&mut contents).ok()?;
    Some(contents)
}

/// A path without links. One in the workspace may be a job's, and is not followed out of it.
pub(crate) fn resolve(path: &Path, workspace: Option<&Workspace>) -> io::Result<PathBuf> {
    let whole = path.canonicalize()?;
    // Most have no links at all.
    if whole == path || workspace.is_none() {
        return Ok(whole);
    }
    let mut real = PathBuf::new();
    for part in path.components() {
        let next = real.join(part).canonicalize()?;
        let is_inside = |path: &Path| workspace.is_some_and(|workspace| path.starts_with(&workspace.path));
        // `..` is the operator's own word.
        if is_name(part) && is_inside(&real) && !is_inside(&next) {
            let link = real.join(part);
            return Err(io::Error::other(format!(
                "the link {} leads out of the workspace, and a job may have made it; name {} itself",
                link.display(),
                next.display()
            )));
        }
        real = next;
    }
    Ok(real)
}

fn is_name(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

/// What a path is, if it holds more than a project.
fn too_much(path: &Path, operator: &Operator) -> Option<&'static str> {
    let home = operator.home.canonicalize().unwrap_or_else(|_| operator.home.clone());
    let system = [
        "/bin", "/boot", "/dev", "/etc", "/lib", "/nix", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp",
        "/usr", "/var",
    ];
    if path == Path::new("/") {
        Some("the whole file system")
    } else if path == home {
        Some("your home directory")
    } else if home.starts_with(path) {
        Some("which holds your home directory")
    } else if system.iter().any(|system| path == Path::new(system)) {
        Some("a directory of the system")
    } else if declarations(operator).iter().chain(&records(operator)).any(|own| path.starts_with(own)) {
        Some("in which your jails have their settings or records")
    } else {
        None
    }
}

/// Where the operator's jails are declared: who writes there says what the next job may do.
fn declarations(operator: &Operator) -> Vec<PathBuf> {
    real(spec::directories(operator.variable("JAIL_PATH"), Some(&operator.config_home())))
}

/// Where they keep what they know: who writes there says what programs a name means, and whom `jail stop` ends.
fn records(operator: &Operator) -> Vec<PathBuf> {
    real(vec![operator.state(), operator.cache(), operator.runtime()])
}

fn real(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().map(|path| path.canonicalize().unwrap_or(path)).collect()
}

#[cfg(test)]
mod tests;
