//! What a jail's proxy tells the job's unit, once, by a socket in the jail's network: nothing secret.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use sandbox::unit::NetworkId;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// How long the job's launcher, which waits for it, may take to read it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the job needs of its proxy.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    /// The job's id.
    pub(super) id: String,
    /// The dummies by variable.
    pub(super) dummies: Vec<(String, String)>,
    /// What git in the jail is told.
    pub(super) git: Vec<(String, String)>,
    /// The certificate to trust, in PEM form.
    pub(super) certificate: String,
    /// The host's network.
    pub(super) host: NetworkId,
    /// The network that the proxy serves.
    pub(super) jail: NetworkId,
}

impl Handover {
    /// Gives it to who asks first; false if nobody does. Before a job begins nobody but its launcher can.
    pub(super) fn give(&self, listener: &UnixListener) -> Result<bool, Failure> {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(Failure::no_jail(format!("cannot hear from the job: {error}"))),
        };
        let given = serde_json::to_vec(self).map_err(std::io::Error::from).and_then(|json| {
            stream.set_write_timeout(Some(PATIENCE))?;
            (&stream).write_all(&json)
        });
        given
            .map(|()| true)
            .map_err(|error| Failure::no_jail(format!("cannot tell the job what it is given: {error}")))
    }

    /// Waits for it.
    pub(super) fn receive(mut stream: UnixStream, name: &str) -> Result<Handover, Failure> {
        let mut json = Vec::new();
        let received = stream
            .read_to_end(&mut json)
            .and_then(|_| serde_json::from_slice(&json).map_err(std::io::Error::from));
        received.map_err(|error| {
            Failure::no_jail(format!(
                "the jail's proxy ended before it served ({error}); it says why: journalctl -u nix-jail-proxy@{name}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    fn listener(name: &str) -> (UnixListener, SocketAddr) {
        let address =
            SocketAddr::from_abstract_name(format!("nix-jail-{name}-{}", std::process::id())).unwrap();
        (UnixListener::bind_addr(&address).unwrap(), address)
    }

    #[test]
    fn a_job_receives_what_its_proxy_gives() {
        let (listener, address) = listener("given");
        listener.set_nonblocking(true).unwrap();
        let network = sandbox::unit::own_network().unwrap();
        let handover = Handover {
            id: "web-1".into(),
            dummies: vec![("TOKEN".into(), "dummy".into())],
            git: Vec::new(),
            certificate: "PEM".repeat(1000),
            host: network,
            jail: network,
        };
        assert!(!handover.give(&listener).unwrap());
        let job = UnixStream::connect_addr(&address).unwrap();
        assert!(handover.give(&listener).unwrap());
        let received = Handover::receive(job, "web").unwrap();
        assert_eq!((received.id, received.certificate), (handover.id, handover.certificate));
    }

    #[test]
    fn a_job_whose_proxy_ended_is_told_so() {
        let (listener, address) = listener("ended");
        let job = UnixStream::connect_addr(&address).unwrap();
        drop(listener);
        let failure = Handover::receive(job, "web").unwrap_err();
        assert!(failure.message.contains("journalctl -u nix-jail-proxy@web"), "{}", failure.message);
    }
}
