//! Scopes: groups that systemd makes for a process of ours, and removes when it is over.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::hierarchy::{is_unified, processes};
use crate::host_program;
use crate::plan::Limits;

/// A systemd that makes scopes for us.
#[derive(Debug)]
pub(in crate::backend) struct Manager {
    /// `systemd-run`.
    pub(in crate::backend) program: PathBuf,
    /// Where the user's systemd is found; root has the system's.
    pub(in crate::backend) runtime_directory: Option<PathBuf>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::backend) enum Absent {
    /// Its groups are not ours to use.
    #[error(
        "this host has control groups of version 1; boot with version 2 alone (systemd.unified_cgroup_hierarchy=1 on the kernel's command line)"
    )]
    OldGroups,
    /// Nothing to ask with.
    #[error("there is no systemd-run in the system's directories (/usr/bin and the like); install systemd")]
    Program,
    /// Nobody to ask.
    #[error(
        "no systemd answers to this user; log in to a session of systemd, or as root: loginctl enable-linger USER"
    )]
    Manager,
    /// Root's is the one that runs the host.
    #[error("this host was not booted with systemd")]
    System,
}

/// What starts a stage in a scope.
#[derive(Debug)]
pub(in crate::backend) struct Scope {
    /// The beginning of the command line; the stage's own follows.
    pub(in crate::backend) words: Vec<OsString>,
    /// All of the environment. It becomes the stage's, and its init's inside the jail: not one variable more.
    pub(in crate::backend) environment: Vec<(&'static str, OsString)>,
}

/// The systemd that answers to this user.
pub(in crate::backend) fn manager() -> Result<Manager, Absent> {
    if !is_unified() {
        return Err(Absent::OldGroups);
    }
    let program = host_program::system_program("systemd-run").ok_or(Absent::Program)?;
    let answers = |directory: &Path| {
        let socket = directory.join("systemd/private");
        socket.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    let runtime_directory = runtime_directory();
    match &runtime_directory {
        Some(directory) if !answers(directory) => Err(Absent::Manager),
        None if !answers(Path::new("/run")) => Err(Absent::System),
        _ => Ok(Manager { program, runtime_directory }),
    }
}

/// Where the user's systemd would be found; none for root, who has the system's.
pub(in crate::backend) fn runtime_directory() -> Option<PathBuf> {
    // cron, sudo and the like do not say where it is.
    let said = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    (!geteuid().is_root()).then(|| said().unwrap_or_else(|| format!("/run/user/{}", geteuid()).into()))
}

impl Manager {
    /// A scope of the job's name with these limits; `further` properties as `NAME=VALUE`.
    pub(in crate::backend) fn scope(self, job: &str, limits: &Limits, further: &[String]) -> Scope {
        let mut words: Vec<OsString> = vec![self.program.into()];
        if self.runtime_directory.is_some() {
            words.push("--user".into());
        }
        let mut word = |text: String| words.push(text.into());
        ["--scope", "--quiet", "--collect"].map(str::to_owned).into_iter().for_each(&mut word);
        word(format!("--unit=nix-jail-{job}.scope"));
        // Else systemd ends the whole scope when the kernel kills one process of it for memory. (OOMPolicy= says that
        // more plainly, but only from systemd 253 on.)
        word("--property=Delegate=yes".to_owned());
        if let Some(bytes) = limits.memory {
            word(format!("--property=MemoryMax={bytes}"));
            word("--property=MemorySwapMax=0".to_owned());
        }
        if let Some(pids) = limits.pids {
            word(format!("--property=TasksMax={}", processes(pids)));
        }
        if let Some(cpus) = limits.cpus {
            word(format!("--property=CPUQuota={}%", (cpus * 100.0).max(1.0).round()));
        }
        further.iter().map(|property| format!("--property={property}")).for_each(&mut word);
        word("--".to_owned());
        let environment = self.runtime_directory.map(|directory| ("XDG_RUNTIME_DIR", directory.into()));
        Scope { words, environment: environment.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(manager: Manager, limits: &Limits) -> Vec<String> {
        let words = manager.scope("job-1", limits, &["IOAccounting=yes".to_owned()]).words;
        words.iter().map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_scope_carries_every_limit_as_an_argument_of_its_own() {
        let limits = Limits { memory: Some(1 << 20), pids: Some(10), cpus: Some(1.5), ..Limits::default() };
        let manager =
            Manager { program: "/bin/systemd-run".into(), runtime_directory: Some("/run/user/1".into()) };
        assert_eq!(
            words(manager, &limits),
            [
                "/bin/systemd-run",
                "--user",
                "--scope",
                "--quiet",
                "--collect",
                "--unit=nix-jail-job-1.scope",
                "--property=Delegate=yes",
                "--property=MemoryMax=1048576",
                "--property=MemorySwapMax=0",
                "--property=TasksMax=12",
                "--property=CPUQuota=150%",
                "--property=IOAccounting=yes",
                "--",
            ]
        );
    }

    #[test]
    fn a_scope_of_roots_is_the_systems() {
        let manager = Manager { program: "/bin/systemd-run".into(), runtime_directory: None };
        assert!(!words(manager, &Limits::default()).contains(&"--user".to_owned()));
    }

    #[test]
    fn the_stage_gets_no_variable_but_the_one_that_finds_systemd() {
        let manager =
            Manager { program: "/bin/systemd-run".into(), runtime_directory: Some("/run/user/1".into()) };
        let scope = manager.scope("job-1", &Limits::default(), &[]);
        assert_eq!(scope.environment, [("XDG_RUNTIME_DIR", OsString::from("/run/user/1"))]);
    }
}
