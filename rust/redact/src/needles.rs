//! Finds secrets in bytes at memory speed.
//!
//! Each spelling (needle) is known by one fragment of eight bytes, chosen so that as many spellings as possible share
//! it: a handful of fragments stands for dozens of needles. A vector search looks for the fragments; the needles are
//! compared only around a hit. A text without a fragment holds no needle.

use std::collections::BTreeSet;

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, Input, MatchKind};
use memchr::{memchr3_iter, memmem};

use super::forms::{Form, Target, forms, targets};
use super::loose::{Loose, Window};
use super::stand_in::{MIN_SECRET_BYTES, StandIn, fit, plain, shared};

/// All spellings of some secrets.
pub struct Needles {
    /// Sorted by what is looked for.
    needles: Vec<Needle>,
    fragments: Vec<Fragment>,
    search: Search,
    /// Which bytes occur in needles.
    occurs: [bool; 256],
    /// The longest needle by its first byte (0 = none starts so).
    longest: [usize; 256],
    /// The longest of all.
    reach: usize,
    /// The longest but for those that start with one of `far`: fully escaped spellings are several times as long as
    /// others, and start with `%` or `\`.
    near: usize,
    far: [u8; 3],
    same_length: bool,
    /// Which two bytes start a needle, a bit each: the quick "no" when the end of a chunk is examined.
    pairs: Vec<u64>,
    /// The same secrets, for places where they are not in one piece.
    loose: Loose,
}

struct Needle {
    /// Whose it is, by position in what [`Needles::new`] was given.
    owner: usize,
    secret: Vec<u8>,
    exact: Vec<u8>,
    fitted: Vec<u8>,
    /// How many first bytes secret and stand-in have in common, whatever format they turn out to be in.
    exact_shared: usize,
    /// The same; what a stand-in was filled up with is never shared, as it depends on the spelling whether it is there.
    fitted_shared: usize,
}

/// Eight bytes, and the needles that are known by them: which, and how far in.
struct Fragment {
    bytes: [u8; MIN_SECRET_BYTES],
    known: Vec<(usize, usize)>,
    /// Whether it is a window of a secret that may not be in one piece.
    is_window: bool,
}

enum Search {
    Vector(Searcher),
    /// Too many fragments for the vector search, or a CPU without it.
    Automaton(AhoCorasick),
    /// What needs nothing and cannot fail.
    Plain(Vec<[u8; MIN_SECRET_BYTES]>),
}

/// A needle in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    needle: usize,
}

impl Needles {
    /// The needles of these (secret, dummy); of equal secrets the first wins.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Needles {
        let mut same_length = true;
        let secrets: Vec<(&str, &str)> = secrets.into_iter().collect();
        // Without a dummy nothing is to be replaced.
        let replaced = secrets.iter().filter(|(_, dummy)| !dummy.is_empty());
        let is_long = |target: &Target| target.secret.len() >= MIN_SECRET_BYTES;
        let loose = Loose::new(replaced.flat_map(|(secret, dummy)| targets(secret, dummy)).filter(is_long));
        let mut needles: Vec<Needle> = secrets
            .into_iter()
            .enumerate()
            .flat_map(|(owner, (secret, dummy))| {
                same_length &= secret.len() == dummy.len();
                forms(secret, dummy).into_iter().map(move |form| Needle::new(owner, form, dummy))
            })
            .filter(|needle| needle.secret.len() >= MIN_SECRET_BYTES)
            .collect();
        needles.sort_by(|one, other| one.secret.cmp(&other.secret));
        needles.dedup_by(|later, earlier| later.secret == earlier.secret);

