//! Finds secrets whose characters do not stand side by side as a spelling (`forms`) has them: with line breaks between them,
//! or with any of them escaped.
//!
//! *The definition.* A secret stands at a place if reading from there on, at some level (`unescape`), gives its characters:
//! as they are or in base64. Line breaks between them, and white space at the beginning of a line, do not count. Each
//! character is then replaced where it stands, so that lines and escape sequences keep their lengths.
//!
//! Ordinary text is not searched for that at all: each secret has two *windows*, pieces of letters and digits that encoders
//! leave alone and that one line break cannot both cut. Only around a window, which the search for spellings finds on its
//! way, and at the end of what is known so far is looked for more. Secrets without such pieces are searched for everywhere.
//!
//! There, a place is found by its first line break or escape sequence: what precedes it must be the raw beginning of a
//! secret, and what follows it must be the next character.
//!
//! Up to [`SHOWN_HEAD`] characters in front of a first line break stay as they are. Otherwise each line that ends like a secret
//! begins (with one letter) would have to wait for the next line, and streams of lines would stall.

use bytes::{BufMut, BytesMut};

use memchr::memmem;

use super::forms::Target;
use super::respell::Writer;
use super::stand_in::{MIN_SECRET_BYTES, StandIn, shared};
use super::triggers::triggers;
use super::unescape::{
    Char, LEVELS, Reader, can_be_in_sequence, can_end_gap, can_introduce, hex_value, is_blank, is_introducer,
    is_newline,
};

/// The most characters of a secret that stay in front of a line break.
pub(super) const SHOWN_HEAD: usize = 2;

/// A piece of a target.
pub(super) type Window = [u8; MIN_SECRET_BYTES];

/// The farthest that both windows of a target reach: less than a line.
const WINDOWS_SPAN: usize = 48;

/// All targets of some secrets.
pub(super) struct Loose {
    targets: Vec<Target>,
    /// The windows of each target, unless `is_everywhere`.
    windows: Vec<[Window; 2]>,
    /// Whether there are targets without windows.
    is_everywhere: bool,
    /// Where two or three characters meet in a target: what is looked up at a line break. Sorted.
    joints: Vec<Joint>,
    /// The pairs of neighbours in all targets, a bit each.
    pairs: Vec<u64>,
    /// Which bytes occur in targets.
    occurs: [bool; 256],
    /// Which bytes targets start with.
    starts: [bool; 256],
    /// Which bytes no match holds (see [`Loose::last_barrier`]).
    barriers: [bool; 256],
    /// The longest target.
    longest: usize,
}

/// The bytes around a place in a target, then the target, then the place.
type Joint = (u32, u16, u16);

/// A target in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    target: usize,
    level: usize,
}

/// What a search has found.
#[derive(Debug)]
pub(super) struct Scan {
    /// The match that starts first; of those that start there, the longest.
    pub(super) best: Option<Match>,
    /// The first place where a match may have begun of which more has to come.
    pub(super) partial: Option<usize>,
    /// Up to here the text stays as it is, whatever comes.
    pub(super) harmless: usize,
}

/// How a target compares with a text; up to `harmless` what stands in for it is what it stands in for.
enum Outcome {
    Match {
        found: Match,
        harmless: usize,
    },
    /// The text ends before the target does.
    Partial {
        harmless: usize,
    },
    Different,
}

/// What follows a line break, or what an escape sequence stands for.
enum Next {
    Byte(u8),
    /// The text ends too early to tell.
    Unknown,
    /// There is neither a line break nor an escape sequence.
    Plain,
}

impl Loose {
    /// Of equal targets the first wins.
    pub(super) fn new(all: impl IntoIterator<Item = Target>) -> Loose {
        let mut loose = Loose {
            targets: Vec::new(),
            windows: Vec::new(),
            is_everywhere: false,
            joints: Vec::new(),
            pairs: vec![0; (1 << 16) / 64],
            occurs: [false; 256],
            starts: [false; 256],
            barriers: [false; 256],
            longest: 0,
        };
        for target in all {
            if !loose.targets.iter().any(|known| known.secret == target.secret) {
                loose.add(target);
            }
        }
        loose.joints.sort_unstable();
        loose.barriers = std::array::from_fn(|index| {
            let byte = u8::try_from(index).unwrap_or_default();
            !loose.occurs[index] && !can_be_in_sequence(byte) && !is_newline(byte) && byte != b'\t'
        });
        loose
    }

