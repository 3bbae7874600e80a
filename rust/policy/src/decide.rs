//! The decision.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::authority::Authority;
use crate::host::Host;
use crate::host_pattern::HostPattern;
use crate::path::RequestPath;
use crate::reason::Reason;
use crate::rule::{Action, Rule, Scheme};

/// Ordered rules; the first that matches decides, none means deny.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// The position of a rule in its policy, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// Why rules are not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// An earlier rule decides everything that a later one is about.
    #[error(
        "rule {number} (`{rule}`) can never decide anything: rule {earlier_number} (`{earlier}`) comes first and \
         matches all of it; remove one of them, or put the narrower one first"
    )]
    Shadowed {
        /// The position of the rule, from 1.
        number: usize,
        /// The rule that is never reached.
        rule: Box<Rule>,
        /// The position of the earlier one, from 1.
        earlier_number: usize,
        /// The rule that decides instead.
        earlier: Box<Rule>,
    },
}

impl Policy {
    /// Makes a policy of rules in order; refuses a rule that can never decide anything.
    pub fn new(rules: Vec<Rule>) -> Result<Policy, PolicyError> {
        for (later, rule) in rules.iter().enumerate() {
            if let Some(earlier) = rules[..later].iter().position(|earlier| shadows(earlier, rule)) {
                return Err(PolicyError::Shadowed {
                    number: later + 1,
                    rule: Box::new(rule.clone()),
                    earlier_number: earlier + 1,
                    earlier: Box::new(rules[earlier].clone()),
                });
            }
        }
        Ok(Policy { rules })
    }

    /// Makes a policy of lists of rules, the earlier lists first. Each list is checked as [`Policy::new`] does; that an
    /// earlier list takes away what a later one says is what lists are put on top for.
    pub fn layered(layers: Vec<Vec<Rule>>) -> Result<Policy, PolicyError> {
        let mut rules = Vec::new();
        for layer in layers {
            rules.append(&mut Policy::new(layer)?.rules);
        }
        Ok(Policy { rules })
    }

    /// The policy without the rules of credentials that are not there: a rule that is about a credential must not leave
    /// its host open to another one.
    pub fn without_credentials(mut self, missing: impl Fn(&str) -> bool) -> Policy {
        self.rules.retain(|rule| !rule.credential().is_some_and(&missing));
        self
    }

    /// The policy under which nothing is allowed.
    pub fn deny_all() -> Policy {
        Policy { rules: Vec::new() }
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of a decision of this policy.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0)
    }

    /// Whether the request may go on.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let mut nearest = Miss { reason: Reason::HostNotAllowed, rule: None };
        for (position, rule) in self.rules.iter().enumerate() {
            let id = RuleId(position);
            match (first_miss(rule, request), rule.action()) {
                (None, Action::Allow) => return Decision::Allow { rule: id },
                (None, Action::Deny) => {
                    let unclear = request.path.is_ambiguous() && !rule.paths().is_empty();
                    let reason = if unclear { Reason::AmbiguousPath } else { Reason::DeniedByRule };
                    return Decision::Deny { reason, rule: Some(id) };
                }
                (Some(reason), Action::Allow) if nearness(reason) > nearness(nearest.reason) => {
                    nearest = Miss { reason, rule: Some(id) };
                }
                (Some(_), _) => {}
            }
        }
        Decision::Deny { reason: nearest.reason, rule: nearest.rule }
    }

    /// Whether a rule names this address by number for such a request, so that the address guard lets it through.
    ///
    /// The request is judged anew with the address as its host. An allowing `*` is passed over: it is about names and
    /// public addresses, and says nothing on this one.
    pub fn permits_address(&self, request: &Request<'_>, address: IpAddr) -> bool {
        let authority = Authority { host: Host::from(address), port: request.authority.port };
        let request = Request { authority: &authority, ..*request };
        let by_number = |rule: &Rule| {
            let mut hosts = rule.hosts().iter().filter(|pattern| pattern.matches(&authority.host));
            hosts.any(HostPattern::names_addresses)
        };
        self.rules
            .iter()
            .filter(|rule| first_miss(rule, &request).is_none())
            .find(|rule| rule.action() == Action::Deny || by_number(rule))
            .is_some_and(|rule| rule.action() == Action::Allow)
    }

    /// The ports that rules name, beside 80 and 443: the proxy listens on these too.
    pub fn extra_ports(&self) -> BTreeSet<u16> {
        let ports = self.rules.iter().flat_map(|rule| rule.ports());
        ports.copied().filter(|port| ![80, 443].contains(port)).collect()
    }

    /// The ports that tcp rules name: on these, bytes that are neither TLS nor HTTP may be meant.
    pub fn tcp_ports(&self) -> BTreeSet<u16> {
        let rules = self.rules.iter().filter(|rule| rule.scheme() == Scheme::Tcp);
        rules.flat_map(|rule| rule.ports()).copied().collect()
    }
}

/// A rule that contradicts an earlier one without effect is an error, and so is a mere repetition. A narrower rule of
/// the same mind is harmless and common where lists are put together, save behind `*`, where it misleads.
fn shadows(earlier: &Rule, rule: &Rule) -> bool {
    let contradicts = earlier.action() != rule.action();
    let repeats = rule.covers(earlier);
    earlier.covers(rule) && (contradicts || repeats || earlier.hosts().contains(&HostPattern::Any))
}

struct Miss {
    reason: Reason,
    rule: Option<RuleId>,
}

/// The first part of the rule that the request does not fit; none if it matches.
fn first_miss(rule: &Rule, request: &Request<'_>) -> Option<Reason> {
    let host = &request.authority.host;
    if !rule.hosts().iter().any(|pattern| pattern.matches(host)) {
        return Some(Reason::HostNotAllowed);
    }
    if rule.scheme() != request.scheme {
        return Some(Reason::SchemeNotAllowed);
    }
    if !rule.ports().contains(&request.authority.port) {
        return Some(Reason::PortNotAllowed);
    }
    if rule.websocket_only() && !request.websocket {
        return Some(Reason::WebsocketNotAllowed);
    }
    if !rule.matches_method(request.method) {
        return Some(Reason::MethodNotAllowed);
    }
    if !rule.matches_path(request.path) {
        return Some(if request.path.is_ambiguous() {
            Reason::AmbiguousPath
        } else {
            Reason::PathNotAllowed
        });
    }
    None
}

/// How far a request came before it missed; the order of [`first_miss`].
fn nearness(reason: Reason) -> u8 {
    match reason {
        Reason::SchemeNotAllowed => 1,
        Reason::PortNotAllowed => 2,
        Reason::WebsocketNotAllowed => 3,
        Reason::MethodNotAllowed => 4,
        Reason::PathNotAllowed | Reason::AmbiguousPath => 5,
        _ => 0,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
