//! `jail run`: from flags to the command's exit code.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use policy::{Action, Policy, Rule};
use proxy::ca::JobCa;
use proxy::config::{Config, Listeners, Mode};
use sandbox::backend::{Backend, Ended, Exhausted, Reach};
use sandbox::plan::Entry;
use secrecy::SecretString;
use serde::Serialize;

use crate::assemble::{self, DNS_PORT, PROXY_PORT, Parts};
use crate::backend;
use crate::cli::{JailArgs, RunArgs};
use crate::console;
use crate::credentials;
use crate::descriptors;
use crate::failure::{Failure, NO_JAIL, NOT_FOUND, USED_UP};
use crate::gateway;
use crate::git;
use crate::homes::{Homes, JobHome, Values};
use crate::job::{self, JobDirectory, Record};
use crate::learn::PolicyFile;
use crate::operator::Operator;
use crate::project;
use crate::report::{LARGEST_AUDIT, Recorder, Summary};
use crate::resolve;
use crate::resolve::closure::Closure;
use crate::resolve::host::{self, HostTree, SHELL, SYSTEM};
use crate::rule_sets;
use crate::rules;
use crate::spec::{self, Allowance, BindSpec, JailSpec, ProjectRules, in_home};
use crate::unreported;
use crate::way_out;
use crate::workspace::{self, Changes, Guard, Repository, Workspace, provenance};
use crate::written;
use crate::{etc, trust};

