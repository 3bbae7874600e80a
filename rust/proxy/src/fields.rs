//! Fields of heads and trailers that must not pass: those of one connection, and those that only the proxy itself sends.

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};

use crate::spelling::header_key;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// By headers of this beginning the job knows that an answer is ours.
const OURS: &str = "x-jail-";

/// Takes off, in any spelling, the headers and trailers that only the proxy itself may send.
pub(crate) fn strip_ours(headers: &mut HeaderMap) {
    remove_named(headers, |key| key.starts_with(OURS));
}

/// Takes off headers by their names as servers normalise them.
pub(crate) fn remove_named(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    let named: Vec<HeaderName> =
        headers.keys().filter(|name| is_one(&header_key(name.as_str()))).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Takes off trailer fields that would change how a message is read.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip_connection(trailers);
    trailers.remove(HOST);
    trailers.remove(CONTENT_LENGTH);
}

pub(crate) fn strip_connection(headers: &mut HeaderMap) {
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}
