//! The places in a request that can carry a credential, and their text form: what `inject` of a credential says.
//!
//! `well-known`, `header:NAME`, `header:NAME: TEMPLATE`, `basic:user`, `basic:password`, `query:NAME`, `cookie:NAME`,
//! `aws:access-key-id`, `aws:secret-access-key`, `aws:session-token` (each with `/PROFILE` where there are several).

use std::fmt;
use std::str::FromStr;

use http::{HeaderName, header};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spelling::{header_key, parameter_key};

/// A place in a request that carries a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialLocation {
    /// The headers that are made for credentials: `Authorization` in any scheme, `x-api-key` and their like; the parameters
    /// of the query that stand for them (`access_token`).
    WellKnown,
    /// A header that holds the credential: alone or behind a scheme, or exactly as the template says.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its whole value.
        template: Option<Template>,
    },
    /// A part of `Authorization: Basic`.
    Basic(BasicPart),
    /// A parameter of the query.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A part of what AWS requests are signed with (Signature Version 4).
    Aws {
        /// Which.
        part: AwsPart,
        /// Which of several sets of keys; empty where there is one.
        profile: String,
    },
}

/// A header's value around a credential: `Token token={}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: String,
    after: String,
}

/// A part of Basic credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicPart {
    /// What stands before the colon.
    User,
    /// What stands after it.
    Password,
}

/// A part of what AWS requests are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsPart {
    /// `AWS_ACCESS_KEY_ID`, sent with each request.
    AccessKeyId,
    /// `AWS_SECRET_ACCESS_KEY`, never sent: requests are signed with it.
    SecretAccessKey,
    /// `AWS_SESSION_TOKEN`, sent with each request that is signed with temporary keys.
    SessionToken,
}

/// Why a text is not a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a place for a credential: {problem}")]
pub struct CredentialLocationError {
    text: String,
    problem: &'static str,
}

/// Headers that say how a message is framed or to whom it goes, and the one with places of its own.
const NO_SLOTS: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const AWS_PARTS: [(&str, AwsPart); 3] = [
    ("access-key-id", AwsPart::AccessKeyId),
    ("secret-access-key", AwsPart::SecretAccessKey),
    ("session-token", AwsPart::SessionToken),
];

impl CredentialLocation {
    /// A header that holds the credential, alone or behind a scheme.
    pub fn header(name: &str) -> Result<CredentialLocation, CredentialLocationError> {
        header_name(name)
            .map(|name| CredentialLocation::Header { name, template: None })
            .map_err(|problem| CredentialLocationError { text: name.to_owned(), problem })
    }

    /// Whether two credentials in these places could not be told apart by a server: one place, whatever its value looks
    /// like.
    pub(super) fn is_same(&self, other: &CredentialLocation) -> bool {
        match (self, other) {
            (
                CredentialLocation::Header { name: one, .. },
                CredentialLocation::Header { name: other, .. },
            ) => header_key(one.as_str()) == header_key(other.as_str()),
            (CredentialLocation::Query(one), CredentialLocation::Query(other)) => {
                parameter_key(one) == parameter_key(other)
            }
            (one, other) => one == other,
        }
    }

    /// Whether this value can stand in this place.
    pub(super) fn can_carry(&self, value: &str) -> bool {
        match self {
            CredentialLocation::Basic(BasicPart::User) => !value.contains(':'),
            CredentialLocation::Cookie(_) => value.bytes().all(is_cookie_byte),
            CredentialLocation::Aws { .. } => !value.contains(' '),
            CredentialLocation::WellKnown
            | CredentialLocation::Header { .. }
            | CredentialLocation::Basic(_)
            | CredentialLocation::Query(_) => true,
        }
    }
}

impl Template {
    /// What stands in the place of the credential, if the value is of this shape. Schemes are written in any case.
    pub(super) fn credential_in<'a>(&self, value: &'a str) -> Option<&'a str> {
        let before = value.get(..self.before.len()).filter(|text| text.eq_ignore_ascii_case(&self.before))?;
        value[before.len()..].strip_suffix(self.after.as_str())
    }

    /// The same with this credential.
    pub(super) fn with(&self, credential: &str) -> String {
        format!("{}{credential}{}", self.before, self.after)
    }
}

