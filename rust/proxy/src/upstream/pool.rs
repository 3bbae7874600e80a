//! Connections that are open already, within one job, by server and protocol.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::Authority;

use super::ahead::{self, Ahead, Progress};
use super::guard::Guard;
use super::link::Link;
use super::protocol::{Forward, Protocol};

/// Servers close idle connections after a minute or more; ours go first.
const IDLE: Duration = Duration::from_secs(50);
/// A connection that is never replaced would stick to an address for ever.
const AGE: Duration = Duration::from_secs(600);
const EXCLUSIVE: usize = 64;
/// How long after its last request a shared connection is kept even where memory is short.
const SPARED: Duration = Duration::from_secs(2);

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
    /// The address is the server's, so that rules about addresses hold for it.
    checked: bool,
    /// The address is one that only some requests may use.
    excepted: bool,
    /// It ends at an HTTP proxy, which forwards requests.
    pub(super) forward: Option<Forward>,
    made: Instant,
    used: Instant,
}

/// Whether a connection should be made ahead of the first request.
pub(super) enum Start {
    /// There is one.
    NotNeeded,
    /// Somebody is at it, and it can be shared.
    UnderWay(Ahead),
    /// Do, and say how it ended.
    Begin(Progress, Ahead),
}

#[derive(Default)]
pub(super) struct Pool {
    servers: Mutex<HashMap<Key, Server>>,
}

#[derive(Default)]
struct Server {
    /// HTTP/1 connections. Those that still have a request on them show it by not being ready.
    exclusive: Vec<Pooled>,
    /// One HTTP/2 connection, shared by all requests.
    shared: Option<Pooled>,
    /// What the server spoke last.
    speaks_http1: bool,
    dialling: Option<Ahead>,
}

impl Pooled {
    pub(super) fn new(link: Link, address: SocketAddr, checked: bool, excepted: bool) -> Pooled {
        let now = Instant::now();
        Pooled { link, address, checked, excepted, forward: None, made: now, used: now }
    }

    fn usable(&self, now: Instant) -> bool {
        self.link.is_open() && now - self.used < IDLE && now - self.made < AGE
    }

    /// What one request may reach, another may not.
    fn admits(&self, guard: &Guard<'_>) -> bool {
        !(self.checked && guard.denies(self.address.ip()))
            && (!self.excepted || guard.excepts(self.address.ip()))
    }
}

impl Pool {
    /// A connection that this request may use.
    pub(super) fn take(&self, key: &Key, guard: &Guard<'_>) -> Option<Pooled> {
        let now = Instant::now();
        let mut servers = lock(&self.servers);
        let server = servers.get_mut(key)?;
        if let Some(shared) = &mut server.shared {
            if !shared.usable(now) {
                server.shared = None;
            } else if shared.admits(guard) {
                shared.used = now;
                return shared.link.share().map(|link| Pooled { link, forward: None, ..*shared });
            }
        }
        // The one that was used last is the least likely to be closed on us.
        for position in (0..server.exclusive.len()).rev() {
            let connection = &server.exclusive[position];
            if !connection.usable(now) {
                server.exclusive.remove(position);
            } else if connection.link.is_ready() && connection.admits(guard) {
                return Some(server.exclusive.remove(position));
            }
        }
        None
    }

    /// Keeps a connection for the next request, also while it is not through with this one.
    pub(super) fn give_back(&self, key: Key, mut connection: Pooled) {
        let now = Instant::now();
        connection.used = now;
        let mut servers = lock(&self.servers);
        let server = servers.entry(key).or_default();
        server.speaks_http1 = !connection.link.is_http2();
        if server.speaks_http1 {
            if server.exclusive.len() >= EXCLUSIVE {
                server.exclusive.remove(0);
            }
            server.exclusive.push(connection);
        } else if !server.shared.as_ref().is_some_and(|shared| shared.usable(now)) {
            // The connection that is there has requests on it; a second one would only split them.
            server.shared = Some(connection);
        }
    }

    /// Forgets this connection if it is the one that requests share: its server takes no more of them. Those on it go on.
    pub(super) fn retire_shared(&self, key: &Key, gone: &Pooled) {
        if let Some(server) = lock(&self.servers).get_mut(key) {
            server.shared.take_if(|shared| shared.made == gone.made);
        }
    }

    /// Decides about a connection ahead of the first request, and announces it.
    pub(super) fn start_ahead(&self, key: &Key) -> Start {
        let now = Instant::now();
        let mut servers = lock(&self.servers);
        let server = servers.entry(key.clone()).or_default();
        let free = |connection: &Pooled| connection.usable(now) && connection.link.is_ready();
        if server.shared.as_ref().is_some_and(|shared| shared.usable(now))
            || server.exclusive.iter().any(free)
        {
            return Start::NotNeeded;
        }
        // HTTP/1 needs one connection per request at a time; a server not known yet may share one.
        if let (false, Some(dialling)) = (server.speaks_http1, &server.dialling)
            && dialling.is_under_way()
        {
            return Start::UnderWay(dialling.clone());
        }
        let (progress, ahead) = ahead::start();
        server.dialling = Some(ahead.clone());
        Start::Begin(progress, ahead)
    }

    /// Drops every connection without a request on it. One of HTTP/2 that was not used just now goes when its requests are
    /// through, if there are any.
    pub(super) fn forget_idle(&self) {
        let now = Instant::now();
        for server in lock(&self.servers).values_mut() {
            server.exclusive.retain(|connection| !connection.link.is_ready());
            server.shared.take_if(|shared| now - shared.used >= SPARED);
        }
    }

    /// Drops what nobody used for a while.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        lock(&self.servers).retain(|_, server| {
            server.exclusive.retain(|connection| connection.usable(now));
            server.shared.take_if(|shared| !shared.usable(now));
            let dialling = server.dialling.as_ref().is_some_and(Ahead::is_under_way);
            dialling || !server.exclusive.is_empty() || server.shared.is_some()
        });
    }
}

fn lock(servers: &Mutex<HashMap<Key, Server>>) -> MutexGuard<'_, HashMap<Key, Server>> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}
