//! One request of the job, from its head to the answer's.

mod arrival;
mod headers;
mod overrides;
mod own_loopback;
mod signed;
mod upgrade;

use overrides::Overrides;

pub(crate) use arrival::Arrival;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use policy::{Reason, RequestPath, RuleId, Scheme};

use crate::authority_bind::Binding;
use crate::body::{
    self, Admitted, Flow, FormScan, RequestBody, ResponseBody, UnclearForm, Unread, hold_with_head,
    hold_with_target,
};
use crate::budget::Growing;
use crate::denial::Denial;
use crate::git::{self, Discovery};
use crate::job::{ConnectionPermit, Job, Verdict};
use crate::keeper::own_refresh;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::swap::{Asking, Swapped, Vault};
use crate::upstream::{Ahead, Guard, Outgoing, Protocol};

/// One connection of the job on which requests arrive.
pub(crate) struct Session {
    pub(crate) job: Arc<Job>,
    pub(crate) binding: Binding,
    /// The connection to the outside that was started while the job was shaking hands.
    pub(crate) ahead: Option<Ahead>,
    pub(crate) place: ConnectionPermit,
}

/// Serves one request. There is always an answer.
pub(crate) async fn answer(
    session: &Session,
    mut request: Request<Incoming>,
    admitted: Arc<Admitted>,
) -> Response<ResponseBody> {
    let mut record = Record::begin(session.job.clone(), session.binding.scheme, &request);
    let job_side = headers::asks_for_websocket(&request).then(|| hyper::upgrade::on(&mut request));
    let sends_unasked = !request.headers().contains_key(EXPECT);
    let version = request.version();
    let (head, body) = request.into_parts();
    let discovery = Discovery::read(&head);
    let has_body = !body.is_end_stream();
    let own_server = if has_body { None } else { own_loopback::location(&session.binding, &head) };
    let mut body = Some(body);
    let passed = pass(session, head, &mut body, admitted, job_side, &mut record).await;
    if passed.is_err() && sends_unasked {
        body::discard(body).await;
    }
    if let (Err(Rejection::Denied(denial)), Some(location)) = (&passed, own_server)
        && let Some(response) = own_loopback::redirection(denial, location)
    {
        record.denied(denial.reason);
        record.answered(response.status());
        return response;
    }
    // Where the request ends may be in doubt, or an end that a client has not begun to send: what follows on this
    // connection could be taken for a part of it.
    let is_last = match &passed {
        Ok(_) => false,
        // A connection is memory itself.
        Err(Rejection::Denied(denial)) => {
            has_body || [Reason::MalformedRequest, Reason::ProxyMemory].contains(&denial.reason)
        }
        Err(_) => has_body,
    };
    let mut response = passed.unwrap_or_else(|rejection| rejection.respond(discovery, &mut record));
    if is_last && version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    *response.version_mut() = Version::HTTP_11;
    record.answered(response.status());
    response
}

