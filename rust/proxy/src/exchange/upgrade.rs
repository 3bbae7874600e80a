//! After `101 Switching Protocols`: bytes both ways, until one side is through.

use std::io;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, split};

use crate::job::Place;
use crate::redact::{Redactor, StreamRedactor};

/// Joins both sides once they have upgraded; the job's place is taken until they are through.
pub(super) fn join(place: Place, job: OnUpgrade, outside: OnUpgrade, redactor: Option<Redactor>) {
    tokio::spawn(async move {
        let ended = async {
            let (job, outside) = tokio::try_join!(job, outside).map_err(io::Error::other)?;
            let (mut job, mut outside) = (TokioIo::new(job), TokioIo::new(outside));
            match redactor {
                None => copy_bidirectional(&mut job, &mut outside).await.map(|_| ()),
                Some(redactor) => copy_redacted(job, outside, redactor.stream()).await,
            }
        };
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a websocket ended");
        }
        drop(place);
    });
}

async fn copy_redacted(
    job: TokioIo<Upgraded>,
    outside: TokioIo<Upgraded>,
    mut redactor: StreamRedactor,
) -> io::Result<()> {
    let (mut job_reads, mut job_writes) = split(job);
    let (mut outside_reads, mut outside_writes) = split(outside);
    let up = async {
        tokio::io::copy(&mut job_reads, &mut outside_writes).await?;
        outside_writes.shutdown().await
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        loop {
            buffer.clear();
            if outside_reads.read_buf(&mut buffer).await? == 0 {
                job_writes.write_all(&redactor.finish()).await?;
                return job_writes.shutdown().await;
            }
            job_writes.write_all(&redactor.feed(&buffer)).await?;
            job_writes.flush().await?;
            if redactor.is_refused() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "frames that cannot be searched for secrets",
                ));
            }
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}
