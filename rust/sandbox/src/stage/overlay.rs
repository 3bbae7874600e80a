//! Overlays: a directory of the host whose changes go elsewhere.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, fchdir, unlinkat};

use super::sources::Source;
use crate::sys::mount::move_mount;

/// Mounts an overlay on a directory below `root`. An overlay wants its layers in this mount namespace, and takes them by path: they are attached for a moment.
pub(crate) fn mount_on(
    root: &OwnedFd,
    directory: &OwnedFd,
    lower: &Source,
    changes: &Source,
    upper: &OsStr,
) -> nix::Result<()> {
    let mut layers = Vec::new();
    for (name, source) in [(c".lower", lower), (c".changes", changes)] {
        mkdirat(root, name, Mode::S_IRWXU)?;
        let layer = match &source.tree {
            Some(tree) => {
                move_mount(tree.as_fd(), root.as_fd(), name)?;
                openat(root, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?
            }
            None => source.opened.try_clone().map_err(|_| Errno::EMFILE)?,
        };
        layers.push(layer);
    }
    let [lower_fd, changes_fd] = [0, 1].map(|layer| layers.get(layer).map_or(-1, AsRawFd::as_raw_fd));
    let mut options = format!("userxattr,lowerdir=/proc/self/fd/{lower_fd},workdir=/proc/self/fd/{changes_fd}/work,upperdir=/proc/self/fd/{changes_fd}/").into_bytes();
    for &byte in upper.as_bytes() {
        // The separators of mount options, escaped as overlayfs reads them.
        if matches!(byte, b'\\' | b',' | b':') {
            options.push(b'\\');
        }
        options.push(byte);
    }
    fchdir(directory)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounted = mount(Some("overlay"), ".", Some("overlay"), flags, Some(options.as_slice()));
    for (name, source) in [(".lower", lower), (".changes", changes)] {
        if source.tree.is_some() {
            fchdir(root)?;
            umount2(name, MntFlags::MNT_DETACH)?;
        }
        unlinkat(root, name, UnlinkatFlags::RemoveDir)?;
    }
    mounted
}
