//! The jail's file tree: a tmpfs, and on it what the plan says.
//!
//! Targets are resolved inside the new root only (`RESOLVE_IN_ROOT`): a link in it, the plan's own or one in a bound
//! directory, leads to a place in the jail or nowhere. What is read-only is so before it is attached.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, chdir, fchdir, pivot_root, symlinkat, unlinkat};

use super::old::{bind_by_path, remount, restrict_below};
use super::sources::Source;
use super::{lookup, overlay};
use crate::backend::Error;
use crate::plan::{Access, Entry};
use crate::sys::mount::{Attributes, move_mount, open_tree_clone, set_attributes};

/// What the root may hold: directories, links and files of the plan.
const ROOT_OPTIONS: &str = "mode=0755,size=64m,nr_inodes=65536";
/// What a writable directory of the jail's own may hold, at most of the machine's memory.
pub(crate) const WRITABLE_OPTIONS: &str = "size=25%,nr_inodes=1m";

/// A tree under construction; the working directory of the process moves about in it meanwhile.
pub(crate) struct Tree {
    root: OwnedFd,
    /// The devices of our own tmpfs mounts: only there are links and files made.
    own: HashSet<u64>,
    /// The directory in which the last target was made, by its path.
    last_parent: Option<(PathBuf, OwnedFd)>,
    /// Where the job may write, for Landlock.
    writable: Vec<PathBuf>,
    /// Directories of the host's in which nothing is made.
    given: Vec<PathBuf>,
    /// What is still to be made read-only, where the kernel cannot do that before attaching.
    unrestricted: Vec<(PathBuf, Access)>,
    files: u32,
}

