//! Secrets in files, systemd's credentials among them.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Bytes, Context, MAX_SOURCE_BYTES, Miss};

/// Reads a whole file. Symbolic links are followed: agenix and sops-nix put one there.
pub(super) fn read(path: &Path, others_may_read: bool) -> Result<Bytes, Miss> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Miss::broken(
            format!("{} is not a regular file", path.display()),
            "name the file itself",
        ));
    }
    // Of the opened file, so that nothing can be exchanged between the question and the reading.
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 && !others_may_read {
        return Err(Miss::broken(
            format!("{} can be read or written by others (mode {mode:03o})", path.display()),
            format!("run `chmod 600 {}`, or accept it with --insecure-file", path.display()),
        ));
    }
    bounded(file)
        .map_err(|error| unreadable(path, &error))?
        .ok_or_else(|| too_big(&path.display().to_string()))
}

fn open(path: &Path) -> Result<File, Miss> {
    // Non-blocking, or a FIFO in the file's place would hold up the start for ever.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Miss::Absent(format!("{} does not exist", path.display()))
        }
        _ => unreadable(path, &error),
    })
}

/// Reads to the end; `None` if that is further than a secret goes.
pub(super) fn bounded(reader: impl Read) -> std::io::Result<Option<Bytes>> {
    // Room for everything from the start: a vector that grows leaves copies behind which nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SOURCE_BYTES + 1));
    reader.take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MAX_SOURCE_BYTES).then_some(bytes))
}

pub(super) fn too_big(what: &str) -> Miss {
    Miss::broken(
        format!("{what} holds more than {} KiB", MAX_SOURCE_BYTES / 1024),
        "name a place that holds the secret and nothing else",
    )
}

fn unreadable(path: &Path, error: &std::io::Error) -> Miss {
    Miss::broken(
        format!("cannot read {}: {error}", path.display()),
        "make it readable for the user who starts the jail",
    )
}

/// The path with `~/` replaced.
pub(super) fn expand(path: &Path, context: &Context) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| context.home.join(rest))
}

/// The path of one of systemd's credentials.
pub(super) fn systemd(name: &str, context: &Context) -> Result<PathBuf, Miss> {
    match context.variable("CREDENTIALS_DIRECTORY") {
        Some(directory) if !directory.is_empty() => Ok(PathBuf::from(directory).join(name)),
        _ => Err(Miss::Absent(
            "systemd gave no credentials (CREDENTIALS_DIRECTORY is not set); LoadCredential= in the unit does".to_owned(),
        )),
    }
}
