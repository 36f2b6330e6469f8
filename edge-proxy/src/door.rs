//! What every connection goes through: bounds what comes in, answers HTTP/1.1 that the edge answers by
//! itself, and hands the rest to Pingora.
//!
//! Pingora's own time-outs are per read, so a byte every few seconds would hold a connection for
//! ever. A head that is handed on is handed on as it came but for empty lines before it, so framing
//! is parsed once by whoever acts on it: here for what we answer, by Pingora for what it proxies.
//! What was decided of a request goes with it ([`Dealt`]), lest it is decided twice.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use http::request::Parts;
use keys::Timestamp;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::io::AsyncReadExt as _;

use crate::answer::Answer;
use crate::client::Cidr;
use crate::config::LimitsConfig;
use crate::connections::Connections;
use crate::desk::{self, BODY_BYTES_MAX, Desk, Outcome};
use crate::h2::Http2;
use crate::head::{FIELDS_MAX, Head, Read};
use crate::hot::Peer;
use crate::idle::Idle;
use crate::passage::Passage;
use crate::proxy::{BODY_TIME_MAX, Dealt, Proxy};
use crate::relay::{Relay, Relayed};
use crate::send::{CLIENT_WRITE_MAX, send};
use crate::stream::{self, Stream as Follow};
use crate::visit::Visit;
use crate::wire::{Date, OUT_BYTES_MAX, Prebuilt};

/// First read of a connection; a usual request head fits.
const READ_BYTES: usize = 2048;
/// Most bytes of empty lines before a request; some old clients send one after a body.
const EMPTY_LINES_BYTES_MAX: usize = 8;
/// A refused client gets this long to take the refusal.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

const TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const MALFORMED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The door before the proxy.
pub struct Door {
    proxy: Arc<HttpProxy<Proxy>>,
    http2: Arc<Http2>,
    relay: Relay,
    desk: Arc<Desk>,
    trusted: Vec<Cidr>,
    connections: Arc<Connections>,
    head_bytes_max: usize,
    head_time_max: Duration,
    idle_time_max: Duration,
}

/// What came of waiting for a head.
enum Arrived {
    Whole,
    Closed,
    TooLarge,
    TooSlow,
    Malformed,
}

/// What is to be done with the head at the start of the buffer.
enum Next {
    /// It is answered; the answer is in the output.
    Answered { bytes: usize, is_last: bool },
    /// The desk is to deal with it.
    Deal(Box<Asked>),
    /// Pingora is to judge it.
    HandOn,
}

/// A usual request, apart from the buffer that it came in.
struct Asked {
    head: Parts,
    head_bytes: usize,
    body_bytes: usize,
    is_last: bool,
}

/// What became of a request.
enum Done {
    /// Another one may follow.
    Ready(Stream),
    /// The front is to be pushed until the end.
    Follows(Stream, Box<Follow>),
    /// The connection has ended.
    Closed,
}

/// The time, read once for everything that is done at one moment.
struct Moment {
    now: Timestamp,
    secs: u64,
    date: Date,
}

impl Moment {
    fn new() -> Self {
        let now = Timestamp::now();
        Self { now, secs: now.as_secs(), date: Date::at(now.as_secs()) }
    }

    fn pass(&mut self) {
        self.now = Timestamp::now();
        if self.secs != self.now.as_secs() {
            *self = Self::new();
        }
    }
}

impl Door {
    /// A door with these limits.
    #[must_use]
    pub fn new(
        proxy: HttpProxy<Proxy>,
        relay: Relay,
        desk: Arc<Desk>,
        trusted: Vec<Cidr>,
        limits: &LimitsConfig,
    ) -> Self {
        let proxy = Arc::new(proxy);
        let http2 = Http2 {
            proxy: Arc::clone(&proxy),
            desk: Arc::clone(&desk),
            trusted: trusted.clone(),
            idle_time_max: Duration::from_secs(limits.idle_secs_max),
        };
        Self {
            proxy,
            http2: Arc::new(http2),
            relay,
            connections: Arc::new(Connections::new(
                limits.connections_max,
                limits.connections_per_network_max,
                desk.metrics.connections.clone(),
            )),
            desk,
            trusted,
            head_bytes_max: limits.head_bytes_max,
            head_time_max: Duration::from_millis(limits.head_ms_max),
            idle_time_max: Duration::from_secs(limits.idle_secs_max),
        }
    }

