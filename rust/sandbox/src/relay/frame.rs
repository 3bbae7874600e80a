//! What crosses: frames, each a kind, the number of a lane, a length and so many bytes.

use super::error::broken;
use crate::backend::Error;

/// One frame's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something said, on no lane.
    Said,
    /// A lane is open: to this address.
    Open,
    /// Bytes.
    Data,
    /// So many bytes more may be sent.
    Taken,
    /// No more bytes will come.
    End,
    /// The lane is closed both ways, whatever is on its way.
    Reset,
}

const KINDS: [Kind; 6] = [Kind::Said, Kind::Open, Kind::Data, Kind::Taken, Kind::End, Kind::Reset];
const HEADER: usize = 9;
/// A plan with its files is far smaller; a length beyond this is nonsense.
const LARGEST: usize = 64 << 20;

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, lane: u32, bytes: &[u8]) {
    out.push(kind as u8);
    out.extend(lane.to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// A frame that has come.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) lane: u32,
    pub(super) body: &'a [u8],
    /// Of all of it.
    pub(super) length: usize,
}

/// The first frame, if all of it is there.
pub(super) fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>, Error> {
    let Some(&[kind, a, b, c, d, e, f, g, h]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_le_bytes([e, f, g, h]) as usize;
    let kind = KINDS.get(usize::from(kind)).filter(|_| length <= LARGEST);
    let kind = *kind.ok_or_else(|| broken("bytes that are none of ours"))?;
    let Some(body) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
    Ok(Some(Frame { kind, lane: u32::from_le_bytes([a, b, c, d]), body, length: HEADER + length }))
}
