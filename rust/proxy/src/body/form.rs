//! Forms whose fields ask the server to take a POST for another method, as Rails, Laravel and Symfony do by `_method`.
//!
//! A form is read as it passes, and only where the rules allow POST and not all of the methods that a field could name. It is
//! judged byte by byte, so that no byte goes on which completes the name of such a method. What frameworks read by default is
//! read here: URL-encoded forms (also without a type) and multipart ones. Nothing is read in JSON.
//!
//! Servers read damaged forms in different ways, so a form is refused whose type, encoding or part heads have no single
//! reading. No ordinary client sends one.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memmem;

use crate::spelling::{METHOD_PARAMETERS, parameter_key};
use crate::swap::decode_form;

/// The methods that frameworks take from forms (Rack's MethodOverride, Symfony's Request).
pub(crate) const METHODS: [&str; 11] =
    ["DELETE", "PUT", "PATCH", "GET", "HEAD", "OPTIONS", "LINK", "UNLINK", "PURGE", "TRACE", "CONNECT"];

/// The most bytes of a decoded name that are looked at: more than any name of such a field has.
const MAX_NAME: usize = 64;
/// The most bytes of a word that can be a method.
const MAX_METHOD: usize = 16;
/// The most bytes of the head of a part.
const MAX_PART_HEAD: usize = 16 * 1024;
/// RFC 2046, section 5.1.1.
const MAX_BOUNDARY: usize = 70;
/// The character sets in which ASCII is what it is.
const CHARSETS: [&str; 6] = ["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"];

/// A form that servers could read differently.
#[derive(Debug)]
pub(crate) struct UnclearForm;

/// Reads one form for fields that stand for a method.
#[derive(Debug)]
pub(crate) struct FormScan {
    /// The methods that the rules do not allow.
    denied: Vec<&'static str>,
    format: Format,
    state: State,
    /// The name or the head of a part so far; in front of a delimiter, what may be the beginning of one.
    text: Vec<u8>,
    /// The current word of a value.
    word: Vec<u8>,
    escape: Escape,
}

#[derive(Debug)]
enum Format {
    UrlEncoded,
    /// Parts between lines of this text, which has `--` in front.
    Multipart(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a name, or in the head of a part.
    Name,
    /// In the value of a field that stands for a method.
    Method,
    /// In the value of any other field; in front of the first part.
    Other,
}

/// How much of a percent escape has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Percent,
    Digit(u8),
}

