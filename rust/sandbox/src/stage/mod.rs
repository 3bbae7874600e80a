//! The stage: a fresh process of the launcher's own program, with one thread, that makes a jail around itself.
//!
//! ```text
//! launcher ── outer stage ── init (pid 1 of the jail) ── the command and what it starts
//!             host's pids    jail's pids
//! ```
//! The outer stage makes the namespaces and then only watches: when the launcher is gone, however it ended, it kills
//! init, and the kernel kills everything inside. Init builds the network and the file tree, starts the command and
//! reaps. Both trust nothing that comes from the job, and hold no secret.

pub(crate) mod base;
pub mod container;
mod durable;
pub(crate) mod filter;
mod frozen;
mod holders;
mod init;
pub(crate) mod job;
mod landlock;
pub(crate) mod limits;
pub(crate) mod lookup;
pub(crate) mod mounted;
pub(crate) mod network;
mod old;
mod overlay;
pub(crate) mod remedy;
mod sources;
pub(crate) mod tree;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use self::durable::{Meeting, Waiting, Watcher};
use crate::backend::Error;
use crate::plan::Network;
use crate::sys::process::{Forked, SingleThreaded, fork, pidfd_open};
use crate::wire::{Channel, FromStage, Identity, ToStage, read_plan};

/// The first argument that tells the program to be a stage.
pub const ARGUMENT: &str = "__stage";

/// The second argument that tells a stage to try whether it could work, and no more.
pub(crate) const PROBE: &str = "probe";

/// How the stage is started by hand: not at all.
pub(crate) const NOT_FOR_PEOPLE: u8 = 2;

/// Whether this process is to be a stage.
pub fn is_wanted(first_argument: Option<&OsStr>) -> bool {
    first_argument == Some(OsStr::new(ARGUMENT))
}

/// Is the stage. Call it first thing in `main`, before any thread is started; its end is the program's end.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(2).is_some_and(|argument| argument == PROBE) {
        return ExitCode::from(probe());
    }
    let (Some(channel), Some(proof)) = (inherited_channel(), SingleThreaded::check()) else {
        eprintln!("jail: `{ARGUMENT}` is how the jail starts itself; it is not for use by hand");
        return ExitCode::from(NOT_FOR_PEOPLE);
    };
    match run(&channel, proof) {
        Ok(code) => code,
        Err(error) => {
            // If this cannot be said either, the launcher sees the end of the conversation.
            let _ = channel.send(&FromStage::Failed(error), &[]);
            ExitCode::FAILURE
        }
    }
}

/// Exit codes of a stage that only tries: what it could not make.
pub(crate) const NO_NAMESPACES: u8 = 1;
pub(crate) const NO_PROC: u8 = 3;

/// Tries to make the namespaces of a jail, and to mount a `/proc` of its own in them.
fn probe() -> u8 {
    if unshare(CloneFlags::CLONE_NEWUSER).is_err() || enter_other_namespaces(Network::Own).is_err() {
        return NO_NAMESPACES;
    }
    let Some(proof) = SingleThreaded::check() else { return NO_NAMESPACES };
    match fork(proof) {
        // The new namespace for processes begins with a child; its mounts are seen by nobody else.
        Ok(Forked::Child) => u8::from(base::try_proc().is_err()),
        Ok(Forked::Parent(child)) => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => 0,
            _ => NO_PROC,
        },
        Err(_) => NO_NAMESPACES,
    }
}

