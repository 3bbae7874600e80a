//! Replaces secrets in a stream of chunks, with the result that the whole text in one piece would give.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::loose::Match;
use super::needles::{Found, Needles};
use super::stand_in::StandIn;

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
        let mut search = Search::new(&self.needles, &text, last);
        let mut replaced = BytesMut::new();
        let mut from = 0;
        while let Some(hit) = search.next(from) {
            replaced.extend_from_slice(&text[from..hit.start]);
            hit.replace(&self.needles, &text, self.kind, &mut replaced);
            from = hit.end;
        }
        let held = search.held;
        let rest = &text[held..];
        let harmless = if rest.is_empty() { 0 } else { self.harmless(rest) };
        // A copy, as a few held bytes must not keep a whole chunk alive.
        self.held = Bytes::copy_from_slice(rest);
        self.shown = harmless;
        let given = if from == 0 {
            text.slice(..held + harmless)
        } else {
            replaced.extend_from_slice(&text[from..held + harmless]);
            replaced.freeze()
        };
        // What was shown once is shown again when more is known.
        debug_assert!(shown <= given.len());
        given.slice(shown.min(given.len())..)
    }

    /// How many bytes of held text may go on all the same.
    fn harmless(&self, held: &[u8]) -> usize {
        let loose = self.needles.loose();
        let matches = loose.scan(held, 0, held.len(), false);
        let harmless = self.needles.harmless(held, self.kind).min(matches.harmless);
        harmless.min(loose.harmless_before_trigger(held))
    }
}

/// Goes through a text from one secret to the next.
struct Search<'a> {
    needles: &'a Needles,
    text: &'a [u8],
    /// Whether no more comes.
    is_whole: bool,
    /// The next spelling, unless it lies behind.
    spelling: Option<Option<Found>>,
    /// The windows (see `loose`) up to there.
    windows: Vec<usize>,
    /// From here on it depends on what comes next.
    held: usize,
    /// The same for spellings alone.
    spelling_held: Option<usize>,
}

/// A secret in a text.
struct Hit {
    start: usize,
    end: usize,
    what: What,
}

enum What {
    Spelling(Found),
    Loose(Match),
}

impl<'a> Search<'a> {
    fn new(needles: &'a Needles, text: &'a [u8], is_whole: bool) -> Search<'a> {
        Search {
            needles,
            text,
            is_whole,
            spelling: None,
            windows: Vec::new(),
            held: text.len(),
            spelling_held: None,
        }
    }

    /// The secret that starts first at or after `from`; of those that start there, the longest. `None` if what comes next
    /// can still change which one that is.
    fn next(&mut self, from: usize) -> Option<Hit> {
        if self.spelling.is_none_or(|spelling| spelling.is_some_and(|found| found.start < from)) {
            self.windows.clear();
            self.spelling = Some(self.needles.find_with_windows(self.text, from, &mut self.windows));
        }
        let spelling = self.spelling.flatten();
        let limit = spelling.map_or(self.text.len(), |found| found.start);
        let first = self.windows.partition_point(|window| *window < from);
        let start = self.needles.loose().search_start(self.text, from, self.windows.get(first).copied());
        let loose = self.needles.loose().scan(self.text, start, limit, self.is_whole);
        self.held = self.hold(from).min(loose.partial.unwrap_or(self.text.len()));

        let spelling =
            spelling.map(|found| Hit { start: found.start, end: found.end, what: What::Spelling(found) });
        let loose =
            loose.best.map(|found| Hit { start: found.start, end: found.end, what: What::Loose(found) });
        let first =
            spelling.into_iter().chain(loose).min_by_key(|hit| (hit.start, std::cmp::Reverse(hit.end)));
        first.filter(|hit| hit.start < self.held)
    }

    fn hold(&mut self, from: usize) -> usize {
        if self.is_whole {
            return self.text.len();
        }
        let known = self.spelling_held.filter(|held| *held >= from);
        *self.spelling_held.insert(known.unwrap_or_else(|| self.needles.hold(self.text, from)))
    }
}

impl Hit {
    fn replace(&self, needles: &Needles, text: &[u8], kind: StandIn, out: &mut BytesMut) {
        match &self.what {
            What::Spelling(found) => out.extend_from_slice(needles.stand_in(*found, kind)),
            What::Loose(found) => needles.loose().replace(text, found, kind, out),
        }
    }
}

/// Replaces secrets in a whole text; `None` when there is none in it.
pub(crate) fn whole(needles: &Needles, kind: StandIn, text: &[u8]) -> Option<Vec<u8>> {
    let mut search = Search::new(needles, text, true);
    let mut replaced = BytesMut::new();
    let mut from = 0;
    while let Some(hit) = search.next(from) {
        replaced.extend_from_slice(&text[from..hit.start]);
        hit.replace(needles, text, kind, &mut replaced);
        from = hit.end;
    }
    if from == 0 {
        return None;
    }
    replaced.extend_from_slice(&text[from..]);
    Some(replaced.into())
}

#[cfg(test)]
#[path = "splice_tests.rs"]
mod tests;
