//! The end in the container: pid 1 there, which starts the stage as a process beneath it and stands in for the launcher.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::socket::{SockaddrStorage, getsockname, setsockopt, sockopt};
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stdin, dup2_stdout};

use super::container_info::{ContainerInfo, kernel};
use super::error::broken;
use super::lanes::{End, Event, Lanes};
use super::queries::Queries;
use super::streams::{FIRST_CONNECTION, STDERR, STDOUT, TERMINAL};
use super::{ToFar, ToNear, take_descriptors};
use crate::backend::Error;
use crate::stage::{container, filter};
use crate::sys::process::{Forked, SingleThreaded, fork};
use crate::sys::{capabilities, fds};
use crate::wire::{Channel, FromStage, ToStage, read_sealed, seal_bytes};

/// Is pid 1 of a container, with the near end at its standard input and output.
pub(crate) fn main(proof: SingleThreaded) -> ExitCode {
    match run(proof) {
        Ok(code) => code,
        Err(error) => {
            // Read by the launcher through the engine.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(proof: SingleThreaded) -> Result<ExitCode, Error> {
    SigSet::all().thread_set_mask().map_err(|os| Error::watch("block signals", os))?;
    let mut lanes = Lanes::over(take(0)?, take(1)?)?;
    let Some(ToFar::Begin { identity, furnishing, streams }) = begin(&mut lanes)? else {
        return Ok(ExitCode::FAILURE);
    };
    let (streams, stand_in) = streams.make(&mut lanes)?;
    let furnishing = seal_bytes(&furnishing)?;
    let (channel, theirs) = Channel::pair()?;
    match fork(proof).map_err(|os| Error::Fork { os: os.into() })? {
        Forked::Child => {
            drop((lanes, channel, streams, stand_in, furnishing));
            // What the job leaves behind comes to the stage, as in a container that it is the first process of.
            prctl::set_child_subreaper(true).map_err(|os| Error::watch("adopt orphans", os))?;
            return Ok(container::converse(&Channel::inherited(theirs), proof));
        }
        Forked::Parent(_) => drop(theirs),
    }
    let [stdin, stdout, stderr] = &streams;
    let fds = [furnishing.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    channel.send(&ToStage::Begin { identity }, &fds)?;
    drop((streams, furnishing));
    let most = take_descriptors()?;
    restrict()?;
    let far = Far {
        channel,
        lanes,
        most,
        listeners: Vec::new(),
        datagrams: Vec::new(),
        queries: Queries::default(),
        terminal: stand_in,
        has_terminal: false,
        next: FIRST_CONNECTION,
        is_over: false,
        is_killed: false,
    };
    far.serve()
}

/// A standard stream, which is /dev/null from here on.
fn take(number: i32) -> Result<OwnedFd, Error> {
    let stream = |error: std::io::Error| Error::StartStage { os: error.into() };
    let null = File::options().read(true).write(true).open("/dev/null").map_err(stream)?;
    let (taken, replaced) = if number == 0 {
        (std::io::stdin().as_fd().try_clone_to_owned(), dup2_stdin(&null))
    } else {
        (std::io::stdout().as_fd().try_clone_to_owned(), dup2_stdout(&null))
    };
    replaced.map_err(|os| Error::watch("take the stream", os))?;
    taken.map_err(stream)
}

/// Waits for the first word.
fn begin(lanes: &mut Lanes) -> Result<Option<ToFar>, Error> {
    lanes.say(&ToNear::Here)?;
    loop {
        lanes.turn(&[])?;
        match lanes.next()? {
            Some(Event::Said(words)) => return heard(&words).map(Some),
            Some(Event::Opened(..)) => return Err(broken("a lane before the first word")),
            Some(Event::Gone) => return Ok(None),
            None => {}
        }
    }
}

fn heard(words: &[u8]) -> Result<ToFar, Error> {
    postcard::from_bytes(words).map_err(|error| Error::Message(error.to_string()))
}

/// It stays the container's root by number alone, which the job is not: neither can the job signal it or look into it.
fn restrict() -> Result<(), Error> {
    let privileges = |step: &str, os: Errno| Error::Privileges { step: step.to_owned(), os: os.into() };
    capabilities::bound().map_err(|os| privileges("empty the bounding set", os))?;
    capabilities::drop_all().map_err(|os| privileges("drop capabilities", os))?;
    prctl::set_dumpable(false).map_err(|os| privileges("become undumpable", os))?;
    prctl::set_no_new_privs().map_err(|os| privileges("set no_new_privs", os))?;
    filter::apply(&[], false)
}

struct Far {
    channel: Channel,
    lanes: Lanes,
    /// The most connections.
    most: usize,
    listeners: Vec<OwnedFd>,
    datagrams: Vec<Rc<OwnedFd>>,
    queries: Queries,
    /// The job's terminal; before that, what stands in for the launcher's.
    terminal: Option<OwnedFd>,
    has_terminal: bool,
    /// The next connection's number.
    next: u32,
    /// Whether every process of the job is gone.
    is_over: bool,
    /// Whether they are to be.
    is_killed: bool,
}

impl Far {
    fn serve(mut self) -> Result<ExitCode, Error> {
        loop {
            let has_place = self.lanes.count() < self.most;
            let listeners = if has_place { self.listeners.as_slice() } else { &[] };
            let mut watched: Vec<BorrowedFd<'_>> = Vec::new();
            watched.extend((!self.is_over).then(|| self.channel.as_fd()));
            watched.extend(listeners.iter().map(AsFd::as_fd));
            watched.extend(self.datagrams.iter().map(|socket| socket.as_fd()));
            watched.extend(self.queries.watched());
            let counts = [usize::from(!self.is_over), listeners.len(), self.datagrams.len()];
            let ready = self.lanes.turn(&watched)?;
            let mut ready = ready.as_slice();
            let [stage, connections, datagrams] = counts.map(|count| {
                let (these, rest) = ready.split_at_checked(count).unwrap_or_default();
                ready = rest;
                these
            });
            self.queries.answer(ready);
            self.accept(connections);
            self.take_queries(datagrams);
            while let Some(event) = self.lanes.next()? {
                match event {
                    Event::Said(words) => self.obey(heard(&words)?)?,
                    Event::Opened(..) => return Err(broken("a lane from the wrong side")),
                    // With pid 1 the container ends.
                    Event::Gone => return Ok(ExitCode::FAILURE),
                }
            }
            if stage.first() == Some(&true) && !self.listen()? {
                return Ok(ExitCode::FAILURE);
            }
            // Held open, a terminal that the launcher has left would not hang up.
            if self.has_terminal && !self.lanes.has(TERMINAL) {
                self.terminal = None;
            }
            if self.is_killed
                || self.is_over && ![STDOUT, STDERR, TERMINAL].iter().any(|lane| self.lanes.has(*lane))
            {
                return self.say_goodbye();
            }
        }
    }

    /// Everything that the job has written is on its way. What still runs ends with us, before the container does.
    fn say_goodbye(mut self) -> Result<ExitCode, Error> {
        self.lanes.say(&ToNear::Stage(FromStage::Gone))?;
        self.lanes.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn obey(&mut self, words: ToFar) -> Result<(), Error> {
        match words {
            ToFar::Begin { .. } => Err(broken("a second beginning")),
            // The job may have stopped its stage, which has the job's user: what ends everything is our own end.
            ToFar::Stage(ToStage::Kill) => {
                self.is_killed = true;
                Ok(())
            }
            ToFar::Stage(words) => match self.channel.send(&words, &[]) {
                // It has ended; its last words are still to be read.
                Err(Error::Channel { .. }) => Ok(()),
                other => other,
            },
            ToFar::Size(size) => {
                // A terminal that has hung up has no size.
                let _ = self.terminal.as_ref().map(|terminal| size.give(terminal));
                Ok(())
            }
        }
    }

    /// Takes one message of the stage; whether there was one.
    fn listen(&mut self) -> Result<bool, Error> {
        let Some((words, sent)) = self.channel.receive()? else { return Ok(false) };
        match words {
            FromStage::Listeners { tcp, .. } => {
                let mut sent = sent.into_iter();
                self.listeners.extend(sent.by_ref().take(tcp.len()));
                self.datagrams.extend(sent.map(Rc::new));
            }
            FromStage::Surroundings => self.lanes.say(&look(sent)?)?,
            FromStage::Terminal => {
                let master = sent.into_iter().next().ok_or_else(|| broken("a terminal without itself"))?;
                let step =
                    |error: std::io::Error| Error::Terminal { step: "join it".to_owned(), os: error.into() };
                let resized = master.try_clone().map_err(step)?;
                self.lanes.join_both(TERMINAL, End::Terminal, master);
                self.terminal = Some(resized);
                self.has_terminal = true;
                self.lanes.say(&ToNear::Stage(FromStage::Terminal))?;
            }
            FromStage::Gone => self.is_over = true,
            words => self.lanes.say(&ToNear::Stage(words))?,
        }
        Ok(true)
    }

    fn accept(&mut self, ready: &[bool]) {
        let ready = self.listeners.iter().zip(ready).filter(|(_, ready)| **ready);
        let accepted: Vec<_> = ready.filter_map(|(listener, _)| fds::accept(listener.as_fd()).ok()).collect();
        for connection in accepted {
            let Ok(meant) = getsockname::<SockaddrStorage>(connection.as_raw_fd()) else { continue };
            let Some(address) = address(&meant) else { continue };
            let _ = setsockopt(&connection, sockopt::TcpNoDelay, &true);
            self.connect(address, connection);
        }
    }

    fn take_queries(&mut self, ready: &[bool]) {
        const DNS: u16 = 53;
        let ready: Vec<_> = self.datagrams.iter().zip(ready).filter(|(_, ready)| **ready).collect();
        let asked: Vec<_> = ready.into_iter().filter_map(|(socket, _)| self.queries.take(socket)).collect();
        for (address, stream) in asked {
            self.connect(SocketAddr::new(address, DNS), stream);
        }
    }

    fn connect(&mut self, address: SocketAddr, connection: OwnedFd) {
        let lane = self.next;
        // Numbers of four thousand million connections ago are free again.
        self.next = self.next.checked_add(1).unwrap_or(FIRST_CONNECTION);
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let Ok(address) = postcard::to_stdvec(&address) else { return };
        self.lanes.open(lane, &address);
        self.lanes.join_both(lane, End::Socket, connection);
    }
}

/// What the stage shows, in words.
fn look(mut shown: Vec<OwnedFd>) -> Result<ToNear, Error> {
    let mounts = shown.pop().ok_or_else(|| broken("no mount table"))?;
    let proof = |os: Errno| Error::Proof { namespace: "net".to_owned(), os: os.into() };
    let namespaces = shown.iter().map(|namespace| fstat(namespace).map(|found| found.st_ino));
    let up = getifaddrs().map_err(proof)?.filter(|found| found.flags.contains(InterfaceFlags::IFF_UP));
    let mut interfaces: Vec<String> = up.map(|found| found.interface_name).collect();
    interfaces.sort();
    interfaces.dedup();
    let info = ContainerInfo {
        kernel: kernel().map_err(|error| Error::Proof { namespace: "pid".to_owned(), os: error.into() })?,
        namespaces: namespaces.collect::<nix::Result<_>>().map_err(proof)?,
        interfaces,
    };
    Ok(ToNear::ContainerInfo { info, mounts: read_sealed(mounts)? })
}

fn address(found: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = found.as_sockaddr_in().map(|found| SocketAddr::from(std::net::SocketAddrV4::from(*found)));
    v4.or_else(|| found.as_sockaddr_in6().map(|found| SocketAddr::from(std::net::SocketAddrV6::from(*found))))
}
