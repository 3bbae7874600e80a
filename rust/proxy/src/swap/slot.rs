//! Headers made for credentials.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use policy::Reason;

use super::location::BasicPart;
use super::{CredentialLocation, Refusal, Sealed, sensitive};
use crate::spelling::header_key;

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

/// What to do where a dummy stands in a place that is not its own.
const NOT_SO: &str =
    "The credential does not go there, or not in this form; `jail explain URL` says where it goes.";

/// What stands before a key among the subprotocols of a WebSocket, by OpenAI and Kubernetes: programs in browsers can set
/// no other header. Elsewhere keys have better places, so that none gets a secret here.
const SUBPROTOCOL_KEYS: [&str; 2] = ["openai-insecure-api-key.", "base64url.bearer.authorization.k8s.io."];

/// Clients pad or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Puts the secrets into the slots that hold a dummy; gives the names of the credentials that were used.
pub(super) fn swap(headers: &mut HeaderMap, own: &[&Sealed], tls: bool) -> Result<Vec<String>, Refusal> {
    let slots = SlotNames::new(own);
    slots.refuse_look_alikes(headers)?;
    refuse_subprotocol_keys(headers, own)?;
    let mut names = Vec::new();
    for slot in &slots.0 {
        let mut values = headers.get_all(slot).iter();
        let Some(value) = values.next() else { continue };
        // git-lfs sends a header that is configured and one that the server gave back: equal lines mean one thing, and one
        // of them goes out.
        let single = values.all(|other| other == value);
        match filled(slot, value, own) {
            Some(_) if !tls => return Err(Reason::StrayCredential.into()),
            Some(filled) if single => {
                headers.insert(slot, sensitive(&filled.value)?);
                names.extend(filled.names);
            }
            // Two values, one of them perhaps the dummy: which one a server reads is anybody's guess.
            _ if headers.get_all(slot).iter().any(|value| holds_dummy(slot, value, own)) => {
                return Err(Refusal::with_hint(Reason::ForeignCredential, NOT_SO));
            }
            _ if allows_foreign(slot, own) => {}
            _ => return Err(Reason::ForeignCredential.into()),
        }
    }
    Ok(names)
}

fn refuse_subprotocol_keys(headers: &HeaderMap, own: &[&Sealed]) -> Result<(), Refusal> {
    let holds_key = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.split(',').any(|member| SUBPROTOCOL_KEYS.iter().any(|key| member.trim().starts_with(key)))
    };
    let is_lax = own.iter().all(|sealed| sealed.credential.allow_foreign);
    if !is_lax && headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(holds_key) {
        return Err(Refusal::with_hint(Reason::ForeignCredential, NOT_SO));
    }
    Ok(())
}

impl SlotNames {
    /// The well-known slots and those that the credentials declare.
    pub(super) fn new(credentials: &[&Sealed]) -> SlotNames {
        let mut names = WELL_KNOWN.to_vec();
        for place in credentials.iter().flat_map(|sealed| sealed.places()) {
            match place {
                CredentialLocation::Header { name, .. } if names.contains(name) => {}
                CredentialLocation::Header { name, .. } => names.push(name.clone()),
                // No header of their own, or one that is well known.
                CredentialLocation::WellKnown
                | CredentialLocation::Basic(_)
                | CredentialLocation::Query(_)
                | CredentialLocation::Cookie(_)
                | CredentialLocation::Aws { .. } => {}
            }
        }
        SlotNames(names)
    }