impl Tree {
    /// Mounts an empty root. It lies over the old one, which stays this process's root until [`Tree::enter`].
    ///
    /// Nothing is made below what is bound at one of the `given` targets.
    pub(crate) fn mount(given: &[PathBuf]) -> Result<Tree, Error> {
        let tmpfs = |os: Errno| Error::Tmpfs { path: PathBuf::from("/"), os: os.into() };
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(tmpfs)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), "/", Some("tmpfs"), flags, Some(ROOT_OPTIONS)).map_err(tmpfs)?;
        // `/` is the old root; the parent of a root is what is mounted on top of it.
        let root =
            openat(AT_FDCWD, "/..", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(tmpfs)?;
        let device = fstat(&root).map_err(tmpfs)?.st_dev;
        Ok(Tree {
            root,
            own: HashSet::from([device]),
            last_parent: None,
            writable: Vec::new(),
            given: given.to_vec(),
            unrestricted: Vec::new(),
            files: 0,
        })
    }

    /// Adds one entry with what it binds.
    pub(crate) fn add(&mut self, entry: &Entry, sources: Vec<Source>) -> Result<(), Error> {
        match (entry, <[Source; 1]>::try_from(sources)) {
            (Entry::Bind { target, access, .. }, Ok([source])) => self.bind(target, *access, &source),
            (Entry::Overlay { target, upper, .. }, Err(sources)) => self.overlay(target, upper, sources),
            (Entry::File { target, contents, mode }, _) => self.file(target, contents, *mode),
            (Entry::Symlink { target, to }, _) => self.symlink(target, to),
            (Entry::Directory { target, writable: false }, _) => self.directory(target).map(drop),
            (Entry::Directory { target, writable: true }, _) => {
                self.tmpfs(target, &format!("mode=0755,{WRITABLE_OPTIONS}"), MsFlags::empty())
            }
            (Entry::Bind { .. } | Entry::Overlay { .. }, _) => {
                Err(Error::Message("an entry came without its sources".to_owned()))
            }
        }
    }

    /// Mounts an empty tmpfs on which the job may write.
    pub(crate) fn tmpfs(&mut self, target: &Path, options: &str, flags: MsFlags) -> Result<(), Error> {
        let failed = |os: Errno| Error::Tmpfs { path: target.to_owned(), os: os.into() };
        let directory = self.directory(target)?;
        self.mount_on(&directory, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | flags, options)
            .map_err(failed)?;
        let mounted = self.open(target).map_err(failed)?;
        self.own.insert(fstat(&mounted).map_err(failed)?.st_dev);
        self.writable.push(target.to_owned());
        Ok(())
    }

    /// Restricts what came along below a bind, where that could not be done before it was attached.
    pub(crate) fn restrict_rest(&self) -> Result<(), Error> {
        restrict_below(&self.unrestricted, |path| self.open(path))
    }

    /// Opens a directory of the tree, made with its parents if it is missing.
    pub(crate) fn directory(&mut self, target: &Path) -> Result<OwnedFd, Error> {
        self.last_parent = None;
        let relative = below_root(target)?;
        if self.is_given(target) {
            let opened = self.open_given(target);
            return opened.map_err(|os| Error::NoPlace { path: target.to_owned(), os: os.into() });
        }
        self.make_directories(relative)
            .map_err(|os| Error::MakeTarget { path: target.to_owned(), os: os.into() })
    }

    /// Opens what lies at `target`, links resolved inside.
    pub(crate) fn open(&self, target: &Path) -> nix::Result<OwnedFd> {
        lookup::in_root(&self.root, target)
    }

    /// Mounts a file system on an open directory.
    pub(crate) fn mount_on(
        &self,
        directory: &OwnedFd,
        kind: &str,
        flags: MsFlags,
        options: &str,
    ) -> nix::Result<()> {
        fchdir(directory)?;
        mount(Some(kind), ".", Some(kind), flags, Some(options))
    }

    /// Also there the job may write.
    pub(crate) fn allow_writing(&mut self, target: &Path) {
        self.writable.push(target.to_owned());
    }

    /// Makes the tree the root of every process in this mount namespace and forgets the old one. Returns where the
    /// job may write.
    pub(crate) fn enter(self) -> Result<Vec<PathBuf>, Error> {
        let failed = |os: Errno| Error::EnterRoot { os: os.into() };
        fchdir(&self.root).map_err(failed)?;
        // The old root lands on top of the new one, and goes.
        pivot_root(".", ".").map_err(failed)?;
        umount2(".", MntFlags::MNT_DETACH).map_err(failed)?;
        chdir("/").map_err(failed)?;
        let flags = MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(failed)?;
        Ok(self.writable)
    }

    /// Binds a device: unlike everything else its mount may be used as one.
    pub(crate) fn bind_device(&mut self, target: &Path, device: &Source) -> Result<(), Error> {
        self.attach(target, device)
    }

    fn bind(&mut self, target: &Path, access: Access, source: &Source) -> Result<(), Error> {
        self.attach(target, source)?;
        if source.tree.is_none() {
            self.unrestricted.push((target.to_owned(), access));
            self.open(target)
                .and_then(|mounted| remount(&mounted, access))
                .map_err(|os| Error::Restrict { path: target.to_owned(), os: os.into() })?;
        }
        if access == Access::ReadWrite {
            self.writable.push(target.to_owned());
        }
        Ok(())
    }

    fn attach(&mut self, target: &Path, source: &Source) -> Result<(), Error> {
        let place = self.place(target, if source.directory { Kind::Directory } else { Kind::File })?;
        let failed = |os: Errno| Error::Attach { path: target.to_owned(), os: os.into() };
        match &source.tree {
            Some(tree) => match &place {
                MountTarget::Made { parent, name } => {
                    move_mount(tree.as_fd(), parent.as_fd(), name).map_err(failed)?
                }
                MountTarget::Found(found) => move_mount(tree.as_fd(), found.as_fd(), c"").map_err(failed)?,
            },
            None => {
                let on = match &place {
                    MountTarget::Made { parent, name } => {
                        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                        &openat(parent, name.as_c_str(), flags, Mode::empty()).map_err(failed)?
                    }
                    MountTarget::Found(found) => found,
                };
                bind_by_path(&source.opened, on).map_err(failed)?;
            }
        }
        self.keep_parent(target, place);
        Ok(())
    }

    fn overlay(&mut self, target: &Path, upper: &Path, sources: Vec<Source>) -> Result<(), Error> {
        let [lower, changes] = <[Source; 2]>::try_from(sources)
            .map_err(|_| Error::Message("an overlay came without its sources".to_owned()))?;
        let directory = self.directory(target)?;
        let name = upper.file_name().unwrap_or_default();
        overlay::mount_on(&self.root, &directory, &lower, &changes, name).map_err(|os| Error::Overlay {
            path: target.to_owned(),
            upper: upper.to_owned(),
            os: os.into(),
        })?;
        self.writable.push(target.to_owned());
        Ok(())
    }

    fn file(&mut self, target: &Path, contents: &[u8], mode: u32) -> Result<(), Error> {
        let (parent, name) = self.parent(target)?;
        let failed = |error: std::io::Error| Error::WriteFile { path: target.to_owned(), os: error.into() };
        let on_root = self.on_same_device(&parent)?;
        if on_root {
            self.replace(&parent, name);
            write_new(&parent, name, contents, mode).map_err(failed)?;
            self.last_parent = Some((parent_path(target), parent));
            return Ok(());
        }
        // Where the job may write, the file would be the job's: it is made on the root and bound, read-only.
        self.files += 1;
        let staged = format!(".file-{}", self.files);
        write_new(&self.root, OsStr::new(&staged), contents, mode).map_err(failed)?;
        let opened = openat(&self.root, staged.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|os| failed(os.into()))?;
        let tree = open_tree_clone(opened.as_fd(), c"").and_then(|tree| {
            let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
            set_attributes(tree.as_fd(), Attributes { set, private: true, idmap: None }).map(|()| tree)
        });
        let tree = match tree {
            Ok(tree) => Some(tree),
            Err(Errno::ENOSYS) => None,
            Err(os) => return Err(failed(os.into())),
        };
        self.bind(target, Access::ReadOnly, &Source { opened, tree, directory: false })?;
        unlinkat(&self.root, staged.as_str(), UnlinkatFlags::NoRemoveDir).map_err(|os| failed(os.into()))
    }

    fn symlink(&mut self, target: &Path, to: &Path) -> Result<(), Error> {
        let failed = |os: Errno| Error::MakeTarget { path: target.to_owned(), os: os.into() };
        let (parent, name) = self.parent(target)?;
        let device = fstat(&parent).map_err(failed)?.st_dev;
        if !self.own.contains(&device) {
            // Not ours to write to: a link there would stay on the host.
            return Err(failed(Errno::EROFS));
        }
        self.replace(&parent, name);
        symlinkat(to, &parent, name).map_err(failed)
    }

    /// A later entry lies on top of an earlier file or link of ours.
    fn replace(&mut self, parent: &OwnedFd, name: &OsStr) {
        let _ = unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
    }

    fn on_same_device(&self, parent: &OwnedFd) -> Result<bool, Error> {
        let device = |fd: &OwnedFd| fstat(fd).map(|stat| stat.st_dev);
        device(parent)
            .and_then(|ours| device(&self.root).map(|root| root == ours))
            .map_err(|os| Error::EnterRoot { os: os.into() })
    }

    /// The place for a mount: new, or found there.
    fn place(&mut self, target: &Path, kind: Kind) -> Result<MountTarget, Error> {
        if self.is_given(target) {
            let missing = |os: Errno| Error::NoPlace { path: target.to_owned(), os: os.into() };
            let found = self.open_given(target).map_err(missing)?;
            let is_directory = fstat(&found).map_err(missing)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
            return match (kind, is_directory) {
                (Kind::Directory, true) | (Kind::File, false) => Ok(MountTarget::Found(found)),
                (Kind::Directory, false) => Err(missing(Errno::ENOTDIR)),
                (Kind::File, true) => Err(missing(Errno::EISDIR)),
            };
        }
        let failed = |os: Errno| Error::MakeTarget { path: target.to_owned(), os: os.into() };
        let (parent, name) = self.parent(target)?;
        match make(&parent, name, kind) {
            Ok(()) => {
                let name = CString::new(name.as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
                Ok(MountTarget::Made { parent, name })
            }
            Err(Errno::EEXIST) => Ok(MountTarget::Found(self.open(target).map_err(failed)?)),
            Err(os) => Err(failed(os)),
        }
    }

    /// Whether it lies below a directory of the host's in which nothing is made.
    fn is_given(&self, target: &Path) -> bool {
        self.given.iter().any(|given| target != given && target.starts_with(given))
    }

    /// Opens what lies at `target` in a directory of the host's; no link in that is followed.
    fn open_given(&self, target: &Path) -> nix::Result<OwnedFd> {
        let around = self.given.iter().filter(|given| target.starts_with(given));
        let given = around.min_by_key(|given| given.as_os_str().len()).ok_or(Errno::ENOENT)?;
        let below = target.strip_prefix(given).map_err(|_| Errno::ENOENT)?;
        lookup::below(&self.open(given)?, below)
    }

    fn parent<'target>(&mut self, target: &'target Path) -> Result<(OwnedFd, &'target OsStr), Error> {
        let relative = below_root(target)?;
        let name = relative.file_name().ok_or_else(|| Error::Target { path: target.to_owned() })?;
        let parent = parent_path(target);
        if let Some((path, fd)) = self.last_parent.take()
            && path == parent
        {
            return Ok((fd, name));
        }
        let made = self.make_directories(relative.parent().unwrap_or(Path::new("")));
        Ok((made.map_err(|os| Error::MakeTarget { path: target.to_owned(), os: os.into() })?, name))
    }

    /// What was made new cannot lie over its own parent, so that the next sibling need not look that up again.
    fn keep_parent(&mut self, target: &Path, place: MountTarget) {
        if let MountTarget::Made { parent, .. } = place {
            self.last_parent = Some((parent_path(target), parent));
        }
    }

    fn make_directories(&self, relative: &Path) -> nix::Result<OwnedFd> {
        if relative.as_os_str().is_empty() {
            return self.open(Path::new("/"));
        }
        match self.open(relative) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let parent = self.make_directories(relative.parent().unwrap_or(Path::new("")))?;
        mkdirat(&parent, relative.file_name().unwrap_or_default(), Mode::from_bits_truncate(0o755))?;
        self.open(relative)
    }
}

/// What a mount point must be.
#[derive(Clone, Copy)]
enum Kind {
    Directory,
    File,
}

enum MountTarget {
    Made { parent: OwnedFd, name: CString },
    Found(OwnedFd),
}

fn make(parent: &OwnedFd, name: &OsStr, kind: Kind) -> nix::Result<()> {
    match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_bits_truncate(0o755)),
        Kind::File => {
            let flags =
                OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    }
}

fn write_new(parent: &OwnedFd, name: &OsStr, contents: &[u8], mode: u32) -> std::io::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(parent, name, flags, Mode::from_bits_truncate(mode & 0o777))?;
    File::from(file).write_all(contents)
}

/// A target as a path below the root; only plain components.
fn below_root(target: &Path) -> Result<&Path, Error> {
    let refused = || Error::Target { path: target.to_owned() };
    let relative = target.strip_prefix("/").map_err(|_| refused())?;
    let plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
    if relative.as_os_str().is_empty() || !plain { Err(refused()) } else { Ok(relative) }
}

fn parent_path(target: &Path) -> PathBuf {
    target.parent().unwrap_or(Path::new("/")).to_owned()
}