/// How long requests under way may take to end after the job's command has ended.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// Runs the command in a jail; the exit code is the command's own.
pub(crate) fn run(arguments: RunArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    close_memory()?;
    let (mut spec, policy, command) = compose(&arguments, operator)?;
    if arguments.print_units {
        return backend::print_units(&spec);
    }
    let learning = arguments.learn.is_some();
    if learning && !credentials::used(&spec, &policy).is_empty() && !arguments.learn_with_credentials {
        return Err(Failure::usage(
            "--learn allows everything, so credentials would not be protected; leave them out, or say --learn-with-credentials",
        ));
    }
    backend::tidy();
    let mut workspace = workspace(&spec, &arguments, operator)?;
    // `--quiet` prints no report of an earlier job: the next start without it does.
    let owed = if arguments.quiet { Vec::new() } else { unreported::collect(operator) };
    let repository = workspace.as_mut().and_then(|workspace| workspace.find_repository(operator));
    for (name, value) in workspace.iter().flat_map(Workspace::variables_for_git) {
        spec.environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let operator = &with_writable(operator, &spec, workspace.as_ref());
    let cannot_learn = |error| {
        let file = arguments.learn.as_deref().unwrap_or(Path::new("")).display();
        Failure::no_jail(format!("cannot write the learnt policy to {file}: {error}"))
    };
    let learn =
        arguments.learn.as_ref().map(|file| PolicyFile::find(&operator.path(file), workspace.as_ref()));
    let learn = learn.transpose().map_err(cannot_learn)?;
    unreported::tell(&owed);
    let binds = assemble::binds(&spec, workspace.as_ref(), operator)?;
    let guard = Guard::new(workspace.as_ref(), binds, operator).map_err(Failure::no_jail)?;
    if !arguments.quiet {
        repository.iter().for_each(|notice| console::report(notice));
        guard.notices().iter().for_each(|notice| console::report(notice));
    }
    let backend = backend::choose(spec.backend, arguments.container_relay, workspace.as_ref(), operator)?;
    let reach = backend.reach();
    let programs = host::programs(&spec.programs, &spec.toolchains, operator).map_err(Failure::no_jail)?;
    if !arguments.quiet {
        tell_left_out(&programs, &guard);
    }
    let closure = resolve::closure(&spec, &arguments.store, workspace.as_ref(), operator)?;
    check_command(&command, &programs, &closure)?;
    let upstream = way_out::upstream(&spec, &arguments, operator)?;
    // Secrets are read before anything of the jail exists: a missing one means that there is no job.
    let found = credentials::read(&spec, &policy, arguments.jail.insecure_file, operator)?;
    check_named(&arguments.jail, |name| found.iter().any(|found| found.name() == name))?;
    let policy = policy.without_credentials(|name| !found.iter().any(|found| found.name() == name));
    let home = home(&spec, workspace.as_ref(), arguments.quiet, operator)?;
    let credentials =
        credentials::prepare(found, &policy, arguments.jail.insecure_file, home.dummies(), operator)?;
    let dummies = credentials::dummies(&spec, &credentials);
    let values =
        Values { dummies: &dummies, workspace: workspace.as_ref().map(|workspace| workspace.path.as_path()) };
    let furnished = home.furnish(&spec.home, Path::new(assemble::HOME), values, operator)?;
    if !arguments.quiet {
        furnished.notices.iter().for_each(|notice| console::report(notice));
    }
    let ca = JobCa::generate().map_err(Failure::no_jail)?;
    let mut own = own_files(ca.certificate_pem(), &policy)?;
    let git_directory = workspace.as_ref().map_or_else(PathBuf::new, Workspace::git_directory);
    own.extend(git::identity::settings_file(&git_directory, operator));
    let mut git = git::configuration(&credentials, &policy);
    let repository = workspace.as_ref().and_then(Workspace::repository);
    git.extend(repository.iter().flat_map(|repository| repository.configuration()));
    let directory = JobDirectory::create(&operator.state(), &spec.name).map_err(Failure::no_jail)?;
    let plan = assemble::plan(
        &spec,
        Parts {
            command: command.clone(),
            policy: &policy,
            programs,
            closure,
            workspace: workspace.as_ref(),
            guard: &guard,
            layer: layer(&directory, workspace.as_ref())?,
            home: furnished.entries,
            dummies,
            git,
            own,
            id: &directory.id,
            ids: backend.job_ids(),
            reach: &reach,
        },
        operator,
    )
    .inspect_err(|_| directory.discard())?;
    let audit = directory.create_audit().map_err(Failure::no_jail)?;
    let recorder = Arc::new(Recorder::new(audit, LARGEST_AUDIT, learning));
    let mut record = record(&directory, &spec, &command, workspace.as_ref());
    directory.write(&record).map_err(Failure::no_jail)?;
    let config = Config {
        policy,
        mode: if learning { Mode::Learn } else { Mode::Enforce },
        credentials,
        upstream,
        limits: assemble::proxy_limits(&spec),
        ca,
        audit: recorder.clone(),
        password: match &reach {
            Reach::Everywhere => None,
            Reach::Port { secret, .. } => Some(SecretString::from(secret.as_str())),
        },
    };

    if spec.limits.io.is_some() && !arguments.quiet {
        console::report("the limit on the disk is not enforced: a jail's own units enforce it (jail units)");
    }
    written::remember(operator).map_err(|error| {
        Failure::no_jail(format!(
            "cannot record what the job can write: {error}; look at {}",
            operator.state().join("written").display()
        ))
    })?;
    unreported::owe(&directory.id, &guard.baseline(), operator).map_err(|error| {
        Failure::no_jail(format!(
            "cannot keep what the job is compared with at its end: {error}; is the disk full?"
        ))
    })?;
    let ended = jailed(&*backend, &reach, &plan, config, arguments.quiet);
    directory.remove_overlay_work();

    let code = ended.as_ref().map_or_else(|failure| failure.code, |ended| conclude(*ended));
    let changes = guard.changes(operator);
    // Before anything that can fail: a job may have brought that about, to hide what it has made.
    if ended.is_ok() || !changes.is_empty() {
        let earlier = owed.iter().filter(|owed| owed.baseline.workspace() == guard.workspace());
        let all: Vec<&Changes> = [&changes].into_iter().chain(earlier.map(|owed| &owed.changes)).collect();
        report(&arguments, &directory, &recorder.summary(), code, &changes, &all, workspace.as_ref());
    }
    let remembered = provenance::remember(&changes, guard.workspace(), operator);
    if let Err(error) = &remembered {
        console::report(&format!(
            "cannot record which pointers of git the job has made: {error}; the next start tries again"
        ));
    }
    // What the terminal did not take is told by the next command.
    if remembered.is_ok() && (changes.is_empty() || !sandbox::is_terminal_given_up()) {
        unreported::settle(&directory.id, operator);
    }
    record.ended = Some(job::now());
    record.code = Some(code);
    // The job has run: its exit code and what was learnt do not depend on its record.
    if let Err(error) = directory.write(&record) {
        console::report(&format!("the job's record is not complete: {error}"));
    }
    let learnt = match (&learn, recorder.learnt()) {
        (Some(place), Some(learnt)) => place.write(&learnt.policy()).map_err(|error| {
            keep_learnt(&directory, &learnt.policy());
            cannot_learn(error)
        }),
        _ => Ok(()),
    };
    ended?;
    learnt?;
    Ok(ExitCode::from(code))
}

/// Says what of the host's programs is not in the jail, unless it is there as a bind.
pub(crate) fn tell_left_out(programs: &HostTree, guard: &Guard) {
    let is_bound = |path: &Path| guard.sources().any(|source| path.starts_with(source));
    let left_out = programs.left_out.iter().filter(|left| !is_bound(&left.path));
    left_out.for_each(|left| console::report(&left.message));
}

/// Keeps a learnt policy that cannot be written where the operator wanted it: the job may have taken hours.
fn keep_learnt(directory: &JobDirectory, policy: &str) {
    let path = directory.path("learnt.policy");
    match std::fs::write(&path, policy) {
        Ok(()) => console::report(&format!("the learnt policy is in {}", path.display())),
        Err(_) => policy.lines().for_each(|line| console::report(&console::escape_control_chars(line))),
    }
}

/// The job's own CA in the places where programs look, and the host's time zone.
pub(crate) fn own_files(certificate: &str, policy: &Policy) -> Result<Vec<Entry>, Failure> {
    let mut files = trust::files(certificate, trust::sees_real_servers(policy)).map_err(Failure::no_jail)?;
    files.extend(etc::time_zone());
    Ok(files)
}

/// No other process of this user may look into this one, and no core file may be made of it: it will hold secrets.
pub(crate) fn close_memory() -> Result<(), Failure> {
    use nix::sys::resource::{Resource, setrlimit};
    // Linux starts a core handler at a limit of 0, but not at 1. Where the operator's hard limit is 0 it stays so.
    const CORE_BYTES: u64 = if cfg!(target_os = "linux") { 1 } else { 0 };
    let closed = setrlimit(Resource::RLIMIT_CORE, CORE_BYTES, CORE_BYTES)
        .or_else(|_| setrlimit(Resource::RLIMIT_CORE, 0, 0));
    #[cfg(target_os = "linux")]
    let closed = closed.and_then(|()| nix::sys::prctl::set_dumpable(false));
    closed.map_err(|error| {
        Failure::no_jail(format!("cannot close this process to others, which would expose secrets: {error}"))
    })
}

/// The jail of NAME with the flags on top, its policy, and the whole command.
pub(crate) fn compose(
    arguments: &RunArgs,
    operator: &Operator,
) -> Result<(JailSpec, Policy, Vec<OsString>), Failure> {
    if !arguments.misplaced.is_empty() {
        return Err(misplaced(arguments, operator));
    }
    let directory = match &arguments.workspace {
        Some(none) if none == Path::new("none") => None,
        Some(directory) => Some(operator.path(directory)),
        None => Some(operator.directory.clone()),
    };
    let (mut spec, policy, notices) =
        with_jail_arguments(arguments.name.as_deref(), &arguments.jail, directory.as_deref(), operator)?;
    if !arguments.quiet {
        notices.iter().for_each(|notice| console::report(notice));
    }
    if arguments.minimal {
        spec.programs.iter_mut().filter(|name| *name == SYSTEM).for_each(|name| *name = SHELL.to_owned());
    }
    spec.programs.extend(arguments.host.iter().cloned());
    spec.toolchains.extend(&arguments.toolchain);
    if arguments.nested_sandbox && !spec.hardening.allow.contains(&Allowance::NestedUserNamespaces) {
        spec.hardening.allow.push(Allowance::NestedUserNamespaces);
    }
    for (texts, writable) in [(&arguments.bind, true), (&arguments.ro_bind, false)] {
        spec.binds.extend(texts.iter().map(|text| bind(text, writable)));
    }
    for assignment in &arguments.environment {
        let (name, value) = assignment.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--env {assignment}: write NAME=VALUE, or --pass-env {assignment} to take it over"
            ))
        })?;
        spec.environment.insert(name.to_owned(), value.to_owned());
    }
    spec.pass_environment.extend(arguments.pass_environment.iter().cloned());
    spec.workspace_mode = arguments.workspace_mode.unwrap_or(spec.workspace_mode);
    spec.home.kind = arguments.home.unwrap_or(spec.home.kind);
    spec.home.import.extend(arguments.import.iter().map(|path| in_home(path)));
    spec.backend = arguments.backend.unwrap_or(spec.backend);
    spec.limits.memory = arguments.memory.or(spec.limits.memory);
    spec.limits.cpus = arguments.cpus.or(spec.limits.cpus);
    spec.limits.pids = arguments.pids.or(spec.limits.pids);
    spec.limits.timeout = arguments.timeout.or(spec.limits.timeout);
    spec.limits.disk = arguments.disk.or(spec.limits.disk);
    spec.limits.proxy_memory = arguments.proxy_memory.or(spec.limits.proxy_memory);
    spec.validate().map_err(Failure::usage)?;

    let mut command: Vec<OsString> = spec.command.iter().map(OsString::from).collect();
    if replaces_shell(&spec.command, &arguments.words, operator) {
        command.clear();
    }
    command.extend(arguments.words.iter().cloned());
    if command.is_empty() {
        return Err(Failure::usage(
            "there is no command to run; add one: jail run --host curl -- curl https://example.com",
        ));
    }
    Ok((spec, policy, command))
}

