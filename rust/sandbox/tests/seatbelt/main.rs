//! What the profiles of the macOS backend allow, asked by a reader of their language; on every platform.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod questions;
mod sbpl;
mod spelling;
