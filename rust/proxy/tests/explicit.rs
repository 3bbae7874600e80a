//! The explicit proxy port, and the verbs that other proxies know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use proxy::audit::What;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn absolute_form_goes_through() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test/ok", "http://a.test:8080"])
        .to("a.test:80", &server)
        .to("a.test:8080", &server)
        .start();
    for (target, host, expected, reason) in [
        ("http://a.test/ok?x=1", "a.test", "HTTP/1.1 200 ", None),
        ("http://a.test:8080/", "a.test:8080", "HTTP/1.1 200 ", None),
        ("http://a.test/no", "a.test", "HTTP/1.1 403 ", Some("path-not-allowed")),
        ("http://b.test/", "b.test", "HTTP/1.1 403 ", Some("host-not-allowed")),
        ("http://a.test/ok", "b.test", "HTTP/1.1 403 ", Some("authority-mismatch")),
        ("http://a.test:8080/", "a.test", "HTTP/1.1 403 ", Some("authority-mismatch")),
        ("https://a.test/ok", "a.test", "HTTP/1.1 400 ", Some("malformed-request")),
        ("/ok", "a.test", "HTTP/1.1 400 ", Some("malformed-request")),
        ("ftp://a.test/ok", "a.test", "HTTP/1.1 400 ", Some("malformed-request")),
        ("*", "a.test", "HTTP/1.1 400 ", Some("malformed-request")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let said = say(dial(jail.explicit).await, request.as_bytes()).await;
        assert!(said.starts_with(expected), "{target}: {said}");
        let denial = reason.map(|reason| format!("x-jail-deny: {reason}\r\n"));
        assert!(denial.is_none_or(|denial| said.contains(&denial)), "{target}: {said}");
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn each_request_of_a_proxy_connection_may_go_elsewhere() {
    let (first, second) = (Server::http().await, Server::http().await);
    let jail = Jail::allow(&["http://a.test", "http://b.test"])
        .to("a.test:80", &first)
        .to("b.test:80", &second)
        .start();
    let request = |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let last = "GET http://c.test/ HTTP/1.1\r\nHost: c.test\r\nConnection: close\r\n\r\n";
    let bytes = request("a.test") + &request("b.test") + last;
    let said = say(dial(jail.explicit).await, bytes.as_bytes()).await;
    assert_eq!(said.matches("HTTP/1.1 200 ").count(), 2, "{said}");
    assert_eq!(said.matches("x-jail-deny: host-not-allowed").count(), 1, "{said}");
    assert_eq!((first.requests(), second.requests()), (1, 1));
}

#[tokio::test]
async fn a_tunnel_may_carry_plain_http() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let got = Http::over(jail.connect("a.test:80").await, false).await.get("http://a.test/").await;
    assert_eq!(got.status, 200);
    let got = Http::over(jail.connect("a.test:80").await, false).await.get("http://b.test/").await;
    assert_eq!(got.denied(), Some("authority-mismatch"));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn where_a_password_is_asked_for_nothing_passes_without_it() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test", "a.test", "tcp://a.test:5432"])
        .to("a.test:80", &server)
        .to("a.test:5432", &server)
        .password("secret")
        .start();
    let basic = |pair: &str| {
        use base64::Engine;
        format!("Proxy-Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    for line in ["GET http://a.test/", "CONNECT a.test:443", "CONNECT a.test:5432", "GET /", "OPTIONS *"] {
        for said in [
            "",
            &basic("job:wrong"),
            "Proxy-Authorization: Bearer secret\r\n",
            "Authorization: Basic c2VjcmV0\r\n",
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: a.test\r\n{said}Connection: close\r\n\r\n");
            let answer = say(dial(jail.explicit).await, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 407 "), "{line} {said}: {answer}");
            assert!(answer.contains("proxy-authenticate: Basic realm=\"jail\"\r\n"), "{answer}");
            assert!(answer.contains("x-jail-deny: proxy-authentication\r\n"), "{answer}");
        }
    }
    jail.connection_denied("proxy-authentication").await;
    assert_eq!(server.requests(), 0);

    let right = basic("job:secret");
    let request = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{right}Connection: close\r\n\r\n");
    let answer = say(dial(jail.explicit).await, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.requests(), 1);
    // Each request of a connection says it anew: what an earlier one said is not the later one's.
    let first = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{right}\r\n");
    let second = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answers = say(dial(jail.explicit).await, (first + second).as_bytes()).await;
    assert_eq!((answers.matches("HTTP/1.1 200 ").count(), answers.matches("HTTP/1.1 407 ").count()), (1, 1));
    let mut tunnel = dial(jail.explicit).await;
    let request = format!("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n{right}\r\n");
    tunnel.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut tunnel).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn connect_targets_that_are_none() {
    let jail = Jail::allow(&["a.test"]).start();
    for (target, host, expected) in [
        ("a.test", "a.test", "HTTP/1.1 400 "),
        ("a.test:0", "a.test:0", "HTTP/1.1 400 "),
        ("a.test:99999", "a.test", "HTTP/1.1 400 "),
        ("evil@a.test:443", "a.test:443", "HTTP/1.1 400 "),
        ("0x7f.1:443", "0x7f.1:443", "HTTP/1.1 400 "),
        ("http://a.test:443/", "a.test:443", "HTTP/1.1 "),
        ("a.test:443", "b.test:443", "HTTP/1.1 403 "),
        ("a.test:443", "a.test:8443", "HTTP/1.1 403 "),
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut stream = dial(jail.explicit).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(expected), "{target}: {head}");
        assert!(!head.starts_with("HTTP/1.1 200 ") || target.starts_with("http:"), "{target}: {head}");
    }
    jail.connect("a.test:443").await;
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_goes_nowhere() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.test\r\n").await;
    })
    .await;
    let jail = Jail::allow(&["a.test", "http://a.test"])
        .to("a.test:443", &server)
        .to("a.test:25", &server)
        .limits(|limits| limits.idle = Duration::from_millis(300))
        .start();
    for (what, bytes) in [
        ("SOCKS5", &b"\x05\x01\x00"[..]),
        ("SOCKS4", b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("zeros", b"\0\0\0\0"),
    ] {
        for (way, stream) in [
            ("explicit", dial(jail.explicit).await),
            ("transparent", dial(jail.port443).await),
            ("tunnel", jail.connect("a.test:443").await),
        ] {
            assert_eq!(say(stream, bytes).await, "", "{what} {way}");
        }
    }
    // A server that would speak first never gets the chance, on any port.
    assert_eq!(say(jail.connect("a.test:25").await, b"").await, "");
    jail.connection_denied("unknown-protocol").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_tcp_rule_opens_one_server_and_port() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"220 ").await;
        let mut line = [0; 4];
        if stream.read_exact(&mut line).await.is_ok() {
            let _ = stream.write_all(&line).await;
        }
    })
    .await;
    let jail = Jail::allow(&["tcp://mail.test:25"])
        .to("mail.test:25", &server)
        .to("mail.test:26", &server)
        .limits(|limits| limits.idle = Duration::from_millis(300))
        .start();
    assert_eq!(say(jail.connect("mail.test:25").await, b"EHLO").await, "220 EHLO");
    assert_eq!(say(jail.connect("mail.test:26").await, b"EHLO").await, "");
    assert_eq!(server.connections(), 1);
    assert_eq!(jail.requests()[0].0, "mail.test:25");
}

