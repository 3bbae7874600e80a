//! The canonical form of a request: what Signature Version 4 signs in place of it.
//!
//! Clients differ in details (S3 escapes a path once, others twice; some sign the query as they send it). The dummy's
//! signature tells which reading is the client's, and the same one is signed again.

use http::{HeaderMap, Uri};

use super::super::stray::decode_percent;
use redact::percent;

/// How a client reads a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    path: PathReading,
    query: QueryReading,
    /// Whether the port is named where it says nothing.
    port: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathReading {
    /// As it is sent: S3.
    AsSent,
    /// Escaped once more.
    Escaped,
    /// Without dots and empty segments, escaped once more.
    Normal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryReading {
    /// Escaped anew and sorted, as the documentation says.
    Canonical,
    /// As it is sent.
    AsSent,
}

/// What is signed of a request, but for the hash of its body.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// The names of the signed headers, in lower case, in their order.
    pub(super) names: &'a [String],
    /// As it is sent, without and with a port that says nothing.
    pub(super) host: &'a str,
    pub(super) host_and_port: &'a str,
}

impl Reading {
    /// Every reading that makes a difference, the usual ones first.
    pub(super) fn all(uri: &Uri, has_two_hosts: bool) -> Vec<Reading> {
        let is_plain = !uri.path().contains(['%', '.'])
            && !uri.path().contains("//")
            && escape_path(uri.path()) == uri.path();
        let paths = if is_plain {
            &[PathReading::AsSent][..]
        } else {
            &[PathReading::AsSent, PathReading::Escaped, PathReading::Normal]
        };
        let queries = match uri.query() {
            None | Some("") => &[QueryReading::Canonical][..],
            Some(_) => &[QueryReading::Canonical, QueryReading::AsSent],
        };
        let ports = if has_two_hosts { &[false, true][..] } else { &[false] };
        let mut readings = Vec::new();
        for &path in paths {
            for &query in queries {
                readings.extend(ports.iter().map(|&port| Reading { path, query, port }));
            }
        }
        readings
    }

    /// The canonical request up to the hash of the body.
    pub(super) fn of(self, signed: &Signed<'_>) -> String {
        let path = match self.path {
            PathReading::AsSent => signed.uri.path().to_owned(),
            PathReading::Escaped => escape_path(signed.uri.path()),
            PathReading::Normal => escape_path(&normal(signed.uri.path())),
        };
        let query = self.query.of(signed.uri.query().unwrap_or_default());
        let mut text = format!("{}\n{path}\n{query}\n", signed.method);
        for name in signed.names {
            let value = match name.as_str() {
                "host" if self.port => signed.host_and_port.to_owned(),
                "host" => signed.host.to_owned(),
                name => header(signed.headers, name),
            };
            text.push_str(&format!("{name}:{value}\n"));
        }
        text.push_str(&format!("\n{}\n", signed.names.join(";")));
        text
    }
}

impl QueryReading {
    fn of(self, query: &str) -> String {
        let parts = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("X-Amz-Signature="));
        match self {
            QueryReading::AsSent => parts.collect::<Vec<_>>().join("&"),
            QueryReading::Canonical => {
                let mut pairs: Vec<(String, String)> = parts
                    .map(|part| {
                        let (name, value) = part.split_once('=').unwrap_or((part, ""));
                        (escape_again(name), escape_again(value))
                    })
                    .collect();
                pairs.sort();
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
            }
        }
    }
}

/// Every byte but the unreserved ones escaped, however it was before.
fn escape_again(text: &str) -> String {
    escape(&decode_percent(text.as_bytes()), b"")
}

fn escape_path(path: &str) -> String {
    escape(path.as_bytes(), b"/")
}

fn escape(bytes: &[u8], kept: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

/// The path without `.`, `..` and empty segments (RFC 3986, section 6).
fn normal(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// The values of a header, each without space around it, and with single ones in it.
fn header(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

/// A parameter of a query, unescaped.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let (_, value) =
        query.split('&').filter_map(|part| part.split_once('=')).find(|(known, _)| *known == name)?;
    Some(String::from_utf8_lossy(&decode_percent(value.as_bytes())).into_owned())
}

/// The query with other values for some parameters.
pub(super) fn with_parameters(query: &str, values: &[(&str, &str)]) -> String {
    let parts = query.split('&').map(|part| {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => format!("{name}={}", percent(value)),
            None => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join("&")
}
