//! The memory that a job can make its proxy hold.
//!
//! A job decides how many connections and requests there are, how large their heads are, and whether anybody reads the
//! answers. Whatever grows by that is reserved here before it is allocated, and a [`Grant`] gives its bytes back when it is
//! dropped: with the connection, with the last queued byte of an answer, with a decoder. The total is
//! [`Limits::memory`](crate::config::Limits::memory), beyond what an idle proxy takes. Each kind has a share of its own:
//!
//! | share | of 64 | holds | when it is used up |
//! |---|---|---|---|
//! | connections | 13 | TLS and buffers of the job's connections; streams and upload windows of HTTP/2 | fewer streams and smaller windows, then HTTP/1.1 instead of HTTP/2, then new connections are closed |
//! | requests | 10 | heads, in bytes, and what every request needs until the last byte of its answer is written | requests wait |
//! | waiting | 2 | heads of requests that wait | requests are refused (503 `proxy-memory`) |
//! | queued | 3 | answers and uploads on their way: more than one piece of each | each has one piece on its way |
//! | upstream | 18 | connections to servers, idle ones too; receive windows of HTTP/2 | smaller windows, idle connections are closed, then requests wait and are refused |
//! | bulk | 17 | windows of decoders, bodies that are read whole, pushes, copies of bodies | requests wait and are refused; copies are not kept |
//! | heads | 1 | heads of responses and trailers, as far as they are large | responses wait and are refused |
//!
//! No two holders can wait for each other: a request takes from the shares in the order of this table, waits for at most one
//! grant of each, and only for grants whose holders need none of an earlier share to finish. Every wait has a limit in time.
//!
//! What is charged is what a connection or a request holds while nobody reads, rounded; one that is read holds less. A single
//! transfer gets the same windows and queues as without a budget. Per piece of a body there is a counter and no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The least total with which each kind can go on at all.
pub(crate) const LEAST: usize = 16 * MIB;

/// One connection of the job: its task, TLS, the buffer that heads are read into.
const CONNECTION: usize = 32 * KIB;
/// What a connection of HTTP/2 holds in addition, and what it would like to.
const HTTP2: (usize, usize) = (96 * KIB, MIB);
/// One open stream of HTTP/2, even if its request is refused at once.
const STREAM: usize = 2 * KIB;
/// The least number of streams of one connection.
const FEWEST_STREAMS: u32 = 24;
/// HTTP/2 has no smaller window for a connection.
const SMALLEST_WINDOW: usize = 64 * KIB;
/// Upload windows: more than is on its way on loopback.
const UPLOAD_WINDOW: usize = 512 * KIB;
/// One request: its task, and the one piece of a body that may always be on its way.
const REQUEST: usize = 20 * KIB;
/// A request that waits: its task.
const WAITER: usize = 12 * KIB;
/// One field of a head, beside its bytes: its place in the table, two allocations.
const FIELD: usize = 160;
/// A head on its way out, and the copy that is sent again when a connection breaks.
const COPIES: usize = 2;
/// What of the head of a response the grant of its request covers.
const SMALL_HEAD: usize = 4 * KIB;
/// One connection to a server: TLS in both directions, two buffers of HTTP/1.
const UPSTREAM: usize = 80 * KIB;
/// The receive window of an upstream connection of HTTP/2 at most.
const DOWNLOAD_WINDOW: usize = 5 * MIB / 2;
/// What of one body is on its way at most: read from one side and not yet written to the other.
const BODY_QUEUE: usize = 128 * KIB;
/// One piece of a body, beside its bytes: a peer that sends single bytes must not get more than others.
const PIECE: usize = 256;

/// By how much a [`Growing`] grant grows at least.
const GROWTH: usize = 16 * KIB;

/// All that one job's proxy may hold.
pub(crate) struct Budget {
    connections: Share,
    requests: Share,
    waiting: Share,
    queued: Arc<Queued>,
    heads: Share,
    upstream: Share,
    bulk: Share,
    /// One push at a time is read.
    push: Arc<Semaphore>,
}

/// The bytes of one kind.
#[derive(Clone)]
pub(crate) struct Share {
    /// One permit is one KiB.
    free: Arc<Semaphore>,
    bytes: usize,
}

/// Bytes that are reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct Grant(OwnedSemaphorePermit);

/// Memory of something that grows. It takes what is free and never waits: its request holds other grants.
pub(crate) struct Growing {
    share: Share,
    grant: Option<Grant>,
}

/// Limits of an HTTP/2 connection of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Http2Limits {
    pub(crate) streams: u32,
    pub(crate) window: u32,
}

/// The decision about a request whose head has been read.
pub(crate) enum Admission {
    /// It has the memory it needs.
    Admitted(Grant),
    /// It has a place to wait in.
    Queued(Waiter),
    /// It must be dropped at once.
    Refused,
}

