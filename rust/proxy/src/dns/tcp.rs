//! DNS over TCP, for resolvers that prefer it.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::answer;
use crate::ingress::accept;
use crate::job::Job;

/// Answers until the proxy shuts down.
pub(crate) async fn serve_tcp(job: Arc<Job>, listener: TcpListener, places: Arc<Semaphore>) {
    while let Some((stream, place)) = accept(&job, &listener, &places).await {
        let job = job.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = converse(&job, stream) => if let Err(error) = ended {
                    tracing::debug!(%error, "a DNS connection ended");
                },
                () = job.closing() => {}
            }
            drop(place);
        });
    }
}

/// Each message has its length in front.
async fn converse(job: &Job, mut stream: TcpStream) -> io::Result<()> {
    let mut query = Vec::new();
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            query.resize(usize::from(length), 0);
            stream.read_exact(&mut query).await
        };
        timeout(job.limits.idle, read).await??;
        let Some(answer) = answer(&query, &job.names) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&answer);
        timeout(job.limits.idle, stream.write_all(&message)).await??;
    }
}
