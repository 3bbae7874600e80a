//! The body of a response on its way to the job.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use redact::BoxError;

use super::flow::Flow;
use super::under_way::Busy;
use crate::budget::{Grant, Growing};
use crate::fields::strip_ours;

/// What the job gets.
pub(crate) struct ResponseBody {
    inner: Inner,
    /// The memory of the head before it, until the connection takes that over.
    head: Option<Grant>,
    /// What the decoder of its coding may hold: a usual one, until the body shows how much it needs.
    decoder: Option<Growing>,
    /// Counts the bytes on their way to the job.
    flow: Option<Arc<Flow>>,
    _busy: Option<Busy>,
}

enum Inner {
    Upstream(Incoming),
    Redacted(Box<redact::Body<Incoming>>),
    Text(Full<Bytes>),
    Empty(Empty<Bytes>),
}

impl ResponseBody {
    pub(crate) fn upstream(body: Incoming) -> ResponseBody {
        ResponseBody::new(Inner::Upstream(body))
    }

    pub(crate) fn redacted(body: redact::Body<Incoming>, decoder: Option<Growing>) -> ResponseBody {
        ResponseBody { decoder, ..ResponseBody::new(Inner::Redacted(Box::new(body))) }
    }

    pub(crate) fn text(text: Bytes) -> ResponseBody {
        ResponseBody::new(Inner::Text(Full::new(text)))
    }

    pub(crate) fn empty() -> ResponseBody {
        ResponseBody::new(Inner::Empty(Empty::new()))
    }

    fn new(inner: Inner) -> ResponseBody {
        ResponseBody { inner, head: None, decoder: None, flow: None, _busy: None }
    }

    /// The same body behind a head that holds this memory.
    pub(crate) fn with_head(mut self, grant: Grant) -> ResponseBody {
        self.head = Some(grant);
        self
    }

    pub(crate) fn take_head(&mut self) -> Option<Grant> {
        self.head.take()
    }

    /// The same body, read no faster than the job takes it.
    pub(crate) fn through(mut self, flow: Arc<Flow>) -> ResponseBody {
        self.flow = Some(flow);
        self
    }

    /// Keeps a connection from being idle as long as the body lives.
    pub(crate) fn keeping(mut self, busy: Busy) -> ResponseBody {
        self._busy = Some(busy);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.flow.as_ref().is_some_and(|flow| flow.is_full(context)) {
            return Poll::Pending;
        }
        let frame = self.poll_inner(context);
        // Also where it gave nothing yet: a decoder holds its window from the beginning.
        self.fit_decoder()?;
        let frame = ready!(frame);
        Poll::Ready(frame.map(|frame| frame.and_then(|frame| Flow::charge(self.flow.as_ref(), frame))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Upstream(body) => body.is_end_stream(),
            Inner::Redacted(body) => body.is_end_stream(),
            Inner::Text(body) => body.is_end_stream(),
            Inner::Empty(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Upstream(body) => body.size_hint(),
            Inner::Redacted(body) => body.size_hint(),
            Inner::Text(body) => body.size_hint(),
            Inner::Empty(body) => body.size_hint(),
        }
    }
}

/// The error by which a response breaks off in the job as well. hyper takes the reason of a reset from it, and PROTOCOL_ERROR
/// is kept for what the job's own requests do wrong.
fn broken_off(error: impl Into<BoxError>) -> BoxError {
    let error = error.into();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(current) = cause {
        if current.downcast_ref::<h2::Error>().and_then(h2::Error::reason) == Some(h2::Reason::PROTOCOL_ERROR)
        {
            return "the server broke the rules of HTTP/2".into();
        }
        cause = current.source();
    }
    error
}

impl ResponseBody {
    /// Reserves what the decoder turns out to hold, and gives back what it does not need, once the body has shown it.
    fn fit_decoder(&mut self) -> Result<(), BoxError> {
        let (Some(grant), Inner::Redacted(body)) = (&mut self.decoder, &self.inner) else { return Ok(()) };
        let needs = body.decoder_bytes();
        if !grant.try_hold(needs.bytes) {
            return Err("the answer's compression needs more memory than the job's proxy has".into());
        }
        if needs.is_all {
            grant.shrink_to(needs.bytes);
        }
        Ok(())
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.inner {
            Inner::Upstream(body) => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map(without_our_trailers).map_err(broken_off))),
            Inner::Redacted(body) => Pin::new(&mut **body)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map(without_our_trailers).map_err(broken_off))),
            Inner::Text(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Inner::Empty(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
        }
    }
}

/// A frame from a server, which cannot speak for the proxy in its trailers either.
fn without_our_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        strip_ours(trailers);
    }
    frame
}
