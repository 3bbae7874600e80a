//! `-p PACKAGE`: packages of nixpkgs and of flakes, with everything they need at run time.

mod cache;
mod error;
mod names;
mod nixpkgs;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sandbox::backend::{Finding, State};
use serde::Deserialize;

use super::closure::{Closure, Store};
use crate::cli::StoreArgs;
use crate::failure::Failure;
use crate::operator::Operator;
pub(super) use cache::Cache;
pub(super) use error::NixError;
use names::Package;
pub(super) use names::{flake_identity, from_root, is_attribute_path, is_reference};
use nixpkgs::Nixpkgs;
pub(super) use tool::Nix;

/// What is asked of a nixpkgs. A fixed text: names come in as strings and never become code.
const PACKAGES: &str = include_str!("nix/packages.nix");

/// The closure of the packages asked for: kept from last time, or else found out by Nix.
pub(super) fn packages(arguments: &StoreArgs, operator: &Operator) -> Result<Closure, Failure> {
    let packages = arguments
        .package
        .iter()
        .map(|text| Package::parse(text))
        .collect::<Result<Vec<Package>, NixError>>()
        .map_err(Failure::usage)?;
    resolve(&packages, arguments, operator).map_err(Failure::no_jail)
}

/// Whether Nix is there, for `jail doctor`.
pub(crate) fn diagnose(operator: &Operator) -> Finding {
    let version = Nix::find(operator).and_then(|nix| nix.version());
    match version {
        Ok(version) => Finding {
            what: format!("{}: packages (-p) and dev shells (--flake)", version.trim()),
            state: State::Ok,
            cure: None,
        },
        Err(error) => Finding {
            what: "no Nix that works: programs of this host only".to_owned(),
            state: State::Degraded,
            cure: Some(error.to_string()),
        },
    }
}

fn resolve(packages: &[Package], arguments: &StoreArgs, operator: &Operator) -> Result<Closure, NixError> {
    let named: Vec<&str> = packages.iter().filter_map(Package::attribute).collect();
    let nixpkgs = match named[..] {
        [] => None,
        _ => Some(Nixpkgs::find(arguments.nixpkgs.as_deref(), operator)?),
    };
    let mut question = vec!["packages".to_owned()];
    question.extend(packages.iter().flat_map(|package| package.identity(operator)));
    question.extend(nixpkgs.iter().flat_map(|nixpkgs| nixpkgs.identity(operator)));
    let cache = Cache::of(operator, question);
    if !arguments.refresh
        && let Some(closure) = cache.read()
    {
        return Ok(closure);
    }

    let nix = Nix::find(operator)?;
    let mut wanted = Vec::new();
    if let Some(nixpkgs) = &nixpkgs {
        let source = nixpkgs.fetch(&nix)?;
        wanted.extend(instantiate(&nix, &source, &named)?);
    }
    for flake in packages.iter().filter_map(Package::flake) {
        wanted.extend(match from_root(flake, &operator.directory) {
            Some(flake) => build_of_flake(&nix, &flake)?,
            None => build_of_flake(&Nix::find(operator)?.at(&operator.directory), flake)?,
        });
    }
    let outputs =
        realise(&nix, &wanted, &cache).map_err(|error| error.about(&arguments.package.join(" ")))?;
    keep(closure_of(&nix, &outputs, operator)?, &cache, operator)
}

/// Keeps a closure for the next time, if it is where a jail can take it from.
pub(super) fn keep(closure: Closure, cache: &Cache, operator: &Operator) -> Result<Closure, NixError> {
    if !closure.is_whole(&Store::of(operator)) {
        return Err(NixError::Elsewhere);
    }
    cache.write(&closure)?;
    Ok(closure)
}

/// Evaluates packages of nixpkgs; derivations with their outputs, as `nix-store` understands them.
fn instantiate(nix: &Nix<'_>, nixpkgs: &Path, names: &[&str]) -> Result<Vec<String>, NixError> {
    let lines = names.join("\n");
    let source = nixpkgs.display().to_string();
    let ask = |options: &[&'static str], question| {
        let data =
            ["--argstr", "nixpkgs", &source, "--argstr", "names", &lines, "--argstr", "question", question];
        nix.run("nix-instantiate", options.iter().copied().chain(["--expr", PACKAGES]).chain(data))
    };
    let error = match ask(&[], "outputs") {
        Ok(text) => return Ok(text.lines().map(str::to_owned).collect()),
        Err(error) => error,
    };
    // Only now, and once more: which name is wrong, and what there is instead.
    let text = ask(&["--eval", "--strict", "--json"], "inspect").unwrap_or_default();
    let inspected: Vec<Inspected> = serde_json::from_str(&text).unwrap_or_default();
    let wrong = inspected.into_iter().find_map(|Inspected { name, kind }| match kind {
        Kind::Package => None,
        Kind::Other => Some(NixError::NotAPackage { name }),
        Kind::Missing { before, step, siblings } => {
            let near = names::nearest(&step, &siblings);
            let near = near.iter().map(|other| format!("{before}{other}")).collect();
            Some(NixError::Unknown { name, nixpkgs: source.clone(), near })
        }
    });
    Err(wrong.unwrap_or_else(|| error.about(&names.join(" "))))
}

