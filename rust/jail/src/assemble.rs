//! From a specification to what the sandbox and the proxy are told.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use policy::Policy;
use sandbox::backend::{JobIds, Reach};
use sandbox::plan::{Access, Entry, Limits, Listen, Network, Plan, Protection};

use crate::failure::Failure;
use crate::operator::Operator;
use crate::resolve::closure::Closure;
use crate::resolve::host::HostTree;
use crate::spec::{Allowance, BindSpec, JailSpec};
use crate::workspace::{self, Guard, Workspace};
use crate::{etc, git, notice, trust};

/// Where the explicit proxy listens.
pub(crate) const PROXY_PORT: u16 = 3128;
/// The transparent ports that are always served.
pub(crate) const WEB_PORTS: [u16; 2] = [443, 80];
/// The DNS port.
pub(crate) const DNS_PORT: u16 = 53;

/// Who a job is to a proxy that asks for a password.
const PROXY_USER: &str = "job";
const HOSTNAME: &str = "jail";
/// The job's own addresses, which its programs reach without the proxy. Few clients know networks (curl and Go do), so the
/// addresses that servers print are there one by one. `[::1]` must not be: httpx cannot be used with it.
const NOT_PROXIED: &str = "localhost,127.0.0.1,::1,.localhost,0.0.0.0,127.0.0.0/8,127.0.0.2,127.0.1.1,jail";
const USER: &str = "agent";
pub(crate) const HOME: &str = "/home/agent";

/// What a jail is made of, beside its specification.
pub(crate) struct Parts<'a> {
    /// The command with its arguments.
    pub(crate) command: Vec<OsString>,
    /// The policy.
    pub(crate) policy: &'a Policy,
    /// Programs of the host.
    pub(crate) programs: HostTree,
    /// What of the Nix store is in it.
    pub(crate) closure: Closure,
    /// The directory the job works in.
    pub(crate) workspace: Option<&'a Workspace>,
    /// The host's directories in the jail, with the files in them that are read-only.
    pub(crate) guard: &'a Guard,
    /// Where changes to an overlay workspace go.
    pub(crate) layer: PathBuf,
    /// The mounts of the home directory and of the imported files.
    pub(crate) home: Vec<Entry>,
    /// The dummies by variable.
    pub(crate) dummies: Vec<(String, String)>,
    /// What git in the jail is told.
    pub(crate) git: Vec<(String, String)>,
    /// What belongs to this job alone: whom it trusts, and its host's time zone.
    pub(crate) own: Vec<Entry>,
    /// The job's id.
    pub(crate) id: &'a str,
    /// Who the job is inside.
    pub(crate) ids: JobIds,
    /// How it reaches its proxy.
    pub(crate) reach: &'a Reach,
}

/// Everything that a backend needs to know.
pub(crate) fn plan(spec: &JailSpec, parts: Parts<'_>, operator: &Operator) -> Result<Plan, Failure> {
    let environment = environment(spec, &parts, operator)?;
    let given = parts.guard.given(parts.workspace);
    let mut tree = parts.programs.entries;
    // Programs of the workspace or of a bound directory come with it.
    let comes_with = |path: &Path| given.iter().any(|given| path != given && path.starts_with(given));
    tree.retain(|entry| !comes_with(entry.target()));
    tree.extend(parts.closure.entries(&tree, operator).map_err(Failure::no_jail)?);
    tree.extend(etc::entries(parts.ids.uid, parts.ids.gid, USER, HOME, HOSTNAME));
    let workspace = parts.workspace.map(|workspace| workspace.path.as_path());
    tree.push(notice::entry(spec, parts.policy, &parts.dummies, workspace));
    tree.extend(parts.own);
    tree.extend(parts.home);
    tree.extend(parts.guard.entries(parts.workspace, &parts.layer));
    let repository = parts.workspace.and_then(Workspace::repository);
    tree.extend(repository.iter().flat_map(|repository| repository.filtered_settings()));
    let mut working_directory = PathBuf::from(HOME);
    if let Some(workspace) = parts.workspace {
        // A job started in a directory beneath its workspace goes on there.
        let here = operator.directory.canonicalize().unwrap_or_default();
        working_directory = if here.starts_with(&workspace.path) { here } else { workspace.path.clone() };
    }
    // Only where a backend can refuse that: elsewhere it would be looked for in vain.
    let absent = if cfg!(target_os = "macos") || cfg!(test) { parts.guard.absent() } else { Vec::new() };
    Ok(Plan {
        job: parts.id.to_owned(),
        command: parts.closure.command(parts.command),
        environment,
        working_directory,
        hostname: HOSTNAME.to_owned(),
        tree,
        absent,
        given,
        durable: parts.guard.durable(parts.workspace),
        network: Network::Own,
        listen: listen(parts.policy, parts.reach),
        limits: limits(spec),
        weakened: spec.hardening.allow.iter().filter_map(|allowance| weakened(*allowance)).collect(),
    })
}

