use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;

/// A pack in the making.
struct Pack {
    bytes: Vec<u8>,
    count: u32,
}

impl Pack {
    fn new() -> Pack {
        Pack { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), count: 0 }
    }

    /// Adds an entry; gives where it begins.
    fn entry(&mut self, kind: u8, size: usize, base: &[u8], content: &[u8]) -> usize {
        let at = self.bytes.len();
        let mut rest = size >> 4;
        let mut byte = kind << 4 | (size & 0x0f) as u8;
        while rest > 0 {
            self.bytes.push(byte | 0x80);
            byte = (rest & 0x7f) as u8;
            rest >>= 7;
        }
        self.bytes.push(byte);
        self.bytes.extend(base);
        let mut encoder = ZlibEncoder::new(&mut self.bytes, Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap();
        self.count += 1;
        self.bytes[8..12].copy_from_slice(&self.count.to_be_bytes());
        at
    }

    fn commit(&mut self, parents: &[ObjectId], message: &str) -> ObjectId {
        let content = commit(parents, message);
        self.entry(1, content.len(), &[], &content);
        Hash::Sha1.of_commit(&content)
    }

    /// Counts an object that does not come: nothing but a bound ends the search before it.
    fn promise_more(&mut self) {
        self.bytes[11] += 1;
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 20]);
        self.bytes
    }
}

fn commit(parents: &[ObjectId], message: &str) -> Vec<u8> {
    let parents: String = parents.iter().map(|id| format!("parent {}\n", hexadecimal(id))).collect();
    format!("tree {}\n{parents}author A <a@b> 1 +0000\n\n{message}\n", "4".repeat(40)).into_bytes()
}

fn hexadecimal(id: &ObjectId) -> String {
    format!("{id:?}")[..40].to_owned()
}

fn old() -> ObjectId {
    ObjectId::new(&[7; 20])
}

fn shown(moves: &[(ObjectId, ObjectId)], bytes: &[u8]) -> Result<Shown, NoPack> {
    Lineage::new(Hash::Sha1, moves.iter().copied(), HashSet::new()).feed(bytes)
}

/// A delta that inserts `content` in pieces and copies nothing.
fn inserting(base: usize, content: &[u8]) -> Vec<u8> {
    let number = |value: usize| [(value & 0x7f) as u8 | 0x80, (value >> 7) as u8];
    let mut delta = [number(base), number(content.len())].concat();
    for piece in content.chunks(127) {
        delta.push(piece.len() as u8);
        delta.extend(piece);
    }
    delta
}

#[test]
fn the_name_of_a_commit_is_git_s() {
    let content = format!("tree {}\n\n", "4".repeat(40));
    let name = hexadecimal(&Hash::Sha1.of_commit(content.as_bytes()));
    assert_eq!(name, "c0f64103ebe519c5cbe94fd5e90ecb9c152f1554", "as `git hash-object -t commit` says");
}

#[test]
fn commits_lead_back_or_do_not() {
    let mut pack = Pack::new();
    let stranger = pack.commit(&[ObjectId::new(&[9; 20])], "elsewhere");
    // The newest may come first or last.
    let first = pack.commit(&[old()], "first");
    let content = commit(&[first], "second");
    let second = Hash::Sha1.of_commit(&content);
    let merge = pack.commit(&[stranger, second], "merge");
    pack.entry(1, content.len(), &[], &content);
    pack.entry(3, 4, &[], b"blob");
    let bytes = pack.end();
    for (moves, expected) in [
        (&[(old(), first)][..], Shown::All),
        (&[(old(), merge)], Shown::All),
        (&[(old(), merge), (first, second)], Shown::All),
        (&[(old(), old())], Shown::All),
        (&[(old(), stranger)], Shown::NotAll),
        (&[(old(), merge), (old(), stranger)], Shown::NotAll),
        (&[(old(), ObjectId::new(&[8; 20]))], Shown::NotAll),
        (&[(merge, first)], Shown::NotAll),
        (&[(second, merge), (merge, second)], Shown::NotAll),
    ] {
        assert_eq!(shown(moves, &bytes), Ok(expected), "{moves:?}");
    }
    assert_eq!(shown(&[(old(), stranger)], &bytes[..bytes.len() - 40]), Ok(Shown::NotYet));
}

#[test]
fn a_parent_in_the_message_is_none() {
    let mut pack = Pack::new();
    let fake = pack.commit(&[], &format!("x\nparent {}", hexadecimal(&old())));
    assert_eq!(shown(&[(old(), fake)], &pack.end()), Ok(Shown::NotAll));
    // A blob that looks like a commit is none.
    let mut pack = Pack::new();
    let content = commit(&[old()], "blob");
    pack.entry(3, content.len(), &[], &content);
    assert_eq!(shown(&[(old(), Hash::Sha1.of_commit(&content))], &pack.end()), Ok(Shown::NotAll));
}

