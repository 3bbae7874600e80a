//! Clients that end their side of a connection and wait for the answer.
//!
//! They cannot be told from clients that are gone, until something is written to them. So the answer is waited for, but not
//! as long as for others.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Most connections are over by then, and need no watching.
const HEAD_START: Duration = Duration::from_secs(1);

/// Another descriptor of a connection, to watch it by.
pub(super) struct Watched(OwnedFd);

impl Watched {
    pub(super) fn new(connection: &impl AsFd) -> io::Result<Watched> {
        connection.as_fd().try_clone_to_owned().map(Watched)
    }

    /// Waits until the client has ended its side, and then this long.
    pub(super) async fn half_closed(self, patience: Duration) {
        sleep(HEAD_START.min(patience)).await;
        if let Err(error) = self.read_closed().await {
            tracing::debug!(%error, "a connection of the job cannot be watched");
            return std::future::pending().await;
        }
        sleep(patience).await;
    }

    async fn read_closed(self) -> io::Result<()> {
        let stream = TcpStream::from_std(self.0.into())?;
        while !stream.ready(Interest::READABLE).await?.is_read_closed() {
            // Nothing is read here: this only says that the next event is waited for.
            let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(())
    }
}
