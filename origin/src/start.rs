//! How does the origin start, and how does it stop?
//!
//! Starting reads the log before it serves, so that whoever gets an [`Origin`] can be served. Stopping
//! closes the doors first, then the writers, then the log.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle as Thread;
use std::time::{Duration, Instant};

use keys::{Id128, KeyFileError, Owner, Timestamp};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::board::Board;
use crate::catalogue::{self, Clerk, ClerkSetup, Command, ImportError, imports, items};
use crate::checkout::Checkout;
use crate::config::{GatewaySetup, OriginConfig};
use crate::http::{self, App, Doors, Pages, PassOn};
use crate::live::governor::{Watched, govern};
use crate::live::{Hub, Mode, Pins, PinsError};
use crate::load::Window;
use crate::log::{JournalTail, LogError, journal_tail};
use crate::metrics::{LogFailure, Metrics};
use crate::ownership::{Keeper, KeeperParts, Members, Places};
use crate::partition::{Clock, Partition, PartitionError, PartitionSetup, Tenure};
use crate::passes::Passes;
use crate::pay::{Gateway, Gateways, Sandbox, Stripe};
use crate::post::{MailError, Mailer, Postman, Sms};
use crate::printer::Printer;
use crate::sale::{GatewayName, Rules};
use crate::sales::Sales;
use crate::search::{IndexError, Search};
use crate::stand::{Halls, Stand, StandError};
use crate::steady::Reading;
use crate::store::rows::{Follower, FollowerSetup};
use crate::store::{StoreError, Stores};
use crate::ticket::{FontError, Letters, TicketError, TicketFacts, barcode};
use crate::usher;

/// Requests under way may take this long to end once we are told to stop; a payment that takes
/// longer is resolved at the next start.
const GRACE: Duration = Duration::from_millis(500);
/// Searches at once: each keeps a processor busy for some milliseconds, and selling comes first.
const SEARCHES_MAX: usize = 4;
/// Connections to the internal listener: a controller and a few monitors. Other processes that
/// pass requests on have as many as visitors have.
const INTERNAL_CONNECTIONS_MAX: usize = 256;

