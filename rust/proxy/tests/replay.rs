//! Requests that are sent again: those that the server says it has not processed (RFC 9113, sections 6.8 and 8.7), and no
//! others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Reaction {
    /// Answers with 200 and the request's body.
    Echo,
    /// Ends the stream with this error when the request is whole.
    Reset(u32),
    /// Ends the stream with this error when it has the head.
    ResetEarly(u32),
    /// Names the stream before this one as the last that is processed, and closes.
    GoAwayBefore,
    /// Names this stream as the last that is processed, and closes.
    GoAwayAfter,
}

/// An HTTP/2 server without TLS, and how many requests it has seen.
struct Refusing {
    server: Server,
    requests: Arc<AtomicUsize>,
}

impl Refusing {
    /// The first request gets the first reaction, and so on; all others are echoed.
    async fn start(reactions: &'static [Reaction]) -> Refusing {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let server = Server::raw(move |stream| {
            let counter = counter.clone();
            async move {
                // The proxy may close it as it likes.
                let _ = serve(stream, reactions, &counter).await;
            }
        })
        .await;
        Refusing { server, requests }
    }

    fn jail(&self) -> Jail {
        Jail::allow(&["http://a.test"]).to("a.test:80", &self.server).start()
    }

    fn seen(&self) -> (usize, usize) {
        (self.server.connections(), self.requests.load(Ordering::SeqCst))
    }
}

