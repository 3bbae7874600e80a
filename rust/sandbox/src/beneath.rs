//! The only way to look into a directory tree that a job can write.
//!
//! A [`Tree`] is opened once, by a path of the operator's. Every lookup is relative to its descriptor and never leaves
//! it: with openat2(2) and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`, or component by component
//! where the kernel or a filter around this process refuses that call. Symbolic links are followed only by
//! [`Tree::follow`], and only as far as they stay beneath the root. Nothing but regular files and directories is ever
//! opened, so that a FIFO cannot block and a device cannot answer; what is read or listed is bounded.
//!
//! `Ok(None)` means that there is nothing: the kernel answered ENOENT, or ENOTDIR on the way. Everything else is an
//! error, and the caller decides what it means: there is no job, or the report says so. It never means "absent", since
//! a job can cause any other error (`chmod 0 .git`).

mod attributes;
mod budget;
mod resolve;
mod walk;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::stat::FileStat;

pub use budget::{Budget, Limits};
#[cfg(test)]
pub(crate) use resolve::resolve_step_by_step;
pub(crate) use resolve::{Links, Resolved, resolve};
pub use walk::{Entry, Visit};

use resolve::Found;

/// A directory tree that a job can write, seen from outside.
///
/// Paths are relative to the root, or absolute with the root's path at their beginning.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

/// Why a look into a tree failed. None of these means that the file does not exist.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// The path, or a component of it, is a symbolic link.
    #[error("cannot look at {path}: a part of it is a symbolic link, and a job may have made it; remove the link", path = .path.display())]
    Link {
        /// The path of the lookup.
        path: PathBuf,
    },
    /// The path leads out of the tree, by `..` or by a symbolic link.
    #[error("cannot look at {path}: it leads out of {root}, and a job may have made it; remove it", path = .path.display(), root = .root.display())]
    Outside {
        /// The path of the lookup.
        path: PathBuf,
        /// The root of the tree.
        root: PathBuf,
    },
    /// A regular file was expected, and something else is there.
    #[error("cannot read {path}: it is not a regular file; remove it", path = .path.display())]
    NotAFile {
        /// The path of the lookup.
        path: PathBuf,
    },
    /// A directory was expected, and something else is there.
    #[error("cannot list {path}: it is not a directory; remove it", path = .path.display())]
    NotADirectory {
        /// The path of the lookup.
        path: PathBuf,
    },
    /// The file is larger than the caller accepts.
    #[error("cannot read {path}: it is larger than {limit} bytes; remove it", path = .path.display())]
    TooLarge {
        /// The path of the lookup.
        path: PathBuf,
        /// The largest size that the caller accepts.
        limit: u64,
    },
    /// The lookup used up its budget.
    #[error("cannot look through {path}: {exceeded}; remove what is not needed there", path = .path.display())]
    Budget {
        /// Where the budget ended.
        path: PathBuf,
        /// Which limit was reached.
        exceeded: Exceeded,
    },
    /// The kernel refused the lookup.
    #[error("cannot look at {path}: {error}; make it readable for the user who starts the jail", path = .path.display())]
    System {
        /// The path of the lookup.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// A limit of a [`Budget`] that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// More entries than the budget has.
    #[error("it holds too many files")]
    Entries,
    /// Directories nested deeper than the budget allows.
    #[error("its directories are nested too deeply")]
    Depth,
    /// The time is over.
    #[error("it takes too long")]
    Time,
}

/// What kind of file a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO, a socket or a device.
    Special,
}

/// What the kernel says about a file, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The kind of file.
    pub kind: Kind,
    /// The device that holds the file.
    pub device: u64,
    /// The number of the inode.
    pub inode: u64,
    /// The permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The size in bytes.
    pub size: u64,
    /// The time of the last change of the inode, in seconds and nanoseconds. A job cannot set it back.
    pub changed: (i64, i64),
}

impl Metadata {
    /// Returns true if the kernel gives who runs the file the id of its owner or its group.
    pub fn is_set_id(&self) -> bool {
        self.kind == Kind::File && self.mode & 0o6000 != 0
    }
}

/// What [`Tree::inspect`] found in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The entries, sorted by name.
    pub entries: Vec<Listed>,
    /// The default access control list: what the files made in the directory later get as their own. The format is the
    /// kernel's.
    pub default_acl: Option<Vec<u8>>,
}

