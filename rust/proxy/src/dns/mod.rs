//! The responder for the job's name look-ups. It asks nobody: a name that is looked up never leaves the machine.

mod answer;
mod names;
mod tcp;
mod udp;

pub(crate) use names::Names;
pub(crate) use tcp::serve_tcp;
pub(crate) use udp::{prepare, serve_udp};
