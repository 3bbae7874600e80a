//! Whether a push only adds commits, as far as its own pack shows it.
//!
//! A push that moves a branch on brings the new commits, and their parents lead back to where the branch was. Each
//! commit's name is computed from its content, so what is found here is what any server finds. Packs hold their commits
//! before everything else, so that little is read before this is known.
//!
//! Not found: that a branch moves on to a commit which the server has already. It is not in the pack.

use std::collections::{HashMap, HashSet};

use flate2::{Decompress, FlushDecompress, Status};

use super::object::{Hash, ObjectId};

/// Bytes of one commit.
const MAX_COMMIT: usize = 1024 * 1024;
/// Bytes of all commits together, with what the tables take for each.
const MAX_KEPT: usize = 6 * 1024 * 1024;
const ENTRY: usize = 320;
/// Bytes of all objects, inflated: a bomb costs time.
const MAX_INFLATED: u64 = 256 * 1024 * 1024;
/// Commits found on all ways back together.
const MAX_STEPS: usize = 50_000;
/// Bytes of one such step: its name, in a table that may be half empty.
const STEP_BYTES: usize = 80;
/// Bytes that reading a pack takes at most.
pub const MAX_MEMORY: usize = MAX_KEPT + MAX_STEPS * STEP_BYTES;
const STEP: usize = 16 * 1024;

/// What a pack has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Not enough; more bytes may show it.
    NotYet,
    /// Every branch only moves on.
    All,
    /// The pack is at its end, or the bounds are, and at least one branch was not shown to.
    NotAll,
}

/// Bytes that are no pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPack;

/// Reads a pack as it comes, and follows commits back.
pub struct Lineage {
    hash: Hash,
    shallow: HashSet<ObjectId>,
    branches: Vec<Branch>,
    state: State,
    /// The beginning of what is read next.
    head: Vec<u8>,
    /// How many objects are to come.
    left: u32,
    /// Bytes taken.
    offset: u64,
    inflated: u64,
    kept: usize,
    steps: usize,
    inflate: Decompress,
    commits: HashMap<ObjectId, Commit>,
    commits_at: HashMap<u64, ObjectId>,
}

/// One branch: from where its way back starts to where it has to come by.
struct Branch {
    old: ObjectId,
    reached: HashSet<ObjectId>,
    shown: bool,
}

struct Commit {
    content: Vec<u8>,
    parents: Vec<ObjectId>,
}

#[derive(Clone, Copy)]
enum State {
    PackHead,
    EntryHead,
    Content(Entry),
    End,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Where it begins.
    at: u64,
    size: u64,
    kind: Kind,
    written: u64,
}

enum Inflated {
    All,
    Some(Entry),
    /// More bytes are needed.
    Nothing,
}

#[derive(Clone, Copy)]
enum Kind {
    Commit,
    /// A delta whose base is this commit.
    Delta(ObjectId),
    Other,
}

impl Lineage {
    /// Follows each `(old, new)`. The history of a server may end at the shallow commits, so no way leads through them.
    pub fn new(
        hash: Hash,
        moves: impl IntoIterator<Item = (ObjectId, ObjectId)>,
        shallow: HashSet<ObjectId>,
    ) -> Lineage {
        let branch = |(old, new)| Branch { old, reached: HashSet::from([new]), shown: old == new };
        Lineage {
            hash,
            shallow,
            branches: moves.into_iter().map(branch).collect(),
            state: State::PackHead,
            head: Vec::new(),
            left: 0,
            offset: 0,
            inflated: 0,
            kept: 0,
            steps: 0,
            inflate: Decompress::new(true),
            commits: HashMap::new(),
            commits_at: HashMap::new(),
        }
    }

    /// Whether a branch was shown to move on, in the order of the moves.
    pub fn shown(&self) -> impl Iterator<Item = bool> {
        self.branches.iter().map(|branch| branch.shown)
    }

