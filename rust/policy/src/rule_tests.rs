use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::scheme::Scheme;

fn rule(text: &str) -> Rule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_text_form_is_printed_back() {
    for (text, printed) in [
        ("api.anthropic.com", "api.anthropic.com"),
        ("  allow \t API.anthropic.com.  ", "api.anthropic.com"),
        ("deny https://api.example.com", "deny api.example.com"),
        ("GET,HEAD https://api.github.com/repos/*", "GET,HEAD api.github.com/repos/*"),
        ("HEAD,GET,GET a.example", "GET,HEAD a.example"),
        ("deny PURGE http://a.example:80/", "deny PURGE http://a.example/"),
        ("*.example.com:443", "*.example.com"),
        ("tcp://db.example.net:5432", "tcp://db.example.net:5432"),
        ("tcp://db.example.net:443", "tcp://db.example.net:443"),
        ("http://10.0.0.0/8:8080", "http://10.0.0.0/8:8080"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8/v1/*", "10.0.0.0/8:443/v1/*"),
        ("10.0.0.1:443/8", "10.0.0.1:443/8"),
        ("10.0.0.1/x", "10.0.0.1:443/x"),
        ("example.com/8", "example.com/8"),
        ("[::1]", "[::1]"),
        ("[::1]:443/8", "[::1]:443/8"),
        ("http://[fd00::]/8:8080/x", "http://[fd00::]/8:8080/x"),
        ("fd00::/8", "[fd00::]/8"),
        ("http://fd00::/8/x", "http://[fd00::]/8:80/x"),
        ("wss://a.example/socket", "wss://a.example/socket"),
        ("ws://a.example:80", "ws://a.example"),
        ("*", "*"),
        ("http://*:8080/**", "http://*:8080/**"),
        ("a.example/{x}/%2a", "a.example/%7Bx%7D/%2A"),
        ("allow.example", "allow.example"),
        ("https://deny", "https://deny"),
        ("deny https://allow", "deny https://allow"),
        ("GET https://deny", "GET https://deny"),
        ("https://deny/x", "https://deny/x"),
    ] {
        assert_eq!(rule(text).to_string(), printed, "{text}");
        assert_eq!(rule(printed), rule(text), "{text}");
    }
}

#[test]
fn a_rule_that_is_none_is_refused_with_the_cure() {
    for (text, cure) in [
        ("", "name a host"),
        ("  ", "name a host"),
        ("deny ", "name a host"),
        ("GET a.example /x", "[METHOD,…]"),
        ("allow", "name a host"),
        ("deny deny", "name a host"),
        ("deny deny a.example", "leave `allow` or `deny` out"),
        ("get a.example", "write `GET`"),
        ("GET, a.example", "not an HTTP method"),
        ("* a.example", "not an HTTP method"),
        ("GET/HEAD a.example", "not an HTTP method"),
        ("CONNECT a.example", "leave it out"),
        ("ftp://a.example", "write https"),
        ("HTTPS://a.example", "write https"),
        ("https://", "host is empty"),
        ("https:///x", "host is empty"),
        (":443", "host is empty"),
        ("user@a.example", "without `@`"),
        ("a.example:0", "from 1 to 65535"),
        ("a.example:", "from 1 to 65535"),
        ("a.example:*", "from 1 to 65535"),
        ("a.example:443:443", "`host:port`"),
        ("127.1", "four decimal numbers"),
        ("2130706433:80", "four decimal numbers"),
        ("::1", "`[::1]`"),
        ("::1:443", "`[::1:443]`"),
        ("[::1]x", "IPv6"),
        ("[::1", "IPv6"),
        ("[::1%lo]:443", "without `%`"),
        ("10.0.0.1/8", "write `10.0.0.0/8`; if a path is meant, write the port before it"),
        ("a*.example", "`*.example.com`"),
        ("a.example?x", "cannot hold"),
        ("a.example/x?y", "leave out `?`"),
        ("a.example//x", "single slashes"),
        ("a.example/https://x", "single slashes"),
        ("a.example/../x", "write the path that is meant"),
        ("a.example/***", "crosses `/`"),
        ("tcp://a.example", "tcp://db.example.net:5432"),
        ("GET tcp://a.example:1", "leave them out"),
        ("tcp://a.example:1/x", "leave them out"),
    ] {
        let error = text.parse::<Rule>().expect_err(text).to_string();
        assert!(error.contains(cure), "{text}: {error}");
    }
}

#[test]
fn an_action_given_beside_the_text_is_not_in_it() {
    assert_eq!(Rule::parse(Action::Deny, "GET a.example").unwrap(), rule("deny GET a.example"));
    let error = Rule::parse(Action::Allow, "deny a.example").unwrap_err();
    assert!(matches!(error, RuleError::ActionTwice(_)), "{error}");
}

#[test]
fn text_and_structure_are_the_same_rule() {
    for (text, structure) in [
        ("a.example", json!({ "hosts": ["a.example"] })),
        (
            "a.example",
            json!({ "action": "allow", "scheme": "https", "hosts": ["A.example."], "ports": [443] }),
        ),
        (
            "deny GET,HEAD http://*.a.example:8080/x/*",
            json!({ "action": "deny", "scheme": "http", "hosts": ["*.a.example"], "ports": [8080],
                    "methods": ["HEAD", "GET"], "paths": ["/x/*"] }),
        ),
        ("tcp://10.0.0.0/8:5432", json!({ "scheme": "tcp", "hosts": ["10.0.0.0/8"], "ports": [5432] })),
        ("wss://a.example", json!({ "scheme": "wss", "hosts": ["a.example"] })),
    ] {
        let from_structure: Rule = serde_json::from_value(structure).unwrap();
        let from_text: Rule = serde_json::from_value(text.into()).unwrap();
        assert_eq!(from_structure, from_text, "{text}");
        assert_eq!(from_text, rule(text));
        let again: Rule = serde_json::from_value(serde_json::to_value(&from_text).unwrap()).unwrap();
        assert_eq!(again, from_text, "{text}");
    }
}

#[test]
fn a_structure_with_many_parts_prints_a_line_for_each() {
    let rule: Rule = serde_json::from_value(json!({
        "hosts": ["a.example", "10.0.0.1"], "ports": [443, 8443], "paths": ["/x", "/y"], "methods": ["GET"],
        "credential": "TOKEN",
    }))
    .unwrap();
    assert_eq!(rule.credential(), Some("TOKEN"));
    let expected = [
        "GET a.example/x",
        "GET a.example/y",
        "GET a.example:8443/x",
        "GET a.example:8443/y",
        "GET 10.0.0.1:443/x",
        "GET 10.0.0.1:443/y",
        "GET 10.0.0.1:8443/x",
        "GET 10.0.0.1:8443/y",
    ];
    assert_eq!(rule.texts(), expected);
    assert_eq!(rule.to_string(), expected.join("\n"));
}

#[test]
fn an_error_in_a_structure_names_the_place_and_the_reason() {
    let error = |json: serde_json::Value| {
        let error = serde_path_to_error::deserialize::<_, Vec<Rule>>(json![[json]]).unwrap_err();
        (error.path().to_string(), error.to_string())
    };
    for (json, path, message) in [
        (json!({ "hosts": ["a.example", "127.1"] }), "[0].hosts[1]", "four decimal numbers"),
        (json!({ "hosts": ["a.example"], "paths": ["/a//b"] }), "[0].paths[0]", "single slashes"),
        (json!({ "hosts": ["a.example"], "path": "/a" }), "[0].path", "unknown field `path`"),
        (json!({ "hosts": ["a.example"], "scheme": "ftp" }), "[0].scheme", "unknown variant `ftp`"),
        (json!({ "hosts": ["a.example"], "action": "Allow" }), "[0].action", "unknown variant `Allow`"),
        (json!({ "hosts": ["a.example"], "ports": [65536] }), "[0].ports[0]", "65536"),
        (json!({ "hosts": ["a.example"], "ports": [0] }), "[0]", "from 1 to 65535"),
        (json!({ "hosts": ["a.example"], "methods": ["post"] }), "[0]", "write `POST`"),
        (json!({ "hosts": ["a.example"], "methods": ["deny"] }), "[0]", "not an HTTP method"),
        (json!({ "hosts": [] }), "[0]", "give `hosts`"),
        (json!({}), "[0]", "give `hosts`"),
        (json!({ "hosts": ["a.example"], "scheme": "tcp" }), "[0]", "must name its port"),
        (
            json!({ "hosts": ["a.example"], "scheme": "tcp", "ports": [1], "paths": ["/"] }),
            "[0]",
            "leave them out",
        ),
        (
            json!({ "hosts": ["a.example"], "action": "deny", "credential": "T" }),
            "[0]",
            "leave `credential` out",
        ),
        (json!({ "hosts": ["a.example"], "credential": "" }), "[0]", "name is empty"),
        (json!("get a.example"), "[0]", "write `GET`"),
        (json!(7), "[0]", "a rule as text"),
        (json!(null), "[0]", "a rule as text"),
        (json!(["a.example"]), "[0]", "a rule as text"),
    ] {
        let (found_path, found) = error(json.clone());
        assert!(found_path == path && found.contains(message), "{json}: {found_path}: {found}");
    }
}

#[test]
fn a_credential_goes_only_where_it_can_be_used() {
    assert_eq!(rule("a.example").with_credential("T").unwrap().credential(), Some("T"));
    for text in ["deny a.example", "tcp://a.example:1"] {
        assert_eq!(rule(text).with_credential("T"), Err(RuleError::Credential));
    }
}

#[test]
fn websocket_schemes_are_http_with_upgrades_only() {
    for (text, scheme, websocket_only, port) in [
        ("a.example", Scheme::Https, false, 443),
        ("http://a.example", Scheme::Http, false, 80),
        ("wss://a.example", Scheme::Https, true, 443),
        ("ws://a.example", Scheme::Http, true, 80),
    ] {
        let rule = rule(text);
        assert_eq!((rule.scheme(), rule.websocket_only()), (scheme, websocket_only), "{text}");
        assert_eq!(rule.ports().iter().copied().collect::<Vec<_>>(), [port], "{text}");
    }
}

#[test]
fn the_schema_offers_text_and_structure() {
    let schema = serde_json::to_value(schemars::schema_for!(Rule)).unwrap();
    assert_eq!(schema["anyOf"][0]["type"], "string");
    assert_eq!(schema["anyOf"][1]["$ref"], "#/$defs/RuleParts");
    assert_eq!(schema["$defs"]["RuleParts"]["additionalProperties"], false);
    assert_eq!(schema["$defs"]["RuleParts"]["required"], json!(null));
    assert_eq!(schema["$defs"]["GitRule"]["required"], json!(["repos"]));
}

fn rule_like() -> impl Strategy<Value = String> {
    let target = "(https://|http://|tcp://|ws://|wss://)?(\\*|(\\*\\.)?[a-c]{1,3}(\\.[a-c]{1,3}){0,2}|10\\.0\\.0\\.[0-9]|\
                  10\\.0\\.0\\.0/8|\\[fd00::\\]/8|\\[::1\\]|fd00::/8)(:[0-9]{1,4})?(/[a-c0-9*/.%]{0,8})?";
    let rule = format!("(allow |deny )?((GET|PUT|X-Y)(,HEAD)? )?{target}");
    prop_oneof![proptest::string::string_regex(&rule).unwrap(), "\\PC{0,30}", any::<String>()]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(text in rule_like()) {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(&rule.to_string().parse::<Rule>(), &Ok(rule.clone()));
            let structure = serde_json::to_value(&rule).unwrap();
            prop_assert_eq!(serde_json::from_value::<Rule>(structure).unwrap(), rule);
        }
    }

    #[test]
    fn the_lines_of_a_structure_are_rules(
        hosts in prop::collection::vec(prop::sample::select(vec!["a", "*.b", "*", "10.0.0.0/8", "::1", "10.0.0.1"]), 1..3),
        ports in prop::collection::vec(1..u16::MAX, 0..3),
        paths in prop::collection::vec(prop::sample::select(vec!["/", "/8", "/a/*", "/**"]), 0..3),
        deny in any::<bool>(),
    ) {
        let action = if deny { "deny" } else { "allow" };
        let structure = json!({ "hosts": hosts, "ports": ports, "paths": paths, "action": action });
        let rule: Rule = serde_json::from_value(structure).unwrap();
        for text in rule.texts() {
            let line: Rule = text.parse().unwrap();
            prop_assert!(rule.covers(&line), "{}", text);
            prop_assert_eq!(line.action(), rule.action());
        }
    }
}
