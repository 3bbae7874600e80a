//! The engine: which program drives it, whether it is there, and whose ids its containers have.
//!
//! It is driven by its own command line, not by its API: the command knows contexts, `DOCKER_HOST` in all its forms and
//! rootless sockets, podman has no daemon to talk to at all, and what it is told can be looked at in one line. A job
//! takes one command; everything else crosses the socket that the job's own pid 1 opens.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Group, User, getegid, geteuid};

use super::image::{Image, LABEL};
use crate::backend::{ContainerError, Error, JobIds, Os};
use crate::host_program::{HostProgramError, HostPrograms};
use crate::stage::container::mapped;
use crate::timed;

/// A program that drives an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// An engine, and how its program is to be started.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) kind: Kind,
    programs: HostPrograms,
    /// The program's environment.
    environment: Vec<(OsString, OsString)>,
}

/// An engine that answers.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) rights: Rights,
    /// How it is reached, if it runs on another kernel.
    pub(super) elsewhere: Option<String>,
}

/// Whose processes the engine's containers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Root's: container ids are the host's.
    Root,
    /// The operator's own: the container's root is the operator.
    Rootless,
    /// The operator's own, and keeps the operator's ids inside.
    KeepsIds,
}

/// How long the engine may take to import an image of some megabytes.
const IMPORT: Duration = Duration::from_secs(120);

/// How long it may take to remove what a killed launcher left behind: another command waits for that.
const REMOVAL: Duration = Duration::from_secs(5);

