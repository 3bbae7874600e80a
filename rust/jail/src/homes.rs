//! Persistent home directories, one for each jail and workspace, so that no file of a job in one project reaches a job in
//! another.
//!
//! In the operator's state directory, `homes/NAME+KEY/` holds `home.json`, which no job can reach, and `home`, which is the
//! home directory of the jail's jobs. KEY is a hash of the jail's name and the workspace's path. A job holds a shared lock
//! on `home.json` while it runs.
//!
//! Before homes belonged to workspaces, `homes/NAME` was the home of all jobs of a jail. Such a former home holds what jobs
//! of any project have written: no job gets it unless the operator gives it to one workspace.

mod command;
mod import;
mod of_job;
mod place;
mod removal;
mod seed;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex;
use crate::job;
use crate::operator::Operator;
pub(crate) use command::home;
pub(crate) use of_job::JobHome;
pub(crate) use seed::Values;

/// The part of a home that the jail has.
const CONTENTS: &str = "home";
const RECORD: &str = "home.json";
const LARGEST_RECORD: u64 = 64 << 10;
/// Between the name of a jail, which cannot hold it, and the key.
const SEPARATOR: char = '+';
/// Bytes of a key: 96 bits, so that no two workspaces with the same key can be found.
const KEY_BYTES: usize = 12;
/// Attempts to lock a home that is being reset meanwhile.
const ATTEMPTS: usize = 16;

/// The directory of all persistent homes of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Homes {
    directory: PathBuf,
}

/// The home of one jail and workspace, which need not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    directory: PathBuf,
    name: String,
    workspace: Option<PathBuf>,
}

/// An open home. It cannot be reset until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenHome {
    /// The directory that is the home in the jail, without links.
    pub(crate) contents: PathBuf,
    /// The seed of this home's dummies. It never enters a jail.
    pub(crate) seed: [u8; 32],
    /// Whether this call created it.
    pub(crate) is_new: bool,
    _lock: Flock<File>,
}

/// A home that exists.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Existing {
    /// The jail's name.
    pub(crate) name: String,
    /// The workspace; none is that of jobs without a workspace.
    #[serde(serialize_with = "as_text")]
    pub(crate) workspace: Option<PathBuf>,
    /// Whether it is a former home, which belonged to all workspaces.
    pub(crate) former: bool,
    /// Milliseconds since the Unix epoch of the start of its last job.
    pub(crate) used: Option<u64>,
    /// The home directory itself.
    pub(crate) path: PathBuf,
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// The kernel refused a step.
    #[error("cannot use the home {path}: {error}; persistent homes are kept there (XDG_STATE_HOME moves them)", path = .path.display())]
    System {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Its record cannot be read, or is that of another home.
    #[error("cannot use the home {path}: its record home.json is damaged; remove it with: jail home reset {name}", path = .path.display())]
    Damaged {
        /// The home.
        path: PathBuf,
        /// The jail's name.
        name: String,
    },
    /// A job has it.
    #[error("cannot change the home {path}: a job is using it; end the job first (jail ps, jail stop)", path = .path.display())]
    InUse {
        /// The home.
        path: PathBuf,
    },
    /// There is a home of this workspace already.
    #[error(
        "cannot adopt the former home of {name}: this workspace has a home already; remove that first: jail home reset {name}"
    )]
    Exists {
        /// The jail's name.
        name: String,
    },
    /// There is nothing to adopt.
    #[error("cannot adopt the former home of {name}: there is none (jail home list)")]
    NoFormer {
        /// The jail's name.
        name: String,
    },
}

/// `home.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    name: String,
    workspace: Option<OsString>,
    /// 32 random bytes as hexadecimal digits.
    seed: String,
}

impl Homes {
    /// The homes of this operator.
    pub(crate) fn of(operator: &Operator) -> Homes {
        Homes::at(operator.state().join("homes"))
    }

    /// The homes in a directory.
    pub(crate) fn at(directory: PathBuf) -> Homes {
        Homes { directory }
    }

