//! Removing a directory that jobs have filled: however deep, whatever its permissions, and without following a link.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

use super::{HomeError, failed};
use crate::job::started_ticks;

/// The beginning of a trash directory's name; the id of the process that empties it follows.
const TRASH: &str = ".removed-";

/// Removes a directory. It is gone from its place at once, and then emptied in `around`, a directory of the operator's on
/// the same file system.
///
/// No job may use the directory meanwhile.
pub(super) fn remove(directory: &Path, around: &Path) -> Result<(), HomeError> {
    remove_left_over(around);
    let trash = make_trash(around).map_err(failed(around))?;
    let moved = make_accessible(directory).and_then(|()| fs::rename(directory, trash.join("0")));
    let emptied = moved.and_then(|()| empty(&trash));
    let removed = fs::remove_dir(&trash);
    emptied.and(removed).map_err(failed(directory))
}

/// A directory that is removed with everything in it when this is dropped, or when something else is removed after this
/// process has been killed.
#[derive(Debug)]
pub(super) struct Trash {
    path: PathBuf,
}

impl Trash {
    /// Creates it in `around`.
    pub(super) fn create(around: &Path) -> io::Result<Trash> {
        remove_left_over(around);
        make_trash(around).map(|path| Trash { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        let inside = fs::read_dir(&self.path).into_iter().flatten().flatten();
        inside.for_each(|entry| drop(make_accessible(&entry.path())));
        let _ = empty(&self.path).and_then(|()| fs::remove_dir(&self.path));
    }
}

/// Removes the trash of processes that were killed. Files that cannot be removed stay for the next time.
fn remove_left_over(around: &Path) {
    for entry in fs::read_dir(around).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(TRASH)?.split('-').next()?.parse().ok());
        if owner.is_some_and(|owner| started_ticks(owner).is_none()) {
            let _ = empty(&entry.path()).and_then(|()| fs::remove_dir(entry.path()));
        }
    }
}

fn make_trash(around: &Path) -> io::Result<PathBuf> {
    for number in 0_u32.. {
        let path = around.join(format!("{TRASH}{}-{number}", std::process::id()));
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
    let mut waiting: Vec<PathBuf> = fs::read_dir(trash)?.flatten().map(|entry| entry.path()).collect();
    // Names that none of those has which are there already.
    let mut free = waiting.iter().filter_map(|path| path.file_name()?.to_str()?.parse::<u64>().ok()).max();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                make_accessible(&entry.path())?;
                let number = free.map_or(0, |free| free + 1);
                let moved = trash.join(number.to_string());
                fs::rename(entry.path(), &moved)?;
                free = Some(number);
                // A job that is still ending may have put a link in its place; it cannot do so in the trash.
                if fs::symlink_metadata(&moved)?.is_dir() {
                    waiting.push(moved);
                } else {
                    fs::remove_file(&moved)?;
                }
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir(&directory)?;
    }
    Ok(())
}

/// Gives the owner every permission: a directory that its owner may not write cannot be emptied, or even moved. A link is
/// not followed.
pub(super) fn make_accessible(directory: &Path) -> io::Result<()> {
    Ok(fchmodat(AT_FDCWD, directory, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?)
}
