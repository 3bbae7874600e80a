//! Why there is no response from a server.

use http::StatusCode;
use policy::Authority;

/// Why there is no answer from the outside. The text is for the job to read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("the name {0} does not resolve on the host: {1}")]
    Dns(Authority, std::io::Error),
    #[error("{0} resolves to private addresses only")]
    PrivateAddress(Authority),
    #[error("{0} resolves to addresses that a rule denies")]
    DeniedAddress(Authority),
    #[error("cannot connect to {0}: {1}")]
    Connect(Authority, std::io::Error),
    #[error("{0} did not answer in time")]
    Timeout(Authority),
    #[error("no TLS with {0}: {1}")]
    Tls(Authority, String),
    #[error("the job has as many connections to the outside as it may have")]
    TooMany,
    #[error("the job's connections to the outside use up the memory of its proxy")]
    Memory,
    #[error("the proxy between this machine and {0} refused: {1}")]
    Proxy(Authority, String),
    #[error("the connection to {0} broke before an answer came: {1}")]
    Closed(Authority, hyper::Error),
    #[error("the head of the response of {0} has more than 64 KiB or 1,000 fields")]
    LargeHead(Authority),
    #[error("{0} sent a response that is not well-formed HTTP, or whose head is much too long: {1}")]
    Malformed(Authority, hyper::Error),
}

impl UpstreamError {
    /// Why no head of a response came.
    pub(super) fn no_answer(authority: &Authority, error: hyper::Error) -> UpstreamError {
        let authority = authority.clone();
        let http2 = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
        if error.is_parse_too_large() {
            UpstreamError::LargeHead(authority)
        } else if error.is_parse() || http2.is_some_and(h2::Error::is_library) {
            UpstreamError::Malformed(authority, error)
        } else {
            UpstreamError::Closed(authority, error)
        }
    }

    /// The kind, as the job reads it in `x-jail-error`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            UpstreamError::Dns(..) => "upstream-dns",
            UpstreamError::PrivateAddress(_) => "private-address",
            UpstreamError::DeniedAddress(_) => "denied-by-rule",
            UpstreamError::Connect(..) => "upstream-connect",
            UpstreamError::Timeout(_) => "upstream-timeout",
            UpstreamError::Tls(..) => "upstream-tls",
            UpstreamError::TooMany => "too-many",
            UpstreamError::Memory => "proxy-memory",
            UpstreamError::Proxy(..) => "upstream-proxy",
            UpstreamError::Closed(..) => "upstream-closed",
            UpstreamError::LargeHead(_) => "upstream-head-too-large",
            UpstreamError::Malformed(..) => "upstream-malformed",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            UpstreamError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}
