//! Requests for a server of the job itself, on loopback, that a client sends to the explicit proxy.
//!
//! The proxy is not in the job's network and cannot reach such a server. `NO_PROXY` names its addresses, but not every client
//! reads each of them: Python's urllib looks for `[::1]` with brackets, with which other clients cannot start. These are sent
//! to `localhost`, which all of them reach by themselves.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use policy::{Authority, Host, Reason};

use crate::authority_bind::Binding;
use crate::body::ResponseBody;
use crate::denial::Denial;

/// Where the server of a request is for the job, if it is named by an address of loopback and the request came to the
/// explicit proxy. For requests without a body: few clients send one again.
pub(super) fn location(binding: &Binding, head: &Parts) -> Option<HeaderValue> {
    if !binding.is_each_request() || ![Method::GET, Method::HEAD].contains(&head.method) {
        return None;
    }
    let authority = Authority::parse(head.uri.authority()?.as_str(), Some(80)).ok()?;
    let Host::Ip(address) = authority.host else { return None };
    let address = address.to_canonical();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    (address.is_loopback() || address.is_unspecified())
        .then(|| HeaderValue::from_str(&format!("http://localhost:{}{target}", authority.port)).ok())?
}

/// The redirection in place of a denial that only says that the address is nobody's outside.
pub(super) fn redirection(denial: &Denial, location: HeaderValue) -> Option<Response<ResponseBody>> {
    let reasons =
        [Reason::HostNotAllowed, Reason::SchemeNotAllowed, Reason::PortNotAllowed, Reason::PrivateAddress];
    if !reasons.contains(&denial.reason) {
        return None;
    }
    let text = "The server is the job's own: reach it without the proxy.\n";
    let mut response = Response::new(ResponseBody::text(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}