impl FromStr for CredentialLocation {
    type Err = CredentialLocationError;

    fn from_str(text: &str) -> Result<CredentialLocation, CredentialLocationError> {
        parse(text).map_err(|problem| CredentialLocationError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<CredentialLocation, &'static str> {
    let forms = "write well-known, header:NAME, `header:NAME: Token token={}`, basic:user, basic:password, query:NAME, \
                 cookie:NAME, aws:access-key-id, aws:secret-access-key or aws:session-token";
    if text == "well-known" {
        return Ok(CredentialLocation::WellKnown);
    }
    let (kind, rest) = text.split_once(':').ok_or(forms)?;
    match kind {
        "header" => match rest.split_once(':') {
            None => Ok(CredentialLocation::Header { name: header_name(rest)?, template: None }),
            Some((name, value)) => Ok(CredentialLocation::Header {
                name: header_name(name)?,
                template: Some(template(value.trim())?),
            }),
        },
        "basic" => match rest {
            "user" => Ok(CredentialLocation::Basic(BasicPart::User)),
            "password" => Ok(CredentialLocation::Basic(BasicPart::Password)),
            _ => Err("a part of Basic is basic:user or basic:password"),
        },
        "query" if rest.is_empty() || rest.contains(['&', '=', ';', '#', '%', '+']) => {
            Err("the name of a query parameter follows, not escaped")
        }
        "query" => Ok(CredentialLocation::Query(rest.to_owned())),
        "cookie" if rest.is_empty() || rest.contains('=') || !rest.bytes().all(is_cookie_byte) => {
            Err("the name of a cookie follows")
        }
        "cookie" => Ok(CredentialLocation::Cookie(rest.to_owned())),
        "aws" => {
            let (name, profile) = rest.split_once('/').unwrap_or((rest, ""));
            let (_, part) = AWS_PARTS.into_iter().find(|(known, _)| *known == name).ok_or(forms)?;
            Ok(CredentialLocation::Aws { part, profile: profile.to_owned() })
        }
        _ => Err(forms),
    }
}

fn header_name(text: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| "the name of a header follows")?;
    if name == header::COOKIE {
        return Err("name the cookie: cookie:NAME");
    }
    if NO_SLOTS.contains(&name) {
        return Err("this header frames the message or says to whom it goes; name another");
    }
    Ok(name)
}

fn template(text: &str) -> Result<Template, &'static str> {
    let (before, after) = text.split_once("{}").ok_or("the template needs {} where the credential stands")?;
    if after.contains("{}") {
        return Err("the template has {} more than once");
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("a template is visible ASCII");
    }
    Ok(Template { before: before.to_owned(), after: after.to_owned() })
}

/// What a cookie's value is made of (RFC 6265).
fn is_cookie_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !b"\",;\\".contains(&byte)
}

impl fmt::Display for CredentialLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialLocation::WellKnown => formatter.write_str("well-known"),
            CredentialLocation::Header { name, template: None } => write!(formatter, "header:{name}"),
            CredentialLocation::Header { name, template: Some(template) } => {
                write!(formatter, "header:{name}: {}", template.with("{}"))
            }
            CredentialLocation::Basic(BasicPart::User) => formatter.write_str("basic:user"),
            CredentialLocation::Basic(BasicPart::Password) => formatter.write_str("basic:password"),
            CredentialLocation::Query(name) => write!(formatter, "query:{name}"),
            CredentialLocation::Cookie(name) => write!(formatter, "cookie:{name}"),
            CredentialLocation::Aws { part, profile } => {
                let name = AWS_PARTS.iter().find(|(_, known)| known == part).map_or("", |(name, _)| name);
                match profile.as_str() {
                    "" => write!(formatter, "aws:{name}"),
                    profile => write!(formatter, "aws:{name}/{profile}"),
                }
            }
        }
    }
}

impl Serialize for CredentialLocation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CredentialLocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CredentialLocation, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
