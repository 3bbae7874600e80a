//! Walking through everything below a directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::vec;

use nix::errno::Errno;

use super::resolve::{self, Found};
use super::{BeneathError, Budget, Exceeded, Kind, Links, Metadata, Tree};

/// One file of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path relative to the root of the tree.
    pub path: PathBuf,
    /// What is there; a symbolic link is itself.
    pub metadata: Metadata,
}

/// How a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Goes into the entry, if it is a directory.
    Descend,
    /// Leaves out what is below the entry.
    Skip,
    /// Ends the walk.
    Stop,
}

/// A directory on the way, with the names in it that are left. Its handle stays the same whatever is renamed.
struct Level {
    path: PathBuf,
    found: Found,
    names: vec::IntoIter<(OsString, Option<Kind>)>,
}

pub(super) fn walk(
    tree: &Tree,
    path: &Path,
    budget: &mut Budget,
    visit: &mut dyn FnMut(Result<&Entry, BeneathError>) -> Visit,
) -> Result<bool, BeneathError> {
    let Some(resolved) = tree.find(path, Links::Refuse)? else { return Ok(false) };
    let names = tree.names(&resolved.found, path, budget)?.into_iter();
    let mut way = vec![Level { path: resolved.path, found: resolved.found, names }];
    while let Some(level) = way.last_mut() {
        let Some((name, _)) = level.names.next() else {
            way.pop();
            continue;
        };
        let path = level.path.join(&name);
        budget.check_time(|| tree.path.join(&path))?;
        let directory = tree.descriptor(&level.found, &level.path)?;
        let metadata = match tree.entry_metadata(directory, &path, &name) {
            Ok(Some(metadata)) => metadata,
            Ok(None) => continue,
            Err(error) => match visit(Err(error)) {
                Visit::Stop => return Ok(true),
                Visit::Descend | Visit::Skip => continue,
            },
        };
        let entry = Entry { path, metadata };
        let is_entered = match visit(Ok(&entry)) {
            Visit::Descend => metadata.kind == Kind::Directory,
            Visit::Skip => false,
            Visit::Stop => return Ok(true),
        };
        if !is_entered {
            continue;
        }
        if way.len() > budget.depth {
            return Err(BeneathError::Budget {
                path: tree.path.join(&entry.path),
                exceeded: Exceeded::Depth,
            });
        }
        match enter(tree, way.last(), &entry.path, &name, budget) {
            Ok(Some(level)) => way.push(level),
            Ok(None) => {}
            Err(error @ BeneathError::Budget { .. }) => return Err(error),
            Err(error) => {
                if visit(Err(error)) == Visit::Stop {
                    return Ok(true);
                }
            }
        }
    }
    Ok(true)
}

/// Opens a directory of the one above; `None` if it was removed meanwhile.
fn enter(
    tree: &Tree,
    above: Option<&Level>,
    path: &Path,
    name: &OsString,
    budget: &mut Budget,
) -> Result<Option<Level>, BeneathError> {
    let Some(above) = above else { return Ok(None) };
    let fd = tree.descriptor(&above.found, &above.path)?;
    let found = match resolve::open_entry(fd, name) {
        Ok(found) => found,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(tree.error(path, errno)),
    };
    let names = tree.names(&found, path, budget)?.into_iter();
    Ok(Some(Level { path: path.to_owned(), found, names }))
}
