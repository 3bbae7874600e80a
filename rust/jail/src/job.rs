//! What is kept of a job: `jobs/ID/{job.json,audit.jsonl}` in the operator's state directory, for the operator only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::spec::BackendName;

/// A job's directory.
#[derive(Clone, Debug)]
pub(crate) struct JobDirectory {
    /// `NAME-` and eight hexadecimal digits.
    pub(crate) id: String,
    path: PathBuf,
}

/// `job.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The job's id.
    pub(crate) id: String,
    /// The jail's name.
    pub(crate) name: String,
    /// The command with its arguments.
    pub(crate) command: Vec<String>,
    /// The directory it works in: text, or bytes where its name is no UTF-8.
    #[serde(with = "path", default)]
    pub(crate) workspace: Option<PathBuf>,
    /// Who made its jail.
    #[serde(default)]
    pub(crate) backend: BackendName,
    /// The launcher's process id.
    pub(crate) pid: u32,
    /// When the launcher started, in the system's own count: with `pid` it names one process for good.
    pub(crate) started_ticks: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub(crate) started: u64,
    /// Milliseconds since the Unix epoch; none while it runs.
    pub(crate) ended: Option<u64>,
    /// The exit code.
    pub(crate) code: Option<u8>,
}

/// A path as text if it is text, and else as a list of bytes: JSON has no other form for a name that is no UTF-8.
mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        let form = path.as_ref().map(|path| match path.to_str() {
            Some(text) => Form::Text(text.to_owned()),
            None => Form::Bytes(path.as_os_str().as_bytes().to_vec()),
        });
        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let form = Option::<Form>::deserialize(deserializer)?;
        Ok(form.map(|form| match form {
            Form::Text(text) => PathBuf::from(text),
            Form::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        }))
    }
}

/// A piece of the state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {error}; jobs are recorded there (XDG_STATE_HOME moves it)", path = .path.display())]
pub(crate) struct StateError {
    path: PathBuf,
    error: io::Error,
}

impl JobDirectory {
    /// Makes the directory of a new job.
    pub(crate) fn create(state: &Path, name: &str) -> Result<JobDirectory, StateError> {
        let jobs = state.join("jobs");
        make_private(&jobs)?;
        loop {
            let id = new_id(name);
            let path = jobs.join(&id);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(JobDirectory { id, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StateError { path, error }),
            }
        }
    }

    /// The directory of the job with this id, which may not be there.
    pub(crate) fn named(state: &Path, id: &str) -> JobDirectory {
        JobDirectory { id: id.to_owned(), path: state.join("jobs").join(id) }
    }

    /// Every job on record, the newest first.
    pub(crate) fn all(state: &Path) -> Result<Vec<(JobDirectory, Record)>, StateError> {
        let jobs = state.join("jobs");
        let entries = match fs::read_dir(&jobs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StateError { path: jobs, error }),
        };
        // A directory without a readable record is a job that is just being made, or one that somebody half removed.
        let mut found: Vec<(JobDirectory, Record)> = entries
            .flatten()
            .filter_map(|entry| {
                let directory =
                    JobDirectory { id: entry.file_name().into_string().ok()?, path: entry.path() };
                let record = directory.record()?;
                Some((directory, record))
            })
            .collect();
        found.sort_by_key(|(_, record)| std::cmp::Reverse(record.started));
        Ok(found)
    }

    /// Where the events are.
    pub(crate) fn audit(&self) -> PathBuf {
        self.path("audit.jsonl")
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the file for the events.
    pub(crate) fn create_audit(&self) -> Result<File, StateError> {
        let path = self.audit();
        OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StateError { path, error })
    }

    /// Makes an empty directory in it, e.g. for an overlay's changes.
    pub(crate) fn create_directory(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = self.path.join(name);
        make_private(&path)?;
        Ok(path)
    }

    /// Writes `job.json`, as a whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> Result<(), StateError> {
        let (path, fresh) = (self.path.join("job.json"), self.path.join("job.json.new"));
        let written = serde_json::to_vec(record).map_err(io::Error::from).and_then(|json| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(true).write(true).mode(0o600);
            io::Write::write_all(&mut options.open(&fresh)?, &json)?;
            fs::rename(&fresh, &path)
        });
        written.map_err(|error| StateError { path, error })
    }

    /// Removes it again: there is no job after all. What cannot be removed holds nothing.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    /// Removes what the kernel worked with beside an overlay's layer.
    pub(crate) fn remove_overlay_work(&self) {
        remove_overlay_work(&self.path);
    }

    /// Reads `job.json`.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.path.join("job.json")).ok()?).ok()
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Its launcher is there.
    Running,
    /// It has ended, and its launcher has put that on record.
    Ended,
    /// Its launcher is gone without a word: it was killed, or the machine went down.
    Killed,
}

