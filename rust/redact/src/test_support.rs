//! What the tests of this folder share.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};

use super::decode::Coding;
use super::{Body, BoxError, Needles, Redactor};

pub(super) const SECRET: &str = "tok_live_Qm7Zr2Xv9Lc4Hd8K";
pub(super) const SAME: &str = "tok_live_aaaaBBBBccccDDDD";
pub(super) const LONGER: &str = "dummy-aaaaBBBBccccDDDDeeeeFFFFgggg";

pub(super) fn redactor(dummy: &str) -> Redactor {
    Redactor::new(Arc::new(Needles::new([(SECRET, dummy)])), false)
}

pub(super) fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect()
}

pub(super) const CODINGS: [(Coding, &str); 5] = [
    (Coding::Identity, "identity"),
    (Coding::Gzip, "gzip"),
    (Coding::Deflate, "deflate"),
    (Coding::Brotli, "br"),
    (Coding::Zstd, "zstd"),
];

/// Compresses the parts, each readable before the next one comes: (the bytes up to each part's end, the closing).
pub(super) fn encode(coding: Coding, parts: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    fn flushed<W: Write>(
        mut writer: W,
        parts: &[&[u8]],
        taken: impl Fn(&mut W) -> Vec<u8>,
    ) -> (Vec<Vec<u8>>, W) {
        let mut pieces = Vec::new();
        for part in parts {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
            pieces.push(taken(&mut writer));
        }
        (pieces, writer)
    }
    let level = flate2::Compression::default();
    match coding {
        Coding::Identity => (parts.iter().map(|part| part.to_vec()).collect(), Vec::new()),
        Coding::Gzip => {
            let writer = flate2::write::GzEncoder::new(Vec::new(), level);
            let (pieces, writer) = flushed(writer, parts, |writer| std::mem::take(writer.get_mut()));
            (pieces, writer.finish().unwrap())
        }
        Coding::Deflate => {
            let writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
            let (pieces, writer) = flushed(writer, parts, |writer| std::mem::take(writer.get_mut()));
            (pieces, writer.finish().unwrap())
        }
        Coding::Brotli => {
            let shared = Shared::default();
            let writer = brotli::CompressorWriter::new(shared.clone(), 4096, 5, 22);
            let (pieces, writer) = flushed(writer, parts, |_| shared.take());
            drop(writer);
            (pieces, shared.take())
        }
        Coding::Zstd => {
            let mut context = zstd_safe::CCtx::create();
            let mut pieces = Vec::new();
            for part in parts {
                let mut piece = vec![0; zstd_safe::compress_bound(part.len()) + 64];
                let mut target = zstd_safe::OutBuffer::around(&mut piece[..]);
                let mut source = zstd_safe::InBuffer::around(part);
                let flush = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush;
                assert_eq!(context.compress_stream2(&mut target, &mut source, flush), Ok(0));
                let length = target.pos();
                piece.truncate(length);
                pieces.push(piece);
            }
            let mut last = vec![0; 64];
            let mut target = zstd_safe::OutBuffer::around(&mut last[..]);
            assert_eq!(context.end_stream(&mut target), Ok(0));
            let length = target.pos();
            last.truncate(length);
            (pieces, last)
        }
    }
}

pub(super) fn encode_whole(coding: Coding, text: &[u8]) -> Vec<u8> {
    let (mut pieces, last) = encode(coding, &[text]);
    pieces.push(last);
    pieces.concat()
}

#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A body that has what it was given and nothing more until it is given more.
#[derive(Default)]
pub(super) struct Feed {
    pub(super) frames: std::collections::VecDeque<Result<Frame<Bytes>, BoxError>>,
    pub(super) ended: bool,
    pub(super) length: Option<u64>,
}

