//! Looking paths up without being led astray: by openat2(2), or step by step where a filter around this process keeps it
//! away (systemd's RestrictSUIDSGID= does, as it cannot see what the call would create).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Opens what lies at `path` with `root` as the root: links lead to a place in it or nowhere.
pub(crate) fn in_root(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root, path, how) {
        Err(Errno::ENOSYS) => walk_in_root(root, path),
        other => other,
    }
}

/// Opens what lies at an absolute path of the host no component of which is a link; ELOOP if one is.
pub(crate) fn without_links(path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = match openat2(AT_FDCWD, path, how) {
        Err(Errno::ENOSYS) => walk_without_links(path)?,
        other => other?,
    };
    // With O_PATH and O_NOFOLLOW a link at the end is opened itself.
    if is_link(&opened)? { Err(Errno::ELOOP) } else { Ok(opened) }
}

fn walk_in_root(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    // The way from the root, which `..` goes back and never beyond.
    let mut way = vec![copy(root)?];
    let mut left: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let here = way.last().ok_or(Errno::ENOENT)?;
        let next = step(here, &name)?;
        if !is_link(&next)? {
            way.push(next);
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::ELOOP);
        }
        let to = readlinkat(&next, "")?;
        if Path::new(&to).is_absolute() {
            way.truncate(1);
        }
        for name in names(Path::new(&to)).into_iter().rev() {
            left.push_front(name);
        }
    }
    way.pop().ok_or(Errno::ENOENT)
}

fn walk_without_links(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut here = openat(AT_FDCWD, if path.is_absolute() { "/" } else { "." }, flags, Mode::empty())?;
    for name in names(path) {
        // A link is a step to itself: the next one from there fails, and the last is looked at.
        let next = step(&here, &name)?;
        if is_link(&next)? {
            return Err(Errno::ELOOP);
        }
        here = next;
    }
    Ok(here)
}

fn step(from: &OwnedFd, name: &OsString) -> nix::Result<OwnedFd> {
    openat(from, name.as_os_str(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn is_link(opened: &OwnedFd) -> nix::Result<bool> {
    Ok(fstat(opened)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

fn copy(fd: &OwnedFd) -> nix::Result<OwnedFd> {
    fd.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

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
            assert_eq!(identity(walk_in_root(&root, path)), identity(openat2(&root, path, how)), "{path:?}");
        }
    }

    #[test]
    fn a_link_anywhere_on_the_way_is_refused() {
        let (folder, _root) = tree();
        // The temporary directory itself may lie behind one.
        let real = folder.path().canonicalize().unwrap();
        for (path, expected) in
            [("a/b/file", true), ("a", true), ("relative", false), ("directory/file", false)]
        {
            let path = real.join(path);
            assert_eq!(walk_without_links(&path).is_ok(), expected, "{path:?}");
            assert_eq!(without_links(&path).is_ok(), expected, "{path:?}");
        }
        assert_eq!(walk_without_links(&real.join("missing")).unwrap_err(), Errno::ENOENT);
    }
}
