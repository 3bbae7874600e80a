//! From an authority to a connection: one look-up, the address guard, and a race between what is left.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use policy::{Authority, Host};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::closing::LenientEnd;
use super::error::UpstreamError;
use super::guard::{Guard, OwnAddresses, Verdict};
use super::link::Link;
use super::permit::UpstreamPermit;
use super::pool::Key;
use super::protocol::{Forward, Protocol};
use super::proxy;
use super::stream::Stream;
use super::tls_failure::explain;
use super::trust::Trust;
use crate::config::{Proxies, ProxyScheme, ProxyServer};
use crate::serve_error::ServeError;
use crate::{config, tls};

/// How long one address may keep the next waiting (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

/// Seconds after which a connection without a byte is asked whether it lives, and between such questions.
const QUIET: u32 = 30;

/// How many addresses of a server a SOCKS proxy is asked for at most.
const SOCKS_ATTEMPTS: usize = 3;

/// Makes connections.
pub(super) struct Dialer {
    connect_to: HashMap<Authority, SocketAddr>,
    proxies: Proxies,
    patience: Duration,
    trust: Trust,
}

/// A connection and where it goes.
pub(super) struct Way {
    pub(super) stream: Stream,
    pub(super) address: SocketAddr,
    /// The address is the server's, and the guard has judged it.
    pub(super) checked: bool,
    /// The address guard let it through for this request only.
    pub(super) excepted: bool,
    /// It ends at an HTTP proxy, which forwards requests.
    pub(super) forward: Option<Forward>,
}

impl Dialer {
    pub(super) fn new(config: config::Upstream, patience: Duration) -> Result<Dialer, ServeError> {
        Ok(Dialer {
            connect_to: config.connect_to.into_iter().collect(),
            proxies: config.proxy,
            patience,
            trust: Trust::new(&config.trust)?,
        })
    }

    /// Connects to the server of a request, to speak this protocol or opaque bytes.
    pub(super) async fn dial(
        &self,
        guard: &Guard<'_>,
        protocol: Option<Protocol>,
    ) -> Result<Way, UpstreamError> {
        let authority = guard.request.authority;
        let way = async {
            if let Some(address) = self.connect_to.get(authority) {
                let stream = race(vec![*address]).await;
                let (stream, address) =
                    stream.map_err(|error| UpstreamError::Connect(authority.clone(), error))?;
                return Ok(Way {
                    stream: Stream::Tcp(stream),
                    address,
                    checked: false,
                    excepted: false,
                    forward: None,
                });
            }
            match self.proxies.to(guard.request.scheme, authority) {
                Some(proxy) if proxy.is_http() => self.dial_http(proxy, guard, protocol).await,
                Some(proxy) => dial_socks(proxy, guard).await,
                None => dial_directly(guard).await,
            }
        };
        timeout(self.patience, way).await.unwrap_or_else(|_| Err(UpstreamError::Timeout(authority.clone())))
    }

    /// Speaks TLS, where it is wanted, and HTTP.
    pub(super) async fn speak(
        &self,
        key: &Key,
        stream: Stream,
        place: UpstreamPermit,
    ) -> Result<Link, UpstreamError> {
        let spoken = async {
            let closed = |error| UpstreamError::Closed(key.authority.clone(), error);
            match key.protocol {
                Protocol::Http1 | Protocol::PlainWebsocket => {
                    Link::http1(stream, place).await.map_err(closed)
                }
                Protocol::Http2 => Link::http2(stream, place).await.map_err(closed),
                Protocol::Negotiated | Protocol::Websocket => {
                    let failed = |error: String| UpstreamError::Tls(key.authority.clone(), error);
                    let clients = self.trust.clients().await.map_err(failed)?;
                    let config = match key.protocol {
                        Protocol::Websocket => &clients.http1,
                        _ => &clients.negotiated,
                    };
                    let name = server_name(&key.authority.host).map_err(failed)?;
                    let stream = TlsConnector::from(config.clone())
                        .connect(name, stream)
                        .await
                        .map_err(|error| failed(explain(&error)))?;
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
                    let stream = LenientEnd(stream);
                    if is_http2 {
                        Link::http2(stream, place).await.map_err(closed)
                    } else {
                        Link::http1(stream, place).await.map_err(closed)
                    }
                }
            }
        };
        timeout(self.patience, spoken)
            .await
            .unwrap_or_else(|_| Err(UpstreamError::Timeout(key.authority.clone())))
    }
}

