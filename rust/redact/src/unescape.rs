//! Reads text as decoders of ordinary formats do, a character at a time: JSON and JavaScript (`\u002b`, `\/`, `\n`), URLs
//! (`%2B`), quoted-printable (`=2B`, and `=` at the end of a line) and HTML (`&#43;`, `&amp;`).
//!
//! A *level* is the number of decoders one after the other: level 0 is the text as it stands, level 2 is JSON in JSON, or a
//! URL in HTML. Each level decodes every format at once, since no header says reliably which one a text is in.

/// The most decoders one after the other.
pub(super) const LEVELS: usize = 2;

/// The most digits of a numeric character reference.
const REFERENCE_DIGITS: usize = 7;

const NAMED_REFERENCES: [(&[u8], u8); 5] =
    [(b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"quot", b'"'), (b"apos", b'\'')];

/// One decoded character and the bytes that stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Char {
    pub(super) byte: u8,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it is a line break that quoted-printable leaves out.
    is_soft_break: bool,
}

/// A text, or the part of it that is known so far.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) text: &'a [u8],
    /// Whether nothing follows the text.
    pub(super) is_whole: bool,
}

/// What an introducer turned out to introduce.
enum Sequence {
    Decoded(Char),
    /// Nothing: the introducer stands for itself.
    Plain,
    /// The text ends too early to tell.
    Unfinished,
}

/// Returns true for bytes with which escape sequences begin.
pub(super) fn is_introducer(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%' | b'=' | b'&')
}

pub(super) fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Returns false if `introducer` cannot begin an escape sequence with `next` behind it, at any level.
pub(super) fn can_introduce(introducer: u8, next: u8) -> bool {
    is_introducer(next) && is_introducer(introducer)
        || match introducer {
            b'%' => next.is_ascii_hexdigit(),
            b'=' => next.is_ascii_hexdigit() || is_newline(next),
            b'&' => matches!(next, b'#' | b'a' | b'l' | b'g' | b'q'),
            _ => matches!(next, b'u' | b'x' | b'n' | b'r' | b't') || is_escapable(next) || is_newline(next),
        }
}

/// Returns true for what a backslash in front does not change. It would be in the way of sequences of other formats.
fn is_escapable(byte: u8) -> bool {
    byte.is_ascii_punctuation() && !matches!(byte, b'%' | b'=' | b'&')
}

/// Returns false for what is in no escape sequence that stands for something else: a backslash in front of other punctuation
/// changes nothing.
pub(super) fn can_be_in_sequence(byte: u8) -> bool {
    is_introducer(byte) || byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b';')
}

