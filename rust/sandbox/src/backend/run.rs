//! Lets the command run, and passes on what belongs to it until its end: signals, the terminal, job control.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::backend::disk::Disk;
use crate::backend::files::Files;
use crate::backend::{Ended, Error, Listeners, Prepared};
use crate::sys::signals::Caught;
use crate::terminal::outside::Outside;
use crate::terminal::relay::Relay;
use crate::terminal::screen::STALLED;
use crate::wire::{Channel, Exit, FromStage, Sent, ToStage};

/// Between the polite end of a job that has run out of time and the other one.
const GRACE: Duration = Duration::from_secs(10);
/// How long the launcher puts off its own stop until the job is frozen and the terminal has taken the job's output.
const BEFORE_STOP: Duration = Duration::from_secs(2);

/// A stage at work, whoever started it. Dropped, it ends with everything in its jail.
pub(super) trait Stage {
    /// The conversation with it.
    fn channel(&self) -> &Channel;
    /// The job's terminal, if it came before it was asked for.
    fn take_terminal(&mut self) -> Option<OwnedFd>;
    /// What becomes readable when who carries the stage is gone, if that is somebody else than us.
    fn carrier(&self) -> Option<BorrowedFd<'_>>;
    /// What the stage says next; its failure or silent end is an error.
    fn next(&mut self) -> Result<(FromStage, Vec<OwnedFd>), Error>;
    /// Ends the job now, without waiting for any process that the job could keep busy.
    fn kill(&mut self) -> Result<(), Error>;
    /// Waits for what has to be over before the job is.
    fn finish(&mut self);
}

/// A stage that waits to be released. Dropped instead, it ends at the loss of its channel.
pub(super) struct Waiting<S> {
    pub(super) stage: S,
    pub(super) listeners: Listeners,
    pub(super) notices: Vec<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) disk: Option<Disk>,
    /// The files among the launcher's standard streams.
    pub(super) files: Files,
    /// The job is killed when the other end of it is closed.
    pub(super) lifeline: Option<OwnedFd>,
}

impl<S: Stage> Prepared for Waiting<S> {
    fn take_listeners(&mut self) -> Listeners {
        std::mem::take(&mut self.listeners)
    }

    fn notices(&self) -> &[String] {
        &self.notices
    }

    fn run(mut self: Box<Self>) -> Result<Ended, Error> {
        // What was not taken is closed, so that a connection to it is refused instead of hanging.
        drop(std::mem::take(&mut self.listeners));
        run(*self)
    }
}

/// Starts the command and returns when every process of the jail is gone.
fn run(waiting: Waiting<impl Stage>) -> Result<Ended, Error> {
    let Waiting { stage, timeout, disk, files, lifeline, .. } = waiting;
    let signals = Caught::start().map_err(|os| Error::watch("catch signals", os))?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let time = Time { deadline, is_up: false };
    let mut watcher = Watcher {
        stage,
        signals,
        relay: None,
        exit: None,
        time,
        disk,
        files,
        lifeline,
        killed: None,
        kill_sent: None,
        is_told_to_end: false,
        stopping: None,
        unsent: Vec::new(),
    };
    if let Some(master) = watcher.stage.take_terminal() {
        watcher.join_terminals(master)?;
    }
    match watcher.watch() {
        Ok(()) => watcher.finish(),
        Err(error) => Err(watcher.give_up(error)),
    }
}

struct Watcher<S> {
    // The relay before the stage: the terminal is given back before anything is waited for.
    relay: Option<Relay>,
    stage: S,
    signals: Option<Caught>,
    exit: Option<Exit>,
    time: Time,
    disk: Option<Disk>,
    // After the stage: what the job has written last is in its files when this is dropped.
    files: Files,
    lifeline: Option<OwnedFd>,
    /// Why we killed the job, if its time was not the reason.
    killed: Option<Ended>,
    /// When the job was killed: from then on its terminal is only drained as long as the user's takes something.
    kill_sent: Option<Instant>,
    /// Whether the operator has ended the job by a signal.
    is_told_to_end: bool,
    /// The launcher is about to stop, because the job was stopped.
    stopping: Option<Stopping>,
    /// Messages that the stage has not had space for, each once.
    unsent: Vec<ToStage>,
}

/// The time between the job's stop and the launcher's.
struct Stopping {
    since: Instant,
    /// Whether every process of the job is stopped.
    is_frozen: bool,
}

/// Where something can happen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Stage,
    Carrier,
    Signals,
    Keyboard,
    Job,
    Progress,
    Lifeline,
}

struct Time {
    deadline: Option<Instant>,
    is_up: bool,
}

impl<S: Stage> Watcher<S> {
    /// Lets the command begin, and returns when every process of the jail is gone.
    fn watch(&mut self) -> Result<(), Error> {
        self.release()?;
        while !self.turn()? {}
        Ok(())
    }

    /// Ends a job that cannot be watched any more; its last output is shown, and the terminal is set as it was.
    fn give_up(self, error: Error) -> Error {
        let Watcher { relay, stage, signals, files, .. } = self;
        // Nothing of the job is left then, so that its last output has an end.
        drop(stage);
        if let Some(relay) = relay {
            relay.finish(signals.as_ref(), true, None);
        }
        drop(files);
        error
    }

