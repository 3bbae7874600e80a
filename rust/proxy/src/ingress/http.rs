//! HTTP on a connection of the job: hyper reads and writes, `exchange` answers.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::header::{CONNECTION, HeaderMap, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use policy::{Reason, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::half_close::Watched;
use super::http1_heads::CheckedHeads;
use super::http2_refusals::Reasons;
use super::paced::Paced;
use super::prefixed::Prefixed;
use crate::body::{Admitted, ResponseBody, UnderWay};
use crate::budget::Http2Limits;
use crate::config::Limits;
use crate::exchange::{self, Arrival, Session};
use crate::job::Job;

/// What one HTTP/1 connection may hold of an answer that the job does not read.
const BUFFER: usize = 64 * 1024;
/// What of one answer waits to be written at most; with more than one connection's worth of answers the budget allows less.
const SEND_BUFFER: usize = 128 * 1024;

/// Serves HTTP/1.1 requests to one server, without TLS.
pub(super) async fn plain_http1(session: Arc<Session>, stream: Prefixed) {
    let watched = Watched::new(&stream).ok();
    http1(session, stream, watched).await;
}

/// Serves HTTP/1.1 requests to one server, in TLS. A client that ends its side there is gone.
pub(super) async fn tls_http1<S>(session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1(session, stream, None).await;
}

async fn http1<S>(session: Arc<Session>, stream: S, watched: Option<Watched>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let job = session.job.clone();
    let server = server(&session);
    http1_with(&job, (session.binding.scheme, &server), stream, watched, |request, admitted| {
        let session = session.clone();
        async move { exchange::answer(&session, request, admitted).await }
    })
    .await;
}

/// Serves HTTP/1.1 requests by a function; `server` is whom they are for, as far as it is known. A client
/// whose connection is watched gets the answer also if it ends its side after its request, and the answer is not long in coming.
pub(super) async fn http1_with<S, F, A>(
    job: &Arc<Job>,
    (scheme, server): (Scheme, &str),
    stream: S,
    watched: Option<Watched>,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>, Arc<Admitted>) -> A,
    A: Future<Output = Response<ResponseBody>>,
{
    let under_way = UnderWay::default();
    let (stream, refusal) = CheckedHeads::new(stream, job, &under_way, server);
    let waits = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let is_connect = request.method() == Method::CONNECT;
        let arrival = Arrival::new(job, scheme, server, request);
        let busy = under_way.one_more();
        let (answer, waits, under_way) = (&answer, &waits, &under_way);
        async move {
            waits.store(true, Ordering::Relaxed);
            let (mut answer, head) = arrival.answered(answer).await;
            waits.store(false, Ordering::Relaxed);
            under_way.hold(head);
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS
                || (is_connect && answer.status().is_success())
            {
                under_way.upgrade();
            } else if !job.budget.is_roomy() && head_bytes(answer.headers()) > BUFFER / 4 {
                // The library keeps a buffer that has become as large.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| body.keeping(busy)))
        }
    });
    let half_close = watched.is_some();
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // It also bounds how long a connection may stay without a request.
            .header_read_timeout(job.limits.idle)
            .max_header_size(job.limits.header_bytes)
            .max_headers(job.limits.header_fields)
            .half_close(half_close)
            .max_buf_size(BUFFER.max(job.limits.header_bytes))
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        biased;
        () = job.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
        () = given_up(watched, job.limits.half_closed, &waits) => return,
    };
    if let Some(reason) = refusal.get() {
        job.record_connection(server, reason.as_str());
    }
    ended_with(job, server, ended);
}

fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Waits until a client that ended its side long ago has no answer yet. Once there is one, writing it shows whether the client
/// is there.
async fn given_up(watched: Option<Watched>, patience: Duration, waits: &AtomicBool) {
    if let Some(watched) = watched {
        watched.half_closed(patience).await;
        if waits.load(Ordering::Relaxed) {
            return;
        }
    }
    std::future::pending().await
}

/// Serves HTTP/2 requests to one server.
pub(super) async fn http2<S>(session: Arc<Session>, stream: S, limits: Http2Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let job = session.job.clone();
    let server = server(&session);
    let under_way = UnderWay::default();
    let (stream, refusals) = Reasons::new(stream);
    let service = service_fn(|request| {
        let arrival = Arrival::new(&job, session.binding.scheme, &server, request);
        let session = session.clone();
        let busy = under_way.one_more();
        async move {
            let answer = |request, admitted| exchange::answer(&session, request, admitted);
            let (answer, _) = arrival.answered(answer).await;
            Ok::<_, Infallible>(answer.map(|body| body.keeping(busy)))
        }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(header_list(&job.limits))
            .initial_stream_window_size(limits.window.div_ceil(2))
            .initial_connection_window_size(limits.window)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(TokioIo::new(Paced::new(stream)), service)
    );
    let idle = async {
        loop {
            let before = under_way.begun();
            tokio::time::sleep(job.limits.idle).await;
            if under_way.none() && under_way.begun() == before {
                return;
            }
        }
    };
    let ended = tokio::select! {
        biased;
        () = async { tokio::select! { () = idle => {}, () = job.closing() => {} } } => {
            connection.as_mut().graceful_shutdown();
            // A client that does not even say its preface would not notice.
            match tokio::time::timeout(job.limits.idle, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
        ended = connection.as_mut() => ended,
    };
    if refusals.load(Ordering::Relaxed) > 0 {
        job.record_connection(&server, Reason::MalformedRequest.as_str());
    }
    ended_with(&job, &server, ended);
}

/// The most bytes of a request's head as HTTP/2 counts them: 32 more a field (RFC 9113, section 6.5.2).
fn header_list(limits: &Limits) -> u32 {
    u32::try_from(limits.header_bytes + 32 * limits.header_fields).unwrap_or(u32::MAX)
}

fn server(session: &Session) -> String {
    session.binding.server().map(ToString::to_string).unwrap_or_default()
}

/// Records requests that were so broken that hyper answered them itself.
fn ended_with(job: &Job, server: &str, ended: hyper::Result<()>) {
    let Err(error) = ended else { return };
    tracing::debug!(%error, "a connection of the job ended");
    if error.is_parse_too_large() {
        job.record_connection(server, Reason::TooLarge.as_str());
    } else if error.is_parse() {
        job.record_connection(server, Reason::MalformedRequest.as_str());
    }
}