/// The way of a request that nothing stops.
async fn pass(
    session: &Session,
    head: Parts,
    body: &mut Option<Incoming>,
    admitted: Arc<Admitted>,
    job_side: Option<OnUpgrade>,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Rejection> {
    let job = &session.job;
    let websocket = job_side.is_some();
    refuse_verbs(&head.method)?;
    let authority =
        session.binding.target(&head).inspect_err(|wrong| record.authority(wrong.authority.as_ref()))?;
    record.authority(Some(&authority));
    headers::refuse_large(&head, &job.limits)?;
    headers::refuse_ambiguous(&head.headers)?;
    if session.binding.scheme == Scheme::Https
        && let Some(answer) = own_refresh(&job.keeper, &authority, &head, body).await
    {
        return Ok(answer?);
    }
    let (path, target) = read_target(&head);
    let asked = policy::Request {
        scheme: session.binding.scheme,
        authority: &authority,
        method: head.method.as_str(),
        path: &path,
        query: target.query().unwrap_or_default(),
        websocket,
    };
    let verdict = decide(session, &asked, &head.headers, record)?;

    let version = head.version;
    let mut outgoing_headers = head.headers;
    let (rule, outgoing_body) = match (verdict, body.take()) {
        (Verdict::Pass(rule), body) => (rule, RequestBody::new(body, job.keeper.vault())),
        (Verdict::Push, Some(body)) => {
            let passed = git::inspect(job, &asked, &mut outgoing_headers, body).await?;
            record.rule(Some(passed.rule));
            record.refs(passed.refs);
            (Some(passed.rule), passed.body)
        }
        (Verdict::Push, None) => return Err(Denial::from(Reason::MalformedRequest).into()),
    };
    let rule = job.credential_rule(&asked, rule);
    let form = if head.method.as_str().eq_ignore_ascii_case("POST") && !outgoing_body.is_empty() {
        let denied = denied_methods(session, &asked, &outgoing_headers, rule)?;
        let form = FormScan::new(&outgoing_headers, denied);
        form.map_err(|UnclearForm| Denial { hint: Some(UNCLEAR_FORM), ..Reason::MethodNotAllowed.into() })?
    } else {
        None
    };
    let (outgoing_body, form_is_denied) = outgoing_body.reading(form);
    let outgoing_body = outgoing_body.through(Flow::new(&job.budget, Some(admitted.clone())));
    headers::strip_request(&mut outgoing_headers);
    let outbound = Outbound {
        session,
        asked: &asked,
        rule,
        admitted,
        method: head.method.clone(),
        protocol: protocol(session.binding.scheme, version, websocket),
    };
    let sent =
        outbound.send_with_fresh(outgoing_headers, Uri::from(target.clone()), outgoing_body, record).await;
    if sent.is_err() && form_is_denied.is_set() {
        return Err(Denial { hint: Some(FORM), ..Reason::MethodNotAllowed.into() }.into());
    }
    let Answered { response, swapped, unread } = sent?;
    let mut response = give_back(session, &head.method, response, swapped, job_side).await?;
    if unread.is_any() && version < Version::HTTP_2 {
        // A client that had not begun to send would take the connection for a free one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A request that the policy has allowed, on its way out.
struct Outbound<'a> {
    session: &'a Session,
    asked: &'a policy::Request<'a>,
    rule: Option<RuleId>,
    admitted: Arc<Admitted>,
    method: Method,
    protocol: Protocol,
}

/// What came back, and what went out for it.
struct Answered {
    response: Response<Incoming>,
    swapped: Swapped,
    unread: Unread,
}

impl Outbound<'_> {
    /// Sends it with the credentials of now; once more if the server refuses one and there is another by then.
    ///
    /// Only a body that has gone through whole and is still known can be sent again. Otherwise the job gets the refusal,
    /// and its next request has the new credential.
    async fn send_with_fresh(
        &self,
        headers: HeaderMap,
        uri: Uri,
        body: RequestBody,
        record: &mut Record,
    ) -> Result<Answered, Rejection> {
        let job = &self.session.job;
        if !job.keeper.can_change(self.asked.authority) {
            let vault = job.keeper.vault();
            return self.send(&vault, headers, uri, body, record).await;
        }
        let vault = job.keeper.fresh(self.asked.authority).await;
        let (body, copy) = body.kept(job.budget.bulk());
        let sent = Instant::now();
        let first = self.send(&vault, headers.clone(), uri.clone(), body, record).await?;
        if !may_be_refusal(first.response.status(), first.swapped.is_signed) {
            return Ok(first);
        }
        let Some(vault) = job.keeper.refused(&vault, &first.swapped.names, sent).await? else {
            return Ok(first);
        };
        let Some(again) = copy.whole() else { return Ok(first) };
        let body = RequestBody::of(again, vault.clone());
        self.send(&vault, headers, uri, body, record).await
    }

    async fn send(
        &self,
        vault: &Arc<Vault>,
        mut headers: HeaderMap,
        mut uri: Uri,
        body: RequestBody,
        record: &mut Record,
    ) -> Result<Answered, Rejection> {
        let job = &self.session.job;
        let tls = self.asked.scheme == Scheme::Https;
        let asking = Asking { method: &self.method, authority: self.asked.authority, rule: self.rule, tls };
        let mut swapped = vault.outgoing(&asking, &mut headers, &mut uri).map_err(Denial::from)?;
        record.credentials(&swapped.names);
        if self.asked.websocket {
            headers::ask_for_websocket(&mut headers, swapped.redactor.is_some());
        }
        if let Some(ahead) = &self.session.ahead {
            ahead.finished().await?;
        }
        let unread = body.unread();
        let body = match swapped.signing.take() {
            Some(signing) => signed::signed(job, body, signing, &mut headers, &mut uri).await?,
            None => body,
        };
        // A server that does not read lets it wait, also after the job has given up.
        if headers.is_empty() {
            uri = hold_with_target(uri, self.admitted.clone());
        } else {
            hold_with_head(&mut headers, self.admitted.clone());
        }
        let outgoing =
            Outgoing { method: self.method.clone(), target: uri, headers, body, protocol: self.protocol };
        let guard = Guard { policy: &job.policy, request: self.asked };
        let (response, address) = job.upstream.send(&guard, outgoing).await?;
        record.address(address);
        Ok(Answered { response, swapped, unread })
    }
}

/// Whether a status may mean that the credential is not good any more. AWS says it with 400 and 403, and with these also
/// much else: then nothing has changed, and the answer stays.
fn may_be_refusal(status: StatusCode, is_signed: bool) -> bool {
    match status {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => is_signed,
        _ => false,
    }
}

fn refuse_verbs(method: &Method) -> Result<(), Denial> {
    if method == Method::CONNECT {
        return Err(Denial {
            hint: Some("CONNECT is for the proxy port (3128), not inside a connection to a server"),
            ..Reason::ProtocolNotAllowed.into()
        });
    }
    if method == Method::TRACE {
        return Err(Denial {
            hint: Some("TRACE would show the job what the proxy added"),
            ..Reason::MethodNotAllowed.into()
        });
    }
    Ok(())
}

/// The path to decide about, and the target to send.
fn read_target(head: &Parts) -> (RequestPath, PathAndQuery) {
    let target = match head.uri.path_and_query() {
        Some(target) => target.clone(),
        None => PathAndQuery::from_static("/"),
    };
    (RequestPath::of_target(target.as_str()), target)
}

/// Asks the policy about the request, and about all that a server could take it for. The rule is that of the request
/// itself.
fn decide(
    session: &Session,
    asked: &policy::Request<'_>,
    headers: &HeaderMap,
    record: &mut Record,
) -> Result<Verdict, Denial> {
    let mut ask = |request: &policy::Request<'_>| match session.job.decide(request) {
        Ok(verdict) => {
            if let Verdict::Pass(rule) = verdict {
                record.rule(rule);
            }
            Ok(verdict)
        }
        Err((reason, rule)) => {
            record.rule(rule);
            Err(Denial::from(reason))
        }
    };
    let overrides = Overrides::read(headers, asked.query)?;
    let mut others = Vec::new();
    for path in overrides.paths.iter().chain([asked.path]) {
        for method in overrides.methods.iter().map(String::as_str).chain([asked.method]) {
            if (method, path) == (asked.method, asked.path) {
                continue;
            }
            let other = policy::Request { method, path, ..*asked };
            match ask(&other)? {
                Verdict::Pass(rule) => others.push(session.job.credential_rule(&other, rule)),
                Verdict::Push => {
                    return Err(Denial {
                        hint: Some("a push is sent by POST, not by something that stands for it"),
                        ..Reason::MethodNotAllowed.into()
                    });
                }
            }
        }
    }
    let verdict = ask(asked)?;
    // What a push does is read for the repository that it names, and for no other request.
    if matches!(verdict, Verdict::Push) && !others.is_empty() {
        return Err(Denial {
            hint: Some("a push may not stand for another request; send that one"),
            ..Reason::StrayCredential.into()
        });
    }
    // What goes along is decided by the rule of the request itself: it must be the same for what it could be taken for.
    if let Verdict::Pass(rule) = verdict
        && let vault = session.job.keeper.vault()
        && let rule = session.job.credential_rule(asked, rule)
        && others.iter().any(|other| !vault.has_same_credentials(asked.authority, rule, *other))
    {
        return Err(Denial {
            hint: Some(
                "the request stands for another one, for which other credentials are declared; send that one",
            ),
            ..Reason::StrayCredential.into()
        });
    }
    Ok(verdict)
}

