//! One request from inside a jail, for `jail demo` on hosts without curl.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::console;
use crate::failure::Failure;

const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the body of the answer.
pub(crate) fn fetch(url: &str, header: Option<&str>) -> Result<ExitCode, Failure> {
    let body = body(url, header).map_err(|error| Failure::no_jail(format!("cannot fetch {url}: {error}")))?;
    console::print(&body)?;
    Ok(ExitCode::SUCCESS)
}

fn body(url: &str, header: Option<&str>) -> Result<String, Box<dyn std::error::Error>> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let default_port = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse()?),
        None => (authority, default_port),
    };
    let header = header.map(|header| format!("{header}\r\n")).unwrap_or_default();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {authority}\r\n{header}connection: close\r\n\r\n");
    let stream = connect(host, port)?;
    let answer =
        if scheme == "https" { over_tls(stream, host, &request)? } else { exchange(stream, &request)? };
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    Ok(body.to_owned())
}

#[allow(
    clippy::disallowed_methods,
    reason = "this runs inside a jail: its connections end at the jail's proxy"
)]
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn over_tls(stream: TcpStream, host: &str, request: &str) -> Result<String, Box<dyn std::error::Error>> {
    let bundle = std::env::var_os("SSL_CERT_FILE").ok_or("SSL_CERT_FILE is not set")?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(bundle)?.collect::<Result<Vec<_>, _>>()?);
    let config = ClientConfig::builder_with_provider(proxy::crypto_provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?;
    Ok(exchange(StreamOwned::new(connection, stream), request)?)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // A server that closes TCP without closing TLS first; the answer is judged by its length elsewhere.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        result => drop(result?),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
