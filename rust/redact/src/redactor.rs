//! What happens to one response.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::body::{Body, BoxError};
use super::head::{self, Plan};
use super::needles::Needles;
use super::splice::Splicer;
use super::stand_in::StandIn;
use super::websocket::Frames;

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
    /// `parts_pass`: whether the job may ask for parts of what there is.
    pub fn new(needles: Arc<Needles>, parts_pass: bool) -> Redactor {
        Redactor { needles, parts_pass, plan: OnceLock::new() }
    }

    /// Returns why a response cannot be searched, if it cannot: it is a part where the proxy asks for whole ones (a job that
    /// asks for parts by other headers than `Range` could put the secret together from them), or its body is in a coding that
    /// is not known.
    pub fn refusal(&self, status: StatusCode, headers: &HeaderMap, has_body: bool) -> Option<&'static str> {
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
    pub fn decoder_bytes(&self) -> usize {
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
        Body::new(self.needles, plan, body)
    }

    /// Cleans what the outside sends after `101 Switching Protocols`.
    pub fn stream(self) -> StreamRedactor {
        let format = match self.plan.get() {
            Some(plan) if plan.websocket => Format::WebSocket(Frames::new(self.needles)),
            _ => Format::Unknown(Splicer::new(self.needles, StandIn::Fitted)),
        };
        StreamRedactor { format }
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
