//! What this host offers to jails of containers.

use super::engine::{Engine, Kind, Rights};
use crate::backend::{Error, Finding, State};
use crate::host_program::HostPrograms;

/// Looks at one engine, changing nothing.
pub fn diagnose(kind: Kind, programs: &HostPrograms) -> Vec<Finding> {
    let engine = Engine::new(kind, programs);
    let version = match engine.ask(&["--version"]) {
        Ok(version) => version.trim().to_owned(),
        // One of several ways to make jails; a host without it lacks nothing.
        Err(_) => {
            let what = format!("no `{}` on this host", kind.program());
            return vec![finding(what, State::Degraded, None)];
        }
    };
    let mut findings = vec![finding(version, State::Ok, None)];
    match engine.reach() {
        Ok(reached) => {
            let whose = match reached.rights {
                Rights::Root => {
                    "the engine is root's: a job there has the ids of the operator, or of the workspace's owner"
                }
                Rights::Rootless => {
                    "the engine is rootless: a job there is its root, which is the operator outside"
                }
                Rights::KeepsIds => "containers are the operator's own, with the operator's ids",
            };
            findings.push(finding(whose.to_owned(), State::Ok, None));
            if let Some(endpoint) = reached.elsewhere {
                findings.push(finding(
                    format!("the engine at {endpoint} runs on another kernel: jobs' connections are relayed through it"),
                    State::Degraded,
                    Some("what a jail binds (programs, store paths, the workspace) must be shared with that machine".to_owned()),
                ));
            }
            findings.extend(of_engine(&engine));
        }
        Err(error) => {
            findings.push(finding(
                "its engine cannot be used".to_owned(),
                State::Missing,
                Some(error.to_string()),
            ));
        }
    }
    findings
}

fn of_engine(engine: &Engine) -> Vec<Finding> {
    let format = match engine.kind {
        Kind::Docker => "{{.CgroupVersion}}|driver={{.CgroupDriver}} {{.SecurityOptions}}",
        Kind::Podman => "{{.Host.CgroupsVersion}}|{{.Host.CgroupControllers}}",
    };
    let info = match engine.ask(&["info", "--format", format]) {
        Ok(info) => info,
        Err(error) => return vec![not_told(&error)],
    };
    let (groups, rest) = info.trim().split_once('|').unwrap_or_default();
    let groups = groups.trim_start_matches('v');
    let mut findings = vec![match groups {
        "1" | "2" if !rest.contains("driver=none") => {
            finding(format!("control groups of version {groups} for limits"), State::Ok, None)
        }
        _ => finding(
            "control groups for limits".to_owned(),
            State::Degraded,
            Some(
                "the engine has none for its containers; rootless ones need version 2 and delegation"
                    .to_owned(),
            ),
        ),
    }];
    if rest.contains("name=userns") {
        findings.push(finding(
            "users are remapped; jails ask for the host's (--userns host), else the workspace would be nobody's".to_owned(),
            State::Ok,
            None,
        ));
    }
    let ipv6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
    findings.push(finding(
        format!(
            "IPv6: {}",
            if ipv6 { "jails have it" } else { "this kernel has none, and jails do without" }
        ),
        State::Ok,
        None,
    ));
    findings
}

fn not_told(error: &Error) -> Finding {
    finding("what the engine says of itself".to_owned(), State::Degraded, Some(error.to_string()))
}

fn finding(what: String, state: State, cure: Option<String>) -> Finding {
    Finding { what, state, cure }
}