    /// The home of a jail in a workspace.
    pub(crate) fn home(&self, name: &str, workspace: Option<&Path>) -> Home {
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        if let Some(workspace) = workspace {
            hash.update(workspace.as_os_str().as_bytes());
        }
        let key = hex::encode(hash.finalize().get(..KEY_BYTES).unwrap_or_default());
        Home {
            directory: self.directory.join(format!("{name}{SEPARATOR}{key}")),
            name: name.to_owned(),
            workspace: workspace.map(Path::to_owned),
        }
    }

    /// The former home of a jail, which all its workspaces shared, if there is one.
    pub(crate) fn former(&self, name: &str) -> Option<PathBuf> {
        let path = self.directory.join(name);
        fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()).then_some(path)
    }

    /// Every home that exists, by name and workspace.
    pub(crate) fn all(&self) -> Result<Vec<Existing>, HomeError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.directory)(error)),
        };
        let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut all: Vec<Existing> =
            directories.filter_map(|entry| existing(&entry.path(), &entry.file_name())).collect();
        all.sort_by(|one, other| {
            (&one.name, !one.former, &one.workspace).cmp(&(&other.name, !other.former, &other.workspace))
        });
        Ok(all)
    }

    /// Makes the former home of a jail the home of one workspace.
    pub(crate) fn adopt(&self, home: &Home) -> Result<(), HomeError> {
        match self.former(&home.name) {
            Some(former) => home.take(&former),
            None => Err(HomeError::NoFormer { name: home.name.clone() }),
        }
    }

    /// Removes the former home of a jail.
    pub(crate) fn remove_former(&self, former: &Path) -> Result<(), HomeError> {
        removal::remove(former, &self.directory)
    }
}

impl Home {
    /// The directory that is the home in the jail.
    pub(crate) fn contents(&self) -> PathBuf {
        self.directory.join(CONTENTS)
    }

    /// Returns true if the home was made before.
    pub(crate) fn exists(&self) -> bool {
        self.contents().is_dir()
    }

