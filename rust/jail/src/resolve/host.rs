//! Programs of the host: each with the libraries, interpreter and data it needs to run, and nothing else.

mod choice;
mod companions;
mod elf;
mod libraries;
mod lookup;
mod packages;
mod system;
mod toolchain;
mod tree;

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sandbox::beneath::{BeneathError, Budget, Kind, Limits};
use sandbox::plan::Entry;

use crate::operator::Operator;
use crate::spec::Language;
use choice::{Chooser, Role};
use libraries::{Loader, Request};
pub(crate) use system::SYSTEM;
use tree::{Located, Tree};

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
    /// What was left out, and why: a job may have led to it.
    pub(crate) left_out: Vec<LeftOut>,
    /// The names of the programs that were asked for, or came with them.
    names: BTreeSet<OsString>,
}

impl HostTree {
    /// Whether a command by this name starts one of the programs.
    pub(crate) fn has_program(&self, name: &Path) -> bool {
        self.names.contains(name.as_os_str())
    }
}

/// A file or directory that belongs to a program and is not in the jail.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// Its path without links.
    pub(crate) path: PathBuf,
    /// The text to print.
    pub(crate) message: String,
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
    /// A job may have written the link, header or first line that leads to it.
    #[error("{real} is not put into the jail: {path} leads to it, which a job may have written, and it is neither a \
             public part of the system nor what it is taken for; name it with --host or --ro-bind, or remove what leads \
             to it", path = .path.display(), real = .real.display())]
    JobChosen {
        /// The path that was looked up.
        path: PathBuf,
        /// The path without links.
        real: PathBuf,
    },
    /// A directory that holds far more than a program.
    #[error("{path} is never put into a jail as a whole; name a program or a directory below it", path = .path.display())]
    TooBroad {
        /// Which.
        path: PathBuf,
    },
}

/// The set of a shell and the usual small tools.
pub(crate) const SHELL: &str = "@shell";

