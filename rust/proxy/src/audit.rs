//! What happened, one event per line of `audit.jsonl`. Never a secret, never the value of a query parameter.

use serde::{Deserialize, Serialize};

/// Where events go. Called on the proxy's threads: must not block for long.
pub trait Audit: Send + Sync {
    /// Takes one event.
    fn record(&self, event: &Event);
}

/// The most bytes of a name that the job or a server has chosen: of a host, a method, a ref, a parameter.
pub const LONGEST_NAME: usize = 256;

/// The most bytes of a path: a policy can be learnt from it.
pub const LONGEST_PATH: usize = 2048;

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "nearly every event is a request")]
pub enum What {
    /// A request, when its answer's head is known or it was refused.
    Request {
        /// `http`, `https` or `tcp`.
        scheme: String,
        /// `host:port`.
        authority: String,
        /// The method; empty for tcp.
        method: String,
        /// The path without its query.
        path: String,
        /// The names of its query parameters.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        query: Vec<String>,
        /// Whether it went on: `None` = allowed, else the reason (kebab-case).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        denied: Option<String>,
        /// Why the proxy answered an allowed request itself, as `x-jail-error` has it: the server could not be reached, or
        /// its answer was no HTTP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
        /// The rule that decided, from 0. Neither a rule nor a denial: it went on to be learnt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<usize>,
        /// The status of the answer that the job got.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The names of the credentials that were swapped in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        credentials: Vec<String>,
        /// The refs of a git push that was looked into; of a refused one with the reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refs: Vec<String>,
        /// The address that was dialled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Milliseconds from the request's head to the answer's head.
        milliseconds: u64,
    },
    /// A connection that never became a request (a failed handshake, an unknown protocol …).
    Connection {
        /// `host:port` as far as known.
        authority: String,
        /// Why it ended.
        denied: String,
    },
    /// The place for events is full: what comes later is counted and not written.
    Truncated,
}

impl What {
    /// The same with no name longer than [`LONGEST_NAME`]: whoever keeps, counts or prints events need not look.
    pub(crate) fn bounded(mut self) -> What {
        match &mut self {
            What::Request { authority, method, path, query, credentials, refs, .. } => {
                cut(path, LONGEST_PATH);
                let names = query.iter_mut().chain(credentials).chain(refs);
                names.chain([authority, method]).for_each(|name| cut(name, LONGEST_NAME));
            }
            What::Connection { authority, denied } => {
                [authority, denied].into_iter().for_each(|name| cut(name, LONGEST_NAME));
            }
            What::Truncated => {}
        }
        self
    }
}

/// Cuts a text to this many bytes, between two characters.
pub(crate) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate((0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default());
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_an_event_is_long() {
        let long = || "\u{20ac}".repeat(100_000);
        let request = What::Request {
            scheme: "https".into(),
            authority: long(),
            method: long(),
            path: long(),
            query: vec![long()],
            denied: None,
            failed: None,
            rule: None,
            status: None,
            credentials: vec![long()],
            refs: vec![long()],
            address: None,
            milliseconds: 0,
        };
        let text = serde_json::to_string(&request.bounded()).unwrap();
        assert!(text.len() < 5 * LONGEST_NAME + LONGEST_PATH + 200, "{}", text.len());
        let connection = What::Connection { authority: long(), denied: long() };
        assert!(serde_json::to_string(&connection.bounded()).unwrap().len() < 2 * LONGEST_NAME + 100);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, most, expected) in
            [("abc", 3, "abc"), ("abcd", 3, "abc"), ("a\u{20ac}b", 3, "a"), ("\u{20ac}", 2, "")]
        {
            let mut cut_text = text.to_owned();
            cut(&mut cut_text, most);
            assert_eq!(cut_text, expected);
        }
    }
}
