//! Programs of the host: each with the libraries, interpreter and data it needs to run, and nothing else.

mod companions;
mod elf;
mod libraries;
mod lookup;
mod packages;
mod tree;

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sandbox::plan::Entry;

use crate::operator::Operator;
use libraries::{Loader, Request};
use tree::Tree;

/// What the host's programs need in the jail.
#[derive(Debug, Default)]
pub(crate) struct HostTree {
    /// Files, directories (all read-only) and links; a link is where the host has it, so that every path resolves as
    /// it does outside.
    pub(crate) entries: Vec<Entry>,
    /// The directories that hold the programs, for `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// Variables that the programs need to find their data.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether a Java runtime is among them.
    pub(crate) java: bool,
    /// The names of the programs that were asked for, or came with them.
    names: BTreeSet<OsString>,
}

impl HostTree {
    /// Whether a command by this name starts one of the programs.
    pub(crate) fn has_program(&self, name: &Path) -> bool {
        self.names.contains(name.as_os_str())
    }
}

/// Why a program cannot be put into a jail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// It is nowhere.
    #[error("there is no program {name:?} on this host (looked in {looked}); install it, or give its path")]
    NotFound {
        /// What was asked for.
        name: String,
        /// The directories.
        looked: String,
    },
    /// It is there and is not a program.
    #[error("{path} cannot be run: it is not an executable file; name the program itself", path = .path.display())]
    NotExecutable {
        /// Which.
        path: PathBuf,
    },
    /// It stands for a program that another tool would choose.
    #[error("{path} is a stand-in of {manager}, which would need all of {manager} in the jail; give the program's \
             own path instead: {cure}", path = .path.display())]
    StandIn {
        /// Which.
        path: PathBuf,
        /// Whose.
        manager: String,
        /// The command that prints the path, or what to correct.
        cure: String,
    },
    /// It, or a file that it needs, cannot be read.
    #[error("cannot read {path}: {error}; make it readable for the user who starts the jail", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A library is missing: the program would not start here either.
    #[error("{program} needs the library {library}, which is not on this host (looked in {looked}); install it",
            program = .program.display())]
    NoLibrary {
        /// The program, or the library that needs it.
        program: PathBuf,
        /// The missing one.
        library: String,
        /// The directories.
        looked: String,
    },
    /// A directory that holds far more than a program.
    #[error("{path} is never put into a jail as a whole; name a program or a directory below it", path = .path.display())]
    TooBroad {
        /// Which.
        path: PathBuf,
    },
}

/// A set of names: what a command line is made of. Those that the host does not have are left out.
const SETS: &[(&str, &[&str])] = &[(
    "@shell",
    &[
        "sh",
        "bash",
        "env",
        "[",
        "arch",
        "awk",
        "base64",
        "basename",
        "bunzip2",
        "bzip2",
        "cat",
        "chmod",
        "clear",
        "cmp",
        "comm",
        "cp",
        "cut",
        "date",
        "dd",
        "df",
        "diff",
        "dircolors",
        "dirname",
        "du",
        "echo",
        "egrep",
        "expand",
        "expr",
        "factor",
        "false",
        "fgrep",
        "file",
        "find",
        "fmt",
        "fold",
        "free",
        "getconf",
        "getent",
        "gawk",
        "grep",
        "gunzip",
        "gzip",
        "head",
        "hostname",
        "id",
        "install",
        "join",
        "kill",
        "less",
        "link",
        "ln",
        "locale",
        "ls",
        "mawk",
        "md5sum",
        "mkdir",
        "mkfifo",
        "mktemp",
        "more",
        "mv",
        "nl",
        "nohup",
        "nproc",
        "od",
        "paste",
        "patch",
        "pgrep",
        "pkill",
        "printenv",
        "printf",
        "ps",
        "pwd",
        "readlink",
        "realpath",
        "rev",
        "rm",
        "rmdir",
        "sed",
        "seq",
        "sha1sum",
        "sha256sum",
        "sha512sum",
        "shuf",
        "sleep",
        "sort",
        "split",
        "stat",
        "stty",
        "sync",
        "tac",
        "tail",
        "tar",
        "tee",
        "test",
        "timeout",
        "touch",
        "tput",
        "tr",
        "tree",
        "true",
        "truncate",
        "tty",
        "uname",
        "unexpand",
        "uniq",
        "unlink",
        "unxz",
        "unzip",
        "uptime",
        "vi",
        "wc",
        "which",
        "whoami",
        "xargs",
        "xz",
        "yes",
        "zcat",
        "zip",
    ],
)];