/// A set of names: what a command line is made of. Those that the host does not have are left out.
const SETS: &[(&str, &[&str])] = &[(
    SHELL,
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
/// a shell and the usual small tools, `@system` all of the host's `/usr` (where there is none, the same as `@shell`).
/// `toolchains` are languages of which the operator's version managers have a version.
pub(crate) fn programs(
    names: &[String],
    toolchains: &[Language],
    operator: &Operator,
) -> Result<HostTree, ResolveError> {
    let mut host = Host::new(names, operator)?;
    for name in names {
        if name == SYSTEM && system::is_there() {
            system::add(&mut host)?;
            continue;
        }
        let name = if name == SYSTEM { SHELL } else { name };
        if let Some((_, members)) = SETS.iter().find(|(set, _)| *set == name) {
            for member in *members {
                host.program(member, Presence::Optional)?;
            }
        } else if let Some(name) = name.strip_suffix('?') {
            host.program(name, Presence::Optional)?;
        } else {
            host.program(name, Presence::Required)?;
        }
    }
    for language in toolchains {
        toolchain::add(&mut host, *language)?;
    }
    if !names.is_empty() || !toolchains.is_empty() {
        companions::common(&mut host)?;
    }
    Ok(host.finish())
}

/// The tree while it is collected.
struct Host<'a> {
    operator: &'a Operator,
    /// What the operator named.
    asked: &'a [String],
    tree: Tree,
    loader: Loader,
    path: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    java: bool,
    left_out: Vec<LeftOut>,
    names: BTreeSet<OsString>,
    /// What lies over private files in a directory of the tree.
    hidden: Vec<Entry>,
    /// Files that were looked at; device and inode, because git is a hundred names for one file.
    seen: HashSet<(u64, u64)>,
    /// Directories that were looked through.
    scanned: HashSet<PathBuf>,
    /// Packages whose dependencies were followed.
    packages: HashSet<PathBuf>,
    /// How many more entries of directories are looked at, and until when.
    entries_left: usize,
    deadline: Instant,
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
/// The same for all directories together: a job can make any number of packages.
const MAX_SCANNED_IN_ALL: usize = 400_000;
const MAX_SCANNING_TIME: Duration = Duration::from_secs(20);
/// As many things that were left out are named.
const MAX_LEFT_OUT: usize = 16;

/// Directories of packages from which no program loads libraries: half of what there is to look through.
const UNLOADED: &[&str] = &["__pycache__", "test", "tests", ".git"];

impl<'a> Host<'a> {
    fn new(asked: &'a [String], operator: &'a Operator) -> Result<Host<'a>, ResolveError> {
        Ok(Host {
            operator,
            asked,
            tree: Tree::new(operator)?,
            loader: Loader::of_host(),
            path: Vec::new(),
            environment: Vec::new(),
            java: false,
            left_out: Vec::new(),
            names: BTreeSet::new(),
            hidden: Vec::new(),
            seen: HashSet::new(),
            scanned: HashSet::new(),
            packages: HashSet::new(),
            entries_left: MAX_SCANNED_IN_ALL,
            deadline: Instant::now() + MAX_SCANNING_TIME,
        })
    }

    fn finish(self) -> HostTree {
        HostTree {
            entries: self.tree.entries().into_iter().chain(self.hidden).collect(),
            path: self.path,
            environment: self.environment,
            java: self.java,
            left_out: self.left_out,
            names: self.names,
        }
    }

    /// Adds a program by name or path.
    fn program(&mut self, name: &str, presence: Presence) -> Result<(), ResolveError> {
        match lookup::find(name, self.operator, &mut self.tree) {
            Ok(path) => {
                self.callable(&path);
                self.executable(&path, &Chooser::Operator, 0)
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
    fn executable(&mut self, path: &Path, chooser: &Chooser, depth: usize) -> Result<(), ResolveError> {
        let located = self.tree.locate(path, chooser)?;
        let mut located = located.ok_or_else(|| unreadable(path, io::ErrorKind::NotFound.into()))?;
        lookup::genuine(path, &located.path)?;
        if !located.is_program() {
            return Err(ResolveError::NotExecutable { path: located.path });
        }
        if let Err(error) = self.tree.admit(&located, Role::Program) {
            if !self.is_named(&located.path) {
                return Err(error);
            }
            located.chooser = Chooser::Operator;
        }
        self.tree.insert(&located)?;
        let file = self.tree.open(&located.path)?;
        if self.is_new(&file, &located.path)? {
            match interpreter_line(&file).map_err(|error| unreadable(&located.path, error))? {
                Some(line) if depth < MAX_INTERPRETERS => self.interpreters(&line, &located, depth)?,
                Some(_) => return Err(ResolveError::NotExecutable { path: located.path }),
                None => self.objects(&file, &located)?,
            }
        }
        // By every name it is called by: what `node` needs and what `npm` needs differ, the file may not.
        packages::add(self, &located)?;
        companions::add(self, &located, chooser)
    }

    /// Returns true if the operator has named this program, too.
    fn is_named(&mut self, real: &Path) -> bool {
        self.asked.iter().any(|name| {
            let name = name.strip_suffix('?').unwrap_or(name);
            let found = lookup::find(name, self.operator, &mut self.tree).ok();
            let found = found.and_then(|path| self.tree.locate(&path, &Chooser::Operator).ok().flatten());
            found.is_some_and(|found| found.path == real && found.chooser == Chooser::Operator)
        })
    }

    /// Adds what a script's first line names.
    fn interpreters(&mut self, line: &[String], script: &Located, depth: usize) -> Result<(), ResolveError> {
        let writer = self.tree.writer(script);
        for program in lookup::interpreters(line) {
            match lookup::find(&program, self.operator, &mut self.tree) {
                Ok(path) => {
                    // What `env` starts is looked up inside again.
                    if !program.contains('/') {
                        self.callable(&path);
                    }
                    self.executable(&path, &writer, depth + 1)?;
                }
                Err(ResolveError::NotFound { name, looked }) => {
                    let looked = format!("{looked}; {} names it in its first line", script.path.display());
                    return Err(ResolveError::NotFound { name, looked });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds the loader and libraries of a program or library.
    fn objects(&mut self, file: &File, located: &Located) -> Result<(), ResolveError> {
        let real = &located.path;
        let Some(object) = elf::read(file).map_err(|error| unreadable(real, error))? else { return Ok(()) };
        let request = Request { path: real, object: &object, writer: self.tree.writer(located) };
        let closure = self.loader.closure(&request, &mut self.tree)?;
        for library in closure.libraries {
            self.tree.insert(&library)?;
            companions::of_library(self, &library)?;
        }
        for file in closure.configuration {
            self.tree.add(&file, &Chooser::Operator, Role::Data)?;
        }
        Ok(())
    }

    /// Adds a file or directory if the host has it and `chooser` may choose it.
    fn offer(&mut self, path: &Path, chooser: &Chooser, role: Role) -> Result<Option<Located>, ResolveError> {
        let added = self.tree.locate(path, chooser).and_then(|located| {
            let Some(located) = located else { return Ok(None) };
            self.tree.admit(&located, role)?;
            self.tree.insert(&located)?;
            Ok(Some(located))
        });
        match added {
            // What a job has made of its own files is no reason for not starting.
            Err(error)
                if matches!(error, ResolveError::JobChosen { .. }) || *chooser != Chooser::Operator =>
            {
                self.leave_out(&error);
                Ok(None)
            }
            added => added,
        }
    }

    /// Notes a file that is left out, for the message to the operator.
    fn leave_out(&mut self, error: &ResolveError) {
        let path = match error {
            ResolveError::JobChosen { real, .. } => real,
            ResolveError::Unreadable { path, .. } | ResolveError::TooBroad { path } => path,
            _ => return,
        };
        let is_known = self.left_out.iter().any(|left| left.path == *path);
        if !is_known && self.left_out.len() < MAX_LEFT_OUT {
            self.left_out.push(LeftOut { path: path.clone(), message: error.to_string() });
        }
    }

    /// Returns true until so much was looked through that a job must have made it.
    fn may_look_further(&mut self) -> bool {
        self.entries_left = self.entries_left.saturating_sub(1);
        self.entries_left > 0 && Instant::now() < self.deadline
    }

    /// Adds a directory and what the files in it need: the libraries of the modules, the targets of the links.
    fn directory(&mut self, located: &Located) -> Result<(), ResolveError> {
        self.tree.insert(located)?;
        if self.tree.is_of_system(&located.path) {
            return Ok(());
        }
        let mut pending = vec![located.path.clone()];
        let mut left = MAX_SCANNED;
        while let Some(directory) = pending.pop() {
            if !self.scanned.insert(directory.clone()) {
                continue;
            }
            let entries = left.min(self.entries_left);
            let time = self.deadline.saturating_duration_since(Instant::now());
            let mut budget = Budget::new(Limits { entries, depth: 0, time });
            let entries = match self.tree.list(&directory, &mut budget) {
                Ok(entries) => entries,
                Err(error @ BeneathError::Budget { .. }) => {
                    tracing::debug!(directory = %located.path.display(), %error, "not looked through");
                    return Ok(());
                }
                Err(error) => {
                    let error = unreadable(&directory, io::Error::other(error.to_string()));
                    if self.tree.writer(located) == Chooser::Operator {
                        return Err(error);
                    }
                    self.leave_out(&error);
                    continue;
                }
            };
            left -= entries.len();
            self.entries_left -= entries.len();
            for (name, kind) in entries {
                let path = directory.join(&name);
                match kind {
                    Kind::Directory if UNLOADED.iter().any(|unloaded| name == *unloaded) => {}
                    Kind::Directory => pending.push(path),
                    Kind::Link => self.target(&path, located)?,
                    Kind::File if elf::is_likely(&name) => self.module(&path, &located.chooser),
                    Kind::File | Kind::Special => {}
                }
            }
        }
        Ok(())
    }

    /// Adds what a link in a bound directory points to, if that is a part of the system outside of the directory.
    fn target(&mut self, link: &Path, directory: &Located) -> Result<(), ResolveError> {
        let Ok(Some(target)) = self.tree.locate(link, &directory.chooser) else { return Ok(()) };
        let is_outside = !target.path.starts_with(&directory.path) && tree::is_system(&target.path);
        if !is_outside || self.tree.admit(&target, Role::Data).is_err() {
            return Ok(());
        }
        if target.is_directory() {
            // A directory of links to whole system directories is not an order to bind those.
            if self.tree.check(&target.path).is_ok() {
                self.directory(&target)?;
            }
        } else if target.is_file() {
            self.tree.insert(&target)?;
            self.module(&target.path, &target.chooser);
        }
        Ok(())
    }

    /// Adds what a file of a bound directory needs. One plug-in that cannot be loaded is no reason for not starting.
    fn module(&mut self, path: &Path, chooser: &Chooser) {
        let added = self.tree.locate(path, chooser).and_then(|located| {
            let Some(located) = located.filter(Located::is_file) else { return Ok(()) };
            let file = self.tree.open(&located.path)?;
            if self.is_new(&file, path)? { self.objects(&file, &located) } else { Ok(()) }
        });
        if let Err(error) = added {
            tracing::debug!(%error, "left out");
        }
    }

    fn is_new(&mut self, file: &File, path: &Path) -> Result<bool, ResolveError> {
        let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
        Ok(self.seen.insert((metadata.dev(), metadata.ino())))
    }
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