const FORM: &str = "the form has a field (_method) by which the server takes the request for one with a method that is not allowed";

const UNCLEAR_FORM: &str = "servers read this form in different ways (its type, encoding or the head of a part), and it could ask for a method that is not allowed; send it in the usual form";

/// The methods that a form must not stand for: they are denied for the path or for one that stands in its place, or need
/// other credentials. `rule` is the one whose credentials go along with the request.
fn denied_methods(
    session: &Session,
    asked: &policy::Request<'_>,
    headers: &HeaderMap,
    rule: Option<RuleId>,
) -> Result<Vec<&'static str>, Denial> {
    let vault = session.job.keeper.vault();
    let paths = Overrides::read(headers, asked.query)?.paths;
    let is_allowed = |method: &str, path| {
        let other = policy::Request { method, path, ..*asked };
        match session.job.decide(&other) {
            Ok(Verdict::Pass(by)) => {
                let by = session.job.credential_rule(&other, by);
                vault.has_same_credentials(asked.authority, rule, by)
            }
            Ok(Verdict::Push) | Err(_) => false,
        }
    };
    let is_denied = |method: &&str| !paths.iter().chain([asked.path]).all(|path| is_allowed(method, path));
    Ok(body::METHODS.into_iter().filter(is_denied).collect())
}