async fn dial_directly(guard: &Guard<'_>) -> Result<Way, UpstreamError> {
    let authority = guard.request.authority;
    let admitted = admitted(guard).await?;
    let (stream, address) = race(admitted.iter().map(|(address, _)| *address).collect())
        .await
        .map_err(|error| UpstreamError::Connect(authority.clone(), error))?;
    let excepted = admitted.contains(&(address, Verdict::Excepted));
    Ok(Way { stream: Stream::Tcp(stream), address, checked: true, excepted, forward: None })
}

/// Resolves the server of a request to the addresses that the guard lets through.
async fn admitted(guard: &Guard<'_>) -> Result<Vec<(SocketAddr, Verdict)>, UpstreamError> {
    let authority = guard.request.authority;
    let addresses = resolve(authority).await?;
    let own = OwnAddresses::read().map_err(|error| UpstreamError::Connect(authority.clone(), error))?;
    let verdicts = addresses.into_iter().map(|address| (address, guard.judge(address.ip(), &own)));
    let (admitted, refused): (Vec<_>, Vec<_>) =
        verdicts.partition(|(_, verdict)| matches!(verdict, Verdict::Public | Verdict::Excepted));
    if admitted.is_empty() {
        let is_denied = refused.iter().any(|(_, verdict)| *verdict == Verdict::Denied);
        let error = if is_denied { UpstreamError::DeniedAddress } else { UpstreamError::PrivateAddress };
        return Err(error(authority.clone()));
    }
    Ok(admitted)
}

impl Dialer {
    /// Through an HTTP proxy. Plain HTTP is forwarded by it; everything else goes through a tunnel.
    async fn dial_http(
        &self,
        proxy: &ProxyServer,
        guard: &Guard<'_>,
        protocol: Option<Protocol>,
    ) -> Result<Way, UpstreamError> {
        let authority = guard.request.authority;
        let refused = |reason| UpstreamError::Proxy(authority.clone(), reason);
        let excepted = judge_unresolved(guard)?;
        let (stream, address) = reach(proxy).await?;
        let mut stream = match proxy.scheme {
            ProxyScheme::Https => {
                let clients = self.trust.clients().await.map_err(refused)?;
                let name = server_name(&proxy.authority.host).map_err(refused)?;
                let secured = TlsConnector::from(clients.http1.clone()).connect(name, stream).await;
                let secured =
                    secured.map_err(|error| refused(format!("no TLS with {proxy}: {}", explain(&error))))?;
                Stream::Tls(Box::new(secured))
            }
            _ => Stream::Tcp(stream),
        };
        if protocol == Some(Protocol::Http1) {
            let forward = Some(Forward { authorization: proxy.authorization() });
            return Ok(Way { stream, address, checked: false, excepted, forward });
        }
        proxy::ask_for_tunnel(&mut stream, proxy, authority).await.map_err(refused)?;
        Ok(Way { stream, address, checked: false, excepted, forward: None })
    }
}

/// Through a SOCKS proxy. Where names are resolved here, the guard sees every address as it does without a proxy.
async fn dial_socks(proxy: &ProxyServer, guard: &Guard<'_>) -> Result<Way, UpstreamError> {
    let authority = guard.request.authority;
    let refused = |reason| UpstreamError::Proxy(authority.clone(), reason);
    if proxy.scheme == ProxyScheme::Socks5h {
        let excepted = judge_unresolved(guard)?;
        let (stream, address) = reach(proxy).await?;
        let stream = proxy::ask_socks(stream, proxy, authority, None).await.map_err(refused)?;
        return Ok(Way { stream: Stream::Tcp(stream), address, checked: false, excepted, forward: None });
    }
    let mut problem = String::new();
    for (address, verdict) in admitted(guard).await?.into_iter().take(SOCKS_ATTEMPTS) {
        let (stream, _) = reach(proxy).await?;
        match proxy::ask_socks(stream, proxy, authority, Some(address)).await {
            Ok(stream) => {
                let excepted = verdict == Verdict::Excepted;
                let stream = Stream::Tcp(stream);
                return Ok(Way { stream, address, checked: true, excepted, forward: None });
            }
            Err(reason) => problem = reason,
        }
    }
    Err(refused(problem))
}

