//! Where a partition's records are kept so that nothing sold is ever forgotten.
//!
//! The contract is small and about bytes, so that PostgreSQL fits behind it without anybody else
//! noticing: take ownership (a new *epoch*), append a record at a sequence number, read records
//! back, keep a snapshot. An append says which epoch writes; once somebody else has taken
//! ownership it answers [`AppendError::Fenced`], whatever the clocks say.

mod memory;
mod sqlite;

pub use memory::{Fault, MemoryLog};
pub use sqlite::SqliteLog;

/// A partition of the sale, counted from 0.
pub type PartitionId = u32;

/// The right to append, until somebody else acquires it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every owner.
    pub epoch: u64,
}

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Sequence number of its first change.
    pub seq: u64,
    /// What was appended.
    pub bytes: Vec<u8>,
}

/// Why nothing was appended, or perhaps was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else owns the partition now. Nothing was written.
    #[error("partition {partition} has a newer owner than epoch {epoch}")]
    Fenced {
        /// Which partition.
        partition: PartitionId,
        /// The epoch that wanted to write.
        epoch: u64,
    },
    /// The sequence number is taken. Nothing was written.
    #[error("partition {partition} has a record at {seq} already")]
    Conflict {
        /// Which partition.
        partition: PartitionId,
        /// The sequence number.
        seq: u64,
    },
    /// The store failed before anything was written; trying again is safe.
    #[error("the store could not begin to write the record")]
    NotWritten(#[source] LogError),
    /// The store did not say. Only reading tells whether it was written.
    #[error("the store did not tell whether the record was written")]
    Unknown(#[source] LogError),
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// SQLite said no.
    #[error("SQLite database {path}")]
    Sqlite {
        /// The file.
        path: String,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The store was laid out for another number of partitions; events would change place.
    #[error("the log is laid out for {stored} partitions and sale.partitions is {configured}")]
    Partitions {
        /// Then.
        stored: u32,
        /// Now.
        configured: u32,
    },
    /// A fault that a test asked for.
    #[error("injected fault")]
    Injected,
}

/// One of the stores.
#[derive(Debug)]
pub enum Log {
    /// Embedded, one file.
    Sqlite(SqliteLog),
    /// For tests: forgets everything with its last handle, fails on request.
    Memory(MemoryLog),
}

macro_rules! each_store {
    ($self:ident, $log:ident => $call:expr) => {
        match $self {
            Log::Sqlite($log) => $call,
            Log::Memory($log) => $call,
        }
    };
}

impl Log {
    /// Takes ownership: from now on appends of older epochs are fenced off. `owner` names one
    /// running writer, not a configuration, so that it can tell its own epochs from others'.
    ///
    /// # Errors
    /// If the store fails; ownership may have changed hands all the same.
    pub fn acquire(&mut self, partition: PartitionId, owner: &str) -> Result<Lease, LogError> {
        each_store!(self, log => log.acquire(partition, owner))
    }

    /// Takes ownership once more, unless somebody else has it by now. An epoch that an earlier
    /// call took without hearing of it is its own and no takeover.
    ///
    /// # Errors
    /// If the store fails; asking again is safe.
    pub fn renew(
        &mut self,
        partition: PartitionId,
        owner: &str,
    ) -> Result<Option<Lease>, LogError> {
        each_store!(self, log => log.renew(partition, owner))
    }

    /// Appends a record at `seq`; durable once it returns.
    ///
    /// # Errors
    /// See [`AppendError`]: only `Unknown` leaves open whether it was written.
    pub fn append(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        each_store!(self, log => log.append(partition, epoch, seq, bytes))
    }

    /// Up to `limit` records from `from` on, in order.
    ///
    /// # Errors
    /// If the store fails.
    pub fn read(
        &mut self,
        partition: PartitionId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Stored>, LogError> {
        each_store!(self, log => log.read(partition, from, limit))
    }

    /// Puts the record at `seq` aside because it cannot be read; it is kept for people to look at.
    ///
    /// # Errors
    /// If the store fails.
    pub fn cut(&mut self, partition: PartitionId, seq: u64) -> Result<(), LogError> {
        each_store!(self, log => log.cut(partition, seq))
    }

    /// Keeps a snapshot of everything before `seq`, in place of the one before it.
    ///
    /// # Errors
    /// See [`AppendError`]; `Conflict` means that a newer one is kept already.
    pub fn put_snapshot(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        each_store!(self, log => log.put_snapshot(partition, epoch, seq, bytes))
    }

    /// The latest snapshot.
    ///
    /// # Errors
    /// If the store fails.
    pub fn get_snapshot(&mut self, partition: PartitionId) -> Result<Option<Stored>, LogError> {
        each_store!(self, log => log.get_snapshot(partition))
    }
}
