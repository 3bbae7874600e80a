//! Makes everything of a job but its processes, and proves that the system enforces what is asked of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::pty::{OpenptyResult, openpty};
use nix::unistd::ttyname;

use super::jail::Waiting;
use super::layout::{Host, Layout, Make};
use super::private::Private;
use super::profile::{self, Ends};
use crate::backend::disk::Disk;
use crate::backend::{Error, Listeners};
use crate::host_program::command_at;
use crate::plan::{Entry, Plan};
use crate::sys::launch;
use crate::timed;

/// Writes the profile and the job's files.
pub(super) fn start(plan: &Plan, program: &Path, port: u16, listeners: Listeners) -> Result<Waiting, Error> {
    if plan.command.is_empty() {
        return Err(Error::NoCommand);
    }
    let private = Private::create()?;
    let host = Host { private: private.path().to_owned(), links: links(plan) };
    let layout = Layout::of(plan, &host)?;
    let terminal = terminal()?;
    let ends = Ends {
        port,
        terminal: terminal
            .as_ref()
            .map(|pair| ttyname(&pair.slave))
            .transpose()
            .map_err(|os| Error::Terminal { step: "find its name".to_owned(), os: os.into() })?,
    };
    let text = profile::of(&layout, &ends)?;
    // Read by the program before the job is one; in its own directory, which the profile does not name.
    let profile = private.path().join("profile.sb");
    private.make(&[Make::File { path: profile.clone(), contents: text.into_bytes(), mode: 0o600 }])?;
    private.make(&layout.make)?;
    let command = find(&layout)?;
    prove(program, &profile)?;
    launch::keep_descriptors().map_err(|error| Error::Privileges {
        step: "keep standard streams only".to_owned(),
        os: error.into(),
    })?;
    Ok(Waiting {
        program: program.to_owned(),
        profile,
        command,
        layout,
        terminal,
        limits: plan.limits.clone(),
        disk: Disk::of(plan, Some(private.path()))?,
        listeners,
        _private: private,
    })
}

/// The plan's links that are here too.
fn links(plan: &Plan) -> std::collections::BTreeSet<PathBuf> {
    let here = |entry: &Entry| match entry {
        Entry::Symlink { target, to } if target.read_link().is_ok_and(|there| there == *to) => {
            Some(target.clone())
        }
        _ => None,
    };
    plan.tree.iter().filter_map(here).collect()
}

/// A pseudo-terminal of the job's own, if one of our streams is a terminal.
fn terminal() -> Result<Option<OpenptyResult>, Error> {
    use std::io::IsTerminal;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    if ![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].iter().any(IsTerminal::is_terminal) {
        return Ok(None);
    }
    let pair =
        openpty(None, None).map_err(|os| Error::Terminal { step: "open it".to_owned(), os: os.into() })?;
    Ok(Some(pair))
}

/// The program as the job would find it; `None` is one that is not there.
fn find(layout: &Layout) -> Result<Option<PathBuf>, Error> {
    let Some(name) = layout.command.first() else { return Err(Error::NoCommand) };
    let candidates: Vec<PathBuf> =
        if Path::new(name).components().count() > 1 || Path::new(name).is_absolute() {
            vec![layout.working_directory.join(name)]
        } else {
            let path = layout.environment.iter().find(|(variable, _)| variable == "PATH");
            path.map(|(_, path)| std::env::split_paths(path).map(|directory| directory.join(name)).collect())
                .unwrap_or_default()
        };
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let Some(path) = candidates.into_iter().find(is_program) else { return Ok(None) };
    if cfg!(target_os = "macos") && is_elf(&path) {
        return Err(Error::Unsupported {
            what: format!("{}, which is a program for Linux", path.display()),
            cure: "build the jail for this system (e.g. aarch64-darwin), or run the job on Linux (a virtual machine will do)".to_owned(),
        });
    }
    Ok(Some(path))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// Runs under the job's own profile what no profile allows, and sees it refused.
fn prove(program: &Path, profile: &Path) -> Result<(), Error> {
    let mut command = command_at(program);
    command.arg("-f").arg(profile).arg(program).env_clear();
    let output = timed::output_within(&mut command, timed::ANSWER)
        .map_err(|error| Error::Seatbelt { program: program.to_owned(), text: error.to_string() })?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match (output.status.success(), text.contains("execvp")) {
        (false, true) => Ok(()),
        (true, _) => Err(Error::NotIsolated { namespace: "sandbox".to_owned() }),
        // It does not come as far as the program: a profile that it cannot read, a system that forbids it.
        (false, false) => Err(Error::Seatbelt { program: program.to_owned(), text }),
    }
}
