//! Starts a controller and stops it.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keys::{KeyFileError, Keyring, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{App, Trouble, told_to_stop};
use crate::clock::Clock;
use crate::config::{ConfigError, ControllerConfig, RedisUrl, StoreConfig};
use crate::control::{Control, ControlError, Inbox, Snapshot};
use crate::drand;
use crate::http;
use crate::metrics::Metrics;
use crate::signals::{self, Heard};
use crate::store::{RedisPlace, Store, StoreError};

/// After being told to stop, requests under way have this long to finish.
const STOP_WITHIN: Duration = Duration::from_millis(800);

/// What a controller is given by whoever starts it.
#[derive(Debug)]
pub struct ControllerParts {
    /// Already bound, so that the address is known before anything starts.
    pub listener: std::net::TcpListener,
    /// Becomes `true` when the controller is to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The store cannot be opened.
    #[error("store in {place} cannot be used")]
    Store {
        /// Where it was looked for: a folder, or Redis.
        place: String,
        /// The cause.
        source: StoreError,
    },
    /// Nothing could be published.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The listener has no address.
    #[error("listener has no address")]
    Listener(#[from] std::io::Error),
    /// The client that asks the origin cannot be made.
    #[error("HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
    /// Two metrics have one name.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    addr: SocketAddr,
    tasks: JoinSet<()>,
    store: Store,
}

impl Controller {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For tests that take it away.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Waits until it has stopped and its store is closed.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "controller: a task did not end in order");
            }
        }
        self.store.close().await;
        tracing::info!(addr = %self.addr, "controller: stopped");
    }
}

/// Starts a controller: opens the store, takes a new epoch, creates the rooms of the
/// configuration, publishes their fronts, and only then answers.
///
/// # Errors
/// If the configuration, the key file or the store cannot be used.
pub async fn start(
    config: ControllerConfig,
    parts: ControllerParts,
) -> Result<Controller, StartError> {
    config.check()?;
    let ControllerParts { listener, shutdown } = parts;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let addr = listener.local_addr()?;
    let clock = Arc::new(Clock::starting(Timestamp::now()));
    let now = clock.now();
    let metrics = Metrics::new()?;
    let keyring = Keyring::load(&config.keyring)?;
    let place = match &config.store {
        StoreConfig::Embedded => config.data_dir.display().to_string(),
        StoreConfig::Redis { .. } => "Redis".to_owned(),
    };
    let in_store = |source| StartError::Store { place: place.clone(), source };
    let ca = read_ca(&config.store)?;
    let store = open_store(&config, ca, &metrics, now).await.map_err(in_store)?;
    let app = Arc::new(App {
        name: config.name.clone(),
        tokens: config.tokens,
        drand: config.drand.clone(),
        clock: Arc::clone(&clock),
        store: store.clone(),
        keyring: ArcSwap::from_pointee(keyring),
        snapshot: ArcSwap::from_pointee(Snapshot::default()),
        heard: Arc::new(Mutex::new(Heard::new(config.origin.is_some()))),
        metrics,
        control: tokio::sync::Mutex::new(Control::new(config.name)),
        inbox: Mutex::new(Inbox::default()),
        traffic: Mutex::default(),
        trouble: Mutex::new(Trouble::default()),
        turn: Mutex::new(None),
        is_ready: AtomicBool::new(false),
        came_round_at: Mutex::new(Instant::now()),
    });
    let mut tasks = JoinSet::new();
    // Edges may show what they hold while the store is being trusted; all else waits.
    tasks.spawn(serve(listener, http::router(Arc::clone(&app)), shutdown.clone()));
    app.get_ready(&mut shutdown.clone()).await?;
    for spec in config.rooms {
        let event = spec.event.clone();
        if let Some(room) = store.configure(spec, now).await.map_err(in_store)? {
            let version = room.version;
            tracing::info!(
                event = event.as_str(),
                version,
                "room was taken from the configuration"
            );
        }
    }
    app.tick(clock.now()).await?;
    app.is_now_ready();
    if let Some(origin) = config.origin {
        let client = origin_client()?;
        let heard = Arc::clone(&app.heard);
        tasks.spawn(signals::ask_origin(origin, client, heard, clock, shutdown.clone()));
    }
    if let Some(drand) = config.drand {
        let client = drand::client()?;
        tasks.spawn(drand::watch(Arc::clone(&app), drand, client, shutdown.clone()));
    }
    tasks.spawn(Arc::clone(&app).run_control(shutdown.clone()));
    tasks.spawn(Arc::clone(&app).watch_keys(config.keyring, shutdown));
    tracing::info!(%addr, "controller serves on {addr}");
    Ok(Controller { addr, tasks, store })
}

/// Who must have signed the store's certificate.
fn read_ca(store: &StoreConfig) -> Result<Option<Vec<u8>>, ConfigError> {
    let StoreConfig::Redis { ca_file: Some(path), .. } = store else { return Ok(None) };
    let read = std::fs::read(path);
    read.map(Some).map_err(|source| ConfigError::Read { path: path.clone(), source })
}

async fn open_store(
    config: &ControllerConfig,
    ca: Option<Vec<u8>>,
    metrics: &Metrics,
    now: Timestamp,
) -> Result<Store, StoreError> {
    let seconds = metrics.store_commit_seconds.clone();
    match &config.store {
        StoreConfig::Embedded => {
            let directory = config.data_dir.clone();
            tokio::task::spawn_blocking(move || Store::embedded(&directory, seconds, now))
                .await
                .map_err(|_| StoreError::Closed)?
        }
        StoreConfig::Redis { urls, ca_file: _, replicas_min, cluster, prefix } => {
            let place = RedisPlace {
                urls: urls.iter().map(RedisUrl::expose).map(str::to_owned).collect(),
                ca,
                replicas_min: *replicas_min,
                is_cluster: *cluster,
                prefix: prefix.clone(),
            };
            Store::redis(&place, config.name.clone(), seconds, now).await
        }
    }
}

fn origin_client() -> Result<reqwest::Client, reqwest::Error> {
    http_client().no_proxy().pool_max_idle_per_host(1).build()
}

/// What our clients have in common: they follow no redirects.
pub(crate) fn http_client() -> reqwest::ClientBuilder {
    // An error means that the process has chosen a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none())
}

async fn serve(listener: TcpListener, router: axum::Router, shutdown: watch::Receiver<bool>) {
    let told =
        |mut shutdown: watch::Receiver<bool>| async move { told_to_stop(&mut shutdown).await };
    let serving = axum::serve(listener, router).with_graceful_shutdown(told(shutdown.clone()));
    let late = async {
        told(shutdown).await;
        tokio::time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "controller: serving ended");
            }
        }
        () = late => tracing::warn!("controller: stopped with requests under way"),
    }
}
