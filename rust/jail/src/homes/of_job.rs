//! The home of one job: kept, thrown away, or in memory.

use std::path::{Path, PathBuf};

use sandbox::beneath::Tree;
use sandbox::plan::{Access, Entry};

use super::import::{self, Imports};
use super::removal::Trash;
use super::seed::{self, Values};
use super::{HomeError, Homes, OpenHome, failed};
use crate::failure::Failure;
use crate::job;
use crate::operator::Operator;
use crate::secrets::dummy::Dummies;
use crate::spec::{Home, HomeSpec};

/// The home of one job.
#[derive(Debug)]
pub(crate) enum JobHome {
    /// A file system in memory, made with the jail.
    InMemory,
    /// A directory that is removed at the end: there are files to write before the job starts.
    Temporary(TemporaryHome),
    /// A home that is kept.
    Kept(OpenHome),
}

/// A home directory on the host that is removed when this is dropped; after a crash, by the next removal.
#[derive(Debug)]
pub(crate) struct TemporaryHome {
    contents: PathBuf,
    _trash: Trash,
}

impl JobHome {
    /// Opens the home that `spec` asks for.
    pub(crate) fn open(
        spec: &HomeSpec,
        homes: &Homes,
        name: &str,
        workspace: Option<&Path>,
    ) -> Result<JobHome, HomeError> {
        match spec.kind {
            Home::Persistent => homes.home(name, workspace).open().map(JobHome::Kept),
            Home::Ephemeral if spec.seed.is_empty() => Ok(JobHome::InMemory),
            Home::Ephemeral => TemporaryHome::create(&homes.directory).map(JobHome::Temporary),
        }
    }

    /// Where its dummies come from.
    pub(crate) fn dummies(&self) -> Dummies {
        match self {
            JobHome::Kept(home) => Dummies::OfHome(home.seed),
            JobHome::InMemory | JobHome::Temporary(_) => Dummies::OfJob,
        }
    }

    /// Writes the seeds. Returns the mounts of the home and of the imported files, in this order.
    pub(crate) fn furnish(
        &self,
        spec: &HomeSpec,
        target: &Path,
        values: Values<'_>,
        operator: &Operator,
    ) -> Result<Imports, Failure> {
        let contents = self.contents();
        let tree = contents.map(Tree::open).transpose().map_err(Failure::no_jail)?;
        let mut notices = Vec::new();
        if let Some(tree) = &tree {
            notices = seed::write(tree, &spec.seed, values).map_err(Failure::no_jail)?;
        }
        let mut imports = import::find(&spec.import, tree.as_ref(), target, operator);
        let target = target.to_owned();
        let home = match contents {
            Some(source) => Entry::Bind { source: source.to_owned(), target, access: Access::ReadWrite },
            None => Entry::Directory { target, writable: true },
        };
        imports.entries.insert(0, home);
        imports.notices.splice(0..0, notices);
        Ok(imports)
    }

    fn contents(&self) -> Option<&Path> {
        match self {
            JobHome::InMemory => None,
            JobHome::Temporary(home) => Some(&home.contents),
            JobHome::Kept(home) => Some(&home.contents),
        }
    }
}

impl TemporaryHome {
    fn create(around: &Path) -> Result<TemporaryHome, HomeError> {
        let state = |error: job::StateError| failed(around)(std::io::Error::other(error));
        job::make_private(around).map_err(state)?;
        let trash = Trash::create(around).map_err(failed(around))?;
        let contents = trash.path().join("home");
        let made = job::make_private(&contents).and_then(|()| job::real_path(&contents));
        Ok(TemporaryHome { contents: made.map_err(state)?, _trash: trash })
    }
}
