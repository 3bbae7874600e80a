//! The mount API of Linux 5.2 and later: trees that are cloned, restricted and then attached by descriptor.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// Attributes of a mount, and how it is changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a> {
    /// Bits to set: `libc::MOUNT_ATTR_*`.
    pub(crate) set: u64,
    /// Whether the mount leaves its peer group, so that neither side sees the other's later mounts.
    pub(crate) private: bool,
    /// A user namespace through which the owners of files are seen.
    pub(crate) idmap: Option<BorrowedFd<'a>>,
}

/// A detached copy of what lies at `path` beneath `directory` (or at `directory` itself if `path` is empty), with
/// everything mounted below it.
pub(crate) fn open_tree_clone(directory: BorrowedFd<'_>, path: &CStr) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as libc::c_uint;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), path.as_ptr(), flags) };
    let fd = Errno::result(result)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us.
    // JUSTIFICATION: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a detached tree at `path` beneath `directory` (or on `directory` itself if `path` is empty). A symbolic
/// link at the end of `path` is not followed.
pub(crate) fn move_mount(tree: BorrowedFd<'_>, directory: BorrowedFd<'_>, path: &CStr) -> nix::Result<()> {
    let mut flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    if path.is_empty() {
        flags |= libc::MOVE_MOUNT_T_EMPTY_PATH;
    }
    // SAFETY: both strings are NUL-terminated and outlive the call.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}

/// Changes the attributes of a mount and of everything mounted below it.
pub(crate) fn set_attributes(tree: BorrowedFd<'_>, attributes: Attributes<'_>) -> nix::Result<()> {
    let mut raw = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: 0,
        propagation: if attributes.private { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    if let Some(namespace) = attributes.idmap {
        raw.attr_set |= libc::MOUNT_ATTR_IDMAP;
        raw.userns_fd = namespace.as_raw_fd() as u64;
    }
    let flags = (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE) as libc::c_uint;
    // SAFETY: `raw` is a fully initialised mount_attr of the size given, the empty path is NUL-terminated.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw mut raw,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}
