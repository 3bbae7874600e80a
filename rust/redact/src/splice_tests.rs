use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::forms::{forms, targets};
use super::super::stand_in::MIN_SECRET_BYTES;
use super::super::test_support::{Decoded, Layer, decode_all};
use super::super::unescape::LEVELS;
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

/// The definition: at each place the longest spelling that starts there, or else the longest secret that is not in one
/// piece, else one byte. Gives the text and the number of the latter.
fn by_definition(needles: &Needles, secrets: &[(&str, &str)], text: &[u8]) -> (Vec<u8>, usize) {
    // As a decoder reads it, a short secret can have fewer bytes than are looked for.
    let forms = secrets.iter().flat_map(|(secret, dummy)| forms(secret, dummy));
    let forms: Vec<_> = forms.filter(|form| form.secret.len() >= MIN_SECRET_BYTES).collect();
    let targets = secrets.iter().flat_map(|(secret, dummy)| targets(secret, dummy));
    let targets: Vec<Vec<u8>> =
        targets.map(|target| target.secret).filter(|secret| secret.len() >= MIN_SECRET_BYTES).collect();
    let (mut out, mut loose_places) = (Vec::new(), 0);
    let mut at = 0;
    while at < text.len() {
        let here = forms
            .iter()
            .filter(|form| text[at..].starts_with(&form.secret))
            .max_by(|one, other| one.secret.len().cmp(&other.secret.len()).then(std::cmp::Ordering::Greater));
        let spelled = here.map_or(0, |form| form.secret.len());
        let loose =
            targets.iter().filter_map(|target| loose_by_definition(needles, target, &text[at..])).max();
        if let Some(length) = loose.filter(|length| *length > spelled) {
            let found = needles.loose().scan(text, at, at, true).best.expect("it is there");
            assert_eq!((found.start, found.end), (at, at + length));
            let mut replaced = BytesMut::new();
            needles.loose().replace(text, &found, StandIn::Exact, &mut replaced);
            out.extend_from_slice(&replaced);
            loose_places += 1;
            at += length;
        } else if let Some(form) = here {
            out.extend_from_slice(&form.dummy);
            at += form.secret.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    (out, loose_places)
}

/// How many bytes at the beginning of a text are this target, not in one piece. Longer than the limit no ordinary text gets.
fn loose_by_definition(needles: &Needles, target: &[u8], text: &[u8]) -> Option<usize> {
    let limit = needles.loose().reach(target.len());
    let text = &text[..text.len().min(limit + 64)];
    let mut view: Vec<Decoded> = text
        .iter()
        .zip(0..)
        .map(|(&byte, start)| Decoded { byte, start, end: start + 1, is_soft_break: false })
        .collect();
    let mut longest = None;
    for level in 0..=LEVELS {
        if level > 0 {
            view = decode_all(&view);
        }
        let (mut matched, mut is_loose, mut is_after_break) = (0, false, false);
        for &Decoded { byte, start, end, .. } in &view {
            if matched > 0 && (b"\r\n".contains(&byte) || (is_after_break && b" \t".contains(&byte))) {
                (is_loose, is_after_break) = (true, true);
            } else if byte == target[matched] {
                is_loose |= end - start > 1;
                is_after_break = false;
                matched += 1;
            } else {
                break;
            }
            if matched == target.len() {
                let is_found =
                    is_loose && end <= limit && needles.loose().holds_window_of(target, &text[..end]);
                longest = longest.max(Some(end).filter(|_| is_found));
                break;
            }
        }
    }
    longest
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

/// A dummy without characters that mean the same in every format is made of filler alone, and that may equal the secret.
#[test]
fn filler_is_not_shown_early() {
    let secret = "xx{'E<%~L@";
    let needles = Arc::new(Needles::new([(secret, "%%//==+=/")]));
    for at in 1..secret.len() {
        let (one, two) = secret.as_bytes().split_at(at);
        assert_eq!(stream(&needles, StandIn::Fitted, &[one, two]), b"xxxxxxxxxx", "{at}");
        assert_eq!(stream(&needles, StandIn::Exact, &[one, two]), b"%%//==+=/", "{at}");
    }
}

/// Spelled with line breaks or escape sequences, a secret has another stand-in than in one piece.
#[test]
fn what_only_one_of_two_stand_ins_shares_is_held_back() {
    let secret = "GAdRaIk_?-X__-zyo?jul";
    let needles = Arc::new(Needles::new([(secret, "R/?'U5I{{P`TwCZi_\"\"")]));
    let base64 = STANDARD.encode(secret);
    assert!(base64.starts_with('R') && base64.contains('/'), "{base64}");
    for text in [base64.clone(), base64.replace('/', "\\/"), base64.replace('m', "\\u006d")] {
        let whole = stream(&needles, StandIn::Fitted, &[text.as_bytes()]);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(stream(&needles, StandIn::Fitted, &bytes), whole, "{text}");
    }
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{8,12}", "[A-Za-z0-9_-]{8,24}", "[a-b/+\"=&%]{8,16}", "[!-~]{8,20}"]
}

/// A secret, plain or in base64, in several formats around each other, and cut off.
fn layered(secrets: Vec<(String, String)>) -> impl Strategy<Value = Vec<u8>> {
    let layers = prop::collection::vec((prop::sample::select(Layer::ALL.to_vec()), any::<u64>()), 1..4);
    let secret = prop::sample::select(secrets);
    let is_base64 = any::<bool>();
    let cut = prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (secret, "[a-c]{0,3}", is_base64, layers, cut).prop_map(
        |((secret, _), before, is_base64, layers, cut)| {
            let mut text = format!("{before}{secret}").into_bytes();
            if is_base64 {
                text = STANDARD.encode(&text).into_bytes();
            }
            for (layer, seed) in layers {
                text = layer.encode(&text, seed, seed % 2 == 0);
            }
            if let Some(cut) = cut {
                text.truncate(cut.index(text.len() + 1));
            }
            text
        },
    )
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
        4 => layered(secrets),
        1 => "[a-c%:\\\\u0 =&#;\n\r]{0,8}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Streams of random texts in random chunks equal the definition; some of them hold secrets that are not in one piece.
#[test]
fn streams_equal_the_definition() {
    let mut runner = TestRunner::new(ProptestConfig { cases: 192, ..ProptestConfig::default() });
    let input = (
        prop::collection::vec((secret(), secret()), 1..3)
            .prop_flat_map(|secrets| (Just(secrets.clone()), text(secrets))),
        prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    );
    let loose = Cell::new(0);
    let outcome = runner.run(&input, |((secrets, text), splits)| {
        let secrets: Vec<(&str, &str)> =
            secrets.iter().map(|(secret, dummy)| (&**secret, &**dummy)).collect();
        let needles = Arc::new(Needles::new(secrets.iter().copied()));
        let (expected, places) = by_definition(&needles, &secrets, &text);
        loose.set(loose.get() + places);
        prop_assert_eq!(
            whole(&needles, StandIn::Exact, &text).unwrap_or_else(|| text.clone()),
            expected.clone()
        );
        let mut splits: Vec<usize> = splits.iter().map(|split| split.index(text.len() + 1)).collect();
        splits.push(0);
        splits.push(text.len());
        splits.sort_unstable();
        let chunks: Vec<&[u8]> = splits.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(stream(&needles, StandIn::Exact, &chunks), expected);
        prop_assert_eq!(stream(&needles, StandIn::Fitted, &chunks).len(), text.len());
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        prop_assert_eq!(
            stream(&needles, StandIn::Fitted, &bytes),
            stream(&needles, StandIn::Fitted, &[&text])
        );
        Ok(())
    });
    outcome.unwrap();
    // About 150 on average; the inputs are random.
    assert!(loose.get() > 40, "{}", loose.get());
}
