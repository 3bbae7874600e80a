//! The explicit proxy: `CONNECT host:port` for anything, an absolute `http://` target for plain HTTP. Nothing else.

use std::sync::Arc;

use ::http::header::HOST;
use ::http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use policy::{Authority, Reason, Scheme};
use tokio::time::timeout;

use super::half_close::Watched;
use super::http1_heads::CheckedHeads;
use super::prefixed::Prefixed;
use super::sniff::{Protocol, sniff};
use super::{channel, http, password, tunnel};
use crate::audit::{LONGEST_NAME, cut};
use crate::authority_bind::{Binding, Destination};
use crate::body::ResponseBody;
use crate::denial::{Asked, Denial};
use crate::exchange::{self, Session};
use crate::job::{ConnectionPermit, Job};
use crate::rejection;

/// Serves one connection.
pub(super) async fn serve(job: Arc<Job>, mut stream: Prefixed, place: ConnectionPermit) {
    let protocol = tokio::select! {
        biased;
        () = job.closing() => return,
        sniffed = timeout(job.limits.idle, sniff(&mut stream)) => sniffed,
    };
    match protocol {
        Ok(Ok(Protocol::Http1)) => {}
        Ok(Ok(_)) if stream.seen().is_empty() => return,
        // SOCKS, TLS to the proxy itself and HTTP/2 end here.
        Ok(Ok(_)) => return job.record_connection("", Reason::UnknownProtocol.as_str()),
        Ok(Err(_)) | Err(_) => return,
    }
    let binding = Binding::plain(&Destination::EachRequest);
    let session = Arc::new(Session { job: job.clone(), binding, ahead: None, place });
    let watched = Watched::new(&stream).ok();
    http::http1_with(&job, (Scheme::Http, ""), stream, watched, |request, admitted| {
        let session = session.clone();
        async move {
            if !password::is_said(session.job.password.as_ref(), request.headers()) {
                stranger(&session, &request)
            } else if request.method() == Method::CONNECT {
                connect(&session, request).await
            } else {
                exchange::answer(&session, request, admitted).await
            }
        }
    })
    .await;
}

/// The answer to a client that does not know the job's password: perhaps no client of the job's at all.
fn stranger(session: &Session, request: &Request<Incoming>) -> Response<ResponseBody> {
    let reason = Reason::ProxyAuthentication;
    session.job.record_connection("", reason.as_str());
    rejection::denied(&Denial::from(reason), &Asked { authority: "", method: request.method(), path: "" })
}

/// Opens a tunnel to ourselves: what comes through it is looked at like any other connection to that server.
async fn connect(session: &Session, request: Request<Incoming>) -> Response<ResponseBody> {
    let job = session.job.clone();
    let authority = match connect_target(&request) {
        Ok(authority) => authority,
        Err(denial) => {
            let mut named = request.uri().to_string();
            cut(&mut named, LONGEST_NAME);
            job.record_connection(&named, denial.reason.as_str());
            return rejection::denied(
                &denial,
                &Asked { authority: &named, method: request.method(), path: "" },
            );
        }
    };
    let place = session.place.clone();
    if let Some(rule) = tunnel::rule(&job, &authority) {
        // Dialled before the answer, so that a failure is one.
        return match tunnel::open(&job, &authority, Some(rule)).await {
            Ok(outside) => {
                after_upgrade(request, move |stream| async move {
                    tunnel::join(&job, stream, outside).await;
                    drop(place);
                });
                Response::new(ResponseBody::empty())
            }
            Err(failed) => {
                let named = authority.to_string();
                let asked = Asked { authority: &named, method: request.method(), path: "" };
                match failed {
                    tunnel::Failed::Denied(reason) => rejection::denied(&Denial::from(reason), &asked),
                    tunnel::Failed::Upstream(error) => rejection::upstream_failed(&error, &asked),
                }
            }
        };
    }
    // Also for a host that no rule allows: the client reads the reason in the answer to its request.
    after_upgrade(request, move |stream| channel::serve(job, Destination::Server(authority), stream, place));
    Response::new(ResponseBody::empty())
}

fn connect_target(request: &Request<Incoming>) -> Result<Authority, Denial> {
    let invalid = || Denial::from(Reason::InvalidAuthority);
    let target = request.uri().authority().ok_or_else(invalid)?;
    let target = Authority::parse(target.as_str(), None).map_err(|_| invalid())?;
    for host in request.headers().get_all(HOST) {
        let host = host.to_str().map_err(|_| invalid())?;
        if Authority::parse(host, Some(target.port)).map_err(|_| invalid())? != target {
            return Err(Reason::AuthorityMismatch.into());
        }
    }
    Ok(target)
}

/// Goes on with the bare connection once the answer to CONNECT is written.
fn after_upgrade<F, A>(mut request: Request<Incoming>, then: F)
where
    F: FnOnce(Prefixed) -> A + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let parts = match upgrade.await.map(|upgraded| upgraded.downcast::<TokioIo<CheckedHeads<Prefixed>>>())
        {
            Ok(Ok(parts)) => parts,
            Ok(Err(_)) => return tracing::error!("a CONNECT on a connection of another kind"),
            Err(error) => return tracing::debug!(%error, "a CONNECT was not taken up"),
        };
        let (stream, unread) = parts.io.into_inner().into_parts();
        then(stream.put_back(unread).put_back(parts.read_buf)).await;
    });
}