/// The limits of the job's proxy, as far as the specification says them.
pub(crate) fn proxy_limits(spec: &JailSpec) -> proxy::config::Limits {
    let limits = proxy::config::Limits::default();
    let memory = spec.limits.proxy_memory.and_then(|bytes| usize::try_from(bytes.0).ok());
    proxy::config::Limits { memory: memory.unwrap_or(limits.memory), ..limits }
}

/// What the job may use up.
pub(crate) fn limits(spec: &JailSpec) -> Limits {
    Limits {
        memory: spec.limits.memory.map(|bytes| bytes.0),
        pids: spec.limits.pids,
        cpus: spec.limits.cpus,
        timeout: spec.limits.timeout.map(|span| span.0),
        disk: spec.limits.disk.map(|bytes| bytes.0),
    }
}

/// The sockets that are bound inside; a port of the host's loopback is bound already.
pub(crate) fn listen(policy: &Policy, reach: &Reach) -> Listen {
    match reach {
        Reach::Everywhere => {
            let mut tcp = vec![WEB_PORTS[0], WEB_PORTS[1], PROXY_PORT, DNS_PORT];
            let ours = [PROXY_PORT, DNS_PORT];
            tcp.extend(policy.extra_ports().into_iter().filter(|port| !ours.contains(port)));
            Listen { tcp, udp: vec![DNS_PORT] }
        }
        Reach::Port { .. } => Listen::default(),
    }
}

/// Where programs that heed the usual variables find the proxy.
fn proxy_url(reach: &Reach) -> String {
    match reach {
        Reach::Everywhere => format!("http://127.0.0.1:{PROXY_PORT}"),
        Reach::Port { port, secret } => format!("http://{PROXY_USER}:{secret}@127.0.0.1:{port}"),
    }
}

/// The protection of the sandbox itself that an allowance weakens. The others are those of a service's units.
fn weakened(allowance: Allowance) -> Option<Protection> {
    match allowance {
        Allowance::NestedUserNamespaces => Some(Protection::NestedNamespaces),
        Allowance::SetUserIdFiles => Some(Protection::SetIdFiles),
        Allowance::WritableExecutableMemory | Allowance::Scheduling => None,
    }
}

fn environment(
    spec: &JailSpec,
    parts: &Parts<'_>,
    operator: &Operator,
) -> Result<Vec<(OsString, OsString)>, Failure> {
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    let java = parts.programs.java || parts.closure.has_program(Path::new("java"));
    let mut set = |name: &OsStr, value: &OsStr| {
        environment.retain(|(known, _)| known != name);
        environment.push((name.to_owned(), value.to_owned()));
    };
    // First, so that none of what follows is changed by them.
    for (name, value) in parts.closure.variables() {
        set(name.as_ref(), value.as_ref());
    }
    let path =
        std::env::join_paths(parts.closure.path.iter().chain(&parts.programs.path)).unwrap_or_default();
    set("PATH".as_ref(), &path);
    for (name, value) in [
        ("HOME", HOME),
        ("USER", USER),
        ("LOGNAME", USER),
        ("TMPDIR", "/tmp"),
        ("JAIL_JOB", parts.id),
        (notice::VARIABLE, notice::PATH),
    ] {
        set(name.as_ref(), value.as_ref());
    }
    let bash = shell(parts, "bash");
    if let Some(shell) = bash.clone().or_else(|| shell(parts, "sh")) {
        // A prompt that bash expands would be printed as it is by others.
        let prompt = if bash.is_some() { "\\w\\$ " } else { "$ " };
        set("PS1".as_ref(), format!("[jail {}] {prompt}", spec.name).as_ref());
        set("SHELL".as_ref(), shell.as_os_str());
    }
    // Programs that ignore these are captured all the same; those that heed them save a look-up.
    let proxy = proxy_url(parts.reach);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        set(name.as_ref(), proxy.as_ref());
        set(name.to_lowercase().as_ref(), proxy.as_ref());
    }
    for name in ["NO_PROXY", "no_proxy"] {
        set(name.as_ref(), NOT_PROXIED.as_ref());
    }
    for (name, value) in &trust::variables(java) {
        set(name.as_ref(), value.as_ref());
    }
    for (name, value) in &parts.programs.environment {
        set(name, value);
    }
    if parts.own.iter().any(|entry| entry.target() == Path::new(git::identity::SYSTEM_SETTINGS)) {
        set(git::identity::SYSTEM_SETTINGS_VARIABLE.as_ref(), git::identity::SYSTEM_SETTINGS.as_ref());
    }
    for name in &spec.pass_environment {
        if let Some(value) = operator.variable(name) {
            set(name.as_ref(), value);
        }
    }
    for (name, value) in &spec.environment {
        set(name.as_ref(), value.as_ref());
    }
    for (name, dummy) in &parts.dummies {
        set(name.as_ref(), dummy.as_ref());
    }
    add_git(&parts.git, &mut environment)?;
    Ok(environment)
}