/// Returns true if the words after `--` are a command of their own: the jail's command is a shell, and the first word is
/// neither an option of it nor a script that is there.
fn replaces_shell(command: &[String], words: &[OsString], operator: &Operator) -> bool {
    const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "fish", "ksh"];
    let ([shell], Some(first)) = (command, words.first()) else { return false };
    let is_shell = Path::new(shell).file_name().is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
    let is_option = first.as_encoded_bytes().starts_with(b"-");
    is_shell && !is_option && !operator.path(Path::new(first)).is_file()
}

/// What to type where words of a command stand before `--`.
fn misplaced(arguments: &RunArgs, operator: &Operator) -> Failure {
    let misplaced = shell_words::join(arguments.misplaced.iter().map(|word| word.to_string_lossy()));
    let name = arguments.name.as_deref().unwrap_or_default();
    let directories = spec::directories(operator.variable("JAIL_PATH"), Some(&operator.config_home()));
    Failure::usage(match JailSpec::find(name, &directories) {
        Ok(_) => {
            format!("what the command gets stands after --; type: jail run {name} [OPTIONS] -- {misplaced}")
        }
        Err(_) => format!(
            "there is no jail {name:?}, and a command stands after --; to run this host's {name} in a jail, type: jail run [OPTIONS] --host {name} -- {name} {misplaced}"
        ),
    })
}

