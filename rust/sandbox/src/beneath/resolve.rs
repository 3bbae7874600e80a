//! From a path to an open file, without ever leaving a root.

use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::{Kind, Link};

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;
/// As many components as fit into a path that the kernel accepts: links may make a path longer.
const MAX_COMPONENTS: usize = 2048;
/// Deeper than any project; each directory on the way is held open.
const MAX_DEPTH: usize = 256;

/// What a lookup does at a symbolic link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Links<'a> {
    /// Refuses each with ELOOP.
    Refuse,
    /// Refuses each with ELOOP, except at the end of the path, where it is what was found.
    RefuseOnTheWay,
    /// Follows links that stay beneath the root, whose absolute path is given; one that leads out is EXDEV.
    FollowBeneath(&'a Path),
    /// Follows links as a process would whose root directory this is: `/` and `..` never lead out of it.
    FollowInRoot,
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The file itself, with `O_PATH` where the system has it; elsewhere of regular files and directories only.
    pub(crate) fd: Option<OwnedFd>,
    /// What the kernel says about it.
    pub(crate) stat: FileStat,
    /// The target, of a symbolic link.
    pub(crate) link: Option<OsString>,
}

/// A file, and where it lies.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The file.
    pub(crate) found: Found,
    /// The path relative to the root, without links that were followed.
    pub(crate) path: PathBuf,
    /// The links that were followed, in order; their paths are relative to the root.
    pub(super) links: Vec<Link>,
}

/// Opens what lies at `path` below `root`.
///
/// The path may hold `..`; a `/` at its beginning means the root. Except with [`Links::FollowInRoot`], a path that
/// leads out of the root is EXDEV.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &Path, links: Links<'_>) -> nix::Result<Resolved> {
    #[cfg(target_os = "linux")]
    if let Some(result) = kernel::resolve(root, path, links) {
        return result;
    }
    step_by_step(root, path, links)
}

