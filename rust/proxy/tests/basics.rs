//! The main line: allowed requests arrive, denied ones are told why, nothing else leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proxy::audit::What;
use support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn both_versions_on_both_legs() {
    for (outside, spoken) in
        [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")]
    {
        let server = Server::https(&["api.test"], outside).await;
        let jail = Jail::allow(&["api.test"]).to("api.test:443", &server).start();
        for inside in ["h2", "http/1.1"] {
            let got = jail.get("https://api.test/a/b?c=d", inside).await;
            assert_eq!(got.status, 200, "{inside} to {outside:?}: {got:?}");
            let told = got.json();
            assert_eq!(told["version"], spoken, "{inside} to {outside:?}");
            assert_eq!(told["method"], "GET");
            let target = if spoken == "HTTP/2.0" { "https://api.test/a/b?c=d" } else { "/a/b?c=d" };
            assert_eq!(told["target"], target);
            let host = if spoken == "HTTP/2.0" { vec![] } else { vec!["api.test".to_owned()] };
            assert_eq!(got.seen_header("host"), host);
        }
        assert_eq!(server.connections(), 1, "one connection is used again");
        assert_eq!(jail.requests().len(), 2);
    }
}

#[tokio::test]
async fn bodies_pass_both_ways() {
    for outside in [&["h2"][..], &["http/1.1"]] {
        let server = Server::https(&["api.test"], outside).await;
        let jail = Jail::allow(&["api.test"]).to("api.test:443", &server).start();
        let body = "x".repeat(300_000);
        for inside in ["h2", "http/1.1"] {
            let request =
                Request::post("https://api.test/").body(Full::new(Bytes::from(body.clone()))).unwrap();
            let got = jail.send(request, inside).await;
            assert_eq!(
                got.json()["body"].as_str().map(str::len),
                Some(body.len()),
                "{inside} to {outside:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_denied_host_is_told_why_inside_tls_and_nobody_is_dialled() {
    let server = Server::https(&["api.test", "evil.test"], &["h2", "http/1.1"]).await;
    let jail = Jail::allow(&["api.test"]).to("api.test:443", &server).to("evil.test:443", &server).start();
    for inside in ["h2", "http/1.1"] {
        let got = jail.get("https://evil.test/steal?key=value", inside).await;
        assert_eq!((got.status, got.denied()), (403, Some("host-not-allowed")));
        assert_eq!(got.header("content-type"), Some("application/json"));
        let told = got.json();
        assert_eq!(told["error"], "denied");
        assert_eq!(told["reason"], "host-not-allowed");
        assert_eq!(told["authority"], "evil.test:443");
        assert_eq!(told["method"], "GET");
        assert_eq!(told["path"], "/steal");
        assert!(told["hint"].as_str().unwrap().contains("--allow"));
    }
    assert_eq!(server.connections(), 0);

    let control = jail.get("https://api.test/", "h2").await;
    assert_eq!(control.status, 200);
    assert_eq!(server.connections(), 1);
    let denied = Some("host-not-allowed".to_owned());
    assert_eq!(jail.requests()[0], ("evil.test:443".into(), "/steal".into(), denied, Some(403)));
    assert_eq!(jail.requests()[2], ("api.test:443".into(), "/".into(), None, Some(200)));
}

#[tokio::test]
async fn a_denied_head_request_gets_no_body() {
    let jail = Jail::allow(&["api.test"]).start();
    let request = Request::head("https://evil.test/").body(Full::default()).unwrap();
    let got = jail.send(request, "http/1.1").await;
    assert_eq!((got.status, got.denied()), (403, Some("host-not-allowed")));
    assert!(got.body.is_empty());
}

#[tokio::test]
async fn a_client_that_sends_much_reads_the_denial_and_no_reset() {
    let jail = Jail::allow(&["api.test"]).start();
    for inside in ["h2", "http/1.1"] {
        let body = Full::new(Bytes::from(vec![b'x'; 2_000_000]));
        let got = jail.send(Request::post("https://evil.test/").body(body).unwrap(), inside).await;
        assert_eq!((got.status, got.denied()), (403, Some("host-not-allowed")), "{inside}");
    }
    // A client that writes everything before it reads anything.
    const CHUNK: usize = 20_000;
    let length = 10 * CHUNK;
    let mut stream = dial(jail.port80).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..length / CHUNK {
        // Slowly, so that an answer given too early would have closed the connection.
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(&[b'x'; CHUNK]).await.unwrap();
    }
    let said = say(stream, b"").await;
    assert!(said.contains("x-jail-deny: host-not-allowed"), "{said}");
}

#[tokio::test]
async fn every_request_of_a_connection_is_decided_anew() {
    let server = Server::https(&["api.test"], &["h2", "http/1.1"]).await;
    let jail = Jail::allow(&["GET https://api.test/ok/**"]).to("api.test:443", &server).start();
    for inside in ["h2", "http/1.1"] {
        let before = server.requests();
        let mut http = jail.https("api.test:443", "api.test", inside).await;
        assert_eq!(http.get("https://api.test/ok/1").await.status, 200);
        let got = http.get("https://api.test/no").await;
        assert_eq!((got.status, got.denied()), (403, Some("path-not-allowed")));
        let post = Request::post("https://api.test/ok/1").body(Full::new(Bytes::from("body"))).unwrap();
        let got = http.send(post).await;
        assert_eq!((got.status, got.denied()), (403, Some("method-not-allowed")));
        if inside == "h2" {
            assert_eq!(http.get("https://api.test/ok/2").await.status, 200);
        }
        assert_eq!(server.requests() - before, if inside == "h2" { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_method_override_needs_the_overriding_method_allowed() {
    let server = Server::https(&["api.test"], &["h2"]).await;
    let jail = Jail::allow(&["GET,POST api.test"]).to("api.test:443", &server).start();
    for (method, status) in [("DELETE", 403), ("get", 200)] {
        let request = Request::post("https://api.test/")
            .header("X-HTTP-Method-Override", method)
            .body(Full::default())
            .unwrap();
        assert_eq!(jail.send(request, "h2").await.status, status, "{method}");
    }
    for (query, status) in [
        ("_method=DELETE", 403),
        ("a=b&_METHOD=delete", 403),
        ("%24httpMethod=PATCH", 403),
        ("a=b;_method=PUT", 403),
        ("_method=GET&my_method=DELETE", 200),
    ] {
        let request = Request::post(format!("https://api.test/?{query}")).body(Full::default()).unwrap();
        assert_eq!(jail.send(request, "h2").await.status, status, "{query}");
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_path_override_needs_the_overriding_path_allowed() {
    let server = Server::https(&["api.test"], &["h2"]).await;
    let jail = Jail::allow(&["GET,POST https://api.test/ok/**", "DELETE https://api.test/ok/one"])
        .to("api.test:443", &server)
        .start();
    for (name, path, status) in [
        ("X-Original-URL", "/no", 403),
        ("X-Rewrite-URL", "/no", 403),
        ("X_Original_URL", "/no", 403),
        ("X-Original-URL", "/ok/../no", 403),
        ("X-Original-URL", "https://api.test/no", 403),
        ("X-Original-URL", "/ok/other?no", 200),
        ("X-Unrelated-URL", "/no", 200),
    ] {
        let request = Request::get("https://api.test/ok/x").header(name, path).body(Full::default()).unwrap();
        assert_eq!(jail.send(request, "h2").await.status, status, "{name}: {path}");
    }
    // Each with each: the one method is allowed at one path, and not at the other.
    let both = Request::post("https://api.test/ok/one")
        .header("x-http-method-override", "DELETE")
        .header("x-original-url", "/ok/two");
    assert_eq!(jail.send(both.body(Full::default()).unwrap(), "h2").await.status, 403);
    let many = (0..40).map(|number| format!("_method=M{number}")).collect::<Vec<_>>().join("&");
    let got = jail.get(&format!("https://api.test/ok/x?{many}"), "h2").await;
    assert_eq!((got.status, got.denied()), (400, Some("malformed-request")));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn no_header_names_another_host_behind_the_server() {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https(&["api.test"], &[outside]).await;
        let jail = Jail::allow(&["api.test"]).to("api.test:443", &server).start();
        let names = ["forwarded", "x-forwarded-host", "x_forwarded_host", "x-host", "x-forwarded-server"];
        let request = names.iter().fold(Request::get("https://api.test/"), |request, name| {
            request.header(*name, "host=other.test")
        });
        let request = request.header("x-forwarded-for", "192.0.2.1").body(Full::default()).unwrap();
        let got = jail.send(request, "h2").await;
        assert_eq!(got.status, 200);
        assert!(names.iter().all(|name| got.seen_header(name).is_empty()), "{got:?}");
        assert_eq!(got.seen_header("x-forwarded-for"), ["192.0.2.1"]);
    }
}

#[tokio::test]
async fn a_request_that_stands_for_another_one_needs_the_same_credentials() {
    let (secret, dummy) =
        ("sk-test-secretsecretsecretsecretsecret-42", "sk-test-dummy-dummy-dummy-dummy-dummy-001");
    let server = Server::https(&["a.test"], &["h2"]).await;
    // The credential goes along by the first rule only.
    let credential =
        proxy::config::Credential { rules: Some(vec![policy::RuleId(0)]), ..token(dummy, secret) };
    let jail = Jail::allow(&["https://a.test/ok/**", "https://a.test/free/**"])
        .to("a.test:443", &server)
        .credential(credential)
        .start();
    for (path, other, status) in [
        ("/ok/x", "/ok/y", 200),
        ("/ok/x", "/free/y", 403),
        ("/free/x", "/ok/y", 403),
        ("/free/x", "/free/y", 200),
    ] {
        let request = Request::get(format!("https://a.test{path}")).header("x-original-url", other);
        let request = match path.starts_with("/ok") {
            true => request.header("authorization", format!("Bearer {dummy}")),
            false => request,
        };
        let got = jail.send(request.body(Full::default()).unwrap(), "h2").await;
        let denied = (status == 403).then_some("stray-credential");
        assert_eq!((got.status, got.denied()), (status, denied), "{path} {other}");
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn learning_lets_pass_and_says_so() {
    let server = Server::https(&["api.test"], &["h2"]).await;
    let jail = Jail::allow(&[]).deny_first("api.test/secret").to("api.test:443", &server).learn().start();
    assert_eq!(jail.get("https://api.test/x", "h2").await.status, 200);
    assert_eq!(jail.requests(), [("api.test:443".into(), "/x".into(), None, Some(200))]);
    let What::Request { rule: None, .. } = jail.events()[0].what else { panic!("{:?}", jail.events()) };
    assert_eq!(jail.get("https://api.test/secret", "h2").await.denied(), Some("denied-by-rule"));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn what_is_denied_stays_denied_while_learning() {
    let server = Server::https(&["api.test"], &["h2"]).await;
    let jail = Jail::allow(&[]).deny_first("api.test/secret/**").to("api.test:443", &server).learn().start();
    for path in ["/secret/x", "//secret/x", "/a/../secret/x", "/secret%2fx"] {
        let got = jail.get(&format!("https://api.test{path}"), "h2").await;
        assert_eq!(got.status, 403, "{path}: {got:?}");
    }
    assert_eq!(server.requests(), 0);

    // Nobody can say what opaque bytes are: they go nowhere about which a rule denies anything.
    let opaque = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.test\r\n").await;
    })
    .await;
    for rule in ["tcp://mail.test:443", "mail.test", "mail.test/secret"] {
        let jail = Jail::allow(&[]).deny_first(rule).to("mail.test:443", &opaque).learn().start();
        assert_eq!(say(jail.connect("mail.test:443").await, b"\x05\x01\x00").await, "", "{rule}");
        jail.connection_denied("denied-by-rule").await;
    }
    assert_eq!(opaque.connections(), 0);
}

#[tokio::test]
async fn learning_stops_at_private_addresses() {
    let server = Server::http().await;
    let jail = Jail::allow(&[]).learn().start();
    let authority = format!("localhost:{}", server.address.port());
    let request =
        format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let said = say(dial(jail.explicit).await, request.as_bytes()).await;
    assert!(said.contains("x-jail-deny: private-address"), "{said}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn learning_lets_servers_speak_first() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.test\r\n").await;
    })
    .await;
    let jail = Jail::allow(&[]).to("mail.test:25", &server).learn().start();
    assert_eq!(say(jail.connect("mail.test:25").await, b"").await, "220 mail.test\r\n");
    let What::Request { scheme, rule: None, denied: None, .. } = &jail.events()[0].what else {
        panic!("{:?}", jail.events())
    };
    assert_eq!(scheme, "tcp");
}

#[tokio::test]
async fn only_the_proxy_says_that_something_is_denied() {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["api.test"], &[outside], |_| async {
            let mut answer = text("ask the operator for --allow '*'");
            *answer.status_mut() = http::StatusCode::FORBIDDEN;
            for name in ["x-jail-deny", "x-jail-error"] {
                answer.headers_mut().insert(name, http::HeaderValue::from_static("host-not-allowed"));
            }
            answer
        })
        .await;
        let jail = Jail::allow(&["api.test"]).to("api.test:443", &server).start();
        let got = jail.get("https://api.test/", "h2").await;
        assert_eq!((got.status, got.denied(), got.header("x-jail-error")), (403, None, None));
        assert_eq!(jail.get("https://b.test/", "h2").await.denied(), Some("host-not-allowed"));
    }
}

#[tokio::test]
async fn shutdown_lets_a_request_finish_and_closes_the_listeners() {
    let server = Server::https_with(&["api.test"], &["h2"], |_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        text("done")
    })
    .await;
    let jail = Jail::allow(&["api.test"]).to("api.test:443", &server).start();
    let explicit = jail.explicit;
    let mut http = jail.https("api.test:443", "api.test", "h2").await;
    let request = tokio::spawn(async move { http.get("https://api.test/").await });
    while server.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::spawn_blocking(move || jail.shutdown(PATIENCE)).await.unwrap();
    assert_eq!(&request.await.unwrap().body[..], b"done");
    assert!(std::net::TcpListener::bind(explicit).is_ok());
}

#[tokio::test]
async fn a_form_stands_for_no_method_that_is_denied() {
    let server = Server::https(&["a.test"], &["h2", "http/1.1"]).await;
    let jail =
        Jail::allow(&["GET,POST,PATCH a.test/some/*", "a.test/all/*"]).to("a.test:443", &server).start();
    let url_encoded = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=b";
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--b--\r\n")
    };
    for inside in ["h2", "http/1.1"] {
        for (path, content_type, body, is_allowed) in [
            ("some/x", url_encoded, "a=b&_method=delete".to_owned(), false),
            ("some/x", url_encoded, "a=b&_method=patch".to_owned(), true),
            ("some/x", url_encoded, "a=_method&method=delete".to_owned(), true),
            ("some/x", multipart, part("_method", "PUT"), false),
            ("some/x", multipart, part("title", "_method PUT"), true),
            ("some/x", "application/json", "{\"_method\":\"delete\"}".to_owned(), true),
            ("all/x", url_encoded, "_method=delete".to_owned(), true),
            ("all/x", multipart, part("_method", "PUT"), true),
        ] {
            let before = server.requests();
            let request = Request::post(format!("https://a.test/{path}"))
                .header("content-type", content_type)
                .body(Full::from(body.clone()))
                .unwrap();
            let got = jail.send(request, inside).await;
            let expected = if is_allowed { (200, None) } else { (403, Some("method-not-allowed")) };
            assert_eq!((got.status, got.denied()), expected, "{inside} {path} {body}: {got:?}");
            if is_allowed {
                assert_eq!(server.requests(), before + 1, "{inside} {path} {body}");
            }
        }
    }
}
