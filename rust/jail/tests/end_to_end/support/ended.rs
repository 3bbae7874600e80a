//! How a job ended, and what can be asked about it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::Value;

use super::search::holds;

/// A job that has ended. Every question fails with the whole story.
pub(crate) struct Ended {
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error, the launcher's own lines among them.
    pub(crate) stderr: String,
    /// The line of `--json`; null without.
    pub(crate) summary: Value,
    /// The events of the audit file.
    pub(crate) audit: Vec<Value>,
    status: ExitStatus,
    command_line: String,
}

impl Ended {
    #[track_caller]
    pub(super) fn new(
        command_line: String,
        status: ExitStatus,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
        state: &Path,
        secrets: &[String],
    ) -> Ended {
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let summary: Value =
            stderr.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let audit = summary["audit"].as_str().map(read_audit).unwrap_or_default();
        let ended = Ended { stdout, stderr, summary, audit, status, command_line };
        ended.holds_no_secret(state, secrets);
        assert!(!ended.stderr.contains("panicked at"), "the launcher panicked{ended}");
        ended
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What stands behind `NAME=` at the beginning of a line of standard output.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> String {
        let text = self.text();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no line {name}=…{self}")).to_owned()
    }

    /// Exit code 0.
    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Ended {
        self.exits(0)
    }

    /// This exit code.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Ended {
        assert_eq!(self.status.code(), Some(code), "exit code{self}");
        self
    }

    /// Another exit code than 0.
    #[track_caller]
    pub(crate) fn fails(&self) -> &Ended {
        assert_ne!(self.status.code(), Some(0), "exit code{self}");
        self
    }

    /// Standard output contains this.
    #[track_caller]
    pub(crate) fn prints(&self, text: &str) -> &Ended {
        assert!(self.text().contains(text), "not printed: {text:?}{self}");
        self
    }

    /// Standard output is this and nothing else.
    #[track_caller]
    pub(crate) fn prints_only(&self, text: &str) -> &Ended {
        assert_eq!(self.text(), text, "standard output{self}");
        self
    }

    /// Standard output does not contain this.
    #[track_caller]
    pub(crate) fn never_prints(&self, text: &str) -> &Ended {
        assert!(!self.text().contains(text), "printed: {text:?}{self}");
        self
    }

    /// Standard error contains this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Ended {
        assert!(self.stderr.contains(text), "not said: {text:?}{self}");
        self
    }

    /// So many requests to this `host:port` went on.
    #[track_caller]
    pub(crate) fn allowed(&self, authority: &str, count: u64) -> &Ended {
        assert_eq!(self.summary["allowed"][authority], count, "requests allowed to {authority}{self}");
        let events = self.requests(authority).filter(|event| event["denied"].is_null()).count();
        assert_eq!(events as u64, count, "events of requests allowed to {authority}{self}");
        self
    }

    /// At least one request to this `host:port` was refused for this reason, and the audit file has it.
    #[track_caller]
    pub(crate) fn denied(&self, authority: &str, reason: &str) -> &Ended {
        let count = self.summary["denied"][authority][reason].as_u64().unwrap_or(0);
        assert!(count > 0, "not denied: {authority} for {reason}{self}");
        let events =
            self.audit.iter().filter(|event| event["authority"] == authority && event["denied"] == reason);
        assert_eq!(events.count() as u64, count, "events of {authority} for {reason}{self}");
        self
    }

    /// Nothing was refused.
    #[track_caller]
    pub(crate) fn denied_nothing(&self) -> &Ended {
        assert_eq!(self.summary["denied"], serde_json::json!({}), "denials{self}");
        self
    }

    /// The credential was swapped in towards this `host:port`.
    #[track_caller]
    pub(crate) fn swapped(&self, credential: &str, authority: &str) -> &Ended {
        assert!(
            self.summary["credentials"][credential][authority].as_u64() > Some(0),
            "{credential} not used{self}"
        );
        self
    }

    /// No credential was swapped in.
    #[track_caller]
    pub(crate) fn swapped_nothing(&self) -> &Ended {
        assert_eq!(self.summary["credentials"], serde_json::json!({}), "credentials{self}");
        self
    }

    /// The launcher's own lines on standard error.
    pub(crate) fn messages(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("jail: ")).collect()
    }

    fn requests<'a>(&'a self, authority: &'a str) -> impl Iterator<Item = &'a Value> {
        self.audit.iter().filter(move |event| event["event"] == "request" && event["authority"] == authority)
    }

    /// What every job must keep, whatever else it is for.
    #[track_caller]
    fn holds_no_secret(&self, state: &Path, secrets: &[String]) {
        for secret in secrets {
            assert!(!holds(&self.stdout, secret), "a secret is in the job's output");
            assert!(!holds(self.stderr.as_bytes(), secret), "a secret is on standard error");
            for file in files(state) {
                let bytes = std::fs::read(&file).unwrap_or_default();
                assert!(!holds(&bytes, secret), "a secret is in {}", file.display());
            }
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |text: String| text.chars().take(4000).collect::<String>();
        let end = match self.status.signal() {
            Some(signal) => format!("ended by signal {signal}"),
            None => format!("exit code {}", self.status.code().unwrap_or(-1)),
        };
        let audit: String = self.audit.iter().map(|event| format!("{event}\n")).collect();
        write!(
            formatter,
            "\n$ {}\n{end}\n--- standard output\n{}\n--- standard error\n{}\n--- audit\n{}",
            self.command_line,
            cut(self.text()),
            cut(self.stderr.clone()),
            cut(audit)
        )
    }
}

/// Every regular file below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[track_caller]
fn read_audit(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