        let fragments = choose_fragments(&needles, loose.windows());
        let search = Search::new(&fragments);
        let mut occurs = [false; 256];
        let mut longest = [0; 256];
        let mut pairs = vec![0; (1 << 16) / 64];
        for needle in &needles {
            for &byte in &needle.secret {
                occurs[usize::from(byte)] = true;
            }
            let length = &mut longest[usize::from(needle.secret[0])];
            *length = needle.secret.len().max(*length);
            let (word, bit) = pair(needle.secret[0], needle.secret[1]);
            pairs[word] |= bit;
        }
        let mut by_length: Vec<u8> = (0..=u8::MAX).collect();
        by_length.sort_by_key(|byte| std::cmp::Reverse(longest[usize::from(*byte)]));
        let [reach, .., near] = [0, 1, 2, 3].map(|index: usize| longest[usize::from(by_length[index])]);
        let far = [by_length[0], by_length[1], by_length[2]];
        Needles { needles, fragments, search, occurs, longest, reach, near, far, same_length, pairs, loose }
    }

    /// Whether every dummy is as long as its secret. Escaped, they can still differ.
    pub fn same_length(&self) -> bool {
        self.same_length
    }

    /// Finds the same secrets where they are not in one piece.
    pub(super) fn loose(&self) -> &Loose {
        &self.loose
    }

    /// The most bytes of a stream that wait for what comes next.
    pub(crate) fn most_held(&self) -> usize {
        self.reach.max(self.loose.most_held())
    }

    /// What stands in for what was found.
    pub(crate) fn stand_in(&self, found: Found, kind: StandIn) -> &[u8] {
        self.needles[found.needle].stand_in(kind)
    }

    /// The needle that starts first at or after `from`; of those that start there, the longest.
    pub(crate) fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        self.find_with_windows(text, from, &mut Vec::new())
    }

    /// The same; gives the places of windows (see `loose`) that matter up to there.
    pub(super) fn find_with_windows(
        &self,
        text: &[u8],
        from: usize,
        windows: &mut Vec<usize>,
    ) -> Option<Found> {
        let mut best: Option<Found> = None;
        let mut at = from;
        while let Some((hit, fragment)) = self.search.next(text, at) {
            // A needle that starts no later than the best one shows its fragment within reach of that start.
            if best.is_some_and(|best| hit > best.start + self.most_held()) {
                break;
            }
            if self.fragments[fragment].is_window {
                windows.push(hit);
            }
            for found in self.around(text, from, hit, fragment) {
                if best.is_none_or(|best| (found.start, best.end) < (best.start, found.end)) {
                    best = Some(found);
                }
            }
            at = hit + 1;
        }
        best
    }

    /// Whose needles are in a text, overlapping ones too.
    pub fn owners(&self, text: &[u8]) -> BTreeSet<usize> {
        self.all(text).map(|found| self.needles[found.needle].owner).collect()
    }

    /// The first place at or after `from` whose rest is the beginning of a needle: bytes that must be held back
    /// until more is known. The end of the text when there is none.
    pub(crate) fn hold(&self, text: &[u8], from: usize) -> usize {
        self.beginnings(text, from).next().map_or(text.len(), |(at, _)| at)
    }

    /// How many bytes of held text may go on all the same, because every stand-in that could still come into play
    /// starts with the very same bytes (dummies share the well-known prefix of their secret). So a text that happens
    /// to end like the start of a secret is not delayed.
    pub(crate) fn harmless(&self, held: &[u8], kind: StandIn) -> usize {
        let started = self.beginnings(held, 0).flat_map(|(at, needles)| {
            needles.into_iter().map(move |needle| match needle.shared(kind) {
                shared if shared >= held.len() - at => held.len(),
                shared => at + shared,
            })
        });
        let complete = self.all(held).map(|found| found.start + self.needles[found.needle].shared(kind));
        started.chain(complete).min().unwrap_or(held.len())
    }

    /// Every needle in a text, overlapping ones too.
    fn all<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Found> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (hit, fragment) = self.search.next(text, at)?;
            at = hit + 1;
            Some(self.around(text, 0, hit, fragment))
        })
        .flatten()
    }

    /// The needles that are really there around a fragment.
    fn around(&self, text: &[u8], from: usize, hit: usize, fragment: usize) -> impl Iterator<Item = Found> {
        self.fragments[fragment].known.iter().filter_map(move |&(needle, offset)| {
            let start = hit.checked_sub(offset).filter(|&start| start >= from)?;
            let secret = &self.needles[needle].secret;
            text[start..].starts_with(secret).then(|| Found { start, end: start + secret.len(), needle })
        })
    }

    /// The places whose whole rest is the beginning of longer needles, and these needles.
    fn beginnings<'a>(
        &'a self,
        text: &'a [u8],
        from: usize,
    ) -> impl Iterator<Item = (usize, Vec<&'a Needle>)> + 'a {
        let within =
            |from: usize, length: usize| from.max((text.len() + 1).saturating_sub(length)).min(text.len());
        let first = within(from, self.reach);
        // Almost always one of the last few bytes is in no needle.
        let stranger = text[first..].iter().rposition(|&byte| !self.occurs[usize::from(byte)]);
        let first = stranger.map_or(first, |at| first + at + 1);
        let near = within(first, self.near);
        let [one, two, three] = self.far;
        let far = memchr3_iter(one, two, three, &text[first..near]).map(move |at| first + at);
        far.chain(near..text.len()).filter_map(move |at| {
            let rest = &text[at..];
            if self.longest[usize::from(rest[0])] <= rest.len() {
                return None;
            }
            if let [one, two, ..] = rest {
                let (word, bit) = pair(*one, *two);
                if self.pairs[word] & bit == 0 {
                    return None;
                }
            }
            let start = self.needles.partition_point(|needle| needle.secret.as_slice() < rest);
            let needles: Vec<&Needle> = self.needles[start..]
                .iter()
                .take_while(|needle| needle.secret.starts_with(rest))
                .filter(|needle| needle.secret.len() > rest.len())
                .collect();
            (!needles.is_empty()).then_some((at, needles))
        })
    }
}

