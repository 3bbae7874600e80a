//! The path of a request, normalised once, refused when servers could read it differently.
//!
//! The proxy sends the target on as it came; that is sound only because a rule about paths is held against none that
//! servers could read differently. Whether a server folds letter case or Unicode forms cannot be known here: allowing rules
//! compare exactly, denying rules in the folded form too.

use std::borrow::Cow;
use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::text_form::excerpt;

/// A normalised, unambiguous request path (no query).
///
/// Each character that a path can hold as itself is held so, however it was escaped; each other one is held as an
/// upper-case escape (and `*` too, so that in a rule it can only be a wildcard).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestPath {
    text: String,
    /// The same path to a server that cuts `;parameters` off each segment, if there are any.
    without_parameters: Option<String>,
    /// Whether servers could read it differently: then only a rule about every path can allow it.
    ambiguous: bool,
}

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with `/`.
    #[error("{0:?} is not a path: start it with `/`")]
    NotAbsolute(String),
    /// `#` is never sent to a server.
    #[error("{0:?} has a fragment: leave out `#` and what follows, or write `%23`")]
    Fragment(String),
    /// Bytes below 0x21, 0x7f, `%00` and their like.
    #[error("{0:?} holds a space or control character; a space is written `%20`")]
    Control(String),
    /// Raw bytes above 0x7e.
    #[error("{0:?} holds characters that are not ASCII: write them as percent-escaped UTF-8")]
    NotAscii(String),
    /// `%` without two hexadecimal digits.
    #[error("{0:?} holds `%` without two hexadecimal digits: write a percent sign as `%25`")]
    BadEscape(String),
    /// `%252f`.
    #[error("{0:?} is escaped twice: some servers would read it as another path")]
    DoubleEscape(String),
    /// `%c0%af` and other escapes that are not UTF-8.
    #[error("{0:?} holds escapes that are not UTF-8: servers read them differently")]
    NotUtf8(String),
    /// `%2f`, `%5c`, `\` and characters that some servers turn into these.
    #[error("{0:?} holds an escaped slash, a backslash or its like: some servers would read it as `/`")]
    Separator(String),
    /// `.` and `..`, also escaped, also with parameters or spaces.
    #[error("{0:?} has a `.` or `..` segment: write the path that is meant")]
    DotSegment(String),
    /// `//`.
    #[error("{0:?} has an empty segment: write single slashes")]
    EmptySegment(String),
}

impl RequestPath {
    /// Reads the path of a request target; a query, if there is one, is cut off. `*` (of `OPTIONS *`) is read too.
    pub fn parse(path_and_query: &str) -> Result<RequestPath, PathError> {
        if path_and_query == "*" {
            return Ok(RequestPath { text: "*".to_owned(), without_parameters: None, ambiguous: false });
        }
        let raw = path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path);
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute(excerpt(raw)));
        }
        let decoded = decode(raw)?;
        refuse_lookalikes(&decoded, raw)?;
        refuse_unclear_segments(&decoded, raw)?;
        if !decoded.is_ascii() {
            refuse_unclear_segments(&compatible(&decoded), raw)?;
        }
        Ok(RequestPath {
            text: encode(&decoded),
            without_parameters: decoded.contains(';').then(|| encode(&cut_parameters(&decoded))),
            ambiguous: false,
        })
    }

    /// Reads the path of any request target, also of one that [`RequestPath::parse`] refuses.
    ///
    /// npm writes `/@scope%2fname`: on a host where every path is allowed it does not matter how that is read. A rule
    /// that names paths never allows such a path, and denies it if it is a denying rule.
    pub fn of_target(path_and_query: &str) -> RequestPath {
        RequestPath::parse(path_and_query).unwrap_or_else(|_| RequestPath {
            text: path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path).to_owned(),
            without_parameters: None,
            ambiguous: true,
        })
    }

    /// Whether servers could read it differently.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Every way in which a server can read it: as it is, and without `;parameters`.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.text).chain(self.without_parameters.as_deref())
    }
}

impl RequestPath {
    /// The path in lower case and in compatible Unicode forms.
    pub(crate) fn folded(&self) -> String {
        fold(&self.text)
    }

