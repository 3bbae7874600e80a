//! `jail log`: what a job did on the network.

mod watch;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;

use proxy::audit::{Event, What};

use crate::cli::LogArgs;
use crate::console;
use crate::failure::Failure;
use crate::job::{JobDirectory, Record, State};
use crate::operator::Operator;
use crate::{jobs, services, workspace};
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
        console::print(&console::escape_control_chars(&format!(
            "{}: {}\n",
            record.id,
            record.command.join(" ")
        )))?;
        let place = record.workspace.as_deref().map(|path| format!(" in {}", workspace::shown(path)));
        let place = place.unwrap_or_default();
        console::print(&console::escape_control_chars(&format!(
            "{}  started{place}\n",
            clock(record.started)
        )))?;
    }
    follow(&directory, arguments)
        .map_err(|error| Failure::no_jail(format!("cannot read {}: {error}", directory.audit().display())))?;
    if !arguments.json {
        // A job that was followed has ended by now.
        let record = directory.record().unwrap_or(record);
        console::print(&format!("{}\n", end(&record)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How the job ended, as a line for people.
fn end(record: &Record) -> String {
    match (record.state(), record.ended, record.code) {
        (State::Ended, Some(ended), Some(code)) => {
            let lasted = jobs::age(ended.saturating_sub(record.started));
            format!("{}  ended with exit code {code} after {lasted}", clock(ended))
        }
        (State::Running, ..) => "the job is running".to_owned(),
        _ => "the launcher ended before it could record the end of the job".to_owned(),
    }
}

/// A time in UTC, to the second.
fn clock(milliseconds: u64) -> String {
    // Howard Hinnant's days_from_civil, the other way round: http://howardhinnant.github.io/date_algorithms.html
    let days = milliseconds / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) =
        (milliseconds / 3_600_000 % 24, milliseconds / 60_000 % 60, milliseconds / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
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
            console::print(&console::escape_control_chars(&shown))
                .map_err(|failure| io::Error::other(failure.message))?;
            line.clear();
        }
        if ended || !arguments.follow {
            return Ok(());
        }
        // A launcher that was killed writes nothing more: its end is looked for every second.
        watch.wait(1000)?;
    }
}

/// An event as a line for people.
fn text(line: &str) -> String {
    let Ok(Event { time, what }) = serde_json::from_str::<Event>(line) else {
        return line.to_owned();
    };
    let clock = clock(time);
    match what {
        What::Request {
            scheme,
            authority,
            method,
            path,
            query,
            denied,
            failed,
            status,
            credentials,
            refs,
            milliseconds,
            ..
        } => {
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            let path = if scheme == "tcp" { "" } else { path.as_str() };
            let outcome = match (denied, failed, status) {
                (Some(reason), _, _) => format!("DENIED {reason}"),
                (None, Some(kind), _) => format!("FAILED {kind} after {milliseconds} ms"),
                (None, None, Some(status)) => format!("{status} in {milliseconds} ms"),
                (None, None, None) => format!("open after {milliseconds} ms"),
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
            format!("{clock}  {method}{scheme}://{authority}{path}{query}  {outcome}{pushed}{used}\n")
        }
        What::Truncated => {
            format!("{clock}  the log is full: what came later was counted, not written\n")
        }
        What::Connection { authority, denied } => format!("{clock}  {authority}  DENIED {denied}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_their_date() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (1_796_045_417, "2026-11-30 13:30:17 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(clock(seconds * 1000), expected);
        }
    }
}
