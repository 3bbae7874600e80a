//! The whole measurement, and its table.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::place::Place;
use crate::process::Conversation;
use crate::table::{self, Row, Target, megabytes};
use crate::{Fallible, crowd, engine, first_byte, network, start};

/// How often everything is measured.
struct Rounds {
    start: usize,
    first_byte: usize,
    network: usize,
    crowd: usize,
    engine: usize,
}

const USUAL: Rounds = Rounds { start: 30, first_byte: 30, network: 12, crowd: 5, engine: 8 };
const QUICK: Rounds = Rounds { start: 8, first_byte: 8, network: 3, crowd: 2, engine: 3 };

/// The arguments: the directory to work in, the program `jail`, and `--quick` or nothing.
pub(crate) fn measure(arguments: &[&str]) -> Fallible<()> {
    let (directory, jail, rounds) = match arguments {
        [directory, jail] => (directory, jail, USUAL),
        [directory, jail, "--quick"] => (directory, jail, QUICK),
        _ => return Err("usage: nix-jail-bench measure DIR JAIL [--quick]".into()),
    };
    let place = Place::new(Path::new(directory), Path::new(jail))?;

    let mut rows = start::measure(&place, rounds.start)?;
    let (upstream, port) = upstream(&place)?;
    rows.extend(first_byte::measure(&place, port, rounds.first_byte));
    rows.extend(crowd::jobs(&place, port, rounds.crowd));
    rows.extend(crowd::memory(&place, port));
    rows.extend(engine::measure(&place, port, rounds.engine)?);
    upstream.end()?;

    let all = sched_getaffinity(Pid::from_raw(0))?;
    sched_setaffinity(Pid::from_raw(0), &first_of(&all)?)?;
    let (upstream, port) = self::upstream(&place)?;
    rows.extend(network::measure(&place, port, rounds.network)?);
    upstream.end()?;
    sched_setaffinity(Pid::from_raw(0), &all)?;

    rows.push(size(&place.jail)?);
    table::print(&rows);
    match rows.iter().filter(|row| row.is_failed()).count() {
        0 => Ok(()),
        count => {
            for line in last_lines(&place) {
                eprintln!("{line}");
            }
            Err(format!("{count} rows could not be measured").into())
        }
    }
}

fn upstream(place: &Place) -> Fallible<(Conversation, u16)> {
    let mut upstream = Conversation::start(&mut place.upstream()?)?;
    let port = upstream.first_line()?.parse()?;
    Ok((upstream, port))
}

fn first_of(all: &CpuSet) -> Fallible<CpuSet> {
    let first =
        (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap_or(false)).ok_or("no CPU to run on")?;
    let mut one = CpuSet::new();
    one.set(first)?;
    Ok(one)
}

fn size(jail: &Path) -> Fallible<Row> {
    let bytes = fs::metadata(jail)?.len() as f64;
    let row = Row::new("size of the stripped binary", megabytes(bytes), String::new(), String::new());
    Ok(row.judged(bytes, Target::AtMost(10e6), megabytes))
}

/// The end of what children wrote to standard error.
fn last_lines(place: &Place) -> Vec<String> {
    let text = fs::read(place.errors()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].iter().map(|line| (*line).to_owned()).collect()
}