impl Feed {
    pub(super) fn of(chunks: &[&[u8]]) -> Feed {
        let frames = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
        Feed { frames, ended: true, length: Some(chunks.iter().map(|chunk| chunk.len() as u64).sum()) }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.frames.push_back(Ok(Frame::data(Bytes::copy_from_slice(data))));
    }
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            Some(frame) => {
                if let (Some(length), Ok(frame)) = (&mut self.length, &frame) {
                    *length -= frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                Poll::Ready(Some(frame))
            }
            None if self.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What a body gives until it waits or ends.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) data: Vec<u8>,
    pub(super) frames: usize,
    pub(super) largest: usize,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) error: Option<String>,
    pub(super) ended: bool,
}

pub(super) fn read(body: &mut Body<Feed>) -> Given {
    let mut given = Given::default();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut *body).poll_frame(&mut context) {
            Poll::Pending => return given,
            Poll::Ready(None) => {
                given.ended = true;
                return given;
            }
            Poll::Ready(Some(Err(error))) => given.error = Some(error.to_string()),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!(!data.is_empty());
                    given.frames += 1;
                    given.largest = given.largest.max(data.len());
                    given.data.extend_from_slice(&data);
                }
                Err(frame) => given.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// One character as a decoder gives it, and the bytes that it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    pub(super) byte: u8,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_soft_break: bool,
}

/// One decoder of all formats over a whole text: written for its plainness, as what the real one is compared with.
pub(super) fn decode_all(view: &[Decoded]) -> Vec<Decoded> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < view.len() {
        // What follows, with one line break of quoted-printable before each character left out.
        let mut inside = Vec::new();
        let mut next = at + 1;
        while next < view.len() && inside.len() < 40 {
            if view[next].is_soft_break && next + 1 < view.len() {
                next += 1;
            }
            inside.push(next);
            next += 1;
        }
        let bytes: Vec<u8> = inside.iter().map(|&place| view[place].byte).collect();
        let soft = (view[at].byte == b'=').then(|| soft_break(&bytes)).flatten();
        let decoded = match soft {
            Some(length) => Some((b'\n', inside[length - 1])),
            None => sequence(view[at].byte, &bytes).map(|(byte, length)| (byte, inside[length - 1])),
        };
        let (byte, last) = decoded.unwrap_or((view[at].byte, at));
        out.push(Decoded {
            byte,
            start: view[at].start,
            end: view[last].end,
            is_soft_break: soft.is_some() || (last == at && view[at].is_soft_break),
        });
        at = last + 1;
    }
    out
}

/// How long a line break at the beginning of a text is.
fn soft_break(text: &[u8]) -> Option<usize> {
    match text {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}

/// The character of an escape sequence, and how long it is behind its first byte.
pub(super) fn sequence(introducer: u8, text: &[u8]) -> Option<(u8, usize)> {
    let hex = |text: &[u8]| {
        let digits = std::str::from_utf8(text.get(..2)?).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
    };
    match (introducer, text) {
        (b'%', _) => Some((hex(text)?, 2)),
        (b'=', _) => Some((hex(text)?, 2)),
        (b'\\', [b'u', b'0', b'0', digits @ ..]) => Some((hex(digits)?, 5)),
        (b'\\', [b'x', digits @ ..]) => Some((hex(digits)?, 3)),
        (b'\\', [b'n', ..]) => Some((b'\n', 1)),
        (b'\\', [b'r', ..]) => Some((b'\r', 1)),
        (b'\\', [b't', ..]) => Some((b'\t', 1)),
        (b'\\', [byte, ..]) if is_escapable(*byte) => Some((*byte, 1)),
        (b'&', _) => {
            let end = text.iter().position(|byte| *byte == b';')?;
            let name = std::str::from_utf8(&text[..end]).ok()?;
            let number = |digits: &str, base| {
                let is_number = digits.len() <= 7 && digits.chars().all(|digit| digit.is_digit(base));
                is_number.then(|| u32::from_str_radix(digits, base).ok())?
            };
            let value = match name {
                "amp" => 38,
                "lt" => 60,
                "gt" => 62,
                "quot" => 34,
                "apos" => 39,
                _ => match name.strip_prefix('#')? {
                    hex if hex.starts_with(['x', 'X']) => number(&hex[1..], 16)?,
                    decimal => number(decimal, 10)?,
                },
            };
            u8::try_from(value).ok().filter(u8::is_ascii).map(|byte| (byte, end + 1))
        }
        _ => None,
    }
}

fn is_escapable(byte: u8) -> bool {
    b"\r\n".contains(&byte) || (byte.is_ascii_punctuation() && !b"%=&".contains(&byte))
}

/// A format in which software writes text into text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// Lines of the same length.
    Lines,
    /// A string of JSON in which any character may be written as `\u0041`.
    Json,
    Percent,
    QuotedPrintable,
    Html,
}

