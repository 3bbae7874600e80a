//! Dummies out, secrets in, on the way through the whole proxy. (What is a slot and what is a secret is tested beside
//! `swap` and `redact`.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Channel, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy::audit::What;
use proxy::config::Credential;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DUMMY: &str = "sk-test-dummy-dummy-dummy-dummy-dummy-0001";
const SECRET: &str = "sk-test-secretsecretsecretsecretsecret-42";

fn credential() -> Credential {
    token(DUMMY, SECRET)
}

fn with_token(url: &str, token: &str) -> Request<Full<Bytes>> {
    Request::get(url).header("authorization", format!("Bearer {token}")).body(Full::default()).unwrap()
}

/// Tells what it saw in a way that is no echo: a secret that was swapped back would not be seen.
async fn witness(request: Request<hyper::body::Incoming>) -> Answer {
    let real = request.headers()["authorization"].as_bytes() == format!("Bearer {SECRET}").as_bytes();
    let mut answer = text(&format!("real: {real}; it was {SECRET}"));
    answer.headers_mut().insert("x-echo", HeaderValue::from_str(SECRET).unwrap());
    answer
}

#[tokio::test]
async fn the_server_sees_the_secret_and_the_job_does_not() {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], witness).await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).credential(credential()).start();
        for inside in ["h2", "http/1.1"] {
            let got = jail.send(with_token("https://a.test/", DUMMY), inside).await;
            let body = String::from_utf8(got.body.to_vec()).unwrap();
            assert_eq!(body, format!("real: true; it was {DUMMY}"), "{inside} to {outside}");
            assert_eq!(got.header("x-echo"), Some(DUMMY));
        }
        let what = jail.wait_for(|what| matches!(what, What::Request { .. })).await;
        let What::Request { credentials, .. } = what else { unreachable!() };
        assert_eq!(credentials, ["TOKEN"]);
        assert!(!format!("{:?}", jail.events()).contains(SECRET));
    }
}

#[tokio::test]
async fn strays_and_strangers_go_nowhere() {
    let server = Server::https(&["a.test", "b.test"], &["h2"]).await;
    let plain = Server::http().await;
    let jail = Jail::allow(&["a.test", "b.test", "http://a.test"])
        .to("a.test:443", &server)
        .to("b.test:443", &server)
        .to("a.test:80", &plain)
        .credential(credential())
        .start();
    for (url, token, reason) in [
        ("https://b.test/", DUMMY, "stray-credential"),
        ("https://a.test/", "sk-test-somebody-elses-key", "foreign-credential"),
    ] {
        let got = jail.send(with_token(url, token), "h2").await;
        assert_eq!((got.status, got.denied()), (403, Some(reason)), "{url}");
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {DUMMY}\r\nConnection: close\r\n\r\n"
    );
    let said = say(dial(jail.port80).await, request.as_bytes()).await;
    assert!(said.contains("x-jail-deny: stray-credential"), "{said}");
    assert_eq!((server.requests(), plain.connections()), (0, 0));
    assert_eq!(jail.send(with_token("https://a.test/", DUMMY), "h2").await.status, 200);
}

#[tokio::test]
async fn trailers_cannot_carry_a_credential() {
    for (field, value, good) in
        [("authorization", "Bearer x", false), ("x-note", DUMMY, false), ("x-note", "y", true)]
    {
        let server = Server::https(&["a.test"], &["h2"]).await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).credential(credential()).start();
        let tunnel = jail.connect("a.test:443").await;
        let tls = jail.tls(tunnel, Some("a.test"), "h2").await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        let (mut frames, body) = Channel::<Bytes, Infallible>::new(2);
        let mut trailers = HeaderMap::new();
        trailers.insert(field, HeaderValue::from_str(value).unwrap());
        frames.send_data(Bytes::from("body")).await.unwrap();
        frames.send_trailers(trailers).await.unwrap();
        drop(frames);
        let answer = sender.send_request(Request::post("https://a.test/").body(body).unwrap()).await;
        let told = match answer {
            Ok(answer) if answer.status() == 200 => {
                answer.into_body().collect().await.ok().map(|body| body.to_bytes())
            }
            _ => None,
        };
        let whole = told.is_some_and(|told| String::from_utf8_lossy(&told).contains("\"body\":\"body\""));
        assert_eq!(whole, good, "{field}: {value}");
    }
}

