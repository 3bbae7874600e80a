//! Pid 1 of the jail: builds network and tree, starts the command, passes signals on, reaps. When it ends, the kernel
//! ends everything in the jail.

use std::ffi::CStr;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getsid, sethostname, setpgid, setsid};

use super::durable::Builder;
use super::frozen::Frozen;
use super::sources::{Sources, clone_entry};
use super::tree::Tree;
use super::{base, filter, job, network};
use crate::backend::Error;
use crate::plan::{Network, Plan};
use crate::sys::process::{Forked, SingleThreaded, fork};
use crate::sys::{terminal, uts};
use crate::wire::{Channel, Exit, FromStage, ToStage};

/// What the kernel gives as the NIS domain name of a machine that is in none; the host's own is none of the job's
/// business.
const NO_DOMAIN: &CStr = c"(none)";

/// What the outer stage leaves to init.
pub(crate) struct Inherited {
    /// The plan's sources, if root had to open them.
    pub(crate) sources: Option<Sources>,
    /// The job's standard streams as the launcher has them.
    pub(crate) streams: [OwnedFd; 3],
    /// The limit on open files before the stage raised it.
    pub(crate) open_files: (u64, u64),
    /// Who is told that the tree is complete, if somebody watches it.
    pub(crate) builder: Option<Builder>,
}

/// Is pid 1, or, after a fork, the command.
pub(crate) fn run(
    channel: &Channel,
    proof: SingleThreaded,
    plan: &Plan,
    inherited: Inherited,
) -> Result<ExitCode, Error> {
    // If the outer stage is killed, so are we. (Set here: a change of ids would have cleared it.)
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|os| Error::watch("tie to the stage", os))?;
    if plan.network == Network::Own {
        network::set_up(&plan.listen, channel)?;
    }
    channel.send(&FromStage::Ready, &[])?;

    // The launcher starts its proxy meanwhile. Nothing of the job runs before it says so.
    let file_mask = umask(Mode::empty());
    sethostname(&plan.hostname)
        .and_then(|()| uts::set_domain_name(NO_DOMAIN))
        .map_err(|os| Error::HostName { os: os.into() })?;
    let Inherited { sources, mut streams, open_files, mut builder } = inherited;
    let (writable, terminal) = build_tree(plan, sources, streams.iter().any(IsTerminal::is_terminal))?;
    umask(file_mask);
    builder.as_mut().map_or(Ok(()), Builder::is_built)?;
    let terminal = terminal.map(|master| adopt_terminal(channel, &master, &mut streams)).transpose()?;

    // Also for init, and early: the kernel's look at a filter takes the better part of a millisecond.
    prctl::set_no_new_privs().map_err(|os| Error::watch("set no_new_privs", os))?;
    filter::apply(&plan.weakened, plan.limits.disk.is_some())?;
    builder.map_or(Ok(()), Builder::await_watcher)?;

    let processes = Some(plan.limits.pids.unwrap_or(job::DEFAULT_PROCESSES));
    match serve(channel, proof, plan, job::Setting { streams, terminal, writable, open_files, processes })? {
        Role::Command(code) | Role::Init(code) => Ok(code),
    }
}

/// Who comes back from [`serve`].
pub(crate) enum Role {
    /// The command's process, which could not become the command.
    Command(ExitCode),
    /// Pid 1, after the command's end or at the launcher's word.
    Init(ExitCode),
}

/// Waits for the launcher's word, starts the command, and reaps until it has ended.
pub(crate) fn serve(
    channel: &Channel,
    proof: SingleThreaded,
    plan: &Plan,
    setting: job::Setting,
) -> Result<Role, Error> {
    match channel.receive()? {
        Some((ToStage::Release, _)) => {}
        _ => return Ok(Role::Init(ExitCode::FAILURE)),
    }
    // The job could read our memory and descriptors through /proc otherwise: it has our user id.
    prctl::set_dumpable(false).map_err(|os| Error::watch("become undumpable", os))?;
    // A container's pid 1 leads one already.
    if getsid(None) != Ok(getpid()) {
        setsid().map_err(|os| Error::watch("start a session", os))?;
    }
    if let Some(terminal) = &setting.terminal {
        terminal::take_as_controlling(terminal.as_fd()).map_err(|os| terminal_failed("take it", os))?;
    }
    let children = SigSet::from(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|os| Error::watch("catch the end of processes", os))?;

    match fork(proof).map_err(|os| Error::Fork { os: os.into() })? {
        Forked::Child => job::exec(plan, &setting).map(Role::Command),
        Forked::Parent(command) => {
            let job::Setting { streams, terminal, .. } = setting;
            drop(streams);
            // Both sides do it, so that neither depends on who runs first.
            let _ = setpgid(command, command);
            let code = watch_over(channel, &children, command).map(Role::Init);
            // Held until the end: a job that closes its terminal for a moment would otherwise have hung it up.
            drop(terminal);
            code
        }
    }
}

