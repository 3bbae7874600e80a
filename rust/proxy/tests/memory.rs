//! What a job that does not read, or does not finish, can make its proxy hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Empty};
use proxy::audit::What;
use proxy::config::LEAST_MEMORY;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM_AND_HEADERS: u8 = 5;
/// A response has 15 fields of this size: less than the 64 KiB that pass.
const FIELD: usize = 4000;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client whose kernel takes little that it does not read.
async fn dial_narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    timeout(PATIENCE, socket.connect(address)).await.unwrap().unwrap()
}

/// A server whose responses have large heads and no body.
async fn large_heads(http2: bool) -> Server {
    Server::http_with(http2, |_| async {
        let mut response = Response::new(Empty::<Bytes>::new().boxed());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        for number in 0..15 {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            response.headers_mut().insert(name, HeaderValue::from_bytes(&[b'v'; FIELD]).unwrap());
        }
        response
    })
    .await
}

fn is_out_of_memory(what: &What) -> bool {
    matches!(what, What::Request { denied: Some(reason), .. } if reason == "proxy-memory")
}

#[tokio::test]
async fn unread_heads_over_http2_are_charged_until_they_are_written() {
    const REQUESTS: usize = 180;
    let server = large_heads(true).await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let mut stream = dial_narrow(jail.port80).await;
    let mut requests = PREFACE.to_vec();
    // GET http://a.test/ by the static table.
    for number in 0..u32::try_from(REQUESTS).unwrap() {
        requests.extend(frame(
            HEADERS,
            END_STREAM_AND_HEADERS,
            2 * number + 1,
            b"\x82\x86\x84\x01\x06a.test",
        ));
    }
    stream.write_all(&requests).await.unwrap();
    jail.wait_for(is_out_of_memory).await;

    // What is read ends, and what it held is free again.
    let mut ended = 0;
    let mut read = async || {
        let length = [0, stream.read_u8().await?, stream.read_u8().await?, stream.read_u8().await?];
        let kind = stream.read_u8().await?;
        let flags = stream.read_u8().await?;
        stream.read_u32().await?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut payload).await?;
        // A refusal has a body.
        ended += usize::from([DATA, HEADERS].contains(&kind) && flags & 1 == 1);
        Ok::<_, std::io::Error>(ended)
    };
    let all = async { while read().await.unwrap() < REQUESTS {} };
    timeout(PATIENCE, all).await.expect("a response to each request");
    let again = async {
        let mut http = Http::over(dial(jail.port80).await, true).await;
        while http.get("http://a.test/").await.status != 204 {}
    };
    timeout(PATIENCE, again).await.expect("memory that was given back");
}

#[tokio::test]
async fn a_client_of_http1_that_does_not_read_gets_no_more_responses() {
    const REQUESTS: usize = 1000;
    let server = large_heads(false).await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    // Also behind a request that could have changed the protocol.
    for first in ["", "GET /up HTTP/1.1\r\nHost: a.test\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n"] {
        let before = server.requests();
        let mut stream = dial_narrow(jail.port80).await;
        let requests = format!("{first}{}", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(REQUESTS));
        let written = timeout(PATIENCE, stream.write_all(requests.as_bytes())).await;
        written.expect("the kernel takes this much").unwrap();
        // Others are served meanwhile, more often than the first client could be if it waited for nothing.
        let mut others = 0;
        while others < 400 {
            let mut http = Http::over(dial(jail.port80).await, false).await;
            for _ in 0..10 {
                assert_eq!(http.get("http://a.test/").await.status, 204);
                others += 1;
            }
        }
        // What the kernel's buffers take, which is 4 MiB at most.
        let sent = server.requests() - before - others;
        assert!(sent < 200, "{sent} responses of 60 KiB were asked for");
        let all = async {
            let mut seen = 0;
            let mut last = Vec::new();
            let mut buffer = vec![0; 1 << 20];
            let expected = REQUESTS + usize::from(!first.is_empty());
            while seen < expected {
                let length = stream.read(&mut buffer).await.unwrap();
                assert!(length > 0, "the connection ended after {seen} responses");
                last.extend_from_slice(&buffer[..length]);
                let whole = last.len() - last.len().min(3);
                seen += last[..].windows(4).filter(|four| *four == b"\r\n\r\n").count();
                last.drain(..whole);
            }
            seen
        };
        timeout(PATIENCE, all).await.expect("a response to each request");
    }
}

