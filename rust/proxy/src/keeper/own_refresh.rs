//! A job's own attempt to renew its login. It holds a dummy, so nothing of it goes out: the proxy answers as the server
//! would, with the dummies that the job has already.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use policy::{Authority, Reason};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Keeper, Live, Need, Unrenewed};
use crate::body::ResponseBody;
use crate::config::OAuth;

const LONGEST: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// What a job is told where nobody knows when the token ends: it may ask again whenever it likes.
const LASTS: Duration = Duration::from_secs(3600);

/// Why the job gets no tokens.
pub(crate) enum OwnRefusal {
    /// What it sent is not its dummy, or cannot be read.
    Reason(Reason),
    /// The real login has come to its end.
    Unrenewed(Unrenewed),
}

/// The answer to a request that is for a login's token server; `None` for any other request, which keeps its body.
pub(crate) async fn own_refresh(
    keeper: &Arc<Keeper>,
    authority: &Authority,
    head: &Parts,
    body: &mut Option<Incoming>,
) -> Option<Result<Response<ResponseBody>, OwnRefusal>> {
    let is_for = |oauth: &OAuth| oauth.authority == *authority && oauth.path == head.uri.path();
    let logins: Vec<(usize, &Live)> =
        keeper.live().filter(|(_, live)| live.oauth.as_ref().is_some_and(is_for)).collect();
    if logins.is_empty() || head.method != Method::POST {
        return None;
    }
    Some(answer(keeper, &logins, body.take()?).await)
}

async fn answer(
    keeper: &Arc<Keeper>,
    logins: &[(usize, &Live)],
    body: Incoming,
) -> Result<Response<ResponseBody>, OwnRefusal> {
    let collected = timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await;
    let body = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => return Err(OwnRefusal::Reason(Reason::MalformedRequest)),
    };
    let sent = refresh_token(&body).ok_or(OwnRefusal::Reason(Reason::ForeignCredential))?;
    let own = logins.iter().find_map(|&(index, live)| {
        let oauth = live.oauth.as_ref().filter(|oauth| oauth.refresh_dummy == sent)?;
        Some((index, live, oauth))
    });
    let (index, live, oauth) = own.ok_or(OwnRefusal::Reason(Reason::ForeignCredential))?;
    if live.needs(&Need::Fresh) {
        keeper.renew(index, Need::Fresh).await.map_err(OwnRefusal::Unrenewed)?;
    }
    let expires = live.known().held.expires;
    let left = expires.map(|expires| expires.duration_since(SystemTime::now()).unwrap_or_default());
    let tokens = json!({
        "token_type": "Bearer",
        "access_token": keeper.vault().dummy(index),
        "refresh_token": oauth.refresh_dummy,
        "expires_in": left.unwrap_or(LASTS).as_secs(),
    });
    let mut response = Response::new(ResponseBody::text(Bytes::from(tokens.to_string())));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The refresh token of a request, which is JSON or a form (RFC 6749, section 6).
fn refresh_token(body: &[u8]) -> Option<String> {
    if let Ok(Value::Object(members)) = serde_json::from_slice(body) {
        let is_refresh = members.get("grant_type").and_then(Value::as_str) == Some("refresh_token");
        let token = members.get("refresh_token").and_then(Value::as_str)?;
        return is_refresh.then(|| token.to_owned());
    }
    let text = std::str::from_utf8(body).ok()?;
    let value = |wanted: &str| {
        let pair = text.split('&').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == wanted));
        pair.map(|(_, value)| crate::swap::decode_form(value))
    };
    (value("grant_type")? == "refresh_token").then(|| value("refresh_token")).flatten()
}
