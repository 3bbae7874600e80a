//! What the units of a declared jail run: the network's set-up, the proxy, a reload of its rules, the job.

mod control;
mod handover;
mod job;
mod journal;
mod proxy;
mod terms;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::UnitRole;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::JailSpec;
use crate::units::SPECIFICATIONS;

/// Does what a unit is for.
pub(crate) fn run(role: UnitRole, name: Option<&str>) -> Result<ExitCode, Failure> {
    let name = || name.ok_or_else(|| Failure::usage("the name of the jail is missing"));
    match role {
        UnitRole::Network => {
            sandbox::unit::set_up_network().map_err(Failure::no_jail)?;
            Ok(ExitCode::SUCCESS)
        }
        UnitRole::Proxy => proxy::run(name()?),
        UnitRole::Reload => control::ask_for_reload(),
        UnitRole::Job => job::run(name()?),
    }
}

/// The jail as it is declared now.
fn specification(name: &str) -> Result<JailSpec, Failure> {
    let spec =
        JailSpec::load(&Path::new(SPECIFICATIONS).join(format!("{name}.json"))).map_err(Failure::usage)?;
    if spec.name != name {
        return Err(Failure::usage(format!("{SPECIFICATIONS}/{name}.json is about a jail {}", spec.name)));
    }
    Ok(spec)
}

/// A directory that systemd made for this unit.
fn directory(variable: &str) -> Result<PathBuf, Failure> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(|| {
        Failure::no_jail(format!(
            "{variable} is not set; this is how units start the jail, it is not for use by hand"
        ))
    })
}

/// Nobody stands behind a service: it has no home.
fn nobody(directory: PathBuf) -> Operator {
    let environment: std::collections::HashMap<OsString, OsString> = std::env::vars_os().collect();
    Operator {
        environment,
        directory,
        home: "/nonexistent".into(),
        uid: nix::unistd::geteuid().as_raw(),
        writable: Vec::new(),
    }
}

/// Tells systemd that the unit has started. Where nobody listens there is nobody to tell.
fn started(status: &str) {
    use libsystemd::daemon::{NotifyState, notify};
    if let Err(error) = notify(false, &[NotifyState::Status(status.to_owned()), NotifyState::Ready]) {
        tracing::debug!(%error, "systemd was not told that the unit has started");
    }
}
