//! Where a job runs.
//!
//! A [`Plan`](plan::Plan) says what a jail looks like; a [`Backend`](backend::Backend) makes it. Making has two
//! steps: `prepare` makes the namespaces and hands out the listening sockets that were bound inside, `run`
//! lets the job's command start. No job code runs before the second.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start what they compare with"))]

pub mod backend;
pub mod beneath;
mod bytes;
pub mod host_program;
pub mod plan;
#[cfg(target_os = "linux")]
pub mod pod;
#[cfg_attr(target_os = "macos", path = "process_macos.rs")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod relay;
#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
#[cfg(target_os = "linux")]
pub mod stage;
mod sys;
mod terminal;
pub mod timed;
#[cfg(target_os = "linux")]
pub mod unit;
#[cfg(target_os = "linux")]
mod wire;

pub use sys::memory::keep_freed_memory;
pub use sys::signals::restore_ignored as restore_ignored_signals;
pub use terminal::relay::is_given_up as is_terminal_given_up;
