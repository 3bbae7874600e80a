//! Finds requests of HTTP/2 whose path the HTTP library refuses, though servers take it.
//!
//! Over HTTP/1 such paths are mended (`http1_heads`). In HTTP/2 they are compressed, and what is compressed next depends on them: a
//! path cannot be replaced there. These requests are told to come by HTTP/1.1 instead (RFC 9113, section 7:
//! `HTTP_1_1_REQUIRED`), which curl then does by itself.
//!
//! Only the beginning of a head is looked at, and without the compression's state: a path that was sent before, on the same
//! connection, is not known again. What is decided here is only which error such a request gets.

use std::collections::VecDeque;
use std::sync::LazyLock;

const HEAD: usize = 9;
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// What is looked at of a head: the path is one of its first fields.
const MOST: usize = 8 * 1024;
/// How many streams are remembered.
const REMEMBERED: usize = 64;
/// The entries of the compression's static table that have the name `:path` (RFC 7541, appendix A).
const PATHS: [usize; 2] = [4, 5];

/// Reads what a client sends, from its first byte on.
pub(super) struct PathScan {
    /// Bytes that are not looked at.
    skipped: usize,
    /// The head of a frame, then also its payload if that is a request's head.
    frame: Vec<u8>,
    /// The last streams that have such a path.
    found: VecDeque<u32>,
}

impl PathScan {
    pub(super) fn new() -> PathScan {
        PathScan { skipped: PREFACE, frame: Vec::new(), found: VecDeque::new() }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = if self.skipped > 0 { self.skipped } else { self.wanted() - self.frame.len() };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            bytes = later;
            if self.skipped > 0 {
                self.skipped -= now.len();
                continue;
            }
            self.frame.extend_from_slice(now);
            if self.frame.len() == self.wanted() {
                self.finish_frame();
            }
        }
    }

    /// Returns true for a request that has such a path, unless many came after it.
    pub(super) fn is_found(&self, stream: u32) -> bool {
        self.found.contains(&stream)
    }

    fn length(&self) -> usize {
        let [a, b, c] = [0, 1, 2].map(|index| self.frame.get(index).copied().unwrap_or_default());
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn wanted(&self) -> usize {
        match self.frame.get(3) {
            Some(&HEADERS) if self.frame.len() >= HEAD => HEAD + self.length().min(MOST),
            _ => HEAD,
        }
    }

    fn finish_frame(&mut self) {
        self.skipped = self.length() - (self.frame.len() - HEAD);
        let frame = std::mem::take(&mut self.frame);
        let [.., flags, a, b, c, d] = *frame.first_chunk::<HEAD>().unwrap_or(&[0; HEAD]);
        let Some(mut block) = frame.get(HEAD..).filter(|_| frame.get(3) == Some(&HEADERS)) else { return };
        if flags & PADDED != 0 {
            block = block.get(1..).unwrap_or_default();
        }
        if flags & PRIORITY != 0 {
            block = block.get(5..).unwrap_or_default();
        }
        if path(block).is_some_and(|path| path.iter().any(|byte| is_mended(*byte))) {
            self.found.truncate(REMEMBERED - 1);
            self.found.push_front(u32::from_be_bytes([a & 0x7f, b, c, d]));
        }
    }
}

