//! Clients inside.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Jail, PATIENCE};

/// What a client got.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The reason of a denial.
    pub fn denied(&self) -> Option<&str> {
        self.header("x-jail-deny")
    }

    /// A header that an echoing server saw.
    pub fn seen_header(&self, name: &str) -> Vec<String> {
        let told = self.json();
        let headers = told["headers"].as_array().unwrap();
        headers
            .iter()
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].as_str().unwrap().to_owned())
            .collect()
    }
}

/// An established HTTP connection to one server.
pub enum Http {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Jail {
    /// One request over a new connection through CONNECT.
    pub async fn get(&self, url: &str, alpn: &str) -> Got {
        self.send(Request::get(url).body(Full::default()).unwrap(), alpn).await
    }

    /// One request over a new connection through CONNECT.
    pub async fn send(&self, request: Request<Full<Bytes>>, alpn: &str) -> Got {
        let uri = request.uri().clone();
        let host = uri.host().unwrap().to_owned();
        let port = uri.port_u16().unwrap_or(443);
        self.https(&format!("{host}:{port}"), &host, alpn).await.send(request).await
    }

    /// A connection through CONNECT with this SNI.
    pub async fn https(&self, authority: &str, sni: &str, alpn: &str) -> Http {
        let tunnel = self.connect(authority).await;
        Http::over(self.tls(tunnel, Some(sni), alpn).await.unwrap(), alpn == "h2").await
    }

    /// A tunnel through CONNECT.
    pub async fn connect(&self, authority: impl Display) -> TcpStream {
        let mut stream = dial(self.explicit).await;
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream
    }

    /// TLS that trusts the job's CA; without an SNI the address of loopback is expected in the certificate.
    pub async fn tls(
        &self,
        stream: TcpStream,
        sni: Option<&str>,
        alpn: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_as(stream, sni.unwrap_or("127.0.0.1"), true, alpn).await
    }

    /// TLS that expects this name and may keep silent about it.
    pub async fn tls_as(
        &self,
        stream: TcpStream,
        name: &str,
        send_sni: bool,
        alpn: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = proxy::crypto_provider();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.enable_sni = send_sni;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    }

    /// TLS to a transparent listener.
    pub async fn transparent_tls(&self, sni: &str, alpn: &str) -> TlsStream<TcpStream> {
        self.tls(dial(self.port443).await, Some(sni), alpn).await.unwrap()
    }
}

impl Http {
    pub async fn over<S>(stream: S, h2: bool) -> Http
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .max_header_list_size(1024 * 1024)
                .handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(connection);
            Http::Two(sender)
        } else {
            let (sender, connection) =
                http1::Builder::new().max_headers(2000).handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Http::One(sender)
        }
    }

    pub async fn get(&mut self, url: &str) -> Got {
        self.send(Request::get(url).body(Full::default()).unwrap()).await
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Got {
        timeout(PATIENCE, self.try_send(request)).await.expect("an answer in time").unwrap()
    }

    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Got> {
        let response = match self {
            Http::One(sender) => {
                sender.ready().await?;
                sender.send_request(origin_form(request)).await?
            }
            Http::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        let status = StatusCode::as_u16(&head.status);
        Ok(Got { status, headers: head.headers, body: body.to_bytes(), trailers })
    }
}

/// What HTTP/1 clients send: the path, and the server in `Host`.
pub fn origin_form(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    if !request.headers().contains_key("host") {
        let host = request.uri().authority().unwrap().to_string();
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    let path = request.uri().path_and_query().unwrap().clone();
    *request.uri_mut() = path.into();
    request
}

pub async fn dial(address: SocketAddr) -> TcpStream {
    #[allow(clippy::disallowed_methods, reason = "a client of the tests, on loopback")]
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads up to the empty line.
pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    timeout(PATIENCE, read).await.expect("a head in time");
    String::from_utf8(head).unwrap()
}

/// Sends bytes and reads everything until the other side closes.
pub async fn say<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // A reset after an answer is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("an end in time");
    String::from_utf8_lossy(&said).into_owned()
}
