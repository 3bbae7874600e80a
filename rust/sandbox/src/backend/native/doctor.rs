//! What this host offers to native jails.

use std::fs;

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::cgroup;
use crate::backend::error::PROC_CURE;
use crate::backend::{Finding, State};
use crate::stage::{self, remedy};

/// Looks at everything that the backend rests on, changing nothing.
pub fn diagnose() -> Vec<Finding> {
    let [namespaces, proc] = namespaces();
    vec![kernel(), namespaces, proc, apparmor(), landlock(), idmapped_mounts(), overlay(), control_groups()]
}

/// `(major, minor)` of the kernel at work.
fn release() -> (u32, u32) {
    let uname = nix::sys::utsname::uname();
    let text = uname.map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel() -> Finding {
    let (major, minor) = release();
    let (state, cure) = match (major, minor) {
        version if version >= (5, 12) => (State::Ok, None),
        version if version >= (5, 9) => (
            State::Degraded,
            Some(
                "mounts are made the old way, which is slower; Linux 5.12 or later has the new one"
                    .to_owned(),
            ),
        ),
        _ => (State::Missing, Some("run Linux 5.9 or later (5.12 or later for all of it)".to_owned())),
    };
    Finding { what: format!("Linux {major}.{minor} and its mount API"), state, cure }
}

/// User namespaces, and what is mounted in them. A probe costs nothing and tells what settings do not: a container's filter,
/// a security module's policy.
fn namespaces() -> [Finding; 2] {
    let probe = crate::host_program::this_program()
        .arg(stage::ARGUMENT)
        .arg(stage::PROBE)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    let code = probe.ok().and_then(|status| status.code());
    let has_namespaces = code == Some(0) || code == Some(stage::NO_PROC.into());
    let proc = "a /proc of its own".to_owned();
    let (namespaces_cure, proc_finding) = match (has_namespaces, code) {
        (true, Some(0)) => (None, Finding { what: proc, state: State::Ok, cure: None }),
        (true, _) => (None, Finding { what: proc, state: State::Missing, cure: Some(PROC_CURE.to_owned()) }),
        (false, _) => {
            let cure = remedy::hindrance().unwrap_or_else(|| remedy::UNKNOWN.to_owned());
            let what = format!("{proc}: not known, without namespaces");
            (Some(cure), Finding { what, state: State::Degraded, cure: None })
        }
    };
    let state = if has_namespaces { State::Ok } else { State::Missing };
    [Finding { what: "user namespaces".to_owned(), state, cure: namespaces_cure }, proc_finding]
}

fn apparmor() -> Finding {
    let restricts = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        .is_ok_and(|text| text.trim() == "1");
    let what = "AppArmor's restriction of user namespaces".to_owned();
    if restricts && !geteuid().is_root() {
        // A profile for this program may be loaded; then the probe above has succeeded.
        Finding { what: format!("{what}: in force"), state: State::Degraded, cure: remedy::hindrance() }
    } else {
        Finding { what: format!("{what}: none"), state: State::Ok, cure: None }
    }
}

fn landlock() -> Finding {
    let (state, cure) = match crate::sys::probe::landlock_abi() {
        Ok(abi) if abi >= 6 => (State::Ok, None),
        Ok(abi) => (State::Degraded, Some(format!("version {abi} only; Linux 6.12 has version 6"))),
        Err(Errno::EOPNOTSUPP) => (
            State::Degraded,
            Some("it is switched off; add landlock to the lsm= list on the kernel's command line".to_owned()),
        ),
        Err(_) => (State::Degraded, Some("Linux 5.13 or later has it".to_owned())),
    };
    Finding { what: "Landlock (a second lock; jails run without it)".to_owned(), state, cure }
}

fn idmapped_mounts() -> Finding {
    let what = "idmapped mounts (needed only when root starts a jail)".to_owned();
    if release() >= (5, 12) {
        Finding { what, state: State::Ok, cure: None }
    } else {
        let state = if geteuid().is_root() { State::Missing } else { State::Degraded };
        Finding {
            what,
            state,
            cure: Some("Linux 5.12 or later has them; start jails as an ordinary user".to_owned()),
        }
    }
}

fn overlay() -> Finding {
    let what = "overlayfs without privileges (for --workspace-mode overlay)".to_owned();
    let known = fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay"));
    match (known, release() >= (5, 11)) {
        (true, true) => Finding { what, state: State::Ok, cure: None },
        (false, _) => {
            let cure = "as root: modprobe overlay (and the word overlay in /etc/modules-load.d/jail.conf)"
                .to_owned();
            Finding { what, state: State::Degraded, cure: Some(cure) }
        }
        (true, false) => {
            Finding { what, state: State::Degraded, cure: Some("Linux 5.11 or later has it".to_owned()) }
        }
    }
}

fn control_groups() -> Finding {
    let what = "control groups for limits on memory, CPUs and processes".to_owned();
    match cgroup::hindrance() {
        None => Finding { what, state: State::Ok, cure: None },
        cure => Finding { what, state: State::Degraded, cure },
    }
}
