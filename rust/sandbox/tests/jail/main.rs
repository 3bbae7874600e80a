//! Real jails, each made as an ordinary user and, where the tests run as root, by root too.
//!
//! The launcher is the example `run`, which `cargo test` builds; malicious system calls are made by Python inside, so
//! that no test needs unsafe code.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests start what they compare with")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod durable;
mod files;
mod isolation;
mod network;
mod processes;
mod programs;
#[path = "../support/skip.rs"]
mod skip;
mod streams;
mod support;
mod syscalls;
mod terminal;
