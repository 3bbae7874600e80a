//! Puts units in place, and takes them away.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use sandbox::host_program::system_command;
use sandbox::timed;

use super::{MARK, SPECIFICATIONS, TEMPLATES, UnitFile, drop_in, render};
use crate::console;
use crate::failure::Failure;
use crate::services;
use crate::spec::JailSpec;

/// The administrator's units.
const UNITS: &str = "/etc/systemd/system";
/// The first systemd with everything that the units rest on.
const OLDEST: u32 = 252;

/// Installs the units of these jails. Nothing is changed unless everything can be.
pub(super) fn install(jails: &[JailSpec], program: &Path) -> Result<ExitCode, Failure> {
    only_root()?;
    if Path::new("/etc/NIXOS").exists() {
        return Err(Failure::no_jail(
            "this is NixOS, whose units come from its configuration: declare the jail in services.nix-jail.jails with \
             service.enable = true",
        ));
    }
    let found = systemd_version()?;
    if found < OLDEST {
        return Err(Failure::no_jail(format!(
            "this is systemd {found}, and declared jails need {OLDEST} or later; run them with `jail run` instead"
        )));
    }
    let files = render(jails, program).map_err(Failure::usage)?;
    for file in &files {
        ours(&Path::new(UNITS).join(&file.path))?;
    }
    let specifications = jails.iter().map(specification).collect::<Result<Vec<_>, _>>()?;
    for jail in jails {
        free_users(jail)?;
    }
    for (path, text) in specifications {
        write_file(&path, &text)?;
    }
    write(&files, Path::new(UNITS))?;
    systemctl(&["--quiet", "--no-reload", "enable", "nix-jail.target"])?;
    systemctl(&["daemon-reload"])?;
    for jail in jails {
        console::print(&format!(
            "jail {0} is installed and starts with the system; now: systemctl start nix-jail@{0}\n",
            jail.name
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops these jails and removes their units; with the last jail the templates too. Specifications stay.
pub(super) fn uninstall(names: &[String]) -> Result<ExitCode, Failure> {
    only_root()?;
    for name in names {
        let mine = |kind: &str| Path::new(UNITS).join(format!("{kind}.d"));
        let wanted = Path::new(UNITS).join(format!("nix-jail.target.d/{name}.conf"));
        if name.contains('/') || !wanted.exists() {
            return Err(Failure::usage(format!("no jail {name} is installed in {UNITS}")));
        }
        systemctl(&["stop", &format!("nix-jail@{name}.service"), &format!("nix-jail-proxy@{name}.service")])?;
        remove(&wanted)?;
        for kind in ["nix-jail@{}.service", "nix-jail-proxy@{}.service", "nix-jail-proxy@{}.socket"] {
            let directory = mine(&kind.replace("{}", name));
            remove(&directory.join("jail.conf"))?;
            // One with drop-ins of the operator's own stays.
            let _ = fs::remove_dir(directory);
        }
    }
    // Only an empty directory can be removed: then no jail is left.
    if fs::remove_dir(Path::new(UNITS).join("nix-jail.target.d")).is_ok() {
        systemctl(&["--quiet", "--no-reload", "disable", "nix-jail.target"])?;
        for (name, _) in TEMPLATES {
            remove(&Path::new(UNITS).join(name))?;
        }
    }
    systemctl(&["daemon-reload"])?;
    Ok(ExitCode::SUCCESS)
}

/// Writes units below a directory.
pub(super) fn write(files: &[UnitFile], directory: &Path) -> Result<(), Failure> {
    files.iter().try_for_each(|file| write_file(&directory.join(&file.path), &file.text))
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::no_jail(format!("cannot write {}: {error}", path.display())))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::no_jail(format!("cannot remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn only_root() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::no_jail(format!(
        "only root may change {UNITS}; run it with sudo, or print the units without --install"
    )))
}

fn systemd_version() -> Result<u32, Failure> {
    let output = system_command("systemctl")
        .and_then(|mut command| timed::output_within(command.arg("--version"), timed::ANSWER));
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    version(&text).ok_or_else(|| {
        Failure::no_jail("there is no systemd here (`systemctl --version` does not answer); run jails with `jail run` instead")
    })
}

/// `systemd 257 (257.8-1)`.
pub(super) fn version(text: &str) -> Option<u32> {
    let number = text.strip_prefix("systemd ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A file that is there and not ours is somebody else's unit of this name.
fn ours(path: &Path) -> Result<(), Failure> {
    match fs::read_to_string(path) {
        Ok(text) if !text.starts_with(MARK) => Err(Failure::no_jail(format!(
            "{} is not of `jail units`: the name is used already; rename the jail, or remove that file",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Where the units will read the specification, and what must stand there; another one is another jail.
fn specification(jail: &JailSpec) -> Result<(PathBuf, String), Failure> {
    let path = Path::new(SPECIFICATIONS).join(format!("{}.json", jail.name));
    let text = serde_json::to_string_pretty(jail).map_err(Failure::no_jail)? + "\n";
    let there = fs::read_to_string(&path).ok();
    let same = there.as_deref().is_none_or(|there| {
        // However it is written: what counts is what it says.
        let said = JailSpec::parse(there, "").and_then(|spec| {
            serde_json::to_value(spec).map_err(|error| crate::spec::SpecError::Value {
                file: String::new(),
                message: error.to_string(),
            })
        });
        said.ok() == serde_json::to_value(jail).ok()
    });
    if same {
        // The operator's own file stays as it is written.
        return Ok((path, there.unwrap_or(text)));
    }
    Err(Failure::no_jail(format!(
        "the name {0} is used already: {1} says something else; rename this jail, or edit or remove that file",
        jail.name,
        path.display()
    )))
}

/// systemd takes an account of that name, should there be one, in the place of a fresh user for the unit alone.
fn free_users(jail: &JailSpec) -> Result<(), Failure> {
    for prefix in ["nj-", "njp-"] {
        let user = drop_in::user(prefix, &jail.name);
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if accounts.lines().any(|line| line.split(':').next() == Some(&user)) {
            return Err(Failure::no_jail(format!(
                "the name {} is used already: there is an account {user} in /etc/passwd, which the jail would not have to itself; rename one of them",
                jail.name
            )));
        }
    }
    Ok(())
}

fn systemctl(words: &[&str]) -> Result<(), Failure> {
    let status = system_command("systemctl").and_then(|mut command| {
        timed::status_within(command.args(words).stdin(Stdio::null()), services::STOP)
    });
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::no_jail(format!("systemctl {}: {status}; its reason is above", words.join(" "))))
        }
        Err(error) => Err(Failure::no_jail(format!("cannot run systemctl: {error}"))),
    }
}