/// Where a shell is in the jail.
fn shell(parts: &Parts<'_>, name: &str) -> Option<PathBuf> {
    let of_host = parts.programs.path.iter().map(|directory| directory.join(name));
    // A file of its own, or in a directory of the host that is in the jail at the same path.
    let is_there = |path: &PathBuf| {
        let is_in = |entry: &Entry| matches!(entry, Entry::Bind { .. }) && path.starts_with(entry.target());
        parts.programs.entries.iter().any(|entry| entry.target() == path || (is_in(entry) && path.is_file()))
    };
    let of_closure = parts.closure.path.iter().find(|directory| directory.join(name).is_file());
    of_closure.map(|directory| directory.join(name)).or_else(|| of_host.into_iter().find(is_there))
}

/// Puts what git is told behind what the operator tells it in the same way.
pub(crate) fn add_git(
    configuration: &[(String, String)],
    environment: &mut Vec<(OsString, OsString)>,
) -> Result<(), Failure> {
    if configuration.is_empty() {
        return Ok(());
    }
    let value = |wanted: &str| environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let count = match value("GIT_CONFIG_COUNT").filter(|count| !count.is_empty()) {
        None => 0,
        Some(count) => count.to_str().and_then(|count| count.parse().ok()).ok_or_else(|| {
            Failure::usage("GIT_CONFIG_COUNT of the jail is not a number; correct or remove the variable")
        })?,
    };
    // A prompt would wait for somebody who has no password to type.
    let prompt =
        value("GIT_TERMINAL_PROMPT").is_none().then(|| ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()));
    environment.retain(|(name, _)| name != "GIT_CONFIG_COUNT");
    let variables = git::variables(configuration, count).into_iter().chain(prompt);
    environment.extend(variables.map(|(name, value)| (name.into(), value.into())));
    Ok(())
}

/// Resolves the operator's binds to real paths of the host.
pub(crate) fn binds(
    spec: &JailSpec,
    workspace: Option<&Workspace>,
    operator: &Operator,
) -> Result<Vec<Entry>, Failure> {
    spec.binds.iter().map(|bind| bind_entry(bind, workspace, operator)).collect()
}

fn bind_entry(bind: &BindSpec, workspace: Option<&Workspace>, operator: &Operator) -> Result<Entry, Failure> {
    let named = operator.path(&bind.source);
    let source = workspace::resolve(&named, workspace).map_err(|error| {
        Failure::no_jail(format!(
            "cannot put {} into the jail: {error}; check the path of --bind or --ro-bind",
            named.display()
        ))
    })?;
    let target = bind.target.clone().unwrap_or_else(|| source.clone());
    let own = ["/proc", "/dev", "/etc/ssl", "/etc/resolv.conf", "/etc/hosts"];
    if !target.is_absolute() || target == Path::new("/") || own.iter().any(|own| target.starts_with(own)) {
        return Err(Failure::usage(format!(
            "{} cannot be the place of a bind in the jail; name an absolute path outside {}",
            target.display(),
            own.join(", ")
        )));
    }
    let access = if bind.writable { Access::ReadWrite } else { Access::ReadOnly };
    Ok(Entry::Bind { source, target, access })
}

#[cfg(test)]
#[path = "assemble_seatbelt_tests.rs"]
mod seatbelt_tests;
