//! Dummies out, secrets in: what happens to a request between the job and the outside.
//!
//! Only a *slot* (a header or query parameter made for credentials) gets a secret, only if it holds exactly the dummy,
//! only towards the credential's own hosts, only inside TLS. Whatever could be read in two ways is refused.
//!
//! Not found: a dummy that a job splits or encrypts on its way to another host (it is worthless there), and a foreign
//! key in a part of the request that no credential declares, such as the body, a cookie, the user name in front of a
//! dummy password.

pub(crate) mod aws;
mod cookie;
mod error;
mod location;
mod query;
mod slot;
mod stray;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use policy::{Authority, Reason, RuleId};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Credential, Held, Origin};
use redact::{MIN_SECRET_BYTES, Needles, Redactor, plain_answers};

use aws::{About, KeySet, Signing};
pub use error::{Refusal, VaultError};
pub use location::{AwsPart, BasicPart, CredentialLocation, CredentialLocationError, Template};
pub(crate) use query::decode as decode_form;
use slot::SlotNames;
use stray::Dummies;

/// The credentials of one job, checked and ready for use.
pub struct Vault {
    credentials: Vec<Sealed>,
    dummies: Dummies,
    /// Every slot of every credential.
    slots: SlotNames,
    /// The keys that AWS requests are signed with.
    keys: Vec<KeySet>,
    /// What is searched for in answers, by the credentials that a host has. Made when a host is first asked.
    needles: Mutex<HashMap<Vec<usize>, Arc<Needles>>>,
}

/// A checked credential.
#[derive(Clone)]
struct Sealed {
    credential: Credential,
    /// Secrets that it had before, and refresh tokens: a server may still send them back. The newest last.
    past: Vec<(SecretString, String)>,
}

/// What was swapped into a request.
#[derive(Default)]
pub struct Swapped {
    /// The names of the credentials that went out with it.
    pub names: Vec<String>,
    /// Writes the dummies back into the answer; `None` when no credential of this host wants it. It is there for
    /// requests without a credential too, as the host may have kept what an earlier one brought.
    pub redactor: Option<Redactor>,
    /// What is left to do about the body of a request that is signed.
    pub(crate) signing: Option<Signing>,
    /// Whether the request is signed, and not just carries a secret.
    pub(crate) is_signed: bool,
}

/// A request whose dummies are to be swapped, beside its headers and its URI.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The method.
    pub method: &'a Method,
    /// The server.
    pub authority: &'a Authority,
    /// The rule whose credentials go along with it: [`policy::Policy::credential_rule`].
    pub rule: Option<RuleId>,
    /// Whether it goes out over TLS.
    pub tls: bool,
}

impl Vault {
    /// Checks the credentials and makes them ready.
    pub fn new(credentials: Vec<Credential>) -> Result<Vault, VaultError> {
        let sealed: Vec<Sealed> = credentials.into_iter().map(Sealed::new).collect::<Result<_, _>>()?;
        for (index, one) in sealed.iter().enumerate() {
            for other in &sealed[index + 1..] {
                one.refuse_place_of(other)?;
            }
        }
        Vault::of(sealed)
    }

    /// The same vault with another secret in one credential. The dummies stay, and the secret that was is still swapped
    /// back in answers.
    pub(crate) fn renewed(&self, index: usize, held: &Held) -> Result<Vault, VaultError> {
        let mut sealed = self.credentials.clone();
        if let Some(one) = sealed.get_mut(index) {
            one.renew(held)?;
        }
        Vault::of(sealed)
    }

    fn of(sealed: Vec<Sealed>) -> Result<Vault, VaultError> {
        for (index, one) in sealed.iter().enumerate() {
            for other in &sealed[index + 1..] {
                one.refuse_confusion_with(other)?;
            }
        }
        Ok(Vault {
            dummies: Dummies::new(sealed.iter().map(|sealed| sealed.dummy())),
            slots: SlotNames::new(&sealed.iter().collect::<Vec<_>>()),
            keys: KeySet::all(&sealed)?,
            credentials: sealed,
            needles: Mutex::default(),
        })
    }

