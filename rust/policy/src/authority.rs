//! The one name of a server: every spelling of a host is parsed into this type, or refused.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host and a port, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// A DNS name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(DnsName),
    /// An address; IPv4-mapped IPv6 is held as IPv4.
    Ip(IpAddr),
}

/// A DNS name in canonical form: lower-case ASCII, no trailing dot, not an address in disguise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Box<str>);

/// Why a text is not an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Placeholder variant.
    #[error("invalid host {0:?}")]
    InvalidHost(String),
}

impl Authority {
    /// Reads `host`, `host:port` or `[v6]:port`.
    pub fn parse(_text: &str, _default_port: Option<u16>) -> Result<Authority, AuthorityError> {
        todo!()
    }
}

impl FromStr for Host {
    type Err = AuthorityError;
    fn from_str(_text: &str) -> Result<Host, AuthorityError> {
        todo!()
    }
}

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
