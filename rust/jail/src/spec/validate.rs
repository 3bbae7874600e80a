//! What serde cannot see: names, variables, references.

use std::path::Path;

use proxy::config::LEAST_MEMORY;

use super::{CredentialSpec, JailSpec};
use crate::quantity::Bytes;
use crate::secrets::SecretLocation;

impl JailSpec {
    /// Says what is wrong.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !is_name(&self.name) {
            return Err(format!(
                "{:?} is not a jail's name; use letters, digits, `-`, `_` and `.`, starting with a letter or digit",
                self.name
            ));
        }
        let credentials = self.credentials.iter().map(|credential| &credential.variable);
        let of_closure = self.closure.iter().flat_map(|closure| closure.environment.keys());
        let variables =
            self.environment.keys().chain(&self.pass_environment).chain(credentials).chain(of_closure);
        for variable in variables {
            if !is_variable(variable) {
                return Err(format!("{variable:?} is not a variable's name; use letters, digits and `_`"));
            }
        }
        if let Some(closure) = &self.closure {
            let mut paths = std::iter::once(&closure.store_paths).chain(&closure.path);
            if let Some(path) = paths.find(|path| !path.is_absolute()) {
                return Err(format!("closure: {} must be an absolute path", path.display()));
            }
        }
        for (position, credential) in self.credentials.iter().enumerate() {
            let variable = &credential.variable;
            if self.credentials[..position].iter().any(|earlier| earlier.variable == *variable) {
                return Err(format!(
                    "credential {variable} is declared twice; give it several sources instead"
                ));
            }
            if self.environment.contains_key(variable) || self.pass_environment.contains(variable) {
                return Err(format!(
                    "{variable} is a credential and also a plain variable: the real value would be in the jail; remove the variable"
                ));
            }
            let passed = credential.sources.iter().find(|source| match &source.place {
                SecretLocation::Environment(name) => self.pass_environment.contains(name),
                SecretLocation::File(_)
                | SecretLocation::Command(_)
                | SecretLocation::Keyring { .. }
                | SecretLocation::Systemd(_) => false,
            });
            if let Some(source) = passed {
                return Err(format!(
                    "credential {variable} is taken from {source}, which is passed on too: the real value would be in the jail; do not pass that variable on"
                ));
            }
            credential.places().map_err(|error| format!("credential {variable}: {error}"))?;
            let by_rule = self.rules.iter().any(|rule| rule.credential() == Some(variable));
            // An optional one may wait for a rule of the command line.
            let goes_nowhere = credential.hosts.is_empty() && !by_rule && !credential.optional;
            if credential.sources.is_empty() || goes_nowhere {
                return Err(format!(
                    "credential {variable} needs at least one source, and hosts (or a rule that names the credential)"
                ));
            }
        }
        self.credentials.iter().try_for_each(|credential| self.validate_oauth(credential))?;
        self.validate_gateways()?;
        self.upstream.check_proxy().and_then(|_| self.upstream.connect_to())?;
        if let Some(service) = &self.service {
            if let Some(path) = service.workspace.iter().find(|path| !path.is_absolute()) {
                return Err(format!("service.workspace: {} must be an absolute path", path.display()));
            }
            if service.user.as_deref().is_some_and(|user| !is_user(user)) {
                return Err("service.user must be the name of an ordinary user, not root".to_owned());
            }
        }
        if let Some(path) = self.protect.iter().find(|path| !is_inside(path)) {
            return Err(format!("protect: {} must be a relative path without `..`", path.display()));
        }
        self.home.validate()?;
        for name in self.home.credentials() {
            if !self.credentials.iter().any(|credential| credential.variable == name) {
                return Err(format!("home.seed names credential {name}, which is not declared"));
            }
        }
        for rule in &self.rules {
            if let Some(name) = rule.credential()
                && !self.credentials.iter().any(|credential| credential.variable == name)
            {
                return Err(format!("a rule names credential {name}, which is not declared"));
            }
        }
        if let Some(cpus) = self.limits.cpus
            && !(cpus.is_finite() && cpus > 0.0)
        {
            return Err(format!("limits.cpus: {cpus} must be more than 0"));
        }
        let least = Bytes(LEAST_MEMORY as u64);
        if let Some(memory) = self.limits.proxy_memory.filter(|memory| memory.0 < least.0) {
            return Err(format!("limits.proxyMemory: {memory} must be at least {least}"));
        }
        Ok(())
    }

    fn validate_gateways(&self) -> Result<(), String> {
        for gateway in &self.gateways {
            let names =
                gateway.when.iter().chain(&gateway.pass_environment).chain(gateway.environment.keys());
            let mut names = names.chain(gateway.credentials.iter().map(|credential| &credential.variable));
            if let Some(name) = names.find(|name| !is_variable(name)) {
                return Err(format!(
                    "gateways: {name:?} is not a variable's name; use letters, digits and `_`"
                ));
            }
            if gateway.when.is_empty() || gateway.servers.is_empty() {
                return Err("gateways: each needs variables in `when`, and `servers`".to_owned());
            }
            for credential in &gateway.credentials {
                let name = &credential.variable;
                if gateway.pass_environment.contains(name) || gateway.environment.contains_key(name) {
                    return Err(format!(
                        "gateways: {name} is a credential and also a plain variable: the real value would be in the jail; remove the variable"
                    ));
                }
                if credential.sources.is_empty() || !credential.hosts.is_empty() {
                    return Err(format!(
                        "gateways: credential {name} needs at least one source, and no hosts: it is for the gateway's servers"
                    ));
                }
                credential.places().map_err(|error| format!("gateways: credential {name}: {error}"))?;
            }
        }
        Ok(())
    }

    fn validate_oauth(&self, credential: &CredentialSpec) -> Result<(), String> {
        let (name, Some(oauth)) = (&credential.variable, &credential.oauth) else { return Ok(()) };
        oauth.server().map_err(|error| format!("credential {name}: {error}"))?;
        for pointer in [&oauth.token, &oauth.refresh].into_iter().chain(&oauth.expiry) {
            if !pointer.starts_with('/') {
                return Err(format!(
                    "credential {name}: oauth: {pointer:?} is not a JSON pointer; it starts with /"
                ));
            }
        }
        if !credential.sources.iter().any(|source| source.pointer.as_ref() == Some(&oauth.token)) {
            return Err(format!(
                "credential {name}: no source ends in #{}, the pointer of oauth.token; add it to the one that holds the login",
                oauth.token
            ));
        }
        let Some(variable) = &oauth.refresh_variable else { return Ok(()) };
        let is_taken = self.credentials.iter().any(|other| other.variable == *variable)
            || self.environment.contains_key(variable)
            || self.pass_environment.contains(variable);
        if is_taken || !is_variable(variable) {
            return Err(format!(
                "credential {name}: oauth.refreshVariable {variable:?} must be a variable that nothing else sets"
            ));
        }
        Ok(())
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What useradd(8) takes by default; a jail never is root's.
fn is_user(name: &str) -> bool {
    name != "root"
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

/// Returns true if a path stays below what it is relative to.
pub(super) fn is_inside(path: &Path) -> bool {
    use std::path::Component;
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}
