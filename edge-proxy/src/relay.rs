//! Carries a usual request that has no body to the origin, and the answer back, over Pingora's
//! connections but without its proxy.
//!
//! Almost all requests of those inside are like this: a `GET` whose head [`crate::head`] has read.
//! They need neither a second reading of the head nor tasks and channels for a body that streams in
//! both directions at once, which is what a proxy's request costs most. Connections to the origin,
//! their pool and the framing of answers are Pingora's; what becomes of request and answer on the
//! way is told by [`Passage`], as for what Pingora's proxy carries.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, StatusCode};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::v1::Connector;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::AsyncReadExt as _;

use crate::answer::Answer;
use crate::desk::Desk;
use crate::fields;
use crate::passage::{self, Passage};
use crate::send::{CLIENT_WRITE_MAX, send};
use crate::wire::{Date, OUT_BYTES_MAX};

/// Connections out of the pool that may turn out to be closed before a request fails; as many as
/// Pingora's proxy tries.
const TRIES_MAX: usize = 16;
/// So much of what the client sends ahead is read while it waits.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// Carries requests to the origin.
pub struct Relay {
    connector: Connector,
    origin: HttpPeer,
    idle_time_max: Option<Duration>,
}

/// How a request ended.
pub enum Relayed {
    /// The answer is written; another request may follow.
    Done,
    /// The answer is incomplete, or nobody takes it: the connection has to end.
    Broken,
    /// The origin gave none; the client is to be told this instead.
    Failed(Answer),
}

/// How long the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Empty,
    Stated,
    Chunked,
}

impl Relay {
    /// Carries to this origin, with a pool as the configuration has it.
    #[must_use]
    pub fn new(conf: &ServerConf, origin: HttpPeer) -> Self {
        let connector = Connector::new(Some(ConnectorOptions::from_server_conf(conf)));
        let idle_time_max = origin.options.idle_timeout;
        Self { connector, origin, idle_time_max }
    }

    /// Whether a usual request is one for this way. One that changes something is not: the origin
    /// may have done it although the connection broke, so it is for Pingora to judge what then.
    #[must_use]
    pub fn takes(head: &Parts, body_bytes: usize) -> bool {
        body_bytes == 0 && matches!(head.method, Method::GET | Method::HEAD)
    }

