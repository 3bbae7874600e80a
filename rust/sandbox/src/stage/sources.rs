//! What the plan binds: opened once, cloned, restricted, before anything is attached.
//!
//! What is guaranteed (and not): a source is opened by its path exactly once, and no component of that path may be a
//! symbolic link, so that whoever can write along the path cannot point it elsewhere between the caller's look and
//! this one; a path that is not real is an error. What is bound is the file or directory opened, whatever happens to
//! its name later. A *hard* link cannot be told from the file itself: whoever could make one in a bound directory
//! could already reach the file.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::wait::waitpid;
use nix::unistd::pipe2;

use super::lookup;
use crate::backend::Error;
use crate::plan::{Access, Entry};
use crate::sys::mount::{Attributes, open_tree_clone, set_attributes};
use crate::sys::process::{Forked, SingleThreaded, fork};

/// A file or directory of the host, ready to be attached.
#[derive(Debug)]
pub(crate) struct Source {
    /// The thing itself.
    pub(crate) opened: OwnedFd,
    /// Its restricted, detached clone; `None` where the kernel lacks the calls for it.
    pub(crate) tree: Option<OwnedFd>,
    /// Whether it is a directory.
    pub(crate) directory: bool,
}

/// What each entry of the tree binds, in order.
pub(crate) type Sources = Vec<Vec<Source>>;

/// Clones every source while still root, owners mapped to the job's kernel id where it must write or the others may
/// not read.
pub(crate) fn clone_all(tree: &[Entry], kernel_id: u32, proof: SingleThreaded) -> Result<Sources, Error> {
    let mut idmaps = IdMaps { kernel_id, proof, made: HashMap::new() };
    tree.iter().map(|entry| clone_entry(entry, Some(&mut idmaps))).collect()
}

/// Clones what one entry binds.
pub(crate) fn clone_entry(entry: &Entry, mut idmaps: Option<&mut IdMaps>) -> Result<Vec<Source>, Error> {
    match entry {
        Entry::Bind { source, access, .. } => {
            let owner = if *access == Access::ReadWrite { Owner::Job } else { Owner::JobIfPrivate };
            Ok(vec![clone(source, *access, owner, idmaps)?])
        }
        Entry::Overlay { lower, upper, .. } => {
            let parent = upper.parent().unwrap_or(Path::new("/"));
            let work = parent.join("work");
            match fs::create_dir(&work) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::WriteFile { path: work, os: error.into() });
                }
                _ => {}
            }
            // Both directories of the changes must lie on one mount: their common parent is what is cloned.
            // Who changes a file below changes a copy of it, and must own the original.
            let lower = clone(lower, Access::ReadOnly, Owner::Job, idmaps.as_deref_mut())?;
            let changes = clone(parent, Access::ReadWrite, Owner::Job, idmaps)?;
            Ok(vec![lower, changes])
        }
        Entry::File { .. } | Entry::Symlink { .. } | Entry::Directory { .. } => Ok(Vec::new()),
    }
}

/// Whose the source's files are, seen from inside, when root starts the jail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Job,
    /// The job's only if it could not read them otherwise: what root shows to everybody stays root's.
    JobIfPrivate,
}

fn clone(path: &Path, access: Access, owner: Owner, idmaps: Option<&mut IdMaps>) -> Result<Source, Error> {
    let opened = lookup::without_links(path).map_err(|os| match os {
        Errno::ELOOP => Error::SymlinkSource { path: path.to_owned() },
        os => Error::OpenSource { path: path.to_owned(), os: os.into() },
    })?;
    let stat = fstat(&opened).map_err(|os| Error::OpenSource { path: path.to_owned(), os: os.into() })?;
    let is = |kind: SFlag| stat.st_mode & SFlag::S_IFMT.bits() == kind.bits();
    let directory = is(SFlag::S_IFDIR);

    let failed = |os: Errno| Error::CloneSource { path: path.to_owned(), os: os.into() };
    let tree = match open_tree_clone(opened.as_fd(), c"") {
        Ok(tree) => tree,
        Err(Errno::ENOSYS) if idmaps.is_none() => return Ok(Source { opened, tree: None, directory }),
        Err(os) => return Err(failed(os)),
    };
    let namespace = match idmaps {
        Some(idmaps) if owner == Owner::Job || !everybody_reads(&stat, directory) => Some(
            idmaps.for_owner(&stat).map_err(|os| Error::IdMap { path: path.to_owned(), os: os.into() })?,
        ),
        _ => None,
    };
    let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if access == Access::ReadOnly {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    let attributes = Attributes { set, private: true, idmap: namespace.map(AsFd::as_fd) };
    match set_attributes(tree.as_fd(), attributes) {
        Ok(()) => Ok(Source { opened, tree: Some(tree), directory }),
        Err(Errno::ENOSYS) if namespace.is_none() => Ok(Source { opened, tree: None, directory }),
        Err(os) if namespace.is_some() => Err(Error::IdMap { path: path.to_owned(), os: os.into() }),
        Err(os) => Err(failed(os)),
    }
}

/// Whether a user who is neither owner nor in the group can use it.
fn everybody_reads(stat: &FileStat, directory: bool) -> bool {
    let needed = if directory { Mode::S_IROTH | Mode::S_IXOTH } else { Mode::S_IROTH };
    Mode::from_bits_truncate(stat.st_mode).contains(needed)
}

/// User namespaces through which an owner's files are the job's, one per owner.
#[derive(Debug)]
pub(crate) struct IdMaps {
    kernel_id: u32,
    proof: SingleThreaded,
    made: HashMap<(u32, u32), OwnedFd>,
}

impl IdMaps {
    fn for_owner(&mut self, stat: &FileStat) -> std::io::Result<&OwnedFd> {
        let owner = (stat.st_uid, stat.st_gid);
        if !self.made.contains_key(&owner) {
            let namespace = self.make(owner)?;
            self.made.insert(owner, namespace);
        }
        self.made.get(&owner).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// A user namespace needs a process to be made, and none to stay: the child ends as soon as it is held by us.
    fn make(&self, (uid, gid): (u32, u32)) -> std::io::Result<OwnedFd> {
        let (made_reader, made_writer) = pipe2(OFlag::O_CLOEXEC)?;
        let (done_reader, done_writer) = pipe2(OFlag::O_CLOEXEC)?;
        let child = match fork(self.proof)? {
            Forked::Child => {
                drop((made_reader, done_writer));
                if unshare(CloneFlags::CLONE_NEWUSER).is_ok() {
                    let _ = fs::File::from(made_writer).write_all(b"+");
                    let _ = fs::File::from(done_reader).read(&mut [0]);
                }
                // No return into the stage's story from here.
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                return Err(Errno::ECANCELED.into());
            }
            Forked::Parent(child) => child,
        };
        drop((made_writer, done_reader));
        let namespace = (|| {
            fs::File::from(made_reader).read_exact(&mut [0])?;
            fs::write(format!("/proc/{child}/uid_map"), format!("{uid} {} 1", self.kernel_id))?;
            fs::write(format!("/proc/{child}/gid_map"), format!("{gid} {} 1", self.kernel_id))?;
            Ok(fs::File::open(format!("/proc/{child}/ns/user"))?.into())
        })();
        drop(done_writer);
        waitpid(child, None)?;
        namespace
    }
}