/// Returns true for what is mended over HTTP/1.
fn is_mended(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`') || !byte.is_ascii()
}

/// The path in the beginning of a compressed head (RFC 7541, section 6), if it is written there.
fn path(mut block: &[u8]) -> Option<Vec<u8>> {
    loop {
        let first = *block.first()?;
        if first & 0x80 != 0 {
            integer(&mut block, 7)?;
        } else if first & 0xe0 == 0x20 {
            integer(&mut block, 5)?;
        } else {
            let name = integer(&mut block, if first & 0x40 != 0 { 6 } else { 4 })?;
            let is_path = match name {
                0 => string(&mut block)?.decode() == b":path",
                name => PATHS.contains(&name),
            };
            let value = string(&mut block)?;
            if is_path {
                return Some(value.decode());
            }
        }
    }
}

/// Section 5.1.
fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(*block.split_off_first()?) & most;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *block.split_off_first()?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string as it is written.
struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl Text<'_> {
    fn decode(&self) -> Vec<u8> {
        if self.is_huffman { huffman(self.bytes) } else { self.bytes.to_vec() }
    }
}

/// Section 5.2.
fn string<'a>(block: &mut &'a [u8]) -> Option<Text<'a>> {
    let is_huffman = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    Some(Text { bytes: block.split_off(..length)?, is_huffman })
}

/// The lengths of the codes of all bytes (RFC 7541, appendix B). The codes follow from them: they count up, the shorter ones
/// first, in the order of the bytes.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];

/// The codes, computed once from [`LENGTHS`].
struct Codes {
    /// All bytes in the order of their codes.
    bytes: Vec<u8>,
    /// By the length of codes: the first code, the position of its byte in that order, and the number of codes.
    firsts: [(u32, usize, u32); 31],
}

static CODES: LazyLock<Codes> = LazyLock::new(|| {
    let mut bytes: Vec<u8> = (0..=u8::MAX).collect();
    bytes.sort_by_key(|byte| LENGTHS[usize::from(*byte)]);
    let mut firsts = [(0_u32, 0_usize, 0_u32); 31];
    let (mut code, mut place) = (0_u32, 0);
    for length in 1..31_u8 {
        code <<= 1;
        let count = LENGTHS.iter().filter(|known| **known == length).count();
        let codes = u32::try_from(count).unwrap_or_default();
        firsts[usize::from(length)] = (code, place, codes);
        code += codes;
        place += count;
    }
    Codes { bytes, firsts }
});

fn huffman(text: &[u8]) -> Vec<u8> {
    let Codes { bytes, firsts } = &*CODES;
    let mut decoded = Vec::new();
    let (mut code, mut length) = (0_u32, 0_usize);
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1))) {
        code = code << 1 | bit;
        length += 1;
        let Some(&(first, place, codes)) = firsts.get(length) else { break };
        if code >= first && code - first < codes {
            decoded.extend(bytes.get(place + (code - first) as usize));
            (code, length) = (0, 0);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn texts_of_the_standard_are_decoded() {
        // RFC 7541, sections C.4.1 and C.6.1.
        for (encoded, expected) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
        ] {
            assert_eq!(huffman(encoded), expected.as_bytes());
        }
        // `"` has the code 11111110|01, and the rest is filled with ones.
        assert_eq!(huffman(&[0xfe, 0x7f]), b"\"");
    }

    #[test]
    fn a_path_is_found_wherever_the_frame_is_cut() {
        let fields = b"\x82\x87\x41\x06a.test\x44\x04/q\"x";
        let priority = [&[0, 0, 0, 0, 9][..], fields].concat();
        let padded = [&[2][..], fields, &[0, 0]].concat();
        let bytes = [
            &[b'p'; PREFACE][..],
            &frame(4, 0, 0, &[0; 12]),
            &frame(HEADERS, 5, 1, b"\x82\x87\x41\x06a.test\x44\x03/q="),
            &frame(0, 1, 3, b"\x44\x04/q\"x"),
            &frame(HEADERS, 5, 5, fields),
        ];
        let mut scan = PathScan::new();
        bytes.concat().iter().for_each(|byte| scan.read(&[*byte]));
        assert!(scan.is_found(5) && !scan.is_found(1) && !scan.is_found(3));
        scan.read(&frame(HEADERS, 5 | PRIORITY, 7, &priority));
        assert!(scan.is_found(7));
        scan.read(&frame(HEADERS, 5 | PADDED, 9, &padded));
        assert!(scan.is_found(9));
        // With the name written out; a path that is known already; nothing that ends too early.
        scan.read(&frame(HEADERS, 5, 11, b"\x00\x05:path\x02/<"));
        assert!(scan.is_found(11));
        for fields in [&b"\xbe"[..], b"\x44", b"\x44\xff", b"\x44\x7f\xff\xff\xff\xff", b""] {
            scan.read(&frame(HEADERS, 5, 13, fields));
            assert!(!scan.is_found(13), "{fields:?}");
        }
        scan.read(&frame(HEADERS, 5, 15, &[&b"\x82"[..], &[0; 3 * MOST]].concat()));
        scan.read(&frame(HEADERS, 5, 17, fields));
        assert!(scan.is_found(17));
    }
}
