//! The stage in a container: pid 1 of it, started by the engine as root of the container with the six capabilities
//! that it takes to set up the network and to become the job's user.
//!
//! The engine has made the namespaces and the mounts. What is left is what [`init`] does: routes and
//! listeners, which go to the launcher over a socket that is bound into the container and gone before the job starts;
//! then every privilege goes, for good, and the command is started and watched over. As on the other side of a native
//! stage, the end of the conversation is the end of the jail: with pid 1 the kernel ends everything in the container.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, fstat, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{AccessFlags, Gid, Pid, Uid, access, chown, setgroups, setresgid, setresuid};

use super::init::{self, Role, adopt_terminal, terminal_failed};
use super::{NOT_FOR_PEOPLE, filter, job, limits, mounted, network};
use crate::backend::{ContainerError, Error, JobIds};
use crate::plan::Entry;
use crate::relay::{self, far};
use crate::sys::capabilities;
use crate::sys::process::SingleThreaded;
use crate::wire::{
    Bound, Channel, FromStage, Furnishing, Identity, NAMESPACES, ToStage, read_plan, seal_plan,
};

/// The first argument that tells the program to be a container's pid 1; the second is the launcher's socket, or
/// [`RELAY`].
pub const ARGUMENT: &str = "__container";

/// The second argument where the launcher is behind a relay.
pub(crate) const RELAY: &str = "relay";

/// Whether this process is to be a container's pid 1.
pub fn is_wanted(first_argument: Option<&OsStr>) -> bool {
    first_argument == Some(OsStr::new(ARGUMENT))
}

/// Is pid 1 of a container. Call it first thing in `main`, before any thread is started.
pub fn main() -> ExitCode {
    let path = std::env::args_os().nth(2);
    let (Some(path), Some(proof), 1) = (path, SingleThreaded::check(), std::process::id()) else {
        eprintln!(
            "jail: `{ARGUMENT}` is how the jail starts itself in a container; it is not for use by hand"
        );
        return ExitCode::from(NOT_FOR_PEOPLE);
    };
    if path == RELAY {
        return far::main(proof);
    }
    let channel = match call(Path::new(&path)) {
        Ok(channel) => channel,
        Err(os) => {
            // Read by the launcher through the engine.
            eprintln!("the container cannot reach the launcher: {}", os.desc());
            return ExitCode::FAILURE;
        }
    };
    converse(&channel, proof)
}

/// Is the stage for whoever is at the channel's other end.
pub(crate) fn converse(channel: &Channel, proof: SingleThreaded) -> ExitCode {
    match run(channel, proof) {
        Ok(code) => code,
        Err(error) => {
            let _ = channel.send(&FromStage::Failed(error), &[]);
            ExitCode::FAILURE
        }
    }
}

fn call(path: &Path) -> nix::Result<Channel> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path)?)?;
    Ok(Channel::inherited(fd))
}

