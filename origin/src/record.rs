//! How a batch of changes is written down, and how we know that it is what was written.
//!
//! A record is a digest and a JSON text. The digest covers the text *and the digest of the record
//! before it*: a record that was changed, lost or put elsewhere breaks the chain, and what was
//! decided in which order can be proven later.

use keys::{EventId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sale::{Change, Saved};

/// SHA-256 over the digest before and the text.
pub type Link = [u8; 32];

/// What the first record follows.
pub const FIRST_LINK: Link = [0; 32];

/// One change of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The event.
    pub event: EventId,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

/// The changes of one batch: of the sale, or of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<E = Entry> {
    /// Sequence number of the first change; the others follow.
    pub seq: u64,
    /// Who wrote it.
    pub epoch: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The changes, in order; never empty.
    pub entries: Vec<E>,
}

/// Everything that the records before `seq` add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Sequence number of the next change.
    pub seq: u64,
    /// Time of the last change.
    pub at: Timestamp,
    /// Digest of the last record.
    pub link: String,
    /// The events.
    pub events: Vec<(EventId, Saved)>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Its digest does not fit its text and the record before it.
    #[error("record at {seq} does not continue the chain: it or its predecessor was damaged")]
    Damaged {
        /// Where.
        seq: u64,
    },
    /// A snapshot's digest does not fit its text.
    #[error("the digest does not fit the text")]
    SnapshotDamaged,
    /// It is whole but not what we write.
    #[error("record at {seq} is not in a format we know")]
    Format {
        /// Where.
        seq: u64,
        /// The cause.
        source: serde_json::Error,
    },
    /// It is elsewhere than it says.
    #[error("record at {seq} says it belongs at {says}")]
    Misplaced {
        /// Where it is.
        seq: u64,
        /// Where it says it belongs.
        says: u64,
    },
}

/// Writes a snapshot behind a digest of it.
///
/// # Errors
/// If it cannot be written as JSON, which no snapshot of ours does.
pub fn seal_snapshot(snapshot: &Snapshot) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![0; 32];
    serde_json::to_writer(&mut bytes, snapshot)?;
    let digest: Link = Sha256::digest(&bytes[32..]).into();
    bytes[..32].copy_from_slice(&digest);
    Ok(bytes)
}

/// Reads a snapshot.
///
/// # Errors
/// If it was damaged or is unknown to us.
pub fn open_snapshot(bytes: &[u8]) -> Result<Snapshot, RecordError> {
    let damaged = RecordError::SnapshotDamaged;
    let Some((digest, text)) = bytes.split_first_chunk::<32>() else { return Err(damaged) };
    if Link::from(Sha256::digest(text)) != *digest {
        return Err(damaged);
    }
    serde_json::from_slice(text).map_err(|source| RecordError::Format { seq: 0, source })
}

/// Digest of a text that follows `before`.
#[must_use]
pub fn link(before: &Link, text: &[u8]) -> Link {
    Sha256::new().chain_update(before).chain_update(text).finalize().into()
}

/// Writes a record that follows `before`: its bytes and its digest.
///
/// # Errors
/// If it cannot be written as JSON, which no record of ours does.
pub fn encode<E: Serialize>(
    record: &Record<E>,
    before: &Link,
) -> Result<(Vec<u8>, Link), serde_json::Error> {
    let mut bytes = vec![0; 32];
    serde_json::to_writer(&mut bytes, record)?;
    let link = link(before, &bytes[32..]);
    bytes[..32].copy_from_slice(&link);
    Ok((bytes, link))
}

/// Reads the record stored at `seq` for whoever does not follow the chain and leaves the proof to
/// the writer.
///
/// # Errors
/// If it is misplaced or unknown to us.
pub fn peek(seq: u64, bytes: &[u8]) -> Result<Record, RecordError> {
    let (_, text) = bytes.split_first_chunk::<32>().ok_or(RecordError::Damaged { seq })?;
    let record: Record =
        serde_json::from_slice(text).map_err(|source| RecordError::Format { seq, source })?;
    if record.seq != seq {
        return Err(RecordError::Misplaced { seq, says: record.seq });
    }
    Ok(record)
}

/// Reads the record stored at `seq` that follows `before`.
///
/// # Errors
/// If it was damaged, misplaced or is unknown to us.
pub fn decode<E: DeserializeOwned>(
    seq: u64,
    bytes: &[u8],
    before: &Link,
) -> Result<(Record<E>, Link), RecordError> {
    let (digest, text) = bytes.split_first_chunk::<32>().ok_or(RecordError::Damaged { seq })?;
    if link(before, text) != *digest {
        return Err(RecordError::Damaged { seq });
    }
    Ok((parse(seq, text)?, *digest))
}

/// Reads a record whose place in the chain was checked before.
///
/// # Errors
/// If it was misplaced or is unknown to us.
pub fn reread<E: DeserializeOwned>(seq: u64, bytes: &[u8]) -> Result<Record<E>, RecordError> {
    let (_, text) = bytes.split_first_chunk::<32>().ok_or(RecordError::Damaged { seq })?;
    parse(seq, text)
}

fn parse<E: DeserializeOwned>(seq: u64, text: &[u8]) -> Result<Record<E>, RecordError> {
    let record: Record<E> =
        serde_json::from_slice(text).map_err(|source| RecordError::Format { seq, source })?;
    if record.seq != seq {
        return Err(RecordError::Misplaced { seq, says: record.seq });
    }
    Ok(record)
}
