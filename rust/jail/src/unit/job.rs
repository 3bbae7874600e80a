//! The job of a declared jail: our own stage in its unit, in the network that systemd made and the proxy serves.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::Policy;
use sandbox::backend::native::Native;
use sandbox::backend::{Backend, Ended, Reach};
use sandbox::plan::{Limits, Listen, Network};
use sandbox::unit::UnitError;

use super::handover::Handover;
use super::{directory, nobody, specification, started};
use crate::assemble::{self, Parts};
use crate::cli::StoreArgs;
use crate::console;
use crate::failure::Failure;
use crate::homes::{Homes, JobHome, Values};
use crate::job;
use crate::resolve::{self, host};
use crate::run::{self, check_command, conclude, own_files, tell_changes};
use crate::spec::{Home, JailSpec};
use crate::workspace::{Guard, Workspace};

/// Runs the command of the jail; the exit code is the command's own.
pub(super) fn run(name: &str) -> Result<ExitCode, Failure> {
    let proxy = sandbox::unit::connect_to_proxy().map_err(Failure::no_jail)?;
    let spec = specification(name)?;
    let policy = Policy::new(spec.rules.clone()).map_err(Failure::usage)?;
    let service = spec.service.clone().unwrap_or_default();
    let operator = nobody(service.workspace.clone().unwrap_or_else(|| "/".into()));
    let workspace = service
        .workspace
        .map(|directory| Workspace::open(&directory, spec.workspace_mode, &spec.protect, false, &operator))
        .transpose()
        .map_err(Failure::no_jail)?;
    let operator = run::with_writable(&operator, &spec, workspace.as_ref());
    let binds = assemble::binds(&spec, workspace.as_ref(), &operator)?;
    let guard = Guard::new(workspace.as_ref(), binds, &operator).map_err(Failure::no_jail)?;
    guard.notices().iter().for_each(|notice| console::report(notice));
    let programs = host::programs(&spec.programs, &spec.toolchains, &operator).map_err(Failure::no_jail)?;
    run::tell_left_out(&programs, &guard);
    let closure = resolve::closure(&spec, &StoreArgs::default(), workspace.as_ref(), &operator)?;
    let command: Vec<_> = spec.command.iter().map(Into::into).collect();
    check_command(&command, &programs, &closure)?;
    // What needs nothing of the proxy is done while that one starts.
    let (handover, lifeline) = Handover::receive(proxy, name)?;
    prove_network(&handover).map_err(Failure::no_jail)?;
    let state = job::real_path(&directory("STATE_DIRECTORY")?).map_err(Failure::no_jail)?;
    let home = home(&state, &spec, workspace.as_ref())?;
    let values = Values {
        dummies: &handover.dummies,
        workspace: workspace.as_ref().map(|workspace| workspace.path.as_path()),
    };
    let furnished = home.furnish(&spec.home, Path::new(assemble::HOME), values, &operator)?;
    furnished.notices.iter().for_each(|notice| console::report(notice));
    let backend = Native;
    let mut plan = assemble::plan(
        &spec,
        Parts {
            command,
            policy: &policy,
            programs,
            closure,
            workspace: workspace.as_ref(),
            guard: &guard,
            layer: layer(&state, workspace.as_ref())?,
            home: furnished.entries,
            dummies: handover.dummies,
            git: handover.git,
            own: own_files(&handover.certificate, &policy)?,
            id: &handover.id,
            ids: backend.job_ids(),
            reach: &Reach::Everywhere,
        },
        &operator,
    )?;
    plan.network = Network::Launchers;
    plan.listen = Listen::default();
    // The unit's control group has the others, around this process too.
    plan.limits = Limits { disk: plan.limits.disk, ..Limits::default() };

    let prepared = backend.prepare_bound_to(&plan, lifeline).map_err(Failure::no_jail)?;
    started("running");
    let ended = prepared.run();
    // Also where the jail broke down: a job may have brought that about.
    tell_changes(workspace.as_ref(), &guard.changes(&operator));
    match ended.map_err(Failure::no_jail)? {
        Ended::CutOff => Err(Failure::no_jail(format!(
            "the job was ended, as the jail's proxy is gone, which may say why: journalctl -u nix-jail-proxy@{name}"
        ))),
        ended => Ok(ExitCode::from(conclude(ended))),
    }
}

/// This process is in the network that the proxy serves, and that is not the host's.
fn prove_network(handover: &Handover) -> Result<(), UnitError> {
    let own = sandbox::unit::own_network()?;
    if own == handover.host {
        return Err(UnitError::HostsNetwork);
    }
    if own != handover.jail {
        return Err(UnitError::AnotherNetwork);
    }
    Ok(())
}

/// Opens the home of the jail in its workspace. It is the job's until it is dropped.
fn home(state: &Path, spec: &JailSpec, workspace: Option<&Workspace>) -> Result<JobHome, Failure> {
    let (former, homes) = (state.join("home"), state.join("homes"));
    let is_first = !homes.exists();
    let (homes, workspace) = (Homes::at(homes), workspace.map(|workspace| workspace.path.as_path()));
    // The home that the service had before homes belonged to workspaces: a service has one workspace.
    if spec.home.kind == Home::Persistent
        && is_first
        && fs::symlink_metadata(&former).is_ok_and(|found| found.is_dir())
    {
        homes.home(&spec.name, workspace).take(&former).map_err(Failure::no_jail)?;
    }
    JobHome::open(&spec.home, &homes, &spec.name, workspace).map_err(Failure::no_jail)
}

/// An empty directory for the changes to an overlay workspace, which are gone at the next start.
fn layer(state: &Path, workspace: Option<&Workspace>) -> Result<PathBuf, Failure> {
    if !workspace.is_some_and(Workspace::is_overlay) {
        return Ok(PathBuf::new());
    }
    let (parent, layer) = (state.join("overlay"), state.join("overlay/workspace"));
    job::remove_overlay_work(&parent);
    match fs::remove_dir_all(&parent) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::no_jail(format!("cannot empty {}: {error}", parent.display())))
        }
        _ => job::make_private(&layer).map(|()| layer).map_err(Failure::no_jail),
    }
}
