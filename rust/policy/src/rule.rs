//! One rule: canonical, checked, and able to match something.

use std::collections::BTreeSet;

use crate::authority::Authority;
use crate::authority_error::AuthorityError;
use crate::git::{GitRule, Repository};
use crate::host_pattern::HostPattern;
use crate::path::RequestPath;
use crate::path_glob::PathGlob;
use crate::rule_error::RuleError;
use crate::rule_parts::{Action, RuleParts};
use crate::scheme::{RuleScheme, Scheme};
use crate::text_form::excerpt;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    action: Action,
    scheme: RuleScheme,
    hosts: Vec<HostPattern>,
    ports: BTreeSet<u16>,
    methods: BTreeSet<String>,
    paths: Vec<PathGlob>,
    git: Option<GitRule>,
    credential: Option<String>,
}

impl Rule {
    /// Checks the parts: a rule that could never match is an error.
    pub fn new(parts: RuleParts) -> Result<Rule, RuleError> {
        if let Some(git) = parts.git {
            return Rule::of_git(RuleParts { git: None, ..parts }, git);
        }
        let RuleParts { action, scheme, hosts, ports, methods, paths, git, credential } = parts;
        if hosts.is_empty() {
            return Err(RuleError::NoHosts);
        }
        if scheme == RuleScheme::Tcp && !(methods.is_empty() && paths.is_empty()) {
            return Err(RuleError::TcpWithRequest);
        }
        methods.iter().try_for_each(|method| check_method(method))?;
        check_credential(credential.as_deref(), action, scheme)?;
        let ports = ports_or_default(ports, scheme)?;
        let methods = methods.into_iter().collect();
        Ok(Rule { action, scheme, hosts, ports, methods, paths, git, credential })
    }

    fn of_git(others: RuleParts, git: GitRule) -> Result<Rule, RuleError> {
        let credential = others.credential.clone();
        let bare =
            RuleParts { credential: credential.clone(), action: others.action, ..RuleParts::default() };
        if others != bare {
            return Err(RuleError::GitWithRequest);
        }
        if others.action == Action::Deny {
            return Err(RuleError::GitDeny);
        }
        git.check()?;
        check_credential(credential.as_deref(), Action::Allow, RuleScheme::Https)?;
        let mut hosts: Vec<HostPattern> = Vec::new();
        for host in git.repos.iter().map(Repository::host) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        Ok(Rule {
            action: Action::Allow,
            scheme: RuleScheme::Https,
            hosts,
            ports: git.repos.iter().map(|repository| repository.authority().port).collect(),
            methods: BTreeSet::new(),
            paths: Vec::new(),
            git: Some(git),
            credential,
        })
    }

    /// The same rule, using this credential.
    pub fn with_credential(self, name: &str) -> Result<Rule, RuleError> {
        check_credential(Some(name), self.action, self.scheme)?;
        Ok(Rule { credential: Some(name.to_owned()), ..self })
    }
}

/// Methods are case-sensitive; a standard one in another case is a slip, not a method.
fn check_method(method: &str) -> Result<(), RuleError> {
    const STANDARD: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY"];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    // The action, or what makes it a git rule, stands where a method may, so no method has its name.
    if method.is_empty() || !method.bytes().all(is_token) || ["allow", "deny", "git"].contains(&method) {
        return Err(RuleError::Method(excerpt(method)));
    }
    let upper = method.to_ascii_uppercase();
    match STANDARD.contains(&&*upper) {
        true if upper == "CONNECT" => Err(RuleError::Connect),
        true if upper != method => Err(RuleError::MethodCase(method.to_owned())),
        _ => Ok(()),
    }
}

fn check_credential(name: Option<&str>, action: Action, scheme: RuleScheme) -> Result<(), RuleError> {
    match name {
        Some("") => Err(RuleError::EmptyCredential),
        Some(_) if action == Action::Deny || scheme == RuleScheme::Tcp => Err(RuleError::Credential),
        _ => Ok(()),
    }
}

fn ports_or_default(ports: Vec<u16>, scheme: RuleScheme) -> Result<BTreeSet<u16>, RuleError> {
    if ports.contains(&0) {
        return Err(RuleError::Port(AuthorityError::BadPort("0".to_owned())));
    }
    match (ports.is_empty(), scheme.default_port()) {
        (false, _) => Ok(ports.into_iter().collect()),
        (true, Some(port)) => Ok(BTreeSet::from([port])),
        (true, None) => Err(RuleError::TcpWithoutPort),
    }
}

impl Rule {
    /// What it does.
    pub fn action(&self) -> Action {
        self.action
    }

    /// How its requests travel.
    pub fn scheme(&self) -> Scheme {
        match self.scheme {
            RuleScheme::Https | RuleScheme::Wss => Scheme::Https,
            RuleScheme::Http | RuleScheme::Ws => Scheme::Http,
            RuleScheme::Tcp => Scheme::Tcp,
        }
    }

    /// How its requests travel, as written.
    pub fn written_scheme(&self) -> RuleScheme {
        self.scheme
    }