    fn add(&mut self, target: Target) {
        let secret = &target.secret;
        let (Ok(index), Ok(_)) = (u16::try_from(self.targets.len()), u16::try_from(secret.len())) else {
            return;
        };
        let Some(&first) = secret.first() else { return };
        self.starts[usize::from(first)] = true;
        self.longest = self.longest.max(secret.len());
        for &byte in secret {
            self.occurs[usize::from(byte)] = true;
        }
        for (place, pair) in (1_u16..).zip(secret.windows(2)) {
            let (word, bit) = bit_of(pair[0], pair[1]);
            self.pairs[word] |= bit;
            let before = secret.get(usize::from(place).wrapping_sub(2)).copied();
            self.joints.push((joint(before, pair[0], pair[1]), index, place));
        }
        match windows(secret) {
            Some(windows) => self.windows.push(windows),
            None => self.is_everywhere = true,
        }
        self.targets.push(target);
    }

    /// What a text that is to be searched holds. Nothing if each text is to be searched.
    pub(super) fn windows(&self) -> impl Iterator<Item = Window> {
        self.windows.iter().flatten().copied().filter(|_| !self.is_everywhere)
    }

    /// Where to search from if at or after `from` the first window of a text is at `window`.
    pub(super) fn search_start(&self, text: &[u8], from: usize, window: Option<usize>) -> usize {
        match window {
            _ if self.is_everywhere => from,
            Some(window) => window.saturating_sub(self.most_held()).max(from),
            None => {
                let start = text.len().saturating_sub(self.most_held()).max(from);
                self.last_barrier(text, start).map_or(start, |barrier| barrier + 1)
            }
        }
    }

    /// The last place at or after `from` that no match can hold: a byte that is in no target, stands for nothing else and is no
    /// white space at the beginning of a line.
    fn last_barrier(&self, text: &[u8], from: usize) -> Option<usize> {
        let is_barrier = |at: usize| {
            let byte = text[at];
            let is_blank_in_line = || at.checked_sub(1).is_some_and(|before| !can_end_gap(text[before]));
            self.barriers[usize::from(byte)] && (byte != b' ' || is_blank_in_line())
        };
        (from..text.len()).rev().find(|&at| is_barrier(at))
    }

    fn holds_window(&self, target: usize, text: &[u8]) -> bool {
        self.is_everywhere || self.windows[target].iter().any(|window| memmem::find(text, window).is_some())
    }

    /// Whether a match of this target would count in a text.
    #[cfg(test)]
    pub(super) fn holds_window_of(&self, target: &[u8], text: &[u8]) -> bool {
        let index = self.targets.iter().position(|known| known.secret == target);
        index.is_some_and(|index| self.holds_window(index, text))
    }

    /// The most bytes that may have to wait for what comes next.
    pub(super) fn most_held(&self) -> usize {
        self.reach(self.longest)
    }

    /// The most bytes that may stand for a target of this length. Where windows are left alone, few characters are escaped;
    /// elsewhere it may be all (`\\u0041`).
    pub(super) fn reach(&self, length: usize) -> usize {
        if self.is_everywhere { length * 12 + 256 } else { length * 4 + 128 }
    }

    /// Searches from `from` on for matches that start no later than `limit`.
    pub(super) fn scan(&self, text: &[u8], from: usize, limit: usize, is_whole: bool) -> Scan {
        let mut scan = Scan { best: None, partial: None, harmless: text.len() };
        if self.targets.is_empty() {
            return scan;
        }
        let reader = Reader { text, is_whole };
        for trigger in triggers(text, from) {
            let limit = scan.best.map_or(limit, |best| best.start.min(limit));
            if trigger > limit + self.longest {
                break;
            }
            self.look_around(reader, from, trigger, &mut scan);
        }
        scan
    }

