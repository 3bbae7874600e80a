//! Request bodies that can be sent again: the server may say that it has not processed a request (RFC 9113, section 8.7), or
//! a connection that was used before may turn out to be closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::budget::{Growing, Share};
use redact::BoxError;

use crate::body::RequestBody;

/// The most bytes of one body that are kept. A server refuses a request when it has seen its head; until then as much of
/// the body leaves as an HTTP/2 window holds (64 KiB unless the server says otherwise), and one more piece is read.
const MAX_KEPT: usize = 128 * 1024;

/// The body of one request, from which a [`SentBody`] is made for each time the request is sent.
pub(super) enum Replay {
    /// There is nothing in it.
    Empty(RequestBody),
    /// What was read of it is kept until the server answers.
    Shared(Arc<Mutex<Shared>>),
}

/// The body of a request that is being sent. It ends with an error when the request is sent another time.
pub(crate) enum SentBody {
    /// There is nothing in it.
    Empty(RequestBody),
    /// The body as the attempt of this number sends it.
    Shared(Arc<Mutex<Shared>>, usize),
}

/// What the attempts to send one request have in common.
pub(crate) struct Shared {
    source: RequestBody,
    /// What was read from the source.
    kept: BytesMut,
    /// How much of it this attempt has sent.
    sent: usize,
    /// What came behind the data, and whether this attempt has sent it.
    trailers: Option<(HeaderMap, bool)>,
    is_ended: bool,
    /// Whether what is read is kept.
    keeps: bool,
    /// Whether something was read and is not kept.
    is_lost: bool,
    attempt: usize,
    memory: Growing,
}

impl Replay {
    pub(super) fn new(source: RequestBody, memory: &Share) -> Replay {
        if source.is_empty() {
            return Replay::Empty(source);
        }
        Replay::Shared(Arc::new(Mutex::new(Shared {
            source,
            kept: BytesMut::new(),
            sent: 0,
            trailers: None,
            is_ended: false,
            keeps: false,
            is_lost: false,
            attempt: 0,
            memory: Growing::new(memory.clone()),
        })))
    }

    /// Returns the body for the next attempt, from its beginning. What this attempt reads is kept if `keeps` says so.
    pub(super) fn body(&self, keeps: bool) -> SentBody {
        match self {
            Replay::Empty(source) => SentBody::Empty(source.empty()),
            Replay::Shared(shared) => {
                let mut state = lock(shared);
                state.attempt += 1;
                state.sent = 0;
                state.keeps = keeps;
                if let Some((_, is_sent)) = &mut state.trailers {
                    *is_sent = false;
                }
                SentBody::Shared(shared.clone(), state.attempt)
            }
        }
    }

    /// Returns true if another attempt can send the same body.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Replay::Empty(_) => true,
            Replay::Shared(shared) => !lock(shared).is_lost,
        }
    }

    /// Keeps nothing from here on: the server has answered.
    pub(super) fn stop_keeping(&self) {
        if let Replay::Shared(shared) = self {
            lock(shared).stop_keeping();
        }
    }
}

impl Shared {
    fn stop_keeping(&mut self) {
        self.keeps = false;
        // What this attempt has not sent yet is still needed.
        if self.sent == self.kept.len() {
            self.drop_kept();
        }
    }

    fn drop_kept(&mut self) {
        self.is_lost |= !self.kept.is_empty() || self.trailers.is_some();
        self.kept = BytesMut::new();
        self.memory.release();
        self.sent = 0;
    }

    fn keep(&mut self, data: &Bytes) {
        let fits = self.kept.len() + data.len() <= MAX_KEPT;
        if self.keeps && !self.is_lost && fits && self.memory.try_hold(self.kept.len() + data.len()) {
            // Copied: a piece of one byte keeps all alive that was read with it.
            self.kept.extend_from_slice(data);
            self.sent = self.kept.len();
        } else {
            self.drop_kept();
            self.is_lost = true;
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.sent < self.kept.len() {
            let data = Bytes::copy_from_slice(&self.kept[self.sent..]);
            self.sent = self.kept.len();
            if !self.keeps {
                self.drop_kept();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.is_ended {
            let unsent = self.trailers.as_mut().filter(|(_, is_sent)| !is_sent);
            return Poll::Ready(unsent.map(|(trailers, is_sent)| {
                *is_sent = true;
                Ok(Frame::trailers(trailers.clone()))
            }));
        }
        let Some(frame) = ready!(Pin::new(&mut self.source).poll_frame(context)) else {
            self.is_ended = true;
            return Poll::Ready(None);
        };
        let frame = frame.inspect_err(|_| self.is_lost = true)?;
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => self.keep(data),
            (None, Some(trailers)) => {
                self.trailers = Some((trailers.clone(), true));
                self.is_ended = true;
            }
            (None, None) => {}
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            SentBody::Empty(body) => Pin::new(body).poll_frame(context),
            SentBody::Shared(shared, attempt) => {
                let mut state = lock(shared);
                if state.attempt != *attempt {
                    return Poll::Ready(Some(Err("the request is being sent another time".into())));
                }
                state.poll_frame(context)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            SentBody::Empty(body) => body.is_end_stream(),
            SentBody::Shared(shared, _) => {
                let state = lock(shared);
                let is_sent = state.sent == state.kept.len()
                    && state.trailers.as_ref().is_none_or(|(_, is_sent)| *is_sent);
                is_sent && (state.is_ended || state.source.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            SentBody::Empty(body) => body.size_hint(),
            SentBody::Shared(shared, _) => {
                let state = lock(shared);
                let kept = (state.kept.len() - state.sent) as u64;
                let rest = state.source.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(kept));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(kept));
                }
                hint
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
