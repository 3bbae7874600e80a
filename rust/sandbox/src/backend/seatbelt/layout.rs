//! Where the pieces of a plan are on a system without mount namespaces.
//!
//! What lies at its own path stays there. What the plan puts elsewhere (the jail's own `/etc`, its certificates, its
//! home, `/tmp`) is in the job's private directory or where it comes from, and the job's variables and the words of its
//! command say the new path.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::backend::Error;
use crate::plan::{Access, Entry, Plan};

/// What the host says about itself.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The job's private directory: a real path, empty, nobody else's.
    pub private: PathBuf,
    /// The plan's links that the host has too, to the same place.
    pub links: BTreeSet<PathBuf>,
}

/// A plan among the host's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The command, in the new paths.
    pub command: Vec<OsString>,
    /// The environment, in the new paths.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the command starts.
    pub working_directory: PathBuf,
    /// What is to be made in the private directory, in order.
    pub make: Vec<Make>,
    /// What the job may read, write and run, in order: the last that a path lies in decides.
    pub grants: Vec<Grant>,
    /// Links that the host has: to be read as such.
    pub links: Vec<PathBuf>,
    /// Paths that must not come into being.
    pub absent: Vec<PathBuf>,
    /// Whether the jail is to have `/bin/sh`.
    pub shell: bool,
    /// Whether the jail is to have `/usr/bin/env`.
    pub env: bool,
    /// What is not where the plan has it, as sentences for the user.
    pub notices: Vec<String>,
    /// Where the plan has files and directories of the host.
    bound: Vec<PathBuf>,
}

/// A file or a directory with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The real path.
    pub path: PathBuf,
    /// Whether the job may write to it.
    pub access: Access,
}

/// A piece of the private directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Make {
    /// A directory, and what is missing above it.
    Directory(PathBuf),
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// What is in it.
        contents: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// A link.
    Link {
        /// Where.
        path: PathBuf,
        /// What it points to.
        to: PathBuf,
    },
}

impl Layout {
    /// Finds each piece of the plan its place.
    pub fn of(plan: &Plan, host: &Host) -> Result<Layout, Error> {
        let mut moves = Moves::default();
        let mut layout = Layout { absent: plan.absent.clone(), ..Layout::default() };
        // What every jail has, whatever its plan says.
        let temporary = host.private.join("tmp");
        moves.add("/tmp".into(), temporary.clone());
        layout.make.push(Make::Directory(temporary.clone()));
        layout.grants.push(Grant { path: temporary, access: Access::ReadWrite });
        for entry in &plan.tree {
            layout.place(entry, host, &mut moves)?;
        }
        layout.command = plan.command.iter().map(|word| moves.word(word)).collect();
        layout.environment =
            plan.environment.iter().map(|(name, value)| (name.clone(), moves.every_path(value))).collect();
        layout.working_directory = moves.path(&plan.working_directory);
        for make in &mut layout.make {
            if let Make::Link { to, .. } = make {
                *to = moves.path(to);
            }
        }
        layout.tell(plan, &moves);
        Ok(layout)
    }

    fn place(&mut self, entry: &Entry, host: &Host, moves: &mut Moves) -> Result<(), Error> {
        match entry {
            Entry::Bind { source, target, access } => {
                // Also one that stays where it is: what lies around it may not.
                moves.add(target.clone(), source.clone());
                self.bound.push(target.clone());
                // It becomes another shell, which is not in the plan.
                self.shell |= source == Path::new("/bin/sh");
                self.grants.push(Grant { path: source.clone(), access: *access });
            }
            Entry::Overlay { target, .. } => {
                return Err(Error::Unsupported {
                    what: format!("a layer over {} (workspace mode overlay)", target.display()),
                    cure: "use --workspace-mode ro or rw, work on a copy, or run the job on Linux (a virtual machine will do)".to_owned(),
                });
            }
            Entry::Symlink { target, .. } if target == Path::new("/bin/sh") => self.shell = true,
            Entry::Symlink { target, .. } if target == Path::new("/usr/bin/env") => self.env = true,
            Entry::Symlink { target, .. } if host.links.contains(target) => self.links.push(target.clone()),
            Entry::Symlink { target, to } => {
                let path = self.take_in(target, Access::ReadOnly, host, moves)?;
                self.make.push(Make::Link { path, to: to.clone() });
            }
            Entry::File { target, contents, mode } => {
                let path = self.take_in(target, Access::ReadOnly, host, moves)?;
                self.make.push(Make::File { path, contents: contents.clone(), mode: *mode });
            }
            Entry::Directory { target, writable } => {
                let access = if *writable { Access::ReadWrite } else { Access::ReadOnly };
                let path = self.take_in(target, access, host, moves)?;
                self.make.push(Make::Directory(path));
            }
        }
        Ok(())
    }

