//! The one name of a server: every spelling of host and port is parsed into this type, or refused.

use std::fmt;
use std::str::FromStr;

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

/// Why a text is not an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// There is no host.
    #[error("the host is empty: name one, e.g. `api.example.com`")]
    Empty,
    /// `user@host`.
    #[error("{0:?} has a user part: write the host alone, without `@` and what stands before it")]
    UserInfo(String),
    /// A character that no host has.
    #[error("{text:?} holds {character:?}, which a host cannot hold: write a plain name or address")]
    ForbiddenCharacter {
        /// The host as it came.
        text: String,
        /// The first such character.
        character: char,
    },
    /// `a..b`, `.a`.
    #[error("{0:?} has an empty label: write the name with single dots between its parts")]
    EmptyLabel(String),
    /// More than 63 bytes between two dots.
    #[error("{0:?} has a part longer than 63 bytes, which DNS cannot hold")]
    LabelTooLong(String),
    /// More than 253 bytes.
    #[error("{0:?} is longer than 253 bytes, which DNS cannot hold")]
    NameTooLong(String),
    /// `127.1`, `0x7f.1`, `2130706433`.
    #[error("{0:?} is an address in disguise: write it as four decimal numbers, e.g. `192.0.2.1`")]
    NumericHost(String),
    /// Not a name by UTS 46.
    #[error("{0:?} is not a valid internationalised name: write its `xn--` form")]
    NotIdna(String),
    /// `[::1%lo]`.
    #[error("{0:?} names a zone: write the address without `%` and what stands after it")]
    Zone(String),
    /// Brackets around something else than IPv6, or brackets that do not match.
    #[error("{0:?} is not an IPv6 address: write it like `[2001:db8::1]`, and names without brackets")]
    NotIpv6(String),
    /// IPv6 without brackets where a port could follow.
    #[error("{0:?} is an IPv6 address without brackets: write `[{0}]`, with the port after `]`")]
    Ipv6WithoutBrackets(String),
    /// `host:443:443`.
    #[error("{0:?} has more than one `:`: write `host:port`")]
    ExtraColon(String),
    /// No port, and none is understood.
    #[error("{0:?} has no port: write `host:port`")]
    NoPort(String),
    /// Not a number from 1 to 65535 in plain decimal.
    #[error("{0:?} is not a port: write a number from 1 to 65535")]
    BadPort(String),
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