/// Finds the jail NAME, which may be the path of a file, and adds the project file of `directory`. Returns a sentence about
/// that file, if there is one.
pub(crate) fn named_jail(
    name: &str,
    directory: &Path,
    operator: &Operator,
) -> Result<(JailSpec, Option<String>), Failure> {
    let directories = spec::directories(operator.variable("JAIL_PATH"), Some(&operator.config_home()));
    let find = |name: &str| JailSpec::find(name, &directories);
    if project::is_path(name) {
        return Ok((project::load(Path::new(name), directory, find, operator)?, None));
    }
    let spec = find(name).map_err(Failure::no_jail)?;
    Ok(project::extend(spec, name, directory, operator)?)
}

/// The jail of NAME with the credentials of the flags, and its policy with the rules of the flags on top; also what
/// `jail explain` asks about. `directory` is the workspace. Returns sentences about the project file
/// and the gateway in use, too.
pub(crate) fn with_jail_arguments(
    name: Option<&str>,
    arguments: &JailArgs,
    directory: Option<&Path>,
    operator: &Operator,
) -> Result<(JailSpec, Policy, Vec<String>), Failure> {
    let (mut spec, project) = match (name, directory) {
        (Some(name), Some(directory)) => named_jail(name, directory, operator)?,
        (Some(name), None) => {
            let directories =
                spec::directories(operator.variable("JAIL_PATH"), Some(&operator.config_home()));
            (JailSpec::find(name, &directories).map_err(Failure::no_jail)?, None)
        }
        (None, _) => (JailSpec::empty(), None),
    };
    let gateway = if arguments.no_gateway { None } else { gateway::choose(&mut spec, operator)? };
    let notices: Vec<String> = project.into_iter().chain(gateway).collect();
    // The first rule that matches decides: what is said now comes before what was said in files.
    let mut flags = Vec::new();
    for (action, flag, kind, texts) in [
        (Action::Deny, "--deny", "", &arguments.deny),
        // Before the others: behind a rule that lets every push through it would limit nothing.
        (Action::Allow, "--git", "git ", &arguments.git),
        (Action::Allow, "--allow", "", &arguments.allow),
    ] {
        for text in texts {
            rule_sets::add(&mut flags, action, &format!("{kind}{text}"))
                .map_err(|error| Failure::usage(format!("{flag} {text}: {error}")))?;
        }
    }
    let mut layers = vec![flags];
    for file in &arguments.policy {
        let layer = rules::load(&operator.path(file)).map_err(Failure::usage)?;
        Policy::new(layer.clone()).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
        layers.push(layer);
    }
    let ProjectRules { denied, allowed } = spec.project_rules.clone();
    layers.extend([denied, spec.rules.clone(), allowed]);
    let policy = Policy::layered(layers).map_err(Failure::usage)?;
    credentials::add(&mut spec, &arguments.credential).map_err(Failure::usage)?;
    credentials::inject(&mut spec, &arguments.inject).map_err(Failure::usage)?;
    credentials::check_names(&spec, &policy).map_err(Failure::usage)?;
    Ok((spec, policy, notices))
}

