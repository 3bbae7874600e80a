//! Refusals that git shows to its user.

use policy::{Reason, RuleId};

use super::commands::Commands;
use super::pkt_line::{self, FLUSH};

/// Band 1 carries the report, band 2 the messages that git prints after `remote: `.
const REPORT: u8 = 1;
const MESSAGE: u8 = 2;

/// The answer to a push of which nothing went on.
#[derive(Clone, Debug)]
pub struct Report {
    /// The body of the answer (`application/x-git-receive-pack-result`).
    pub body: Vec<u8>,
    /// The first reason.
    pub reason: Reason,
    /// The rule that came nearest.
    pub rule: Option<RuleId>,
    /// Each ref and why not, for the record.
    pub refs: Vec<String>,
}

impl Report {
    /// Says of each ref why not; `None` if the client takes no such answer.
    pub fn new(commands: &Commands, reasons: &[Option<Reason>], rule: Option<RuleId>) -> Option<Report> {
        let reason = reasons.iter().flatten().next().copied().filter(|_| commands.report)?;
        let mut report = Vec::new();
        pkt_line::write(b"unpack ok\n", &mut report);
        let mut refs = Vec::new();
        for (command, reason) in commands.commands.iter().zip(reasons) {
            let why = reason.map_or("nothing of this push was sent", Reason::as_str);
            pkt_line::write(format!("ng {} denied by jail: {why}\n", command.name).as_bytes(), &mut report);
            refs.push(format!("{}: {why}", command.name));
        }
        report.extend(FLUSH);
        let body = if commands.side_band { banded(&report, reasons) } else { report };
        Some(Report { body, reason, rule, refs })
    }
}

fn banded(report: &[u8], reasons: &[Option<Reason>]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut told: Vec<Reason> = Vec::new();
    for reason in reasons.iter().flatten() {
        if !told.contains(reason) {
            told.push(*reason);
            band(MESSAGE, format!("jail: {}\n", reason.hint()).as_bytes(), &mut body);
        }
    }
    for piece in report.chunks(pkt_line::MAX_LINE - 5) {
        band(REPORT, piece, &mut body);
    }
    body.extend(FLUSH);
    body
}

fn band(number: u8, bytes: &[u8], body: &mut Vec<u8>) {
    let mut line = vec![number];
    line.extend(bytes);
    pkt_line::write(&line, body);
}

/// The body of the answer to git's first question to a repository (`GET …/info/refs?service=SERVICE`), which git shows as
/// `fatal: remote error: …`.
pub fn discovery_refusal(service: &str, reason: Reason, hint: &str) -> Vec<u8> {
    let mut body = Vec::new();
    pkt_line::write(format!("# service={service}\n").as_bytes(), &mut body);
    body.extend(FLUSH);
    pkt_line::write(format!("ERR denied by jail: {reason}: {hint}\n").as_bytes(), &mut body);
    body
}
