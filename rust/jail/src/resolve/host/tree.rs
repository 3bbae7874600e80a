//! Paths as the kernel walks them: every link on the way is kept, the file at the end is bound.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use sandbox::plan::{Access, Entry};

use super::{ResolveError, unreadable};

/// The files and links collected so far.
pub(super) struct Tree {
    home: PathBuf,
    pieces: BTreeMap<PathBuf, Piece>,
    /// What was added, and where it really is: each of a hundred programs adds the C library.
    added: HashMap<PathBuf, PathBuf>,
    /// What was found on the way; a library's directory is asked for once.
    known: HashMap<PathBuf, Kind>,
}

enum Piece {
    Link(PathBuf),
    File,
    Directory,
}

#[derive(Clone)]
enum Kind {
    Link(PathBuf),
    File,
    Directory,
}

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

impl Tree {
    pub(super) fn new(home: PathBuf) -> Tree {
        Tree { home, pieces: BTreeMap::new(), added: HashMap::new(), known: HashMap::new() }
    }

    /// Adds the file or directory at `path`; returns its real path.
    pub(super) fn add(&mut self, path: &Path) -> Result<PathBuf, ResolveError> {
        if let Some(real) = self.added.get(path) {
            return Ok(real.clone());
        }
        let real = self.walk(path)?;
        let piece = match self.known.get(&real) {
            Some(Kind::File) => Piece::File,
            _ => Piece::Directory,
        };
        if matches!(piece, Piece::Directory) {
            self.check(&real)?;
        }
        self.pieces.insert(real.clone(), piece);
        self.added.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// Adds the links on the way to `path`; returns the real path.
    pub(super) fn walk(&mut self, path: &Path) -> Result<PathBuf, ResolveError> {
        let failed = |error| unreadable(path, error);
        let mut left: VecDeque<OsString> = parts(path);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            match self.kind(&next).map_err(failed)? {
                Kind::Link(to) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(failed(io::Error::other("too many symbolic links")));
                    }
                    if to.is_absolute() {
                        real = PathBuf::from("/");
                    }
                    for part in parts(&to).into_iter().rev() {
                        left.push_front(part);
                    }
                    self.pieces.entry(next).or_insert(Piece::Link(to));
                }
                Kind::File | Kind::Directory => real = next,
            }
        }
        Ok(real)
    }

    fn kind(&mut self, path: &Path) -> io::Result<Kind> {
        if let Some(kind) = self.known.get(path) {
            return Ok(kind.clone());
        }
        let kind = match std::fs::symlink_metadata(path)?.file_type() {
            kind if kind.is_symlink() => Kind::Link(std::fs::read_link(path)?),
            kind if kind.is_dir() => Kind::Directory,
            _ => Kind::File,
        };
        self.known.insert(path.to_owned(), kind.clone());
        Ok(kind)
    }

    /// Refuses directories that hold much more than one program's data.
    pub(super) fn check(&self, directory: &Path) -> Result<(), ResolveError> {
        let holds_home = self.home.starts_with(directory);
        let is_broad = BROAD.iter().any(|broad| Path::new(broad) == directory)
            || directory.components().count() <= 2 && !directory.starts_with("/nix");
        if holds_home || is_broad {
            return Err(ResolveError::TooBroad { path: directory.to_owned() });
        }
        Ok(())
    }

    fn is_covered(&self, path: &Path) -> bool {
        path.ancestors().skip(1).any(|above| matches!(self.pieces.get(above), Some(Piece::Directory)))
    }

    /// Everything, parents first; a directory stands for all that lies in it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let kept = self.pieces.iter().filter(|(path, _)| !self.is_covered(path));
        kept.map(|(path, piece)| match piece {
            Piece::Link(to) => Entry::Symlink { target: path.clone(), to: to.clone() },
            Piece::File | Piece::Directory => {
                Entry::Bind { source: path.clone(), target: path.clone(), access: Access::ReadOnly }
            }
        })
        .collect()
    }
}

/// Shared by everything on a host.
const BROAD: &[&str] = &[
    "/etc/ssl",
    "/nix",
    "/nix/store",
    "/nix/var",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
    "/var/lib",
];

/// Whether a link out of a package may bring this file: parts of the system do, somebody's files and what the jail has
/// of its own do not.
pub(super) fn is_system(real: &Path) -> bool {
    let name = |directory: &str| {
        let rest = real.strip_prefix(directory).ok()?;
        rest.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned())
    };
    match name("/") {
        Some(top) if top == "etc" => name("/etc").is_some_and(|part| {
            ["alternatives", "java", "perl", "python"].iter().any(|known| part.starts_with(known))
        }),
        Some(top) => ["usr", "opt", "lib", "lib64", "nix"].contains(&&*top),
        None => false,
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}
