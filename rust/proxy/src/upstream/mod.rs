//! The way to the outside: the only room that resolves names, dials and keeps connections.

mod ahead;
mod closing;
mod dial;
mod error;
mod guard;
mod link;
mod permit;
mod pinned;
mod pool;
mod protocol;
mod proxy;
mod replay;
mod route;
mod sparing;
mod stream;
mod tls_failure;
mod trust;

pub use trust::system_roots;

pub(crate) use ahead::Ahead;
pub(crate) use error::UpstreamError;
pub(crate) use guard::Guard;
pub(crate) use protocol::Protocol;
pub(crate) use stream::Stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, COOKIE, HOST, PROXY_AUTHORIZATION, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, uri};
use hyper::body::Incoming;
use policy::{Authority, Host, Policy, RequestPath, Scheme};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::body::RequestBody;
use crate::budget::Budget;
use crate::config::{self, Limits};
use crate::serve_error::ServeError;
use dial::{Dialer, Way};
use link::Sent;
use permit::UpstreamPermit;
use pool::{Key, Pool, Pooled, Start};
use replay::{Replay, SentBody};

/// How often one request is sent at most.
const ATTEMPTS: usize = 4;

/// The outside, as one job reaches it.
pub(crate) struct Upstream {
    dialer: Dialer,
    pool: Pool,
    policy: Arc<Policy>,
    /// One place per connection.
    places: Arc<Semaphore>,
    budget: Arc<Budget>,
    /// How many wait for one.
    waiting: AtomicUsize,
    patience: Duration,
}

/// A request that may go out, addressed by its [`Guard`].
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: Uri,
    /// Without `Host`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
    pub(crate) protocol: Protocol,
}

impl Upstream {
    pub(crate) fn new(
        config: config::Upstream,
        limits: &Limits,
        policy: Arc<Policy>,
        budget: Arc<Budget>,
    ) -> Result<Upstream, ServeError> {
        let places = Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS));
        let dialer = Dialer::new(config, limits.dial)?;
        Ok(Upstream {
            dialer,
            pool: Pool::default(),
            policy,
            places: Arc::new(places),
            budget,
            waiting: AtomicUsize::new(0),
            patience: limits.dial,
        })
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// It is sent again if the server has not processed it: nothing of it left, or the server says so. A request that may be
    /// sent twice (RFC 9110, section 9.2.2) is also sent again if a connection that was used before breaks: the server may
    /// have closed it while the request was on its way.
    pub(crate) async fn send(
        &self,
        guard: &Guard<'_>,
        outgoing: Outgoing,
    ) -> Result<(Response<Incoming>, SocketAddr), UpstreamError> {
        let authority = guard.request.authority;
        let Outgoing { method, target, headers, body, protocol } = outgoing;
        let key = Key { protocol, authority: authority.clone() };
        let is_idempotent = method.is_idempotent();
        let replay = Replay::new(body, self.budget.bulk());
        let mut head = Head { method, target, headers };
        let mut pooled = if protocol.is_websocket() { None } else { self.pool.take(&key, guard) };
        let mut attempt = 1;
        loop {
            let is_reused = pooled.is_some();
            let mut connection = match pooled.take() {
                Some(connection) => connection,
                None => self.connect(&key, guard).await?,
            };
            let may_repeat =
                attempt < ATTEMPTS && (connection.link.is_http2() || (is_reused && is_idempotent));
            let spare = may_repeat.then(|| head.clone());
            let body = replay.body(may_repeat);
            let request = write_request(authority, &connection, head, protocol, body);
            let (error, again) = match connection.link.send(request).await {
                Sent::Answered(response) => {
                    replay.stop_keeping();
                    if link::is_too_large(response.headers()) {
                        return Err(UpstreamError::LargeHead(authority.clone()));
                    }
                    if connection.forward.is_some()
                        && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
                    {
                        return Err(UpstreamError::Proxy(authority.clone(), proxy::NEEDS_LOGIN.to_owned()));
                    }
                    let address = connection.address;
                    // One that is kept for later is one less for those who wait now.
                    if !protocol.is_websocket() && self.waiting.load(Ordering::Relaxed) == 0 {
                        self.pool.give_back(key, connection);
                    }
                    return Ok((response, address));
                }
                Sent::Returned(request, error) => {
                    (error, Some(read_head(*request)).filter(|_| attempt < ATTEMPTS))
                }
                Sent::Refused(error) => {
                    pooled = Some(connection);
                    (error, spare)
                }
                Sent::GoneAway(error) => {
                    self.pool.retire_shared(&key, &connection);
                    (error, spare)
                }
                Sent::Broken(error) => (error, spare.filter(|_| is_reused && is_idempotent)),
            };
            match again.filter(|_| replay.is_whole()) {
                Some(again) => head = again,
                None => return Err(UpstreamError::no_answer(authority, error)),
            }
            attempt += 1;
        }
    }

    /// Starts a connection to a server that at least one rule allows something on, for the request that will come.
    pub(crate) fn dial_ahead(self: &Arc<Self>, scheme: Scheme, authority: &Authority) -> Option<Ahead> {
        let protocol = if scheme == Scheme::Https { Protocol::Negotiated } else { Protocol::Http1 };
        let key = Key { protocol, authority: authority.clone() };
        let root = RequestPath::parse("/").ok()?;
        let (progress, ahead) = match self.pool.start_ahead(&key) {
            Start::NotNeeded => return None,
            Start::UnderWay(ahead) => return Some(ahead),
            Start::Begin(progress, ahead) => (progress, ahead),
        };
        let upstream = self.clone();
        tokio::spawn(async move {
            // The request is not known yet: an address that only some requests may reach is left to them.
            let request = policy::Request {
                scheme,
                authority: &key.authority,
                method: "",
                path: &root,
                query: "",
                websocket: false,
            };
            let guard = Guard { policy: &upstream.policy, request: &request };
            match upstream.connect(&key, &guard).await {
                Ok(mut connection) => {
                    // Otherwise the request could look for it a moment too early.
                    if connection.link.ready().await {
                        upstream.pool.give_back(key, connection);
                    }
                    progress.succeeded();
                }
                Err(error) => progress.failed(error),
            }
        });
        Some(ahead)
    }

    /// Opens a connection for opaque bytes.
    pub(crate) async fn open(&self, guard: &Guard<'_>) -> Result<(Stream, SocketAddr), UpstreamError> {
        let Way { stream, address, .. } = self.dialer.dial(guard, None).await?;
        Ok((stream, address))
    }

    /// Drops connections that nobody used for a while.
    pub(crate) fn sweep(&self) {
        self.pool.sweep();
    }

    /// A job can ask for far more at once than it has connections to us: each carries many requests.
    async fn place(&self) -> Result<UpstreamPermit, UpstreamError> {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let _waiting = self.wait();
                match timeout(self.patience, self.places.clone().acquire_owned()).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) | Err(_) => return Err(UpstreamError::TooMany),
                }
            }
        };
        let memory = match self.budget.try_upstream() {
            Some(memory) => memory,
            None => {
                let _waiting = self.wait();
                self.budget.upstream(self.patience).await.ok_or(UpstreamError::Memory)?
            }
        };
        Ok(UpstreamPermit { _place: place, memory, budget: self.budget.clone() })
    }

    /// Frees what can be freed and counts one more who waits, until what is returned is dropped.
    fn wait(&self) -> Waiting<'_> {
        self.pool.forget_idle();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    async fn connect(&self, key: &Key, guard: &Guard<'_>) -> Result<Pooled, UpstreamError> {
        if !self.budget.has_windows() {
            self.pool.forget_idle();
        }
        let place = self.place().await?;
        let Way { stream, address, checked, excepted, forward } =
            self.dialer.dial(guard, Some(key.protocol)).await?;
        let link = self.dialer.speak(key, stream, place).await?;
        let mut connection = Pooled::new(link, address, checked, excepted);
        connection.forward = forward;
        Ok(connection)
    }
}

