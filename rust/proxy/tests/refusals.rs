//! Requests that the HTTP libraries cannot read: each is refused with a reason, or mended, in both versions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use proxy::audit::What;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn jail() -> (Server, Jail) {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    (server, jail)
}

/// The target that the server gets for this one, over HTTP/1.
async fn target(jail: &Jail, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let said = say(dial(jail.port80).await, request.as_bytes()).await;
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {said}");
    let told: serde_json::Value = serde_json::from_str(body.trim()).unwrap();
    told["target"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn characters_that_urls_encode_arrive_encoded_or_as_they_are() {
    let (_server, jail) = jail().await;
    for (sent, expected) in [
        ("/q?query=up{job=\"x\"}", "/q?query=up{job=%22x%22}"),
        ("/a\"b{c}|d^e", "/a\"b{c}|d^e"),
        ("/a<b>c`d", "/a%3Cb%3Ec%60d"),
        ("/q?a<b>c`d", "/q?a%3Cb%3Ec`d"),
        ("/plain?a=b", "/plain?a=b"),
        ("/caf\u{e9}<", "/caf%C3%A9%3C"),
    ] {
        assert_eq!(target(&jail, sent).await, expected, "{sent}");
    }
}

/// What is decided on is what is sent: a character that is encoded for the server is the same one for the rules.
#[tokio::test]
async fn rules_hold_for_what_is_rewritten() {
    let server = Server::http().await;
    let jail =
        Jail::allow(&["http://a.test"]).deny_first("http://a.test/*/x").to("a.test:80", &server).start();
    let said = say(
        dial(jail.port80).await,
        b"GET /<secret>/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(said.contains("x-jail-deny: denied-by-rule"), "{said}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn every_head_that_cannot_be_read_gets_a_reason() {
    let (server, jail) = jail().await;
    let long = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "v".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X: v\r\n".repeat(1001));
    for (request, status, reason) in [
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX-Odd : 1\r\n\r\n", 400, "malformed-request"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\n X: 1\r\n\r\n", 400, "malformed-request"),
        ("GET /\0 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "malformed-request"),
        ("GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", 400, "malformed-request"),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: x\r\n\r\n", 400, "malformed-request"),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "malformed-request"),
        (&long, 431, "too-large"),
        (&many, 431, "too-large"),
    ] {
        let start = &request[..request.len().min(80)];
        let said = say(dial(jail.port80).await, request.as_bytes()).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{start}: {said}");
        assert!(said.contains(&format!("x-jail-deny: {reason}\r\n")), "{start}: {said}");
        let body: serde_json::Value = serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["reason"], reason, "{start}");
        assert_eq!(said.matches("HTTP/1.1 4").count(), 1, "{start}: {said}");
    }
    assert_eq!(server.requests(), 0);
    jail.connection_denied("malformed-request").await;
    jail.connection_denied("too-large").await;
}

#[tokio::test]
async fn what_came_before_a_bad_head_is_answered() {
    let (server, jail) = jail().await;
    let good = "GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let chunked = "POST /two HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n";
    let sized =
        "POST /three HTTP/1.1\r\nHost: a.test\r\nContent-Length: 29\r\n\r\nGET / HTTP/1.1\r\nX : in body\r\n";
    let bad = "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n";
    // In one piece, and byte by byte.
    let all = format!("{good}{chunked}{sized}{bad}");
    for step in [all.len(), 1] {
        let before = server.requests();
        let mut stream = dial(jail.port80).await;
        for piece in all.as_bytes().chunks(step) {
            stream.write_all(piece).await.unwrap();
        }
        let said = say(stream, b"").await;
        let answers: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        // The body of the third names a version as well.
        assert_eq!(answers.first(), Some(&"200"), "{said}");
        assert_eq!(answers.last(), Some(&"400"), "{said}");
        assert_eq!(server.requests() - before, 3, "{said}");
        assert!(said.contains("x-jail-deny: malformed-request"), "{said}");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http://a.test` with this path, and another field if there is one.
fn request(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // `:method GET`, `:scheme http`, then literals with the static names `:authority` and `:path`.
    let mut block = vec![0x82, 0x86, 0x01, 6];
    block.extend(b"a.test");
    block.extend([0x04, u8::try_from(path.len()).unwrap()]);
    block.extend(path.as_bytes());
    for (name, value) in more {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Sends requests on one HTTP/2 connection and returns all frames until each stream has ended, as `(kind, flags, stream, payload)`.
async fn http2(jail: &Jail, requests: &[Vec<u8>]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut stream = dial(jail.port80).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, b"")).await.unwrap();
    let read = async {
        let mut frames = Vec::new();
        for (number, block) in requests.iter().enumerate() {
            let id = u32::try_from(2 * number + 1).unwrap();
            // END_STREAM and END_HEADERS.
            stream.write_all(&frame(1, 5, id, block)).await.unwrap();
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                stream.read_exact(&mut payload).await.unwrap();
                let (kind, flags) = (head[3], head[4]);
                let of = u32::from_be_bytes(head[5..].try_into().unwrap());
                let is_end = of == id && (kind == 3 || (kind <= 1 && flags & 1 != 0));
                frames.push((kind, flags, of, payload));
                if is_end {
                    break;
                }
            }
        }
        frames
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an end of each stream in time")
}

#[tokio::test]
async fn malformed_http2_requests_get_a_reason_and_others_go_on() {
    let server = Server::http_with(true, echo).await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let requests = [
        request("/good", &[]),
        request("/a b", &[]),
        request("/good", &[]),
        request("/", &[("connection", "close")]),
        request("/good", &[]),
    ];
    let frames = http2(&jail, &requests).await;
    let head = |stream: u32| {
        let found = frames.iter().find(|(kind, _, of, _)| (*kind, *of) == (1, stream));
        found.map(|(_, _, _, payload)| payload.clone()).unwrap_or_else(|| panic!("no response: {frames:?}"))
    };
    let has = |block: &[u8], text: &[u8]| block.windows(text.len()).any(|window| window == text);
    for stream in [3, 7] {
        // `:status 400`.
        assert_eq!(head(stream)[0], 0x8c);
        assert!(has(&head(stream), b"malformed-request"), "{frames:?}");
    }
    for stream in [1, 5, 9] {
        // `:status 200`: the tables of both sides still agree.
        assert_eq!(head(stream)[0], 0x88, "{frames:?}");
        assert!(!has(&head(stream), b"malformed-request"));
    }
    assert_eq!(server.requests(), 3);
    jail.wait_for(|what| matches!(what, What::Connection { denied, .. } if denied == "malformed-request"))
        .await;
}

/// Over HTTP/1 such a path is mended. curl comes again that way by itself.
#[tokio::test]
async fn paths_that_http2_does_not_carry_are_asked_for_by_http1() {
    let server = Server::http_with(true, echo).await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let requests = [request("/q?query={\"x\"}", &[]), request("/a<b", &[]), request("/good", &[])];
    let frames = http2(&jail, &requests).await;
    for stream in [1, 3] {
        let of_stream: Vec<_> = frames.iter().filter(|frame| frame.2 == stream).collect();
        // RST_STREAM with HTTP_1_1_REQUIRED, and nothing before it.
        assert_eq!(of_stream, [&(3, 0, stream, vec![0, 0, 0, 13])], "{frames:?}");
    }
    assert!(
        frames.iter().any(|(kind, _, of, payload)| (*kind, *of, payload.first()) == (1, 5, Some(&0x88))),
        "{frames:?}"
    );
    assert_eq!(server.requests(), 1);
}
