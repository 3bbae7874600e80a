//! What the units of a declared jail need of the kernel beside systemd: the routes of the jail's network, the sockets
//! that systemd bound in it, and the proof that it is not the host's.
//!
//! systemd goes on without a network namespace where it may not make one (`PrivateNetwork=` fails open). So nothing
//! here believes that there is one: each of the three services looks.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, getsockname, getsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::backend::{Error, Listeners};
use crate::stage::network;
use crate::sys::fds;
use crate::sys::network::namespace_cookie;

/// The abstract name, in the jail's network, of the socket by which a proxy tells the job what it is given.
const JOB_SOCKET: &str = "nix-jail";

/// What systemd passed to a proxy.
#[derive(Debug)]
pub struct Passed {
    /// What the job's connections arrive at.
    pub listeners: Listeners,
    /// Where the job asks what it is given.
    pub job: UnixListener,
    /// The network that all of them are in.
    pub network: NetworkId,
}

/// The kernel's number of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkId(u64);

/// Why a unit's network is not used.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The host's.
    #[error(
        "the network of this unit is the host's: systemd made none for it (PrivateNetwork= is off, or namespaces are not permitted here, e.g. in a container); refusing to go on"
    )]
    HostsNetwork,
    /// Another than the proxy serves.
    #[error(
        "the network of this unit is not the one that its proxy serves; stop all units of the jail and start it again"
    )]
    AnotherNetwork,
    /// The namespaces could not be compared.
    #[error("cannot tell the network of this unit from the host's: {0}; it takes Linux 5.14 or later")]
    Compare(nix::errno::Errno),
    /// Not started by systemd's socket unit.
    #[error("systemd passed no sockets; start the jail by its unit (systemctl start nix-jail@NAME)")]
    NoSockets,
    /// Sockets that are none of the proxy's.
    #[error("systemd passed a socket that a proxy cannot serve: {0}")]
    Socket(String),
    /// The job found no proxy in its network.
    #[error(
        "no proxy of this jail is in the network of this unit ({0}): it was not started by its unit (systemctl start nix-jail@NAME), or systemd made no network for it; refusing to go on"
    )]
    NoProxy(std::io::Error),
    /// Somebody else's.
    #[error("the socket of the jail's proxy is not systemd's but of user {0}; refusing to go on")]
    NotSystemds(u32),
    /// The routes could not be made.
    #[error(transparent)]
    Network(#[from] Error),
}

/// Makes every address of the world local to this process's network, once it is known not to be the host's: there that
/// would be the end of all connections.
pub fn set_up_network() -> Result<(), UnitError> {
    let network = |process: &str| {
        fs::read_link(format!("/proc/{process}/ns/net")).map_err(|error| {
            UnitError::Compare(nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        })
    };
    if network("self")? == network("1")? {
        return Err(UnitError::HostsNetwork);
    }
    Ok(network::make_every_address_local()?)
}

/// The network that this process is in.
pub fn own_network() -> Result<NetworkId, UnitError> {
    let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(UnitError::Compare)?;
    network_of(&probe)
}

/// A connection to the proxy of this process's network, to be told what its job is given. systemd bound that socket:
/// nobody else's is asked, should this be a network in which others are.
pub fn connect_to_proxy() -> Result<UnixStream, UnitError> {
    let stream = SocketAddr::from_abstract_name(JOB_SOCKET)
        .and_then(|address| UnixStream::connect_addr(&address))
        .map_err(UnitError::NoProxy)?;
    let peer = getsockopt(&stream, sockopt::PeerCredentials).map_err(|os| UnitError::NoProxy(os.into()))?;
    if peer.uid() != 0 {
        return Err(UnitError::NotSystemds(peer.uid()));
    }
    Ok(stream)
}

/// The sockets that systemd passed to this process, in another network than this process's own. `pid` and `count` are `$LISTEN_PID` and `$LISTEN_FDS`.
pub fn take_sockets(pid: Option<&str>, count: Option<&str>) -> Result<Passed, UnitError> {
    let ours = pid.is_some_and(|pid| pid == std::process::id().to_string());
    let count = count.filter(|_| ours).and_then(|count| count.parse().ok()).ok_or(UnitError::NoSockets)?;
    let sockets = fds::take_passed(count);
    fds::close_on_exec_from(3).map_err(|os| UnitError::Socket(os.to_string()))?;
    let networks = sockets.iter().map(network_of).collect::<Result<Vec<_>, _>>()?;
    let [network, others @ ..] = networks.as_slice() else { return Err(UnitError::NoSockets) };
    if *network == own_network()? {
        return Err(UnitError::HostsNetwork);
    }
    if others.iter().any(|other| other != network) {
        return Err(UnitError::AnotherNetwork);
    }
    let (listeners, job) = sort(sockets)?;
    let job = job.ok_or_else(|| UnitError::Socket(format!("@{JOB_SOCKET} is not among them")))?;
    Ok(Passed { listeners, job, network: *network })
}

fn network_of(socket: &impl AsFd) -> Result<NetworkId, UnitError> {
    namespace_cookie(socket).map(NetworkId).map_err(UnitError::Compare)
}

fn sort(sockets: Vec<OwnedFd>) -> Result<(Listeners, Option<UnixListener>), UnitError> {
    let mut listeners = Listeners::default();
    let mut job = None;
    let mut seen = BTreeSet::new();
    for socket in sockets {
        let failed = |os: nix::errno::Errno| UnitError::Socket(os.to_string());
        let address: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(failed)?;
        if address.as_unix_addr().is_some_and(|address| address.as_abstract() == Some(JOB_SOCKET.as_bytes()))
        {
            job = Some(UnixListener::from(socket));
            continue;
        }
        let port = address
            .as_sockaddr_in6()
            .map(|address| address.port())
            .or_else(|| address.as_sockaddr_in().map(|address| address.port()))
            .ok_or_else(|| UnitError::Socket("it is not an internet socket".to_owned()))?;
        let kind = getsockopt(&socket, sockopt::SockType).map_err(failed)?;
        if !seen.insert((port, kind == SockType::Stream)) {
            return Err(UnitError::Socket(format!("port {port} comes twice")));
        }
        match kind {
            SockType::Stream => listeners.tcp.push((port, TcpListener::from(socket))),
            SockType::Datagram => listeners.udp.push((port, UdpSocket::from(socket))),
            other => return Err(UnitError::Socket(format!("it is of the kind {other:?}"))),
        }
    }
    Ok((listeners, job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_own_network_are_known_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(network_of(&listener).unwrap(), own_network().unwrap());
    }

    #[test]
    fn sockets_for_another_process_are_not_taken() {
        for (pid, count) in [(None, Some("1")), (Some("1"), Some("1")), (Some("x"), None)] {
            assert!(matches!(take_sockets(pid, count), Err(UnitError::NoSockets)));
        }
    }

    #[test]
    fn sockets_are_sorted_by_kind_and_port() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
        let twice = tcp.try_clone().unwrap();
        let (sorted, job) = sort(vec![udp.into(), tcp.into()]).unwrap();
        assert_eq!((sorted.tcp[0].0, sorted.udp[0].0, job.is_none()), (ports.0, ports.1, true));
        let (path, _other) = UnixStream::pair().unwrap();
        assert!(sort(vec![path.into()]).is_err());
        assert!(sort(vec![twice.try_clone().unwrap().into(), twice.into()]).is_err());
    }
}
