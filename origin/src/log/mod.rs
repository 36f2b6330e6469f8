//! Where a partition's records are kept so that nothing sold is ever forgotten.
//!
//! The contract is small and about bytes, so that each store fits behind it without anybody else
//! noticing: take ownership (a new *epoch*), append a record at a sequence number, read records
//! back, keep a snapshot. An append says which epoch writes; once somebody else has taken
//! ownership it answers [`AppendError::Fenced`], whatever the clocks say.
//!
//! A lease says who should write, by the store's clock and until a time. It is there so that one
//! process serves and others wait; that no two write is the epoch's doing and not the lease's.

mod memory;
mod postgres;
mod sqlite;
#[cfg(test)]
pub(crate) mod suite;
mod wal;

use std::time::Duration;

pub use memory::{Fault, MemoryLog};
pub use postgres::{PostgresLog, RowsMode};
pub use sqlite::SqliteLog;
pub use wal::{Tail as JournalTail, tail as journal_tail};

use crate::store::PostgresError;
use crate::store::rows::RowsError;

/// A partition of the sale, counted from 0.
pub type PartitionId = u32;

/// The right to append, until somebody else acquires it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every owner.
    pub epoch: u64,
}

/// Who would like to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Names one running writer and no other.
    pub owner: String,
    /// Where others send what is for it.
    pub addr: String,
}

/// Who writes at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub owner: String,
    /// Where it is reached.
    pub addr: String,
    /// Its epoch.
    pub epoch: u64,
    /// How much longer its lease stands, by the store's clock; zero once it has lapsed.
    pub left: Duration,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The partition is ours, in a new epoch.
    Ours(Lease),
    /// Somebody else's lease stands.
    Theirs(Holder),
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
    /// The tables say that a seat would be sold twice. Nothing was written, and nobody writes to
    /// the partition until a person has looked.
    #[error("record {seq} of partition {partition} would break the tables: {why}")]
    Guard {
        /// Which partition.
        partition: PartitionId,
        /// The sequence number.
        seq: u64,
        /// What does not fit.
        why: String,
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
    /// PostgreSQL said no, or nothing.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The rows that go with a record cannot be told.
    #[error("rows of the tables")]
    Rows(#[source] Box<RowsError>),
    /// The owner's row went away while we looked at it, which nobody of ours does.
    #[error("the store does not know who owns the partition")]
    NoRow,
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
    /// A server that several processes share.
    Postgres(PostgresLog),
    /// For tests: forgets everything with its last handle, fails on request.
    Memory(MemoryLog),
}

macro_rules! each_store {
    ($self:ident, $log:ident => $call:expr) => {
        match $self {
            Log::Sqlite($log) => $call,
            Log::Postgres($log) => $call,
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

    /// Takes the partition until `ttl` is over, unless somebody else's lease stands. A claim by the
    /// same owner is its own and gets a new epoch.
    ///
    /// # Errors
    /// If the store fails; ownership may have changed hands all the same.
    pub fn claim(
        &mut self,
        partition: PartitionId,
        claimant: &Claimant,
        ttl: Duration,
    ) -> Result<Claimed, LogError> {
        each_store!(self, log => log.claim(partition, claimant, ttl))
    }

    /// Lets a lease stand for `ttl` from now on. `false` if the partition has a newer epoch.
    ///
    /// # Errors
    /// If the store fails; asking again is safe.
    pub fn extend(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        ttl: Duration,
    ) -> Result<bool, LogError> {
        each_store!(self, log => log.extend(partition, epoch, ttl))
    }

    /// Lets a lease lapse at once, if it is still this epoch's. Appends of the epoch go on to be
    /// accepted until somebody else claims the partition.
    ///
    /// # Errors
    /// If the store fails; the lease lapses by itself then.
    pub fn release(&mut self, partition: PartitionId, epoch: u64) -> Result<(), LogError> {
        each_store!(self, log => log.release(partition, epoch))
    }

    /// Who took the partition last, if anybody ever did.
    ///
    /// # Errors
    /// If the store fails.
    pub fn holder(&mut self, partition: PartitionId) -> Result<Option<Holder>, LogError> {
        each_store!(self, log => log.holder(partition))
    }

    /// Takes the partition away from everybody: every epoch is fenced off, and its lease stands
    /// until a person lets it go (see `origin/TABLES.md`).
    ///
    /// # Errors
    /// If the store fails.
    pub fn halt(&mut self, partition: PartitionId, why: &str) -> Result<(), LogError> {
        each_store!(self, log => log.halt(partition, &format!("halted: {why}")))
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
