//! `jail log`: what a job did on the network.

mod watch;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;

use proxy::audit::{Event, What};

use crate::cli::LogArgs;
use crate::failure::Failure;
use crate::job::JobDirectory;
use crate::operator::Operator;
use crate::{jobs, services};
use watch::Watch;

/// Prints the events of one job, by default the newest; of a declared jail that is a service, its journal.
pub(crate) fn log(arguments: &LogArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let mut jobs = jobs::on_record(operator)?;
    if let Some(word) = &arguments.job {
        jobs = jobs::select(jobs, word)?;
        // A service that is at work is newer than any job that is not.
        let at_work = jobs.iter().any(|(_, record)| record.is_running());
        if !at_work && services::find(word).is_some_and(|service| jobs.is_empty() || service.is_running()) {
            return services::journal(word, arguments.follow, arguments.json);
        }
    }
    let Some((directory, record)) = jobs.into_iter().next() else {
        return Err(Failure::usage(match &arguments.job {
            Some(word) => format!(
                "there is no job {word}, nor one of a jail of that name, on record in {}; jail ps --all lists them",
                operator.state().join("jobs").display()
            ),
            None => "no job has run yet; try: jail demo".to_owned(),
        }));
    };
    if !arguments.json {
        crate::print(&harmless(&format!("{}: {}\n", record.id, record.command.join(" "))))?;
    }
    follow(&directory, arguments)
        .map_err(|error| Failure::no_jail(format!("cannot read {}: {error}", directory.audit().display())))?;
    Ok(ExitCode::SUCCESS)
}

fn follow(directory: &JobDirectory, arguments: &LogArgs) -> io::Result<()> {
    // The watch comes before the first reading, so that nothing is missed between the two.
    let mut watch = Watch::on(directory)?;
    let mut events = BufReader::new(File::open(directory.audit())?);
    let mut line = String::new();
    loop {
        // Whether it had ended is asked first: what it wrote until then is read below.
        let ended = directory.record().is_none_or(|record| !record.is_running());
        loop {
            // Half a line stays where it is until its other half is there.
            if events.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                break;
            }
            let shown = if arguments.json { line.clone() } else { text(&line) };
            crate::print(&harmless(&shown)).map_err(|failure| io::Error::other(failure.message))?;
            line.clear();
        }
        if ended || !arguments.follow {
            return Ok(());
        }
        // A launcher that was killed writes nothing more: its end is looked for every second.
        watch.wait(1000)?;
    }
}

/// A line without characters that act on a terminal: a job chooses its paths, and C1 controls (`\u{9b}` is `ESC [`) and
/// marks of direction can stand in one. As they stand in JSON, so that `--json` stays JSON.
pub(crate) fn harmless(line: &str) -> String {
    let acts = |character: char| {
        let marks =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        character != '\n' && (character.is_control() || marks)
    };
    line.chars().fold(String::with_capacity(line.len()), |mut shown, character| {
        if acts(character) {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
        shown
    })
}

/// An event as a line for people.
fn text(line: &str) -> String {
    let Ok(Event { time, what }) = serde_json::from_str::<Event>(line) else {
        return line.to_owned();
    };
    let clock = format!("{:02}:{:02}:{:02}", time / 3_600_000 % 24, time / 60_000 % 60, time / 1000 % 60);
    match what {
        What::Request {
            scheme,
            authority,
            method,
            path,
            query,
            denied,
            status,
            credentials,
            refs,
            milliseconds,
            ..
        } => {
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            let path = if scheme == "tcp" { "" } else { path.as_str() };
            let outcome = match (denied, status) {
                (Some(reason), _) => format!("DENIED {reason}"),
                (None, Some(status)) => format!("{status} in {milliseconds} ms"),
                (None, None) => format!("open after {milliseconds} ms"),
            };
            let used = if credentials.is_empty() {
                String::new()
            } else {
                format!(", used {}", credentials.join(", "))
            };
            let pushed = if refs.is_empty() { String::new() } else { format!(" ({})", refs.join(", ")) };
            let method = if method.is_empty() { String::new() } else { format!("{method} ") };
            let default_port = if scheme == "https" { ":443" } else { ":80" };
            let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
            format!("{clock} UTC  {method}{scheme}://{authority}{path}{query}  {outcome}{pushed}{used}\n")
        }
        What::Truncated => {
            format!("{clock} UTC  the log is full: what came later was counted, not written\n")
        }
        What::Connection { authority, denied } => format!("{clock} UTC  {authority}  DENIED {denied}\n"),
    }
}
