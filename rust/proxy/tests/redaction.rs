//! Answers that are a part, or nothing but a head: what of them tells the truth once secrets are written over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use support::*;
use tokio::io::AsyncWriteExt;

const SECRET: &str = "sk-test-secretsecretsecretsecretsecret-42";
/// As long as the secret, and longer.
const DUMMIES: [&str; 2] =
    ["sk-test-dummy-dummy-dummy-dummy-dummy-001", "sk-test-dummy-dummy-dummy-dummy-dummy-dummy-dummy-001"];
const TAG: &str = "\"version-1\"";
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

fn jail(server: &Server, dummy: &str) -> Jail {
    jail_with(server, SECRET, dummy)
}

fn jail_with(server: &Server, secret: &str, dummy: &str) -> Jail {
    Jail::allow(&["a.test"]).to("a.test:443", server).credential(token(dummy, secret)).start()
}

/// The resource, with `token` where the secret is.
fn document(token: &str) -> String {
    format!("before {token} after\n")
}

/// Serves the document as file servers do: ranges, conditions, digests.
async fn files(request: Request<Incoming>) -> Answer {
    let (whole, asked) = (document(SECRET), request.headers());
    let conditions_hold = asked.get(IF_RANGE).is_none_or(|tag| tag == TAG);
    let range = asked.get(RANGE).filter(|_| conditions_hold).map(|range| range.to_str().unwrap().to_owned());
    let mut answer = if asked.get(IF_NONE_MATCH).is_some_and(|tag| tag == TAG) {
        status(StatusCode::NOT_MODIFIED)
    } else if request.method() == Method::DELETE {
        status(StatusCode::NO_CONTENT)
    } else if let Some(range) = range {
        let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        part(&whole, from.parse().unwrap(), to.parse().unwrap())
    } else if request.uri().path() == "/unasked" {
        part(&whole, 0, whole.len() - 2)
    } else if request.uri().path() == "/parts" {
        parts(&whole)
    } else {
        let mut answer = text(if request.method() == Method::HEAD { "" } else { &whole });
        answer.headers_mut().insert(CONTENT_LENGTH, whole.len().into());
        answer
    };
    let headers = answer.headers_mut();
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    headers.insert(ETAG, HeaderValue::from_static(TAG));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for digest in DIGESTS {
        headers.insert(digest, HeaderValue::from_static("sha-256=:AAAA:"));
    }
    headers.insert("x-saw-range", HeaderValue::from(u16::from(request.headers().contains_key(RANGE))));
    answer
}

fn status(status: StatusCode) -> Answer {
    let mut answer = text("");
    *answer.status_mut() = status;
    answer
}

fn part(whole: &str, from: usize, to: usize) -> Answer {
    let mut answer = text(&whole[from..=to]);
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {from}-{to}/{}", whole.len());
    answer.headers_mut().insert(CONTENT_RANGE, range.parse().unwrap());
    answer
}

fn parts(whole: &str) -> Answer {
    let mut answer = text(&multipart(whole));
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("multipart/byteranges; boundary=border"));
    answer
}

/// All of the document but the space in its middle.
fn multipart(whole: &str) -> String {
    let middle = whole.len() - 7;
    [(0, middle), (middle + 1, whole.len())]
        .map(|(from, to)| {
            format!(
                "--border\r\nContent-Type: text/plain\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n{}\r\n",
                to - 1,
                whole.len(),
                &whole[from..to]
            )
        })
        .concat()
        + "--border--\r\n"
}

fn asks(method: Method, path: &str, dummy: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("https://a.test{path}"));
    let request = request.header("authorization", format!("Bearer {dummy}"));
    let with = |request: http::request::Builder, (name, value): &(&str, &str)| request.header(*name, *value);
    headers.iter().fold(request, with).body(Full::default()).unwrap()
}

/// Runs a conversation on one connection, for each version on either side and each dummy.
async fn each_way(talk: impl AsyncFn(&mut Http, &str)) {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], files).await;
        for dummy in DUMMIES {
            let jail = jail(&server, dummy);
            for inside in ["h2", "http/1.1"] {
                talk(&mut jail.https("a.test:443", "a.test", inside).await, dummy).await;
            }
            assert!(!format!("{:?}", jail.events()).contains(SECRET));
        }
    }
}

