//! What flows: server-sent events, trailers, 100-continue, WebSockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Channel, Empty, Full};
use hyper_util::rt::TokioIo;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    static NEXT: Notify = Notify::const_new();
    async fn events(_: Request<hyper::body::Incoming>) -> Answer {
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        tokio::spawn(async move {
            for number in 0..3 {
                if sender.send_data(Bytes::from(format!("data: {number}\n\n"))).await.is_err() {
                    return;
                }
                NEXT.notified().await;
            }
        });
        let mut answer = Response::new(body.boxed());
        answer.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        answer
    }
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], events).await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        for inside in ["h2", "http/1.1"] {
            let mut http = jail.https("a.test:443", "a.test", inside).await;
            let request = Request::get("https://a.test/").body(Full::<Bytes>::default()).unwrap();
            let answer = match &mut http {
                Http::One(sender) => sender.send_request(origin_form(request)).await.unwrap(),
                Http::Two(sender) => sender.send_request(request).await.unwrap(),
            };
            let mut body = answer.into_body();
            for number in 0..3 {
                // The next event is not sent before this one has arrived.
                let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("an event in time");
                let data = frame.unwrap().unwrap().into_data().unwrap();
                assert_eq!(data, format!("data: {number}\n\n"), "{inside} to {outside}");
                NEXT.notify_one();
            }
            let rest = tokio::time::timeout(PATIENCE, body.collect()).await.expect("an end in time");
            assert!(rest.unwrap().to_bytes().is_empty());
        }
    }
}

/// A body without a length, which is what has trailers in HTTP/1.
fn with(trailers: HeaderMap) -> Channel<Bytes, Infallible> {
    let (mut sender, body) = Channel::new(2);
    tokio::spawn(async move {
        sender.send_data(Bytes::from("body")).await.unwrap();
        sender.send_trailers(trailers).await.unwrap();
    });
    body
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    async fn with_trailers(request: Request<hyper::body::Incoming>) -> Answer {
        let asked = request.into_body().collect().await.unwrap();
        let mut trailers = asked.trailers().cloned().unwrap_or_default();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        // What only the proxy may say.
        for name in ["x-jail-deny", "x_jail_error"] {
            trailers.insert(name, HeaderValue::from_static("host-not-allowed"));
        }
        let mut answer = Response::new(with(trailers).boxed());
        answer
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("grpc-status, x-asked, x-jail-deny, x_jail_error"));
        answer
    }
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], with_trailers).await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        let tunnel = jail.connect("a.test:443").await;
        let tls = jail.tls(tunnel, Some("a.test"), "h2").await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(tls))
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut asked = HeaderMap::new();
        asked.insert("x-asked", HeaderValue::from_static("yes"));
        let request = Request::post("https://a.test/")
            .header("te", "trailers")
            .header("trailer", "x-asked")
            .body(with(asked))
            .unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let answer = body.collect().await.unwrap();
        let Some(trailers) = answer.trailers() else {
            panic!("no trailers with {outside}: {head:?} {answer:?}")
        };
        assert_eq!(trailers["grpc-status"], "0", "{outside}");
        assert_eq!(trailers["x-asked"], "yes", "{outside}");
        assert_eq!(trailers.len(), 2, "{outside}: {trailers:?}");
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_if_the_request_may_go_on() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test/ok"]).to("a.test:80", &server).start();
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
    };
    let mut stream = dial(jail.port80).await;
    stream.write_all(head("/ok").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 100 "));
    let said = say(stream, b"body").await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("\"body\":\"body\""), "{said}");

    let mut stream = dial(jail.port80).await;
    stream.write_all(head("/no").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(server.requests(), 1);
}

/// Takes the upgrade and answers in capitals.
async fn shout(mut request: Request<hyper::body::Incoming>) -> Answer {
    let protocol = request.headers().get("upgrade").cloned();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..length].to_ascii_uppercase()).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Response::new(Empty::new().boxed());
    *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert("upgrade", protocol.unwrap_or(HeaderValue::from_static("secret-tunnel")));
    answer
}

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_websocket_passes_also_to_a_server_that_prefers_http2() {
    let server = Server::https_with(&["a.test"], &["h2", "http/1.1"], shout).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let tunnel = jail.connect("a.test:443").await;
    let mut tls = jail.tls(tunnel, Some("a.test"), "http/1.1").await.unwrap();
    tls.write_all(format!("GET /chat HTTP/1.1\r\nHost: a.test\r\n{WEBSOCKET}hello").as_bytes())
        .await
        .unwrap();
    let head = read_head(&mut tls).await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    for word in ["hello", "again"] {
        let mut heard = [0; 5];
        tls.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, *word.to_uppercase().as_bytes());
        tls.write_all(b"again").await.unwrap();
    }
    assert_eq!(jail.requests()[0].3, Some(101));
}

#[tokio::test]
async fn a_websocket_rule_is_not_for_other_requests() {
    let server = Server::http_with(false, shout).await;
    let jail = Jail::allow(&["http://a.test/plain", "ws://a.test/chat"]).to("a.test:80", &server).start();
    let websocket = format!("GET /chat HTTP/1.1\r\nHost: a.test\r\n{WEBSOCKET}");
    let mut stream = dial(jail.port80).await;
    stream.write_all(websocket.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let said =
        say(dial(jail.port80).await, b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .await;
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
}

#[tokio::test]
async fn no_other_protocol_is_switched_to() {
    let server = Server::http_with(false, shout).await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    for (what, headers) in [
        ("nothing asked for", "Connection: close\r\n\r\n"),
        ("another protocol", "Connection: Upgrade\r\nUpgrade: secret-tunnel\r\n\r\n"),
        (
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
        ),
        ("two protocols", "Connection: Upgrade\r\nUpgrade: websocket, secret-tunnel\r\n\r\n"),
    ] {
        let mut stream = dial(jail.port80).await;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{headers}").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{what}: {head}");
        assert!(head.contains("x-jail-deny: protocol-not-allowed"), "{what}: {head}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_inside() {
    async fn broken(_: Request<hyper::body::Incoming>) -> Answer {
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        sender.send_data(Bytes::from("some")).await.unwrap();
        let mut answer = Response::new(body.boxed());
        answer.headers_mut().insert("content-length", HeaderValue::from_static("10"));
        answer
    }
    async fn broken_http1(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome").await.unwrap();
        stream.flush().await.unwrap();
    }
    for server in [
        Server::https_with(&["a.test"], &["h2"], broken).await,
        Server::raw_tls(&["a.test"], broken_http1).await,
    ] {
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        for inside in ["h2", "http/1.1"] {
            let mut http = jail.https("a.test:443", "a.test", inside).await;
            let request = Request::get("https://a.test/").body(Full::default()).unwrap();
            let got = tokio::time::timeout(PATIENCE, http.try_send(request)).await.expect("an end in time");
            assert!(got.is_err(), "{inside}: {got:?}");
        }
    }
}
