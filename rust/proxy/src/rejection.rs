//! Why a request gets a response of the proxy's own, and that response.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PROXY_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use policy::Reason;
use serde_json::json;

use crate::authority_bind::Misdirected;
use crate::body::ResponseBody;
use crate::denial::{Asked, Denial};
use crate::git::{self, Discovery};
use crate::keeper::{OwnRefusal, Unrenewed};
use crate::record::Record;
use crate::upstream::UpstreamError;

/// Why a request does not go on.
pub(crate) enum Rejection {
    /// The policy, or what the request is, forbids it.
    Denied(Denial),
    /// It is a push, and git shows the refusal ref by ref.
    Push(git_push::Report),
    /// It was allowed, and the server could not be reached or sent no proper response.
    Upstream(UpstreamError),
    /// The login behind its credential has ended and could not be renewed.
    Refresh(Unrenewed),
}

impl Rejection {
    /// The answer, put on record; git is told in its own way.
    pub(crate) fn respond(self, discovery: Option<Discovery>, record: &mut Record) -> Response<ResponseBody> {
        match self {
            Rejection::Denied(denial) => {
                record.denied(denial.reason);
                match discovery {
                    Some(discovery) => discovery.refuse(&denial),
                    None => denied(&denial, &record.asked()),
                }
            }
            Rejection::Push(report) => {
                record.denied(report.reason);
                record.rule(report.rule);
                record.refs(report.refs.clone());
                git::report(report)
            }
            Rejection::Refresh(problem) => {
                record.denied(Reason::CredentialExpired);
                unrenewed(&problem, &record.asked())
            }
            Rejection::Upstream(error) => {
                record.failed(error.kind());
                upstream_failed(&error, &record.asked())
            }
        }
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Rejection {
        Rejection::Denied(denial)
    }
}

impl From<Unrenewed> for Rejection {
    fn from(problem: Unrenewed) -> Rejection {
        Rejection::Refresh(problem)
    }
}

impl From<OwnRefusal> for Rejection {
    fn from(refusal: OwnRefusal) -> Rejection {
        match refusal {
            OwnRefusal::Reason(reason) => Rejection::Denied(reason.into()),
            OwnRefusal::Unrenewed(problem) => Rejection::Refresh(problem),
        }
    }
}

impl From<Misdirected> for Rejection {
    fn from(wrong: Misdirected) -> Rejection {
        Rejection::Denied(Denial { status: wrong.status, reason: wrong.reason, hint: Some(wrong.hint) })
    }
}

impl From<UpstreamError> for Rejection {
    fn from(error: UpstreamError) -> Rejection {
        match error {
            UpstreamError::PrivateAddress(_) => Rejection::Denied(Reason::PrivateAddress.into()),
            UpstreamError::DeniedAddress(_) => Rejection::Denied(Denial {
                hint: Some("the name resolves to an address that a rule denies"),
                ..Reason::DeniedByRule.into()
            }),
            UpstreamError::TooMany => Rejection::Denied(Reason::TooMany.into()),
            UpstreamError::Memory => Rejection::Denied(Reason::ProxyMemory.into()),
            error => Rejection::Upstream(error),
        }
    }
}

/// The response to a denied request.
pub(crate) fn denied(denial: &Denial, asked: &Asked<'_>) -> Response<ResponseBody> {
    answer(asked.method, denial.status, "x-jail-deny", denial.reason.as_str(), &denial.body(asked))
}

/// The answer to a request whose credential has come to its end.
pub(crate) fn unrenewed(problem: &Unrenewed, asked: &Asked<'_>) -> Response<ResponseBody> {
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
pub(crate) fn upstream_failed(error: &UpstreamError, asked: &Asked<'_>) -> Response<ResponseBody> {
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
) -> Response<ResponseBody> {
    // In HTTP/2 hyper would send it after HEAD too.
    let mut response = Response::new(match *method {
        Method::HEAD => ResponseBody::empty(),
        _ => ResponseBody::text(Bytes::from(format!("{body}\n"))),
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
