//! The only way to start a program of the host.
//!
//! A job can write its workspace, its persistent home and writable binds. Nothing in these directories is ever started
//! by the launcher, however it is named: not by `PATH`, not through a link, not as the interpreter of a script. A
//! program starts in `/`, where no job has put a file that it could obey, and without the variables by which
//! interpreters and version managers are led into a project. Programs that belong to the system (systemd's) are not
//! looked for on `PATH` at all.
//!
//! This is the one place that may call `Command::new`; clippy.toml forbids it everywhere else.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;

use crate::beneath::RealPath;

/// Who starts programs, and what jobs can write.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The operator's environment.
    pub environment: HashMap<OsString, OsString>,
    /// Where relative paths of programs start.
    pub directory: PathBuf,
    /// The operator's home.
    pub home: PathBuf,
    /// The directories that jobs can write, without links.
    pub writable: Vec<PathBuf>,
}

/// Finds and prepares the host programs that the launcher starts.
#[derive(Clone, Debug)]
pub struct HostPrograms {
    settings: Arc<Settings>,
    /// Directories that are searched after those of `PATH`.
    more: Arc<Vec<PathBuf>>,
    /// Programs by the names that they were asked for with: a name means the same program as long as the job runs.
    resolved: Arc<Mutex<HashMap<String, PathBuf>>>,
}

/// Why a program of the host is not started.
#[derive(Debug, thiserror::Error)]
pub enum HostProgramError {
    /// No directory of `PATH` that is safe to use has it.
    #[error("there is no program `{name}` outside of what jobs can write")]
    NotFound {
        /// The name that was asked for.
        name: String,
    },
    /// A job may have written it, a link to it or its interpreter.
    #[error("`{name}` is not started on the host: {path} lies in, or is reached through, a directory that a job can write", path = .path.display())]
    Writable {
        /// The name that was asked for.
        name: String,
        /// The program or the interpreter.
        path: PathBuf,
    },
    /// The file cannot be examined or is not a program.
    #[error("`{name}` cannot be started: {error}")]
    Unusable {
        /// The name that was asked for.
        name: String,
        /// The kernel's answer.
        error: std::io::Error,
    },
}

impl From<HostProgramError> for std::io::Error {
    fn from(error: HostProgramError) -> std::io::Error {
        match error {
            HostProgramError::NotFound { .. } => std::io::ErrorKind::NotFound.into(),
            HostProgramError::Unusable { error, .. } => error,
            error @ HostProgramError::Writable { .. } => std::io::Error::other(error),
        }
    }
}