    /// Creates the home if it does not exist, and locks it against a reset.
    pub(crate) fn open(&self) -> Result<OpenHome, HomeError> {
        for _ in 0..ATTEMPTS {
            let state = |error: job::StateError| failed(&self.directory)(io::Error::other(error));
            job::make_private(&self.directory).map_err(state)?;
            let is_new = self.write_record()?;
            let (lock, record) = match self.lock_record(FlockArg::LockSharedNonblock) {
                Ok(locked) => locked,
                // It was reset meanwhile.
                Err(HomeError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let damaged = || HomeError::Damaged { path: self.directory.clone(), name: self.name.clone() };
            let seed = record.filter(|record| self.is_described_by(record)).and_then(|record| record.seed());
            let seed = seed.ok_or_else(damaged)?;
            let _ = lock.set_modified(SystemTime::now());
            let contents = self.contents();
            let made = job::make_private(&contents).and_then(|()| job::real_path(&contents));
            let contents = made.map_err(|error| failed(&contents)(io::Error::other(error)))?;
            return Ok(OpenHome { contents, seed, is_new, _lock: lock });
        }
        Err(HomeError::InUse { path: self.directory.clone() })
    }

    /// Makes a directory on the same file system the contents of this home, which must not hold anything yet.
    pub(crate) fn take(&self, former: &Path) -> Result<(), HomeError> {
        drop(self.open()?);
        let _lock = self.lock(FlockArg::LockExclusiveNonblock)?;
        let contents = self.contents();
        match fs::remove_dir(&contents) {
            Ok(()) => removal::make_accessible(former)
                .and_then(|()| fs::rename(former, &contents))
                .map_err(failed(former)),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(HomeError::Exists { name: self.name.clone() })
            }
            Err(error) => Err(failed(&contents)(error)),
        }
    }

    /// Removes the home with everything in it. Returns false if there is none.
    pub(crate) fn reset(&self) -> Result<bool, HomeError> {
        if !self.directory.exists() {
            return Ok(false);
        }
        // Without a readable record there is no lock, and the home can be reset.
        let _lock = match self.lock(FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Some(lock),
            Err(HomeError::InUse { path }) => return Err(HomeError::InUse { path }),
            Err(_) => None,
        };
        let around = self.directory.parent().unwrap_or(Path::new("/"));
        removal::remove(&self.directory, around).map(|()| true)
    }

    /// Writes the record if there is none yet; returns true if it did.
    fn write_record(&self) -> Result<bool, HomeError> {
        let path = self.directory.join(RECORD);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(false);
        }
        let (mut seed, mut own) = ([0; 32], [0; 8]);
        let filled = getrandom::fill(&mut seed).and_then(|()| getrandom::fill(&mut own));
        filled.map_err(|error| failed(&path)(io::Error::other(error.to_string())))?;
        let record = Record {
            version: 1,
            name: self.name.clone(),
            workspace: self.workspace.clone().map(Into::into),
            seed: hex::encode(&seed),
        };
        // Whole or not at all, and never over that of another launcher.
        let fresh = self.directory.join(format!("{RECORD}.{}", hex::encode(&own)));
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file = options.create_new(true).write(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec(&record)?)?;
            match fs::hard_link(&fresh, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                other => other.map(|()| true),
            }
        })();
        let _ = fs::remove_file(&fresh);
        match written {
            // The directory was reset meanwhile: the caller tries again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            written => written.map_err(failed(&path)),
        }
    }

    fn lock(&self, how: FlockArg) -> Result<Flock<File>, HomeError> {
        let path = self.directory.join(RECORD);
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
        let file = options.open(&path).map_err(failed(&path))?;
        let lock = Flock::lock(file, how).map_err(|(_, os)| match os {
            Errno::EWOULDBLOCK => HomeError::InUse { path: self.directory.clone() },
            os => failed(&path)(os.into()),
        })?;
        // It may have been removed before it was locked.
        let is_the_same = |found: &fs::Metadata| {
            lock.metadata().is_ok_and(|locked| (locked.dev(), locked.ino()) == (found.dev(), found.ino()))
        };
        match fs::symlink_metadata(&path) {
            Ok(found) if is_the_same(&found) => Ok(lock),
            _ => Err(failed(&path)(io::ErrorKind::NotFound.into())),
        }
    }

    fn lock_record(&self, how: FlockArg) -> Result<(Flock<File>, Option<Record>), HomeError> {
        let lock = self.lock(how)?;
        let record = read(&lock);
        Ok((lock, record))
    }

    fn is_described_by(&self, record: &Record) -> bool {
        record.name == self.name
            && record.workspace.as_deref() == self.workspace.as_deref().map(Path::as_os_str)
    }
}

impl Record {
    fn seed(&self) -> Option<[u8; 32]> {
        let digits = self.seed.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut seed = [0; 32];
        for (byte, pair) in seed.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(seed)
    }
}

/// Identifies a directory among the homes.
fn existing(path: &Path, name: &OsStr) -> Option<Existing> {
    let name = name.to_str()?;
    let Some((jail, _)) = name.split_once(SEPARATOR) else {
        return crate::spec::is_name(name).then(|| Existing {
            name: name.to_owned(),
            workspace: None,
            former: true,
            used: None,
            path: path.to_owned(),
        });
    };
    let file = File::open(path.join(RECORD)).ok()?;
    let used = file.metadata().and_then(|found| found.modified()).ok();
    let used = used.and_then(|used| used.duration_since(UNIX_EPOCH).ok());
    let record = read(&file).filter(|record| record.name == jail)?;
    Some(Existing {
        name: record.name,
        workspace: record.workspace.map(PathBuf::from),
        former: false,
        used: used.and_then(|used| used.as_millis().try_into().ok()),
        path: path.join(CONTENTS),
    })
}

fn read(mut file: &File) -> Option<Record> {
    let mut text = Vec::new();
    (&mut file).take(LARGEST_RECORD).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> HomeError {
    let path = path.to_owned();
    move |error| HomeError::System { path: path.clone(), error }
}

/// A path need not be text, which JSON must be.
fn as_text<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

#[cfg(test)]
#[path = "homes/tests.rs"]
mod tests;
