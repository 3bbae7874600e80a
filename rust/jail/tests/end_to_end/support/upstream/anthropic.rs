//! A stand-in for api.anthropic.com, enough for the real Claude Code: `POST /v1/messages`, 404 elsewhere. A message is
//! answered when the test releases it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::identity::Identity;
use super::routes::{event_stream, json as answer_json, released};
use super::{Answered, Server, State};

/// Serves api.anthropic.com; every message is answered with `reply`.
pub(crate) fn anthropic(reply: &'static str) -> Server {
    let hosts = ["api.anthropic.com"];
    let identity = Identity::new(&hosts, &[b"h2", b"http/1.1"]);
    Server::start(
        &hosts,
        Some(identity),
        Arc::new(move |state, request, number| answer(reply, state, request, number)),
    )
}

fn answer(reply: &'static str, state: Arc<State>, request: Request<Incoming>, number: usize) -> Answered {
    Box::pin(async move {
        let is_message = request.method() == Method::POST && request.uri().path() == "/v1/messages";
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        state.requests.lock().unwrap()[number].body = body.len();
        if !is_message {
            return answer_json(StatusCode::NOT_FOUND, &json!({}));
        }
        released(&state).await;
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let model = asked["model"].as_str().unwrap_or("claude").to_owned();
        if asked["stream"] != true {
            let content = json!([{"type": "text", "text": reply}]);
            return answer_json(StatusCode::OK, &message(&model, content, json!("end_turn")));
        }
        let (mut sender, channel) = Channel::new(1);
        tokio::spawn(async move {
            for (name, mut data) in events(&model, reply) {
                data["type"] = json!(name);
                if sender.send_data(Bytes::from(format!("event: {name}\ndata: {data}\n\n"))).await.is_err() {
                    return;
                }
            }
        });
        event_stream(channel)
    })
}

fn message(model: &str, content: Value, stop_reason: Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": stop_reason, "stop_sequence": null, "usage": {"input_tokens": 5, "output_tokens": 5},
    })
}

fn events(model: &str, reply: &str) -> Vec<(&'static str, Value)> {
    let mut events = vec![
        ("message_start", json!({"message": message(model, json!([]), Value::Null)})),
        ("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
    ];
    events.extend(reply.split_inclusive(' ').map(|part| {
        ("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": part}}))
    }));
    events.push(("content_block_stop", json!({"index": 0})));
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events.push(("message_delta", json!({"delta": delta, "usage": {"output_tokens": 5}})));
    events.push(("message_stop", json!({})));
    events
}
