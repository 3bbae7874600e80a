use proptest::prelude::*;

use super::*;
use crate::host::DnsName;

/// Every spelling of one host that any program could mean by it ends in one text.
#[test]
fn spellings_of_a_host_become_one() {
    let longest_label = "a".repeat(63);
    let longest_name = [&*longest_label, &longest_label, &longest_label, &"a".repeat(61)].join(".");
    for (text, expected) in [
        ("api.host", "api.host"),
        ("API.host.", "api.host"),
        ("ａｐｉ.host", "api.host"),
        ("api。host", "api.host"),
        ("api．host。", "api.host"),
        ("ⓐⓟⓘ.host", "api.host"),
        ("a\u{ad}pi.host", "api.host"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("BU\u{308}CHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("_dmarc.example", "_dmarc.example"),
        ("r3---sn-a5.example", "r3---sn-a5.example"),
        ("user-.example", "user-.example"),
        ("localhost", "localhost"),
        ("1e3", "1e3"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        (&longest_label, &longest_label),
        (&longest_name, &longest_name),
    ] {
        let host: Host = text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(host.to_string(), expected, "{text:?}");
        assert_eq!(host.to_string().parse(), Ok(host), "{text:?}");
    }
}

#[test]
fn hosts_that_could_be_read_in_two_ways_are_refused() {
    use AuthorityError::*;
    type Make = fn(String) -> AuthorityError;
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = vec!["abcdefg"; 32].join(".");
    let cases: &[(&str, Make)] = &[
        ("host@evil", UserInfo),
        ("user:password@evil", UserInfo),
        (".", |_| Empty),
        ("", |_| Empty),
        ("..", EmptyLabel),
        ("a..b", EmptyLabel),
        (".a", EmptyLabel),
        ("a..", EmptyLabel),
        ("a。。b", EmptyLabel),
        (&long_label, LabelTooLong),
        (&long_name, NameTooLong),
        ("127.1", NumericHost),
        ("0x7f.1", NumericHost),
        ("0x7f000001", NumericHost),
        ("1.0X7F", NumericHost),
        ("0x", NumericHost),
        ("2130706433", NumericHost),
        ("0177.0.0.1", NumericHost),
        ("127.0.0.01", NumericHost),
        ("127.0.0.1.", NumericHost),
        ("127.0.0.256", NumericHost),
        ("1.2.3.4.5", NumericHost),
        ("host.127", NumericHost),
        ("１２７.0.0.1", NumericHost),
        ("127。0。0。1", NumericHost),
        ("①②⑦.1", NumericHost),
        ("[::1%lo]", Zone),
        ("fe80::1%eth0", Zone),
        ("[::1", NotIpv6),
        ("[127.0.0.1]", NotIpv6),
        ("[host]", NotIpv6),
        ("[[::1]]", NotIpv6),
        ("[]", NotIpv6),
        ("host:443:443", NotIpv6),
        ("xn--a", NotIdna),
        ("xn--", NotIdna),
        ("xn--zzzzzzzzzzzz.example", NotIdna),
        ("host％00", NotIdna),
        ("host／evil", NotIdna),
        ("evil＠host", NotIdna),
        ("host：443", NotIdna),
        ("host＃evil", NotIdna),
        ("a\u{200d}b", NotIdna),
        ("a\u{202e}b", NotIdna),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<Host>(), Err(error(excerpt(text))), "{text:?}");
    }
}

#[test]
fn characters_of_other_syntax_are_refused() {
    for character in "\0\t\n\r \u{7f}\u{85}\u{a0}\u{2028}\u{3000}%/?#\\:;,*<>|^`{}\"'!$&()+=~]".chars() {
        let text = format!("evil{character}.host");
        let expected = AuthorityError::ForbiddenCharacter { text: text.clone(), character };
        assert_eq!(text.parse::<Host>(), Err(expected), "{text:?}");
        for text in [format!("{character}host"), format!("host{character}")] {
            assert!(text.parse::<DnsName>().is_err(), "{text:?}");
        }
    }
}

#[test]
fn an_authority_is_a_host_and_a_plain_port() {
    for (text, default, expected) in [
        ("API.host.:8443", None, "api.host:8443"),
        ("api.host", Some(443), "api.host:443"),
        ("api.host:1", Some(443), "api.host:1"),
        ("api.host:65535", Some(443), "api.host:65535"),
        ("127.0.0.1:80", None, "127.0.0.1:80"),
        ("[::1]", Some(443), "[::1]:443"),
        ("[::1]:8443", Some(443), "[::1]:8443"),
        ("[::ffff:10.0.0.1]:1", None, "10.0.0.1:1"),
    ] {
        let authority = Authority::parse(text, default).unwrap();
        assert_eq!(authority.to_string(), expected);
        assert_eq!(Authority::parse(expected, None), Ok(authority));
    }
}

#[test]
fn other_ports_and_colons_are_refused() {
    use AuthorityError::*;
    for (text, error) in [
        ("host", NoPort("host".into())),
        ("host:", BadPort("".into())),
        ("host:0", BadPort("0".into())),
        ("host:00", BadPort("00".into())),
        ("host:+443", BadPort("+443".into())),
        ("host:-1", BadPort("-1".into())),
        ("host: 443", BadPort(" 443".into())),
        ("host:443 ", BadPort("443 ".into())),
        ("host:0443", BadPort("0443".into())),
        ("host:65536", BadPort("65536".into())),
        ("host:https", BadPort("https".into())),
        ("host:４４３", BadPort("４４３".into())),
        ("host:0x1bb", BadPort("0x1bb".into())),
        ("host:443/", BadPort("443/".into())),
        ("[::1]:", BadPort("".into())),
        ("host:443:443", ExtraColon("host:443:443".into())),
        ("::1", Ipv6WithoutBrackets("::1".into())),
        ("::1:443", Ipv6WithoutBrackets("::1:443".into())),
        ("[::1]443", NotIpv6("[::1]443".into())),
        ("[::1]:443:443", BadPort("443:443".into())),
        ("[::1", NotIpv6("[::1".into())),
        ("[::1%lo]:443", Zone("[::1%lo]".into())),
        (":443", Empty),
        ("user@host:443", UserInfo("user@host".into())),
        ("user:password@host", BadPort("password@host".into())),
    ] {
        assert_eq!(Authority::parse(text, None), Err(error), "{text:?}");
    }
    assert_eq!(Authority::new("host".parse().unwrap(), 0), Err(BadPort("0".into())));
}

#[test]
fn an_error_shows_only_the_start_of_a_long_text() {
    let error = "a@".repeat(10_000).parse::<Host>().unwrap_err();
    assert!(error.to_string().len() < 250, "{error}");
    let long = "ä".repeat(10_000).parse::<Host>().unwrap_err();
    assert!(matches!(long, AuthorityError::NameTooLong(_)), "{long}");
}

#[test]
fn an_authority_is_one_string_in_json() {
    let authority: Authority = serde_json::from_str("\"API.host.:443\"").unwrap();
    assert_eq!(serde_json::to_string(&authority).unwrap(), "\"api.host:443\"");
    assert!(serde_json::from_str::<Authority>("\"api.host\"").is_err());
}

/// Texts near the border of what is a host: names, numbers and what attackers put between.
fn host_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_.-]{0,20}",
        "[0-9a-fA-Fx.:\\[\\]%]{0,24}",
        "\\PC{0,12}",
        any::<String>(),
        "[a-zäß。．ａ１0-9.]{1,12}"
    ]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(text in host_like(), port in any::<u16>()) {
        if let Ok(host) = text.parse::<Host>() {
            prop_assert_eq!(&host.to_string().parse::<Host>(), &Ok(host.clone()));
            if let Ok(authority) = Authority::new(host, port) {
                prop_assert_eq!(Authority::parse(&authority.to_string(), None), Ok(authority));
            }
        }
        let _ = Authority::parse(&text, Some(443));
    }

    #[test]
    fn a_name_is_lower_case_ascii_without_other_syntax(text in host_like()) {
        if let Ok(Host::Name(name)) = text.parse::<Host>() {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
            prop_assert!(name.as_str().bytes().all(plain));
            prop_assert!(name.as_str().split('.').all(|label| (1..=63).contains(&label.len())));
            prop_assert!(name.as_str().len() <= 253);
            prop_assert!(name.as_str().parse::<std::net::IpAddr>().is_err());
        }
    }

    #[test]
    fn every_address_is_read_back(address in any::<std::net::IpAddr>()) {
        let host = Host::from(address);
        prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
    }
}
