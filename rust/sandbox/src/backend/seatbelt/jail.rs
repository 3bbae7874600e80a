//! The backend and its jails.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::pty::OpenptyResult;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, socket};

use super::layout::Layout;
use super::private::Private;
use super::{run, start};
use crate::backend::disk::Disk;
use crate::backend::{Backend, Ended, Error, JobIds, Listeners, Prepared, Reach};
use crate::plan::{Limits, Plan};

/// Apple's program that applies a profile to itself and becomes another program.
pub(super) const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// Makes jails by profiles of Apple's sandbox.
#[derive(Debug)]
pub struct Seatbelt {
    program: PathBuf,
    port: u16,
    secret: String,
    door: Door,
}

/// The proxy's port.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    /// The same port of the other loopback address, bound and never listened on: the profile cannot tell the two
    /// apart, and what another program served there would be open to the job.
    _other: Option<OwnedFd>,
}

impl Seatbelt {
    /// Takes a port of loopback for one job. Other programs of this host can reach it: who does not know the secret
    /// gets nothing there.
    pub fn new(secret: String) -> Result<Seatbelt, Error> {
        // A profile says what may be done, not by whom: root's job would be root's wherever it may write.
        if nix::unistd::geteuid().is_root() {
            return Err(Error::Unsupported {
                what: "a job of root's: nothing here makes it somebody else".to_owned(),
                cure: "start the jail as an ordinary user (launchd: UserName)".to_owned(),
            });
        }
        Seatbelt::with_program(secret, PathBuf::from(PROGRAM))
    }

    pub(super) fn with_program(secret: String, program: PathBuf) -> Result<Seatbelt, Error> {
        let (port, door) = Door::open()?;
        Ok(Seatbelt { program, port, secret, door })
    }
}

impl Backend for Seatbelt {
    fn job_ids(&self) -> JobIds {
        JobIds { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    fn reach(&self) -> Reach {
        Reach::Port { port: self.port, secret: self.secret.clone() }
    }

    fn prepare(&self, plan: &Plan) -> Result<Box<dyn Prepared>, Error> {
        let listener = self.door.listener.try_clone().map_err(|error| self.no_port(error.into()))?;
        let listeners = Listeners { tcp: vec![(self.port, listener)], udp: Vec::new() };
        Ok(Box::new(start::start(plan, &self.program, self.port, listeners)?))
    }
}

impl Seatbelt {
    fn no_port(&self, os: crate::backend::Os) -> Error {
        Error::Listen { protocol: "TCP".to_owned(), port: self.port, os }
    }
}

impl Door {
    fn open() -> Result<(u16, Door), Error> {
        let failed = |os: crate::backend::Os| Error::Listen { protocol: "TCP".to_owned(), port: 0, os };
        // Somebody may have one of the two of a pair.
        const TRIES: usize = 64;
        for _ in 0..TRIES {
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| failed(error.into()))?;
            let port = listener.local_addr().map_err(|error| failed(error.into()))?.port();
            match other(port) {
                Ok(other) => return Ok((port, Door { listener, _other: Some(other) })),
                // Without that address nobody else is there either.
                Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
                    return Ok((port, Door { listener, _other: None }));
                }
                Err(Errno::EADDRINUSE) => {}
                Err(os) => return Err(failed(os.into())),
            }
        }
        Err(failed(Errno::EADDRINUSE.into()))
    }
}

fn other(port: u16) -> nix::Result<OwnedFd> {
    // Started programs inherit it at most for the moment before they are marked; it is of no use to them.
    let socket = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::empty(), None)?;
    let address = std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0);
    bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
    Ok(socket)
}

/// A job whose files are made and whose command waits for its proxy.
pub(super) struct Waiting {
    pub(super) program: PathBuf,
    pub(super) profile: PathBuf,
    /// The command's program; `None` if it is not there.
    pub(super) command: Option<PathBuf>,
    pub(super) layout: Layout,
    pub(super) terminal: Option<OpenptyResult>,
    pub(super) limits: Limits,
    pub(super) disk: Option<Disk>,
    pub(super) listeners: Listeners,
    // Last: it goes when everything else is gone.
    pub(super) _private: Private,
}

impl Prepared for Waiting {
    fn take_listeners(&mut self) -> Listeners {
        std::mem::take(&mut self.listeners)
    }

    fn notices(&self) -> &[String] {
        &self.layout.notices
    }

    fn run(self: Box<Self>) -> Result<Ended, Error> {
        run::run(*self)
    }
}