    /// Whether a server could read the header as a slot: many take `_` or `.` for `-`.
    pub(super) fn resembles(&self, name: &str) -> bool {
        let key = header_key(name);
        self.0.iter().any(|slot| header_key(slot.as_str()) == key)
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

struct Filled {
    value: String,
    names: Vec<String>,
}

/// The slot's value with the secret in place of the dummy; `None` if it holds anything but the dummy, or the dummy of a
/// credential that does not stand there, or not so.
fn filled(slot: &HeaderName, value: &HeaderValue, own: &[&Sealed]) -> Option<Filled> {
    let text = value.to_str().ok()?;
    if let Some(filled) = own.iter().find_map(|sealed| in_template(slot, text, sealed)) {
        return Some(filled);
    }
    let free: Vec<&Sealed> = own.iter().copied().filter(|sealed| stands_freely(sealed, slot)).collect();
    if let Some(sealed) = by_dummy(text, &free) {
        return Some(Filled::new(sealed.secret().to_owned(), sealed));
    }
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("basic") {
        let filled = basic(slot, rest, own)?;
        return Some(Filled { value: format!("{scheme} {}", filled.value), names: filled.names });
    }
    let is_word =
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let sealed = by_dummy(rest, &free).filter(|_| is_word)?;
    Some(Filled::new(format!("{scheme} {}", sealed.secret()), sealed))
}

impl Filled {
    fn new(value: String, sealed: &Sealed) -> Filled {
        Filled { value, names: vec![sealed.name().to_owned()] }
    }
}

/// The dummy exactly as a template of the credential says.
fn in_template(slot: &HeaderName, text: &str, sealed: &Sealed) -> Option<Filled> {
    sealed.places().iter().find_map(|place| match place {
        CredentialLocation::Header { name, template: Some(template) }
            if name == slot && template.credential_in(text) == Some(sealed.dummy()) =>
        {
            Some(Filled::new(template.with(sealed.secret()), sealed))
        }
        CredentialLocation::Header { .. }
        | CredentialLocation::WellKnown
        | CredentialLocation::Basic(_)
        | CredentialLocation::Query(_)
        | CredentialLocation::Cookie(_)
        | CredentialLocation::Aws { .. } => None,
    })
}

/// Whether the credential may stand in this header alone, behind any scheme, and in Basic.
fn stands_freely(sealed: &Sealed, slot: &HeaderName) -> bool {
    sealed.places().iter().any(|place| match place {
        CredentialLocation::WellKnown => WELL_KNOWN.contains(slot),
        CredentialLocation::Header { name, template: None } => name == slot,
        CredentialLocation::Header { template: Some(_), .. }
        | CredentialLocation::Basic(_)
        | CredentialLocation::Query(_)
        | CredentialLocation::Cookie(_)
        | CredentialLocation::Aws { .. } => false,
    })
}

/// The dummy as user name (then the password must be a known placeholder or a dummy too) or as password.
fn basic(slot: &HeaderName, encoded: &str, own: &[&Sealed]) -> Option<Filled> {
    let standing_as = |part: BasicPart| -> Vec<&Sealed> {
        let stands = |sealed: &Sealed| {
            stands_freely(sealed, slot)
                || (slot == header::AUTHORIZATION
                    && sealed.places().contains(&CredentialLocation::Basic(part)))
        };
        own.iter().copied().filter(|sealed| stands(sealed)).collect()
    };
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let as_user = by_dummy(user, &standing_as(BasicPart::User));
    let as_password = by_dummy(password, &standing_as(BasicPart::Password));
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

/// Whether a dummy is somewhere in the value, in Basic too.
fn holds_dummy(slot: &HeaderName, value: &HeaderValue, own: &[&Sealed]) -> bool {
    let text = String::from_utf8_lossy(value.as_bytes());
    let decoded = text.split_once(' ').and_then(|(_, encoded)| BASE64.decode(encoded.trim_matches(' ')).ok());
    let decoded = decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let holds = |sealed: &&Sealed| text.contains(sealed.dummy()) || decoded.contains(sealed.dummy());
    filled(slot, value, own).is_some() || own.iter().any(holds)
}

/// Whether every credential that the slot could be for lets foreign values pass.
fn allows_foreign(slot: &HeaderName, own: &[&Sealed]) -> bool {
    let is_well_known = WELL_KNOWN.contains(slot);
    own.iter()
        .filter(|sealed| is_well_known || declares(sealed, slot))
        .all(|sealed| sealed.credential.allow_foreign)
}

fn declares(sealed: &Sealed, slot: &HeaderName) -> bool {
    sealed
        .places()
        .iter()
        .any(|place| matches!(place, CredentialLocation::Header { name, .. } if name == slot))
}
