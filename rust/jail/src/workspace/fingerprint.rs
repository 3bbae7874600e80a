//! Whether a file is still what it was.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Enough of a file or directory to see that it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fingerprint {
    Absent,
    File {
        device: u64,
        inode: u64,
        changed: (i64, i64),
        size: u64,
    },
    Directory(BTreeMap<OsString, Fingerprint>),
    /// It cannot be read, or it is too much to read: a job can make either.
    Unknown,
}

/// More files than this are not looked at; no hooks or settings are so many.
const MOST: usize = 4096;

impl Fingerprint {
    /// Looks at `path` and, if it is a directory, at everything in it. Links are not followed.
    pub(super) fn of(path: &Path) -> Fingerprint {
        look(path, &mut MOST.clone()).unwrap_or(Fingerprint::Unknown)
    }
}

fn look(path: &Path, left: &mut usize) -> io::Result<Fingerprint> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Fingerprint::Absent);
        }
        metadata => metadata?,
    };
    *left = left.checked_sub(1).ok_or(io::ErrorKind::FileTooLarge)?;
    if !metadata.is_dir() {
        return Ok(Fingerprint::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            // ctime: a job cannot set it back.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        });
    }
    let mut inside = BTreeMap::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let fingerprint = look(&path.join(&name), left)?;
        inside.insert(name, fingerprint);
    }
    Ok(Fingerprint::Directory(inside))
}
