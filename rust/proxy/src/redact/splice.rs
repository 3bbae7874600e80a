//! Replaces secrets in a stream of chunks, with the result that the whole text in one piece would give.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::needles::{Needles, StandIn};

/// A stream of bytes on its way.
pub(crate) struct Splicer {
    needles: Arc<Needles>,
    kind: StandIn,
    /// The end of what came, if it could be the beginning of a secret.
    held: Bytes,
    /// How many of the held bytes went on already.
    shown: usize,
}

impl Splicer {
    pub(crate) fn new(needles: Arc<Needles>, kind: StandIn) -> Splicer {
        Splicer { needles, kind, held: Bytes::new(), shown: 0 }
    }

    /// Takes the next chunk, gives all that may go on; the same memory where nothing was found.
    pub(crate) fn feed(&mut self, chunk: Bytes) -> Bytes {
        if chunk.is_empty() {
            return chunk;
        }
        let text = self.joined(chunk);
        self.splice(text, false)
    }

    /// There is no more: gives what was held back.
    pub(crate) fn finish(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.held);
        self.splice(text, true)
    }

    /// The bytes that were taken and not given.
    pub(crate) fn pending(&self) -> usize {
        self.held.len() - self.shown
    }

    fn joined(&mut self, chunk: Bytes) -> Bytes {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return chunk;
        }
        let mut text = BytesMut::with_capacity(held.len() + chunk.len());
        text.extend_from_slice(&held);
        text.extend_from_slice(&chunk);
        text.freeze()
    }

    fn splice(&mut self, text: Bytes, last: bool) -> Bytes {
        let shown = std::mem::take(&mut self.shown);
        let hold = |from| if last { text.len() } else { self.needles.hold(&text, from) };
        let mut replaced = BytesMut::new();
        let mut from = 0;
        let mut held = hold(from);
        while let Some(found) = self.needles.find(&text, from).filter(|found| found.start < held) {
            replaced.extend_from_slice(&text[from..found.start]);
            replaced.extend_from_slice(self.needles.stand_in(found, self.kind));
            from = found.end;
            if held < from {
                held = hold(from);
            }
        }
        let rest = &text[held..];
        let harmless = if rest.is_empty() { 0 } else { self.needles.harmless(rest, self.kind) };
        // A copy, as a few held bytes must not keep a whole chunk alive.
        self.held = Bytes::copy_from_slice(rest);
        self.shown = harmless;
        if from == 0 {
            return text.slice(shown..held + harmless);
        }
        replaced.extend_from_slice(&text[from..held + harmless]);
        replaced.freeze().slice(shown..)
    }
}

/// Replaces secrets in a whole text; `None` when there is none in it.
pub(crate) fn whole(needles: &Needles, kind: StandIn, text: &[u8]) -> Option<Vec<u8>> {
    let mut found = needles.find(text, 0)?;
    let mut replaced = Vec::with_capacity(text.len());
    let mut from = 0;
    loop {
        replaced.extend_from_slice(&text[from..found.start]);
        replaced.extend_from_slice(needles.stand_in(found, kind));
        from = found.end;
        match needles.find(text, from) {
            Some(next) => found = next,
            None => break,
        }
    }
    replaced.extend_from_slice(&text[from..]);
    Some(replaced)
}

#[cfg(test)]
#[path = "splice_tests.rs"]
mod tests;
