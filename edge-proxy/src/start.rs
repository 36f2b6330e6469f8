//! Starts an edge and stops it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use keys::{KeyFileError, Keyring, Owner, Role};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{ListenerConfig, Listeners};
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::Fds;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::http_proxy;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::config::EdgeConfig;
use crate::controller::{Controller, ControllerError};
use crate::desk::{Desk, DeskParts};
use crate::door::Door;
use crate::geo::{Geo, GeoError};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::proxy::Proxy;
use crate::relay::Relay;
use crate::template::{Template, TemplateError};
use crate::{admin, sync};

/// How long requests under way get to finish when the edge stops.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(1200);
/// The last report may take this long, any report under way included: an edge stops within two
/// seconds even when the controller is gone.
const FAREWELL_TIME_MAX: Duration = Duration::from_millis(500);
/// How often it is looked whether they have.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of each connection. Whoever reads brings a larger buffer, and reads past this one.
const READ_BUFFER_BYTES: usize = 512;
/// Of each connection. Header and body of a short answer of Pingora's go out in one write.
const WRITE_BUFFER_BYTES: usize = 2048;

/// Why an edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key file.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The key file has no key for this edge.
    #[error("key file has no signing key with the role edge and the owner {0}")]
    NoKey(Owner),
    /// A geo file.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The frame of the pages.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The controller's client.
    #[error("client for the controller cannot be set up")]
    Controller(#[from] ControllerError),
    /// The metrics.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// A listener.
    #[error("{what} cannot be used")]
    Listen {
        /// Which.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The certificate or its key.
    #[error("certificate or key cannot be used: {0}")]
    Tls(String),
}

/// What is bound before the edge starts, so that ports can be chosen freely.
pub struct EdgeParts {
    /// Where visitors are served.
    pub listener: TcpListener,
    /// Where metrics and health are served.
    pub admin_listener: TcpListener,
    /// Becomes `true` when the edge is to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// A running edge.
pub struct Edge {
    /// Where visitors are served.
    pub addr: SocketAddr,
    /// Where metrics and health are served.
    pub admin_addr: SocketAddr,
    thread: std::thread::JoinHandle<()>,
}

impl Edge {
    /// Waits until the edge has stopped.
    pub async fn stopped(self) {
        // Only a panic inside makes this fail, and that was logged by its thread.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

/// Starts an edge on its own runtime, so that stopping it closes every connection it has.
///
/// # Errors
/// If keys, files, addresses or certificates cannot be used. Nothing is left running then.
pub fn start(config: EdgeConfig, parts: EdgeParts) -> Result<Edge, StartError> {
    // Both TLS users need a provider; a second call finds the first one's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listen = |what| move |source| StartError::Listen { what, source };
    let keyring = Keyring::load(&config.keyring)?;
    let has_key = keyring
        .keys()
        .any(|key| key.role == Role::Edge && key.owner == config.name && key.can_sign());
    if !has_key {
        return Err(StartError::NoKey(config.name));
    }
    let binding_key = match &config.binding_secret {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        // It holds this edge's secrets, and is still the same after a restart.
        None => {
            let file = std::fs::read(&config.keyring).map_err(listen("keyring"))?;
            Sha256::new()
                .chain_update("binding key of an edge")
                .chain_update(file)
                .finalize()
                .to_vec()
        }
    };
    let template = match &config.pages.template {
        Some(file) => Template::load(file)?,
        None => Template::default(),
    };
    let desk = Arc::new(Desk::new(DeskParts {
        name: config.name.clone(),
        keyring,
        controller: Controller::new(&config.controller)?,
        limits: Limits::new(&config.limits),
        geo: Geo::open(&config.geo)?,
        metrics: Metrics::new()?,
        pages: Pages::new(template),
        body_bytes_max: config.origin.body_bytes_max,
        streams_max: config.limits.streams_max,
        binding_key,
    }));
    let addr = parts.listener.local_addr().map_err(listen("listen"))?;
    let admin_addr = parts.admin_listener.local_addr().map_err(listen("admin_listen"))?;
    parts.listener.set_nonblocking(true).map_err(listen("listen"))?;
    parts.admin_listener.set_nonblocking(true).map_err(listen("admin_listen"))?;
    let tls = match &config.tls {
        None => None,
        Some(tls) => {
            let (cert, key) = (tls.cert.to_string_lossy(), tls.key.to_string_lossy());
            let mut settings = TlsSettings::intermediate(&cert, &key)
                .map_err(|error| StartError::Tls(error.to_string()))?;
            settings.enable_h2();
            Some(settings)
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .thread_name(format!("edge {}", config.name))
        .enable_all()
        .build()
        .map_err(listen("runtime"))?;
    let service = service(&config, &desk, tls);
    let origin = config.origin.addr;
    let thread = std::thread::Builder::new()
        .name(format!("edge {}", config.name))
        .spawn(move || {
            runtime.block_on(run(config, desk, service, parts));
            // Whatever is still open after the drain is closed here.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })
        .map_err(listen("thread"))?;
    tracing::info!(%addr, %admin_addr, %origin, "edge serves on {addr}, before {origin}");
    Ok(Edge { addr, admin_addr, thread })
}

/// Name under which the bound listener is handed to Pingora; it is only a key.
const LISTENER: &str = "visitors";

fn service(config: &EdgeConfig, desk: &Arc<Desk>, tls: Option<TlsSettings>) -> Service<Door> {
    let origin = &config.origin;
    let is_tls = origin.tls_name.is_some();
    let mut peer = HttpPeer::new(origin.addr, is_tls, origin.tls_name.clone().unwrap_or_default());
    peer.options.connection_timeout = Some(Duration::from_millis(origin.connect_ms_max));
    peer.options.total_connection_timeout = Some(Duration::from_millis(2 * origin.connect_ms_max));
    peer.options.read_timeout = Some(Duration::from_secs(origin.read_secs_max));
    peer.options.write_timeout = Some(Duration::from_secs(origin.read_secs_max));
    peer.options.idle_timeout = Some(Duration::from_secs(30));
    let conf = Arc::new(ServerConf { threads: config.threads, ..ServerConf::default() });
    let relay = Relay::new(&conf, peer.clone());
    let proxy = Proxy {
        desk: Arc::clone(desk),
        trusted: config.client.trusted_proxies.clone(),
        origin: peer,
        idle_secs: config.limits.idle_secs_max,
    };
    let proxy = http_proxy(&conf, proxy);
    let trusted = config.client.trusted_proxies.clone();
    let door = Door::new(proxy, relay, Arc::clone(desk), trusted, &config.limits);
    let mut listeners = Listeners::new();
    let buffers = L4BufferSettings::new(READ_BUFFER_BYTES, WRITE_BUFFER_BYTES);
    let mut listener = ListenerConfig::tcp(LISTENER).l4_buffer(buffers);
    if let Some(tls) = tls {
        listener = listener.tls(tls);
    }
    listeners.add_listener(listener);
    Service::with_listeners(config.name.to_string(), listeners, door)
}

async fn run(config: EdgeConfig, desk: Arc<Desk>, mut service: Service<Door>, parts: EdgeParts) {
    let EdgeParts { listener, admin_listener, shutdown } = parts;
    let (drained_tx, drained_rx) = watch::channel(false);
    let syncing = tokio::spawn(sync::run(Arc::clone(&desk), config.keyring, drained_rx));
    match tokio::net::TcpListener::from_std(admin_listener) {
        Ok(admin_listener) => {
            let mut shutdown = shutdown.clone();
            let stopping = async move { sync::stopping(&mut shutdown).await };
            let admin = axum::serve(admin_listener, admin::router(Arc::clone(&desk)));
            tokio::spawn(async move { admin.with_graceful_shutdown(stopping).await });
        }
        Err(error) => tracing::error!(%error, "metrics and health are not served"),
    }
    let mut fds = Fds::new();
    fds.add(LISTENER.to_owned(), listener.into_raw_fd());
    let fds = Arc::new(parking_lot::Mutex::new(fds));
    service.start_service(Some(fds), shutdown, 1).await;
    // Accepting has stopped; what is under way gets a moment.
    let drained = async {
        let mut look = tokio::time::interval(DRAIN_LOOK_EVERY);
        while desk.metrics.origin_in_flight.get() > 0 {
            look.tick().await;
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, drained).await;
    // Only now is it known what was handed out, and which passes ended.
    drained_tx.send_replace(true);
    let _ = tokio::time::timeout(FAREWELL_TIME_MAX, syncing).await;
}
