//! The one command that makes the job's container.

use std::ffi::OsString;
use std::path::Path;

use super::Identified;
use super::engine::{Kind, Rights};
use super::job_dir::{ContainerDir, container_name, text};
use super::layout::{Layout, Mount};
use super::program::{DIRECTORY, Program};
use crate::backend::{ContainerError, Error};
use crate::plan::{Access, Plan};
use crate::stage::job::DEFAULT_PROCESSES;

/// What pid 1 needs to set up the network and to become the job's user; it drops all of them before the job starts.
const CAPABILITIES: [&str; 6] = ["NET_ADMIN", "NET_BIND_SERVICE", "SETUID", "SETGID", "SETPCAP", "CHOWN"];

/// Measured, `docker run` of `true` with read-only binds: none 191 ms, 200 215 ms, 800 372 ms, 1000 379 ms, 2000 552 ms
/// (20.10; 374 kB of command line, of the 2 MB that a kernel takes). Closures have 50 to 800 paths. More has not been tried,
/// and is refused.
const MOST_BINDS: usize = 2000;

/// The words after the engine's program.
pub(super) fn run(
    who: &Identified,
    plan: &Plan,
    layout: &Layout,
    place: &ContainerDir,
    program: &Program,
    image: &str,
) -> Result<Vec<OsString>, Error> {
    let mut words = Words::default();
    let binds = layout.mounts.iter().filter(|mount| matches!(mount, Mount::Bind { .. })).count();
    if binds > MOST_BINDS {
        return Err(ContainerError::TooMany { count: binds }.into());
    }
    words.add(["run", "--rm", "--pull", "never", "--log-driver", "none"]);
    if who.relay.is_some() {
        // The far end's way to us.
        words.add(["--interactive"]);
        words.pair("--add-host", format!("{}:127.0.0.1", plan.hostname));
        if who.engine.kind == Kind::Docker {
            // Whichever server is asked for names, our responder is who answers; docker warns of one on loopback, and
            // podman writes none where there is no network.
            words.add(["--dns", "44.128.0.1", "--dns-search", "."]);
        }
    }
    words.pair("--name", container_name(&plan.job));
    words.pair("--label", format!("nix-jail.job={}", plan.job));
    words.pair("--label", format!("nix-jail.launcher={}", std::process::id()));
    // Nothing but loopback, and no namespace of the host's.
    words.add(["--network", "none", "--ipc", "private", "--cgroupns", "private"]);
    if Path::new("/proc/sys/net/ipv6").exists() {
        // Engines switch it off where there is no network; inside, `::1` is as usual.
        words.add(["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"]);
    }
    // As in a network namespace that nobody has changed: these the engine opens.
    words.add([
        "--sysctl",
        "net.ipv4.ping_group_range=1 0",
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=1024",
    ]);
    words.pair("--hostname", plan.hostname.clone());
    words.add(["--user", "0:0", "--cap-drop", "ALL"]);
    for capability in CAPABILITIES {
        words.add(["--cap-add", capability]);
    }
    words.add(["--security-opt", "no-new-privileges"]);
    // Pid 1 applies the filter of the native backend to itself and the job; the engine's own, with one answer for
    // everything, would take from the job what the native one lets it do.
    words.add(["--security-opt", "seccomp=unconfined"]);
    // Else SELinux would have the operator's files relabelled, for good.
    words.add(["--security-opt", "label=disable"]);
    match (who.engine.kind, who.rights) {
        (Kind::Podman, Rights::KeepsIds) => words.add(["--userns", "keep-id"]),
        // Against an engine that remaps users: to it the workspace would be nobody's.
        (Kind::Docker, Rights::Root) => words.add(["--userns", "host"]),
        _ => {}
    }
    limits(&mut words, plan, who.engine.kind);
    words.add(["--read-only", "--workdir", "/"]);
    // The host's hardware and kernel settings are none of the job's business.
    words.add(["--tmpfs", "/sys:ro,mode=0555,size=4k"]);
    for mount in &layout.mounts {
        words.mount(mount, who, place)?;
    }
    if who.relay.is_none() {
        words.bind(&place.entry(), Path::new(DIRECTORY), Access::ReadOnly)?;
        for (file, name) in &program.files {
            words.bind(file, &Path::new(DIRECTORY).join(name), Access::ReadOnly)?;
        }
    }
    words.add([image]);
    words.0.extend(program.words.iter().cloned());
    Ok(words.0)
}

