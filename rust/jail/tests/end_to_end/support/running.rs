//! A job at work.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use tempfile::TempDir;

use super::{Captured, Ended, Jail, PATIENCE, backend};

/// A job, and its launcher as a child of the test.
pub(crate) struct Running {
    /// Standard output as it comes.
    pub(crate) stdout: Captured,
    /// Standard error as it comes.
    pub(crate) stderr: Captured,
    launcher: Pid,
    input: Option<ChildStdin>,
    end: Receiver<ExitStatus>,
    ended: bool,
    /// What to show and to search at the end.
    command_line: String,
    state: std::path::PathBuf,
    secrets: Vec<String>,
    position: usize,
    _place: Arc<TempDir>,
}

impl Running {
    /// Starts `command`; `input` is all that it can read, unless it is empty: then the stream stays open for
    /// [`Running::writes`] until the end is awaited.
    #[track_caller]
    pub(super) fn start(mut command: Command, jail: &Jail, input: &[u8]) -> Running {
        let command_line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command_line}: {error}"));
        let stdout = Captured::of(child.stdout.take().unwrap());
        let stderr = Captured::of(child.stderr.take().unwrap());
        let launcher = Pid::from_raw(child.id().try_into().unwrap());
        let mut stdin = child.stdin.take();
        if !input.is_empty() {
            let (mut pipe, input) = (stdin.take().unwrap(), input.to_vec());
            // The job may end without reading; that is for the test to judge.
            std::thread::spawn(move || drop(pipe.write_all(&input)));
        }
        Running {
            stdout,
            stderr,
            launcher,
            input: stdin,
            end: end_of(child),
            ended: false,
            command_line,
            state: jail.state(),
            secrets: jail.secrets().to_vec(),
            position: 0,
            _place: jail.keep(),
        }
    }

    /// The launcher's process.
    pub(crate) fn launcher(&self) -> Pid {
        self.launcher
    }

    /// Waits until the job has printed `text`, after what was waited for before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Running {
        match self.stdout.try_wait_for(text, self.position) {
            Ok(position) => self.position = position,
            Err(why) => panic!(
                "{}\n{why}\n--- standard error\n{}",
                self.command_line,
                String::from_utf8_lossy(&self.stderr.so_far())
            ),
        }
        self
    }

    /// Writes to the job's standard input.
    #[track_caller]
    pub(crate) fn writes(&mut self, bytes: &[u8]) -> &mut Running {
        let input = self.input.as_mut().expect("standard input was given away or closed");
        input.write_all(bytes).and_then(|()| input.flush()).unwrap();
        self
    }

    /// Closes the job's standard input.
    pub(crate) fn closes_input(&mut self) -> &mut Running {
        self.input = None;
        self
    }

    /// Sends the launcher a signal.
    #[track_caller]
    pub(crate) fn signal(&mut self, signal: Signal) -> &mut Running {
        kill(self.launcher, signal).unwrap();
        self
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Ended {
        self.input = None;
        let Ok(status) = self.end.recv_timeout(PATIENCE) else {
            panic!(
                "{}\ndid not end in {PATIENCE:?}\nstandard output:\n{}\nstandard error:\n{}",
                self.command_line,
                String::from_utf8_lossy(&self.stdout.so_far()),
                String::from_utf8_lossy(&self.stderr.so_far())
            );
        };
        self.ended = true;
        // Both streams end with the last process that holds them: a job that left one behind would be noticed here.
        let (stdout, stderr) = (self.stdout.to_end(), self.stderr.to_end());
        Ended::new(std::mem::take(&mut self.command_line), status, stdout, stderr, &self.state, &self.secrets)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended && self.end.try_recv().is_err() {
            let _ = kill(self.launcher, Signal::SIGKILL);
        }
    }
}

/// The end of a child, told by a thread that waits for it.
pub(super) fn end_of(mut child: Child) -> Receiver<ExitStatus> {
    let (told, end) = channel();
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = told.send(status);
        }
    });
    end
}

/// A handle on every process below `launcher`, itself and what is in its container included: by process file
/// descriptor, which never names another.
pub(crate) fn descendants(launcher: Pid) -> Vec<(Pid, OwnedFd)> {
    let mut found = vec![launcher];
    found.extend(backend::in_container(launcher));
    let mut next = 0;
    let parents: Vec<(Pid, Pid)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?);
            Some((pid, backend::parent(pid)?))
        })
        .collect();
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    let open = |pid: Pid| pidfd_open(rustix::process::Pid::from_raw(pid.as_raw())?, PidfdFlags::empty()).ok();
    found.into_iter().filter_map(|pid| Some((pid, open(pid)?))).collect()
}

/// Waits until each of the processes has ended.
#[track_caller]
pub(crate) fn gone(processes: &[(Pid, OwnedFd)]) {
    for (pid, descriptor) in processes {
        let mut awaited = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut awaited, PollTimeout::from(20_000u16)).unwrap();
        assert!(ready > 0, "process {pid} is still there");
    }
}