async fn serve(mut stream: TcpStream, reactions: &[Reaction], requests: &AtomicUsize) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
    let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut given_up = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes(head[5..].try_into().unwrap());
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags & 1 == 0 {
            stream.write_all(&frame(SETTINGS, 1, 0, b"")).await?;
        }
        let reaction = |number: usize| reactions.get(number).copied().unwrap_or(Reaction::Echo);
        if kind == HEADERS {
            bodies.insert(id, Vec::new());
            let number = requests.load(Ordering::SeqCst);
            if let Reaction::ResetEarly(code) = reaction(number) {
                requests.fetch_add(1, Ordering::SeqCst);
                given_up.push(id);
                stream.write_all(&frame(RST_STREAM, 0, id, &code.to_be_bytes())).await?;
            }
        }
        if kind == DATA {
            bodies.get_mut(&id).unwrap().extend_from_slice(&payload);
            // Windows are given back at once.
            for window in [0, id] {
                stream.write_all(&frame(8, 0, window, &(length.max(1) as u32).to_be_bytes())).await?;
            }
        }
        if [HEADERS, DATA].contains(&kind) && flags & END_STREAM != 0 && !given_up.contains(&id) {
            let number = requests.fetch_add(1, Ordering::SeqCst);
            match reaction(number) {
                Reaction::Echo => {
                    // `:status 200`, from the static table.
                    stream.write_all(&frame(HEADERS, 4, id, b"\x88")).await?;
                    let body = bodies.remove(&id).unwrap();
                    let length = body.len().to_string();
                    stream.write_all(&frame(DATA, END_STREAM, id, length.as_bytes())).await?;
                    assert!(body.iter().all(|byte| *byte == b'x'));
                }
                Reaction::Reset(code) | Reaction::ResetEarly(code) => {
                    stream.write_all(&frame(RST_STREAM, 0, id, &code.to_be_bytes())).await?;
                }
                Reaction::GoAwayBefore | Reaction::GoAwayAfter => {
                    let last = if matches!(reaction(number), Reaction::GoAwayAfter) { id } else { id - 2 };
                    let payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
                    return stream.write_all(&frame(GOAWAY, 0, 0, &payload)).await;
                }
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn post(jail: &Jail, length: usize) -> Got {
    let mut http = Http::over(dial(jail.port80).await, true).await;
    let body = Full::new(Bytes::from(vec![b'x'; length]));
    http.send(Request::post("http://a.test/").body(body).unwrap()).await
}

#[tokio::test]
async fn a_request_that_the_server_refused_is_sent_again_on_the_same_connection() {
    for length in [0, 5, 50_000] {
        let server = Refusing::start(&[Reaction::Echo, Reaction::Reset(REFUSED_STREAM)]).await;
        let jail = server.jail();
        assert_eq!(post(&jail, 1).await.status, 200);
        let got = post(&jail, length).await;
        assert_eq!((got.status, &got.body[..]), (200, length.to_string().as_bytes()), "{length}");
        assert_eq!(server.seen(), (1, 3), "{length}");
    }
}

#[tokio::test]
async fn a_body_that_had_begun_to_leave_is_sent_again_from_its_beginning() {
    let length = 400_000;
    let server = Refusing::start(&[Reaction::ResetEarly(REFUSED_STREAM)]).await;
    let got = post(&server.jail(), length).await;
    // How much has left when the refusal arrives is not known: as long as all of it is kept, the server gets it all.
    match got.status {
        200 => assert_eq!(got.body, length.to_string()),
        status => assert_eq!((status, got.header("x-jail-error")), (502, Some("upstream-closed"))),
    }
    let got = post(&server.jail(), 60_000).await;
    assert_eq!((got.status, &got.body[..]), (200, &b"60000"[..]));
}

#[tokio::test]
async fn a_request_above_the_last_one_of_a_goaway_is_sent_again_on_another_connection() {
    let server = Refusing::start(&[Reaction::Echo, Reaction::GoAwayBefore]).await;
    let jail = server.jail();
    assert_eq!(post(&jail, 1).await.status, 200);
    let got = post(&jail, 5).await;
    assert_eq!((got.status, &got.body[..]), (200, &b"5"[..]));
    assert_eq!(server.seen(), (2, 3));
    assert_eq!(post(&jail, 1).await.status, 200);
    assert_eq!(server.seen(), (2, 4), "the connection that went away is not used again");
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_sent_again() {
    const CASES: [&[Reaction]; 2] = [&[Reaction::GoAwayAfter], &[Reaction::Reset(CANCEL)]];
    for reactions in CASES {
        let server = Refusing::start(reactions).await;
        let got = post(&server.jail(), 5).await;
        assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-closed")));
        assert_eq!(server.seen(), (1, 1));
    }
}

#[tokio::test]
async fn a_server_that_refuses_for_ever_is_given_up() {
    let server = Refusing::start(&[Reaction::Reset(REFUSED_STREAM); 20]).await;
    let got = post(&server.jail(), 5).await;
    assert_eq!((got.status, got.header("x-jail-error")), (502, Some("upstream-closed")));
    assert_eq!(server.seen(), (1, 4));
}

/// The body of a PUT is sent whole a second time; that of a POST is not sent again.
#[tokio::test]
async fn a_body_is_repeated_on_http1_if_the_method_may_be() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let server = Server::raw({
        let bodies = bodies.clone();
        move |mut stream| {
            let bodies = bodies.clone();
            async move {
                for answers in [true, false] {
                    let head = read_head(&mut stream).await;
                    let Some(length) = head.split("content-length: ").nth(1) else { return };
                    let length = length.split("\r\n").next().unwrap().parse().unwrap();
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await.unwrap();
                    bodies.lock().unwrap().push(body.len());
                    if answers {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    }
                }
            }
        }
    })
    .await;
    let jail = Jail::allow(&["http://a.test"]).to("a.test:80", &server).start();
    let mut http = Http::over(dial(jail.port80).await, false).await;
    let mut ask = async |method: &str, length: usize| {
        let body = Full::new(Bytes::from(vec![b'x'; length]));
        let request = Request::builder().method(method).uri("http://a.test/").body(body).unwrap();
        http.send(request).await.status
    };
    assert_eq!(ask("PUT", 10).await, 200);
    assert_eq!(ask("PUT", 30_000).await, 200);
    assert_eq!(*bodies.lock().unwrap(), [10, 30_000, 30_000]);
    assert_eq!(ask("POST", 7).await, 502);
    assert_eq!(*bodies.lock().unwrap(), [10, 30_000, 30_000, 7]);
}
