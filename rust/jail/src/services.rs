//! Declared jails that are services of this host's systemd: `nix-jail@NAME.service`, its proxy in
//! `nix-jail-proxy@NAME.service`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use sandbox::host_program::system_command;
use sandbox::timed;

use crate::failure::Failure;

/// How long systemd may take to start, stop or reload units: longer than it waits for a unit itself.
pub(crate) const STOP: Duration = Duration::from_secs(150);

/// A declared jail's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its unit.
    pub(crate) unit: String,
    /// The jail's name.
    pub(crate) name: String,
    /// As systemd has it: `active`, `inactive`, `failed` …
    active_state: String,
    /// Its main process.
    pub(crate) pid: Option<u32>,
    /// Milliseconds since the Unix epoch.
    pub(crate) started: Option<u64>,
}

impl Service {
    /// Whether it is at work, or about to be.
    pub(crate) fn is_running(&self) -> bool {
        ["active", "activating", "reloading", "deactivating"].contains(&self.active_state.as_str())
    }
}

/// Every one that systemd has loaded; none where there is no systemd.
pub(crate) fn all() -> Vec<Service> {
    show("nix-jail@*.service")
}

/// The one of that jail.
pub(crate) fn find(name: &str) -> Option<Service> {
    // A pattern would be looked up as one.
    if !crate::spec::is_name(name) {
        return None;
    }
    show(&unit(name)).into_iter().next()
}

/// Ends it; returns when it has ended. Its units say how.
pub(crate) fn stop(service: &Service) -> Result<(), Failure> {
    let unit = &service.unit;
    let failed = |why: String| {
        Failure::no_jail(format!("systemd did not stop {unit} ({why}); as root: systemctl stop {unit}"))
    };
    // What systemd has to say about it goes to our standard error.
    let mut command = system_command("systemctl").map_err(|error| failed(error.to_string()))?;
    command.args(["stop", "--", unit]).stdin(Stdio::null()).stdout(Stdio::null());
    let status = timed::status_within(&mut command, STOP).map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

/// Becomes the program that shows what it and its proxy have written.
pub(crate) fn journal(name: &str, follow: bool, json: bool) -> Result<ExitCode, Failure> {
    let program = system_command("journalctl");
    let error =
        program.map_or_else(|error| error, |mut it| it.args(journal_words(name, follow, json)).exec());
    Err(Failure::no_jail(format!("cannot run journalctl: {error}")))
}

fn journal_words(name: &str, follow: bool, json: bool) -> Vec<String> {
    let mut words = vec!["--no-pager".to_owned(), format!("--unit={}", unit(name))];
    words.push(format!("--unit=nix-jail-proxy@{name}.service"));
    if follow {
        // From its beginning, as a job's log.
        words.extend(["--follow", "--lines=all"].map(str::to_owned));
    }
    if json {
        words.push("--output=json".to_owned());
    }
    words
}

fn unit(name: &str) -> String {
    format!("nix-jail@{name}.service")
}

fn show(pattern: &str) -> Vec<Service> {
    // As sd_booted(3) asks.
    if !Path::new("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    let Ok(mut command) = system_command("systemctl") else { return Vec::new() };
    command
        .args([
            "show",
            "--timestamp=unix",
            "--property=Id,LoadState,ActiveState,MainPID,ActiveEnterTimestamp",
        ])
        .args(["--", pattern]);
    let output = timed::output_within(&mut command, timed::ANSWER);
    output.map(|output| services(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

/// Reads what `systemctl show` prints: a block of `NAME=VALUE` for each unit, an empty line between them.
fn services(text: &str) -> Vec<Service> {
    text.split("\n\n")
        .filter_map(|block| {
            let value =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            // It has an answer for units that nobody has made, too.
            if value("LoadState") != Some("loaded") {
                return None;
            }
            let unit = value("Id")?;
            Some(Service {
                unit: unit.to_owned(),
                name: unit.strip_prefix("nix-jail@")?.strip_suffix(".service")?.to_owned(),
                active_state: value("ActiveState")?.to_owned(),
                pid: value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0),
                started: value("ActiveEnterTimestamp")
                    .and_then(|time| time.strip_prefix('@')?.parse::<u64>().ok())
                    .map(|seconds| seconds.saturating_mul(1000)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read() {
        let text = "MainPID=12\nId=nix-jail@agent.service\nLoadState=loaded\nActiveState=active\n\
                    ActiveEnterTimestamp=@1700000000\n\n\
                    MainPID=0\nId=nix-jail@old.service\nLoadState=loaded\nActiveState=failed\nActiveEnterTimestamp=\n\n\
                    MainPID=0\nId=nix-jail@nobody.service\nLoadState=not-found\nActiveState=inactive\n";
        let [agent, old] = <[Service; 2]>::try_from(services(text)).unwrap();
        assert_eq!(
            (agent.name.as_str(), agent.pid, agent.started),
            ("agent", Some(12), Some(1_700_000_000_000))
        );
        assert!(agent.is_running() && !old.is_running());
        assert_eq!((old.name.as_str(), old.pid, old.started), ("old", None, None));
        assert!(services("").is_empty());
    }

    #[test]
    fn the_journal_of_both_units_is_asked_for() {
        assert_eq!(
            journal_words("agent", true, false),
            [
                "--no-pager",
                "--unit=nix-jail@agent.service",
                "--unit=nix-jail-proxy@agent.service",
                "--follow",
                "--lines=all"
            ]
        );
        assert!(journal_words("agent", false, true).contains(&"--output=json".to_owned()));
    }
}
