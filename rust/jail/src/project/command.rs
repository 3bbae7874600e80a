//! `jail trust`, `jail init` and `jail show`.

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use similar::TextDiff;

use super::approvals::Approvals;
use super::error::FILE_NAME;
use super::{Approval, Project};
use crate::cli::{InitArgs, ShowArgs, TrustArgs};
use crate::console;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::spec::{self, JailSpec, ProjectRules};
use crate::{gateway, rules, run};

/// Shows the project file, or how it differs from what was trusted, and trusts it if the operator says so.
pub(crate) fn trust(arguments: &TrustArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let directory = operator.path(&arguments.directory);
    let directory = directory.canonicalize().map_err(|error| {
        Failure::usage(format!(
            "cannot use {}: {error}; name the directory of a project",
            directory.display()
        ))
    })?;
    let approvals = Approvals::of(operator).map_err(Failure::no_jail)?;
    if arguments.revoke {
        let was_trusted = approvals.remove(&directory).map_err(Failure::no_jail)?;
        console::report(if was_trusted { "not trusted any more" } else { "it was not trusted" });
        return Ok(ExitCode::SUCCESS);
    }
    let project = Project::read(&directory).map_err(Failure::no_jail)?;
    let project = project.ok_or_else(|| {
        Failure::usage(format!(
            "there is no {FILE_NAME} in {}; make one with: jail init",
            directory.display()
        ))
    })?;
    let shown = match project.approval(operator).map_err(Failure::no_jail)? {
        Approval::Approved => {
            console::report(&format!("{} is trusted already", project.path().display()));
            return Ok(ExitCode::SUCCESS);
        }
        Approval::Missing => project.text.clone(),
        Approval::Changed(before) => difference(&before, &project.text),
    };
    // It may be a job's text: nothing of it acts on the terminal.
    let lines: Vec<String> = shown.lines().map(console::escape_control_chars).collect();
    console::print(&format!("{}\n", lines.join("\n")))?;
    if !arguments.yes && !confirms(&format!("Trust {}? [y/N] ", project.path().display()))? {
        console::report("not trusted");
        return Ok(ExitCode::FAILURE);
    }
    approvals.store(&project.directory, &project.text).map_err(Failure::no_jail)?;
    console::report(&format!("trusted, until it changes: {}", project.path().display()));
    Ok(ExitCode::SUCCESS)
}

/// How two texts differ; the whole new text if that would take long to find out, which a job could choose.
fn difference(before: &str, after: &str) -> String {
    const MOST_LINES: usize = 5000;
    if before.lines().count().max(after.lines().count()) > MOST_LINES {
        return after.to_owned();
    }
    let diff = TextDiff::configure().timeout(Duration::from_millis(500)).diff_lines(before, after);
    diff.unified_diff().header("trusted", FILE_NAME).to_string()
}

/// Writes a project file.
pub(crate) fn init(arguments: &InitArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let name = match &arguments.from {
        Some(name) => name.clone(),
        None => ask("Which jail should it extend? [claude] ", "claude")?,
    };
    find(&name, operator).map_err(Failure::usage)?;
    let learnt = match &arguments.learn {
        Some(file) => rules::load(&operator.path(file)).map_err(Failure::usage)?,
        None => Vec::new(),
    };
    let text = format!("{:#}\n", json!({ "version": spec::VERSION, "extends": name, "rules": learnt }));
    let path = operator.directory.join(FILE_NAME);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match file {
        Ok(()) => {
            console::report(&format!("wrote {}; it has an effect after: jail trust", path.display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::usage(format!("{} exists already; edit it, then: jail trust", path.display())))
        }
        Err(error) => Err(Failure::no_jail(format!("cannot write {}: {error}", path.display()))),
    }
}

/// Prints the specification of a jail as it is in effect in the current directory.
pub(crate) fn show(arguments: &ShowArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let (mut spec, notice) = run::named_jail(&arguments.name, &operator.directory, operator)?;
    if let Some(notice) = notice {
        console::report(&notice);
    }
    if let Some(notice) = gateway::choose(&mut spec, operator)? {
        console::report(&notice);
    }
    let ProjectRules { denied, allowed } = std::mem::take(&mut spec.project_rules);
    spec.rules.splice(0..0, denied);
    spec.rules.extend(allowed);
    let text = serde_json::to_string_pretty(&spec)
        .map_err(|error| Failure::no_jail(format!("cannot print the specification: {error}")))?;
    console::print(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str, operator: &Operator) -> Result<JailSpec, spec::SpecError> {
    JailSpec::find(name, &spec::directories(operator.variable("JAIL_PATH"), Some(&operator.config_home())))
}

fn confirms(question: &str) -> Result<bool, Failure> {
    Ok(matches!(ask(question, "n")?.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks on the terminal; an empty answer is `default`.
fn ask(question: &str, default: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "this asks a question, and standard input is no terminal; say --yes (jail trust) or --from NAME (jail init)",
        ));
    }
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::usage(format!("cannot read the answer: {error}")))?;
    Ok(Some(answer.trim()).filter(|answer| !answer.is_empty()).unwrap_or(default).to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_difference_is_found_in_bounded_time() {
        let text = |salt: usize, lines: usize| -> String {
            (0..lines).map(|line| format!("{}\n", (line * 7919 + salt * 104_729) % 50_021)).collect()
        };
        let started = Instant::now();
        let many = text(2, 40_000);
        assert_eq!(difference(&text(1, 40_000), &many), many);
        let shown = difference(&text(1, 4000), &text(2, 4000));
        // Every new line is in it, however rough the difference is.
        let added = shown.lines().filter(|line| line.starts_with(['+', ' '])).count();
        assert!(added > 4000 || shown.lines().any(|line| line.starts_with("@@")), "{shown}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert!(difference("a\nb\n", "a\nc\n").contains("-b\n+c\n"));
    }
}
