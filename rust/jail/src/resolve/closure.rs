//! A closure: the store paths that are in the jail, each read-only at its own place, and nothing else of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use sandbox::plan::{Access, Entry};
use serde::{Deserialize, Serialize};

use crate::operator::Operator;
use crate::spec::ClosureSpec;

/// Store paths, and how programs are found and started in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closure {
    /// Every store path.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// The directories that hold programs, for `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// Variables of a dev shell.
    pub(crate) environment: BTreeMap<String, String>,
    /// What runs in the jail before the command.
    pub(crate) hook: Option<Hook>,
}

/// A script that ends by becoming the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    /// The bash that runs it.
    pub(crate) bash: PathBuf,
    /// Its text; the command is in its arguments.
    pub(crate) script: String,
}

/// Why store paths are not put into a jail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClosureError {
    /// The list cannot be read.
    #[error("cannot read the closure {path}: {error}; build the jail again", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The list holds nothing.
    #[error("the closure {path} holds no store paths; build the jail again", path = .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// Not the name of a store path.
    #[error("{path:?} is not a store path (a name directly in {store}); the closure was not made by Nix, build it again",
            store = .store.display())]
    NotAStorePath {
        /// The text.
        path: String,
        /// Where store paths are.
        store: PathBuf,
    },
    /// A directory of `PATH` that is not in the closure.
    #[error("closure.path: {path} is in none of the closure's store paths; name a directory in one of them", path = .path.display())]
    Outside {
        /// Which.
        path: PathBuf,
    },
    /// The store path, or the store, cannot be looked at.
    #[error("cannot use {path}: {error}; it is not in this host's store any more: build the jail again, or ask again with --refresh",
            path = .path.display())]
    Gone {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Variables that belong to the jail or to the build that a dev shell's environment was taken from; those that every
/// jail sets for itself (certificates, proxy, `HOME` …) need not be here.
const NOT_OF_A_CLOSURE: &[&str] = &[
    "_",
    "BASHOPTS",
    "BASH_ENV",
    "ENV",
    "EUID",
    "HOME",
    "HOSTNAME",
    "LOGNAME",
    "NIX_BUILD_TOP",
    "NIX_ENFORCE_PURITY",
    "NIX_LOG_FD",
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_SSL_CERT_FILE",
    "OLDPWD",
    "PATH",
    "PPID",
    "PWD",
    "SHELLOPTS",
    "SHLVL",
    "SSL_CERT_FILE",
    "TEMP",
    "TEMPDIR",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "UID",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// Where the hook lies in the jail.
const HOOK: &str = "/etc/nix-jail/hook";

/// Where store paths are, as they are written: `NIX_STORE_DIR` moves it, as it does for Nix.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Closure {
    /// The closure that a jail declares.
    pub(crate) fn declared(spec: &ClosureSpec, operator: &Operator) -> Result<Closure, ClosureError> {
        let store = Store::of(operator);
        let list = &spec.store_paths;
        let text = std::fs::read_to_string(list)
            .map_err(|error| ClosureError::Read { path: list.clone(), error })?;
        let paths = store.paths(&text)?;
        if paths.is_empty() {
            return Err(ClosureError::Empty { path: list.clone() });
        }
        let outside =
            spec.path.iter().find(|path| !store.path_of(path).is_some_and(|path| paths.contains(&path)));
        if let Some(path) = outside {
            return Err(ClosureError::Outside { path: path.clone() });
        }
        Ok(Closure { paths, path: spec.path.clone(), environment: spec.environment.clone(), hook: None })
    }

    /// Adds another closure; what is here already is found first and keeps its variables.
    pub(crate) fn merge(&mut self, other: Closure) {
        self.paths.extend(other.paths);
        self.path.extend(other.path);
        for (name, value) in other.environment {
            self.environment.entry(name).or_insert(value);
        }
        self.hook = self.hook.take().or(other.hook);
    }

    /// Whether every path is a well-formed one that exists: a cached closure may be from before a garbage collection.
    pub(crate) fn is_whole(&self, store: &Store) -> bool {
        let mut programs = self.path.iter().chain(self.hook.iter().map(|hook| &hook.bash));
        self.paths.iter().all(|path| {
            path.to_str().is_some_and(|path| store.checked(path).is_ok()) && path.symlink_metadata().is_ok()
        }) && programs.all(|path| store.path_of(path).is_some_and(|path| self.paths.contains(&path)))
    }

    /// Whether a command by this name starts one of the programs.
    pub(crate) fn has_program(&self, name: &Path) -> bool {
        self.path.iter().any(|directory| is_program(&directory.join(name)))
    }

    /// The variables for the jail.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().filter(|(name, _)| !NOT_OF_A_CLOSURE.contains(&name.as_str()))
    }

    /// The command as the jail runs it: through the hook, if there is one.
    pub(crate) fn command(&self, command: Vec<OsString>) -> Vec<OsString> {
        match &self.hook {
            Some(hook) => {
                [hook.bash.clone().into_os_string(), HOOK.into()].into_iter().chain(command).collect()
            }
            None => command,
        }
    }

    /// The closure as pieces of the jail's file tree; `tree` is what is in the jail already.
    pub(crate) fn entries(&self, tree: &[Entry], operator: &Operator) -> Result<Vec<Entry>, ClosureError> {
        if self.paths.is_empty() {
            return Ok(Vec::new());
        }
        let store = Store::of(operator);
        // The store itself may be reached by a link (`/nix` on another disk); its paths are bound without.
        let real = std::fs::canonicalize(&store.directory)
            .map_err(|error| ClosureError::Gone { path: store.directory.clone(), error })?;
        let mut entries = Vec::with_capacity(self.paths.len() + 3);
        for path in &self.paths {
            entries
                .push(entry(path, &real).map_err(|error| ClosureError::Gone { path: path.clone(), error })?);
        }
        entries.extend(self.usual_programs(tree));
        entries.extend(self.hook.iter().map(|hook| Entry::File {
            target: HOOK.into(),
            contents: hook.script.clone().into_bytes(),
            mode: 0o444,
        }));
        Ok(entries)
    }

    /// `/bin/sh` and `/usr/bin/env`, which scripts and system(3) name by their paths, unless they are there.
    fn usual_programs(&self, tree: &[Entry]) -> Vec<Entry> {
        let has = |path: &str| tree.iter().any(|entry| entry.target() == Path::new(path));
        let is_merged = tree
            .iter()
            .any(|entry| matches!(entry, Entry::Symlink { target, .. } if target == Path::new("/bin")));
        let shell = if is_merged { "/usr/bin/sh" } else { "/bin/sh" };
        let mut links = Vec::new();
        for (link, other, names) in
            [(shell, "/bin/sh", &["sh", "bash"][..]), ("/usr/bin/env", "/bin/env", &["env"][..])]
        {
            if !has(link)
                && !has(other)
                && !has("/usr")
                && let Some(program) = self.find(names)
            {
                links.push(Entry::Symlink { target: link.into(), to: program });
            }
        }
        links
    }

    /// The first program of these names: as `PATH` has it, or else in any of the store paths.
    pub(crate) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let elsewhere = || self.paths.iter().map(|path| path.join("bin"));
        let directories = self.path.iter().cloned().chain(elsewhere());
        directories
            .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
            .find(|program| is_program(program))
    }
}