/// An optional credential that is missing takes the rules of its jail with it; one that is asked for now does not.
fn check_named(arguments: &JailArgs, is_found: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let rules =
        arguments.git.iter().filter_map(|text| Rule::parse(Action::Allow, &format!("git {text}")).ok());
    match rules.filter_map(|rule| rule.credential().map(str::to_owned)).find(|name| !is_found(name)) {
        Some(name) => Err(Failure::no_jail(format!(
            "--git asks for credential {name}, which is in none of its places; add --credential '{name}=SOURCE@HOST'"
        ))),
        None => Ok(()),
    }
}

fn bind(text: &str, writable: bool) -> BindSpec {
    // The target is absolute, so the last `:/` parts the two; a `:` elsewhere belongs to a name.
    let (source, target) = match text.rfind(":/") {
        Some(position) if position > 0 => (&text[..position], Some(PathBuf::from(&text[position + 1..]))),
        _ => (text, None),
    };
    BindSpec { source: source.into(), target, writable }
}

fn workspace(
    spec: &JailSpec,
    arguments: &RunArgs,
    operator: &Operator,
) -> Result<Option<Workspace>, Failure> {
    let directory = match &arguments.workspace {
        Some(none) if none == Path::new("none") => return Ok(None),
        Some(directory) => directory.as_path(),
        None => Path::new(""),
    };
    // What is enforced, and who is trusted, would else be the job's to say, for the next one.
    let enforced = arguments.jail.policy.iter().chain(&arguments.upstream_ca).chain(&spec.upstream.ca);
    let mut protect = spec.protect.clone();
    protect.extend(enforced.map(|file| operator.path(file)));
    Workspace::open(directory, spec.workspace_mode, &protect, arguments.workspace_any, operator)
        .map(Some)
        .map_err(Failure::no_jail)
}

/// The operator, with the directories that jobs can write: the workspace in every mode, since an earlier job may have
/// had another one, and the sources of writable binds.
pub(crate) fn with_writable(operator: &Operator, spec: &JailSpec, workspace: Option<&Workspace>) -> Operator {
    let binds = spec.binds.iter().filter(|bind| bind.writable).map(|bind| operator.path(&bind.source));
    let repository = workspace.and_then(Workspace::repository).and_then(Repository::writable);
    let own = workspace.map(|workspace| workspace.path.clone()).into_iter();
    operator.with_writable(own.chain(repository.map(Path::to_owned)).chain(binds))
}

