//! Protection that lasts: mounts that are made anew when the host replaces what they lie on.
//!
//! A job's protected files are read-only bind mounts in its mount namespace. When a process of the host renames
//! another file over one of them (`git config` and editors save so) or removes it, the kernel detaches the mount, and the
//! job would see the new file as writable as the directory around it. So the outer stage watches: it is in the job's
//! mount namespace with every capability over it, and outside of the job's PID namespace, where no process of the job
//! can see, signal or trace it. It takes no orders, neither from the job nor from the launcher: it knows the places from
//! the plan, and acts on what the kernel reports of the directories around them.
//!
//! Between the host's change and ours the new file is unprotected for a moment. So the processes of the job are searched
//! for what was opened in that moment, and the job is ended if something was and stays open. What was written meanwhile
//! shows in the launcher's comparison at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{fchdir, pipe2};

use super::{holders, lookup};
use crate::backend::Error;
use crate::plan::{Access, Entry, Plan};
use crate::sys::mount::{Attributes, locate, move_mount, open_tree_clone, set_attributes};

/// How often everything is looked at again because something changed meanwhile.
const PASSES: usize = 64;

/// A mount that is to last.
#[derive(Clone, Debug)]
struct WatchedMount {
    target: PathBuf,
    access: Access,
    /// The file that was seen there last, for kernels that do not tell a mount point.
    seen: Option<(u64, u64)>,
}

/// How init and the outer stage meet before the job starts: init says that the tree is complete, the outer stage that
/// it watches.
pub(crate) struct Meeting {
    built: (OwnedFd, OwnedFd),
    watched: (OwnedFd, OwnedFd),
    /// The mount table of the namespace that both are in: it polls as urgent when a mount appears or goes.
    table: Option<File>,
}

/// Init's side of a [`Meeting`].
pub(crate) struct Builder {
    built: File,
    watched: File,
}

/// The outer stage's side of a [`Meeting`].
pub(crate) struct Waiting {
    built: File,
    watched: File,
    table: Option<File>,
    places: Vec<WatchedMount>,
}

/// Watches, and mounts anew.
pub(crate) struct Watcher {
    root: OwnedFd,
    places: Vec<WatchedMount>,
    inotify: Inotify,
    /// The names that count in a watched directory.
    watches: BTreeMap<WatchDescriptor, BTreeSet<Vec<u8>>>,
    table: Option<File>,
}

impl Meeting {
    /// Prepares one, if the plan has anything that is to last. Call it in the job's mount namespace, before the fork.
    pub(crate) fn of(plan: &Plan) -> Result<Option<Meeting>, Error> {
        if plan.durable.is_empty() {
            return Ok(None);
        }
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|os| failed("make a pipe", os));
        let table = File::open("/proc/self/mountinfo").ok();
        Ok(Some(Meeting { built: pipe()?, watched: pipe()?, table }))
    }

    /// The side of init.
    pub(crate) fn builder(self) -> Builder {
        Builder { built: self.built.1.into(), watched: self.watched.0.into() }
    }

    /// The side of the outer stage.
    pub(crate) fn waiting(self, plan: &Plan) -> Waiting {
        Waiting {
            built: self.built.0.into(),
            watched: self.watched.1.into(),
            table: self.table,
            places: places(plan),
        }
    }
}

impl Builder {
    /// Says that the tree is complete and entered.
    pub(crate) fn is_built(&mut self) -> Result<(), Error> {
        self.built
            .write_all(b"+")
            .map_err(|error| Error::WatchProtected { step: "begin".to_owned(), os: error.into() })
    }

    /// Waits until every place is watched.
    pub(crate) fn await_watcher(mut self) -> Result<(), Error> {
        // Without an answer the outer stage has failed, and has said why.
        self.watched.read_exact(&mut [0]).map_err(|error| Error::WatchProtected {
            step: "wait for the watcher".to_owned(),
            os: error.into(),
        })
    }
}

