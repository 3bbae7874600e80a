//! Starts a stage and takes its listeners.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::{self, Enforcement, Scope};
use super::{identity, proof};
use crate::backend::disk::Disk;
use crate::backend::files::standard_streams;
use crate::backend::run::{self, Stage as _, Waiting};
use crate::backend::{Error, Listeners};
use crate::host_program::{command_at, this_program};
use crate::plan::Plan;
use crate::stage;
use crate::sys::process::pidfd_send_signal;
use crate::wire::{Channel, FromStage, ToStage, seal_plan};

/// A stage at work.
pub(in crate::backend) struct Stage {
    channel: Channel,
    child: Child,
    /// A pidfd of the jail's pid 1, once it is known.
    init: Option<OwnedFd>,
    /// The job's terminal, which may come before it is asked for.
    early_terminal: Option<OwnedFd>,
    /// Whether systemd's program has still to become the stage.
    awaits_scope: bool,
    /// Whether every process of the jail is gone.
    is_over: bool,
    // Dropped when the stage is gone, without which it is empty and can be removed.
    group: Option<cgroup::Group>,
}

/// Starts a stage for the plan and lets it make everything up to the command.
pub(in crate::backend) fn start(
    plan: &Plan,
    enforcement: impl FnOnce() -> Result<Enforcement, Error>,
) -> Result<Waiting<Stage>, Error> {
    if plan.command.is_empty() {
        return Err(Error::NoCommand);
    }
    reap_left();
    let disk = Disk::of(plan, None)?;
    let (streams, files) = standard_streams()?;
    let file = seal_plan(plan)?;
    let (scope, group, mut notices) = match enforcement()? {
        Enforcement::Unneeded => (None, None, Vec::new()),
        Enforcement::Scope(scope) => (Some(scope), None, Vec::new()),
        Enforcement::Group(group) => (None, Some(group), Vec::new()),
        Enforcement::None(sentences) => (None, None, sentences),
    };
    let mut stage = spawn(scope.as_ref())?;
    let pid = Pid::from_raw(stage.child.id() as i32);
    if let Some(group) = group {
        group.take(pid)?;
        stage.group = Some(group);
    }
    let identity = identity::of_job(pid);
    let [stdin, stdout, stderr] = &streams;
    let fds = [file.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let begun = stage.channel.send(&ToStage::Begin { identity }, &fds);
    if scope.is_none() {
        begun?;
    }

    let mut listeners = Listeners::default();
    // The outer stage and init speak at the same time.
    let (mut init, mut ready) = (None, false);
    let init = loop {
        if let (Some(init), true) = (init, ready) {
            break init;
        }
        match stage.next()? {
            (FromStage::Unshared, _) => {
                if std::mem::take(&mut stage.awaits_scope) {
                    notices = cgroup::unenforced(pid, &plan.limits);
                }
                identity::map(pid, identity).map_err(|error| {
                    stage::remedy::map_ids(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
                })?;
                stage.channel.send(&ToStage::Mapped, &[])?;
            }
            (FromStage::Init(number), fds) => {
                let [process] = <[OwnedFd; 1]>::try_from(fds)
                    .map_err(|_| Error::Message("a pid 1 without its descriptor".to_owned()))?;
                (init, stage.init) = (Some(Pid::from_raw(number)), Some(process));
            }
            (FromStage::Listeners { tcp, udp }, fds) => add(&mut listeners, &tcp, &udp, fds)?,
            (FromStage::Ready, _) => ready = true,
            (FromStage::Terminal, fds) => stage.early_terminal = fds.into_iter().next(),
            (other, _) => return Err(Error::Message(format!("{other:?} out of turn"))),
        }
    };
    if let Err(unproven) = proof::isolated(init, plan.network) {
        // Init goes on building meanwhile. If it has failed and is gone, that is the reason to tell.
        return Err(stage.last_words().unwrap_or(unproven));
    }
    Ok(Waiting { stage, listeners, notices, timeout: plan.limits.timeout, disk, files, lifeline: None })
}

impl Stage {
    /// Why the stage has ended, if it says so.
    fn last_words(&mut self) -> Option<Error> {
        let _ = shutdown(self.channel.as_fd().as_raw_fd(), Shutdown::Write);
        loop {
            match self.channel.receive() {
                Ok(Some((FromStage::Failed(error), _))) => return Some(error),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl run::Stage for Stage {
    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.early_terminal.take()
    }

    fn carrier(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next(&mut self) -> Result<(FromStage, Vec<OwnedFd>), Error> {
        match self.channel.receive()? {
            Some((FromStage::Failed(error), _)) => Err(error),
            Some((FromStage::Gone, fds)) => {
                self.is_over = true;
                Ok((FromStage::Gone, fds))
            }
            Some(message) => Ok(message),
            None => {
                let how =
                    self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(if self.awaits_scope { Error::Scope { how } } else { Error::StageEnded { how } })
            }
        }
    }

    fn kill(&mut self) -> Result<(), Error> {
        let Some(init) = &self.init else { return Ok(()) };
        match pidfd_send_signal(init.as_fd(), Signal::SIGKILL) {
            // It has ended, and the stage says so.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(os) => Err(Error::watch("kill the job", os)),
        }
    }

    fn finish(&mut self) {
        if self.group.is_some() {
            let _ = self.child.wait();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The end of the conversation is the end of the jail; no process of the job is left when this returns.
        let _ = shutdown(self.channel.as_fd().as_raw_fd(), Shutdown::Both);
        if !self.is_over {
            let _ = self.child.wait();
        } else if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // All that is left is the stage itself, in the kernel: taking thousands of mounts down takes a while.
            leave(self.child.id());
        }
    }
}

/// Stages whose jails are over, to be reaped when they have ended.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn leave(stage: u32) {
    if let Ok(mut left) = LEFT.lock() {
        left.push(Pid::from_raw(stage as i32));
    }
}

fn reap_left() {
    if let Ok(mut left) = LEFT.lock() {
        left.retain(|stage| {
            matches!(waitpid(*stage, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
        });
    }
}

/// A fresh process of this program: the launcher has threads, and a fork of it could not do what the stage does. The
/// channel is its standard input, so that no descriptor has to be made inheritable for a moment, when another thread
/// might start a program.
///
/// In a `scope` it is systemd's program that becomes the stage.
fn spawn(scope: Option<&Scope>) -> Result<Stage, Error> {
    let failed = |error: std::io::Error| Error::StartStage { os: error.into() };
    let (channel, theirs) = Channel::pair()?;
    let mut command = match scope.map(|scope| (scope, scope.words.as_slice())) {
        Some((scope, [program, words @ ..])) => {
            let mut command = command_at(Path::new(program));
            command.env_clear().envs(scope.environment.iter().map(|(name, value)| (name, value)));
            // There /proc/self is another program first.
            command.args(words).arg(std::env::current_exe().map_err(failed)?);
            command
        }
        _ => {
            let mut command = this_program();
            command.arg0("jail");
            command
        }
    };
    let child = command
        .arg(stage::ARGUMENT)
        .stdin(theirs)
        .stdout(Stdio::null())
        // Of the terminal's signals and stops the stage wants none.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    Ok(Stage {
        channel,
        child,
        init: None,
        early_terminal: None,
        awaits_scope: scope.is_some(),
        is_over: false,
        group: None,
    })
}

pub(in crate::backend) fn add(
    listeners: &mut Listeners,
    tcp: &[u16],
    udp: &[u16],
    fds: Vec<OwnedFd>,
) -> Result<(), Error> {
    if fds.len() != tcp.len() + udp.len() {
        return Err(Error::Message(format!("{} sockets instead of {}", fds.len(), tcp.len() + udp.len())));
    }
    let mut fds = fds.into_iter();
    listeners.tcp.extend(tcp.iter().copied().zip(fds.by_ref().map(TcpListener::from)));
    listeners.udp.extend(udp.iter().copied().zip(fds.map(UdpSocket::from)));
    Ok(())
}
