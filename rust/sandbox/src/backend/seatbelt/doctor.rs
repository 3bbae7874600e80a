//! What this Mac offers to jails.

use std::path::Path;

use super::jail::PROGRAM;
use crate::backend::{Finding, State};
use crate::host_program::command_at;
use crate::timed;

/// Looks at everything that the backend rests on, changing nothing.
pub fn diagnose() -> Vec<Finding> {
    vec![sandbox(), user(), weaker()]
}

/// Nothing is allowed by this profile, so that a sandbox at work does not let the program start.
fn sandbox() -> Finding {
    let mut command = command_at(Path::new(PROGRAM));
    command.args(["-p", "(version 1)(deny default)", "/usr/bin/true"]).env_clear();
    let probe = timed::output_within(&mut command, timed::ANSWER);
    let (state, cure) = match probe {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("execvp") => (State::Ok, None),
        Ok(output) if output.status.success() => (
            State::Missing,
            Some("it enforces nothing: run jobs on Linux (a virtual machine will do)".to_owned()),
        ),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            (State::Missing, Some(format!("it says: {}\n{}", text.trim(), super::FORBIDDEN)))
        }
        Err(error) => (State::Missing, Some(format!("{error}\n{}", super::FORBIDDEN))),
    };
    Finding { what: format!("Apple's sandbox ({PROGRAM})"), state, cure }
}

fn user() -> Finding {
    let what = "an ordinary user".to_owned();
    if nix::unistd::geteuid().is_root() {
        let cure = "root starts no jails here; use an ordinary user (launchd: UserName)".to_owned();
        Finding { what, state: State::Missing, cure: Some(cure) }
    } else {
        Finding { what, state: State::Ok, cure: None }
    }
}

/// What is less than on Linux, said where people look.
fn weaker() -> Finding {
    let cure = "jails here see the names and versions of this Mac's own software, have no private process list and no \
                transparent capture: programs that ignore HTTPS_PROXY reach nothing. This backend has been checked \
                rule by rule and has not been run on a Mac by its authors: `jail demo` shows what it does on yours";
    Finding {
        what: "isolation by profile, not by namespaces".to_owned(),
        state: State::Degraded,
        cure: Some(cure.to_owned()),
    }
}
