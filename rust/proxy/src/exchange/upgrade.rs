//! After `101 Switching Protocols`: bytes both ways, until one side is through.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, split};

use crate::job::{ConnectionPermit, Job};
use redact::{Redactor, StreamRedactor};

/// Joins both sides once they have upgraded, until they are through or the terms end under which they were opened;
/// the job's place is taken meanwhile.
pub(super) fn join(
    job: Arc<Job>,
    place: ConnectionPermit,
    inside: OnUpgrade,
    outside: OnUpgrade,
    redactor: Option<Redactor>,
) {
    tokio::spawn(async move {
        let copied = async {
            let (inside, outside) = tokio::try_join!(inside, outside).map_err(io::Error::other)?;
            let (mut inside, mut outside) = (TokioIo::new(inside), TokioIo::new(outside));
            match redactor {
                None => copy_bidirectional(&mut inside, &mut outside).await.map(|_| ()),
                Some(redactor) => copy_redacted(inside, outside, redactor.stream()).await,
            }
        };
        tokio::select! {
            ended = copied => if let Err(error) = ended {
                tracing::debug!(%error, "a websocket ended");
            },
            () = job.closing() => {}
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
