//! Raw system calls: the only place with `unsafe`, one file per matter, safe functions outwards.

pub(crate) mod capabilities;
pub(crate) mod fds;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod signals;
pub(crate) mod terminal;
