//! Servers outside.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A server that counts who comes.
pub struct Server {
    pub address: SocketAddr,
    pub ca_file: Option<NamedTempFile>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The same server, said to be elsewhere.
    pub fn at(self, address: SocketAddr) -> Server {
        Server { address, ..self }
    }

    /// The same server, whose authority nobody is told.
    pub fn without_ca(self) -> Server {
        Server { ca_file: None, ..self }
    }

    /// HTTPS for these names; answers tell the request.
    pub async fn https(names: &[&str], alpn: &[&str]) -> Server {
        Server::https_with(names, alpn, echo).await
    }

    pub async fn https_with<F, A>(names: &[&str], alpn: &[&str], answer: F) -> Server
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let (acceptor, ca_file) = acceptor(names, alpn);
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = count(requests.clone(), answer);
        Server::each(requests, Some(ca_file), move |stream| {
            let (acceptor, counted) = (acceptor.clone(), counted.clone());
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                speak(stream, http2, counted).await;
            }
        })
        .await
    }

    /// Plain HTTP.
    pub async fn http() -> Server {
        Server::http_with(false, echo).await
    }

    pub async fn http_with<F, A>(http2: bool, answer: F) -> Server
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = count(requests.clone(), answer);
        Server::each(requests, None, move |stream| speak(stream, http2, counted.clone())).await
    }

    /// A server of bytes.
    pub async fn raw<F, A>(serve: F) -> Server
    where
        F: Fn(TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Server::each(Arc::default(), None, serve).await
    }

    /// A server of bytes in TLS.
    pub async fn raw_tls<F, A>(names: &[&str], serve: F) -> Server
    where
        F: Fn(tokio_rustls::server::TlsStream<TcpStream>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let (acceptor, ca_file) = acceptor(names, &["http/1.1"]);
        Server::each(Arc::default(), Some(ca_file), move |stream| {
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            }
        })
        .await
    }

    async fn each<F, A>(requests: Arc<AtomicUsize>, ca_file: Option<NamedTempFile>, serve: F) -> Server
    where
        F: Fn(TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Server { address, ca_file, connections, requests }
    }
}

/// Tells the request: method, target, version, headers, body, trailers.
pub async fn echo(request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let headers: Vec<Value> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers: Vec<Value> = collected
                .trailers()
                .into_iter()
                .flatten()
                .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
                .collect();
            (String::from_utf8_lossy(&collected.to_bytes()).into_owned(), trailers)
        }
        Err(error) => (format!("broken: {error}"), Vec::new()),
    };
    let told = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body": body,
        "trailers": trailers,
    });
    text(&told.to_string())
}

pub fn text(text: &str) -> Answer {
    Response::new(Full::new(Bytes::from(text.to_owned())).boxed())
}

fn count<F, A>(
    counter: Arc<AtomicUsize>,
    answer: F,
) -> impl Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        answer(request)
    }
}

async fn speak<S, F, A>(stream: S, http2: bool, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    // Clients go away as they like.
    let _ = if http2 {
        http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(1024 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await
    } else {
        http1::Builder::new()
            .max_headers(2000)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await
    };
}

fn acceptor(names: &[&str], alpn: &[&str]) -> (TlsAcceptor, NamedTempFile) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(ca.pem().as_bytes()).unwrap();
    let provider = proxy::crypto_provider();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), file)
}
