//! Pushes as no git sends them: over HTTP/2 by hand, compressed, in pieces, by other methods' names. (What the real git
//! makes of it is tested end to end.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use http_body_util::Full;
use support::*;
use tokio::io::AsyncWriteExt;

const ZERO: &str = "0000000000000000000000000000000000000000";
const ONE: &str = "1111111111111111111111111111111111111111";
const URL: &str = "https://a.test/me/repo.git/git-receive-pack";

fn push(commands: &[(&str, &str, &str)], capabilities: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (position, (old, new, name)) in commands.iter().enumerate() {
        let end = if position == 0 { format!("\0{capabilities}") } else { String::new() };
        let line = format!("{old} {new} {name}{end}");
        body.extend(format!("{:04x}{line}", line.len() + 4).into_bytes());
    }
    body.extend(b"0000");
    body
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn request(body: Vec<u8>, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::post(URL).header("content-type", "application/x-git-receive-pack-request");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body)).unwrap()
}

async fn jail() -> (Jail, Server) {
    let server = Server::https(&["a.test"], &["h2", "http/1.1"]).await;
    let rule = "git a.test/me/repo push=agent/*";
    let jail = Jail::allow(&[rule, "a.test"]).to("a.test:443", &server).start();
    (jail, server)
}

#[tokio::test]
async fn an_allowed_push_goes_out_as_it_was_read() {
    let (jail, _server) = jail().await;
    let plain =
        [push(&[(ZERO, ONE, "refs/heads/agent/x")], "report-status"), b"PACK and so on".to_vec()].concat();
    for alpn in ["h2", "http/1.1"] {
        let got = jail.send(request(plain.clone(), &[]), alpn).await;
        assert_eq!(got.json()["body"], String::from_utf8(plain.clone()).unwrap());
        assert_eq!(got.seen_header("content-length"), [plain.len().to_string()]);
        // What was read is what goes out: the server has nothing to decode in its own way.
        let got = jail.send(request(gzip(&plain), &[("content-encoding", "gzip")]), alpn).await;
        assert_eq!(got.json()["body"], String::from_utf8(plain.clone()).unwrap());
        assert!(got.seen_header("content-encoding").is_empty(), "{got:?}");
    }
}

