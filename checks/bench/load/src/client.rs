//! The load client. It does what lines on its standard input say and answers each with one line of numbers, so that
//! one process, and one jail, lasts for all rounds of a measurement.

use std::error::Error;
use std::io::{BufRead, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, HOST as HOST_HEADER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::upstream::{BULK, SMALL, nanoseconds};
use crate::{Fallible, HOST};

/// The variable that holds the token to send: in a jail the dummy.
pub(crate) const TOKEN: &str = "BENCH_TOKEN";
const HTTPS: u16 = 443;
/// Requests that are not counted: caches fill, windows open.
const WARM_UP: usize = 20;

type Failure = Box<dyn Error + Send + Sync>;
type Sender = http1::SendRequest<Empty<Bytes>>;

/// Obeys until standard input ends. The arguments: nothing, or the address to dial instead of looking the host up.
pub(crate) fn obey(arguments: &[&str]) -> Fallible<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut client = Client::new(arguments.first().copied())?;
    tell("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match client.act(&words, &runtime) {
            Ok(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(|number| format!("{number:.1}")).collect();
                tell(&format!("ok {}", numbers.join(" ")))?;
            }
            Err(error) => tell(&format!("error {}", explained(&*error)))?,
        }
    }
    Ok(())
}

/// Makes one request and says so when the first byte of its answer is here.
pub(crate) fn once(arguments: &[&str]) -> Fallible<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(arguments.first().copied())?;
    runtime.block_on(client.first()).map_err(|error| explained(&*error))?;
    tell("first")
}

struct Client {
    address: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
    token: Option<String>,
    held: Vec<Sender>,
}

impl Client {
    fn new(address: Option<&str>) -> Fallible<Client> {
        // Looked up once: what is measured is connections, not resolvers.
        let address = match address {
            Some(address) => address.parse()?,
            None => (HOST, HTTPS)
                .to_socket_addrs()
                .map_err(|error| format!("cannot look up {HOST}: {error}"))?
                .next()
                .ok_or("the host has no address")?,
        };
        let roots = Arc::new(roots()?);
        Ok(Client {
            address,
            http1: connector(roots.clone(), b"http/1.1"),
            http2: connector(roots, b"h2"),
            token: std::env::var(TOKEN).ok(),
            held: Vec::new(),
        })
    }

    fn act(&mut self, words: &[&str], runtime: &Runtime) -> Result<Vec<f64>, Failure> {
        match words {
            ["check"] => runtime.block_on(self.check()),
            ["new", count] => runtime.block_on(self.new_connections(count.parse()?, false)),
            ["new-by-connect", count] => runtime.block_on(self.new_connections(count.parse()?, true)),
            ["one", count] => runtime.block_on(self.one_by_one(count.parse()?)),
            ["many", connections, milliseconds] => {
                runtime.block_on(self.many(connections.parse()?, span(milliseconds)?))
            }
            ["many-http2", streams, milliseconds] => {
                runtime.block_on(self.many_http2(streams.parse()?, span(milliseconds)?))
            }
            ["bulk"] => runtime.block_on(self.bulk()),
            ["events", count] => runtime.block_on(self.events(count.parse()?)),
            ["hold", count] => {
                let count = count.parse()?;
                runtime.block_on(self.hold(count))
            }
            _ => Err(format!("unknown command {words:?}").into()),
        }
    }

    /// Sees that a token is swapped on the way out and back on the way in; without a token there is nothing to see.
    async fn check(&self) -> Result<Vec<f64>, Failure> {
        let mut sender = self.open(false).await?;
        let body =
            succeeded(sender.send_request(self.request("/echo")?).await?).await?.collect().await?.to_bytes();
        let expected = self.token.as_ref().map(|token| format!("Bearer {token}")).unwrap_or_default();
        if body != expected.as_bytes() {
            return Err("the server's echo of the token did not come back as the dummy".into());
        }
        Ok(Vec::new())
    }

    async fn first(&self) -> Result<(), Failure> {
        let mut sender = self.open(false).await?;
        let _ = succeeded(sender.send_request(self.request("/small")?).await?).await?;
        Ok(())
    }

