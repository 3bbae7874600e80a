//! The systemd units of declared jails, from their specifications: templates once, a small drop-in per jail. The NixOS
//! module, `jail units` and the checks all read them from here.

mod drop_in;
mod install;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::Policy;

use crate::cli::UnitsArgs;
use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::secrets::{SecretLocation, Source};
use crate::spec::{self, JailSpec};

/// Where a jail's own units read its specification.
pub(crate) const SPECIFICATIONS: &str = "/etc/nix-jail";

/// Every unit that all jails share, by name; `@jail@` is the program's path.
const TEMPLATES: &[(&str, &str)] = &[
    ("nix-jail.target", include_str!("../units/nix-jail.target")),
    ("nix-jail-proxy@.socket", include_str!("../units/nix-jail-proxy@.socket")),
    ("nix-jail-proxy@.service", include_str!("../units/nix-jail-proxy@.service")),
    ("nix-jail@.service", include_str!("../units/nix-jail@.service")),
];

/// A file below systemd's directory of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// Its path there.
    pub(crate) path: PathBuf,
    /// What it holds.
    pub(crate) text: String,
}

/// Prints, writes, installs or removes units.
pub(crate) fn units(arguments: &UnitsArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    if arguments.uninstall {
        return install::uninstall(&arguments.names);
    }
    let jails = arguments.names.iter().map(|name| find(name, operator)).collect::<Result<Vec<_>, _>>()?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::no_jail(format!("cannot tell where this program is: {error}")))?;
    if arguments.install {
        return install::install(&jails, &program);
    }
    let files = render(&jails, &program).map_err(Failure::usage)?;
    match &arguments.output {
        Some(directory) => install::write(&files, &operator.path(directory))?,
        None => console::print(&files.iter().map(UnitFile::shown).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The templates, and what is special about each of the jails.
pub(crate) fn render(jails: &[JailSpec], program: &Path) -> Result<Vec<UnitFile>, String> {
    let mut files = templates(program)?;
    for jail in jails {
        files.extend(drop_in::of(jail)?);
    }
    Ok(files)
}

/// What units of a jail make of its credentials' sources: a file is read by systemd, who may, and who gives it to the
/// proxy under this name.
pub(crate) fn loaded(spec: &JailSpec) -> JailSpec {
    let mut spec = spec.clone();
    for credential in &mut spec.credentials {
        for (position, source) in credential.sources.iter_mut().enumerate() {
            if let SecretLocation::File(path) = &source.place
                && path.is_absolute()
            {
                source.place = SecretLocation::Systemd(format!("{}-{position}", credential.variable));
            }
        }
    }
    spec
}

fn templates(program: &Path) -> Result<Vec<UnitFile>, String> {
    let program = program.to_str().filter(|text| text.bytes().all(is_plain)).ok_or_else(|| {
        format!(
            "{} cannot stand in a unit; install the program in a path of plain letters",
            program.display()
        )
    })?;
    let file = |(name, text): &(&str, &str)| UnitFile {
        path: PathBuf::from(name),
        text: format!("{MARK}\n{}", text.replace("@jail@", program)),
    };
    Ok(TEMPLATES.iter().map(file).collect())
}

/// The first line of each file, by which ours are known.
const MARK: &str = "# Made by `jail units`; changes belong into drop-ins of your own (systemctl edit).";

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-_.+".contains(&byte)
}

/// A jail by its name, or by the path of its specification.
fn find(name: &str, operator: &Operator) -> Result<JailSpec, Failure> {
    let spec = if name.contains('/') || name.ends_with(".json") {
        JailSpec::load(&operator.path(Path::new(name)))
    } else {
        JailSpec::find(
            name,
            &spec::directories(operator.variable("JAIL_PATH"), Some(&operator.config_home())),
        )
    }
    .map_err(Failure::usage)?;
    Policy::new(spec.rules.clone()).map_err(Failure::usage)?;
    if spec.command.is_empty() {
        return Err(Failure::usage(format!("jail {} has no command that a service could run", spec.name)));
    }
    if let Some(source) = needs_a_person(&spec) {
        return Err(Failure::usage(format!(
            "jail {}: {source} is a person's, and a service is nobody's; use systemd:NAME, or file: with an absolute path",
            spec.name
        )));
    }
    Ok(spec)
}

/// The first credential all of whose sources only a logged-in person has.
fn needs_a_person(spec: &JailSpec) -> Option<&Source> {
    let personal = |source: &&Source| match &source.place {
        SecretLocation::Keyring { .. } => true,
        SecretLocation::File(path) => !path.is_absolute(),
        SecretLocation::Environment(_) | SecretLocation::Command(_) | SecretLocation::Systemd(_) => false,
    };
    let needed =
        spec.credentials.iter().filter(|credential| !credential.optional && credential.group.is_none());
    needed
        .filter(|credential| credential.sources.iter().all(|source| personal(&source)))
        .find_map(|credential| credential.sources.first())
}

impl UnitFile {
    fn shown(&self) -> String {
        format!("# /etc/systemd/system/{}\n{}", self.path.display(), self.text)
    }
}
