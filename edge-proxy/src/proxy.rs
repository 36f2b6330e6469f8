//! Carries requests between Pingora and the desk: reads the head, writes the answer, or sends the
//! request on with the pass's facts and brings the origin's answer back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use keys::Timestamp;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::answer::Answer;
use crate::client::Cidr;
use crate::desk::{self, BODY_BYTES_MAX, Desk, Outcome};
use crate::passage::{self, Passage};
use crate::send::CLIENT_WRITE_MAX;
use crate::stream;
use crate::visit::{Visit, is_plain_target};

/// A client that sends nothing for this long within a body is dropped.
const CLIENT_READ_MAX: Duration = Duration::from_secs(30);
/// A body for our own addresses is here by then: it is short.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The shell around the desk.
pub struct Proxy {
    /// Where requests are dealt with.
    pub desk: Arc<Desk>,
    /// Whose word counts about a client's address.
    pub trusted: Vec<Cidr>,
    /// The origin, with its time-outs.
    pub origin: HttpPeer,
    /// How long a connection may be idle.
    pub idle_secs: u64,
}

/// What is remembered of a request while it is proxied.
#[derive(Default)]
pub struct Context {
    passage: Option<Passage>,
    body_bytes: u64,
}

/// What was decided of a request before Pingora reads it.
pub struct Dealt {
    passage: Passage,
    method: http::Method,
    /// Path and query, as judged.
    target: String,
}

tokio::task_local! {
    /// For the one request that Pingora reads within the scope.
    static DEALT: Cell<Option<Dealt>>;
}

impl Dealt {
    /// The way of a request that is let through.
    #[must_use]
    pub fn new(passage: Passage, head: &http::request::Parts) -> Self {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        Self { passage, method: head.method.clone(), target: target.to_owned() }
    }

    /// Runs what reads and proxies that request.
    pub async fn during<T>(self, proxying: impl Future<Output = T>) -> T {
        DEALT.scope(Cell::new(Some(self)), proxying).await
    }

    /// What was decided of this very request, if it was.
    fn of(head: &RequestHeader) -> Option<Self> {
        let dealt = DEALT.try_with(Cell::take).ok()??;
        let is_same = dealt.method == head.method && dealt.target.as_bytes() == head.raw_path();
        // Never otherwise, as the tests of `head` show; a mistake there must not open a door.
        is_same.then_some(dealt)
    }
}

impl Proxy {
    /// Lets a request on, unless it says that its body is too long.
    async fn let_on(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        passage: Passage,
    ) -> Result<bool> {
        let fields = &session.req_header().headers;
        let length = fields.get("content-length").and_then(|text| text.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > passage.forward.body_bytes_max) {
            let answer = passage::too_long(&self.desk, session.req_header());
            self.write_last(session, answer).await?;
            return Ok(true);
        }
        ctx.passage = Some(passage);
        Ok(false)
    }

    async fn write(&self, session: &mut Session, answer: Answer) -> Result<()> {
        let mut head = ResponseHeader::build(answer.status, Some(answer.fields.len() + 3))?;
        let (name, verdict) = answer.verdict_field();
        head.insert_header(name, verdict)?;
        for (name, value) in &answer.fields {
            head.append_header(*name, &**value)?;
        }
        if answer.status != 204 && answer.status != 304 {
            head.insert_header("content-length", answer.body.len().to_string())?;
        }
        let is_head = session.req_header().method == http::Method::HEAD;
        let has_body = !answer.body.is_empty() && !is_head;
        session.write_response_header(Box::new(head), !has_body).await?;
        if has_body {
            session.write_response_body(Some(answer.body), true).await?;
        }
        Ok(())
    }

    /// Pushes the front until the stream is over or the client has gone.
    async fn push(session: &mut Session, mut follow: Box<stream::Stream>) -> Result<()> {
        session.set_keepalive(None);
        let mut head = ResponseHeader::build(200, Some(stream::FIELDS.len() + 2))?;
        for (name, value) in stream::FIELDS {
            head.insert_header(name, value)?;
        }
        session.write_response_header(Box::new(head), false).await?;
        while let Some(bytes) = follow.next().await {
            session.write_response_body(Some(bytes), false).await?;
        }
        session.write_response_body(None, true).await
    }