    /// Waits for something and acts on it; whether it was the end.
    fn turn(&mut self) -> Result<bool, Error> {
        let [stage, carrier, signal, keyboard, job, progress, lifeline] = self.wait()?;
        if self.relay.as_mut().is_some_and(|relay| relay.turn(keyboard, job, progress)) {
            // Nobody sits there any more: the job's terminal hangs up too.
            self.relay = None;
            self.stopping = None;
            self.signal_job(Signal::SIGHUP)?;
            self.signal_job(Signal::SIGCONT)?;
        }
        if !signal.is_empty() {
            self.pass_signals_on()?;
        }
        if self.time.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.end_for_time()?;
        }
        if let Some(exhausted) = self.disk.as_mut().and_then(Disk::exhausted) {
            self.disk = None;
            self.kill(Ended::DiskUsedUp(exhausted))?;
        }
        if !lifeline.is_empty() {
            self.lifeline = None;
            self.kill(Ended::CutOff)?;
        }
        if stage.contains(PollFlags::POLLOUT) {
            self.send_unsent()?;
        }
        if self.kill_sent.is_some_and(|at| at.elapsed() >= STALLED)
            && let Some(relay) = &self.relay
        {
            relay.give_up_if_stalled();
        }
        self.stop_when_ready()?;
        // Without its carrier the stage ends: what it still says is read to the end.
        let is_silent = stage.difference(PollFlags::POLLOUT).is_empty() && carrier.is_empty();
        if is_silent { Ok(false) } else { self.listen() }
    }

    /// What there is on the stage's channel, of its carrier, among signals, at the keyboard, at the job's terminal, at the
    /// user's, at the end of the lifeline.
    fn wait(&self) -> Result<[PollFlags; 7], Error> {
        let mut on_channel = PollFlags::POLLIN;
        on_channel.set(PollFlags::POLLOUT, !self.unsent.is_empty());
        let mut wanted = vec![(Side::Stage, self.stage.channel().as_fd(), on_channel)];
        wanted.extend(self.stage.carrier().map(|fd| (Side::Carrier, fd, PollFlags::POLLIN)));
        if let Some(signals) = &self.signals {
            wanted.push((Side::Signals, signals.as_fd(), PollFlags::POLLIN));
        }
        wanted.extend(self.lifeline.as_ref().map(|fd| (Side::Lifeline, fd.as_fd(), PollFlags::POLLIN)));
        if let Some(relay) = &self.relay {
            let (fd, flags) = relay.keyboard();
            wanted.push((Side::Keyboard, fd, flags));
            wanted.extend(relay.job().map(|(fd, flags)| (Side::Job, fd, flags)));
            wanted.push((Side::Progress, relay.progress(), PollFlags::POLLIN));
        }
        let mut events: Vec<_> = wanted.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        let now = Instant::now();
        let look = self.relay.as_ref().and_then(Relay::next_look).map(|look| now + look);
        let is_draining = self.kill_sent.is_some() && self.relay.is_some();
        let stopping = self.stopping.as_ref().map(|stopping| stopping.since + BEFORE_STOP);
        let times = [self.time.deadline, self.disk.as_ref().map(Disk::next), look, stopping];
        let next = times.into_iter().flatten().chain(is_draining.then(|| now + STALLED / 4)).min();
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
        // Rounded up, so that its time has come when the wait is over.
        let left = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut events, left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(os) => return Err(Error::watch("poll", os)),
        }
        let sides = [
            Side::Stage,
            Side::Carrier,
            Side::Signals,
            Side::Keyboard,
            Side::Job,
            Side::Progress,
            Side::Lifeline,
        ];
        Ok(sides.map(|side| {
            let mut found = wanted.iter().zip(&events).filter(|((of, _, _), _)| *of == side);
            found.next().and_then(|(_, event)| event.revents()).unwrap_or(PollFlags::empty())
        }))
    }

    fn join_terminals(&mut self, master: OwnedFd) -> Result<(), Error> {
        let relay = Outside::open().and_then(|outside| Relay::new(outside, master));
        self.relay =
            Some(relay.map_err(|error| Error::Terminal { step: "relay it".to_owned(), os: error.into() })?);
        Ok(())
    }

    /// Takes one message of the stage; whether it was the last.
    fn listen(&mut self) -> Result<bool, Error> {
        match self.stage.next()? {
            (FromStage::Terminal, fds) => {
                let [master] = <[_; 1]>::try_from(fds)
                    .map_err(|_| Error::Message("a terminal without its descriptor".to_owned()))?;
                self.join_terminals(master)?;
            }
            (FromStage::Stopped(_), _) => self.begin_to_stop()?,
            (FromStage::Frozen, _) => {
                if let Some(stopping) = &mut self.stopping {
                    stopping.is_frozen = true;
                }
            }
            (FromStage::Exited(exit), _) => self.exit = Some(exit),
            (FromStage::Gone, _) => return Ok(true),
            (other, _) => return Err(Error::Message(format!("{other:?} out of turn"))),
        }
        Ok(false)
    }

    fn pass_signals_on(&mut self) -> Result<(), Error> {
        while let Some(signal) = self.signals.as_ref().and_then(Caught::next) {
            match (signal, &mut self.relay) {
                // The job's terminal tells its foreground, which may be another process group.
                (Signal::SIGWINCH, relay) => {
                    if let Some(relay) = relay {
                        relay.resize();
                    }
                }
                (Signal::SIGCONT, relay) => {
                    if let Some(relay) = relay {
                        relay.resume();
                    }
                    self.stopping = None;
                    self.signal_job(Signal::SIGCONT)?;
                }
                (signal, _) => {
                    self.is_told_to_end |=
                        matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM);
                    self.signal_job(signal)?;
                }
            }
        }
        Ok(())
    }

    /// The job has stopped at its terminal, mostly because the user wants it: to the user's shell it is us who stop. First
    /// the rest of the job is stopped, too: nobody enforces its limits while we are.
    fn begin_to_stop(&mut self) -> Result<(), Error> {
        let is_ending = self.kill_sent.is_some();
        if self.signals.is_none() || self.relay.is_none() || self.stopping.is_some() || is_ending {
            return Ok(());
        }
        self.stopping = Some(Stopping { since: Instant::now(), is_frozen: false });
        self.tell_stage(ToStage::Freeze)
    }

    /// Stops with the job, once it is frozen and what it has written is shown.
    fn stop_when_ready(&mut self) -> Result<(), Error> {
        let (Some(stopping), Some(relay), Some(signals)) = (&self.stopping, &mut self.relay, &self.signals)
        else {
            return Ok(());
        };
        let is_ready = stopping.is_frozen && relay.is_drained();
        if !is_ready && stopping.since.elapsed() < BEFORE_STOP {
            return Ok(());
        }
        // A job that cannot be frozen goes on, and so do we.
        if stopping.is_frozen {
            relay.suspend();
            let stopped = signals.stop_process_group(self.time.deadline);
            relay.resume();
            stopped.map_err(|os| Error::watch("stop", os))?;
        }
        self.stopping = None;
        self.signal_job(Signal::SIGCONT)
    }

    fn end_for_time(&mut self) -> Result<(), Error> {
        // The job is continued or killed now: there is nothing to stop with.
        self.stopping = None;
        if self.time.is_up {
            self.time.deadline = None;
            self.kill_sent.get_or_insert_with(Instant::now);
            return self.stage.kill();
        }
        self.time = Time { deadline: Instant::now().checked_add(GRACE), is_up: true };
        self.signal_job(Signal::SIGTERM)?;
        // A stopped process takes no notice before it goes on.
        self.signal_job(Signal::SIGCONT)
    }

    fn kill(&mut self, reason: Ended) -> Result<(), Error> {
        self.stopping = None;
        self.killed.get_or_insert(reason);
        self.kill_sent.get_or_insert_with(Instant::now);
        self.stage.kill()
    }

    fn signal_job(&mut self, signal: Signal) -> Result<(), Error> {
        self.tell_stage(ToStage::Signal(signal as i32))
    }

    /// Sends the stage a message, or notes it until the stage has received what was sent before.
    fn tell_stage(&mut self, message: ToStage) -> Result<(), Error> {
        // As in the kernel, a signal that is pending already is not sent once more. The last one counts: to stop and to
        // continue follow each other.
        self.unsent.retain(|unsent| *unsent != message);
        self.unsent.push(message);
        self.send_unsent()
    }

    fn send_unsent(&mut self) -> Result<(), Error> {
        while let Some(message) = self.unsent.first() {
            if self.stage.channel().try_send(message)? == Sent::Full {
                break;
            }
            self.unsent.remove(0);
        }
        Ok(())
    }

    fn release(&self) -> Result<(), Error> {
        match self.stage.channel().send(&ToStage::Release, &[]) {
            // It has ended before it was released; its last words are still to be read.
            Err(Error::Channel { os }) if os.0 == Errno::EPIPE as i32 || os.0 == Errno::ECONNRESET as i32 => {
                Ok(())
            }
            other => other,
        }
    }

    fn finish(mut self) -> Result<Ended, Error> {
        if let Some(relay) = self.relay.take() {
            let was_ended = self.is_told_to_end || self.time.is_up || self.killed.is_some();
            relay.finish(self.signals.as_ref(), was_ended, self.time.deadline);
        }
        self.stage.finish();
        self.files.finish();
        if let Some(killed) = self.killed {
            return Ok(killed);
        }
        match (self.time.is_up, self.exit) {
            (true, _) => Ok(Ended::TimedOut),
            (false, Some(Exit::Code(code))) => Ok(Ended::Code(code)),
            (false, Some(Exit::Signal(signal))) => Ok(Ended::Signal(signal)),
            (false, None) => Err(Error::StageEnded { how: "its init was killed".to_owned() }),
        }
    }
}
