//! The decision.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::authority::Authority;
use crate::git::{Call, GitRule, RefUpdate, could_move_refs, resembles_push};
use crate::host::Host;
use crate::host_pattern::HostPattern;
use crate::reason::Reason;
use crate::request::Request;
use crate::rule::Rule;
use crate::rule_parts::Action;
use crate::scheme::Scheme;

/// Ordered rules; the first that matches decides, none means deny.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// The position of a rule in its policy, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub usize);

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request goes on, by this rule.
    Allow {
        /// The rule that said so.
        rule: RuleId,
    },
    /// A git push, by this rule or another: ask [`Policy::decide_push`] when its body has said what it is to do.
    Push {
        /// The first rule that it may go by.
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

/// The answer about a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushDecision {
    /// All of it goes on, by this rule.
    Allow {
        /// The rule that said so.
        rule: RuleId,
    },
    /// None of it goes on.
    Deny {
        /// Why, for each ref in the order of the push; `None` where the ref alone would have been allowed.
        reasons: Vec<Option<Reason>>,
        /// The rule that came nearest.
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
    /// An earlier rule lets every push through that a git rule is there to limit.
    #[error(
        "rule {number} (`{rule}`) does not limit pushes: rule {earlier_number} (`{earlier}`) comes first and lets all of \
         them through; put the git rule first"
    )]
    Unlimited {
        /// The position of the git rule, from 1.
        number: usize,
        /// The git rule.
        rule: Box<Rule>,
        /// The position of the earlier one, from 1.
        earlier_number: usize,
        /// The rule that lets them through.
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
            if let Some(earlier) = rules[..later].iter().position(|earlier| earlier.opens_pushes_of(rule)) {
                return Err(PolicyError::Unlimited {
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
        for (id, rule) in self.rules_about(request) {
            match (first_miss(rule, request), rule.action()) {
                (None, Action::Allow) if is_push(rule, request) => return Decision::Push { rule: id },
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

    /// Whether a push, a request that [`Policy::decide`] calls one, may do this to these refs. One rule must allow all of
    /// it: the first that does decides.
    pub fn decide_push(&self, request: &Request<'_>, updates: &[RefUpdate]) -> PushDecision {
        let all = |reason| updates.iter().map(|_| Some(reason)).collect();
        let mut nearest: Option<(Vec<Option<Reason>>, RuleId)> = None;
        for (id, rule) in self.rules_about(request) {
            match (first_miss(rule, request), rule.action(), rule.git()) {
                (Some(_), ..) => {}
                (None, Action::Deny, _) => {
                    return PushDecision::Deny { reasons: all(Reason::DeniedByRule), rule: Some(id) };
                }
                (None, Action::Allow, None) => return PushDecision::Allow { rule: id },
                (None, Action::Allow, Some(git)) => {
                    let reasons: Vec<_> = updates.iter().map(|update| git.refusal(update)).collect();
                    if reasons.iter().all(Option::is_none) {
                        return PushDecision::Allow { rule: id };
                    }
                    let refused = |reasons: &[Option<Reason>]| reasons.iter().flatten().count();
                    if nearest.as_ref().is_none_or(|(known, _)| refused(&reasons) < refused(known)) {
                        nearest = Some((reasons, id));
                    }
                }
            }
        }
        match nearest {
            Some((reasons, rule)) => PushDecision::Deny { reasons, rule: Some(rule) },
            None => PushDecision::Deny { reasons: all(Reason::PushNotAllowed), rule: None },
        }
    }

    /// The rule whose credential goes along with a request that a rule allowed: that rule itself. For a request of git-lfs,
    /// which no git rule allows, it is the git rule about the repository, unless the rule that allowed it names a credential
    /// of its own.
    pub fn credential_rule(&self, request: &Request<'_>, allowed_by: RuleId) -> RuleId {
        if self.rule(allowed_by).is_none_or(|rule| rule.git().is_some() || rule.credential().is_some()) {
            return allowed_by;
        }
        let is_about = |rule: &Rule| {
            rule.action() == Action::Allow
                && rule.credential().is_some()
                && rule.git().is_some_and(|git| git.is_lfs_of(request))
        };
        self.rules.iter().position(is_about).map_or(allowed_by, RuleId)
    }

    /// The rules that have a say. Behind a git rule, allowing rules of other kinds have none on pushes to its host, nor on
    /// what moves refs in another way: whoever limits pushes to one branch does not mean that the next rule, `github.com`,
    /// lets all of them through.
    fn rules_about<'a>(&'a self, request: &'a Request<'_>) -> impl Iterator<Item = (RuleId, &'a Rule)> {
        let mut git_host = false;
        self.rules.iter().enumerate().map(|(position, rule)| (RuleId(position), rule)).filter(
            move |(_, rule)| {
                let names_host = rule.hosts().iter().any(|pattern| pattern.matches(&request.authority.host));
                git_host |= rule.git().is_some() && names_host;
                let others = rule.git().is_none() && rule.action() == Action::Allow;
                !(git_host && others && (resembles_push(request) || could_move_refs(request)))
            },
        )
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

    /// Whether a rule denies this address by number for such a request, whatever name led to it. Among the rules that name
    /// addresses by number the first decides, as it does for a request that names the address itself.
    pub fn denies_address(&self, request: &Request<'_>, address: IpAddr) -> bool {
        let authority = Authority { host: Host::from(address), port: request.authority.port };
        let request = Request { authority: &authority, ..*request };
        let by_number = |rule: &&Rule| {
            let mut hosts = rule.hosts().iter().filter(|pattern| pattern.matches(&authority.host));
            hosts.any(HostPattern::names_addresses)
        };
        self.rules
            .iter()
            .filter(by_number)
            .find(|rule| first_miss(rule, &request).is_none())
            .is_some_and(|rule| rule.action() == Action::Deny)
    }

    /// Whether some request to this server could be allowed, so that a connection may be opened before the request is known.
    pub fn could_allow(&self, scheme: Scheme, authority: &Authority) -> bool {
        let mut denying: Vec<&Rule> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.is_about(scheme, authority)) {
            match rule.action() {
                Action::Allow if !rule.is_denied_whole(&denying) => return true,
                Action::Allow => {}
                Action::Deny => denying.push(rule),
            }
        }
        false
    }

    /// Whether a rule denies every request to this server that no rule before it allows.
    pub fn denies_server(&self, scheme: Scheme, authority: &Authority) -> bool {
        self.rules.iter().any(|rule| {
            rule.action() == Action::Deny && rule.is_about(scheme, authority) && rule.is_unconditional()
        })
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
    if let Some(git) = rule.git() {
        return git_miss(git, request);
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

fn git_miss(git: &GitRule, request: &Request<'_>) -> Option<Reason> {
    let Some((call, repository)) = Call::read(request) else {
        let unclear = request.path.is_ambiguous();
        return Some(if unclear { Reason::AmbiguousPath } else { Reason::PathNotAllowed });
    };
    let named = git
        .repos
        .iter()
        .any(|known| known.authority() == request.authority && known.path().matches(repository));
    match call {
        _ if !named => Some(Reason::PathNotAllowed),
        Call::Fetch => (!git.fetch).then_some(Reason::FetchNotAllowed),
        Call::DiscoverPush | Call::Push => (!git.pushes()).then_some(Reason::PushNotAllowed),
    }
}

fn is_push(rule: &Rule, request: &Request<'_>) -> bool {
    rule.git().is_some() && matches!(Call::read(request), Some((Call::Push, _)))
}

/// How far a request came before it missed; the order of [`first_miss`].
fn nearness(reason: Reason) -> u8 {
    match reason {
        Reason::SchemeNotAllowed => 1,
        Reason::PortNotAllowed => 2,
        Reason::WebsocketNotAllowed => 3,
        Reason::MethodNotAllowed => 4,
        Reason::PathNotAllowed | Reason::AmbiguousPath => 5,
        Reason::FetchNotAllowed | Reason::PushNotAllowed => 6,
        // No rule misses by these.
        Reason::HostNotAllowed
        | Reason::RefNotAllowed
        | Reason::DeleteNotAllowed
        | Reason::ForceNotAllowed
        | Reason::PushOptionNotAllowed
        | Reason::DeniedByRule
        | Reason::InvalidAuthority
        | Reason::AuthorityMismatch
        | Reason::PrivateAddress
        | Reason::UnknownProtocol
        | Reason::ProtocolNotAllowed
        | Reason::MalformedRequest
        | Reason::StrayCredential
        | Reason::ForeignCredential
        | Reason::ProxyAuthentication
        | Reason::CredentialExpired
        | Reason::TooLarge
        | Reason::TooMany
        | Reason::ProxyMemory => 0,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