impl Store {
    /// The store of this host.
    pub(crate) fn of(operator: &Operator) -> Store {
        let moved = operator.variable("NIX_STORE_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        Store { directory: moved.unwrap_or_else(|| PathBuf::from("/nix/store")) }
    }

    /// The store paths that a text lists, one per line.
    pub(crate) fn paths(&self, text: &str) -> Result<BTreeSet<PathBuf>, ClosureError> {
        text.lines().filter(|line| !line.is_empty()).map(|line| self.checked(line)).collect()
    }

    /// A store path: a direct child of the store with a name as Nix gives them.
    pub(crate) fn checked(&self, path: &str) -> Result<PathBuf, ClosureError> {
        let name = Path::new(path).strip_prefix(&self.directory).ok().and_then(Path::to_str);
        match name {
            // Compared as text: `//` and `/./` are equal to a path and still not what Nix writes.
            Some(name) if is_store_name(name) && self.directory.join(name).to_str() == Some(path) => {
                Ok(PathBuf::from(path))
            }
            _ => Err(ClosureError::NotAStorePath { path: path.to_owned(), store: self.directory.clone() }),
        }
    }

    /// The store path that a file or directory lies in.
    pub(crate) fn path_of(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.directory).ok()?;
        let is_plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
        let name = inside.components().next()?.as_os_str().to_str()?;
        (is_plain && is_store_name(name)).then(|| self.directory.join(name))
    }
}

/// 32 digits of Nix's base 32, `-`, and a name of harmless characters.
fn is_store_name(name: &str) -> bool {
    let Some((hash, rest)) = name.split_at_checked(32) else { return false };
    let digits = b"0123456789abcdfghijklmnpqrsvwxyz";
    let rest = rest.strip_prefix('-').unwrap_or_default();
    hash.bytes().all(|byte| digits.contains(&byte))
        && (1..=211).contains(&rest.len())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte))
}

/// A store path is a directory, a file or a link; a link can only be made again.
fn entry(path: &Path, real_store: &Path) -> io::Result<Entry> {
    let source = real_store.join(path.file_name().unwrap_or_default());
    let target = path.to_owned();
    Ok(if source.symlink_metadata()?.is_symlink() {
        Entry::Symlink { target, to: source.read_link()? }
    } else {
        Entry::Bind { source, target, access: Access::ReadOnly }
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
