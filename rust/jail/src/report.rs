//! What a job did on the network: written to its audit file as it happens, summed up at its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxy::audit::{Audit, Event, What};
use serde::Serialize;

use crate::learn::Learnt;

/// The most that a job's audit file may hold: the job decides how many events there are.
pub(crate) const LARGEST_AUDIT: u64 = 64 << 20;

/// The most `host:port`s that are told apart in a summary, for the same reason; the others are one.
const TOLD_APART: usize = 4096;
const OTHERS: &str = "others";

/// Takes the proxy's events.
pub(crate) struct Recorder {
    inside: Mutex<Inside>,
}

struct Inside {
    file: File,
    /// Bytes of whole lines in it.
    length: u64,
    /// Bytes that still go into it.
    room: u64,
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
    /// Allowed requests that no server answered, by `host:port` and kind of failure.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) failed: BTreeMap<String, BTreeMap<String, u64>>,
    /// Credentials that were swapped in, by name and `host:port`.
    pub(crate) credentials: BTreeMap<String, BTreeMap<String, u64>>,
    /// Events that are not in the audit file: it is full, or could not be written.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unwritten: u64,
}

impl Recorder {
    /// Records into `file`, at most `room` bytes; keeps what a policy can be learnt from if `learn`.
    pub(crate) fn new(file: File, room: u64, learn: bool) -> Recorder {
        let learnt = learn.then(Learnt::default);
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        Recorder { inside: Mutex::new(Inside { file, length, room, summary: Summary::default(), learnt }) }
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
        inside.summary.add(event);
        if let Some(learnt) = &mut inside.learnt {
            learnt.add(event);
        }
        match inside.write(event) {
            Ok(true) => {}
            Ok(false) => inside.summary.unwritten += 1,
            Err(error) => {
                inside.summary.unwritten += 1;
                tracing::warn!(%error, "an event could not be written to the audit file");
            }
        }
    }
}

impl Inside {
    /// Writes the event; whether there was room for it.
    fn write(&mut self, event: &Event) -> std::io::Result<bool> {
        if self.room == 0 {
            return Ok(false);
        }
        let line = line(event)?;
        let length = line.len() as u64;
        // Room for the last line is kept.
        let last = line_of_truncation(event.time)?;
        if length + last.len() as u64 > self.room {
            self.room = 0;
            self.append(&last)?;
            return Ok(false);
        }
        self.append(&line)?;
        self.room -= length;
        Ok(true)
    }

    /// Appends a line as a whole or not at all: on a full disk a part of it may be written, to which the next line would
    /// be glued.
    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        // One write per line: a reader that follows the file sees whole lines.
        let written = self.file.write_all(line);
        match written {
            Ok(()) => self.length += line.len() as u64,
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }
}

fn line_of_truncation(time: u64) -> std::io::Result<Vec<u8>> {
    line(&Event { time, what: What::Truncated })
}

fn line(event: &Event) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

impl Summary {
    fn add(&mut self, event: &Event) {
        match &event.what {
            What::Request { authority, denied: None, failed, credentials, .. } => {
                match failed {
                    None => *count_of(&mut self.allowed, authority) += 1,
                    Some(kind) => {
                        *count_of(&mut self.failed, authority).entry(kind.clone()).or_default() += 1;
                    }
                }
                for name in credentials {
                    *count_of(self.credentials.entry(name.clone()).or_default(), authority) += 1;
                }
            }
            What::Request { authority, denied: Some(reason), .. }
            | What::Connection { authority, denied: reason } => {
                *count_of(&mut self.denied, authority).entry(reason.clone()).or_default() += 1;
            }
            // Nothing that a job did.
            What::Truncated => {}
        }
    }

    /// Two lines for people.
    pub(crate) fn lines(&self, id: &str) -> [String; 2] {
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let allowed = list(self.allowed.iter().map(|(host, count)| format!("{} {count}", short(host))));
        let sum = |counts: &BTreeMap<String, BTreeMap<String, u64>>| counts.values().map(total).sum::<u64>();
        let reasons = |counts: &BTreeMap<String, BTreeMap<String, u64>>| {
            list(counts.iter().map(|(host, reasons)| {
                let reasons = reasons.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("{}: {reasons}", short(host))
            }))
        };
        let failed = match sum(&self.failed) {
            0 => String::new(),
            count => format!(", {count} failed{}", reasons(&self.failed)),
        };
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
            count => format!("; {count} events are not in it"),
        };
        [
            format!(
                "{} allowed{allowed}{failed}, {} denied{}",
                total(&self.allowed),
                sum(&self.denied),
                reasons(&self.denied)
            ),
            format!("{used}; details: jail log {id}{lost}"),
        ]
    }
}

/// The count of that `host:port`, or that of all the others.
fn count_of<'a, T: Default>(counts: &'a mut BTreeMap<String, T>, authority: &str) -> &'a mut T {
    let is_told_apart = counts.len() < TOLD_APART || counts.contains_key(authority);
    counts.entry(if is_told_apart { authority } else { OTHERS }.to_owned()).or_default()
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
                failed: None,
                rule: None,
                status: Some(200),
                credentials: credentials.iter().map(|&name| name.to_owned()).collect(),
                refs: Vec::new(),
                address: None,
                milliseconds: 1,
            },
        }
    }

    #[test]
    fn events_are_written_and_summed_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let recorder = Recorder::new(File::create(&path).unwrap(), LARGEST_AUDIT, false);
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

    #[test]
    fn a_request_that_no_server_answered_is_not_counted_as_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let recorder =
            Recorder::new(File::create(directory.path().join("audit")).unwrap(), LARGEST_AUDIT, false);
        let mut failed = request("a.example:443", None, &[]);
        let What::Request { failed: kind, .. } = &mut failed.what else { unreachable!() };
        *kind = Some("upstream-dns".to_owned());
        recorder.record(&failed);
        assert_eq!(
            recorder.summary().lines("job-1")[0],
            "0 allowed, 1 failed (a.example: upstream-dns), 0 denied"
        );
    }

    #[test]
    fn a_file_that_is_full_says_so_and_the_counting_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let room = 1000;
        let recorder = Recorder::new(File::create(&path).unwrap(), room, false);
        for _ in 0..100 {
            recorder.record(&request("a.example:443", None, &[]));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() as u64 <= room);
        let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (last, written) = events.split_last().unwrap();
        assert!(matches!(last.what, What::Truncated), "{last:?}");
        assert!(written.len() > 2 && written.iter().all(|event| matches!(event.what, What::Request { .. })));
        let summary = recorder.summary();
        assert_eq!(summary.allowed["a.example:443"], 100);
        assert_eq!(summary.unwritten, 100 - written.len() as u64);
        assert!(summary.lines("job-1")[1].ends_with("events are not in it"));
    }

    #[test]
    fn a_job_cannot_make_a_summary_grow_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(File::create(directory.path().join("audit")).unwrap(), 0, false);
        let count = TOLD_APART as u64 + 100;
        for number in 0..count {
            recorder.record(&request(&format!("{number}.example:443"), Some("host-not-allowed"), &[]));
        }
        recorder.record(&request("0.example:443", Some("host-not-allowed"), &[]));
        let summary = recorder.summary();
        assert_eq!(summary.denied.len(), TOLD_APART + 1);
        assert_eq!(summary.denied[OTHERS]["host-not-allowed"], 100);
        assert_eq!(summary.denied["0.example:443"]["host-not-allowed"], 2);
    }
}
