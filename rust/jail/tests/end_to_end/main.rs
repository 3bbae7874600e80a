//! The end-to-end suite: the real `jail`, real programs of this machine in it, servers of the tests' own outside.
//!
//! `support` is the language that the tests are written in; its head explains it. Every other file is one matter.
//! Each test has its positive control: what is refused to the job is shown to work where it is allowed.
//!
//! The same binary runs as root and as an ordinary user, in parallel, under `cargo test` and `cargo nextest run`.
//! What this machine lacks makes a test report `skipped: WHY`, which `checks/all.sh` counts.

// They know Linux's ways of looking into a jail. What is macOS's own is asked of its profiles, and of `jail demo`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]
#![allow(clippy::disallowed_methods, reason = "the tests play the outside, which no address guard protects")]

#[macro_use]
mod support;

mod attacks;
mod aws;
mod claude_code;
mod cli;
mod clients;
mod containers;
mod credentials;
mod curl;
mod files;
mod freshness;
mod git;
mod git_policy;
mod homes;
mod isolation;
mod jobs;
mod learn;
mod logins;
mod mistakes;
mod operations;
mod process;
mod project;
mod relay;
mod secrecy;
mod secret_service;
mod streaming;
mod terminal;
mod tunnels;
