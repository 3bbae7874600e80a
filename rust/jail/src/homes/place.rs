//! Places for files in a home that earlier jobs have filled: with links, FIFOs, directories where a file should be.
//!
//! Every step is relative to an open directory and follows no link. In a directory's place, anything but a directory is
//! removed, and links and special files in a file's place: they are a job's, in the job's own home.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sandbox::beneath::{Kind, Tree};

/// A job of the same home may put another link in the way meanwhile.
const ATTEMPTS: usize = 8;

/// Opens the directory at `path`, which is relative to the root of `tree`. Directories that are missing are created.
pub(super) fn open_directory(tree: &Tree, path: &Path) -> io::Result<OwnedFd> {
    let mut directory = tree.directory().try_clone_to_owned()?;
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        directory = open_or_create(&directory, name)?;
    }
    Ok(directory)
}

fn open_or_create(directory: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for _ in 0..ATTEMPTS {
        match openat(directory, name, flags, Mode::empty()) {
            Ok(opened) => return Ok(opened),
            Err(Errno::ENOENT) => {}
            // A link, or anything else that is no directory.
            Err(Errno::ENOTDIR | Errno::ELOOP) => remove(directory, name)?,
            Err(os) => return Err(os.into()),
        }
        match mkdirat(directory, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(os) => return Err(os.into()),
        }
    }
    Err(io::Error::other("something in this home replaces it again and again"))
}

/// Makes sure that a file or directory of this kind is at `path`, for a mount. Returns false if a directory is where a
/// file should be: it is not removed, since a job may have its data there.
pub(super) fn make_mount_point(tree: &Tree, path: &Path, kind: Kind) -> io::Result<bool> {
    if kind == Kind::Directory {
        return open_directory(tree, path).map(|_| true);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = open_directory(tree, parent)?;
    let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for _ in 0..ATTEMPTS {
        match openat(&directory, name, create, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(_) => return Ok(true),
            Err(Errno::EEXIST) => {}
            Err(os) => return Err(os.into()),
        }
        match tree.metadata(path).map_err(io::Error::other)?.map(|found| found.kind) {
            Some(Kind::File) => return Ok(true),
            Some(Kind::Directory) => return Ok(false),
            Some(Kind::Link | Kind::Special) => remove(&directory, name)?,
            None => {}
        }
    }
    Err(io::Error::other("something in this home replaces it again and again"))
}

fn remove(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(os) => Err(os.into()),
    }
}