/// Connects to a proxy itself.
async fn reach(proxy: &ProxyServer) -> Result<(TcpStream, SocketAddr), UpstreamError> {
    let addresses = resolve(&proxy.authority).await?;
    race(addresses).await.map_err(|error| UpstreamError::Connect(proxy.authority.clone(), error))
}

/// Judges a server whose name a proxy resolves: the guard sees addresses that are written as such, and the name that is every
/// machine's own.
fn judge_unresolved(guard: &Guard<'_>) -> Result<bool, UpstreamError> {
    let authority = guard.request.authority;
    let address = match &authority.host {
        Host::Ip(address) => *address,
        Host::Name(name) if is_localhost(name.as_str()) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Host::Name(_) => return Ok(false),
    };
    let own = OwnAddresses::read().map_err(|error| UpstreamError::Connect(authority.clone(), error))?;
    match guard.judge(address, &own) {
        Verdict::Refused => Err(UpstreamError::PrivateAddress(authority.clone())),
        Verdict::Denied => Err(UpstreamError::DeniedAddress(authority.clone())),
        verdict => Ok(verdict == Verdict::Excepted),
    }
}

/// Returns true for `localhost` and the names below it (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// The one place where a name becomes addresses.
async fn resolve(authority: &Authority) -> Result<Vec<SocketAddr>, UpstreamError> {
    let name = match &authority.host {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, authority.port)]),
        Host::Name(name) => name.as_str(),
    };
    #[allow(clippy::disallowed_methods, reason = "this is the place: the policy has allowed the name")]
    let found = tokio::net::lookup_host((name, authority.port)).await;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| UpstreamError::Dns(authority.clone(), error))?.collect();
    if addresses.is_empty() {
        let none = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        return Err(UpstreamError::Dns(authority.clone(), none));
    }
    Ok(addresses)
}

/// Happy eyeballs: both families in turn, each attempt with a short head start, the first connection wins.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = take_turns(addresses);
    let mut running = JoinSet::new();
    let mut last_error = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address to connect to");
    loop {
        if let Some(address) = waiting.pop_front() {
            running.spawn(connect(address));
        }
        let head_start = async {
            if waiting.is_empty() {
                std::future::pending().await
            } else {
                tokio::time::sleep(HEAD_START).await
            }
        };
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(Ok(Ok(connected))) => return Ok(connected),
                Some(Ok(Err(error))) => last_error = error,
                Some(Err(gone)) => last_error = io::Error::other(gone),
                None if waiting.is_empty() => return Err(last_error),
                None => {}
            },
            () = head_start => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    #[allow(clippy::disallowed_methods, reason = "this is the place: the address passed the guard")]
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    watch(&stream)?;
    Ok((stream, address))
}

/// The job's own watching (TCP keep-alive) ends at us: without ours it would wait for ever behind a path that died
/// without a word.
fn watch(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    #[cfg(target_os = "linux")]
    setsockopt(stream, sockopt::TcpKeepIdle, &QUIET)?;
    #[cfg(target_os = "macos")]
    setsockopt(stream, sockopt::TcpKeepAlive, &QUIET)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &QUIET)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    Ok(())
}

/// Keeps the resolver's order within a family and starts with the family that it prefers.
fn take_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv4) else { return VecDeque::new() };
    let (mut preferred, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first);
    let mut turns = VecDeque::with_capacity(preferred.len() + other.len());
    while !preferred.is_empty() || !other.is_empty() {
        turns.extend(preferred.pop_front());
        turns.extend(other.pop_front());
    }
    turns
}

fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Ip(address) => Ok(ServerName::IpAddress(IpAddr::into(*address))),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| "its name cannot stand in a certificate".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let turns =
            take_turns(addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "192.0.2.1:1"]));
        let expected = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"]);
        assert_eq!(Vec::from(turns), expected);
    }

    #[tokio::test]
    async fn a_connection_is_watched() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stream, _) = connect(server.local_addr().unwrap()).await.unwrap();
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(), QUIET);
    }

    #[tokio::test]
    async fn a_dead_address_gives_way_to_a_live_one() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (live_address, dead_address) = (live.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        let (_, address) = race(vec![dead_address, live_address]).await.unwrap();
        assert_eq!(address, live_address);
        let error = race(vec![dead_address]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
