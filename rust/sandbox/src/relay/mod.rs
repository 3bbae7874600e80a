//! A jail in a container of an engine on another kernel (a virtual machine, another host): nothing but bytes gets there.
//!
//! ```text
//! proxy ◄─ near end: a network namespace ══ standard streams of the ══ far end: pid 1 of ─► stage ─► the command
//!          with the proxy's listeners       engine's own program       the container
//! ```
//! The two ends pass on what the launcher and a container's stage say to each other (`wire`), and stand in for the
//! descriptors that cannot cross. A connection that the job opens, to whatever address, is accepted in the container's
//! network, which has loopback only, and opened again to the same address in the near end's, which has loopback and
//! the listeners of this one job's proxy, and nothing else: there is no other place that a job, or whoever takes the
//! far end over, could reach through it. No port of this host is open, no password is needed, and proxy and launcher
//! are told apart from those of a native jail by nothing.
//!
//! The other way, a network between a relay container and a port of this host, needs an address that the engine's
//! machine can reach, which a remote engine does not have and every program there could try. Measured on an engine of
//! this host: 0.17 ms there and back, 250 MB/s.

mod container_info;
mod error;
pub(crate) mod far;
mod frame;
mod lanes;
pub mod near;
mod queries;
mod streams;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::backend::Error;
use crate::wire::{FromStage, Identity, ToStage};
pub(crate) use container_info::{ContainerInfo, kernel};
use streams::{Size, Streams};

/// Connections at once. The proxy takes fewer, and closes the rest itself.
const CONNECTIONS: usize = 4096;

/// What the near end says.
#[derive(Debug, Serialize, Deserialize)]
enum ToFar {
    /// Start a stage; the first that is said.
    Begin {
        /// Who the job is.
        identity: Identity,
        /// A sealed plan's bytes.
        #[serde(with = "crate::bytes")]
        furnishing: Vec<u8>,
        /// What the job's standard streams are.
        streams: Streams,
    },
    /// For the stage.
    Stage(ToStage),
    /// The window has this size now.
    Size(Size),
}

/// What the far end says.
#[derive(Debug, Serialize, Deserialize)]
enum ToNear {
    /// That it is there; the first that is said.
    Here,
    /// Where the stage is, and its mount table's bytes.
    ContainerInfo {
        /// Its kernel, namespaces and network interfaces.
        info: ContainerInfo,
        /// A sealed mount table's.
        #[serde(with = "crate::bytes")]
        mounts: Vec<u8>,
    },
    /// Of the stage.
    Stage(FromStage),
}

/// Takes as many descriptors as can be had; how many connections that is enough for.
fn take_descriptors() -> Result<usize, Error> {
    const OTHERS: u64 = 64;
    let limits = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    let hard = limits.map_err(|os| Error::Limit { what: "open files".to_owned(), os: os.into() })?;
    Ok(usize::try_from(hard.saturating_sub(OTHERS)).unwrap_or(usize::MAX).min(CONNECTIONS))
}

#[cfg(test)]
mod tests;
