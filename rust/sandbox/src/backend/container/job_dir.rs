//! Where a container's files are on the host: a private directory per job, locked as long as its launcher lives.
//!
//! A launcher that is killed takes its container with it (pid 1 there sees the conversation end, the engine removes
//! what has ended) unless the engine is down at that moment; the directory stays in any case. The next `jail` command
//! finds the lock free, and removes both.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::engine::Engine;
use super::layout::Own;
use super::program::{Program, SOCKET};
use crate::backend::{ContainerError, Error};
use crate::host_program::HostPrograms;

/// The directory of one job's container.
#[derive(Debug)]
pub(super) struct ContainerDir {
    path: PathBuf,
    _lock: Flock<File>,
}

const LOCK: &str = "engine";
const UNFINISHED: &str = ".new-";

impl ContainerDir {
    /// Makes the directory for the job `id` of this engine.
    pub(super) fn create(runtime: &Path, id: &str, engine: &Engine) -> Result<ContainerDir, Error> {
        let path = runtime.join(id);
        let unfinished = runtime.join(format!("{UNFINISHED}{id}"));
        let make = || -> std::io::Result<Flock<File>> {
            DirBuilder::new().recursive(true).mode(0o700).create(&unfinished)?;
            let mut options = OpenOptions::new();
            let mut file =
                options.create(true).truncate(true).write(true).mode(0o600).open(unfinished.join(LOCK))?;
            file.write_all(&engine.remember())?;
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, os)| os)?;
            // Only now it is seen by others, as somebody's.
            fs::rename(&unfinished, &path)?;
            Ok(lock)
        };
        let lock = make().map_err(|error| place(&path, error))?;
        Ok(ContainerDir { path, _lock: lock })
    }

    /// Makes the jail's own files, and the places for the program's.
    pub(super) fn furnish(&self, own: &[(PathBuf, Own)], program: &Program) -> Result<(), Error> {
        for (path, own) in own {
            let on_host = self.own(path);
            make(&on_host, own).map_err(|error| place(&on_host, error))?;
        }
        let entry = self.entry();
        let make_entry = || -> std::io::Result<()> {
            directory(&entry)?;
            program.files.iter().try_for_each(|(_, name)| fs::write(entry.join(name), ""))
        };
        make_entry().map_err(|error| place(&entry, error))
    }

    /// All of it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of all containers of this user's jobs.
    pub(super) fn runtime(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The path on the host of something of the jail's own.
    pub(super) fn own(&self, path: &Path) -> PathBuf {
        self.path.join("tree").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The directory that holds the launcher's socket, and the places for the program's files.
    pub(super) fn entry(&self) -> PathBuf {
        self.path.join("entry")
    }

    /// The launcher's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.entry().join(SOCKET)
    }

    /// What the engine's program says.
    pub(super) fn said(&self) -> PathBuf {
        self.path.join("said")
    }
}

impl Drop for ContainerDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The name of a job's container.
pub(super) fn container_name(id: &str) -> String {
    format!("nix-jail-{id}")
}

/// Removes what launchers that are gone have left.
pub(super) fn reap(runtime: &Path, programs: &HostPrograms) {
    for entry in fs::read_dir(runtime).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let Ok(file) = File::open(entry.path().join(LOCK)) else { continue };
        let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        let remembered = fs::read(entry.path().join(LOCK)).unwrap_or_default();
        let removed = match Engine::remembered(&remembered, programs) {
            None => true,
            Some(engine) => match engine.remove(&container_name(&name.to_string_lossy())) {
                Ok(removed) => removed,
                // It hangs, and would hang for each of them.
                Err(_) => return,
            },
        };
        // Else the engine is not there now; a later command tries again.
        if removed {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn make(path: &Path, own: &Own) -> std::io::Result<()> {
    directory(path.parent().unwrap_or(path))?;
    match own {
        Own::Directory { mode } => {
            directory(path)?;
            fs::set_permissions(path, Permissions::from_mode(*mode))
        }
        Own::Link(to) => symlink(to, path),
        Own::File { contents, mode } => {
            OpenOptions::new().write(true).create_new(true).open(path)?.write_all(contents)?;
            fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
        }
    }
}

/// A directory that the job may pass, whatever the operator's file mode mask.
fn directory(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), directory)?;
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn place(path: &Path, error: std::io::Error) -> Error {
    ContainerError::Place { path: path.to_owned(), os: error.into() }.into()
}

/// A path as text that an engine's program takes in a list of `name=value`.
pub(super) fn text(path: &Path) -> Result<&str, Error> {
    let refused = || ContainerError::Path { path: path.to_owned() };
    let text = path.to_str().ok_or_else(refused)?;
    if text.contains(['"', ',', '\n', '\r']) { Err(refused().into()) } else { Ok(text) }
}
