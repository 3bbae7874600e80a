//! Whether a file is still what it was.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use sandbox::beneath::{BeneathError, Budget, Kind, Limits, Metadata, Tree, Visit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex;

/// Enough of a file or directory to see that it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fingerprint {
    /// There is nothing.
    Absent,
    /// A hash of what identifies the file, or everything in the directory.
    Known(String),
    /// It cannot be looked at, or there is too much of it: a job can cause either.
    Unknown,
}

/// No hooks or settings are so many files, or so deep.
const LIMITS: Limits = Limits { entries: 4096, depth: 32, time: Duration::from_secs(1) };

impl Fingerprint {
    /// Looks at what lies at `path` and, if it is a directory, at everything in it.
    pub(super) fn of(tree: &Tree, path: &Path) -> Fingerprint {
        match tree.metadata(path) {
            Ok(None) => Fingerprint::Absent,
            Ok(Some(metadata)) if metadata.kind == Kind::Directory => {
                of_directory(tree, path).unwrap_or(Fingerprint::Unknown)
            }
            Ok(Some(metadata)) => {
                let mut hash = Sha256::new();
                add(&mut hash, Path::new(""), &metadata);
                finish(hash)
            }
            // The path leads through a link: there is nothing at the path itself.
            Err(BeneathError::Link { .. }) => Fingerprint::Absent,
            Err(_) => Fingerprint::Unknown,
        }
    }
}

/// Returns a hash of some bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

fn of_directory(tree: &Tree, path: &Path) -> Result<Fingerprint, BeneathError> {
    let mut hash = Sha256::new();
    let mut failure = None;
    tree.walk(path, &mut Budget::new(LIMITS), &mut |entry| match entry {
        Ok(entry) => {
            add(&mut hash, &entry.path, &entry.metadata);
            Visit::Descend
        }
        Err(error) => {
            failure = Some(error);
            Visit::Stop
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(finish(hash)),
    }
}

fn add(hash: &mut Sha256, path: &Path, metadata: &Metadata) {
    let path = path.as_os_str().as_bytes();
    hash.update((path.len() as u64).to_be_bytes());
    hash.update(path);
    hash.update([metadata.kind as u8]);
    if metadata.kind != Kind::Directory {
        // A job cannot set the time of the last change back.
        let (seconds, nanoseconds) = metadata.changed;
        for number in [metadata.device, metadata.inode, metadata.size] {
            hash.update(number.to_be_bytes());
        }
        hash.update(seconds.to_be_bytes());
        hash.update(nanoseconds.to_be_bytes());
    }
}

fn finish(hash: Sha256) -> Fingerprint {
    Fingerprint::Known(hex::encode(&hash.finalize()))
}
