//! The errors of project files.

use std::path::PathBuf;

use sandbox::beneath::BeneathError;

use crate::failure::Failure;
use crate::spec::SpecError;

/// The name of the file, at the top of a workspace.
pub(crate) const FILE_NAME: &str = "jail.json";

/// Why a project file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// It is no readable regular file of the workspace.
    #[error("cannot read the project file: {0}")]
    Read(#[from] BeneathError),
    /// It is not UTF-8.
    #[error("cannot read {path}: it is not UTF-8 text", path = .0.display())]
    NotText(PathBuf),
    /// It is no specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its `extends` is not a name.
    #[error("{path}: at extends: write the name of a jail, as \"claude\"", path = .0.display())]
    Extends(PathBuf),
    /// It has a field that only whole specifications have.
    #[error("{path}: at {field}: a project file cannot have this field; leave it out", path = .path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
    /// Approvals cannot be read or written.
    #[error("cannot keep which project files are trusted in {path}: {error}", path = .path.display())]
    Approvals {
        /// The directory or file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A job could approve what it wrote.
    #[error(
        "cannot trust project files: {path} is in a directory that jobs can write; set XDG_CONFIG_HOME to another one",
        path = .0.display()
    )]
    ApprovalsWritable(PathBuf),
    /// `jail run ./other.json` in a workspace.
    #[error(
        "cannot use {path}: a job may have written it; move it to ~/.config/nix-jail, or call it {FILE_NAME} and review it with: jail trust",
        path = .0.display()
    )]
    InWorkspace(PathBuf),
    /// `jail run ./jail.json` without approval.
    #[error("{path} is not trusted, and a job may have written it; review it with: jail trust", path = .0.display())]
    NotTrusted(PathBuf),
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Failure {
        Failure::no_jail(error)
    }
}