/// What a start gets from outside.
#[derive(Debug)]
pub struct OriginParts {
    /// For visitors; bound already, so that nobody else takes the port in between.
    pub listener: StdListener,
    /// For the controller; bound already.
    pub internal_listener: StdListener,
    /// Turns `true` when the origin is to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Why the origin did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made.
    #[error("data_dir {path} cannot be made, expected a folder that we may write to")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The key file cannot be used.
    #[error("keyring")]
    Keys(#[from] KeyFileError),
    /// There is no key to sign tickets with.
    #[error("keyring {path} has no key that {name} may sign tickets with now")]
    NoSigningKey {
        /// The key file.
        path: PathBuf,
        /// Who wants to sign.
        name: Owner,
        /// The cause.
        source: TicketError,
    },
    /// A font of `tickets.fonts` cannot be used.
    #[error("tickets.fonts")]
    Font(#[from] FontError),
    /// TLS for the mail server cannot be set up.
    #[error("mail")]
    Mail(#[from] MailError),
    /// There is no HTTP client for short messages.
    #[error("sms")]
    Sms(#[source] reqwest::Error),
    /// The lists of events cannot be used.
    #[error("lists of events")]
    Import(#[from] ImportError),
    /// The catalogue cannot be read, or what the configuration asks of it is refused.
    #[error(transparent)]
    Catalogue(#[from] catalogue::StartError),
    /// The search cannot write.
    #[error(transparent)]
    Search(#[from] IndexError),
    /// An event on sale has no seats.
    #[error(transparent)]
    Stand(#[from] StandError),
    /// The log cannot be opened.
    #[error("log")]
    Log(#[from] LogError),
    /// What is kept beside the log cannot be opened.
    #[error("store")]
    Store(#[from] StoreError),
    /// What operators have set cannot be read.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// Processes share a PostgreSQL or nothing.
    #[error("[cluster] needs a [postgres]")]
    NoDatabase,
    /// A partition cannot start.
    #[error("partition")]
    Partition(#[from] PartitionError),
    /// The sandbox cannot open its ledger.
    #[error("sandbox ledger in {path}")]
    Sandbox {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// A gateway cannot be called.
    #[error("payment gateway {name}")]
    Gateway {
        /// Which.
        name: GatewayName,
        /// The cause.
        source: reqwest::Error,
    },
    /// Metrics clash.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// A listener cannot be used.
    #[error("{key} {addr} cannot be served")]
    Bind {
        /// Which key.
        key: &'static str,
        /// Which address.
        addr: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The start was interrupted.
    #[error("the start was interrupted")]
    Interrupted,
}

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    public_addr: SocketAddr,
    internal_addr: SocketAddr,
    supervisor: JoinHandle<()>,
}

impl Origin {
    /// Where visitors are served.
    #[must_use]
    pub fn public_addr(&self) -> SocketAddr {
        self.public_addr
    }

    /// Where the controller is served.
    #[must_use]
    pub fn internal_addr(&self) -> SocketAddr {
        self.internal_addr
    }

    /// Waits until the origin has stopped: doors, writers and log are closed.
    pub async fn stopped(self) {
        // It fails only if the supervisor panicked, which has been reported by then.
        let _ = self.supervisor.await;
    }
}

/// Starts the origin: reads keys, events and the log, and serves.
///
/// # Errors
/// What cannot be used, and what was expected of it.
pub async fn start(config: OriginConfig, parts: OriginParts) -> Result<Origin, StartError> {
    let OriginParts { listener, internal_listener, shutdown } = parts;
    let public = listening("listen", config.listen, listener)?;
    let internal = listening("internal_listen", config.internal_listen, internal_listener)?;
    let peers_max = if config.cluster.is_some() { config.connections_max } else { 0 };
    let internal_max = INTERNAL_CONNECTIONS_MAX + peers_max;
    let (connections_max, public_addr, internal_addr) =
        (config.connections_max, addr("listen", &public)?, addr("internal_listen", &internal)?);
    // Replaying a log and drawing maps takes a moment of processor time.
    let stopping = shutdown.clone();
    let built = tokio::task::spawn_blocking(move || House::build(&config, stopping)).await;
    let House { app, crew, followers, postman, scribe } =
        built.map_err(|_| StartError::Interrupted)??;
    let mut tasks = JoinSet::new();
    let connections = Arc::new(Semaphore::new(connections_max));
    let internal_connections = Arc::new(Semaphore::new(internal_max));
    let doors = [
        (public, Arc::clone(&connections), http::public(Arc::clone(&app))),
        (internal, internal_connections, http::internal(Arc::clone(&app))),
    ];
    for (listener, places, router) in doors {
        let doors = Doors::new(listener, places);
        tasks.spawn(doors.serve(router, shutdown.clone()));
    }
    let watched =
        Watched { window: Arc::clone(&app.window), connections: (connections, connections_max) };
    tasks.spawn(govern(Arc::clone(&app.hub), watched, shutdown.clone()));
    tasks.spawn(Arc::clone(&app.checkout).resolve_until(shutdown.clone()));
    tasks.spawn(Arc::clone(&app.checkout).reconcile_until(shutdown.clone()));
    tasks.spawn(Arc::clone(&app.passes).follow_until(shutdown.clone()));
    tasks.spawn(Arc::new(postman).walk_until(shutdown.clone()));
    tasks.spawn(usher::follow_until(Arc::clone(&app), shutdown.clone()));
    tracing::info!(%public_addr, %internal_addr, "origin serves on {public_addr}");
    let supervisor = tokio::spawn(supervise(app, tasks, (crew, scribe), followers, shutdown));
    Ok(Origin { public_addr, internal_addr, supervisor })
}

fn listening(
    key: &'static str,
    addr: SocketAddr,
    bound: StdListener,
) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Bind { key, addr, source };
    bound.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(bound).map_err(failed)
}

fn addr(key: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Bind { key, addr: unknown, source })
}

async fn supervise(
    app: Arc<App>,
    mut tasks: JoinSet<()>,
    (crew, scribe): (Crew, Thread<()>),
    followers: Followers,
    mut shutdown: watch::Receiver<bool>,
) {
    let _ = shutdown.wait_for(|is_stopping| *is_stopping).await;
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::info!("requests still under way are cut off");
        tasks.shutdown().await;
    }
    app.clerk.stop();
    app.sales.stop();
    let joined = tokio::task::spawn_blocking(move || {
        let mut threads = vec![scribe];
        match crew {
            Crew::Sole(writers) => threads.extend(writers),
            Crew::Shared(keeper) => keeper.stop(),
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a writer had panicked");
            }
        }
        followers.stop();
    });
    let _ = joined.await;
    tracing::info!("origin has stopped");
}

/// Who keeps the partitions.
enum Crew {
    /// A writer each, from the start to the end.
    Sole(Vec<Thread<()>>),
    /// Whoever of several processes has them.
    Shared(Keeper),
}

/// Who brings the tables up to date where the writers do not.
struct Followers {
    threads: Vec<Thread<()>>,
    is_stopping: Arc<AtomicBool>,
}

impl Followers {
    fn start(
        config: &OriginConfig,
        stores: &Stores,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let mut followers = Self { threads: Vec::new(), is_stopping: Arc::default() };
        for partition in 0..config.partitions {
            let Some(rows) = stores.rows()? else { continue };
            let follower = Follower::new(FollowerSetup {
                partition,
                log: stores.log()?,
                rows,
                only_of: config.cluster.as_ref().map(|cluster| cluster.advertise.clone()),
                metrics: Arc::clone(metrics),
            });
            let thread = follower.spawn(Arc::clone(&followers.is_stopping));
            let failed = |source| PartitionError::Thread { partition, source };
            followers.threads.push(thread.map_err(failed)?);
        }
        Ok(followers)
    }

    fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a follower had panicked");
            }
        }
    }
}

/// Tells of a journal that was torn, before SQLite opens it and goes back to the last whole commit.
fn check_journal(path: &Path, metrics: &Metrics) {
    match journal_tail(path) {
        Ok(JournalTail::Whole) => {}
        Ok(JournalTail::Torn { frames }) => {
            metrics.log_failed(LogFailure::Torn);
            tracing::error!(
                frames,
                "the journal of {} is torn after {frames} frames: the sale begins at the last \
                 whole record before. A write that was interrupted was answered to nobody; if \
                 orders are missing, the disk had confirmed what it did not keep",
                path.display()
            );
        }
        Err(error) => {
            tracing::warn!(%error, "the journal of {} cannot be looked at", path.display());
        }
    }
}

/// All that serves, before it has doors.
struct House {
    app: Arc<App>,
    crew: Crew,
    followers: Followers,
    postman: Postman,
    /// Writes the catalogue.
    scribe: Thread<()>,
}

impl House {
    fn build(config: &OriginConfig, stopping: watch::Receiver<bool>) -> Result<Self, StartError> {
        let OriginConfig { data_dir, rules, partitions, .. } = config;
        let data = |source| StartError::DataDir { path: data_dir.clone(), source };
        std::fs::create_dir_all(data_dir).map_err(data)?;
        let passes = Arc::new(Passes::load(config.keyring.clone())?);
        check_signing(config, &passes)?;
        let printer = Printer::new(config.name.clone(), Letters::load(&config.fonts)?);
        let metrics = Arc::new(Metrics::new()?);
        let window = Arc::new(Window::new(*partitions, Instant::now()));
        let began = Instant::now();
        let clock: Clock =
            Arc::new(move || Reading { wall: Timestamp::now(), elapsed: began.elapsed() });
        if config.postgres.is_none() {
            check_journal(&data_dir.join("sale.sqlite"), &metrics);
        }
        let stores = Stores::open(config, &metrics)?;
        let clerk = ClerkSetup {
            owner: config.name.clone(),
            log: stores.catalogue_log()?,
            clock: Arc::clone(&clock),
        };
        let listed = imports(items(&config.sources)?);
        let first = listed.chain([Command::Begin(config.on_sale.clone())]);
        let (clerk, catalogue, scribe) = Clerk::start(clerk, first)?;
        let search = Search::open(&data_dir.join("search"), &catalogue)?;
        let (began_events, followed) = {
            let state = catalogue.read();
            let began = state.events_after(None).filter(|event| event.has_begun);
            (began.cloned().collect::<Vec<_>>(), state.seq())
        };
        let configured = Pins { pinned: config.pinned_mode, ..Pins::default() };
        let pins = Handle::current().block_on(Pins::read(&stores.docs))?.unwrap_or(configured);
        let (shops, maps) = (Board::default(), Board::default());
        let halls = Halls::new(stores.blobs.clone());
        let mut setups = Vec::new();
        for event in began_events {
            // We are on a thread for blocking work, so waiting here keeps nobody else waiting.
            let hall = Handle::current().block_on(halls.of(&event))?;
            let is_offering = pins.of_event(&event.id) != Some(Mode::Paused);
            let rules = Rules { is_offering, ..config.rules_of(&event.id) };
            let Stand { shop, setup, map } = Stand::new(event, hall, rules)?;
            maps.put(map.hash.clone(), map);
            shops.put(setup.event.clone(), shop);
            setups.push(setup);
        }

        let sales = Arc::new(Sales::new(*partitions, setups));
        let (crew, others) = match &config.cluster {
            None => {
                let mut writers = Vec::new();
                for partition in 0..*partitions {
                    let setup = PartitionSetup {
                        partition,
                        owner: config.name.clone(),
                        events: sales.events_of(partition),
                        tenure: Tenure::Sole,
                        log: stores.log()?,
                        clock: Arc::clone(&clock),
                        may_cut_damaged_tail: config.may_cut_damaged_tail,
                        snapshot_changes: config.snapshot_changes,
                        window: Arc::clone(&window),
                        metrics: Arc::clone(&metrics),
                    };
                    let (writer, thread) = Partition::start(setup, stores.log()?)?;
                    sales.put_writer(partition, writer);
                    writers.push(thread);
                }
                (Crew::Sole(writers), None)
            }
            Some(cluster) => {
                let database = stores.database().ok_or(StartError::NoDatabase)?;
                let members = Members::new(Arc::clone(database));
                let places = Arc::new(Places::unknown(*partitions));
                let opening = stores.clone();
                let keeper = Keeper::start(KeeperParts {
                    owner: config.name.clone(),
                    addr: cluster.advertise.clone(),
                    ttl: cluster.lease,
                    partitions: *partitions,
                    members,
                    open_log: Box::new(move || opening.log()),
                    sales: Arc::clone(&sales),
                    places: Arc::clone(&places),
                    clock: Arc::clone(&clock),
                    may_cut_damaged_tail: config.may_cut_damaged_tail,
                    snapshot_changes: config.snapshot_changes,
                    window: Arc::clone(&window),
                    metrics: Arc::clone(&metrics),
                })?;
                let (nudge, token) = (keeper.nudge(), &config.internal_token);
                let others = PassOn::new(places, nudge, token, Arc::clone(&metrics));
                (Crew::Shared(keeper), Some(others))
            }
        };
        let followers = Followers::start(config, &stores, &metrics)?;
        let checkout = Checkout::new(
            Arc::clone(&sales),
            gateways(config, &clock, &metrics)?,
            config.payment.checkout,
            Arc::clone(&metrics),
            Arc::clone(&clock),
        );
        let hub = Hub::new(config.live, pins, Arc::clone(&window), Arc::clone(&metrics), stopping);
        let app = App {
            hub: Arc::new(hub),
            name: config.name.clone(),
            rules: *rules,
            pricing: config.pricing.clone(),
            catalogue,
            clerk,
            search: Arc::new(search),
            searches: Arc::new(Semaphore::new(SEARCHES_MAX)),
            halls,
            followed: tokio::sync::Mutex::new(followed),
            shops,
            maps,
            pages: Pages::new(),
            sales,
            checkout: Arc::new(checkout),
            passes,
            printer,
            metrics,
            window,
            stores,
            partitions: *partitions,
            others,
            in_flight: Semaphore::new(config.in_flight_max),
            passless: Semaphore::new(http::PASSLESS_MAX),
            internal_token: config.internal_token.clone(),
            scanner_tokens: config.scanner_tokens.clone(),
            organisers: config.organisers.clone(),
        };
        let app = Arc::new(app);
        let postman = postman(config, Arc::clone(&app))?;
        Ok(Self { app, crew, followers, postman, scribe })
    }
}

fn postman(config: &OriginConfig, app: Arc<App>) -> Result<Postman, StartError> {
    let mailer = config.post.mail.as_ref().map(Mailer::new).transpose()?;
    let sms = config.post.sms.clone().map(Sms::new).transpose().map_err(StartError::Sms)?;
    Ok(Postman::new(app, mailer, sms, config.post.shop_url.clone()))
}

/// The gateways in the order in which they are asked.
fn gateways(
    config: &OriginConfig,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Result<Gateways, StartError> {
    let mut gateways = Vec::new();
    for (name, setup) in &config.payment.gateways {
        let gateway = match setup {
            GatewaySetup::Sandbox => {
                let ledger = config.data_dir.join("sandbox.sqlite");
                let sandbox = Sandbox::open(Some(&ledger), config.sandbox)
                    .map_err(|source| StartError::Sandbox { path: ledger, source })?;
                Gateway::Sandbox(sandbox)
            }
            GatewaySetup::Stripe(setup) => {
                let failed = |source| StartError::Gateway { name: name.clone(), source };
                Gateway::Stripe(Stripe::new(setup.clone(), &config.post.shop_url).map_err(failed)?)
            }
        };
        gateways.push((name.clone(), gateway));
    }
    Ok(Gateways::new(gateways, config.payment.timeout, Arc::clone(clock), Arc::clone(metrics)))
}

/// A sale without tickets is none: better not to start.
fn check_signing(config: &OriginConfig, passes: &Passes) -> Result<(), StartError> {
    let now = Timestamp::now();
    let facts = TicketFacts {
        issuer: &config.name,
        event: &"probe".parse().expect("our own word is a slug"),
        starts_at: now,
        ticket: Id128::random(),
        seat: String::new(),
        sold_at: now,
    };
    passes.with_keyring(|keys| barcode(keys, &facts, now)).map(|_| ()).map_err(|source| {
        let (path, name) = (config.keyring.clone(), config.name.clone());
        StartError::NoSigningKey { path, name, source }
    })
}
