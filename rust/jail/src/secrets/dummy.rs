//! What stands for a secret inside the jail: random, of the same shape, worth nothing anywhere else.
//!
//! A job with a persistent home gets the same dummies as the job before it: an agent stores what it was given. They are
//! derived from a random seed that belongs to the home and is kept outside of it. Another home has another seed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The beginnings by which tokens are recognised. They say who issued a token, and are never a part of its secret.
const PREFIXES: &[&str] = &[
    "sk-ant-api03-",
    "sk-ant-admin01-",
    "sk-ant-oat01-",
    "sk-ant-ort01-",
    "sk-ant-sid01-",
    "sk-ant-",
    "sk-or-v1-",
    "sk-proj-",
    "sk-svcacct-",
    "sk-admin-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "sk-",
    "github_pat_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "glpat-",
    "gldt-",
    "glrt-",
    "glptt-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xapp-",
    "AIza",
    "ya29.",
    "1//",
    "hf_",
    "npm_",
    "pypi-",
    "AKIA",
    "ASIA",
    "dop_v1_",
    "gsk_",
    "xai-",
    "pplx-",
    "r8_",
    "lin_api_",
    "ntn_",
    "secret_",
    "dckr_pat_",
    "tskey-auth-",
    "hvs.",
    "shpat_",
    "SG.",
    "eyJ",
]; // An entry lies before every shorter one that it starts with.

/// The body of a dummy has at least this many random characters, also where the real one has fewer: one that can be
/// guessed would let another job use it.
const LEAST_RANDOM: usize = 32;
/// No issuer's tokens have fewer characters after their beginning.
const LEAST_SECRET: usize = 8;
/// Random characters that hold 256 bits (of 62 kinds).
const FULL_RANDOM: usize = 43;
/// Tells people what they look at, where there is room for it.
const MARKER: &str = "dummy";
/// The same with as many characters as Claude Code remembers of a key that its user has approved (the last 20): it asks
/// once, not for the dummy of every job.
const LONG_MARKER: &str = "0nixjail0dummy0token";

/// The operating system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a dummy: the system gives no random numbers ({0}); a jail must not start without")]
pub(crate) struct DummyError(getrandom::Error);

/// Where the dummies of a job come from.
#[derive(Clone, Copy)]
pub(crate) enum Dummies {
    /// Random: no other job has the same.
    OfJob,
    /// Those of a persistent home, derived from its seed.
    OfHome([u8; 32]),
}

impl Dummies {
    /// A dummy for `real`: the same known beginning, the same alphabet, the same length (longer, if the real one is short).
    /// `role` says what it is for: dummies of one home for one role and secrets of the same shape are the same.
    pub(crate) fn make(&self, role: &str, real: &SecretString) -> Result<String, DummyError> {
        let real = real.expose_secret();
        let mut bytes = self.bytes(role);
        loop {
            let dummy = if is_jwt(real) { jwt(real, &mut bytes)? } else { opaque(real, &mut bytes)? };
            if !dummy.contains(real) && !real.contains(&dummy) {
                return Ok(dummy);
            }
        }
    }

    fn bytes(&self, role: &str) -> Bytes {
        match self {
            Dummies::OfJob => Bytes::Random,
            Dummies::OfHome(seed) => {
                let mut key = Sha256::new();
                key.update(seed);
                key.update(role);
                Bytes::Derived { key: key.finalize().into(), count: 0 }
            }
        }
    }
}

/// The source of a dummy's bytes.
enum Bytes {
    Random,
    /// Hashes of a key and a counter.
    Derived {
        key: [u8; 32],
        count: u64,
    },
}

impl Bytes {
    fn fill(&mut self, pool: &mut [u8]) -> Result<(), DummyError> {
        match self {
            Bytes::Random => getrandom::fill(pool).map_err(DummyError),
            Bytes::Derived { key, count } => {
                for chunk in pool.chunks_mut(32) {
                    let mut hash = Sha256::new();
                    hash.update(*key);
                    hash.update(count.to_be_bytes());
                    *count += 1;
                    chunk.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
                }
                Ok(())
            }
        }
    }
}

/// What can be said of a secret without telling it: how it begins, if every token of its issuer begins so, and which
/// characters it is made of.
pub(crate) fn shape(real: &SecretString) -> String {
    let real = real.expose_secret();
    if is_jwt(real) {
        return "a JSON Web Token".to_owned();
    }
    let prefix = known_prefix(real);
    let body = &real[prefix.len()..];
    let kind = match Alphabet::of(body.trim_end_matches('=')) {
        _ if is_uuid(body) => "a UUID",
        Alphabet::Digits => "digits",
        Alphabet::LowerHex | Alphabet::UpperHex => "hexadecimal digits",
        Alphabet::LowerAlphanumeric => "small letters and digits",
        Alphabet::UpperAlphanumeric => "capital letters and digits",
        Alphabet::Alphanumeric => "letters and digits",
        Alphabet::Base64 => "base64",
        Alphabet::Base64Url => "letters, digits and other characters",
    };
    if prefix.is_empty() { kind.to_owned() } else { format!("{prefix}… and {kind}") }
}

