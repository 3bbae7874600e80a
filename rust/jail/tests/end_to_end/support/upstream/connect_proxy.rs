//! An HTTP proxy of the operator's network, for `--upstream-proxy`: CONNECT only.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{Server, runtime};

/// A proxy that knows where the tests' hosts are.
pub(crate) struct ConnectProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl ConnectProxy {
    /// A proxy to the hosts of `server`; it refuses every other.
    pub(crate) fn to(server: &Server) -> ConnectProxy {
        let known: HashMap<String, SocketAddr> = server
            .hosts()
            .iter()
            .map(|host| (format!("{host}:{}", server.port()), server.address()))
            .collect();
        let listener = runtime().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        let serving = runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (known, log) = (known.clone(), log.clone());
                tokio::spawn(async move { tunnel(stream, &known, &log).await });
            }
        });
        ConnectProxy { address, asked, serving }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every `host:port` that it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn tunnel(
    mut client: TcpStream,
    known: &HashMap<String, SocketAddr>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let authority = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    log.lock().unwrap().push(authority.to_owned());
    let Some(address) = known.get(authority) else {
        return client.write_all(b"HTTP/1.1 502 Unknown Host\r\ncontent-length: 0\r\n\r\n").await;
    };
    let mut server = TcpStream::connect(address).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
