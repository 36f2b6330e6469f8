//! Lets what is written to a connection bit by bit go out together: when nothing more can be read at
//! once, or when there is enough.
//!
//! HTTP/2 writes each frame by itself and flushes after each request that it reads, also when several
//! came together. Over TLS every write becomes a record of its own, sealed and sent alone. Who reads
//! all that is there before it waits, as the HTTP/2 connection does, loses nothing by writing then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much as fits into one TLS record (RFC 8446, section 5.1).
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Room for a few answers to begin with.
const GATHERED_BYTES_FIRST: usize = 4 * 1024;

/// A connection that writes when it has been read empty, or when a record is full.
#[derive(Debug)]
pub struct Gather {
    stream: Stream,
    held: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// Nothing could be read when that was last tried.
    is_read_empty: bool,
}

impl Gather {
    /// Gathers what is written to `stream`.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new(), written: 0, is_read_empty: true }
    }

    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.written < self.held.len() {
            let rest = &self.held[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        // An idle connection holds nothing.
        self.held = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gather {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.is_read_empty = read.is_pending();
        if self.is_read_empty
            && !self.held.is_empty()
            && let Poll::Ready(Err(error)) = self.as_mut().poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for Gather {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.held.len() >= GATHERED_BYTES_MAX {
            ready!(self.poll_release(cx))?;
        }
        if self.held.is_empty() {
            self.held.reserve(GATHERED_BYTES_FIRST);
        }
        let count = bytes.len().min(GATHERED_BYTES_MAX - self.held.len());
        self.held.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.is_read_empty {
            // There is more to read, and more to write because of it: `poll_read` will see to this.
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Gather {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

#[async_trait]
impl Peek for Gather {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> std::io::Result<bool> {
        self.stream.try_peek(buffer).await
    }
}

impl UniqueID for Gather {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Gather {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Gather {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Gather {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Gather {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_goes_out_when_all_is_read_or_when_it_is_too_much() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut gather = Gather::new(Box::new(ours));
        gather.write_all(b"one ").await.unwrap();
        gather.write_all(b"two ").await.unwrap();
        let mut seen = vec![0; 1 << 20];
        let nothing = at_once(theirs.read(&mut seen)).await;
        assert!(nothing.is_none(), "it is held");
        gather.flush().await.unwrap();
        assert_eq!(theirs.read(&mut seen).await.unwrap(), 8);
        assert_eq!(&seen[..8], b"one two ");
        // What is asked together is answered together.
        theirs.write_all(b"three? four?").await.unwrap();
        let mut asked = [0; 6];
        for answer in [b"three ", b" four "] {
            gather.read_exact(&mut asked).await.unwrap();
            gather.write_all(answer).await.unwrap();
            gather.flush().await.unwrap();
            assert!(at_once(theirs.read(&mut seen)).await.is_none(), "it is held");
        }
        assert!(at_once(gather.read_exact(&mut asked)).await.is_none(), "all is read");
        assert_eq!(theirs.read(&mut seen).await.unwrap(), 12);
        assert_eq!(&seen[..12], b"three  four ");
        let long = vec![7; 3 * GATHERED_BYTES_MAX + 5];
        gather.write_all(&long).await.unwrap();
        assert_eq!(theirs.read(&mut seen).await.unwrap(), 3 * GATHERED_BYTES_MAX);
        AsyncWriteExt::shutdown(&mut gather).await.unwrap();
        assert_eq!(theirs.read(&mut seen).await.unwrap(), 5);
        assert_eq!(theirs.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_gets_everything_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut gather = Gather::new(Box::new(ours));
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            for part in sent.chunks(777) {
                gather.write_all(part).await.unwrap();
            }
            gather.flush().await.unwrap();
        });
        let mut seen = Vec::new();
        theirs.read_to_end(&mut seen).await.unwrap();
        writing.await.unwrap();
        assert_eq!(seen, expected);
    }

    /// What comes of it at once.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
