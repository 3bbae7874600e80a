//! A connection of the job, with the bytes that were read to see what it speaks put back in front.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream that first yields what was already read from it.
pub(crate) struct Prefixed {
    prefix: Bytes,
    io: TcpStream,
}

impl Prefixed {
    pub(crate) fn new(prefix: Bytes, io: TcpStream) -> Prefixed {
        Prefixed { prefix, io }
    }

    /// Puts bytes in front of everything that is still to come.
    pub(crate) fn put_back(self, read: Bytes) -> Prefixed {
        if read.is_empty() {
            return self;
        }
        let mut prefix = BytesMut::from(&read[..]);
        prefix.extend_from_slice(&self.prefix);
        Prefixed { prefix: prefix.freeze(), io: self.io }
    }

    /// The bytes seen so far.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.prefix
    }

    /// Reads more, to look at it; false at the end of the stream.
    pub(crate) async fn look_further(&mut self) -> io::Result<bool> {
        let mut more = BytesMut::with_capacity(self.prefix.len() + 1024);
        more.extend_from_slice(&self.prefix);
        let read = self.io.read_buf(&mut more).await?;
        self.prefix = more.freeze();
        Ok(read > 0)
    }
}

impl AsFd for Prefixed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
