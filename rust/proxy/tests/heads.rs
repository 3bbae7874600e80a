//! Heads of requests and responses: how large they may be, and what of them is passed on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server without TLS that gives these bytes to every request and closes.
async fn says(response: &'static str) -> (Server, Jail) {
    let server = Server::raw(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(response.as_bytes()).await;
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    (server, jail)
}

async fn get(jail: &Jail) -> String {
    say(dial(jail.port80).await, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await
}

fn fields(count: usize, value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for number in 0..count {
        let name: HeaderName = format!("x-field-{number}").parse().unwrap();
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

/// Each version on each side, with this many more fields of this value in the request.
async fn with_fields(count: usize, value: &'static str, check: impl Fn(&str, &Got)) {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https(&["a.test"], &[outside]).await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        for inside in ["h2", "http/1.1"] {
            let mut request = Request::get("https://a.test/").body(Full::<Bytes>::default()).unwrap();
            request.headers_mut().extend(fields(count, value));
            check(&format!("{inside} to {outside}"), &jail.send(request, inside).await);
        }
    }
}

#[tokio::test]
async fn requests_may_have_many_fields() {
    with_fields(990, "v", |way, got| {
        assert_eq!(got.status, 200, "{way}");
        assert_eq!(got.seen_header("x-field-989"), ["v"], "{way}");
    })
    .await;
    let long = "v".repeat(600).leak();
    with_fields(90, long, |way, got| {
        assert_eq!(got.status, 200, "{way}");
        assert_eq!(got.seen_header("x-field-89"), [&*long], "{way}");
    })
    .await;
}

#[tokio::test]
async fn larger_heads_are_refused_with_a_reason() {
    let server = Server::https(&["a.test"], &["h2"]).await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let long = "v".repeat(90).leak();
    for (what, more) in [("fields", fields(1001, "")), ("bytes", fields(680, long))] {
        let mut request = Request::get("https://a.test/").body(Full::<Bytes>::default()).unwrap();
        request.headers_mut().extend(more);
        let got = jail.send(request, "h2").await;
        assert_eq!((got.status, got.denied()), (431, Some("too-large")), "{what}");
        assert_eq!(got.json()["reason"], "too-large");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn responses_may_have_a_thousand_fields_and_no_more() {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], |request| async move {
            let count = request.uri().path()[1..].parse().unwrap();
            let mut answer = text("body");
            answer.headers_mut().extend(fields(count, "v"));
            answer
        })
        .await;
        let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
        for inside in ["h2", "http/1.1"] {
            let got = jail.get("https://a.test/990", inside).await;
            assert_eq!((got.status, got.header("x-field-989")), (200, Some("v")), "{inside} of {outside}");
            let got = jail.get("https://a.test/1500", inside).await;
            assert_eq!(
                (got.status, got.header("x-jail-error")),
                (502, Some("upstream-head-too-large")),
                "{inside} of {outside}"
            );
        }
    }
}

#[tokio::test]
async fn all_of_many_fields_reach_the_client() {
    let lines: String = (0..990).map(|number| format!("Set-Cookie: c{number}=v\r\n")).collect();
    let response = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    let (_server, jail) = says(response.leak()).await;
    let said = get(&jail).await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("ok"), "{said}");
    assert_eq!(said.matches("set-cookie: ").count(), 990);
}

#[tokio::test]
async fn a_response_s_white_space_and_folds_are_mended() {
    let (_server, jail) =
        says("HTTP/1.1 200 OK\r\nX-Odd : 1\r\nX-Fold: a\r\n b\r\nContent-Length: 2\r\n\r\nok").await;
    let said = get(&jail).await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nok"), "{said}");
    assert!(said.contains("x-odd: 1\r\n") && said.contains("x-fold: a b\r\n"), "{said}");
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on() {
    for head in [
        "Content-Length: 40\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\n{head}\r\n2\r\nok\r\n0\r\n\r\n");
        let (_server, jail) = says(response.leak()).await;
        let said = get(&jail).await.to_lowercase();
        assert!(said.starts_with("http/1.1 200 ") && said.contains("ok"), "{said}");
        assert!(!said.contains("content-length"), "{said}");
        let mut http = Http::over(dial(jail.port80).await, false).await;
        assert_eq!(&http.get("http://a.test/").await.body[..], b"ok");
    }
}

#[tokio::test]
async fn a_response_that_is_not_http_is_said_to_be_so() {
    let (_server, jail) = says("HTTP/1.1 200 OK\r\nno colon\r\n\r\n").await;
    let said = get(&jail).await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("x-jail-error: upstream-malformed"), "{said}");
}

#[tokio::test]
async fn a_client_that_half_closes_gets_its_answer() {
    let server = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        // The client's end has arrived long before.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    for (address, target) in [(jail.port80, "/"), (jail.explicit, "http://a.test/")] {
        let mut stream = dial(address).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut said)).await.unwrap().unwrap();
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("ok"), "{target}: {said}");
    }
}