/// How to speak to the server. With TLS it has a say in it; without, the job has the only one.
fn protocol(scheme: Scheme, version: Version, websocket: bool) -> Protocol {
    match (scheme, websocket) {
        (Scheme::Https, false) => Protocol::Negotiated,
        (Scheme::Https, true) => Protocol::Websocket,
        (_, true) => Protocol::PlainWebsocket,
        (_, false) if version == Version::HTTP_2 => Protocol::Http2,
        (_, false) => Protocol::Http1,
    }
}

/// Turns the outside's answer into the job's.
async fn give_back(
    session: &Session,
    method: &Method,
    mut response: Response<Incoming>,
    swapped: Swapped,
    job_side: Option<OnUpgrade>,
) -> Result<Response<ResponseBody>, Rejection> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(job_side) = job_side.filter(|_| headers::is_websocket(response.headers())) else {
            return Err(Denial::from(Reason::ProtocolNotAllowed).into());
        };
        let outside = hyper::upgrade::on(&mut response);
        let (mut head, _) = response.into_parts();
        head.extensions.clear();
        if let Some(redactor) = &swapped.redactor {
            redactor.head(head.status, &mut head.headers);
        }
        headers::strip_answer(&mut head.headers);
        headers::confirm_websocket(&mut head.headers);
        upgrade::join(session.job.clone(), session.place.clone(), job_side, outside, swapped.redactor);
        return Ok(Response::from_parts(head, ResponseBody::empty()));
    }

    let has_body = !response.body().is_end_stream()
        && method != Method::HEAD
        && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let redactor = swapped.redactor.as_ref();
    let refusal = redactor.and_then(|it| it.refusal(response.status(), response.headers(), has_body));
    if let Some(hint) = refusal {
        return Err(Denial {
            status: StatusCode::BAD_GATEWAY,
            hint: Some(hint),
            ..Reason::ProtocolNotAllowed.into()
        }
        .into());
    }
    let (mut head, body) = response.into_parts();
    // The words after the status could echo a secret, and are for nobody's eyes since HTTP/2.
    head.extensions.clear();
    let body = match swapped.redactor {
        None => ResponseBody::upstream(body),
        Some(redactor) => {
            // Before the connection's own headers are gone: `Transfer-Encoding: gzip` cannot be searched.
            let before = head.headers.clone();
            redactor.head(head.status, &mut head.headers);
            let grant = match redactor.decoder_bytes() {
                0 => None,
                bytes => Some(reserve_decoder(&session.job, bytes).await?),
            };
            ResponseBody::redacted(redactor.body(&before, body), grant)
        }
    };
    headers::strip_answer(&mut head.headers);
    let grant = session.job.budget.response_head(&head.headers, HEAD_PATIENCE).await.ok_or(Denial {
        hint: Some("responses that are not read use up the memory of the job's proxy; read or close some, then try again"),
        ..Reason::ProxyMemory.into()
    })?;
    Ok(Response::from_parts(head, body.with_head(grant)))
}

/// How long a large head of a response waits for its memory. A client that reads has read the head before by then.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer waits for the memory of its decoder. Servers are asked not to compress, so that few answers do.
const DECODER_PATIENCE: Duration = Duration::from_millis(250);

/// What the decoder of most answers needs at most. The beginning of the body says what it is; whatever needs more gets it then,
/// if there is as much.
const USUAL_DECODER: usize = 5 * 1024 * 1024;

async fn reserve_decoder(job: &Job, bytes: usize) -> Result<Growing, Denial> {
    let bulk = job.budget.bulk();
    let usual = bytes.min(USUAL_DECODER).min(bulk.bytes() / 4);
    let grant = bulk.reserve(usual, DECODER_PATIENCE).await;
    grant.map(|grant| Growing::from(bulk.clone(), grant)).ok_or(Denial {
        hint: Some(
            "compressed answers use up the memory of the job's proxy; read or close some, then try again",
        ),
        ..Reason::ProxyMemory.into()
    })
}