impl Waiting {
    /// Waits for the tree and starts to watch; `None` if init has ended before.
    pub(crate) fn watch(mut self) -> Result<Option<Watcher>, Error> {
        if self.built.read_exact(&mut [0]).is_err() {
            return Ok(None);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // Init's pivot_root(2) has moved the root of every process in this mount namespace.
        let root = openat(AT_FDCWD, "/", flags, Mode::empty()).map_err(|os| failed("open the root", os))?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|os| failed("make an inotify instance", os))?;
        let mut watcher =
            Watcher { root, places: self.places, inotify, watches: BTreeMap::new(), table: self.table };
        watcher.restore()?;
        self.watched.write_all(b"+").map_err(|error| Error::WatchProtected {
            step: "let the job start".to_owned(),
            os: error.into(),
        })?;
        Ok(Some(watcher))
    }
}

impl Watcher {
    /// What becomes readable when a name appears in a watched directory.
    pub(crate) fn names(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// What polls as urgent when a mount appears or goes.
    pub(crate) fn table(&self) -> Option<BorrowedFd<'_>> {
        self.table.as_ref().map(AsFd::as_fd)
    }

    /// Acts on what was reported. `mounts_changed` says that the mount table did.
    pub(crate) fn act(&mut self, mounts_changed: bool) -> Result<(), Error> {
        /// Reads of one turn. A job may make names without end; what is left is read in the next turn.
        const MOST_READS: usize = 64;
        let mut counts = mounts_changed;
        for _ in 0..MOST_READS {
            match self.inotify.read_events() {
                Ok(events) => {
                    counts |= events.iter().any(|event| {
                        // A job may have made so many names that the kernel has dropped some.
                        event.mask.intersects(AddWatchFlags::IN_Q_OVERFLOW | AddWatchFlags::IN_IGNORED)
                            || self.watches.get(&event.wd).is_some_and(|names| {
                                event.name.as_ref().is_some_and(|name| names.contains(name.as_bytes()))
                            })
                    });
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(os) => return Err(failed("read events", os)),
            }
        }
        if counts { self.restore() } else { Ok(()) }
    }

    /// Mounts anew what is not mounted any more, until there is nothing to do.
    fn restore(&mut self) -> Result<(), Error> {
        let mut restored: Vec<(PathBuf, Option<u64>)> = Vec::new();
        for _ in 0..PASSES {
            let mut changed = false;
            for index in 0..self.places.len() {
                if let Some(bare) = self.restore_place(index)? {
                    restored.push(bare);
                    changed = true;
                }
            }
            // What happened before a directory was watched is found by another pass.
            if !self.watch_directories()? && !changed {
                return self.check_holders(restored);
            }
        }
        // The host goes on replacing files; its next change is the next event.
        self.check_holders(restored)
    }

    /// Makes one place what it is to be. Returns the target, and the mount on which the file was bare, if it was.
    fn restore_place(&mut self, index: usize) -> Result<Option<(PathBuf, Option<u64>)>, Error> {
        let Some(place) = self.places.get(index) else { return Ok(None) };
        let (target, access) = (place.target.clone(), place.access);
        let unprotected = |os: Errno| Error::Unprotected { path: target.clone(), os: os.into() };
        let opened = match lookup::below(&self.root, &target) {
            Ok(opened) => opened,
            // Absent, or a link that the host has put there: a link cannot be written to. What it comes to is reported.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(os) => return Err(unprotected(os)),
        };
        let stat = fstat(&opened).map_err(unprotected)?;
        let kind = stat.st_mode & SFlag::S_IFMT.bits();
        if kind != SFlag::S_IFREG.bits() && kind != SFlag::S_IFDIR.bits() {
            return Ok(None);
        }
        #[allow(clippy::useless_conversion, reason = "the types differ between C libraries")]
        let identity = (u64::from(stat.st_dev), u64::from(stat.st_ino));
        let located = locate(opened.as_fd(), c"").map_err(unprotected)?;
        let is_mounted = match (located, access) {
            (Some(located), _) => located.is_mount_root,
            (None, Access::ReadOnly) => {
                fstatvfs(&opened).map_err(unprotected)?.flags().contains(FsFlags::ST_RDONLY)
            }
            (None, Access::ReadWrite) => place.seen.is_none_or(|seen| seen == identity),
        };
        if let Some(place) = self.places.get_mut(index) {
            place.seen = Some(identity);
        }
        if is_mounted {
            return Ok(None);
        }
        match cover(&self.root, &target, &opened, access) {
            Ok(()) => Ok(Some((target, located.map(|located| located.mount)))),
            // It was replaced again meanwhile: another pass will see.
            Err(Errno::ENOENT) => Ok(Some((target, located.map(|located| located.mount)))),
            Err(os) => Err(unprotected(os)),
        }
    }

    /// Watches the directories around all places; whether one of them is new.
    fn watch_directories(&mut self) -> Result<bool, Error> {
        let mut names: BTreeMap<&Path, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for place in &self.places {
            if let (Some(parent), Some(name)) = (place.target.parent(), place.target.file_name()) {
                names.entry(parent).or_default().insert(name.as_bytes().to_vec());
            }
        }
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut watches = BTreeMap::new();
        for (directory, names) in names {
            let watched = lookup::below(&self.root, directory)
                .and_then(|opened| fchdir(&opened))
                .and_then(|()| self.inotify.add_watch(".", flags));
            match watched {
                Ok(watch) => drop(watches.insert(watch, names)),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(os) => return Err(failed("watch a directory", os)),
            }
        }
        // No directory is kept busy, or alive, by this process.
        fchdir(&self.root).map_err(|os| failed("go back to the root", os))?;
        let is_new = watches.keys().any(|watch| !self.watches.contains_key(watch));
        self.watches = watches;
        Ok(is_new)
    }

    /// An error if a process of the job holds something that it opened while it was bare.
    fn check_holders(&self, restored: Vec<(PathBuf, Option<u64>)>) -> Result<(), Error> {
        let bare: Vec<(PathBuf, u64)> =
            restored.into_iter().filter_map(|(target, mount)| Some((target, mount?))).collect();
        if bare.is_empty() {
            return Ok(());
        }
        match holders::remaining(&bare) {
            None => Ok(()),
            Some(path) => Err(Error::OpenedUnprotected { path }),
        }
    }
}

fn places(plan: &Plan) -> Vec<WatchedMount> {
    let access = |wanted: &Path| {
        plan.tree.iter().rev().find_map(|entry| match entry {
            Entry::Bind { target, access, .. } if target == wanted => Some(*access),
            _ => None,
        })
    };
    let place = |target: &PathBuf| {
        // What the plan does not bind is not there to last.
        access(target).map(|access| WatchedMount { target: target.clone(), access, seen: None })
    };
    plan.durable.iter().filter_map(place).collect()
}

/// Mounts a file or directory over itself.
fn cover(root: &OwnedFd, target: &Path, opened: &OwnedFd, access: Access) -> nix::Result<()> {
    let tree = match open_tree_clone(opened.as_fd(), c"") {
        Err(Errno::ENOSYS) => return cover_by_path(root, target, access),
        tree => tree?,
    };
    let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if access == Access::ReadOnly {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    match set_attributes(tree.as_fd(), Attributes { set, private: true, idmap: None }) {
        Err(Errno::ENOSYS) => cover_by_path(root, target, access),
        result => result.and_then(|()| move_mount(tree.as_fd(), opened.as_fd(), c"")),
    }
}

/// The same by mount(2), on kernels before 5.12. There is no /proc of this process in the jail by which a descriptor
/// could be named; so the directory around it is entered.
fn cover_by_path(root: &OwnedFd, target: &Path, access: Access) -> nix::Result<()> {
    let parent = lookup::below(root, target.parent().unwrap_or(Path::new("/")))?;
    fchdir(&parent)?;
    let name =
        CString::new(target.file_name().unwrap_or(OsStr::new(".")).as_bytes()).map_err(|_| Errno::EINVAL)?;
    let none = None::<&str>;
    let bound = mount(Some(name.as_c_str()), name.as_c_str(), none, MsFlags::MS_BIND | MsFlags::MS_REC, none);
    let restricted = bound.and_then(|()| {
        let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        flags.set(MsFlags::MS_RDONLY, access == Access::ReadOnly);
        mount(none, name.as_c_str(), none, flags, none)
    });
    fchdir(root)?;
    restricted
}

fn failed(step: &str, os: Errno) -> Error {
    Error::WatchProtected { step: step.to_owned(), os: os.into() }
}
