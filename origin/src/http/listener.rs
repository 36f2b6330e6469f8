//! How many may connect, how long may a connection say nothing, and who takes it over once the
//! answer is a stream?

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};

use crate::live::Reader;

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

/// Part of a response: the connection goes to somebody else once the head is written. The server
/// that parsed the request, its buffers and its place among the connections are free then.
#[derive(Debug, Clone)]
pub struct HandOver(Arc<Mutex<Option<Taker>>>);

/// Who takes a connection over.
#[derive(Debug)]
enum Taker {
    /// A reader of the live map.
    Reader(Reader),
    /// Another process, which has become something else than HTTP as well, such as a WebSocket.
    Peer(Upgraded),
}

impl HandOver {
    /// To this reader.
    pub fn new(reader: Reader) -> Self {
        Self(Arc::new(Mutex::new(Some(Taker::Reader(reader)))))
    }

    /// To another process.
    pub fn to_peer(peer: Upgraded) -> Self {
        Self(Arc::new(Mutex::new(Some(Taker::Peer(peer)))))
    }

    fn take(&self) -> Option<Taker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection that is a stream from now on.
struct Handed {
    taker: Taker,
    stream: TcpStream,
    head: Vec<u8>,
    rest: Bytes,
}

impl Handed {
    async fn run(self, stopping: watch::Receiver<bool>) {
        let Self { taker, stream, head, rest } = self;
        match taker {
            Taker::Reader(reader) => reader.run(stream, head, rest).await,
            Taker::Peer(peer) => tunnel(stream, &head, &rest, peer, stopping).await,
        }
    }
}

/// Bytes go to and fro until one side ends, or we do.
async fn tunnel(
    mut ours: TcpStream,
    head: &[u8],
    rest: &[u8],
    peer: Upgraded,
    mut stopping: watch::Receiver<bool>,
) {
    let mut theirs = TokioIo::new(peer);
    let copied = async {
        ours.write_all(head).await?;
        theirs.write_all(rest).await?;
        tokio::io::copy_bidirectional(&mut ours, &mut theirs).await
    };
    tokio::select! {
        // Whoever breaks it off has said enough.
        _ = copied => {}
        _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
    }
}

impl Doors {
    /// A listener with room for as many connections as `places` has.
    #[must_use]
    pub fn new(listener: TcpListener, places: Arc<Semaphore>) -> Self {
        Self { listener, places, head_max: HEAD_MAX }
    }

    /// Serves whoever comes until `shutdown` says so, then finishes the requests under way.
    pub async fn serve(self, router: Router, mut shutdown: watch::Receiver<bool>) {
        let mut tasks: JoinSet<Option<Handed>> = JoinSet::new();
        let stopping = shutdown.clone();
        // A sender that is gone means the same: nobody could stop us any more.
        let told = shutdown.wait_for(|is_stopping| *is_stopping);
        let mut told = std::pin::pin!(told);
        loop {
            tokio::select! {
                connection = self.accept() => {
                    let served = serve(connection, router.clone(), self.head_max, stopping.clone());
                    tasks.spawn(served);
                }
                Some(ended) = tasks.join_next() => {
                    // A task of its own: this one is as large as a whole request.
                    if let Ok(Some(handed)) = ended {
                        let stopping = stopping.clone();
                        tasks.spawn(async move {
                            handed.run(stopping).await;
                            None
                        });
                    }
                }
                _ = &mut told => break,
            }
        }
        drop(self);
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
                    return Connection::new(stream, place);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves the requests of one connection, until one of them is answered with a stream.
async fn serve(
    connection: Connection,
    router: Router,
    head_max: Duration,
    mut shutdown: watch::Receiver<bool>,
) -> Option<Handed> {
    let (hand, handed) = oneshot::channel();
    let hand = Mutex::new(Some(hand));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let answered = router.call(request);
        let hand = &hand;
        async move {
            let mut response = answered.await?;
            let taker = response.extensions_mut().remove::<HandOver>().and_then(|h| h.take());
            let Some(taker) = taker else {
                return Ok::<_, std::convert::Infallible>(response);
            };
            let hand = hand.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Whoever waits for it takes the connection from the server before it is answered.
            let _ = hand.map(|hand| hand.send(Box::new((taker, head_of(&response)))));
            std::future::pending().await
        }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_max)
        .serve_connection(TokioIo::new(connection), service);
    let mut handed = std::pin::pin!(handed);
    let mut is_stopping = false;
    let handed = loop {
        tokio::select! {
            biased;
            // What goes wrong with one connection is that client's; requests are counted elsewhere.
            _ = &mut served => return None,
            Ok(handed) = &mut handed => break handed,
            _ = shutdown.wait_for(|is_stopping| *is_stopping), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut served).graceful_shutdown();
            }
        }
    };
    let (taker, head) = *handed;
    let parts = served.into_parts();
    Some(Handed { taker, stream: parts.io.into_inner().stream, head, rest: parts.read_buf })
}

/// The head of a response that ends with its connection.
fn head_of(response: &Response<Body>) -> Vec<u8> {
    let status = response.status();
    let mut head = Vec::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or("");
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    if !response.headers().contains_key(header::CONNECTION) {
        head.extend_from_slice(b"connection: close\r\n");
    }
    // The router gives every empty body its length.
    let headers = response.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH);
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A connection that is closed when it says nothing for too long.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// When something was last read. The timer is set anew only once it has run out: most
    /// connections say something all the time.
    heard: Instant,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        let silence = Box::pin(sleep(SILENCE_MAX));
        Self { stream, heard: Instant::now(), silence, _place: place }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                self.heard = Instant::now();
                Poll::Ready(read)
            }
            Poll::Pending => {
                while self.silence.as_mut().poll(context).is_ready() {
                    let until = self.heard + SILENCE_MAX;
                    if until <= Instant::now() {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    self.silence.as_mut().reset(until);
                }
                Poll::Pending
            }
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
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_byte_now_and_then_keeps_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let doors = Doors {
            head_max: Duration::from_millis(200),
            ..Doors::new(listener, Arc::new(Semaphore::new(1)))
        };
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