    /// Takes the next bytes of the pack.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Shown, NoPack> {
        let mut content = std::mem::take(&mut self.head);
        let fed = self.take(&mut bytes, &mut content);
        self.head = content;
        match fed? {
            _ if self.branches.iter().all(|branch| branch.shown) => Ok(Shown::All),
            true => Ok(Shown::NotAll),
            false => Ok(Shown::NotYet),
        }
    }

    /// Whether there is nothing more to find.
    fn take(&mut self, bytes: &mut &[u8], head: &mut Vec<u8>) -> Result<bool, NoPack> {
        loop {
            match self.state {
                _ if self.branches.iter().all(|branch| branch.shown) => return Ok(true),
                State::PackHead => {
                    if !self.fill(bytes, head, |head| (head.len() == 12).then_some(())) {
                        return Ok(false);
                    }
                    let [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, a, b, c, d] = head[..] else {
                        return Err(NoPack);
                    };
                    self.left = u32::from_be_bytes([a, b, c, d]);
                    self.next_entry(head);
                }
                State::EntryHead => {
                    let (at, hash) = (self.offset - head.len() as u64, self.hash);
                    let mut entry = Ok(None);
                    let whole = self.fill(bytes, head, |head| {
                        entry = EntryHead::read(head, hash);
                        (!matches!(entry, Ok(None))).then_some(())
                    });
                    let Some(entry) = entry?.filter(|_| whole) else { return Ok(false) };
                    head.clear();
                    let kind = self.kind(at, entry.kind)?;
                    if !matches!(kind, Kind::Other) && entry.size > MAX_COMMIT as u64 {
                        return Ok(true);
                    }
                    self.inflate.reset(true);
                    self.state = State::Content(Entry { at, size: entry.size, kind, written: 0 });
                }
                State::Content(entry) => match self.content(bytes, head, entry)? {
                    Inflated::Some(_) | Inflated::All if self.inflated > MAX_INFLATED => return Ok(true),
                    Inflated::Some(entry) => self.state = State::Content(entry),
                    Inflated::Nothing => return Ok(false),
                    Inflated::All => {
                        self.object(entry, head)?;
                        if self.kept > MAX_KEPT || self.steps > MAX_STEPS {
                            return Ok(true);
                        }
                        self.left -= 1;
                        self.next_entry(head);
                    }
                },
                State::End => return Ok(true),
            }
        }
    }

    fn next_entry(&mut self, head: &mut Vec<u8>) {
        head.clear();
        self.state = if self.left == 0 { State::End } else { State::EntryHead };
    }

    /// Takes bytes one by one until the head is whole.
    fn fill(
        &mut self,
        bytes: &mut &[u8],
        head: &mut Vec<u8>,
        mut whole: impl FnMut(&[u8]) -> Option<()>,
    ) -> bool {
        while let [first, rest @ ..] = *bytes {
            head.push(*first);
            *bytes = rest;
            self.offset += 1;
            if whole(head).is_some() {
                return true;
            }
        }
        false
    }

    fn kind(&self, at: u64, kind: WrittenKind) -> Result<Kind, NoPack> {
        let base = match kind {
            WrittenKind::Commit => return Ok(Kind::Commit),
            WrittenKind::Other => return Ok(Kind::Other),
            WrittenKind::Behind(distance) => {
                let base = at.checked_sub(distance).ok_or(NoPack)?;
                self.commits_at.get(&base).copied()
            }
            WrittenKind::On(base) => self.commits.contains_key(&base).then_some(base),
        };
        Ok(base.map_or(Kind::Other, Kind::Delta))
    }

    /// Inflates some more.
    fn content(
        &mut self,
        bytes: &mut &[u8],
        kept: &mut Vec<u8>,
        mut entry: Entry,
    ) -> Result<Inflated, NoPack> {
        let mut output = [0; STEP];
        let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
        let status =
            self.inflate.decompress(bytes, &mut output, FlushDecompress::None).map_err(|_| NoPack)?;
        let count = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| NoPack);
        let (taken, given) =
            (count(self.inflate.total_in(), taken)?, count(self.inflate.total_out(), given)?);
        *bytes = bytes.get(taken..).unwrap_or_default();
        self.offset += taken as u64;
        self.inflated += given as u64;
        entry.written += given as u64;
        if entry.written > entry.size {
            return Err(NoPack);
        }
        if !matches!(entry.kind, Kind::Other) {
            kept.extend(&output[..given]);
        }
        match status {
            Status::StreamEnd if entry.written == entry.size => Ok(Inflated::All),
            Status::StreamEnd => Err(NoPack),
            _ if taken > 0 || given > 0 => Ok(Inflated::Some(entry)),
            _ if bytes.is_empty() => Ok(Inflated::Nothing),
            // There was something to take: it will never go on.
            _ => Err(NoPack),
        }
    }

    /// Takes a whole object.
    fn object(&mut self, entry: Entry, content: &mut Vec<u8>) -> Result<(), NoPack> {
        let mut content = match entry.kind {
            Kind::Other => return Ok(()),
            Kind::Commit => std::mem::take(content),
            Kind::Delta(base) => {
                let base = self.commits.get(&base).ok_or(NoPack)?;
                apply(&base.content, content).ok_or(NoPack)?
            }
        };
        content.shrink_to_fit();
        let id = self.hash.of_commit(&content);
        let mut parents = parents(&content, self.hash).ok_or(NoPack)?;
        if self.shallow.contains(&id) {
            parents.clear();
        }
        self.kept += content.len() + ENTRY + parents.len() * size_of::<ObjectId>();
        self.commits.insert(id, Commit { content, parents });
        self.commits_at.insert(entry.at, id);
        self.follow(id);
        Ok(())
    }

    /// Goes back from a commit that has just come, on every branch that was waiting for it.
    fn follow(&mut self, id: ObjectId) {
        for branch in self.branches.iter_mut().filter(|branch| !branch.shown && branch.reached.contains(&id))
        {
            let mut waiting = vec![id];
            while let Some(commit) = waiting.pop().and_then(|id| self.commits.get(&id)) {
                for parent in &commit.parents {
                    branch.shown |= *parent == branch.old;
                    self.steps += 1;
                    if branch.reached.insert(*parent) && self.commits.contains_key(parent) {
                        waiting.push(*parent);
                    }
                }
                if self.steps > MAX_STEPS {
                    return;
                }
            }
        }
    }
}

