//! What a jail's proxy tells the job's unit by a socket in the jail's network, nothing secret: what the job needs to
//! begin, or why there will be none. It is a line of JSON; who got it keeps the connection, by which each of the two
//! sees the other's end.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use sandbox::unit::NetworkId;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// How long the job's launcher, which waits for it, may take to read it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a proxy that cannot serve waits for a launcher to tell: systemd is still at work on its unit.
const LAUNCHER_COMES: Duration = Duration::from_secs(30);

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
    /// Gives it to the launcher that asks, if one does. While a job is at work its launcher's connection is there, and
    /// nobody else is heard.
    pub(super) fn give(&self, listener: &UnixListener) -> Option<UnixStream> {
        // One that asked may be gone, or its job's, which is over: that is no reason to end.
        tell(listener, &Ok(self)).unwrap_or_else(|error| {
            tracing::debug!(%error, "a launcher was told nothing");
            None
        })
    }

    /// Waits for it. The descriptor is the connection, which ends with the proxy.
    pub(super) fn receive(stream: UnixStream, name: &str) -> Result<(Handover, OwnedFd), Failure> {
        let mut line = String::new();
        let received = BufReader::new(&stream).read_line(&mut line).and_then(|_| {
            serde_json::from_str::<Result<Handover, String>>(&line).map_err(std::io::Error::from)
        });
        let why = match received {
            Ok(Ok(handover)) => return Ok((handover, stream.into())),
            Ok(Err(reason)) => format!("does not serve: {reason}"),
            Err(error) => format!("ended before it served ({error})"),
        };
        Err(Failure::no_jail(format!(
            "the jail's proxy {why}; its journal: journalctl -u nix-jail-proxy@{name}"
        )))
    }
}

/// Tells the launcher why there is nothing to give, unless it is all to stop. A proxy that ended before would be started
/// again by the launcher's connection, and again.
pub(super) fn refuse(listener: &UnixListener, signals: &SignalFd, reason: &str) {
    let mut events =
        [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let wait = PollTimeout::try_from(LAUNCHER_COMES).unwrap_or(PollTimeout::ZERO);
    let told =
        poll(&mut events, wait).map_err(std::io::Error::from).and_then(|_| tell(listener, &Err(reason)));
    if let Err(error) = told {
        tracing::debug!(%error, "the job was not told why");
    }
}

/// The connection to who was told; none if nobody asks.
fn tell(listener: &UnixListener, word: &Result<&Handover, &str>) -> std::io::Result<Option<UnixStream>> {
    let mut stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line)?;
    Ok(Some(stream))
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
        assert!(handover.give(&listener).is_none());
        let job = UnixStream::connect_addr(&address).unwrap();
        let connection = handover.give(&listener).unwrap();
        let (received, lifeline) = Handover::receive(job, "web").unwrap();
        assert_eq!((received.id, received.certificate), (handover.id, handover.certificate));
        let has_ended = |wait: PollTimeout| {
            let mut events = [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
            poll(&mut events, wait).unwrap() == 1
        };
        assert!(!has_ended(PollTimeout::ZERO));
        drop(connection);
        // A process that another test is starting holds the connection, too, until its exec.
        assert!(has_ended(PollTimeout::from(60_000_u16)));
    }

    #[test]
    fn who_asked_and_is_gone_is_nobody() {
        let (listener, address) = listener("gone");
        listener.set_nonblocking(true).unwrap();
        drop(UnixStream::connect_addr(&address).unwrap());
        let network = sandbox::unit::own_network().unwrap();
        let handover = Handover {
            id: "web-1".into(),
            dummies: Vec::new(),
            git: Vec::new(),
            certificate: "PEM".repeat(100_000),
            host: network,
            jail: network,
        };
        assert!(handover.give(&listener).is_none());
    }

    #[test]
    fn a_job_whose_proxy_cannot_serve_is_told_why() {
        let (listener, address) = listener("refused");
        listener.set_nonblocking(true).unwrap();
        let signals = SignalFd::new(&nix::sys::signal::SigSet::empty()).unwrap();
        let job = UnixStream::connect_addr(&address).unwrap();
        refuse(&listener, &signals, "no secret for TOKEN");
        let failure = Handover::receive(job, "web").unwrap_err();
        assert!(failure.message.contains("does not serve: no secret for TOKEN"), "{}", failure.message);
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
