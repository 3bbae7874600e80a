//! Programs of the host with a time limit: one that hangs (a stuck engine, a bus that does not answer) must not hang the
//! launcher.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Time limit for a program that only answers a question.
pub const ANSWER: Duration = Duration::from_secs(20);

/// Bytes kept of each stream; the rest is read and dropped.
const LARGEST_OUTPUT: usize = 4 << 20;

/// How long the output may stay open after the program's end: a helper that it left behind may hold it.
const GRACE: Duration = Duration::from_millis(200);

/// Interval between looks at whether the program has ended, where nothing else wakes this process.
const INTERVAL: Duration = Duration::from_millis(5);

/// Runs a program to its end and returns what it printed; its standard input is empty. At the time limit the program and
/// its helpers are killed, and the error is of the kind `TimedOut`.
pub fn output_within(command: &mut Command, limit: Duration) -> io::Result<Output> {
    let child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    attend(child, limit)
}

/// The same, with a standard input that `feed` writes.
pub fn fed_output_within(
    command: &mut Command,
    limit: Duration,
    feed: impl FnOnce(ChildStdin) + Send,
) -> io::Result<Output> {
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let input = child.stdin.take();
    thread::scope(|scope| {
        // When the program is killed, the pipe breaks and this ends, too.
        scope.spawn(|| input.map(feed));
        attend(child, limit)
    })
}

/// Runs a program to its end, with the streams that the command says. It stays in this process group, so that it may ask
/// at the terminal; at the time limit it is killed.
pub fn status_within(command: &mut Command, limit: Duration) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(end(&mut child, limit));
        }
        thread::sleep(INTERVAL);
    }
}

/// Starts the program in a process group of its own: its helpers are killed with it.
fn start(command: &mut Command) -> io::Result<Child> {
    command.process_group(0).spawn()
}

fn attend(mut child: Child, limit: Duration) -> io::Result<Output> {
    let mut deadline = Instant::now() + limit;
    let (sender, chunks) = channel();
    if let Some(stdout) = child.stdout.take() {
        collect(stdout, Stream::Output, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        collect(stderr, Stream::Errors, sender.clone());
    }
    drop(sender);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut status = None;
    loop {
        let is_open = receive(&chunks, &mut stdout, &mut stderr);
        if status.is_none() {
            status = child.try_wait()?;
            if status.is_some() {
                deadline = deadline.min(Instant::now() + GRACE);
            }
        }
        let is_late = Instant::now() >= deadline;
        match status {
            Some(status) if !is_open || is_late => return Ok(Output { status, stdout, stderr }),
            None if is_late => return Err(kill(&mut child, limit)),
            // It has closed its output and goes on.
            None if !is_open => thread::sleep(Duration::from_millis(1)),
            _ => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Output,
    Errors,
}

fn collect(mut pipe: impl Read + Send + 'static, stream: Stream, sender: Sender<(Stream, Vec<u8>)>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let Some(chunk) = buffer.get(..length) else { return };
            if sender.send((stream, chunk.to_vec())).is_err() {
                return;
            }
        }
    });
}

/// Takes what comes within the interval. Returns true if more may come.
fn receive(chunks: &Receiver<(Stream, Vec<u8>)>, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> bool {
    match chunks.recv_timeout(INTERVAL) {
        Ok((stream, chunk)) => {
            let kept = match stream {
                Stream::Output => stdout,
                Stream::Errors => stderr,
            };
            let length = chunk.len().min(LARGEST_OUTPUT.saturating_sub(kept.len()));
            kept.extend(chunk.into_iter().take(length));
            true
        }
        Err(RecvTimeoutError::Timeout) => true,
        Err(RecvTimeoutError::Disconnected) => false,
    }
}

/// Kills the program's process group. It is not waited for yet, so the number is still its own.
fn kill(child: &mut Child, limit: Duration) -> io::Error {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    end(child, limit)
}

fn end(child: &mut Child, limit: Duration) -> io::Error {
    let _ = child.kill();
    let _ = child.wait();
    io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {} s", limit.as_secs_f32()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_it_prints_and_its_end_are_returned() {
        let output = output_within(&mut shell("echo out; echo err >&2; exit 3"), ANSWER).unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        // A shell that waits for itself to be killed, with its output open and with it closed.
        for script in ["while :; do :; done", "exec >&- 2>&-; while :; do :; done"] {
            let error = output_within(&mut shell(script), Duration::from_millis(100)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
            let error = status_within(&mut shell(script), Duration::from_millis(100)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
        }
    }

    #[test]
    fn a_helper_that_holds_the_output_does_not_hold_up_the_answer() {
        let script = "(while :; do :; done) & echo $!";
        let output = output_within(&mut shell(script), Duration::from_secs(60)).unwrap();
        let helper = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(helper), Signal::SIGKILL).unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn input_that_nobody_reads_is_no_reason_to_wait() {
        let endless = |mut input: ChildStdin| while input.write_all(&[0; 4096]).is_ok() {};
        let limit = Duration::from_millis(100);
        let error = fed_output_within(&mut shell("while :; do :; done"), limit, endless).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let feed = |mut input: ChildStdin| input.write_all(b"line\n").unwrap();
        let output = fed_output_within(&mut shell("read x; echo \"$x\""), ANSWER, feed).unwrap();
        assert_eq!(output.stdout, b"line\n");
    }
}
