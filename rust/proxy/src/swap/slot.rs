//! Headers made for credentials.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use policy::Reason;

use super::{Sealed, sensitive};

/// The slots that count for some credentials.
pub(super) struct SlotNames(Vec<HeaderName>);

/// Slots on every host that has a credential.
const WELL_KNOWN: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("private-token"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The passwords that servers take beside a token as user name: they are no credentials themselves.
const NO_PASSWORDS: [&str; 5] = ["", "x", "X", "x-oauth-basic", "api_token"];

/// Clients pad or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Puts the secrets into the slots that hold a dummy; gives the names of the credentials that were used.
pub(super) fn swap(headers: &mut HeaderMap, own: &[&Sealed], tls: bool) -> Result<Vec<String>, Reason> {
    let slots = SlotNames::new(own);
    slots.refuse_look_alikes(headers)?;
    let mut names = Vec::new();
    for slot in &slots.0 {
        let mut values = headers.get_all(slot).iter();
        let Some(value) = values.next() else { continue };
        let single = values.next().is_none();
        match filled(value, own) {
            Some(_) if !tls => return Err(Reason::StrayCredential),
            Some(filled) if single => {
                headers.insert(slot, sensitive(&filled.value)?);
                names.extend(filled.names);
            }
            // Two values, one of them perhaps the dummy: which one a server reads is anybody's guess.
            _ if headers.get_all(slot).iter().any(|value| filled_or_partly(value, own)) => {
                return Err(Reason::ForeignCredential);
            }
            _ if allows_foreign(slot, own) => {}
            _ => return Err(Reason::ForeignCredential),
        }
    }
    Ok(names)
}

impl SlotNames {
    /// The well-known slots and those that the credentials declare.
    pub(super) fn new(credentials: &[&Sealed]) -> SlotNames {
        let mut names = WELL_KNOWN.to_vec();
        for header in credentials.iter().flat_map(|sealed| &sealed.headers) {
            if !names.contains(header) {
                names.push(header.clone());
            }
        }
        SlotNames(names)
    }

    /// Whether a server could read the header as a slot: many take `_` for `-`.
    pub(super) fn resembles(&self, name: &str) -> bool {
        self.0.iter().any(|slot| same(slot.as_str(), name))
    }

    /// Headers that a server could read as a slot though they are spelled differently, and slots that the next hop
    /// is told to remove.
    fn refuse_look_alikes(&self, headers: &HeaderMap) -> Result<(), Reason> {
        let spelled_differently = |name: &HeaderName| !self.0.contains(name) && self.resembles(name.as_str());
        let removed = headers.get_all(header::CONNECTION).iter().any(|value| {
            String::from_utf8_lossy(value.as_bytes()).split(',').any(|name| self.resembles(name.trim()))
        });
        if removed || headers.keys().any(spelled_differently) {
            Err(Reason::ForeignCredential)
        } else {
            Ok(())
        }
    }
}

fn same(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.bytes().map(plain).eq(other.bytes().map(plain))
}

struct Filled {
    value: String,
    names: Vec<String>,
}

/// The slot's value with the secret in place of the dummy; `None` if it holds anything but the dummy.
fn filled(value: &HeaderValue, own: &[&Sealed]) -> Option<Filled> {
    let text = value.to_str().ok()?;
    if let Some(sealed) = by_dummy(text, own) {
        return Some(Filled { value: sealed.secret().to_owned(), names: vec![sealed.name().to_owned()] });
    }
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("basic") {
        let filled = basic(rest, own)?;
        return Some(Filled { value: format!("{scheme} {}", filled.value), names: filled.names });
    }
    let is_word =
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let sealed = by_dummy(rest, own).filter(|_| is_word)?;
    Some(Filled { value: format!("{scheme} {}", sealed.secret()), names: vec![sealed.name().to_owned()] })
}

/// The dummy as user name (then the password must be a known placeholder or a dummy too) or as password.
fn basic(encoded: &str, own: &[&Sealed]) -> Option<Filled> {
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let (as_user, as_password) = (by_dummy(user, own), by_dummy(password, own));
    let (user, password) = match (as_user, as_password) {
        (_, Some(as_password)) => (as_user.map_or(user, Sealed::secret), as_password.secret()),
        (Some(as_user), None) if NO_PASSWORDS.contains(&password) => (as_user.secret(), password),
        _ => return None,
    };
    // A server would read what follows the first colon as password.
    if user.contains(':') {
        return None;
    }
    let names = as_user.into_iter().chain(as_password).map(|sealed| sealed.name().to_owned()).collect();
    Some(Filled { value: BASE64.encode(format!("{user}:{password}")), names })
}

fn by_dummy<'a>(text: &str, own: &[&'a Sealed]) -> Option<&'a Sealed> {
    own.iter().copied().find(|sealed| sealed.dummy() == text)
}

fn filled_or_partly(value: &HeaderValue, own: &[&Sealed]) -> bool {
    filled(value, own).is_some()
        || own.iter().any(|sealed| String::from_utf8_lossy(value.as_bytes()).contains(sealed.dummy()))
}

/// Whether every credential that the slot could be for lets foreign values pass.
fn allows_foreign(slot: &HeaderName, own: &[&Sealed]) -> bool {
    let is_well_known = WELL_KNOWN.contains(slot);
    own.iter()
        .filter(|sealed| is_well_known || sealed.headers.contains(slot))
        .all(|sealed| sealed.credential.allow_foreign)
}
