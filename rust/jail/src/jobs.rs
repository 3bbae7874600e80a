//! `jail ps`: the jobs of this operator, and which of them a word of the command line means.

use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::backend;
use crate::cli::PsArgs;
use crate::console;
use crate::failure::Failure;
use crate::job::{self, JobDirectory, Record, State};
use crate::operator::Operator;
use crate::services::{self, Service};
use crate::unreported;

/// A job on record.
pub(crate) type Job = (JobDirectory, Record);

/// Lists the jobs that run, with `--all` those on record too.
pub(crate) fn ps(arguments: &PsArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let mut jobs = on_record(operator)?;
    let mut services = services::all();
    if !arguments.all {
        jobs.retain(|(_, record)| record.is_running());
        services.retain(Service::is_running);
    }
    let jobs = jobs.iter().map(|(_, record)| Line::of_job(record));
    let lines: Vec<Line<'_>> = jobs.chain(services.iter().map(Line::of_service)).collect();
    let text = if arguments.json { objects(&lines)? } else { table(&lines, arguments.all) };
    console::print(&text)?;
    unreported::tell(&unreported::collect(operator));
    Ok(ExitCode::SUCCESS)
}

/// Every job, the newest first. What killed launchers have left on this host is removed on the way.
pub(crate) fn on_record(operator: &Operator) -> Result<Vec<Job>, Failure> {
    let jobs = JobDirectory::all(&operator.state()).map_err(Failure::no_jail)?;
    backend::tidy();
    for (directory, record) in &jobs {
        if record.state() == State::Killed {
            directory.remove_overlay_work();
        }
    }
    Ok(jobs)
}

/// The jobs that `word` means: the one of this id, or all of the jail of this name, or else the one whose id begins so.
pub(crate) fn select(mut jobs: Vec<Job>, word: &str) -> Result<Vec<Job>, Failure> {
    let is_id = |(directory, _): &Job| directory.id == word;
    let is_name = |(_, record): &Job| record.name == word;
    if jobs.iter().any(is_id) {
        jobs.retain(is_id);
    } else if jobs.iter().any(is_name) {
        jobs.retain(is_name);
    } else {
        jobs.retain(|(directory, _)| directory.id.starts_with(word));
        if jobs.len() > 1 {
            let ids = jobs.iter().take(8).map(|(directory, _)| directory.id.as_str());
            let ids = ids.collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("{word} is the beginning of several jobs: {ids}; name one")));
        }
    }
    Ok(jobs)
}

/// One job or service as `--json` has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    /// The job's id, or the service's unit.
    id: &'a str,
    /// The jail's.
    name: &'a str,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    /// `service` for a declared jail's.
    backend: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<Cow<'a, str>>,
    command: &'a [String],
}

impl<'a> Line<'a> {
    fn of_job(record: &'a Record) -> Line<'a> {
        let state = record.state();
        Line {
            id: &record.id,
            name: &record.name,
            state,
            pid: (state == State::Running).then_some(record.pid),
            started: Some(record.started),
            ended: record.ended,
            code: record.code,
            backend: record.backend.to_string(),
            workspace: record.workspace.as_deref().map(Path::to_string_lossy),
            command: &record.command,
        }
    }

    fn of_service(service: &'a Service) -> Line<'a> {
        let is_running = service.is_running();
        Line {
            id: &service.unit,
            name: &service.name,
            state: if is_running { State::Running } else { State::Ended },
            pid: service.pid,
            started: service.started,
            ended: None,
            code: None,
            backend: "service".to_owned(),
            workspace: None,
            command: &[],
        }
    }

    fn state(&self) -> String {
        match (self.state, self.code) {
            (State::Running, _) => "running".to_owned(),
            (State::Ended, Some(code)) => format!("ended ({code})"),
            (State::Ended, None) => "ended".to_owned(),
            (State::Killed, _) => "killed".to_owned(),
        }
    }
}

fn objects(lines: &[Line<'_>]) -> Result<String, Failure> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line).map_err(Failure::no_jail)?);
        text.push('\n');
    }
    Ok(text)
}

fn table(lines: &[Line<'_>], with_state: bool) -> String {
    let mut rows =
        vec![["JOB", "NAME", "STATE", "PID", "SINCE", "BACKEND", "WORKSPACE", "COMMAND"].map(str::to_owned)];
    let none = || "-".to_owned();
    rows.extend(lines.iter().map(|line| {
        [
            line.id.to_owned(),
            line.name.to_owned(),
            line.state(),
            line.pid.map_or_else(none, |pid| pid.to_string()),
            line.started.map_or_else(none, |started| age(job::now().saturating_sub(started))),
            line.backend.clone(),
            line.workspace.as_ref().map_or_else(none, ToString::to_string),
            if line.command.is_empty() { none() } else { beginning(&line.command.join(" ")) },
        ]
        // A job's words can hold what acts on a terminal.
        .map(|cell| console::escape_control_chars(&cell.replace('\n', " ")))
    }));
    let columns: Vec<usize> = (0..8).filter(|column| with_state || *column != 2).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(|column| width(*column)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = columns.iter().zip(&widths).map(|(column, width)| format!("{:width$}", row[*column]));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A span of time in its largest unit.
pub(crate) fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn beginning(command: &str) -> String {
    const SHOWN: usize = 60;
    match command.char_indices().nth(SHOWN) {
        Some((position, _)) => format!("{}…", &command[..position]),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let ages = [0, 59_999, 60_000, 3_599_000, 3_600_000, 86_400_000].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "1d"]);
    }

    #[test]
    fn a_table_has_its_columns_and_nothing_that_acts_on_a_terminal() {
        let command = ["sh".to_owned(), format!("\u{1b}[2J\n{}", "x".repeat(90))];
        let line = |id, state| Line {
            id,
            name: "job",
            state,
            pid: None,
            started: None,
            ended: None,
            code: None,
            backend: "native".to_owned(),
            workspace: None,
            command: &command,
        };
        let text = table(&[line("job-1", State::Running), line("job-long", State::Killed)], true);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(!text.contains('\u{1b}') && lines[1].ends_with('…'), "{text}");
        let column = lines[0].find("STATE").unwrap();
        assert!(
            lines[1][column..].starts_with("running") && lines[2][column..].starts_with("killed"),
            "{text}"
        );
        assert!(!table(&[], false).contains("STATE"));
    }
}
