//! A DNS name or an address, in the one spelling that everything else compares.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::authority_error::AuthorityError;
use crate::text_form::{excerpt, serde_as_text};

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

impl FromStr for Host {
    type Err = AuthorityError;

    /// Reads a name, an IPv4 address or an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Host, AuthorityError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| AuthorityError::NotIpv6(excerpt(text)))?;
            return parse_ipv6(inner, text);
        }
        if text.matches(':').count() > 1 {
            return parse_ipv6(text, text);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Ip(address.into()));
        }
        text.parse().map(Host::Name)
    }
}

fn parse_ipv6(address: &str, text: &str) -> Result<Host, AuthorityError> {
    if address.contains('%') {
        return Err(AuthorityError::Zone(excerpt(text)));
    }
    match address.parse::<Ipv6Addr>() {
        Ok(address) => Ok(Host::from(IpAddr::from(address))),
        Err(_) => Err(AuthorityError::NotIpv6(excerpt(text))),
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        Host::Ip(address.to_canonical())
    }
}

impl FromStr for DnsName {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<DnsName, AuthorityError> {
        refuse_other_syntax(text)?;
        let mut name = to_ascii(text)?;
        if name.ends_with('.') {
            name.pop();
        }
        check_labels(&name, text)?;
        Ok(DnsName(name.into_boxed_str()))
    }
}

/// What an URL could hold around or in a host is refused by its own name, before any mapping.
fn refuse_other_syntax(text: &str) -> Result<(), AuthorityError> {
    // The mapping never shortens a name to a tenth; a longer text is not worth its time.
    const LONGEST: usize = 2530;
    if text.is_empty() || text == "." {
        return Err(AuthorityError::Empty);
    }
    if text.len() > LONGEST {
        return Err(AuthorityError::NameTooLong(excerpt(text)));
    }
    if text.contains('@') {
        return Err(AuthorityError::UserInfo(excerpt(text)));
    }
    match text.chars().find(|&character| !may_stand_in_name(character)) {
        Some(character) => Err(AuthorityError::ForbiddenCharacter { text: excerpt(text), character }),
        None => Ok(()),
    }
}

/// ASCII by list; the underscore is in real names (`_dmarc`, internal services) though not in host names.
fn may_stand_in_name(character: char) -> bool {
    match character {
        '.' | '-' | '_' => true,
        character if character.is_ascii() => character.is_ascii_alphanumeric(),
        character => !character.is_control() && !character.is_whitespace(),
    }
}

/// The `xn--` form by UTS 46, non-transitional, with its checks of bidi, joiners and Punycode. What is mapped to
/// ASCII that a name cannot hold (full-width `％`, `／`, `＠`) is refused here.
fn to_ascii(text: &str) -> Result<String, AuthorityError> {
    const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");
    Uts46::new()
        .to_ascii(text.as_bytes(), DENIED, Hyphens::Allow, DnsLength::Ignore)
        .map(|name| name.into_owned())
        .map_err(|_| AuthorityError::NotIdna(excerpt(text)))
}

fn check_labels(name: &str, text: &str) -> Result<(), AuthorityError> {
    if name.split('.').any(str::is_empty) {
        return Err(AuthorityError::EmptyLabel(excerpt(text)));
    }
    if name.split('.').any(|label| label.len() > 63) {
        return Err(AuthorityError::LabelTooLong(excerpt(text)));
    }
    if name.len() > 253 {
        return Err(AuthorityError::NameTooLong(excerpt(text)));
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(AuthorityError::NumericHost(excerpt(text)));
    }
    Ok(())
}

/// What `inet_aton` and browsers read as part of an IPv4 address. No top-level domain starts with a digit.
fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit()) || label.starts_with("0x")
}

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name stands below the other, which is not below itself.
    pub fn is_below(&self, parent: &DnsName) -> bool {
        self.0.strip_suffix(&*parent.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    /// IPv6 stands in brackets, as in an URL.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => name.fmt(formatter),
            Host::Ip(IpAddr::V4(address)) => address.fmt(formatter),
            Host::Ip(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

serde_as_text!(Host, "A DNS name or an address.", "api.example.com");