#[tokio::test]
async fn a_refused_push_is_refused_in_every_dress() {
    let (jail, server) = jail().await;
    let refused = push(&[(ZERO, ONE, "refs/heads/agent/x"), (ZERO, ONE, "refs/heads/main")], "report-status");
    for alpn in ["h2", "http/1.1"] {
        for (body, headers) in [
            (refused.clone(), &[][..]),
            (gzip(&refused), &[("content-encoding", "gzip")]),
            (gzip(&refused), &[("content-encoding", "x-gzip")]),
        ] {
            let got = jail.send(request(body, headers), alpn).await;
            assert_eq!((got.status, got.denied()), (200, Some("ref-not-allowed")));
            let text = String::from_utf8(got.body.to_vec()).unwrap();
            assert_eq!(
                text,
                "000eunpack ok\n\
                 0048ng refs/heads/agent/x denied by jail: nothing of this push was sent\n\
                 0037ng refs/heads/main denied by jail: ref-not-allowed\n0000"
            );
        }
        // Without a report there is nothing that git would show.
        let silent = push(&[(ZERO, ONE, "refs/heads/main")], "agent=x");
        let got = jail.send(request(silent, &[]), alpn).await;
        assert_eq!((got.status, got.denied()), (403, Some("ref-not-allowed")));
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_does_not_go_out() {
    let (jail, server) = jail().await;
    let good = push(&[(ZERO, ONE, "refs/heads/agent/x")], "report-status");
    let update = [
        push(&[(ONE, &"2".repeat(40), "refs/heads/agent/x")], "report-status"),
        b"PUCK\0\0\0\x02\0\0\0\x01".to_vec(),
    ]
    .concat();
    let cut = gzip(&good)[..20].to_vec();
    for (body, headers) in [
        (good.clone(), &[("content-encoding", "deflate")][..]),
        (good.clone(), &[("content-encoding", "gzip, gzip")]),
        (good.clone(), &[("content-encoding", "gzip"), ("content-encoding", "identity")]),
        (good.clone(), &[("content-encoding", "gzip")]),
        (cut, &[("content-encoding", "gzip")]),
        (good[..good.len() - 1].to_vec(), &[]),
        (Vec::new(), &[]),
        ([b"0000", &good[..]].concat(), &[]),
        (update, &[]),
    ] {
        let got = jail.send(request(body.clone(), headers), "h2").await;
        assert_eq!((got.status, got.denied()), (400, Some("malformed-request")), "{body:?} {headers:?}");
    }
    // A header that makes a push of another request.
    let mut disguised = request(good, &[("x-http-method-override", "POST")]);
    *disguised.method_mut() = "PUT".parse().unwrap();
    assert_eq!(jail.send(disguised, "h2").await.status, 403);
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_list_of_commands_beyond_the_bound_is_refused() {
    let (jail, server) = jail().await;
    let names: Vec<String> = (0..20_000).map(|number| format!("refs/heads/agent/{number}")).collect();
    let commands: Vec<_> = names.iter().map(|name| (ZERO, ONE, name.as_str())).collect();
    let got = jail.send(request(push(&commands, "report-status"), &[]), "h2").await;
    assert_eq!((got.status, got.denied()), (403, Some("too-large")));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_push_that_stands_for_another_request_is_refused() {
    let (jail, server) = jail().await;
    let good = push(&[(ZERO, ONE, "refs/heads/agent/x")], "report-status");
    for alpn in ["h2", "http/1.1"] {
        for name in ["x-original-url", "x-rewrite-url"] {
            let got = jail.send(request(good.clone(), &[(name, "/admin/x")]), alpn).await;
            assert_eq!((got.status, got.denied()), (403, Some("stray-credential")), "{name}");
        }
    }
    assert_eq!(server.requests(), 0);
    // It may say what it is.
    let got = jail.send(request(good, &[("x-original-url", "/me/repo.git/git-receive-pack")]), "h2").await;
    assert_eq!(got.status, 200, "{got:?}");
}

#[tokio::test]
async fn pushes_that_wait_keep_nobody_else_from_memory() {
    let server = Server::https_with(&["b.test"], &["h2"], compresses).await;
    let credential = proxy::config::Credential {
        hosts: vec!["b.test".parse().unwrap()],
        ..token("sk-test-dummy-dummy-dummy-0001", "sk-test-secretsecretsecret-42")
    };
    let jail = Jail::allow(&["git b.test/me/repo push=agent/*", "b.test"])
        .to("b.test:443", &server)
        .credential(credential)
        .start();
    // Pushes of which the first bytes come: one is read, the others wait for their turn.
    let mut held = Vec::new();
    for _ in 0..3 {
        let tunnel = jail.connect("b.test:443").await;
        let mut stream = jail.tls(tunnel, Some("b.test"), "http/1.1").await.unwrap();
        let head = "POST /me/repo.git/git-receive-pack HTTP/1.1\r\nHost: b.test\r\nContent-Length: 1000\r\n\
                    Content-Type: application/x-git-receive-pack-request\r\n\r\n00";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        held.push(stream);
    }
    let mut http = jail.https("b.test:443", "b.test", "h2").await;
    for _ in 0..10 {
        let request =
            Request::get("https://b.test/x").header("authorization", "Bearer sk-test-dummy-dummy-dummy-0001");
        let got = http.send(request.body(Full::default()).unwrap()).await;
        assert_eq!((got.status, &got.body[..]), (200, &b"text"[..]), "{got:?}");
    }
    drop(held);
}

async fn compresses(_: Request<hyper::body::Incoming>) -> Answer {
    let mut answer = http::Response::new(http_body_util::BodyExt::boxed(Full::from(gzip(b"text"))));
    answer.headers_mut().insert("content-encoding", http::HeaderValue::from_static("gzip"));
    answer
}
