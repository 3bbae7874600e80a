//! Heads on their way through: what belongs to one connection stays on it, what servers could read differently goes
//! nowhere.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SEC_WEBSOCKET_EXTENSIONS, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use policy::Reason;

use crate::config::Limits;
use crate::denial::Denial;
use crate::fields::{remove_named, strip_connection, strip_ours};

const ALT_SVC: HeaderName = HeaderName::from_static("alt-svc");

/// Headers by which servers behind a proxy learn for which host a request was. Here the job is in front: none of them may
/// name another server than the one that the policy was asked about.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-server",
    "x-host",
    "x-original-host",
    "x-http-host-override",
];

/// What a `Connection` header of a request may name. Naming any other header asks a proxy to drop it, which is how
/// credentials get lost or kept behind a proxy's back.
const CONNECTION_OPTIONS: [&str; 6] =
    ["close", "keep-alive", "upgrade", "te", "http2-settings", "proxy-connection"];

/// Whether a request wants to become a WebSocket, in the only way that is carried on (HTTP/1.1).
pub(super) fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && names(request.headers(), &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
        && is_websocket(request.headers())
}

/// Whether `Upgrade` names WebSocket and nothing else.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = names(headers, &UPGRADE);
    protocols.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
        && protocols.next().is_none()
}

/// Refuses heads that a server could read in another way than we do.
pub(super) fn refuse_ambiguous(headers: &HeaderMap) -> Result<(), Denial> {
    let refuse = |hint| Err(Denial { hint: Some(hint), ..Reason::MalformedRequest.into() });
    for value in headers.get_all(CONNECTION) {
        let Ok(text) = value.to_str() else { return refuse("the Connection header is not text") };
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            if !CONNECTION_OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(option)) {
                return refuse("a Connection header may name close, keep-alive, upgrade and te only");
            }
        }
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return refuse("the only Transfer-Encoding is chunked");
    }
    Ok(())
}

/// Refuses heads that are larger than the limits, which HTTP/1 and HTTP/2 count alike: names, values and the target.
pub(super) fn refuse_large(head: &Parts, limits: &Limits) -> Result<(), Denial> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let bytes: usize =
        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() + target;
    if head.headers.len() > limits.header_fields || bytes > limits.header_bytes {
        return Err(Denial {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            hint: Some("the head of a request may have 64 KiB and 1,000 fields"),
            ..Reason::TooLarge.into()
        });
    }
    Ok(())
}

/// Takes off what is for us and not for the server. `Host` is set again when the request is written.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    let trailers = names(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    strip_connection(headers);
    // hyper answers 100-continue itself when the body is asked for, which happens when the server takes it.
    headers.remove(EXPECT);
    headers.remove(HOST);
    headers.remove(PROXY_AUTHORIZATION);
    remove_named(headers, |key| FORWARDED.contains(&key));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Says that the request wants to become a WebSocket.
pub(super) fn ask_for_websocket(headers: &mut HeaderMap, redacted: bool) {
    confirm_websocket(headers);
    if redacted {
        // Compressed frames could carry a secret past the redactor.
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
}

/// Says that the connection is a WebSocket from here on.
pub(super) fn confirm_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Takes off what the server said to us and not to the job.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // It was not what the body's end was found by (RFC 9112, section 6.3), and may be wrong.
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = names(headers, &CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    strip_connection(headers);
    headers.remove(PROXY_AUTHENTICATE);
    // It sends clients to HTTP/3 or to another port, which both end at a closed door.
    headers.remove(ALT_SVC);
    strip_ours(headers);
}

/// The members of a comma-separated header, over all its lines.
fn names<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}
