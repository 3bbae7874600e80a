//! A login in JSON: an access token, what a new one is got with, and when it expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxy::config::Held;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Bytes, Miss, value};

/// Where the parts of a login are (RFC 6901).
#[derive(Clone, Debug)]
pub(crate) struct Pointers {
    /// The access token.
    pub(crate) token: String,
    /// The refresh token.
    pub(crate) refresh: String,
    /// When the access token expires, in seconds or milliseconds since the Unix epoch.
    pub(crate) expiry: Option<String>,
}

/// No time in seconds is as large for the next thousand years, none in milliseconds as small since 1973.
const LEAST_MILLISECONDS: u64 = 100_000_000_000;

pub(super) fn read(bytes: Bytes, pointers: &Pointers) -> Result<Held, Miss> {
    let mut json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let refresh = json.pointer(&pointers.refresh).and_then(Value::as_str).filter(|text| !text.is_empty());
    let refresh = refresh.map(SecretString::from);
    let expires = pointers.expiry.as_ref().and_then(|pointer| json.pointer(pointer)?.as_u64()).map(time);
    value::wipe(&mut json);
    Ok(Held { secret: value::secret(bytes, Some(&pointers.token))?, refresh, expires })
}

/// The same JSON with another login in it.
pub(super) fn replaced(bytes: &[u8], pointers: &Pointers, new: &Held) -> Result<Bytes, Miss> {
    let mut json: Value = serde_json::from_slice(bytes).map_err(|_| broken())?;
    let written = write(&mut json, pointers, new).and_then(|()| {
        let is_spread = bytes.contains(&b'\n');
        let text = if is_spread { serde_json::to_vec_pretty(&json) } else { serde_json::to_vec(&json) };
        text.ok()
    });
    value::wipe(&mut json);
    written.map(Zeroizing::new).ok_or_else(broken)
}

fn write(json: &mut Value, pointers: &Pointers, new: &Held) -> Option<()> {
    *json.pointer_mut(&pointers.token)? = new.secret.expose_secret().into();
    if let Some(refresh) = &new.refresh {
        *json.pointer_mut(&pointers.refresh)? = refresh.expose_secret().into();
    }
    if let Some(expiry) = pointers.expiry.as_ref().and_then(|pointer| json.pointer_mut(pointer)) {
        let in_milliseconds = expiry.as_u64().is_none_or(|old| old >= LEAST_MILLISECONDS);
        // An end that is not known is one that has passed: who reads it renews.
        let since = new.expires.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let number = if in_milliseconds { since.as_millis() } else { since.as_secs().into() };
        *expiry = u64::try_from(number).ok()?.into();
    }
    Some(())
}

fn broken() -> Miss {
    Miss::broken("it is no login any more", "log in again")
}

fn time(number: u64) -> SystemTime {
    let since = if number >= LEAST_MILLISECONDS {
        Duration::from_millis(number)
    } else {
        Duration::from_secs(number)
    };
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
