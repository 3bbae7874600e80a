//! The directories that a job of this operator could ever write: workspaces, and sources of writable binds.
//!
//! A link or a file that a job has left there stays after the job. So the launcher keeps these directories on record, one
//! file for each in `written/` of the operator's state directory, which no job can write.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::operator::Operator;
use crate::private_file;

/// Maximum number of directories on record.
const MOST: usize = 4096;
const LONGEST_PATH: u64 = 4096;

/// Puts what the operator's next job can write on record. Call it before that job starts.
pub(crate) fn remember(operator: &Operator) -> io::Result<()> {
    let records = directory(operator);
    let homes = operator.homes();
    DirBuilder::new().recursive(true).mode(0o700).create(&records)?;
    for place in operator.writable.iter().filter(|place| **place != homes) {
        let record = records.join(private_file::name_for(place.as_os_str().as_bytes()));
        if record.exists() {
            continue;
        }
        if fs::read_dir(&records)?.count() >= MOST {
            forget_removed(&records)?;
        }
        private_file::replace(&record, place.as_os_str().as_bytes())?;
    }
    Ok(())
}

/// Every directory that this or an earlier job can write, beside the persistent homes. An error means that any may be one.
pub(crate) fn places(operator: &Operator) -> io::Result<Vec<PathBuf>> {
    let mut places = operator.writable.clone();
    match fs::read_dir(directory(operator)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(places),
        Err(error) => return Err(error),
        Ok(entries) => {
            for (count, entry) in entries.enumerate() {
                if count > MOST {
                    return Err(io::Error::other("there are too many records of workspaces"));
                }
                places.extend(read(&entry?.path())?);
            }
        }
    }
    Ok(places)
}

/// The path of one record; `None` for one that is just being written.
fn read(record: &Path) -> io::Result<Option<PathBuf>> {
    if record.file_name().is_some_and(|name| name.as_bytes().starts_with(private_file::UNFINISHED.as_bytes()))
    {
        return Ok(None);
    }
    let mut path = Vec::new();
    match fs::File::open(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?.take(LONGEST_PATH + 1).read_to_end(&mut path)?,
    };
    let path = PathBuf::from(OsStr::from_bytes(&path));
    if path.is_absolute() {
        Ok(Some(path))
    } else {
        Err(io::Error::other("a record of a workspace is damaged"))
    }
}

/// Makes room: what is not there any more leads nowhere.
fn forget_removed(records: &Path) -> io::Result<()> {
    let mut left = 0;
    for entry in fs::read_dir(records)? {
        let record = entry?.path();
        let is_gone = |place: PathBuf| {
            place.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if read(&record)?.is_none_or(is_gone) {
            fs::remove_file(record)?;
        } else {
            left += 1;
        }
    }
    if left < MOST { Ok(()) } else { Err(io::Error::other("there are too many records of workspaces")) }
}

fn directory(operator: &Operator) -> PathBuf {
    operator.state().join("written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_jobs_could_write_is_known() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let operator = Operator {
            environment: std::collections::HashMap::new(),
            directory: home.clone(),
            home: home.clone(),
            uid: nix::unistd::geteuid().as_raw(),
            writable: Vec::new(),
        };
        for project in ["a", "b", "a"] {
            remember(&operator.with_writable([home.join(project)])).unwrap();
        }
        let mut known = places(&operator).unwrap();
        known.sort();
        assert_eq!(known, [home.join("a"), home.join("b")]);
        forget_removed(&directory(&operator)).unwrap();
        assert!(places(&operator).unwrap().is_empty());
        // A record that cannot be read hides a place.
        fs::write(directory(&operator).join("x"), "").unwrap();
        assert!(places(&operator).is_err());
    }
}
