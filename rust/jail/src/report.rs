//! What a job did on the network: written to its audit file as it happens, summed up at its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxy::audit::{Audit, Event, What};
use serde::Serialize;

use crate::learn::Learnt;

/// Takes the proxy's events.
pub(crate) struct Recorder {
    inside: Mutex<Inside>,
}

struct Inside {
    file: File,
    summary: Summary,
    learnt: Option<Learnt>,
}

/// A job in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Requests that went on, by `host:port`.
    pub(crate) allowed: BTreeMap<String, u64>,
    /// Requests that were refused, by `host:port` and reason.
    pub(crate) denied: BTreeMap<String, BTreeMap<String, u64>>,
    /// Credentials that were swapped in, by name and `host:port`.
    pub(crate) credentials: BTreeMap<String, BTreeMap<String, u64>>,
    /// Events that could not be written to the audit file.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unwritten: u64,
}

impl Recorder {
    /// Records into `file`; keeps what a policy can be learnt from if `learn`.
    pub(crate) fn new(file: File, learn: bool) -> Recorder {
        let learnt = learn.then(Learnt::default);
        Recorder { inside: Mutex::new(Inside { file, summary: Summary::default(), learnt }) }
    }

    /// The numbers so far.
    pub(crate) fn summary(&self) -> Summary {
        self.inside().summary.clone()
    }

    /// The least policy that allows what was done, if it was to be learnt.
    pub(crate) fn learnt(&self) -> Option<Learnt> {
        self.inside().learnt.clone()
    }

    // A thread that panicked while it counted has at worst miscounted by one.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit for Recorder {
    fn record(&self, event: &Event) {
        let mut inside = self.inside();
        let Inside { file, summary, learnt } = &mut *inside;
        summary.add(event);
        if let Some(learnt) = learnt {
            learnt.add(event);
        }
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            // One write per line: a reader that follows the file sees whole lines.
            file.write_all(&line)
        });
        if let Err(error) = written {
            summary.unwritten += 1;
            tracing::warn!(%error, "an event could not be written to the audit file");
        }
    }
}

impl Summary {
    fn add(&mut self, event: &Event) {
        match &event.what {
            What::Request { authority, denied: None, credentials, .. } => {
                *self.allowed.entry(authority.clone()).or_default() += 1;
                for name in credentials {
                    *self
                        .credentials
                        .entry(name.clone())
                        .or_default()
                        .entry(authority.clone())
                        .or_default() += 1;
                }
            }
            What::Request { authority, denied: Some(reason), .. }
            | What::Connection { authority, denied: reason } => {
                *self.denied.entry(authority.clone()).or_default().entry(reason.clone()).or_default() += 1;
            }
        }
    }

    /// Two lines for people.
    pub(crate) fn lines(&self, id: &str) -> [String; 2] {
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let allowed = list(self.allowed.iter().map(|(host, count)| format!("{} {count}", short(host))));
        let denied_count: u64 = self.denied.values().map(total).sum();
        let denied = list(self.denied.iter().map(|(host, reasons)| {
            let reasons = reasons.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("{}: {reasons}", short(host))
        }));
        let credentials = list(self.credentials.iter().map(|(name, hosts)| {
            let hosts = hosts.keys().map(|host| short(host)).collect::<Vec<_>>().join(", ");
            format!("{name} at {hosts}")
        }));
        let used = if credentials.is_empty() {
            "no credentials used".to_owned()
        } else {
            format!("used{credentials}")
        };
        let lost = match self.unwritten {
            0 => String::new(),
            count => format!("; {count} events could not be written"),
        };
        [
            format!("{} allowed{allowed}, {denied_count} denied{denied}", total(&self.allowed)),
            format!("{used}; details: jail log {id}{lost}"),
        ]
    }
}

/// `host:port` without the port that HTTPS has anyway; what never became a request may have no name.
fn short(authority: &str) -> &str {
    match authority.strip_suffix(":443").unwrap_or(authority) {
        "" => "unknown host",
        host => host,
    }
}

/// ` (a; b; c)`, cut to the first few, or nothing.
fn list(items: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let items: Vec<String> = items.collect();
    match items.len() {
        0 => String::new(),
        count if count > SHOWN => format!(" ({}; {} more)", items[..SHOWN].join("; "), count - SHOWN),
        _ => format!(" ({})", items.join("; ")),
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authority: &str, denied: Option<&str>, credentials: &[&str]) -> Event {
        Event {
            time: 0,
            what: What::Request {
                scheme: "https".into(),
                authority: authority.into(),
                method: "GET".into(),
                path: "/".into(),
                query: Vec::new(),
                denied: denied.map(str::to_owned),
                rule: None,
                status: Some(200),
                credentials: credentials.iter().map(|&name| name.to_owned()).collect(),
                address: None,
                milliseconds: 1,
            },
        }
    }

    #[test]
    fn events_are_written_and_summed_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let recorder = Recorder::new(File::create(&path).unwrap(), false);
        recorder.record(&request("a.example:443", None, &["TOKEN"]));
        recorder.record(&request("a.example:443", None, &[]));
        recorder.record(&request("b.example:443", Some("host-not-allowed"), &[]));
        assert_eq!(
            recorder.summary().lines("job-1"),
            [
                "2 allowed (a.example 2), 1 denied (b.example: host-not-allowed)",
                "used (TOKEN at a.example); details: jail log job-1"
            ]
        );
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 3);
    }
}
