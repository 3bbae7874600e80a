//! One rule, in its text form and its structured form.

use std::str::FromStr;

use crate::authority::Host;

/// What a rule does with a request that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The request goes on.
    Allow,
    /// The request is refused.
    Deny,
}

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP without TLS.
    Http,
    /// HTTP in TLS.
    Https,
    /// Opaque bytes.
    Tcp,
}

/// Which hosts a rule or a credential is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub action: Action,
}

/// Why a text or structure is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Placeholder variant.
    #[error("{0}")]
    Other(String),
}

impl HostPattern {
    /// Whether the host is one of these.
    pub fn matches(&self, _host: &Host) -> bool {
        todo!()
    }
}

impl FromStr for HostPattern {
    type Err = RuleError;
    fn from_str(_text: &str) -> Result<HostPattern, RuleError> {
        todo!()
    }
}

impl Rule {
    /// Reads a rule's text form, e.g. `GET,HEAD https://api.github.com/repos/*`.
    pub fn parse(_action: Action, _text: &str) -> Result<Rule, RuleError> {
        todo!()
    }
}