#[track_caller]
fn tells_no_digest(got: &Got) {
    for digest in DIGESTS {
        assert_eq!(got.header(digest), None, "{got:?}");
    }
    assert_eq!((got.header("etag"), got.header("accept-ranges")), (Some(TAG), Some("none")), "{got:?}");
}

/// A length is right or not said.
#[track_caller]
fn is_as_long_as_it_says(got: &Got) {
    let said = got.header("content-length").map(|length| length.parse::<usize>().unwrap());
    assert!(said.is_none_or(|said| said == got.body.len()), "{got:?}");
}

#[tokio::test]
async fn a_token_cannot_be_fetched_in_halves() {
    each_way(async |http, dummy| {
        let (middle, last) = (document(SECRET).len() / 2, document(SECRET).len() - 1);
        for (from, to) in [(0, middle - 1), (middle, last)] {
            for condition in [None, Some(("if-range", TAG)), Some(("if-range", "\"another\""))] {
                let range = format!("bytes={from}-{to}");
                let headers: Vec<(&str, &str)> =
                    [("range", range.as_str())].into_iter().chain(condition).collect();
                let got = http.send(asks(Method::GET, "/", dummy, &headers)).await;
                // A server may always answer a range with all there is.
                assert_eq!((got.status, got.header("content-range")), (200, None), "{got:?}");
                assert_eq!(got.header("x-saw-range"), Some("0"));
                assert_eq!(got.body, document(dummy));
                is_as_long_as_it_says(&got);
                tells_no_digest(&got);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    each_way(async |http, dummy| {
        for path in ["/unasked", "/parts"] {
            let got = http.send(asks(Method::GET, path, dummy, &[])).await;
            assert_eq!((got.status, got.denied()), (502, Some("protocol-not-allowed")), "{path}: {got:?}");
            assert!(!String::from_utf8_lossy(&got.body).contains(SECRET), "{path}");
        }
    })
    .await;
}

/// A server that says in `content-encoding` what the path says, and sends text.
async fn encodes(request: Request<Incoming>) -> Answer {
    let coding = request.uri().path()[1..].replace('+', ", ");
    let has_body = request.method() == Method::GET;
    let mut answer = match request.headers().contains_key(IF_NONE_MATCH) {
        true => status(StatusCode::NOT_MODIFIED),
        false => text(&if has_body { document(SECRET) } else { String::new() }),
    };
    answer.headers_mut().insert(http::header::CONTENT_ENCODING, coding.parse().unwrap());
    answer
}

#[tokio::test]
async fn a_coding_that_is_not_known_is_refused_with_a_reason() {
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], encodes).await;
        for inside in ["h2", "http/1.1"] {
            let jail = jail(&server, DUMMIES[0]);
            let mut http = jail.https("a.test:443", "a.test", inside).await;
            for coding in ["/compress", "/gzip+aws-chunked", "/gzip+gzip+gzip"] {
                let got = http.send(asks(Method::GET, coding, DUMMIES[0], &[])).await;
                assert_eq!(
                    (got.status, got.denied()),
                    (502, Some("protocol-not-allowed")),
                    "{coding}: {got:?}"
                );
                assert!(String::from_utf8_lossy(&got.body).contains("encoded"), "{got:?}");
                // Without a body there is nothing to search.
                let head = http.send(asks(Method::HEAD, coding, DUMMIES[0], &[])).await;
                assert_eq!((head.status, head.denied()), (200, None), "{coding}: {head:?}");
                let unchanged =
                    http.send(asks(Method::GET, coding, DUMMIES[0], &[("if-none-match", TAG)])).await;
                assert_eq!((unchanged.status, unchanged.denied()), (304, None), "{coding}: {unchanged:?}");
            }
            for coding in ["/identity", "/Identity++", "/,"] {
                let got = http.send(asks(Method::GET, coding, DUMMIES[0], &[])).await;
                assert_eq!((got.status, got.body), (200, document(DUMMIES[0]).into()), "{coding}");
            }
            // Where no credential goes, nothing is searched and nothing refused.
            let plain = Jail::allow(&["a.test"]).to("a.test:443", &server).start();
            let mut http = plain.https("a.test:443", "a.test", inside).await;
            let got = http.send(Request::get("https://a.test/compress").body(Full::default()).unwrap()).await;
            assert_eq!((got.status, got.header("content-encoding")), (200, Some("compress")));
            assert_eq!(got.body, document(SECRET));
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_say_what_one_with_it_would() {
    each_way(async |http, dummy| {
        let whole = http.send(asks(Method::GET, "/", dummy, &[])).await;
        assert_eq!(whole.body, document(dummy));
        is_as_long_as_it_says(&whole);
        for range in [None, Some(("range", "bytes=0-9"))] {
            let head = http.send(asks(Method::HEAD, "/", dummy, range.as_slice())).await;
            assert_eq!((head.status, head.body.len()), (200, 0));
            // Where dummies are longer only the body could tell: then nothing is said.
            let is_known = dummy.len() == SECRET.len();
            let length = is_known.then(|| document(dummy).len().to_string());
            assert_eq!(head.header("content-length"), length.as_deref(), "{head:?}");
            tells_no_digest(&head);
        }
        let unchanged = http.send(asks(Method::GET, "/", dummy, &[("if-none-match", TAG)])).await;
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{unchanged:?}");
        tells_no_digest(&unchanged);

        let nothing = http.send(asks(Method::DELETE, "/", dummy, &[])).await;
        assert_eq!((nothing.status, nothing.body.len()), (204, 0));
        assert_eq!((nothing.header("content-length"), nothing.header("transfer-encoding")), (None, None));
        // The connection is where both sides think it is.
        assert_eq!(http.send(asks(Method::GET, "/", dummy, &[])).await.body, document(dummy));
    })
    .await;
}

#[tokio::test]
async fn a_name_of_a_header_is_searched_too() {
    // Names are in lower case on their way, whatever the secret was.
    async fn naming(request: Request<Incoming>) -> Answer {
        let token = request.headers()["authorization"].to_str().unwrap()["Bearer ".len()..].to_lowercase();
        let mut answer = text("");
        for name in [token.clone(), format!("x-{token}-seen"), "x-other".to_owned()] {
            answer
                .headers_mut()
                .insert(http::HeaderName::try_from(name).unwrap(), HeaderValue::from_static("1"));
        }
        answer
    }
    for outside in ["h2", "http/1.1"] {
        let server = Server::https_with(&["a.test"], &[outside], naming).await;
        for secret in [SECRET, "sk-Test-SecretSECRETsecretSecretSECRET-42"] {
            let jail = jail_with(&server, secret, DUMMIES[0]);
            let got = jail
                .https("a.test:443", "a.test", "h2")
                .await
                .send(asks(Method::GET, "/", DUMMIES[0], &[]))
                .await;
            assert_eq!(got.header("x-other"), Some("1"));
            let named: Vec<&str> = got.headers.keys().map(http::HeaderName::as_str).collect();
            assert!(!named.iter().any(|name| name.contains(&secret.to_lowercase())), "{named:?}");
        }
    }
}

#[tokio::test]
async fn a_token_in_two_lines_of_a_header_is_found() {
    // Answers with the token of the request, broken where the path says: after so many of its characters.
    let server = Server::raw_tls(&["a.test"], |mut stream| async move {
        let head = read_head(&mut stream).await;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (kind, place) = path[1..].split_once('/').unwrap();
        let echo = match kind {
            "base64" => STANDARD.encode(SECRET),
            _ => SECRET.to_owned(),
        };
        let (first, second) = echo.split_at(place.parse().unwrap());
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nX-Echo: Bearer {first}\r\n\t  {second}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let dummy = DUMMIES[0];
    let jail = jail(&server, dummy);
    for (kind, stand_in) in [("plain", dummy.to_owned()), ("base64", STANDARD.encode(dummy))] {
        for place in [3, 9, stand_in.len() / 2, stand_in.len() - 1] {
            let got = jail.send(asks(Method::GET, &format!("/{kind}/{place}"), dummy, &[]), "h2").await;
            let (first, second) = stand_in.split_at(place);
            let expected = format!("Bearer {first} {second}");
            let echo = got.header("x-echo").unwrap();
            assert_eq!(echo.len(), expected.len());
            // The last digit of base64 stands for a part of a byte.
            assert_eq!(echo[..echo.len() - 2], expected[..echo.len() - 2], "{kind} {place}");
        }
    }
}
