//! Why does a partition not start, or not go on?

use keys::EventId;

use crate::log::{LogError, PartitionId};
use crate::record::RecordError;
use crate::sale::Misfit;

/// Why a partition cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The store failed.
    #[error("log of partition {partition}")]
    Log {
        /// Which partition.
        partition: PartitionId,
        /// The cause.
        source: LogError,
    },
    /// The last record is damaged. It was durable and answered for, so its seats belong to people.
    #[error(
        "the last record of partition {partition}, at {seq}, is damaged, and what it sold was \
         answered for: restore the database, or forget that record with log.cut_damaged_tail"
    )]
    DamagedTail {
        /// Which partition.
        partition: PartitionId,
        /// Which record.
        seq: u64,
        /// The cause.
        source: RecordError,
    },
    /// A record cannot be read.
    #[error("log of partition {partition}")]
    Record {
        /// Which partition.
        partition: PartitionId,
        /// The cause.
        source: RecordError,
    },
    /// A record is whole but does not fit what came before it.
    #[error("change {seq} of {event} does not fit")]
    Misfit {
        /// Which event.
        event: EventId,
        /// Where.
        seq: u64,
        /// The cause.
        source: Misfit,
    },
    /// The log speaks of an event that is not on sale.
    #[error("the log of partition {partition} holds sales of {event}, expected it in on_sale")]
    UnknownEvent {
        /// Which partition.
        partition: PartitionId,
        /// Which event.
        event: EventId,
    },
    /// The snapshot cannot be read.
    #[error("snapshot of partition {partition}")]
    Snapshot {
        /// Which partition.
        partition: PartitionId,
        /// The cause.
        source: RecordError,
    },
    /// Somebody else owns the partition now.
    #[error("partition {partition} was taken over")]
    Fenced {
        /// Which partition.
        partition: PartitionId,
    },
    /// Somebody else's lease stands.
    #[error("partition {partition} is somebody else's")]
    Held {
        /// Which partition.
        partition: PartitionId,
    },
    /// The operating system gave no thread.
    #[error("no thread for partition {partition}")]
    Thread {
        /// Which partition.
        partition: PartitionId,
        /// The cause.
        source: std::io::Error,
    },
}
