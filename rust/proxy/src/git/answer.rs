//! Refusals that git shows to its user.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use policy::{Reason, RuleId};

use super::commands::Commands;
use super::pkt_line::{self, FLUSH};
use crate::denial::Denial;
use crate::exchange::AnswerBody;

/// Band 1 is git's report, band 2 what it shows behind `remote: `.
const REPORT: u8 = 1;
const MESSAGE: u8 = 2;

/// The answer to a push of which nothing went on.
pub(crate) struct Report {
    body: Vec<u8>,
    /// The first reason.
    pub(crate) reason: Reason,
    /// The rule that came nearest.
    pub(crate) rule: Option<RuleId>,
    /// Each ref and why not, for the record.
    pub(crate) refs: Vec<String>,
}

impl Report {
    /// Says of each ref why not; `None` if the client takes no such answer.
    pub(super) fn new(
        commands: &Commands,
        reasons: &[Option<Reason>],
        rule: Option<RuleId>,
    ) -> Option<Report> {
        let reason = reasons.iter().flatten().next().copied().filter(|_| commands.report)?;
        let mut report = Vec::new();
        pkt_line::write(b"unpack ok\n", &mut report);
        let mut refs = Vec::new();
        for (command, reason) in commands.commands.iter().zip(reasons) {
            let why = reason.map_or("nothing of this push was sent", Reason::as_str);
            pkt_line::write(format!("ng {} denied by jail: {why}\n", command.name).as_bytes(), &mut report);
            refs.push(format!("{}: {why}", command.name));
        }
        report.extend(FLUSH);
        let body = if commands.side_band { banded(&report, reasons) } else { report };
        Some(Report { body, reason, rule, refs })
    }

    /// The answer.
    pub(crate) fn response(self) -> Response<AnswerBody> {
        git_answer(self.body, "application/x-git-receive-pack-result", self.reason)
    }
}

fn banded(report: &[u8], reasons: &[Option<Reason>]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut told: Vec<Reason> = Vec::new();
    for reason in reasons.iter().flatten() {
        if !told.contains(reason) {
            told.push(*reason);
            band(MESSAGE, format!("jail: {}\n", reason.hint()).as_bytes(), &mut body);
        }
    }
    for piece in report.chunks(pkt_line::LONGEST - 5) {
        band(REPORT, piece, &mut body);
    }
    body.extend(FLUSH);
    body
}

fn band(number: u8, bytes: &[u8], body: &mut Vec<u8>) {
    let mut line = vec![number];
    line.extend(bytes);
    pkt_line::write(&line, body);
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
    pub(crate) fn refuse(self, denial: &Denial) -> Response<AnswerBody> {
        let (service, kind) = match self {
            Discovery::UploadPack => ("git-upload-pack", "application/x-git-upload-pack-advertisement"),
            Discovery::ReceivePack => ("git-receive-pack", "application/x-git-receive-pack-advertisement"),
        };
        let mut body = Vec::new();
        pkt_line::write(format!("# service={service}\n").as_bytes(), &mut body);
        body.extend(FLUSH);
        let hint = denial.hint.unwrap_or_else(|| denial.reason.hint());
        pkt_line::write(format!("ERR denied by jail: {}: {hint}\n", denial.reason).as_bytes(), &mut body);
        git_answer(body, kind, denial.reason)
    }
}

fn git_answer(body: Vec<u8>, kind: &'static str, reason: Reason) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::text(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert("x-jail-deny", HeaderValue::from_static(reason.as_str()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
