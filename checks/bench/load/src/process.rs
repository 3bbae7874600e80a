//! Children of the benchmark: each has a time limit, and one that passes it is killed, by its id.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::Fallible;

/// No step takes nearly as long.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs a command to its end, which must be exit code 0; how long that took.
pub(crate) fn run(command: &mut Command) -> Fallible<Duration> {
    let start = Instant::now();
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let waited = wait(&mut child);
    let elapsed = start.elapsed();
    waited.map_err(|error| described(command, &error))?;
    Ok(elapsed)
}

/// Runs a command to its end, which must be exit code 0; what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Fallible<String> {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut text = String::new();
    child.stdout.take().ok_or("no standard output")?.read_to_string(&mut text)?;
    wait(&mut child).map_err(|error| described(command, &error))?;
    Ok(text)
}

/// Runs a command to its end, which must be exit code 0; how long its first byte of output took.
pub(crate) fn first_byte(command: &mut Command) -> Fallible<Duration> {
    let start = Instant::now();
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut output = child.stdout.take().ok_or("no standard output")?;
    let mut byte = [0; 1];
    let got = output.read(&mut byte)?;
    let elapsed = start.elapsed();
    output.read_to_end(&mut Vec::new())?;
    wait(&mut child).map_err(|error| described(command, &error))?;
    if got == 0 { Err(described(command, &"it ended without output")) } else { Ok(elapsed) }
}

/// A child that answers lines with lines, and ends when its standard input does.
pub(crate) struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    what: String,
}

impl Conversation {
    pub(crate) fn start(command: &mut Command) -> Fallible<Conversation> {
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Conversation { input: child.stdin.take(), child, output, what: words(command) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> Fallible<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(format!("it ended or took longer than {} s: {}", LIMIT.as_secs(), self.what).into()),
        }
    }

    /// Says a line; the numbers of the answer.
    pub(crate) fn ask(&mut self, line: &str) -> Fallible<Vec<f64>> {
        limit(self.child.id());
        writeln!(self.input.as_mut().ok_or("its input has ended")?, "{line}")?;
        let answer = self.line()?;
        forget(self.child.id());
        match answer.split_once(' ') {
            Some(("ok", numbers)) => {
                Ok(numbers.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?)
            }
            _ => Err(format!("{line}: {answer}").into()),
        }
    }

    /// Its first line. After that it may wait as long as it takes, until it is asked.
    pub(crate) fn first_line(&mut self) -> Fallible<String> {
        let line = self.line()?;
        forget(self.child.id());
        Ok(line)
    }

    /// Ends its standard input and waits for its end, which must be exit code 0.
    pub(crate) fn end(mut self) -> Fallible<()> {
        limit(self.child.id());
        self.input = None;
        wait(&mut self.child).map_err(|error| format!("{error}: {}", self.what).into())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = wait(&mut self.child);
        }
    }
}

fn spawn(command: &mut Command) -> Fallible<Child> {
    let child = command.spawn().map_err(|error| described(command, &error))?;
    limit(child.id());
    Ok(child)
}

fn wait(child: &mut Child) -> Fallible<()> {
    // The id is free for others only once the child is reaped: it must be off the list before that.
    let id = Pid::from_raw(i32::try_from(child.id())?);
    waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    forget(child.id());
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

fn described(command: &Command, error: &dyn Display) -> Box<dyn Error> {
    format!("{error}: {}", words(command)).into()
}

/// The command without its environment, which may hold a token.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Ids of living children and when each must have made progress.
static LIMITS: LazyLock<(Mutex<HashMap<u32, Instant>>, Condvar)> = LazyLock::new(|| {
    std::thread::spawn(kill_late_ones);
    Default::default()
});

fn limit(id: u32) {
    limits().insert(id, Instant::now() + LIMIT);
    LIMITS.1.notify_one();
}

fn forget(id: u32) {
    limits().remove(&id);
}

fn limits() -> MutexGuard<'static, HashMap<u32, Instant>> {
    LIMITS.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_late_ones() {
    let mut limits = limits();
    loop {
        let now = Instant::now();
        limits.retain(|id, limit| {
            if *limit <= now {
                let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
            }
            *limit > now
        });
        let pause = limits.values().min().map_or(LIMIT, |limit| limit.saturating_duration_since(now));
        limits = match LIMITS.1.wait_timeout(limits, pause) {
            Ok((limits, _)) => limits,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}
