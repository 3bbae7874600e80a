//! Denials: why a request does not go on, as the program in the jail (often an agent) reads it.

use http::{Method, StatusCode};
use policy::Reason;
use serde_json::json;

use crate::swap::Refusal;

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

    /// What the program in the jail reads.
    pub(crate) fn body(&self, asked: &Asked<'_>) -> serde_json::Value {
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