/// What stands before an object's content.
struct EntryHead {
    size: u64,
    kind: WrittenKind,
}

#[derive(Clone, Copy)]
enum WrittenKind {
    Commit,
    Other,
    /// A delta; its base is so many bytes before it.
    Behind(u64),
    /// A delta on an object by its name.
    On(ObjectId),
}

impl EntryHead {
    /// Reads it, if it is whole: type and size, then for a delta its base.
    fn read(bytes: &[u8], hash: Hash) -> Result<Option<EntryHead>, NoPack> {
        let Some(end) = bytes.iter().position(|byte| byte & 0x80 == 0) else {
            return if bytes.len() > 9 { Err(NoPack) } else { Ok(None) };
        };
        if end > 8 {
            return Err(NoPack);
        }
        let kind = bytes[0] >> 4 & 7;
        let later = bytes[1..=end].iter().enumerate();
        let size = later.fold(u64::from(bytes[0] & 0x0f), |size, (position, byte)| {
            size | u64::from(byte & 0x7f) << (4 + 7 * position)
        });
        let base = &bytes[end + 1..];
        let kind = match kind {
            1 => WrittenKind::Commit,
            2..=4 => WrittenKind::Other,
            6 => match distance(base)? {
                Some(distance) => WrittenKind::Behind(distance),
                None => return Ok(None),
            },
            7 if base.len() < hash.length() => return Ok(None),
            7 => WrittenKind::On(ObjectId::new(base)),
            _ => return Err(NoPack),
        };
        Ok(Some(EntryHead { size, kind }))
    }
}

/// The distance to a delta's base: seven bits a byte, the highest first, and no number has two spellings.
fn distance(bytes: &[u8]) -> Result<Option<u64>, NoPack> {
    let mut distance = 0u64;
    for (position, byte) in bytes.iter().enumerate() {
        if position > 7 {
            return Err(NoPack);
        }
        distance = distance << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(Some(distance));
        }
        distance += 1;
    }
    Ok(None)
}

/// The content that a delta makes of its base.
fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut delta = delta;
    if number(&mut delta)? != base.len() {
        return None;
    }
    let length = number(&mut delta).filter(|length| *length <= MAX_COMMIT)?;
    let mut content = Vec::with_capacity(length);
    while let [instruction, rest @ ..] = delta {
        delta = rest;
        let piece = if instruction & 0x80 != 0 {
            let mut field = |bits: std::ops::Range<u8>| {
                bits.clone().try_fold(0, |value, bit| {
                    if instruction & 1 << bit == 0 {
                        return Some(value);
                    }
                    let [byte, rest @ ..] = delta else { return None };
                    delta = rest;
                    Some(value | usize::from(*byte) << (8 * (bit - bits.start)))
                })
            };
            let (start, size) = (field(0..4)?, field(4..7)?);
            let size = if size == 0 { 0x10000 } else { size };
            base.get(start..start.checked_add(size)?)?
        } else {
            let (piece, rest) =
                delta.split_at_checked(usize::from(*instruction)).filter(|_| *instruction > 0)?;
            delta = rest;
            piece
        };
        content.extend(piece);
        if content.len() > length {
            return None;
        }
    }
    (content.len() == length).then_some(content)
}

/// A size in a delta: seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for position in 0..4 {
        let [byte, rest @ ..] = *bytes else { return None };
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The parents of a commit: its lines after `tree`, before everything else.
fn parents(content: &[u8], hash: Hash) -> Option<Vec<ObjectId>> {
    let mut lines = content.split(|byte| *byte == b'\n');
    hash.read(lines.next()?.strip_prefix(b"tree ")?)?;
    lines.map_while(|line| line.strip_prefix(b"parent ")).map(|id| hash.read(id)).collect()
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
