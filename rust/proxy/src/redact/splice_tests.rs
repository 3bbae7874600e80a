use proptest::prelude::*;

use super::super::forms::forms;
use super::*;

const SECRET: &str = "tok_live_Qm7Zr2Xv9Lc4Hd8K";
const SAME: &str = "tok_live_aaaaBBBBccccDDDD";
const LONGER: &str = "dummy-aaaaBBBBccccDDDDeeeeFFFFgggg";

fn stream(needles: &Arc<Needles>, kind: StandIn, chunks: &[&[u8]]) -> Vec<u8> {
    let mut splicer = Splicer::new(Arc::clone(needles), kind);
    let mut out = Vec::new();
    let mut given = 0;
    for chunk in chunks {
        out.extend_from_slice(&splicer.feed(Bytes::copy_from_slice(chunk)));
        given += chunk.len();
        if kind == StandIn::Fitted {
            assert_eq!(out.len() + splicer.pending(), given);
        }
    }
    out.extend_from_slice(&splicer.finish());
    assert_eq!(splicer.pending(), 0);
    out
}

/// The definition: at each place the longest spelling that starts there, else one byte.
fn by_definition(secrets: &[(&str, &str)], text: &[u8]) -> Vec<u8> {
    let forms: Vec<_> = secrets.iter().flat_map(|(secret, dummy)| forms(secret, dummy)).collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let here = forms
            .iter()
            .filter(|form| text[at..].starts_with(&form.secret))
            .max_by(|one, other| one.secret.len().cmp(&other.secret.len()).then(std::cmp::Ordering::Greater));
        match here {
            Some(form) => {
                out.extend_from_slice(&form.dummy);
                at += form.secret.len();
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

#[test]
fn every_split_of_every_spelling_gives_the_whole_result() {
    for dummy in [SAME, LONGER] {
        let needles = Arc::new(Needles::new([(SECRET, dummy)]));
        for form in forms(SECRET, dummy) {
            let text = [b"{\"a\": \"tok_", &form.secret[..], b"\", tok_live_Q"].concat();
            let expected = [b"{\"a\": \"tok_", &form.dummy[..], b"\", tok_live_Q"].concat();
            assert_eq!(whole(&needles, StandIn::Exact, &text).unwrap(), expected);
            for split in 0..=text.len() {
                let (one, two) = text.split_at(split);
                assert_eq!(stream(&needles, StandIn::Exact, &[one, two]), expected, "split at {split}");
                assert_eq!(stream(&needles, StandIn::Fitted, &[one, two]).len(), text.len());
            }
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(stream(&needles, StandIn::Exact, &bytes), expected);
        }
    }
}

#[test]
fn a_clean_chunk_is_passed_on_as_it_is() {
    let mut splicer = Splicer::new(Arc::new(Needles::new([(SECRET, LONGER)])), StandIn::Exact);
    let chunk = Bytes::from(vec![b'\n'; 4096]);
    assert_eq!(splicer.feed(chunk.clone()).as_ptr(), chunk.as_ptr());
}

#[test]
fn only_a_possible_beginning_is_held_back() {
    let mut splicer = Splicer::new(Arc::new(Needles::new([(SECRET, LONGER)])), StandIn::Exact);
    assert_eq!(splicer.feed(Bytes::from_static(b"data: hello\n\n")), "data: hello\n\n");
    assert_eq!(splicer.feed(Bytes::from_static(b"data: tok_l")), "data: ");
    assert_eq!(splicer.pending(), 5);
    assert_eq!(splicer.feed(Bytes::from_static(b"ovely\n\n")), "tok_lovely\n\n");
    assert_eq!(splicer.finish(), "");
}

#[test]
fn what_the_dummy_shares_with_the_secret_is_not_held_back() {
    let mut splicer = Splicer::new(Arc::new(Needles::new([(SECRET, SAME)])), StandIn::Exact);
    assert_eq!(splicer.feed(Bytes::from_static(b"data: tok_l")), "data: tok_l");
    assert_eq!(splicer.feed(Bytes::from_static(b"ive_Qm")), "ive_");
    assert_eq!(splicer.feed(Bytes::from_static(b"7Zr2Xv9Lc4Hd8K tok")), "aaaaBBBBccccDDDD tok");
    assert_eq!(splicer.finish(), "");
}

#[test]
fn a_shorter_secret_inside_a_harmless_beginning_is_not_shown() {
    let longer = format!("{SECRET}more");
    let harmless = format!("{SECRET}less");
    let needles = Needles::new([(SECRET, "another-dummy-altogether!"), (longer.as_str(), harmless.as_str())]);
    let needles = Arc::new(needles);
    let expected = b"another-dummy-altogether!mo!";
    let (one, two) = (format!("{SECRET}mo"), "!");
    assert_eq!(stream(&needles, StandIn::Exact, &[one.as_bytes(), two.as_bytes()]), expected);
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{8,12}", "[A-Za-z0-9_-]{8,24}", "[a-b/+\"=&%]{8,16}", "[!-~]{8,20}"]
}

/// Texts made of what is hard: spellings of the secrets, whole and cut, among bytes of the same kind.
fn text(secrets: Vec<(String, String)>) -> impl Strategy<Value = Vec<u8>> {
    let spellings: Vec<Vec<u8>> = secrets
        .iter()
        .flat_map(|(secret, dummy)| forms(secret, dummy))
        .flat_map(|form| [form.secret, form.dummy])
        .collect();
    let spelling = prop::sample::select(spellings);
    let piece = prop_oneof![
        2 => spelling.clone(),
        2 => (spelling, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(text, at, first)| {
            let at = at.index(text.len());
            if first { text[..at].to_vec() } else { text[at..].to_vec() }
        }),
        1 => "[a-c%:\\\\u0 ]{0,8}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn streams_equal_the_definition(
        (secrets, text) in prop::collection::vec((secret(), secret()), 1..3)
            .prop_flat_map(|secrets| (Just(secrets.clone()), text(secrets))),
        splits in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let secrets: Vec<(&str, &str)> = secrets.iter().map(|(secret, dummy)| (&**secret, &**dummy)).collect();
        let needles = Arc::new(Needles::new(secrets.iter().copied()));
        let expected = by_definition(&secrets, &text);
        prop_assert_eq!(whole(&needles, StandIn::Exact, &text).unwrap_or_else(|| text.clone()), expected.clone());
        let mut splits: Vec<usize> = splits.iter().map(|split| split.index(text.len() + 1)).collect();
        splits.push(0);
        splits.push(text.len());
        splits.sort_unstable();
        let chunks: Vec<&[u8]> = splits.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(stream(&needles, StandIn::Exact, &chunks), expected);
        prop_assert_eq!(stream(&needles, StandIn::Fitted, &chunks).len(), text.len());
    }
}
