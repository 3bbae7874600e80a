//! The decision.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::authority::Authority;
use crate::path::RequestPath;
use crate::rule::{Rule, Scheme};

/// Ordered rules; the first that matches decides, none means deny.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// The position of a rule in its policy, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(pub usize);

/// What a job asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How it travels.
    pub scheme: Scheme,
    /// To whom.
    pub authority: &'a Authority,
    /// The HTTP method; `CONNECT` is never asked about, and [`Scheme::Tcp`] has none (empty).
    pub method: &'a str,
    /// The path; `/` for [`Scheme::Tcp`].
    pub path: &'a RequestPath,
    /// Whether it is a WebSocket upgrade.
    pub websocket: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request goes on, by this rule.
    Allow {
        /// The rule that said so.
        rule: RuleId,
    },
    /// The request is refused.
    Deny {
        /// Why.
        reason: Reason,
        /// The rule that said so, or that came nearest.
        rule: Option<RuleId>,
    },
}

/// Why a request is refused; shown to the job as `x-jail-deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No rule names the host.
    HostNotAllowed,
}

/// Why rules are not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Placeholder variant.
    #[error("{0}")]
    Other(String),
}

impl Policy {
    /// Makes a policy of rules in order; refuses a rule that can never match.
    pub fn new(_rules: Vec<Rule>) -> Result<Policy, PolicyError> {
        todo!()
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the request may go on.
    pub fn decide(&self, _request: &Request<'_>) -> Decision {
        todo!()
    }

    /// Whether a rule names this address by CIDR for such a request, so that the address guard lets it through.
    pub fn permits_address(&self, _request: &Request<'_>, _address: IpAddr) -> bool {
        todo!()
    }

    /// The ports that rules name, beside 80 and 443: the proxy listens on these too.
    pub fn extra_ports(&self) -> BTreeSet<u16> {
        todo!()
    }
}
