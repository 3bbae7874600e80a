//! The file that takes the place of one that holds a login. Everything that can fail for want of room, permission or
//! descriptors is done before the old login is spent.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::{Bytes, MAX_SOURCE_BYTES, Miss, file};

/// Bytes that a new login may be longer than the old one. Tokens have a few hundred, JWTs with many claims a few thousand.
const MAX_GROWTH: usize = 64 * 1024;

/// A file of reserved size beside the one that it replaces. Dropping it before [`Replacement::put`] removes it.
pub(super) struct Replacement {
    /// The file to replace, without links.
    path: PathBuf,
    reserved: PathBuf,
    file: File,
    is_put: bool,
}

impl Replacement {
    /// Reserves room beside the file at `path`, or beside the file that a link there leads to, with that file's owner and
    /// permissions. Call it with the login locked.
    ///
    /// `is_login` decides whether a file that an earlier launcher left behind is a whole login. It then replaces the one at
    /// `path` at once, unless that is newer.
    ///
    /// # Errors
    /// The directory is not writable or has no room, or the file's owner cannot be kept.
    pub(super) fn reserve(path: &Path, is_login: impl Fn(Bytes) -> bool) -> Result<Replacement> {
        let path = path.canonicalize()?;
        let mut name = OsString::from(".");
        name.push(path.file_name().ok_or(ErrorKind::InvalidInput)?);
        name.push(".jail-new");
        let reserved = path.with_file_name(name);
        let left_behind = open(&reserved)?;
        let (new, old) = (left_behind.metadata()?, path.metadata()?);
        let is_ours = (new.uid(), new.gid(), new.mode()) == (old.uid(), old.gid(), old.mode());
        if is_ours && new.modified()? >= old.modified()? && file::bounded(&left_behind)?.is_some_and(is_login)
        {
            left_behind.sync_all()?;
            std::fs::rename(&reserved, &path)?;
        }
        Replacement { file: open(&reserved)?, path, reserved, is_put: false }.with_room()
    }

    fn with_room(self) -> Result<Replacement> {
        let old = self.path.metadata()?;
        self.file.set_len(0)?;
        let new = self.file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&self.file, Some(old.uid()), Some(old.gid()))?;
        }
        self.file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        // Blanks are no login, and what JSON may end with: a launcher can be killed before or after it has written one.
        let length =
            usize::try_from(old.size()).unwrap_or(MAX_SOURCE_BYTES).min(MAX_SOURCE_BYTES) + MAX_GROWTH;
        (&self.file).write_all(&vec![b' '; length])?;
        self.file.sync_all()?;
        Ok(self)
    }

    /// Puts the bytes in the place of the file, as a whole or not at all. After an error it can be called again.
    pub(super) fn put(&mut self, bytes: &[u8]) -> std::result::Result<(), Miss> {
        self.try_put(bytes).map_err(|error| {
            Miss::broken(
                format!("cannot write {}: {error}", self.path.display()),
                "make room for it and make its directory writable",
            )
        })
    }

    fn try_put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(bytes)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_all()?;
        std::fs::rename(&self.reserved, &self.path)?;
        self.is_put = true;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_put {
            let _ = std::fs::remove_file(&self.reserved);
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(Error::other(format!("{} is in the way; remove it", path.display())));
    }
    Ok(file)
}
