//! `--flake` and `--develop`: a flake's dev shell in the jail, its environment and its closure. Its `shellHook` runs
//! inside only.

mod environment;

use std::path::{Path, PathBuf};

use super::closure::Closure;
use super::nix::{
    Cache, Nix, NixError, flake_identity, from_root, is_attribute_path, is_reference, keep, requisites,
};
use crate::cli::StoreArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::workspace::Workspace;

/// The dev shell that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flake {
    /// `REF[#ATTR]`.
    reference: String,
    /// Where a relative reference starts.
    directory: PathBuf,
}

impl Flake {
    /// What the command line says.
    pub(super) fn asked_for(
        arguments: &StoreArgs,
        workspace: Option<&Workspace>,
        operator: &Operator,
    ) -> Result<Option<Flake>, Failure> {
        if let Some(text) = &arguments.flake {
            let (reference, shell) = text.split_once('#').unwrap_or((text, "default"));
            if !is_reference(reference) || !is_attribute_path(shell) {
                return Err(Failure::usage(NixError::Reference { text: text.clone() }));
            }
            return Ok(Some(Flake { reference: text.clone(), directory: operator.directory.clone() }));
        }
        if !arguments.develop {
            return Ok(None);
        }
        let directory = workspace.map_or(&operator.directory, |workspace| &workspace.path).clone();
        if !directory.join("flake.nix").is_file() {
            return Err(Failure::no_jail(NixError::NoFlake { directory }));
        }
        Ok(Some(Flake { reference: ".".to_owned(), directory }))
    }

    fn question(&self, operator: &Operator) -> Vec<String> {
        let reference = self.reference.split('#').next().unwrap_or_default();
        let here = Operator { directory: self.directory.clone(), ..operator.clone() };
        let mut question = vec!["shell".to_owned(), self.reference.clone()];
        question.extend(flake_identity(reference, &here));
        question
    }
}

/// The closure and environment of a dev shell: kept from last time, or else found out by Nix.
pub(super) fn enter(flake: &Flake, refresh: bool, operator: &Operator) -> Result<Closure, Failure> {
    let cache = Cache::of(operator, flake.question(operator));
    if !refresh && let Some(closure) = cache.read() {
        return Ok(closure);
    }
    print_environment(flake, &cache, operator).map_err(Failure::no_jail)
}

/// `nix print-dev-env` builds the environment, and does not run the hook.
fn print_environment(flake: &Flake, cache: &Cache, operator: &Operator) -> Result<Closure, NixError> {
    let nix = Nix::find(operator)?;
    let (nix, reference) = match from_root(&flake.reference, &flake.directory) {
        Some(reference) => (nix, reference),
        None => (nix.at(&flake.directory), flake.reference.clone()),
    };
    let profile = cache.make_root()?;
    let profile_text = profile.to_string_lossy();
    let arguments =
        ["print-dev-env", "--json", "--no-write-lock-file", "--profile", &profile_text, "--", &reference];
    let json = nix.run_on_flake(arguments).map_err(|error| of_flake(error, flake))?;
    let built = real_path(&profile)?;
    let mut closure = Closure { paths: requisites(&nix, &[built], operator)?, ..Closure::default() };
    environment::fill(&mut closure, &json, operator)?;
    keep(closure, cache, operator)
}

fn of_flake(error: NixError, flake: &Flake) -> NixError {
    match error {
        NixError::Failed { errors, .. } if errors.contains("does not provide attribute") => {
            NixError::NoShell { flake: flake.reference.clone(), errors }
        }
        other => other.about(&format!("the dev shell of {}", flake.reference)),
    }
}

fn real_path(profile: &Path) -> Result<PathBuf, NixError> {
    profile.canonicalize().map_err(|error| NixError::Cache { path: profile.to_owned(), error })
}
