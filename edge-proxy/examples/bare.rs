//! A Pingora proxy that only proxies, with the edge's settings: the peer of `scripts/bench-edge`.
//!
//! `bare LISTEN ORIGIN`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::listeners::{ListenerConfig, Listeners};
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare(HttpPeer);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        (): &mut (),
    ) -> pingora_core::Result<bool> {
        session.set_keepalive(Some(60));
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        (): &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.clone()))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let listen = args.next().expect("expected LISTEN ORIGIN");
    let origin: SocketAddr = args.next().and_then(|a| a.parse().ok()).expect("expected an address");
    let mut peer = HttpPeer::new(origin, false, String::new());
    peer.options.connection_timeout = Some(Duration::from_secs(2));
    peer.options.read_timeout = Some(Duration::from_secs(60));
    peer.options.write_timeout = Some(Duration::from_secs(60));
    peer.options.idle_timeout = Some(Duration::from_secs(30));
    let conf = Arc::new(ServerConf { threads: 1, ..ServerConf::default() });
    let proxy = http_proxy(&conf, Bare(peer));
    let mut listeners = Listeners::new();
    let buffers = L4BufferSettings::new(4096, 4096);
    listeners.add_listener(ListenerConfig::tcp(&listen).l4_buffer(buffers));
    let mut service = Service::with_listeners("bare".to_owned(), listeners, proxy);
    let (_keep, shutdown) = watch::channel(false);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(service.start_service(None, shutdown, 1));
}