/// Where Docker listens if nothing else is said.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Of the operator's environment what engines' programs heed: not the operator's tokens.
fn is_heeded(name: &OsStr) -> bool {
    let prefixes = ["DOCKER_", "CONTAINER", "XDG_", "PODMAN_", "REGISTRY_AUTH_FILE"];
    let whole = ["HOME", "PATH", "USER", "TMPDIR", "LANG", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS"];
    name.to_str()
        .is_some_and(|name| whole.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

impl Kind {
    pub(super) fn program(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }
}

impl Engine {
    pub(super) fn new(kind: Kind, programs: &HostPrograms) -> Engine {
        let heeded = programs.environment().into_iter().filter(|(name, _)| is_heeded(name));
        Engine { kind, programs: programs.clone(), environment: heeded.collect() }
    }

    /// The program, to be given arguments.
    pub(super) fn command(&self) -> std::io::Result<Command> {
        let mut command = self.programs.command(self.kind.program()).map_err(std::io::Error::from)?;
        let variables = self.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(variables).stdin(Stdio::null());
        Ok(command)
    }

    /// Whether the engine can be reached, with whose rights it works, and whether on this kernel.
    pub(super) fn reach(&self) -> Result<Reached, Error> {
        let here = |rights| Reached { rights, elsewhere: None };
        if self.kind == Kind::Podman {
            // No daemon: containers are children of the program.
            return Ok(here(if own_ids().uid == 0 { Rights::Root } else { Rights::KeepsIds }));
        }
        let endpoint = self.endpoint()?;
        let Some(path) = endpoint.strip_prefix("unix://") else {
            let options = self.ask(&["info", "--format", "{{.SecurityOptions}}"])?;
            return Ok(Reached { rights: rights(&options), elsewhere: Some(endpoint) });
        };
        let socket = Path::new(path);
        let stream = UnixStream::connect(socket).map_err(|error| unreachable(socket, error.into()))?;
        let listener =
            getsockopt(&stream, sockopt::PeerCredentials).map_err(|os| unreachable(socket, os.into()))?.uid();
        if listener == 0 {
            return Ok(here(Rights::Root));
        }
        // Somebody's own engine, or the near end of a way to another machine.
        let info = self.ask(&[
            "info",
            "--format",
            "{{.KernelVersion}}\n{{.OperatingSystem}}\n{{.SecurityOptions}}",
        ])?;
        let mut lines = info.lines();
        let kernel = nix::sys::utsname::uname().map(|names| names.release().to_owned()).unwrap_or_default();
        let (release, system) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let rights = rights(lines.next().unwrap_or_default());
        let is_elsewhere = kernel != release || system.contains("Docker Desktop");
        Ok(Reached { rights, elsewhere: is_elsewhere.then_some(endpoint) })
    }

    /// Where Docker's engine listens, as its program would find it.
    pub(super) fn endpoint(&self) -> Result<String, Error> {
        if let Some(host) = self.variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
            return Ok(host.to_string_lossy().into_owned());
        }
        let settings = self
            .variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| self.variable("HOME").map(|home| Path::new(home).join(".docker")));
        let settings = settings.and_then(|path| fs::read_to_string(path.join("config.json")).ok());
        let has_context = self.variable("DOCKER_CONTEXT").is_some()
            || settings.is_some_and(|settings| settings.contains("\"currentContext\""));
        if has_context {
            let host = self.ask(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])?;
            return Ok(host.trim().to_owned());
        }
        Ok(format!("unix://{DOCKER_SOCKET}"))
    }

    /// Whether the engine has the image.
    pub(super) fn has(&self, image: &Image<'_>) -> Result<bool, Error> {
        let output = self.output(&["image", "inspect", "--format", "{{.Id}}", &image.name])?;
        Ok(output.status.success())
    }

    /// Gives the engine the image.
    pub(super) fn import(&self, image: &Image<'_>) -> Result<(), Error> {
        let mut command = self.command().map_err(|error| self.not_started(error))?;
        command.args(["import", "--change", LABEL, "-", &image.name]);
        // Its own words tell more than a pipe that nobody reads.
        let feed = |mut pipe| drop(image.write(&mut pipe));
        let output = timed::fed_output_within(&mut command, IMPORT, feed);
        let output = output.map_err(|error| self.not_started(error))?;
        if output.status.success() { Ok(()) } else { Err(self.refused(&output.stderr)) }
    }

    /// Gives the engine the image, if that is what the container of `said` lacked; whether it is to be tried again.
    /// Jobs that start at once lack it together: one imports it, and the others find it there and try again.
    pub(super) fn provide(&self, image: &Image<'_>, runtime: &Path, said: &[u8]) -> Result<bool, Error> {
        let failed =
            |error: std::io::Error| ContainerError::Place { path: runtime.to_owned(), os: error.into() };
        let directory = fs::File::open(runtime).map_err(failed)?;
        // Ends with the import of another job of this user, which has a time limit.
        let _importing =
            Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, os)| failed(os.into()))?;
        let was_missing = String::from_utf8_lossy(said).contains(&image.name);
        let is_missing = !self.has(image)?;
        if is_missing {
            self.import(image)?;
        }
        Ok(was_missing || is_missing)
    }

    /// Removes a container, if it is there; whether it is gone. An engine that hangs is an error.
    pub(super) fn remove(&self, container: &str) -> std::io::Result<bool> {
        let words = ["rm", "--force", "--volumes", container];
        let Ok(mut command) = self.command() else { return Ok(false) };
        let output = match timed::output_within(command.args(words), REMOVAL) {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Err(error),
            Err(_) => return Ok(false),
            Ok(output) => output,
        };
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        let is_gone = said.contains("no such container") || said.contains("no container with");
        Ok(output.status.success() || is_gone)
    }

    /// What the program prints.
    pub(super) fn ask(&self, words: &[&str]) -> Result<String, Error> {
        let output = self.output(words)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(self.refused(&output.stderr))
        }
    }

    pub(super) fn not_started(&self, error: std::io::Error) -> Error {
        let program = self.kind.program().to_owned();
        match error.get_ref().filter(|inner| inner.is::<HostProgramError>()) {
            Some(why) => ContainerError::Unsafe { why: why.to_string() }.into(),
            None => ContainerError::Program { program, os: error.into() }.into(),
        }
    }

    /// The engine's no, in its own words.
    pub(super) fn refused(&self, said: &[u8]) -> Error {
        ContainerError::Refused { program: self.kind.program().to_owned(), said: words(said) }.into()
    }

    /// What a later `jail` command needs in order to find this engine again.
    pub(super) fn remember(&self) -> Vec<u8> {
        let mut lines = self.kind.program().as_bytes().to_vec();
        for (name, value) in
            self.environment.iter().filter(|(name, _)| name.as_bytes().starts_with(b"DOCKER_"))
        {
            lines.extend([b"\0", name.as_bytes(), b"=", value.as_bytes()].concat());
        }
        lines
    }

    /// The engine that was remembered.
    pub(super) fn remembered(bytes: &[u8], programs: &HostPrograms) -> Option<Engine> {
        let mut parts = bytes.split(|&byte| byte == 0);
        let kind = match parts.next()? {
            b"docker" => Kind::Docker,
            b"podman" => Kind::Podman,
            _ => return None,
        };
        let mut engine = Engine::new(kind, programs);
        engine.environment.retain(|(name, _)| !name.as_bytes().starts_with(b"DOCKER_"));
        for part in parts {
            let at = part.iter().position(|&byte| byte == b'=')?;
            let (name, value) = part.split_at(at);
            if !name.starts_with(b"DOCKER_") {
                return None;
            }
            let value = value.get(1..).unwrap_or_default();
            engine.environment.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())));
        }
        Some(engine)
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    fn output(&self, words: &[&str]) -> Result<Output, Error> {
        let output =
            self.command().and_then(|mut command| timed::output_within(command.args(words), timed::ANSWER));
        output.map_err(|error| self.not_started(error))
    }
}

