//! Why credentials cannot be used, and why a request with one does not go out.

use policy::Reason;

/// Why a request does not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// What to do, where more can be said than for the reason in general.
    pub hint: Option<&'static str>,
}

impl Refusal {
    pub(super) fn with_hint(reason: Reason, hint: &'static str) -> Refusal {
        Refusal { reason, hint: Some(hint) }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal { reason, hint: None }
    }
}

/// Why credentials cannot be used. Names the credential, never its secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is nothing to send.
    #[error("the secret of credential {0} is empty; store it again")]
    EmptySecret(String),
    /// A header cannot carry it as it is.
    #[error(
        "the secret of credential {0} holds a line break or another byte that a header cannot carry; store it again \
         as one line of visible ASCII"
    )]
    UnsendableSecret(String),
    /// Servers would refuse the header.
    #[error(
        "the secret of credential {0} is longer than 8 KiB; name the token itself, not the file around it"
    )]
    LongSecret(String),
    /// It would be found in innocent text.
    #[error(
        "the secret of credential {0} is shorter than 8 bytes and would be found in innocent text; use a longer one, or \
         switch redaction off for it"
    )]
    ShortSecret(String),
    /// The dummy is not 8 bytes or more of visible ASCII.
    #[error("the dummy of credential {0} must be at least 8 bytes of visible ASCII")]
    UnusableDummy(String),
    /// Dummy and secret hold each other, so that the job would see the secret.
    #[error("the dummy of credential {0} and a secret hold each other; make the dummy at random")]
    DummyIsSecret(String),
    /// One cannot say which credential is meant.
    #[error("the dummies of the credentials {0} and {1} hold each other; make them at random")]
    ConfusableDummies(String, String),
    /// Its bytes would break the place that it is declared for.
    #[error(
        "the secret of credential {credential} holds characters that cannot stand in {place}; store it again, or name \
         another place"
    )]
    UnfittingSecret {
        /// The credential.
        credential: String,
        /// The place, in its text form.
        place: String,
    },
    /// At one host one place carries either of two secrets.
    #[error(
        "the credentials {one} and {other} are for the same host and the same place ({place}); leave one out, put them \
         into one group, give each a rule of its own, or say where each goes (`inject`)"
    )]
    SharedPlace {
        /// One credential.
        one: String,
        /// The other.
        other: String,
        /// The place, in its text form.
        place: String,
    },
    /// Requests cannot be signed with a part of the keys.
    #[error(
        "the AWS keys {0:?} need exactly one credential in aws:access-key-id, one in aws:secret-access-key, and at most \
         one in aws:session-token (each with /PROFILE, where there are several sets)"
    )]
    IncompleteKeys(String),
}