/// One entry of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name in the directory.
    pub name: OsString,
    /// The kind of file; a symbolic link is itself.
    pub kind: Kind,
    /// What the kernel says about a regular file.
    pub file: Option<Metadata>,
    /// Whether it is a program with file capabilities. One about which the kernel does not answer counts as one.
    pub has_capabilities: bool,
}

/// The file that [`Tree::follow`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The path without symbolic links, relative to the root.
    pub path: PathBuf,
    /// What is there; never a link.
    pub metadata: Metadata,
    /// The links that were followed, in order.
    pub links: Vec<Link>,
}

/// A symbolic link on the way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it lies: relative to the root of the tree, without links before it.
    pub path: PathBuf,
    /// What it contains.
    pub target: PathBuf,
}

impl Tree {
    /// Opens the directory `root`. The path is the operator's own: symbolic links in it are followed.
    pub fn open(root: &Path) -> Result<Tree, BeneathError> {
        let failed = |error| BeneathError::System { path: root.to_owned(), error };
        let path = root.canonicalize().map_err(failed)?;
        // What was a directory on the way just now may be a link of a job's by now.
        let opened = resolve::open_root(Path::new("/"))
            .and_then(|root| resolve(root.as_fd(), &path, Links::Refuse))
            .map_err(|errno| failed(errno.into()))?;
        match opened.found {
            Found { fd: Some(root), ref stat, .. } if resolve::kind(stat) == Kind::Directory => {
                Ok(Tree { root, path })
            }
            _ => Err(BeneathError::NotADirectory { path }),
        }
    }

    /// The absolute path of the root, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's descriptor, which stands for the same directory whatever is renamed: for making files in it.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Returns what is at `path`; of a symbolic link at its end, the link itself.
    pub fn metadata(&self, path: &Path) -> Result<Option<Metadata>, BeneathError> {
        let found = self.find(path, Links::RefuseOnTheWay)?;
        Ok(found.map(|resolved| resolved.found.metadata()))
    }

    /// Returns the target of the symbolic link at `path`; `None` also if something else is there.
    pub fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, BeneathError> {
        let found = self.find(path, Links::RefuseOnTheWay)?;
        Ok(found.and_then(|resolved| resolved.found.link).map(PathBuf::from))
    }

    /// Reads the regular file at `path`. A file with more than `limit` bytes is an error.
    pub fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, BeneathError> {
        let Some(resolved) = self.find(path, Links::Refuse)? else { return Ok(None) };
        let contents = self.read(&resolved.found, path, limit.saturating_add(1))?;
        if contents.len() as u64 > limit {
            return Err(BeneathError::TooLarge { path: self.path.join(path), limit });
        }
        Ok(Some(contents))
    }

