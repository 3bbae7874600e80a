//! Through the operator's own HTTP proxy (`--upstream-proxy`).

use policy::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A proxy that says more than this before its empty line is not one.
const HEAD: usize = 16 * 1024;

/// Asks for a tunnel; afterwards the stream speaks with the server itself.
pub(super) async fn ask_for_tunnel(stream: &mut TcpStream, authority: &Authority) -> Result<(), String> {
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let head = read_head(stream).await.map_err(|error| error.to_string())?;
    let line = head.lines().next().unwrap_or_default();
    match line.split_ascii_whitespace().nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') && line.starts_with("HTTP/1.") => Ok(()),
        _ => Err(line.chars().take(100).collect()),
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to the server behind.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
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
        if end.is_some() {
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it did not answer like an HTTP proxy"))
}
