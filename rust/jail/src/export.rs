//! `jail export-oci`: a jail as two images and the manifest of a pod, for clusters.

mod layer;
mod layout;
mod manifest;
mod secrets;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sandbox::backend::{JobIds, Reach};
use sandbox::plan::{Access, Entry, Plan};

use crate::assemble::{self, Parts};
use crate::cli::{ExportArgs, JailArgs, RunArgs};
use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::pod::{JOB_USER, PROGRAM, PROXY_USER, SHARED, SPEC};
use crate::resolve;
use crate::resolve::closure::Store;
use crate::resolve::host::{self, is_static};
use crate::run;
use crate::spec::{Home, JailSpec};
use crate::workspace::Guard;
use crate::{etc, trust};
use layer::Tree;
use layout::{Image, Layout, Written};
use manifest::Pod;

/// Where the job works: a volume of the pod.
const WORKSPACE: &str = "/workspace";

/// Writes the images and the manifest.
pub(crate) fn export(arguments: ExportArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let output =
        operator.path(&arguments.output.clone().unwrap_or_else(|| format!("{}-oci", arguments.name).into()));
    let program = arguments.program.clone();
    let mut roots = trust::system_bundle().map_err(Failure::no_jail)?;
    for file in &arguments.upstream_ca {
        roots.push_str(&trust::bundle(&operator.path(file)).map_err(Failure::no_jail)?);
    }
    let repository = arguments.repository.clone();
    let arguments = RunArgs {
        name: Some(arguments.name),
        // Nor does the environment of whoever makes it choose the way to the model.
        jail: JailArgs { no_gateway: true, ..arguments.jail },
        store: arguments.store,
        host: arguments.host,
        environment: arguments.environment,
        words: arguments.words,
        // An image is no place for all of a host's `/usr`.
        minimal: true,
        ..RunArgs::default()
    };
    let (mut spec, policy, command) = run::compose(&arguments, operator)?;
    refuse_binds(&spec)?;
    // An image is for many to read: what its maker's environment holds, secrets perhaps, is none of it.
    let passed = std::mem::take(&mut spec.pass_environment);
    let secrets = secrets::of_a_cluster(&mut spec).map_err(Failure::usage)?;
    let programs = host::programs(&spec.programs, &spec.toolchains, operator).map_err(Failure::no_jail)?;
    let closure = resolve::closure(&spec, &arguments.store, None, operator)?;
    run::check_command(&command, &programs, &closure)?;
    let plan = assemble::plan(
        &spec,
        Parts {
            command,
            policy: &policy,
            programs,
            closure,
            workspace: None,
            guard: &Guard::new(None, Vec::new(), operator).map_err(Failure::no_jail)?,
            layer: PathBuf::new(),
            home: vec![Entry::Directory { target: assemble::HOME.into(), writable: true }],
            dummies: Vec::new(),
            git: Vec::new(),
            own: trust::links(Path::new(SHARED)),
            id: &spec.name,
            ids: JobIds { uid: JOB_USER, gid: JOB_USER },
            reach: &Reach::Everywhere,
        },
        operator,
    )?;
    spec.rules = policy.rules().to_vec();

    let program = static_program(program.as_deref(), operator)?;
    let layout = Layout::create(&output.join("oci"))?;
    let ours = layout.layer(&Tree::of(&[own_program(&program)])?)?;
    let job = job_image(&layout, &spec.name, &plan, &ours, operator)?;
    let proxy = proxy_image(&layout, &spec, &roots, &ours)?;
    layout.finish(&[&job, &proxy])?;
    let pod = Pod {
        spec: &spec,
        plan: &plan,
        secrets: &secrets,
        job: &job,
        proxy: &proxy,
        repository: &repository,
    };
    let manifest = output.join("pod.json");
    fs::write(&manifest, pod.json()?)
        .map_err(|error| Failure::no_jail(format!("cannot write {}: {error}", manifest.display())))?;
    notices(&spec, &passed).iter().for_each(|notice| console::print_error_line(&format!("jail: {notice}")));
    console::print(&next_steps(&output, &pod))?;
    Ok(ExitCode::SUCCESS)
}

/// The program that runs in the pod, where there is no C library for it.
fn static_program(named: Option<&Path>, operator: &Operator) -> Result<PathBuf, Failure> {
    let path = match named {
        Some(path) => operator.path(path),
        None => std::env::current_exe()
            .map_err(|error| Failure::no_jail(format!("cannot tell which program this is: {error}")))?,
    };
    let looked = File::open(&path).and_then(|file| is_static(&file));
    match looked {
        Ok(true) => Ok(path),
        Ok(false) => Err(Failure::no_jail(format!(
            "{} is not a static program, and images have nothing to run another with; build the static one \
             (`nix build .#nix-jail-static`, or as nix/docs/getting-started.md says), and run that or name it with --program",
            path.display()
        ))),
        Err(error) => Err(Failure::no_jail(format!("cannot read {}: {error}", path.display()))),
    }
}

/// A node of the cluster has none of this host's files.
fn refuse_binds(spec: &JailSpec) -> Result<(), Failure> {
    match spec.binds.first() {
        None => Ok(()),
        Some(bind) => Err(Failure::usage(format!(
            "the jail {} has {} of this host in it, which no image can hold and no node of a cluster has; take it out \
             of the jail, and add a volume to the written pod.json where the job needs one",
            spec.name,
            bind.source.display()
        ))),
    }
}

