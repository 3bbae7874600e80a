//! Why something is refused, in the words that jobs, reports and tests share.

use std::fmt;
use std::str::FromStr;

use crate::text_form::{excerpt, serde_as_text};

/// Why a request is refused; shown to the job as `x-jail-deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::VariantArray)]
pub enum Reason {
    /// No rule names the host.
    HostNotAllowed,
    /// Rules name the host, but not this scheme.
    SchemeNotAllowed,
    /// Rules name the host, but not this port.
    PortNotAllowed,
    /// Rules name the host, but not this method.
    MethodNotAllowed,
    /// Rules name the host, but not this path.
    PathNotAllowed,
    /// Rules for the host tell WebSocket upgrades from other requests, and this is of the wrong kind.
    WebsocketNotAllowed,
    /// Git rules name the repository, but not to fetch from it.
    FetchNotAllowed,
    /// Git rules name the repository, but nothing in it may be pushed.
    PushNotAllowed,
    /// Git rules name the repository, but not this ref.
    RefNotAllowed,
    /// The ref may be moved on, but not deleted.
    DeleteNotAllowed,
    /// The ref may be moved on, and this push was not shown to do only that.
    ForceNotAllowed,
    /// The push has options for the server, which may make it do more than move refs.
    PushOptionNotAllowed,
    /// A rule denies it.
    DeniedByRule,
    /// Servers could read the path differently.
    AmbiguousPath,
    /// The host or port is not valid or could be read differently.
    InvalidAuthority,
    /// CONNECT, SNI, Host and target do not name one server.
    AuthorityMismatch,
    /// The host has no public address.
    PrivateAddress,
    /// Bytes that are neither TLS nor HTTP.
    UnknownProtocol,
    /// A protocol that does not go through this proxy.
    ProtocolNotAllowed,
    /// Not a well-formed request.
    MalformedRequest,
    /// A dummy on its way to another host than its own.
    StrayCredential,
    /// A credential that is not the jail's.
    ForeignCredential,
    /// The proxy asks for a password that was not said.
    ProxyAuthentication,
    /// The login behind a credential has ended and could not be renewed.
    CredentialExpired,
    /// Larger than a limit.
    TooLarge,
    /// More than a limit.
    TooMany,
    /// The memory of the job's proxy is used up.
    ProxyMemory,
}

/// A text that is no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reason for a denial; the reasons are listed in the schema")]
pub struct UnknownReason(String);

impl Reason {
    /// Every reason.
    pub const ALL: &[Reason] = <Reason as strum::VariantArray>::VARIANTS;

