//! The systemd backend: jails as the native backend makes them, each in a scope of systemd, `nix-jail-JOB.scope`.
//!
//! A scope and not a service, because the isolation is the stage's either way. In a scope the stage stays the
//! launcher's child: descriptors, terminal and the end of both go together as they are proven to. As a service it
//! would be systemd's child, and what a service could add (its mounts, its namespaces, its filters) the stage either
//! brings for the job anyway or cannot work under. What systemd adds to a scope is the outside of the jail: its name,
//! its accounting, its limits, an end that leaves nothing, and for the system's jobs a filter on devices.

use std::ffi::OsString;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::backend::native::cgroup::Enforcement;
use crate::backend::native::cgroup::scope::{self, Manager, Scope};
use crate::backend::native::{Native, start};
use crate::backend::{Backend, Error, Finding, JobIds, Prepared, State};

use crate::host_program::command_at;
use crate::plan::{Limits, Plan};
use crate::timed;

/// The first one whose scopes have everything that is asked of them.
const OLDEST: u32 = 252;

/// How long systemd lets a job end politely.
const GRACE: Duration = Duration::from_secs(10);

/// How much later than the launcher systemd ends a job whose time is up: only if the launcher could not.
const LATER: Duration = Duration::from_secs(20);

/// Makes jails in scopes of systemd.
#[derive(Clone, Copy, Debug, Default)]
pub struct Systemd;

impl Backend for Systemd {
    fn job_ids(&self) -> JobIds {
        Native.job_ids()
    }

    fn prepare(&self, plan: &Plan) -> Result<Box<dyn Prepared>, Error> {
        let waiting = start::start(plan, || {
            let manager = manager().map_err(|why| Error::NoSystemd { why })?;
            Ok(Enforcement::Scope(scope(manager, &plan.job, &plan.limits)))
        })?;
        Ok(Box::new(waiting))
    }
}

/// The command line that starts a job's stage, as far as systemd reads it; nothing is started, nobody is asked.
pub fn command_line(job: &str, limits: &Limits) -> Vec<OsString> {
    let manager = Manager { program: "systemd-run".into(), runtime_directory: scope::runtime_directory() };
    scope(manager, job, limits).words
}

/// Looks at everything that the backend rests on beside what the native one does, changing nothing.
pub fn diagnose() -> Vec<Finding> {
    let who = if geteuid().is_root() { "the system's systemd" } else { "this user's own systemd" };
    let (what, cure) = match manager() {
        Ok(_) => (format!("{who}, version {OLDEST} or later"), None),
        Err(why) => (format!("{who}, version {OLDEST} or later (for --backend systemd)"), Some(why)),
    };
    let state = if cure.is_none() { State::Ok } else { State::Missing };
    vec![Finding { what, state, cure }]
}

/// A systemd that answers and is new enough; else why not, with the cure.
fn manager() -> Result<Manager, String> {
    let manager = scope::manager().map_err(|absent| absent.to_string())?;
    let said = timed::output_within(command_at(&manager.program).arg("--version").env_clear(), timed::ANSWER)
        .map_err(|error| format!("cannot run {}: {error}", manager.program.display()))?;
    let said = String::from_utf8_lossy(&said.stdout);
    match version(&said) {
        Some(version) if version >= OLDEST => Ok(manager),
        Some(version) => Err(format!("systemd {version} is too old; {OLDEST} or later is needed")),
        None => Err(format!("{} does not tell its version", manager.program.display())),
    }
}

/// Of `systemd 257 (257.7-1)`, or `systemd 258~rc1 …`.
fn version(text: &str) -> Option<u32> {
    let word = text.strip_prefix("systemd ")?;
    let end = word.find(|character: char| !character.is_ascii_digit()).unwrap_or(word.len());
    word[..end].parse().ok()
}

fn scope(manager: Manager, job: &str, limits: &Limits) -> Scope {
    let mut properties: Vec<String> = [
        &format!("Description=nix-jail {job}"),
        "MemoryAccounting=yes",
        "TasksAccounting=yes",
        "CPUAccounting=yes",
        "IOAccounting=yes",
        "KillMode=control-group",
        &format!("TimeoutStopSec={}", GRACE.as_secs()),
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(timeout) = limits.timeout {
        properties.push(format!("RuntimeMaxSec={}", timeout.saturating_add(GRACE + LATER).as_secs()));
    }
    if manager.runtime_directory.is_none() {
        // A user's systemd may not filter devices. The job sees no others anyway; this is a second lock.
        properties.push("DevicePolicy=closed".to_owned());
    }
    manager.scope(job, limits, &properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let read = ["systemd 257 (257.7-1)\n+PAM", "systemd 252", "systemd 258~rc1 (x)", "busybox 1", ""]
            .map(version);
        assert_eq!(read, [Some(257), Some(252), Some(258), None, None]);
    }

    #[test]
    fn a_scope_is_accounted_for_and_ends_with_its_time() {
        let words = |runtime_directory: Option<&str>, timeout: Option<u64>| -> Vec<String> {
            let manager = Manager {
                program: "/bin/systemd-run".into(),
                runtime_directory: runtime_directory.map(Into::into),
            };
            let limits = Limits { timeout: timeout.map(Duration::from_secs), ..Limits::default() };
            let words = scope(manager, "job-1", &limits).words;
            words.into_iter().map(|word| word.into_string().unwrap()).collect()
        };
        let [of_user, of_root] = [words(Some("/run/user/1"), None), words(None, Some(60))];
        for words in [&of_user, &of_root] {
            assert!(words.contains(&"--unit=nix-jail-job-1.scope".to_owned()), "{words:?}");
            assert!(words.contains(&"--property=MemoryAccounting=yes".to_owned()), "{words:?}");
            assert_eq!(words.last().unwrap(), "--");
        }
        let has = |words: &[String], beginning: &str| words.iter().any(|word| word.starts_with(beginning));
        assert!(of_root.contains(&"--property=RuntimeMaxSec=90".to_owned()), "{of_root:?}");
        assert!(has(&of_root, "--property=DevicePolicy=") && !has(&of_root, "--user"));
        assert!(!has(&of_user, "--property=DevicePolicy=") && !has(&of_user, "--property=RuntimeMaxSec="));
    }
}
