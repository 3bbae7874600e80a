//! What a [`super::Server`] answers.
//!
//! | path | answer |
//! |---|---|
//! | `/echo` | the request's headers as JSON; the credential also in the header `x-echo` |
//! | `/gzip` | the same, gzipped whether asked for or not |
//! | `/bytes/N` | N bytes of [`pattern`] |
//! | `/status/N` | that status; the request's body is not read |
//! | `/refused/N` | that status, after the request's body |
//! | `/redirect?to=URL` | 302 to it, with the credential in the query |
//! | `/sse?n=N` | N events `data: 1` … at once |
//! | `/gated?n=N` | the same, the second and every later one when the test releases it |
//! | `/slow` | the answer's head when the test releases it |
//! | `/trailers` | a body and the trailers `x-checksum` and `x-echo` |
//! | `/websocket` | the credential as a first message, then every message back |
//! | anything else | 404 |

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::{AnswerBody, Answered, PATIENCE, State, websocket};

pub(super) fn answer(state: Arc<State>, request: Request<Incoming>, number: usize) -> Answered {
    Box::pin(async move {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let credential = credential(request.headers());
        if path == "/websocket" {
            return websocket::accept(request, credential);
        }
        if let Some(status) = path.strip_prefix("/status/") {
            return text(status_of(status), "status\n");
        }
        let headers = request.headers().clone();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        {
            let seen = &mut state.requests.lock().unwrap()[number];
            seen.body = body.len();
            seen.content = if body.len() <= 1 << 20 { body } else { Bytes::new() };
        }
        if let Some(status) = path.strip_prefix("/refused/") {
            return text(status_of(status), "status\n");
        }
        match path.as_str() {
            "/echo" => echo(&headers, credential),
            "/gzip" => gzipped(echo(&headers, credential)).await,
            "/redirect" => redirect(value(&query, "to"), &credential),
            "/sse" => events(number_of(&query), None),
            "/gated" => events(number_of(&query), Some(state)),
            "/slow" => {
                released(&state).await;
                text(StatusCode::OK, "slow\n")
            }
            "/trailers" => with_trailers(credential),
            _ => match path.strip_prefix("/bytes/").and_then(|length| length.parse().ok()) {
                Some(length) => whole(Bytes::from(pattern(length))),
                None => text(StatusCode::NOT_FOUND, "not found\n"),
            },
        }
    })
}

/// Bytes in which none is in the place of another of the last 250.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position % 251) as u8).collect()
}

/// The credential of a request, wherever it is.
pub(super) fn credential(headers: &HeaderMap) -> String {
    ["authorization", "x-api-key"]
        .iter()
        .find_map(|name| headers.get(*name))
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<AnswerBody> {
    let mut response = whole(Bytes::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status_of(text: &str) -> StatusCode {
    StatusCode::from_bytes(text.as_bytes()).unwrap_or(StatusCode::NOT_FOUND)
}

pub(super) fn whole(bytes: Bytes) -> Response<AnswerBody> {
    Response::new(Full::new(bytes).boxed())
}

/// `text/event-stream` of what is sent into the channel.
pub(super) fn event_stream(channel: Channel<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(channel.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<AnswerBody> {
    let mut response = whole(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response
}

fn echo(headers: &HeaderMap, credential: String) -> Response<AnswerBody> {
    let map = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()));
    let mut response = json(StatusCode::OK, &serde_json::Value::Object(map.collect()));
    response.headers_mut().insert(HeaderName::from_static("x-echo"), credential.parse().unwrap());
    response
}

async fn gzipped(response: Response<AnswerBody>) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&body).unwrap();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Full::new(Bytes::from(encoder.finish().unwrap())).boxed())
}

fn redirect(to: &str, credential: &str) -> Response<AnswerBody> {
    let mut response = text(StatusCode::FOUND, "elsewhere\n");
    let carried = credential.rsplit(' ').next().unwrap_or_default();
    response.headers_mut().insert(LOCATION, format!("{to}?token={carried}").parse().unwrap());
    response
}

fn events(count: usize, gate: Option<Arc<State>>) -> Response<AnswerBody> {
    let (mut sender, channel) = Channel::new(1);
    tokio::spawn(async move {
        for number in 1..=count {
            if let Some(state) = gate.as_ref().filter(|_| number > 1) {
                released(state).await;
            }
            if sender.send_data(Bytes::from(format!("data: {number}\n\n"))).await.is_err() {
                return;
            }
        }
    });
    event_stream(channel)
}

fn with_trailers(credential: String) -> Response<AnswerBody> {
    let (mut sender, channel) = Channel::new(1);
    tokio::spawn(async move {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("sum"));
        trailers.insert("x-echo", credential.parse().unwrap());
        if sender.send_data(Bytes::from_static(b"body\n")).await.is_ok() {
            let _ = sender.send_trailers(trailers).await;
        }
    });
    let mut response = Response::new(channel.boxed());
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-checksum, x-echo"));
    response
}

/// Waits until the test lets one more event go.
pub(super) async fn released(state: &State) {
    // A test that forgets to release must fail, not hang.
    if let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, state.gate.acquire()).await {
        permit.forget();
    }
}

fn number_of(query: &str) -> usize {
    value(query, "n").parse().unwrap_or(3)
}

fn value<'a>(query: &'a str, name: &str) -> &'a str {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}