    /// The reason as a word.
    pub fn as_str(self) -> &'static str {
        self.word_and_hint().0
    }

    /// What an agent should do instead of trying again.
    pub fn hint(self) -> &'static str {
        self.word_and_hint().1
    }

    fn word_and_hint(self) -> (&'static str, &'static str) {
        match self {
            Reason::HostNotAllowed => (
                "host-not-allowed",
                "This host is outside the job's policy; do not retry. Ask the operator to add `--allow HOST`.",
            ),
            Reason::SchemeNotAllowed => (
                "scheme-not-allowed",
                "This host is allowed by another scheme only; use that one (usually https), or ask the operator to add \
                 `--allow SCHEME://HOST`.",
            ),
            Reason::PortNotAllowed => (
                "port-not-allowed",
                "This host is allowed on another port only; use that one, or ask the operator to add \
                 `--allow HOST:PORT`.",
            ),
            Reason::MethodNotAllowed => (
                "method-not-allowed",
                "This method is outside the job's policy for this host; do not retry. Use an allowed method, or ask the \
                 operator to add `--allow 'METHOD https://HOST'`.",
            ),
            Reason::PathNotAllowed => (
                "path-not-allowed",
                "This path is outside the job's policy for this host; do not retry. Ask the operator to add \
                 `--allow 'https://HOST/PATH'`.",
            ),
            Reason::WebsocketNotAllowed => (
                "websocket-not-allowed",
                "Only the other kind of request (WebSocket upgrade or plain request) is allowed here; do not retry. Ask \
                 the operator to add `--allow https://HOST` (both kinds) or `--allow wss://HOST` (upgrades).",
            ),
            Reason::FetchNotAllowed => (
                "fetch-not-allowed",
                "The job may push to this repository but not read it; do not retry. Ask the operator to leave `no-fetch` \
                 out of the git rule.",
            ),
            Reason::PushNotAllowed => (
                "push-not-allowed",
                "The job may read this repository but not push to it; do not retry. Ask the operator to add \
                 `--git 'HOST/REPO push=BRANCH'`.",
            ),
            Reason::RefNotAllowed => (
                "ref-not-allowed",
                "The job may push to this repository, but not this branch or tag; push to an allowed one, or ask the \
                 operator to add it to `push=` of the git rule.",
            ),
            Reason::DeleteNotAllowed => (
                "delete-not-allowed",
                "The job may move this branch or tag on but not delete it; do not retry. Ask the operator to add \
                 `delete` to the git rule.",
            ),
            Reason::ForceNotAllowed => (
                "force-not-allowed",
                "The job may only add commits to this branch, and this push does not show that it does: the new commits \
                 must lead back to where the branch is. Merge or rebase onto it and commit, push to a new branch, or ask \
                 the operator to add `force` to the git rule.",
            ),
            Reason::PushOptionNotAllowed => (
                "push-option-not-allowed",
                "Push options can make a server do more than move branches (merge, for one); push without `-o`.",
            ),
            Reason::DeniedByRule => (
                "denied-by-rule",
                "The operator has denied this on purpose; do not retry and do not look for a way around it.",
            ),
            Reason::AmbiguousPath => (
                "ambiguous-path",
                "Servers could read this path differently; send it without `..`, `//`, backslashes, escaped slashes and \
                 double escapes.",
            ),
            Reason::InvalidAuthority => (
                "invalid-authority",
                "The host or port is not valid here; send a plain DNS name, a dotted IPv4 address or a bracketed IPv6 \
                 address, and a port from 1 to 65535.",
            ),
            Reason::AuthorityMismatch => (
                "authority-mismatch",
                "The tunnel, the TLS server name and the request must name one and the same host and port; open a new \
                 connection for another host.",
            ),
            Reason::PrivateAddress => (
                "private-address",
                "This host has no address outside private and reserved networks; do not retry. Ask the operator to \
                 allow the address by rule, e.g. `--allow http://10.0.0.0/8:8080`.",
            ),
            Reason::UnknownProtocol => (
                "unknown-protocol",
                "Only TLS and HTTP pass here; for another protocol ask the operator to add `--allow tcp://HOST:PORT`.",
            ),
            Reason::ProtocolNotAllowed => (
                "protocol-not-allowed",
                "This protocol does not pass the job's proxy; use HTTP/1.1, HTTP/2 or WebSocket.",
            ),
            Reason::MalformedRequest => (
                "malformed-request",
                "The request is not well-formed HTTP; correct it before you send it again.",
            ),
            Reason::StrayCredential => (
                "stray-credential",
                "This credential belongs to another host and was not sent; remove it from the request.",
            ),
            Reason::ForeignCredential => (
                "foreign-credential",
                "Only the jail's own credential may be used for this host; take it from the environment variable that \
                 holds it.",
            ),
            Reason::ProxyAuthentication => (
                "proxy-authentication",
                "The job's proxy asks for a password; use the address in HTTPS_PROXY as it is, with its user name and \
                 password.",
            ),
            Reason::CredentialExpired => (
                "credential-expired",
                "The login behind the credential has ended and could not be renewed; do not retry. Ask the operator to \
                 log in again on the host.",
            ),
            Reason::TooLarge => {
                ("too-large", "A part of the request is larger than the proxy's limit; make it smaller.")
            }
            Reason::TooMany => (
                "too-many",
                "The job has more connections or requests open than the proxy's limit; close some before you open \
                 others.",
            ),
            Reason::ProxyMemory => (
                "proxy-memory",
                "The job's open requests use up the memory of its proxy; read or close some, then try again. The \
                 operator can allow more with --proxy-memory.",
            ),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Reason, UnknownReason> {
        let mut reasons = Reason::ALL.iter().copied();
        reasons.find(|reason| reason.as_str() == text).ok_or_else(|| UnknownReason(excerpt(text)))
    }
}

serde_as_text!(Reason, "Why something was refused.", "host-not-allowed");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_a_kebab_case_word_of_its_own_with_a_sentence() {
        let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for &reason in Reason::ALL {
            let word = reason.to_string();
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{word}");
            assert_eq!(word.parse(), Ok(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), *word);
            assert_eq!(serde_json::from_value::<Reason>(word.into()).unwrap(), reason);
            assert!(reason.hint().ends_with('.') && !reason.hint().contains("  "), "{}", reason.hint());
        }
        assert!("because".parse::<Reason>().is_err());
    }
}
