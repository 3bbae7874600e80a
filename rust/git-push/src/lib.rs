//! A git push on the wire: reads its commands, and writes its refusal in the form that git shows.
//!
//! ```text
//! bytes of the request ─► commands::Reader ─► Commands ─► policy: may each ref change so?
//!                         (pkt_line)            │
//!                                               └─► pack::Lineage: does a branch only move on?
//! Report ─► bytes of the answer that git shows ref by ref
//! ```
//! Nothing here does I/O: bytes go in as they come, and every reader holds a bounded number of them. Input that two servers
//! could read differently is refused.
#![forbid(unsafe_code)]

mod commands;
mod object;
mod pack;
mod pkt_line;
mod report;
#[cfg(test)]
#[path = "../../sandbox/tests/support/skip.rs"]
mod skip;

pub use commands::{Command, Commands, MAX_COMMAND_BYTES, NoPush, Reader};
pub use object::{Hash, ObjectId};
pub use pack::{Lineage, MAX_MEMORY, NoPack, Shown};
pub use report::{Report, discovery_refusal};
