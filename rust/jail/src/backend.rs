//! Who makes the jail: the one place that knows which platform this is.

use std::process::ExitCode;

use sandbox::backend::{Backend, Finding};

use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::{BackendName, JailSpec};
use crate::workspace::Workspace;

/// The backend of that name, for jobs of this operator in this workspace.
pub(crate) fn choose(
    name: BackendName,
    relay: bool,
    workspace: Option<&Workspace>,
    operator: &Operator,
) -> Result<Box<dyn Backend>, Failure> {
    if relay && !matches!(name, BackendName::Docker | BackendName::Podman) {
        return Err(Failure::usage(
            "--container-relay is for jails of an engine; add --backend docker or podman, or leave it out",
        ));
    }
    platform::choose(actual(name), relay, workspace, operator).unwrap_or_else(|| {
        let default = platform::DEFAULT;
        Err(Failure::usage(format!(
            "the backend {name} is not one of this platform's; use {default}, or auto"
        )))
    })
}

/// Without `auto`: that is the platform's default, also where that one is unavailable.
pub(crate) fn actual(name: BackendName) -> BackendName {
    match name {
        BackendName::Auto => platform::DEFAULT,
        named => named,
    }
}

/// What this host offers to each of the platform's backends, the default first.
pub(crate) fn diagnose(operator: &Operator) -> Vec<(BackendName, Vec<Finding>)> {
    platform::diagnose(operator)
}

/// The command line by which systemd would get a job of this jail.
pub(crate) fn print_units(spec: &JailSpec) -> Result<ExitCode, Failure> {
    platform::print_units(spec)
}

/// Removes what jobs left behind whose launchers were killed.
pub(crate) fn tidy() {
    platform::tidy();
}

/// Removes what a launcher that was killed has left with an engine: a look at one directory, mostly.
pub(crate) fn reap(operator: &Operator) {
    platform::reap(operator);
}

/// The stage of a jail, if this process is one: that program is this one again.
pub(crate) fn stage() -> Option<ExitCode> {
    platform::stage()
}

#[cfg(target_os = "linux")]
mod platform {
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;
    use std::process::ExitCode;

    use sandbox::backend::container::{self, Container, Kind, Settings};
    use sandbox::backend::native::{self, Native};
    use sandbox::backend::systemd::{self, Systemd};
    use sandbox::backend::{Backend, Finding, JobIds};
    use sandbox::{relay, stage};

    use super::{BackendName, Failure, JailSpec, Operator, Workspace};
    use crate::{assemble, job};

    pub(super) const DEFAULT: BackendName = BackendName::Native;

    pub(super) fn choose(
        name: BackendName,
        relay: bool,
        workspace: Option<&Workspace>,
        operator: &Operator,
    ) -> Option<Result<Box<dyn Backend>, Failure>> {
        match name {
            BackendName::Native => Some(Ok(Box::new(Native))),
            BackendName::Systemd => Some(Ok(Box::new(Systemd))),
            BackendName::Docker => Some(container(Kind::Docker, relay, workspace, operator)),
            BackendName::Podman => Some(container(Kind::Podman, relay, workspace, operator)),
            BackendName::Auto | BackendName::Seatbelt => None,
        }
    }

    fn container(
        kind: Kind,
        relay: bool,
        workspace: Option<&Workspace>,
        operator: &Operator,
    ) -> Result<Box<dyn Backend>, Failure> {
        let owner = workspace.and_then(|workspace| std::fs::metadata(&workspace.path).ok());
        let container = Container::new(Settings {
            kind,
            programs: &operator.programs(),
            runtime: containers(operator),
            relay,
            workspace_owner: owner.map(|owner| JobIds { uid: owner.uid(), gid: owner.gid() }),
        });
        Ok(Box::new(container.map_err(Failure::no_jail)?))
    }

    pub(super) fn diagnose(operator: &Operator) -> Vec<(BackendName, Vec<Finding>)> {
        let programs = operator.programs();
        vec![
            (BackendName::Native, native::diagnose()),
            (BackendName::Systemd, systemd::diagnose()),
            (BackendName::Docker, container::diagnose(Kind::Docker, &programs)),
            (BackendName::Podman, container::diagnose(Kind::Podman, &programs)),
        ]
    }

    /// The command line by which systemd would get a job of this jail, for a shell to read; an id is made up for it.
    pub(super) fn print_units(spec: &JailSpec) -> Result<ExitCode, Failure> {
        if super::actual(spec.backend) != BackendName::Systemd {
            return Err(Failure::usage(format!(
                "--print-units shows the unit of a job, and the {} backend makes none; add --backend systemd",
                super::actual(spec.backend)
            )));
        }
        let words = systemd::command_line(&job::new_id(&spec.name), &assemble::limits(spec));
        let words = words.iter().map(|word| shell_words::quote(&word.to_string_lossy()).into_owned());
        // One word a line: each is an argument of its own.
        let lines = words.collect::<Vec<_>>().join(" \\\n  ");
        crate::console::print(&format!("{lines} \\\n  jail {}\n", stage::ARGUMENT))?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn tidy() {
        native::tidy();
    }

    pub(super) fn reap(operator: &Operator) {
        Container::reap(&containers(operator), &operator.programs());
    }

    pub(super) fn stage() -> Option<ExitCode> {
        let first = std::env::args_os().nth(1);
        if stage::is_wanted(first.as_deref()) {
            return Some(stage::main());
        }
        if relay::near::is_wanted(first.as_deref()) {
            return Some(relay::near::main());
        }
        stage::container::is_wanted(first.as_deref()).then(stage::container::main)
    }

    /// Where containers' files are while their jobs run.
    fn containers(operator: &Operator) -> PathBuf {
        operator.runtime().join("containers")
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use std::process::ExitCode;

    use sandbox::backend::seatbelt::{self, Seatbelt};
    use sandbox::backend::{Backend, Finding};

    use super::{BackendName, Failure, JailSpec, Operator, Workspace};

    pub(super) const DEFAULT: BackendName = BackendName::Seatbelt;

    pub(super) fn choose(
        name: BackendName,
        _relay: bool,
        _workspace: Option<&Workspace>,
        _operator: &Operator,
    ) -> Option<Result<Box<dyn Backend>, Failure>> {
        (name == BackendName::Seatbelt).then(seatbelt)
    }

    fn seatbelt() -> Result<Box<dyn Backend>, Failure> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::no_jail(format!("cannot make the proxy's password: {error}")))?;
        Ok(Box::new(Seatbelt::new(crate::hex::encode(&bytes)).map_err(Failure::no_jail)?))
    }

    pub(super) fn diagnose(_operator: &Operator) -> Vec<(BackendName, Vec<Finding>)> {
        vec![(BackendName::Seatbelt, seatbelt::diagnose())]
    }

    pub(super) fn print_units(_spec: &JailSpec) -> Result<ExitCode, Failure> {
        Err(Failure::usage(
            "--print-units shows a unit of systemd, which this platform does not have; leave it out",
        ))
    }

    pub(super) fn tidy() {}

    pub(super) fn reap(_operator: &Operator) {}

    pub(super) fn stage() -> Option<ExitCode> {
        None
    }
}
