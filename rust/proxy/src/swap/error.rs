//! Why credentials cannot be used.

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
    /// Not a header name, or one that frames the message.
    #[error(
        "credential {credential} declares the header {header:?}, which cannot carry a credential; name another"
    )]
    InvalidHeader {
        /// The credential.
        credential: String,
        /// What it declares.
        header: String,
    },
}
