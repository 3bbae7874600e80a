//! One connection to one destination: opaque if a `tcp` rule says so, else TLS or HTTP by its first bytes, else over.

use std::sync::Arc;
use std::time::Duration;

use policy::{Authority, Policy, Reason, Rule, Scheme};
use rustls::server::Acceptor;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::prefixed::Prefixed;
use super::sniff::{Protocol, sniff};
use super::{http, tunnel};
use crate::authority_bind::{Binding, Destination};
use crate::config::Mode;
use crate::exchange::Session;
use crate::job::{ConnectionPermit, Job};
use crate::tls;

/// A client that waits for its server to speak first is given this long to prove that it does not, while learning and
/// on ports where no rule expects HTTP.
const SILENCE: Duration = Duration::from_secs(1);

/// What TLS may hold of an answer where there are many connections: one record, instead of four.
const SMALL_BUFFER: usize = 16 * 1024;

/// Serves one connection.
pub(super) async fn serve(
    job: Arc<Job>,
    destination: Destination,
    mut stream: Prefixed,
    place: ConnectionPermit,
) {
    let authority = destination.authority();
    // Before a byte is read: in some protocols the server speaks first.
    if let Some(authority) = &authority
        && let Some(rule) = tunnel::rule(&job, authority)
    {
        return tunnel::serve(&job, authority, Some(rule), stream).await;
    }

    let web = authority.as_ref().is_none_or(|authority| is_web(&job.policy, authority.port));
    let patience =
        if web && job.mode == Mode::Enforce { job.limits.idle } else { SILENCE.min(job.limits.idle) };
    let protocol = tokio::select! {
        biased;
        () = job.closing() => return,
        sniffed = timeout(patience, sniff(&mut stream)) => match sniffed {
            Ok(Ok(_)) if stream.seen().is_empty() => return,
            Ok(Ok(protocol)) => protocol,
            Ok(Err(_)) => return,
            Err(_) => Protocol::Unknown,
        },
    };
    match (protocol, authority) {
        (Protocol::Tls, _) => serve_tls(job, destination, stream, place).await,
        (Protocol::Http1, _) => http::plain_http1(plain(job, &destination, place), stream).await,
        (Protocol::Http2, authority) => match job.budget.http2(job.limits.streams) {
            Some((_grant, limits)) => http::http2(plain(job, &destination, place), stream, limits).await,
            None => job.record_connection(text(authority.as_ref()), Reason::ProxyMemory.as_str()),
        },
        (Protocol::Unknown, Some(authority)) if job.mode == Mode::Learn => {
            if tunnel::is_denied(&job, &authority) {
                return job.record_connection(authority, Reason::DeniedByRule.as_str());
            }
            tunnel::serve(&job, &authority, None, stream).await;
        }
        (Protocol::Unknown, authority) => {
            job.record_connection(text(authority.as_ref()), Reason::UnknownProtocol.as_str());
        }
    }
}

/// Whether HTTP is to be expected on a port.
fn is_web(policy: &Policy, port: u16) -> bool {
    let expects = |rule: &Rule| rule.scheme() != Scheme::Tcp && rule.ports().contains(&port);
    [80, 443].contains(&port) || policy.rules().iter().any(expects)
}

fn plain(job: Arc<Job>, destination: &Destination, place: ConnectionPermit) -> Arc<Session> {
    Arc::new(Session { job, binding: Binding::plain(destination), ahead: None, place })
}

async fn serve_tls(job: Arc<Job>, destination: Destination, stream: Prefixed, place: ConnectionPermit) {
    let known = text(destination.authority().as_ref());
    let hello = timeout(job.limits.idle, LazyConfigAcceptor::new(Acceptor::default(), stream)).await;
    let Ok(Ok(start)) = hello else { return job.record_connection(known, "tls-handshake") };
    let Some(binding) = Binding::tls(&destination, start.client_hello().server_name()) else {
        return job.record_connection(known, Reason::InvalidAuthority.as_str());
    };
    let Some(host) = binding.spoken_to() else {
        return job.record_connection(known, Reason::InvalidAuthority.as_str());
    };
    // HTTP/1.1 takes less: one request at a time.
    let http2 = job.budget.http2(job.limits.streams);
    let config = match job.ca.server_config(host, http2.is_some()) {
        Ok(config) => config,
        Err(error) => {
            tracing::warn!(%error, %host, "no certificate for a host");
            return job.record_connection(known, "tls-handshake");
        }
    };

    // While the job shakes hands with us, we do with the server; never with one that no rule could allow, nor with one that
    // a rule denies as a whole.
    let may_be_allowed = |server: &Authority| {
        job.policy.could_allow(Scheme::Https, server)
            || (job.mode == Mode::Learn && !job.policy.denies_server(Scheme::Https, server))
    };
    let expected = binding.server().filter(|server| may_be_allowed(server));
    let ahead = expected.and_then(|server| job.upstream.dial_ahead(Scheme::Https, server));
    let known = text(binding.server().or(destination.authority().as_ref()));
    let stream = match timeout(job.limits.idle, start.into_stream(config)).await {
        Ok(Ok(mut stream)) => {
            if !job.budget.is_roomy() {
                stream.get_mut().1.set_buffer_limit(Some(SMALL_BUFFER));
            }
            stream
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, server = known, "a TLS handshake of the job failed");
            return job.record_connection(known, "tls-handshake");
        }
        Err(_) => return job.record_connection(known, "tls-handshake"),
    };
    let http2 = http2.filter(|_| stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2));
    let session = Arc::new(Session { job, binding, ahead, place });
    match http2 {
        Some((_grant, limits)) => http::http2(session, stream, limits).await,
        None => http::tls_http1(session, stream).await,
    }
}

fn text(authority: Option<&Authority>) -> String {
    authority.map(ToString::to_string).unwrap_or_default()
}