    /// Swaps the dummies of a request that the policy allowed, or says why it must not go out. On a refusal
    /// the request may be half changed: drop it. On success headers and URI hold secrets: do not log them.
    pub fn outgoing(
        &self,
        asking: &Asking<'_>,
        headers: &mut HeaderMap,
        uri: &mut Uri,
    ) -> Result<Swapped, Refusal> {
        let Asking { method, authority, rule, tls } = *asking;
        // Meant for the proxy itself, never for the outside.
        headers.remove(header::PROXY_AUTHORIZATION);
        let own = self.own(authority);
        let usable: Vec<usize> =
            own.iter().copied().filter(|&index| self.credentials[index].may_go_by(rule)).collect();
        self.dummies.refuse_strays(headers, uri, &usable)?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Reason::ForeignCredential.into());
        }
        if own.is_empty() {
            return Ok(Swapped::default());
        }
        let credentials: Vec<&Sealed> = own.iter().map(|&index| &self.credentials[index]).collect();
        let about = About { method, authority, tls };
        let signed = aws::take(&about, headers, uri, &self.credentials, &self.keys, &own, &usable)?;
        let is_signed = signed.is_some();
        let mut names = slot::swap(headers, &credentials, tls)?;
        names.extend(signed.iter().flat_map(|signed| signed.used().to_vec()));
        names.extend(query::swap(uri, &credentials, tls)?);
        names.extend(cookie::swap(headers, &credentials, tls)?);
        names.sort();
        names.dedup();
        // The keys of AWS are not worth putting together from parts (the secret one is never sent), and clients of S3
        // fetch large objects in parts without a look at what they get.
        let parts_pass = credentials.iter().all(|sealed| sealed.is_for_signing());
        let redactor = self.redactor(own, parts_pass);
        if redactor.is_some() {
            plain_answers(headers, parts_pass);
        }
        // The signature is about what goes out: it comes last.
        let signing = match signed {
            Some(signed) => signed.sign_again(&about, headers, uri)?,
            None => None,
        };
        Ok(Swapped { names, redactor, signing, is_signed })
    }

    /// Returns true if requests to a host may carry the same credentials whichever of two rules allowed them.
    pub(crate) fn has_same_credentials(
        &self,
        authority: &Authority,
        one: Option<RuleId>,
        other: Option<RuleId>,
    ) -> bool {
        let may_go_by = |index: usize, rule| self.credentials[index].may_go_by(rule);
        self.own(authority).into_iter().all(|index| may_go_by(index, one) == may_go_by(index, other))
    }

    /// Whether trailers of a request may go out: they hold neither a credential slot nor a dummy.
    pub fn trailers_ok(&self, trailers: &HeaderMap) -> bool {
        self.credentials.is_empty()
            || trailers.iter().all(|(name, value)| {
                !self.slots.resembles(name.as_str()) && self.dummies.owners(value.as_bytes()).is_empty()
            })
    }

    /// What the job sees of a credential.
    pub(crate) fn dummy(&self, index: usize) -> &str {
        self.credentials.get(index).map_or("", Sealed::dummy)
    }

    /// What its host sees.
    pub(crate) fn secret(&self, index: usize) -> SecretString {
        self.credentials.get(index).map(|sealed| sealed.credential.secret.clone()).unwrap_or_default()
    }

    /// The credentials of a host, by position.
    pub(crate) fn own(&self, authority: &Authority) -> Vec<usize> {
        let is_own =
            |sealed: &Sealed| sealed.credential.hosts.iter().any(|host| host.matches(&authority.host));
        (0..self.credentials.len()).filter(|&index| is_own(&self.credentials[index])).collect()
    }

    fn redactor(&self, mut own: Vec<usize>, parts_pass: bool) -> Option<Redactor> {
        own.retain(|&index| self.credentials[index].credential.redact);
        if own.is_empty() {
            return None;
        }
        // A panic elsewhere cannot have left the map half written.
        let mut needles = self.needles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(needles) = needles.get(&own) {
            return Some(Redactor::new(Arc::clone(needles), parts_pass));
        }
        let made = Arc::new(Needles::new(own.iter().flat_map(|&index| self.credentials[index].redacted())));
        needles.insert(own, Arc::clone(&made));
        Some(Redactor::new(made, parts_pass))
    }
}

impl Sealed {
    fn new(credential: Credential) -> Result<Sealed, VaultError> {
        let name = || credential.name.clone();
        let (secret, dummy) = (credential.secret.expose_secret(), credential.dummy.as_str());
        if secret.is_empty() {
            return Err(VaultError::EmptySecret(name()));
        }
        if !is_token(secret) {
            return Err(VaultError::UnsendableSecret(name()));
        }
        if secret.len() > LONGEST {
            return Err(VaultError::LongSecret(name()));
        }
        if credential.redact && secret.len() < MIN_SECRET_BYTES {
            return Err(VaultError::ShortSecret(name()));
        }
        if !is_token(dummy) || dummy.len() < MIN_SECRET_BYTES {
            return Err(VaultError::UnusableDummy(name()));
        }
        if secret.contains(dummy) || dummy.contains(secret) {
            return Err(VaultError::DummyIsSecret(name()));
        }
        if let Some(place) = credential.places.iter().find(|place| !place.can_carry(secret)) {
            return Err(VaultError::UnfittingSecret { credential: name(), place: place.to_string() });
        }
        Ok(Sealed { credential, past: Vec::new() })
    }

