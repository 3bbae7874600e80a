//! The mount table of a process, as /proc/self/mountinfo (proc(5)) has it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One mount.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// The file system's device, `MAJOR:MINOR`.
    pub(crate) device: String,
    /// What of the file system is mounted, as a path in it.
    #[serde(with = "crate::bytes")]
    pub(crate) root: PathBuf,
    /// Where.
    #[serde(with = "crate::bytes")]
    pub(crate) point: PathBuf,
    /// The file system's type.
    pub(crate) kind: String,
}

/// A part of one of the host's file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) device: String,
    /// As a path in the file system.
    pub(crate) root: PathBuf,
}

/// Every mount of this process's namespace, in the order of mounting.
pub(crate) fn all() -> std::io::Result<Vec<Mounted>> {
    Ok(fs::read("/proc/self/mountinfo")?.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// The part of a file system that lies at a path without links.
pub(crate) fn part_at(mounts: &[Mounted], path: &Path) -> Option<Part> {
    // A later mount on the same point covers the earlier one.
    let deepest = |mount: &&Mounted| mount.point.components().count();
    let mount = mounts.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(deepest)?;
    let rest = path.strip_prefix(&mount.point).ok()?;
    let root = if rest.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(rest) };
    Some(Part { device: mount.device.clone(), root })
}

fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let path = |field: &[u8]| PathBuf::from(OsStr::from_bytes(&unescape(field)));
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    // The options and any number of tags, up to a dash.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mounted { device, root, point, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// Blanks and the like are written as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .first_chunk::<3>()
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line =
            br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mounted = parse(line).unwrap();
        assert_eq!(
            mounted,
            Mounted {
                device: "98:0".into(),
                root: "/mnt1".into(),
                point: "/mnt 2".into(),
                kind: "ext3".into()
            }
        );
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_deepest_and_latest_mount_counts() {
        let mount = |device: &str, root: &str, point: &str| Mounted {
            device: device.into(),
            root: root.into(),
            point: point.into(),
            kind: "ext4".into(),
        };
        let mounts = [mount("8:1", "/", "/"), mount("8:2", "/u", "/home"), mount("8:3", "/", "/home")];
        let part = |path: &str| part_at(&mounts, Path::new(path)).unwrap();
        assert_eq!(part("/etc/x"), Part { device: "8:1".into(), root: "/etc/x".into() });
        assert_eq!(part("/home/a"), Part { device: "8:3".into(), root: "/a".into() });
        assert_eq!(part("/home"), Part { device: "8:3".into(), root: "/".into() });
    }
}
