//! `jail stop`: ends jobs, politely first.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sandbox::process::Process;

use crate::cli::StopArgs;
use crate::console;
use crate::failure::{Failure, NOT_RUNNING};
use crate::job::{self, JobDirectory};
use crate::jobs::{self, Job};
use crate::operator::Operator;
use crate::services;
use crate::unreported;

/// Ends every job that the words mean and returns when they are gone; prints the ids.
pub(crate) fn stop(arguments: &StopArgs, operator: &Operator) -> Result<ExitCode, Failure> {
    let on_record = jobs::on_record(operator)?;
    let mut code = ExitCode::SUCCESS;
    for word in &arguments.jobs {
        if let Err(failure) = stop_word(word, &on_record, arguments.timeout.0) {
            // The others are to end all the same.
            console::report_lines(&failure.message);
            code = failure.exit_code();
        }
    }
    unreported::tell(&unreported::collect(operator));
    Ok(code)
}

fn stop_word(word: &str, on_record: &[Job], grace: Duration) -> Result<(), Failure> {
    let running = on_record.iter().filter(|(_, record)| record.is_running()).cloned().collect();
    let jobs = jobs::select(running, word)?;
    let service = services::find(word).filter(services::Service::is_running);
    if jobs.is_empty() && service.is_none() {
        return Err(not_running(word, on_record));
    }
    // All are told before the first is waited for: they share the grace.
    let deadline = Instant::now().checked_add(grace);
    let told: Vec<(Job, Process)> = jobs.into_iter().filter_map(tell_to_end).collect::<Result<_, _>>()?;
    for ((directory, record), launcher) in told {
        let mut by = Signal::SIGTERM;
        if !launcher.wait(deadline).map_err(cannot_wait)? {
            kill(&launcher)?;
            by = Signal::SIGKILL;
            console::print_error_line(&format!(
                "jail: {} did not end within {} s and was killed",
                record.id,
                grace.as_secs()
            ));
        }
        put_on_record(&directory, by)?;
        console::print(&format!("{}\n", record.id))?;
    }
    if let Some(service) = service {
        services::stop(&service)?;
        console::print(&format!("{}\n", service.unit))?;
    }
    Ok(())
}

/// Takes hold of a job's launcher, which passes the signal on; nothing if it has just ended.
fn tell_to_end(job: Job) -> Option<Result<(Job, Process), Failure>> {
    let launcher = Process::open(job.1.pid, job.1.started_ticks?)?;
    // A launcher that its shell has stopped takes no notice before it goes on.
    let told = launcher.signal(Signal::SIGTERM).and_then(|()| launcher.signal(Signal::SIGCONT));
    Some(match told {
        Ok(()) => Ok((job, launcher)),
        Err(os) => Err(Failure::no_jail(format!("cannot end {}: {os}", job.1.id))),
    })
}

/// Kills the launcher. The stage, its child, then ends everything in the jail and comes to its own end.
fn kill(launcher: &Process) -> Result<(), Failure> {
    let children = launcher.children();
    launcher.signal(Signal::SIGKILL).map_err(cannot_wait)?;
    launcher.wait(None).map_err(cannot_wait)?;
    // Of the jail nobody needs this long; a program that was to print a secret may go on.
    let deadline = Instant::now().checked_add(Duration::from_secs(10));
    for child in &children {
        // A job without a stage outlives its launcher.
        if cfg!(target_os = "macos") {
            child.signal(Signal::SIGKILL).map_err(cannot_wait)?;
        }
        child.wait(deadline).map_err(cannot_wait)?;
    }
    Ok(())
}

/// A launcher that was killed, or ended by the signal before it caught it, has not done so itself.
fn put_on_record(directory: &JobDirectory, by: Signal) -> Result<(), Failure> {
    match directory.record() {
        Some(mut record) if record.ended.is_none() => {
            record.ended = Some(job::now());
            record.code = Some(128 + by as u8);
            directory.write(&record).map_err(Failure::no_jail)
        }
        _ => Ok(()),
    }
}

fn not_running(word: &str, on_record: &[Job]) -> Failure {
    let known = jobs::select(on_record.to_vec(), word).is_ok_and(|jobs| !jobs.is_empty());
    let message = if known || services::find(word).is_some() {
        format!("{word} does not run (any more)")
    } else {
        format!("there is no job {word}, nor one of a jail of that name; jail ps lists those that run")
    };
    Failure { code: NOT_RUNNING, message }
}

fn cannot_wait(os: nix::errno::Errno) -> Failure {
    Failure::no_jail(format!("cannot wait for the job's end: {os}"))
}
