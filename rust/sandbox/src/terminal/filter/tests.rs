use proptest::prelude::*;

use super::Filter;

fn passed(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    Filter::default().pass(input, &mut output);
    output
}

#[test]
fn what_programs_draw_with_passes_unchanged() {
    for input in [
        &b"plain text\r\n\ttab\x08\x07"[..],
        "gr\u{fc}n \u{65e5}\u{672c} \u{1f980} \u{a0}".as_bytes(),
        b"\x1b[1;38;2;10;20;30mcolour\x1b[0m\x1b[2J\x1b[H\x1b[10;20H\x1b[K",
        b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1000h\x1b[?2026$p\x1b[>1u\x1b[<u\x1b[6n\x1b[c",
        b"\x1b]0;title\x07\x1b]2;title\x1b\\\x1b[22;0t\x1b[23;0t",
        b"\x1b]8;;https://example.test/a;b\x1b\\link\x1b]8;;\x1b\\",
        b"\x1b]11;?\x07\x1b]4;1;rgb:00/00/00\x07\x1b]104\x07\x1b]133;A\x07\x1b]9;4;1;50\x07\x1b]7;file://h/p\x07",
        b"\x1b(B\x1b)0\x1b7\x1b8\x1bM\x1b=\x1b>\x1bc\x1b#8\x1b%G",
        b"\x1bP0;1;0q#0;2;0;0;0#0~~@@vv\x1b\\after",
    ] {
        assert_eq!(passed(input), input, "{:?}", String::from_utf8_lossy(input));
    }
}

#[test]
fn what_acts_on_the_host_is_dropped() {
    for input in [
        &b"\x1b]52;c;Zm9v\x07"[..],
        b"\x1b]52;c;?\x1b\\",
        b"\x1b]052;c;Zm9v\x07",
        b"\x1b]50;?\x07",
        b"\x1b]1337;File=name=eA==:AAAA\x07",
        b"\x1b]777;notify;a;b\x07",
        b"\x1b]9;6;macro\x07",
        b"\x1b[21t",
        b"\x1b[20t",
        b"\x1b[8;100;100t",
        b"\x1b[021t",
        b"\x1b[>21t",
        b"\x1b[t",
        b"\x1b[5i",
        b"\x1b[?5i",
        b"\x1b[1;1;1;1;24;80*y",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1bPtmux;\x1b\x1b]52;c;Zm9v\x07\x1b\\",
        b"\x1b_Gf=24,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
        b"\x1b^secret\x1b\\",
        b"\x1bXsecret\x1b\\",
        b"\x1bktitle\x1b\\",
        // Without UTF-8 the second byte of a character is a control character.
        b"\x1b%@",
        b"\x1b%/1",
        b"\x05",
        b"\xc2\x9b21t"[..2].as_ref(),
        b"\x9b",
        b"\x9d",
        b"\x1b]0;a\xc2\x9c\x07",
        b"\x1b]0;a\x9c\x07",
        b"\x1b]0;a\nb\x07",
    ] {
        let output = passed(input);
        assert!(
            !output.iter().any(|byte| matches!(byte, 0x1b | 0x05 | 0x80..=0x9f)),
            "{:?} gave {:?}",
            String::from_utf8_lossy(input),
            String::from_utf8_lossy(&output),
        );
    }
}

#[test]
fn text_around_a_dropped_sequence_stays() {
    assert_eq!(passed(b"a\x1b]52;c;Zm9v\x07b"), b"ab");
    assert_eq!(passed(b"a\x1b]52;c;Zm9v\x1b\\b"), b"ab");
    assert_eq!(passed(b"a\x1b[21tb"), b"ab");
    assert_eq!(passed("a\u{9b}b\u{80}c".as_bytes()), b"abc");
    assert_eq!(passed(b"a\x1b]52;c;Zm\x1b[1mb"), b"a\x1b[1mb");
}

#[test]
fn an_overlong_string_is_dropped_to_its_end() {
    let mut input = b"a\x1b]0;".to_vec();
    input.extend(std::iter::repeat_n(b'x', 100_000));
    input.extend(b"\x07b");
    assert_eq!(passed(&input), b"ab");
}

/// Pieces that sequences are made of, so that random inputs are often nearly something.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            &b"\x1b"[..],
            b"\x1b]",
            b"\x1b[",
            b"\x1bP",
            b"\x1b_",
            b"52;c;",
            b"0;title",
            b"21t",
            b"22t",
            b"\x07",
            b"\x1b\\",
            b"\xc2",
            b"\x9b",
            b"\x9c",
            b"q",
            b"\x05",
            b"$q",
            b"\x18",
            b"m",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn borders_between_writes_change_nothing(input in pieces(), cuts in proptest::collection::vec(any::<u16>(), 0..6)) {
        let whole = passed(&input);
        let mut filter = Filter::default();
        let mut output = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % (input.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(input.len());
        let mut from = 0;
        for cut in cuts {
            filter.pass(&input[from..cut], &mut output);
            from = cut;
        }
        prop_assert_eq!(output, whole);
    }

    #[test]
    fn filtering_twice_is_filtering_once(input in pieces()) {
        let once = passed(&input);
        prop_assert_eq!(passed(&once), once);
    }

    #[test]
    fn nothing_forbidden_is_in_any_output(input in pieces()) {
        let output = passed(&input);
        let holds = |needle: &[u8]| output.windows(needle.len()).any(|window| window == needle);
        for forbidden in [&b"\x1b]52"[..], b"\x1b[21t", b"\x1b[20t", b"\x05", b"\x1bP$", b"\x1b_", b"\xc2\x9b"] {
            prop_assert!(!holds(forbidden), "{:?}", forbidden);
        }
    }
}