impl Record {
    /// Where it is now.
    pub(crate) fn state(&self) -> State {
        match (self.ended, self.started_ticks) {
            (Some(_), _) => State::Ended,
            (None, Some(ticks)) if started_ticks(self.pid) == Some(ticks) => State::Running,
            (None, _) => State::Killed,
        }
    }

    /// Whether its launcher is still there.
    pub(crate) fn is_running(&self) -> bool {
        self.state() == State::Running
    }
}

/// Removes what the kernel worked with beside an overlay's layer in this directory: it leaves a directory that nobody
/// may enter, with which a plain `rm -r` would fail.
pub(crate) fn remove_overlay_work(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let work = directory.join("work");
    // An engine's is root's, and empty.
    let _ = fs::remove_dir(work.join("work"));
    let _ = fs::set_permissions(work.join("work"), fs::Permissions::from_mode(0o700));
    let _ = fs::remove_dir_all(work);
}

/// Makes a directory and what is missing above it, for the operator only.
pub(crate) fn make_private(path: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StateError { path: path.to_owned(), error })
}

/// The path without links: a jail binds only what its path says.
pub(crate) fn real_path(path: &Path) -> Result<PathBuf, StateError> {
    path.canonicalize().map_err(|error| StateError { path: path.to_owned(), error })
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

pub(crate) use sandbox::process::started_ticks;

/// An id for a job of the jail `name`.
pub(crate) fn new_id(name: &str) -> String {
    format!("{name}-{:08x}", random())
}

/// A number for a name: it must differ from others, it need not be secret.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // RandomState is seeded by the operating system once per thread; the time tells two calls of a thread apart.
    RandomState::new().hash_one(now()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_written_and_found_again() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::PermissionsExt;
        let state = tempfile::tempdir().unwrap();
        assert!(JobDirectory::all(&state.path().join("nothing")).unwrap().is_empty());
        let directory = JobDirectory::create(state.path(), "claude").unwrap();
        assert!(
            JobDirectory::all(state.path()).unwrap().is_empty(),
            "a directory without a record is no job"
        );
        let mut record = Record {
            id: directory.id.clone(),
            name: "claude".into(),
            command: vec!["claude".into()],
            workspace: None,
            backend: BackendName::Auto,
            pid: std::process::id(),
            started_ticks: started_ticks(std::process::id()),
            started: now(),
            ended: None,
            code: None,
        };
        directory.write(&record).unwrap();
        directory.create_audit().unwrap();
        let all = JobDirectory::all(state.path()).unwrap();
        assert_eq!(all.len(), 1);
        assert!(all[0].1.is_running());
        for workspace in [Path::new("/a b"), Path::new(std::ffi::OsStr::from_bytes(b"/n\xff"))] {
            record.workspace = Some(workspace.to_owned());
            directory.write(&record).unwrap();
            assert_eq!(directory.record().unwrap().workspace.as_deref(), Some(workspace));
        }
        record.started_ticks = Some(1);
        assert_eq!(record.state(), State::Killed, "another process with the same number is not the job");
        for (path, mode) in
            [(directory.audit(), 0o600), (directory.path.join("job.json"), 0o600), (directory.path, 0o700)]
        {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
    }
}
