//! Bodies on their way through. Nothing is collected: a frame that came goes on.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::arrival::HeldHead;
use super::copy::Copy;
use super::flow::Flow;
use super::form::FormScan;
use super::headers;
use crate::budget::{Grant, Growing, Share};
use crate::swap::Vault;
use crate::swap::aws::Chunks;
use redact::{BoxError, Coding, Decoder};

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
pub(super) struct Denied(Arc<AtomicBool>);

impl Denied {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether there is more of a body to come.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Option<Arc<AtomicBool>>);

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
    pub(super) fn kept(mut self, memory: &Share) -> (RequestBody, Copy) {
        let copy = Copy::new(memory.clone(), self.is_end_stream());
        self.copy = Some(copy.clone());
        (self, copy)
    }

    /// The same body, read no faster than the server takes it.
    pub(super) fn through(mut self, flow: Arc<Flow>) -> RequestBody {
        self.flow = Some(flow);
        self
    }

    /// The same body, broken off where its form stands for a method that is not allowed; the second value says so.
    pub(super) fn reading(mut self, form: Option<Box<FormScan>>) -> (RequestBody, Denied) {
        self.form = form;
        let denied = self.is_denied.clone();
        (self, denied)
    }

    /// The same body with its chunks signed again.
    pub(super) fn signing(mut self, chunks: Box<Chunks>) -> RequestBody {
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

    pub(super) fn unread(&self) -> Unread {
        self.unread.clone()
    }
}

impl Unread {
    pub(super) fn is_any(&self) -> bool {
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
        Poll::Ready(frame.map(|frame| frame.and_then(|frame| counted(self.flow.as_ref(), frame))))
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
                    headers::strip_trailers(&mut trailers);
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
pub(super) async fn discard(body: Option<Incoming>) {
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

/// The same frame, charged until it is written.
fn counted(flow: Option<&Arc<Flow>>, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BoxError> {
    let Some(flow) = flow else { return Ok(frame) };
    let mut frame = frame.map_data(|data| flow.count(data));
    if let Some(trailers) = frame.trailers_mut()
        && !flow.hold_trailers(trailers)
    {
        return Err("the trailers need more memory than the job's proxy has".into());
    }
    Ok(frame)
}

/// What the job gets.
pub(crate) struct AnswerBody {
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

impl AnswerBody {
    pub(crate) fn upstream(body: Incoming) -> AnswerBody {
        AnswerBody::new(Inner::Upstream(body))
    }

    pub(crate) fn redacted(body: redact::Body<Incoming>, decoder: Option<Growing>) -> AnswerBody {
        AnswerBody { decoder, ..AnswerBody::new(Inner::Redacted(Box::new(body))) }
    }

    pub(crate) fn text(text: Bytes) -> AnswerBody {
        AnswerBody::new(Inner::Text(Full::new(text)))
    }

    pub(crate) fn empty() -> AnswerBody {
        AnswerBody::new(Inner::Empty(Empty::new()))
    }

    fn new(inner: Inner) -> AnswerBody {
        AnswerBody { inner, head: None, decoder: None, flow: None, _busy: None }
    }

    /// The same body behind a head that holds this memory.
    pub(super) fn with_head(mut self, grant: Grant) -> AnswerBody {
        self.head = Some(grant);
        self
    }

    pub(super) fn take_head(&mut self) -> Option<Grant> {
        self.head.take()
    }

    /// The same body, read no faster than the job takes it.
    pub(super) fn through(mut self, flow: Arc<Flow>) -> AnswerBody {
        self.flow = Some(flow);
        self
    }

    /// Keeps a connection from being idle as long as the body lives.
    pub(crate) fn keeping(mut self, busy: Busy) -> AnswerBody {
        self._busy = Some(busy);
        self
    }
}

impl Body for AnswerBody {
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
        Poll::Ready(frame.map(|frame| frame.and_then(|frame| counted(self.flow.as_ref(), frame))))
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

impl AnswerBody {
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
        headers::strip_ours(trailers);
    }
    frame
}

/// The requests of one connection.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    is_upgraded: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// What waits in a connection of HTTP/1.
#[derive(Default)]
struct Waiting {
    /// The memory of a head that is not written yet.
    head: Option<HeldHead>,
    /// To be woken when a response has been written.
    waker: Option<Waker>,
}

/// One request under way.
pub(crate) struct Busy(UnderWay);

impl UnderWay {
    pub(crate) fn one_more(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// How many there have been.
    pub(crate) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether all of them are through.
    pub(crate) fn none(&self) -> bool {
        self.begun() == self.0.ended.load(Ordering::Relaxed)
    }

    /// Whether the connection has left HTTP.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.0.is_upgraded.load(Ordering::Relaxed)
    }

    pub(crate) fn upgrade(&self) {
        self.0.is_upgraded.store(true, Ordering::Relaxed);
    }

    /// Holds the memory of a head until [`UnderWay::written`].
    pub(crate) fn hold(&self, head: Option<HeldHead>) {
        self.waiting().head = head;
    }

    /// All that was begun is written.
    pub(crate) fn written(&self) {
        let mut waiting = self.waiting();
        waiting.head = None;
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes this task when something has been written, or a request has ended.
    pub(crate) fn wait(&self, context: &Context<'_>) {
        self.waiting().waker = Some(context.waker().clone());
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
        let waker = self.0.waiting().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