fn run(channel: &Channel, proof: SingleThreaded) -> Result<ExitCode, Error> {
    // As pid 1 we get no signal from inside anyway; the engine's reach the job by the launcher's message.
    SigSet::all().thread_set_mask().map_err(|os| Error::watch("block signals", os))?;
    let Some((ToStage::Begin { identity }, fds)) = channel.receive()? else {
        return Ok(ExitCode::FAILURE);
    };
    let [furnishing, stdin, stdout, stderr] = <[OwnedFd; 4]>::try_from(fds)
        .map_err(|fds| Error::Message(format!("{} descriptors instead of 4", fds.len())))?;
    let furnishing: Furnishing = read_plan(furnishing)?;
    let Furnishing { plan, writable, own, owned, bound, kernel, outside, processes, file_mask } = furnishing;

    network::set_up(&plan.listen, channel)?;
    show(channel)?;
    find_ids(identity, outside)?;
    channel.send(&FromStage::Ready, &[])?;

    let mut streams = [stdin, stdout, stderr];
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    own.iter().try_for_each(make)?;
    owned.iter().try_for_each(|path| give(path, identity))?;
    become_job(identity)?;
    let is_elsewhere = kernel.is_some_and(|theirs| relay::kernel().is_ok_and(|ours| ours != theirs));
    // As the owner: root without capabilities may not pass through everybody's directories.
    bound
        .iter()
        .try_for_each(|bound| if is_elsewhere { check_shared(bound, &writable) } else { check(bound) })?;
    umask(Mode::empty());
    plan.tree.iter().try_for_each(make)?;
    umask(Mode::from_bits_truncate(file_mask));
    let terminal = if streams.iter().any(IsTerminal::is_terminal) {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = openat(AT_FDCWD, "/dev/pts/ptmx", flags, Mode::empty())
            .map_err(|os| terminal_failed("make it", os))?;
        Some(adopt_terminal(channel, &master, &mut streams)?)
    } else {
        None
    };
    let open_files = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|os| Error::Limit { what: "open files".to_owned(), os: os.into() })?;
    prctl::set_no_new_privs().map_err(|os| Error::watch("set no_new_privs", os))?;
    limits::turn_core_files_off()?;
    filter::apply(&plan.weakened, plan.limits.disk.is_some())?;

    let setting = job::Setting { streams, terminal, writable, open_files, processes };
    match init::serve(channel, proof, &plan, setting)? {
        Role::Command(code) => Ok(code),
        Role::Init(code) => {
            end_the_rest();
            channel.send(&FromStage::Gone, &[])?;
            Ok(code)
        }
    }
}

/// Shows the launcher where we are: the namespaces as descriptors, which it can tell from its own without any right over
/// this process, and the mount table.
fn show(channel: &Channel) -> Result<(), Error> {
    let mut shown = Vec::new();
    for name in NAMESPACES {
        let opened = File::open(format!("/proc/self/ns/{name}"))
            .map_err(|error| Error::Proof { namespace: name.to_owned(), os: error.into() })?;
        shown.push(opened);
    }
    let mounts =
        mounted::all().map_err(|error| Error::Proof { namespace: "mnt".to_owned(), os: error.into() })?;
    shown.push(seal_plan(&mounts)?);
    let fds: Vec<_> = shown.iter().map(AsFd::as_fd).collect();
    channel.send(&FromStage::Surroundings, &fds)
}

/// Whether the job's ids mean on the host whom they are to mean.
fn find_ids(identity: Identity, outside: JobIds) -> Result<(), Error> {
    for (file, inside, outside) in
        [("uid_map", identity.inside_uid, outside.uid), ("gid_map", identity.inside_gid, outside.gid)]
    {
        let map = fs::read_to_string(format!("/proc/self/{file}"))
            .map_err(|error| Error::MapIds { os: error.into(), cure: "is /proc mounted?".to_owned() })?;
        if mapped(&map, inside) != Some(outside) {
            let map = map.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(ContainerError::Ids { uid: outside, map: format!("{file}: {map}") }.into());
        }
    }
    Ok(())
}

/// What an id is outside of its user namespace.
pub(crate) fn mapped(map: &str, inside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, onto, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let distance = inside.checked_sub(first)?;
        (distance < count).then(|| onto.checked_add(distance))?
    })
}

/// What was asked for must be there, and be what the launcher looked at.
fn check(bound: &Bound) -> Result<(), Error> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let found = openat2(AT_FDCWD, &bound.target, how).and_then(fstat);
    let same = found.is_ok_and(|found| (found.st_dev, found.st_ino) == (bound.device, bound.inode));
    if same { Ok(()) } else { Err(ContainerError::Replaced { path: bound.target.clone() }.into()) }
}

/// The same of an engine elsewhere, whose file systems have numbers of their own: a directory that is not shared with
/// it may be there too, and be another one.
fn check_shared(bound: &Bound, writable: &[PathBuf]) -> Result<(), Error> {
    let path = &bound.target;
    let same = fs::symlink_metadata(path).is_ok_and(|found| {
        let size = found.is_file().then_some(found.len());
        (found.file_type().is_symlink(), size, found.mtime()) == (false, bound.size, bound.modified)
    });
    if !same {
        return Err(ContainerError::NotShared { path: path.clone() }.into());
    }
    if writable.contains(path) && access(path, AccessFlags::W_OK).is_err() {
        return Err(ContainerError::NotWritable { path: path.clone() }.into());
    }
    Ok(())
}

