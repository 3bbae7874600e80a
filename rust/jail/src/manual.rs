//! Descriptions that `jail` generates from its own types: JSON Schema, shell completions, manual pages, reference.

mod markdown;

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, ReferencePage};
use crate::console;
use crate::failure::Failure;
use crate::spec::JailSpec;

/// `jail schema`.
pub(crate) fn schema() -> Result<ExitCode, Failure> {
    let schema = schemars::schema_for!(JailSpec);
    let text = serde_json::to_string_pretty(&schema).map_err(Failure::no_jail)?;
    console::print(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// `jail completions SHELL`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "jail", &mut text);
    console::print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// `jail man DIR`: one page per command.
pub(crate) fn pages(directory: &Path) -> Result<ExitCode, Failure> {
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| {
        Failure::usage(format!("cannot write the manual pages to {}: {error}", directory.display()))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `jail __reference PAGE`: a generated page of `nix/docs`.
pub(crate) fn reference(page: ReferencePage) -> Result<ExitCode, Failure> {
    console::print(&match page {
        ReferencePage::CommandLine => markdown::command_line(Cli::command()),
        ReferencePage::Denials => markdown::denials(),
    })?;
    Ok(ExitCode::SUCCESS)
}
