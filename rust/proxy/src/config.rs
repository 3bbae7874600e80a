//! What a proxy is told once, at its start.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use policy::{Authority, HostPattern, Policy, RuleId};
use secrecy::SecretString;

use crate::audit::Audit;
use crate::budget;
use crate::ca::JobCa;
use crate::swap::CredentialLocation;

pub use crate::upstream_proxy::{NoProxy, Proxies, ProxyError, ProxyScheme, ProxyServer};

/// The sockets that a proxy serves; all bound and listening.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Connections to any address on these ports arrive here (80, 443 and the policy's extra ports), by port.
    pub transparent: Vec<(u16, TcpListener)>,
    /// The explicit proxy (3128): CONNECT and absolute-form.
    pub explicit: Option<TcpListener>,
    /// DNS over UDP, bound to every address.
    pub dns_udp: Option<UdpSocket>,
    /// DNS over TCP.
    pub dns_tcp: Option<TcpListener>,
}

/// What a proxy enforces and with what.
pub struct Config {
    /// What the job may do.
    pub policy: Policy,
    /// Whether it is enforced or learnt.
    pub mode: Mode,
    /// The job's credentials.
    pub credentials: Vec<Credential>,
    /// The way to the outside.
    pub upstream: Upstream,
    /// Bounds on what a job can make the proxy hold.
    pub limits: Limits,
    /// Mints the leaves that the job trusts.
    pub ca: JobCa,
    /// Where events go.
    pub audit: Arc<dyn Audit>,
    /// What a client of the explicit proxy must say by `Proxy-Authorization: Basic`, with any user name. Needed where
    /// others than the job can reach that socket.
    pub password: Option<SecretString>,
}

impl Listeners {
    /// Whether connections to this port arrive.
    pub(crate) fn serve(&self, port: u16) -> bool {
        // The explicit proxy and the responder have their ports to themselves.
        let own = [&self.explicit, &self.dns_tcp].into_iter().flatten();
        self.transparent.iter().any(|(known, _)| *known == port)
            || own.filter_map(|listener| listener.local_addr().ok()).any(|address| address.port() == port)
    }
}

/// What can change while a proxy is at work.
pub struct Terms {
    /// What the job may do.
    pub policy: Policy,
    /// The job's credentials.
    pub credentials: Vec<Credential>,
}

/// What to do with the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No match is a denial.
    Enforce,
    /// What no rule decides goes on if the address guard permits it, and is recorded (`--learn`). What a rule denies
    /// stays denied.
    Learn,
}

/// A secret that the job uses without having it.
#[derive(Clone)]
pub struct Credential {
    /// Its name: the variable that holds the dummy inside.
    pub name: String,
    /// What the job sees. Random per job, shaped like the real thing.
    pub dummy: String,
    /// The real one, as it was when the job was made.
    pub secret: SecretString,
    /// Where it is read again.
    pub origin: Origin,
    /// The hosts that get it.
    pub hosts: Vec<HostPattern>,
    /// The rules whose requests may carry it; `None` is any request to these hosts that the policy allows.
    pub rules: Option<Vec<RuleId>>,
    /// Where in a request it stands. In any other place the dummy stays a dummy.
    pub places: Vec<CredentialLocation>,
    /// Whether another value than the dummy may pass in a slot towards `hosts`.
    pub allow_foreign: bool,
    /// Whether the real token is swapped back in answers.
    pub redact: bool,
}

/// Where a secret comes from while the job runs.
#[derive(Clone)]
pub enum Origin {
    /// It never changes.
    Fixed,
    /// It is read again when it is stale, and when a server refuses it.
    Source(Arc<dyn Source>),
    /// The same, and it is renewed before it expires.
    Login(Arc<dyn Source>, OAuth),
}

/// A place that holds a secret. Every method may block: none is called on the proxy's own thread.
pub trait Source: Send + Sync {
    /// How long what was read counts as fresh.
    fn lifetime(&self) -> Duration;
    /// Reads it. The error says what happened and the cure, never the secret.
    fn read(&self) -> Result<Held, String>;
    /// Waits for this job's turn among all jobs of the user, and makes sure that a new login can be stored; the turn
    /// ends when what is returned is dropped.
    fn turn(&self) -> Result<Box<dyn Turn>, String>;
}

/// The right to renew one login.
pub trait Turn: Send {
    /// Puts `new` in the place of `old`; `Ok(false)` if something else is there by now, which then stays. After an error
    /// it can be called again.
    fn replace(&mut self, old: &Held, new: &Held) -> Result<bool, String>;
}

/// What a source holds.
#[derive(Clone)]
pub struct Held {
    /// The secret itself; of a login, the access token.
    pub secret: SecretString,
    /// What a new one is got with.
    pub refresh: Option<SecretString>,
    /// When the secret expires.
    pub expires: Option<SystemTime>,
}

/// How a login is renewed (RFC 6749, section 6).
#[derive(Clone, Debug)]
pub struct OAuth {
    /// The server that gives new tokens.
    pub authority: Authority,
    /// The path there.
    pub path: String,
    /// Who asks.
    pub client_id: String,
    /// What the job sees in the refresh token's place. A request of the job that holds it is answered by the proxy.
    pub refresh_dummy: String,
    /// What makes a new login on the host, e.g. `claude /login`.
    pub cure: String,
}

/// The way to the outside.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `--connect-to`: an authority that is dialled elsewhere, past the resolver and the address guard.
    pub connect_to: Vec<(Authority, SocketAddr)>,
    /// The certificates that upstream servers must chain to (PEM files).
    pub trust: Trust,
    /// `--upstream-proxy`: the operator's proxies, which connections go through.
    pub proxy: Proxies,
}

/// Which certificates upstream servers must chain to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The system's bundle, and these PEM files on top.
    System {
        /// More roots.
        extra: Vec<PathBuf>,
    },
}

/// Bounds on what a job can make the proxy hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of the job at once; more are closed at once.
    pub connections: usize,
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Fields of a request head.
    pub header_fields: usize,
    /// Streams of one HTTP/2 connection.
    pub streams: u32,
    /// Requests of the job at once, each until the last byte of its answer is written.
    pub requests: usize,
    /// Bytes that all of it together may hold in memory, beyond an idle proxy.
    pub memory: usize,
    /// How long a connection may stay without a request, a handshake without progress.
    pub idle: Duration,
    /// How long the answer may take to a client that has ended its side of a connection without TLS, and may be gone.
    pub half_closed: Duration,
    /// How long a name look-up and a connection to the outside may take.
    pub dial: Duration,
}

/// The default of [`Limits::memory`].
pub const MEMORY: usize = 64 * 1024 * 1024;

/// The least [`Limits::memory`] with which a proxy serves every kind of request; less counts as that.
pub const LEAST_MEMORY: usize = budget::LEAST;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            header_bytes: 64 * 1024,
            header_fields: 1000,
            streams: 256,
            requests: 2048,
            memory: MEMORY,
            idle: Duration::from_secs(120),
            half_closed: Duration::from_secs(60),
            dial: Duration::from_secs(20),
        }
    }
}