/// A request that waits until others end.
pub(crate) struct Waiter {
    requests: Share,
    needs: usize,
    _head: Grant,
}

/// Counts the pieces of all bodies that are on their way.
#[derive(Debug)]
pub(crate) struct Queued {
    bytes: AtomicUsize,
    most: usize,
}

impl Budget {
    /// Divides `bytes` into shares; fewer than [`LEAST`] count as that.
    pub(crate) fn new(bytes: usize) -> Budget {
        let share = |parts: usize| bytes.max(LEAST) / 64 * parts;
        Budget {
            connections: Share::new(share(13)),
            requests: Share::new(share(10)),
            waiting: Share::new(share(2)),
            queued: Arc::new(Queued { bytes: AtomicUsize::new(0), most: share(3) }),
            heads: Share::new(share(1)),
            upstream: Share::new(share(18)),
            bulk: Share::new(share(17)),
            push: Arc::new(Semaphore::new(1)),
        }
    }

    /// Reserves the memory of any connection of the job.
    pub(crate) fn connection(&self) -> Option<Grant> {
        self.connections.try_reserve(CONNECTION)
    }

    /// The memory of a connection's unfinished head, beyond what [`Budget::connection`] covers.
    pub(crate) fn unfinished_head(&self) -> Growing {
        Growing::new(self.connections.clone())
    }

    /// Reserves the additional memory of HTTP/2; `None` when there are so many connections that they should speak HTTP/1.1.
    pub(crate) fn http2(&self, most_streams: u32) -> Option<(Grant, Http2Limits)> {
        let grant = self.connections.try_part(HTTP2, 16, 0)?;
        let half = grant.bytes() / 2;
        let streams = u32::try_from(half / STREAM).unwrap_or(u32::MAX).max(FEWEST_STREAMS);
        let window = half.clamp(SMALLEST_WINDOW, UPLOAD_WINDOW);
        let limits = Http2Limits {
            streams: streams.min(most_streams),
            window: u32::try_from(window).unwrap_or(u32::MAX),
        };
        Some((grant, limits))
    }

    /// Returns true while the job has few enough connections for each to have large buffers.
    pub(crate) fn is_roomy(&self) -> bool {
        self.connections.free() > self.connections.bytes / 4 * 3
    }

    /// The same for the connections to servers.
    pub(crate) fn is_roomy_upstream(&self) -> bool {
        self.upstream.free() > self.upstream.bytes / 2
    }

    /// Decides about a request by the size of its head. It does not wait, so that a head that must go goes at once.
    pub(crate) fn admit<B>(&self, request: &Request<B>) -> Admission {
        let head = head_bytes(request);
        let needs = REQUEST + COPIES * head;
        if needs > self.requests.bytes {
            return Admission::Refused;
        }
        if let Some(grant) = self.requests.try_reserve(needs) {
            return Admission::Admitted(grant);
        }
        match self.waiting.try_reserve(WAITER + head) {
            Some(grant) => Admission::Queued(Waiter { requests: self.requests.clone(), needs, _head: grant }),
            None => Admission::Refused,
        }
    }

    /// The counter of bodies on their way.
    pub(crate) fn queued(&self) -> &Arc<Queued> {
        &self.queued
    }

    /// Waits for the memory of the head of a response. The grant is empty if that of the request covers it.
    pub(crate) async fn response_head(&self, headers: &HeaderMap, patience: Duration) -> Option<Grant> {
        match self.try_trailers(headers) {
            Some(grant) => Some(grant),
            None => self.heads.reserve(large_head_bytes(headers), patience).await,
        }
    }

    /// Reserves the memory of trailers, if it is free: what precedes them is on its way already.
    pub(crate) fn try_trailers(&self, trailers: &HeaderMap) -> Option<Grant> {
        self.heads.try_reserve(large_head_bytes(trailers))
    }

    /// Reserves the memory of a connection to a server, if it is free.
    pub(crate) fn try_upstream(&self) -> Option<Grant> {
        self.upstream.try_reserve(UPSTREAM)
    }

    /// Waits for the memory of a connection to a server.
    pub(crate) async fn upstream(&self, patience: Duration) -> Option<Grant> {
        self.upstream.reserve(UPSTREAM, patience).await
    }

    /// Returns true if another upstream connection of HTTP/2 could have a window that does not slow it down.
    pub(crate) fn has_windows(&self) -> bool {
        self.upstream.part(4, self.upstream.bytes / 5 * 2) >= DOWNLOAD_WINDOW / 4
    }

    /// Adds what is left for it to the grant of a connection that speaks HTTP/2; returns its receive window. Two fifths of
    /// the share are for connections, however small their windows.
    pub(crate) fn download_window(&self, connection: &mut Grant) -> u32 {
        let sizes = (SMALLEST_WINDOW, DOWNLOAD_WINDOW);
        let window = match self.upstream.try_part(sizes, 4, self.upstream.bytes / 5 * 2) {
            Some(more) => {
                let bytes = more.bytes();
                connection.0.merge(more.0);
                bytes
            }
            None => SMALLEST_WINDOW,
        };
        u32::try_from(window).unwrap_or(u32::MAX)
    }