#[tokio::test]
async fn a_websocket_is_searched_as_well() {
    let server = Server::raw_tls(&["a.test"], |mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains(SECRET) && !head.to_lowercase().contains("sec-websocket-extensions"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let length = u8::try_from(SECRET.len()).unwrap();
        stream.write_all(&[0x81, length]).await.unwrap();
        stream.write_all(SECRET.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).credential(credential()).start();
    let tunnel = jail.connect("a.test:443").await;
    let mut tls = jail.tls(tunnel, Some("a.test"), "http/1.1").await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {DUMMY}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut tls).await.starts_with("HTTP/1.1 101 "));
    let mut frame = vec![0; SECRET.len() + 2];
    tls.read_exact(&mut frame).await.unwrap();
    let said = String::from_utf8_lossy(&frame[2..]).into_owned();
    assert!(said.starts_with(&DUMMY[..20]) && !said.contains("secret"), "{said}");
}

/// The other one, of a host that the job talks to as well.
fn another() -> Credential {
    Credential {
        name: "OTHER".into(),
        dummy: "gh-test-dummy-dummy-dummy-dummy-0002".into(),
        secret: "gh-test-secretsecretsecretsecret-43".to_owned().into(),
        hosts: vec!["b.test".parse().unwrap()],
        ..credential()
    }
}

#[tokio::test]
async fn a_conversation_about_the_environment_goes_on() {
    // A model's server gets the whole conversation each time, and says something of its own.
    async fn model(request: Request<hyper::body::Incoming>) -> Answer {
        let real = request.headers()["authorization"].as_bytes() == format!("Bearer {SECRET}").as_bytes();
        let said = request.into_body().collect().await.unwrap().to_bytes();
        let said = String::from_utf8(said.to_vec()).unwrap();
        let holds_secret = said.contains(SECRET);
        let mut answer = text(&format!("data: real: {real}; secret: {holds_secret}; you said {said}\n\n"));
        answer.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        answer
    }
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], model).await;
        let jail = Jail::allow(&["a.test", "b.test"])
            .to("a.test:443", &server)
            .credential(credential())
            .credential(another())
            .start();
        for inside in ["h2", "http/1.1"] {
            let mut http = jail.https("a.test:443", "a.test", inside).await;
            let mut conversation = format!("TOKEN={DUMMY} OTHER={} printenv", another().dummy);
            for turn in 0..3 {
                let request = Request::post("https://a.test/v1/messages")
                    .header("authorization", format!("Bearer {DUMMY}"))
                    .body(Full::from(conversation.clone()))
                    .unwrap();
                let got = http.send(request).await;
                let body = String::from_utf8(got.body.to_vec()).unwrap();
                assert_eq!(
                    (got.status, got.denied()),
                    (200, None),
                    "{inside} to {outside}, turn {turn}: {body}"
                );
                let expected = format!("data: real: true; secret: false; you said {conversation}\n\n");
                assert_eq!(body, expected);
                conversation = body;
            }
        }
        assert_eq!(server.requests(), 6);
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Takes any upgrade.
async fn upgrading(request: Request<hyper::body::Incoming>) -> Answer {
    let mut answer = text("");
    if request.headers().contains_key("upgrade") {
        *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    }
    answer
}

