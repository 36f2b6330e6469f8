//! How does a visitor's request reach the edge? One connection pool for the whole crowd.
//!
//! Connections are shared across visitors, as behind a CDN: 20,000 sockets would measure the
//! client's kernel. At most `in_flight_max` requests are under way; waiting for a turn counts as
//! latency, since the caller's clock starts when the request was due.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, RETRY_AFTER, SET_COOKIE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use keys::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

/// No answer after this is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// No connection after this is none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is kept this long: shorter than servers keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer that is read, compressed or not: a stadium's map is about one megabyte.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The longest `Retry-After` that is obeyed to the letter.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Which addresses may be put under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// This machine only.
    Loopback,
    /// Any, for the caller says that they are theirs.
    Owned,
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an address as we speak it.
    #[error("{0:?} is not an address like http://127.0.0.1:8080")]
    NotHttp(String),
    /// Somebody else's machine.
    #[error("{0:?} is not a loopback address; say --i-own-this-target if it is yours")]
    NotLoopback(String),
}

/// An address that may be put under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: Authority,
    path: PathAndQuery,
}

impl Target {
    /// Checks an address.
    ///
    /// # Errors
    /// If it is not plain `http`, or not loopback while `targets` says so.
    pub fn parse(text: &str, targets: Targets) -> Result<Self, TargetError> {
        let shown = || text.chars().take(200).collect::<String>();
        let uri: Uri = text.parse().map_err(|_| TargetError::NotHttp(shown()))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(TargetError::NotHttp(shown()));
        }
        let parts = uri.into_parts();
        let authority = parts.authority.ok_or_else(|| TargetError::NotHttp(shown()))?;
        if authority.as_str().contains('@') {
            return Err(TargetError::NotHttp(shown()));
        }
        if targets == Targets::Loopback && !is_loopback(authority.host()) {
            return Err(TargetError::NotLoopback(shown()));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { authority, path })
    }

    /// The host and port.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The address of a path at this host; `None` if it is no path.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<Uri> {
        let builder = Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone());
        builder.path_and_query(path).build().ok()
    }

    /// The address as it was given, asked for up to `limit` entries after an id.
    #[must_use]
    pub fn page(&self, after: &str, limit: u32) -> Option<Uri> {
        self.at(&format!("{}?after={after}&limit={limit}", self.path.path()))
    }
}

/// Edges that serve the same line, asked by turns as behind a load balancer that favours none.
#[derive(Debug)]
pub struct Edges {
    all: Vec<Target>,
    turn: AtomicUsize,
}

impl Edges {
    /// These edges; `None` if there are none.
    #[must_use]
    pub fn new(all: Vec<Target>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all, turn: AtomicUsize::new(0) })
    }

    /// Whose turn it is.
    pub fn next(&self) -> &Target {
        &self.all[self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len()]
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The connection failed or broke.
    #[error("connection failed")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off or is too long.
    #[error("answer broke off or is longer than {BODY_BYTES_MAX} bytes")]
    Body,
    /// It took too long.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// The client itself could not send.
    #[error("request could not be made")]
    NotSent,
}

impl NoAnswer {
    /// A short name for reports.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Connection(error) if error.is_connect() => "connect",
            Self::Connection(_) => "connection",
            Self::Body => "body",
            Self::Timeout => "timeout",
            Self::NotSent => "not-sent",
        }
    }
}

/// An answer, with the times around it.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
    /// When the request was sent, by the wall clock.
    pub sent_at: Timestamp,
    /// When the answer was complete.
    pub at: Timestamp,
}

/// The part of a problem document that clients act on.
#[derive(Debug, Default, Deserialize)]
struct ProblemCode {
    #[serde(default)]
    code: String,
}

impl Answer {
    /// The body as JSON of a shape; `None` if it is not.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The problem's code; empty if there is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.json::<ProblemCode>().unwrap_or_default().code
    }

    /// How long to wait before trying again, if it says.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let secs: u64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(secs).min(RETRY_AFTER_MAX))
    }

    /// What a cookie was set to; an empty text means that it was taken away.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers.get_all(SET_COOKIE).iter().find_map(|header| {
            let (pair, attributes) = match header.to_str().ok()? {
                text if text.contains(';') => text.split_once(';')?,
                text => (text, ""),
            };
            let (key, value) = pair.split_once('=')?;
            let is_cleared = attributes.to_ascii_lowercase().contains("max-age=0");
            (key.trim() == name).then_some(if is_cleared { "" } else { value.trim() })
        })
    }
}