/// Follows all links of `path` and says which: step by step, unless the kernel finds that there is none.
pub(super) fn follow(root: BorrowedFd<'_>, path: &Path, links: Links<'_>) -> nix::Result<Resolved> {
    let is_plain = !path.components().any(|component| component == Component::ParentDir);
    #[cfg(target_os = "linux")]
    if is_plain
        && let Some(result) = kernel::resolve(root, path, Links::Refuse)
        && !matches!(result, Err(Errno::ELOOP))
    {
        return result;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = is_plain;
    step_by_step(root, path, links)
}

/// Opens the root of a tree.
pub(super) fn open_root(path: &Path) -> nix::Result<OwnedFd> {
    openat(AT_FDCWD, path, HANDLE | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens one entry of a directory, a link as a link.
pub(super) fn open_entry(directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<Found> {
    step(directory, name)
}

/// Returns what the kernel says about an entry of a directory, without opening it.
pub(super) fn metadata_at(directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Special,
    }
}

pub(super) fn kind_of(entry: nix::dir::Type) -> Kind {
    use nix::dir::Type;
    match entry {
        Type::File => Kind::File,
        Type::Directory => Kind::Directory,
        Type::Symlink => Kind::Link,
        Type::Fifo | Type::CharacterDevice | Type::BlockDevice | Type::Socket => Kind::Special,
    }
}

pub(super) fn name_of(name: &CStr) -> OsString {
    OsStr::from_bytes(name.to_bytes()).to_owned()
}

/// Opens a directory for listing.
pub(super) fn reopen_directory(directory: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens for reading the regular file that a handle stands for: this very file, whatever its name means by now.
#[cfg(target_os = "linux")]
pub(super) fn reopen_file(file: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // O_NONBLOCK: a job that holds a lease on its file could delay the open.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match openat(AT_FDCWD, path.as_str(), flags, Mode::empty()) {
        // The file is open already: it is /proc that is missing, and "absent" would be wrong.
        Err(Errno::ENOENT | Errno::ENOTDIR) => Err(Errno::ENOSYS),
        other => other,
    }
}

/// Opens for reading the regular file that a handle stands for.
#[cfg(not(target_os = "linux"))]
pub(super) fn reopen_file(file: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    copy(file)
}

fn step_by_step(root: BorrowedFd<'_>, path: &Path, links: Links<'_>) -> nix::Result<Resolved> {
    // The directories from the root to here: `..` goes back to the one before, whatever was renamed meanwhile.
    let mut way: Vec<(OsString, Found)> = Vec::new();
    let mut left = names(path);
    let mut followed: Vec<Link> = Vec::new();
    while let Some(name) = left.pop_front() {
        let here = match way.last() {
            Some((_, found)) => directory(found)?,
            None => root,
        };
        if name == ".." {
            if way.pop().is_none() && !matches!(links, Links::FollowInRoot) {
                return Err(Errno::EXDEV);
            }
            continue;
        }
        if way.len() >= MAX_DEPTH {
            return Err(Errno::ENAMETOOLONG);
        }
        let next = step(here, &name)?;
        let Some(target) = next.link.clone() else {
            way.push((name, next));
            continue;
        };
        let place = way.iter().map(|(name, _)| name).chain([&name]).collect();
        followed.push(Link { path: place, target: PathBuf::from(&target) });
        let is_end = left.is_empty();
        match links {
            Links::RefuseOnTheWay if is_end => {
                way.push((name, next));
                continue;
            }
            Links::Refuse | Links::RefuseOnTheWay => return Err(Errno::ELOOP),
            Links::FollowBeneath(_) | Links::FollowInRoot if followed.len() > MAX_LINKS => {
                return Err(Errno::ELOOP);
            }
            Links::FollowBeneath(_) | Links::FollowInRoot => {}
        }
        let mut target = PathBuf::from(target);
        if target.is_absolute() {
            if let Links::FollowBeneath(root) = links {
                target = target.strip_prefix(root).map_err(|_| Errno::EXDEV)?.to_owned();
            }
            way.clear();
        }
        for name in names(&target).into_iter().rev() {
            left.push_front(name);
        }
        if left.len() > MAX_COMPONENTS {
            return Err(Errno::ENAMETOOLONG);
        }
    }
    let path = way.iter().map(|(name, _)| name).collect();
    let found = match way.pop() {
        Some((_, found)) => found,
        None => handle(copy(root)?)?,
    };
    Ok(Resolved { found, path, links: followed })
}

/// The handle of a file on the way, which has to be a directory.
fn directory(found: &Found) -> nix::Result<BorrowedFd<'_>> {
    match &found.fd {
        Some(fd) if kind(&found.stat) == Kind::Directory => Ok(fd.as_fd()),
        _ => Err(Errno::ENOTDIR),
    }
}

/// Flags of a handle: a file that is found but not opened, where the system can do that.
#[cfg(target_os = "linux")]
const HANDLE: OFlag = OFlag::O_PATH;
#[cfg(not(target_os = "linux"))]
const HANDLE: OFlag = OFlag::O_RDONLY;

#[cfg(target_os = "linux")]
fn step(from: BorrowedFd<'_>, name: &OsStr) -> nix::Result<Found> {
    handle(openat(from, name, HANDLE | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn step(from: BorrowedFd<'_>, name: &OsStr) -> nix::Result<Found> {
    let stat = metadata_at(from, name)?;
    match kind(&stat) {
        Kind::Special => Ok(Found { fd: None, stat, link: None }),
        Kind::Link => Ok(Found { fd: None, stat, link: Some(nix::fcntl::readlinkat(from, name)?) }),
        Kind::File | Kind::Directory => {
            let flags = HANDLE | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            let opened = handle(openat(from, name, flags, Mode::empty())?)?;
            // Somebody put another file there between the two calls.
            if (opened.stat.st_dev, opened.stat.st_ino) != (stat.st_dev, stat.st_ino) {
                return Err(Errno::EAGAIN);
            }
            Ok(opened)
        }
    }
}

fn handle(fd: OwnedFd) -> nix::Result<Found> {
    let stat = fstat(&fd)?;
    let link = match kind(&stat) {
        #[cfg(target_os = "linux")]
        Kind::Link => Some(nix::fcntl::readlinkat(&fd, "")?),
        _ => None,
    };
    Ok(Found { fd: Some(fd), stat, link })
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn copy(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// The same by openat2(2), in one call.
#[cfg(target_os = "linux")]
mod kernel {
    use nix::fcntl::{OpenHow, ResolveFlag, openat2};

    use super::*;

    /// `None` if the call is not available or cannot answer: then the path is looked up step by step.
    pub(super) fn resolve(
        root: BorrowedFd<'_>,
        path: &Path,
        links: Links<'_>,
    ) -> Option<nix::Result<Resolved>> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let (flags, resolve) = match links {
            Links::Refuse | Links::RefuseOnTheWay => (flags, beneath),
            Links::FollowInRoot => (flags - OFlag::O_NOFOLLOW, ResolveFlag::RESOLVE_IN_ROOT),
            // The kernel refuses absolute links that lead back into the tree, and does not say where it arrived.
            Links::FollowBeneath(_) => return None,
        };
        let how = OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let names: PathBuf = names(path).into_iter().collect();
        let relative = if names.as_os_str().is_empty() { Path::new(".") } else { &names };
        let opened = match openat2(root, relative, how) {
            // The call is unknown, or forbidden by a filter that cannot see what it would create (systemd's
            // RestrictSUIDSGID=); or a directory was renamed during a lookup with `..`.
            Err(Errno::ENOSYS | Errno::EAGAIN) => return None,
            opened => opened,
        };
        Some(opened.and_then(handle).and_then(|found| match links {
            // With O_PATH and O_NOFOLLOW a link at the end is opened itself.
            Links::Refuse if found.link.is_some() => Err(Errno::ELOOP),
            _ => Ok(Resolved { found, path: names, links: Vec::new() }),
        }))
    }
}

#[cfg(test)]
pub(crate) fn resolve_step_by_step(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links<'_>,
) -> nix::Result<Resolved> {
    step_by_step(root, path, links)
}
