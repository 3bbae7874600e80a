//! What happened, one event per line of `audit.jsonl`. Never a secret, never the value of a query parameter.

use serde::{Deserialize, Serialize};

/// Where events go. Called on the proxy's threads: must not block for long.
pub trait Audit: Send + Sync {
    /// Takes one event.
    fn record(&self, event: &Event);
}

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
