//! Runs edge, controller and origin together, and stops them in the order that loses nothing.

use std::net::{SocketAddr, TcpListener};

use admission_controller::{ControllerConfig, ControllerParts};
use edge_proxy::{EdgeConfig, EdgeParts};
use origin::{OriginConfig, OriginParts};
use tokio::sync::watch;

/// The three configurations. Addresses between the services are filled in from the ports that
/// were really bound, so port 0 is fine everywhere.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// The edge's.
    pub edge: EdgeConfig,
    /// The controller's.
    pub controller: ControllerConfig,
    /// The origin's.
    pub origin: OriginConfig,
}

/// Why the stack did not start. Nothing is left running then.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// An address is taken, or not ours.
    #[error("{what} cannot listen on {addr}: {source}")]
    Listen {
        /// Which service.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The edge.
    #[error("edge: {0}")]
    Edge(#[from] edge_proxy::StartError),
    /// The controller.
    #[error("controller: {0}")]
    Controller(#[from] admission_controller::StartError),
    /// The origin.
    #[error("origin: {0}")]
    Origin(#[from] origin::StartError),
}

/// The running services.
pub struct Stack {
    /// Where visitors are served.
    pub edge_addr: SocketAddr,
    /// The edge's metrics and health.
    pub edge_admin_addr: SocketAddr,
    /// The controller: edges, operators, metrics and health.
    pub controller_addr: SocketAddr,
    /// The origin, as the edge reaches it.
    pub origin_addr: SocketAddr,
    /// The origin's load report, metrics and health.
    pub origin_internal_addr: SocketAddr,
    edge: Part<edge_proxy::Edge>,
    controller: Part<admission_controller::Controller>,
    origin: Part<origin::Origin>,
}

struct Part<T> {
    service: T,
    shutdown: watch::Sender<bool>,
}

impl Stack {
    /// Binds all addresses, then starts origin, controller and edge.
    ///
    /// # Errors
    /// If an address cannot be bound or a service does not start; the others are stopped again.
    pub async fn start(config: StackConfig) -> Result<Self, StackError> {
        let StackConfig { mut edge, mut controller, origin } = config;
        let (edge_listener, edge_addr) = bind("edge", edge.listen)?;
        let (admin_listener, edge_admin_addr) = bind("edge's metrics", edge.admin_listen)?;
        let (controller_listener, controller_addr) = bind("controller", controller.listen)?;
        let (origin_listener, origin_addr) = bind("origin", origin.listen)?;
        let (internal_listener, origin_internal_addr) =
            bind("origin's load report", origin.internal_listen)?;
        edge.origin.addr = origin_addr;
        edge.controller.url = format!("http://{controller_addr}");
        // The port is known only now; whoever reports instead of our origin is left as configured.
        let ours = format!("http://{}", origin.internal_listen);
        if let Some(report) = controller.origin.as_mut().filter(|report| report.load_url == ours) {
            report.load_url = format!("http://{origin_internal_addr}");
        }

        let (origin_shutdown, shutdown) = watch::channel(false);
        let parts = OriginParts { listener: origin_listener, internal_listener, shutdown };
        let origin =
            Part { service: origin::start(origin, parts).await?, shutdown: origin_shutdown };

        let (controller_shutdown, shutdown) = watch::channel(false);
        let parts = ControllerParts { listener: controller_listener, shutdown };
        let controller = match admission_controller::start(controller, parts).await {
            Ok(service) => Part { service, shutdown: controller_shutdown },
            Err(error) => {
                origin.stop().await;
                return Err(error.into());
            }
        };

        let (edge_shutdown, shutdown) = watch::channel(false);
        let parts = EdgeParts { listener: edge_listener, admin_listener, shutdown };
        let edge = match edge_proxy::start(edge, parts) {
            Ok(service) => Part { service, shutdown: edge_shutdown },
            Err(error) => {
                controller.stop().await;
                origin.stop().await;
                return Err(error.into());
            }
        };
        Ok(Self {
            edge_addr,
            edge_admin_addr,
            controller_addr,
            origin_addr,
            origin_internal_addr,
            edge,
            controller,
            origin,
        })
    }

    /// Stops the edge first, so that its last report reaches the controller.
    pub async fn stop(self) {
        self.edge.stop().await;
        self.controller.stop().await;
        self.origin.stop().await;
    }
}

/// A service that can be waited for.
trait Stop {
    async fn stopped(self);
}
impl Stop for edge_proxy::Edge {
    async fn stopped(self) {
        Self::stopped(self).await;
    }
}
impl Stop for admission_controller::Controller {
    async fn stopped(self) {
        Self::stopped(self).await;
    }
}
impl Stop for origin::Origin {
    async fn stopped(self) {
        Self::stopped(self).await;
    }
}

impl<T: Stop> Part<T> {
    async fn stop(self) {
        // A service that has ended by itself no longer listens, and that is what we want.
        let _ = self.shutdown.send(true);
        self.service.stopped().await;
    }
}

/// Binds before anything starts, so that a taken port is the first thing that is found.
///
/// # Errors
/// If it cannot be bound.
pub fn bind(what: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StackError> {
    let refused = |source| StackError::Listen { what, addr, source };
    let listener = TcpListener::bind(addr).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}
