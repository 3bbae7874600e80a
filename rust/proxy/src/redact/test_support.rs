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
