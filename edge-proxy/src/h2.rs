//! Answers hot documents over HTTP/2, before Pingora's proxy and what it needs for each request.
//!
//! Framing is Pingora's: it reads the streams and bounds them. What [`Desk::hot`] knows is answered
//! where it is accepted, for a task a stream would cost more than the answer; all other requests go
//! on as they are, each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::task::JoinSet;

use crate::client::Cidr;
use crate::desk::Desk;
use crate::gather::Gather;
use crate::head::{FIELDS_MAX, Head};
use crate::hot::{Document, Peer};
use crate::idle::Idle;
use crate::proxy::Proxy;

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
        let mut idle = Idle::new(self.idle_time_max);
        loop {
            let is_idle = requests.is_empty();
            let accepted = tokio::select! {
                biased;
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
                _ = ends.changed(), if !is_ending => {
                    connection.graceful_shutdown();
                    is_ending = true;
                    continue;
                }
                Some(_) = requests.join_next() => {
                    idle.touch();
                    continue;
                }
                () = idle.over(), if is_idle => return,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    idle.touch();
                    match self.hot(&session, peer) {
                        Some(document) => answer(session, &document),
                        None => self.hand_on(session, shutdown, &mut requests),
                    }
                }
                Ok(Some(H2Accept::Rejected)) if rejected < REJECTED_MAX => rejected += 1,
                Ok(Some(H2Accept::Rejected) | None) | Err(_) => break,
            }
        }
        // What is still answered learns of the connection's end by its own writes.
        requests.detach_all();
    }

    /// Whatever is not answered at once gets a task.
    fn hand_on(&self, session: HttpSession, shutdown: &ShutdownWatch, requests: &mut JoinSet<()>) {
        // Who always has another request would keep us from seeing which are done.
        while requests.try_join_next().is_some() {}
        let (proxy, shutdown) = (Arc::clone(&self.proxy), shutdown.clone());
        requests.spawn(async move {
            proxy.process_new_http(ServerSession::new_http2(session), &shutdown).await;
        });
    }

    fn hot(&self, session: &HttpSession, peer: &Peer) -> Option<Arc<Document>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = Head::of_request(session.req_header(), &mut fields)?;
        self.desk.hot(&head, peer, &self.trusted, keys::Timestamp::now())
    }
}

/// Leaves a document to the connection, which sends as much at a time as the client takes. What
/// waits there is the one copy that all share, so that nothing is gained by waiting for the client;
/// one that takes nothing ends as an idle one.
fn answer(mut session: HttpSession, document: &Document) {
    let has_body = session.req_header().method != http::Method::HEAD && !document.is_empty();
    // A client that goes away meanwhile needs no answer.
    if session.write_response_header(Box::new(document.response.clone()), !has_body).is_ok()
        && has_body
        && let Some(mut body) = session.take_response_body_writer()
    {
        let _ = body.send_data(document.body().clone(), true);
    }
}