    /// Writes an answer without waiting for what else the client sends.
    async fn write_last(&self, session: &mut Session, answer: Answer) -> Result<()> {
        session.set_keepalive(None);
        self.write(session, answer).await
    }

    /// The whole body of a request to our own addresses; `None` if it is too long.
    async fn read_body(session: &mut Session) -> Result<Option<Vec<u8>>> {
        let mut body = Vec::new();
        while let Some(chunk) = session.read_request_body().await? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        // Off means that the client, or the request's framing, wants this connection closed.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(self.idle_secs));
        }
        session.as_downstream_mut().set_read_timeout(Some(CLIENT_READ_MAX));
        session.as_downstream_mut().set_write_timeout(Some(CLIENT_WRITE_MAX));
        if let Some(Dealt { passage, .. }) = Dealt::of(session.req_header()) {
            return self.let_on(session, ctx, passage).await;
        }
        let now = Timestamp::now();
        let peer = session.client_addr().and_then(|addr| addr.as_inet()).map(|addr| addr.ip());
        let peer = peer.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let asked = session.req_header();
        if !is_plain_target(asked.method.as_str(), asked.raw_path()) {
            self.write_last(session, desk::no_target()).await?;
            return Ok(true);
        }
        // A copy of the head, because the body is read while it is in use.
        let head = session.req_header().as_owned_parts();
        let Ok(visit) = Visit::read(&head, peer, is_tls, &self.trusted, now) else {
            self.write(session, desk::no_host()).await?;
            return Ok(true);
        };
        let body = if self.desk.reads_body(&visit) {
            if let Err(answer) = self.desk.charge_body(&visit) {
                self.write_last(session, answer).await?;
                return Ok(true);
            }
            match tokio::time::timeout(BODY_TIME_MAX, Self::read_body(session)).await {
                Ok(Ok(Some(body))) => body,
                Ok(Ok(None)) => {
                    self.write_last(session, desk::body_too_long()).await?;
                    return Ok(true);
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    self.write_last(session, desk::body_too_slow()).await?;
                    return Ok(true);
                }
            }
        } else {
            Vec::new()
        };
        match self.desk.deal(&visit, &body).await {
            Outcome::Answer(answer) => {
                self.write(session, answer).await?;
                Ok(true)
            }
            Outcome::Forward(forward) => {
                self.let_on(session, ctx, Passage::new(&visit, forward)).await
            }
            Outcome::Stream(follow) => {
                Self::push(session, follow).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        if let Some(passage) = &mut ctx.passage {
            passage.ask(&self.desk);
        }
        // Asked again over another connection, it gets the body from the beginning.
        ctx.body_bytes = 0;
        Ok(Box::new(self.origin.clone()))
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        // After 101 this is no body any more, and has no end.
        if session.was_upgraded() {
            return Ok(());
        }
        ctx.body_bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let bytes_max = ctx.passage.as_ref().map_or(0, |passage| passage.forward.body_bytes_max);
        if ctx.body_bytes > bytes_max {
            return Error::e_explain(ErrorType::HTTPStatus(413), "request body too long");
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.passage.as_ref().map_or(Ok(()), |passage| passage.make_request(upstream))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // From here on both sides may be silent for as long as they like.
            session.as_downstream_mut().set_read_timeout(None);
        } else if response.status.is_informational() {
            // The answer itself is still to come.
            return Ok(());
        }
        let passage = ctx.passage.as_mut();
        passage.map_or(Ok(()), |passage| passage.take_answer(&self.desk, response))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        _: &mut Context,
    ) -> FailToProxy {
        let asked = session.req_header();
        let answer = passage::failure(&self.desk, asked, error);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if let Some(answer) = answer.filter(|_| session.response_written().is_none()) {
            // If even this cannot be written, the client is gone.
            let _ = self.write_last(session, answer).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        // Failures are counted and judged by the controller; a line each would flood the log.
        true
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        if let Some((passage, error)) = ctx.passage.as_ref().zip(error) {
            passage.count_failure(&self.desk, error);
        }
    }
}
