//! `jail run …`, put together piece by piece.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Ended, Running, Server, Terminal, backend, find};

/// A jail, and the operator who will start it: home, settings, project directory, environment.
pub(crate) struct Jail {
    /// Shared with the jobs: it stays as long as one of them runs.
    place: Arc<TempDir>,
    name: Option<String>,
    options: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    secrets: Vec<String>,
    input: Vec<u8>,
    json: bool,
    brings_program: bool,
    directory: PathBuf,
    wrapper: Vec<OsString>,
}

impl Jail {
    /// A jail with nothing in it.
    pub(crate) fn new() -> Jail {
        as_started_from_a_shell();
        let place = tempfile::Builder::new().prefix("jail-test-").tempdir().unwrap();
        // Others may pass through: a job that root starts runs as another user.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["home", "state", "config/nix-jail", "runtime", "project"] {
            fs::create_dir_all(place.path().join(directory)).unwrap();
        }
        fs::set_permissions(place.path().join("runtime"), fs::Permissions::from_mode(0o700)).unwrap();
        if let (false, Some(runtime), Some(_)) =
            (is_root(), std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("JAIL_TEST_BACKEND"))
        {
            // The user's systemd is where the user's own runtime directory is.
            symlink(Path::new(&runtime).join("systemd"), place.path().join("runtime/systemd")).unwrap();
        }
        let directory = place.path().join("project");
        Jail {
            place: Arc::new(place),
            name: None,
            options: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            input: Vec::new(),
            json: true,
            brings_program: true,
            directory,
            wrapper: Vec::new(),
        }
    }

    /// The jail NAME, with `specification` as its file in the operator's settings.
    pub(crate) fn named(name: &str, specification: serde_json::Value) -> Jail {
        let jail = Jail::new();
        fs::write(jail.place.path().join(format!("config/nix-jail/{name}.json")), specification.to_string())
            .unwrap();
        jail.ready_made(name)
    }

    /// The jail NAME, as it is.
    pub(crate) fn ready_made(mut self, name: &str) -> Jail {
        self.name = Some(name.to_owned());
        self.brings_program = false;
        self
    }

    /// `--allow RULE`.
    pub(crate) fn allow(self, rule: &str) -> Jail {
        self.options(["--allow", rule])
    }

    /// `--deny RULE`.
    pub(crate) fn deny(self, rule: &str) -> Jail {
        self.options(["--deny", rule])
    }

    /// `--host PROGRAM`, the distribution's own where there are several; sets like `@shell` as they are.
    pub(crate) fn host(self, program: &str) -> Jail {
        let path = find(program).unwrap_or_else(|| PathBuf::from(program));
        self.options([OsString::from("--host"), path.into()])
    }

    /// `--credential VAR=SOURCE@HOSTS`.
    pub(crate) fn credential(self, credential: &str) -> Jail {
        self.options(["--credential", credential])
    }

    /// Any other options of `jail run`.
    pub(crate) fn options(mut self, options: impl IntoIterator<Item = impl Into<OsString>>) -> Jail {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// The way to a server: `--connect-to` for each of its hosts, `--upstream-ca` if it speaks TLS.
    pub(crate) fn upstream(mut self, server: &Server) -> Jail {
        for host in server.hosts() {
            let to = format!("{host}:{}:{}", server.port(), server.address());
            self = self.options(["--connect-to", &to]);
        }
        self.trust(server)
    }

    /// `--upstream-ca` alone.
    pub(crate) fn trust(self, server: &Server) -> Jail {
        let Some(pem) = server.ca_pem() else { return self };
        let file = self.place.path().join(format!("ca-{}.pem", server.address().port()));
        fs::write(&file, pem).unwrap();
        self.options([OsString::from("--upstream-ca"), file.into()])
    }

    /// A variable of the operator's environment.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Jail {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// A variable that holds a secret: the end of each job is searched for it.
    pub(crate) fn secret(self, name: &str, value: &str) -> Jail {
        self.variable(name, value).guards(value)
    }

    /// A secret that is elsewhere (a file, a command's output): the end of each job is searched for it.
    pub(crate) fn guards(mut self, value: &str) -> Jail {
        self.secrets.push(value.to_owned());
        self
    }

    /// A file in the project directory.
    pub(crate) fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Jail {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// What the job reads on standard input; without it there is none.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Jail {
        self.input = bytes.into();
        self
    }

    /// Without `--json`: the end is told to people.
    pub(crate) fn for_people(mut self) -> Jail {
        self.json = false;
        self
    }

    /// Started from another directory than the project.
    pub(crate) fn from(mut self, directory: &Path) -> Jail {
        self.directory = directory.to_owned();
        self
    }

    /// Started by this command, which gets the launcher's command line as its last arguments.
    pub(crate) fn under(mut self, wrapper: impl IntoIterator<Item = impl Into<OsString>>) -> Jail {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Without `--host` for the command itself.
    pub(crate) fn without_program(mut self) -> Jail {
        self.brings_program = false;
        self
    }

    /// The workspace.
    pub(crate) fn project(&self) -> PathBuf {
        self.place.path().join("project")
    }

    /// The operator's home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// What `jail` keeps.
    pub(crate) fn state(&self) -> PathBuf {
        self.place.path().join("state/nix-jail")
    }

    /// The directory of everything; a place for files beside the project.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// Keeps that directory.
    pub(crate) fn keep(&self) -> Arc<TempDir> {
        self.place.clone()
    }

    /// The secrets that must not get inside.
    pub(crate) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Runs a command to its end. Its program is put into the jail, unless the jail has a name.
    #[track_caller]
    pub(crate) fn run(&self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Ended {
        self.start(command).ends()
    }

    /// Runs a shell script to its end, with the usual small tools.
    #[track_caller]
    pub(crate) fn script(&self, text: &str) -> Ended {
        self.start_script(text).ends()
    }

    /// Starts a command.
    #[track_caller]
    pub(crate) fn start(&self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Running {
        let words: Vec<OsString> = command.into_iter().map(Into::into).collect();
        Running::start(self.command(&words), self, &self.input)
    }

    /// Starts a shell script, with the usual small tools.
    #[track_caller]
    pub(crate) fn start_script(&self, text: &str) -> Running {
        self.start(["sh", "-c", text])
    }

    /// Starts a command in a terminal of its own.
    #[track_caller]
    pub(crate) fn start_in_terminal(
        &self,
        command: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Terminal {
        let words: Vec<OsString> = command.into_iter().map(Into::into).collect();
        Terminal::start(&self.command(&words), self)
    }

    /// Starts a shell of the host in a terminal, outside of any jail, as this operator; its prompt is `outside$ `.
    #[track_caller]
    pub(crate) fn start_shell_in_terminal(&self) -> Terminal {
        let jail = self.operator();
        let mut shell = Command::new(find("bash").expect("bash"));
        shell.args(["--norc", "--noprofile", "--noediting", "-i"]).current_dir(&self.directory).env_clear();
        shell.envs(jail.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PS1", "outside$ ");
        Terminal::start(&shell, self)
    }

    /// `jail` itself with these arguments, as this operator; nothing is added.
    #[track_caller]
    pub(crate) fn itself(&self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Ended {
        self.start_itself(arguments).ends()
    }

    /// The same, not awaited.
    #[track_caller]
    pub(crate) fn start_itself(&self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Running {
        let mut command = self.operator();
        command.args(arguments.into_iter().map(Into::into));
        Running::start(command, self, &self.input)
    }

    /// The whole command line for these words.
    pub(crate) fn command(&self, words: &[OsString]) -> Command {
        let mut command = self.operator();
        if is_root() && backend::is_container() {
            // Root's own files are never given to a container's job: the project is somebody's.
            give_away(&self.project());
        }
        command.arg("run");
        if let Some(backend) = backend::name() {
            command.arg("--backend").arg(backend);
            command.args(backend::is_relayed().then_some("--container-relay"));
        }
        command.args(&self.name).args(&self.options);
        if self.json {
            command.arg("--json");
        }
        if let Some(program) = words.first().filter(|_| self.brings_program) {
            let set = (program == "sh").then_some("@shell");
            for host in set.map(OsString::from).into_iter().chain([path_of(program)]) {
                command.arg("--host").arg(host);
            }
        }
        command.arg("--").args(words);
        command
    }

    /// The bare `jail`, with the operator's environment and nothing of the test's own.
    fn operator(&self) -> Command {
        let jail = std::env::var_os("JAIL_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_jail").into());
        let mut command = Command::new(self.wrapper.first().unwrap_or(&jail));
        if let [_, arguments @ ..] = self.wrapper.as_slice() {
            command.args(arguments).arg(jail);
        }
        command
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", self.home())
            .env("XDG_STATE_HOME", self.place.path().join("state"))
            .env("XDG_CONFIG_HOME", self.place.path().join("config"))
            .env("XDG_RUNTIME_DIR", self.place.path().join("runtime"))
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(backend::environment());
        command
    }
}

/// Gives this process, and so what it starts, the signal actions and the file mode mask that a shell gives: a suite that
/// is started by `nohup`, by `&` in a script or under another mask tests the same.
fn as_started_from_a_shell() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
        let inherited = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2];
        sandbox::restore_ignored_signals(&inherited).unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    });
}

/// Whether this run of the suite is root's.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Gives a tree to the user as whom root's native jobs see themselves.
fn give_away(path: &Path) {
    const SOMEBODY: u32 = 1000;
    std::os::unix::fs::lchown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

fn path_of(program: &OsStr) -> OsString {
    program
        .to_str()
        .filter(|name| !name.contains('/'))
        .and_then(find)
        .map_or_else(|| program.to_owned(), Into::into)
}