/// One who waits for a connection.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request says before its body.
#[derive(Clone)]
struct Head {
    method: Method,
    /// Path and query.
    target: Uri,
    /// Without `Host`.
    headers: HeaderMap,
}

/// Writes the head as the connection's version wants it.
fn write_request(
    authority: &Authority,
    connection: &Pooled,
    head: Head,
    protocol: Protocol,
    body: SentBody,
) -> Request<SentBody> {
    let Head { method, target, mut headers } = head;
    let host = host_text(authority, protocol.tls());
    let mut request = Request::new(body);
    *request.method_mut() = method;
    if connection.link.is_http2() {
        *request.version_mut() = Version::HTTP_2;
        let mut parts = target.into_parts();
        parts.scheme = Some(if protocol.tls() { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
        parts.authority = host.parse().ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    } else {
        if headers.contains_key(TE) {
            headers.insert(CONNECTION, HeaderValue::from_static("TE"));
        }
        *request.uri_mut() = match &connection.forward {
            None => target,
            Some(forward) => {
                if let Some(authorization) = &forward.authorization {
                    headers.insert(PROXY_AUTHORIZATION, authorization.clone());
                }
                let mut parts = target.into_parts();
                parts.scheme = Some(uri::Scheme::HTTP);
                parts.authority = host.parse().ok();
                Uri::from_parts(parts).unwrap_or_default()
            }
        };
        if let Ok(host) = HeaderValue::try_from(host) {
            headers.insert(HOST, host);
        }
        join_cookies(&mut headers);
    }
    *request.headers_mut() = headers;
    request
}

/// HTTP/2 clients send cookies one by one; servers of HTTP/1 know one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(mut line) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        // One of them may hold a secret.
        line.set_sensitive(true);
        headers.insert(COOKIE, line);
    }
}

/// Takes back the head of a request that was not sent.
fn read_head<B>(request: Request<B>) -> Head {
    let (head, _) = request.into_parts();
    let mut headers = head.headers;
    headers.remove(HOST);
    // That of a WebSocket is the request's own.
    if headers.get(CONNECTION).is_some_and(|value| value == "TE") {
        headers.remove(CONNECTION);
    }
    headers.remove(PROXY_AUTHORIZATION);
    let target = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    Head { method: head.method, target, headers }
}

/// The authority as it is written in `Host` and `:authority`, without a port that says nothing.
fn host_text(authority: &Authority, tls: bool) -> String {
    let host = match &authority.host {
        Host::Name(name) => name.as_str().to_owned(),
        Host::Ip(IpAddr::V4(address)) => address.to_string(),
        Host::Ip(IpAddr::V6(address)) => format!("[{address}]"),
    };
    match (tls, authority.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_is_taken_back_keeps_what_is_its_own() {
        for (connection, is_kept) in [("Upgrade", true), ("TE", false)] {
            let request = Request::get("/x?y").header(HOST, "a.test").header(CONNECTION, connection);
            let head = read_head(request.header("x-other", "1").body(()).unwrap());
            assert_eq!(head.target, "/x?y");
            assert_eq!(
                (head.headers.contains_key(HOST), head.headers.contains_key("x-other")),
                (false, true)
            );
            assert_eq!(head.headers.contains_key(CONNECTION), is_kept, "{connection}");
        }
    }
}
