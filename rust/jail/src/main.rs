//! `jail`: runs a coding agent in a jail whose only way out is its own proxy.
//!
//! ```text
//! cli ─► run ─► spec       find NAME.json or the preset, add the flags
//!               resolve    programs of the host, packages of Nix ─► files of the jail
//!               workspace  files that run later on the host ─► read-only
//!               secrets    real tokens from their sources; a dummy for each
//!               assemble   ─► sandbox::plan::Plan and proxy::config::Config
//!               backend    prepare ─► proxy::serve ─► run ─► exit code
//!               report     summary; job: the record on disk
//! ```
//! The other commands use the same modules: `explain` and `check` stop before a job exists, `jobs`, `log` and `stop` read
//! the records, `units` and `unit` run a jail as a service, `export` and `pod` in a cluster, `demo` shows everything once.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start what they compare with"))]

mod assemble;
mod backend;
mod cli;
mod console;
mod credentials;
mod demo;
mod descriptors;
mod doctor;
mod etc;
mod explain;
#[cfg(target_os = "linux")]
mod export;
mod failure;
mod fetch;
mod gateway;
mod git;
mod hex;
mod homes;
mod job;
mod jobs;
mod learn;
mod log;
mod manual;
mod notice;
mod operator;
#[cfg(target_os = "linux")]
mod pod;
mod private_file;
mod project;
mod quantity;
mod report;
mod resolve;
mod rule_sets;
mod rules;
mod run;
mod secret;
mod secrets;
mod services;
#[cfg(test)]
#[path = "../../sandbox/tests/support/skip.rs"]
mod skip;
mod spec;
mod stop;
mod trust;
#[cfg(target_os = "linux")]
mod unit;
#[cfg(target_os = "linux")]
mod units;
mod unreported;
mod way_out;
mod workspace;
mod written;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command, RunArgs};
use failure::Failure;
use operator::Operator;

fn main() -> ExitCode {
    // Before anything else: the stage is this program again, with one thread and an empty environment.
    if let Some(code) = backend::stage() {
        return code;
    }
    // With it ignored, the kernel reaps children itself and no exit status can be waited for.
    let _ = sandbox::restore_ignored_signals(&[nix::sys::signal::Signal::SIGCHLD]);
    let cli = Cli::parse_from(cli::with_default_command(std::env::args_os()));
    start_logging(cli.verbose);
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            console::report_lines(&failure.message);
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    #[cfg(target_os = "linux")]
    if let Command::Unit { role, name } = &command {
        return unit::run(*role, name.as_deref());
    }
    // These know nothing of who runs them, and need no home.
    let command = match command {
        Command::Schema => return manual::schema(),
        Command::Rules { name } => {
            let text = rule_sets::listing(name.as_deref()).map_err(Failure::usage)?;
            return console::print(&text).map(|()| ExitCode::SUCCESS);
        }
        Command::Completions { shell } => return manual::completions(shell),
        Command::Man { directory } => return manual::pages(&directory),
        Command::Reference { page } => return manual::reference(page),
        command => command,
    };
    let operator = Operator::current().map_err(Failure::no_jail)?;
    if matches!(command, Command::Run(_) | Command::Named(_) | Command::Ps(_) | Command::Stop(_)) {
        backend::reap(&operator);
    }
    match command {
        Command::Run(arguments) => run::run(*arguments, &operator),
        Command::Named(words) => run::run(named(words)?, &operator),
        Command::Demo => demo::demo(),
        Command::Explain(arguments) => explain::explain(&arguments, &operator),
        Command::Init(arguments) => project::command::init(&arguments, &operator),
        Command::Trust(arguments) => project::command::trust(&arguments, &operator),
        Command::Show(arguments) => project::command::show(&arguments, &operator),
        Command::Check { file } => explain::check(&file),
        Command::Doctor => doctor::doctor(&operator),
        Command::Ps(arguments) => jobs::ps(&arguments, &operator),
        Command::Stop(arguments) => stop::stop(&arguments, &operator),
        Command::Log(arguments) => log::log(&arguments, &operator),
        Command::Secret(command) => secret::secret(command, &operator),
        Command::Home(command) => homes::home(&command, &operator),
        #[cfg(target_os = "linux")]
        Command::Units(arguments) => units::units(&arguments, &operator),
        #[cfg(not(target_os = "linux"))]
        Command::Units(_) => {
            Err(Failure::usage("there is no systemd on this system; nix-darwin makes agents of jails"))
        }
        Command::Unit { .. } => Err(Failure::usage("there is no systemd on this system")),
        Command::Schema
        | Command::Rules { .. }
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Reference { .. } => Ok(ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::ExportOci(arguments) => export::export(*arguments, &operator),
        #[cfg(target_os = "linux")]
        Command::Pod(role) => pod::pod(role, &operator),
        Command::Fetch { url, header } => fetch::fetch(&url, header.as_deref()),
    }
}

/// `jail NAME ARGS` is `jail run NAME -- ARGS`.
fn named(words: Vec<OsString>) -> Result<RunArgs, Failure> {
    let mut words = words.into_iter();
    let name = words
        .next()
        .and_then(|name| name.into_string().ok())
        .ok_or_else(|| Failure::usage("the name of a jail is not text"))?;
    Ok(RunArgs { name: Some(name), words: words.collect(), ..RunArgs::default() })
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // Our own crates only: what HTTP libraries say of their work can hold headers, and those hold real tokens.
    let ours = ["jail", "policy", "proxy", "sandbox"].map(|name| (name, level));
    let registry = tracing_subscriber::registry().with(Targets::new().with_targets(ours));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    if verbose == 0 {
        registry.with(lines.without_time().with_ansi(false)).init();
    } else {
        registry.with(lines).init();
    }
}
