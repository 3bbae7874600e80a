//! Why there is no proxy.

use std::path::PathBuf;

use crate::swap::VaultError;

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The runtime or a listener could not be set up.
    #[error("cannot start the proxy: {0}")]
    Io(#[from] std::io::Error),
    /// A file of `--upstream-ca` is not what it should be.
    #[error(
        "cannot use {path} as upstream certificates: {reason}; give a readable PEM file of certificates, or a directory of \
         such files, by --upstream-ca"
    )]
    UpstreamCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The credentials contradict each other.
    #[error("cannot use the credentials: {0}")]
    Vault(#[from] VaultError),
    /// The new policy wants connections on a port that nobody listens on.
    #[error(
        "the new policy needs port {port}, on which nothing listens in the jail; restart the jail instead"
    )]
    NoListener {
        /// The port.
        port: u16,
    },
    /// The policy crate does not know the root path; a bug of ours.
    #[error("cannot start the proxy: {0}")]
    Path(#[from] policy::PathError),
}
