//! Opaque bytes, where a `tcp` rule names host and port.

use std::sync::Arc;

use policy::{Action, Authority, Decision, Reason, Request, RuleId, Scheme};
use tokio::io::copy_bidirectional;

use super::prefixed::Prefixed;
use crate::job::Job;
use crate::record::Record;
use crate::upstream::{Guard, Stream, UpstreamError};

/// Why there is no tunnel.
pub(super) enum Failed {
    Denied(Reason),
    Upstream(UpstreamError),
}

/// The rule that makes connections to this server opaque.
pub(super) fn rule(job: &Job, authority: &Authority) -> Option<RuleId> {
    match job.policy.decide(&request(job, authority)) {
        Decision::Allow { rule } => Some(rule),
        Decision::Push { .. } | Decision::Deny { .. } => None,
    }
}

/// Whether a rule denies anything on this server: opaque bytes could be just that.
pub(super) fn is_denied(job: &Job, authority: &Authority) -> bool {
    job.policy.rules().iter().any(|rule| {
        rule.action() == Action::Deny
            && rule.ports().contains(&authority.port)
            && rule.hosts().iter().any(|pattern| pattern.matches(&authority.host))
    })
}

/// Connects and copies until one side is through.
pub(super) async fn serve(job: &Arc<Job>, authority: &Authority, rule: Option<RuleId>, stream: Prefixed) {
    if let Ok(outside) = open(job, authority, rule).await {
        join(job, stream, outside).await;
    }
}

/// Connects, past the address guard, and records it.
pub(super) async fn open(
    job: &Arc<Job>,
    authority: &Authority,
    rule: Option<RuleId>,
) -> Result<Stream, Failed> {
    let mut record = Record::tcp(job.clone(), authority);
    record.rule(rule);
    match job.upstream.open(&Guard { policy: &job.policy, request: &request(job, authority) }).await {
        Ok((outside, address)) => {
            record.address(address);
            Ok(outside)
        }
        Err(UpstreamError::PrivateAddress(_)) => {
            record.denied(Reason::PrivateAddress);
            Err(Failed::Denied(Reason::PrivateAddress))
        }
        Err(UpstreamError::DeniedAddress(_)) => {
            record.denied(Reason::DeniedByRule);
            Err(Failed::Denied(Reason::DeniedByRule))
        }
        Err(error) => {
            tracing::debug!(%error, "no tunnel");
            record.failed(error.kind());
            record.answered(error.status());
            Err(Failed::Upstream(error))
        }
    }
}

/// Copies until one side is through, or the terms end under which it was opened.
pub(super) async fn join(job: &Job, mut stream: Prefixed, mut outside: Stream) {
    tokio::select! {
        ended = copy_bidirectional(&mut stream, &mut outside) => if let Err(error) = ended {
            tracing::debug!(%error, "a tunnel ended");
        },
        () = job.closing() => {}
    }
}

fn request<'a>(job: &'a Job, authority: &'a Authority) -> Request<'a> {
    Request { scheme: Scheme::Tcp, authority, method: "", path: &job.root, query: "", websocket: false }
}