/// An empty directory in memory is the engine's root's until it is given away.
fn give(path: &Path, identity: Identity) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(identity.inside_uid), Gid::from_raw(identity.inside_gid));
    chown(path, Some(uid), Some(gid)).map_err(|os| Error::MakeTarget { path: path.to_owned(), os: os.into() })
}

/// No capability is left afterwards, and none comes back.
fn become_job(identity: Identity) -> Result<(), Error> {
    let privileges = |step: &str, os: Errno| Error::Privileges { step: step.to_owned(), os: os.into() };
    let Identity { inside_uid, inside_gid, .. } = identity;
    let (uid, gid) = (Uid::from_raw(inside_uid), Gid::from_raw(inside_gid));
    capabilities::bound().map_err(|os| privileges("empty the bounding set", os))?;
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|os| Error::TakeIds { uid: inside_uid, os: os.into() })?;
    capabilities::drop_all().map_err(|os| privileges("drop capabilities", os))
}

/// Makes what lies on a file system that came with the container.
fn make(entry: &Entry) -> Result<(), Error> {
    let failed =
        |path: &Path, error: std::io::Error| Error::MakeTarget { path: path.to_owned(), os: error.into() };
    match entry {
        Entry::Symlink { target, to } => {
            let parent = target.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent)
                .and_then(|()| symlink(to, target))
                .map_err(|error| failed(target, error))
        }
        Entry::Directory { target, .. } => fs::create_dir_all(target).map_err(|error| failed(target, error)),
        // A place for what the engine has mounted there is made already; so are its own files.
        Entry::File { target, .. } if target.symlink_metadata().is_ok() => Ok(()),
        Entry::File { target, contents, mode } => {
            fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))
                .and_then(|()| fs::write(target, contents))
                .and_then(|()| fs::set_permissions(target, fs::Permissions::from_mode(mode & 0o777)))
                .map_err(|error| failed(target, error))
        }
        Entry::Bind { .. } | Entry::Overlay { .. } => {
            Err(Error::Message("a container's pid 1 mounts nothing".to_owned()))
        }
    }
}

/// Kills and reaps what the command has left behind, so that nothing of the job runs when its end is told.
fn end_the_rest() {
    let everybody = Pid::from_raw(-1);
    let _ = kill(everybody, Signal::SIGKILL);
    loop {
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR | Errno::EINVAL) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shared_with_another_kernel_is_told_by_size_and_time() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        fs::write(&target, "1234").unwrap();
        let modified = fs::metadata(&target).unwrap().mtime();
        // Its numbers there are others.
        let bound = |size, modified| Bound { target: target.clone(), device: 0, inode: 0, size, modified };
        let not_shared = Err(ContainerError::NotShared { path: target.clone() }.into());
        assert_eq!(check_shared(&bound(Some(4), modified), &[]), Ok(()));
        assert_eq!(check_shared(&bound(Some(5), modified), &[]), not_shared);
        assert_eq!(check_shared(&bound(Some(4), modified - 1), &[]), not_shared);
        assert_eq!(check_shared(&bound(None, modified), &[]), not_shared);
        let link = directory.path().join("link");
        symlink(&target, &link).unwrap();
        let of_link = Bound { target: link, ..bound(Some(4), modified) };
        assert!(check_shared(&of_link, &[]).is_err());
        assert_eq!(check_shared(&bound(Some(4), modified), std::slice::from_ref(&target)), Ok(()));
    }

    #[test]
    fn ids_are_looked_up_in_the_map() {
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(mapped(rootless, 0), Some(1000));
        assert_eq!(mapped(rootless, 1), Some(100_000));
        assert_eq!(mapped(rootless, 65_537), None);
        assert_eq!(mapped("0 0 4294967295\n", 1000), Some(1000));
        assert_eq!(mapped("", 0), None);
    }
}
