//! What every jail has: `/tmp` and its like, a small `/dev`, and a `/proc` of its own with the host's levers masked.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, mknodat};

use super::limits;
use super::sources::Source;
use super::tree::{Tree, WRITABLE_OPTIONS};
use crate::backend::Error;
use crate::plan::{Access, Entry};
use crate::sys::mount::{Attributes, move_mount, open_tree_clone, set_attributes};

/// For everybody, as on every system; together with the home and /dev/shm less than the machine's memory.
pub(crate) const SCRATCH: [(&str, &str); 3] =
    [("/tmp", WRITABLE_OPTIONS), ("/run", "size=5%,nr_inodes=64k"), ("/var/tmp", "size=10%,nr_inodes=256k")];
pub(crate) const SHARED_MEMORY_OPTIONS: &str = "size=15%,nr_inodes=64k";

/// Harmless devices; everything else of the host's /dev stays outside. An inode of the host's is seen by the host's
/// programs too, and a job can watch when they use it (inotify): of `/dev/tty`, where passwords are typed, it gets none.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];
/// The job's own terminal is the first one of its jail.
const OWN_TERMINAL: &str = "/dev/pts/0";
/// Terminals of the jail's own, which no other instance sees.
const PTS_OPTIONS: &str = "newinstance,ptmxmode=0666,mode=0620,max=256";

/// What container runtimes hide: memory, keys, timers and hardware of the host.
const HIDDEN: [&CStr; 12] = [
    c"acpi",
    c"asound",
    c"interrupts",
    c"kallsyms",
    c"kcore",
    c"keys",
    c"kpagecount",
    c"latency_stats",
    c"sched_debug",
    c"scsi",
    c"timer_list",
    c"timer_stats",
];
/// What may be read, and turned by nobody: a process of kernel uid 0 could by file mode alone.
const READ_ONLY: [&CStr; 6] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger", c"driver"];

/// Puts what may be covered by the plan's own entries into an empty tree.
pub(crate) fn lay(tree: &mut Tree) -> Result<(), Error> {
    for (path, options) in SCRATCH {
        tree.tmpfs(Path::new(path), &format!("mode=1777,{options}"), MsFlags::empty())?;
    }
    Ok(())
}

/// Adds `/dev`; returns the master side of a terminal if one is wanted.
pub(crate) fn add_devices(tree: &mut Tree, terminal: bool) -> Result<Option<OwnedFd>, Error> {
    let dev = Path::new("/dev");
    tree.tmpfs(dev, "mode=0755,size=1m,nr_inodes=1024", MsFlags::MS_NOEXEC)?;
    for name in DEVICES {
        let path = dev.join(name);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        bind_device(tree, &path, openat(AT_FDCWD, &path, flags, Mode::empty()))?;
    }
    for (link, to) in DEVICE_LINKS {
        tree.add(&Entry::Symlink { target: PathBuf::from(link), to: PathBuf::from(to) }, Vec::new())?;
    }
    tree.tmpfs(Path::new("/dev/shm"), &format!("mode=1777,{SHARED_MEMORY_OPTIONS}"), MsFlags::empty())?;

    add_message_queues(tree)?;
    let pts = dev.join("pts");
    let failed = |os: Errno| Error::Device { path: pts.clone(), os: os.into() };
    let directory = tree.directory(&pts)?;
    tree.mount_on(&directory, "devpts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, PTS_OPTIONS)
        .map_err(failed)?;
    let tty = dev.join("tty");
    if !terminal {
        // A socket: to open it fails with ENXIO, as it does on a host for who has no terminal.
        let made = tree
            .directory(dev)
            .map(|dev| mknodat(&dev, "tty", SFlag::S_IFSOCK, Mode::from_bits_truncate(0o666), 0))?;
        return made.map(|()| None).map_err(|os| Error::Device { path: tty, os: os.into() });
    }
    let mounted = tree.open(&pts).map_err(failed)?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = openat(&mounted, "ptmx", flags, Mode::empty()).map_err(failed)?;
    // The job's own terminal itself, not the device that stands for the controlling one: that is the host's inode.
    let own = tree.open(Path::new(OWN_TERMINAL));
    bind_device(tree, &tty, own)?;
    Ok(Some(master))
}

/// Binds a device, which is the jail's own or a harmless one of the host's.
fn bind_device(tree: &mut Tree, path: &Path, device: nix::Result<OwnedFd>) -> Result<(), Error> {
    let failed = |os: Errno| Error::Device { path: path.to_owned(), os: os.into() };
    let opened = device.map_err(failed)?;
    let cloned = match open_tree_clone(opened.as_fd(), c"") {
        Ok(cloned) => Some(cloned),
        Err(Errno::ENOSYS) => None,
        Err(os) => return Err(failed(os)),
    };
    tree.bind_device(path, &Source { opened, tree: cloned, directory: false })
}

/// Adds the POSIX message queues of the jail's own namespace. mq_open(3) does without the mount, but Landlock allows it
/// only where a rule can name the place.
fn add_message_queues(tree: &mut Tree) -> Result<(), Error> {
    let path = Path::new("/dev/mqueue");
    let directory = tree.directory(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match tree.mount_on(&directory, "mqueue", flags, "") {
        Ok(()) => tree.allow_writing(path),
        // A kernel without message queues.
        Err(Errno::ENODEV) => {}
        Err(os) => return Err(Error::Device { path: path.to_owned(), os: os.into() }),
    }
    Ok(())
}

/// Adds `/proc` of this process's pid namespace.
pub(crate) fn add_proc(tree: &mut Tree) -> Result<(), Error> {
    let path = Path::new("/proc");
    let failed = |os: Errno| Error::Proc { os: os.into() };
    let directory = tree.directory(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    tree.mount_on(&directory, "proc", flags, "").map_err(failed)?;
    let proc = tree.open(path).map_err(failed)?;
    let null = tree.open(Path::new("/dev/null")).map_err(failed)?;
    for name in HIDDEN {
        present(hide(&proc, name, &null)).map_err(failed)?;
    }
    limits::set_in_user_namespace(&proc)?;
    for name in READ_ONLY {
        present(make_read_only(&proc, name)).map_err(failed)?;
    }
    tree.allow_writing(path);
    Ok(())
}

/// Mounts a `/proc` of this process's pid namespace over the one that is there.
pub(crate) fn try_proc() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
}

/// Not every kernel has every file.
fn present(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

fn hide(proc: &OwnedFd, name: &CStr, null: &OwnedFd) -> nix::Result<()> {
    let place = openat(proc, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = nix::sys::stat::fstat(&place)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        nix::unistd::fchdir(&place)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        return mount(Some("tmpfs"), ".", Some("tmpfs"), flags, Some("size=0,nr_inodes=2,mode=0555"));
    }
    match open_tree_clone(null.as_fd(), c"") {
        Ok(cover) => move_mount(cover.as_fd(), place.as_fd(), c""),
        Err(Errno::ENOSYS) => super::old::bind_by_path(null, &place),
        Err(os) => Err(os),
    }
}

fn make_read_only(proc: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let place = openat(proc, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let set =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let restricted = open_tree_clone(place.as_fd(), c"").and_then(|tree| {
        set_attributes(tree.as_fd(), Attributes { set, ..Attributes::default() }).map(|()| tree)
    });
    match restricted {
        Ok(tree) => move_mount(tree.as_fd(), place.as_fd(), c""),
        Err(Errno::ENOSYS) => {
            super::old::bind_by_path(&place, &place)?;
            let mounted = openat(proc, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
            super::old::remount(&mounted, Access::ReadOnly)
        }
        Err(os) => Err(os),
    }
}