    /// Reads the first bytes of the regular file at `path`, `limit` at most.
    pub fn read_start(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, BeneathError> {
        let Some(resolved) = self.find(path, Links::Refuse)? else { return Ok(None) };
        self.read(&resolved.found, path, limit).map(Some)
    }

    /// Opens the regular file at `path` for reading.
    pub fn open_file(&self, path: &Path) -> Result<Option<File>, BeneathError> {
        let Some(resolved) = self.find(path, Links::Refuse)? else { return Ok(None) };
        self.reopen(&resolved.found, path).map(Some)
    }

    /// Returns the names in the directory at `path` with their kinds, sorted by name.
    pub fn list(
        &self,
        path: &Path,
        budget: &mut Budget,
    ) -> Result<Option<Vec<(OsString, Kind)>>, BeneathError> {
        let Some(resolved) = self.find(path, Links::Refuse)? else { return Ok(None) };
        let names = self.names(&resolved.found, path, budget)?;
        let fd = self.descriptor(&resolved.found, path)?;
        let mut entries = Vec::with_capacity(names.len());
        for (name, kind) in names {
            if let Some(kind) = kind {
                entries.push((name, kind));
                continue;
            }
            // A file system that does not say what its entries are.
            budget.check_time(|| self.path.join(path))?;
            // A file that was removed meanwhile is no entry.
            if let Some(metadata) = self.entry_metadata(fd, &path.join(&name), &name)? {
                entries.push((name, metadata.kind));
            }
        }
        Ok(Some(entries))
    }

    /// Returns what is in the directory at `path`, with everything that gives somebody rights: owners and modes of
    /// regular files, their capabilities, and the default access control list.
    pub fn inspect(&self, path: &Path, budget: &mut Budget) -> Result<Option<Listing>, BeneathError> {
        let Some(resolved) = self.find(path, Links::Refuse)? else { return Ok(None) };
        let (names, default_acl) = self.contents(&resolved.found, path, budget)?;
        let fd = self.descriptor(&resolved.found, path)?;
        let mut entries = Vec::with_capacity(names.len());
        for (name, kind) in names {
            if let Some(kind @ (Kind::Directory | Kind::Link | Kind::Special)) = kind {
                entries.push(Listed { name, kind, file: None, has_capabilities: false });
                continue;
            }
            budget.check_time(|| self.path.join(path))?;
            // A file that was removed meanwhile is no entry.
            if let Some(metadata) = self.entry_metadata(fd, &path.join(&name), &name)? {
                entries.push(listed(fd, name, metadata));
            }
        }
        Ok(Some(Listing { entries, default_acl }))
    }

    /// Returns what [`Tree::inspect`] says about one entry of a directory.
    pub fn inspect_entry(&self, path: &Path) -> Result<Option<Listed>, BeneathError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let Some(resolved) = self.find(parent, Links::Refuse)? else { return Ok(None) };
        let fd = self.descriptor(&resolved.found, parent)?;
        let metadata = self.entry_metadata(fd, path, &name.to_owned())?;
        Ok(metadata.map(|metadata| listed(fd, name.to_owned(), metadata)))
    }

    /// Follows the symbolic links of `path` as long as they stay beneath the root: an absolute target counts if it
    /// begins with the root's path. A link that leads elsewhere is an error whether its target exists or not. In a
    /// tree of the whole host (`/`) no link leads elsewhere.
    pub fn follow(&self, path: &Path) -> Result<Option<Followed>, BeneathError> {
        let links = match self.path == Path::new("/") {
            true => Links::FollowInRoot,
            false => Links::FollowBeneath(&self.path),
        };
        let relative = self.relative(path)?;
        match resolve::follow(self.root.as_fd(), relative, links) {
            Ok(resolved) => Ok(Some(Followed {
                metadata: resolved.found.metadata(),
                path: resolved.path,
                links: resolved.links,
            })),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(self.error(relative, errno)),
        }
    }

    /// Calls `visit` for everything below the directory at `path`, parents first, sorted by name; symbolic links are
    /// entries and never followed. What cannot be looked at is passed to `visit` as an error; the end of the budget
    /// is the walk's own error. Returns false if there is no such directory.
    pub fn walk(
        &self,
        path: &Path,
        budget: &mut Budget,
        visit: &mut dyn FnMut(Result<&Entry, BeneathError>) -> Visit,
    ) -> Result<bool, BeneathError> {
        walk::walk(self, path, budget, visit)
    }