impl FormScan {
    /// Returns `None` for what is no form, or if every method is allowed.
    pub(crate) fn new(
        headers: &HeaderMap,
        denied: Vec<&'static str>,
    ) -> Result<Option<Box<FormScan>>, UnclearForm> {
        if denied.is_empty() {
            return Ok(None);
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let content_type = types.next().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let is_typed = content_type.is_some();
        let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
        let ends = |character: char| matches!(character, ';' | ',') || character.is_whitespace();
        let kind = content_type.trim_start().split(ends).next().unwrap_or_default();
        let (format, state) = if kind.is_empty() || kind.starts_with("application/x-www-form-urlencoded") {
            (Format::UrlEncoded, State::Name)
        } else if kind.starts_with("multipart/") {
            let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let boundary = value.and_then(boundary).ok_or(UnclearForm)?;
            (Format::Multipart([b"--", boundary.as_bytes()].concat()), State::Other)
        } else if types.next().is_none() {
            return Ok(None);
        } else {
            return Err(UnclearForm);
        };
        let is_encoded = headers.get_all(CONTENT_ENCODING).iter().any(|value| value != "identity");
        if types.next().is_some() || (is_typed && is_encoded) || !has_known_charset(&content_type) {
            return Err(UnclearForm);
        }
        let (text, word) = (Vec::new(), Vec::new());
        Ok(Some(Box::new(FormScan { denied, format, state, text, word, escape: Escape::No })))
    }

    /// Reads on. Returns false if the server could take the form for a method that is not allowed.
    pub(crate) fn allows(&mut self, bytes: &[u8]) -> bool {
        match std::mem::replace(&mut self.format, Format::UrlEncoded) {
            Format::UrlEncoded => bytes.iter().all(|&byte| self.field_allows(byte)),
            Format::Multipart(delimiter) => {
                let allowed = self.parts_allow(&delimiter, bytes);
                self.format = Format::Multipart(delimiter);
                allowed
            }
        }
    }

    fn field_allows(&mut self, byte: u8) -> bool {
        match (self.state, byte) {
            (_, b'&' | b';') => self.begin(State::Name),
            (State::Name, b'=') => {
                // A name that is longer was cut, and servers cut names too, at a NUL or a bracket.
                let is_method = names_method(&String::from_utf8_lossy(&self.text));
                self.begin(if is_method { State::Method } else { State::Other });
            }
            (State::Name, _) if self.text.len() >= MAX_NAME => {}
            (State::Name, _) => self.decode(byte, FormScan::push_name),
            (State::Method, _) => {
                self.decode(byte, FormScan::push_word);
                return !self.is_denied();
            }
            (State::Other, _) => {}
        }
        true
    }

    fn begin(&mut self, state: State) {
        self.text.clear();
        self.word.clear();
        self.escape = Escape::No;
        self.state = state;
    }

    /// Decodes one byte of a URL-encoded text. A damaged escape stands for itself.
    fn decode(&mut self, byte: u8, push: fn(&mut FormScan, u8)) {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (std::mem::replace(&mut self.escape, Escape::No), byte) {
            (Escape::No, b'%') => self.escape = Escape::Percent,
            (Escape::No, b'+') => push(self, b' '),
            (Escape::No, _) => push(self, byte),
            (Escape::Percent, _) if digit(byte).is_some() => self.escape = Escape::Digit(byte),
            (Escape::Percent, _) => {
                push(self, b'%');
                self.decode(byte, push);
            }
            (Escape::Digit(first), _) => match (digit(first), digit(byte)) {
                (Some(high), Some(low)) => push(self, high << 4 | low),
                _ => {
                    push(self, b'%');
                    push(self, first);
                    self.decode(byte, push);
                }
            },
        }
    }

    /// White space and control characters in front of a name do not belong to it, however many there are.
    fn push_name(&mut self, byte: u8) {
        self.text.push(byte);
        // No white space has more than three bytes in UTF-8.
        if self.text.len() <= 3 {
            let text = String::from_utf8_lossy(&self.text);
            if text.chars().all(|character| character.is_whitespace() || character.is_control()) {
                self.text.clear();
            }
        }
    }

    fn push_word(&mut self, byte: u8) {
        if !byte.is_ascii_alphabetic() {
            self.word.clear();
        } else if self.word.len() < MAX_METHOD {
            self.word.push(byte);
        }
    }

    /// Returns true as soon as the current word of a value is a method that is not allowed.
    fn is_denied(&self) -> bool {
        self.denied.iter().any(|method| self.word.eq_ignore_ascii_case(method.as_bytes()))
    }

    fn parts_allow(&mut self, delimiter: &[u8], mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.state {
                State::Name => {
                    let (byte, rest) = (bytes[0], &bytes[1..]);
                    bytes = rest;
                    if !self.head_allows(byte) {
                        return false;
                    }
                }
                State::Method => {
                    let (byte, rest) = (bytes[0], &bytes[1..]);
                    bytes = rest;
                    self.push_word(byte);
                    if self.is_denied() {
                        return false;
                    }
                    self.text.push(byte);
                    if self.text.ends_with(delimiter) {
                        self.begin(State::Name);
                    } else if self.text.len() >= delimiter.len() {
                        self.text.remove(0);
                    }
                }
                State::Other => bytes = self.skip_to(delimiter, bytes),
            }
        }
        true
    }

    /// Skips a value. Returns what is behind the delimiter, or nothing.
    fn skip_to<'a>(&mut self, delimiter: &[u8], bytes: &'a [u8]) -> &'a [u8] {
        let kept = self.text.len();
        let border = bytes.len().min(delimiter.len());
        self.text.extend_from_slice(&bytes[..border]);
        let end = match memmem::find(&self.text, delimiter) {
            Some(start) => Some(start + delimiter.len() - kept),
            None => memmem::find(bytes, delimiter).map(|start| start + delimiter.len()),
        };
        if let Some(end) = end {
            self.begin(State::Name);
            return &bytes[end..];
        }
        // The end of what has been read may be the beginning of a delimiter.
        if bytes.len() > border {
            self.text.clear();
            self.text.extend_from_slice(&bytes[bytes.len().saturating_sub(delimiter.len())..]);
        }
        let surplus = (self.text.len() + 1).saturating_sub(delimiter.len());
        self.text.drain(..surplus);
        &[]
    }

    /// Reads the head of a part. Returns false for a head that servers could read differently.
    fn head_allows(&mut self, byte: u8) -> bool {
        let is_behind_return = self.text.last() == Some(&b'\r');
        if self.text.len() >= MAX_PART_HEAD || is_behind_return != (byte == b'\n') {
            return false;
        }
        self.text.push(byte);
        if !self.text.ends_with(b"\r\n\r\n") {
            return true;
        }
        let head = String::from_utf8_lossy(&self.text).to_ascii_lowercase();
        // What follows the last delimiter is no part.
        if head.starts_with("--") {
            return true;
        }
        if !is_clear(&head) {
            return false;
        }
        let state = if head_names_method(&head) { State::Method } else { State::Other };
        self.begin(state);
        true
    }
}

