//! Answers hot documents over HTTP/2, before Pingora's proxy and what it needs for each request.
//!
//! Framing is Pingora's: it accepts the streams and bounds them. Only what [`Desk::hot`] knows is
//! answered here; all other requests go on as they are.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::client::Cidr;
use crate::desk::Desk;
use crate::head::{FIELDS_MAX, Head};
use crate::hot::{Document, Peer};
use crate::proxy::{CLIENT_WRITE_MAX, Proxy};

/// What HTTP/2 streams come to.
pub struct Http2 {
    /// Where everything but hot documents goes.
    pub proxy: Arc<HttpProxy<Proxy>>,
    /// Who knows the hot documents.
    pub desk: Arc<Desk>,
    /// Whose word counts about a client's address.
    pub trusted: Vec<Cidr>,
}

impl Http2 {
    fn hot(&self, session: &ServerSession) -> Option<Arc<Document>> {
        let request = session.req_header();
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = Head::of_request(request, &mut fields)?;
        let addr = session.client_addr().and_then(|addr| addr.as_inet());
        let addr = addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip());
        let peer = Peer::new(addr, true, &self.trusted);
        self.desk.hot(&head, &peer, &self.trusted, keys::Timestamp::now())
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let Some(document) = self.hot(&session) else {
            return self.proxy.process_new_http(session, shutdown).await;
        };
        session.set_write_timeout(Some(CLIENT_WRITE_MAX));
        let has_body = session.req_header().method != http::Method::HEAD && !document.is_empty();
        // A client that goes away meanwhile needs no answer.
        let header = Box::new(document.response.clone());
        if session.write_response_header(header).await.is_ok() && has_body {
            let _ = session.write_response_body(document.body().clone(), true).await;
        }
        let _ = session.finish().await;
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options.as_ref()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
