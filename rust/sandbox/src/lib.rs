//! Where a job runs.
//!
//! A [`Plan`](plan::Plan) says what a jail looks like; a [`Backend`](backend::Backend) makes it. Making has two
//! steps: `prepare` makes the namespaces and hands out the listening sockets that were bound inside, `run`
//! lets the job's command start. No job code runs before the second.
#![cfg_attr(not(target_os = "linux"), forbid(unsafe_code))]

pub mod backend;
mod bytes;
pub mod plan;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod stage;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
pub use sys::memory::keep_freed_memory;
