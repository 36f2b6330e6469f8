//! How many may connect, and how long may a connection say nothing?

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};

/// A connection that sends nothing for this long is closed: above the time that an edge keeps
/// an idle connection for its next request.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A request's head is here within this time after the answer before it, however often a byte of
/// it arrives. It includes the time between requests, so it is no less than the silence.
const HEAD_MAX: Duration = SILENCE_MAX;
/// Pause after a failed accept, which is out of file handles as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener with a limit on connections; who comes later waits in the kernel's backlog.
#[derive(Debug)]
pub struct Doors {
    listener: TcpListener,
    places: Arc<Semaphore>,
    head_max: Duration,
}

impl Doors {
    /// A listener for that many connections.
    #[must_use]
    pub fn new(listener: TcpListener, connections_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections_max));
        Self { listener, places, head_max: HEAD_MAX }
    }
}

impl Doors {
    /// Serves whoever comes until `shutdown` says so, then finishes the requests under way.
    pub async fn serve(self, router: Router, mut shutdown: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let mut tasks = JoinSet::new();
        // A sender that is gone means the same: nobody could stop us any more.
        let told = shutdown.wait_for(|is_stopping| *is_stopping);
        let mut told = std::pin::pin!(told);
        loop {
            let connection = tokio::select! {
                connection = self.accept() => connection,
                _ = &mut told => break,
            };
            let service = TowerToHyperService::new(router.clone());
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.head_max)
                .serve_connection(TokioIo::new(connection), service);
            let served = graceful.watch(served);
            // What goes wrong with one connection is that client's; requests are counted elsewhere.
            tasks.spawn(async move { served.await.is_ok() });
            while tasks.try_join_next().is_some() {}
        }
        drop(self);
        graceful.shutdown().await;
        while tasks.join_next().await.is_some() {}
    }

    async fn accept(&self) -> Connection {
        // The semaphore is never closed; if it were, no connection would be let in.
        let place = match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            Err(_) => std::future::pending().await,
        };
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Without it an answer may wait 40 ms for the kernel; with an error it does.
                    let _ = stream.set_nodelay(true);
                    let silence = Box::pin(sleep(SILENCE_MAX));
                    return Connection { stream, silence, _place: place };
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A connection that is closed when it says nothing for too long.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
                Poll::Ready(read)
            }
            Poll::Pending => match self.silence.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_byte_now_and_then_keeps_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let doors = Doors { head_max: Duration::from_millis(200), ..Doors::new(listener, 1) };
        let (stop, shutdown) = watch::channel(false);
        let serving = tokio::spawn(doors.serve(Router::new(), shutdown));
        let (mut read, mut write) = TcpStream::connect(addr).await.unwrap().into_split();
        let dripping = tokio::spawn(async move {
            while write.write_all(b"G").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), read.read_to_end(&mut rest));
        let _ = closed.await.expect("the connection is closed");
        dripping.abort();
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
    }
}
