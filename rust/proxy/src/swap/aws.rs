//! AWS requests: the secret access key is never sent, requests are signed with it (Signature Version 4).
//!
//! The job signs with dummies. A request whose signature is that of the dummy key is signed again with the real one, in
//! the headers or in the query (presigned URLs). Region and service are what the job says: the scope is part of the
//! signature.
//!
//! Not supported, and refused: Signature Version 4A (asymmetric keys), event streams.

mod canonical;
mod chunks;
mod signature;
mod spoken;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use policy::{Authority, Host, Reason};

use super::error::VaultError;
use super::query::replace_query;
use super::{AwsPart, CredentialLocation, Refusal, Sealed, sensitive};
use canonical::{Reading, Signed, parameter, with_parameters};
use signature::SigningKey;
use spoken::Spoken;

pub(crate) use chunks::Chunks;
pub(crate) use signature::sha256;

/// The credentials that requests are signed with, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySet {
    id: usize,
    secret: usize,
    token: Option<usize>,
}

/// A request that the job signed, before anything of it is changed.
pub(super) struct Found {
    form: Form,
    date: String,
    scope: String,
    /// Of the signed headers.
    names: Vec<String>,
    /// What the dummy's signature is.
    given: String,
    payload: Payload,
    host: String,
    /// Every canonical form that the job may have signed, but for the body's hash.
    before: Vec<(Reading, String)>,
    keys: (SigningKey, SigningKey),
    id: String,
    token: Option<String>,
    used: Vec<String>,
}

/// A request that is to be signed again, and only its body's hash is missing.
pub(crate) struct Resigning {
    found: Found,
    /// The canonical forms of what goes out, in the order of those that came.
    after: Vec<String>,
    /// The signed headers of what goes out.
    names: Vec<String>,
}

/// What is left to do about a body.
pub(crate) enum Signing {
    /// It must be read whole: its hash is signed and nowhere said.
    Whole(Box<Resigning>),
    /// Its chunks are signed.
    Chunks(Box<Chunks>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Headers,
    Query,
}

enum Payload {
    /// The hash, or the word that stands for it.
    Said(String),
    /// Signed chunks, perhaps with signed trailers.
    Chunks { word: String, trailers: bool },
    /// Nobody said it.
    OfBody,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const CONTENT_HASH: &str = "x-amz-content-sha256";
const SECURITY_TOKEN: &str = "x-amz-security-token";
/// The parameters of presigned URLs, of this version and the one before.
const QUERY_SLOTS: [&str; 3] = ["X-Amz-Credential", "X-Amz-Signature", "AWSAccessKeyId"];

const NOT_CHECKED: &str = "The request is not signed as the AWS keys of the jail's environment sign it; sign it with them \
                           (Signature Version 4), and no header that a proxy takes off.";
const NOT_SUPPORTED: &str = "Sign with AWS4-HMAC-SHA256: asymmetric signatures (SigV4A) and event streams cannot be \
                             signed again with the real key.";

impl KeySet {
    /// The sets that the credentials' places make up.
    pub(super) fn all(credentials: &[Sealed]) -> Result<Vec<KeySet>, VaultError> {
        let mut profiles: Vec<&str> = Vec::new();
        let mut parts: Vec<(usize, AwsPart, &str)> = Vec::new();
        for (index, sealed) in credentials.iter().enumerate() {
            for place in sealed.places() {
                if let CredentialLocation::Aws { part, profile } = place {
                    parts.push((index, *part, profile));
                    if !profiles.contains(&profile.as_str()) {
                        profiles.push(profile);
                    }
                }
            }
        }
        let set = |profile: &&str| {
            let of = |wanted: AwsPart| {
                let found: Vec<usize> = parts
                    .iter()
                    .filter(|(_, part, of)| *part == wanted && of == profile)
                    .map(|(index, ..)| *index)
                    .collect();
                match found[..] {
                    [] => Ok(None),
                    [one] => Ok(Some(one)),
                    _ => Err(()),
                }
            };
            let incomplete = || {
                VaultError::IncompleteKeys(if profile.is_empty() {
                    "aws".to_owned()
                } else {
                    (*profile).to_owned()
                })
            };
            let needed = |part| of(part).ok().flatten().ok_or_else(incomplete);
            Ok(KeySet {
                id: needed(AwsPart::AccessKeyId)?,
                secret: needed(AwsPart::SecretAccessKey)?,
                token: of(AwsPart::SessionToken).map_err(|()| incomplete())?,
            })
        };
        profiles.iter().map(set).collect()
    }