fn run(channel: &Channel, proof: SingleThreaded) -> Result<ExitCode, Error> {
    // Nothing but SIGKILL and SIGSTOP reaches us or init: signals are passed to the job by message.
    SigSet::all().thread_set_mask().map_err(|os| Error::watch("block signals", os))?;
    let Some((ToStage::Begin { identity }, fds)) = channel.receive()? else {
        return Ok(ExitCode::FAILURE);
    };
    let [plan, stdin, stdout, stderr] = <[OwnedFd; 4]>::try_from(fds)
        .map_err(|fds| Error::Message(format!("{} descriptors instead of 4", fds.len())))?;
    let plan: crate::plan::Plan = read_plan(plan)?;
    let open_files = raise_open_files()?;
    limits::turn_core_files_off()?;
    // The job is the first to go when memory runs out, not what else the user runs.
    let _ = std::fs::write("/proc/self/oom_score_adj", "300");

    // Root opens what it binds while it still is root; an ordinary user is nobody else afterwards.
    let sources = match identity.kernel_id {
        Some(kernel_id) => Some(sources::clone_all(&plan.tree, kernel_id, proof)?),
        None => None,
    };
    enter_user_namespace(channel, identity)?;
    enter_other_namespaces(plan.network)?;
    let meeting = Meeting::of(&plan)?;

    match fork(proof).map_err(|os| Error::Fork { os: os.into() })? {
        Forked::Child => init::run(
            channel,
            proof,
            &plan,
            init::Inherited {
                sources,
                streams: [stdin, stdout, stderr],
                open_files,
                builder: meeting.map(Meeting::builder),
            },
        ),
        Forked::Parent(init) => {
            let waiting = meeting.map(|meeting| meeting.waiting(&plan));
            // Held open, the job's pipes would not end with it.
            drop((plan, sources, stdin, stdout, stderr));
            let guarded = pidfd_open(init).map_err(|os| Error::watch("open a pidfd", os)).and_then(|ended| {
                channel.send(&FromStage::Init(init.as_raw()), &[ended.as_fd()])?;
                let mut watcher = waiting.map_or(Ok(None), Waiting::watch)?;
                guard(channel, init, &ended, watcher.as_mut())
            });
            if guarded.is_err() {
                // Nothing of the job is left when the launcher hears of it.
                let _ = kill(init, Signal::SIGKILL);
                let _ = waitpid(init, None);
            }
            guarded?;
            channel.send(&FromStage::Gone, &[])?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Waits for init's end, and brings it about when the launcher is gone. Meanwhile protected files stay protected.
fn guard(
    channel: &Channel,
    init: Pid,
    ended: &OwnedFd,
    mut watcher: Option<&mut Watcher>,
) -> Result<(), Error> {
    loop {
        // Init is the one who reads: of the channel only its end counts here.
        let mut events = vec![
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            PollFd::new(channel.as_fd(), PollFlags::empty()),
        ];
        if let Some(watcher) = &watcher {
            events.push(PollFd::new(watcher.names(), PollFlags::POLLIN));
            events.extend(watcher.table().map(|table| PollFd::new(table, PollFlags::POLLPRI)));
        }
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(os) => return Err(Error::watch("poll", os)),
        }
        let mut happened = events.iter().map(|event| event.revents().is_some_and(|flags| !flags.is_empty()));
        let [end, hangup, name, mount] = std::array::from_fn(|_| happened.next().unwrap_or(false));
        drop(happened);
        drop(events);
        if let Some(watcher) = &mut watcher
            && (name || mount)
            && !hangup
            && !end
        {
            watcher.act(mount)?;
        }
        if hangup && !end {
            let _ = kill(init, Signal::SIGKILL);
        }
        if hangup || end {
            // Returns when init is reaped, which the kernel allows only after everything else in the jail is.
            return waitpid(init, None).map(drop).map_err(|os| Error::watch("wait", os));
        }
    }
}

pub(crate) fn inherited_channel() -> Option<Channel> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let kind = getsockopt(&fd, sockopt::SockType).ok()?;
    (kind == SockType::SeqPacket).then(|| Channel::inherited(fd))
}

/// Cloned trees are descriptors, and a closure may have more of them than the usual soft limit. Returns the limit as
/// it was, which the job gets back.
fn raise_open_files() -> Result<(u64, u64), Error> {
    let limits = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard)));
    limits.map_err(|os| Error::Limit { what: "open files".to_owned(), os: os.into() })
}

fn enter_user_namespace(channel: &Channel, identity: Identity) -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(remedy::user_namespace)?;
    channel.send(&FromStage::Unshared, &[])?;
    match channel.receive()? {
        Some((ToStage::Mapped, _)) => {}
        _ => return Err(Error::Message("the ids were not mapped".to_owned())),
    }
    let Identity { inside_uid, inside_gid, kernel_id } = identity;
    if kernel_id.is_none() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(inside_uid), Gid::from_raw(inside_gid));
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|os| Error::TakeIds { uid: inside_uid, os: os.into() })
}

fn enter_other_namespaces(network: Network) -> Result<(), Error> {
    let mut all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    if network == Network::Own {
        all |= CloneFlags::CLONE_NEWNET;
    }
    match unshare(all | CloneFlags::CLONE_NEWCGROUP) {
        // A kernel without control groups has nothing to hide there.
        Err(Errno::EINVAL) => unshare(all),
        other => other,
    }
    .map_err(remedy::namespaces)
}
