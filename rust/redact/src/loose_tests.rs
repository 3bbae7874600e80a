use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::super::needles::Needles;
use super::super::splice::whole;
use super::super::test_support::{LONGER, Layer, SAME, SECRET};
use super::*;

fn clean(dummy: &str, kind: StandIn, text: &str) -> String {
    let needles = Needles::new([(SECRET, dummy)]);
    let clean = whole(&needles, kind, text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec());
    String::from_utf8(clean).unwrap()
}

#[test]
fn each_character_is_replaced_where_it_stands() {
    // SECRET is tok_live_Qm7Zr2Xv9Lc4Hd8K, SAME tok_live_aaaaBBBBccccDDDD.
    for (text, expected) in [
        // HTML-safe JSON, some characters only.
        (r"tok\u005flive_Qm7\u005Ar2Xv9Lc4Hd8K", r"tok\u005flive_aaa\u0061BBBBccccDDDD"),
        (r"tok\\u005flive_Qm7Zr2Xv9Lc4Hd8K", r"tok\\u005flive_aaaaBBBBccccDDDD"),
        ("tok_live_%51m7Zr2Xv9Lc4Hd8K", "tok_live_%61aaaBBBBccccDDDD"),
        ("tok%255Flive_%2551m7Zr2Xv9Lc4Hd8K", "tok%255Flive_%2561aaaBBBBccccDDDD"),
        // Quoted-printable.
        ("tok_live_=51m7Zr=\r\n2Xv9Lc4Hd8K", "tok_live_=61aaaB=\r\nBBBccccDDDD"),
        // Numeric references as wide as they were.
        ("tok_live_&#81;m7Zr2Xv9Lc4Hd8K", "tok_live_&#97;aaaBBBBccccDDDD"),
        ("tok_live_Qm7Zr2Xv9Lc4Hd8&#x4B;", "tok_live_aaaaBBBBccccDDD&#x44;"),
        ("tok_live_&#0081;m7Zr2Xv9Lc4Hd8K", "tok_live_&#0097;aaaBBBBccccDDDD"),
        ("tok_live_\u{5c}u0026#x51;m7Zr2Xv9Lc4Hd8K", "tok_live_\u{5c}u0026#x61;aaaBBBBccccDDDD"),
        // Lines.
        ("tok_\nlive_Qm7Zr2Xv9\n  \t Lc4Hd8K", "tok_\nlive_aaaaBBBBc\n  \t cccDDDD"),
        (r"tok_li\nve_Qm7\r\nZr2Xv9Lc4Hd8K", r"tok_li\nve_aaa\r\naBBBBccccDDDD"),
        ("tok_live_Qm7Zr2\\\n   Xv9Lc4Hd8K", "tok_live_aaaaBB\\\n   BBccccDDDD"),
    ] {
        for kind in [StandIn::Exact, StandIn::Fitted] {
            assert_eq!(clean(SAME, kind, &format!("a{text}b")), format!("a{expected}b"));
        }
    }
}

#[test]
fn a_dummy_of_another_length_is_whole_where_lengths_may_change() {
    let text = r"a tok\u005flive_Qm7Zr2Xv9Lc4Hd8K z";
    assert_eq!(clean(LONGER, StandIn::Exact, text), r"a dum\u006dy-aaaaBBBBccccDDDDeeeeFFFFgggg z");
    assert_eq!(clean(LONGER, StandIn::Fitted, text), r"a dum\u006dy-aaaaBBBBccccDDDDeee z");
    assert_eq!(clean("unshared-12345678", StandIn::Exact, text), r"a uns\u0068ared-12345678 z");
    assert_eq!(clean("unshared-12345678", StandIn::Fitted, text), r"a uns\u0068ared-12345678xxxxxxxx z");
}

#[test]
fn what_needs_no_escaping_any_more_keeps_its_length_where_it_must() {
    let needles = Needles::new([("key/with/slashes/and/more", SAME)]);
    let text = br"key\/wi\u0074h/slashes/and/more";
    assert_eq!(whole(&needles, StandIn::Exact, text).unwrap(), br"tok_li\u0076e_aaaaBBBBccccDDDD");
    assert_eq!(whole(&needles, StandIn::Fitted, text).unwrap(), br"tok_xli\u0076e_aaaaBBBBccccDDDD");
}

#[test]
fn base64_in_lines_is_the_dummy_in_lines() {
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..100 {
            let message = |token: &str| format!("{}Bearer {token}\r\n and more", ".".repeat(before));
            for (width, end) in
                [(76, "\r\n"), (64, "\n"), (60, r"\n"), (60, r"\r\n"), (76, "%0A"), (64, "\n    ")]
            {
                let lines = |token: &str| {
                    let encoded = engine.encode(message(token)).into_bytes();
                    let lines: Vec<&[u8]> = encoded.chunks(width).collect();
                    String::from_utf8(lines.join(end.as_bytes())).unwrap()
                };
                // The last character is of both the secret and of what follows it.
                let expected = lines(SAME);
                let given = clean(SAME, StandIn::Fitted, &lines(SECRET));
                let differing =
                    given.bytes().zip(expected.bytes()).filter(|(one, other)| one != other).count();
                assert!(
                    given.len() == expected.len() && differing <= 1,
                    "{before} {end:?}\n{given}\n{expected}"
                );
            }
        }
    }
}

