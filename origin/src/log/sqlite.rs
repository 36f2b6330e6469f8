//! The log in an embedded SQLite database.
//!
//! WAL with `synchronous=FULL`: a commit is on the disk when it returns, whatever is killed next.
//! The epoch is checked in the transaction that appends, so a paused old owner cannot write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{AppendError, Claimant, Claimed, Holder, Lease, LogError, PartitionId, Stored};

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
        add_lease_columns(&connection).map_err(failed)?;
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
        owner: &str,
    ) -> Result<Lease, LogError> {
        let failed = self.failed();
        self.take(partition, owner).map_err(failed)
    }

    pub(super) fn renew(
        &mut self,
        partition: PartitionId,
        owner: &str,
    ) -> Result<Option<Lease>, LogError> {
        let failed = self.failed();
        let sql = "SELECT name FROM owner WHERE partition = ?1";
        // Read in the transaction that changes it, so nobody can take over in between.
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(&failed)?;
        let name: Option<String> = transaction
            .query_row(sql, [partition], |row| row.get(0))
            .optional()
            .map_err(&failed)?;
        if name.as_deref() != Some(owner) {
            return Ok(None);
        }
        let epoch = raise(&transaction, partition, owner).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(Some(Lease { epoch }))
    }

    pub(super) fn claim(
        &mut self,
        partition: PartitionId,
        claimant: &Claimant,
        ttl: Duration,
    ) -> Result<Claimed, LogError> {
        let failed = self.failed();
        let Claimant { owner, addr } = claimant;
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(&failed)?;
        let standing = holder(&transaction, partition).map_err(&failed)?;
        let standing = standing.filter(|holder| !holder.left.is_zero());
        if let Some(holder) = standing.filter(|holder| holder.owner != *owner) {
            return Ok(Claimed::Theirs(holder));
        }
        let epoch = raise(&transaction, partition, owner).map_err(&failed)?;
        let sql = "UPDATE owner SET addr = ?2, until = unixepoch('subsec') + ?3
                   WHERE partition = ?1";
        let row = params![partition, addr, ttl.as_secs_f64()];
        transaction.execute(sql, row).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(Claimed::Ours(Lease { epoch }))
    }

    pub(super) fn extend(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        ttl: Duration,
    ) -> Result<bool, LogError> {
        let sql = "UPDATE owner SET until = unixepoch('subsec') + ?3
                   WHERE partition = ?1 AND epoch = ?2";
        let row = params![partition, epoch, ttl.as_secs_f64()];
        self.connection.execute(sql, row).map(|rows| rows > 0).map_err(self.failed())
    }

    pub(super) fn release(&mut self, partition: PartitionId, epoch: u64) -> Result<(), LogError> {
        let sql = "UPDATE owner SET until = 0 WHERE partition = ?1 AND epoch = ?2";
        let released = self.connection.execute(sql, params![partition, epoch]);
        released.map(|_| ()).map_err(self.failed())
    }

    pub(super) fn halt(&mut self, partition: PartitionId, name: &str) -> Result<(), LogError> {
        let sql = "INSERT INTO owner (partition, epoch, name, until) VALUES (?1, 1, ?2, 1e12)
                   ON CONFLICT (partition) DO UPDATE
                   SET epoch = epoch + 1, name = ?2, addr = '', until = 1e12";
        let halted = self.connection.execute(sql, params![partition, name]);
        halted.map(|_| ()).map_err(self.failed())
    }

    pub(super) fn holder(&mut self, partition: PartitionId) -> Result<Option<Holder>, LogError> {
        holder(&self.connection, partition).map_err(self.failed())
    }

    /// The commit is asked for and looked at: a statement that returns rows would commit when it
    /// is put away, where nobody hears that the disk was full.
    fn take(&mut self, partition: PartitionId, owner: &str) -> Result<Lease, rusqlite::Error> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let epoch = raise(&transaction, partition, owner)?;
        transaction
            .execute("UPDATE owner SET addr = '', until = 0 WHERE partition = ?1", [partition])?;
        transaction.commit()?;
        Ok(Lease { epoch })
    }

    pub(super) fn append(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        let failed = self.failed();
        // Until COMMIT is asked for, an error means that nothing was written: the transaction is
        // rolled back when it is dropped.
        let not_written = |source| AppendError::NotWritten(failed(source));
        let behavior = TransactionBehavior::Immediate;
        let transaction =
            self.connection.transaction_with_behavior(behavior).map_err(not_written)?;
        let current = current_epoch(&transaction, partition).map_err(not_written)?;
        if current != Some(epoch) {
            return Err(AppendError::Fenced { partition, epoch });
        }
        let insert = "INSERT INTO log VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let inserted = transaction
            .prepare_cached(insert)
            .and_then(|mut insert| insert.execute(params![partition, seq, epoch, bytes]))
            .map_err(not_written)?;
        if inserted == 0 {
            return Err(AppendError::Conflict { partition, seq });
        }
        transaction.commit().map_err(|source| AppendError::Unknown(failed(source)))
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
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        let failed = self.failed();
        let not_written = |source| AppendError::NotWritten(failed(source));
        let behavior = TransactionBehavior::Immediate;
        let transaction =
            self.connection.transaction_with_behavior(behavior).map_err(not_written)?;
        if current_epoch(&transaction, partition).map_err(not_written)? != Some(epoch) {
            return Err(AppendError::Fenced { partition, epoch });
        }
        let sql = "INSERT INTO snapshot VALUES (?1, ?2, ?3) ON CONFLICT (partition)
                   DO UPDATE SET seq = excluded.seq, bytes = excluded.bytes
                   WHERE excluded.seq >= snapshot.seq";
        let kept = transaction.execute(sql, params![partition, seq, bytes]).map_err(not_written)?;
        if kept == 0 {
            return Err(AppendError::Conflict { partition, seq });
        }
        transaction.commit().map_err(|source| AppendError::Unknown(failed(source)))
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

fn current_epoch(
    transaction: &Transaction<'_>,
    partition: PartitionId,
) -> Result<Option<u64>, rusqlite::Error> {
    let sql = "SELECT epoch FROM owner WHERE partition = ?1";
    let mut select = transaction.prepare_cached(sql)?;
    select.query_row([partition], |row| row.get(0)).optional()
}

/// Databases of before there were leases lack two columns.
fn add_lease_columns(connection: &Connection) -> Result<(), rusqlite::Error> {
    let sql = "SELECT count(*) FROM pragma_table_info('owner') WHERE name = 'until'";
    let is_there = connection.query_row(sql, [], |row| row.get::<_, bool>(0))?;
    if is_there {
        return Ok(());
    }
    let sql = "BEGIN IMMEDIATE;
        ALTER TABLE owner ADD COLUMN addr TEXT NOT NULL DEFAULT '';
        ALTER TABLE owner ADD COLUMN until REAL NOT NULL DEFAULT 0;
        COMMIT";
    connection.execute_batch(sql)
}

fn holder(
    connection: &Connection,
    partition: PartitionId,
) -> Result<Option<Holder>, rusqlite::Error> {
    let sql = "SELECT name, addr, epoch, max(0, until - unixepoch('subsec')) FROM owner
               WHERE partition = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Holder {
            owner: row.get(0)?,
            addr: row.get(1)?,
            epoch: row.get(2)?,
            left: Duration::try_from_secs_f64(row.get(3)?).unwrap_or(Duration::MAX),
        })
    };
    connection.query_row(sql, [partition], read).optional()
}

