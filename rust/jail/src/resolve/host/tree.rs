//! Paths as the kernel walks them: every link on the way is kept, the file at the end is bound.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sandbox::beneath::{self, BeneathError, Budget, Kind, Metadata};
use sandbox::plan::{Access, Entry};

use super::choice::{Chooser, Places, Role};
use super::elf::{self, Object};
use super::{ResolveError, unreadable};
use crate::operator::Operator;

/// The host's files, and those of them that were collected so far.
pub(super) struct Tree {
    /// The whole host: what is looked at and opened is a regular file or directory, at a path without links.
    root: beneath::Tree,
    places: Places,
    home: PathBuf,
    uid: u32,
    pieces: BTreeMap<PathBuf, Piece>,
    /// Directories of the system that are there with everything in them.
    system: Vec<PathBuf>,
    /// The paths by which they were asked for.
    inserted: HashSet<PathBuf>,
    /// Paths that were looked up: each of a hundred programs needs the C library.
    known: HashMap<PathBuf, Option<Found>>,
    /// Directories, and whether everybody may pass through them.
    public: HashMap<PathBuf, bool>,
}

enum Piece {
    Link(PathBuf),
    File,
    Directory,
}

/// As many results of lookups are kept.
const MAX_KNOWN: usize = 8192;

/// The result of a lookup, whoever chose the path.
#[derive(Clone)]
struct Found {
    path: PathBuf,
    metadata: Metadata,
    links: Rc<[beneath::Link]>,
}

/// A file or directory of the host, and who chose it.
#[derive(Clone, Debug)]
pub(super) struct Located {
    /// The path without links.
    pub(super) path: PathBuf,
    /// Its metadata.
    pub(super) metadata: Metadata,
    /// Who chose it: a job, if a link on the way lies where jobs can write.
    pub(super) chooser: Chooser,
    /// The path by which it was looked up.
    asked: PathBuf,
    /// The links on the way to it.
    links: Rc<[beneath::Link]>,
}

impl Located {
    pub(super) fn is_file(&self) -> bool {
        self.metadata.kind == Kind::File
    }

    pub(super) fn is_directory(&self) -> bool {
        self.metadata.kind == Kind::Directory
    }

    pub(super) fn is_program(&self) -> bool {
        self.is_file() && self.metadata.mode & 0o111 != 0
    }

    /// The paths of the links on the way to it.
    pub(super) fn links(&self) -> impl Iterator<Item = &Path> {
        self.links.iter().map(|link| link.path.as_path())
    }

    /// Where in the jail's tree it is needed; the same as on the host.
    pub(super) fn asked(&self) -> &Path {
        &self.asked
    }
}

impl Tree {
    pub(super) fn new(operator: &Operator) -> Result<Tree, ResolveError> {
        let root = Path::new("/");
        Ok(Tree {
            root: beneath::Tree::open(root).map_err(|error| failed(root, error))?,
            places: Places::of(operator),
            home: operator.home.canonicalize().unwrap_or_else(|_| operator.home.clone()),
            uid: operator.uid,
            pieces: BTreeMap::new(),
            system: Vec::new(),
            inserted: HashSet::new(),
            known: HashMap::new(),
            public: HashMap::new(),
        })
    }

    /// Finds what lies at `path`, an absolute path that `chooser` has chosen. Nothing is added.
    pub(super) fn locate(&mut self, path: &Path, chooser: &Chooser) -> Result<Option<Located>, ResolveError> {
        if !self.known.contains_key(path) {
            let found = self.look_up(path)?;
            self.remember(path, found);
        }
        let Some(Some(found)) = self.known.get(path) else { return Ok(None) };
        let by_link = || found.links.iter().find_map(|link| self.places.of_path(&link.path));
        let chooser = match chooser {
            Chooser::Operator => by_link().map_or(Chooser::Operator, Chooser::Job),
            job => job.clone(),
        };
        Ok(Some(Located {
            path: found.path.clone(),
            metadata: found.metadata,
            chooser,
            asked: path.to_owned(),
            links: Rc::clone(&found.links),
        }))
    }