    /// Reads until there is a whole head in the buffer, or a limit is reached.
    async fn read_head(
        &self,
        stream: &mut Stream,
        buffer: &mut BytesMut,
        idle: &mut Idle,
    ) -> Arrived {
        if buffer.is_empty() {
            idle.touch();
            let first = tokio::select! {
                biased;
                read = stream.read_buf(buffer) => read,
                () = idle.over() => return Arrived::Closed,
            };
            if !matches!(first, Ok(1..)) {
                return Arrived::Closed;
            }
        }
        if buffer.ends_with(b"\r\n\r\n") && !is_line_end(buffer[0]) {
            return if buffer.len() <= self.head_bytes_max {
                Arrived::Whole
            } else {
                self.judge(buffer)
            };
        }
        let rest = async {
            let mut empty_bytes = 0;
            loop {
                // An empty line is no head: what follows it would not be bounded any more.
                let count = empty_len(buffer);
                empty_bytes += count;
                if empty_bytes > EMPTY_LINES_BYTES_MAX {
                    return Arrived::Malformed;
                }
                buffer.advance(count);
                if is_whole(buffer) {
                    return Arrived::Whole;
                }
                if buffer.len() > self.head_bytes_max {
                    return Arrived::TooLarge;
                }
                buffer.reserve(READ_BYTES);
                if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
                    return Arrived::Closed;
                }
            }
        };
        match tokio::time::timeout(self.head_time_max, rest).await {
            Ok(Arrived::Whole) => self.judge(buffer),
            Ok(arrived) => arrived,
            Err(_) => Arrived::TooSlow,
        }
    }

    /// A whole head may be too long all the same.
    fn judge(&self, buffer: &[u8]) -> Arrived {
        if head_len(buffer) > self.head_bytes_max { Arrived::TooLarge } else { Arrived::Whole }
    }

    /// Looks at a whole head: answers it at once, if it is for a hot document.
    fn look(&self, buffer: &[u8], peer: &Peer, moment: &Moment, out: &mut Vec<u8>) -> Next {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let Read::Usual(head) = Head::read(buffer, &mut fields) else { return Next::HandOn };
        let hot = || self.desk.hot(&head, peer, &self.trusted, moment.now);
        if head.body_bytes == 0
            && let Some(document) = hot()
        {
            document.wire.write(out, &moment.date, head.method == "HEAD", head.is_last);
            return Next::Answered { bytes: head.bytes, is_last: head.is_last };
        }
        if head.body_bytes > BODY_BYTES_MAX {
            return Next::HandOn;
        }
        let (head_bytes, body_bytes, is_last) = (head.bytes, head.body_bytes, head.is_last);
        match head.to_parts() {
            Some(head) => Next::Deal(Box::new(Asked { head, head_bytes, body_bytes, is_last })),
            None => Next::HandOn,
        }
    }

    /// Deals with a usual request; what goes to the origin goes on with what was decided.
    async fn deal(
        &self,
        mut stream: Stream,
        buffer: &mut BytesMut,
        asked: Box<Asked>,
        peer: &Peer,
        shutdown: &ShutdownWatch,
    ) -> Done {
        let Asked { head, head_bytes, body_bytes, is_last } = *asked;
        let is_head = head.method == http::Method::HEAD;
        let now = Timestamp::now();
        let Ok(visit) = Visit::read(&head, peer.addr, peer.is_tls, &self.trusted, now) else {
            return self.hand_on(stream, buffer, None, shutdown).await;
        };
        let whole_bytes = head_bytes + body_bytes;
        if body_bytes > 0 {
            if !self.desk.reads_body(&visit) {
                return self.hand_on(stream, buffer, None, shutdown).await;
            }
            if let Err(answer) = self.desk.charge_body(&visit) {
                return self.write(stream, &answer, is_head, true).await;
            }
            let body = read_up_to(&mut stream, buffer, whole_bytes);
            match tokio::time::timeout(BODY_TIME_MAX, body).await {
                Ok(true) => {}
                Ok(false) => return Done::Closed,
                Err(_) => return self.write(stream, &desk::body_too_slow(), is_head, true).await,
            }
        }
        match self.desk.deal(&visit, &buffer[head_bytes..whole_bytes]).await {
            Outcome::Answer(answer) => {
                buffer.advance(whole_bytes);
                self.write(stream, &answer, is_head, is_last).await
            }
            Outcome::Stream(follow) => Done::Follows(stream, follow),
            Outcome::Forward(forward) => {
                let passage = Passage::new(&visit, forward);
                if !Relay::takes(&head, body_bytes) {
                    let dealt = Dealt::new(passage, &head);
                    return self.hand_on(stream, buffer, Some(dealt), shutdown).await;
                }
                buffer.advance(whole_bytes);
                match self
                    .relay
                    .carry(&self.desk, &mut stream, buffer, head, passage, is_last)
                    .await
                {
                    Relayed::Done if !is_last => Done::Ready(stream),
                    Relayed::Done | Relayed::Broken => Done::Closed,
                    Relayed::Failed(answer) => self.write(stream, &answer, is_head, true).await,
                }
            }
        }
    }

    /// Hands the bytes of one request to Pingora as they came.
    async fn hand_on(
        &self,
        stream: Stream,
        buffer: &mut BytesMut,
        dealt: Option<Dealt>,
        shutdown: &ShutdownWatch,
    ) -> Done {
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(Some(self.idle_time_max.as_secs()));
        session.set_pipelined_prefix(std::mem::take(buffer));
        let served = self.proxy.process_new_http(session, shutdown);
        let served = match dealt {
            Some(dealt) => dealt.during(served).await,
            None => served.await,
        };
        served.map_or(Done::Closed, |reused| Done::Ready(reused.consume().0))
    }

    /// Pushes the front until the stream is over or the client has gone; the connection ends with
    /// it, so that the body needs no framing.
    async fn push(&self, mut stream: Stream, mut follow: Box<Follow>) {
        let mut head = String::from("HTTP/1.1 200 OK\r\n");
        for (name, value) in stream::FIELDS {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend(["date: ", Date::at(Timestamp::now().as_secs()).as_str(), "\r\n"]);
        head.push_str("connection: close\r\n\r\n");
        let mut next = Some(Bytes::from(head));
        let mut ignored = [0; 64];
        while let Some(bytes) = next {
            if !send(&mut stream, &bytes, CLIENT_WRITE_MAX).await {
                return;
            }
            next = tokio::select! {
                next = follow.next() => next,
                // Nothing is expected of the client but to go.
                _ = stream.read(&mut ignored) => None,
            };
        }
    }

    async fn write(&self, stream: Stream, answer: &Answer, is_head: bool, is_last: bool) -> Done {
        let mut out = Vec::new();
        let date = Date::at(Timestamp::now().as_secs());
        Prebuilt::new(answer).write(&mut out, &date, is_head, is_last);
        answered(stream, &out, is_last).await
    }

    fn count_refused(&self, why: &'static str) {
        self.desk.metrics.connections_refused_total.with_label_values(&[why]).inc();
    }

    async fn refuse(&self, stream: &mut Stream, why: &'static str, answer: &'static [u8]) {
        self.count_refused(why);
        // A client that does not even take the refusal is dropped without it.
        send(stream, answer, REFUSAL_TIME).await;
    }

    /// Serves one HTTP/1.1 connection to its end.
    async fn serve(&self, mut stream: Stream, peer: Peer, shutdown: &ShutdownWatch) {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut moment = Moment::new();
        let mut idle = Idle::new(self.idle_time_max);
        // A connection that is only open when the edge stops is closed with its runtime.
        while !*shutdown.borrow() {
            match self.read_head(&mut stream, &mut buffer, &mut idle).await {
                Arrived::Whole => {}
                Arrived::Closed => return,
                Arrived::TooLarge => return self.refuse(&mut stream, "large", TOO_LARGE).await,
                Arrived::Malformed => {
                    return self.refuse(&mut stream, "malformed", MALFORMED).await;
                }
                Arrived::TooSlow => return self.refuse(&mut stream, "slow", TOO_SLOW).await,
            }
            moment.pass();
            let mut out = Vec::new();
            let mut is_last = false;
            // Several requests that came together are answered together.
            let next = loop {
                match self.look(&buffer, &peer, &moment, &mut out) {
                    Next::Answered { bytes, is_last: ends } => {
                        buffer.advance(bytes);
                        is_last = ends;
                        if is_last || out.len() > OUT_BYTES_MAX || !is_whole(&buffer) {
                            break None;
                        }
                    }
                    other => break Some(other),
                }
            };
            if !out.is_empty() {
                match answered(stream, &out, is_last).await {
                    Done::Ready(ready) => stream = ready,
                    Done::Follows(..) | Done::Closed => return,
                }
            }
            // Boxed, for a connection that waits needs none of what dealing needs.
            let done = match next {
                None => continue,
                Some(Next::Deal(asked)) => {
                    Box::pin(self.deal(stream, &mut buffer, asked, &peer, shutdown)).await
                }
                Some(Next::HandOn | Next::Answered { .. }) => {
                    Box::pin(self.hand_on(stream, &mut buffer, None, shutdown)).await
                }
            };
            match done {
                Done::Ready(ready) => stream = ready,
                Done::Follows(stream, follow) => return self.push(stream, follow).await,
                Done::Closed => return,
            }
        }
    }

    fn peer(&self, stream: &Stream) -> Peer {
        let digest = stream.get_socket_digest();
        let addr = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let addr = addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip());
        Peer::new(addr, stream.get_ssl_digest().is_some(), &self.trusted)
    }
}