impl Layer {
    pub(super) const ALL: [Layer; 5] =
        [Layer::Lines, Layer::Json, Layer::Percent, Layer::QuotedPrintable, Layer::Html];

    /// The seed says which characters are escaped, letters and digits among them or not, and how long lines are. A backslash is escaped always or never, as
    /// encoders do.
    pub(super) fn encode(self, text: &[u8], seed: u64, letters: bool) -> Vec<u8> {
        let mixed = |index: usize| (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let is_chosen =
            |index: usize| mixed(index) >> 61 == 0 && (letters || text[index].is_ascii_punctuation());
        let upper =
            |number: u8| if seed & 4 == 0 { format!("{number:02x}") } else { format!("{number:02X}") };
        let width = 24 + usize::try_from(seed % 53).unwrap();
        let mut out = Vec::new();
        let mut column = 0;
        for (index, &byte) in text.iter().enumerate() {
            let is_line = b"\r\n".contains(&byte);
            let written = match self {
                Layer::Lines => vec![byte],
                Layer::Json => match byte {
                    b'\n' => b"\\n".to_vec(),
                    b'\r' => b"\\r".to_vec(),
                    b'"' | b'\\' => vec![b'\\', byte],
                    _ if is_chosen(index) => format!("\\u00{}", upper(byte)).into_bytes(),
                    _ => vec![byte],
                },
                Layer::Percent if is_line || b"%\\".contains(&byte) || is_chosen(index) => {
                    format!("%{}", upper(byte)).into_bytes()
                }
                Layer::QuotedPrintable if byte == b'=' || (b"_-+/".contains(&byte) && is_chosen(index)) => {
                    format!("={byte:02X}").into_bytes()
                }
                Layer::Html if byte == b'&' => b"&amp;".to_vec(),
                Layer::Html if !is_line && byte != b'\\' && is_chosen(index) => {
                    format!("&#x{};", upper(byte)).into_bytes()
                }
                Layer::Percent | Layer::QuotedPrintable | Layer::Html => vec![byte],
            };
            if column + written.len() > width && matches!(self, Layer::Lines | Layer::QuotedPrintable) {
                let line: &[u8] = match (self, seed & 24) {
                    (Layer::QuotedPrintable, 0 | 8) => b"=\r\n",
                    (Layer::QuotedPrintable, _) => b"=\n",
                    (_, 0) => b"\n",
                    (_, 8) => b"\n    ",
                    (_, _) => b"\r\n",
                };
                out.extend_from_slice(line);
                column = 0;
            }
            column = if is_line { 0 } else { column + written.len() };
            out.extend_from_slice(&written);
        }
        out
    }

    /// The opposite of [`Layer::encode`], but that line breaks and white space in the text are lost.
    pub(super) fn decode(self, text: &[u8]) -> Vec<u8> {
        let introducer = match self {
            Layer::Lines => {
                return text.iter().copied().filter(|byte| !b"\r\n ".contains(byte)).collect();
            }
            Layer::Json => b'\\',
            Layer::Percent => b'%',
            Layer::QuotedPrintable => b'=',
            Layer::Html => b'&',
        };
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let after = &text[at + 1..];
            if byte == b'='
                && introducer == b'='
                && let Some(length) = soft_break(after)
            {
                at += 1 + length;
                continue;
            }
            let decoded = if byte == introducer { sequence(byte, after) } else { None };
            let (byte, length) = decoded.unwrap_or((byte, 0));
            out.push(byte);
            at += 1 + length;
        }
        out
    }
}
