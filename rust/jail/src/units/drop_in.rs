//! What is special about one jail: its files, limits, users, credentials, and what of the hardening it cannot live with.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use policy::Policy;
use sha2::{Digest, Sha256};

use super::{MARK, UnitFile};
use crate::assemble::{DNS_PORT, PROXY_PORT, WEB_PORTS};
use crate::hex;
use crate::secrets::SecretLocation;
use crate::spec::{Allowance, JailSpec, WorkspaceMode};

/// Where the administrator puts credentials.
const CREDENTIALS: &str = "/etc/credstore";

/// The jail's drop-ins.
pub(super) fn of(spec: &JailSpec) -> Result<Vec<UnitFile>, String> {
    let name = &spec.name;
    Ok(vec![
        file(&format!("nix-jail.target.d/{name}.conf"), &format!("[Unit]\nWants=nix-jail@{name}.service\n")),
        file(&format!("nix-jail-proxy@{name}.socket.d/jail.conf"), &socket(spec)?),
        file(&format!("nix-jail-proxy@{name}.service.d/jail.conf"), &proxy(spec)?),
        file(&format!("nix-jail@{name}.service.d/jail.conf"), &jail(spec)?),
    ])
}

/// The user of a jail's unit. Jails' names may be longer than users', and hold other characters.
pub(super) fn user(prefix: &str, name: &str) -> String {
    const LONGEST: usize = 31;
    let fits = prefix.len() + name.len() <= LONGEST
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if fits {
        return format!("{prefix}{name}");
    }
    format!("{prefix}{}", hex::encode(&Sha256::digest(name)[..8]))
}

fn file(path: &str, text: &str) -> UnitFile {
    UnitFile { path: PathBuf::from(path), text: format!("{MARK}\n{text}") }
}

fn socket(spec: &JailSpec) -> Result<String, String> {
    let policy = Policy::new(spec.rules.clone()).map_err(|error| error.to_string())?;
    let own = [WEB_PORTS[0], WEB_PORTS[1], PROXY_PORT, DNS_PORT];
    let mut text = "[Socket]\n".to_owned();
    for port in policy.extra_ports().into_iter().filter(|port| !own.contains(port)) {
        line(&mut text, "ListenStream", port);
    }
    Ok(text)
}

fn proxy(spec: &JailSpec) -> Result<String, String> {
    let mut text = "[Service]\n".to_owned();
    line(&mut text, "User", user("njp-", &spec.name));
    let mut loaded: Vec<String> = Vec::new();
    for credential in &spec.credentials {
        for (position, source) in credential.sources.iter().enumerate() {
            let (id, from, imported) = match &source.place {
                SecretLocation::File(path) if path.is_absolute() => {
                    (format!("{}-{position}", credential.variable), path.clone(), false)
                }
                SecretLocation::Systemd(name) => {
                    (credential_name(name)?, Path::new(CREDENTIALS).join(name), true)
                }
                SecretLocation::File(_)
                | SecretLocation::Environment(_)
                | SecretLocation::Command(_)
                | SecretLocation::Keyring { .. } => continue,
            };
            if loaded.contains(&id) {
                continue;
            }
            line(&mut text, "LoadCredential", format!("{id}:{}", path(&from)?));
            if imported {
                // From everywhere else, decrypted: by its bare name LoadCredential= takes an encrypted one as it is.
                // Before systemd 254 there is no such setting, and it is passed over.
                line(&mut text, "ImportCredential", &id);
            }
            // In the place of one that is missing: the proxy says so, in words, or does without.
            line(&mut text, "SetCredential", format!("{id}:\\n"));
            loaded.push(id);
        }
    }
    Ok(text)
}

/// As it can stand in a unit, where `*` and `%` mean something else.
fn credential_name(name: &str) -> Result<String, String> {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte)) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "systemd:{name} cannot stand in a unit; name a credential of letters, digits, `-`, `_`, `.` and `@`"
    ))
}

fn jail(spec: &JailSpec) -> Result<String, String> {
    let mut text = "[Service]\n".to_owned();
    let service = spec.service.clone().unwrap_or_default();
    match &service.user {
        Some(user) => {
            line(&mut text, "DynamicUser", "no");
            line(&mut text, "User", user);
        }
        None => line(&mut text, "User", user("nj-", &spec.name)),
    }
    if let Some(workspace) = &service.workspace {
        let writable = spec.workspace_mode == WorkspaceMode::Rw;
        line(&mut text, bind(writable), word(workspace)?);
    }
    for each in &spec.binds {
        if !each.source.is_absolute() {
            return Err(format!(
                "binds: {} is in somebody's home, and a service has none; name an absolute path",
                each.source.display()
            ));
        }
        line(&mut text, bind(each.writable), word(&each.source)?);
    }
    let limits = &spec.limits;
    if let Some(memory) = limits.memory {
        line(&mut text, "MemoryMax", memory.0);
        // A limit that the job can step over into swap is none.
        line(&mut text, "MemorySwapMax", 0);
    }
    if let Some(pids) = limits.pids {
        // The launcher, its stage and the jail's init are counted too.
        line(&mut text, "TasksMax", pids.saturating_add(3));
    }
    if let Some(cpus) = limits.cpus {
        line(&mut text, "CPUQuota", format!("{}%", (cpus * 100.0).ceil()));
    }
    if let Some(timeout) = limits.timeout {
        line(&mut text, "RuntimeMaxSec", timeout.0.as_secs());
        // Its time is up: that is no reason to begin again.
        line(&mut text, "Restart", "no");
    }
    if let Some(io) = limits.io {
        let on = word(service.workspace.as_deref().unwrap_or(Path::new("/var/lib")))?;
        for direction in ["IOReadBandwidthMax", "IOWriteBandwidthMax"] {
            line(&mut text, direction, format!("{on} {}", io.0));
        }
    }
    if service.user.is_none() && spec.hardening.allow.contains(&Allowance::SetUserIdFiles) {
        return Err(
            "hardening.allow: set-user-id-files needs service.user: systemd keeps such files from users that exist for one service"
                .to_owned(),
        );
    }
    for allowance in &spec.hardening.allow {
        text.push_str(weakened(*allowance));
    }
    Ok(text)
}

/// What a unit says to allow it.
fn weakened(allowance: Allowance) -> &'static str {
    match allowance {
        Allowance::WritableExecutableMemory => "MemoryDenyWriteExecute=no\n",
        Allowance::NestedUserNamespaces => {
            "RestrictNamespaces=no\nSystemCallFilter=@mount setdomainname sethostname\n"
        }
        Allowance::Scheduling => "RestrictRealtime=no\nSystemCallFilter=@resources\n",
        Allowance::SetUserIdFiles => "RestrictSUIDSGID=no\n",
    }
}

fn bind(writable: bool) -> &'static str {
    if writable { "BindPaths" } else { "BindReadOnlyPaths" }
}

fn line(text: &mut String, setting: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{setting}={value}");
}

/// A path as one word of a setting.
fn word(path: &Path) -> Result<String, String> {
    let path = self::path(path)?;
    Ok(if path.contains(' ') { format!("\"{path}\"") } else { path })
}

/// A path that is all of a setting, its `%` doubled.
fn path(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some(text) if !text.contains(|c: char| c.is_control() || ":\\\"'".contains(c)) => {
            Ok(text.replace('%', "%%"))
        }
        _ => Err(format!(
            "{} cannot stand in a unit; name a path without control characters, quotes, backslashes and colons",
            path.display()
        )),
    }
}
