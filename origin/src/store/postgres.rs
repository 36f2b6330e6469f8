//! How do we reach PostgreSQL, and what may be assumed of every connection to it?
//!
//! Writers are threads that wait for their store. The connections live on a small runtime of the
//! database's own, so a writer may wait from anywhere, a `tokio` worker included.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime as PoolRuntime};
use keys::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::migrations::{self, Migrated};
use crate::log::RowsMode;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may take before we give the connection up. The server gives up earlier,
/// so that a statement is not carried out long after we stopped waiting for it.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// What the server is asked to enforce: a frozen process of ours must not keep rows locked.
const SETTINGS: &str = "-c statement_timeout=8s -c idle_in_transaction_session_timeout=5s \
                        -c client_connection_check_interval=2s";
/// How long a silent network is believed in.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of the pool that documents and blobs share, if nothing else is configured.
pub const POOL_DEFAULT: usize = 8;

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `postgres://user:password@host/database?sslmode=require`.
    pub url: Secret,
    /// Whose certificates to believe, as PEM; without it those that browsers believe.
    pub ca_file: Option<PathBuf>,
    /// Most connections beside the writers' own.
    pub pool_max: usize,
    /// Processor cores of its machine, if that is another one and the load is to be told.
    pub cores: Option<u32>,
    /// Whether the rows of the tables are written with the log or after it.
    pub rows: RowsMode,
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is none.
    #[error("the URL of the PostgreSQL database: {detail}")]
    Url {
        /// What is wrong with it; without the URL, for it has a password.
        detail: String,
    },
    /// The certificates cannot be read.
    #[error("certificates in {path} cannot be used, expected PEM: {detail}")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// No thread for the connections.
    #[error("no thread for the connections to PostgreSQL")]
    Thread(#[source] std::io::Error),
    /// It said no, or the connection broke.
    #[error("PostgreSQL {database}")]
    Query {
        /// Which, without password.
        database: String,
        /// What it said.
        source: Said,
    },
    /// It did not answer.
    #[error("PostgreSQL {database} did not answer within {} s", after.as_secs())]
    Timeout {
        /// Which, without password.
        database: String,
        /// After how long.
        after: Duration,
    },
    /// The pool gave no connection.
    #[error("no connection to PostgreSQL {database}: {detail}")]
    Pool {
        /// Which, without password.
        database: String,
        /// Why.
        detail: String,
    },
    /// A newer program has been here.
    #[error("PostgreSQL {database} is laid out by step {taken}, we know steps up to {known}")]
    Newer {
        /// Which, without password.
        database: String,
        /// How far it is.
        taken: i32,
        /// How far we are.
        known: i32,
    },
}

/// What PostgreSQL said, in a line that reads alone.
#[derive(Debug)]
pub struct Said(pub tokio_postgres::Error);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_db_error() {
            Some(said) => write!(f, "{} ({})", said.message(), said.code().code()),
            None => match std::error::Error::source(&self.0) {
                Some(cause) => write!(f, "{}: {cause}", self.0),
                None => write!(f, "{}", self.0),
            },
        }
    }
}

impl std::error::Error for Said {}

/// A database, laid out and ready.
pub struct Database {
    config: Config,
    tls: MakeRustlsConnect,
    shown: String,
    pool: Pool,
    /// Taken when dropped: a runtime must not be waited for from inside another one.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.shown)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Database {
    /// Connects and takes the steps of the layout that are missing.
    ///
    /// # Errors
    /// If it cannot be reached or laid out.
    pub fn open(options: &PostgresOptions) -> Result<Arc<Self>, PostgresError> {
        let mut config = Config::from_str(options.url.expose()).map_err(|error| {
            // The crate's text names what is wrong and not the value.
            PostgresError::Url { detail: Said(error).to_string() }
        })?;
        let settings = config.get_options().map_or(SETTINGS.into(), |o| format!("{o} {SETTINGS}"));
        config.options(settings).connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(TCP_USER_TIMEOUT).application_name("waiting-room origin");
        let tls = tls(options)?;
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config.clone(), tls.clone(), manager);
        let pool = Pool::builder(manager)
            .max_size(options.pool_max)
            .runtime(PoolRuntime::Tokio1)
            .wait_timeout(Some(STATEMENT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|error| PostgresError::Url { detail: error.to_string() })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(PostgresError::Thread)?;
        let shown = shown(&config);
        let database = Arc::new(Self { config, tls, shown, pool, runtime: Some(runtime) });
        let opening = Arc::clone(&database);
        database.wait(async move { opening.lay_out().await })?;
        Ok(database)
    }

