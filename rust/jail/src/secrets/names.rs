//! The names under which `jail secret` has stored something. A keychain can be asked for an item, but not on every
//! platform for a list of ours among those of all programs. Never a value.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use crate::job;
use crate::operator::Operator;

/// The file of names, one per line.
pub(crate) struct Names {
    path: PathBuf,
}

/// It cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {error}; the names of stored secrets are kept there", path = .path.display())]
pub(crate) struct NamesError {
    path: PathBuf,
    error: io::Error,
}

impl Names {
    /// Those of one operator.
    pub(crate) fn of(operator: &Operator) -> Names {
        Names { path: operator.state().join("secrets") }
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Result<BTreeSet<String>, NamesError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(self.error(error)),
        }
    }

    /// One more.
    pub(crate) fn add(&self, name: &str) -> Result<(), NamesError> {
        self.change(|names| names.insert(name.to_owned()))
    }

    /// One less.
    pub(crate) fn remove(&self, name: &str) -> Result<(), NamesError> {
        self.change(|names| names.remove(name))
    }

    /// `change` says whether it changed anything.
    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) -> Result<(), NamesError> {
        self.try_change(change).map_err(|error| self.error(error))
    }

    fn try_change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            job::make_private(directory).map_err(io::Error::other)?;
        }
        let mut options = OpenOptions::new();
        let file: File =
            options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&self.path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut names = text.lines().map(str::to_owned).collect();
        if !change(&mut names) {
            return Ok(());
        }
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(names.iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes())
    }

    fn error(&self, error: io::Error) -> NamesError {
        NamesError { path: self.path.clone(), error }
    }
}
