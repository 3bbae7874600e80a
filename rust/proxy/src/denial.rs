//! Answers that the proxy gives itself, made for the program in the jail (often an agent) to read and act on.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PROXY_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use policy::Reason;
use serde_json::json;

use crate::exchange::AnswerBody;
use crate::keeper::Unrenewed;
use crate::swap::Refusal;
use crate::upstream::UpstreamError;

/// A request that does not go on.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    /// What to do about it, where more can be said than for the reason in general.
    pub(crate) hint: Option<&'static str>,
}

/// What was asked for, as the answer repeats it.
pub(crate) struct Asked<'a> {
    pub(crate) authority: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Denial {
        let status = match reason {
            Reason::MalformedRequest | Reason::InvalidAuthority => StatusCode::BAD_REQUEST,
            Reason::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Reason::ProxyMemory => StatusCode::SERVICE_UNAVAILABLE,
            Reason::ProxyAuthentication => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Reason::HostNotAllowed
            | Reason::SchemeNotAllowed
            | Reason::PortNotAllowed
            | Reason::MethodNotAllowed
            | Reason::PathNotAllowed
            | Reason::WebsocketNotAllowed
            | Reason::FetchNotAllowed
            | Reason::PushNotAllowed
            | Reason::RefNotAllowed
            | Reason::DeleteNotAllowed
            | Reason::ForceNotAllowed
            | Reason::PushOptionNotAllowed
            | Reason::DeniedByRule
            | Reason::AmbiguousPath
            | Reason::AuthorityMismatch
            | Reason::PrivateAddress
            | Reason::UnknownProtocol
            | Reason::ProtocolNotAllowed
            | Reason::StrayCredential
            | Reason::ForeignCredential
            | Reason::CredentialExpired
            | Reason::TooLarge => StatusCode::FORBIDDEN,
        };
        Denial { status, reason, hint: None }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial { hint: refusal.hint, ..refusal.reason.into() }
    }
}

impl Denial {
    /// The answer.
    pub(crate) fn response(&self, asked: &Asked<'_>) -> Response<AnswerBody> {
        answer(asked.method, self.status, "x-jail-deny", self.reason.as_str(), &self.body(asked))
    }

    /// The answer as HTTP/1 writes it, after which the connection ends.
    pub(crate) fn http1(&self, asked: &Asked<'_>) -> Vec<u8> {
        let body = format!("{}\n", self.body(asked));
        format!(
            "HTTP/1.1 {}\r\nx-jail-deny: {}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{}",
            self.status,
            self.reason.as_str(),
            body.len(),
            if *asked.method == Method::HEAD { "" } else { &body },
        )
        .into_bytes()
    }

    fn body(&self, asked: &Asked<'_>) -> serde_json::Value {
        json!({
            "error": "denied",
            "reason": self.reason.as_str(),
            "authority": asked.authority,
            "method": asked.method.as_str(),
            "path": asked.path,
            "hint": self.hint.unwrap_or_else(|| self.reason.hint()),
        })
    }
}

/// The answer to a request whose credential has come to its end.
pub(crate) fn unrenewed(problem: &Unrenewed, asked: &Asked<'_>) -> Response<AnswerBody> {
    let reason = Reason::CredentialExpired.as_str();
    let body = json!({
        "error": "denied",
        "reason": reason,
        "authority": asked.authority,
        "method": asked.method.as_str(),
        "path": asked.path,
        "hint": problem.to_string(),
    });
    answer(asked.method, StatusCode::FORBIDDEN, "x-jail-deny", reason, &body)
}

/// The answer to a request that was allowed and could not be served.
pub(crate) fn upstream_failed(error: &UpstreamError, asked: &Asked<'_>) -> Response<AnswerBody> {
    let body = json!({
        "error": "upstream",
        "reason": error.kind(),
        "authority": asked.authority,
        "method": asked.method.as_str(),
        "path": asked.path,
        "hint": error.to_string(),
    });
    answer(asked.method, error.status(), "x-jail-error", error.kind(), &body)
}

fn answer(
    method: &Method,
    status: StatusCode,
    header: &'static str,
    reason: &'static str,
    body: &serde_json::Value,
) -> Response<AnswerBody> {
    // In HTTP/2 hyper would send it after HEAD too.
    let mut response = Response::new(match *method {
        Method::HEAD => AnswerBody::empty(),
        _ => AnswerBody::text(Bytes::from(format!("{body}\n"))),
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header, HeaderValue::from_static(reason));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"jail\""));
    }
    response
}
