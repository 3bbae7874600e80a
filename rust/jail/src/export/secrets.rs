//! Where a cluster keeps the secrets of a jail, and how its proxy comes to see them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::pod::SHARED;
use crate::secrets::SecretLocation;
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
            SecretLocation::Environment(_) => true,
            SecretLocation::File(path) => path.is_absolute(),
            SecretLocation::Command(_) | SecretLocation::Keyring { .. } | SecretLocation::Systemd(_) => false,
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
                SecretLocation::Environment(variable) => {
                    secrets.variables.insert(variable.clone(), Key { name: variable.clone(), optional });
                }
                SecretLocation::File(path) => {
                    let (directory, name) = mountable(path)?;
                    let key = Key { name: credential.variable.clone(), optional };
                    secrets.files.entry(directory).or_default().insert(name, key);
                }
                SecretLocation::Command(_) | SecretLocation::Keyring { .. } | SecretLocation::Systemd(_) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(credentials: &[(&str, &[&str])]) -> JailSpec {
        let mut spec = JailSpec::empty();
        let options: Vec<String> = credentials
            .iter()
            .flat_map(|(variable, sources)| {
                sources.iter().map(move |source| format!("{variable}={source}@a.example"))
            })
            .collect();
        crate::credentials::add(&mut spec, &options).unwrap();
        spec
    }

    #[test]
    fn what_a_cluster_can_fill_is_kept_and_the_rest_is_left_out() {
        let mut spec = spec(&[
            ("A", &["keyring:x", "env:TOKEN_OF_A"]),
            ("B", &["file:/run/secrets/b#/token"]),
            ("C", &["env:C", "file:~/c", "file:/run/secrets/c"]),
        ]);
        let secrets = of_a_cluster(&mut spec).unwrap();
        let key = |name: &str, optional: bool| Key { name: name.to_owned(), optional };
        let variables =
            [("C".to_owned(), key("C", true)), ("TOKEN_OF_A".to_owned(), key("TOKEN_OF_A", false))];
        assert_eq!(secrets.variables, BTreeMap::from(variables));
        let files = [("b".to_owned(), key("B", false)), ("c".to_owned(), key("C", true))];
        assert_eq!(secrets.files, BTreeMap::from([("/run/secrets".into(), BTreeMap::from(files))]));
        let left: Vec<String> = spec.credentials[0].sources.iter().map(ToString::to_string).collect();
        assert_eq!(left, ["env:TOKEN_OF_A"]);
    }

    #[test]
    fn a_secret_that_no_container_can_reach_is_an_error_with_its_cure() {
        for source in ["keyring:x", "command:pass x", "systemd:x", "file:~/x"] {
            let error = of_a_cluster(&mut spec(&[("A", &[source])])).unwrap_err();
            assert!(error.contains(source) && error.contains("--credential A=env:A@HOST"), "{error}");
        }
        for file in ["file:/token", "file:/etc/token", "file:/run/nix-jail/token"] {
            let error = of_a_cluster(&mut spec(&[("A", &[file])])).unwrap_err();
            assert!(error.contains("/run/secrets/NAME"), "{error}");
        }
    }

    #[test]
    fn one_of_the_alternatives_must_be_left() {
        let mut claude = JailSpec::find("claude", &[]).unwrap();
        let secrets = of_a_cluster(&mut claude).unwrap();
        for variable in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"] {
            assert!(secrets.variables.contains_key(variable), "{variable}");
        }
        assert!(secrets.variables.values().all(|key| key.optional));

        let mut unreachable = JailSpec::find("claude", &[]).unwrap();
        for credential in &mut unreachable.credentials {
            credential.sources.retain(|source| matches!(source.place, SecretLocation::Keyring { .. }));
        }
        assert!(of_a_cluster(&mut unreachable).unwrap_err().contains("secrets of claude"));
    }
}