    fn find(&self, path: &Path, links: Links<'_>) -> Result<Option<Resolved>, BeneathError> {
        let path = self.relative(path)?;
        match resolve(self.root.as_fd(), path, links) {
            Ok(resolved) => Ok(Some(resolved)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(self.error(path, errno)),
        }
    }

    /// An absolute path is one of the host: it has to lie in the tree.
    fn relative<'a>(&self, path: &'a Path) -> Result<&'a Path, BeneathError> {
        match path.is_absolute() {
            true => path.strip_prefix(&self.path).map_err(|_| self.error(path, Errno::EXDEV)),
            false => Ok(path),
        }
    }

    fn error(&self, path: &Path, errno: Errno) -> BeneathError {
        let path = self.path.join(path);
        match errno {
            Errno::ELOOP => BeneathError::Link { path },
            Errno::EXDEV => BeneathError::Outside { path, root: self.path.clone() },
            errno => BeneathError::System { path, error: errno.into() },
        }
    }

    fn read(&self, found: &Found, path: &Path, limit: u64) -> Result<Vec<u8>, BeneathError> {
        let file = self.reopen(found, path)?;
        let mut contents = Vec::new();
        file.take(limit)
            .read_to_end(&mut contents)
            .map_err(|error| BeneathError::System { path: self.path.join(path), error })?;
        Ok(contents)
    }

    fn reopen(&self, found: &Found, path: &Path) -> Result<File, BeneathError> {
        if found.metadata().kind != Kind::File {
            return Err(BeneathError::NotAFile { path: self.path.join(path) });
        }
        let fd = self.descriptor(found, path)?;
        resolve::reopen_file(fd).map(File::from).map_err(|errno| self.error(path, errno))
    }

    /// Returns the names in an open directory, sorted, with what they are where the file system says so.
    fn names(
        &self,
        found: &Found,
        path: &Path,
        budget: &mut Budget,
    ) -> Result<Vec<(OsString, Option<Kind>)>, BeneathError> {
        self.contents(found, path, budget).map(|(names, _)| names)
    }

    /// Returns the same, and the default access control list of the directory.
    fn contents(&self, found: &Found, path: &Path, budget: &mut Budget) -> Result<Contents, BeneathError> {
        if found.metadata().kind != Kind::Directory {
            return Err(BeneathError::NotADirectory { path: self.path.join(path) });
        }
        let failed = |errno| self.error(path, errno);
        let fd = self.descriptor(found, path)?;
        let opened = resolve::reopen_directory(fd).map_err(failed)?;
        let default_acl = attributes::default_acl(opened.as_fd()).map_err(failed)?;
        let mut directory = Dir::from_fd(opened).map_err(failed)?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = match entry {
                // The directory was removed meanwhile: it is empty.
                Err(Errno::ENOENT) => break,
                entry => entry.map_err(failed)?,
            };
            let name = resolve::name_of(entry.file_name());
            if name != "." && name != ".." {
                budget.take_entry(|| self.path.join(path))?;
                names.push((name, entry.file_type().map(resolve::kind_of)));
            }
        }
        names.sort_by(|one, other| one.0.cmp(&other.0));
        Ok((names, default_acl))
    }

    fn entry_metadata(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        name: &OsString,
    ) -> Result<Option<Metadata>, BeneathError> {
        match resolve::metadata_at(directory, name) {
            Ok(stat) => Ok(Some(metadata(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error(path, errno)),
        }
    }

    fn descriptor<'a>(&self, found: &'a Found, path: &Path) -> Result<BorrowedFd<'a>, BeneathError> {
        let fd = found.fd.as_ref().map(AsFd::as_fd);
        fd.ok_or_else(|| BeneathError::NotAFile { path: self.path.join(path) })
    }
}

/// An absolute path of the host, and the symbolic links that it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealPath {
    /// The path without links.
    pub path: PathBuf,
    /// The places of the links that were followed.
    pub links: Vec<PathBuf>,
}

impl RealPath {
    /// Follows the links of an absolute path of the host.
    pub fn of(path: &Path) -> io::Result<RealPath> {
        let root = Path::new("/");
        let opened = resolve::open_root(root)?;
        let resolved = resolve::follow(opened.as_fd(), path, Links::FollowInRoot)?;
        let links = resolved.links.iter().map(|link| root.join(&link.path)).collect();
        Ok(RealPath { path: root.join(resolved.path), links })
    }

    /// Returns true if the file lies in `place`, or is reached through a link in it.
    pub fn depends_on(&self, place: &Path) -> bool {
        self.links.iter().chain([&self.path]).any(|path| path.starts_with(place))
    }
}

impl Found {
    fn metadata(&self) -> Metadata {
        metadata(&self.stat)
    }
}

/// The names in a directory with what they are, and its default access control list.
type Contents = (Vec<(OsString, Option<Kind>)>, Option<Vec<u8>>);

fn listed(directory: BorrowedFd<'_>, name: OsString, metadata: Metadata) -> Listed {
    let is_program = metadata.kind == Kind::File && metadata.mode & 0o111 != 0;
    let has_capabilities = is_program && attributes::has_capabilities(directory, &name);
    let file = (metadata.kind == Kind::File).then_some(metadata);
    Listed { name, kind: metadata.kind, file, has_capabilities }
}

// The types differ between systems.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, clippy::useless_conversion)]
fn metadata(stat: &FileStat) -> Metadata {
    Metadata {
        kind: resolve::kind(stat),
        device: stat.st_dev as u64,
        inode: stat.st_ino,
        mode: u32::from(stat.st_mode) & 0o7777,
        uid: stat.st_uid,
        size: stat.st_size as u64,
        changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

#[cfg(test)]
mod tests;
