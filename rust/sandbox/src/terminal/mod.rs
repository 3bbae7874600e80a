//! The job's terminal, seen from outside: a pseudo-terminal whose master the launcher holds, relayed to the user's own.
//!
//! The job never has the user's terminal itself. What it writes passes a [`filter`](filter::Filter); what the user
//! types is passed as it is.

pub(crate) mod filter;
mod left;
pub(crate) mod outside;
pub(crate) mod relay;
pub(crate) mod screen;
