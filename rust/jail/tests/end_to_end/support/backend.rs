//! The backend under test, and what of it is not the launcher's child.

use std::process::Command;

use nix::unistd::Pid;

/// The backend named by `JAIL_TEST_BACKEND`.
pub(crate) fn name() -> Option<String> {
    std::env::var("JAIL_TEST_BACKEND").ok()
}

/// Whether an engine makes the jails.
pub(crate) fn is_container() -> bool {
    engine().is_some()
}

/// Whether the engine is treated as one on another kernel, as `JAIL_TEST_RELAY` says.
pub(crate) fn is_relayed() -> bool {
    std::env::var_os("JAIL_TEST_RELAY").is_some()
}

/// Where the engine is, for the launcher.
pub(super) fn environment() -> Option<(&'static str, String)> {
    std::env::var("DOCKER_HOST").ok().map(|host| ("DOCKER_HOST", host))
}

/// What the engine says to these words.
pub(crate) fn ask(engine: &str, words: &[&str]) -> String {
    let output =
        Command::new(engine).args(words).output().unwrap_or_else(|error| panic!("{engine}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The container of this launcher's job. The engine may list it as starting when the job is at work already.
pub(crate) fn container(engine: &str, launcher: Pid) -> Option<String> {
    let label = format!("label=nix-jail.launcher={launcher}");
    let found = ask(engine, &["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
    found.lines().next().map(str::to_owned)
}

/// Pid 1 of the container of this launcher's job: the engine's child, not the launcher's. Rootless engines put it into
/// no control group of its own, and for a moment tell no process id: but its parent is told whose it is.
pub(super) fn in_container(launcher: Pid) -> Vec<Pid> {
    let Some(container) = engine().and_then(|engine| container(engine, launcher)) else { return Vec::new() };
    let carries = |parent: i32| {
        std::fs::read(format!("/proc/{parent}/cmdline"))
            .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == container.as_bytes()))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw)
        .filter(|pid| parent(*pid).is_some_and(|parent| carries(parent.as_raw())))
        .collect()
}

/// The parent of a process.
pub(super) fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// The engine's program.
pub(crate) fn engine() -> Option<&'static str> {
    match name()?.as_str() {
        "docker" => Some("docker"),
        "podman" => Some("podman"),
        _ => None,
    }
}
