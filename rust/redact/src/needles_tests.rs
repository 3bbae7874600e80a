use super::*;

const SECRET: &str = "tok_live_Qm7Zr2Xv9Lc4Hd8K";
const DUMMY: &str = "tok_live_aaaaBBBBccccDDDD";

#[test]
fn few_fragments_stand_for_many_needles() {
    let needles = Needles::new([(SECRET, DUMMY)]);
    assert!(needles.needles.len() > 20, "{}", needles.needles.len());
    assert!(needles.fragments.len() <= 16, "{}", needles.fragments.len());
    assert!(matches!(needles.search, Search::Vector(_) | Search::Automaton(_)));
    let known: usize = needles.fragments.iter().map(|fragment| fragment.known.len()).sum();
    assert_eq!(known, needles.needles.len());
}

#[test]
fn every_needle_is_found_wherever_it_stands() {
    let needles = Needles::new([(SECRET, DUMMY)]);
    for (index, needle) in needles.needles.iter().enumerate() {
        for before in [0, 1, 7, 8, 31, 200] {
            let mut text = vec![b'\n'; before];
            text.extend_from_slice(&needle.secret);
            text.extend_from_slice(b"\n and on");
            let end = before + needle.secret.len();
            assert_eq!(needles.find(&text, 0), Some(Found { start: before, end, needle: index }));
            assert!(needles.find(&text, before + 1).is_none_or(|found| found.start > before));
        }
    }
}

#[test]
fn the_slow_searches_find_the_same() {
    let mut needles = Needles::new([(SECRET, DUMMY)]);
    let text = format!("a {SECRET} b {SECRET}{SECRET} \\u0074\\u006f %74%6f {SECRET}");
    let all = |needles: &Needles| needles.all(text.as_bytes()).collect::<Vec<_>>();
    let expected = all(&needles);
    assert_eq!(expected.len(), 4);
    let bytes: Vec<_> = needles.fragments.iter().map(|fragment| fragment.bytes).collect();
    needles.search =
        Search::Automaton(AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(&bytes).unwrap());
    assert_eq!(all(&needles), expected);
    needles.search = Search::Plain(bytes);
    assert_eq!(all(&needles), expected);
}

#[test]
fn the_longer_of_two_secrets_wins() {
    let longer = format!("{SECRET}MORE");
    let needles = Needles::new([(SECRET, "dummy-one"), (longer.as_str(), "dummy-two")]);
    let found = needles.find(longer.as_bytes(), 0).unwrap();
    assert_eq!(needles.stand_in(found, StandIn::Exact), b"dummy-two");
    // As long as more could come, the shorter one is not final.
    assert_eq!(needles.hold(SECRET.as_bytes(), 0), 0);
    assert_eq!(needles.hold(format!("{SECRET}N").as_bytes(), 0), SECRET.len() + 1);
}

#[test]
fn a_complete_secret_is_not_held_back() {
    let longer = "tok_test_Qm7Zr2Xv9Lc4Hd8Kmore";
    let needles = Needles::new([(SECRET, "dummy-one"), (longer, "dummy-two")]);
    let text = format!("text {SECRET}");
    assert_eq!(needles.hold(text.as_bytes(), 0), text.len());
}

#[test]
fn of_equal_secrets_the_first_dummy_comes_back() {
    let needles = Needles::new([(SECRET, "dummy-one"), (SECRET, "dummy-two")]);
    let found = needles.find(SECRET.as_bytes(), 0).unwrap();
    assert_eq!(needles.stand_in(found, StandIn::Exact), b"dummy-one");
}

#[test]
fn what_secret_and_dummy_share_is_harmless() {
    let needles = Needles::new([(SECRET, DUMMY)]);
    assert_eq!(needles.harmless(b"tok", StandIn::Exact), 3);
    assert_eq!(needles.harmless(b"tok_live_", StandIn::Exact), 9);
    assert_eq!(needles.harmless(b"tok_live_Qm7", StandIn::Exact), 9);
    let unshared = Needles::new([(SECRET, "another-dummy")]);
    assert_eq!(unshared.harmless(b"tok", StandIn::Exact), 0);
}

#[test]
fn nothing_to_find_finds_nothing() {
    let needles = Needles::new([]);
    assert_eq!(needles.find(b"some text of some length, longer than a vector", 0), None);
    assert_eq!(needles.hold(b"text", 0), 4);
}
