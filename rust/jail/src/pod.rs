//! What runs in the containers of an exported jail: `jail __pod …`, by the manifest that `jail export-oci` writes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use nix::sys::signal::{SigSet, Signal};
use policy::Policy;
use proxy::ca::JobCa;
use proxy::config::{Config, Mode, Proxies, Trust, Upstream};
use sandbox::backend::Reach;
use sandbox::plan::Entry;
use serde::{Deserialize, Serialize};

use crate::assemble::{self, PROXY_PORT};
use crate::credentials;
use crate::descriptors;
use crate::failure::Failure;
use crate::git;
use crate::operator::Operator;
use crate::report::Recorder;
use crate::run;
use crate::secrets::dummy::Dummies;
use crate::spec::JailSpec;
use crate::trust;

/// This program, in both images.
pub(crate) const PROGRAM: &str = "/nix-jail/jail";
/// What the proxy enforces, in its image.
pub(crate) const SPEC: &str = "/nix-jail/jail.json";
/// What the proxy tells the job: certificates and dummies, nothing secret.
pub(crate) const SHARED: &str = "/run/nix-jail";
/// What the job is told; the last file that the proxy writes before it serves.
const TOLD: &str = "/run/nix-jail/job.json";
/// The users of the containers: in the pod's one network, they are what tells job and proxy apart.
pub(crate) const JOB_USER: u32 = 10_001;
pub(crate) const PROXY_USER: u32 = 10_002;

/// What the job is told. Nothing of it is secret.
#[derive(Serialize, Deserialize)]
struct Told {
    /// The dummies by variable.
    dummies: BTreeMap<String, String>,
    /// What git is told, keys and values.
    git: Vec<(String, String)>,
}

/// What a container of the pod does.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Walls off the pod's network, and ends.
    Wall,
    /// Is the proxy.
    Proxy,
    /// Says by its exit code whether the proxy serves.
    Ready,
    /// Becomes the job's command.
    Job {
        /// The command.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Is that container.
pub(crate) fn pod(role: Role, operator: &Operator) -> Result<ExitCode, Failure> {
    match role {
        Role::Wall => wall(),
        Role::Proxy => serve(operator),
        Role::Ready => Ok(if Path::new(TOLD).exists() { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Role::Job { command } => job(&command),
    }
}

fn wall() -> Result<ExitCode, Failure> {
    let (_, policy) = load()?;
    sandbox::pod::wall_off(PROXY_USER, &assemble::listen(&policy, &Reach::Everywhere))
        .map_err(Failure::no_jail)?;
    Ok(ExitCode::SUCCESS)
}

fn serve(operator: &Operator) -> Result<ExitCode, Failure> {
    run::close_memory()?;
    // Before the first thread: they inherit it, and the signal is this one's to wait for.
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.add(Signal::SIGINT);
    end.thread_block().map_err(|os| Failure::no_jail(format!("cannot block signals: {os}")))?;

    let (spec, policy) = load()?;
    // A file of a secret is as its volume has it; that it is mounted nowhere else is the manifest's doing.
    let insecure_files = true;
    let found = credentials::read(&spec, &policy, insecure_files, operator)?;
    let policy = policy.without_credentials(|name| !found.iter().any(|found| found.name() == name));
    let credentials = credentials::prepare(found, &policy, insecure_files, Dummies::OfJob, operator)?;
    let told = Told {
        dummies: credentials::dummies(&spec, &credentials).into_iter().collect(),
        git: git::configuration(&credentials, &policy),
    };
    let told = serde_json::to_vec(&told).map_err(Failure::no_jail)?;
    let ca = JobCa::generate().map_err(Failure::no_jail)?;
    share_trust(&ca, &policy)?;
    let listeners =
        sandbox::pod::bind(&assemble::listen(&policy, &Reach::Everywhere)).map_err(Failure::no_jail)?;
    let proxy = proxy::serve(
        run::listeners(listeners, &Reach::Everywhere),
        Config {
            policy,
            mode: Mode::Enforce,
            credentials,
            upstream: Upstream {
                connect_to: Vec::new(),
                trust: Trust::System { extra: Vec::new() },
                proxy: Proxies::default(),
            },
            limits: descriptors::fitting(assemble::proxy_limits(&spec)),
            ca,
            password: None,
            audit: Arc::new(Recorder::new(standard_output()?, u64::MAX, false)),
        },
    )
    .map_err(Failure::no_jail)?;
    share(Path::new(TOLD), &told)?;
    end.wait().map_err(|os| Failure::no_jail(format!("cannot wait for a signal: {os}")))?;
    proxy.shutdown(run::GRACE);
    Ok(ExitCode::SUCCESS)
}

fn job(command: &[OsString]) -> Result<ExitCode, Failure> {
    let unreadable = |error: String| {
        Failure::no_jail(format!("cannot read {TOLD}: {error}; the proxy's container must be up first"))
    };
    let text = fs::read(TOLD).map_err(|error| unreadable(error.to_string()))?;
    let told: Told = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !told.dummies.keys().any(|dummy| name == dummy.as_str()))
        .collect();
    environment.extend(told.dummies.into_iter().map(|(name, dummy)| (name.into(), dummy.into())));
    assemble::add_git(&told.git, &mut environment)?;
    sandbox::pod::exec(command, &environment, PROXY_PORT).map_err(Failure::no_jail)
}

fn load() -> Result<(JailSpec, Policy), Failure> {
    let spec = JailSpec::load(Path::new(SPEC)).map_err(Failure::no_jail)?;
    let policy = Policy::new(spec.rules.clone()).map_err(Failure::no_jail)?;
    Ok((spec, policy))
}

fn share_trust(ca: &JobCa, policy: &Policy) -> Result<(), Failure> {
    let files =
        trust::files(ca.certificate_pem(), trust::sees_real_servers(policy)).map_err(Failure::no_jail)?;
    for entry in &files {
        // The links to them are in the job's image.
        if let Entry::File { target, contents, .. } = entry {
            share(&Path::new(SHARED).join(target.file_name().unwrap_or_default()), contents)?;
        }
    }
    Ok(())
}

/// Writes a file that the job reads, as a whole.
fn share(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, contents)
        .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(0o444)))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| {
            Failure::no_jail(format!(
                "cannot write {}: {error}; it must be a volume that the proxy's user {PROXY_USER} may write to",
                path.display()
            ))
        })
}

/// Where a cluster collects what a container has to say.
fn standard_output() -> Result<File, Failure> {
    io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|error| Failure::no_jail(format!("cannot write to standard output: {error}")))
}
