//! The one name of a server: every spelling of host and port is parsed into this type, or refused.

use std::fmt;
use std::str::FromStr;

use crate::authority_error::AuthorityError;
use crate::host::Host;
use crate::text_form::{excerpt, serde_as_text};

/// A host and a port, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl Authority {
    /// Puts a host and a port together; 0 is not a port.
    pub fn new(host: Host, port: u16) -> Result<Authority, AuthorityError> {
        match port {
            0 => Err(AuthorityError::BadPort("0".to_owned())),
            port => Ok(Authority { host, port }),
        }
    }

    /// Reads `host`, `host:port` or `[v6]:port`; a text without a port gets the default one, if there is one.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Authority, AuthorityError> {
        let (host, port) = split(text)?;
        let host = host.parse()?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => default_port.ok_or_else(|| AuthorityError::NoPort(excerpt(text)))?,
        };
        Authority::new(host, port)
    }
}

/// The host's text, brackets included, and the port's text if there is one.
fn split(text: &str) -> Result<(&str, Option<&str>), AuthorityError> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or_else(|| AuthorityError::NotIpv6(excerpt(text)))? + 1;
        let (host, rest) = text.split_at(end);
        return match (rest.is_empty(), rest.strip_prefix(':')) {
            (true, _) => Ok((host, None)),
            (false, Some(port)) => Ok((host, Some(port))),
            (false, None) => Err(AuthorityError::NotIpv6(excerpt(text))),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        Some(_) if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            Err(AuthorityError::Ipv6WithoutBrackets(excerpt(text)))
        }
        Some(_) => Err(AuthorityError::ExtraColon(excerpt(text))),
    }
}

/// Plain decimal only: `+443`, ` 443` and `0443` are read by some and refused by others.
pub(crate) fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(port) if plain => Ok(port),
        _ => Err(AuthorityError::BadPort(excerpt(text))),
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Authority, AuthorityError> {
        Authority::parse(text, None)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

serde_as_text!(Authority, "A host and a port.", "api.example.com:443");

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
