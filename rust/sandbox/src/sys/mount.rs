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

/// Which file a path names, and on which mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// The number of the mount in this namespace.
    pub(crate) mount: u64,
    /// Whether the file is the root of that mount, which is to say that something is mounted there.
    pub(crate) is_mount_root: bool,
    /// The type and the permission bits.
    pub(crate) mode: u32,
}

/// Locates what lies at `path` beneath `directory` (or `directory` itself if `path` is empty). The last component is
/// followed if it is a link. `None` if the kernel does not say on which mount a file is (before 5.8).
pub(crate) fn locate(directory: BorrowedFd<'_>, path: &CStr) -> nix::Result<Option<Located>> {
    let mut raw = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_MNT_ID;
    // SAFETY: `path` is NUL-terminated and `raw` has the size of the structure that the kernel fills in.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            directory.as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT,
            mask,
            raw.as_mut_ptr(),
        )
    };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => return Ok(None),
        result => result?,
    };
    // SAFETY: every bit pattern is a valid structure of numbers, and it was zeroed before.
    // JUSTIFICATION: as above.
    let raw = unsafe { raw.assume_init() };
    let root = libc::STATX_ATTR_MOUNT_ROOT as u64;
    let says_mount = raw.stx_mask & libc::STATX_MNT_ID != 0 && raw.stx_attributes_mask & root != 0;
    Ok(says_mount.then_some(Located {
        mount: raw.stx_mnt_id,
        is_mount_root: raw.stx_attributes & root != 0,
        mode: raw.stx_mode.into(),
    }))
}