    /// Microseconds from a new connection to the whole first answer, one after the other.
    async fn new_connections(&self, count: usize, by_connect: bool) -> Result<Vec<f64>, Failure> {
        let mut times = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            let mut sender = self.open(by_connect).await?;
            self.small(&mut sender).await?;
            times.push(microseconds(start));
        }
        Ok(times)
    }

    /// Microseconds of each request on one connection.
    async fn one_by_one(&self, count: usize) -> Result<Vec<f64>, Failure> {
        let mut sender = self.open(false).await?;
        for _ in 0..WARM_UP {
            self.small(&mut sender).await?;
        }
        let mut times = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            self.small(&mut sender).await?;
            times.push(microseconds(start));
        }
        Ok(times)
    }

    /// Requests per second over so many connections at once.
    async fn many(&self, connections: usize, span: Duration) -> Result<Vec<f64>, Failure> {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let mut sender = self.open(false).await?;
            self.small(&mut sender).await?;
            senders.push(sender);
        }
        let request = self.request("/small")?;
        let start = Instant::now();
        let mut tasks: JoinSet<Result<usize, Failure>> = JoinSet::new();
        for mut sender in senders {
            let request = request.clone();
            tasks.spawn(async move {
                let mut count = 0;
                while start.elapsed() < span {
                    sender.ready().await?;
                    whole(sender.send_request(request.clone()).await?, SMALL).await?;
                    count += 1;
                }
                Ok(count)
            });
        }
        rate(tasks, start).await
    }

    /// Requests per second over so many streams of one HTTP/2 connection.
    async fn many_http2(&self, streams: usize, span: Duration) -> Result<Vec<f64>, Failure> {
        let stream = self.http2.connect(server_name()?, self.dial(false).await?).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::get(format!("https://{HOST}/small"));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new())?;
        whole(sender.send_request(request.clone()).await?, SMALL).await?;
        let start = Instant::now();
        let mut tasks: JoinSet<Result<usize, Failure>> = JoinSet::new();
        for _ in 0..streams {
            let (mut sender, request) = (sender.clone(), request.clone());
            tasks.spawn(async move {
                let mut count = 0;
                while start.elapsed() < span {
                    sender.ready().await?;
                    whole(sender.send_request(request.clone()).await?, SMALL).await?;
                    count += 1;
                }
                Ok(count)
            });
        }
        rate(tasks, start).await
    }

    /// MiB per second of one large answer.
    async fn bulk(&self) -> Result<Vec<f64>, Failure> {
        let mut sender = self.open(false).await?;
        self.small(&mut sender).await?;
        sender.ready().await?;
        let start = Instant::now();
        whole(sender.send_request(self.request("/bulk")?).await?, BULK).await?;
        Ok(vec![BULK as f64 / f64::from(1 << 20) / start.elapsed().as_secs_f64()])
    }

    /// Microseconds from the server's sending to our having each event of a stream.
    async fn events(&self, count: usize) -> Result<Vec<f64>, Failure> {
        let mut sender = self.open(false).await?;
        let response = sender.send_request(self.request(&format!("/events/{count}"))?).await?;
        let mut body = succeeded(response).await?;
        let (mut text, mut delays) = (String::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            let now = nanoseconds();
            text.push_str(std::str::from_utf8(&data)?);
            while let Some((event, rest)) = text.split_once("\n\n") {
                let sent: u128 = event.trim_start_matches("data: ").parse()?;
                delays.push(now.saturating_sub(sent) as f64 / 1000.0);
                text = rest.to_owned();
            }
        }
        if delays.len() == count {
            Ok(delays)
        } else {
            Err(format!("{} of {count} events arrived", delays.len()).into())
        }
    }

    /// Keeps so many connections open, each used once.
    async fn hold(&mut self, count: usize) -> Result<Vec<f64>, Failure> {
        self.held.clear();
        for _ in 0..count {
            let mut sender = self.open(false).await?;
            self.small(&mut sender).await?;
            self.held.push(sender);
        }
        Ok(Vec::new())
    }

    async fn open(&self, by_connect: bool) -> Result<Sender, Failure> {
        let stream = self.dial(by_connect).await?;
        let stream: TlsStream<TcpStream> = self.http1.connect(server_name()?, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn dial(&self, by_connect: bool) -> Result<TcpStream, Failure> {
        if by_connect {
            return tunnel().await;
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn small(&self, sender: &mut Sender) -> Result<(), Failure> {
        sender.ready().await?;
        whole(sender.send_request(self.request("/small")?).await?, SMALL).await
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
        let mut request = Request::get(path).header(HOST_HEADER, HOST);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Ok(request.body(Empty::new())?)
    }
}

fn roots() -> Fallible<RootCertStore> {
    // The variable that a jail sets for OpenSSL's users; outside `measure` sets it.
    let file = std::env::var("SSL_CERT_FILE").map_err(|_| "SSL_CERT_FILE is not set")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file)? {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

fn connector(roots: Arc<RootCertStore>, protocol: &[u8]) -> TlsConnector {
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    // Every handshake is a full one, on both sides of the comparison.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

fn server_name() -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from(HOST)?)
}

/// A tunnel through the proxy that the environment names.
async fn tunnel() -> Result<TcpStream, Failure> {
    let proxy = std::env::var("HTTPS_PROXY")?;
    let mut stream = TcpStream::connect(proxy.trim_start_matches("http://").trim_end_matches('/')).await?;
    stream.set_nodelay(true)?;
    stream
        .write_all(format!("CONNECT {HOST}:{HTTPS} HTTP/1.1\r\nHost: {HOST}:{HTTPS}\r\n\r\n").as_bytes())
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err("the proxy closed the connection instead of answering CONNECT".into());
        }
    }
    if !head.starts_with(b"HTTP/1.1 200") && !head.starts_with(b"HTTP/1.0 200") {
        return Err(String::from_utf8_lossy(&head).into_owned().into());
    }
    Ok(stream)
}

/// Reads an answer that must be of this length.
async fn whole(response: Response<Incoming>, length: usize) -> Result<(), Failure> {
    let mut body = succeeded(response).await?;
    let mut got = 0;
    while let Some(frame) = body.frame().await {
        got += frame?.data_ref().map_or(0, Bytes::len);
    }
    if got == length { Ok(()) } else { Err(format!("{got} of {length} bytes arrived").into()) }
}

async fn succeeded(response: Response<Incoming>) -> Result<Incoming, Failure> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response.into_body());
    }
    let body = response.into_body().collect().await?.to_bytes();
    Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
}

/// What all tasks did together, per second.
async fn rate(mut tasks: JoinSet<Result<usize, Failure>>, start: Instant) -> Result<Vec<f64>, Failure> {
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count??;
    }
    Ok(vec![total as f64 / start.elapsed().as_secs_f64()])
}

fn span(milliseconds: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(milliseconds.parse()?))
}

fn microseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// An error with its causes, on one line.
fn explained(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text.replace('\n', " ")
}

fn tell(line: &str) -> Fallible<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
