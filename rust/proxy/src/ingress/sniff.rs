//! What a connection speaks, by its first bytes; the port says nothing.

use std::io;

use super::prefixed::Prefixed;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No registered method is longer than this.
const METHOD: usize = 32;
const TLS_HANDSHAKE: u8 = 0x16;

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// A TLS handshake record.
    Tls,
    /// An HTTP/1 request line.
    Http1,
    /// HTTP/2 without TLS and without asking.
    Http2,
    /// Nothing that goes anywhere.
    Unknown,
}

/// Reads until it is clear; an early end of the stream is unknown.
pub(crate) async fn sniff(stream: &mut Prefixed) -> io::Result<Protocol> {
    loop {
        if let Some(protocol) = judge(stream.seen()) {
            return Ok(protocol);
        }
        if !stream.look_further().await? {
            return Ok(Protocol::Unknown);
        }
    }
}

/// What these bytes are the beginning of, or `None` if more are needed.
fn judge(seen: &[u8]) -> Option<Protocol> {
    match seen.first() {
        None => return None,
        Some(&TLS_HANDSHAKE) => return Some(Protocol::Tls),
        Some(_) => {}
    }
    if seen.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    if PREFACE.starts_with(seen) {
        return None;
    }
    // Blank lines before a request line are allowed by the standard, and only servers that are read wrongly need them.
    let method = seen.iter().take(METHOD).take_while(|byte| is_token(**byte)).count();
    match seen.get(method) {
        Some(b' ') if method > 0 => Some(Protocol::Http1),
        None if method < METHOD => None,
        _ => Some(Protocol::Unknown),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"\x16\x03\x01", Some(Protocol::Tls)),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"GE", None),
            (b"M-SEARCH * HTTP/1.1", Some(Protocol::Http1)),
            (b"PRI", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Protocol::Http2)),
            (b"PRI * HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"\x05\x01\x00", Some(Protocol::Unknown)),
            (b"\x04\x01\x00\x50", Some(Protocol::Unknown)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(Protocol::Unknown)),
            (b" GET / HTTP/1.1", Some(Protocol::Unknown)),
            (b"\r\nGET / HTTP/1.1", Some(Protocol::Unknown)),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Some(Protocol::Unknown)),
            (b"G\0T / HTTP/1.1", Some(Protocol::Unknown)),
        ] {
            assert_eq!(judge(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
