//! Where a cluster keeps the secrets of a jail, and how its proxy comes to see them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::pod::SHARED;
use crate::secrets::Place;
use crate::spec::JailSpec;

/// The keys of the one Kubernetes secret that belongs to the jail.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Variables of the proxy's container.
    pub(super) variables: BTreeMap<String, Key>,
    /// Files of the proxy's container: directory, file name, key.
    pub(super) files: BTreeMap<PathBuf, BTreeMap<String, Key>>,
}

/// A key of the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    /// Whether the proxy starts without it.
    pub(super) optional: bool,
}

/// Leaves a jail those sources of its credentials that a container can have; a credential that loses all of them and is
/// needed is an error.
pub(super) fn of_a_cluster(spec: &mut JailSpec) -> Result<Secrets, String> {
    let mut secrets = Secrets::default();
    for credential in &mut spec.credentials {
        let all = credential.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        credential.sources.retain(|source| match &source.place {
            Place::Environment(_) => true,
            Place::File(path) => path.is_absolute(),
            Place::Command(_) | Place::Keyring { .. } | Place::Systemd(_) => false,
        });
        let may_be_missing = credential.optional || credential.group.is_some();
        if credential.sources.is_empty() && !may_be_missing {
            return Err(format!(
                "the secret for {0} is in {all}, which no container can reach; give it a source that a cluster's secret \
                 can fill: --credential {0}=env:{0}@HOST or --credential {0}=file:/run/secrets/{0}@HOST",
                credential.variable
            ));
        }
        let optional = may_be_missing || credential.sources.len() > 1;
        for source in &credential.sources {
            match &source.place {
                Place::Environment(variable) => {
                    secrets.variables.insert(variable.clone(), Key { name: variable.clone(), optional });
                }
                Place::File(path) => {
                    let (directory, name) = mountable(path)?;
                    let key = Key { name: credential.variable.clone(), optional };
                    secrets.files.entry(directory).or_default().insert(name, key);
                }
                _ => {}
            }
        }
    }
    let needed: Vec<Option<String>> = spec
        .credentials
        .iter()
        .filter(|credential| !credential.optional)
        .map(|credential| credential.group.clone())
        .collect();
    spec.credentials.retain(|credential| !credential.sources.is_empty());
    // Of alternatives, one must be left.
    for group in needed.into_iter().flatten() {
        if !spec.credentials.iter().any(|credential| credential.group.as_ref() == Some(&group)) {
            return Err(format!(
                "none of the secrets of {group} is where a container can reach it; give one a source that a cluster's \
                 secret can fill: --credential VAR=env:VAR@HOST"
            ));
        }
    }
    Ok(secrets)
}

/// The directory that a volume is mounted at, and the file's name in it.
fn mountable(path: &Path) -> Result<(PathBuf, String), String> {
    let taken = ["/", "/etc", "/nix-jail", SHARED];
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if !taken.iter().any(|taken| directory == Path::new(taken)) => {
            Ok((directory.to_owned(), name.to_owned()))
        }
        _ => Err(format!(
            "a volume with the secret {} cannot be mounted over {}; name a file in a directory of its own, such as \
             /run/secrets/NAME",
            path.display(),
            directory.display()
        )),
    }
}
