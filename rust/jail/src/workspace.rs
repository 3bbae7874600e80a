//! The directory that a job works in, and the files in it that run later on the host.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use sandbox::plan::{Access, Entry};

use crate::operator::Operator;
use crate::spec::WorkspaceMode;

/// What programs of the host run or obey when they see it in a directory: read-only in the jail where it exists,
/// reported when a job makes or changes it.
///
/// A directory stands for everything in it.
const RUNS_LATER: &[&str] = &[
    // git runs hooks, and commands named in its configuration; a file `.git` points to another repository.
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    ".git/commondir",
    // direnv, mise and the like run these on `cd`.
    ".envrc",
    ".mise.toml",
    "mise.toml",
    ".mise",
    ".tool-versions",
    ".devenv.nix",
    // Editors run tasks and tools named here.
    ".vscode",
    ".idea",
    ".nvim.lua",
    ".nvimrc",
    ".exrc",
    ".vimrc",
    ".dir-locals.el",
    ".zed",
    ".helix",
    // Coding agents run hooks and servers named here.
    ".claude",
    ".mcp.json",
    ".cursor",
    ".codex",
    ".gemini",
    ".opencode",
    "opencode.json",
    ".aider.conf.yml",
    // Tools that run code of their configuration in the directory itself.
    ".pre-commit-config.yaml",
    ".husky",
    "lefthook.yml",
    ".npmrc",
    ".yarnrc.yml",
    ".cargo/config.toml",
    ".cargo/config",
];

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
    /// One of its files cannot be looked at.
    #[error("cannot look at {path} in the workspace: {error}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A directory that a job may work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its real path, the same inside.
    pub(crate) path: PathBuf,
    mode: WorkspaceMode,
    runs_later: Vec<PathBuf>,
    before: BTreeMap<PathBuf, Fingerprint>,
}

/// Enough of a file to see that it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fingerprint {
    Absent,
    File { device: u64, inode: u64, changed: (i64, i64), size: u64 },
    Directory(BTreeMap<PathBuf, Fingerprint>),
}

impl Workspace {
    /// Takes `directory`, unless it is `/`, the home directory or something that holds it (`any` insists).
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
        let mut runs_later: Vec<PathBuf> = RUNS_LATER.iter().map(PathBuf::from).collect();
        runs_later.extend(protect.iter().cloned());
        runs_later.extend(inner_repositories(&path));
        // In a linked worktree `.git` is a file that points to the repository.
        if std::fs::symlink_metadata(path.join(".git")).is_ok_and(|git| git.is_file()) {
            runs_later.retain(|path| !path.starts_with(".git/"));
            runs_later.push(PathBuf::from(".git"));
        }
        runs_later.extend(behind_links(&path, &runs_later));
        let mut workspace = Workspace { path, mode, runs_later, before: BTreeMap::new() };
        if mode == WorkspaceMode::Rw {
            workspace.before = workspace.fingerprints()?;
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

    /// Whether the job's changes stay on a layer of its own.
    pub(crate) fn is_overlay(&self) -> bool {
        self.mode == WorkspaceMode::Overlay
    }

    /// The files that run later on the host and are not what they were before the job.
    pub(crate) fn changed(&self) -> Result<Vec<PathBuf>, WorkspaceError> {
        if self.mode != WorkspaceMode::Rw {
            return Ok(Vec::new());
        }
        let after = self.fingerprints()?;
        Ok(after
            .into_iter()
            .filter(|(path, fingerprint)| self.before.get(path) != Some(fingerprint))
            .map(|(path, _)| path)
            .collect())
    }

    fn protections(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut pinned: Vec<PathBuf> = Vec::new();
        for relative in self.runs_later.iter().filter(|path| self.is_plain(path)) {
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
        let protected = self.runs_later.iter().filter(|path| self.is_plain(path));
        entries.extend(protected.map(|path| self.bind(path, Access::ReadOnly)));
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

    fn fingerprints(&self) -> Result<BTreeMap<PathBuf, Fingerprint>, WorkspaceError> {
        self.runs_later
            .iter()
            .map(|relative| Ok((relative.clone(), fingerprint(&self.path.join(relative))?)))
            .collect()
    }
}

/// Submodules and linked worktrees are repositories in the repository, each with hooks and settings of its own.
fn inner_repositories(workspace: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from(".git/modules"), PathBuf::from(".git/worktrees")];
    while let Some(directory) = waiting.pop() {
        let entries = std::fs::read_dir(workspace.join(&directory)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let inner = directory.join(entry.file_name());
            if workspace.join(&inner).join("HEAD").exists() {
                found.extend(
                    ["hooks", "config", "config.worktree", "commondir", "gitdir"]
                        .map(|name| inner.join(name)),
                );
                waiting.push(inner.join("modules"));
            } else {
                // A submodule's name can hold slashes.
                waiting.push(inner);
            }
        }
    }
    found
}

/// The real places, in the workspace, of files that are reached by symbolic links: it is there that they are changed.
fn behind_links(workspace: &Path, runs_later: &[PathBuf]) -> Vec<PathBuf> {
    runs_later
        .iter()
        .filter_map(|relative| {
            let real = workspace.join(relative).canonicalize().ok()?;
            let real = real.strip_prefix(workspace).ok()?;
            (real != relative && real != Path::new("")).then(|| real.to_owned())
        })
        .collect()
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
    } else {
        None
    }
}

fn fingerprint(path: &Path) -> Result<Fingerprint, WorkspaceError> {
    use std::os::unix::fs::MetadataExt;
    let unreadable = |error| WorkspaceError::Unreadable { path: path.to_owned(), error };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Fingerprint::Absent);
        }
        Err(error) => return Err(unreadable(error)),
    };
    if !metadata.is_dir() {
        return Ok(Fingerprint::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            // ctime: a job cannot set it back.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        });
    }
    let mut inside = BTreeMap::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        inside.insert(PathBuf::from(entry.file_name()), fingerprint(&entry.path())?);
    }
    Ok(Fingerprint::Directory(inside))
}

#[cfg(test)]
#[path = "workspace_tests.rs"]
mod tests;