#[tokio::test]
async fn a_client_that_waits_for_a_server_that_no_rule_names_is_soon_told() {
    let jail = Jail::allow(&["tcp://mail.test:25", "web.test"]).start();
    // It says nothing, as one whose server speaks first; the limit for idle connections is two minutes.
    assert_eq!(say(jail.connect("other.test:25").await, b"").await, "");
    let told = |what: &What| matches!(what, What::Connection { authority, denied } if authority == "other.test:25" && denied == "unknown-protocol");
    jail.wait_for(told).await;
}

#[tokio::test]
async fn connect_inside_a_connection_is_refused() {
    let server = Server::https(&["a.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let tunnel = jail.connect("a.test:443").await;
    let tls = jail.tls(tunnel, Some("a.test"), "http/1.1").await.unwrap();
    let said = say(tls, b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 403 ") && said.contains("x-jail-deny: protocol-not-allowed"),
        "{said}"
    );

    let mut http = jail.https("a.test:443", "a.test", "h2").await;
    let request = Request::connect("a.test:443").body(Full::default()).unwrap();
    let Http::Two(sender) = &mut http else { unreachable!() };
    let got = sender.send_request(request).await;
    assert!(got.as_ref().is_ok_and(|got| got.status() == 403), "{got:?}");
    assert_eq!(server.requests(), 0);
    assert_eq!(http.get("https://a.test/").await.status, 200);
}

#[tokio::test]
async fn trace_is_refused_and_options_star_needs_its_own_rule() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test/**"]).to("a.test:80", &server).start();
    let said =
        say(dial(jail.port80).await, b"TRACE / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("method-not-allowed"), "{said}");
    let said =
        say(dial(jail.port80).await, b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .await;
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("path-not-allowed"), "{said}");
    assert_eq!(server.connections(), 0);
    let said =
        say(dial(jail.port80).await, b"OPTIONS / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[tokio::test]
async fn http2_without_tls_is_http_like_any_other() {
    let server = Server::http_with(true, echo).await;
    let jail = Jail::allow(&["http://a.test/ok"]).to("a.test:80", &server).start();
    let mut http = Http::over(dial(jail.port80).await, true).await;
    let got = http.get("http://a.test/ok").await;
    assert_eq!((got.status, got.json()["version"].as_str()), (200, Some("HTTP/2.0")));
    assert_eq!(http.get("http://a.test/no").await.denied(), Some("path-not-allowed"));
    assert_eq!(http.get("http://b.test/ok").await.denied(), Some("host-not-allowed"));
    assert_eq!(http.get("https://a.test/ok").await.denied(), Some("authority-mismatch"));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn path_tricks_are_refused() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test/ok/**"]).to("a.test:80", &server).start();
    for (path, expected) in [
        ("/ok/x", 200),
        ("/ok/../no", 403),
        ("/ok/%2e%2e/no", 403),
        ("/ok//no", 403),
        ("/ok/%2fno", 403),
        ("/ok\\..\\no", 403),
        ("/ok/%00", 403),
        ("/ok/%252e%252e/no", 403),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let said = say(dial(jail.port80).await, request.as_bytes()).await;
        let refused = expected != 200 && said.starts_with("HTTP/1.1 400 ");
        assert!(refused || said.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {said}");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_server_of_the_job_itself_is_reached_without_the_proxy() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://127.0.0.1:8080", "http://a.test"]).to("127.0.0.1:8080", &server).start();
    let ask = async |method: &str, host: &str| {
        let request =
            format!("{method} http://{host}/x?y HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        say(dial(jail.explicit).await, request.as_bytes()).await
    };
    for host in ["[::1]:3000", "127.0.0.5:3000", "0.0.0.0:3000"] {
        let said = ask("GET", host).await;
        assert!(said.starts_with("HTTP/1.1 307 "), "{host}: {said}");
        assert!(said.contains("location: http://localhost:3000/x?y\r\n"), "{host}: {said}");
    }
    for (method, host) in [("POST", "[::1]:3000"), ("GET", "localhost:3000"), ("GET", "10.0.0.1:3000")] {
        let said = ask(method, host).await;
        assert!(said.contains("x-jail-deny: "), "{method} {host}: {said}");
    }
    // What a rule names is the host's.
    assert!(ask("GET", "127.0.0.1:8080").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.requests(), 1);
}
