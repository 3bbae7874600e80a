//! What a job can make its proxy hold, and for how long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use proxy::audit::What;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test"])
        .to("a.test:80", &server)
        .limits(|limits| limits.connections = 3)
        .start();
    let held = [dial(jail.port80).await, dial(jail.explicit).await, dial(jail.dns_tcp).await];
    // The proxy takes up connections in its own order: until it has all three, this one may be a fourth of its own.
    let refused = async {
        while !jail
            .events()
            .iter()
            .any(|event| matches!(&event.what, What::Connection { denied, .. } if denied == "too-many"))
        {
            say(dial(jail.port443).await, b"\0").await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("a refusal");
    drop(held);
    let control = async {
        loop {
            let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
            if say(dial(jail.port80).await, request).await.starts_with("HTTP/1.1 200 ") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, control).await.expect("places come back");
}

#[tokio::test]
async fn silence_and_dribble_end() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test", "a.test"])
        .to("a.test:80", &server)
        .limits(|limits| limits.idle = Duration::from_millis(200))
        .start();
    for (what, stream, bytes) in [
        ("silence", dial(jail.port443).await, &b""[..]),
        ("silence to the proxy", dial(jail.explicit).await, b""),
        ("silence to DNS", dial(jail.dns_tcp).await, b"\0"),
        ("half a handshake", dial(jail.port443).await, b"\x16\x03\x01\x02\x00\x01"),
        ("half a request", dial(jail.port80).await, b"GET / HTTP/1.1\r\nHost: a."),
        ("half a preface", dial(jail.port80).await, b"PRI * HTTP/2.0\r\n\r\nS"),
        ("a preface and no more", dial(jail.port80).await, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let said = say(stream, bytes).await;
        assert!(!said.contains("200"), "{what}: {said}");
    }
    // Dribbling does not help.
    let mut stream = dial(jail.port80).await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let dribble = async {
        let step = Duration::from_millis(20);
        while stream.write_all(b"X: y\r\n").await.is_ok()
            && tokio::time::timeout(step, stream.read(&mut [0; 64])).await.is_err()
        {}
    };
    tokio::time::timeout(PATIENCE, dribble).await.expect("an end in time");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let server = Server::https_with(&["a.test"], &["h2"], |_| async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        text("late")
    })
    .await;
    let jail = Jail::allow(&["a.test"])
        .to("a.test:443", &server)
        .limits(|limits| limits.idle = Duration::from_millis(200))
        .start();
    for inside in ["h2", "http/1.1"] {
        let mut http = jail.https("a.test:443", "a.test", inside).await;
        assert_eq!(&http.get("https://a.test/").await.body[..], b"late", "{inside}");
        let closed = async {
            loop {
                let gone = match &mut http {
                    Http::One(sender) => sender.is_closed(),
                    Http::Two(sender) => sender.is_closed(),
                };
                if gone {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("an end in time");
    }
}

#[tokio::test]
async fn heads_have_a_size() {
    let server = Server::https(&["a.test"], &["http/1.1"]).await;
    let jail = Jail::allow(&["a.test"])
        .to("a.test:443", &server)
        .limits(|limits| limits.header_bytes = 16 * 1024)
        .start();
    for inside in ["h2", "http/1.1"] {
        for (size, good) in [(8 * 1024, true), (40 * 1024, false)] {
            let mut http = jail.https("a.test:443", "a.test", inside).await;
            let request = Request::get("https://a.test/")
                .header("x-large", "x".repeat(size))
                .body(Full::<Bytes>::default())
                .unwrap();
            let got = http.try_send(request).await;
            let answered = got.as_ref().is_ok_and(|got| got.status == 200);
            assert_eq!(answered, good, "{inside} {size}: {got:?}");
        }
    }
    assert_eq!(server.requests(), 2);

    // Without an end, it is not read for ever.
    let tunnel = jail.connect("a.test:443").await;
    let mut tls = jail.tls(tunnel, Some("a.test"), "http/1.1").await.unwrap();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n").await.unwrap();
    let line = format!("X: {}\r\n", "y".repeat(1000));
    let mut sent = 0;
    while sent < 4096 && tls.write_all(line.as_bytes()).await.is_ok() && tls.flush().await.is_ok() {
        sent += 1;
    }
    let mut said = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut said)).await.expect("an end in time");
    assert!(sent < 4096 || String::from_utf8_lossy(&said).starts_with("HTTP/1.1 431 "), "{sent}");
}

#[tokio::test]
async fn one_connection_of_the_job_cannot_open_any_number_outside() {
    let server = Server::https_with(&["a.test"], &["http/1.1"], |request| async move {
        if request.uri().path() == "/hold" {
            std::future::pending::<()>().await;
        }
        text("")
    })
    .await;
    let jail = Jail::allow(&["a.test"])
        .to("a.test:443", &server)
        .limits(|limits| {
            limits.connections = 8;
            limits.dial = Duration::from_millis(300);
        })
        .start();
    let Http::Two(sender) = jail.https("a.test:443", "a.test", "h2").await else { unreachable!() };
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut sender = sender.clone();
        let request = Request::get("https://a.test/hold").body(Full::<Bytes>::default()).unwrap();
        held.spawn(async move { sender.send_request(request).await.map(|answer| answer.status()) });
    }
    while server.requests() < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut http = Http::Two(sender);
    let got = http.get("https://a.test/").await;
    assert_eq!((got.status, got.denied()), (429, Some("too-many")));
    assert_eq!(server.connections(), 8);
    held.shutdown().await;
    let control = async { while http.get("https://a.test/").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, control).await.expect("places come back");
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_told_so() {
    // To one connection outside, as many as one likes: only the job's own bound is left.
    let server = Server::https_with(&["a.test"], &["h2"], |request| async move {
        if request.uri().path() == "/hold" {
            std::future::pending::<()>().await;
        }
        text("")
    })
    .await;
    let jail =
        Jail::allow(&["a.test"]).to("a.test:443", &server).limits(|limits| limits.requests = 8).start();
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let Http::Two(sender) = jail.https("a.test:443", "a.test", "h2").await else { unreachable!() };
        for _ in 0..4 {
            let mut sender = sender.clone();
            let request = Request::get("https://a.test/hold").body(Full::<Bytes>::default()).unwrap();
            held.spawn(async move { sender.send_request(request).await.map(|answer| answer.status()) });
        }
    }
    while server.requests() < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for inside in ["h2", "http/1.1"] {
        let got = jail.get("https://a.test/", inside).await;
        assert_eq!((got.status, got.denied()), (429, Some("too-many")), "{inside}");
    }
    assert_eq!(server.requests(), 8);
    held.shutdown().await;
    let control = async { while jail.get("https://a.test/", "h2").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, control).await.expect("places come back");
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let server = Server::http_with(true, |_| async {
        std::future::pending::<()>().await;
        text("")
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let mut stream = dial(jail.port80).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // GET http://a.test/ by the static table, then RST_STREAM, again and again.
    let headers = b"\x82\x86\x84\x41\x06a.test";
    let mut flood = Vec::new();
    for stream in (1..20_001u32).step_by(2) {
        flood.extend_from_slice(&[0, 0, u8::try_from(headers.len()).unwrap(), 1, 5]);
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(headers);
        flood.extend_from_slice(&[0, 0, 4, 3, 0]);
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(&8u32.to_be_bytes());
    }
    // The proxy closes in the midst of it.
    let _ = stream.write_all(&flood).await;
    let mut said = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("an end in time");
    assert!(server.requests() < 5_000, "{}", server.requests());
}

#[tokio::test]
async fn a_job_that_goes_away_takes_its_request_with_it() {
    let server = Server::raw(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
        let _ = stream.write_all(b"seen").await;
    })
    .await;
    let jail = Jail::allow(&["http://a.test"])
        .to("a.test:80", &server)
        .limits(|limits| limits.half_closed = Duration::from_millis(200))
        .start();
    let mut stream = dial(jail.port80).await;
    stream.write_all(b"GET /gone HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    while server.connections() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    // It is on record, without an answer.
    let what = jail.wait_for(|what| matches!(what, What::Request { .. })).await;
    assert!(matches!(what, What::Request { status: None, denied: None, .. }), "{what:?}");
}

/// The pieces of text in brotli, with the window of 4 MiB that servers use: each can be read when it has come.
fn brotli(pieces: [&[u8]; 2]) -> [Vec<u8>; 2] {
    let mut encoded = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut encoded, 4096, 5, 22);
    writer.write_all(pieces[0]).unwrap();
    writer.flush().unwrap();
    let first = writer.get_ref().len();
    writer.write_all(pieces[1]).unwrap();
    drop(writer);
    let rest = encoded.split_off(first);
    [encoded, rest]
}

fn asks_with_token(path: &str) -> http::request::Builder {
    Request::get(format!("https://a.test{path}"))
        .header("authorization", "Bearer sk-test-dummy-dummy-dummy-0001")
}

fn jail_with_token(server: &Server) -> Jail {
    Jail::allow(&["a.test"])
        .to("a.test:443", server)
        .credential(token("sk-test-dummy-dummy-dummy-0001", "sk-test-secretsecretsecret-42"))
        .start()
}

#[tokio::test]
async fn several_answers_in_brotli_are_read_at_once() {
    let (end, ended) = tokio::sync::watch::channel(false);
    let server = Server::raw_tls(&["a.test"], move |mut stream| {
        let mut ended = ended.clone();
        async move {
            read_head(&mut stream).await;
            let [first, rest] = brotli([b"first,", b"last"]);
            let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nConnection: close\r\n\r\n";
            stream.write_all(&[&head[..], &first].concat()).await.unwrap();
            stream.flush().await.unwrap();
            ended.wait_for(|ended| *ended).await.unwrap();
            stream.write_all(&rest).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let jail = jail_with_token(&server);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let Http::Two(mut http) = jail.https("a.test:443", "a.test", "h2").await else { panic!("HTTP/1") };
        let request = asks_with_token("/").body(Full::<Bytes>::default()).unwrap();
        let mut answer = tokio::time::timeout(PATIENCE, http.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let piece =
            tokio::time::timeout(PATIENCE, answer.body_mut().frame()).await.unwrap().unwrap().unwrap();
        let read = piece.into_data().unwrap().to_vec();
        assert!(b"first,".starts_with(&read[..]), "{read:?}");
        answers.push((http, answer, read));
    }
    end.send(true).unwrap();
    for (_http, answer, mut read) in answers {
        read.extend(
            tokio::time::timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap().to_bytes(),
        );
        assert_eq!(read, b"first,last");
    }
}

#[tokio::test]
async fn an_answer_in_brotli_passes_while_the_copy_of_an_upload_is_held() {
    let (seen, mut uploads) = tokio::sync::watch::channel(0);
    let seen = std::sync::Arc::new(seen);
    let server = Server::https_with(&["a.test"], &["h2"], move |request| {
        let seen = seen.clone();
        async move {
            if request.uri().path() == "/upload" {
                let mut body = request.into_body();
                body.frame().await;
                seen.send_modify(|seen| *seen += 1);
                std::future::pending::<()>().await;
            }
            let whole = brotli([b"first,", b"last"]).concat();
            let mut answer = http::Response::new(Full::from(whole).boxed());
            answer.headers_mut().insert("content-encoding", http::HeaderValue::from_static("br"));
            answer
        }
    })
    .await;
    let jail = jail_with_token(&server);
    let upload = asks_with_token("/upload").method("POST").body(Full::from(vec![b'x'; 10_000])).unwrap();
    let mut busy = jail.https("a.test:443", "a.test", "h2").await;
    let busy = tokio::spawn(async move { busy.try_send(upload).await.is_ok() });
    tokio::time::timeout(PATIENCE, uploads.wait_for(|uploads| *uploads == 1)).await.unwrap().unwrap();
    let mut http = jail.https("a.test:443", "a.test", "h2").await;
    let got = http.send(asks_with_token("/").body(Full::default()).unwrap()).await;
    assert_eq!((got.status, &got.body[..]), (200, &b"first,last"[..]), "{got:?}");
    busy.abort();
}
