//! The person (or script) who runs `jail`: environment, directories, identity. Read once, passed as a value.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sandbox::host_program::{HostPrograms, Settings};

/// Who runs `jail`, and where.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    /// The environment.
    pub(crate) environment: HashMap<OsString, OsString>,
    /// The current directory.
    pub(crate) directory: PathBuf,
    /// The home directory.
    pub(crate) home: PathBuf,
    /// The effective user id.
    pub(crate) uid: u32,
    /// The directories that jobs can write, without links: nothing in them is started or obeyed on the host.
    pub(crate) writable: Vec<PathBuf>,
}

/// Why it is not known who runs `jail`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    /// No current directory.
    #[error("cannot tell the current directory: {0}; change to a directory that exists")]
    Directory(#[source] std::io::Error),
    /// No home directory.
    #[error("HOME is not set to an absolute path; set it")]
    Home,
}

impl Operator {
    /// Whoever runs this process.
    pub(crate) fn current() -> Result<Operator, OperatorError> {
        let environment: HashMap<OsString, OsString> = std::env::vars_os().collect();
        let directory = std::env::current_dir().map_err(OperatorError::Directory)?;
        let home = environment
            .get(OsStr::new("HOME"))
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .ok_or(OperatorError::Home)?;
        let uid = nix::unistd::geteuid().as_raw();
        let operator = Operator { environment, directory, home, uid, writable: Vec::new() };
        // The default workspace, as long as the real one is not known.
        let here = operator.directory.clone();
        let holds_home = operator.home.starts_with(&here);
        Ok(operator.with_writable((!holds_home).then_some(here)))
    }

    /// The same operator, when jobs can write `directories` beside their persistent homes.
    pub(crate) fn with_writable(&self, directories: impl IntoIterator<Item = PathBuf>) -> Operator {
        let places = directories.into_iter().map(|path| path.canonicalize().unwrap_or(path));
        let writable = places.chain([self.homes()]).collect();
        Operator { writable, ..self.clone() }
    }

    /// The directory of the persistent homes, without links.
    pub(crate) fn homes(&self) -> PathBuf {
        let homes = self.state().join("homes");
        homes.canonicalize().unwrap_or(homes)
    }

    /// The programs of the host that may be started for this operator.
    pub(crate) fn programs(&self) -> HostPrograms {
        HostPrograms::new(Settings {
            environment: self.environment.clone(),
            directory: self.directory.clone(),
            home: self.home.clone(),
            writable: self.writable.clone(),
        })
    }

    /// A variable's value.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Where the operator's settings are.
    pub(crate) fn config_home(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// Where jobs leave their records and persistent homes.
    pub(crate) fn state(&self) -> PathBuf {
        self.xdg("XDG_STATE_HOME", ".local/state").join("nix-jail")
    }

    /// Where what can be found out again is kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.xdg("XDG_CACHE_HOME", ".cache").join("nix-jail")
    }

    /// Where this user's jobs meet while they run.
    pub(crate) fn runtime(&self) -> PathBuf {
        // A job of cron or sudo has no variable; the directory is the same.
        let usual = PathBuf::from(format!("/run/user/{}", self.uid));
        self.variable("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            // su leaves the variable as it was: what lies there is another user's to make.
            .filter(|path| path.is_absolute() && path.metadata().map_or(true, |it| it.uid() == self.uid))
            .or_else(|| usual.is_dir().then_some(usual))
            .map_or_else(|| self.state(), |path| path.join("nix-jail"))
    }

    /// An absolute path; relative ones start at the current directory, `~/` at the home directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("~") {
            Ok(rest) => self.home.join(rest),
            Err(_) => self.directory.join(path),
        }
    }

    // The XDG base directory specification: a relative value is ignored.
    fn xdg(&self, variable: &str, fallback: &str) -> PathBuf {
        self.variable(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| self.home.join(fallback))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_directory_is_not_another_user_s() {
        let directory = tempfile::tempdir().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let runtime = |uid| {
            let environment = HashMap::from([("XDG_RUNTIME_DIR".into(), directory.path().into())]);
            let (directory, home) = ("/".into(), "/nonexistent".into());
            Operator { environment, directory, home, uid, writable: Vec::new() }.runtime()
        };
        assert_eq!(runtime(own), directory.path().join("nix-jail"));
        // As after su, which leaves the variable as it was.
        assert!(!runtime(own + 1).starts_with(directory.path()));
    }
}
