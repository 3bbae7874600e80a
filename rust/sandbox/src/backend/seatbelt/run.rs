//! Starts the command in the sandbox, and passes on what belongs to it until its end: signals, the terminal, time.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::OpenptyResult;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::jail::Waiting;
use super::watchdog::{Family, Verdict, judge};
use crate::backend::disk::Disk;
use crate::backend::files::{Files, standard_streams};
use crate::backend::{Ended, Error, Exhausted};
use crate::host_program::command_at;
use crate::plan::Limits;
use crate::sys::launch::{self, Before, Limit};
use crate::sys::signals::Caught;
use crate::sys::table::{self, End};
use crate::terminal::outside::Outside;
use crate::terminal::relay::Relay;

/// Between the polite end of a job that has run out of time and the other one.
const GRACE: Duration = Duration::from_secs(10);
/// How often what the job uses up is looked at. There is no event to wait for.
const LOOK: Duration = Duration::from_millis(250);
/// As in a shell.
const NOT_FOUND: u8 = 127;

/// Starts the command and returns when it and what it has started is gone.
pub(super) fn run(mut waiting: Waiting) -> Result<Ended, Error> {
    // What was not taken is closed, so that a connection to it is refused instead of hanging.
    waiting.listeners = Default::default();
    if waiting.command.is_none() {
        let name = waiting.layout.command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "jail: {name}: not found in the jail's PATH");
        return Ok(Ended::Code(NOT_FOUND));
    }
    let signals = Caught::start().map_err(|os| Error::watch("catch signals", os))?;
    let (child, files) = spawn(&mut waiting)?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut job = Job {
        relay: None,
        end: End::of(pid).map_err(|os| Error::watch("wait for its end", os))?,
        family: Family::of(pid.as_raw()),
        child,
        pid,
        signals,
        limits: waiting.limits.clone(),
        begun: Instant::now(),
        deadline: waiting.limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        next_look: Instant::now(),
        state: State::Runs,
        disk: waiting.disk.take(),
        is_told_to_end: false,
        files,
    };
    if let Some(OpenptyResult { master, slave }) = waiting.terminal.take() {
        drop(slave);
        let relay = Outside::open().and_then(|outside| Relay::new(outside, master));
        job.relay =
            Some(relay.map_err(|error| Error::Terminal { step: "relay it".to_owned(), os: error.into() })?);
    }
    while !job.turn()? {}
    job.finish()
}

fn spawn(waiting: &mut Waiting) -> Result<(Child, Files), Error> {
    let failed = |error: std::io::Error| Error::StartStage { os: error.into() };
    let [_, arguments @ ..] = waiting.layout.command.as_slice() else { return Err(Error::NoCommand) };
    let mut command = command_at(&waiting.program);
    command
        .arg("-f")
        .arg(&waiting.profile)
        .args(&waiting.command)
        .args(arguments)
        .env_clear()
        .envs(waiting.layout.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&waiting.layout.working_directory);
    let mut before = Before { terminal: None, limits: limits(&waiting.limits) };
    let (streams, files) = standard_streams()?;
    for (number, stream) in streams.into_iter().enumerate() {
        let stream = match &waiting.terminal {
            Some(pair) if std::io::IsTerminal::is_terminal(&stream) => {
                before.terminal = before.terminal.or(i32::try_from(number).ok());
                pair.slave.try_clone().map_err(failed)?.into()
            }
            _ => Stdio::from(stream),
        };
        match number {
            0 => command.stdin(stream),
            1 => command.stdout(stream),
            _ => command.stderr(stream),
        };
    }
    launch::prepare(&mut command, before);
    Ok((command.spawn().map_err(failed)?, files))
}

fn limits(limits: &Limits) -> Vec<(Limit, u64)> {
    // A core file would hold what the job had in memory.
    let mut all = vec![(Limit::CoreFiles, 0)];
    if let Some(pids) = limits.pids {
        // The kernel counts all of the user's processes; those of others than the job are as many as now.
        let others = table::processes().map_or(0, |processes| processes.len() as u64);
        all.push((Limit::Processes, pids.saturating_add(others)));
    }
    if let (Some(cpus), Some(timeout)) = (limits.cpus, limits.timeout) {
        // Of one process; what they take together is the watchdog's matter.
        all.push((Limit::CpuSeconds, (cpus.clamp(1.0, 1e6) * timeout.as_secs_f64()).ceil() as u64 + 1));
    }
    all
}

struct Job {
    // First: the terminal is given back before anything is waited for.
    relay: Option<Relay>,
    child: Child,
    pid: Pid,
    end: End,
    signals: Option<Caught>,
    family: Family,
    limits: Limits,
    begun: Instant,
    deadline: Option<Instant>,
    next_look: Instant,
    state: State,
    disk: Option<Disk>,
    /// Whether the operator has ended the job by a signal.
    is_told_to_end: bool,
    /// The files among the launcher's standard streams.
    files: Files,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Rests,
    OutOfTime,
    DiskUsedUp(Exhausted),
}

impl Job {
    /// Waits for something and acts on it; whether the command has ended.
    fn turn(&mut self) -> Result<bool, Error> {
        let [end, signal, keyboard, job, progress] = self.wait()?;
        if self.relay.as_mut().is_some_and(|relay| relay.turn(keyboard, job, progress)) {
            // Nobody sits there any more: the job's terminal hangs up too.
            self.relay = None;
            self.signal(Signal::SIGHUP);
            self.signal(Signal::SIGCONT);
        }
        if !signal.is_empty() {
            self.pass_signals_on()?;
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.end_for_time();
        }
        if self.next_look <= Instant::now() {
            self.next_look = Instant::now() + LOOK;
            self.look();
        }
        if let Some(exhausted) = self.disk.as_mut().and_then(Disk::exhausted) {
            (self.disk, self.deadline) = (None, None);
            self.state = State::DiskUsedUp(exhausted);
            self.kill_all();
        }
        Ok(!end.is_empty())
    }

