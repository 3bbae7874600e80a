//! Servers of a login with rotating tokens: `login.test` gives new ones at `POST /oauth/token` and takes each refresh
//! token once, `api.test` answers whoever has the newest access token and refuses everybody else with 401.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::identity::Identity;
use super::routes::{credential, json as answer_json};
use super::{Answered, Server, State};
use crate::support::random;

/// The tests' own, and Claude Code's.
const CLIENTS: [&str; 2] = ["the-client", "9d1c250a-e61b-44d9-88ed-5944d1962f5e"];

/// The tokens of one login, generation by generation.
pub(crate) struct Logins {
    pairs: Vec<(String, String)>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    generation: usize,
    renewed: usize,
    misused: usize,
    lasts: Option<u64>,
    outage: Option<StatusCode>,
}

impl Logins {
    pub(crate) fn new() -> Arc<Logins> {
        let pair = |_| (random("sk-ant-oat01-"), random("sk-ant-ort01-"));
        Arc::new(Logins { pairs: (0..8).map(pair).collect(), inside: Mutex::default() })
    }

    /// Both hosts.
    pub(crate) fn serve(self: &Arc<Self>) -> Server {
        self.serve_as("api.test", "login.test")
    }

    /// The same under other names.
    pub(crate) fn serve_as(self: &Arc<Self>, api: &str, login: &str) -> Server {
        let (logins, login_host) = (self.clone(), login.to_owned());
        let answer = move |state: Arc<State>, request: Request<Incoming>, number: usize| -> Answered {
            let (logins, login_host) = (logins.clone(), login_host.clone());
            Box::pin(async move {
                let host = state.requests.lock().unwrap()[number].host.clone();
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                state.requests.lock().unwrap()[number].body = body.len();
                let (status, answer) = if host != login_host {
                    logins.use_token(&credential(&head.headers))
                } else if head.method == Method::POST && head.uri.path().ends_with("/oauth/token") {
                    logins.renew(&body)
                } else {
                    (StatusCode::NOT_FOUND, json!({}))
                };
                answer_json(status, &answer)
            })
        };
        let hosts = [api, login];
        Server::start(&hosts, Some(Identity::new(&hosts, &[b"h2", b"http/1.1"])), Arc::new(answer))
    }

    /// Access and refresh token of a generation, from 0.
    pub(crate) fn pair(&self, generation: usize) -> &(String, String) {
        &self.pairs[generation]
    }

    /// Every token that there will ever be.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &String> {
        self.pairs.iter().flat_map(|(access, refresh)| [access, refresh])
    }

    /// How often somebody got new tokens, and how often somebody came with an old refresh token.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let inside = self.inside.lock().unwrap();
        (inside.renewed, inside.misused)
    }

    /// As if the host had renewed its login: only the next generation counts from now on.
    pub(crate) fn turn_over(&self) {
        self.inside.lock().unwrap().generation += 1;
    }

    /// How many seconds new tokens last; an hour without.
    pub(crate) fn last(&self, seconds: u64) {
        self.inside.lock().unwrap().lasts = Some(seconds);
    }

    /// The login server answers with this and nothing else.
    pub(crate) fn outage(&self, status: Option<StatusCode>) {
        self.inside.lock().unwrap().outage = status;
    }

    fn use_token(&self, credential: &str) -> (StatusCode, Value) {
        let current = &self.pairs[self.inside.lock().unwrap().generation].0;
        if credential.strip_prefix("Bearer ") == Some(current) {
            (StatusCode::OK, json!({"welcome": credential}))
        } else {
            (StatusCode::UNAUTHORIZED, json!({"refused": credential}))
        }
    }

    fn renew(&self, body: &Bytes) -> (StatusCode, Value) {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut inside = self.inside.lock().unwrap();
        if let Some(status) = inside.outage {
            return (status, json!({"error": "unavailable"}));
        }
        if asked["grant_type"] != "refresh_token"
            || !CLIENTS.iter().any(|client| asked["client_id"] == *client)
        {
            return (StatusCode::BAD_REQUEST, json!({"error": "invalid_request"}));
        }
        if asked["refresh_token"] != self.pairs[inside.generation].1 {
            inside.misused += 1;
            return (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}));
        }
        inside.generation += 1;
        inside.renewed += 1;
        let (access, refresh) = &self.pairs[inside.generation];
        let lasts = inside.lasts.unwrap_or(3600);
        let answer = json!({
            "token_type": "Bearer", "access_token": access, "refresh_token": refresh, "expires_in": lasts,
        });
        (StatusCode::OK, answer)
    }
}