#[test]
fn commits_that_are_deltas_are_found() {
    for by_name in [false, true] {
        let base = commit(&[old()], "base");
        let base_id = Hash::Sha1.of_commit(&base);
        let next = commit(&[base_id], "next");
        let mut pack = Pack::new();
        // Something before it, so that the distance takes two bytes.
        let at = pack.entry(1, base.len(), &[], &base);
        pack.entry(3, 300, &[], &(0..300u32).map(|byte| (byte * 7919 % 251) as u8).collect::<Vec<_>>());
        let mut delta = inserting(base.len(), &next);
        if by_name {
            // The first 46 bytes are copied: the line of the tree.
            let number = |value: usize| [(value & 0x7f) as u8 | 0x80, (value >> 7) as u8];
            delta = [number(base.len()), number(next.len())].concat();
            delta.extend([0x90, 46]);
            for piece in next[46..].chunks(127) {
                delta.push(piece.len() as u8);
                delta.extend(piece);
            }
        }
        let distance = pack.bytes.len() - at;
        let reference = match by_name {
            true => (0..40)
                .step_by(2)
                .map(|place| u8::from_str_radix(&hexadecimal(&base_id)[place..place + 2], 16).unwrap())
                .collect(),
            false => vec![((distance >> 7) - 1) as u8 | 0x80, (distance & 0x7f) as u8],
        };
        pack.entry(if by_name { 7 } else { 6 }, delta.len(), &reference, &delta);
        assert_eq!(shown(&[(old(), Hash::Sha1.of_commit(&next))], &pack.end()), Ok(Shown::All), "{by_name}");
    }
}

#[test]
fn what_is_no_pack_is_refused() {
    let content = commit(&[old()], "x");
    let broken = |change: &dyn Fn(&mut Pack)| {
        let mut pack = Pack::new();
        change(&mut pack);
        pack.promise_more();
        shown(&[(ObjectId::new(&[1; 20]), ObjectId::new(&[2; 20]))], &pack.end())
    };
    assert_eq!(broken(&|pack| _ = pack.entry(1, content.len() - 1, &[], &content)), Err(NoPack));
    assert_eq!(broken(&|pack| _ = pack.entry(1, content.len() + 1, &[], &content)), Err(NoPack));
    assert_eq!(broken(&|pack| _ = pack.entry(5, 1, &[], b"x")), Err(NoPack));
    assert_eq!(broken(&|pack| _ = pack.entry(1, 4, &[], b"tree")), Err(NoPack));
    assert_eq!(broken(&|pack| _ = pack.entry(6, 1, &[0x70, 0], b"x")), Err(NoPack));
    assert_eq!(broken(&|pack| pack.bytes[0] = b'p'), Err(NoPack));
    assert_eq!(broken(&|pack| pack.bytes[7] = 4), Err(NoPack));
    // A commit larger than is read: not shown.
    let large = commit(&[old()], &"x".repeat(MAX_COMMIT));
    assert_eq!(broken(&|pack| _ = pack.entry(1, large.len(), &[], &large)), Ok(Shown::NotAll));
}

#[test]
fn a_bomb_ends_the_search() {
    let mut pack = Pack::new();
    pack.entry(3, MAX_INFLATED as usize + STEP, &[], &vec![0; MAX_INFLATED as usize + STEP]);
    pack.promise_more();
    let bytes = pack.end();
    assert!(bytes.len() < 1024 * 1024);
    assert_eq!(shown(&[(old(), ObjectId::new(&[2; 20]))], &bytes), Ok(Shown::NotAll));
}

#[test]
fn many_parents_end_the_search() {
    let parents = |start: u32| -> Vec<ObjectId> {
        (start..start + 20_000)
            .map(|number| ObjectId::new(&[&number.to_be_bytes()[..], &[3; 16]].concat()))
            .collect()
    };
    let mut pack = Pack::new();
    let tip = pack.commit(&parents(0), "x");
    pack.promise_more();
    let moves: Vec<_> = (0..100u8).map(|number| (ObjectId::new(&[number; 20]), tip)).collect();
    assert_eq!(shown(&moves, &pack.end()), Ok(Shown::NotAll));
}

fn small_pack() -> Vec<u8> {
    let mut pack = Pack::new();
    let first = pack.commit(&[old()], "first");
    let second = pack.commit(&[first], "second");
    let next = commit(&[second], "next");
    let base = commit(&[first], "second");
    let delta = inserting(base.len(), &next);
    let id: Vec<u8> = (0..40)
        .step_by(2)
        .map(|place| u8::from_str_radix(&hexadecimal(&second)[place..place + 2], 16).unwrap())
        .collect();
    pack.entry(7, delta.len(), &id, &delta);
    pack.end()
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        size in 1usize..40,
    ) {
        let mut bytes = small_pack();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let moves = [(old(), ObjectId::new(&[2; 20]))];
        let whole = shown(&moves, &bytes);
        let mut lineage = Lineage::new(Hash::Sha1, moves, HashSet::new());
        let mut pieces = bytes.chunks(size).map(|piece| lineage.feed(piece));
        let parts = pieces.find(|shown| *shown != Ok(Shown::NotYet)).unwrap_or(Ok(Shown::NotYet));
        prop_assert_eq!(whole, parts);
        // The tip is not in the pack, whatever it holds.
        prop_assert!(parts != Ok(Shown::All));
    }

    #[test]
    fn any_delta(base in prop::collection::vec(any::<u8>(), 0..40), delta in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Some(content) = apply(&base, &delta) {
            prop_assert!(content.len() <= MAX_COMMIT);
        }
    }
}

#[test]
fn no_way_back_leads_through_a_shallow_commit() {
    let mut pack = Pack::new();
    let first = pack.commit(&[old()], "first");
    let second = pack.commit(&[first], "second");
    let bytes = pack.end();
    for (shallow, expected) in [
        (first, Shown::NotAll),
        (second, Shown::NotAll),
        (old(), Shown::All),
        (ObjectId::new(&[9; 20]), Shown::All),
    ] {
        let moves = [(old(), second)];
        let mut lineage = Lineage::new(Hash::Sha1, moves, HashSet::from([shallow]));
        assert_eq!(lineage.feed(&bytes), Ok(expected), "{shallow:?}");
    }
}