    fn members(&self) -> impl Iterator<Item = usize> {
        [Some(self.id), Some(self.secret), self.token].into_iter().flatten()
    }
}

/// What is known of a request beside its head.
pub(super) struct About<'a> {
    pub(super) method: &'a Method,
    pub(super) authority: &'a Authority,
    pub(super) tls: bool,
}

/// Takes the signature of the job's dummy keys off a request; `None` if it has none. `own` are the credentials of the
/// host, `usable` those of them that may go with this request.
pub(super) fn take(
    about: &About<'_>,
    headers: &mut HeaderMap,
    uri: &Uri,
    credentials: &[Sealed],
    sets: &[KeySet],
    own: &[usize],
    usable: &[usize],
) -> Result<Option<Found>, Refusal> {
    let sets: Vec<&KeySet> = sets.iter().filter(|set| own.contains(&set.secret)).collect();
    if sets.is_empty() {
        return Ok(None);
    }
    let query = uri.query().unwrap_or_default();
    let in_query = query.split('&').any(|part| {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        QUERY_SLOTS.iter().any(|slot| super::query::decode(name).eq_ignore_ascii_case(slot))
    });
    let Some((form, spoken)) = Spoken::read(headers, query, in_query)? else { return Ok(None) };
    let named = sets.iter().find(|set| credentials[set.id].dummy() == spoken.id);
    let Some(set) = named.filter(|set| set.members().all(|member| usable.contains(&member))) else {
        // Somebody else's key.
        let lax = sets.iter().all(|set| credentials[set.secret].credential.allow_foreign);
        return if lax { Ok(None) } else { Err(Reason::ForeignCredential.into()) };
    };
    if !about.tls {
        return Err(Reason::StrayCredential.into());
    }
    let token = token(headers, query, form, set.token.map(|token| &credentials[token]))?;
    let secret = &credentials[set.secret];
    let (host, host_and_port) = hosts(about);
    let before = {
        let signed = Signed {
            method: about.method.as_str(),
            uri,
            headers,
            names: &spoken.names,
            host: &host,
            host_and_port: &host_and_port,
        };
        let readings = Reading::all(uri, host != host_and_port);
        readings.into_iter().map(|reading| (reading, reading.of(&signed))).collect()
    };
    let payload = Payload::read(headers, query, form, &spoken.scope)?;
    let used = set.members().map(|member| credentials[member].name().to_owned());
    let used = used
        .filter(|name| token.is_some() || set.token.is_none_or(|token| credentials[token].name() != name));
    let found = Found {
        keys: (
            SigningKey::derive(secret.dummy(), &spoken.scope),
            SigningKey::derive(secret.secret(), &spoken.scope),
        ),
        id: credentials[set.id].secret().to_owned(),
        used: used.collect(),
        form,
        date: spoken.date,
        scope: spoken.scope,
        names: spoken.names,
        given: spoken.signature,
        payload,
        host,
        before,
        token,
    };
    if form == Form::Headers {
        headers.remove(header::AUTHORIZATION);
    }
    Ok(Some(found))
}

/// The real session token, where the request has the dummy of one.
fn token(
    headers: &HeaderMap,
    query: &str,
    form: Form,
    own: Option<&Sealed>,
) -> Result<Option<String>, Refusal> {
    let mut lines = headers.get_all(SECURITY_TOKEN).iter();
    let in_headers = lines.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let in_query = parameter(query, "X-Amz-Security-Token");
    let given = match (form, in_headers, in_query) {
        (_, None, None) => return Ok(None),
        (Form::Headers, Some(token), None) | (Form::Query, None, Some(token)) if lines.next().is_none() => {
            token
        }
        _ => return Err(Reason::ForeignCredential.into()),
    };
    match own.filter(|sealed| sealed.dummy() == given) {
        Some(sealed) => Ok(Some(sealed.secret().to_owned())),
        None => Err(Reason::ForeignCredential.into()),
    }
}

/// The host as it is written, without and with a port that says nothing.
fn hosts(about: &About<'_>) -> (String, String) {
    let host = match &about.authority.host {
        Host::Ip(address) if address.is_ipv6() => format!("[{address}]"),
        host => host.to_string(),
    };
    let with_port = format!("{host}:{}", about.authority.port);
    if about.authority.port == 443 { (host, with_port) } else { (with_port.clone(), with_port) }
}

impl Payload {
    fn read(headers: &HeaderMap, query: &str, form: Form, scope: &str) -> Result<Payload, Refusal> {
        let said = headers.get(CONTENT_HASH).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let said = said.or_else(|| parameter(query, "X-Amz-Content-Sha256").filter(|_| form == Form::Query));
        let is_s3 = scope.split('/').nth(2).is_some_and(|service| service.starts_with("s3"));
        match said {
            Some(word) if word.contains(['\n', '\r']) => Err(Reason::ForeignCredential.into()),
            Some(word) => match word.as_str() {
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Payload::Chunks { word, trailers: false }),
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Payload::Chunks { word, trailers: true }),
                other if other.starts_with("STREAMING-AWS4") => {
                    Err(Refusal::with_hint(Reason::ForeignCredential, NOT_SUPPORTED))
                }
                _ => Ok(Payload::Said(word)),
            },
            None if form == Form::Query && is_s3 => Ok(Payload::Said("UNSIGNED-PAYLOAD".to_owned())),
            None => Ok(Payload::OfBody),
        }
    }
}