    /// A place in the private directory.
    fn take_in(
        &mut self,
        target: &Path,
        access: Access,
        host: &Host,
        moves: &mut Moves,
    ) -> Result<PathBuf, Error> {
        let wrong = || Error::Target { path: target.to_owned() };
        let inside = target.strip_prefix("/").map_err(|_| wrong())?;
        let is_plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
        if inside.as_os_str().is_empty() || !is_plain {
            return Err(wrong());
        }
        if let Some(around) = self.bound.iter().find(|around| target.starts_with(around)) {
            return Err(Error::Unsupported {
                what: format!(
                    "a file of the jail's own at {}, inside of the host's {}",
                    target.display(),
                    around.display()
                ),
                cure: "leave it out, or run the job on Linux (a virtual machine will do)".to_owned(),
            });
        }
        let path = host.private.join("root").join(inside);
        moves.add(target.to_owned(), path.clone());
        self.grants.push(Grant { path: path.clone(), access });
        Ok(path)
    }

    /// Names what a program finds nowhere: what is not at the plan's path, and in no variable either.
    fn tell(&mut self, plan: &Plan, moves: &Moves) {
        for entry in &plan.tree {
            let Entry::Bind { source, target, .. } = entry else { continue };
            let said = plan
                .environment
                .iter()
                .any(|(_, value)| moves.every_path(value) != *value && names(value, target));
            if source != target && !said {
                self.notices.push(format!(
                    "{} is at {} in this jail: macOS has no mount namespaces",
                    target.display(),
                    source.display()
                ));
            }
        }
    }
}

/// Whether a text has the path in it.
fn names(value: &OsStr, path: &Path) -> bool {
    let (value, path) = (value.as_bytes(), path.as_os_str().as_bytes());
    value.windows(path.len().max(1)).any(|window| window == path)
}

/// From the plan's paths to the host's.
#[derive(Debug, Default)]
struct Moves(Vec<(PathBuf, PathBuf)>);

impl Moves {
    fn add(&mut self, from: PathBuf, to: PathBuf) {
        // The innermost first; of the same path the last that was said, which lies on top.
        let length = |path: &Path| std::cmp::Reverse(path.as_os_str().len());
        let position = self.0.partition_point(|(known, _)| length(known) < length(&from));
        self.0.insert(position, (from, to));
    }

    fn path(&self, path: &Path) -> PathBuf {
        let found = self.0.iter().find_map(|(from, to)| Some((to, path.strip_prefix(from).ok()?)));
        match found {
            Some((to, rest)) if rest.as_os_str().is_empty() => to.clone(),
            Some((to, rest)) => to.join(rest),
            None => path.to_owned(),
        }
    }

    /// A word that is a path.
    fn word(&self, word: &OsStr) -> OsString {
        self.path(Path::new(word)).into_os_string()
    }

    /// A text with paths in it: `PATH`, `-Dkey=/path`.
    fn every_path(&self, text: &OsStr) -> OsString {
        let mut result = Vec::with_capacity(text.len());
        for piece in text.as_bytes().split_inclusive(|byte| is_separator(*byte)) {
            let length = piece.iter().position(|byte| is_separator(*byte)).unwrap_or(piece.len());
            let (word, separator) = piece.split_at(length);
            // `//` is what a URL has there.
            if word.starts_with(b"/") && !word.starts_with(b"//") {
                result.extend(self.word(OsStr::from_bytes(word)).into_vec());
            } else {
                result.extend(word);
            }
            result.extend(separator);
        }
        OsString::from_vec(result)
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b':' | b'=' | b',' | b';' | b' ' | b'\t' | b'\n' | b'\'' | b'"')
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
