//! The texts of project files that the operator has approved, one file for each directory, outside of everything that a
//! job can write.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sandbox::beneath::Tree;

use super::error::ProjectError;
use crate::operator::Operator;
use crate::private_file;

/// The largest project file.
pub(super) const MAX_BYTES: u64 = 256 << 10;

/// The approved texts of one operator.
#[derive(Debug)]
pub(super) struct Approvals {
    directory: PathBuf,
}

impl Approvals {
    /// The approvals in the operator's configuration directory. An error if jobs can write there.
    pub(super) fn of(operator: &Operator) -> Result<Approvals, ProjectError> {
        let configuration = operator.config_home();
        let configuration = configuration.canonicalize().unwrap_or(configuration);
        if operator.writable.iter().any(|writable| configuration.starts_with(writable)) {
            return Err(ProjectError::ApprovalsWritable(configuration));
        }
        Ok(Approvals { directory: configuration.join("nix-jail/trusted") })
    }

    /// Returns the text that was approved in `project`.
    pub(super) fn text(&self, project: &Path) -> Result<Option<String>, ProjectError> {
        if !self.directory.is_dir() {
            return Ok(None);
        }
        let tree = Tree::open(&self.directory)?;
        let text =
            tree.read_file(Path::new(&private_file::name_for(project.as_os_str().as_bytes())), MAX_BYTES)?;
        Ok(text.and_then(|text| String::from_utf8(text).ok()))
    }

    /// Approves `text` in `project`, in the place of what was approved before.
    pub(super) fn store(&self, project: &Path, text: &str) -> Result<(), ProjectError> {
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(self.directory.join(private_file::name_for(project.as_os_str().as_bytes())))?;
            Ok(())
        };
        write().map_err(|error| self.failed(error))
    }

    /// Takes an approval back. Returns false if there was none.
    pub(super) fn remove(&self, project: &Path) -> Result<bool, ProjectError> {
        match fs::remove_file(self.directory.join(private_file::name_for(project.as_os_str().as_bytes()))) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> ProjectError {
        ProjectError::Approvals { path: self.directory.clone(), error }
    }
}