    /// How many bytes of held text may go on although a line break or an escape sequence can follow, which makes its raw end
    /// the beginning of a match.
    pub(super) fn harmless_before_trigger(&self, held: &[u8]) -> usize {
        let first = held.len().saturating_sub(self.longest);
        let starts = (first..held.len()).filter(|&at| self.starts[usize::from(held[at])]);
        let shown = starts.flat_map(|at| {
            let targets = self.targets.iter().filter(move |target| target.secret.starts_with(&held[at..]));
            targets.map(move |target| at + shared(&target.secret, &target.dummy))
        });
        shown.min().map_or(held.len(), |shown| shown.min(held.len()))
    }

    /// Writes what stands in for a match.
    pub(super) fn replace(&self, text: &[u8], found: &Match, kind: StandIn, out: &mut BytesMut) {
        let target = &self.targets[found.target];
        // Where lengths may change, a client that stores the dummy can use it again.
        let is_exact = kind == StandIn::Exact;
        let reader = Reader { text: &text[..found.end], is_whole: true };
        let kept = Walk::first_break(reader, found).filter(|&first| first <= SHOWN_HEAD).unwrap_or(0);
        let writer = Writer { reader, is_exact };
        let mut walk = Walk::new(found.start, found.level);
        let mut written = found.start;
        while let Some(step) = walk.step(reader) {
            let Step::Character(next) = step else { continue };
            out.put_slice(&text[written..next.start]);
            written = next.end;
            match target.dummy.get(walk.characters - 1) {
                _ if walk.characters <= kept => out.put_slice(&text[next.start..next.end]),
                Some(&byte) => writer.write(next, byte, found.level, out),
                None if is_exact => {}
                None => writer.write(next, b'x', found.level, out),
            }
        }
        if is_exact && let Some(rest) = target.dummy.get(target.secret.len()..) {
            out.put_slice(rest);
        }
    }

    /// Looks for matches whose first line break or escape sequence is at `trigger`.
    fn look_around(&self, reader: Reader<'_>, from: usize, trigger: usize, scan: &mut Scan) {
        let text = reader.text;
        let before = &text[from..trigger];
        let follows_target = self.ends_like_target(before);
        let is_break = is_newline(text[trigger]);
        let rest = &text[trigger + 1..];
        if is_break {
            if !follows_target {
                return;
            }
            // Almost always what follows is the same at each level.
            let next = rest.iter().find(|byte| !is_newline(**byte) && !is_blank(**byte));
            if let Some(&next) = next
                && !is_introducer(next)
            {
                return self.try_joints(reader, from, trigger, next, scan);
            }
        } else if !self.can_matter(
            text[trigger],
            rest,
            if follows_target { &self.occurs } else { &self.starts },
        ) {
            return;
        }
        for level in usize::from(!is_break)..=LEVELS {
            let (is_escape, next) = self.next_at(reader, trigger, level);
            match next {
                Next::Byte(byte) => {
                    if is_escape && self.starts[usize::from(byte)] {
                        self.try_starts(reader, trigger, Some(byte), scan);
                    }
                    if follows_target {
                        self.try_joints(reader, from, trigger, byte, scan);
                    }
                    if !is_introducer(byte) {
                        break;
                    }
                }
                Next::Unknown => {
                    if !is_break {
                        self.try_starts(reader, trigger, None, scan);
                    }
                    self.try_beginnings(reader, from, trigger, scan);
                    break;
                }
                Next::Plain => {}
            }
        }
    }

    /// Returns false if a text does not end with the raw beginning of a target; most texts do not even end like one.
    fn ends_like_target(&self, text: &[u8]) -> bool {
        let Some((&last, before)) = text.split_last() else { return false };
        let is_pair = |one: u8| {
            let (word, bit) = bit_of(one, last);
            self.pairs[word] & bit != 0
        };
        self.starts[usize::from(last)] || before.last().is_some_and(|&one| is_pair(one))
    }

