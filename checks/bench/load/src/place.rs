//! Where the benchmark works, as whom, and how its commands are made.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

use crate::upstream::SECRET;
use crate::{Fallible, HOST, client};

/// `nobody`: whom root's benchmark runs jails as, because that is how they are meant to be run.
const UNPRIVILEGED: u32 = 65534;
/// The program that is a command in jails.
const PROGRAM: &str = "nix-jail-bench";

/// A directory of the benchmark's own, which run.sh makes and removes.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) jail: PathBuf,
    program: PathBuf,
    is_root: bool,
    secret: String,
}

/// Who runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Ordinary,
    Root,
}

impl Place {
    /// Puts what every user must be able to read into `directory`.
    pub(crate) fn new(directory: &Path, jail: &Path) -> Fallible<Place> {
        let place = Place {
            directory: directory.to_owned(),
            jail: directory.join("jail"),
            program: directory.join(PROGRAM),
            is_root: geteuid().is_root(),
            secret: fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().replace('-', ""),
        };
        fs::copy(jail, &place.jail).map_err(|error| format!("cannot copy {}: {error}", jail.display()))?;
        fs::copy(std::env::current_exe()?, &place.program)?;
        for user in place.users() {
            for directory in [place.home(user), place.workspace(user)] {
                fs::create_dir(&directory)?;
                fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
                if let Some(id) = place.id(user) {
                    chown(&directory, Some(id), Some(id))?;
                }
            }
        }
        Ok(place)
    }

    /// Whom jails can be run as.
    pub(crate) fn users(&self) -> Vec<User> {
        if self.is_root { vec![User::Ordinary, User::Root] } else { vec![User::Ordinary] }
    }

    /// A command of this user, in a directory of the user's with an almost empty environment.
    pub(crate) fn command(&self, user: User, program: impl AsRef<Path>) -> Fallible<Command> {
        let errors = File::options().create(true).append(true).open(self.errors())?;
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.home(user));
        command.env("JAIL_PATH", self.jails()).current_dir(self.workspace(user)).stderr(errors);
        // Where Docker's engine is, if it is not where it usually is.
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        if let Some(id) = self.id(user) {
            command.uid(id).gid(id);
        }
        Ok(command)
    }

    /// `jail run …` up to the options that all jails of the benchmark have.
    pub(crate) fn jail_run(&self, user: User) -> Fallible<Command> {
        let mut command = self.command(user, &self.jail)?;
        command.args(["run", "--quiet"]);
        Ok(command)
    }

    /// `jail run` of something that asks the upstream at `port`; with `credential` it has a token that is not real.
    pub(crate) fn networked(&self, port: u16, program: &Path, credential: bool) -> Fallible<Command> {
        self.networked_of(User::Ordinary, &[], port, program, credential)
    }

    /// The same of this user, with these options too.
    fn networked_of(
        &self,
        user: User,
        options: &[&str],
        port: u16,
        program: &Path,
        credential: bool,
    ) -> Fallible<Command> {
        let mut command = self.jail_run(user)?;
        command.args(options);
        command.args([
            "--allow",
            HOST,
            "--connect-to",
            &format!("{HOST}:443:127.0.0.1:{port}"),
            "--upstream-ca",
        ]);
        command.arg(self.authority()).arg("--host").arg(program);
        if credential {
            command
                .args(["--credential", &format!("{}=env:{SECRET}@{HOST}", client::TOKEN)])
                .env(SECRET, &self.secret);
        }
        command.arg("--");
        Ok(command)
    }

    /// The load client in a jail; `part` is what it is to do.
    pub(crate) fn client_in_jail(&self, part: &str, port: u16, credential: bool) -> Fallible<Command> {
        let mut command = self.networked(port, &self.program, credential)?;
        command.args([PROGRAM, part]);
        Ok(command)
    }

    /// The load client in a jail of this user's, with these options.
    pub(crate) fn client_in_jail_of(&self, user: User, options: &[&str], port: u16) -> Fallible<Command> {
        let mut command = self.networked_of(user, options, port, &self.program, false)?;
        command.args([PROGRAM, "client"]);
        Ok(command)
    }

    /// The load client without a jail.
    pub(crate) fn client_outside(&self, part: &str, port: u16) -> Fallible<Command> {
        let mut command = self.command(User::Ordinary, &self.program)?;
        command.args([part, &format!("127.0.0.1:{port}")]).env("SSL_CERT_FILE", self.authority());
        Ok(command)
    }

    pub(crate) fn upstream(&self) -> Fallible<Command> {
        let mut command = self.command(User::Ordinary, &self.program)?;
        command.arg("upstream").arg(self.home(User::Ordinary)).env(SECRET, &self.secret);
        Ok(command)
    }

    /// The certificate that the upstream's chains to. Clients outside trust only this one, as those in a jail trust
    /// only its own: reading a system's whole bundle costs curl 16 ms, which is not the jail's merit.
    pub(crate) fn authority(&self) -> PathBuf {
        self.home(User::Ordinary).join("ca.pem")
    }

    /// Where specifications of jails are.
    pub(crate) fn jails(&self) -> PathBuf {
        self.directory.join("jails")
    }

    /// What children wrote to standard error.
    pub(crate) fn errors(&self) -> PathBuf {
        self.directory.join("errors.log")
    }

    fn home(&self, user: User) -> PathBuf {
        self.directory.join(format!("home-{user:?}"))
    }

    fn workspace(&self, user: User) -> PathBuf {
        self.directory.join(format!("work-{user:?}"))
    }

    fn id(&self, user: User) -> Option<u32> {
        (self.is_root && user == User::Ordinary).then_some(UNPRIVILEGED)
    }
}