fn limits(words: &mut Words, plan: &Plan, kind: Kind) {
    words.pair("--pids-limit", plan.limits.pids.unwrap_or(DEFAULT_PROCESSES).to_string());
    if let Some(memory) = plan.limits.memory {
        words.pair("--memory", memory.to_string());
        words.pair("--memory-swap", memory.to_string());
    }
    if let Some(cpus) = plan.limits.cpus {
        words.pair("--cpus", cpus.to_string());
    }
    // As the stage does it: the job is the first to go when memory runs out.
    words.add(["--oom-score-adj", "300"]);
    // The operator's, not the engine's.
    let files = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    if let Ok((soft, hard)) = files {
        words.pair("--ulimit", format!("nofile={soft}:{hard}"));
    }
    // At 0 a core handler of the host would run all the same (core(5)).
    words.add(["--ulimit", "core=1:1"]);
    if kind == Kind::Podman {
        // Its own default is more than a container without privileges may set.
        words.pair("--ulimit", format!("nproc={DEFAULT_PROCESSES}:{DEFAULT_PROCESSES}"));
    }
}

#[derive(Default)]
struct Words(Vec<OsString>);

impl Words {
    fn add<const COUNT: usize>(&mut self, words: [&str; COUNT]) {
        self.0.extend(words.map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: String) {
        self.0.extend([OsString::from(option), value.into()]);
    }

    fn mount(&mut self, mount: &Mount, who: &Identified, place: &ContainerDir) -> Result<(), Error> {
        match mount {
            Mount::Bind { source, target, access } => self.bind(source, target, *access),
            Mount::Own { path, target } => self.bind(&place.own(path), target, Access::ReadOnly),
            Mount::Scratch { target, mode, options } => {
                // Podman knows no bound on the number of files.
                let known =
                    |option: &&str| who.engine.kind == Kind::Docker || !option.starts_with("nr_inodes=");
                let options: Vec<&str> = options.split(',').filter(known).collect();
                self.pair(
                    "--tmpfs",
                    format!("{}:exec,nosuid,nodev,mode={mode:04o},{}", text(target)?, options.join(",")),
                );
                Ok(())
            }
            Mount::Overlay { lower, upper, target } => {
                let work = upper.parent().unwrap_or(Path::new("/")).join("work");
                self.overlay(layer(lower)?, layer(upper)?, layer(&work)?, layer(target)?, who.engine.kind);
                Ok(())
            }
        }
    }

    fn bind(&mut self, source: &Path, target: &Path, access: Access) -> Result<(), Error> {
        let read_only = if access == Access::ReadOnly { ",readonly" } else { "" };
        self.pair("--mount", format!("type=bind,src={},dst={}{read_only}", text(source)?, text(target)?));
        Ok(())
    }

    /// A volume without a name goes with its container.
    fn overlay(&mut self, lower: &str, upper: &str, work: &str, target: &str, kind: Kind) {
        match kind {
            Kind::Docker => self.pair(
                "--mount",
                format!(
                    "type=volume,dst={target},volume-driver=local,volume-opt=type=overlay,volume-opt=device=overlay,\"volume-opt=o=lowerdir={lower},upperdir={upper},workdir={work}\""
                ),
            ),
            Kind::Podman => self.pair("--volume", format!("{lower}:{target}:O,upperdir={upper},workdir={work}")),
        }
    }
}

/// As the options of an overlay take it: after a colon there would be another layer.
fn layer(path: &Path) -> Result<&str, Error> {
    let text = text(path)?;
    if text.contains([':', '\\']) {
        Err(ContainerError::Path { path: path.to_owned() }.into())
    } else {
        Ok(text)
    }
}