impl Needle {
    fn new(owner: usize, Form { secret, dummy: exact }: Form, dummy: &str) -> Needle {
        // These mean the same in every spelling; a cut escape sequence would not.
        let unfilled = if exact.len() == secret.len() { exact.clone() } else { plain(dummy) };
        let fitted = fit(&unfilled, secret.len());
        let (exact_shared, fitted_shared) = (shared(&secret, &exact), shared(&secret, &unfilled));
        Needle { owner, secret, exact, fitted, exact_shared, fitted_shared }
    }

    fn stand_in(&self, kind: StandIn) -> &[u8] {
        match kind {
            StandIn::Exact => &self.exact,
            StandIn::Fitted => &self.fitted,
        }
    }

    fn shared(&self, kind: StandIn) -> usize {
        match kind {
            StandIn::Exact => self.exact_shared,
            StandIn::Fitted => self.fitted_shared,
        }
    }
}

impl Search {
    fn new(fragments: &[Fragment]) -> Search {
        let bytes = || fragments.iter().map(|fragment| fragment.bytes);
        let mut vector = packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder();
        if let Some(searcher) = vector.extend(bytes()).build() {
            return Search::Vector(searcher);
        }
        match AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(bytes()) {
            Ok(automaton) => Search::Automaton(automaton),
            Err(_) => Search::Plain(bytes().collect()),
        }
    }

    /// The next fragment: where, and which.
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let rest = text.get(from..)?;
        match self {
            Search::Vector(searcher) => searcher
                .find_in(text, (from..text.len()).into())
                .map(|found| (found.start(), found.pattern().as_usize())),
            Search::Automaton(automaton) => automaton
                .find(Input::new(text).range(from..))
                .map(|found| (found.start(), found.pattern().as_usize())),
            Search::Plain(fragments) => {
                rest.windows(MIN_SECRET_BYTES).enumerate().find_map(|(at, window)| {
                    let fragment = fragments.iter().position(|fragment| fragment == window)?;
                    Some((from + at, fragment))
                })
            }
        }
    }
}

/// All windows, and one fragment per needle, as few as possible.
fn choose_fragments(needles: &[Needle], windows: impl Iterator<Item = Window>) -> Vec<Fragment> {
    let windows: BTreeSet<Window> = windows.collect();
    let window = |bytes| Fragment { bytes, known: Vec::new(), is_window: true };
    let mut fragments: Vec<Fragment> = windows.into_iter().map(window).collect();
    // Short needles first: their fragments (letters and digits) come back in the escaped spellings.
    let mut order: Vec<usize> = (0..needles.len()).collect();
    order.sort_by_key(|&index| needles[index].secret.len());
    for index in order {
        let secret = &needles[index].secret;
        let known = fragments.iter_mut().find_map(|fragment| {
            let offset = memmem::find(secret, &fragment.bytes)?;
            Some((fragment, offset))
        });
        if let Some((fragment, offset)) = known {
            fragment.known.push((index, offset));
            continue;
        }
        // The window that is least like ordinary text and least likely to be escaped; late rather than early, as
        // tokens start with a well-known prefix.
        let strange = |window: &[u8]| {
            window.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() * 4
                + window.iter().filter(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count()
        };
        let best = secret.windows(MIN_SECRET_BYTES).enumerate().max_by_key(|(_, window)| strange(window));
        if let Some((offset, window)) = best
            && let Ok(bytes) = window.try_into()
        {
            fragments.push(Fragment { bytes, known: vec![(index, offset)], is_window: false });
        }
    }
    fragments
}

/// The word and the bit of two bytes in [`Needles::pairs`].
fn pair(one: u8, two: u8) -> (usize, u64) {
    (usize::from(one) << 2 | usize::from(two) >> 6, 1 << (two & 63))
}

#[cfg(test)]
#[path = "needles_tests.rs"]
mod tests;