/// One name, looked at by `packages.nix`.
#[derive(Deserialize)]
struct Inspected {
    name: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Kind {
    Package,
    Other,
    /// `before` is a set that has no `step`, but these siblings.
    Missing {
        before: String,
        step: String,
        siblings: Vec<String>,
    },
}

/// Builds or fetches a package of a flake; its store paths, or derivations with outputs.
fn build_of_flake(nix: &Nix<'_>, installable: &str) -> Result<Vec<String>, NixError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Built {
        #[serde(default)]
        drv_path: Option<String>,
        outputs: BTreeMap<String, Option<String>>,
    }
    let arguments = ["build", "--no-link", "--json", "--no-write-lock-file", "--", installable];
    let text = nix.run_on_flake(arguments).map_err(|error| error.about(installable))?;
    let built: Vec<Built> =
        serde_json::from_str(&text).map_err(|_| NixError::unexpected("nix build --json", &text))?;
    let mut wanted = Vec::new();
    for Built { drv_path, mut outputs } in built {
        // Outputs that the installable names itself.
        if installable.contains('^') {
            wanted.extend(outputs.into_values().flatten());
            continue;
        }
        // As for packages of nixpkgs: the output with the programs, not all that are meant to be installed.
        if let Some(programs) = outputs.remove("bin").flatten() {
            wanted.push(programs);
            continue;
        }
        // Nix 2.8 builds `out` even where there is `bin`.
        let derivation_with_programs = drv_path.filter(|derivation| {
            let declared = nix.run("nix-store", ["--query", "--binding", "outputs", derivation]);
            declared.is_ok_and(|names| names.split_whitespace().any(|name| name == "bin"))
        });
        if let Some(derivation) = derivation_with_programs.filter(|_| outputs.contains_key("out")) {
            wanted.push(format!("{derivation}!bin"));
        } else if let Some(output) = outputs.remove("out").flatten() {
            wanted.push(output);
        } else {
            wanted.extend(outputs.into_values().flatten());
        }
    }
    Ok(wanted)
}

/// Builds or fetches what is not in the store yet, and keeps it from garbage collection; the store paths.
fn realise(nix: &Nix<'_>, wanted: &[String], cache: &Cache) -> Result<Vec<PathBuf>, NixError> {
    let root = cache.make_root()?;
    let root = root.to_string_lossy();
    let arguments = ["--realise", "--no-build-output", "--indirect", "--add-root", &root];
    let text = nix.run("nix-store", arguments.into_iter().chain(wanted.iter().map(String::as_str)))?;
    if text.lines().count() < wanted.len() {
        return Err(NixError::unexpected("nix-store --realise", &text));
    }
    let links = text.lines().map(|link| {
        std::fs::read_link(link).map_err(|error| NixError::Cache { path: PathBuf::from(link), error })
    });
    links.collect()
}

/// Everything that store paths need at run time; their programs are on `PATH`, in this order.
fn closure_of(nix: &Nix<'_>, outputs: &[PathBuf], operator: &Operator) -> Result<Closure, NixError> {
    let mut path: Vec<PathBuf> = Vec::new();
    for output in outputs {
        let programs = output.join("bin");
        if programs.is_dir() && !path.contains(&programs) {
            path.push(programs);
        }
    }
    Ok(Closure { paths: requisites(nix, outputs, operator)?, path, ..Closure::default() })
}

/// The store paths that these refer to, themselves included.
pub(super) fn requisites(
    nix: &Nix<'_>,
    paths: &[PathBuf],
    operator: &Operator,
) -> Result<BTreeSet<PathBuf>, NixError> {
    let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    let query = ["--query", "--requisites"];
    let text = nix.run("nix-store", query.into_iter().chain(paths.iter().map(AsRef::as_ref)))?;
    Store::of(operator)
        .paths(&text)
        .map_err(|_| NixError::unexpected("nix-store --query --requisites", &text))
}

#[cfg(test)]
mod tests;
