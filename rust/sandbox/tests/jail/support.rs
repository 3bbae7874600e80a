//! Jails as sentences: `Jail::of(user).rw(dir).run(["sh", "-c", "…"]).prints("…")`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Once, OnceLock};

use tempfile::TempDir;

/// Who starts a jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Ordinary,
    Root,
}

/// Everybody whom this test run can be.
pub(crate) fn users() -> Vec<User> {
    as_started_from_a_shell();
    if nix::unistd::geteuid().is_root() { vec![User::Ordinary, User::Root] } else { vec![User::Ordinary] }
}

/// Whoever started the tests may ignore signals (nohup) or hide its files; what the tests start does not.
fn as_started_from_a_shell() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
        let inherited = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2];
        sandbox::restore_ignored_signals(&inherited).unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    });
}

/// An ordinary user's ids, if root has to become one.
pub(crate) const ORDINARY: u32 = 54321;

impl User {
    /// A command run as this user.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        if self == User::Root || !nix::unistd::geteuid().is_root() {
            return Command::new(program);
        }
        let id = ORDINARY.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
        command
    }

    /// A directory of this user's.
    pub(crate) fn directory(self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        if self == User::Ordinary && nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
        directory
    }
}

/// The launcher, at a place where every user may run it.
pub(crate) fn launcher() -> &'static Path {
    static LAUNCHER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LAUNCHER.get_or_init(|| {
        let tests = std::env::current_exe().unwrap();
        let built = tests.ancestors().nth(2).unwrap().join("examples/run");
        assert!(built.exists(), "{built:?} is missing: `cargo build --example run` (`cargo test` does it)");
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("run");
        fs::copy(built, &path).unwrap();
        // The mask of whoever built it may have closed it to others.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    });
    path
}

/// A jail to be, with the host's /usr in it.
pub(crate) struct Jail {
    user: User,
    words: Vec<OsString>,
    wrapper: Vec<OsString>,
}

impl Jail {
    pub(crate) fn of(user: User) -> Jail {
        let mut jail = Jail { user, words: Vec::new(), wrapper: Vec::new() }
            .word("env:PATH=/usr/local/bin:/usr/bin:/bin")
            .word("ro:/usr");
        for name in ["bin", "lib", "lib64"] {
            let path = Path::new("/").join(name);
            jail = match fs::read_link(&path) {
                Ok(_) => jail.word(format!("link:/{name}:usr/{name}")),
                Err(_) if path.exists() => jail.word(format!("ro:/{name}")),
                Err(_) => jail,
            };
        }
        jail
    }

    /// One word of the launcher's.
    pub(crate) fn word(mut self, word: impl Into<OsString>) -> Jail {
        self.words.push(word.into());
        self
    }

    pub(crate) fn ro(self, path: &Path) -> Jail {
        self.word(format!("ro:{}", path.display()))
    }

    pub(crate) fn rw(self, path: &Path) -> Jail {
        self.word(format!("rw:{}", path.display()))
    }

    /// The launcher is started by this command.
    pub(crate) fn wrapped<const N: usize>(mut self, wrapper: [&str; N]) -> Jail {
        self.wrapper = wrapper.map(OsString::from).into();
        self
    }

    /// The launcher's command line.
    pub(crate) fn command<const N: usize>(&self, command: [&str; N]) -> Command {
        let mut line = self.wrapper.clone();
        line.push(launcher().into());
        let mut launcher = self.user.command(line.remove(0));
        launcher.args(line).args(&self.words).arg("--").args(command).stdin(Stdio::null());
        launcher
    }

    pub(crate) fn run<const N: usize>(&self, command: [&str; N]) -> Ran {
        let output = self.command(command).output().unwrap();
        Ran { user: self.user, output }
    }

    pub(crate) fn sh(&self, script: &str) -> Ran {
        self.run(["sh", "-c", script])
    }

    pub(crate) fn python(&self, script: &str) -> Ran {
        self.run(["/usr/bin/python3", "-c", script])
    }
}

/// What came of it.
pub(crate) struct Ran {
    user: User,
    output: Output,
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).trim_end().to_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "as {:?}\nstdout: {}\nstderr: {}",
            self.user,
            self.stdout(),
            self.stderr()
        );
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Ran {
        assert_eq!(self.stdout(), text, "as {:?}\nstderr: {}", self.user, self.stderr());
        self
    }

    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Ran {
        assert!(self.stderr().contains(text), "as {:?}: {text:?} is not in {:?}", self.user, self.stderr());
        self
    }
}