    /// Keeps the result of a lookup. A job can make hundreds of thousands of paths to look up, so that sometimes all is
    /// forgotten.
    fn remember(&mut self, path: &Path, found: Option<Found>) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(path.to_owned(), found);
    }

    /// A directory is looked up once, with the links on the way to it; then one call finds a file in it.
    fn look_up(&mut self, path: &Path) -> Result<Option<Found>, ResolveError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.follow(path);
        };
        if !self.known.contains_key(parent) {
            let found = self.follow(parent)?;
            self.remember(parent, found);
        }
        let Some(Some(directory)) = self.known.get(parent) else { return Ok(None) };
        let links = Rc::clone(&directory.links);
        let Some(found) = self.follow(&directory.path.join(name))? else { return Ok(None) };
        let links =
            if found.links.is_empty() { links } else { links.iter().chain(&*found.links).cloned().collect() };
        Ok(Some(Found { links, ..found }))
    }

    fn follow(&self, path: &Path) -> Result<Option<Found>, ResolveError> {
        let root = Path::new("/");
        let Some(found) = self.root.follow(path).map_err(|error| failed(path, error))? else {
            return Ok(None);
        };
        let links = found.links.into_iter();
        let links =
            links.map(|link| beneath::Link { path: root.join(link.path), target: link.target }).collect();
        Ok(Some(Found { path: root.join(found.path), metadata: found.metadata, links }))
    }

    /// Adds the file or directory at `path`, and the links on the way to it. Refuses a path that a job may not choose.
    pub(super) fn add(
        &mut self,
        path: &Path,
        chooser: &Chooser,
        role: Role,
    ) -> Result<Located, ResolveError> {
        let found = self.locate(path, chooser)?;
        let located = found.ok_or_else(|| unreadable(path, io::ErrorKind::NotFound.into()))?;
        self.admit(&located, role)?;
        self.insert(&located)?;
        Ok(located)
    }

    /// Adds a located file or directory that was admitted.
    pub(super) fn insert(&mut self, located: &Located) -> Result<(), ResolveError> {
        if self.inserted.contains(&located.asked) {
            return Ok(());
        }
        if !located.is_file() && !located.is_directory() {
            let error = io::Error::other("it is neither a regular file nor a directory");
            return Err(unreadable(&located.path, error));
        }
        if located.is_directory() {
            self.check(&located.path)?;
        }
        self.insert_links(located);
        let piece = if located.is_directory() { Piece::Directory } else { Piece::File };
        self.pieces.insert(located.path.clone(), piece);
        self.inserted.insert(located.asked.clone());
        Ok(())
    }

    /// Adds a directory of the system with everything in it, or the link that it is. One that is missing is left out.
    pub(super) fn insert_system(&mut self, path: &Path) -> Result<(), ResolveError> {
        let Some(located) = self.locate(path, &Chooser::Operator)? else { return Ok(()) };
        self.insert_links(&located);
        if located.links.is_empty() && located.is_directory() {
            self.pieces.insert(located.path.clone(), Piece::Directory);
            self.system.push(located.path);
        }
        Ok(())
    }

    /// Returns true if the file or directory is there with a directory of [`Tree::insert_system`], in which every library
    /// is.
    pub(super) fn is_of_system(&self, real: &Path) -> bool {
        self.system.iter().any(|directory| real.starts_with(directory))
    }

    /// Adds the links on the way to a located file or directory.
    pub(super) fn insert_links(&mut self, located: &Located) {
        for link in &*located.links {
            self.pieces.entry(link.path.clone()).or_insert_with(|| Piece::Link(link.target.clone()));
        }
    }

    /// Refuses what a job may have chosen, unless it is the job's own, a public part of the system or, outside of
    /// these, a program, library or Python installation.
    pub(super) fn admit(&mut self, located: &Located, role: Role) -> Result<(), ResolveError> {
        let Chooser::Job(place) = &located.chooser else { return Ok(()) };
        let real = &located.path;
        if self.places.is_given(real)
            || self.places.of_path(real).as_ref() == Some(place)
            || self.is_covered(real)
            || self.is_public_part_of_system(located)
        {
            return Ok(());
        }
        // Never in another job's place: that is somebody's project or home.
        let is_another_jobs = self.places.of_path(real).is_some();
        if !is_another_jobs && self.is_what_it_is_taken_for(located, role)? {
            return Ok(());
        }
        Err(ResolveError::JobChosen { path: located.asked.clone(), real: real.clone() })
    }

    fn is_public_part_of_system(&mut self, located: &Located) -> bool {
        let real = &located.path;
        if !is_system(real) || real.starts_with(&self.home) {
            return false;
        }
        let mode = located.metadata.mode;
        let is_readable = match located.metadata.kind {
            Kind::File => mode & 0o004 != 0,
            // What is in it may be private if it is the operator's; what is another user's, the kernel keeps.
            Kind::Directory => {
                let is_kept = self.uid == 0 || located.metadata.uid != self.uid;
                mode & 0o005 == 0o005 && (is_kept || real.starts_with("/nix/store"))
            }
            Kind::Link | Kind::Special => false,
        };
        is_readable && real.ancestors().skip(1).all(|above| self.is_public_directory(above))
    }

    fn is_public_directory(&mut self, directory: &Path) -> bool {
        if let Some(is_public) = self.public.get(directory) {
            return *is_public;
        }
        let metadata = self.root.metadata(directory);
        let is_public = metadata.is_ok_and(|found| found.is_some_and(|found| found.mode & 0o001 != 0));
        self.public.insert(directory.to_owned(), is_public);
        is_public
    }

    /// Whether a file of the operator's, outside of every place that jobs can write, can only be a tool.
    fn is_what_it_is_taken_for(&mut self, located: &Located, role: Role) -> Result<bool, ResolveError> {
        // A file of the operator's that nobody else may read is private, whatever it is.
        if located.is_file() && located.metadata.mode & 0o004 == 0 {
            return Ok(false);
        }
        match role {
            Role::Program => {
                let object = if located.is_program() { self.object(located)? } else { None };
                Ok(object.is_some_and(|object| object.is_program() && elf::runs_here(object.machine.0)))
            }
            // What is loaded was found to be a library for this processor before it came here.
            Role::Library => Ok(self.object(located)?.is_some_and(|object| object.is_shared())),
            Role::PythonLibrary => {
                let start = self.root.metadata(&located.path.join("os.py"));
                Ok(located.is_directory()
                    && start.is_ok_and(|found| found.is_some_and(|it| it.kind == Kind::File)))
            }
            Role::Loader | Role::Data => Ok(false),
        }
    }

    /// Reads the headers of an ELF file; `None` if it is something else.
    pub(super) fn object(&self, located: &Located) -> Result<Option<Object>, ResolveError> {
        if !located.is_file() {
            return Ok(None);
        }
        let file = self.open(&located.path)?;
        elf::read(&file).map_err(|error| unreadable(&located.path, error))
    }

    /// Opens the regular file at `real`, a path without links.
    pub(super) fn open(&self, real: &Path) -> Result<File, ResolveError> {
        let file = self.root.open_file(real).map_err(|error| failed(real, error))?;
        file.ok_or_else(|| unreadable(real, io::ErrorKind::NotFound.into()))
    }

    /// Reads the file at `path`, `limit` bytes at most, if there is one that `chooser` may choose.
    pub(super) fn read(&mut self, path: &Path, chooser: &Chooser, limit: u64) -> Option<Vec<u8>> {
        let located = self.locate(path, chooser).ok().flatten().filter(Located::is_file)?;
        self.admit(&located, Role::Data).ok()?;
        self.root.read_file(&located.path, limit).ok().flatten()
    }

    /// Returns the names in the directory at `real`, a path without links.
    pub(super) fn list(
        &self,
        real: &Path,
        budget: &mut Budget,
    ) -> Result<Vec<(OsString, Kind)>, BeneathError> {
        if self.places.of_path(real).is_some() {
            return self.root.list(real, budget).map(Option::unwrap_or_default);
        }
        // Nobody swaps a directory of the system, and there are thousands: the plain way takes half the calls.
        let failed = |error| BeneathError::System { path: real.to_owned(), error };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(real).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            budget.take_entry(|| real.to_owned())?;
            let kind = match entry.file_type().map_err(failed)? {
                kind if kind.is_dir() => Kind::Directory,
                kind if kind.is_symlink() => Kind::Link,
                kind if kind.is_file() => Kind::File,
                _ => Kind::Special,
            };
            entries.push((entry.file_name(), kind));
        }
        Ok(entries)
    }

    /// Returns true if there is a file or directory at `path`, a path of the operator's.
    pub(super) fn exists(&mut self, path: &Path) -> bool {
        matches!(self.locate(path, &Chooser::Operator), Ok(Some(_)))
    }

    /// Who chose what is written in the file at `real`: a job if it can write the file, else who chose the file.
    pub(super) fn writer(&self, located: &Located) -> Chooser {
        match (&located.chooser, self.places.of_path(&located.path)) {
            (Chooser::Operator, Some(place)) => Chooser::Job(place),
            (chooser, _) => chooser.clone(),
        }
    }

    /// The place of jobs that holds a file, if one does.
    pub(super) fn place(&self, real: &Path) -> Option<&Path> {
        self.places.root_of(real)
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

fn failed(path: &Path, error: BeneathError) -> ResolveError {
    match error {
        BeneathError::System { path, error } => unreadable(&path, error),
        error => unreadable(path, io::Error::other(error.to_string())),
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
        Some(top) if top == "nix" => name("/nix/store").is_some(),
        Some(top) => ["usr", "opt", "lib", "lib64", "bin", "sbin"].contains(&&*top),
        None => false,
    }
}
