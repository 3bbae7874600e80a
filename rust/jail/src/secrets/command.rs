//! Secrets that a program prints (`op read …`, `pass show …`).

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use sandbox::host_program::{HostProgramError, HostPrograms};

use super::{Bytes, MAX_SOURCE_BYTES, Miss, file};

/// How long the output may stay open after the program's end: a helper that it left behind may hold it for ever.
const GRACE: Duration = Duration::from_millis(200);

/// Runs a program and takes what it prints.
pub(super) fn read(argv: &[String], programs: &HostPrograms, time_limit: Duration) -> Result<Bytes, Miss> {
    let mut child = spawn(argv, programs)?;
    let outcome = attend(&mut child, time_limit);
    if outcome.is_err() {
        kill(&mut child);
    }
    let (status, output, errors) = outcome?;
    if !status.success() {
        let ending = match status.signal() {
            Some(signal) => format!("was ended by signal {signal}"),
            None => format!("failed with code {}", status.code().unwrap_or_default()),
        };
        return Err(Miss::broken(
            format!("`{}` {ending}{}", argv[0], last_lines(&errors)),
            "run the command by hand to see what it needs (a login, an unlocked store)",
        ));
    }
    Ok(output)
}

fn spawn(argv: &[String], programs: &HostPrograms) -> Result<Child, Miss> {
    let mut command = programs.command(&argv[0]).map_err(|error| match error {
        // A preset may list several password managers: the one that is not installed is passed over.
        HostProgramError::NotFound { .. } => Miss::Absent(error.to_string()),
        error => Miss::broken(error.to_string(), "name a program that no job can change"),
    })?;
    // A group of its own, so that its helpers end with it and the terminal's ^C does not reach it half-way.
    command
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| {
            Miss::broken(format!("cannot start `{}`: {error}", argv[0]), "name a program that can be run")
        })
}

enum Event {
    Said(Stream, Bytes),
    Closed,
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "the end of its output is what tells there")
    )]
    Ended,
}

#[derive(Clone, Copy)]
enum Stream {
    Output,
    Errors,
}

/// Waits for the end of a program, and takes what it printed by then.
fn attend(child: &mut Child, time_limit: Duration) -> Result<(ExitStatus, Bytes, Bytes), Miss> {
    let events = watch(child);
    // Room for everything from the start: a vector that grows leaves copies behind which nobody wipes.
    let mut output = Zeroizing::new(Vec::with_capacity(MAX_SOURCE_BYTES));
    let mut errors = Bytes::default();
    let mut deadline = Instant::now() + time_limit;
    let (mut open, mut ended) = (2, false);
    while open > 0 {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Said(Stream::Output, bytes)) => {
                if output.len() + bytes.len() > MAX_SOURCE_BYTES {
                    return Err(file::too_big("what it prints"));
                }
                output.extend_from_slice(&bytes);
            }
            Ok(Event::Said(Stream::Errors, bytes)) => {
                errors.extend_from_slice(&bytes);
                // The last lines are shown: the rest is not kept.
                let surplus = errors.len().saturating_sub(MAX_SOURCE_BYTES);
                errors.drain(..surplus);
            }
            Ok(Event::Closed) => open -= 1,
            Ok(Event::Ended) => {
                ended = true;
                deadline = deadline.min(Instant::now() + GRACE);
            }
            Err(_) if ended => break,
            Err(_) => {
                return Err(Miss::broken(
                    format!("the command did not end within {} s", time_limit.as_secs_f32()),
                    "run it by hand: it may wait for an unlock or a touch",
                ));
            }
        }
    }
    let status =
        child.wait().map_err(|error| Miss::broken(format!("cannot wait for it: {error}"), "try again"))?;
    Ok((status, output, errors))
}

fn watch(child: &mut Child) -> Receiver<Event> {
    let (sender, events) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        collect(output, Stream::Output, sender.clone());
    }
    if let Some(errors) = child.stderr.take() {
        collect(errors, Stream::Errors, sender.clone());
    }
    #[cfg(target_os = "linux")]
    {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let pid = Pid::from_raw(child.id().cast_signed());
        // WNOWAIT leaves the number taken, so that a later kill cannot hit a stranger.
        thread::spawn(move || {
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let _ = sender.send(Event::Ended);
        });
    }
    events
}

fn collect(mut pipe: impl Read + Send + 'static, stream: Stream, sender: Sender<Event>) {
    thread::spawn(move || {
        let mut buffer = Zeroizing::new([0; 4096]);
        // An unreadable pipe is a closed one: the program's exit code tells the rest.
        while let Ok(length @ 1..) = pipe.read(&mut buffer[..]) {
            if sender.send(Event::Said(stream, Zeroizing::new(buffer[..length].to_vec()))).is_err() {
                return;
            }
        }
        let _ = sender.send(Event::Closed);
    });
}

/// Ends the program and its helpers. It is not waited for yet, so its number is still its own.
fn kill(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}

fn last_lines(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let printable = |line: &str| line.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).rev().take(3).map(printable).collect();
    lines.reverse();
    if lines.is_empty() { String::new() } else { format!(" and said: {}", lines.join(" / ")) }
}