/// Whether a file is a program that needs no loader and no libraries.
#[cfg(target_os = "linux")]
pub(crate) fn is_static(file: &File) -> io::Result<bool> {
    let object = elf::read(file)?;
    Ok(object.is_some_and(|object| object.interpreter.is_none() && object.needed.is_empty()))
}

/// Finds programs and everything they need.
///
/// A name is a program on the operator's `PATH` or a path; `NAME?` is left out where the host has none; `@shell` is
/// a shell and the usual small tools.
pub(crate) fn programs(names: &[String], operator: &Operator) -> Result<HostTree, ResolveError> {
    let mut host = Host::new(operator);
    for name in names {
        if let Some((_, members)) = SETS.iter().find(|(set, _)| set == name) {
            for member in *members {
                host.program(member, Presence::Optional)?;
            }
        } else if let Some(name) = name.strip_suffix('?') {
            host.program(name, Presence::Optional)?;
        } else {
            host.program(name, Presence::Required)?;
        }
    }
    if !names.is_empty() {
        companions::common(&mut host)?;
    }
    Ok(host.finish())
}

/// The tree while it is collected.
struct Host<'a> {
    operator: &'a Operator,
    tree: Tree,
    loader: Loader,
    path: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    java: bool,
    names: BTreeSet<OsString>,
    /// Files that were looked at; device and inode, because git is a hundred names for one file.
    seen: HashSet<(u64, u64)>,
    /// Directories that were looked through.
    scanned: HashSet<PathBuf>,
    /// Packages whose dependencies were followed.
    packages: HashSet<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// A script's interpreter may be a script; the kernel follows four.
const MAX_INTERPRETERS: usize = 5;
/// A directory with more entries than this is bound without looking for libraries that its files need.
const MAX_SCANNED: usize = 50_000;

/// Directories of packages from which no program loads libraries: half of what there is to look through.
const UNLOADED: &[&str] = &["__pycache__", "test", "tests", ".git"];

