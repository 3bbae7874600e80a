//! The way to the outside: the address guard, connections made ahead and used again, what goes wrong out there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn private_addresses_need_a_rule_that_names_them() {
    let server = Server::http().await;
    let port = server.address.port();
    let by_name = format!("http://localhost:{port}");
    let by_number = format!("http://127.0.0.0/8:{port}");
    for (rules, host, expected) in [
        (vec![by_name.as_str()], "localhost", Some("private-address")),
        (vec![by_name.as_str(), "http://10.0.0.0/8"], "localhost", Some("private-address")),
        (vec![by_name.as_str(), by_number.as_str()], "localhost", None),
        (vec![by_number.as_str()], "127.0.0.1", None),
        (vec![by_number.as_str()], "localhost", Some("host-not-allowed")),
    ] {
        let before = server.connections();
        let jail = Jail::allow(&rules).start();
        let request =
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        let said = say(dial(jail.explicit).await, request.as_bytes()).await;
        match expected {
            Some(reason) => {
                assert!(said.contains(&format!("x-jail-deny: {reason}\r\n")), "{rules:?} {host}: {said}");
                assert_eq!(server.connections(), before, "{rules:?} {host}");
            }
            None => assert!(said.starts_with("HTTP/1.1 200 "), "{rules:?} {host}: {said}"),
        }
    }
}

#[tokio::test]
async fn a_private_connection_is_not_for_requests_that_no_rule_lets_there() {
    let server = Server::http().await;
    let port = server.address.port();
    let by_name = format!("http://localhost:{port}");
    let by_number = format!("GET http://127.0.0.0/8:{port}/private");
    let jail = Jail::allow(&[&by_name, &by_number]).start();
    let mut answers = Vec::new();
    for path in ["/private", "/other", "/private"] {
        let request = format!(
            "GET http://localhost:{port}{path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        );
        let said = say(dial(jail.explicit).await, request.as_bytes()).await;
        answers.push(said[9..12].to_owned());
    }
    assert_eq!(answers, ["200", "403", "200"]);
    assert_eq!((server.requests(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_tcp_rule_by_name_does_not_reach_private_addresses() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"hello").await;
    })
    .await;
    let port = server.address.port();
    let jail = Jail::allow(&[&format!("tcp://localhost:{port}")]).start();
    let request = format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let mut stream = dial(jail.explicit).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("private-address"), "{head}");
    assert_eq!(server.connections(), 0);

    let jail = Jail::allow(&[&format!("tcp://127.0.0.1:{port}")]).start();
    assert_eq!(say(jail.connect(format!("127.0.0.1:{port}")).await, b"").await, "hello");
}

#[tokio::test]
async fn names_that_do_not_resolve_are_told() {
    let jail = Jail::allow(&["nowhere.invalid"]).start();
    let got = jail.get("https://nowhere.invalid/", "h2").await;
    assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-dns")));
    assert_eq!(got.json()["error"], "upstream");
    assert_eq!(jail.requests()[0].3, Some(502));
}

#[tokio::test]
async fn a_closed_port_is_told() {
    let server = Server::http().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = server.at(closed);
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let got = jail.get("https://a.test/", "h2").await;
    assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-connect")));
}

#[tokio::test]
async fn a_silent_server_is_told() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let jail = Jail::allow(&["a.test"])
        .to("a.test:443", &server)
        .limits(|limits| limits.dial = Duration::from_millis(200))
        .start();
    let got = jail.get("https://a.test/", "h2").await;
    assert_eq!((got.status, got.header("x-jail-error")), (504, Some("upstream-timeout")));
}

