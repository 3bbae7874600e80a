//! The proof that a container is a jail: its namespaces are not ours, and of the host's files it has what was asked
//! for and nothing else. Made from what its pid 1 shows, before anything of the job runs.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use super::job_dir::ContainerDir;
use super::layout::{ENGINES_FILES, Layout, Mount};
use super::program::Program;
use crate::backend::{ContainerError, Error};
use crate::relay::{ContainerInfo, kernel};
use crate::stage::mounted::{self, Mounted, Part, part_at};
use crate::wire::{NAMESPACES, read_plan};

/// What of the host may be seen in a container.
#[derive(Debug)]
pub(super) struct Visible {
    parts: Vec<Part>,
    overlays: Vec<PathBuf>,
    /// What is bound, by its path on this host.
    sources: Vec<PathBuf>,
}

impl Visible {
    /// What the layout binds, the jail's own tree, and the program.
    pub(super) fn of(
        layout: &Layout,
        place: &ContainerDir,
        program: &Program,
        is_relayed: bool,
    ) -> Result<Visible, Error> {
        let failed = |error: std::io::Error| ContainerError::OwnProgram { os: error.into() };
        let mounts = mounted::all().map_err(failed)?;
        let mut parts = layout.seen.clone();
        let own = program.files.iter().map(|(path, _)| path.as_path()).chain([place.path()]);
        for path in own.filter(|_| !is_relayed) {
            // Its directory may be reached by links.
            let path = path.canonicalize().map_err(failed)?;
            parts.extend(part_at(&mounts, &path));
        }
        let overlays = layout.mounts.iter().filter_map(|mount| match mount {
            Mount::Overlay { target, .. } => Some(target.clone()),
            _ => None,
        });
        let sources = layout.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind { source, .. } => Some(source.clone()),
            _ => None,
        });
        Ok(Visible { parts, overlays: overlays.collect(), sources: sources.collect() })
    }
}

/// Looks at what pid 1 shows: its namespaces, then its mount table.
pub(super) fn isolated(mut shown: Vec<OwnedFd>, visible: &Visible) -> Result<(), Error> {
    let table = shown.pop().ok_or_else(|| Error::Message("no mount table".to_owned()))?;
    for (position, name) in NAMESPACES.iter().enumerate() {
        is_another(shown.get(position), name)?;
    }
    let theirs: Vec<Mounted> = read_plan(table)?;
    // Read while the container is there: a number of a device is given again when its file system is gone.
    let ours = mounted::all().map_err(|error| ContainerError::OwnProgram { os: error.into() })?;
    match theirs.into_iter().find(|mount| !is_expected(mount, &ours, visible)) {
        Some(mount) => Err(ContainerError::Unexpected { path: mount.point }.into()),
        None => Ok(()),
    }
}

/// The same of a container behind a relay, which shows in words what it cannot show otherwise: nothing but loopback is
/// up in its network, and it is on another kernel, or in other namespaces of ours. The near end's network, which it
/// does show, is another than the host's.
pub(super) fn isolated_afar(
    info: &ContainerInfo,
    mut shown: Vec<OwnedFd>,
    visible: &Visible,
) -> Result<(), Error> {
    let table = shown.pop().ok_or_else(|| Error::Message("no mount table".to_owned()))?;
    is_another(shown.first(), "net")?;
    if info.interfaces.iter().any(|name| name != "lo") {
        return Err(Error::NotIsolated { namespace: "net".to_owned() });
    }
    let failed = |error: std::io::Error| ContainerError::OwnProgram { os: error.into() };
    let theirs: Vec<Mounted> = read_plan(table)?;
    let unexpected = if info.kernel == kernel().map_err(failed)? {
        for (position, name) in NAMESPACES.iter().enumerate() {
            if info.namespaces.get(position) == Some(&number(name)?) {
                return Err(Error::NotIsolated { namespace: (*name).to_owned() });
            }
        }
        let ours = mounted::all().map_err(failed)?;
        theirs.into_iter().find(|mount| !is_engines_file(mount) && !is_expected(mount, &ours, visible))
    } else {
        theirs.into_iter().find(|mount| !is_expected_afar(mount, visible))
    };
    match unexpected {
        Some(mount) => Err(ContainerError::Unexpected { path: mount.point }.into()),
        None => Ok(()),
    }
}

