//! Which hosts a rule or a credential is about. Names are compared label by label, never by a regular expression.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::host::{DnsName, Host};
use crate::rule_error::RuleError;
use crate::text_form::{excerpt, serde_as_text};

/// Which hosts a rule or a credential is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every name and every public address.
    Any,
    /// This host only.
    Exact(Host),
    /// `*.example.com`: every name below this one, not the name itself.
    Subdomains(DnsName),
    /// `10.0.0.0/8`, `[fd00::]/8`: the addresses of a network.
    Network(IpNet),
}

impl HostPattern {
    /// Whether the host is one of these.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Exact(exact), host) => exact == host,
            (HostPattern::Subdomains(parent), Host::Name(name)) => name.is_below(parent),
            (HostPattern::Network(network), Host::Ip(address)) => network.contains(address),
            (HostPattern::Subdomains(_), Host::Ip(_)) | (HostPattern::Network(_), Host::Name(_)) => false,
        }
    }

    /// Whether some host is one of both.
    pub fn overlaps(&self, other: &HostPattern) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether the pattern is about addresses by their number, and so may open private ones.
    pub(crate) fn names_addresses(&self) -> bool {
        matches!(self, HostPattern::Exact(Host::Ip(_)) | HostPattern::Network(_))
    }

    /// Whether every host of the other is certainly one of these.
    pub(crate) fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Any, _) => true,
            (wide, HostPattern::Exact(host)) => wide.matches(host),
            (HostPattern::Subdomains(wide), HostPattern::Subdomains(narrow)) => {
                wide == narrow || narrow.is_below(wide)
            }
            (HostPattern::Network(wide), HostPattern::Network(narrow)) => wide.contains(narrow),
            _ => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<HostPattern, RuleError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        if let Some(parent) = text.strip_prefix("*.") {
            return match parent.parse() {
                Ok(Host::Name(parent)) => Ok(HostPattern::Subdomains(parent)),
                Ok(Host::Ip(_)) => Err(RuleError::Wildcard(excerpt(text))),
                Err(_) if parent.contains('*') => Err(RuleError::Wildcard(excerpt(text))),
                Err(error) => Err(RuleError::Host(error)),
            };
        }
        if text.contains('*') {
            return Err(RuleError::Wildcard(excerpt(text)));
        }
        match text.split_once('/') {
            Some((address, prefix)) => parse_network(address, prefix, text).map(HostPattern::Network),
            None => text.parse().map(HostPattern::Exact).map_err(RuleError::Host),
        }
    }
}

/// Host bits are refused: whoever wrote `10.1.2.3/8` meant either one address or a network.
fn parse_network(address: &str, prefix: &str, text: &str) -> Result<IpNet, RuleError> {
    let not_network = || RuleError::Network(excerpt(text));
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let address: IpAddr = match bare {
        Some(inner) => IpAddr::V6(inner.parse().map_err(|_| not_network())?),
        None => address.parse().map_err(|_| not_network())?,
    };
    let plain =
        prefix.bytes().all(|byte| byte.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
    let prefix = prefix.parse().ok().filter(|_| plain).ok_or_else(not_network)?;
    let network = IpNet::new(address, prefix).map_err(|_| not_network())?;
    if network.trunc() != network {
        return Err(RuleError::HostBits {
            text: excerpt(text),
            network: HostPattern::Network(network.trunc()).to_string(),
        });
    }
    match address.to_canonical() == address {
        true => Ok(network),
        // A host is never held as IPv4-mapped IPv6, so such a network would match nothing.
        false => Err(RuleError::MappedNetwork(excerpt(text))),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => formatter.write_str("*"),
            HostPattern::Exact(host) => host.fmt(formatter),
            HostPattern::Subdomains(parent) => write!(formatter, "*.{parent}"),
            HostPattern::Network(IpNet::V4(network)) => network.fmt(formatter),
            HostPattern::Network(IpNet::V6(network)) => {
                write!(formatter, "[{}]/{}", network.addr(), network.prefix_len())
            }
        }
    }
}

serde_as_text!(
    HostPattern,
    "A name, `*.name` (sub-domains only), an address, a network, or `*`.",
    "*.example.com"
);

#[cfg(test)]
#[path = "host_pattern_tests.rs"]
mod tests;
