//! A source that is read again while the job runs, and where it holds a login, written back to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use proxy::config::{self, Held};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::login::Pointers;
use super::replacement::Replacement;
use super::{Bytes, Context, Miss, SecretLocation, Source, file, keyring, login, value};
use crate::hex;

/// Where a credential's secret was found.
#[derive(Clone)]
pub(crate) struct Live {
    source: Source,
    /// Where the parts of a login are, if it holds one.
    login: Option<Pointers>,
    context: Context,
    /// Where jobs of this user meet.
    locks: PathBuf,
}

/// One job's right to renew a login.
struct Turn {
    live: Live,
    /// Where the new login will be, for a file: made before the old one is spent.
    prepared: Option<Replacement>,
    _lock: Flock<File>,
}

impl Live {
    pub(crate) fn new(source: Source, login: Option<Pointers>, context: Context, locks: PathBuf) -> Live {
        // Only what can be written back is ever renewed: a refresh token is spent with its first use.
        let stores = matches!(source.place, SecretLocation::File(_) | SecretLocation::Keyring { .. });
        Live { source, login: login.filter(|_| stores), context, locks }
    }

    /// Whether it is a login that can be renewed.
    pub(crate) fn is_login(&self) -> bool {
        self.login.is_some()
    }

    /// What it holds.
    pub(crate) fn held(&self) -> Result<Held, String> {
        self.read_bytes().and_then(|bytes| self.parse(bytes)).map_err(|miss| self.text(miss))
    }

    fn read_bytes(&self) -> Result<Bytes, Miss> {
        super::bytes(&self.source, &self.context)
    }

    fn parse(&self, bytes: Bytes) -> Result<Held, Miss> {
        match &self.login {
            Some(pointers) => login::read(bytes, pointers),
            None => {
                let secret = value::secret(bytes, self.source.pointer.as_deref())?;
                Ok(Held { secret, refresh: None, expires: None })
            }
        }
    }

    fn take_turn(&self) -> Result<Turn, String> {
        let lock = lock(&self.locks, &self.identity()).map_err(|error| {
            format!("cannot lock the login in {}: {error}; make it writable", self.locks.display())
        })?;
        let prepared = match &self.source.place {
            SecretLocation::File(path) => Some(self.reserve(&file::expand(path, &self.context))?),
            SecretLocation::Environment(_)
            | SecretLocation::Command(_)
            | SecretLocation::Keyring { .. }
            | SecretLocation::Systemd(_) => None,
        };
        Ok(Turn { live: self.clone(), prepared, _lock: lock })
    }

    fn reserve(&self, path: &Path) -> Result<Replacement, String> {
        // A launcher that was killed between writing a new login and putting it in place has left a whole one behind.
        let is_login = |bytes: Bytes| {
            let held = self.login.as_ref().and_then(|pointers| login::read(bytes, pointers).ok());
            held.is_some_and(|held| held.refresh.is_some())
        };
        Replacement::reserve(path, is_login).map_err(|error| {
            format!(
                "cannot renew the login in {}: {error}; its directory must be writable and have room",
                path.display()
            )
        })
    }

    /// The same for every job that uses this place, whichever pointer it follows.
    fn identity(&self) -> String {
        match &self.source.place {
            SecretLocation::File(path) => {
                let path = file::expand(path, &self.context);
                format!("file:{}", path.canonicalize().unwrap_or(path).display())
            }
            SecretLocation::Keyring { service, account } => {
                format!("keyring:{service}/{}", account.as_deref().unwrap_or(&self.context.user))
            }
            SecretLocation::Environment(_) | SecretLocation::Command(_) | SecretLocation::Systemd(_) => {
                self.source.to_string()
            }
        }
    }

    fn text(&self, miss: Miss) -> String {
        match miss {
            Miss::Absent(why) => format!("{}: {why}", self.source),
            Miss::Broken { what, cure } => format!("{}: {what}; {cure}", self.source),
        }
    }
}

impl config::Source for Live {
    fn lifetime(&self) -> Duration {
        Duration::from_secs(match &self.source.place {
            SecretLocation::Environment(_) | SecretLocation::File(_) | SecretLocation::Systemd(_) => 1,
            // The Keychain may ask the user each time.
            SecretLocation::Keyring { .. } if cfg!(target_os = "macos") => 3600,
            SecretLocation::Keyring { .. } => 60,
            SecretLocation::Command(_) => 300,
        })
    }

    fn read(&self) -> Result<Held, String> {
        self.held()
    }

    fn turn(&self) -> Result<Box<dyn config::Turn>, String> {
        Ok(Box::new(self.take_turn()?))
    }
}

impl config::Turn for Turn {
    fn replace(&mut self, old: &Held, new: &Held) -> Result<bool, String> {
        self.write(old, new).map_err(|miss| self.live.text(miss))
    }
}

impl Turn {
    fn write(&mut self, old: &Held, new: &Held) -> Result<bool, Miss> {
        let Some(pointers) = &self.live.login else { return Ok(false) };
        // Read again as late as can be: somebody may have logged in by hand.
        let bytes = self.live.read_bytes()?;
        let there = login::read(bytes.clone(), pointers)?;
        // The refresh token alone says whether it is the login that was spent: with it, any access token is of no use.
        let refresh = |held: &Held| held.refresh.as_ref().map(|refresh| refresh.expose_secret().to_owned());
        if refresh(&there) != refresh(old) {
            return Ok(false);
        }
        let bytes = login::replaced(&bytes, pointers, new)?;
        match (&self.live.source.place, self.prepared.as_mut()) {
            (SecretLocation::File(_), Some(prepared)) => prepared.put(&bytes)?,
            (SecretLocation::Keyring { service, account }, _) => {
                let account = account.as_deref().unwrap_or(&self.live.context.user);
                keyring::write(service, account, &bytes, self.live.context.time_limit)?;
            }
            _ => return Err(Miss::broken("it cannot be written", "keep the login in a file or a keychain")),
        }
        Ok(true)
    }
}

fn lock(directory: &Path, identity: &str) -> std::io::Result<Flock<File>> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let name = hex::encode(&Sha256::digest(identity.as_bytes())[..16]);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join(format!("{name}.lock")))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
