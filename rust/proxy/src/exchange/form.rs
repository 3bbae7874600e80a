//! Forms whose fields ask the server to take a POST for another method, as Rails, Laravel and Symfony do by `_method`.
//!
//! A form is read as it goes by, and only where the rules allow POST and not all of the methods that a field could name. It is
//! judged byte by byte, so that no byte goes on which completes the name of such a method. What frameworks read by default is
//! read here: URL-encoded forms (also without a type) and multipart ones. Nothing is read in JSON.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::overrides::METHOD_PARAMETERS;
use crate::spelling::parameter_key;
use crate::swap::decode_form;

/// The methods that forms stand for.
pub(super) const METHODS: [&str; 3] = ["DELETE", "PUT", "PATCH"];

/// The most bytes of a name, each of its characters encoded, and of a method behind white space.
const MOST: usize = 128;
/// The most bytes of the head of a part.
const MOST_HEAD: usize = 16 * 1024;

/// Reads one form for fields that stand for a method.
pub(super) struct FormScan {
    /// The methods that the rules do not allow.
    denied: Vec<&'static str>,
    format: Format,
    /// What is being read, as far as it matters.
    text: Vec<u8>,
    state: State,
}

enum Format {
    UrlEncoded,
    /// Parts between lines of this text, which has `--` in front.
    Multipart(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a name, or in the head of a part.
    Name,
    /// In the value of a field that stands for a method.
    Method,
    /// In the value of any other field; in front of the first part.
    Other,
}

impl FormScan {
    /// Returns nothing for what is no form, or if every method is allowed.
    pub(super) fn new(headers: &HeaderMap, denied: Vec<&'static str>) -> Option<Box<FormScan>> {
        if denied.is_empty() {
            return None;
        }
        let content_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let content_type = content_type.unwrap_or_default();
        let kind = content_type.split([';', ',']).next().unwrap_or_default().trim().to_ascii_lowercase();
        let (format, state) = match kind.as_str() {
            "" | "application/x-www-form-urlencoded" => (Format::UrlEncoded, State::Name),
            kind if kind.starts_with("multipart/") => {
                (Format::Multipart([b"--", boundary(&content_type)?.as_bytes()].concat()), State::Other)
            }
            _ => return None,
        };
        Some(Box::new(FormScan { denied, format, text: Vec::new(), state }))
    }

    /// Reads on. Returns false if the server could take the form for a method that is not allowed.
    pub(super) fn allows(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| match &self.format {
            Format::UrlEncoded => self.field_allows(byte),
            Format::Multipart(_) => self.part_allows(byte),
        })
    }

    fn field_allows(&mut self, byte: u8) -> bool {
        match (self.state, byte) {
            (_, b'&' | b';') => {
                self.text.clear();
                self.state = State::Name;
            }
            (State::Name, b'=') => {
                let name = decode_form(&String::from_utf8_lossy(&self.text));
                let is_method = self.text.len() <= MOST && names_method(&name);
                self.state = if is_method { State::Method } else { State::Other };
                self.text.clear();
            }
            (State::Name, _) => {
                // White space in front of a name does not belong to it, however much there is.
                self.push(byte);
                if decode_form(&String::from_utf8_lossy(&self.text)).trim_start().is_empty() {
                    self.text.clear();
                }
            }
            (State::Method, _) => {
                self.push(byte);
                return !self.is_denied(&decode_form(&String::from_utf8_lossy(&self.text)));
            }
            (State::Other, _) => {}
        }
        true
    }

    fn part_allows(&mut self, byte: u8) -> bool {
        let Format::Multipart(delimiter) = &self.format else { return true };
        let most = if self.state == State::Name { MOST_HEAD } else { delimiter.len().max(MOST) };
        if self.text.len() == most {
            match self.state {
                // What a head says that is as long is not known.
                State::Name => return false,
                _ => drop(self.text.remove(0)),
            }
        }
        self.text.push(byte);
        if self.state != State::Name && self.text.ends_with(delimiter) {
            self.text.clear();
            self.state = State::Name;
            return true;
        }
        match self.state {
            State::Name if self.text.ends_with(b"\n\n") || self.text.ends_with(b"\n\r\n") => {
                let head = String::from_utf8_lossy(&self.text).into_owned();
                self.state = if head_names_method(&head) { State::Method } else { State::Other };
                self.text.clear();
                true
            }
            State::Method => !self.is_denied(&String::from_utf8_lossy(&self.text)),
            _ => true,
        }
    }

    fn push(&mut self, byte: u8) {
        if self.text.len() <= MOST {
            self.text.push(byte);
        }
    }

    /// Returns true as soon as one word of a value is a method that is not allowed.
    fn is_denied(&self, value: &str) -> bool {
        let mut words = value.split(|character: char| !character.is_ascii_alphabetic());
        words.any(|word| self.denied.iter().any(|method| word.eq_ignore_ascii_case(method)))
    }
}

fn names_method(name: &str) -> bool {
    METHOD_PARAMETERS.contains(&&*parameter_key(name))
}

/// Returns true if any word in the head of a part could be such a name: servers read quotes and escapes there in many ways.
fn head_names_method(head: &str) -> bool {
    let head = decode_form(&head.replace('\\', "")).to_ascii_lowercase();
    let words =
        head.split(|character: char| !character.is_ascii_alphanumeric() && !"_.-[ ".contains(character));
    words.map(|word| word.trim_end_matches(['_', '.', '-', '[', ' '])).any(|word| {
        let name = word.trim_start();
        METHOD_PARAMETERS.contains(&name) || METHOD_PARAMETERS.contains(&&*parameter_key(name))
    })
}

/// The text that separates parts.
fn boundary(content_type: &str) -> Option<String> {
    let (_, parameters) = content_type.split_once([';', ','])?;
    let start = parameters.to_ascii_lowercase().find("boundary")?;
    let value = parameters.get(start..)?.split_once('=')?.1.trim_start();
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => value.split([';', ',', ' ']).next()?,
    };
    Some(value.to_owned()).filter(|value| !value.is_empty())
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
            FormScan::new(&headers, vec!["DELETE", "PUT"]).unwrap()
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
            assert!(!passes(MULTIPART, &part(head, "delete").replace("\r\n", "\n")), "{head}");
            assert!(passes(MULTIPART, &part(head, "patch")), "{head}");
        }
        for head in ["Content-Disposition: form-data; name=\"my_method\"", "X: y"] {
            assert!(passes(MULTIPART, &part(head, "delete")), "{head}");
        }
        let long = format!("X: {}", "y".repeat(MOST_HEAD));
        assert!(!passes(MULTIPART, &part(&long, "")));
    }

    #[test]
    fn what_is_no_form_is_not_read() {
        for content_type in ["application/json", "text/plain", "application/octet-stream"] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            assert!(FormScan::new(&headers, vec!["PUT"]).is_none(), "{content_type}");
        }
        assert!(FormScan::new(&HeaderMap::new(), vec!["PUT"]).is_some());
        assert!(FormScan::new(&HeaderMap::new(), Vec::new()).is_none());
    }
}