/// The client.
#[derive(Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    slots: Semaphore,
}

impl Http {
    /// A client with at most `in_flight_max` requests under way.
    #[must_use]
    pub fn new(in_flight_max: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(in_flight_max)
            .http1_title_case_headers(true) // as browsers write them in HTTP/1.1
            .build(connector);
        Self { client, slots: Semaphore::new(in_flight_max) }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let _slot = self.slots.acquire().await.map_err(|_| NoAnswer::NotSent)?;
        let sent_at = Timestamp::now();
        tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request, sent_at))
            .await
            .map_err(|_| NoAnswer::Timeout)?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        sent_at: Timestamp,
    ) -> Result<Answer, NoAnswer> {
        let response = self.client.request(request).await.map_err(NoAnswer::Connection)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX);
        let body = body.collect().await.map_err(|_| NoAnswer::Body)?.to_bytes();
        // The moment of the answer comes before we decompress: that time is ours.
        let at = Timestamp::now();
        let is_gzip = parts.headers.get(CONTENT_ENCODING).is_some_and(|e| e == "gzip");
        let is_html = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
        // Nobody here reads HTML; only the bytes on the wire matter.
        let body = if is_gzip && !is_html { gunzip(&body)? } else { body };
        Ok(Answer { status: parts.status, headers: parts.headers, body, sent_at, at })
    }
}

fn gunzip(body: &[u8]) -> Result<Bytes, NoAnswer> {
    let mut plain = Vec::with_capacity(body.len() * 4);
    let mut reader = GzDecoder::new(body).take(BODY_BYTES_MAX as u64 + 1);
    reader.read_to_end(&mut plain).map_err(|_| NoAnswer::Body)?;
    if plain.len() > BODY_BYTES_MAX { Err(NoAnswer::Body) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn only_this_machine_is_put_under_load() {
        check("http://127.0.0.1:8080",        true);
        check("http://127.9.9.9",             true);
        check("http://[::1]:8080",            true);
        check("http://localhost:8080",        true);
        check("http://10.0.0.1:8080",         false);
        check("http://example.com",           false);
        check("http://localhost.example.com", false);
        check("http://127.0.0.1@example.com", false);
        check("https://127.0.0.1:8080",       false);
        check("127.0.0.1:8080",               false);
        check("",                             false);
    }

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(Target::parse(text, Targets::Loopback).is_ok(), expected, "{text:?}");
    }

    #[test]
    fn edges_are_asked_by_turns() {
        let target =
            |port| Target::parse(&format!("http://127.0.0.1:{port}"), Targets::Loopback).unwrap();
        let edges = Edges::new(vec![target(1), target(2)]).unwrap();
        let ports = [(); 3].map(|()| edges.next().authority().port_u16());
        assert_eq!(ports, [Some(1), Some(2), Some(1)]);
        assert!(Edges::new(vec![]).is_none());
    }

    #[test]
    fn an_owner_may_load_other_machines() {
        assert!(Target::parse("http://10.0.0.1:8080", Targets::Owned).is_ok());
        assert!(Target::parse("ftp://10.0.0.1:8080", Targets::Owned).is_err());
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn cookies_are_found_by_their_whole_name() {
        cookie("wr_pass_a=x.y.z; Path=/; HttpOnly", Some("x.y.z"));
        cookie("wr_pass_a=x",                       Some("x"));
        cookie("wr_pass_a=x; Max-Age=0",            Some(""));
        cookie("wr_pass_a=; Path=/",                Some(""));
        cookie("wr_pass_ab=x",                      None);
        cookie("nonsense",                          None);
    }

    #[track_caller]
    fn cookie(header: &'static str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, "other=1".parse().unwrap());
        headers.append(SET_COOKIE, header.parse().unwrap());
        let now = Timestamp::default();
        let (status, body) = (StatusCode::OK, Bytes::new());
        let answer = Answer { status, headers, body, sent_at: now, at: now };
        assert_eq!(answer.cookie("wr_pass_a"), expected, "{header:?}");
    }
}
