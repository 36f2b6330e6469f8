//! What does the log add up to? Reads snapshot and records, and believes neither blindly.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{EventId, Timestamp};

use super::claim::{Claim, Kept};
use super::{EventSetup, PartitionError, PartitionSetup};
use crate::log::PartitionId;
use crate::metrics::LogFailure;
use crate::record::{self, Entry, FIRST_LINK, Link, RecordError};
use crate::sale::State;

/// Records that are read back at a time.
const READ_LIMIT: u32 = 1024;

/// The log, added up.
pub(super) struct Book {
    /// The events.
    pub(super) states: BTreeMap<EventId, State>,
    /// Sequence number of the next change.
    pub(super) seq: u64,
    /// Time of the last change.
    pub(super) at: Timestamp,
    /// Digest of the last record.
    pub(super) link: Link,
}

impl Book {
    /// Reads snapshot and log: the book, and how many changes were replayed.
    ///
    /// The log has everything that a snapshot has. Where the two do not fit, the log is right and
    /// the snapshot is left out; no record is judged by a snapshot.
    pub(super) fn load(
        setup: &mut PartitionSetup,
        claim: &mut Claim,
    ) -> Result<(Self, u64), PartitionError> {
        let partition = setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        if let Some(stored) = setup.log.get_snapshot(partition).map_err(failed)? {
            let mut book = Self::empty(setup);
            let loaded =
                book.restore(setup, &stored.bytes).and_then(|()| book.follow(setup, claim));
            match loaded {
                Ok(replayed) => return Ok((book, replayed)),
                Err(error @ (PartitionError::Log { .. } | PartitionError::Fenced { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    setup.metrics.log_failed(LogFailure::Snapshot);
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(
                        partition,
                        seq = stored.seq,
                        %error,
                        cause,
                        "the snapshot of partition {partition} is left out, reading the whole log"
                    );
                }
            }
        }
        let mut book = Self::empty(setup);
        let replayed = match book.follow(setup, claim) {
            Ok(replayed) => replayed,
            Err(PartitionError::DamagedTail { seq, source, .. }) if setup.may_cut_damaged_tail => {
                setup.metrics.log_failed(LogFailure::Cut);
                tracing::error!(
                    partition,
                    seq,
                    error = %source,
                    "the last record of partition {partition}, at {seq}, is damaged and was put \
                     aside: what it sold is forgotten and may be sold again, compare with the \
                     payment provider's ledger, and turn log.cut_damaged_tail off again",
                );
                setup.log.cut(partition, seq).map_err(failed)?;
                book.seq
            }
            Err(error) => return Err(error),
        };
        Ok((book, replayed))
    }

    pub(super) fn empty(setup: &PartitionSetup) -> Self {
        let fresh = |setup: &EventSetup| State::new(Arc::clone(&setup.plan), setup.rules);
        let states = setup.events.iter().map(|e| (e.event.clone(), fresh(e))).collect();
        Self { states, seq: 0, at: Timestamp::default(), link: FIRST_LINK }
    }

    /// Reads the log from here to its end: how many changes there were.
    pub(super) fn follow(
        &mut self,
        setup: &mut PartitionSetup,
        claim: &mut Claim,
    ) -> Result<u64, PartitionError> {
        let partition = setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        let since = self.seq;
        loop {
            // A long log must not cost us the lease.
            if claim.keep(&mut setup.log) == Kept::Lost {
                return Err(PartitionError::Fenced { partition });
            }
            let stored = setup.log.read(partition, self.seq, READ_LIMIT).map_err(failed)?;
            for record in &stored {
                match self.replay(partition, record.seq, &record.bytes) {
                    Ok(()) => {}
                    // Whole but unknown is a newer version's work, and not damaged.
                    Err(PartitionError::Record {
                        source: source @ RecordError::Damaged { .. },
                        ..
                    }) => {
                        let seq = record.seq;
                        let next = setup.log.read(partition, seq + 1, 1).map_err(failed)?;
                        return Err(match next.is_empty() {
                            true => PartitionError::DamagedTail { partition, seq, source },
                            false => PartitionError::Record { partition, source },
                        });
                    }
                    Err(error) => return Err(error),
                }
            }
            if stored.len() < READ_LIMIT as usize {
                return Ok(self.seq - since);
            }
        }
    }

    fn restore(&mut self, setup: &PartitionSetup, bytes: &[u8]) -> Result<(), PartitionError> {
        let partition = setup.partition;
        let snapshot = record::open_snapshot(bytes)
            .map_err(|source| PartitionError::Snapshot { partition, source })?;
        for (event, saved) in snapshot.events {
            let known = setup.events.iter().find(|known| known.event == event);
            let missing = || PartitionError::UnknownEvent { partition, event: event.clone() };
            let known = known.ok_or_else(missing)?;
            let state = State::restore(Arc::clone(&known.plan), known.rules, saved);
            let state = state.map_err(|source| PartitionError::Misfit {
                event: event.clone(),
                seq: snapshot.seq,
                source,
            })?;
            self.states.insert(event, state);
        }
        let link = URL_SAFE_NO_PAD.decode(&snapshot.link).ok().and_then(|l| l.try_into().ok());
        let damaged = RecordError::Damaged { seq: snapshot.seq };
        self.link = link.ok_or(PartitionError::Record { partition, source: damaged })?;
        self.seq = snapshot.seq;
        self.at = snapshot.at;
        Ok(())
    }

    fn replay(
        &mut self,
        partition: PartitionId,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), PartitionError> {
        let broken = |source| PartitionError::Record { partition, source };
        if seq != self.seq {
            return Err(broken(RecordError::Misplaced { seq, says: self.seq }));
        }
        let (record, link) = record::decode(seq, bytes, &self.link).map_err(broken)?;
        for Entry { event, change } in &record.entries {
            let missing = || PartitionError::UnknownEvent { partition, event: event.clone() };
            let state = self.states.get_mut(event).ok_or_else(missing)?;
            state.set_next_seq(self.seq);
            state.evolve(change, record.at).map_err(|source| PartitionError::Misfit {
                event: event.clone(),
                seq: self.seq,
                source,
            })?;
            self.seq += 1;
        }
        self.at = record.at;
        self.link = link;
        Ok(())
    }
}
