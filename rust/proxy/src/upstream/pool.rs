//! Connections that are open already, within one job, by server and protocol.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::Authority;
use tokio::sync::watch;

use super::Protocol;
use super::guard::Guard;
use super::link::Link;

/// Servers close idle connections after a minute or more; ours go first.
const IDLE: Duration = Duration::from_secs(50);
/// A connection that is never replaced would stick to an address for ever.
const AGE: Duration = Duration::from_secs(600);
const IDLE_PER_SERVER: usize = 64;

/// Which connections are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) protocol: Protocol,
    pub(super) authority: Authority,
}

/// A connection, ready for a request.
pub(super) struct Pooled {
    pub(super) link: Link,
    pub(super) address: SocketAddr,
    /// The address is one that only some requests may use.
    excepted: bool,
    made: Instant,
    used: Instant,
}

/// Whether a connection should be made ahead of the first request.
pub(super) enum Start {
    /// There is one.
    NotNeeded,
    /// Somebody is at it, and it can be shared.
    UnderWay(watch::Receiver<bool>),
    /// Do.
    Begin(watch::Sender<bool>, watch::Receiver<bool>),
}

#[derive(Default)]
pub(super) struct Pool {
    servers: Arc<Mutex<HashMap<Key, Server>>>,
}

#[derive(Default)]
struct Server {
    /// HTTP/1 connections, each without a request on it.
    idle: Vec<Pooled>,
    /// One HTTP/2 connection, shared by all requests.
    shared: Option<Pooled>,
    /// What the server spoke last.
    speaks_http1: bool,
    dialling: Option<watch::Receiver<bool>>,
}

impl Pooled {
    pub(super) fn new(link: Link, address: SocketAddr, excepted: bool) -> Pooled {
        let now = Instant::now();
        Pooled { link, address, excepted, made: now, used: now }
    }

    fn usable(&self) -> bool {
        self.link.is_open() && self.used.elapsed() < IDLE && self.made.elapsed() < AGE
    }

    /// What one request may reach, another may not.
    fn admits(&self, guard: &Guard<'_>) -> bool {
        !self.excepted || guard.excepts(self.address.ip())
    }
}

impl Pool {
    /// A connection that this request may use.
    pub(super) fn take(&self, key: &Key, guard: &Guard<'_>) -> Option<Pooled> {
        let mut servers = lock(&self.servers);
        let server = servers.get_mut(key)?;
        if let Some(shared) = &mut server.shared {
            if !shared.usable() {
                server.shared = None;
            } else if shared.admits(guard) {
                shared.used = Instant::now();
                return shared.link.share().map(|link| Pooled { link, ..*shared });
            }
        }
        server.idle.retain(Pooled::usable);
        // The one that was used last is the least likely to be closed on us.
        let position = server.idle.iter().rposition(|idle| idle.admits(guard))?;
        Some(server.idle.remove(position))
    }

    /// Keeps a connection for the next request, as soon as it is through with this one.
    pub(super) fn give_back(&self, key: Key, connection: Pooled) {
        if connection.link.is_http2() {
            let mut servers = lock(&self.servers);
            let server = servers.entry(key).or_default();
            server.speaks_http1 = false;
            // The connection that is there has requests on it; a second one would only split them.
            if !server.shared.as_ref().is_some_and(Pooled::usable) {
                server.shared = Some(connection);
            }
        } else if connection.link.is_ready() {
            keep(&self.servers, key, connection);
        } else {
            let servers = self.servers.clone();
            let mut connection = connection;
            tokio::spawn(async move {
                if connection.link.ready().await {
                    connection.used = Instant::now();
                    keep(&servers, key, connection);
                }
            });
        }
    }

    /// Decides about a connection ahead of the first request, and announces it.
    pub(super) fn start_prefetch(&self, key: &Key) -> Start {
        let mut servers = lock(&self.servers);
        let server = servers.entry(key.clone()).or_default();
        if server.shared.as_ref().is_some_and(Pooled::usable) || server.idle.iter().any(Pooled::usable) {
            return Start::NotNeeded;
        }
        // HTTP/1 needs one connection per request at a time; a server not known yet may share one.
        if let (false, Some(dialling)) = (server.speaks_http1, &server.dialling)
            && dialling.has_changed().is_ok()
            && !*dialling.borrow()
        {
            return Start::UnderWay(dialling.clone());
        }
        let (done, finished) = watch::channel(false);
        server.dialling = Some(finished.clone());
        Start::Begin(done, finished)
    }

    /// Drops what nobody used for a while.
    pub(super) fn sweep(&self) {
        lock(&self.servers).retain(|_, server| {
            server.idle.retain(Pooled::usable);
            server.shared.take_if(|shared| !shared.usable());
            let dialling = server.dialling.as_ref().is_some_and(|dialling| dialling.has_changed().is_ok());
            dialling || !server.idle.is_empty() || server.shared.is_some()
        });
    }
}

fn keep(servers: &Mutex<HashMap<Key, Server>>, key: Key, connection: Pooled) {
    let mut servers = lock(servers);
    let server = servers.entry(key).or_default();
    server.speaks_http1 = true;
    if server.idle.len() >= IDLE_PER_SERVER {
        server.idle.remove(0);
    }
    server.idle.push(connection);
}

fn lock(servers: &Mutex<HashMap<Key, Server>>) -> MutexGuard<'_, HashMap<Key, Server>> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}
