//! Where the job's connections arrive: who speaks what, and to whom.

mod channel;
mod explicit;
mod half_close;
mod http;
mod http1_heads;
mod http2_paths;
mod http2_refusals;
mod paced;
mod password;
mod prefixed;
mod sniff;
mod tunnel;

use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use policy::{Authority, Host, Reason};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::authority_bind::Destination;
use crate::job::{ConnectionPermit, Job};
use prefixed::Prefixed;

/// How long to wait for file descriptors to come back; accepting again at once would only spin.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Serves connections that believe they are at their destination.
pub(crate) async fn serve_transparent(
    job: Arc<Job>,
    port: u16,
    listener: TcpListener,
    places: Arc<Semaphore>,
) {
    while let Some((stream, place)) = accept(&job, &listener, &places).await {
        let destination = match meant(&stream) {
            Ok(address) => destination(&job, address, port),
            Err(_) => continue,
        };
        let job = job.clone();
        tokio::spawn(channel::serve(job, destination, Prefixed::new(Bytes::new(), stream), place));
    }
}

/// Serves connections that know that we are a proxy.
pub(crate) async fn serve_explicit(job: Arc<Job>, listener: TcpListener, places: Arc<Semaphore>) {
    while let Some((stream, place)) = accept(&job, &listener, &places).await {
        tokio::spawn(explicit::serve(job.clone(), Prefixed::new(Bytes::new(), stream), place));
    }
}

/// The next connection that the job has a place for; `None` when the proxy shuts down.
pub(crate) async fn accept(
    job: &Job,
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, ConnectionPermit)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = job.closing() => return None,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection of the job was lost");
                let exhausted = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
                if error.raw_os_error().is_some_and(|code| exhausted.contains(&Errno::from_raw(code))) {
                    tokio::time::sleep(EXHAUSTED).await;
                }
                continue;
            }
        };
        // Without it, Nagle against delayed ACK costs every new connection 40 ms.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            job.record_connection("", Reason::TooMany.as_str());
            continue;
        };
        match job.budget.connection() {
            Some(grant) => return Some((stream, Arc::new((place, grant)))),
            None => job.record_connection("", Reason::ProxyMemory.as_str()),
        }
    }
}

/// The address that the client connected to: our end's, unless a packet filter sent the connection here.
fn meant(stream: &TcpStream) -> io::Result<SocketAddr> {
    let ours = stream.local_addr()?;
    #[cfg(target_os = "linux")]
    if let Some(address) = redirected(stream, ours) {
        return Ok(address);
    }
    Ok(ours)
}

#[cfg(target_os = "linux")]
fn redirected(stream: &TcpStream, ours: SocketAddr) -> Option<SocketAddr> {
    use nix::sys::socket::{getsockopt, sockopt};
    // An error means that no filter had its hands in it.
    if ours.ip().to_canonical().is_ipv4() {
        let found = getsockopt(stream, sockopt::OriginalDst).ok()?;
        let address = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
        Some(SocketAddr::new(address.into(), u16::from_be(found.sin_port)))
    } else {
        let found = getsockopt(stream, sockopt::Ip6tOriginalDst).ok()?;
        let address = Ipv6Addr::from(found.sin6_addr.s6_addr);
        Some(SocketAddr::new(address.into(), u16::from_be(found.sin6_port)))
    }
}

/// Where a connection to this address wanted to go.
fn destination(job: &Job, address: SocketAddr, port: u16) -> Destination {
    let address = SocketAddr::new(address.ip().to_canonical(), port);
    match job.names.name_of(address.ip()) {
        Some(name) => Destination::Server(Authority { host: Host::Name(name), port }),
        None => Destination::Address(address),
    }
}
