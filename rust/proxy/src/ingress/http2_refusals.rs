//! Reasons for HTTP/2 requests that the HTTP/2 library refuses by itself.
//!
//! A request that breaks the rules of HTTP/2 never reaches the service: the library resets its stream (PROTOCOL_ERROR). That
//! frame is recognised on its way to the client, and a response that says why goes before it, as RFC 9113, section 8.1.1
//! allows. Its fields are literals that no HPACK table keeps, so that the library's own encoding goes on as it was; it has no
//! body, because the library counts flow control. A request whose path would be mended over HTTP/1 is asked to come that way.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use policy::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http2_paths::PathScan;

const HEAD: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const HTTP_1_1_REQUIRED: u32 = 13;
/// `:status 400`, an entry of the static table (RFC 7541, appendix A).
const STATUS_400: &[u8] = &[0x8c];
/// How many streams are remembered to have had a response.
const REMEMBERED: usize = 4096;
/// A longer piece of a payload is written from where it is.
const MAX_COPIED: usize = 4096;
/// The most that is taken before it is written.
const MAX_OUT: usize = 32 * 1024;

const MALFORMED: &str =
    "the request breaks a rule of HTTP/2, or its path has characters that are written as %XX";

/// How many requests were refused here.
pub(super) type Refusals = AtomicUsize;

/// A connection whose refusals say why.
pub(super) struct Reasons<S> {
    io: S,
    paths: PathScan,
    refusals: Arc<Refusals>,
    /// The frame that is coming: its head, and all of it if it may be replaced.
    frame: Vec<u8>,
    /// Bytes of a frame's payload that are still to come and go on as they are.
    payload: usize,
    /// What is to be written.
    out: BytesMut,
    answered: BTreeSet<u32>,
    /// Streams up to this one are forgotten, and count as answered.
    forgotten: u32,
}

impl<S> Reasons<S> {
    pub(super) fn new(io: S) -> (Reasons<S>, Arc<Refusals>) {
        let refusals = Arc::<Refusals>::default();
        let reasons = Reasons {
            io,
            paths: PathScan::new(),
            refusals: refusals.clone(),
            frame: Vec::new(),
            payload: 0,
            out: BytesMut::new(),
            answered: BTreeSet::new(),
            forgotten: 0,
        };
        (reasons, refusals)
    }

    /// Takes what the library writes, up to a payload that is too long to be copied. Returns how many bytes were taken.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut position = 0;
        while position < bytes.len() && self.out.len() < MAX_OUT {
            let rest = &bytes[position..];
            if self.payload > 0 {
                let length = self.payload.min(rest.len());
                if length > MAX_COPIED {
                    break;
                }
                self.out.extend_from_slice(&rest[..length]);
                self.payload -= length;
                position += length;
                continue;
            }
            let length = (self.wanted() - self.frame.len()).min(rest.len());
            self.frame.extend_from_slice(&rest[..length]);
            position += length;
            if self.frame.len() == self.wanted() {
                self.finish_frame();
            }
        }
        position
    }

    /// How much of the frame is looked at: its head, or all of it.
    fn wanted(&self) -> usize {
        if self.frame.len() < HEAD {
            return HEAD;
        }
        let head = FrameHead::read(&self.frame);
        if head.kind == RST_STREAM && head.length == 4 { HEAD + head.length } else { HEAD }
    }

    fn finish_frame(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        let head = FrameHead::read(&frame);
        self.payload = head.length - (frame.len() - HEAD);
        let written = self.replacement(frame);
        self.out.extend_from_slice(&written);
    }

    fn note_answered(&mut self, stream: u32) {
        self.answered.insert(stream);
        if self.answered.len() > REMEMBERED
            && let Some(oldest) = self.answered.pop_first()
        {
            self.forgotten = oldest;
        }
    }

    fn is_answered(&self, stream: u32) -> bool {
        stream <= self.forgotten || self.answered.contains(&stream)
    }

    /// What is written for a frame, or for its head if no more of it was looked at.
    fn replacement(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let head = FrameHead::read(&frame);
        let payload = &frame[HEAD..];
        if head.kind == RST_STREAM
            && payload == PROTOCOL_ERROR.to_be_bytes()
            && !self.is_answered(head.stream)
        {
            self.note_answered(head.stream);
            if self.paths.is_found(head.stream) {
                return [&frame_head(4, RST_STREAM, 0, head.stream)[..], &HTTP_1_1_REQUIRED.to_be_bytes()]
                    .concat();
            }
            self.refusals.fetch_add(1, Ordering::Relaxed);
            let mut block = STATUS_400.to_vec();
            block.extend(fields(Reason::MalformedRequest, MALFORMED));
            let mut out = response(head.stream, &block);
            // The response is whole: that the request is not ends the stream without an error.
            out.extend(frame_head(4, RST_STREAM, 0, head.stream));
            out.extend(0_u32.to_be_bytes());
            return out;
        }
        if head.kind == HEADERS {
            self.note_answered(head.stream);
        }
        frame
    }
}

