//! Secrets out, dummies in: what happens to an answer between the outside and the job.
//!
//! A server that got a secret can send it back: in a header, an error text, a debug page, a redirect. On its way in,
//! every spelling of the secret (`forms`) becomes the dummy in the same spelling, and a secret that is not in one piece
//! (`loose`: in lines, with some characters escaped) becomes the dummy piece by piece. Nothing is buffered beyond the end
//! of a chunk that could be the beginning of a secret, and what cannot be searched does not go on.
//!
//! Not found: a secret that a server transforms otherwise (reversed, in hex, encrypted, in an archive, one letter per
//! answer), or that it puts across two WebSocket messages.

mod body;
mod decode;
mod forms;
mod head;
mod loose;
mod needles;
mod respell;
mod splice;
#[cfg(test)]
mod test_support;
mod triggers;
mod unescape;
mod websocket;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

pub use body::{Body, BoxError};
pub(crate) use decode::{Coding, Decoder};
pub(crate) use forms::percent;
pub(crate) use head::plain_answers;
pub(crate) use needles::Needles;
pub use needles::SHORTEST;

use head::Plan;
use needles::StandIn;
use splice::Splicer;
use websocket::Frames;

/// Writes dummies over the secrets in one answer.
pub struct Redactor {
    needles: Arc<Needles>,
    /// Whether the job may ask for parts of what there is.
    parts_pass: bool,
    /// What the head said, before it was changed.
    plan: OnceLock<Plan>,
}

/// Bytes of an upgraded connection, without secrets; their number never changes.
pub struct StreamRedactor {
    format: Format,
}

enum Format {
    WebSocket(Frames),
    Unknown(Splicer),
}

const PART: &str =
    "the server sent a part of its answer; parts cannot be searched for the credential, ask for all of it";
const UNKNOWN_CODING: &str = "the server encoded its answer in a way that cannot be searched for the credential, though it \
                              was asked not to encode it; ask for another format, or another resource";

impl Redactor {
    pub(crate) fn new(needles: Arc<Needles>, parts_pass: bool) -> Redactor {
        Redactor { needles, parts_pass, plan: OnceLock::new() }
    }

    /// Returns why a response cannot be searched, if it cannot: it is a part where the proxy asks for whole ones (a job that
    /// asks for parts by other headers than `Range` could put the secret together from them), or its body is in a coding that
    /// is not known.
    pub(crate) fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        has_body: bool,
    ) -> Option<&'static str> {
        if !self.parts_pass && head::is_part(status, headers) {
            return Some(PART);
        }
        (has_body && head::codings(headers).is_err()).then_some(UNKNOWN_CODING)
    }

    /// Cleans the head of the answer and fits it to the cleaned body; call it before [`Redactor::body`] or
    /// [`Redactor::stream`].
    pub fn head(&self, status: StatusCode, headers: &mut HeaderMap) {
        let plan = self.plan.get_or_init(|| Plan::new(Some(status), headers, self.needles.same_length()));
        head::clean(&self.needles, headers);
        plan.adapt(headers);
        if !self.parts_pass {
            head::say_no_parts(headers);
        }
    }

    /// The most that the body's decoders may hold in memory; 0 without any. Call it after [`Redactor::head`].
    pub(crate) fn decoder_bytes(&self) -> usize {
        let codings = self.plan.get().and_then(|plan| plan.codings.as_ref().ok());
        codings.map_or(0, |codings| codings.iter().map(|coding| coding.most_bytes()).sum())
    }

    /// Cleans the body of the answer and its trailers. The headers are looked at only if [`Redactor::head`] was not
    /// called.
    pub fn body<B>(self, headers: &HeaderMap, body: B) -> Body<B>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let plan = self.plan.get_or_init(|| Plan::new(None, headers, self.needles.same_length())).clone();
        Body::new(self, plan, body)
    }

    /// Cleans what the outside sends after `101 Switching Protocols`.
    pub fn stream(self) -> StreamRedactor {
        let format = match self.plan.get() {
            Some(plan) if plan.websocket => Format::WebSocket(Frames::new(self.needles)),
            _ => Format::Unknown(Splicer::new(self.needles, StandIn::Fitted)),
        };
        StreamRedactor { format }
    }

    fn trailers(&self, trailers: &mut HeaderMap) {
        head::clean(&self.needles, trailers);
        head::remove_digests(trailers);
    }

    fn splicer(&self, stand_in: StandIn) -> Splicer {
        Splicer::new(Arc::clone(&self.needles), stand_in)
    }
}

impl StreamRedactor {
    /// Takes bytes as they come and gives what may go on; nothing any more once [`StreamRedactor::is_refused`].
    pub fn feed(&mut self, bytes: &[u8]) -> Bytes {
        match &mut self.format {
            Format::WebSocket(frames) => frames.feed(bytes),
            Format::Unknown(splicer) => splicer.feed(Bytes::copy_from_slice(bytes)),
        }
    }

    /// The outside has closed: gives what was held back.
    pub fn finish(&mut self) -> Bytes {
        match &mut self.format {
            Format::WebSocket(frames) => frames.finish(),
            Format::Unknown(splicer) => splicer.finish(),
        }
    }

    /// Whether the outside sent what cannot be searched (compressed WebSocket frames): close the connection.
    pub fn is_refused(&self) -> bool {
        matches!(&self.format, Format::WebSocket(frames) if frames.is_refused())
    }
}

// Never what is inside: the needles are the secrets.

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamRedactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StreamRedactor").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Body<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").finish_non_exhaustive()
    }
}
