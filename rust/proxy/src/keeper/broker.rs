//! Renews a login: the refresh token out, new tokens in, and both back to where they were.
//!
//! Servers take a refresh token once. So one job of the user renews at a time, looks first whether another has done it,
//! and stores what it got before anybody uses it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use policy::{Request, RequestPath, Scheme};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Keeper, Live, Unrenewed, Unstored, same};
use crate::body::RequestBody;
use crate::config::{Held, OAuth};
use crate::upstream::{Guard, Outgoing, Protocol};

/// How long another job may take.
const TURN: Duration = Duration::from_secs(60);
/// How long the server may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Limit of the token server's answer in bytes. A few hundred are usual; one that is cut off costs the login.
const LONGEST: usize = 256 * 1024;

/// A login in the place of `held`, which is refused or expires soon.
pub(super) async fn renew(
    live: &Arc<Live>,
    oauth: &OAuth,
    keeper: &Keeper,
    held: Held,
) -> Result<Held, Unrenewed> {
    // Its turn is still held, and only a stored login is renewed: one login at most can be lost.
    if let Err(why) = live.store_again().await {
        return Err(live.failed(format!("the last new login cannot be stored ({why})")));
    }
    let source = live.source.clone();
    let waiting = live.apart(move || source.turn());
    let turn = timeout(TURN, waiting)
        .await
        .map_err(|_| live.failed("another job is renewing it and does not come to an end".to_owned()))??;
    // Before us, it was somebody else's turn.
    let found = live.read().await?;
    if !same(&found, &held) {
        return Ok(found);
    }
    let Some(refresh) = &found.refresh else {
        return Err(ended(live, oauth, "there is no refresh token"));
    };
    match ask(keeper, oauth, refresh).await {
        Ok(tokens) => {
            // From here on the old login is worth nothing: the new one is used whether or not it can be stored at once.
            live.store(Unstored { turn, old: found, new: tokens.held(&held) }).await;
            live.read().await
        }
        Err(Problem::Refused(why)) => {
            // The program that the login belongs to may have been quicker.
            let found_now = live.read().await?;
            if same(&found_now, &found) { Err(ended(live, oauth, &why)) } else { Ok(found_now) }
        }
        Err(Problem::Unreachable(why)) => Err(live.failed(why)),
    }
}

fn ended(live: &Live, oauth: &OAuth, why: &str) -> Unrenewed {
    let cure = format!("The operator has to log in again on the host: {}", oauth.cure);
    Unrenewed::Ended { name: live.name.clone(), why: why.to_owned(), cure }
}

enum Problem {
    /// The refresh token is worth nothing any more.
    Refused(String),
    /// It may still be good.
    Unreachable(String),
}

/// RFC 6749, section 5.1. Unknown members are nobody's business here.
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    refresh_token: Option<String>,
    /// In seconds. Servers send it as a string or a fraction too; what is odd here must not cost the login.
    #[serde(default, deserialize_with = "lifetime")]
    expires_in: Option<Duration>,
}

fn lifetime<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    Ok(seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).ok()))
}

impl Tokens {
    fn held(self, old: &Held) -> Held {
        Held {
            secret: self.access_token.into(),
            // A server that rotates nothing sends none: the old one stays good.
            refresh: self.refresh_token.map(SecretString::from).or_else(|| old.refresh.clone()),
            expires: self.expires_in.and_then(|lasts| SystemTime::now().checked_add(lasts)),
        }
    }
}

/// Asks the server for new tokens, on the job's way to the outside but not for the job.
async fn ask(keeper: &Keeper, oauth: &OAuth, refresh: &SecretString) -> Result<Tokens, Problem> {
    let unreachable = |why: String| Problem::Unreachable(format!("{} {why}", oauth.authority));
    let path = RequestPath::of_target(&oauth.path);
    let request = Request {
        scheme: Scheme::Https,
        authority: &oauth.authority,
        method: "POST",
        path: &path,
        query: "",
        websocket: false,
    };
    let body = json!({
        "grant_type": "refresh_token",
        "refresh_token": refresh.expose_secret(),
        "client_id": oauth.client_id,
    });
    let body = Zeroizing::new(body.to_string());
    let mut headers = HeaderMap::new();
    for name in [CONTENT_TYPE, ACCEPT] {
        headers.insert(name, HeaderValue::from_static("application/json"));
    }
    let outgoing = Outgoing {
        method: Method::POST,
        target: oauth
            .path
            .parse::<Uri>()
            .map_err(|error| unreachable(format!("has no such path: {error}")))?,
        headers,
        body: RequestBody::of(Bytes::copy_from_slice(body.as_bytes()), keeper.vault()),
        protocol: Protocol::Negotiated,
    };
    let guard = Guard { policy: &keeper.policy, request: &request };
    let exchange = async {
        let (response, _) = keeper
            .upstream
            .send(&guard, outgoing)
            .await
            .map_err(|error| unreachable(format!("cannot be asked ({error})")))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|_| unreachable("broke off its answer".to_owned()))?;
        Ok((status, Zeroizing::new(body.to_bytes().to_vec())))
    };
    let (status, body) =
        timeout(ANSWER, exchange).await.map_err(|_| unreachable("did not answer in time".to_owned()))??;
    judge(status, &body, &unreachable)
}

fn judge(
    status: StatusCode,
    body: &[u8],
    unreachable: &impl Fn(String) -> Problem,
) -> Result<Tokens, Problem> {
    if status.is_success() {
        // The error's text could quote a token.
        return serde_json::from_slice(body).map_err(|_| unreachable("sent no tokens".to_owned()));
    }
    // RFC 6749, section 5.2; the description is the server's and could hold anything.
    #[derive(Deserialize)]
    struct Error {
        error: String,
    }
    match serde_json::from_slice::<Error>(body) {
        Ok(Error { error }) if error == "invalid_grant" => {
            Err(Problem::Refused("the server says invalid_grant".to_owned()))
        }
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(Problem::Refused(format!("the server says {}", status.as_u16())))
        }
        _ => Err(unreachable(format!("answered with {}", status.as_u16()))),
    }
}
