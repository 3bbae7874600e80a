//! What every connection of the job needs to know.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use policy::{Action, Decision, Policy, Reason, Request, RequestPath, RuleId};
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::audit::{Audit, Event, What};
use crate::budget::{Budget, Grant};
use crate::ca::JobCa;
use crate::config::{Limits, Mode};
use crate::dns::Names;
use crate::keeper::Keeper;
use crate::upstream::Upstream;

/// One job, as its proxy sees it.
pub(crate) struct Job {
    pub(crate) policy: Arc<Policy>,
    pub(crate) mode: Mode,
    pub(crate) keeper: Arc<Keeper>,
    /// What all of it may hold in memory.
    pub(crate) budget: Arc<Budget>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) limits: Limits,
    pub(crate) ca: Arc<JobCa>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) names: Arc<Names>,
    /// The explicit proxy's password, if it asks for one.
    pub(crate) password: Option<SecretString>,
    /// `/`, for what has no path.
    pub(crate) root: RequestPath,
    /// One place per request, until its answer is over.
    pub(crate) requests: Arc<Semaphore>,
    /// Turns true when the proxy shuts down, or goes on under other terms.
    pub(crate) closing: watch::Receiver<bool>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on by this rule; without one it is let through to learn from it.
    Pass(Option<RuleId>),
    /// It is a push, and its body has to be read.
    Push,
}

/// A place among the job's connections, and its memory; held as long as anything of one lives.
pub(crate) type ConnectionPermit = Arc<(OwnedSemaphorePermit, Grant)>;

impl Job {
    /// The policy's word, after the mode's.
    pub(crate) fn decide(&self, request: &Request<'_>) -> Result<Verdict, (Reason, Option<RuleId>)> {
        // What the operator denies in so many words is not there to be learnt, nor what could be just that.
        let is_said = |reason, rule: Option<RuleId>| {
            let rule = rule.and_then(|id| self.policy.rule(id));
            rule.is_some_and(|rule| rule.action() == Action::Deny)
                || [Reason::FetchNotAllowed, Reason::PushNotAllowed].contains(&reason)
        };
        match (self.policy.decide(request), self.mode) {
            (Decision::Allow { rule }, _) => Ok(Verdict::Pass(Some(rule))),
            (Decision::Push { .. }, _) => Ok(Verdict::Push),
            (Decision::Deny { reason, rule }, Mode::Learn) if !is_said(reason, rule) => {
                Ok(Verdict::Pass(None))
            }
            (Decision::Deny { reason, rule }, _) => Err((reason, rule)),
        }
    }

    /// The rule whose credentials go along with a request that `rule` allowed.
    pub(crate) fn credential_rule(&self, request: &Request<'_>, rule: Option<RuleId>) -> Option<RuleId> {
        rule.map(|rule| self.policy.credential_rule(request, rule))
    }

    /// Writes one event.
    pub(crate) fn record(&self, what: What) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.audit.record(&Event { time, what: what.bounded() });
    }

    /// Writes that a connection ended before it became a request.
    pub(crate) fn record_connection(&self, authority: impl ToString, denied: &str) {
        self.record(What::Connection { authority: authority.to_string(), denied: denied.to_owned() });
    }

    /// Waits until this job's terms end: requests under way may end too, what has no end of its own is over.
    pub(crate) async fn closing(&self) {
        // An error means that the sender is gone, which is a shutdown as well.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}