fn known_prefix(real: &str) -> &'static str {
    // A beginning with next to nothing after it is the secret itself.
    let is_prefix = |prefix: &&&str| real.starts_with(**prefix) && real.len() >= prefix.len() + LEAST_SECRET;
    PREFIXES.iter().find(is_prefix).copied().unwrap_or_default()
}

fn opaque(real: &str, bytes: &mut Bytes) -> Result<String, DummyError> {
    let prefix = known_prefix(real);
    let body = &real[prefix.len()..];
    if is_uuid(body) {
        let digits = random(Alphabet::LowerHex, body.len(), bytes)?;
        let pair = |(shape, digit)| if shape == '-' { '-' } else { digit };
        return Ok(prefix.to_owned() + &body.chars().zip(digits.chars()).map(pair).collect::<String>());
    }
    let padding = body.len() - body.trim_end_matches('=').len();
    let alphabet = Alphabet::of(&body[..body.len() - padding]);
    let length = body.len().max(alphabet.least()) - padding;
    let mut text = random(alphabet, length, bytes)?;
    let fits = |marker: &&str| alphabet.has_letters() && length >= FULL_RANDOM + marker.len();
    if let Some(marker) = [LONG_MARKER, MARKER].into_iter().find(fits) {
        text.replace_range(length - marker.len().., marker);
    }
    Ok(format!("{prefix}{text}{}", "=".repeat(padding)))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(position, character)| match position {
            8 | 13 | 18 | 23 => character == '-',
            _ => character.is_ascii_hexdigit(),
        })
}

/// The characters that a token is made of, by what the real one shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    Digits,
    LowerHex,
    UpperHex,
    LowerAlphanumeric,
    UpperAlphanumeric,
    Alphanumeric,
    Base64,
    Base64Url,
}

impl Alphabet {
    fn of(text: &str) -> Alphabet {
        let all = |allowed: fn(u8) -> bool| text.bytes().all(allowed);
        if all(|byte| byte.is_ascii_digit()) {
            Alphabet::Digits
        } else if all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Alphabet::LowerHex
        } else if all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')) {
            Alphabet::UpperHex
        } else if all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()) {
            Alphabet::LowerAlphanumeric
        } else if all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) {
            Alphabet::UpperAlphanumeric
        } else if all(|byte| byte.is_ascii_alphanumeric()) {
            Alphabet::Alphanumeric
        } else if all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')) {
            Alphabet::Base64
        } else {
            Alphabet::Base64Url
        }
    }

    fn characters(self) -> &'static [u8] {
        let all = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        match self {
            Alphabet::Digits => &all[..10],
            Alphabet::LowerHex => &all[..16],
            Alphabet::UpperHex => b"0123456789ABCDEF",
            Alphabet::LowerAlphanumeric => &all[..36],
            Alphabet::UpperAlphanumeric => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            Alphabet::Alphanumeric => all,
            Alphabet::Base64 => b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/",
            Alphabet::Base64Url => b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_",
        }
    }

    /// 128 bits at least.
    fn least(self) -> usize {
        if self == Alphabet::Digits { 39 } else { LEAST_RANDOM }
    }

    fn has_letters(self) -> bool {
        matches!(
            self,
            Alphabet::LowerAlphanumeric | Alphabet::Alphanumeric | Alphabet::Base64 | Alphabet::Base64Url
        )
    }
}

fn random(alphabet: Alphabet, length: usize, bytes: &mut Bytes) -> Result<String, DummyError> {
    let characters = alphabet.characters();
    // The largest multiple: what lies above it would make the first characters likelier than the last.
    let fair = 256 - 256 % characters.len();
    let mut text = String::with_capacity(length);
    let mut pool = [0; 256];
    while text.len() < length {
        bytes.fill(&mut pool)?;
        let fair_bytes = pool.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(
            fair_bytes.take(length - text.len()).map(|byte| char::from(characters[byte % characters.len()])),
        );
    }
    Ok(text)
}

/// Three base64url parts, the first of them a JSON header.
fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts[..], [header, claims, _] if claims_of(header).is_some() && claims_of(claims).is_some())
}

fn claims_of(part: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A token that clients can take apart. Only the times are copied, without which a client takes it for expired; names
/// and addresses of the real one are nobody's business inside.
fn jwt(real: &str, bytes: &mut Bytes) -> Result<String, DummyError> {
    let mut parts = real.split('.').skip(1);
    let mut claims = serde_json::Map::new();
    claims.insert("sub".to_owned(), MARKER.into());
    let real_claims = parts.next().and_then(claims_of).unwrap_or_default();
    for name in ["exp", "iat", "nbf"] {
        if let Some(time @ serde_json::Value::Number(_)) = real_claims.get(name) {
            claims.insert(name.to_owned(), time.clone());
        }
    }
    let signature = random(Alphabet::Base64Url, parts.next().map_or(0, str::len).max(FULL_RANDOM), bytes)?;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(serde_json::Value::Object(claims).to_string());
    Ok(format!("{header}.{claims}.{signature}"))
}

#[cfg(test)]
#[path = "dummy_tests.rs"]
mod tests;
