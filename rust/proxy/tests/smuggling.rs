//! Requests that two servers could cut differently: none of them reaches the outside in a form that can.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that writes down every byte it gets, and answers each chunk it reads with an empty 200.
async fn recorder() -> (Server, Arc<Mutex<BytesMut>>) {
    let written = Arc::new(Mutex::new(BytesMut::new()));
    let server = Server::raw({
        let written = written.clone();
        move |mut stream| {
            let written = written.clone();
            async move {
                let mut buffer = [0; 8192];
                let mut request = Vec::new();
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    written.lock().unwrap().extend_from_slice(&buffer[..length]);
                    request.extend_from_slice(&buffer[..length]);
                    // An answer before its end could end the request early, and with it what is written down.
                    if !is_whole(&request) {
                        continue;
                    }
                    request.clear();
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                        break;
                    }
                }
            }
        }
    })
    .await;
    (server, written)
}

/// Whether it is a head with all of its body, for the bodies of these tests.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    match head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
    }
}

fn seen(written: &Mutex<BytesMut>) -> String {
    String::from_utf8_lossy(&written.lock().unwrap()).to_lowercase()
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    for (what, request) in [
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        ),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4, 5\r\n\r\nabcde"),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\nabcde"),
        ("a negative length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n"),
        ("a hexadecimal length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x5\r\n\r\nabcde"),
        ("xchunked", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (
            "identity",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "gzip, chunked",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked, then another",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        ),
        (
            "a space before the colon",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a tab before the colon", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length\t: 2\r\n\r\nab"),
        (
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a folded header", "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n"),
        (
            "a folded framing",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a header without a name", "GET / HTTP/1.1\r\nHost: a.test\r\n: x\r\n\r\n"),
        ("a header without a colon", "GET / HTTP/1.1\r\nHost: a.test\r\nX\r\n\r\n"),
        ("a first line that is folded", "GET / HTTP/1.1\r\n Host: a.test\r\n\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rY: b\r\n\r\n"),
        ("a NUL in a value", "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n"),
        ("a bare CR for an end", "GET / HTTP/1.1\rHost: a.test\r\r"),
        ("spaces in the target", "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("another version", "GET / HTTP/1.2\r\nHost: a.test\r\n\r\n"),
        ("HTTP/0.9", "GET /\r\n\r\n"),
        ("an underscore version", "GET / HTTP/1,1\r\nHost: a.test\r\n\r\n"),
    ] {
        let (server, written) = recorder().await;
        let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
        // The second request is what a smuggler would hide behind the first.
        let bytes = format!("{request}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut stream = dial(jail.port80).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let said = say(stream, b"").await;
        assert!(
            said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.0 400 ") || said.is_empty(),
            "{what}: {said}"
        );
        assert!(!said.contains(" 200 "), "{what}: {said}");
        assert_eq!(seen(&written), "", "{what}");
    }
}

#[tokio::test]
async fn what_is_read_one_way_is_written_one_way() {
    for (what, request) in [
        (
            "length and chunked",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "chunked and length",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "a length twice",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        ),
        ("bare LF", "POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\n\nab"),
        (
            "chunk extensions",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n",
        ),
    ] {
        let (server, written) = recorder().await;
        let jail = Jail::allow(&["http://a.test/"]).to("a.test:80", &server).start();
        let bytes = format!("{request}GET /smuggled HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let said = say(dial(jail.port80).await, bytes.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 "), "{what}: {said}");
        let seen = seen(&written);
        // The second request is either refused with the first or decided on its own, and never allowed by its path.
        assert!(!seen.contains("smuggled"), "{what}: {seen}");
        assert!(
            seen.matches("content-length").count() + seen.matches("transfer-encoding").count() <= 1,
            "{what}: {seen}"
        );
        if said.starts_with("HTTP/1.1 200 ") {
            assert!(
                seen.ends_with("\r\n\r\nab") || seen.ends_with("\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
                "{what}: {seen}"
            );
        }
    }
}

#[tokio::test]
async fn broken_chunks_break_the_request_outside_as_well() {
    for (what, chunks) in [
        ("a size too large", "fffffffffffffffff\r\nab\r\n"),
        ("a signed size", "+2\r\nab\r\n0\r\n\r\n"),
        ("a prefixed size", "0x2\r\nab\r\n0\r\n\r\n"),
        ("a size with an underscore", "1_0\r\nab\r\n0\r\n\r\n"),
        ("no size", "\r\nab\r\n0\r\n\r\n"),
        ("a chunk longer than said", "2\r\nabc\r\n0\r\n\r\n"),
        ("a bare LF after a chunk", "2\r\nab\n0\r\n\r\n"),
        ("a bare LF after a size", "2\nab\r\n0\r\n\r\n"),
    ] {
        let (server, written) = recorder().await;
        let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut stream = dial(jail.port80).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = say(stream, b"").await;
        let seen = seen(&written);
        assert!(!seen.contains("smuggled"), "{what}: {seen}");
        assert!(
            !seen.ends_with("0\r\n\r\n"),
            "{what}: the outside was told that the body is complete: {seen}"
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_decided_one_by_one() {
    let server = Server::http().await;
    let jail = Jail::allow(&["GET http://a.test/ok"]).to("a.test:80", &server).start();
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n");
    let bytes = request("/ok", "") + &request("/no", "") + &request("/ok", "Connection: close\r\n");
    let said = say(dial(jail.port80).await, bytes.as_bytes()).await;
    let answers: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(answers, ["200", "403", "200"], "{said}");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn http2_lengths_must_be_true() {
    let server = Server::https(&["a.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    for (length, good) in [("4", true), ("3", false), ("5", false)] {
        let mut http = jail.https("a.test:443", "a.test", "h2").await;
        let request = Request::post("https://a.test/")
            .header("content-length", length)
            .body(Full::new(Bytes::from("four")))
            .unwrap();
        let got = http.try_send(request).await;
        let answered = matches!(&got, Ok(got) if got.status == 200 && got.json()["body"] == "four");
        assert_eq!(answered, good, "{length}: {got:?}");
    }
}

/// Some clients drop the body they have not been asked for, others send it: the next request is read as neither.
#[tokio::test]
async fn nothing_follows_a_body_that_was_not_read() {
    for expect in ["Expect: 100-continue\r\n", ""] {
        let (server, written) = recorder().await;
        let jail = Jail::allow(&["GET http://a.test"]).to("a.test:80", &server).start();
        let mut stream = dial(jail.port80).await;
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{expect}Content-Length: 60\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let said = say(stream, b"GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").await.to_lowercase();
        assert!(said.starts_with("http/1.1 403 "), "{said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
        assert_eq!(said.matches("http/1.1").count(), 1, "{said}");
        assert_eq!(seen(&written), "");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stay_here() {
    let server = Server::https(&["a.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let request = Request::get("https://a.test/")
        .header("connection", "keep-alive, Upgrade, HTTP2-Settings")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic eDp5")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA")
        .header("te", "trailers, deflate")
        .header("expect", "100-continue")
        .header("x-kept", "yes")
        .body(Full::default())
        .unwrap();
    let got = jail.send(request, "http/1.1").await;
    assert_eq!(got.status, 200, "{got:?}");
    for gone in
        ["keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings", "expect"]
    {
        assert_eq!(got.seen_header(gone), Vec::<String>::new(), "{gone}");
    }
    assert_eq!(got.seen_header("te"), ["trailers"]);
    assert_eq!(got.seen_header("x-kept"), ["yes"]);
}

#[tokio::test]
async fn a_connection_header_cannot_name_a_credential() {
    let server = Server::https(&["a.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    for (options, status) in [("authorization", 400), ("close, X-Api-Key", 400), ("Keep-Alive", 200)] {
        let request =
            Request::get("https://a.test/").header("connection", options).body(Full::default()).unwrap();
        assert_eq!(jail.send(request, "http/1.1").await.status, status, "{options}");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn answers_lose_what_was_said_to_us() {
    let server = Server::https_with(&["a.test"], &["http/1.1"], |_| async {
        let mut answer = text("body");
        let mut add = |name: &'static str, value: &'static str| {
            HeaderMap::append(answer.headers_mut(), name, HeaderValue::from_static(value));
        };
        add("connection", "X-Hop");
        add("x-hop", "1");
        add("keep-alive", "timeout=5");
        add("alt-svc", "h3=\":443\"");
        add("x-kept", "yes");
        answer
    })
    .await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    for inside in ["h2", "http/1.1"] {
        let got = jail.get("https://a.test/", inside).await;
        assert_eq!((got.status, &got.body[..]), (200, &b"body"[..]));
        for gone in ["connection", "x-hop", "keep-alive", "alt-svc"] {
            assert_eq!(got.header(gone), None, "{inside} {gone}");
        }
        assert_eq!(got.header("x-kept"), Some("yes"));
    }
}