impl<'a> Host<'a> {
    fn new(operator: &'a Operator) -> Host<'a> {
        Host {
            operator,
            tree: Tree::new(operator.home.clone()),
            loader: Loader::of_host(),
            path: Vec::new(),
            environment: Vec::new(),
            java: false,
            names: BTreeSet::new(),
            seen: HashSet::new(),
            scanned: HashSet::new(),
            packages: HashSet::new(),
        }
    }

    fn finish(self) -> HostTree {
        HostTree {
            entries: self.tree.entries(),
            path: self.path,
            environment: self.environment,
            java: self.java,
            names: self.names,
        }
    }

    /// Adds a program by name or path.
    fn program(&mut self, name: &str, presence: Presence) -> Result<(), ResolveError> {
        match lookup::find(name, self.operator) {
            Ok(path) => {
                self.callable(&path);
                self.executable(&path, 0)
            }
            Err(ResolveError::NotFound { .. }) if presence == Presence::Optional => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a program one that is found by its name inside.
    fn callable(&mut self, path: &Path) {
        self.names.extend(path.file_name().map(OsStr::to_owned));
        if let Some(directory) = path.parent()
            && !self.path.iter().any(|known| known == directory)
        {
            self.path.push(directory.to_owned());
        }
    }

    /// Adds an executable file, what it needs to start, and what it opens later.
    fn executable(&mut self, path: &Path, depth: usize) -> Result<(), ResolveError> {
        let real = self.tree.add(path)?;
        lookup::genuine(path, &real)?;
        let file = open(&real)?;
        if self.is_new(&file, &real)? {
            match interpreter_line(&file).map_err(|error| unreadable(&real, error))? {
                Some(line) if depth < MAX_INTERPRETERS => self.interpreters(&line, &real, depth)?,
                Some(_) => return Err(ResolveError::NotExecutable { path: real }),
                None => self.objects(&file, &real)?,
            }
        }
        // By every name it is called by: what `node` needs and what `npm` needs differ, the file may not.
        packages::add(self, &real)?;
        companions::add(self, path, &real)
    }

    /// Adds what a script's first line names.
    fn interpreters(&mut self, line: &[String], script: &Path, depth: usize) -> Result<(), ResolveError> {
        for program in lookup::interpreters(line) {
            match lookup::find(&program, self.operator) {
                Ok(path) => {
                    // What `env` starts is looked up inside again.
                    if !program.contains('/') {
                        self.callable(&path);
                    }
                    self.executable(&path, depth + 1)?;
                }
                Err(ResolveError::NotFound { name, looked }) => {
                    let looked = format!("{looked}; {} names it in its first line", script.display());
                    return Err(ResolveError::NotFound { name, looked });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds the loader and libraries of a program or library.
    fn objects(&mut self, file: &File, real: &Path) -> Result<(), ResolveError> {
        let Some(object) = elf::read(file).map_err(|error| unreadable(real, error))? else { return Ok(()) };
        let closure = self.loader.closure(&Request { path: real, object: &object })?;
        for library in closure.libraries {
            let real = self.tree.add(&library)?;
            companions::of_library(self, &library, &real)?;
        }
        for file in closure.configuration {
            self.tree.add(&file)?;
        }
        Ok(())
    }

    /// Adds a directory and what the files in it need: the libraries of the modules, the targets of the links.
    fn directory(&mut self, path: &Path) -> Result<(), ResolveError> {
        let real = self.tree.add(path)?;
        let mut pending = vec![real.clone()];
        let mut left = MAX_SCANNED;
        while let Some(directory) = pending.pop() {
            if !self.scanned.insert(directory.clone()) {
                continue;
            }
            let entries = std::fs::read_dir(&directory).map_err(|error| unreadable(&directory, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| unreadable(&directory, error))?;
                let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), error))?;
                left -= 1;
                if left == 0 {
                    tracing::debug!(directory = %real.display(), "too large to look through");
                    return Ok(());
                }
                if kind.is_dir() {
                    if !UNLOADED.iter().any(|name| entry.file_name() == *name) {
                        pending.push(entry.path());
                    }
                } else if kind.is_symlink() {
                    self.target(&entry.path(), &real)?;
                } else if elf::is_likely(&entry.file_name()) {
                    self.module(&entry.path());
                }
            }
        }
        Ok(())
    }

    /// Adds what a link in a bound directory points to, if that is a part of the system outside of the directory.
    fn target(&mut self, link: &Path, directory: &Path) -> Result<(), ResolveError> {
        let Ok(target) = link.canonicalize() else { return Ok(()) };
        if target.starts_with(directory) || !tree::is_system(&target) {
            return Ok(());
        }
        if target.is_dir() {
            // A directory of links to whole system directories is not an order to bind those.
            if self.tree.check(&target).is_ok() {
                self.tree.walk(link)?;
                self.directory(&target)?;
            }
        } else {
            self.tree.add(link)?;
            self.module(&target);
        }
        Ok(())
    }

    /// Adds what a file of a bound directory needs. One plug-in that cannot be loaded is no reason for not starting.
    fn module(&mut self, path: &Path) {
        let added = open(path)
            .and_then(|file| if self.is_new(&file, path)? { self.objects(&file, path) } else { Ok(()) });
        if let Err(error) = added {
            tracing::debug!(%error, "left out");
        }
    }

    fn is_new(&mut self, file: &File, path: &Path) -> Result<bool, ResolveError> {
        let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
        Ok(self.seen.insert((metadata.dev(), metadata.ino())))
    }
}

fn open(path: &Path) -> Result<File, ResolveError> {
    File::open(path).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: io::Error) -> ResolveError {
    ResolveError::Unreadable { path: path.to_owned(), error }
}

/// The words after `#!`, the interpreter and its one argument, as the kernel splits them.
fn interpreter_line(file: &File) -> io::Result<Option<Vec<String>>> {
    let mut head = Vec::new();
    file.take(256).read_to_end(&mut head)?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words = line.trim().splitn(2, [' ', '\t']).map(|word| word.trim().to_owned());
    Ok(Some(words.filter(|word| !word.is_empty()).collect()))
}

#[cfg(test)]
#[path = "host/tests.rs"]
mod on_the_host;