#[tokio::test]
async fn strays_and_strangers_do_not_become_websockets() {
    let server = Server::https_with(&["a.test", "b.test"], &["http/1.1"], upgrading).await;
    let jail = Jail::allow(&["a.test", "b.test"])
        .to("a.test:443", &server)
        .to("b.test:443", &server)
        .credential(credential())
        .credential(another())
        .start();
    let other = another().dummy;
    for (host, field, refusal) in [
        ("a.test", format!("Authorization: Bearer {DUMMY}"), None),
        ("a.test", "X-Nothing: 1".to_owned(), None),
        ("b.test", format!("Authorization: Bearer {DUMMY}"), Some("stray-credential")),
        ("b.test", format!("Sec-WebSocket-Protocol: bearer.{DUMMY}"), Some("stray-credential")),
        ("a.test", format!("Authorization: Bearer {other}"), Some("stray-credential")),
        ("a.test", "Authorization: Bearer somebody-elses-key-4711".to_owned(), Some("foreign-credential")),
        ("a.test", "X-Api-Key: somebody-elses-key-4711".to_owned(), Some("foreign-credential")),
    ] {
        let before = server.requests();
        // A CONNECT of one line: nothing in it could be a credential, and nothing needs to be.
        let mut tunnel = dial(jail.explicit).await;
        tunnel.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        assert!(read_head(&mut tunnel).await.starts_with("HTTP/1.1 200 "));
        let mut tls = jail.tls(tunnel, Some(host), "http/1.1").await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{field}\r\n{UPGRADE}\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut tls).await;
        match refusal {
            None => assert!(head.starts_with("HTTP/1.1 101 "), "{host} {field}: {head}"),
            Some(reason) => {
                assert!(head.starts_with("HTTP/1.1 403 "), "{host} {field}: {head}");
                assert!(head.contains(&format!("x-jail-deny: {reason}\r\n")), "{host} {field}: {head}");
            }
        }
        assert_eq!(server.requests() - before, usize::from(refusal.is_none()), "{host} {field}");
    }
}

#[tokio::test]
async fn a_refused_stream_leaves_the_others_of_its_connection_alone() {
    let server = Server::https(&["a.test"], &["h2"]).await;
    let jail = Jail::allow(&["a.test", "b.test"])
        .to("a.test:443", &server)
        .credential(credential())
        .credential(another())
        .start();
    let mut http = jail.https("a.test:443", "a.test", "h2").await;
    for (token, refusal) in [
        (DUMMY.to_owned(), None),
        (another().dummy, Some("stray-credential")),
        ("somebody-elses-key-4711".to_owned(), Some("foreign-credential")),
        (DUMMY.to_owned(), None),
    ] {
        let got = http.send(with_token("https://a.test/", &token)).await;
        assert_eq!((got.status == 200, got.denied()), (refusal.is_none(), refusal), "{token}");
    }
    // HPACK may send the name once and only point at it later: every field counts by what it says.
    let mut request = with_token("https://a.test/", DUMMY);
    request.headers_mut().append("authorization", HeaderValue::from_static("Bearer somebody-elses-key-4711"));
    assert_eq!(http.send(request).await.denied(), Some("foreign-credential"));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn git_lfs_sends_the_credential_of_the_git_rule_about_its_repository() {
    let server = Server::https_with(&["a.test"], &["h2"], witness).await;
    let credential = Credential { rules: Some(vec![policy::RuleId(0)]), ..credential() };
    let jail = Jail::allow(&["git a.test/me/repo push=** credential=TOKEN", "https://a.test/me/**"])
        .to("a.test:443", &server)
        .credential(credential)
        .start();
    let id = "0123456789abcdef".repeat(4);
    for (path, real) in [
        ("/me/repo.git/info/lfs/objects/batch", true),
        (&*format!("/me/repo/obj/{id}"), true),
        ("/me/repo/settings", false),
        (&*format!("/me/other/obj/{id}"), false),
    ] {
        let got = jail.send(with_token(&format!("https://a.test{path}"), DUMMY), "h2").await;
        if real {
            let body = String::from_utf8(got.body.to_vec()).unwrap();
            assert_eq!(body, format!("real: true; it was {DUMMY}"), "{path}");
        } else {
            assert_eq!((got.status, got.denied()), (403, Some("stray-credential")), "{path}");
        }
    }
    // The request could stand for one with which the credential does not go.
    let request = Request::get(format!("https://a.test/me/repo/obj/{id}"))
        .header("authorization", format!("Bearer {DUMMY}"))
        .header("x-original-url", "/me/repo/settings");
    let got = jail.send(request.body(Full::default()).unwrap(), "h2").await;
    assert_eq!((got.status, got.denied()), (403, Some("stray-credential")));
}
