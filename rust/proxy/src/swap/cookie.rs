//! Cookies that a credential declares.

use http::{HeaderMap, header};
use policy::Reason;

use super::stray::decode_percent;
use super::{CredentialLocation, Refusal, Sealed, sensitive};

/// Puts the secrets into the cookies that hold a dummy; gives the names of the credentials that were used.
pub(super) fn swap(headers: &mut HeaderMap, own: &[&Sealed], tls: bool) -> Result<Vec<String>, Refusal> {
    let declared = |name: &str| -> Vec<&Sealed> {
        let same = |place: &CredentialLocation| matches!(place, CredentialLocation::Cookie(cookie) if cookie == name);
        own.iter().copied().filter(|sealed| sealed.places().iter().any(same)).collect()
    };
    let mut names = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        let text = String::from_utf8_lossy(line.as_bytes());
        let mut cookies: Vec<String> = Vec::new();
        let mut swapped = false;
        for cookie in text.split(';') {
            let (name, value) = cookie.split_once('=').unwrap_or(("", cookie));
            let (name, value) = (name.trim(), value.trim());
            let for_them = declared(name);
            if for_them.is_empty() {
                cookies.push(cookie.to_owned());
                continue;
            }
            // Servers read the first or the last of several.
            let repeated = seen.iter().any(|earlier| earlier == name);
            seen.push(name.to_owned());
            match for_them.iter().find(|sealed| is_dummy(value, sealed)) {
                Some(_) if !tls => return Err(Reason::StrayCredential.into()),
                Some(sealed) if !repeated => {
                    names.push(sealed.name().to_owned());
                    let space = if cookie.starts_with(' ') { " " } else { "" };
                    cookies.push(format!("{space}{name}={}", sealed.secret()));
                    swapped = true;
                }
                None if !repeated && for_them.iter().all(|sealed| sealed.credential.allow_foreign) => {
                    cookies.push(cookie.to_owned());
                }
                _ => return Err(Reason::ForeignCredential.into()),
            }
        }
        lines.push(if swapped { sensitive(&cookies.join(";"))? } else { line.clone() });
    }
    if !names.is_empty() {
        headers.remove(header::COOKIE);
        for line in lines {
            headers.append(header::COOKIE, line);
        }
    }
    Ok(names)
}

/// Clients quote and escape or do not.
fn is_dummy(value: &str, sealed: &Sealed) -> bool {
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    decode_percent(bare.as_bytes()) == sealed.dummy().as_bytes()
}