fn rights(security_options: &str) -> Rights {
    if security_options.contains("rootless") { Rights::Rootless } else { Rights::Root }
}

/// An engine's words on one line, cut to what a person reads.
pub(super) fn words(said: &[u8]) -> String {
    const MOST: usize = 600;
    let text = String::from_utf8_lossy(said);
    // Its advice to read the help is no advice here.
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("See 'docker"));
    let text: String = lines.collect::<Vec<_>>().join("; ").chars().take(MOST).collect();
    if text.is_empty() { "it did not say why".to_owned() } else { text }
}

fn unreachable(socket: &Path, os: Os) -> Error {
    let cure = match Errno::from_raw(os.0) {
        Errno::EACCES | Errno::EPERM => permission(socket),
        Errno::ENOENT => {
            "start the engine (systemctl start docker), or say where it is (DOCKER_HOST, `docker context use`)".to_owned()
        }
        _ => "start the engine (systemctl start docker)".to_owned(),
    };
    ContainerError::Unreachable { socket: socket.to_owned(), os, cure }.into()
}

/// Who may use a socket that this user may not.
pub(super) fn permission(socket: &Path) -> String {
    let user = User::from_uid(geteuid()).ok().flatten().map_or_else(|| "USER".to_owned(), |user| user.name);
    match fs::metadata(socket)
        .ok()
        .and_then(|found| Group::from_gid(Gid::from_raw(found.gid())).ok().flatten())
    {
        Some(group) if group.name != "root" => format!(
            "it is for the group {0}; as root: usermod -aG {0} {user}, then log in again (who is in that group can become root), or use a rootless engine",
            group.name
        ),
        _ => "it is root's only; use a rootless engine, or start the jail as root".to_owned(),
    }
}

/// The operator's own ids, as the engine sees them: a launcher in a user namespace may be root to itself.
pub(super) fn own_ids() -> JobIds {
    let outside =
        |file: &str, id: u32| fs::read_to_string(file).ok().and_then(|map| mapped(&map, id)).unwrap_or(id);
    JobIds {
        uid: outside("/proc/self/uid_map", geteuid().as_raw()),
        gid: outside("/proc/self/gid_map", getegid().as_raw()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::host_program::Settings;

    /// Scripts named `docker` in directories, the first of which jobs can write.
    fn programs(folder: &Path, places: &[&str]) -> HostPrograms {
        let places: Vec<PathBuf> = places.iter().map(|place| folder.join(place)).collect();
        for place in &places {
            fs::create_dir_all(place).unwrap();
            let program = place.join("docker");
            fs::write(&program, "#!/bin/sh\npwd; echo \"$DOCKER_CONFIG ${GIT_DIR-absent}\"\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut environment = std::collections::HashMap::new();
        environment.insert("PATH".into(), std::env::join_paths(&places).unwrap());
        environment.insert("DOCKER_CONFIG".into(), "/settings".into());
        environment.insert("GIT_DIR".into(), "/x".into());
        let writable = vec![folder.join("work")];
        HostPrograms::new(Settings {
            environment,
            directory: folder.join("work"),
            home: folder.to_owned(),
            writable,
        })
    }

    #[test]
    fn the_engine_s_program_is_never_one_of_a_job() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let engine = Engine::new(Kind::Docker, &programs(&folder, &["work/bin", "own"]));
        assert_eq!(engine.ask(&[]).unwrap(), "/\n/settings absent\n");
        let only_the_job_s = Engine::new(Kind::Docker, &programs(&folder, &["work/bin"]));
        let error = only_the_job_s.ask(&[]).unwrap_err();
        assert!(matches!(error, Error::Container(ContainerError::Program { .. })), "{error}");
        let own = folder.join("own/docker");
        fs::remove_file(&own).unwrap();
        std::os::unix::fs::symlink(folder.join("work/bin/docker"), &own).unwrap();
        let error = engine.ask(&[]).unwrap_err();
        assert!(matches!(error, Error::Container(ContainerError::Unsafe { .. })), "{error}");
    }
}
