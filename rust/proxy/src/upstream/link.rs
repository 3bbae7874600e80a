//! One HTTP connection to the outside, of either version.

use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::permit::UpstreamPermit;
use super::replay::SentBody;
use super::sparing::Sparing;

/// What of one request waits to be written at most.
const SEND_BUFFER: usize = 128 * 1024;
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

/// Returns true if the head of a response is larger than what is passed on.
pub(super) fn is_too_large(headers: &HeaderMap) -> bool {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    headers.len() > FIELDS || bytes > HEAD
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

/// What one HTTP/1 connection may hold of an answer that the job does not read; a head must fit, and one byte more.
const BUFFER: usize = HEAD + 8 * 1024;
/// The most bytes of a response's head, in both versions.
const HEAD: usize = 64 * 1024;
/// The most fields of a response's head.
const FIELDS: usize = 1000;
/// HTTP/2 counts 32 bytes more a field (RFC 9113, section 6.5.2). A head that is somewhat longer is refused by its size, one
/// that is longer than this as malformed.
const HTTP2_HEAD: u32 = 128 * 1024;

impl Link {
    pub(super) async fn http1<S>(stream: S, place: UpstreamPermit) -> hyper::Result<Link>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Sparing::new(stream, place.budget());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_header_size(HEAD)
            .max_headers(FIELDS)
            // RFC 9112, sections 5.1 and 5.2: a proxy removes such white space, and unfolds.
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            drop(place);
        });
        Ok(Link::Http1(sender))
    }

    pub(super) async fn http2<S>(stream: S, mut place: UpstreamPermit) -> hyper::Result<Link>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let window = place.download_window();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // One answer that nobody reads must not hold up the others.
            .initial_stream_window_size(window / 5 * 4)
            .initial_connection_window_size(window)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HTTP2_HEAD)
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
