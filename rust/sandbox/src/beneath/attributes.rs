//! Extended attributes that give rights: default access control lists and file capabilities.

#[cfg(target_os = "linux")]
pub(super) use linux::{default_acl, has_capabilities};
#[cfg(not(target_os = "linux"))]
pub(super) use others::{default_acl, has_capabilities};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::path::Path;

    use nix::errno::Errno;
    use rustix::fs::{fgetxattr, lgetxattr_query};

    /// A list with a few hundred entries. What stands for a longer one is the same for all: nobody needs such lists.
    const LONGEST_ACL: usize = 4096;
    const TOO_LONG: &[u8] = b"too long";

    /// Returns the default access control list of a directory that is open for reading.
    pub(in crate::beneath) fn default_acl(directory: BorrowedFd<'_>) -> nix::Result<Option<Vec<u8>>> {
        let mut buffer = [0; LONGEST_ACL];
        match fgetxattr(directory, c"system.posix_acl_default", &mut buffer) {
            Ok(length) => Ok(buffer.get(..length).map(<[u8]>::to_vec)),
            Err(error) => match Errno::from_raw(error.raw_os_error()) {
                // None, or a file system without such lists. ENOENT is a directory that was removed meanwhile.
                Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENOENT => Ok(None),
                Errno::ERANGE => Ok(Some(TOO_LONG.to_vec())),
                other => Err(other),
            },
        }
    }

    /// Returns true if a regular file in a directory has capabilities, or may have: only the kernel's plain answer counts
    /// as "none".
    pub(in crate::beneath) fn has_capabilities(directory: BorrowedFd<'_>, name: &OsStr) -> bool {
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        match lgetxattr_query(&path, c"security.capability") {
            Ok(length) => length > 0,
            Err(error) => !matches!(
                Errno::from_raw(error.raw_os_error()),
                Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENOENT
            ),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod others {
    use std::ffi::OsStr;
    use std::os::fd::BorrowedFd;

    /// There are none in this form.
    #[allow(clippy::unnecessary_wraps, reason = "as on Linux")]
    pub(in crate::beneath) fn default_acl(_directory: BorrowedFd<'_>) -> nix::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// There are none.
    pub(in crate::beneath) fn has_capabilities(_directory: BorrowedFd<'_>, _name: &OsStr) -> bool {
        false
    }
}
