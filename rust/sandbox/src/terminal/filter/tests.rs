use proptest::prelude::*;

use super::Filter;

mod reading;

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
        // vim, with and without kitty's keyboard.
        b"\x1b[?1049h\x1b[22;2t\x1b[22;1t\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;24r\x1b[?12h\x1b[?12l\x1b[>4;2m\x1b[?4m\x1b[>c",
        b"\x1b[?12$p\x1b[2 q\x1b[0 q\x1b[27m\x1b[23m\x1b[4:3m\x1b[58:2::255:0:0m\x1b[38;5;12m\x1b[=5;1u\x1b[?u\x1b[>1u\x1b[<1u\x1b[<u",
        // less, htop, readline.
        b"\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[?1007h\x1b[7m(END)\x1b[27m\x1b[K\x1b[?1034h\x1b[4l\x1b[?25l\x1b[39;49m\x1b[1d",
        b"\x1b[5@\x1b[2P\x1b[3X\x1b[4L\x1b[2M\x1b[2S\x1b[2T\x1b[I\x1b[Z\x1b[5G\x1b[5b\x1b[s\x1b[u\x1b[g\x1b[3g\x1bH\x0e\x0f",
        // tmux, screen.
        b"\x1b[?12;25h\x1b[34h\x1b[>q\x1b[>0q\x1b[?1006;1000h\x1b[?69h\x1b[1;40s\x1b[1;1;2;2$x\x1b[!p\x1b[?3;4l\x1b[4l\x1b>",
        // Agents: synchronized output, colour scheme, cursor position, focus, colours, progress.
        b"\x1b[?2026h\x1b[?2026l\x1b[?2031h\x1b[?996n\x1b[?6n\x1b[5n\x1b[?1004h\x1b[?2027$p\x1b[?1016$p\x1b[=c\x1b]10;?\x07\x1b]9;4;0;\x07",
        // Linux' own console.
        b"\x1b[?25l\x1b[?1c\x1b[?0c\x1b(U\x1b(K\x1b)0",
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
        // Answers of some terminals, and what no program needs: other languages, locks, consoles, logs, macros.
        b"\x1bG",
        b"\x1bZ",
        b"\x1b G",
        b"\x1bl",
        b"\x1bN",
        b"\x1b#9",
        b"\x1b(%5",
        b"\x1b[12;2]",
        b"\x1b[?2l",
        b"\x1b[?38h",
        b"\x1b[?46h",
        b"\x1b[?1001h",
        b"\x1b[?25;46h",
        b"\x1b[?1043h",
        b"\x1b[2h",
        b"\x1b[h",
        b"\x1b[?h",
        b"\x1b[99999999999h",
        b"\x1b[?15n",
        b"\x1b[?26n",
        b"\x1b[1;2;3;4;5T",
        b"\x1b[1q",
        b"\x1b[62;1\"p",
        b"\x1b[1$|",
        b"\x1b[1;1'z",
        b"\x1b[0;1'{",
        b"\x1b[#S",
        b"\x1b[>1t",
        b"\x1b[>2p",
        // Parts out of order.
        b"\x1b[25?h",
        b"\x1b[?25 1h",
        b"\x1b[??25h",
        b"\x1b[ ?q",
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
fn bytes_that_are_no_character_are_replaced() {
    let replaced = "\u{fffd}";
    // The second byte of the broken character is OSC to a terminal that reads bytes.
    assert_eq!(passed(b"\xe2\x9d52;c;eA==\x07"), format!("{replaced}52;c;eA==\x07").as_bytes());
    assert_eq!(passed(b"\xf0\x9f\x9d\x1b[1mb"), format!("{replaced}\x1b[1mb").as_bytes());
    assert_eq!(passed(b"a\xe9t\xe9"), format!("a{replaced}t").as_bytes());
    assert_eq!(passed(b"\xc0\xaf\xed\xa0\x80\xff"), replaced.repeat(6).replacen(replaced, "", 1).as_bytes());
    assert_eq!(passed(b"\xe2\xe2\x9d\xa4"), format!("{replaced}\u{2764}").as_bytes());
}

#[test]
fn the_other_parser_sees_what_is_not_listed() {
    for hostile in [
        &b"\x1bGQ"[..],
        b"\x1b[12;2]",
        b"\x1b]52;c;eA==\x07",
        b"\x1b[21t",
        b"\x1b[?25;46h",
        b"\x1bP$qm\x1b\\",
        b"\x1b_x\x1b\\",
        b"\xe2\x9d52",
        b"\xc2\x9b21t",
        b"\x05",
    ] {
        assert!(!reading::unlisted(hostile).is_empty(), "{:?}", String::from_utf8_lossy(hostile));
    }
}

#[test]
fn a_picture_that_is_left_open_is_ended() {
    let (mut filter, mut output) = (Filter::default(), Vec::new());
    filter.pass(b"\x1bPq#0~~", &mut output);
    filter.finish(&mut output);
    assert_eq!(output, b"\x1bPq#0~~\x1b\\");
    filter.pass(b"text", &mut output);
    filter.finish(&mut output);
    assert!(output.ends_with(b"\\text"));
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
            b"\xe2",
            b"\xf0\x9f",
            b"\xe2\x9d\xa4",
            b"\x9b",
            b"\x9d",
            b"?25",
            b";46",
            b"h",
            b"(0",
            b"$p",
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
    fn another_parser_finds_only_listed_sequences_whatever_the_borders(
        writes in proptest::collection::vec(pieces(), 0..6)
    ) {
        let (mut filter, mut output) = (Filter::default(), Vec::new());
        writes.iter().for_each(|write| filter.pass(write, &mut output));
        filter.finish(&mut output);
        prop_assert_eq!(reading::unlisted(&output), Vec::<String>::new(), "{:?}", output);
    }
}
