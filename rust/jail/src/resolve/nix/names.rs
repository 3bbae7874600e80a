//! What `-p` can say, and names that are like it.

use std::path::{Component, Path};

use super::NixError;
use super::cache::{fingerprint, registries};
use crate::operator::Operator;

/// A package as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Package {
    /// An attribute path of nixpkgs.
    Attribute(String),
    /// `REF#NAME`.
    Flake(String),
}

impl Package {
    /// Reads a name. What passes here holds no character that means something to Nix's language or to a shell.
    pub(super) fn parse(text: &str) -> Result<Package, NixError> {
        match text.split_once('#') {
            None if is_attribute_path(text) => Ok(Package::Attribute(text.to_owned())),
            Some((reference, name)) if is_reference(reference) && is_attribute_path(name) => {
                Ok(Package::Flake(text.to_owned()))
            }
            _ => Err(NixError::Name { text: text.to_owned() }),
        }
    }

    pub(super) fn attribute(&self) -> Option<&str> {
        match self {
            Package::Attribute(name) => Some(name),
            Package::Flake(_) => None,
        }
    }

    pub(super) fn flake(&self) -> Option<&str> {
        match self {
            Package::Flake(installable) => Some(installable),
            Package::Attribute(_) => None,
        }
    }

    /// What decides which package it is, as far as that can be seen without Nix.
    pub(super) fn identity(&self, operator: &Operator) -> Vec<String> {
        match self {
            Package::Attribute(name) => vec![format!("attribute {name}")],
            Package::Flake(installable) => {
                let reference = installable.split('#').next().unwrap_or_default();
                let mut identity = vec![format!("flake {installable}")];
                identity.extend(flake_identity(reference, operator));
                identity
            }
        }
    }
}

/// What a flake reference stands for now: a directory's files, or what the registries make of a name.
pub(in crate::resolve) fn flake_identity(reference: &str, operator: &Operator) -> Vec<String> {
    match local_directory(reference) {
        Some(directory) => {
            let directory = operator.path(Path::new(directory));
            let directory = directory.canonicalize().unwrap_or(directory);
            vec![directory.display().to_string(), fingerprint(&directory)]
        }
        None => vec![registries(operator)],
    }
}

/// The directory of a reference to one.
fn local_directory(reference: &str) -> Option<&str> {
    let reference = reference.split('?').next().unwrap_or_default();
    let path = ["path:", "git+file://", "git+file:"].iter().find_map(|scheme| reference.strip_prefix(scheme));
    path.or_else(|| reference.starts_with(['.', '/']).then_some(reference))
}

/// The same reference for a Nix whose working directory is `/`, if it is relative to `directory`. `None` if a reference
/// cannot express the directory's name: Nix takes references for addresses, and decodes none of their characters.
pub(in crate::resolve) fn from_root(text: &str, directory: &Path) -> Option<String> {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (reference, rest) = text.split_at(end);
    let schemes = [("path:", "path:"), ("git+file:", "git+file://")];
    let scheme = schemes.iter().find_map(|(scheme, full)| Some((*full, reference.strip_prefix(scheme)?)));
    let (scheme, path) = match scheme {
        Some(found) => found,
        None if reference.starts_with('.') => ("", reference),
        None => return Some(text.to_owned()),
    };
    if path.starts_with('/') {
        return Some(text.to_owned());
    }
    // By its words, as Nix does it.
    let mut whole = directory.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::Normal(name) => whole.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+=,!/".contains(&byte);
    let whole = whole.to_str().filter(|whole| whole.bytes().all(is_plain))?;
    Some(format!("{scheme}{whole}{rest}"))
}

/// `NAME.NAME…`, each of letters, digits, `_`, `'` and `-`; quoted names are not taken.
pub(in crate::resolve) fn is_attribute_path(text: &str) -> bool {
    text.len() <= 256
        && text.split('.').all(|step| {
            step.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_'-".contains(&byte))
        })
}

/// Something that can be a flake reference, and cannot be an option.
pub(in crate::resolve) fn is_reference(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?=&%+@!,[]".contains(&byte);
    !text.is_empty() && !text.starts_with(['-', '?', '&']) && text.len() <= 1024 && text.bytes().all(allowed)
}

/// The names most like this one, at most five.
pub(super) fn nearest(name: &str, names: &[String]) -> Vec<String> {
    let name = name.to_lowercase();
    let limit = (name.len() / 3).max(1);
    let mut near: Vec<(usize, &String)> = names
        .iter()
        .filter(|other| other.len().abs_diff(name.len()) <= limit)
        .map(|other| (strsim::osa_distance(&name, &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort();
    near.into_iter().take(5).map(|(_, name)| name.clone()).collect()
}