fn names_method(name: &str) -> bool {
    METHOD_PARAMETERS.contains(&&*parameter_key(name))
}

/// Returns true if all servers read the same name and value in a part with this head, which is in lower case.
fn is_clear(head: &str) -> bool {
    const ENCODING: &str = "content-transfer-encoding";
    let mut lines = head.trim_end().split("\r\n").skip(1).peekable();
    let is_continued =
        head.split("name*").skip(1).any(|rest| rest.starts_with(|it: char| it.is_ascii_digit()));
    lines.peek().is_some_and(|line| !line.is_empty())
        && !is_continued
        && lines.filter(|line| line.trim_start().starts_with(ENCODING)).all(|line| {
            let value = line.split_once(':').map_or("", |(_, value)| value.trim());
            ["7bit", "8bit", "binary"].contains(&value)
        })
}

/// Returns true if any word in the head of a part, which is in lower case, could be such a name: servers read quotes and
/// escapes there in many ways.
fn head_names_method(head: &str) -> bool {
    let head = decode_form(&head.replace('\\', "")).to_ascii_lowercase();
    let words =
        head.split(|character: char| !character.is_ascii_alphanumeric() && !"_.-[ ".contains(character));
    words.map(|word| word.trim_end_matches(['_', '.', '-', '[', ' '])).any(|word| {
        let name = word.trim_start();
        METHOD_PARAMETERS.contains(&name) || METHOD_PARAMETERS.contains(&&*parameter_key(name))
    })
}

fn has_known_charset(content_type: &str) -> bool {
    content_type.split("charset").skip(1).all(|rest| {
        let value = rest.trim_start().strip_prefix('=').unwrap_or_default().trim_start();
        let value = value.trim_start_matches('"').split(['"', ';', ',', ' ']).next().unwrap_or_default();
        CHARSETS.contains(&value)
    })
}