    /// Two credentials whose dummies cannot be told apart, or whose stand-ins would write a secret, are refused
    /// whatever their hosts.
    fn refuse_confusion_with(&self, other: &Sealed) -> Result<(), VaultError> {
        let names = || (self.credential.name.clone(), other.credential.name.clone());
        if self.dummy().contains(other.dummy()) || other.dummy().contains(self.dummy()) {
            return Err(VaultError::ConfusableDummies(names().0, names().1));
        }
        if self.dummy().contains(other.secret()) || other.dummy().contains(self.secret()) {
            return Err(VaultError::DummyIsSecret(names().0));
        }
        Ok(())
    }

    /// Takes another secret, if it can be used as the first one could.
    fn renew(&mut self, held: &Held) -> Result<(), VaultError> {
        let credential = Credential { secret: held.secret.clone(), ..self.credential.clone() };
        let Sealed { credential, .. } = Sealed::new(credential)?;
        self.remember(self.credential.secret.clone(), self.dummy().to_owned());
        if let (Some(refresh), Origin::Login(_, oauth)) = (&held.refresh, &credential.origin) {
            self.remember(refresh.clone(), oauth.refresh_dummy.clone());
        }
        self.credential = credential;
        Ok(())
    }

    fn remember(&mut self, secret: SecretString, dummy: String) {
        self.past.retain(|(known, _)| known.expose_secret() != secret.expose_secret());
        self.past.push((secret, dummy));
        if self.past.len() > PAST {
            self.past.remove(0);
        }
    }

    /// Every secret that an answer may hold, and what the job sees instead.
    fn redacted(&self) -> impl Iterator<Item = (&str, &str)> {
        let past = self.past.iter().map(|(secret, dummy)| (secret.expose_secret(), dummy.as_str()));
        std::iter::once((self.secret(), self.dummy())).chain(past)
    }

    /// Two secrets that one request could carry in one place are refused. Only at the start: what are two names of one
    /// secret then are renewed one after the other.
    fn refuse_place_of(&self, other: &Sealed) -> Result<(), VaultError> {
        // Two names for one secret are usual, and it does not matter which of them a request means.
        if self.secret() != other.secret()
            && let Some(place) = self.place_shared_with(other)
        {
            let (one, other) = (self.credential.name.clone(), other.credential.name.clone());
            return Err(VaultError::SharedPlace { one, other, place: place.to_string() });
        }
        Ok(())
    }

    /// The place at one host where a request could carry either.
    fn place_shared_with(&self, other: &Sealed) -> Option<&CredentialLocation> {
        let hosts = &self.credential.hosts;
        let meet = hosts.iter().any(|host| other.credential.hosts.iter().any(|other| host.overlaps(other)));
        let rules = match (&self.credential.rules, &other.credential.rules) {
            (Some(own), Some(others)) => own.iter().any(|rule| others.contains(rule)),
            _ => true,
        };
        let shared = |place: &&CredentialLocation| other.own_places().any(|other| place.is_same(other));
        self.own_places().find(shared).filter(|_| meet && rules)
    }

    /// The places that are this credential's more than others': those that it declares, if it declares any.
    fn own_places(&self) -> impl Iterator<Item = &CredentialLocation> {
        let declares = self.places().iter().any(|place| *place != CredentialLocation::WellKnown);
        self.places().iter().filter(move |place| !declares || **place != CredentialLocation::WellKnown)
    }

    /// Whether a request that this rule allowed may carry it.
    fn may_go_by(&self, rule: Option<RuleId>) -> bool {
        self.credential.rules.as_ref().is_none_or(|rules| rule.is_some_and(|rule| rules.contains(&rule)))
    }

    /// Whether it is one of the keys that AWS requests are signed with, and nothing else.
    fn is_for_signing(&self) -> bool {
        self.places().iter().all(|place| matches!(place, CredentialLocation::Aws { .. }))
    }

    fn name(&self) -> &str {
        &self.credential.name
    }

    fn places(&self) -> &[CredentialLocation] {
        &self.credential.places
    }

    fn dummy(&self) -> &str {
        &self.credential.dummy
    }

    fn secret(&self) -> &str {
        self.credential.secret.expose_secret()
    }
}

impl fmt::Debug for Swapped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Swapped").field("names", &self.names).finish_non_exhaustive()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.credentials.iter().map(Sealed::name).collect();
        formatter.debug_struct("Vault").field("credentials", &names).finish_non_exhaustive()
    }
}

/// Servers refuse longer header lines, and every spelling of a secret is held in memory.
const LONGEST: usize = 8 * 1024;

/// How many earlier secrets of a credential are kept in mind.
const PAST: usize = 32;

/// Visible ASCII with spaces inside: what every header, query and JSON text can carry.
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text
}

/// A header value that holds a secret; kept out of HPACK's tables and of `Debug`.
fn sensitive(value: &str) -> Result<HeaderValue, Reason> {
    let mut value = HeaderValue::from_str(value).map_err(|_| Reason::ForeignCredential)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
