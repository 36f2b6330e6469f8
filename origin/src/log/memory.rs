//! The log in memory, for tests: handles share one store, so dropping one and opening another is
//! a restart, and appends fail in the ways that real stores fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use keys::Owner;

use super::{AppendError, Lease, LogError, PartitionId, Stored};

/// How the next append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error, and nothing was written.
    Lost,
    /// An error, and yet it was written.
    WrittenUnheard,
    /// Somebody else takes the partition just before.
    Fenced,
}

#[derive(Debug, Default)]
struct Store {
    epochs: BTreeMap<PartitionId, u64>,
    records: BTreeMap<(PartitionId, u64), Vec<u8>>,
    snapshots: BTreeMap<PartitionId, Stored>,
    faults: VecDeque<Fault>,
    appends: u64,
}

/// A handle to a store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    store: Arc<Mutex<Store>>,
}

impl MemoryLog {
    /// Lets the next append fail; faults are used up in order.
    pub fn inject(&self, fault: Fault) {
        self.with(|store| store.faults.push_back(fault));
    }

    /// How many appends were written.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.with(|store| store.appends)
    }

    /// Changes the last record's last byte, as a torn write does.
    pub fn corrupt_last(&self) {
        self.with(|store| {
            if let Some(mut last) = store.records.last_entry()
                && let Some(byte) = last.get_mut().last_mut()
            {
                *byte ^= 0xff;
            }
        });
    }

    /// Changes the first record's last byte, as no torn write does.
    pub fn corrupt_first(&self) {
        self.with(|store| {
            if let Some(mut first) = store.records.first_entry()
                && let Some(byte) = first.get_mut().last_mut()
            {
                *byte ^= 0xff;
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn acquire(
        &mut self,
        partition: PartitionId,
        _owner: &Owner,
    ) -> Result<Lease, LogError> {
        self.with(|store| {
            let epoch = store.epochs.entry(partition).or_default();
            *epoch += 1;
            Ok(Lease { epoch: *epoch })
        })
    }

    pub(super) fn epoch(&mut self, partition: PartitionId) -> Result<u64, LogError> {
        self.with(|store| Ok(store.epochs.get(&partition).copied().unwrap_or(0)))
    }

    pub(super) fn append(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        self.with(|store| {
            let fault = store.faults.pop_front();
            if fault == Some(Fault::Fenced) {
                *store.epochs.entry(partition).or_default() += 1;
            }
            if store.epochs.get(&partition) != Some(&epoch) {
                return Err(AppendError::Fenced { partition, epoch });
            }
            if store.records.contains_key(&(partition, seq)) {
                return Err(AppendError::Conflict { partition, seq });
            }
            if fault != Some(Fault::Lost) {
                store.records.insert((partition, seq), bytes.to_vec());
                store.appends += 1;
            }
            match fault {
                None | Some(Fault::Fenced) => Ok(()),
                Some(Fault::Lost | Fault::WrittenUnheard) => {
                    Err(AppendError::Unknown(LogError::Injected))
                }
            }
        })
    }

    pub(super) fn read(
        &mut self,
        partition: PartitionId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Stored>, LogError> {
        self.with(|store| {
            let range = store.records.range((partition, from)..=(partition, u64::MAX));
            let records = range.take(limit as usize);
            Ok(records.map(|((_, seq), b)| Stored { seq: *seq, bytes: b.clone() }).collect())
        })
    }

    pub(super) fn cut(&mut self, partition: PartitionId, seq: u64) -> Result<(), LogError> {
        self.with(|store| {
            store.records.remove(&(partition, seq));
            Ok(())
        })
    }

    pub(super) fn put_snapshot(
        &mut self,
        partition: PartitionId,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), LogError> {
        self.with(|store| {
            store.snapshots.insert(partition, Stored { seq, bytes: bytes.to_vec() });
            Ok(())
        })
    }

    pub(super) fn get_snapshot(
        &mut self,
        partition: PartitionId,
    ) -> Result<Option<Stored>, LogError> {
        self.with(|store| Ok(store.snapshots.get(&partition).cloned()))
    }
}
