//! Which nixpkgs a name is of.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::NixError;
use super::cache::fingerprint;
use super::names::{flake_identity, from_root, is_reference};
use super::tool::Nix;
use crate::operator::Operator;

/// Where packages are defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nixpkgs {
    /// A directory.
    Directory(PathBuf),
    /// A flake.
    Flake(String),
    /// What `NIX_PATH` says, where only Nix can tell the directory (an address to download).
    Searched(String),
    /// The flake registry's, if flakes are enabled.
    Registry,
}

impl Nixpkgs {
    /// The option, the wrapper's own, `NIX_PATH` or the channels, the registry: the first of them.
    pub(super) fn find(option: Option<&str>, operator: &Operator) -> Result<Nixpkgs, NixError> {
        if let Some(text) = option {
            return named(text, operator);
        }
        if let Some(path) = operator.variable("JAIL_NIXPKGS").filter(|path| !path.is_empty()) {
            return directory(PathBuf::from(path)).map(Nixpkgs::Directory);
        }
        match operator.variable("NIX_PATH").and_then(|path| path.to_str()) {
            Some(path) => Ok(search_path(path, operator).unwrap_or(Nixpkgs::Registry)),
            None => Ok(channels(operator).map_or(Nixpkgs::Registry, Nixpkgs::Directory)),
        }
    }

    /// What decides what a name means, as far as that can be seen without Nix.
    pub(super) fn identity(&self, operator: &Operator) -> Vec<String> {
        match self {
            Nixpkgs::Directory(path) => vec![path.display().to_string(), fingerprint(path)],
            Nixpkgs::Flake(reference) => {
                let mut identity = vec![format!("nixpkgs {reference}")];
                identity.extend(flake_identity(reference, operator));
                identity
            }
            Nixpkgs::Searched(text) => vec![format!("searched {text}")],
            Nixpkgs::Registry => Nixpkgs::Flake("nixpkgs".to_owned()).identity(operator),
        }
    }

    /// The directory, fetched if need be.
    pub(super) fn fetch(&self, nix: &Nix<'_>) -> Result<PathBuf, NixError> {
        match self {
            Nixpkgs::Directory(path) => Ok(path.clone()),
            Nixpkgs::Flake(reference) => fetch_flake(nix, reference),
            Nixpkgs::Searched(_) => {
                let text = nix.run("nix-instantiate", ["--find-file", "nixpkgs"])?;
                directory(PathBuf::from(text.trim_end()))
            }
            Nixpkgs::Registry => {
                // Known only to a Nix with flakes enabled.
                let enabled = nix.run("nix-instantiate", ["--eval", "--expr", "builtins ? getFlake"])?;
                if enabled.trim() != "true" {
                    return Err(NixError::NoNixpkgs);
                }
                fetch_flake(nix, "nixpkgs")
            }
        }
    }
}

fn named(text: &str, operator: &Operator) -> Result<Nixpkgs, NixError> {
    let is_path = text.starts_with(['/', '.', '~']) || text.contains('/') && !text.contains(':');
    let path = operator.path(Path::new(text));
    if is_path && (path.is_dir() || text.starts_with(['/', '.', '~'])) {
        return directory(path).map(Nixpkgs::Directory);
    }
    if !is_reference(text) || text.contains('#') {
        return Err(NixError::Reference { text: text.to_owned() });
    }
    let reference = from_root(text, &operator.directory);
    reference.map(Nixpkgs::Flake).ok_or_else(|| NixError::Reference { text: text.to_owned() })
}

/// A directory with packages in it, by its real path.
fn directory(path: PathBuf) -> Result<PathBuf, NixError> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) => return Err(NixError::NotNixpkgs { path, why: error.to_string() }),
    };
    if !real.join("default.nix").is_file() {
        return Err(NixError::NotNixpkgs { path, why: "there is no default.nix in it".to_owned() });
    }
    Ok(real)
}

/// What `<nixpkgs>` is by a search path, `PREFIX=PLACE` or `DIRECTORY`, separated by `:`, which addresses hold too.
fn search_path(path: &str, operator: &Operator) -> Option<Nixpkgs> {
    for entry in entries(path) {
        let place = match entry.split_once('=') {
            Some(("nixpkgs", place)) => place.to_owned(),
            Some(_) => continue,
            None => format!("{entry}/nixpkgs"),
        };
        if let Some(reference) = place.strip_prefix("flake:") {
            return is_reference(reference).then(|| Nixpkgs::Flake(reference.to_owned()));
        }
        if place.contains("://") || place.starts_with("channel:") {
            return Some(Nixpkgs::Searched(place));
        }
        if let Ok(found) = directory(operator.path(Path::new(&place))) {
            return Some(Nixpkgs::Directory(found));
        }
    }
    None
}

/// The parts of a search path; the `:` of `https://`, `flake:` and `channel:` does not separate.
fn entries(path: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for part in path.split(':') {
        match entries.last_mut() {
            Some(last)
                if part.starts_with("//") || last.ends_with("=flake") || last.ends_with("=channel") =>
            {
                last.push(':');
                last.push_str(part);
            }
            _ => entries.push(part.to_owned()),
        }
    }
    entries.retain(|entry| !entry.is_empty());
    entries
}

/// Where Nix looks when there is no `NIX_PATH`.
fn channels(operator: &Operator) -> Option<PathBuf> {
    let root = Path::new("/nix/var/nix/profiles/per-user/root/channels");
    [operator.home.join(".nix-defexpr/channels"), root.to_owned()]
        .into_iter()
        .find_map(|channels| channels.join("nixpkgs").canonicalize().ok())
        .filter(|path| path.join("default.nix").is_file())
}

fn fetch_flake(nix: &Nix<'_>, reference: &str) -> Result<PathBuf, NixError> {
    #[derive(Deserialize)]
    struct Metadata {
        path: PathBuf,
    }
    let arguments = ["flake", "metadata", "--json", "--no-write-lock-file", "--", reference];
    let text =
        nix.run_on_flake(arguments).map_err(|error| error.about(&format!("the nixpkgs {reference}")))?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|_| NixError::unexpected("nix flake metadata --json", &text))?;
    directory(metadata.path)
}

#[cfg(test)]
#[path = "nixpkgs_tests.rs"]
mod tests;
