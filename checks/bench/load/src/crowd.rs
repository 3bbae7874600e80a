//! Memory of a job, and jobs at once.

use std::time::Instant;

use crate::Fallible;
use crate::memory::{self, Memory};
use crate::network::memory_row;
use crate::place::Place;
use crate::process::Conversation;
use crate::samples::Samples;
use crate::table::{Row, Target, megabytes, milliseconds};

/// How many jobs there are at once.
const CROWD: usize = 20;
const IDLE: &str = "memory of an idle job, RSS";
const HOLDING: &str = "  with 100 connections";
/// More than a user's patience with a machine's memory.
const MEMORY: f64 = 15e6;

/// Measures the memory of one job.
pub(crate) fn memory(place: &Place, port: u16) -> Vec<Row> {
    match one(place, port) {
        Ok((idle, holding)) => {
            let largest = idle.launcher.max(idle.proportional.unwrap_or_default());
            let judged = memory_row(IDLE, idle).judged(largest, Target::AtMost(MEMORY), megabytes);
            vec![judged, memory_row(HOLDING, holding)]
        }
        Err(error) => {
            eprintln!("{IDLE}: {error}");
            vec![Row::failed(IDLE)]
        }
    }
}

/// Measures how long jobs take to start, one and many at once, and what each of many costs.
pub(crate) fn jobs(place: &Place, port: u16, rounds: usize) -> Vec<Row> {
    let (mut single, mut each, mut all) = (Samples::default(), Samples::default(), Samples::default());
    let mut bytes = Samples::default();
    for _ in 0..rounds {
        for (count, samples) in [(1, &mut single), (CROWD, &mut each)] {
            let crowd = match crowd(place, port, count) {
                Ok(crowd) => crowd,
                Err(error) => {
                    eprintln!("{count} jobs at once: {error}");
                    return vec![Row::failed("jobs at once")];
                }
            };
            if count > 1 {
                all.add(crowd.ready.iter().copied().reduce(f64::max).into_iter().collect());
                bytes.add(vec![crowd.bytes]);
            }
            samples.add(crowd.ready);
        }
    }
    vec![
        Row::new("start to running job, p50", milliseconds(single.median()), String::new(), String::new()),
        Row::new(
            format!("  {CROWD} at once"),
            milliseconds(each.median()),
            format!("the last {}", milliseconds(all.median())),
            format!("{} per job", milliseconds(all.median() / CROWD as f64)),
        ),
        Row::new(
            format!("  {CROWD} at once, memory per job"),
            megabytes(bytes.median()),
            String::new(),
            String::new(),
        ),
    ]
}

fn one(place: &Place, port: u16) -> Fallible<(Memory, Memory)> {
    let mut job = Conversation::start(&mut place.client_in_jail("client", port, false)?)?;
    job.first_line()?;
    let idle = memory::of(job.id())?;
    job.ask("hold 100")?;
    let holding = memory::of(job.id())?;
    job.end()?;
    Ok((idle, holding))
}

struct Crowd {
    /// Milliseconds from the start of all until each one's command runs.
    ready: Vec<f64>,
    /// Memory per job.
    bytes: f64,
}

fn crowd(place: &Place, port: u16, count: usize) -> Fallible<Crowd> {
    let commands: Fallible<Vec<_>> =
        (0..count).map(|_| place.client_in_jail("client", port, false)).collect();
    let start = Instant::now();
    let mut jobs = Vec::new();
    for command in &mut commands? {
        jobs.push(Conversation::start(command)?);
    }
    let mut ready = Vec::new();
    for job in &mut jobs {
        job.first_line()?;
        ready.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let mut bytes = 0.0;
    for job in &jobs {
        let memory = memory::of(job.id())?;
        bytes += memory.proportional.unwrap_or(memory.launcher);
    }
    for job in jobs {
        job.end()?;
    }
    Ok(Crowd { ready, bytes: bytes / count as f64 })
}
