//! The mount calls of kernels before 5.12, which cannot restrict a tree before it is attached: mount(2), by paths that
//! lead to descriptors, one mount after the other.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::mounted;
use crate::backend::Error;
use crate::plan::Access;

/// Binds an open file or directory, with everything mounted below, on another.
pub(crate) fn bind_by_path(source: &OwnedFd, on: &OwnedFd) -> nix::Result<()> {
    let (from, on) = (by_descriptor(source), by_descriptor(on));
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from.as_str()), on.as_str(), None::<&str>, flags, None::<&str>)
}

/// Restricts a mount by mount(2). What it is restricted by already may not be taken off, and has to be
/// repeated; but for times of access, which stay as they are where nothing is said of them (Linux 3.17).
pub(crate) fn remount(mounted: &OwnedFd, access: Access) -> nix::Result<()> {
    let path = by_descriptor(mounted);
    let before = fstatvfs(mounted)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (flag, bit) in [(FsFlags::ST_RDONLY, MsFlags::MS_RDONLY), (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC)] {
        flags.set(bit, before.contains(flag));
    }
    if access == Access::ReadOnly {
        flags |= MsFlags::MS_RDONLY;
    }
    mount(None::<&str>, path.as_str(), None::<&str>, flags, None::<&str>)
}

/// Restricts what came along below each bind, one mount after the other.
pub(crate) fn restrict_below(
    binds: &[(PathBuf, Access)],
    open: impl Fn(&Path) -> nix::Result<OwnedFd>,
) -> Result<(), Error> {
    if binds.is_empty() {
        return Ok(());
    }
    let mounts =
        mounted::all().map_err(|error| Error::Restrict { path: PathBuf::from("/"), os: error.into() })?;
    // Our tree lies over the old root, whose mounts are listed too, under the same paths.
    for at in mounts.into_iter().map(|mount| mount.point) {
        let bind = binds.iter().rev().find(|(target, _)| at.starts_with(target));
        let Some((target, access)) = bind.filter(|(target, _)| *target != at) else { continue };
        match open(&at).and_then(|mounted| remount(&mounted, *access)) {
            // A mount of the old root that our tree does not have.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL) => {}
            Err(os) => return Err(Error::Restrict { path: target.clone(), os: os.into() }),
        }
    }
    Ok(())
}

/// A path that leads to an open file; works as long as the old root's /proc is there.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
