//! One HTTP connection to the outside, of either version.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::replay::SentBody;

/// Windows of the size of a fast path's bandwidth times delay; the defaults (64 KiB) hold a download back.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;
const PING: Duration = Duration::from_secs(20);

/// The sending side; the connection itself runs in a task of its own.
pub(super) enum Link {
    Http1(http1::SendRequest<SentBody>),
    Http2(http2::SendRequest<SentBody>),
}

/// What became of a request.
pub(super) enum Sent {
    /// The head of its answer came.
    Answered(Response<Incoming>),
    /// Nothing of it left.
    Returned(Box<Request<SentBody>>, hyper::Error),
    /// The server says that it has not processed the request, and that the connection goes on (RFC 9113, section 8.7).
    Refused(hyper::Error),
    /// The server says that it has not processed the request, and that the connection ends (RFC 9113, section 6.8).
    GoneAway(hyper::Error),
    /// Some of it may have left.
    Broken(hyper::Error),
}

impl Sent {
    fn failed(error: hyper::Error) -> Sent {
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
        let Some(cause) = cause.filter(|cause| cause.is_remote()) else { return Sent::Broken(error) };
        if cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM) {
            Sent::Refused(error)
        } else if cause.is_go_away() {
            // h2 gives this error to streams above the last one that the server names; the others go on.
            Sent::GoneAway(error)
        } else {
            Sent::Broken(error)
        }
    }
}

/// What one HTTP/1 connection may hold of an answer that the job does not read; hyper's own limit is six times that.
const BUFFER: usize = 64 * 1024;
/// The head of an answer, in HTTP/2; servers send more than hyper's 16 KiB, and HTTP/1 takes as much.
const HEAD: u32 = 64 * 1024;

impl Link {
    pub(super) async fn http1<S>(stream: S, place: OwnedSemaphorePermit) -> hyper::Result<Link>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            drop(place);
        });
        Ok(Link::Http1(sender))
    }

    pub(super) async fn http2<S>(stream: S, place: OwnedSemaphorePermit) -> hyper::Result<Link>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD)
            // A path that died without a word would hold every request of the job for a quarter of an hour.
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            drop(place);
        });
        Ok(Link::Http2(sender))
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Link::Http2(_))
    }

    /// Another hold on the same connection, where one connection carries several requests at once.
    pub(super) fn share(&self) -> Option<Link> {
        match self {
            Link::Http1(_) => None,
            Link::Http2(sender) => Some(Link::Http2(sender.clone())),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Link::Http1(sender) => !sender.is_closed(),
            Link::Http2(sender) => !sender.is_closed(),
        }
    }

    /// Whether a request could be sent at once.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Link::Http1(sender) => sender.is_ready(),
            Link::Http2(sender) => sender.is_ready(),
        }
    }

    /// Waits until the request before is through; false if the connection is gone.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Link::Http1(sender) => sender.ready().await.is_ok(),
            Link::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(super) async fn send(&mut self, request: Request<SentBody>) -> Sent {
        let sent = match self {
            Link::Http1(sender) => sender.try_send_request(request).await,
            Link::Http2(sender) => sender.try_send_request(request).await,
        };
        match sent {
            Ok(response) => Sent::Answered(response),
            Err(mut error) => match error.take_message() {
                Some(request) => Sent::Returned(Box::new(request), error.into_error()),
                None => Sent::failed(error.into_error()),
            },
        }
    }
}
