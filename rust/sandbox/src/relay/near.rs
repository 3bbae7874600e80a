//! The end on this host: a process of its own, in a network namespace of its own, in which the proxy's listeners are.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::unistd::setsid;

use super::error::broken;
use super::lanes::{End, Event, Lanes};
use super::streams::{STDERR, STDOUT, Size, Streams, TERMINAL, launchers_terminal};
use super::{ToFar, ToNear, take_descriptors};
use crate::backend::Error;
use crate::stage::{NOT_FOR_PEOPLE, filter, inherited_channel, network, remedy};
use crate::sys::capabilities;
use crate::wire::{Channel, FromStage, Furnishing, ToStage, read_sealed, seal_bytes};

/// The first argument that tells the program to be the near end of a relay.
pub const ARGUMENT: &str = "__relay";

/// Whether this process is to be the near end.
pub fn is_wanted(first_argument: Option<&OsStr>) -> bool {
    first_argument == Some(OsStr::new(ARGUMENT))
}

/// Is the near end. Call it first thing in `main`, before any thread is started.
pub fn main() -> ExitCode {
    let Some(channel) = inherited_channel() else {
        eprintln!("jail: `{ARGUMENT}` is how the jail starts itself; it is not for use by hand");
        return ExitCode::from(NOT_FOR_PEOPLE);
    };
    match run(&channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = channel.send(&FromStage::Failed(error), &[]);
            ExitCode::FAILURE
        }
    }
}

fn run(channel: &Channel) -> Result<(), Error> {
    SigSet::all().thread_set_mask().map_err(|os| Error::watch("block signals", os))?;
    setsid().map_err(|os| Error::watch("start a session", os))?;
    let Some((ToStage::Begin { identity }, fds)) = channel.receive()? else { return Ok(()) };
    let [furnishing, stdin, stdout, stderr, input, output] = <[OwnedFd; 6]>::try_from(fds)
        .map_err(|fds| Error::Message(format!("{} descriptors instead of 6", fds.len())))?;
    let furnishing = read_sealed(furnishing)?;
    let plan: Furnishing =
        postcard::from_bytes(&furnishing).map_err(|error| Error::Message(error.to_string()))?;
    let job = [stdin, stdout, stderr];
    let streams = Streams::of(&job)?;
    let terminal = streams.has_terminal().then(launchers_terminal).transpose()?;
    let (master, slave) = terminal.map(|pair| (pair.master, pair.slave)).unzip();

    unshare(CloneFlags::CLONE_NEWUSER).map_err(remedy::user_namespace)?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(remedy::namespaces)?;
    let namespace = openat(AT_FDCWD, "/proc/self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|os| Error::Proof { namespace: "net".to_owned(), os: os.into() })?;
    network::set_up(&plan.plan.listen, channel)?;
    let most = take_descriptors()?;
    restrict(&plan)?;
    drop(plan);

    let mut lanes = Lanes::over(input, output)?;
    streams.join(&mut lanes, job);
    lanes.say(&ToFar::Begin { identity, furnishing, streams })?;
    Near { channel, lanes, namespace, master, slave, most, is_over: false }.serve()
}

/// From here on it is the job's equal: no capability in its namespace, the job's own system calls.
fn restrict(plan: &Furnishing) -> Result<(), Error> {
    let privileges = |step: &str, os: Errno| Error::Privileges { step: step.to_owned(), os: os.into() };
    capabilities::bound().map_err(|os| privileges("empty the bounding set", os))?;
    capabilities::drop_all().map_err(|os| privileges("drop capabilities", os))?;
    prctl::set_dumpable(false).map_err(|os| privileges("become undumpable", os))?;
    prctl::set_no_new_privs().map_err(|os| privileges("set no_new_privs", os))?;
    filter::apply(&plan.plan.weakened, false)
}

struct Near<'a> {
    channel: &'a Channel,
    lanes: Lanes,
    /// Whose network this is.
    namespace: OwnedFd,
    /// The launcher's side of what stands in for the job's terminal, until it is handed over.
    master: Option<OwnedFd>,
    /// Our side.
    slave: Option<OwnedFd>,
    /// The most connections.
    most: usize,
    /// Whether every process of the job is gone.
    is_over: bool,
}

impl Near<'_> {
    fn serve(mut self) -> Result<(), Error> {
        let resizes = SignalFd::with_flags(
            &SigSet::from(Signal::SIGWINCH),
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )
        .map_err(|os| Error::watch("watch the window's size", os))?;
        loop {
            let ready = self.lanes.turn(&[self.channel.as_fd(), resizes.as_fd()])?;
            if ready.first() == Some(&true) {
                match self.channel.receive()? {
                    Some((words, _)) => self.lanes.say(&ToFar::Stage(words))?,
                    // With us the stream ends, with it the container.
                    None => return Ok(()),
                }
            }
            if ready.get(1) == Some(&true) {
                while let Ok(Some(_)) = resizes.read_signal() {}
                if let Some(size) = self.slave.as_ref().and_then(|slave| Size::of(slave).ok()) {
                    self.lanes.say(&ToFar::Size(size))?;
                }
            }
            while let Some(event) = self.lanes.next()? {
                match event {
                    Event::Said(words) => self.hear(&words)?,
                    Event::Opened(lane, address) => self.connect(lane, &address),
                    // Else it is gone before its job.
                    Event::Gone if !self.is_over => return Ok(()),
                    Event::Gone => {}
                }
            }
            if self.is_over && ![STDOUT, STDERR, TERMINAL].iter().any(|lane| self.lanes.has(*lane)) {
                // What the job has written last is read by now, or waits at the launcher's side.
                drop(self.slave);
                return self.channel.send(&FromStage::Gone, &[]);
            }
        }
    }

    fn hear(&mut self, words: &[u8]) -> Result<(), Error> {
        let words = postcard::from_bytes(words).map_err(|error| Error::Message(error.to_string()))?;
        match words {
            ToNear::Here => Ok(()),
            ToNear::ContainerInfo { info, mounts } => {
                let mounts = seal_bytes(&mounts)?;
                let fds = [self.namespace.as_fd(), mounts.as_fd()];
                self.channel.send(&FromStage::ContainerInfo(info), &fds)
            }
            ToNear::Stage(FromStage::Terminal) => {
                let (Some(master), Some(slave)) = (self.master.take(), &self.slave) else {
                    return Err(broken("a terminal that nobody has"));
                };
                let slave = slave
                    .try_clone()
                    .map_err(|error| Error::Terminal { step: "join it".to_owned(), os: error.into() })?;
                self.lanes.join_both(TERMINAL, End::Terminal, slave);
                self.channel.send(&FromStage::Terminal, &[master.as_fd()])
            }
            ToNear::Stage(FromStage::Gone) => {
                self.is_over = true;
                Ok(())
            }
            ToNear::Stage(words) => self.channel.send(&words, &[]),
        }
    }

    /// To the address that the job has connected to, in our network.
    fn connect(&mut self, lane: u32, address: &[u8]) {
        let socket = postcard::from_bytes(address)
            .ok()
            .filter(|_| self.lanes.count() < self.most)
            .and_then(|address: SocketAddr| begin(address).ok());
        match socket {
            Some(socket) => self.lanes.join_both(lane, End::Socket, socket),
            None => self.lanes.refuse(lane),
        }
    }
}

fn begin(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(os) => Err(os),
    }
}
