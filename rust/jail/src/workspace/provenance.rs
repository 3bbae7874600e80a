//! Pointers of git that a job has made: the launcher obeys none of them.
//!
//! At the end of each job, what it changed is known from outside ([`super::Changes`]). Pointers among that are put on record
//! with what identifies the file: its inode and the time of its last change, which a job cannot set back. Whoever changes
//! the file later by other means than a job (`touch` is enough) takes the mark away.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sandbox::beneath::Tree;
use serde::{Deserialize, Serialize};

use super::Changes;
use crate::operator::Operator;
use crate::private_file;
use crate::unreported;

/// Names of files that lead the launcher from one place to another.
const POINTERS: [&str; 3] = [".git", "gitdir", "config"];
/// A job that makes more pointers than this stays unreported, and until then all pointers in its reach count as its own.
const MOST: usize = 4096;
const LARGEST: u64 = 4096;

/// What identifies one state of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Puts the pointers among a job's changes on record.
pub(crate) fn remember(changes: &Changes, workspace: Option<&Path>, operator: &Operator) -> io::Result<()> {
    let is_pointer = |path: &&PathBuf| {
        path.file_name().is_some_and(|name| POINTERS.iter().any(|pointer| name.eq_ignore_ascii_case(pointer)))
    };
    let pointers: Vec<PathBuf> = changes
        .files
        .iter()
        .filter(is_pointer)
        .map(|path| workspace.map_or_else(|| path.clone(), |workspace| workspace.join(path)))
        .collect();
    if pointers.len() > MOST {
        return Err(io::Error::other("a job has made too many pointers of git"));
    }
    for pointer in pointers {
        let Some(mark) = Mark::of(&pointer) else { continue };
        private_file::replace(&mark.place(operator), &serde_json::to_vec(&mark)?)?;
    }
    Ok(())
}

/// Returns true if a job has made the file, or may have: its end was not compared, or the record cannot be read.
pub(super) fn is_of_job(pointer: &Path, operator: &Operator) -> bool {
    let Some(now) = Mark::of(pointer) else { return true };
    let recorded = match fs::File::open(now.place(operator)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return true,
        Ok(file) => {
            let mut contents = Vec::new();
            match file
                .take(LARGEST)
                .read_to_end(&mut contents)
                .map(|_| serde_json::from_slice::<Mark>(&contents))
            {
                Ok(Ok(mark)) => Some(mark),
                _ => return true,
            }
        }
    };
    recorded == Some(now) || unreported::may_have_changed(pointer, operator)
}

impl Mark {
    fn of(file: &Path) -> Option<Mark> {
        let tree = Tree::open(file.parent()?).ok()?;
        let metadata = tree.metadata(Path::new(file.file_name()?)).ok()??;
        Some(Mark { device: metadata.device, inode: metadata.inode, changed: metadata.changed })
    }

    /// Where the mark is on record: by inode, since the directories above the file may be renamed.
    fn place(&self, operator: &Operator) -> PathBuf {
        directory(operator).join(format!("{:x}-{:x}", self.device, self.inode))
    }
}

fn directory(operator: &Operator) -> PathBuf {
    operator.state().join("pointers")
}