impl Found {
    /// The names of the credentials that go out with the request.
    pub(super) fn used(&self) -> &[String] {
        &self.used
    }

    /// Signs the request again, in its final form; what is left to do about its body.
    pub(super) fn sign_again(
        self,
        about: &About<'_>,
        headers: &mut HeaderMap,
        uri: &mut Uri,
    ) -> Result<Option<Signing>, Refusal> {
        match (self.form, &self.token) {
            (Form::Headers, Some(token)) => {
                headers.insert(SECURITY_TOKEN, sensitive(token)?);
            }
            (Form::Query, token) => {
                let credential = format!("{}/{}", self.id, self.scope);
                let mut values = vec![("X-Amz-Credential", credential.as_str())];
                values.extend(token.as_deref().map(|token| ("X-Amz-Security-Token", token)));
                let query = with_parameters(uri.query().unwrap_or_default(), &values);
                replace_query(uri, &query)?;
            }
            (Form::Headers, None) => {}
        }
        // What is not sent cannot be signed: some headers are taken off where answers are searched.
        let is_sent = |name: &&String| *name == "host" || headers.contains_key(name.as_str());
        let names: Vec<String> = self.names.iter().filter(is_sent).cloned().collect();
        let signed = Signed {
            method: about.method.as_str(),
            uri,
            headers,
            names: &names,
            host: &self.host,
            // That is how it goes out, however it came.
            host_and_port: &self.host,
        };
        let after = self.before.iter().map(|(reading, _)| reading.of(&signed)).collect();
        let resigning = Resigning { found: self, after, names };
        match &resigning.found.payload {
            Payload::OfBody => Ok(Some(Signing::Whole(Box::new(resigning)))),
            Payload::Said(word) => {
                let word = word.clone();
                resigning.finish(&word, headers, uri).map(|_| None)
            }
            Payload::Chunks { word, .. } => {
                let word = word.clone();
                resigning
                    .finish(&word, headers, uri)
                    .map(|chunks| chunks.map(|chunks| Signing::Chunks(Box::new(chunks))))
            }
        }
    }
}

impl Resigning {
    /// Checks the dummy's signature and writes the real one.
    pub(crate) fn finish(
        self,
        payload: &str,
        headers: &mut HeaderMap,
        uri: &mut Uri,
    ) -> Result<Option<Chunks>, Refusal> {
        let Resigning { found, after, names } = self;
        let to_sign = |canonical: &str| {
            let hash = sha256(format!("{canonical}{payload}").as_bytes());
            format!("{ALGORITHM}\n{}\n{}\n{hash}", found.date, found.scope)
        };
        let as_given =
            |(_, canonical): &(Reading, String)| found.keys.0.sign(&to_sign(canonical)) == found.given;
        let refused = Refusal::with_hint(Reason::ForeignCredential, NOT_CHECKED);
        let position = found.before.iter().position(as_given).ok_or(refused)?;
        let signature = found.keys.1.sign(&to_sign(&after[position]));
        match found.form {
            Form::Query => {
                let query =
                    with_parameters(uri.query().unwrap_or_default(), &[("X-Amz-Signature", &signature)]);
                replace_query(uri, &query)?;
            }
            Form::Headers => {
                let value = format!(
                    "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
                    found.id,
                    found.scope,
                    names.join(";")
                );
                let mut value = HeaderValue::try_from(value).map_err(|_| Reason::ForeignCredential)?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
        }
        let Payload::Chunks { trailers, .. } = found.payload else { return Ok(None) };
        Ok(Some(Chunks::new(found.keys, (found.given, signature), &found.date, &found.scope, trailers)))
    }
}

#[cfg(test)]
#[path = "aws/tests.rs"]
mod tests;
