//! The audit line of one request: gathered on its way, written when its answer's head is known, or when the job goes
//! away before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, StatusCode};
use policy::{Authority, Reason, RuleId, Scheme};

use crate::audit::{LONGEST_PATH, What, cut};
use crate::denial::Asked;
use crate::job::Job;

/// A job cannot make one line longer than this. Names are cut when the event is written.
const QUERY_NAMES: usize = 32;
const QUERY_NAME: usize = 64;
const REFS: usize = 32;

pub(crate) struct Record {
    job: Arc<Job>,
    started: Instant,
    scheme: Scheme,
    method: Method,
    authority: String,
    path: String,
    query: Vec<String>,
    denied: Option<Reason>,
    failed: Option<&'static str>,
    rule: Option<RuleId>,
    status: Option<StatusCode>,
    credentials: Vec<String>,
    refs: Vec<String>,
    address: Option<SocketAddr>,
    is_forgotten: bool,
}

impl Record {
    pub(crate) fn begin<B>(job: Arc<Job>, scheme: Scheme, request: &Request<B>) -> Record {
        let mut record = Record::new(job, scheme, request.method().clone());
        record.path = beginning(request.uri().path(), LONGEST_PATH);
        record.query = request.uri().query().map(query_names).unwrap_or_default();
        record
    }

    /// A connection of opaque bytes.
    pub(crate) fn tcp(job: Arc<Job>, authority: &Authority) -> Record {
        let mut record = Record::new(job, Scheme::Tcp, Method::CONNECT);
        record.authority(Some(authority));
        record
    }

    fn new(job: Arc<Job>, scheme: Scheme, method: Method) -> Record {
        Record {
            job,
            started: Instant::now(),
            scheme,
            method,
            authority: String::new(),
            path: String::new(),
            query: Vec::new(),
            denied: None,
            failed: None,
            rule: None,
            status: None,
            credentials: Vec::new(),
            refs: Vec::new(),
            address: None,
            is_forgotten: false,
        }
    }

    /// What a denial repeats.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { authority: &self.authority, method: &self.method, path: &self.path }
    }

    pub(crate) fn authority(&mut self, authority: Option<&Authority>) {
        self.authority = authority.map(ToString::to_string).unwrap_or_default();
    }

    /// Whom it is for, as far as that is known before its head is judged.
    pub(crate) fn named(&mut self, server: &str) {
        self.authority = server.to_owned();
    }

    pub(crate) fn denied(&mut self, reason: Reason) {
        self.denied = Some(reason);
    }

    /// The request was allowed, and no answer came from the server: the kind of the proxy's own answer.
    pub(crate) fn failed(&mut self, kind: &'static str) {
        self.failed = Some(kind);
    }

    pub(crate) fn rule(&mut self, rule: Option<RuleId>) {
        self.rule = rule;
    }

    pub(crate) fn credentials(&mut self, names: &[String]) {
        self.credentials = names.to_vec();
    }

    pub(crate) fn refs(&mut self, refs: Vec<String>) {
        self.refs = refs.into_iter().take(REFS).collect();
    }

    pub(crate) fn address(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    /// Writes nothing: somebody else records the request.
    pub(crate) fn forget(mut self) {
        self.is_forgotten = true;
    }

    pub(crate) fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_forgotten {
            return;
        }
        let (scheme, method) = match self.scheme {
            Scheme::Http => ("http", self.method.as_str()),
            Scheme::Https => ("https", self.method.as_str()),
            Scheme::Tcp => ("tcp", ""),
        };
        self.job.record(What::Request {
            scheme: scheme.to_owned(),
            authority: std::mem::take(&mut self.authority),
            method: method.to_owned(),
            path: std::mem::take(&mut self.path),
            query: std::mem::take(&mut self.query),
            denied: self.denied.map(|reason| reason.as_str().to_owned()),
            failed: self.failed.map(str::to_owned),
            rule: self.rule.map(|rule| rule.0),
            status: self.status.map(|status| status.as_u16()),
            credentials: std::mem::take(&mut self.credentials),
            refs: std::mem::take(&mut self.refs),
            address: self.address.map(|address| address.to_string()),
            milliseconds: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}

/// The names of query parameters. A parameter without `=` may be nothing but a value: it is left out.
fn query_names(query: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|parameter| parameter.split_once('='))
        .map(|(name, _)| beginning(name, QUERY_NAME))
        .take(QUERY_NAMES)
        .collect()
}

fn beginning(text: &str, most: usize) -> String {
    let mut text = text.to_owned();
    cut(&mut text, most);
    text
}