/// The text that separates parts. `None` if the type does not have exactly one, in characters that need no second reading.
fn boundary(content_type: &str) -> Option<String> {
    const NAME: &str = "boundary";
    let lower = content_type.to_ascii_lowercase();
    let start = lower.find(NAME)?;
    if lower.rfind(NAME) != Some(start) || !lower[..start].trim_end().ends_with(';') {
        return None;
    }
    let value = content_type.get(start + NAME.len()..)?.strip_prefix('=')?;
    let (value, rest) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => value.split_at(value.find([';', ' ']).unwrap_or(value.len())),
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_./:=?-".contains(&byte);
    let is_clear = (1..=MAX_BOUNDARY).contains(&value.len()) && value.bytes().all(is_allowed);
    let is_end = rest.trim_start().is_empty() || rest.trim_start().starts_with(';');
    (is_clear && is_end).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL_ENCODED: &str = "application/x-www-form-urlencoded; charset=utf-8";
    const MULTIPART: &str = "multipart/form-data; boundary=\"b-1\"";

    /// Whether a form passes, in one piece and byte by byte, where DELETE and PUT are not allowed.
    fn passes(content_type: &str, body: &str) -> bool {
        let scan = || {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            FormScan::new(&headers, vec!["DELETE", "PUT"]).unwrap().unwrap()
        };
        let mut bytes = scan();
        let is_allowed = scan().allows(body.as_bytes());
        assert_eq!(body.bytes().all(|byte| bytes.allows(&[byte])), is_allowed, "{body}");
        is_allowed
    }

    #[test]
    fn url_encoded_fields_that_name_a_denied_method_are_found() {
        for body in [
            "_method=delete",
            "a=b&_method=DELETE&c=d",
            "a=b;_Method=put",
            "%5f%6Dethod=%64elete",
            "+%20+_method=delete",
            "_method=+delete",
            "_method=patch,delete",
            "_httpmethod=DELETE",
            "_method[]=delete",
            ".method=delete",
            &format!("_method={}delete", "+".repeat(1000)),
            &format!("_method={}%2cdelete", "a".repeat(1000)),
            &format!("_method%00{}=delete", "a".repeat(1000)),
            "%C2%A0_method=delete",
            &format!("{}_method=delete", "+".repeat(1000)),
        ] {
            assert!(!passes(URL_ENCODED, body), "{body}");
        }
        for body in [
            "_method=patch",
            "_method=deleted&x=delete",
            "my_method=delete",
            "method=delete",
            "text=_method%3Ddelete",
            "text=_method=delete",
            &format!("{}_method=delete", "a".repeat(1000)),
            "",
        ] {
            // A longer word is another method, and no byte of it is held back.
            let is_word = body.starts_with("_method=deleted");
            assert_eq!(passes(URL_ENCODED, body), !is_word, "{body}");
        }
    }

    #[test]
    fn parts_that_name_a_denied_method_are_found() {
        let part = |head: &str, value: &str| {
            format!(
                "--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n_method\r\n--b-1\r\n{head}\r\n\r\n{value}\r\n--b-1--\r\n"
            )
        };
        for head in [
            "Content-Disposition: form-data; name=\"_method\"",
            "content-disposition:form-data;name=_method",
            "Content-Disposition: form-data; name=\"_me\\thod\"",
            "Content-Disposition: form-data;\r\n name=\"_METHOD\"",
            "Content-Disposition: form-data; name*=utf-8''%5Fmethod",
            "Content-Disposition: form-data; name=\"_method[]\"",
        ] {
            assert!(!passes(MULTIPART, &part(head, "delete")), "{head}");
            assert!(passes(MULTIPART, &part(head, "patch")), "{head}");
        }
        for head in ["Content-Disposition: form-data; name=\"my_method\"", "X: y"] {
            assert!(passes(MULTIPART, &part(head, "delete")), "{head}");
        }
        let long = format!("X: {}", "y".repeat(MAX_PART_HEAD));
        assert!(!passes(MULTIPART, &part(&long, "")));
    }

    #[test]
    fn what_is_no_form_is_not_read() {
        for content_type in ["application/json", "text/plain", "application/octet-stream"] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            assert!(FormScan::new(&headers, vec!["PUT"]).unwrap().is_none(), "{content_type}");
        }
        assert!(FormScan::new(&HeaderMap::new(), vec!["PUT"]).unwrap().is_some());
        assert!(FormScan::new(&HeaderMap::new(), Vec::new()).unwrap().is_none());
    }

    #[test]
    fn forms_that_servers_read_differently_are_refused() {
        for lines in [
            &["multipart/form-data"][..],
            &["multipart/form-data boundary=b"],
            &["multipart/form-data; boundary=a; boundary=b"],
            &["multipart/form-data; xboundary=a; boundary=b"],
            &["multipart/form-data; xboundary=a"],
            &["multipart/form-data; boundary=\"a;b\""],
            &["multipart/form-data; boundary=\"a\"b"],
            &["multipart/form-data; boundary="],
            &["application/x-www-form-urlencoded; charset=IBM037"],
            &["application/x-www-form-urlencoded; charset=\"utf-16\""],
            &["text/plain", "application/x-www-form-urlencoded"],
            &["application/x-www-form-urlencoded", "text/plain"],
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_TYPE, line.parse().unwrap());
            }
            assert!(FormScan::new(&headers, vec!["PUT"]).is_err(), "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded x".parse().unwrap());
        assert!(FormScan::new(&headers, vec!["PUT"]).unwrap().is_some());
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(FormScan::new(&headers, vec!["PUT"]).is_err());
        for head in [
            "\r\nContent-Disposition: form-data; name=a",
            "X: y\n\nz\r\nContent-Disposition: form-data; name=a",
            "X: y\rz",
            "Content-Disposition: form-data; name*0=\"_me\"; name*1=\"thod\"",
            "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
        ] {
            assert!(!passes(MULTIPART, &format!("--b-1\r\n{head}\r\n\r\nvalue\r\n--b-1--\r\n")), "{head:?}");
        }
        for head in [
            "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: binary",
            "Content-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain",
        ] {
            let body = format!("--b-1\r\n{head}\r\n\r\na\n\n-b-1\r\n--b-\r\n--b-1--\r\nend\r\n\r\n");
            assert!(passes(MULTIPART, &body), "{head:?}");
        }
    }
}