/// Reads until the buffer has so many bytes; `false` if the client ends before.
async fn read_up_to(stream: &mut Stream, buffer: &mut BytesMut, bytes: usize) -> bool {
    while buffer.len() < bytes {
        buffer.reserve(bytes - buffer.len());
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return false;
        }
    }
    true
}

async fn answered(mut stream: Stream, out: &[u8], is_last: bool) -> Done {
    let is_taken = send(&mut stream, out, CLIENT_WRITE_MAX).await;
    if is_taken && !is_last { Done::Ready(stream) } else { Done::Closed }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// How many bytes of empty lines there are at the start.
fn empty_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_line_end(**byte)).count()
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
        let peer = self.peer(&stream);
        let is_http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let counted = match self.connections.count(peer.own_network()) {
            Ok(counted) => counted,
            Err(why) if is_http2 => {
                self.count_refused(why.label());
                return None;
            }
            Err(why) => {
                self.refuse(&mut stream, why.label(), TOO_MANY).await;
                return None;
            }
        };
        // In a task of its own: the one that accepted is as large as all that accepting may need.
        let (door, shutdown) = (Arc::clone(self), shutdown.clone());
        if is_http2 {
            tokio::spawn(async move {
                door.http2.serve(stream, &peer, &shutdown).await;
                drop(counted);
            });
        } else {
            tokio::spawn(async move {
                door.serve(stream, peer, &shutdown).await;
                drop(counted);
            });
        }
        None
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
