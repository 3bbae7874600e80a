//! The head of an answer: what it says about its body, and what of it must change.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::decode::Coding;
use super::needles::Needles;
use super::splice::whole;
use super::stand_in::StandIn;

/// How the body of an answer is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The codings that were applied, in that order.
    pub(super) codings: Result<Vec<Coding>, Unreadable>,
    pub(super) stand_in: StandIn,
    pub(super) websocket: bool,
}

/// The body is in a coding that cannot be undone here, so nobody can say whether the secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer is in the coding {0:?}, which cannot be searched for secrets; the server was asked not to encode"
)]
pub(super) struct Unreadable(String);

/// Checksums of a body that may change.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

impl Plan {
    /// `same_length`: whether dummies are as long as their secrets.
    pub(super) fn new(status: Option<StatusCode>, headers: &HeaderMap, same_length: bool) -> Plan {
        let codings = codings(headers);
        // A known length stays true if the few escaped spellings that differ are fitted.
        let is_known =
            codings.as_ref().is_ok_and(Vec::is_empty) && headers.contains_key(header::CONTENT_LENGTH);
        // A part says from where to where it goes, asked for or not.
        let is_part = headers.contains_key(header::CONTENT_RANGE);
        let may_change = is_text(headers) && !is_part && !(same_length && is_known);
        Plan {
            codings,
            stand_in: if may_change { StandIn::Exact } else { StandIn::Fitted },
            websocket: status == Some(StatusCode::SWITCHING_PROTOCOLS)
                && tokens(headers, &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")),
        }
    }

    /// Makes the headers true for what becomes of the body.
    pub(super) fn adapt(&self, headers: &mut HeaderMap) {
        let decodes = self.codings.as_ref().is_ok_and(|codings| !codings.is_empty());
        if decodes {
            headers.remove(header::CONTENT_ENCODING);
        }
        if decodes || self.stand_in == StandIn::Exact {
            headers.remove(header::CONTENT_LENGTH);
        }
        remove_digests(headers);
    }
}

/// Returns true for a part of a representation, whatever the request asked for.
pub(super) fn is_part(status: StatusCode, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
    status == StatusCode::PARTIAL_CONTENT
        || (status.is_success() && headers.contains_key(header::CONTENT_RANGE))
        || kind.is_some_and(|kind| kind.trim_ascii_start().starts_with(b"multipart/byteranges"))
}

/// Where `range` is not passed on (see [`plain_answers`]).
pub(super) fn say_no_parts(headers: &mut HeaderMap) {
    if headers.contains_key(header::ACCEPT_RANGES) {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    }
}

/// Writes the dummies into header values. A name with a secret in it is nobody's header: it goes.
pub(super) fn clean(needles: &Needles, headers: &mut HeaderMap) {
    let is_secret = |name: &&HeaderName| needles.find(name.as_str().as_bytes(), 0).is_some();
    let secret: Vec<HeaderName> = headers.keys().filter(is_secret).cloned().collect();
    for name in secret {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        let Some(clean) = cleaned(needles, value.as_bytes()) else { continue };
        let sensitive = value.is_sensitive();
        // Dummies are visible ASCII, so what was a header value still is one.
        *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(sensitive);
    }
}

/// The value without secrets; `None` when there is none in it. A secret may be in two lines of the value: of such a line break
/// (RFC 9112, section 5.2) only a blank is left.
/// Cleans trailers.
pub(super) fn clean_trailers(needles: &Needles, trailers: &mut HeaderMap) {
    clean(needles, trailers);
    remove_digests(trailers);
}

fn cleaned(needles: &Needles, value: &[u8]) -> Option<Vec<u8>> {
    let first = whole(needles, StandIn::Exact, value);
    let text = first.as_deref().unwrap_or(value);
    if !text.contains(&b' ') {
        return first;
    }
    let exchanged = |text: &[u8], from: u8, to: u8| -> Vec<u8> {
        text.iter().map(|byte| if *byte == from { to } else { *byte }).collect()
    };
    // No value holds a line break.
    let in_lines = whole(needles, StandIn::Exact, &exchanged(text, b' ', b'\n'));
    in_lines.map(|text| exchanged(&text, b'\n', b' ')).or(first)
}

fn remove_digests(headers: &mut HeaderMap) {
    for digest in DIGESTS {
        headers.remove(digest);
    }
}

/// Asks a server for an answer that can be searched: not compressed, not a part (a secret could lie across its
/// border) unless parts pass, not in another character set, no compression inside WebSocket or gRPC frames.
pub fn plain_answers(headers: &mut HeaderMap, parts_pass: bool) {
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for name in [header::ACCEPT_CHARSET, header::SEC_WEBSOCKET_EXTENSIONS] {
        headers.remove(name);
    }
    if !parts_pass {
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
    headers.remove("a-im");
    for name in ACCEPT_MESSAGE_ENCODING {
        if headers.contains_key(name) {
            headers.insert(name, HeaderValue::from_static("identity"));
        }
    }
}

/// Codings of single messages in a body: of gRPC and of Connect, its successor on plain HTTP.
const ACCEPT_MESSAGE_ENCODING: [&str; 2] = ["grpc-accept-encoding", "connect-accept-encoding"];
static MESSAGE_ENCODING: [HeaderName; 2] =
    [HeaderName::from_static("grpc-encoding"), HeaderName::from_static("connect-content-encoding")];

/// How many codings are undone: each may hold a window of several megabytes.
const MOST_CODINGS: usize = 2;

/// The codings that are to be undone, in the order in which they were applied.
pub(super) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Unreadable> {
    let unknown = tokens(headers, &header::TRANSFER_ENCODING)
        .find(|token| !token.eq_ignore_ascii_case("chunked"))
        .or_else(|| {
            let mut messages = MESSAGE_ENCODING.iter().flat_map(|name| tokens(headers, name));
            messages.find(|token| !token.eq_ignore_ascii_case("identity"))
        });
    if let Some(unknown) = unknown {
        return Err(Unreadable(unknown));
    }
    let mut codings = Vec::new();
    for token in tokens(headers, &header::CONTENT_ENCODING) {
        match Coding::parse(&token) {
            Some(Coding::Identity) => {}
            Some(next) if codings.len() < MOST_CODINGS => codings.push(next),
            _ => return Err(Unreadable(token)),
        }
    }
    Ok(codings)
}

/// Whether a body is text, in which lengths may change. Without a type it is taken for text.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let textual = ["json", "xml", "javascript", "x-www-form-urlencoded", "yaml", "graphql"];
    // Their messages say their length first.
    let is_framed = kind.contains("grpc") || kind.starts_with("application/connect+");
    kind.starts_with("text/") || (!is_framed && textual.iter().any(|word| kind.contains(word)))
}

/// The comma-separated words of a header; a value that is not text is one word that nobody knows.
fn tokens(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| {
            String::from_utf8_lossy(value.as_bytes())
                .split(',')
                .map(|token| token.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