/// A program that is not in the jail is better named here, with the cure, than by a shell inside.
pub(crate) fn check_command(
    command: &[OsString],
    programs: &HostTree,
    closure: &Closure,
) -> Result<(), Failure> {
    let program = Path::new(&command[0]);
    let is_path = program.components().count() > 1 || program.is_absolute();
    // A hook may put more programs on the path.
    if is_path || closure.hook.is_some() || closure.has_program(program) || programs.has_program(program) {
        return Ok(());
    }
    Err(Failure {
        code: NOT_FOUND,
        message: format!(
            "{0} is not in the jail; put this host's in with --host {0}, or a package that has it with -p PACKAGE",
            program.display()
        ),
    })
}

fn layer(directory: &JobDirectory, workspace: Option<&Workspace>) -> Result<PathBuf, Failure> {
    match workspace {
        Some(workspace) if workspace.is_overlay() => directory
            .create_directory("workspace")
            .and_then(|path| job::real_path(&path))
            .map_err(Failure::no_jail),
        _ => Ok(PathBuf::new()),
    }
}

/// Opens the home of the jail in this workspace. It is the job's until it is dropped.
fn home(
    spec: &JailSpec,
    workspace: Option<&Workspace>,
    quiet: bool,
    operator: &Operator,
) -> Result<JobHome, Failure> {
    let (name, homes) = (&spec.name, Homes::of(operator));
    let workspace = workspace.map(|workspace| workspace.path.as_path());
    let home = JobHome::open(&spec.home, &homes, name, workspace).map_err(Failure::no_jail)?;
    if let JobHome::Kept(kept) = &home
        && kept.is_new
        && !quiet
        && let Some(former) = homes.former(name)
    {
        console::report(&format!(
            "{name} has a home of its own in each workspace now; the former home, which jobs of all workspaces have written to, is in no jail any more ({}). To use it in one workspace, type there: jail home reset {name}; jail home adopt {name}. To remove it: jail home reset {name} --former",
            former.display()
        ));
    }
    Ok(home)
}

fn record(
    directory: &JobDirectory,
    spec: &JailSpec,
    command: &[OsString],
    workspace: Option<&Workspace>,
) -> Record {
    let pid = std::process::id();
    Record {
        id: directory.id.clone(),
        name: spec.name.clone(),
        command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        workspace: workspace.map(|workspace| workspace.path.clone()),
        backend: backend::actual(spec.backend),
        pid,
        started_ticks: job::started_ticks(pid),
        started: job::now(),
        ended: None,
        code: None,
    }
}

/// The job itself: jail, proxy, command, in this order. The types let nothing of the job run before its proxy serves.
fn jailed(
    backend: &dyn Backend,
    reach: &Reach,
    plan: &sandbox::plan::Plan,
    config: Config,
    quiet: bool,
) -> Result<Ended, Failure> {
    let mut prepared = backend.prepare(plan).map_err(Failure::no_jail)?;
    if !quiet {
        for notice in prepared.notices() {
            console::report(notice);
        }
    }
    sandbox::keep_freed_memory();
    let config = Config { limits: descriptors::fitting(config.limits), ..config };
    let proxy =
        proxy::serve(listeners(prepared.take_listeners(), reach), config).map_err(Failure::no_jail)?;
    tell_systemd();
    let ended = prepared.run().map_err(Failure::no_jail);
    proxy.shutdown(GRACE);
    ended
}

/// As a service of `Type=notify` a job has started when its proxy serves. Without systemd there is nobody to tell.
#[cfg(target_os = "linux")]
fn tell_systemd() {
    use libsystemd::daemon::{NotifyState, notify};
    if let Err(error) = notify(false, &[NotifyState::Ready]) {
        tracing::debug!(%error, "systemd was not told that the job has started");
    }
}

#[cfg(not(target_os = "linux"))]
fn tell_systemd() {}

