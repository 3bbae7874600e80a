//! Redacts the payload of WebSocket frames (RFC 6455) from a server, across the borders of fragments.
//!
//! Stand-ins have the length of what they replace, so frame headers stay true. A message ends where its last fragment
//! ends: nothing of it is held back beyond that, as the job may wait for it before it speaks again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::needles::Needles;
use super::splice::{Splicer, whole};
use super::stand_in::StandIn;

/// A stream of frames on its way.
pub(crate) struct Frames {
    needles: Arc<Needles>,
    splicer: Splicer,
    reading: Reading,
    /// What goes out, in order.
    queue: VecDeque<Segment>,
    /// Clean payload that has no place yet.
    payload: BytesMut,
}

enum Reading {
    /// The header's bytes so far.
    Header(Vec<u8>),
    /// A data frame's payload: bytes to come, and whether the message ends with them.
    Data { left: u64, last: bool },
    /// A control frame's payload so far, and how long it will be.
    Control { bytes: Vec<u8>, length: usize },
    /// What came cannot be checked, so nothing more goes on.
    Refused,
}

enum Segment {
    /// A header or a whole control frame's payload.
    Ready(Bytes),
    /// This many bytes of data payload.
    Payload(u64),
}

struct Header {
    last: bool,
    control: bool,
    length: u64,
}

/// Frames that wait behind one whose payload is held back; a server that sends more means harm.
const MOST_WAITING: usize = 4096;

impl Frames {
    pub(crate) fn new(needles: Arc<Needles>) -> Frames {
        let splicer = Splicer::new(Arc::clone(&needles), StandIn::Fitted);
        let reading = Reading::Header(Vec::new());
        Frames { needles, splicer, reading, queue: VecDeque::new(), payload: BytesMut::new() }
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.reading, Reading::Refused)
    }

    /// Takes bytes as they come, gives what may go on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Bytes {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_refused() {
            rest = self.read(rest);
        }
        let clean = self.drain();
        if self.queue.len() > MOST_WAITING {
            self.reading = Reading::Refused;
        }
        clean
    }

    /// The connection has closed: gives what was held back.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held = self.splicer.finish();
        if self.is_refused() {
            return Bytes::new();
        }
        self.payload.extend_from_slice(&held);
        self.drain()
    }

    /// Reads a part of the bytes, gives the rest.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match &mut self.reading {
            Reading::Refused => &[],
            Reading::Header(header) => {
                header.push(bytes[0]);
                match parse(header) {
                    Ok(None) => {}
                    Ok(Some(parsed)) => {
                        self.queue.push_back(Segment::Ready(Bytes::copy_from_slice(header)));
                        self.begin(&parsed);
                    }
                    Err(Uncheckable) => self.reading = Reading::Refused,
                }
                &bytes[1..]
            }
            Reading::Data { left, last } => {
                let take = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let (part, rest) = bytes.split_at(take);
                *left -= take as u64;
                let ends = *left == 0;
                let last = *last;
                let clean = self.splicer.feed(Bytes::copy_from_slice(part));
                self.payload.extend_from_slice(&clean);
                self.queue.push_back(Segment::Payload(take as u64));
                if ends {
                    self.end_frame(last);
                }
                rest
            }
            Reading::Control { bytes: so_far, length } => {
                let (part, rest) = bytes.split_at((*length - so_far.len()).min(bytes.len()));
                so_far.extend_from_slice(part);
                if so_far.len() == *length {
                    let payload = std::mem::take(so_far);
                    let clean = whole(&self.needles, StandIn::Fitted, &payload).unwrap_or(payload);
                    self.queue.push_back(Segment::Ready(clean.into()));
                    self.reading = Reading::Header(Vec::new());
                }
                rest
            }
        }
    }

    fn begin(&mut self, header: &Header) {
        match (header.control, usize::try_from(header.length)) {
            (false, _) if header.length == 0 => self.end_frame(header.last),
            (false, _) => self.reading = Reading::Data { left: header.length, last: header.last },
            (true, Ok(0)) => self.reading = Reading::Header(Vec::new()),
            (true, Ok(length @ ..=125)) => self.reading = Reading::Control { bytes: Vec::new(), length },
            (true, _) => self.reading = Reading::Refused,
        }
    }

    fn end_frame(&mut self, last: bool) {
        if last {
            let held = self.splicer.finish();
            self.payload.extend_from_slice(&held);
        }
        self.reading = Reading::Header(Vec::new());
    }

    /// What is clean and in order.
    fn drain(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while let Some(segment) = self.queue.front_mut() {
            match segment {
                Segment::Ready(bytes) => out.extend_from_slice(bytes),
                Segment::Payload(left) => {
                    let take = usize::try_from(*left)
                        .map_or(self.payload.len(), |left| left.min(self.payload.len()));
                    out.extend_from_slice(&self.payload.split_to(take));
                    *left -= take as u64;
                    if *left > 0 {
                        break;
                    }
                }
            }
            self.queue.pop_front();
        }
        out.freeze()
    }
}

/// Compressed by an extension that was not asked for, or masked as only clients do.
struct Uncheckable;

/// `None` while the header is not complete.
fn parse(header: &[u8]) -> Result<Option<Header>, Uncheckable> {
    let [first, second, extended @ ..] = header else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Uncheckable);
    }
    let wide = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if extended.len() < wide {
        return Ok(None);
    }
    let length = if wide == 0 {
        u64::from(second & 0x7f)
    } else {
        extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
    };
    Ok(Some(Header { last: first & 0x80 != 0, control: first & 0x08 != 0, length }))
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