    fn wait(&self) -> Result<[PollFlags; 5], Error> {
        let mut wanted = vec![(0, self.end.as_fd(), PollFlags::POLLIN)];
        wanted.extend(self.signals.as_ref().map(|signals| (1, signals.as_fd(), PollFlags::POLLIN)));
        if let Some(relay) = &self.relay {
            let (fd, flags) = relay.keyboard();
            wanted.push((2, fd, flags));
            wanted.extend(relay.job().map(|(fd, flags)| (3, fd, flags)));
            wanted.push((4, relay.progress(), PollFlags::POLLIN));
        }
        let mut events: Vec<_> = wanted.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        let other = [self.deadline, self.disk.as_ref().map(Disk::next)];
        let until = other.into_iter().flatten().fold(self.next_look, Instant::min);
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the deadline has passed when the wait is over.
        let left = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut events, left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(os) => return Err(Error::watch("poll", os)),
        }
        let mut found = [PollFlags::empty(); 5];
        for ((side, _, _), event) in wanted.iter().zip(&events) {
            if let Some(slot) = found.get_mut(*side) {
                *slot = event.revents().unwrap_or(PollFlags::empty());
            }
        }
        Ok(found)
    }

    fn pass_signals_on(&mut self) -> Result<(), Error> {
        while let Some(signal) = self.signals.as_ref().and_then(Caught::next) {
            match (signal, &mut self.relay) {
                (Signal::SIGWINCH, Some(relay)) => relay.resize(),
                (Signal::SIGCONT, Some(relay)) => {
                    relay.resume();
                    self.signal(Signal::SIGCONT);
                }
                (Signal::SIGTSTP, _) => self.stop_with_the_job()?,
                (signal, _) => {
                    self.is_told_to_end |=
                        matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM);
                    self.signal(signal);
                }
            }
        }
        Ok(())
    }

    /// To the user's shell it is us who stop. The job's group is an orphan, which a polite stop would not reach. Nobody
    /// enforces limits meanwhile: everything of the job that is known is stopped.
    fn stop_with_the_job(&mut self) -> Result<(), Error> {
        if let Ok(table) = table::processes() {
            self.family.look(&table);
        }
        self.signal_all(Signal::SIGSTOP);
        if let Some(relay) = &mut self.relay {
            relay.suspend();
        }
        if let Some(signals) = &self.signals {
            signals.stop_process_group(self.deadline).map_err(|os| Error::watch("stop", os))?;
        }
        if let Some(relay) = &mut self.relay {
            relay.resume();
        }
        self.signal_all(Signal::SIGCONT);
        Ok(())
    }

    fn end_for_time(&mut self) {
        if self.state == State::OutOfTime {
            self.deadline = None;
            return self.kill_all();
        }
        self.state = State::OutOfTime;
        self.deadline = Instant::now().checked_add(GRACE);
        self.signal(Signal::SIGTERM);
        // A stopped process takes no notice before it goes on.
        self.signal(Signal::SIGCONT);
    }

    /// Looks at what the job has taken.
    fn look(&mut self) {
        let Ok(table) = table::processes() else { return };
        let usage = self.family.look(&table);
        match (judge(usage, &self.limits, self.begun.elapsed()), self.state) {
            (Verdict::End(why), _) => {
                let _ = writeln!(std::io::stderr(), "jail: {why}: it was ended");
                self.kill_all();
            }
            (Verdict::Rest, State::Runs | State::Rests) => {
                self.state = State::Rests;
                self.signal_all(Signal::SIGSTOP);
            }
            (Verdict::Fine, State::Rests) => {
                self.state = State::Runs;
                self.signal_all(Signal::SIGCONT);
            }
            (Verdict::Fine | Verdict::Rest, _) => {}
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended; its number is still its own, as it has not been waited for.
        let _ = killpg(self.pid, signal);
    }

    fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        for member in self.family.members() {
            let _ = kill(Pid::from_raw(member), signal);
        }
    }

    /// Until a look finds none: some may have been born meanwhile.
    fn kill_all(&mut self) {
        const LOOKS: usize = 100;
        for _ in 0..LOOKS {
            self.signal_all(Signal::SIGKILL);
            let Ok(table) = table::processes() else { return };
            self.family.look(&table);
            // The command itself stays in the table until it is waited for.
            if self.family.members().all(|member| member == self.pid.as_raw()) {
                return;
            }
        }
    }

    fn finish(mut self) -> Result<Ended, Error> {
        // Before the command is waited for, as long as its number is its own.
        self.kill_all();
        let status = self.child.wait();
        let status = status.map_err(|error| Error::watch("wait for its end", error))?;
        if let Some(relay) = self.relay.take() {
            let was_ended =
                self.is_told_to_end || matches!(self.state, State::OutOfTime | State::DiskUsedUp(_));
            relay.finish(self.signals.as_ref(), was_ended, self.deadline);
        }
        self.files.finish();
        Ok(match (self.state, status.code(), status.signal()) {
            (State::OutOfTime, _, _) => Ended::TimedOut,
            (State::DiskUsedUp(exhausted), _, _) => Ended::DiskUsedUp(exhausted),
            (_, Some(code), _) => Ended::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (_, None, signal) => Ended::Signal(signal.unwrap_or(Signal::SIGKILL as i32)),
        })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill_all();
            let _ = self.child.wait();
        }
    }
}
