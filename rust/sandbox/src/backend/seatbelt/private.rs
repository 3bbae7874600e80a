//! The job's private directory: its own files, its temporary ones, its profile; gone with the job.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::layout::Make;
use crate::backend::Error;

/// A directory that nobody else may enter.
#[derive(Debug)]
pub(super) struct Private(PathBuf);

impl Private {
    pub(super) fn create() -> Result<Private, Error> {
        let place = std::env::temp_dir();
        let failed =
            |path: &Path, error: io::Error| Error::WriteFile { path: path.to_owned(), os: error.into() };
        // Real from here on: the profile speaks of what the kernel finds behind every link.
        let place = place.canonicalize().map_err(|error| failed(&place, error))?;
        let path =
            nix::unistd::mkdtemp(&place.join("nix-jail-XXXXXX")).map_err(|os| failed(&place, os.into()))?;
        Ok(Private(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Fills it.
    pub(super) fn make(&self, all: &[Make]) -> Result<(), Error> {
        for one in all {
            let path = match one {
                Make::Directory(path) | Make::File { path, .. } | Make::Link { path, .. } => path,
            };
            self.make_one(one).map_err(|error| Error::WriteFile { path: path.clone(), os: error.into() })?;
        }
        Ok(())
    }

    fn make_one(&self, one: &Make) -> io::Result<()> {
        let directory = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        match one {
            Make::Directory(path) => directory(path),
            Make::File { path, contents, mode } => {
                directory(path.parent().unwrap_or(&self.0))?;
                // A later one lies on top of an earlier one.
                let _ = fs::remove_file(path);
                OpenOptions::new().write(true).create_new(true).mode(*mode).open(path)?.write_all(contents)
            }
            Make::Link { path, to } => {
                directory(path.parent().unwrap_or(&self.0))?;
                let _ = fs::remove_file(path);
                symlink(to, path)
            }
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            // A job may have taken its own rights away from a directory of its own.
            open_up(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn open_up(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
