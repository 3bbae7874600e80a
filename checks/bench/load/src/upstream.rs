//! The HTTPS server that is asked. It answers out of memory and does nothing else.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Fallible, HOST};

pub(crate) const SMALL: usize = 1024;
pub(crate) const BULK: usize = 64 * MIB;
/// The variable that holds the token which this server wants to see; a jail never sees it.
pub(crate) const SECRET: &str = "BENCH_SECRET";
/// Fast enough for a short measurement, slow enough that no event waits for the one before it.
const EVENT_INTERVAL: Duration = Duration::from_millis(5);
const MIB: usize = 1 << 20;
/// What a server writes at once: a few TLS records.
const PIECE: usize = 64 * 1024;

type Body = BoxBody<Bytes, Infallible>;

/// Serves until standard input ends. The certificate to trust is `ca.pem` in `directory`, the port the first line of
/// standard output.
pub(crate) fn serve(directory: &Path) -> Fallible<()> {
    let tls = TlsAcceptor::from(identity(directory)?);
    let answers = Arc::new(Answers {
        small: Bytes::from(text(SMALL)),
        bulk: Bytes::from(text(MIB)),
        secret: std::env::var(SECRET).unwrap_or_default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        tokio::select! {
            result = accept(listener, tls, answers) => result,
            () = end_of_input() => Ok(()),
        }
    })
}

/// What is sent; made once.
struct Answers {
    small: Bytes,
    bulk: Bytes,
    secret: String,
}

fn identity(directory: &Path) -> Fallible<Arc<ServerConfig>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "nix-jail benchmark CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new([HOST.to_owned()])?;
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    std::fs::write(directory.join("ca.pem"), ca_pem)?;
    Ok(Arc::new(config))
}

/// Text as an API would send it: lines of JSON whose strings do not repeat, so that no search over it is too easy.
fn text(length: usize) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(length + 80);
    while bytes.len() < length {
        bytes.extend_from_slice(b"{\"delta\":\"");
        for _ in 0..48 {
            // Xorshift: any sequence without a short period will do.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push(alphabet[(state % 64) as usize]);
        }
        bytes.extend_from_slice(b"\",\"index\":0}\n");
    }
    bytes.truncate(length);
    bytes
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, answers: Arc<Answers>) -> Fallible<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (tls, answers) = (tls.clone(), answers.clone());
        // A client that goes away is not this server's concern.
        tokio::spawn(async move { converse(stream, tls, answers).await.ok() });
    }
}

async fn converse(
    stream: TcpStream,
    tls: TlsAcceptor,
    answers: Arc<Answers>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answer(&request, &answers)) }
    });
    let stream = TokioIo::new(stream);
    if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await?;
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(stream, service)
            .await?;
    }
    Ok(())
}

fn answer(request: &Request<Incoming>, answers: &Answers) -> Response<Body> {
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    let wanted = format!("Bearer {}", answers.secret).into_bytes();
    // Whoever brings a token must bring the real one: a swap that did not happen must not look fast.
    if authorization.as_ref().is_some_and(|authorization| *authorization != wanted) {
        return respond(StatusCode::UNAUTHORIZED, whole("not the real token".into()));
    }
    let path = request.uri().path();
    match path.split_once("/events/") {
        Some((_, count)) => respond(StatusCode::OK, events(count.parse().unwrap_or(1))),
        None if path == "/small" => respond(StatusCode::OK, whole(answers.small.clone())),
        None if path == "/bulk" => respond(StatusCode::OK, bulk(answers.bulk.clone())),
        None if path == "/echo" => respond(StatusCode::OK, whole(authorization.unwrap_or_default().into())),
        None => respond(StatusCode::NOT_FOUND, whole("no such path".into())),
    }
}

fn respond(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).boxed()
}

fn bulk(mebibyte: Bytes) -> Body {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(2);
    tokio::spawn(async move {
        for start in (0..BULK).step_by(PIECE) {
            let start = start % MIB;
            if sender.send_data(mebibyte.slice(start..start + PIECE)).await.is_err() {
                return;
            }
        }
    });
    body.boxed()
}

/// Server-sent events, each with the time at which it was sent.
fn events(count: usize) -> Body {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        let mut clock = tokio::time::interval(EVENT_INTERVAL);
        for _ in 0..count {
            clock.tick().await;
            if sender.send_data(format!("data: {}\n\n", nanoseconds()).into()).await.is_err() {
                return;
            }
        }
    });
    body.boxed()
}

/// The time that client and server agree on: both are on one machine.
pub(crate) fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

async fn end_of_input() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(sender);
    });
    let _ = receiver.await;
}
