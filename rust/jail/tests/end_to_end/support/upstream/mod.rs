//! The outside: servers of the tests' own, on loopback, in the test's process.

mod answering;
mod anthropic;
mod connect_proxy;
mod echo;
mod git;
mod identity;
mod logins;
mod routes;
mod websocket;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

pub(crate) use anthropic::anthropic;
pub(crate) use connect_proxy::ConnectProxy;
pub(crate) use echo::EchoServer;
pub(crate) use git::GitServer;
use identity::Identity;
pub(crate) use logins::Logins;

use super::PATIENCE;

/// The body of an answer.
type AnswerBody = BoxBody<Bytes, Infallible>;
/// Answers a request; [`routes::answer`] is the usual one.
type Answer = Arc<dyn Fn(Arc<State>, Request<Incoming>, usize) -> Answered + Send + Sync>;
type Answered = std::pin::Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>;

/// A server of HTTP/1.1 and HTTP/2.
pub(crate) struct Server {
    hosts: Vec<String>,
    address: SocketAddr,
    identity: Option<Arc<Identity>>,
    state: Arc<State>,
    serving: tokio::task::JoinHandle<()>,
}

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub(crate) version: Version,
    /// The method.
    pub(crate) method: String,
    /// `Host` or `:authority`.
    pub(crate) host: String,
    /// The path.
    pub(crate) path: String,
    /// The query; empty without one.
    pub(crate) query: String,
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes of the body that were read.
    pub(crate) body: usize,
    /// The body, if it is not longer than 1 MiB.
    pub(crate) content: Bytes,
}

/// What the connections of a server share.
struct State {
    requests: Mutex<Vec<Seen>>,
    /// Told of each request.
    arrived: Condvar,
    connections: Mutex<usize>,
    /// One permit lets one gated event go.
    gate: Semaphore,
}

/// The runtime of every server of this process, on a thread of its own.
fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

impl Server {
    /// Serves `host` with TLS, HTTP/1.1 and HTTP/2.
    pub(crate) fn https(host: &str) -> Server {
        Server::https_for(&[host])
    }

    /// Serves several hosts with TLS.
    pub(crate) fn https_for(hosts: &[&str]) -> Server {
        Server::start(hosts, Some(Identity::new(hosts, &[b"h2", b"http/1.1"])), Arc::new(routes::answer))
    }

    /// Serves `host` with TLS, HTTP/1.1 only.
    pub(crate) fn https1(host: &str) -> Server {
        Server::start(&[host], Some(Identity::new(&[host], &[b"http/1.1"])), Arc::new(routes::answer))
    }

    /// Serves `host` without TLS.
    pub(crate) fn http(host: &str) -> Server {
        Server::start(&[host], None, Arc::new(routes::answer))
    }

    fn start(hosts: &[&str], identity: Option<Identity>, answer: Answer) -> Server {
        let state = Arc::new(State {
            requests: Mutex::default(),
            arrived: Condvar::default(),
            connections: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let identity = identity.map(Arc::new);
        let listener = runtime().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = runtime().spawn(serve(listener, identity.clone(), state.clone(), answer));
        Server {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            address,
            identity,
            state,
            serving,
        }
    }

    /// The names it has a certificate for.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Where it really is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port that a client believes it is at.
    pub(crate) fn port(&self) -> u16 {
        if self.identity.is_some() { 443 } else { 80 }
    }

    /// The certificate of its authority, if it speaks TLS.
    pub(crate) fn ca_pem(&self) -> Option<&str> {
        self.identity.as_deref().map(|identity| identity.ca_pem.as_str())
    }

    /// Every request until now, in order.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The newest request.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.requests().pop().expect("no request reached the server")
    }

    /// Waits for a request to this path.
    #[track_caller]
    pub(crate) fn wait_for_request(&self, path: &str) -> Seen {
        let has_come = |seen: &Seen| seen.path == path;
        let requests = self.state.requests.lock().unwrap();
        let nobody = |requests: &mut Vec<Seen>| !requests.iter().any(has_come);
        let (requests, _) = self.state.arrived.wait_timeout_while(requests, PATIENCE, nobody).unwrap();
        let found = requests.iter().find(|seen| has_come(seen)).cloned();
        drop(requests);
        found.unwrap_or_else(|| panic!("no request for {path} came"))
    }

    /// Connections that were ever made to it.
    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Lets `count` gated events go.
    pub(crate) fn release(&self, count: usize) {
        self.state.gate.add_permits(count);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Seen {
    /// A header's value; several are joined as HTTP joins them.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    fn new(request: &Request<Incoming>) -> Seen {
        let headers = request.headers().iter();
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let named = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
        let host = request.uri().authority().map(ToString::to_string).or(named).unwrap_or_default();
        Seen {
            version: request.version(),
            method: request.method().to_string(),
            host,
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers,
            body: 0,
            content: Bytes::new(),
        }
    }
}

async fn serve(listener: TcpListener, identity: Option<Arc<Identity>>, state: Arc<State>, answer: Answer) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        *state.connections.lock().unwrap() += 1;
        let _ = stream.set_nodelay(true);
        let (state, answer) = (state.clone(), answer.clone());
        match identity.clone() {
            Some(identity) => drop(tokio::spawn(async move {
                // A client that does not trust the certificate is the test's concern, not the server's.
                let Ok(stream) = TlsAcceptor::from(identity.config.clone()).accept(stream).await else {
                    return;
                };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                speak(stream, http2, state, answer).await;
            })),
            None => drop(tokio::spawn(async move {
                let http2 = is_http2(&stream).await;
                speak(stream, http2, state, answer).await;
            })),
        }
    }
}

/// Whether a connection without TLS begins as HTTP/2 does.
async fn is_http2(stream: &TcpStream) -> bool {
    let mut begin = [0; 3];
    stream.peek(&mut begin).await.is_ok_and(|read| begin[..read] == b"PRI"[..read])
}

async fn speak<S>(stream: S, http2: bool, state: Arc<State>, answer: Answer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, answer) = (state.clone(), answer.clone());
        async move {
            let number = {
                let mut requests = state.requests.lock().unwrap();
                requests.push(Seen::new(&request));
                state.arrived.notify_all();
                requests.len() - 1
            };
            let head_only = request.method() == Method::HEAD;
            let mut response = answer(state, request, number).await;
            if head_only {
                // hyper does this for HTTP/1.1 only.
                *response.body_mut() = Empty::new().boxed();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(stream);
    if http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            // As large as the proxy passes on: refused at once, a head would not wait.
            .max_header_list_size(128 * 1024)
            .serve_connection(stream, service)
            .await;
    } else {
        let connection =
            hyper::server::conn::http1::Builder::new().max_headers(1100).serve_connection(stream, service);
        let _ = connection.with_upgrades().await;
    }
}
