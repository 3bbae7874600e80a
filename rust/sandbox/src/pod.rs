//! A job and its proxy as containers of one pod, whose network namespace they share.
//!
//! Nothing sets the two apart there but their user ids. So a container that may do so walls the namespace off before
//! either starts: what the proxy's user did not open reaches nothing but the proxy's listeners.

mod netfilter;
mod wall;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::prctl;

use crate::backend::{Error, Listeners};
use crate::plan::Listen;
use crate::stage::{filter, job, limits, network};

pub use wall::build as wall_off;

/// Binds the proxy's sockets, in the namespace that this process is in.
pub fn bind(listen: &Listen) -> Result<Listeners, Error> {
    network::bind(listen)
}

/// Becomes the job's command, with fewer system calls than the container has, if the network is walled off: `port` is
/// one that the proxy serves. Returns only what went wrong.
pub fn exec(
    command: &[OsString],
    environment: &[(OsString, OsString)],
    port: u16,
) -> Result<ExitCode, Error> {
    prove_captive(port)?;
    prctl::set_no_new_privs()
        .map_err(|os| Error::Privileges { step: "set no_new_privs".to_owned(), os: os.into() })?;
    let program = job::Program::new(command, environment)?;
    limits::turn_core_files_off()?;
    filter::apply(&[], false)?;
    Ok(program.start())
}

/// Addresses that are set aside for documentation: nobody answers there but a proxy that was put in between.
const NOWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// An answer from within the pod takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections to nowhere must end at the proxy, those of each family that has a way out, and of one at least.
fn prove_captive(port: u16) -> Result<(), Error> {
    let mut proven = false;
    for address in NOWHERE {
        let address = SocketAddr::new(address, port);
        // Not by the error of a connection: a router that says "unreachable" is one that was reached.
        if !has_route(address) {
            continue;
        }
        if TcpStream::connect_timeout(&address, PATIENCE).is_err() {
            return Err(not_walled_off());
        }
        proven = true;
    }
    if proven { Ok(()) } else { Err(not_walled_off()) }
}

/// Whether this namespace has a route there; no packet is sent.
fn has_route(address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

fn not_walled_off() -> Error {
    Error::NotIsolated { namespace: "network".to_owned() }
}
