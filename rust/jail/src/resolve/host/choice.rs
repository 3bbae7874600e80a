//! Who chose a file of the host, and where jobs can write.
//!
//! The operator chooses by naming a program, by `PATH`, and by what is installed. A job chooses by every link, header,
//! first line or manifest in a place that jobs can write, also one that ran days ago.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::operator::Operator;

/// Who chose a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chooser {
    /// The operator, or the system.
    Operator,
    /// A job that can write this place.
    Job(Rc<Path>),
}

/// The purpose of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is started.
    Program,
    /// The kernel starts it to load a program.
    Loader,
    /// It is loaded.
    Library,
    /// Python's standard library.
    PythonLibrary,
    /// It is read.
    Data,
}

/// The places that jobs can write.
pub(super) struct Places {
    /// The workspace and the writable binds of this jail: it has what is in them anyway.
    given: Vec<Rc<Path>>,
    /// The directory of the persistent homes, each of which is a place.
    homes: PathBuf,
}

impl Places {
    pub(super) fn of(operator: &Operator) -> Places {
        let homes = operator.homes();
        let given = operator.writable.iter().filter(|place| **place != homes);
        Places { given: given.map(|place| Rc::from(place.as_path())).collect(), homes }
    }

    /// Returns true if the jail has this file because it has the place.
    pub(super) fn is_given(&self, real: &Path) -> bool {
        self.given.iter().any(|place| real.starts_with(place))
    }

    /// The place that holds `real`.
    pub(super) fn of_path(&self, real: &Path) -> Option<Rc<Path>> {
        if let Ok(rest) = real.strip_prefix(&self.homes) {
            let home = rest.components().next();
            return Some(
                home.map_or_else(|| Rc::from(self.homes.as_path()), |home| Rc::from(self.homes.join(home))),
            );
        }
        self.given.iter().find(|place| real.starts_with(place)).cloned()
    }

    /// The directory of the place that holds `real`.
    pub(super) fn root_of(&self, real: &Path) -> Option<&Path> {
        self.given.iter().map(|place| &**place).find(|place| real.starts_with(place))
    }
}
