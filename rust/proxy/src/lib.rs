//! The proxy of one job.
//!
//! It serves listening sockets that somebody else bound (inside the job's network namespace), enforces the job's
//! policy, swaps dummy tokens for real ones on the way out and real ones for dummies on the way in. It knows nothing
//! about sandboxes.
#![forbid(unsafe_code)]

pub mod audit;
pub mod ca;
pub mod config;

use std::time::Duration;

use config::{Config, Listeners};

/// A proxy at work on a thread of its own.
pub struct ProxyHandle {}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The runtime or a listener could not be set up.
    #[error("cannot start the proxy: {0}")]
    Io(#[from] std::io::Error),
}

/// Starts serving; returns when every listener is registered.
pub fn serve(_listeners: Listeners, _config: Config) -> Result<ProxyHandle, ServeError> {
    todo!()
}

impl ProxyHandle {
    /// Stops accepting, gives requests under way this long, closes everything and joins the thread.
    pub fn shutdown(self, _grace: Duration) {
        todo!()
    }
}
