//! Bounds what comes in before Pingora reads it: a request's head arrives within one deadline and
//! one size, and an idle connection is closed in time.
//!
//! Pingora's own time-outs are per read, so a byte every few seconds would hold a connection for
//! ever. The head is handed on as it came but for empty lines before it, so framing is parsed once,
//! by Pingora.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::LimitsConfig;
use crate::desk::Desk;
use crate::proxy::Proxy;
use crate::sync;

/// First read of a connection; a usual request head fits.
const READ_BYTES: usize = 2048;
/// Most bytes of empty lines before a request; some old clients send one after a body.
const EMPTY_LINES_BYTES_MAX: usize = 8;
/// A refused client gets this long to take the refusal.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

const TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const MALFORMED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The door before the proxy.
pub struct Door {
    proxy: Arc<HttpProxy<Proxy>>,
    desk: Arc<Desk>,
    head_bytes_max: usize,
    head_time_max: Duration,
    idle_time_max: Duration,
}

enum Head {
    Whole,
    Closed,
    TooLarge,
    TooSlow,
    Malformed,
}

impl Door {
    /// A door with these limits.
    #[must_use]
    pub fn new(proxy: HttpProxy<Proxy>, desk: Arc<Desk>, limits: &LimitsConfig) -> Self {
        Self {
            proxy: Arc::new(proxy),
            desk,
            head_bytes_max: limits.head_bytes_max,
            head_time_max: Duration::from_millis(limits.head_ms_max),
            idle_time_max: Duration::from_secs(limits.idle_secs_max),
        }
    }

    /// Reads until the head is whole, or a limit is reached.
    async fn read_head(
        &self,
        stream: &mut Stream,
        head: &mut BytesMut,
        shutdown: &mut ShutdownWatch,
    ) -> Head {
        let first = tokio::select! {
            read = tokio::time::timeout(self.idle_time_max, stream.read_buf(head)) => read,
            () = sync::stopping(shutdown) => return Head::Closed,
        };
        if !matches!(first, Ok(Ok(1..))) {
            return Head::Closed;
        }
        let rest = async {
            let mut empty_bytes = 0;
            loop {
                // An empty line is no head: what follows it would not be bounded any more.
                let count = empty_len(head);
                empty_bytes += count;
                if empty_bytes > EMPTY_LINES_BYTES_MAX {
                    return Head::Malformed;
                }
                head.advance(count);
                if is_whole(head) {
                    return Head::Whole;
                }
                if head.len() > self.head_bytes_max {
                    return Head::TooLarge;
                }
                head.reserve(READ_BYTES);
                if !matches!(stream.read_buf(head).await, Ok(1..)) {
                    return Head::Closed;
                }
            }
        };
        match tokio::time::timeout(self.head_time_max, rest).await {
            Ok(Head::Whole) if head_len(head) > self.head_bytes_max => Head::TooLarge,
            Ok(outcome) => outcome,
            Err(_) => Head::TooSlow,
        }
    }

    async fn refuse(&self, stream: &mut Stream, why: &'static str, answer: &'static [u8]) {
        self.desk.metrics.heads_refused_total.with_label_values(&[why]).inc();
        let written = async {
            stream.write_all(answer).await?;
            stream.flush().await
        };
        // A client that does not even take the refusal is dropped without it.
        let _ = tokio::time::timeout(REFUSAL_TIME, written).await;
    }
}

/// How many bytes of empty lines there are at the start.
fn empty_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn is_whole(head: &[u8]) -> bool {
    head_end(head).is_some()
}

fn head_len(bytes: &[u8]) -> usize {
    head_end(bytes).unwrap_or(bytes.len())
}

/// Where the empty line after the fields ends. Bare line feeds count, as parsers accept them.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at) {
        match &bytes[at + 1..] {
            [b'\n', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => return Some(at + 3),
            _ => from = at + 1,
        }
    }
    None
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return self.proxy.process_new(stream, shutdown).await;
        }
        let mut watch = shutdown.clone();
        loop {
            let mut head = BytesMut::with_capacity(READ_BYTES);
            match self.read_head(&mut stream, &mut head, &mut watch).await {
                Head::Whole => {}
                Head::Closed => return None,
                Head::TooLarge => {
                    self.refuse(&mut stream, "large", TOO_LARGE).await;
                    return None;
                }
                Head::Malformed => {
                    self.refuse(&mut stream, "malformed", MALFORMED).await;
                    return None;
                }
                Head::TooSlow => {
                    self.refuse(&mut stream, "slow", TOO_SLOW).await;
                    return None;
                }
            }
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(Some(self.idle_time_max.as_secs()));
            session.set_pipelined_prefix(head);
            (stream, _) = self.proxy.process_new_http(session, shutdown).await?.consume();
        }
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_head_ends_with_an_empty_line() {
        for (bytes, end) in [
            (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody"[..],  Some(27)),
            (&b"GET / HTTP/1.1\nhost: a\n\nbody"[..],        Some(24)),
            (&b"GET / HTTP/1.1\r\nhost: a\r\n"[..],          None),
            (&b"GET / HTTP/1.1\r\nhost: a\r\n\r"[..],        None),
            (&b""[..],                                       None),
        ] {
            assert_eq!(head_end(bytes), end, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn an_empty_line_is_no_head() {
        for (bytes, empty, end) in [
            (&b"\r\n\r\nGET / HTTP/1.1\r\n"[..],       4, None),
            (b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",    1, Some(27)),
            (b"\r\n",                                  2, None),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",      0, Some(27)),
        ] {
            assert_eq!(empty_len(bytes), empty, "{}", bytes.escape_ascii());
            assert_eq!(head_end(&bytes[empty..]), end, "{}", bytes.escape_ascii());
        }
    }
}
