//! Closures found out before: `KEY.json`, and beside it what keeps the closure from Nix's garbage collection.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sandbox::beneath::{Budget, Kind, Limits, Tree};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::NixError;
use crate::hex;
use crate::operator::Operator;
use crate::resolve::closure::{Closure, Store};

/// Where the answer to one question is kept.
pub(crate) struct Cache {
    directory: PathBuf,
    key: String,
    question: Vec<String>,
    store: Store,
}

/// `KEY.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    question: Vec<String>,
    closure: Closure,
}

const VERSION: u32 = 1;
/// Answers that nobody asked for in so long let their store paths go.
const KEPT: Duration = Duration::from_secs(60 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Cache {
    /// The place for this question: everything that decides the answer, as far as it can be seen without Nix.
    pub(crate) fn of(operator: &Operator, question: Vec<String>) -> Cache {
        let store = Store::of(operator);
        Cache {
            directory: directory(operator),
            key: digest(question.iter().map(String::as_bytes)),
            question,
            store,
        }
    }

    /// A directory that is never made.
    pub(super) fn nowhere(operator: &Operator) -> PathBuf {
        directory(operator).join("nothing")
    }

    /// The answer, if there is one and all of it is still in the store.
    pub(crate) fn read(&self) -> Option<Closure> {
        let path = self.record();
        let record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        if record.version != VERSION
            || record.question != self.question
            || !record.closure.is_whole(&self.store)
        {
            return None;
        }
        self.touch(&path);
        Some(record.closure)
    }

    /// The path for the links that keep the closure, in a directory that exists.
    pub(crate) fn make_root(&self) -> Result<PathBuf, NixError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|error| NixError::Cache { path: self.directory.clone(), error })?;
        Ok(self.directory.join(format!("{}-root", self.key)))
    }

    /// Keeps an answer, as a whole or not at all.
    pub(crate) fn write(&self, closure: &Closure) -> Result<(), NixError> {
        self.remove_old();
        let record = Record { version: VERSION, question: self.question.clone(), closure: closure.clone() };
        let path = self.record();
        let written = serde_json::to_vec(&record).map_err(io::Error::from).and_then(|json| {
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(&json)?;
            file.persist(&path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| NixError::Cache { path, error })
    }

    fn record(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.key))
    }

    /// Says that the answer is still asked for; once a day is enough, and a failure costs an evaluation at most.
    fn touch(&self, path: &Path) {
        if age(path).is_some_and(|age| age > DAY) {
            let _ =
                File::options().write(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    /// Removes answers that nobody asks for any more, and the links that keep their store paths.
    fn remove_old(&self) {
        let names = || {
            let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok())
        };
        for name in names() {
            let Some(key) = name.strip_suffix(".json") else { continue };
            if age(&self.directory.join(&name)).is_some_and(|age| age > KEPT) {
                // The record last: it is what another run looks for.
                for root in names().filter(|other| other.starts_with(&format!("{key}-root"))) {
                    let _ = fs::remove_file(self.directory.join(root));
                }
                let _ = fs::remove_file(self.directory.join(&name));
            }
        }
    }
}

/// The state of a directory with Nix files, without reading all of it: a hash of what usually decides its meaning.
///
/// The files of its top that Nix or a lock is made of, those in `nix/`, and the commit that is checked out. A store
/// path never changes.
pub(crate) fn fingerprint(directory: &Path) -> String {
    if directory.starts_with("/nix/store") {
        return "in the store".to_owned();
    }
    let mut parts: Vec<Vec<u8>> = Vec::new();
    match Tree::open(directory) {
        Ok(tree) => {
            let mut budget = Budget::new(LIMITS);
            for place in ["", "nix"] {
                add_files(&tree, Path::new(place), &mut budget, &mut parts);
            }
            add_commit(&tree, &mut parts);
        }
        Err(error) => parts.push(error.to_string().into_bytes()),
    }
    digest(parts.iter().map(Vec::as_slice))
}

/// A job may have written the directory: a listing ends here, and so does a file.
const LIMITS: Limits = Limits { entries: 50_000, depth: 0, time: Duration::from_secs(5) };
const MAX_FILE: u64 = 16 << 20;
/// As many of these files are read.
const MAX_FILES: usize = 512;

/// Adds the files of one directory that decide what Nix makes of it.
fn add_files(tree: &Tree, place: &Path, budget: &mut Budget, parts: &mut Vec<Vec<u8>>) {
    let decides = |name: &str| {
        [".nix", ".lock", ".toml"].iter().any(|end| name.ends_with(end))
            || ["rust-toolchain", ".version", "package.json"].contains(&name)
    };
    let entries = match tree.list(place, budget) {
        Ok(entries) => entries.unwrap_or_default(),
        Err(error) => return parts.push(error.to_string().into_bytes()),
    };
    let names = entries.into_iter().filter(|(name, _)| name.to_str().is_some_and(decides));
    for (name, kind) in names.filter(|(_, kind)| *kind != Kind::Directory).take(MAX_FILES) {
        parts.push(name.as_encoded_bytes().to_vec());
        // Its hash only: 512 files of 16 MiB are more than there is memory.
        let contents = contents(tree, &place.join(name), kind);
        parts.push(digest([contents.as_slice()].into_iter()).into_bytes());
    }
}

/// What a file holds. A link that leads out of the directory is known by its words, what cannot be read by the reason.
fn contents(tree: &Tree, path: &Path, kind: Kind) -> Vec<u8> {
    let followed = match kind {
        Kind::Link => tree.follow(path).map(|found| found.map(|found| found.path)),
        _ => Ok(Some(path.to_owned())),
    };
    let read = followed.and_then(|path| path.map_or(Ok(None), |path| tree.read_file(&path, MAX_FILE)));
    match read {
        Ok(contents) => contents.unwrap_or_default(),
        Err(error) => {
            let target = tree.read_link(path).ok().flatten().unwrap_or_default();
            [error.to_string().as_bytes(), target.as_os_str().as_encoded_bytes()].concat()
        }
    }
}

/// What the flake registries say; a name like `nixpkgs` means what they say.
pub(crate) fn registries(operator: &Operator) -> String {
    let files = [PathBuf::from("/etc/nix/registry.json"), operator.config_home().join("nix/registry.json")];
    let texts = files.map(|file| fs::read(file).unwrap_or_default());
    digest(texts.iter().map(Vec::as_slice))
}

/// Adds what is checked out, by the files of the repository: the commit, or the branch and its commit.
fn add_commit(tree: &Tree, parts: &mut Vec<Vec<u8>>) {
    let git = Path::new(".git");
    let head = contents(tree, &git.join("HEAD"), Kind::File);
    let branch = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix("ref: ")).map(str::trim);
    if let Some(branch) = branch.filter(|branch| branch.starts_with("refs/") && !branch.contains("..")) {
        let at = contents(tree, &git.join(branch), Kind::File);
        parts.push(if at.is_empty() { contents(tree, &git.join("packed-refs"), Kind::File) } else { at });
    }
    parts.push(head);
}

fn directory(operator: &Operator) -> PathBuf {
    operator.cache().join("closures")
}

fn age(path: &Path) -> Option<Duration> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()?.elapsed().ok()
}

/// A hash of parts: where one ends and the next begins is hashed too.
fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