    /// Returns false for what is by far the most frequent in ordinary text: introducers that introduce nothing, or nothing
    /// that is `wanted`.
    fn can_matter(&self, introducer: u8, rest: &[u8], wanted: &[bool; 256]) -> bool {
        let Some(&next) = rest.first() else { return true };
        if !can_introduce(introducer, next) {
            return false;
        }
        let is_wanted = |byte: u8| is_newline(byte) || is_introducer(byte) || wanted[usize::from(byte)];
        match (introducer, rest) {
            (b'\\', _) => !next.is_ascii_punctuation() || is_wanted(next),
            (b'=' | b'%', [high, low, ..]) => match hex_value(*high, *low) {
                Some(byte) => is_wanted(byte),
                None => !high.is_ascii_hexdigit() || is_introducer(*low),
            },
            (b'&', [b'a', b'm', b'p', b';', after, ..]) => {
                wanted[usize::from(b'&')] || can_introduce(b'&', *after)
            }
            _ => true,
        }
    }

    /// The character that comes at or after the trigger, and whether an escape sequence at the trigger stands for it.
    fn next_at(&self, reader: Reader<'_>, trigger: usize, level: usize) -> (bool, Next) {
        let Some(first) = reader.read(trigger, level) else { return (false, Next::Unknown) };
        if !is_newline(first.byte) {
            let is_plain = first.end == trigger + 1;
            return (true, if is_plain { Next::Plain } else { Next::Byte(first.byte) });
        }
        let mut at = first.end;
        while at - trigger <= self.most_held() {
            match reader.read(at, level) {
                Some(next) if is_newline(next.byte) || is_blank(next.byte) => at = next.end,
                Some(next) => return (false, Next::Byte(next.byte)),
                None => return (false, Next::Unknown),
            }
        }
        (false, Next::Plain)
    }

    /// Targets that start with an escape sequence at `place`.
    fn try_starts(&self, reader: Reader<'_>, place: usize, byte: Option<u8>, scan: &mut Scan) {
        for (index, target) in self.targets.iter().enumerate() {
            if byte.is_none_or(|byte| target.secret[0] == byte) {
                self.try_place(reader, place, index, scan);
            }
        }
    }

    /// Targets whose raw beginning ends at the trigger and which go on with this byte.
    fn try_joints(&self, reader: Reader<'_>, from: usize, trigger: usize, byte: u8, scan: &mut Scan) {
        let before = &reader.text[from..trigger];
        let Some((&last, before_last)) = before.split_last() else { return };
        let (word, bit) = bit_of(last, byte);
        if self.pairs[word] & bit == 0 {
            return;
        }
        let keys =
            [Some(joint(None, last, byte)), before_last.last().map(|&one| joint(Some(one), last, byte))];
        for key in keys.into_iter().flatten() {
            let first = self.joints.partition_point(|joint| joint.0 < key);
            for &(_, index, place) in self.joints[first..].iter().take_while(|joint| joint.0 == key) {
                let (index, place) = (usize::from(index), usize::from(place));
                if before.ends_with(&self.targets[index].secret[..place]) {
                    self.try_place(reader, trigger - place, index, scan);
                }
            }
        }
    }

    /// Targets whose raw beginning ends at the trigger, whatever comes.
    fn try_beginnings(&self, reader: Reader<'_>, from: usize, trigger: usize, scan: &mut Scan) {
        let before = &reader.text[from..trigger];
        for (index, target) in self.targets.iter().enumerate() {
            for place in 1..target.secret.len().min(before.len() + 1) {
                if before.ends_with(&target.secret[..place]) {
                    self.try_place(reader, trigger - place, index, scan);
                }
            }
        }
    }

    fn try_place(&self, reader: Reader<'_>, place: usize, index: usize, scan: &mut Scan) {
        for level in 0..=LEVELS {
            match self.read_target(reader, place, index, level) {
                Outcome::Different => {}
                Outcome::Match { found, harmless } => {
                    let order = |found: &Match| {
                        (found.start, std::cmp::Reverse(found.end), found.target, found.level)
                    };
                    if scan.best.is_none_or(|best| order(&found) < order(&best)) {
                        scan.best = Some(found);
                    }
                    scan.harmless = scan.harmless.min(harmless);
                }
                Outcome::Partial { harmless } => {
                    scan.partial = Some(scan.partial.map_or(place, |partial| partial.min(place)));
                    scan.harmless = scan.harmless.min(harmless);
                }
            }
        }
    }