#[tokio::test]
async fn a_stranger_with_another_certificate_gets_nothing() {
    let server = Server::https(&["other.test"], &["h2"]).await;
    let unknown = Server::https(&["b.test"], &["h2"]).await;
    let unknown = unknown.without_ca();
    let jail =
        Jail::allow(&["a.test", "b.test"]).to("a.test:443", &server).to("b.test:443", &unknown).start();
    for host in ["a.test", "b.test"] {
        let got = jail.get(&format!("https://{host}/"), "h2").await;
        assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-tls")), "{host}");
    }
    assert_eq!((server.requests(), unknown.requests()), (0, 0));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::raw(|mut stream| async move {
        // One answer, and then gone without a word.
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    for _ in 0..3 {
        let said =
            say(dial(jail.port80).await, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                .await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_request_with_effects_is_not_sent_twice() {
    let server = Server::raw(|mut stream| async move {
        // The first request is answered; the second is read and then dropped.
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        read_head(&mut stream).await;
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let ask = async |method: &str| {
        let request =
            format!("{method} / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        say(dial(jail.port80).await, request.as_bytes()).await
    };
    assert!(ask("GET").await.starts_with("HTTP/1.1 200 "));
    let said = ask("POST").await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("upstream-closed"), "{said}");
    assert_eq!(server.connections(), 1);
    assert!(ask("GET").await.starts_with("HTTP/1.1 200 "));
    assert!(ask("GET").await.starts_with("HTTP/1.1 200 "), "what changes nothing is tried again");
    assert_eq!(server.connections(), 3);
    assert!(ask("PUT").await.starts_with("HTTP/1.1 200 "), "what may be done twice is tried again");
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn the_server_is_dialled_while_the_job_shakes_hands_if_a_rule_could_allow_it() {
    let server = Server::https(&["a.test", "b.test", "c.test"], &["h2", "http/1.1"]).await;
    let jail = Jail::allow(&["POST https://a.test/only/this", "http://c.test"])
        .to("a.test:443", &server)
        .to("b.test:443", &server)
        .to("c.test:443", &server)
        .start();
    // Handshakes, no request: b is on no rule, c on none for https.
    for host in ["b.test", "c.test", "a.test"] {
        let tunnel = jail.connect(format!("{host}:443")).await;
        jail.tls(tunnel, Some(host), "h2").await.unwrap();
    }
    let dialled = async {
        while server.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dialled).await.expect("dialled ahead");
    for host in ["b.test", "c.test"] {
        assert_eq!(jail.get(&format!("https://{host}/"), "h2").await.status, 403);
    }
    assert_eq!(server.connections(), 1);
    // A denied request takes nothing from it, an allowed one uses it.
    assert_eq!(jail.get("https://a.test/", "h2").await.status, 403);
    let post = Request::post("https://a.test/only/this").body(Full::new(Bytes::from("x"))).unwrap();
    assert_eq!(jail.send(post, "h2").await.status, 200);
    assert_eq!((server.connections(), server.requests()), (1, 1));
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let server = Server::https(&["a.test"], &["h2"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let mut tasks = tokio::task::JoinSet::new();
    for inside in ["h2", "http/1.1", "h2", "http/1.1"] {
        let mut http = jail.https("a.test:443", "a.test", inside).await;
        tasks.spawn(async move { http.get("https://a.test/").await.status });
    }
    assert_eq!(tasks.join_all().await, [200; 4]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_redirect_is_the_jobs_business() {
    let elsewhere = Server::https(&["b.test"], &["h2"]).await;
    let server = Server::https_with(&["a.test"], &["h2"], |_| async {
        let mut answer = text("");
        *answer.status_mut() = http::StatusCode::FOUND;
        answer.headers_mut().insert("location", "https://b.test/".parse().unwrap());
        answer
    })
    .await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).to("b.test:443", &elsewhere).start();
    let got = jail.get("https://a.test/", "h2").await;
    assert_eq!((got.status, got.header("location")), (302, Some("https://b.test/")));
    assert_eq!(jail.get("https://b.test/", "h2").await.status, 403);
    assert_eq!(elsewhere.connections(), 0);
}

/// A proxy of the operator's network, in front of one server.
async fn corporate(behind: std::net::SocketAddr) -> Server {
    Server::raw(move |mut stream| async move {
        let head = read_head(&mut stream).await;
        if !head.starts_with("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
            return;
        }
        // In two pieces, the second of which has the beginning of what follows.
        stream.write_all(b"HTTP/1.1 200 Connection estab").await.unwrap();
        stream.write_all(b"lished\r\nX: y\r\n\r\n").await.unwrap();
        let mut outside = dial(behind).await;
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut outside).await;
    })
    .await
}

#[tokio::test]
async fn everything_goes_through_the_operators_proxy() {
    let server = Server::https(&["a.test"], &["h2"]).await;
    let proxy = corporate(server.address).await;
    let jail = Jail::allow(&["a.test", "b.test"])
        .trusting(&server)
        .upstream_proxy(&proxy.address.to_string(), "")
        .start();
    assert_eq!(jail.get("https://a.test/", "h2").await.status, 200);
    let got = jail.get("https://b.test/", "h2").await;
    assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-proxy")));
    assert!(got.json()["hint"].as_str().unwrap().contains("407"), "{}", got.json());
    assert!(proxy.connections() >= 2);
}

#[test]
fn a_file_that_holds_no_certificates_is_an_error_before_anything_starts() {
    use proxy::config::{Config, Limits, Listeners, Mode, Proxies, Trust, Upstream};
    struct Silence;
    impl proxy::audit::Audit for Silence {
        fn record(&self, _: &proxy::audit::Event) {}
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), std::path::Path::new("/nonexistent/ca.pem")] {
        let config = Config {
            policy: policy::Policy::deny_all(),
            mode: Mode::Enforce,
            credentials: Vec::new(),
            upstream: Upstream {
                connect_to: Vec::new(),
                trust: Trust::System { extra: vec![path.to_owned()] },
                proxy: Proxies::default(),
            },
            limits: Limits::default(),
            ca: proxy::ca::JobCa::generate().unwrap(),
            audit: std::sync::Arc::new(Silence),
            password: None,
        };
        let error = proxy::serve(Listeners::default(), config).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