#[test]
fn one_or_two_characters_in_front_of_a_line_break_stay() {
    let unshared = "unshared-aaaaBBBBccccDDDD";
    let text = |at: usize| format!("{}\n{}", &SECRET[..at], &SECRET[at..]);
    assert_eq!(clean(unshared, StandIn::Exact, &text(1)), format!("t\n{}", &unshared[1..]));
    assert_eq!(clean(unshared, StandIn::Exact, &text(2)), format!("to\n{}", &unshared[2..]));
    assert_eq!(clean(unshared, StandIn::Exact, &text(3)), "uns\nhared-aaaaBBBBccccDDDD");
}

#[test]
fn secrets_that_look_like_escape_sequences_are_found() {
    for secret in
        ["abc=88def=41ghi", "abc%41def%zzghi", r"abc\u0041defghi\n", "abcdefghij==", "abc&amp;defghi&#65;"]
    {
        let needles = Needles::new([(secret, SAME)]);
        for layer in [Layer::Json, Layer::Percent, Layer::QuotedPrintable, Layer::Html] {
            for seed in 0..64 {
                for after in ["", "41", "\n", "amp;"] {
                    let text =
                        [&b"> "[..], &layer.encode(secret.as_bytes(), seed, true), after.as_bytes()].concat();
                    let clean = whole(&needles, StandIn::Fitted, &text)
                        .unwrap_or_else(|| panic!("no secret in {}", String::from_utf8_lossy(&text)));
                    let decoded = String::from_utf8_lossy(&layer.decode(&clean)).into_owned();
                    assert!(!decoded.contains(secret.trim_end_matches('=')), "{secret} {layer:?} {decoded}");
                    assert_eq!(clean.len(), text.len());
                }
            }
        }
    }
}

#[test]
fn a_line_that_ends_with_a_letter_of_the_secret_is_not_held_back() {
    let needles = Needles::new([(SECRET, "unshared-aaaaBBBBccccDDDD")]);
    for line in ["it\n\n", "sent to\n", "d\r\n"] {
        assert_eq!(needles.loose().scan(line.as_bytes(), 0, line.len(), false).harmless, line.len());
    }
    assert_eq!(needles.loose().scan(b"sent tok\n", 0, 9, false).harmless, 5);
}

#[test]
fn what_waits_is_bounded() {
    let needles = Needles::new([(SECRET, SAME)]);
    let start = format!("{}\n", &SECRET[..10]);
    for length in [10, 10_000] {
        let text = format!("{start}{}", " ".repeat(length));
        let partial = needles.loose().scan(text.as_bytes(), 0, text.len(), false).partial;
        assert_eq!(partial.is_some(), text.len() <= needles.most_held());
    }
    assert!(needles.most_held() < 1024, "{}", needles.most_held());
}

/// Formats around each other, of which one breaks lines.
fn layers() -> impl Strategy<Value = Vec<(Layer, u64)>> {
    let escapes = prop::sample::select(vec![Layer::Json, Layer::Percent, Layer::Html]);
    let outer = prop::collection::vec((escapes, any::<u64>()), 0..=LEVELS);
    (prop::sample::select(vec![None, Some(Layer::Lines), Some(Layer::QuotedPrintable)]), any::<u64>(), outer)
        .prop_map(|(lines, seed, mut outer)| {
            if lines == Some(Layer::QuotedPrintable) {
                outer.truncate(LEVELS - 1);
            }
            lines.map(|layer| (layer, seed)).into_iter().chain(outer).collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever ordinary formats stand around each other: a client that decodes them reads the dummy.
    #[test]
    fn clients_decode_the_dummy(
        before in "[a-z]{0,90}",
        after in "[a-z]{0,20}",
        is_base64 in any::<bool>(),
        layers in layers(),
    ) {
        let needles = Needles::new([(SECRET, SAME)]);
        let mut text = format!("{before}{SECRET}{after}").into_bytes();
        if is_base64 {
            text = STANDARD.encode(&text).into_bytes();
        }
        for (layer, seed) in &layers {
            text = layer.encode(&text, *seed, false);
        }
        let mut decoded = whole(&needles, StandIn::Fitted, &text).unwrap_or_else(|| panic!("no secret in {}", String::from_utf8_lossy(&text)));
        prop_assert_eq!(decoded.len(), text.len());
        for (layer, _) in layers.iter().rev() {
            decoded = layer.decode(&decoded);
        }
        if is_base64 {
            decoded.retain(|byte| !b"\r\n ".contains(byte));
            decoded = STANDARD.decode(&decoded).unwrap();
        }
        let expected = format!("{before}{SAME}{after}").into_bytes();
        // In base64 the last byte shares a character with what follows it.
        let shared = before.len() + SECRET.len() - 1;
        let unlike: Vec<usize> = (0..expected.len()).filter(|&at| decoded.get(at) != expected.get(at)).collect();
        prop_assert!(unlike.iter().all(|at| is_base64 && *at == shared), "{:?}", String::from_utf8_lossy(&decoded));
        prop_assert_eq!(decoded.len(), expected.len());
    }
}
