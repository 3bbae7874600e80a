//! Through the operator's own proxy (`--upstream-proxy`, `HTTPS_PROXY`).

use std::net::SocketAddr;

use policy::{Authority, Host};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::stream::Stream;
use crate::upstream_proxy::ProxyServer;

/// A proxy that says more than this before its empty line is not one.
const HEAD: usize = 16 * 1024;

/// What to do about a proxy that asks who is there.
pub(super) const NEEDS_LOGIN: &str = "it asks for a name and a password (407): give them in its address, as \
     http://NAME:PASSWORD@HOST:PORT, by --upstream-proxy or HTTPS_PROXY";

/// Asks an HTTP proxy for a tunnel; afterwards the stream speaks with the server itself.
pub(super) async fn ask_for_tunnel(
    stream: &mut Stream,
    proxy: &ProxyServer,
    authority: &Authority,
) -> Result<(), String> {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let head = read_head(stream).await.map_err(|error| error.to_string())?;
    let line = head.lines().next().unwrap_or_default();
    match line.split_ascii_whitespace().nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') && line.starts_with("HTTP/1.") => Ok(()),
        Some("407") => Err(NEEDS_LOGIN.to_owned()),
        _ => Err(line.chars().filter(|character| !character.is_control()).take(100).collect()),
    }
}

/// Asks a SOCKS 5 proxy for a connection; `address` is where the name was resolved to, if it was resolved here.
pub(super) async fn ask_socks(
    stream: TcpStream,
    proxy: &ProxyServer,
    authority: &Authority,
    address: Option<SocketAddr>,
) -> Result<TcpStream, String> {
    let host = match (&authority.host, address) {
        (_, Some(address)) => address.ip().to_string(),
        (Host::Ip(address), None) => address.to_string(),
        (Host::Name(name), None) => name.as_str().to_owned(),
    };
    let target = (host.as_str(), authority.port);
    let asked = match &proxy.login {
        Some(login) => {
            let password = login.password.expose_secret();
            Socks5Stream::connect_with_password_and_socket(stream, target, &login.user, password).await
        }
        None => Socks5Stream::connect_with_socket(stream, target).await,
    };
    match asked {
        Ok(stream) => Ok(stream.into_inner()),
        Err(tokio_socks::Error::NoAcceptableAuthMethods) if proxy.login.is_none() => Err(
            "it asks for a name and a password: give them in its address, as socks5://NAME:PASSWORD@HOST:PORT"
                .to_owned(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to the server behind.
async fn read_head(stream: &mut Stream) -> std::io::Result<String> {
    let head = match stream {
        Stream::Tcp(stream) => read_tcp_head(stream).await?,
        Stream::Tls(stream) => {
            let mut head = Vec::new();
            while head.len() < HEAD && !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            head
        }
    };
    if head.ends_with(b"\r\n\r\n") {
        return Ok(String::from_utf8_lossy(&head).into_owned());
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it did not answer like an HTTP proxy"))
}

async fn read_tcp_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut seen = [0; 1024];
    while head.len() < HEAD {
        let available = stream.peek(&mut seen).await?;
        if available == 0 {
            break;
        }
        let before = head.len();
        head.extend_from_slice(&seen[..available]);
        let end = head.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4);
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(&mut seen[..taken]).await?;
        if let Some(end) = end {
            head.truncate(end);
            break;
        }
    }
    Ok(head)
}
