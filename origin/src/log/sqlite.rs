//! The log in an embedded SQLite database.
//!
//! WAL with `synchronous=FULL`: a commit is on the disk when it returns, whatever is killed next.
//! The epoch is checked in the transaction that appends, so a paused old owner cannot write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keys::Owner;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{AppendError, Lease, LogError, PartitionId, Stored};

/// How long another partition's commit is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS layout (partitions INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS owner (
        partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, name TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS log (
        partition INTEGER NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL,
        bytes BLOB NOT NULL, PRIMARY KEY (partition, seq)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cut (
        partition INTEGER NOT NULL, seq INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS snapshot (
        partition INTEGER PRIMARY KEY, seq INTEGER NOT NULL, bytes BLOB NOT NULL);";

/// A connection to the database; each partition has its own.
#[derive(Debug)]
pub struct SqliteLog {
    connection: Connection,
    path: PathBuf,
}

impl SqliteLog {
    /// Opens the database and makes its tables if it is new.
    ///
    /// # Errors
    /// If SQLite fails, or the database was laid out for another number of partitions.
    pub fn open(path: &Path, partitions: u32) -> Result<Self, LogError> {
        let failed = |source| LogError::Sqlite { path: path.display().to_string(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        let insert = "INSERT INTO layout SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM layout)";
        connection.execute(insert, [partitions]).map_err(failed)?;
        let read = "SELECT partitions FROM layout";
        let stored = connection.query_row(read, [], |row| row.get(0)).map_err(failed)?;
        if stored != partitions {
            return Err(LogError::Partitions { stored, configured: partitions });
        }
        Ok(Self { connection, path: path.to_owned() })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> LogError + use<> {
        let path = self.path.display().to_string();
        move |source| LogError::Sqlite { path: path.clone(), source }
    }

    pub(super) fn acquire(
        &mut self,
        partition: PartitionId,
        owner: &Owner,
    ) -> Result<Lease, LogError> {
        let sql = "INSERT INTO owner VALUES (?1, 1, ?2) ON CONFLICT (partition)
                   DO UPDATE SET epoch = epoch + 1, name = ?2 RETURNING epoch";
        let params = params![partition, owner.as_str()];
        let epoch = self.connection.query_row(sql, params, |row| row.get(0));
        Ok(Lease { epoch: epoch.map_err(self.failed())? })
    }

    pub(super) fn epoch(&mut self, partition: PartitionId) -> Result<u64, LogError> {
        let sql = "SELECT epoch FROM owner WHERE partition = ?1";
        let epoch = self.connection.query_row(sql, [partition], |row| row.get(0)).optional();
        Ok(epoch.map_err(self.failed())?.unwrap_or(0))
    }

    pub(super) fn append(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        let failed = self.failed();
        let unknown = |source| AppendError::Unknown(failed(source));
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(unknown)?;
        let owner = "SELECT epoch FROM owner WHERE partition = ?1";
        let current: Option<u64> = transaction
            .prepare_cached(owner)
            .and_then(|mut select| select.query_row([partition], |row| row.get(0)).optional())
            .map_err(unknown)?;
        if current != Some(epoch) {
            return Err(AppendError::Fenced { partition, epoch });
        }
        let insert = "INSERT INTO log VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let inserted = transaction
            .prepare_cached(insert)
            .and_then(|mut insert| insert.execute(params![partition, seq, epoch, bytes]))
            .map_err(unknown)?;
        if inserted == 0 {
            return Err(AppendError::Conflict { partition, seq });
        }
        transaction.commit().map_err(unknown)
    }

    pub(super) fn read(
        &mut self,
        partition: PartitionId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Stored>, LogError> {
        let sql = "SELECT seq, bytes FROM log WHERE partition = ?1 AND seq >= ?2
                   ORDER BY seq LIMIT ?3";
        let mut select = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let stored = |row: &rusqlite::Row<'_>| Ok(Stored { seq: row.get(0)?, bytes: row.get(1)? });
        let rows = select.query_map(params![partition, from, limit], stored);
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    pub(super) fn cut(&mut self, partition: PartitionId, seq: u64) -> Result<(), LogError> {
        let failed = self.failed();
        let transaction = self.connection.transaction().map_err(&failed)?;
        let copy = "INSERT INTO cut SELECT partition, seq, bytes FROM log
                    WHERE partition = ?1 AND seq = ?2";
        transaction.execute(copy, params![partition, seq]).map_err(&failed)?;
        let delete = "DELETE FROM log WHERE partition = ?1 AND seq = ?2";
        transaction.execute(delete, params![partition, seq]).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    pub(super) fn put_snapshot(
        &mut self,
        partition: PartitionId,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), LogError> {
        let sql = "INSERT OR REPLACE INTO snapshot VALUES (?1, ?2, ?3)";
        let done = self.connection.execute(sql, params![partition, seq, bytes]);
        done.map(|_| ()).map_err(self.failed())
    }

    pub(super) fn get_snapshot(
        &mut self,
        partition: PartitionId,
    ) -> Result<Option<Stored>, LogError> {
        let sql = "SELECT seq, bytes FROM snapshot WHERE partition = ?1";
        let stored = |row: &rusqlite::Row<'_>| Ok(Stored { seq: row.get(0)?, bytes: row.get(1)? });
        self.connection.query_row(sql, [partition], stored).optional().map_err(self.failed())
    }
}
