use super::*;

/// The text after this many decoders.
fn decoded(text: &str, level: usize) -> String {
    let reader = Reader { text: text.as_bytes(), is_whole: true };
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(next) = reader.read(at, level) {
        assert!(next.start == at && next.end > at);
        bytes.push(next.byte);
        at = next.end;
    }
    assert_eq!(at, text.len());
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_format_is_decoded() {
    for (text, expected) in [
        (r"a\u002bb\u002Bc", "a+b+c"),
        (r"a\x2bb\/c\-d\%e\=\&", r"a+b/c-d\%e\=\&"),
        (r#"a\"b\nc\rd\te"#, "a\"b\nc\rd\te"),
        ("a%2bb%2Bc", "a+b+c"),
        ("a=2Bb=\r\nc=\nd= \n", "a+b\nc\nd= \n"),
        ("a&#43;b&#x2b;c&#X002B;d&amp;e&lt;&gt;&quot;&apos;", "a+b+c+d&e<>\"'"),
        ("a\\\nb", "a\nb"),
    ] {
        assert_eq!(decoded(text, 1), expected, "{text}");
    }
}

#[test]
fn what_is_no_escape_sequence_stands_for_itself() {
    for text in [
        "100% of a=b & c\\d",
        r"\u01234 \u00g0 \xg0 \z",
        "%2 %g0 =g0 &# &#; &#x; &nbsp; &#300; &#99999999; &amp",
        r"\u00",
        "=",
        "&",
    ] {
        assert_eq!(decoded(text, 1), text, "{text}");
    }
}

#[test]
fn formats_inside_formats_need_a_level_each() {
    for (text, level, expected) in [
        (r"a\\u002bb", 2, "a+b"),
        (r"a\\nb", 2, "a\nb"),
        ("a%252Bb", 2, "a+b"),
        (r"a\u0026#43;b", 2, "a+b"),
        ("a&amp;#43;b", 2, "a+b"),
        (r"a=\r\nb", 2, "a\nb"),
        // A line of quoted-printable ends inside an escape sequence of JSON.
        ("a\\u00=\r\n2bb", 2, "a+b"),
    ] {
        assert_eq!(decoded(text, level), expected, "{text}");
        assert_ne!(decoded(text, level - 1), expected, "{text}");
    }
}

#[test]
fn an_unfinished_sequence_is_not_decided_while_more_can_come() {
    for text in ["\\", r"\u", r"\u0", r"\u002", "%", "%2", "=", "=2", "&", "&#", "&#x", "&#43", "&am"] {
        assert_eq!(Reader { text: text.as_bytes(), is_whole: false }.read(0, 1), None, "{text}");
        assert!(Reader { text: text.as_bytes(), is_whole: true }.read(0, 1).is_some(), "{text}");
    }
}

#[test]
fn the_quick_answer_is_never_wrong() {
    for introducer in *b"\\%=&" {
        for next in 0..=u8::MAX {
            for rest in ["0", "041", "41;", "x41;", "mp;", "t;", "\n", " \n", ""] {
                let mut text = vec![introducer, next];
                text.extend_from_slice(rest.as_bytes());
                let reader = Reader { text: &text, is_whole: true };
                let is_decoded = (1..=LEVELS).any(|level| reader.read(0, level).unwrap().end > 1);
                assert!(!is_decoded || can_introduce(introducer, next), "{text:?}");
            }
        }
    }
}
