//! Lookups of the stage: targets inside the new root, sources on the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::beneath::{Links, resolve};

/// Opens what lies at `path` with `root` as the root directory: links lead to a place in it or nowhere.
pub(crate) fn in_root(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    resolve(root.as_fd(), path, Links::FollowInRoot)?.found.fd.ok_or(Errno::EBADF)
}

/// Opens what lies at an absolute path of the host no component of which is a link; ELOOP if one is.
pub(crate) fn without_links(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat(AT_FDCWD, "/", flags, Mode::empty())?;
    resolve(root.as_fd(), path, Links::Refuse)?.found.fd.ok_or(Errno::EBADF)
}

/// Opens what lies at `path` below an open directory; ELOOP if a component is a link.
pub(crate) fn below(directory: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    resolve(directory.as_fd(), path, Links::Refuse)?.found.fd.ok_or(Errno::EBADF)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::fcntl::{OpenHow, ResolveFlag, openat2};
    use nix::sys::stat::fstat;

    use super::*;
    use crate::beneath::{Resolved, resolve_step_by_step};

    fn step_by_step(root: &OwnedFd, path: &Path, links: Links<'_>) -> nix::Result<OwnedFd> {
        resolve_step_by_step(root.as_fd(), path, links).map(|Resolved { found, .. }| found.fd.unwrap())
    }

    fn identity(found: nix::Result<OwnedFd>) -> Result<(u64, u64), Errno> {
        let stat = fstat(found?)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// A small tree with every kind of link.
    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        fs::create_dir(at("etc")).unwrap();
        fs::write(at("etc/passwd"), "ours").unwrap();
        for (link, to) in [
            ("absolute", "/etc/passwd"),
            ("relative", "a/b/../b/file"),
            ("above", "../../../../../../../../../../etc/passwd"),
            ("chain", "relative"),
            ("loop", "loop"),
            ("dangling", "/nowhere"),
            ("directory", "a/b"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        let root = fs::File::open(folder.path()).unwrap().into();
        (folder, root)
    }

    #[test]
    fn step_by_step_leads_where_the_kernel_does() {
        let (_folder, root) = tree();
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for path in [
            "/",
            "a",
            "a/b/file",
            "/a/./b//file",
            "a/../etc/passwd",
            "../../etc/passwd",
            "absolute",
            "relative",
            "above",
            "chain",
            "loop",
            "dangling",
            "directory/file",
            "directory/../b/file",
            "a/b/file/x",
            "missing",
            "directory/../../etc",
        ] {
            let path = Path::new(path);
            assert_eq!(
                identity(step_by_step(&root, path, Links::FollowInRoot)),
                identity(openat2(&root, path, how)),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_link_anywhere_on_the_way_is_refused() {
        let (folder, _root) = tree();
        let host = fs::File::open("/").unwrap().into();
        // The temporary directory itself may lie behind one.
        let real = folder.path().canonicalize().unwrap();
        for (path, expected) in
            [("a/b/file", true), ("a", true), ("relative", false), ("directory/file", false)]
        {
            let path = real.join(path);
            assert_eq!(step_by_step(&host, &path, Links::Refuse).is_ok(), expected, "{path:?}");
            assert_eq!(without_links(&path).is_ok(), expected, "{path:?}");
        }
        assert_eq!(without_links(&real.join("missing")).unwrap_err(), Errno::ENOENT);
    }
}
