//! A server that sends every byte back: what lies behind a `tcp` rule.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::TcpListener;

use super::runtime;

/// Sends a line of its own first, as databases and mail servers do, then everything back.
pub(crate) struct EchoServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl EchoServer {
    /// Starts on a free port.
    pub(crate) fn start() -> EchoServer {
        let listener = runtime().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let serving = runtime().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    stream.write_all(b"ready\n").await?;
                    let (mut read, mut write) = stream.split();
                    copy(&mut read, &mut write).await?;
                    write.shutdown().await
                });
            }
        });
        EchoServer { address, connections, serving }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were ever made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