    /// Carries one request. What the client sends meanwhile is added to `ahead`; when it goes away,
    /// so does the request to the origin.
    pub async fn carry(
        &self,
        desk: &Desk,
        client: &mut Stream,
        ahead: &mut BytesMut,
        head: Parts,
        mut passage: Passage,
        is_last: bool,
    ) -> Relayed {
        let mut request = RequestHeader::from(head);
        request.remove_header(&CONNECTION);
        if let Err(error) = passage.make_request(&mut request) {
            return fail(desk, &passage, &request, &error);
        }
        passage.ask(desk);
        let asked = with_client(pin!(self.ask(&request)), client, ahead).await;
        let mut session = match asked {
            Some(Ok(session)) => session,
            Some(Err(error)) => return fail(desk, &passage, &request, &error.into_up()),
            None => return Relayed::Broken,
        };
        let mut out = Vec::with_capacity(2048);
        loop {
            match status(&session) {
                StatusCode::SWITCHING_PROTOCOLS => {
                    let error = Error::explain(ErrorType::InvalidHTTPHeader, "101 unasked");
                    return fail(desk, &passage, &request, &error.into_up());
                }
                status if status.is_informational() => {
                    if let Some(hint) = session.resp_header() {
                        write_head(&mut out, hint);
                        out.extend_from_slice(b"\r\n");
                    }
                    if !empty(client, &mut out).await {
                        return Relayed::Broken;
                    }
                    let read = with_client(pin!(session.read_response()), client, ahead).await;
                    match read {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            return fail(desk, &passage, &request, &error.into_up());
                        }
                        None => return Relayed::Broken,
                    }
                }
                _ => break,
            }
        }
        let framing =
            match self.answer_head(desk, &session, &request, &mut passage, is_last, &mut out) {
                Ok(framing) => framing,
                Err(error) => return fail(desk, &passage, &request, &error),
            };
        match carry_body(&mut session, framing, client, ahead, &mut out).await {
            true => {
                // Before the last bytes are written: a slow client does not hold it.
                self.connector
                    .release_http_session(session, &self.origin, self.idle_time_max)
                    .await;
                if empty(client, &mut out).await { Relayed::Done } else { Relayed::Broken }
            }
            false => {
                // The end is missing, and the client sees that.
                empty(client, &mut out).await;
                Relayed::Broken
            }
        }
    }

    /// Asks over a pooled or new connection until the head of an answer is there.
    async fn ask(&self, request: &RequestHeader) -> Result<HttpSession> {
        let mut tries = 0;
        loop {
            let (mut session, is_reused) = self.connector.get_http_session(&self.origin).await?;
            session.read_timeout = self.origin.options.read_timeout;
            session.write_timeout = self.origin.options.write_timeout;
            let asked = async {
                session.write_request_header(Box::new(request.clone())).await?;
                session.read_response().await
            };
            match asked.await {
                Ok(_) => return Ok(session),
                Err(mut error) => {
                    tries += 1;
                    let is_write = matches!(error.etype(), ErrorType::WriteError);
                    error.retry.decide_reuse(is_reused);
                    let may_retry = is_reused && (is_write || error.retry());
                    if !may_retry || tries > TRIES_MAX {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Writes the head of the answer.
    fn answer_head(
        &self,
        desk: &Desk,
        session: &HttpSession,
        request: &RequestHeader,
        passage: &mut Passage,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<Framing> {
        let missing = || Error::explain(ErrorType::InvalidHTTPHeader, "no head").into_up();
        let mut response = session.resp_header().cloned().ok_or_else(missing)?;
        let framing = framing(&response, request.method == Method::HEAD).map_err(Error::into_up)?;
        for name in fields::OF_CONNECTION {
            response.remove_header(&name);
        }
        if framing == Framing::Chunked {
            response.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        passage.take_answer(desk, &mut response)?;
        write_head(out, &response);
        if !response.headers.contains_key(DATE) {
            let date = Date::at(keys::Timestamp::now().as_secs());
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date.as_str().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(if is_last { b"Connection: close\r\n\r\n" } else { b"\r\n" });
        Ok(framing)
    }
}

/// How the body of an answer is delimited for the client (RFC 9112, section 6.3).
fn framing(response: &ResponseHeader, is_head: bool) -> Result<Framing> {
    if is_head || matches!(response.status.as_u16(), 204 | 304) {
        return Ok(Framing::Empty);
    }
    let mut codings = response.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) if response.headers.contains_key(CONTENT_LENGTH) => Ok(Framing::Stated),
        (None, _) => Ok(Framing::Chunked),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        _ => Error::e_explain(ErrorType::InvalidHTTPHeader, "transfer coding other than chunked"),
    }
}

/// Carries the body to `out` and on to the client; what is left in `out` is still to be written.
/// `false` if it is incomplete, or the client has gone.
async fn carry_body(
    session: &mut HttpSession,
    framing: Framing,
    client: &mut Stream,
    ahead: &mut BytesMut,
    out: &mut Vec<u8>,
) -> bool {
    while !session.is_body_done() {
        let mut reading = pin!(session.read_body_ref());
        let ready = std::future::poll_fn(|context| match reading.as_mut().poll(context) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => Poll::Ready(None),
        });
        let read = match ready.await {
            Some(read) => read,
            // Nothing more at once: what is there is not held back.
            None if !empty(client, out).await => return false,
            None => match with_client(reading, client, ahead).await {
                Some(read) => read,
                None => return false,
            },
        };
        let Ok(chunk) = read else { return false };
        match (chunk, framing) {
            (Some(chunk), Framing::Chunked) if !chunk.is_empty() => {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            (Some(chunk), Framing::Stated) => out.extend_from_slice(chunk),
            (Some(_), Framing::Chunked | Framing::Empty) | (None, _) => {}
        }
        if out.len() >= OUT_BYTES_MAX && !empty(client, out).await {
            return false;
        }
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    true
}

/// Waits for the origin as long as the client is there.
async fn with_client<T>(
    mut awaited: Pin<&mut impl Future<Output = T>>,
    client: &mut Stream,
    ahead: &mut BytesMut,
) -> Option<T> {
    loop {
        tokio::select! {
            biased;
            done = &mut awaited => return Some(done),
            read = client.read_buf(ahead), if ahead.len() < AHEAD_BYTES_MAX => match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            },
        }
    }
}

fn fail(desk: &Desk, passage: &Passage, request: &RequestHeader, error: &Error) -> Relayed {
    passage.count_failure(desk, error);
    match passage::failure(desk, request, error) {
        Some(answer) => Relayed::Failed(answer),
        None => Relayed::Broken,
    }
}

fn status(session: &HttpSession) -> StatusCode {
    session.get_status().unwrap_or(StatusCode::BAD_GATEWAY)
}

/// Status line and fields.
fn write_head(out: &mut Vec<u8>, response: &ResponseHeader) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(response.get_reason_phrase().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    response.header_to_h1_wire(out);
}

/// Writes what is there; `false` if the client does not take it.
async fn empty(client: &mut Stream, out: &mut Vec<u8>) -> bool {
    let is_taken = out.is_empty() || send(client, out, CLIENT_WRITE_MAX).await;
    out.clear();
    is_taken
}
