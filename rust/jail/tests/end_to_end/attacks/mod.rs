//! What must not work, tried in real jails. Beside each attempt the same thing is done legally, and works: a network
//! that is dead or a program that is missing never counts as a refusal.
//!
//! The programs of attack are Python (`tools.py` and `http2.py` are what they share). They print `name: result` for each
//! thing they try, and a test names every line that it expects ([`observed`]): "anything but success" is no result.

mod authority;
mod closing;
mod credentials;
mod echo;
mod exhaustion;
mod files;
mod http;
mod isolation;
mod memory;
mod network;
mod outside;
mod processes;
mod recorder;
mod terminal;

use crate::support::{Ended, Jail};

/// A jail with Python, and with the tools of the programs of attack in its workspace.
fn armed() -> Jail {
    Jail::new()
        .host("python3")
        .file("tools.py", include_str!("tools.py"))
        .file("http2.py", include_str!("http2.py"))
        // Without it the first program leaves a directory of compiled tools to the next ones.
        .options(["--env", "PYTHONDONTWRITEBYTECODE=1"])
}

/// The words that run a program of attack.
fn program(text: &str, arguments: &[&str]) -> Vec<String> {
    let text = format!("from tools import *\n{text}");
    ["python3", "-c", &text].iter().chain(arguments).map(|&word| word.to_owned()).collect()
}

/// The job printed exactly these lines `name: result`, and succeeded.
#[track_caller]
fn observed(ended: &Ended, expected: &[(&str, &str)]) {
    let text = ended.text();
    let lines: Vec<&str> = text.lines().collect();
    let expected: Vec<String> = expected.iter().map(|(name, result)| format!("{name}: {result}")).collect();
    assert_eq!(lines, expected, "what came of the attempts (left) is not what must come of them{ended}");
    ended.succeeds();
}
