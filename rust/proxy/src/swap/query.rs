//! Query parameters that a credential declares, and those that stand for well-known headers.

use http::Uri;
use http::uri::PathAndQuery;
use policy::Reason;

use super::stray::decode_percent;
use super::{CredentialLocation, Refusal, Sealed};
use crate::spelling::parameter_key;
use redact::percent;

/// What servers take for `Authorization` (RFC 6750, section 2.3) and `private-token`: slots of every credential, as these
/// headers are.
const WELL_KNOWN: [&str; 3] = ["access_token", "oauth_token", "private_token"];

/// `$httpHeaders` holds whole headers (Google): whatever stands in it is foreign.
const WHOLE_HEADERS: &str = "_httpheaders";

/// Puts the secrets into the parameters that hold a dummy; gives the names of the credentials that were used.
pub(super) fn swap(uri: &mut Uri, own: &[&Sealed], tls: bool) -> Result<Vec<String>, Refusal> {
    let Some(query) = uri.query() else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let mut pairs: Vec<String> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let declares = |name: &str, exactly: bool| -> Vec<&Sealed> {
            let same = |place: &CredentialLocation| match place {
                CredentialLocation::Query(parameter) if exactly => parameter == name,
                CredentialLocation::Query(parameter) => parameter_key(parameter) == parameter_key(name),
                CredentialLocation::WellKnown => exactly && WELL_KNOWN.contains(&name),
                CredentialLocation::Header { .. }
                | CredentialLocation::Basic(_)
                | CredentialLocation::Cookie(_)
                | CredentialLocation::Aws { .. } => false,
            };
            own.iter().copied().filter(|sealed| sealed.places().iter().any(same)).collect()
        };
        let could_be_for = |name: &str| {
            let key = parameter_key(name);
            match WELL_KNOWN.contains(&&*key) || key == WHOLE_HEADERS {
                true => own.to_vec(),
                false => declares(name, false),
            }
        };
        // Some servers take `;` for `&`, some take names in other spellings.
        let hidden = pair.split(';').skip(1).map(|part| part.split('=').next().unwrap_or_default());
        let mut for_them: Vec<&Sealed> = could_be_for(&decode(name));
        for_them.extend(hidden.flat_map(|name| could_be_for(&decode(name))));
        if for_them.is_empty() {
            pairs.push(pair.to_owned());
            continue;
        }
        let repeated = seen.contains(&parameter_key(&decode(name)));
        seen.push(parameter_key(&decode(name)));
        let dummy = decode(value);
        match declares(&decode(name), true).into_iter().find(|sealed| sealed.dummy() == dummy) {
            Some(_) if !tls => return Err(Reason::StrayCredential.into()),
            Some(sealed) if !repeated => {
                names.push(sealed.name().to_owned());
                pairs.push(format!("{name}={}", percent(sealed.secret())));
            }
            None if for_them.iter().all(|sealed| sealed.credential.allow_foreign) => {
                pairs.push(pair.to_owned())
            }
            _ => return Err(Reason::ForeignCredential.into()),
        }
    }
    if !names.is_empty() {
        replace_query(uri, &pairs.join("&"))?;
    }
    Ok(names)
}

/// A name or value as a server reads it.
pub(crate) fn decode(text: &str) -> String {
    String::from_utf8_lossy(&decode_percent(text.replace('+', " ").as_bytes())).into_owned()
}

pub(super) fn replace_query(uri: &mut Uri, query: &str) -> Result<(), Reason> {
    // Errors are refusals without detail: their texts could hold the secret.
    let refused = Reason::ForeignCredential;
    let mut parts = uri.clone().into_parts();
    let path_and_query = PathAndQuery::try_from(format!("{}?{query}", uri.path())).map_err(|_| refused)?;
    parts.path_and_query = Some(path_and_query);
    *uri = Uri::from_parts(parts).map_err(|_| refused)?;
    Ok(())
}