/// The number of a namespace of ours.
fn number(name: &str) -> Result<u64, Error> {
    let found = std::fs::metadata(format!("/proc/self/ns/{name}"));
    found
        .map(|found| found.ino())
        .map_err(|error| Error::Proof { namespace: name.to_owned(), os: error.into() })
}

/// Another kernel's numbers of devices say nothing here. Its own file systems are as they came; everything else is what
/// was asked for, by its path there, in whole or below where its share begins.
fn is_expected_afar(mount: &Mounted, visible: &Visible) -> bool {
    const OWN: [&str; 8] = ["tmpfs", "proc", "sysfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2"];
    let is_kernels = OWN.contains(&mount.kind.as_str());
    let is_own = is_kernels
        && (mount.root == Path::new("/")
            || mount.kind.starts_with("cgroup")
            || (mount.kind == "proc" && mount.point.starts_with("/proc"))
            || mount.root == Path::new("/null"));
    let tail = |path: &Path| path.strip_prefix("/").unwrap_or(path).to_owned();
    let root = tail(&mount.root);
    let is_part = !is_kernels && !root.as_os_str().is_empty();
    let is_asked_for =
        |source: &PathBuf| is_part && (mount.root.ends_with(tail(source)) || source.ends_with(&root));
    mount.point == Path::new("/")
        || is_own
        || is_engines_file(mount)
        || visible.sources.iter().any(is_asked_for)
}

/// What engines keep for each container, and put where it looks for names.
fn is_engines_file(mount: &Mounted) -> bool {
    ENGINES_FILES.iter().any(|file| mount.point == Path::new(file))
        && mount.root.file_name() == mount.point.file_name()
        && mount.root.iter().any(|part| part.to_string_lossy().ends_with("containers"))
}

/// Compares a namespace, by what the kernel says of its descriptor, with ours.
fn is_another(theirs: Option<&OwnedFd>, name: &str) -> Result<(), Error> {
    let namespace = name.to_owned();
    let failed = |os: Errno| Error::Proof { namespace: namespace.clone(), os: os.into() };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let ours = openat(AT_FDCWD, format!("/proc/self/ns/{name}").as_str(), flags, Mode::empty());
    let ours = ours.and_then(fstat).map_err(failed)?;
    let theirs = theirs.ok_or(Errno::EBADF).and_then(fstat).map_err(failed)?;
    // All namespaces lie on one file system of the kernel's; anything else is none.
    if theirs.st_dev != ours.st_dev {
        return Err(failed(Errno::EBADF));
    }
    if theirs.st_ino == ours.st_ino { Err(Error::NotIsolated { namespace }) } else { Ok(()) }
}

/// The engine has followed paths, in a workspace that somebody may be changing: to sources and to mount points. Names
/// there can be changed any time, so what counts is not where something is mounted but what: its path in its own file
/// system.
fn is_expected(mount: &Mounted, hosts: &[Mounted], visible: &Visible) -> bool {
    // A file system without a disk that the host has not mounted is the container's own; a control group's is the
    // engine's doing.
    let is_of_host = !mount.device.starts_with("0:") || hosts.iter().any(|host| host.device == mount.device);
    let is_engines = mount.point == Path::new("/")
        || mount.kind.starts_with("cgroup")
        || is_mark(mount)
        || is_harmless_device(mount, hosts);
    let is_overlay = mount.root == Path::new("/") && visible.overlays.contains(&mount.point);
    let is_visible = |part: &Part| mount.device == part.device && mount.root.starts_with(&part.root);
    !is_of_host || is_engines || is_overlay || visible.parts.iter().any(is_visible)
}