    /// Whether it is about WebSocket upgrades only.
    pub fn websocket_only(&self) -> bool {
        matches!(self.scheme, RuleScheme::Wss | RuleScheme::Ws)
    }

    /// The hosts; at least one.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// The ports; at least one.
    pub fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    /// The methods; none means all.
    pub fn methods(&self) -> &BTreeSet<String> {
        &self.methods
    }

    /// The paths; none means all.
    pub fn paths(&self) -> &[PathGlob] {
        &self.paths
    }

    /// What git may do by it; such a rule is about nothing else.
    pub fn git(&self) -> Option<&GitRule> {
        self.git.as_ref()
    }

    /// The credential that its requests use.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// Whether it is about this server, reached so.
    pub(crate) fn is_about(&self, scheme: Scheme, authority: &Authority) -> bool {
        self.scheme() == scheme
            && self.ports.contains(&authority.port)
            && self.hosts.iter().any(|pattern| pattern.matches(&authority.host))
    }

    /// Whether it is about every request to its servers.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.git.is_none() && self.methods.is_empty() && self.paths.is_empty() && !self.websocket_only()
    }

    /// Whether these denying rules leave nothing of what this rule, behind them, allows on a server.
    pub(crate) fn is_denied_whole(&self, denying: &[&Rule]) -> bool {
        let mut methods = self.methods.iter().map(Some).chain(self.methods.is_empty().then_some(None));
        methods.all(|method| {
            self.paths.iter().map(Some).chain(self.paths.is_empty().then_some(None)).all(|path| {
                denying.iter().any(|rule| {
                    (!rule.websocket_only() || self.websocket_only())
                        && (rule.methods.is_empty()
                            || method.is_some_and(|method| rule.matches_method(method)))
                        && (rule.paths.is_empty() || path.is_some_and(|path| rule.paths.contains(path)))
                })
            })
        })
    }

    /// `CONNECT` only opens a tunnel; what goes through it is asked about, so it is itself never allowed.
    pub(crate) fn matches_method(&self, method: &str) -> bool {
        match self.action {
            Action::Allow if method == "CONNECT" => false,
            Action::Allow => self.methods.is_empty() || self.methods.contains(method),
            // Some servers read `delete` as DELETE.
            Action::Deny => {
                self.methods.is_empty()
                    || self.methods.iter().any(|denied| denied.eq_ignore_ascii_case(method))
            }
        }
    }

    /// Where servers read a path in two ways, an allowing rule must match both and a denying one either. An ambiguous
    /// path can be read in any way. Servers may fold letter case and Unicode forms and take off a trailing slash: a denying
    /// rule is held against all of these.
    pub(crate) fn matches_path(&self, path: &RequestPath) -> bool {
        let fits = |reading: &str| self.paths.iter().any(|glob| glob.matches(reading));
        self.paths.is_empty()
            || match self.action {
                Action::Allow => !path.is_ambiguous() && path.readings().all(fits),
                Action::Deny => {
                    let readings = || path.folded_readings();
                    path.is_ambiguous()
                        || path.readings().any(fits)
                        || readings()
                            .any(|reading| self.paths.iter().any(|glob| glob.matches_folded(&reading)))
                }
            }
    }

    /// Whether every request that the other matches is certainly matched by this one.
    pub(crate) fn covers(&self, other: &Rule) -> bool {
        if self.git.is_some() {
            return self.git == other.git;
        }
        let covers_host = |narrow: &HostPattern| {
            self.hosts.iter().any(|wide| {
                // An allowing `*` says nothing about private addresses, so a rule that opens some has a use.
                let silent =
                    *wide == HostPattern::Any && self.action == Action::Allow && narrow.names_addresses();
                wide.covers(narrow) && !silent
            })
        };
        self.scheme() == other.scheme()
            && (!self.websocket_only() || other.websocket_only())
            && self.ports.is_superset(&other.ports)
            && other.hosts.iter().all(covers_host)
            && (self.methods.is_empty()
                || (!other.methods.is_empty() && self.methods.is_superset(&other.methods)))
            && (self.paths.is_empty()
                || (!other.paths.is_empty() && other.paths.iter().all(|path| self.paths.contains(path))))
    }
}

impl Rule {
    /// Whether this rule, coming first, would let pushes through that the git rule is there to limit.
    pub(crate) fn opens_pushes_of(&self, other: &Rule) -> bool {
        let opens = |repository: &Repository| {
            let path = repository.path();
            let is_open = |suffix: &str| {
                let push = format!("{path}{suffix}/git-receive-pack");
                self.paths.is_empty() || self.paths.iter().any(|glob| glob.matches(&push))
            };
            self.ports.contains(&repository.authority().port)
                && self.hosts.iter().any(|host| host.covers(&repository.host()))
                && (is_open("") || is_open(".git"))
        };
        self.action == Action::Allow
            && self.git.is_none()
            && self.scheme == RuleScheme::Https
            && self.matches_method("POST")
            && other.git.as_ref().is_some_and(|git| git.repos.iter().any(opens))
    }
}