    /// The readings in folded form, with and without a slash at the end.
    pub(crate) fn folded_readings(&self) -> impl Iterator<Item = String> {
        self.readings().map(fold).flat_map(|reading| {
            let bare = reading.strip_suffix('/').filter(|bare| !bare.is_empty()).map(str::to_owned);
            std::iter::once(reading).chain(bare)
        })
    }
}

/// A canonical path (or a part of one) in lower case and compatible Unicode forms.
pub(crate) fn fold(text: &str) -> String {
    if !text.contains('%') {
        return text.to_ascii_lowercase();
    }
    match decode(text) {
        Ok(decoded) => encode(&compatible(&decoded).to_lowercase()),
        Err(_) => text.to_ascii_lowercase(),
    }
}

fn compatible(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfkc().normalize(text)
}

impl fmt::Display for RequestPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The one form of a part of a path that [`RequestPath::parse`] accepts as a whole.
pub(crate) fn canonical_part(raw: &str) -> Result<String, PathError> {
    decode(raw).map(|decoded| encode(&decoded))
}

/// The characters behind the escapes. No escape may hide a separator, so each `/` of the result was one before.
fn decode(raw: &str) -> Result<String, PathError> {
    let error = |make: fn(String) -> PathError| Err(make(excerpt(raw)));
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => match high << 4 | low {
                    b'/' | b'\\' => return error(PathError::Separator),
                    byte => byte,
                },
                _ => return error(PathError::BadEscape),
            },
            b'\\' => return error(PathError::Separator),
            b'#' => return error(PathError::Fragment),
            b' ' => return error(PathError::Control),
            0x80.. => return error(PathError::NotAscii),
            byte => byte,
        };
        decoded.push(byte);
    }
    let Ok(decoded) = String::from_utf8(decoded) else { return error(PathError::NotUtf8) };
    match decoded.chars().any(char::is_control) {
        true => error(PathError::Control),
        false => Ok(decoded),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// What a second decoding, a Unicode normalisation (NFKC) or a code page would turn into a separator.
fn refuse_lookalikes(decoded: &str, raw: &str) -> Result<(), PathError> {
    // Code pages map these: fraction and division slashes, set minus, big and operator solidi; yen and won in Japanese and
    // Korean ones.
    let mapped =
        ['\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{29f9}', '\u{a5}', '\u{20a9}'];
    let count = |text: &str| text.bytes().filter(|byte| b"/\\;%?#".contains(byte)).count();
    if !decoded.is_ascii() && (decoded.contains(mapped) || count(&compatible(decoded)) != count(decoded)) {
        return Err(PathError::Separator(excerpt(raw)));
    }
    let escape =
        |window: &[u8]| matches!(window, [b'%', high, low] if hex(*high).is_some() && hex(*low).is_some());
    match decoded.as_bytes().windows(3).any(escape) {
        true => Err(PathError::DoubleEscape(excerpt(raw))),
        false => Ok(()),
    }
}

/// A trailing slash is a different path and is clear; every other empty segment and every dot segment is not, also
/// where a server cuts `;parameters` off first (`/..;x/`, `/;/`).
fn refuse_unclear_segments(decoded: &str, raw: &str) -> Result<(), PathError> {
    let mut segments = decoded.split('/').skip(1).map(without_parameters).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathError::EmptySegment(excerpt(raw)));
        }
        if !segment.is_empty() && segment.chars().all(is_dot_or_trimmed) {
            return Err(PathError::DotSegment(excerpt(raw)));
        }
    }
    Ok(())
}

fn without_parameters(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

/// Dots, what NFKC turns into dots, and the spaces that some file systems cut off beside them.
fn is_dot_or_trimmed(character: char) -> bool {
    matches!(character, '.' | '\u{2024}' | '\u{2025}' | '\u{2026}' | '\u{fe52}' | '\u{ff0e}')
        || character.is_whitespace()
}

fn cut_parameters(decoded: &str) -> String {
    decoded.split('/').map(without_parameters).collect::<Vec<_>>().join("/")
}

/// RFC 3986 `pchar` as itself, everything else as an upper-case escape. Escaped or not, servers hand the same
/// characters to the program behind them, so a rule must not tell `/@me` from `/%40me`.
fn encode(decoded: &str) -> String {
    let mut text = String::with_capacity(decoded.len());
    for byte in decoded.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'+' | b','
            | b';' | b'=' | b':' | b'@' => text.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => text.push(byte.into()),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
