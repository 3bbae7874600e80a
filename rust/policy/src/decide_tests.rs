use proptest::prelude::*;

use super::*;
use crate::RequestPath;

fn policy(rules: &[&str]) -> Policy {
    Policy::new(parsed(rules)).unwrap_or_else(|error| panic!("{error}"))
}

fn parsed(rules: &[&str]) -> Vec<Rule> {
    rules.iter().map(|text| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

/// Asks by `METHOD URL`; `wss` and `ws` are upgrades.
fn ask<T>(request: &str, answer: impl FnOnce(&Request<'_>) -> T) -> T {
    let (method, url) = request.split_once(' ').unwrap_or(("", request));
    let (word, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, port) = match word {
        "https" | "wss" => (Scheme::Https, Some(443)),
        "http" | "ws" => (Scheme::Http, Some(80)),
        _ => (Scheme::Tcp, None),
    };
    let authority = Authority::parse(authority, port).unwrap();
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let path = RequestPath::parse(if path.is_empty() { "/" } else { path }).unwrap();
    answer(&Request {
        scheme,
        authority: &authority,
        method,
        path: &path,
        query,
        websocket: word.starts_with("ws"),
    })
}

/// `Ok(rule)` or `Err((reason, rule))`, rules counted from 0.
fn decide(policy: &Policy, request: &str) -> Result<usize, (Reason, Option<usize>)> {
    match ask(request, |request| policy.decide(request)) {
        Decision::Allow { rule } => Ok(rule.0),
        Decision::Push { rule } => panic!("a push by rule {rule:?}"),
        Decision::Deny { reason, rule } => Err((reason, rule.map(|rule| rule.0))),
    }
}

#[test]
fn the_nearest_miss_is_told() {
    use Reason::*;
    let policy = policy(&[
        "deny GET https://api.example/secret/**",
        "GET,HEAD https://api.example/repos/*",
        "POST https://api.example:8443",
        "http://plain.example",
        "wss://socket.example/live",
        "tcp://db.example:5432",
        "*.cdn.example",
        "http://10.0.0.0/8:8080",
    ]);
    for (request, expected) in [
        ("GET https://api.example/repos/a", Ok(1)),
        ("HEAD https://api.example/repos/a?x=/../y", Ok(1)),
        ("GET https://api.example/repos/a;v=1", Ok(1)),
        ("GET https://api.example/secret/x", Err((DeniedByRule, Some(0)))),
        ("GET https://api.example/secret;a/x", Err((DeniedByRule, Some(0)))),
        ("GET https://api.example/%73ecret/x", Err((DeniedByRule, Some(0)))),
        ("GET https://api.example/repos/a/b", Err((PathNotAllowed, Some(1)))),
        ("get https://api.example/repos/a", Err((MethodNotAllowed, Some(1)))),
        ("PUT https://api.example/repos/a", Err((MethodNotAllowed, Some(1)))),
        ("POST https://api.example:8443/any/where", Ok(2)),
        ("POST https://api.example:9000/", Err((PortNotAllowed, Some(1)))),
        ("GET http://api.example/repos/a", Err((SchemeNotAllowed, Some(1)))),
        ("GET https://plain.example/", Err((SchemeNotAllowed, Some(3)))),
        ("GET http://plain.example/", Ok(3)),
        ("GET ws://plain.example/", Ok(3)),
        ("CONNECT http://plain.example/", Err((MethodNotAllowed, Some(3)))),
        ("GET wss://socket.example/live", Ok(4)),
        ("GET https://socket.example/live", Err((WebsocketNotAllowed, Some(4)))),
        ("GET wss://socket.example/other", Err((PathNotAllowed, Some(4)))),
        ("tcp://db.example:5432", Ok(5)),
        ("tcp://db.example:5433", Err((PortNotAllowed, Some(5)))),
        ("GET https://db.example:5432/", Err((SchemeNotAllowed, Some(5)))),
        ("tcp://api.example:443", Err((SchemeNotAllowed, Some(1)))),
        ("GET https://a.b.cdn.example/", Ok(6)),
        ("GET https://cdn.example/", Err((HostNotAllowed, None))),
        ("GET https://evilcdn.example/", Err((HostNotAllowed, None))),
        ("GET http://10.1.2.3:8080/", Ok(7)),
        ("GET http://10.1.2.3/", Err((PortNotAllowed, Some(7)))),
        ("GET http://11.1.2.3:8080/", Err((HostNotAllowed, None))),
        ("GET https://api.example.evil/repos/a", Err((HostNotAllowed, None))),
    ] {
        assert_eq!(decide(&policy, request), expected, "{request}");
    }
}

#[test]
fn the_first_match_wins() {
    let rules = ["deny a.example/x", "a.example", "deny *", "http://*"];
    let policy = policy(&rules);
    assert_eq!(decide(&policy, "GET https://a.example/x"), Err((Reason::DeniedByRule, Some(0))));
    assert_eq!(decide(&policy, "GET https://a.example/y"), Ok(1));
    assert_eq!(decide(&policy, "GET https://b.example/y"), Err((Reason::DeniedByRule, Some(2))));
    assert_eq!(decide(&policy, "GET http://b.example/y"), Ok(3));
    assert_eq!(policy.rule(RuleId(1)).map(Rule::to_string).as_deref(), Some("a.example"));
}

/// Matrix parameters: a server that cuts them off must not be led past a rule, nor one that keeps them.
#[test]
fn parameters_do_not_slip_past_a_glob() {
    let policy = policy(&["deny a.example/admin/*", "a.example/**", "b.example/*/x"]);
    for request in [
        "GET https://a.example/admin;a/b",
        "GET https://a.example/admin/b;c",
        "GET https://a.example/admin%3Ba/b",
    ] {
        assert_eq!(decide(&policy, request), Err((Reason::DeniedByRule, Some(0))), "{request}");
    }
    assert_eq!(decide(&policy, "GET https://b.example/a/x"), Ok(2));
    assert_eq!(decide(&policy, "GET https://b.example/a;b/x"), Ok(2));
    assert_eq!(decide(&policy, "GET https://b.example/a/x;b"), Err((Reason::PathNotAllowed, Some(2))));
}

#[test]
fn options_asterisk_needs_a_rule_without_paths() {
    let policy = policy(&["a.example/**", "b.example"]);
    let options = |host: &str| {
        let authority = Authority::parse(host, Some(443)).unwrap();
        let path = RequestPath::parse("*").unwrap();
        let request = Request {
            scheme: Scheme::Https,
            authority: &authority,
            method: "OPTIONS",
            path: &path,
            query: "",
            websocket: false,
        };
        policy.decide(&request)
    };
    let rule = Some(RuleId(0));
    assert_eq!(options("a.example"), Decision::Deny { reason: Reason::PathNotAllowed, rule });
    assert_eq!(options("b.example"), Decision::Allow { rule: RuleId(1) });
}

#[test]
fn private_addresses_are_opened_by_number_only() {
    let permits = |rules: &[&str], request: &str, address: &str| {
        ask(request, |request| policy(rules).permits_address(request, address.parse().unwrap()))
    };
    let request = "GET http://intern.example:8080/x";
    for (rules, address, expected) in [
        (&["http://intern.example:8080"][..], "10.0.0.1", false),
        (&["http://*:8080"], "10.0.0.1", false),
        (&["http://intern.example:8080", "http://10.0.0.0/8:8080"], "10.0.0.1", true),
        (&["http://intern.example:8080", "http://10.0.0.0/8:8080"], "::ffff:10.0.0.1", true),
        (&["http://intern.example:8080", "http://10.0.0.0/8:8080"], "11.0.0.1", false),
        (&["http://intern.example:8080", "http://10.0.0.1:8080"], "10.0.0.1", true),
        (&["http://*:8080", "http://10.0.0.0/8:8080"], "10.0.0.1", true),
        (&["http://*:8080", "http://[fd00::]/8:8080"], "fd00::1", true),
        (&["http://*:8080", "http://[fd00::]/8:8080"], "fd00:ec2::254", true),
        (&["http://10.0.0.0/8:8081"], "10.0.0.1", false),
        (&["http://10.0.0.0/8"], "10.0.0.1", false),
        (&["10.0.0.0/8:8080"], "10.0.0.1", false),
        (&["POST http://10.0.0.0/8:8080"], "10.0.0.1", false),
        (&["http://10.0.0.0/8:8080/y"], "10.0.0.1", false),
        (&["deny http://10.0.0.1:8080", "http://10.0.0.0/8:8080"], "10.0.0.1", false),
        (&["deny http://10.0.0.1:8080", "http://10.0.0.0/8:8080"], "10.0.0.2", true),
        (&["deny GET http://*:8080", "http://10.0.0.0/8:8080"], "10.0.0.1", false),
        (&["http://10.0.0.0/8:8080", "deny http://*:8080"], "10.0.0.1", true),
    ] {
        assert_eq!(permits(rules, request, address), expected, "{rules:?} {address}");
    }
}

#[test]
fn a_rule_that_is_never_reached_is_refused() {
    for (rules, refused) in [
        (&["a.example", "https://A.example.:443"][..], true),
        (&["deny a.example", "deny a.example"], true),
        (&["a.example", "deny a.example"], true),
        (&["a.example", "deny GET a.example/x"], true),
        (&["*.example", "deny a.example"], true),
        (&["deny 10.0.0.0/8", "10.1.0.0/16"], true),
        (&["*", "a.example"], true),
        (&["*", "GET a.example/x"], true),
        (&["deny *", "10.0.0.0/8"], true),
        (&["*", "wss://a.example"], true),
        (&["a.example/x", "deny a.example/x"], true),
        (&["a.example", "GET a.example/x"], false),
        (&["*.example", "a.example"], false),
        (&["*", "10.0.0.0/8"], false),
        (&["*", "http://a.example"], false),
        (&["*", "a.example:8443"], false),
        (&["GET *", "a.example"], false),
        (&["*/x", "a.example"], false),
        (&["wss://*", "a.example"], false),
        (&["a.example/x", "deny a.example"], false),
        (&["GET a.example", "deny a.example"], false),
        (&["deny a.example", "*"], false),
        (&["*.example", "deny example"], false),
    ] {
        assert_eq!(Policy::new(parsed(rules)).is_err(), refused, "{rules:?}");
    }
    let error = Policy::new(parsed(&["b.example", "*", "deny a.example"])).unwrap_err().to_string();
    assert!(
        error.starts_with("rule 3 (`deny a.example`) can never decide anything: rule 2 (`*`) comes first"),
        "{error}"
    );
}

#[test]
fn ports_are_collected_from_rules() {
    let policy = policy(&[
        "a.example",
        "http://a.example",
        "deny a.example:8443",
        "tcp://a.example:443",
        "tcp://b.example:22",
    ]);
    assert_eq!(policy.extra_ports(), BTreeSet::from([22, 8443]));
    assert_eq!(policy.tcp_ports(), BTreeSet::from([22, 443]));
}

fn request_like() -> impl Strategy<Value = String> {
    "(GET|POST|PUT) (https|http|wss)://([ab](\\.[ab]){0,2}|10\\.0\\.0\\.[0-3])(:(443|80|81))?(/[ab]){0,3}"
}

fn rule_text() -> impl Strategy<Value = String> {
    "(deny )?(GET |GET,POST )?(https|http|wss)://\
     (\\*|(\\*\\.)?[ab](\\.[ab]){0,2}|10\\.0\\.0\\.0/30|10\\.0\\.0\\.1)(:(443|81))?(/\\*|/a/\\*\\*|/b)?"
}

proptest! {
    #[test]
    fn nothing_is_allowed_by_nothing(request in request_like()) {
        let expected = Err((Reason::HostNotAllowed, None));
        prop_assert_eq!(decide(&Policy::deny_all(), &request), expected);
        prop_assert_eq!(decide(&Policy::new(Vec::new()).unwrap(), &request), expected);
    }

    #[test]
    fn denying_rules_never_allow(rules in prop::collection::vec(rule_text(), 0..5), request in request_like()) {
        let rules = rules.iter().map(|text| format!("deny {}", text.trim_start_matches("deny "))).collect::<Vec<_>>();
        let rules = parsed(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        let policy = Policy { rules };
        prop_assert!(decide(&policy, &request).is_err());
    }

    /// A refused rule really is without use: the policy decides the same without it.
    #[test]
    fn a_shadowed_rule_changes_nothing(
        rules in prop::collection::vec(rule_text(), 2..4), requests in prop::collection::vec(request_like(), 20)
    ) {
        let rules = parsed(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        let Err(PolicyError::Shadowed { number, .. }) = Policy::new(rules.clone()) else { return Ok(()) };
        let mut fewer = rules.clone();
        fewer.remove(number - 1);
        for request in &requests {
            let allowed = |rules: &[Rule]| decide(&Policy { rules: rules.to_vec() }, request).is_ok();
            prop_assert_eq!(allowed(&rules), allowed(&fewer), "{}", request);
            let permitted = |rules: &[Rule]| {
                let policy = Policy { rules: rules.to_vec() };
                ask(request, |request| policy.permits_address(request, "10.0.0.1".parse().unwrap()))
            };
            // Behind an allowing `*` a denying one decides nothing, but still keeps private addresses closed.
            let (with, without) = (permitted(&rules), permitted(&fewer));
            let may_close = rules[number - 1].action() == Action::Deny;
            prop_assert!(with == without || (may_close && without), "{}", request);
        }
    }

    /// An address is permitted only where a request to that very address is allowed.
    #[test]
    fn a_permitted_address_is_an_allowed_one(rules in prop::collection::vec(rule_text(), 1..5), path in "(/[ab]){1,3}") {
        let rules = parsed(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        let policy = Policy { rules };
        let request = format!("GET https://10.0.0.1{path}");
        if ask(&request, |request| policy.permits_address(request, "10.0.0.1".parse().unwrap())) {
            prop_assert!(decide(&policy, &request).is_ok());
        }
    }
}

#[test]
fn an_ambiguous_path_passes_only_where_every_path_does() {
    let every = policy(&["deny POST https://registry.example/admin/**", "registry.example"]);
    let some = policy(&["https://registry.example/**"]);
    let guarded = policy(&["deny https://registry.example/admin/**", "registry.example"]);
    for path in ["/@scope%2fname", "/a/../admin/x", "//admin", "/%252e%252e/admin", "/a\\admin"] {
        let authority = Authority::parse("registry.example:443", None).unwrap();
        let path = RequestPath::of_target(path);
        let request = Request {
            scheme: Scheme::Https,
            authority: &authority,
            method: "GET",
            path: &path,
            query: "",
            websocket: false,
        };
        assert_eq!(every.decide(&request), Decision::Allow { rule: RuleId(1) }, "{path}");
        let denied = Decision::Deny { reason: Reason::AmbiguousPath, rule: Some(RuleId(0)) };
        assert_eq!(some.decide(&request), denied, "{path}");
        assert_eq!(guarded.decide(&request), denied, "{path}");
    }
}

#[test]
fn a_list_on_top_takes_away_what_a_later_one_says() {
    let layers = |top: &[&str], below: &[&str]| Policy::layered(vec![parsed(top), parsed(below)]);
    let policy = layers(&["deny a.example"], &["a.example", "b.example"]).unwrap();
    assert_eq!(decide(&policy, "GET https://a.example/"), Err((Reason::DeniedByRule, Some(0))));
    assert_eq!(decide(&policy, "GET https://b.example/"), Ok(2));
    assert!(layers(&["a.example"], &["a.example"]).is_ok());
    assert!(layers(&["b.example"], &["a.example", "deny a.example"]).is_err());
}

#[test]
fn a_rule_goes_with_its_credential() {
    let with = |host: &str, name: &str| host.parse::<Rule>().unwrap().with_credential(name).unwrap();
    let rules = vec![with("a.example", "A"), with("b.example", "B"), "c.example".parse().unwrap()];
    let policy = Policy::new(rules).unwrap().without_credentials(|name| name == "A");
    assert_eq!(decide(&policy, "GET https://a.example/"), Err((Reason::HostNotAllowed, None)));
    assert_eq!(decide(&policy, "GET https://b.example/"), Ok(0));
    assert_eq!(decide(&policy, "GET https://c.example/"), Ok(1));
}

#[test]
fn a_denying_rule_holds_in_every_spelling_of_method_and_path() {
    let policy = policy(&[
        "deny DELETE,PUT https://api.example/Admin/",
        "deny https://api.example/secret",
        "api.example",
    ]);
    for request in [
        "DELETE https://api.example/Admin/",
        "delete https://api.example/admin",
        "Put https://api.example/ADMIN",
        "DELETE https://api.example/%EF%BD%81dmin",
        "GET https://api.example/secret/",
        "GET https://api.example/SECRET",
        "GET https://api.example/Secret;x/",
    ] {
        assert!(matches!(decide(&policy, request), Err((Reason::DeniedByRule, _))), "{request}");
    }
    for request in [
        "GET https://api.example/admin",
        "DELETE https://api.example/admin/x",
        "GET https://api.example/secrets",
    ] {
        assert_eq!(decide(&policy, request), Ok(2), "{request}");
    }
    // An allowing rule means what it says.
    let exact = self::policy(&["GET https://api.example/a"]);
    for request in ["get https://api.example/a", "GET https://api.example/A", "GET https://api.example/a/"] {
        assert!(decide(&exact, request).is_err(), "{request}");
    }
}

#[test]
fn a_server_is_dialled_ahead_only_if_a_request_could_be_allowed() {
    let could = |rules: &[&str]| {
        let authority = Authority::parse("a.example", Some(443)).unwrap();
        policy(rules).could_allow(Scheme::Https, &authority)
    };
    assert!(could(&["*.example"]));
    assert!(could(&["deny b.example", "*.example"]));
    assert!(could(&["deny DELETE a.example", "*.example"]));
    assert!(could(&["deny https://a.example/x", "GET https://a.example/*"]));
    assert!(could(&["GET https://a.example/x", "deny a.example"]));
    assert!(!could(&["deny a.example", "*"]));
    assert!(!could(&["deny *.example", "*"]));
    assert!(!could(&["deny GET a.example", "deny HEAD a.example", "GET,HEAD *.example"]));
    assert!(!could(&["deny https://a.example/x", "GET https://*.example/x"]));
    assert!(!could(&["http://a.example", "a.example:8443", "wss://b.example"]));
}

#[test]
fn a_denied_network_holds_for_the_names_that_lead_there() {
    let denies = |rules: &[&str], address: &str| {
        let policy = policy(rules);
        ask("GET https://x.example/", |request| policy.denies_address(request, address.parse().unwrap()))
    };
    assert!(denies(&["deny 192.0.2.0/24", "*"], "192.0.2.7"));
    assert!(denies(&["x.example", "deny 192.0.2.0/24"], "192.0.2.7"));
    assert!(denies(&["deny [2001:db8::]/32", "*"], "2001:db8::1"));
    assert!(!denies(&["deny 192.0.2.0/24", "*"], "192.0.3.7"));
    assert!(!denies(&["192.0.2.7", "deny 192.0.2.0/24", "*"], "192.0.2.7"));
    assert!(!denies(&["deny POST 192.0.2.0/24", "*"], "192.0.2.7"));
    assert!(!denies(&["x.example", "deny *"], "192.0.2.7"));
}
