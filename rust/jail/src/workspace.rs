//! The directory that a job works in, and the files in it that run later on the host.

mod discover;
mod fingerprint;
mod git_config;
mod guard;
pub(crate) mod provenance;
mod repository;
mod runs_later;

use std::io;
use std::path::{Component, Path, PathBuf};

use sandbox::plan::{Access, Entry};

use crate::operator::Operator;
use crate::spec::{self, WorkspaceMode};
pub(crate) use discover::settings_of_operator;
pub(crate) use git_config::absolute as path_of_setting;
pub(crate) use guard::{Baseline, Changes, Guard, settings_of_git, shown};
use sandbox::beneath::RealPath;

pub(crate) use repository::Repository;

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
    /// A bind has no place.
    #[error(
        "cannot mount a bind at {}: {why}; its place must be there on the host, and not behind a symbolic link: create it, or name another target",
        shown(path)
    )]
    Place {
        /// In the jail.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A directory that a job may work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its real path, the same inside.
    pub(crate) path: PathBuf,
    mode: WorkspaceMode,
    /// What no job may change in it beside the list, relative to it.
    protect: Vec<PathBuf>,
    /// What jails keep, where it lies in the workspace: changed by launchers, and by nobody else.
    records: Vec<PathBuf>,
    /// Its git directory, where that lies elsewhere and is in the jail.
    repository: Option<Repository>,
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
        let records = inside(&records(operator));
        Ok(Workspace { path, mode, protect, records, repository: None })
    }

    /// Finds its git directory where that lies elsewhere, which is in the jail from then on. Returns a sentence about it
    /// for the operator, or about why it is not in the jail.
    pub(crate) fn find_repository(&mut self, operator: &Operator) -> Option<String> {
        match repository::find(self, operator) {
            Ok(repository) => {
                self.repository = repository;
                self.repository.as_ref().map(|repository| repository.notice(self))
            }
            Err(notice) => Some(notice),
        }
    }

    /// Variables that git needs to find its directory.
    pub(crate) fn variables_for_git(&self) -> Option<(&'static str, &'static str)> {
        // Between a workspace and the top of its repository a mount begins.
        let is_part = self.repository.as_ref().is_some_and(|repository| repository.top != self.path);
        is_part.then_some(("GIT_DISCOVERY_ACROSS_FILESYSTEM", "1"))
    }

    /// The path that git would have as its directory here.
    pub(crate) fn git_directory(&self) -> PathBuf {
        self.repository.as_ref().map_or_else(|| self.path.join(".git"), |repository| repository.git.clone())
    }

    /// Its git directory, where that lies elsewhere and is in the jail.
    pub(crate) fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// Whether the job's changes stay on a layer of its own.
    pub(crate) fn is_overlay(&self) -> bool {
        self.mode == WorkspaceMode::Overlay
    }

    /// The workspace itself as a piece of the jail's file tree.
    fn base(&self, layer: &Path) -> Entry {
        let target = self.path.clone();
        let access = match self.mode {
            WorkspaceMode::Ro => Access::ReadOnly,
            WorkspaceMode::Rw => Access::ReadWrite,
            WorkspaceMode::Overlay => {
                return Entry::Overlay { lower: target.clone(), upper: layer.to_owned(), target };
            }
        };
        Entry::Bind { source: target.clone(), target, access }
    }
}

/// A path without links. One in the workspace may be a job's, and is not followed out of it.
pub(crate) fn resolve(path: &Path, workspace: Option<&Workspace>) -> io::Result<PathBuf> {
    let real = RealPath::of(path)?;
    let Some(workspace) = workspace.filter(|workspace| !real.path.starts_with(&workspace.path)) else {
        return Ok(real.path);
    };
    match real.links.iter().find(|link| link.starts_with(&workspace.path)) {
        None => Ok(real.path),
        Some(link) => Err(io::Error::other(format!(
            "the link {} leads out of the workspace, and a job may have made it; name {} itself",
            shown(link),
            shown(&real.path)
        ))),
    }
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
