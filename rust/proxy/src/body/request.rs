//! The body of a request on its way to the server. Nothing is collected: a frame that came goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use redact::{BoxError, Coding, Decoder};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::copy::Copy;
use super::flow::Flow;
use super::form::FormScan;
use crate::budget::{Grant, Share};
use crate::fields::strip_trailers;
use crate::swap::Vault;
use crate::swap::aws::Chunks;

const DISCARDED: usize = 4 * 1024 * 1024;
/// Bytes of one step of decoding.
const DECODED: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);

/// What the job sends.
pub(crate) struct RequestBody {
    /// `None` for a body that is known to be empty.
    inner: Option<Incoming>,
    unread: Unread,
    vault: Arc<Vault>,
    /// What was read ahead and goes first; it holds its own grant.
    held: Bytes,
    /// What is left of a piece that is being decoded, if the body is.
    decoding: Option<Box<(Decoder, Bytes)>>,
    /// What is known already and goes last: all there is of a body that is sent again.
    known: Bytes,
    /// What has gone through, if it may be sent again.
    copy: Option<Copy>,
    /// Signs the chunks of the body again.
    chunks: Option<Box<Chunks>>,
    /// Reads the form that it is.
    form: Option<Box<FormScan>>,
    is_denied: Denied,
    /// Counts the bytes on their way to the server.
    flow: Option<Arc<Flow>>,
}

/// Whether a body was broken off because its form stands for a method that is not allowed.
#[derive(Clone, Default)]
pub(crate) struct Denied(Arc<AtomicBool>);

impl Denied {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether there is more of a body to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Option<Arc<AtomicBool>>);

impl RequestBody {
    pub(crate) fn new(body: Option<Incoming>, vault: Arc<Vault>) -> RequestBody {
        let inner = body.filter(|body| !body.is_end_stream());
        let unread = Unread(inner.is_some().then(|| Arc::new(AtomicBool::new(true))));
        RequestBody {
            inner,
            unread,
            vault,
            held: Bytes::new(),
            decoding: None,
            known: Bytes::new(),
            copy: None,
            chunks: None,
            form: None,
            is_denied: Denied::default(),
            flow: None,
        }
    }

    /// A body of these bytes.
    pub(crate) fn of(bytes: Bytes, vault: Arc<Vault>) -> RequestBody {
        let mut body = RequestBody::new(None, vault);
        body.known = bytes;
        body
    }

    /// Keeps what goes through, to be sent again if the server refuses the credential.
    pub(crate) fn kept(mut self, memory: &Share) -> (RequestBody, Copy) {
        let copy = Copy::new(memory.clone(), self.is_end_stream());
        self.copy = Some(copy.clone());
        (self, copy)
    }

    /// The same body, read no faster than the server takes it.
    pub(crate) fn through(mut self, flow: Arc<Flow>) -> RequestBody {
        self.flow = Some(flow);
        self
    }

    /// The same body, broken off where its form stands for a method that is not allowed; the second value says so.
    pub(crate) fn reading(mut self, form: Option<Box<FormScan>>) -> (RequestBody, Denied) {
        self.form = form;
        let denied = self.is_denied.clone();
        (self, denied)
    }

    /// The same body with its chunks signed again.
    pub(crate) fn signing(mut self, chunks: Box<Chunks>) -> RequestBody {
        self.chunks = Some(chunks);
        self
    }

    /// A body that is given plain.
    pub(crate) fn decoded(body: Incoming, coding: Coding, vault: Arc<Vault>) -> RequestBody {
        let decoding = Decoder::new(coding).map(|decoder| Box::new((decoder, Bytes::new())));
        let mut body = RequestBody::new(Some(body), vault);
        body.decoding = decoding;
        body
    }

    /// Puts back what was read ahead; its grant is given back when the last byte is written.
    pub(crate) fn put_back(&mut self, read: Bytes, mut grant: Grant) {
        grant.shrink_to(read.len());
        self.held = if read.is_empty() { read } else { Bytes::from_owner(Held { read, _grant: grant }) };
    }

    /// The rest, as it came.
    pub(crate) fn into_rest(mut self) -> Option<Incoming> {
        self.inner.take()
    }

    /// Returns true if there is nothing in it and nothing to check at its end.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_none() && self.held.is_empty() && self.known.is_empty() && self.chunks.is_none()
    }

    /// A body without anything in it.
    pub(crate) fn empty(&self) -> RequestBody {
        RequestBody::new(None, self.vault.clone())
    }

    pub(crate) fn unread(&self) -> Unread {
        self.unread.clone()
    }
}

impl Unread {
    pub(crate) fn is_any(&self) -> bool {
        self.0.as_ref().is_some_and(|unread| unread.load(Ordering::Relaxed))
    }

