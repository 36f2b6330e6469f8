//! An SQLite file for whoever is not a writer of the sale: one connection, waited for in turn.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::StoreError;

/// How long another process's transaction is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file. Clones share its connection.
#[derive(Debug, Clone)]
pub struct File {
    connection: Arc<Mutex<Connection>>,
    path: Arc<str>,
}

impl File {
    /// Opens it and makes its tables if they are new. What is committed is on the disk.
    pub(super) fn open(path: &Path, schema: &str) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let failed = |source| StoreError::Sqlite { path: shown.clone(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.execute_batch(schema).map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path: shown.into() })
    }

    /// Does something with the connection on a thread that may wait for the disk.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        let worked = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let worked = worked.await.map_err(|_| StoreError::Interrupted)?;
        worked.map_err(|source| StoreError::Sqlite { path: self.path.to_string(), source })
    }
}