    async fn lay_out(&self) -> Result<(), PostgresError> {
        let mut client = self.connect().await?;
        match self.within(migrations::run(&mut client)).await? {
            Migrated::UpToDate => {}
            Migrated::Newer { taken, known } => {
                let database = self.shown.clone();
                return Err(PostgresError::Newer { database, taken, known });
            }
        }
        let sql = "SELECT current_setting('fsync')";
        let rows = self.within(client.query(sql, &[])).await?;
        if rows.first().is_some_and(|row| row.get::<_, &str>(0) == "off") {
            tracing::error!(
                database = self.shown,
                "PostgreSQL {} has fsync off: what it confirms may be lost with the power",
                self.shown
            );
        }
        Ok(())
    }

    /// A connection of one's own.
    pub(crate) async fn connect(&self) -> Result<Client, PostgresError> {
        let connecting = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            tokio::spawn(async move {
                // Whoever waits for an answer hears of the error; here it would be a second time.
                let _ = connection.await;
            });
            // Asynchronous commits would be answered for before they are kept; what is stronger
            // than `on` stays.
            let sql = "SELECT set_config('synchronous_commit', 'on', false)
                       WHERE current_setting('synchronous_commit') IN ('off', 'local')";
            client.query(sql, &[]).await?;
            Ok(client)
        };
        self.within(connecting).await
    }

    /// Waits from a thread for what is done on the connections' runtime.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>> + Send + 'static,
    ) -> Result<T, PostgresError> {
        let gone = || PostgresError::Thread(std::io::ErrorKind::BrokenPipe.into());
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        let (done, wait) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            let _ = done.send(work.await);
        });
        wait.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Bounds the time of one or a few statements.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        let database = || self.shown.clone();
        match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
            Ok(done) => done.map_err(|error| PostgresError::Query {
                database: database(),
                source: Said(error),
            }),
            Err(_) => {
                Err(PostgresError::Timeout { database: database(), after: STATEMENT_TIMEOUT })
            }
        }
    }

    /// Runs a statement on a connection of the pool and returns its rows.
    pub(crate) async fn query(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let client = self.pooled().await?;
        let prepared = async { client.query(&client.prepare_cached(sql).await?, values).await };
        self.within(prepared).await
    }

    /// Runs a statement on a connection of the pool: how many rows it changed.
    pub(crate) async fn execute(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PostgresError> {
        let client = self.pooled().await?;
        let prepared = async { client.execute(&client.prepare_cached(sql).await?, values).await };
        self.within(prepared).await
    }

    /// Where it is.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) async fn pooled(&self) -> Result<deadpool_postgres::Client, PostgresError> {
        self.pool.get().await.map_err(|error| PostgresError::Pool {
            database: self.shown.clone(),
            detail: error.to_string(),
        })
    }
}

impl PostgresError {
    /// What the server said with an error, rather than the connection or the clock.
    #[must_use]
    pub fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        match self {
            Self::Query { source, .. } => source.0.code(),
            _ => None,
        }
    }

    /// Which constraint an error is about.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Query { source, .. } => source.0.as_db_error()?.constraint(),
            _ => None,
        }
    }
}

/// Host and database, for people: never user and password.
fn shown(config: &Config) -> String {
    let hosts = config.get_hosts().iter().zip(config.get_ports()).map(|(host, port)| match host {
        tokio_postgres::config::Host::Tcp(name) => format!("{name}:{port}"),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<_> = hosts.collect();
    format!("{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

fn tls(options: &PostgresOptions) -> Result<MakeRustlsConnect, PostgresError> {
    let mut roots = rustls::RootCertStore::empty();
    match &options.ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let refused = |detail: String| PostgresError::Certificates {
                path: path.display().to_string(),
                detail,
            };
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| refused(error.to_string()))?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| refused(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| PostgresError::Url { detail: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
