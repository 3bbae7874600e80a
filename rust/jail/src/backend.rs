//! Who makes the jail.

use std::process::ExitCode;

use sandbox::backend::Backend;
use sandbox::backend::native::Native;
use sandbox::backend::systemd::{self, Systemd};

use crate::failure::Failure;
use crate::spec::{BackendName, JailSpec};
use crate::{assemble, job};

/// The backend of that name.
pub(crate) fn choose(name: BackendName) -> Box<dyn Backend> {
    match actual(name) {
        BackendName::Systemd => Box::new(Systemd),
        _ => Box::new(Native),
    }
}

/// Without `auto`: that is the platform's default, also where that one is unavailable.
pub(crate) fn actual(name: BackendName) -> BackendName {
    match name {
        BackendName::Auto => BackendName::Native,
        named => named,
    }
}

/// The command line by which systemd would get a job of this jail, for a shell to read; an id is made up for it.
pub(crate) fn print_units(spec: &JailSpec) -> Result<ExitCode, Failure> {
    if actual(spec.backend) != BackendName::Systemd {
        return Err(Failure::usage(format!(
            "--print-units shows the unit of a job, and the {} backend makes none; add --backend systemd",
            actual(spec.backend)
        )));
    }
    let words = systemd::command_line(&job::new_id(&spec.name), &assemble::limits(spec));
    let words = words.iter().map(|word| shell_words::quote(&word.to_string_lossy()).into_owned());
    // One word a line: each is an argument of its own.
    let lines = words.collect::<Vec<_>>().join(" \\\n  ");
    crate::print(&format!("{lines} \\\n  jail {}\n", sandbox::stage::ARGUMENT))?;
    Ok(ExitCode::SUCCESS)
}