#[tokio::test]
async fn unfinished_heads_over_http1_are_charged_in_bytes() {
    let server = Server::http().await;
    let jail = Jail::allow(&["http://a.test"])
        .to("a.test:80", &server)
        .limits(|limits| limits.memory = LEAST_MEMORY)
        .start();
    let begin = async |stream: &mut TcpStream| {
        let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}", "y".repeat(60 * 1024));
        // It may be refused before it has sent all.
        let _ = stream.write_all(head.as_bytes()).await;
    };
    let mut held = Vec::new();
    let mut refused = None;
    while refused.is_none() && held.len() < 80 {
        let mut stream = dial(jail.port80).await;
        begin(&mut stream).await;
        held.push(stream);
        let all = async {
            loop {
                for (index, stream) in held.iter().enumerate() {
                    let mut byte = [0];
                    if stream.try_read(&mut byte).is_ok() {
                        return index;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        refused = timeout(Duration::from_millis(20), all).await.ok();
    }
    let refused = refused.expect("a head that is too much");
    let mut rest = String::new();
    timeout(PATIENCE, held[refused].read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.starts_with("TTP/1.1 503 ") && rest.contains("x-jail-deny: proxy-memory"), "{rest}");
    // More than a handful go on, and can be finished.
    assert!(held.len() > 10, "{}", held.len());
    let mut first = held.swap_remove(0);
    first.write_all(b"\r\n\r\n").await.unwrap();
    assert!(read_head(&mut first).await.starts_with("HTTP/1.1 200 "));
    drop(held);
    let again = async {
        loop {
            let mut stream = dial(jail.port80).await;
            begin(&mut stream).await;
            let _ = stream.write_all(b"\r\n\r\n").await;
            if read_head(&mut stream).await.starts_with("HTTP/1.1 200 ") {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("memory that was given back");
}

#[tokio::test]
async fn heads_that_a_server_does_not_read_are_charged_after_a_reset() {
    // It speaks HTTP/2, answers the first request, and reads no more.
    let server = Server::raw(|mut stream| async move {
        let mut begun = vec![0; PREFACE.len()];
        stream.read_exact(&mut begun).await.unwrap();
        stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        let mut seen = Vec::new();
        // The compressed head of `GET http://a.test/first` begins so.
        while !seen.windows(3).any(|three| three == b"\x82\x86\x41" || three == b"\x82\x87\x41") {
            seen.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(&frame(HEADERS, END_STREAM_AND_HEADERS, 1, b"\x89")).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let mut http = Http::over(dial(jail.port80).await, true).await;
    assert_eq!(http.get("http://a.test/").await.status, 204);
    // GET http://a.test/ with a field that the table of the compression keeps, then that field 15 times more.
    let first = [&b"\x82\x86\x84\x01\x06a.test\x40\x01x\x7f\xa1\x1e"[..], &[b'v'; FIELD]].concat();
    let more = [&b"\x82\x86\x84\x01\x06a.test"[..], &[0xbe; 15]].concat();
    let flood = async |pause| {
        let mut stream = dial(jail.port80).await;
        stream.write_all(PREFACE).await?;
        for batch in 0..100 {
            let streams = (0..20).map(|number| 2 * (20 * batch + number) + 1);
            let heads = streams.clone().map(|stream| {
                frame(HEADERS, END_STREAM_AND_HEADERS, stream, if stream == 1 { &first } else { &more })
            });
            stream.write_all(&heads.collect::<Vec<_>>().concat()).await?;
            // They should be on their way before they are given up, which nothing shows.
            tokio::time::sleep(pause).await;
            let resets = streams.map(|stream| frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
            stream.write_all(&resets.collect::<Vec<_>>().concat()).await?;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let flood = async {
        let mut pause = Duration::from_millis(50);
        // A connection on which too many requests are given up before the proxy gets to them is closed.
        while flood(pause).await.is_err() {
            pause *= 2;
        }
    };
    tokio::select! {
        what = jail.wait_for(is_out_of_memory) => assert!(is_out_of_memory(&what)),
        () = flood => {}
    }
}

#[tokio::test]
async fn a_response_that_is_not_read_stalls_no_other_of_its_server() {
    const LONG: usize = 16 << 20;
    let server = Server::https_with(&["a.test"], &["h2"], |request| async move {
        let length = if request.uri().path() == "/long" { LONG } else { 1 << 20 };
        Response::new(http_body_util::Full::from(vec![b'x'; length]).boxed())
    })
    .await;
    let jail = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
    let Http::Two(mut unread) = jail.https("a.test:443", "a.test", "h2").await else { panic!("HTTP/1") };
    let request = http::Request::get("https://a.test/long").body(http_body_util::Full::<Bytes>::default());
    let response = timeout(PATIENCE, unread.send_request(request.unwrap())).await.unwrap().unwrap();
    for _ in 0..5 {
        let got = jail.get("https://a.test/other", "h2").await;
        assert_eq!((got.status, got.body.len()), (200, 1 << 20));
    }
    assert_eq!(server.connections(), 1, "all of them share one connection");
    let rest = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(rest.to_bytes().len(), LONG);
}