    fn none(&self) {
        if let Some(unread) = &self.0 {
            unread.store(false, Ordering::Relaxed);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.flow.as_ref().is_some_and(|flow| flow.is_full(context)) {
            return Poll::Pending;
        }
        let frame = ready!(self.poll_own(context));
        Poll::Ready(frame.map(|frame| frame.and_then(|frame| Flow::charge(self.flow.as_ref(), frame))))
    }

    fn is_end_stream(&self) -> bool {
        // With chunks only the last poll says whether they were complete.
        self.chunks.is_none() && self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoding.is_some() {
            return SizeHint::default();
        }
        let held = self.held.len() as u64 + self.known.len() as u64;
        let held = held + self.chunks.as_ref().map_or(0, |chunks| chunks.pending() as u64);
        let rest = self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl RequestBody {
    /// The next frame as the server gets it.
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = ready!(self.poll_next(context));
            if let (Some(form), Some(Ok(frame))) = (&mut self.form, &frame)
                && let Some(data) = frame.data_ref()
                && !form.allows(data)
            {
                self.is_denied.0.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err("the form stands for a method that is not allowed".into())));
            }
            if let (Some(copy), None | Some(Ok(_))) = (&self.copy, &frame) {
                // Before it is signed again: another time it may be with another key.
                let is_end = frame.is_none() || self.is_over();
                copy.add(frame.as_ref().and_then(|frame| frame.as_ref().ok()), is_end);
            }
            let Some(chunks) = &mut self.chunks else { return Poll::Ready(frame) };
            let Some(frame) = frame.transpose()? else {
                let ended = self.chunks.take().map_or(Ok(()), |chunks| chunks.finish());
                return Poll::Ready(ended.err().map(|error| Err(error.into())));
            };
            let data = match frame.into_data() {
                Ok(data) => chunks.feed(&data)?,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            // There may be nothing to give yet.
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.held.is_empty()
            && self.decoding.is_none()
            && self.known.is_empty()
            && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.held.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.held)))));
        }
        loop {
            if let Some(plain) = self.decode()? {
                return Poll::Ready(Some(Ok(Frame::data(plain))));
            }
            let Some(inner) = &mut self.inner else {
                let known = Some(std::mem::take(&mut self.known)).filter(|known| !known.is_empty());
                return Poll::Ready(known.map(|known| Ok(Frame::data(known))));
            };
            let frame = ready!(Pin::new(&mut *inner).poll_frame(context)).transpose()?;
            if frame.as_ref().is_none_or(Frame::is_trailers) || inner.is_end_stream() {
                self.unread.none();
            }
            let Some(frame) = frame else {
                let ended = self.decoding.take().map_or(Ok(()), |decoding| decoding.0.finish());
                return Poll::Ready(ended.err().map(|error| Err(error.into())));
            };
            let frame = frame.into_trailers();
            if let (Err(encoded), Some((_, input))) = (&frame, self.decoding.as_deref_mut()) {
                *input = encoded.data_ref().cloned().unwrap_or_default();
                // It may give nothing yet.
                continue;
            }
            return Poll::Ready(Some(match frame {
                Err(data) => Ok(data),
                Ok(mut trailers) if self.vault.trailers_ok(&trailers) => {
                    strip_trailers(&mut trailers);
                    Ok(Frame::trailers(trailers))
                }
                // The head is long gone: all that is left is to break the stream.
                Ok(_) => Err("a credential does not belong in trailers".into()),
            }));
        }
    }

    /// The next plain bytes of the piece at hand.
    fn decode(&mut self) -> Result<Option<Bytes>, BoxError> {
        let Some((decoder, input)) = self.decoding.as_deref_mut() else { return Ok(None) };
        if input.is_empty() && !decoder.has_more() {
            return Ok(None);
        }
        let mut plain = vec![0; DECODED];
        let length = decoder.step(input, &mut plain)?;
        plain.truncate(length);
        Ok(Some(Bytes::from(plain)).filter(|plain| !plain.is_empty()))
    }
}

/// What was read ahead of its turn, with the memory that was reserved for it.
struct Held {
    read: Bytes,
    _grant: Grant,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.read
    }
}

/// A server may answer without having read everything. Its answer is under way to a client that is still sending.
impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(rest) = self.inner.take().filter(|body| !body.is_end_stream()) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(discard(Some(rest)));
        }
    }
}

/// Reads what nobody wants, for a while: a client that is still sending when the connection closes gets a reset
/// instead of the answer that says why.
pub(crate) async fn discard(body: Option<Incoming>) {
    let Some(mut body) = body else { return };
    let read = async {
        let mut left = DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever sends more, or more slowly, has to live with the reset.
    let _ = timeout(PATIENCE, read).await;
}
