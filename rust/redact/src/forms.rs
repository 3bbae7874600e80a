//! The spellings in which a secret can come back, each with the dummy in the same spelling.
//!
//! What a server does to a header that it echoes is open-ended (it can reverse it, or write it in hex). These are
//! the spellings that ordinary software makes: raw, in lower case, base64 at any alignment, URL-, JSON- and HTML-escaped,
//! UTF-16.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::stand_in::{fit, plain};
use super::unescape::{LEVELS, Reader, is_introducer, is_newline};

/// One spelling.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Form {
    /// The secret in it.
    pub(crate) secret: Vec<u8>,
    /// The dummy in it.
    pub(crate) dummy: Vec<u8>,
}

/// The text of a secret that is looked for, and what stands in for it.
pub(super) struct Target {
    pub(super) secret: Vec<u8>,
    /// Characters that no format escapes.
    pub(super) dummy: Vec<u8>,
}

/// Every spelling once; the raw one first.
pub(crate) fn forms(secret: &str, dummy: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    add(&mut forms, secret.as_bytes().to_vec(), dummy.as_bytes().to_vec());
    // What names of hosts and of headers become.
    add(&mut forms, secret.to_ascii_lowercase().into_bytes(), dummy.to_ascii_lowercase().into_bytes());
    for spell in escapes() {
        add(&mut forms, spell(secret).into_bytes(), spell(dummy).into_bytes());
    }
    add(&mut forms, utf16(secret), utf16(dummy));
    for secret in readings(secret) {
        let dummy = fit(&plain(dummy), secret.len());
        add(&mut forms, secret, dummy);
    }
    add_base64(&mut forms, secret.as_bytes(), &fit(dummy.as_bytes(), secret.len()));
    forms
}

/// What is looked for between line breaks and escape sequences: the secret as decoders read it, and in base64.
pub(super) fn targets(secret: &str, dummy: &str) -> Vec<Target> {
    let plain = plain(dummy);
    let mut targets: Vec<Target> =
        readings(secret).into_iter().map(|secret| Target { secret, dummy: plain.clone() }).collect();
    let fitted = fit(dummy.as_bytes(), secret.len());
    for shift in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            // The characters that are the secret's alone.
            let own = (shift * 8_usize).div_ceil(6)..(shift + secret.len()) * 8 / 6;
            let spell = |text: &[u8]| {
                let text = engine.encode([&vec![0; shift], text].concat());
                text.as_bytes()[own.clone()].to_vec()
            };
            targets.push(Target { secret: spell(secret.as_bytes()), dummy: spell(&fitted) });
        }
    }
    targets
}

/// What decoders make of a secret in which there seem to be escape sequences; the secret itself first.
fn readings(secret: &str) -> Vec<Vec<u8>> {
    let mut readings: Vec<Vec<u8>> = (0..=LEVELS).map(|level| decoded(secret, level)).collect();
    // Padding at the end begins an escape sequence together with what follows it.
    let is_padding = |last: Option<&u8>| last.is_some_and(|last| is_introducer(*last));
    for index in 0..readings.len() {
        let mut cut = readings[index].clone();
        while is_padding(cut.last()) {
            cut.pop();
        }
        readings.push(cut);
    }
    readings.sort_by_key(|reading| std::cmp::Reverse(reading.len()));
    readings.dedup();
    readings
}

/// The text as decoders read it, without line breaks.
fn decoded(text: &str, level: usize) -> Vec<u8> {
    let reader = Reader { text: text.as_bytes(), is_whole: true };
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(next) = reader.read(at, level) {
        at = next.end;
        if !is_newline(next.byte) {
            decoded.push(next.byte);
        }
    }
    decoded
}

/// Every byte that is not unreserved (RFC 3986) as `%XX`: right in any part of a URL.
pub fn percent(text: &str) -> String {
    escape(text, |byte| (!is_unreserved(byte)).then(|| format!("%{byte:02X}")))
}

fn add(forms: &mut Vec<Form>, secret: Vec<u8>, dummy: Vec<u8>) {
    if secret != dummy && !forms.iter().any(|form| form.secret == secret) {
        forms.push(Form { secret, dummy });
    }
}

type Spell = Box<dyn Fn(&str) -> String>;

