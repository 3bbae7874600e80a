//! The scheme of a request, and the scheme that a rule names.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// How a rule's requests travel, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleScheme {
    /// HTTP in TLS, WebSocket upgrades too.
    #[default]
    Https,
    /// HTTP without TLS, WebSocket upgrades too.
    Http,
    /// Only WebSocket upgrades, in TLS.
    Wss,
    /// Only WebSocket upgrades, without TLS.
    Ws,
    /// Opaque bytes.
    Tcp,
}

impl RuleScheme {
    /// The port of a rule that names none; tcp has no such.
    pub fn default_port(self) -> Option<u16> {
        match self {
            RuleScheme::Https | RuleScheme::Wss => Some(443),
            RuleScheme::Http | RuleScheme::Ws => Some(80),
            RuleScheme::Tcp => None,
        }
    }

    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleScheme::Https => "https",
            RuleScheme::Http => "http",
            RuleScheme::Wss => "wss",
            RuleScheme::Ws => "ws",
            RuleScheme::Tcp => "tcp",
        }
    }
}

impl Scheme {
    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
