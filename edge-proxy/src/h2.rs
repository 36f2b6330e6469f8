//! Answers hot documents over HTTP/2, before Pingora's proxy and what it needs for each request.
//!
//! Framing is Pingora's: it reads the streams and bounds them. What [`Desk::hot`] knows is answered
//! where it is accepted, for a task a stream would cost more than the answer; all other requests go
//! on as they are, each in a task of its own.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Cidr;
use crate::desk::Desk;
use crate::gather::Gather;
use crate::head::{FIELDS_MAX, Head};
use crate::hot::{Document, Peer};
use crate::proxy::Proxy;
use crate::send::CLIENT_WRITE_MAX;

/// A connection with more malformed streams than this is ended, as Pingora does by itself.
const REJECTED_MAX: u32 = 32;

/// What HTTP/2 streams come to.
pub struct Http2 {
    /// Where everything but hot documents goes.
    pub proxy: Arc<HttpProxy<Proxy>>,
    /// Who knows the hot documents.
    pub desk: Arc<Desk>,
    /// Whose word counts about a client's address.
    pub trusted: Vec<Cidr>,
    /// How long a connection without requests is kept.
    pub idle_time_max: Duration,
}

impl Http2 {
    /// Serves one connection to its end: that of the client, of the idle time, or of the edge.
    pub async fn serve(&self, stream: Stream, peer: &Peer, shutdown: &ShutdownWatch) {
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let gather = Box::new(Gather::new(stream));
        let Ok(mut connection) = handshake(gather, None).await else { return };
        let mut requests = JoinSet::new();
        let (mut ends, mut rejected) = (shutdown.clone(), 0);
        let mut is_ending = false;
        let mut idle = pin!(tokio::time::sleep(self.idle_time_max));
        loop {
            let is_idle = requests.is_empty();
            let accepted = tokio::select! {
                biased;
                _ = ends.changed(), if !is_ending => {
                    connection.graceful_shutdown();
                    is_ending = true;
                    continue;
                }
                Some(_) = requests.join_next() => {
                    idle.as_mut().reset(Instant::now() + self.idle_time_max);
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
                () = &mut idle, if is_idle => return,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    idle.as_mut().reset(Instant::now() + self.idle_time_max);
                    self.begin(session, peer, shutdown, &mut requests);
                }
                Ok(Some(H2Accept::Rejected)) if rejected < REJECTED_MAX => rejected += 1,
                Ok(Some(H2Accept::Rejected) | None) | Err(_) => break,
            }
        }
        // What is still answered learns of the connection's end by its own writes.
        requests.detach_all();
    }

    /// Answers a hot document; everything else, and a client that does not take it at once, gets a
    /// task.
    fn begin(
        &self,
        session: HttpSession,
        peer: &Peer,
        shutdown: &ShutdownWatch,
        requests: &mut JoinSet<()>,
    ) {
        match self.hot(&session, peer) {
            Some(document) => {
                let mut answer = Box::pin(answer(session, document));
                let mut now = Context::from_waker(Waker::noop());
                if answer.as_mut().poll(&mut now).is_pending() {
                    requests.spawn(async move {
                        // A client that does not take it in time needs none.
                        let _ = tokio::time::timeout(CLIENT_WRITE_MAX, answer).await;
                    });
                }
            }
            None => {
                let (proxy, shutdown) = (Arc::clone(&self.proxy), shutdown.clone());
                requests.spawn(async move {
                    proxy.process_new_http(ServerSession::new_http2(session), &shutdown).await;
                });
            }
        }
    }

    fn hot(&self, session: &HttpSession, peer: &Peer) -> Option<Arc<Document>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = Head::of_request(session.req_header(), &mut fields)?;
        self.desk.hot(&head, peer, &self.trusted, keys::Timestamp::now())
    }
}

/// A client that goes away meanwhile needs no answer.
async fn answer(mut session: HttpSession, document: Arc<Document>) {
    let has_body = session.req_header().method != http::Method::HEAD && !document.is_empty();
    let header = Box::new(document.response.clone());
    if session.write_response_header(header, !has_body).is_ok() && has_body {
        let _ = session.write_body(document.body().clone(), true).await;
    }
}
