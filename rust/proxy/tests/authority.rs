//! One authority: who is named in one place and another in the next gets nowhere, though both are allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::*;

async fn two_servers() -> (Server, Server, Jail) {
    let first = Server::https(&["a.test"], &["h2", "http/1.1"]).await;
    let second = Server::https(&["b.test"], &["h2", "http/1.1"]).await;
    let jail = Jail::allow(&["a.test", "b.test"]).to("a.test:443", &first).to("b.test:443", &second).start();
    (first, second, jail)
}

#[tokio::test]
async fn connect_and_sni_disagree() {
    let (first, second, jail) = two_servers().await;
    for inside in ["h2", "http/1.1"] {
        for host in ["a.test", "b.test"] {
            let mut http = jail.https("a.test:443", "b.test", inside).await;
            let got = http.get(&format!("https://{host}/")).await;
            assert_eq!(got.denied(), Some("authority-mismatch"), "{inside} {host}");
        }
    }
    assert_eq!((first.connections(), second.connections()), (0, 0));
    assert_eq!(jail.https("a.test:443", "a.test", "h2").await.get("https://a.test/").await.status, 200);
}

#[tokio::test]
async fn connect_to_an_address_and_sni_disagree() {
    let (_, second, jail) = two_servers().await;
    let got = jail.https("203.0.113.7:443", "b.test", "http/1.1").await.get("https://b.test/").await;
    assert_eq!((got.status, got.denied()), (403, Some("authority-mismatch")));
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn sni_and_host_disagree() {
    let (first, second, jail) = two_servers().await;
    for (inside, status) in [("http/1.1", 403), ("h2", 421)] {
        let mut http = jail.https("a.test:443", "a.test", inside).await;
        assert_eq!(http.get("https://a.test/").await.status, 200);
        let got = http.get("https://b.test/").await;
        assert_eq!((got.status, got.denied()), (status, Some("authority-mismatch")));
        assert_eq!(got.json()["authority"], "b.test:443");
    }
    let mut http = jail.https("a.test:443", "a.test", "http/1.1").await;
    assert_eq!(
        http.get("https://a.test:8443/").await.denied(),
        Some("authority-mismatch"),
        "the port counts"
    );
    assert_eq!(second.connections(), 0);
    assert_eq!(first.requests(), 2);
}

#[tokio::test]
async fn http2_authority_and_host_disagree() {
    let (first, second, jail) = two_servers().await;
    let mut http = jail.https("a.test:443", "a.test", "h2").await;
    let request = |host: &str| {
        Request::get("https://a.test/").header("host", host).body(Full::<Bytes>::default()).unwrap()
    };
    let got = http.send(request("b.test")).await;
    assert_eq!((got.status, got.denied()), (421, Some("authority-mismatch")));
    assert_eq!((first.requests(), second.connections()), (0, 0));
    assert_eq!(http.send(request("A.test:443")).await.status, 200, "another spelling of the same server");
}

#[tokio::test]
async fn absolute_form_inside_tls_must_agree() {
    let (first, second, jail) = two_servers().await;
    for (target, host, expected) in [
        ("https://a.test/x", "a.test", "HTTP/1.1 200 "),
        ("https://b.test/x", "a.test", "HTTP/1.1 403 "),
        ("https://a.test/x", "b.test", "HTTP/1.1 403 "),
        ("http://a.test/x", "a.test", "HTTP/1.1 403 "),
        ("/x", "a.test@b.test", "HTTP/1.1 400 "),
        ("https://a.test@b.test/x", "a.test", "HTTP/1.1 400 "),
    ] {
        let tunnel = jail.connect("a.test:443").await;
        let tls = jail.tls(tunnel, Some("a.test"), "http/1.1").await.unwrap();
        let said = say(
            tls,
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(said.starts_with(expected), "{target} {host}: {said}");
    }
    assert_eq!((first.requests(), second.connections()), (1, 0));
}

#[tokio::test]
async fn without_sni_the_tunnel_names_the_server() {
    let (first, _, jail) = two_servers().await;
    let tunnel = jail.connect("a.test:443").await;
    let tls = jail.tls_as(tunnel, "a.test", false, "http/1.1").await.unwrap();
    let got = Http::over(tls, false).await.get("https://a.test/").await;
    assert_eq!(got.status, 200);
    assert_eq!(first.requests(), 1);
}

#[tokio::test]
async fn without_sni_and_tunnel_the_address_is_the_server() {
    let (first, second, jail) = two_servers().await;
    let tls = jail.tls(dial(jail.port443).await, None, "http/1.1").await.unwrap();
    let mut http = Http::over(tls, false).await;
    let got = http.get("https://127.0.0.1/").await;
    assert_eq!((got.status, got.denied()), (403, Some("host-not-allowed")));
    let tls = jail.tls(dial(jail.port443).await, None, "http/1.1").await.unwrap();
    let got = Http::over(tls, false).await.get("https://a.test/").await;
    assert_eq!((got.status, got.denied()), (403, Some("authority-mismatch")));
    assert_eq!((first.connections(), second.connections()), (0, 0));
}

#[tokio::test]
async fn a_transparent_connection_goes_by_its_sni() {
    let (first, second, jail) = two_servers().await;
    for inside in ["h2", "http/1.1"] {
        let mut http = Http::over(jail.transparent_tls("a.test", inside).await, inside == "h2").await;
        assert_eq!(http.get("https://a.test/").await.status, 200);
        assert_eq!(http.get("https://b.test/").await.denied(), Some("authority-mismatch"));
    }
    assert_eq!((first.requests(), second.connections()), (2, 0));
}

#[tokio::test]
async fn hosts_in_other_spellings_are_the_same_or_refused() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    for (host, expected) in [
        ("a.test", 200),
        ("A.TEST", 200),
        ("a.test.", 200),
        ("a.test:80", 200),
        ("evil-a.test", 403),
        ("a.test.evil.test", 403),
        ("a.test:81", 403),
        ("evil@a.test", 400),
        ("a.test:80:80", 400),
        ("a.test\0.evil.test", 400),
        ("a.test/evil.test", 400),
        ("0x7f.1", 400),
        ("2130706433", 400),
        ("[::1%lo]", 400),
        ("\u{ff41}.test", 400),
        ("", 400),
        ("a.test, evil.test", 400),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let said = say(dial(jail.port80).await, request.as_bytes()).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {expected} ")), "{host:?}: {said}");
    }
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn exactly_one_host_header() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    for head in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\nConnection: close\r\n\r\n",
    ] {
        let said = say(dial(jail.port80).await, head.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.0 400 "), "{head:?}: {said}");
        assert!(said.contains("x-jail-deny: malformed-request"), "{said}");
    }
    assert_eq!(server.connections(), 0);
    let said = say(dial(jail.port80).await, b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
}
