//! The sandbox: where a job runs.
//!
//! A [`Plan`](plan::Plan) describes a jail as plain data; a [`Backend`](backend::Backend) makes it. This takes two steps:
//! `prepare` makes the namespaces and passes out the listening sockets that were bound inside, `run` starts the job's
//! command. No code of the job runs before the second step.
//!
//! ```text
//! launcher                                      jail
//! Backend::prepare(plan) ──── wire ───► stage: namespaces, network, listening sockets
//!   Listeners ◄──────────── SCM_RIGHTS ───┘
//! (the proxy starts)
//! Prepared::run ───────────── wire ───► init (PID 1): file tree, protected files
//!   signals, terminal, limits             └─► job: drops privileges, seccomp, Landlock, exec
//!   Ended ◄─────────────────────────────────────┘
//! ```
//! - `backend`: one folder for each way to make a jail (native, systemd, container, seatbelt)
//! - `stage`: what runs inside, a re-exec of this program with one thread
//! - `wire`: the messages between launcher and stage; `relay`: the same for an engine on another kernel
//! - `terminal`: the pseudo-terminal and the filter of its output
//! - `beneath`: the only way to read directories that a job wrote
//! - `host_program`: the only way to start a program of the host
//! - `sys`: system calls; the only place with unsafe code

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
