//! Refusals that git shows to its user, as HTTP responses.

use bytes::Bytes;
use git_push::Report;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use policy::Reason;

use crate::body::ResponseBody;
use crate::denial::Denial;

/// The answer to a push of which nothing went on.
pub(crate) fn report(report: Report) -> Response<ResponseBody> {
    git_answer(report.body, "application/x-git-receive-pack-result", report.reason)
}

/// git's first question to a repository: which refs there are.
#[derive(Clone, Copy)]
pub(crate) enum Discovery {
    /// In order to fetch.
    UploadPack,
    /// In order to push.
    ReceivePack,
}

impl Discovery {
    /// Whether the request is one, and from git: others are told as everybody is.
    pub(crate) fn read(head: &Parts) -> Option<Discovery> {
        let is_git = head.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"git/"));
        if head.method != Method::GET || !is_git || !head.uri.path().ends_with("/info/refs") {
            return None;
        }
        match head.uri.query() {
            Some("service=git-upload-pack") => Some(Discovery::UploadPack),
            Some("service=git-receive-pack") => Some(Discovery::ReceivePack),
            _ => None,
        }
    }

    /// The refusal, as `fatal: remote error: …`; of a status of 403 git tells nothing but the number.
    pub(crate) fn refuse(self, denial: &Denial) -> Response<ResponseBody> {
        let (service, kind) = match self {
            Discovery::UploadPack => ("git-upload-pack", "application/x-git-upload-pack-advertisement"),
            Discovery::ReceivePack => ("git-receive-pack", "application/x-git-receive-pack-advertisement"),
        };
        let hint = denial.hint.unwrap_or_else(|| denial.reason.hint());
        let body = git_push::discovery_refusal(service, denial.reason, hint);
        git_answer(body, kind, denial.reason)
    }
}

fn git_answer(body: Vec<u8>, kind: &'static str, reason: Reason) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert("x-jail-deny", HeaderValue::from_static(reason.as_str()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