/// Beginnings of the names of variables that make a program load or obey other files.
const REMOVED: &[&str] = &[
    "GIT_",
    "PYTHON",
    "NODE_",
    "PERL",
    "RUBY",
    "LD_",
    "DYLD_",
    "BASH_",
    "VIRTUAL_ENV",
    "CONDA_",
    "PYENV_VERSION",
    "PYENV_DIR",
    "RBENV_VERSION",
    "RBENV_DIR",
    "NODENV_VERSION",
    "NODENV_DIR",
    "GOENV_VERSION",
    "GOENV_DIR",
    "MISE_",
    "ASDF_",
    "RUSTUP_TOOLCHAIN",
    "VOLTA_",
    "DIRENV_",
    "GEM_",
    "BUNDLE_",
    "LUA_",
    "npm_config_",
    "NPM_CONFIG_",
];
/// Whole names of such variables.
const REMOVED_NAMES: &[&str] =
    &["ENV", "SHELLOPTS", "BASHOPTS", "PS4", "CDPATH", "PWD", "OLDPWD", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"];
/// Where the programs of the system are: root's directories, on every distribution that has systemd.
const SYSTEM: &[&str] = &["/run/current-system/sw/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// The variables that the programs of systemd heed.
const OF_SYSTEM: &[&str] = &[
    "COLORTERM",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "LANG",
    "LC_ALL",
    "NO_COLOR",
    "SYSTEMD_COLORS",
    "TERM",
    "XDG_RUNTIME_DIR",
];
/// A script's interpreter may be a script; the kernel follows as many.
const MAX_INTERPRETERS: usize = 5;

/// Prepares this very program, for another process of it; the environment is empty.
pub fn this_program() -> Command {
    // The kernel's own link: it means the file that runs, wherever that was moved.
    let path = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
    let mut command = command_at(&path.unwrap_or_default());
    command.env_clear();
    command
}

/// Finds a program that belongs to the system, `systemctl` say, in the system's own directories.
pub fn system_program(name: &str) -> Option<PathBuf> {
    SYSTEM.iter().map(|directory| Path::new(directory).join(name)).find(|path| is_program(path))
}

/// Prepares a program of the system: working directory `/`, and no variables but those it heeds.
pub fn system_command(name: &str) -> std::io::Result<Command> {
    let program = system_program(name).ok_or_else(|| {
        let looked = SYSTEM.join(", ");
        std::io::Error::new(std::io::ErrorKind::NotFound, format!("there is no {name} in {looked}"))
    })?;
    let mut command = command_at(&program);
    let kept = std::env::vars_os().filter(|(name, _)| OF_SYSTEM.iter().any(|kept| name == kept));
    command.env_clear().envs(kept);
    Ok(command)
}

/// Prepares the program at an absolute path that was found by this module or is built in.
pub(crate) fn command_at(program: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let mut command = Command::new(program);
    command.current_dir("/");
    command
}

impl HostPrograms {
    /// The programs of an operator.
    pub fn new(settings: Settings) -> HostPrograms {
        HostPrograms { settings: Arc::new(settings), more: Arc::default(), resolved: Arc::default() }
    }

    /// The same, when programs are looked for in `directories`, too.
    pub fn with_directories(&self, directories: Vec<PathBuf>) -> HostPrograms {
        HostPrograms {
            settings: self.settings.clone(),
            more: Arc::new(directories),
            resolved: Arc::default(),
        }
    }

    /// Prepares the program `name`, a path or a name on the operator's `PATH`.
    pub fn command(&self, name: &str) -> Result<Command, HostProgramError> {
        let mut command = command_at(&self.resolve(name)?);
        command.env_clear().envs(self.environment());
        Ok(command)
    }

    fn resolve(&self, name: &str) -> Result<PathBuf, HostProgramError> {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = resolved.get(name) {
            // The file may have been replaced since.
            self.check(name, program, 0)?;
            return Ok(program.clone());
        }
        let program = match name.contains('/') {
            true => self.path(Path::new(name)),
            false => self.on_path(name)?,
        };
        self.check(name, &program, 0)?;
        resolved.insert(name.to_owned(), program.clone());
        Ok(program)
    }

    /// An absolute path; relative ones start at the operator's directory, `~/` at the home.
    fn path(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("~") {
            Ok(rest) => self.settings.home.join(rest),
            Err(_) => self.settings.directory.join(path),
        }
    }

    fn on_path(&self, name: &str) -> Result<PathBuf, HostProgramError> {
        let mut paths = self.search_path().into_iter().map(|directory| directory.join(name));
        let found = paths.find(|path| is_program(path));
        found.ok_or_else(|| HostProgramError::NotFound { name: name.to_owned() })
    }

    /// The directories of `PATH` that no job can write or redirect.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let path = self.settings.environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
        let is_safe = |directory: &PathBuf| {
            directory.is_absolute() && RealPath::of(directory).is_ok_and(|real| !self.is_writable(&real))
        };
        std::env::split_paths(path).chain(self.more.iter().cloned()).filter(is_safe).collect()
    }

    fn is_writable(&self, real: &RealPath) -> bool {
        self.settings.writable.iter().any(|place| real.depends_on(place))
    }

    /// Refuses a program that a job may have written, and a script whose interpreter is such a one.
    fn check(&self, name: &str, program: &Path, depth: usize) -> Result<(), HostProgramError> {
        let unusable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => HostProgramError::NotFound { name: name.to_owned() },
            _ => HostProgramError::Unusable { name: name.to_owned(), error },
        };
        let real = RealPath::of(program).map_err(unusable)?;
        if self.is_writable(&real) {
            return Err(HostProgramError::Writable { name: name.to_owned(), path: program.to_owned() });
        }
        let Some(interpreter) = interpreter(&real.path).map_err(unusable)? else { return Ok(()) };
        if depth >= MAX_INTERPRETERS || !interpreter.is_absolute() {
            let error = std::io::Error::other("its first line names no usable interpreter");
            return Err(HostProgramError::Unusable { name: name.to_owned(), error });
        }
        self.check(name, &interpreter, depth + 1)
    }

    /// The operator's variables, without those that lead a program into a directory that jobs can write.
    pub fn environment(&self) -> HashMap<OsString, OsString> {
        let leads_to_a_job = |value: &OsStr| {
            std::env::split_paths(value).any(|path| {
                path.is_absolute() && self.settings.writable.iter().any(|place| path.starts_with(place))
            })
        };
        let is_kept = |(name, value): &(&OsString, &OsString)| {
            let text = name.to_string_lossy();
            name.as_os_str() == "HOME"
                || !(REMOVED.iter().any(|removed| text.starts_with(removed))
                    || REMOVED_NAMES.iter().any(|removed| text == *removed)
                    || leads_to_a_job(value))
        };
        let kept = self.settings.environment.iter().filter(is_kept);
        let mut environment: HashMap<OsString, OsString> =
            kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let path = std::env::join_paths(self.search_path()).unwrap_or_default();
        environment.insert("PATH".into(), path);
        environment
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The interpreter in the first line of a script.
fn interpreter(program: &Path) -> std::io::Result<Option<PathBuf>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(program) {
        // A program that may be started but not read is no script.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut head = Vec::new();
    file.take(256).read_to_end(&mut head)?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    Ok(Some(PathBuf::from(OsStr::from_bytes(word))))
}

#[cfg(test)]
mod tests;