impl<S: AsyncWrite + Unpin> Reasons<S> {
    /// Writes what was taken, and what follows it directly. Returns how much of that was written.
    fn poll_out(&mut self, context: &mut Context<'_>, direct: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.out.is_empty() {
                return if direct.is_empty() {
                    Poll::Ready(Ok(0))
                } else {
                    Pin::new(&mut self.io).poll_write(context, direct)
                };
            }
            let slices = [io::IoSlice::new(&self.out), io::IoSlice::new(direct)];
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_out = written.min(self.out.len());
            self.out.advance(of_out);
            if written > of_out {
                return Poll::Ready(Ok(written - of_out));
            }
        }
    }
}

/// The head of a frame (RFC 9113, section 4.1).
#[derive(Clone, Copy)]
struct FrameHead {
    length: usize,
    kind: u8,
    stream: u32,
}

impl FrameHead {
    fn read(bytes: &[u8]) -> FrameHead {
        let byte = |position: usize| bytes.get(position).copied().unwrap_or_default();
        FrameHead {
            length: u32::from_be_bytes([0, byte(0), byte(1), byte(2)]) as usize,
            kind: byte(3),
            stream: u32::from_be_bytes([byte(5) & 0x7f, byte(6), byte(7), byte(8)]),
        }
    }
}

fn frame_head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    let [_, a, b, c] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// A response without a body.
fn response(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut out = frame_head(block.len(), HEADERS, END_STREAM | END_HEADERS, stream).to_vec();
    out.extend_from_slice(block);
    out
}

/// The fields that say why, as literals that are not indexed (RFC 7541, section 6.2.2).
fn fields(reason: Reason, hint: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        ("x-jail-deny", reason.as_str()),
        ("x-jail-hint", hint),
        ("cache-control", "no-store"),
        ("content-length", "0"),
    ] {
        block.push(0);
        for text in [name, value] {
            // Shorter than 127 bytes: the length is one byte, and no Huffman code is used.
            let text = text.as_bytes().get(..text.len().min(126)).unwrap_or_default();
            block.push(u8::try_from(text.len()).unwrap_or_default());
            block.extend_from_slice(text);
        }
    }
    block
}

impl<S: AsyncRead + Unpin> AsyncRead for Reasons<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.paths.read(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reasons<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        let mut direct = &[][..];
        // What is left from before goes first, and bounds what is held.
        if self.out.len() >= MAX_OUT {
            ready!(self.poll_out(context, &[]))?;
        }
        for slice in slices {
            let length = self.take(slice);
            taken += length;
            if length < slice.len() {
                let rest = &slice[length..];
                direct = &rest[..self.payload.min(rest.len())];
                break;
            }
        }
        match self.poll_out(context, direct) {
            Poll::Ready(Ok(written)) => {
                self.payload -= written;
                Poll::Ready(Ok(taken + written))
            }
            // What was taken will be written by the next call, which h2 makes at the latest to flush.
            Poll::Pending if taken > 0 => Poll::Ready(Ok(taken)),
            other => other,
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context, &[]))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context, &[]))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
