//! Removing a directory that jobs have filled: however deep, whatever its permissions, and without following a link.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{HomeError, failed};

/// Removes a directory. It is gone from its place at once, and then emptied in `around`, a directory of the operator's on
/// the same file system.
///
/// No job may have the directory any more: what is looked at here must not change meanwhile.
pub(super) fn remove(directory: &Path, around: &Path) -> Result<(), HomeError> {
    let trash = make_trash(around).map_err(failed(around))?;
    let moved = make_accessible(directory).and_then(|()| fs::rename(directory, trash.join("0")));
    let emptied = moved.and_then(|()| empty(&trash));
    let removed = fs::remove_dir(&trash);
    emptied.and(removed).map_err(failed(directory))
}

fn make_trash(around: &Path) -> io::Result<PathBuf> {
    for number in 0_u32.. {
        let path = around.join(format!(".removed-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes every directory in `trash`. Directories in a directory are moved up to it first, so that neither a path nor the
/// stack grows with their depth.
fn empty(trash: &Path) -> io::Result<()> {
    let (mut next, mut done) = (1_u64, 0);
    while done < next {
        let directory = trash.join(done.to_string());
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                make_accessible(&entry.path())?;
                fs::rename(entry.path(), trash.join(next.to_string()))?;
                next += 1;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir(&directory)?;
        done += 1;
    }
    Ok(())
}

/// Gives the owner every permission: a directory that its owner may not write cannot be emptied, or even moved.
pub(super) fn make_accessible(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}