fn escapes() -> Vec<Spell> {
    let mut escapes: Vec<Spell> = Vec::new();
    // What each kind of URL encoder leaves alone beside letters and digits, from "everything" to "nothing". Space is
    // `+` in forms; the last encodes letters and digits too.
    for kept in [
        "-._~",
        "-._*",
        "-._~!'()*",
        "-._~!$&'()*+,;=:@",
        "-._~!$&'()*+,;=:@/?",
        "-._~!$&'()*+,;=:@/?#",
        "-._~/",
        "",
    ] {
        for upper in [true, false] {
            let encode = move |text: &str| {
                escape(text, |byte| {
                    let keeps = byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte);
                    (!keeps).then(|| hex("%", byte, upper))
                })
            };
            escapes.push(Box::new(encode));
            escapes.push(Box::new(move |text| encode(text).replace("%20", "+")));
            // A URL inside a URL.
            escapes.push(Box::new(move |text| encode(&encode(text))));
        }
    }
    for upper in [true, false] {
        escapes.push(Box::new(move |text| escape(text, |byte| Some(hex("%", byte, upper)))));
        // JSON by encoders that protect HTML, from the plain one to "everything".
        for escaped in ["", "<>&", "<>&'", "<>&'=", "<>&'+`", "\"<>&'", "\"<>&'+`"] {
            for slash in [false, true] {
                escapes.push(Box::new(move |text| {
                    escape(text, |byte| match byte {
                        _ if escaped.as_bytes().contains(&byte) => Some(hex("\\u00", byte, upper)),
                        b'"' | b'\\' => Some(format!("\\{}", char::from(byte))),
                        b'/' if slash => Some("\\/".to_owned()),
                        _ => None,
                    })
                }));
            }
        }
        escapes.push(Box::new(move |text| {
            escape(text, |byte| (!byte.is_ascii_alphanumeric()).then(|| hex("\\u00", byte, upper)))
        }));
        escapes.push(Box::new(move |text| escape(text, |byte| Some(hex("\\u00", byte, upper)))));
    }
    // JSON inside JSON.
    escapes.push(Box::new(|text| {
        text.replace('\\', r"\\").replace('"', r#"\""#).replace('\\', r"\\").replace('"', r#"\""#)
    }));
    for quotes in [("&quot;", "&#39;"), ("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "'")] {
        escapes.push(Box::new(move |text| {
            escape(text, |byte| match byte {
                b'&' => Some("&amp;".to_owned()),
                b'<' => Some("&lt;".to_owned()),
                b'>' => Some("&gt;".to_owned()),
                b'"' => Some(quotes.0.to_owned()),
                b'\'' => Some(quotes.1.to_owned()),
                _ => None,
            })
        }));
    }
    escapes
}

fn escape(text: &str, replace: impl Fn(u8) -> Option<String>) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Secrets and dummies are ASCII (the vault refuses others), so bytes are characters.
    for byte in text.bytes() {
        match replace(byte) {
            Some(sequence) => escaped.push_str(&sequence),
            None => escaped.push(char::from(byte)),
        }
    }
    escaped
}

fn hex(before: &str, byte: u8, upper: bool) -> String {
    if upper { format!("{before}{byte:02X}") } else { format!("{before}{byte:02x}") }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Without the outer zero byte, which makes it one form for both byte orders.
fn utf16(text: &str) -> Vec<u8> {
    let mut wide: Vec<u8> = text.bytes().flat_map(|byte| [byte, 0]).collect();
    wide.pop();
    wide
}

/// Base64 spells three bytes in four characters, so a secret looks different at each of three alignments, and its
/// first and last character share bits with its neighbours. The characters that are the secret's alone are always
/// found (what stays of the secret is at most four bits of its first and of its last byte); the shared ones too when
/// the neighbour is the `:` of Basic credentials or the end.
fn add_base64(forms: &mut Vec<Form>, secret: &[u8], dummy: &[u8]) {
    for shift in 0..3_usize {
        for before in [None, Some(b':')] {
            for after in [None, Some(&b""[..]), Some(&b":"[..])] {
                let cut = |text: &[u8]| {
                    let mut bytes = vec![before.unwrap_or(0); shift];
                    bytes.extend_from_slice(text);
                    let bits = bytes.len() * 8;
                    bytes.extend_from_slice(after.unwrap_or_default());
                    let start = match before {
                        None => (shift * 8).div_ceil(6),
                        Some(_) => shift * 8 / 6,
                    };
                    let end = match after {
                        None => bits / 6,
                        Some(_) => bits.div_ceil(6),
                    };
                    (bytes, start..end)
                };
                let ((secret, range), (dummy, _)) = (cut(secret), cut(dummy));
                for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                    let spell = |bytes: &[u8]| engine.encode(bytes)[range.clone()].to_owned();
                    let (secret, dummy) = (spell(&secret), spell(&dummy));
                    // Base64 inside JSON and URLs: `+` and `/` are escaped there.
                    let slashed = |text: &str| text.replace('/', "\\/");
                    let lower = |text: &str| text.replace('/', "%2f").replace('+', "%2b");
                    add(forms, secret.clone().into_bytes(), dummy.clone().into_bytes());
                    add(forms, slashed(&secret).into_bytes(), slashed(&dummy).into_bytes());
                    add(forms, percent(&secret).into_bytes(), percent(&dummy).into_bytes());
                    add(forms, lower(&secret).into_bytes(), lower(&dummy).into_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "forms_tests.rs"]
mod tests;
