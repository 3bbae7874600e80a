//! Where a learnt policy goes. The job may be able to write there too: the directory is held from before the job on, and
//! what the job has put in the file's place, a link perhaps, is replaced and not followed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sandbox::beneath::Tree;

use crate::job;
use crate::workspace::{self, Workspace};

/// A file that need not be there yet.
pub(crate) struct PolicyFile {
    directory: Tree,
    name: OsString,
}

impl PolicyFile {
    /// Takes hold of the directory of an absolute path.
    pub(crate) fn find(path: &Path, workspace: Option<&Workspace>) -> io::Result<PolicyFile> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let directory = Tree::open(&workspace::resolve(parent, workspace)?).map_err(io::Error::other)?;
        Ok(PolicyFile { directory, name: name.to_owned() })
    }

    /// Writes the file, as a whole or not at all.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let (directory, fresh) = (self.directory.directory(), job::new_id(".learnt"));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(directory, fresh.as_str(), flags, Mode::from_bits_truncate(0o666))?;
        let written = File::from(file)
            .write_all(text.as_bytes())
            .and_then(|()| Ok(renameat(directory, fresh.as_str(), directory, self.name.as_os_str())?));
        if written.is_err() {
            let _ = unlinkat(directory, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }
}
