//! Running Nix's own programs: what they are given, and what becomes of what they say.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sandbox::host_program::{HostProgramError, HostPrograms};
use sandbox::timed;

use super::{Cache, NixError};
use crate::console;
use crate::operator::Operator;

/// The first arguments of `nix`: it works whether or not flakes are enabled, and a flake's own `nixConfig` (which can
/// name other caches and programs to run) is never accepted.
const FLAKES: &[&str] = &[
    "-v",
    "--extra-experimental-features",
    "nix-command flakes",
    "--option",
    "accept-flake-config",
    "false",
];
/// The last job may have written the flake: what it builds is never built outside of Nix's own sandbox. Where macOS
/// has none to speak of, Nix's settings decide.
const SANDBOXED: &[&str] = if cfg!(target_os = "linux") {
    &["--option", "sandbox", "true", "--option", "sandbox-fallback", "false"]
} else {
    &[]
};

/// Where an installation puts its programs when `PATH` does not say.
const USUAL_PLACES: &[&str] = &["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"];

/// The variables that Nix and what it calls (git, ssh) need. Builds and the evaluation of somebody's flake can see
/// Nix's environment, so the operator's tokens are not in it.
const PASSED: &[&str] = &[
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LOCALE_ARCHIVE",
    "LOGNAME",
    "NO_COLOR",
    "NO_PROXY",
    "PATH",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "USER",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
const PASSED_FAMILIES: &[&str] = &["LC_", "NIXPKGS_"];
/// Where Nix finds its settings, its store and its sources: not the many variables that a dev shell sets for compilers.
const OF_NIX: &[&str] = &[
    "NIX_CACHE_HOME",
    "NIX_CONFIG",
    "NIX_CONFIG_HOME",
    "NIX_CONF_DIR",
    "NIX_DAEMON_SOCKET_PATH",
    "NIX_DATA_DIR",
    "NIX_DATA_HOME",
    "NIX_LOCALSTATE_DIR",
    "NIX_LOG_DIR",
    "NIX_PATH",
    "NIX_PROFILES",
    "NIX_REMOTE",
    "NIX_SSHOPTS",
    "NIX_SSL_CERT_FILE",
    "NIX_STATE_DIR",
    "NIX_STATE_HOME",
    "NIX_STORE_DIR",
    "NIX_USER_CONF_FILES",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// How much of what Nix says about a failure is shown.
const TAIL: usize = 25;

/// Nix as this operator has it.
pub(crate) struct Nix<'a> {
    operator: &'a Operator,
    programs: HostPrograms,
    directory: PathBuf,
}

impl<'a> Nix<'a> {
    /// Finds it.
    pub(crate) fn find(operator: &'a Operator) -> Result<Nix<'a>, NixError> {
        let mut places = vec![operator.home.join(".nix-profile/bin")];
        places.extend(USUAL_PLACES.iter().map(PathBuf::from));
        let programs = operator.programs().with_directories(places);
        let nix = Nix { operator, programs, directory: PathBuf::from("/") };
        nix.command("nix-store")?;
        Ok(nix)
    }

    /// The same, for a flake whose reference is relative to a directory because no reference can name that.
    pub(crate) fn at(self, directory: &Path) -> Nix<'a> {
        Nix { directory: directory.to_owned(), ..self }
    }

    /// Returns the version of its programs, which does not take long.
    pub(crate) fn version(&self) -> Result<String, NixError> {
        let mut command = self.command("nix-store")?;
        let program = PathBuf::from(command.get_program());
        let output = timed::output_within(command.arg("--version"), timed::ANSWER)
            .map_err(|error| NixError::Start { program, error })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs one of its programs to the end and returns what it printed. Progress goes to standard error as it happens;
    /// the text of a failure goes into the error.
    pub(crate) fn run<'b>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'b str>,
    ) -> Result<String, NixError> {
        finish(self.command(program)?.args(arguments))
    }

    /// Runs `nix` on somebody's flake, none of whose settings is accepted.
    pub(crate) fn run_on_flake<'b>(
        &self,
        arguments: impl IntoIterator<Item = &'b str>,
    ) -> Result<String, NixError> {
        // There Nix keeps which settings were once accepted for good.
        let nowhere = Cache::nowhere(self.operator);
        let mut command = self.command("nix")?;
        command.env("XDG_DATA_HOME", &nowhere).env("NIX_DATA_HOME", &nowhere);
        finish(command.args(FLAKES).args(SANDBOXED).args(arguments))
    }

    fn command(&self, program: &str) -> Result<Command, NixError> {
        let mut command = self.programs.command(program).map_err(|error| self.not_started(program, error))?;
        let passed = self.programs.environment().into_iter().filter(|(name, _)| is_passed(name));
        command.current_dir(&self.directory).env_clear().envs(passed);
        // Nix asks git about a workspace, whose settings can name programs to run.
        let settings = [("core.fsmonitor", "false"), ("core.hooksPath", "/dev/null")];
        for (position, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{position}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{position}"), value);
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        Ok(command)
    }

    fn not_started(&self, program: &str, error: HostProgramError) -> NixError {
        if let HostProgramError::NotFound { .. } = error {
            let looked = self.programs.search_path();
            let looked = looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return NixError::NoNix { program: program.to_owned(), looked };
        }
        NixError::Start { program: program.into(), error: io::Error::other(error) }
    }
}

fn is_passed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        PASSED.contains(&name)
            || OF_NIX.contains(&name)
            || PASSED_FAMILIES.iter().any(|family| name.starts_with(family))
    })
}

fn finish(command: &mut Command) -> Result<String, NixError> {
    let program = PathBuf::from(command.get_program());
    let failed = |error| NixError::Start { program: program.clone(), error };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (output, errors) = read(&mut child).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(output);
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let errors = if errors.is_empty() { format!("{name} ended with {status}") } else { errors };
    Err(NixError::Failed { what: format!("an answer from {name}"), errors })
}

/// Both outputs of a process; of the errors what stands from the first `error:` on.
fn read(child: &mut Child) -> io::Result<(String, String)> {
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("its output cannot be read"));
    };
    std::thread::scope(|scope| {
        let output = scope.spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let mut errors: Vec<String> = Vec::new();
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if !errors.is_empty() || line.starts_with("error") {
                errors.push(line.into_owned());
            } else if is_progress(&line) {
                console::print_error_line(&line);
            }
        }
        let first = errors.len().saturating_sub(TAIL).max(after_trace(&errors));
        let output = output.join().map_err(|_| io::Error::other("its output cannot be read"))??;
        Ok((output, errors[first..].join("\n").trim().to_owned()))
    })
}

/// Where the message begins, if Nix tells first how it got there.
fn after_trace(errors: &[String]) -> usize {
    let is_trace = errors.first().is_some_and(|line| line.trim() == "error:");
    let message = errors.iter().rposition(|line| line.trim_start().starts_with("error: "));
    message.filter(|_| is_trace).unwrap_or_default()
}

/// What is worth showing: not the files that are evaluated, nor advice about options that are given later.
fn is_progress(line: &str) -> bool {
    let noise = [
        "evaluating ",
        "warning: you did not specify '--add-root'",
        "warning: Ignoring setting ",
        "warning: ignoring the client-specified setting ",
    ];
    !line.trim().is_empty() && !noise.iter().any(|noise| line.starts_with(noise))
}