/// Returns false if white space behind this byte is not at the beginning of a line: the byte is neither white space nor the end of
/// an escape sequence for a line break.
pub(super) fn can_end_gap(byte: u8) -> bool {
    is_newline(byte)
        || is_blank(byte)
        || is_introducer(byte)
        || matches!(byte, b'n' | b'r' | b't' | b'a' | b'A' | b'd' | b'D' | b'0' | b'9' | b';')
        // The escape of a line break can be escaped itself: `%5c%6e`, `%250%41`, `&#10%3b`.
        || matches!(byte, b'1' | b'2' | b'4' | b'b' | b'B' | b'e' | b'E')
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

impl Char {
    fn new(byte: u8, start: usize, end: usize) -> Char {
        Char { byte, start, end, is_soft_break: false }
    }
}

impl Reader<'_> {
    /// Returns the character at `at` as this level sees it; `None` where the text ends, or ends too early to tell.
    pub(super) fn read(&self, at: usize, level: usize) -> Option<Char> {
        let byte = *self.text.get(at)?;
        // What stands for itself does so at each level.
        let is_plain = |byte, end| {
            !is_introducer(byte) || self.text.get(end).is_some_and(|&next| !can_introduce(byte, next))
        };
        let raw = Char::new(byte, at, at + 1);
        let Some(below) = level.checked_sub(1).filter(|_| !is_plain(byte, raw.end)) else { return Some(raw) };
        let first = self.read(at, below)?;
        if is_plain(first.byte, first.end) {
            return Some(first);
        }
        let sequence = match first.byte {
            b'\\' => self.backslash(first, below),
            b'%' => self.hex(first, first.end, below),
            b'=' => self.quoted_printable(first, below),
            b'&' => self.reference(first, below),
            _ => return Some(first),
        };
        match sequence {
            Sequence::Decoded(decoded) => Some(decoded),
            Sequence::Plain => Some(first),
            Sequence::Unfinished => self.is_whole.then_some(first),
        }
    }

    /// The next character of an escape sequence. A line of quoted-printable may end in the middle of it.
    fn inside(&self, at: usize, level: usize) -> Option<Char> {
        let next = self.read(at, level)?;
        if next.is_soft_break { self.read(next.end, level) } else { Some(next) }
    }

    fn backslash(&self, first: Char, level: usize) -> Sequence {
        let Some(kind) = self.inside(first.end, level) else { return Sequence::Unfinished };
        let decoded = |byte| Sequence::Decoded(Char::new(byte, first.start, kind.end));
        match kind.byte {
            b'u' => {
                let mut at = kind.end;
                for _ in 0..2 {
                    match self.inside(at, level) {
                        Some(zero) if zero.byte == b'0' => at = zero.end,
                        Some(_) => return Sequence::Plain,
                        None => return Sequence::Unfinished,
                    }
                }
                self.hex(first, at, level)
            }
            b'x' => self.hex(first, kind.end, level),
            b'n' => decoded(b'\n'),
            b'r' => decoded(b'\r'),
            b't' => decoded(b'\t'),
            byte if is_escapable(byte) || is_newline(byte) => decoded(byte),
            _ => Sequence::Plain,
        }
    }

    /// Two hexadecimal digits.
    fn hex(&self, first: Char, mut at: usize, level: usize) -> Sequence {
        let mut byte = 0;
        for _ in 0..2 {
            let Some(digit) = self.inside(at, level) else { return Sequence::Unfinished };
            let Some(value) = digit_value(digit.byte, 16) else { return Sequence::Plain };
            byte = byte << 4 | value;
            at = digit.end;
        }
        Sequence::Decoded(Char::new(byte, first.start, at))
    }

    fn quoted_printable(&self, first: Char, level: usize) -> Sequence {
        let Some(next) = self.inside(first.end, level) else { return Sequence::Unfinished };
        if is_newline(next.byte) {
            return self.soft_break(first, next, level);
        }
        self.hex(first, first.end, level)
    }

    fn soft_break(&self, first: Char, newline: Char, level: usize) -> Sequence {
        let mut end = newline.end;
        if newline.byte == b'\r' {
            match self.inside(end, level) {
                Some(next) if next.byte == b'\n' => end = next.end,
                None if !self.is_whole => return Sequence::Unfinished,
                _ => {}
            }
        }
        Sequence::Decoded(Char { is_soft_break: true, ..Char::new(b'\n', first.start, end) })
    }

    fn reference(&self, first: Char, level: usize) -> Sequence {
        let Some(kind) = self.inside(first.end, level) else { return Sequence::Unfinished };
        if kind.byte != b'#' {
            return self.named_reference(first, level);
        }
        let (mut at, mut base) = (kind.end, 10);
        match self.inside(at, level) {
            Some(x) if x.byte.eq_ignore_ascii_case(&b'x') => (at, base) = (x.end, 16),
            Some(_) => {}
            None => return Sequence::Unfinished,
        }
        let mut value = 0_u32;
        for count in 0..=REFERENCE_DIGITS {
            let Some(digit) = self.inside(at, level) else { return Sequence::Unfinished };
            at = digit.end;
            match digit_value(digit.byte, base) {
                Some(digit) => value = value * u32::from(base) + u32::from(digit),
                None if digit.byte == b';' && count > 0 => {
                    return match u8::try_from(value) {
                        Ok(byte) if byte.is_ascii() => Sequence::Decoded(Char::new(byte, first.start, at)),
                        _ => Sequence::Plain,
                    };
                }
                None => break,
            }
        }
        Sequence::Plain
    }

    fn named_reference(&self, first: Char, level: usize) -> Sequence {
        let mut name = [0; 4];
        let mut at = first.end;
        for count in 0..=name.len() {
            let Some(letter) = self.inside(at, level) else { return Sequence::Unfinished };
            at = letter.end;
            if letter.byte == b';' {
                let known = NAMED_REFERENCES.iter().find(|(known, _)| *known == &name[..count]);
                return known.map_or(Sequence::Plain, |&(_, byte)| {
                    Sequence::Decoded(Char::new(byte, first.start, at))
                });
            }
            match name.get_mut(count) {
                Some(place) if letter.byte.is_ascii_lowercase() => *place = letter.byte,
                _ => break,
            }
        }
        Sequence::Plain
    }
}

/// The value of two hexadecimal digits.
pub(super) fn hex_value(high: u8, low: u8) -> Option<u8> {
    Some(digit_value(high, 16)? << 4 | digit_value(low, 16)?)
}

pub(super) fn digit_value(byte: u8, base: u8) -> Option<u8> {
    char::from(byte).to_digit(u32::from(base)).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[path = "unescape_tests.rs"]
mod tests;