    /// Waits for the turn of a push. Only the one whose turn it is asks [`Budget::bulk`] for what reading it takes.
    pub(crate) async fn push(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        timeout(patience, self.push.clone().acquire_owned()).await.ok()?.ok()
    }

    /// The share for large and rare holders.
    pub(crate) fn bulk(&self) -> &Share {
        &self.bulk
    }
}

impl Share {
    pub(crate) fn new(bytes: usize) -> Share {
        let units = (bytes / KIB).min(Semaphore::MAX_PERMITS);
        Share { free: Arc::new(Semaphore::new(units)), bytes: units * KIB }
    }

    /// All bytes, reserved ones too.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn free(&self) -> usize {
        self.free.available_permits() * KIB
    }

    /// Reserves these bytes, if they are free.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Grant> {
        self.free.clone().try_acquire_many_owned(units(bytes)?).ok().map(Grant)
    }

    /// Waits for these bytes, in the order of asking.
    pub(crate) async fn reserve(&self, bytes: usize, patience: Duration) -> Option<Grant> {
        if bytes > self.bytes {
            return None;
        }
        match timeout(patience, self.free.clone().acquire_many_owned(units(bytes)?)).await {
            Ok(Ok(permit)) => Some(Grant(permit)),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Reserves a part of what is free beyond `kept`, so that the first get much and the last at least a little; `None` when
    /// that would be less than the least.
    fn try_part(&self, (least, most): (usize, usize), part: usize, kept: usize) -> Option<Grant> {
        let bytes = self.part(part, kept).min(most);
        if bytes < least { None } else { self.try_reserve(bytes) }
    }

    fn part(&self, part: usize, kept: usize) -> usize {
        self.free().saturating_sub(kept) / part
    }
}

impl Grant {
    /// How much it is.
    pub(crate) fn bytes(&self) -> usize {
        self.0.num_permits() * KIB
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let kept = bytes.div_ceil(KIB);
        let more = self.0.num_permits().saturating_sub(kept);
        drop(self.0.split(more));
    }

    /// Takes the bytes of another grant of the same share.
    pub(crate) fn merge(&mut self, other: Grant) {
        self.0.merge(other.0);
    }
}

impl Growing {
    pub(crate) fn new(share: Share) -> Growing {
        Growing { share, grant: None }
    }

    /// Goes on from a grant of the share.
    pub(crate) fn from(share: Share, grant: Grant) -> Growing {
        Growing { share, grant: Some(grant) }
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(grant) = &mut self.grant {
            grant.shrink_to(bytes);
        }
    }

    /// Makes the grant at least this large, if there is as much.
    pub(crate) fn try_hold(&mut self, bytes: usize) -> bool {
        let reserved = self.grant.as_ref().map_or(0, Grant::bytes);
        if bytes <= reserved {
            return true;
        }
        let Some(more) = self.share.try_reserve((bytes - reserved).max(GROWTH)) else { return false };
        match &mut self.grant {
            Some(grant) => grant.merge(more),
            None => self.grant = Some(more),
        }
        true
    }

    /// Returns true if it holds anything.
    pub(crate) fn is_any(&self) -> bool {
        self.grant.is_some()
    }

    pub(crate) fn release(&mut self) {
        self.grant = None;
    }
}

impl Waiter {
    /// Waits for the turn of this request.
    pub(crate) async fn admitted(self, patience: Duration) -> Option<Grant> {
        self.requests.reserve(self.needs, patience).await
    }
}

impl Queued {
    /// Returns true if a body that has `own` bytes on their way may have more.
    pub(crate) fn has_room(&self, own: usize) -> bool {
        own == 0 || (own < BODY_QUEUE && self.bytes.load(Ordering::Relaxed) < self.most)
    }

    /// Counts a piece in; returns what [`Queued::remove`] must be given.
    pub(crate) fn add(&self, length: usize) -> usize {
        let charged = length + PIECE;
        self.bytes.fetch_add(charged, Ordering::Relaxed);
        charged
    }

    pub(crate) fn remove(&self, charged: usize) {
        self.bytes.fetch_sub(charged, Ordering::Relaxed);
    }
}

/// Bytes for any head, beside its fields.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields_bytes(request.headers()) + authority + target
}

/// Bytes of a head beyond what the grant of its request covers.
fn large_head_bytes(headers: &HeaderMap) -> usize {
    fields_bytes(headers).saturating_sub(SMALL_HEAD)
}

fn fields_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum()
}

/// Permits for these bytes; `None` for more than any share has.
fn units(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.div_ceil(KIB)).ok()
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
