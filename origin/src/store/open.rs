//! Which stores does the configuration mean?

use std::path::PathBuf;
use std::sync::Arc;

use super::rows::{PostgresRows, RowStore, SqliteRows};
use super::{Blobs, Database, DatabaseCpu, Docs, Hot, StoreError};
use crate::config::OriginConfig;
use crate::log::{Log, LogError, PostgresLog, RowsMode, SqliteLog};
use crate::metrics::Metrics;

/// All stores of one origin.
#[derive(Debug, Clone)]
pub struct Stores {
    place: Place,
    partitions: u32,
    /// Documents.
    pub docs: Docs,
    /// Bytes by their hash.
    pub blobs: Blobs,
    /// Marks on seats that somebody is about to get.
    pub hot: Hot,
    /// How busy the server's processor is; `None` without a server.
    pub cpu: Option<Arc<DatabaseCpu>>,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Server(Arc<Database>, RowsMode),
}

impl Stores {
    /// Opens what is configured; without a server, files in `data_dir`. Call it where a `tokio`
    /// runtime is at hand: the way to Redis lives there.
    ///
    /// # Errors
    /// If a store cannot be opened.
    pub fn open(config: &OriginConfig, metrics: &Metrics) -> Result<Self, StoreError> {
        let hot = match &config.redis {
            Some(options) => Hot::redis(options, metrics.hot_marks_total.clone())?,
            None => Hot::None,
        };
        let mut cpu = None;
        let (place, docs, blobs) = match &config.postgres {
            Some(options) => {
                let database = Database::open(options)?;
                cpu = Some(Arc::new(DatabaseCpu::new(Arc::clone(&database), options.cores)));
                let docs = Docs::Postgres(Arc::clone(&database));
                let blobs = Blobs::Postgres(Arc::clone(&database));
                (Place::Server(database, options.rows), docs, blobs)
            }
            None => {
                let folder = config.data_dir.clone();
                let path = folder.join("docs.sqlite");
                (Place::Folder(folder), Docs::sqlite(&path)?, Blobs::sqlite(&path)?)
            }
        };
        Ok(Self { place, partitions: config.partitions, docs, blobs, hot, cpu })
    }

    /// The server that several processes share, if there is one.
    #[must_use]
    pub fn database(&self) -> Option<&Arc<Database>> {
        match &self.place {
            Place::Folder(_) => None,
            Place::Server(database, _) => Some(database),
        }
    }

    /// One more way to the log.
    ///
    /// # Errors
    /// If the log cannot be opened, or is laid out for another number of partitions.
    pub fn log(&self) -> Result<Log, LogError> {
        match &self.place {
            Place::Folder(_) => self.log_with(RowsMode::Fast),
            Place::Server(_, rows) => self.log_with(*rows),
        }
    }

    /// A way to the log for the catalogue, whose records are no sales and have no rows.
    ///
    /// # Errors
    /// If the log cannot be opened, or is laid out for another number of partitions.
    pub fn catalogue_log(&self) -> Result<Log, LogError> {
        self.log_with(RowsMode::Fast)
    }

    fn log_with(&self, rows: RowsMode) -> Result<Log, LogError> {
        let partitions = self.partitions;
        Ok(match &self.place {
            Place::Folder(folder) => {
                Log::Sqlite(SqliteLog::open(&folder.join("sale.sqlite"), partitions)?)
            }
            Place::Server(database, _) => {
                Log::Postgres(PostgresLog::open(Arc::clone(database), partitions, rows)?)
            }
        })
    }

    /// The tables that a follower brings up to date; `None` if the writer does it.
    ///
    /// # Errors
    /// If they cannot be opened.
    pub fn rows(&self) -> Result<Option<RowStore>, StoreError> {
        Ok(match &self.place {
            Place::Server(_, RowsMode::Strict) => None,
            Place::Server(database, RowsMode::Fast) => {
                Some(RowStore::Postgres(PostgresRows::new(Arc::clone(database))))
            }
            Place::Folder(folder) => {
                Some(RowStore::Sqlite(SqliteRows::open(&folder.join("rows.sqlite"))?))
            }
        })
    }
}
