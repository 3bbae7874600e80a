use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> HostPattern {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host(text: &str) -> Host {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn patterns_match_label_by_label() {
    for (text, yes, no) in [
        ("*", &["a", "a.example", "10.0.0.1", "[::1]"][..], &[][..]),
        (
            "API.host.",
            &["api.host"],
            &["host", "evilapi.host", "x.api.host", "api.host.evil.com", "api-host"],
        ),
        (
            "*.example.com",
            &["a.example.com", "a.b.example.com"],
            &["example.com", "evilexample.com", "com", "10.0.0.1"],
        ),
        ("10.1.2.3", &["10.1.2.3", "[::ffff:10.1.2.3]"], &["10.1.2.4", "10.1.2.3.example", "[::10.1.2.3]"]),
        ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1"], &["11.0.0.0", "a", "[::1]"]),
        ("0.0.0.0/0", &["8.8.8.8", "127.0.0.1"], &["[::1]", "a"]),
        ("[fd00::]/8", &["[fd12::1]"], &["[fe80::1]", "10.0.0.1"]),
        ("fd00::/8", &["[fd12::1]"], &["[fc00::1]"]),
        ("::1", &["[::1]"], &["[::2]", "127.0.0.1"]),
    ] {
        for name in yes {
            assert!(pattern(text).matches(&host(name)), "{text} should match {name}");
        }
        for name in no {
            assert!(!pattern(text).matches(&host(name)), "{text} should not match {name}");
        }
    }
}

#[test]
fn other_patterns_are_refused_with_the_cure() {
    for (text, cure) in [
        ("", "host is empty"),
        ("*.", "host is empty"),
        ("*.*", "`*.example.com`"),
        ("*.*.example.com", "`*.example.com`"),
        ("**.example.com", "`*.example.com`"),
        ("a*.example.com", "`*.example.com`"),
        ("*example.com", "`*.example.com`"),
        ("api.*", "`*.example.com`"),
        ("*.10.0.0.1", "`*.example.com`"),
        ("*.1", "four decimal numbers"),
        ("10.1.2.3/8", "write `10.0.0.0/8`"),
        ("[fd00::1]/8", "write `[fd00::]/8`"),
        ("10.0.0.0/33", "not a network"),
        ("10.0.0.0/", "not a network"),
        ("10.0.0.0/+8", "not a network"),
        ("10.0.0.0/08", "not a network"),
        ("10.0/8", "not a network"),
        ("example.com/8", "not a network"),
        ("[10.0.0.0]/8", "not a network"),
        ("[::ffff:10.0.0.0]/104", "write the IPv4 network"),
        ("example.com:443", "cannot hold"),
    ] {
        let error = text.parse::<HostPattern>().expect_err(text).to_string();
        assert!(error.contains(cure), "{text}: {error}");
    }
}

#[test]
fn a_pattern_is_one_string_in_json() {
    for text in ["*", "*.example.com", "api.example.com", "10.0.0.0/8", "[fd00::]/8", "[::1]"] {
        assert_eq!(serde_json::to_value(pattern(text)).unwrap(), text);
        assert_eq!(serde_json::from_value::<HostPattern>(text.into()).unwrap(), pattern(text));
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        text in prop_oneof!["(\\*\\.)?[a-z0-9.-]{0,12}", "[0-9a-f:.\\[\\]]{0,20}/[0-9]{1,3}", any::<String>()]
    ) {
        if let Ok(pattern) = text.parse::<HostPattern>() {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }

    #[test]
    fn a_name_allows_no_other_name(text in prop_oneof!["[a-zA-Z.]{1,12}", "\\PC{0,4}a\\.example\\PC{0,4}"]) {
        if let Ok(other) = text.parse::<Host>() {
            prop_assert_eq!(pattern("a.example").matches(&other), other.to_string() == "a.example");
            let below = other.to_string().ends_with(".a.example");
            prop_assert_eq!(pattern("*.a.example").matches(&other), below);
        }
    }

    #[test]
    fn covering_is_never_claimed_wrongly(
        wide in "(\\*\\.)?[ab](\\.[ab]){0,2}|\\*", narrow in "(\\*\\.)?[ab](\\.[ab]){0,2}|\\*", name in "[ab](\\.[ab]){0,3}"
    ) {
        let (wide, narrow, name) = (pattern(&wide), pattern(&narrow), host(&name));
        prop_assert!(!(wide.covers(&narrow) && narrow.matches(&name)) || wide.matches(&name));
    }
}

#[test]
fn patterns_overlap_where_one_host_is_in_both() {
    let overlap = |one: &str, other: &str| {
        let (one, other): (HostPattern, HostPattern) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!(one.overlaps(&other), other.overlaps(&one), "{one} {other}");
        one.overlaps(&other)
    };
    for (one, other) in [
        ("a.test", "a.test"),
        ("*", "a.test"),
        ("*.test", "a.test"),
        ("*.test", "*.a.test"),
        ("10.0.0.0/8", "10.1.0.0/16"),
        ("10.0.0.0/8", "10.1.2.3"),
    ] {
        assert!(overlap(one, other), "{one} {other}");
    }
    for (one, other) in
        [("a.test", "b.test"), ("*.a.test", "a.test"), ("*.a.test", "*.b.test"), ("10.0.0.0/8", "a.test")]
    {
        assert!(!overlap(one, other), "{one} {other}");
    }
}