pub(crate) fn listeners(bound: sandbox::backend::Listeners, reach: &Reach) -> Listeners {
    let mut listeners = Listeners::default();
    if let Reach::Port { .. } = reach {
        listeners.explicit = bound.tcp.into_iter().map(|(_, listener)| listener).next();
        return listeners;
    }
    for (port, listener) in bound.tcp {
        match port {
            PROXY_PORT => listeners.explicit = Some(listener),
            DNS_PORT => listeners.dns_tcp = Some(listener),
            _ => listeners.transparent.push((port, listener)),
        }
    }
    listeners.dns_udp = bound.udp.into_iter().find(|(port, _)| *port == DNS_PORT).map(|(_, socket)| socket);
    listeners
}

/// What the job's end is to who waits for it. An end that nothing else shows is said.
pub(crate) fn conclude(ended: Ended) -> u8 {
    match ended {
        Ended::DiskUsedUp(Exhausted::Space) => console::report(
            "the job was ended: its disk has less free space by more than limits.disk; see what it wrote, or give it more",
        ),
        Ended::DiskUsedUp(Exhausted::Inodes) => console::report(
            "the job was ended: its disk has fewer free inodes by more than limits.disk allows (one per 4096 bytes, and a quarter of the free ones at most); see which files it made, or give it more",
        ),
        _ => {}
    }
    match ended {
        Ended::Code(code) => code,
        Ended::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)),
        Ended::TimedOut | Ended::DiskUsedUp(_) => USED_UP,
        Ended::CutOff => NO_JAIL,
    }
}

/// What happened, on standard error: for people, or with `--json` as one line for programs.
fn report(
    arguments: &RunArgs,
    directory: &JobDirectory,
    summary: &Summary,
    code: u8,
    changes: &Changes,
    all: &[&Changes],
    workspace: Option<&Workspace>,
) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Report<'a> {
        job: &'a str,
        audit: PathBuf,
        code: u8,
        #[serde(flatten)]
        summary: &'a Summary,
        changed_files_that_run_later: Vec<Cow<'a, str>>,
        new_default_acls: Vec<Cow<'a, str>>,
    }
    if !arguments.quiet {
        tell_changes(workspace, changes);
        if workspace.is_some_and(Workspace::is_overlay) {
            console::report(&format!(
                "changes to the workspace are in {}",
                directory.path("workspace").display()
            ));
        }
        if !arguments.json {
            summary.lines(&directory.id).iter().for_each(|line| console::report(line));
        }
    }
    if arguments.json {
        let names = |paths: fn(&Changes) -> &Vec<PathBuf>| {
            let paths: BTreeSet<&PathBuf> = all.iter().flat_map(|changes| paths(changes)).collect();
            paths.into_iter().map(|path| path.to_string_lossy()).collect()
        };
        let report = Report {
            job: &directory.id,
            audit: directory.audit(),
            code,
            summary,
            changed_files_that_run_later: names(|changes| &changes.files),
            new_default_acls: names(|changes| &changes.default_acls),
        };
        match serde_json::to_string(&report) {
            Ok(line) => console::print_error_line(&console::escape_control_chars(&line)),
            Err(error) => console::report(&format!("the summary cannot be written as JSON: {error}")),
        }
    }
}

/// Prints which files that run later the job has made or changed, and what else matters to the host later. Their names
/// can be the job's, too.
pub(crate) fn tell_changes(workspace: Option<&Workspace>, changes: &Changes) {
    tell_changes_in(workspace.map(|workspace| workspace.path.as_path()), changes);
}

/// The same of a workspace by its path.
pub(crate) fn tell_changes_in(workspace: Option<&Path>, changes: &Changes) {
    tell_each(
        workspace,
        &changes.files,
        "was made or changed while the job ran and can run on this host later; look at it before you go on",
    );
    tell_each(
        workspace,
        &changes.default_acls,
        "has got a default access control list while the job ran: files that you make in it later may be open to others; remove it with setfacl -R -k",
    );
}

fn tell_each(workspace: Option<&Path>, paths: &[PathBuf], what: &str) {
    const SHOWN: usize = 64;
    for path in paths.iter().take(SHOWN) {
        let place = workspace.map_or_else(|| path.clone(), |workspace| workspace.join(path));
        console::report(&format!("{} {what}", workspace::shown(&place)));
    }
    if let Some(more) = paths.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        console::report(&format!(
            "{more} more such files were made or changed while the job ran; --json names all of them"
        ));
    }
}