/// What an engine without root's rights binds of the host's devices, since it cannot make them.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// An engine without root's rights cannot make devices and binds the host's; the null device also as a mask.
fn is_harmless_device(mount: &Mounted, hosts: &[Mounted]) -> bool {
    let of_devices = |host: &Mounted| host.device == mount.device && host.point == Path::new("/dev");
    hosts.iter().any(of_devices) && DEVICES.iter().any(|name| mount.root == Path::new("/").join(name))
}

/// Podman's sign that this is a container.
fn is_mark(mount: &Mounted) -> bool {
    mount.point == Path::new("/run/.containerenv") && mount.root.ends_with(".containerenv")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: &str, root: &str, point: &str) -> Mounted {
        Mounted { device: device.into(), root: root.into(), point: point.into(), kind: "ext4".into() }
    }

    #[test]
    fn only_what_was_asked_for_is_expected_wherever_it_is_mounted() {
        let hosts = [mount("8:1", "/", "/"), mount("0:40", "/", "/run")];
        let parts = vec![Part { device: "8:1".into(), root: "/home/me/project".into() }];
        let visible = Visible { parts, overlays: vec!["/w".into()], sources: Vec::new() };
        let expected = |device: &str, root: &str, point: &str| {
            is_expected(&mount(device, root, point), &hosts, &visible)
        };
        assert!(expected("8:1", "/home/me/project", "/home/me/project"));
        assert!(expected("8:1", "/home/me/project/.envrc", "/elsewhere"));
        assert!(!expected("8:1", "/home/me/project-of-another", "/home/me/project"));
        assert!(!expected("8:1", "/home/me/.ssh/id", "/home/me/project/.envrc"));
        assert!(!expected("0:40", "/user/agent.sock", "/dev/x"));
        assert!(expected("0:99", "/", "/tmp") && !expected("8:99", "/", "/tmp"));
        let hosts = [mount("0:5", "/", "/dev")];
        assert!(is_expected(&mount("0:5", "/null", "/proc/keys"), &hosts, &visible));
        assert!(!is_expected(&mount("0:5", "/mem", "/dev/null"), &hosts, &visible));
        assert!(expected("0:40", "/", "/w") && !expected("0:40", "/x", "/w"));
    }

    #[test]
    fn on_another_kernel_only_what_was_asked_for_is_expected_by_its_path() {
        let sources = vec!["/home/me/project".into(), "/home/me/project/.envrc".into()];
        let visible = Visible { parts: Vec::new(), overlays: Vec::new(), sources };
        let expected = |kind: &str, root: &str, point: &str| {
            let mount =
                Mounted { device: "0:7".into(), root: root.into(), point: point.into(), kind: kind.into() };
            is_expected_afar(&mount, &visible)
        };
        assert!(expected("overlay", "/", "/") && expected("tmpfs", "/", "/tmp"));
        assert!(expected("proc", "/sys", "/proc/sys") && expected("tmpfs", "/null", "/proc/keys"));
        for root in ["/home/me/project", "/shares/home/me/project", "/me/project"] {
            assert!(expected("virtiofs", root, "/home/me/project"), "{root}");
        }
        assert!(expected("ext4", "/var/lib/docker/containers/1f/hosts", "/etc/hosts"));
        for (kind, root, point) in [
            ("virtiofs", "/home/me/.ssh/id", "/home/me/project/.envrc"),
            ("virtiofs", "/", "/home/me/project"),
            ("virtiofs", "/home/me/project-of-another", "/home/me/project"),
            ("tmpfs", "/docker.sock", "/home/me/project/.envrc"),
            ("ext4", "/var/lib/docker/containers/1f/secret", "/etc/hosts"),
            ("ext4", "/etc/hosts", "/etc/hosts"),
            ("devtmpfs", "/sda", "/dev/null"),
        ] {
            assert!(!expected(kind, root, point), "{root}");
        }
    }
}