fn own_program(path: &Path) -> Entry {
    Entry::Bind { source: path.to_owned(), target: PROGRAM.into(), access: Access::ReadOnly }
}

/// The store in a layer of its own: it is what changes least.
fn job_image(
    layout: &Layout,
    name: &str,
    plan: &Plan,
    ours: &layout::Layer,
    operator: &Operator,
) -> Result<Written, Failure> {
    let store = Store::of(operator);
    let (closure, rest): (Vec<Entry>, Vec<Entry>) =
        plan.tree.iter().cloned().partition(|entry| store.path_of(entry.target()).is_some());
    let rest: Vec<Entry> =
        rest.into_iter().chain([directory(SHARED), directory(WORKSPACE), directory("/tmp")]).collect();
    let mut layers = Vec::new();
    if !closure.is_empty() {
        layers.push(layout.layer(&Tree::of(&closure)?)?);
    }
    layers.push(layout.layer(&Tree::of(&rest)?)?);
    layers.push(ours.clone());
    let mut entrypoint: Vec<String> = [PROGRAM, "__pod", "job", "--"].map(str::to_owned).to_vec();
    entrypoint.extend(words(&plan.command)?);
    layout.image(&Image {
        name: name.to_owned(),
        layers,
        entrypoint,
        environment: plan
            .environment
            .iter()
            .map(|(name, value)| Ok((word(name)?, word(value)?)))
            .collect::<Result<_, Failure>>()?,
        directory: WORKSPACE.to_owned(),
        user: JOB_USER,
    })
}

/// The proxy, what it enforces, and whom it trusts.
fn proxy_image(
    layout: &Layout,
    spec: &JailSpec,
    roots: &str,
    ours: &layout::Layer,
) -> Result<Written, Failure> {
    // Of the job's own there is nothing in it.
    let enforced = JailSpec {
        rules: spec.rules.clone(),
        credentials: spec.credentials.clone(),
        name: spec.name.clone(),
        environment: BTreeMap::new(),
        pass_environment: Vec::new(),
        ..JailSpec::empty()
    };
    let file = |target: &str, contents: Vec<u8>| Entry::File { target: target.into(), contents, mode: 0o444 };
    let mut tree = etc::entries(PROXY_USER, PROXY_USER, "proxy", "/", "proxy");
    tree.push(file(SPEC, serde_json::to_vec_pretty(&enforced).map_err(Failure::no_jail)?));
    tree.push(file(trust::BUNDLE, roots.as_bytes().to_vec()));
    tree.push(directory(SHARED));
    layout.image(&Image {
        name: format!("{}-proxy", spec.name),
        layers: vec![layout.layer(&Tree::of(&tree)?)?, ours.clone()],
        entrypoint: [PROGRAM, "__pod", "proxy"].map(str::to_owned).to_vec(),
        environment: vec![("HOME".to_owned(), "/".to_owned())],
        directory: "/".to_owned(),
        user: PROXY_USER,
    })
}

fn directory(target: &str) -> Entry {
    Entry::Directory { target: target.into(), writable: false }
}

fn words(command: &[OsString]) -> Result<Vec<String>, Failure> {
    command.iter().map(word).collect()
}

fn word(word: &OsString) -> Result<String, Failure> {
    word.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "{} is not text in UTF-8, which images are described in",
            word.to_string_lossy()
        ))
    })
}

/// What of the jail becomes something else in a cluster.
fn notices(spec: &JailSpec, passed: &[String]) -> Vec<String> {
    let mut notices = Vec::new();
    let usual = JailSpec::empty().pass_environment;
    let passed: Vec<&str> = passed.iter().filter(|name| !usual.contains(name)).map(String::as_str).collect();
    if !passed.is_empty() {
        notices.push(format!(
            "no image holds variables of this shell ({}): give the job's container in pod.json those that it needs",
            passed.join(", ")
        ));
    }
    if !spec.home.seed.is_empty() || !spec.home.import.is_empty() {
        notices.push(
            "the home directory is empty at the start: no image holds files of home.seed and home.import"
                .to_owned(),
        );
    }
    if spec.home.kind == Home::Persistent {
        notices.push(
            "the home directory ends with the pod: make its volume a claim in pod.json to keep it".to_owned(),
        );
    }
    if spec.limits.pids.is_some() {
        notices
            .push("a pod has no limit on processes of its own: the kubelet's podPidsLimit is one".to_owned());
    }
    notices
}

fn next_steps(output: &Path, pod: &Pod<'_>) -> String {
    let layout = output.join("oci");
    let mut lines = vec![format!(
        "{} and {} are written; to run them:",
        layout.display(),
        output.join("pod.json").display()
    )];
    for image in [pod.job, pod.proxy] {
        lines.push(format!(
            "  skopeo copy oci:{}:{} docker://{}",
            layout.display(),
            image.name,
            pod.reference(image)
        ));
    }
    lines.extend(pod.secret_command().map(|command| format!("  {command}")));
    lines.push(format!("  kubectl create -f {}", output.join("pod.json").display()));
    lines.join("\n") + "\n"
}