/// The next epoch, for `owner`.
fn raise(
    transaction: &Transaction<'_>,
    partition: PartitionId,
    owner: &str,
) -> Result<u64, rusqlite::Error> {
    let sql =
        "INSERT INTO owner (partition, epoch, name) VALUES (?1, 1, ?2) ON CONFLICT (partition)
               DO UPDATE SET epoch = epoch + 1, name = ?2 RETURNING epoch";
    transaction.query_row(sql, params![partition, owner], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database in memory whose commits fail for as long as `broken` has a row without parent.
    fn log() -> SqliteLog {
        let log = SqliteLog::open(Path::new(":memory:"), 1).unwrap();
        let sql = "PRAGMA foreign_keys = ON;
            CREATE TABLE parent (id INTEGER PRIMARY KEY);
            CREATE TABLE broken (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);";
        log.connection.execute_batch(sql).unwrap();
        log
    }

    fn break_commits(log: &SqliteLog, table: &str) {
        let sql = format!(
            "CREATE TRIGGER {table}_fails AFTER UPDATE ON {table}
             BEGIN INSERT INTO broken VALUES (1); END"
        );
        log.connection.execute_batch(&sql).unwrap();
    }

    #[test]
    fn an_epoch_whose_commit_failed_is_nobodys() {
        let mut log = log();
        let first = log.acquire(0, "a").unwrap();
        break_commits(&log, "owner");
        log.acquire(0, "a").unwrap_err();
        log.renew(0, "a").unwrap_err();
        log.connection.execute_batch("DROP TRIGGER owner_fails").unwrap();
        log.append(0, first.epoch, 0, b"a").unwrap();
        assert_eq!(log.renew(0, "a").unwrap(), Some(Lease { epoch: first.epoch + 1 }));
        assert_eq!(log.renew(0, "b").unwrap(), None, "it is a's");
    }

    #[test]
    fn a_busy_database_has_surely_not_written() {
        let path = std::env::temp_dir().join(format!("origin-busy-{}", keys::Id128::random()));
        let mut log = SqliteLog::open(&path, 1).unwrap();
        log.connection.busy_timeout(Duration::ZERO).unwrap();
        let lease = log.acquire(0, "a").unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = log.append(0, lease.epoch, 0, b"a").unwrap_err();
        assert!(matches!(error, AppendError::NotWritten(_)), "{error}");
        other.execute_batch("ROLLBACK").unwrap();
        log.append(0, lease.epoch, 0, b"a").unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