    /// Compares a target with what stands at `place`.
    fn read_target(&self, reader: Reader<'_>, place: usize, index: usize, level: usize) -> Outcome {
        let Target { secret, dummy } = &self.targets[index];
        let mut walk = Walk::new(place, level);
        let (mut is_loose, mut is_broken) = (false, false);
        let (mut harmless, mut is_harmless) = (place, true);
        while walk.characters < secret.len() {
            let matched = walk.characters;
            let step = walk.step(reader);
            if walk.at - place > self.reach(secret.len()) {
                return Outcome::Different;
            }
            match step {
                Some(Step::Gap) => {
                    is_harmless |= !is_broken && matched <= SHOWN_HEAD;
                    (is_loose, is_broken) = (true, true);
                }
                Some(Step::Character(next)) if next.byte == secret[matched] => {
                    let is_raw = next.end - next.start == 1;
                    is_loose |= !is_raw;
                    is_harmless &= is_raw && dummy.get(matched) == Some(&next.byte);
                }
                Some(Step::Character(_)) => return Outcome::Different,
                None if reader.is_whole || reader.text.len() - place > self.reach(secret.len()) => {
                    return Outcome::Different;
                }
                None => return Outcome::Partial { harmless },
            }
            if is_harmless {
                harmless = walk.at;
            }
        }
        match is_loose && self.holds_window(index, &reader.text[place..walk.at]) {
            true => {
                Outcome::Match { found: Match { start: place, end: walk.at, target: index, level }, harmless }
            }
            // A spelling, which is found otherwise, or not to be found.
            false => Outcome::Different,
        }
    }
}

/// Two pieces of a secret that encoders leave alone, no farther apart than a line is long.
fn windows(secret: &[u8]) -> Option<[Window; 2]> {
    let all = secret.windows(MIN_SECRET_BYTES).enumerate();
    let mut plain: Vec<(usize, &[u8])> =
        all.filter(|(_, window)| window.iter().all(u8::is_ascii_alphanumeric)).collect();
    // Those least like ordinary text first; late rather than early, as tokens start with a well-known prefix.
    plain.sort_by_key(|(at, window)| {
        let unlike = window.iter().filter(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
        std::cmp::Reverse((unlike, *at))
    });
    plain.iter().find_map(|&(at, one)| {
        let is_near =
            |other: usize| (MIN_SECRET_BYTES..=WINDOWS_SPAN - MIN_SECRET_BYTES).contains(&at.abs_diff(other));
        let (_, other) = plain.iter().find(|(other, _)| is_near(*other))?;
        Some([Window::try_from(one).ok()?, Window::try_from(*other).ok()?])
    })
}

/// The way along the characters of a secret.
struct Walk {
    at: usize,
    level: usize,
    /// How many characters there were.
    characters: usize,
    /// Whether nothing but white space has come since a line break.
    is_after_break: bool,
}

enum Step {
    Character(Char),
    /// A line break, or white space behind one.
    Gap,
}

impl Walk {
    fn new(at: usize, level: usize) -> Walk {
        Walk { at, level, characters: 0, is_after_break: false }
    }

    /// Goes on; `None` where the text ends, or ends too early to tell.
    fn step(&mut self, reader: Reader<'_>) -> Option<Step> {
        let next = reader.read(self.at, self.level)?;
        self.at = next.end;
        let breaks = self.characters > 0 && is_newline(next.byte);
        if breaks || (self.is_after_break && is_blank(next.byte)) {
            self.is_after_break = true;
            return Some(Step::Gap);
        }
        self.is_after_break = false;
        self.characters += 1;
        Some(Step::Character(next))
    }

    /// How many characters a match has in front of its first line break.
    fn first_break(reader: Reader<'_>, found: &Match) -> Option<usize> {
        let mut walk = Walk::new(found.start, found.level);
        while let Some(step) = walk.step(reader) {
            if matches!(step, Step::Gap) {
                return Some(walk.characters);
            }
        }
        None
    }
}

fn joint(before: Option<u8>, last: u8, next: u8) -> u32 {
    let [before, last, next] = [before.map_or(1 << 8, u32::from), u32::from(last), u32::from(next)];
    before << 16 | last << 8 | next
}

fn bit_of(one: u8, two: u8) -> (usize, u64) {
    (usize::from(one) << 2 | usize::from(two) >> 6, 1 << (two & 63))
}

#[cfg(test)]
#[path = "loose_tests.rs"]
mod tests;
