//! Scopes: groups that systemd makes for a process of ours, and removes when it is over.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::geteuid;

use super::{is_unified, processes};
use crate::plan::Limits;

/// A systemd that makes scopes for us.
pub(super) struct Manager {
    /// `systemd-run`.
    program: PathBuf,
    /// Where the user's systemd is found; root has the system's.
    runtime_directory: Option<PathBuf>,
}

/// What starts a stage in a scope.
#[derive(Debug)]
pub(in crate::backend::native) struct Scope {
    /// The beginning of the command line; the stage's own follows.
    pub(in crate::backend::native) words: Vec<OsString>,
    /// All of the environment. It becomes the stage's, and its init's inside the jail: not one variable more.
    pub(in crate::backend::native) environment: Vec<(&'static str, OsString)>,
}

/// The systemd that answers to this user.
pub(super) fn manager() -> Option<Manager> {
    if !is_unified() {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&path)
        .map(|directory| directory.join("systemd-run"))
        .find(|program| program.is_absolute() && program.is_file())?;
    let answers = |directory: &Path| {
        let socket = directory.join("systemd/private");
        socket.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    if geteuid().is_root() {
        return answers(Path::new("/run")).then_some(Manager { program, runtime_directory: None });
    }
    // cron, sudo and the like do not say where it is.
    let runtime_directory = std::env::var_os("XDG_RUNTIME_DIR")
        .map_or_else(|| PathBuf::from(format!("/run/user/{}", geteuid())), PathBuf::from);
    answers(&runtime_directory).then_some(Manager { program, runtime_directory: Some(runtime_directory) })
}

impl Manager {
    /// A scope with these limits.
    pub(super) fn scope(self, limits: &Limits) -> Scope {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut words: Vec<OsString> = vec![self.program.into()];
        if self.runtime_directory.is_some() {
            words.push("--user".into());
        }
        let mut word = |text: String| words.push(text.into());
        ["--scope", "--quiet", "--collect"].map(str::to_owned).into_iter().for_each(&mut word);
        word(format!("--unit=nix-jail-{}-{number}", std::process::id()));
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
        word("--".to_owned());
        let environment = self.runtime_directory.map(|directory| ("XDG_RUNTIME_DIR", directory.into()));
        Scope { words, environment: environment.into_iter().collect() }
    }
}

static MADE: AtomicU32 = AtomicU32::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn words(manager: Manager, limits: &Limits) -> Vec<String> {
        let words = manager.scope(limits).words;
        words
            .iter()
            .map(|word| word.to_str().unwrap().to_owned())
            .filter(|word| !word.starts_with("--unit="))
            .collect()
    }

    #[test]
    fn a_scope_carries_every_limit_as_an_argument_of_its_own() {
        let limits = Limits { memory: Some(1 << 20), pids: Some(10), cpus: Some(1.5), timeout: None };
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
                "--property=Delegate=yes",
                "--property=MemoryMax=1048576",
                "--property=MemorySwapMax=0",
                "--property=TasksMax=12",
                "--property=CPUQuota=150%",
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
        let scope = manager.scope(&Limits::default());
        assert_eq!(scope.environment, [("XDG_RUNTIME_DIR", OsString::from("/run/user/1"))]);
    }
}