fn build_tree(
    plan: &Plan,
    sources: Option<Sources>,
    terminal: bool,
) -> Result<(Vec<std::path::PathBuf>, Option<OwnedFd>), Error> {
    let mut tree = Tree::mount(&plan.given)?;
    base::lay(&mut tree)?;
    let master = base::add_devices(&mut tree, terminal)?;
    match sources {
        Some(sources) => {
            for (entry, sources) in plan.tree.iter().zip(sources) {
                tree.add(entry, sources)?;
            }
        }
        None => {
            for entry in &plan.tree {
                tree.add(entry, clone_entry(entry, None)?)?;
            }
        }
    }
    tree.restrict_rest()?;
    base::add_proc(&mut tree)?;
    Ok((tree.enter()?, master))
}

/// Gives the job a terminal of its own in place of the host's, set up like that one; the launcher gets the other side.
pub(crate) fn adopt_terminal(
    channel: &Channel,
    master: &OwnedFd,
    streams: &mut [OwnedFd; 3],
) -> Result<OwnedFd, Error> {
    let slave = terminal::open_slave(master.as_fd()).map_err(|os| terminal_failed("open it", os))?;
    let mut like_outside = true;
    for stream in streams.iter_mut().filter(|stream| stream.is_terminal()) {
        if like_outside {
            let settings =
                tcgetattr(&*stream).and_then(|outside| tcsetattr(&slave, SetArg::TCSANOW, &outside));
            let size = terminal::window_size(stream.as_fd())
                .and_then(|size| terminal::set_window_size(slave.as_fd(), size));
            settings.and(size).map_err(|os| terminal_failed("set it up", os))?;
            like_outside = false;
        }
        *stream = slave
            .try_clone()
            .map_err(|error| Error::Terminal { step: "pass it on".to_owned(), os: error.into() })?;
    }
    channel.send(&FromStage::Terminal, &[master.as_fd()])?;
    Ok(slave)
}

fn watch_over(channel: &Channel, children: &SignalFd, command: Pid) -> Result<ExitCode, Error> {
    let mut reaped = Reaped::All;
    let mut frozen = None;
    loop {
        let mut events = [
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(channel.as_fd(), PollFlags::POLLIN),
        ];
        let wait = if reaped == Reaped::Some { PollTimeout::ZERO } else { PollTimeout::NONE };
        match poll(&mut events, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(os) => return Err(Error::watch("poll", os)),
        }
        let [ended, told] = events.map(|event| event.revents().is_some_and(|flags| !flags.is_empty()));
        if ended || reaped == Reaped::Some {
            // Once: the signal is pending again as soon as another child ends.
            let _ = children.read_signal();
            reaped = reap(channel, command)?;
            if let Reaped::Command(exit) = reaped {
                channel.send(&FromStage::Exited(exit), &[])?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        if told {
            match channel.receive()? {
                Some((ToStage::Signal(number), _)) => {
                    if number == Signal::SIGCONT as i32
                        && let Some(frozen) = frozen.take()
                    {
                        Frozen::thaw(frozen);
                    }
                    pass_on(command, number);
                }
                Some((ToStage::Freeze, _)) => {
                    frozen.get_or_insert_with(Frozen::freeze);
                    channel.send(&FromStage::Frozen, &[])?;
                }
                // To end is to end everything.
                Some((ToStage::Kill, _)) | None => return Ok(ExitCode::FAILURE),
                Some((other, _)) => return Err(Error::Message(format!("{other:?} out of turn"))),
            }
        }
    }
}

/// What a turn of reaping came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaped {
    /// Every process that had ended.
    All,
    /// As many as one turn may take; there may be more.
    Some,
    /// The command, which ended so.
    Command(Exit),
}

/// Reaps processes that have ended. A job can end processes faster than they are reaped: a turn takes few of them, so
/// that the launcher is heard in between.
fn reap(channel: &Channel, command: Pid) -> Result<Reaped, Error> {
    const MOST: usize = 64;
    for _ in 0..MOST {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => {
                return Ok(Reaped::Command(Exit::Code(code as u8)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                return Ok(Reaped::Command(Exit::Signal(signal as i32)));
            }
            Ok(WaitStatus::Stopped(pid, signal)) if pid == command => {
                channel.send(&FromStage::Stopped(signal as i32), &[])?;
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(Reaped::All),
            // An orphan of the job, or a signal that nix cannot name.
            Ok(_) | Err(Errno::EINTR | Errno::EINVAL) => {}
            Err(os) => return Err(Error::watch("wait", os)),
        }
    }
    Ok(Reaped::Some)
}

fn pass_on(command: Pid, number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        // The group may have ended a moment ago.
        let _ = killpg(command, signal);
    }
}

pub(crate) fn terminal_failed(step: &str, os: Errno) -> Error {
    Error::Terminal { step: step.to_owned(), os: os.into() }
}
