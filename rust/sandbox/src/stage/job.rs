//! The last steps before the command: every privilege goes, then the program is found and started.

use std::ffi::{CString, OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, getpid, setpgid, tcsetpgrp};

use super::{landlock, limits};
use crate::backend::Error;
use crate::plan::{Plan, Protection};
use crate::sys::{capabilities, fds, signals};

/// Processes and threads, where the plan says nothing: enough for a parallel build, not for a fork bomb to hurt.
pub(crate) const DEFAULT_PROCESSES: u64 = 8192;
/// Where programs are looked up in an environment without PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// As in a shell.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// What the command starts with.
pub(crate) struct Setting {
    /// Standard input, output and error.
    pub(crate) streams: [OwnedFd; 3],
    /// The controlling terminal, if there is one.
    pub(crate) terminal: Option<OwnedFd>,
    /// Where it may write.
    pub(crate) writable: Vec<PathBuf>,
    /// Soft and hard limit on open files.
    pub(crate) open_files: (u64, u64),
    /// The most processes and threads of the job's user; `None` where root's engine counts them: there the kernel
    /// would count all of the operator's own.
    pub(crate) processes: Option<u64>,
}

/// Becomes the command; returns only what went wrong.
pub(crate) fn exec(plan: &Plan, setting: &Setting) -> Result<ExitCode, Error> {
    let program = Program::new(&plan.command, &plan.environment)?;

    chdir(&plan.working_directory)
        .map_err(|os| Error::WorkingDirectory { path: plan.working_directory.clone(), os: os.into() })?;
    limits::set(setting.open_files, setting.processes)?;
    lead_group(setting)?;
    let [stdin, stdout, stderr] = &setting.streams;
    dup2_stdin(stdin)
        .and_then(|()| dup2_stdout(stdout))
        .and_then(|()| dup2_stderr(stderr))
        .and_then(|()| fds::close_on_exec_from(3))
        .map_err(|os| privileges("keep standard streams only", os))?;
    drop_privileges(plan, &setting.writable)?;
    signals::reset().map_err(|os| privileges("unblock signals", os))?;
    Ok(program.start())
}

/// A command in the form that the kernel takes.
pub(crate) struct Program {
    name: OsString,
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    pub(crate) fn new(command: &[OsString], variables: &[(OsString, OsString)]) -> Result<Program, Error> {
        let [name, rest @ ..] = command else { return Err(Error::NoCommand) };
        let mut arguments = vec![c_string(name.as_bytes(), "the command")?];
        for argument in rest {
            arguments.push(c_string(argument.as_bytes(), "an argument of the command")?);
        }
        let mut environment = Vec::with_capacity(variables.len());
        for (name, value) in variables {
            let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
            environment.push(c_string(&text, &format!("the variable {name:?}"))?);
        }
        Ok(Program { name: name.clone(), candidates: candidates(name, variables)?, arguments, environment })
    }

    /// Becomes it; returns only what went wrong.
    pub(crate) fn start(&self) -> ExitCode {
        let mut reason = Errno::ENOENT;
        for path in &self.candidates {
            let Err(os) = execve(path, &self.arguments, &self.environment);
            match os {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Another directory of PATH may hold one that works.
                Errno::EACCES => reason = os,
                _ => {
                    reason = os;
                    break;
                }
            }
        }
        let (code, text) = match reason {
            Errno::ENOENT if self.candidates.len() == 1 && self.name.as_bytes().contains(&b'/') => {
                (NOT_FOUND, "not found in the jail (or the interpreter or loader that it names is not)")
            }
            Errno::ENOENT => (NOT_FOUND, "not found in the jail's PATH"),
            other => (NOT_EXECUTABLE, other.desc()),
        };
        // Standard error is the job's by now; there is nobody else to tell.
        let _ = writeln!(std::io::stderr(), "jail: {}: {text}", self.name.to_string_lossy());
        ExitCode::from(code)
    }
}

/// Own process group, in the foreground of the job's terminal. Its session is init's: a group whose leader's parent is
/// in another session would be an orphan, which ^Z does not stop.
fn lead_group(setting: &Setting) -> Result<(), Error> {
    let this = Pid::from_raw(0);
    setpgid(this, this).map_err(|os| privileges("lead a process group", os))?;
    if let Some(terminal) = &setting.terminal {
        // SIGTTOU is blocked, as everything is until `signals::reset`.
        tcsetpgrp(terminal.as_fd(), getpid())
            .map_err(|os| Error::Terminal { step: "come to its foreground".to_owned(), os: os.into() })?;
    }
    Ok(())
}

fn drop_privileges(plan: &Plan, writable: &[PathBuf]) -> Result<(), Error> {
    capabilities::bound().map_err(|os| privileges("empty the bounding set", os))?;
    capabilities::drop_all().map_err(|os| privileges("drop capabilities", os))?;
    prctl::set_no_new_privs().map_err(|os| privileges("set no_new_privs", os))?;
    // Whom it restricts may mount nothing, in no namespace.
    if !plan.weakened.contains(&Protection::NestedNamespaces) {
        landlock::restrict(writable)?;
    }
    // A change of privileges may have cleared it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|os| privileges("tie to init", os))
}

/// The paths at which the program may be.
fn candidates(program: &OsStr, variables: &[(OsString, OsString)]) -> Result<Vec<CString>, Error> {
    let name = program.as_bytes();
    if name.contains(&b'/') {
        return Ok(vec![c_string(name, "the command")?]);
    }
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let path = variables.iter().find(|(variable, _)| variable == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_bytes());
    path.split(|&byte| byte == b':')
        .map(|directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            c_string(&[directory, b"/", name].concat(), "PATH")
        })
        .collect()
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| Error::NulByte { what: what.to_owned() })
}

fn privileges(step: &str, os: Errno) -> Error {
    Error::Privileges { step: step.to_owned(), os: os.into() }
}
