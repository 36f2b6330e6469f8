//! The log in memory, for tests: handles share one store, so dropping one and opening another is
//! a restart, and appends fail in the ways that real stores fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AppendError, Claimant, Claimed, Holder, Lease, LogError, PartitionId, Stored};

/// How the next append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error, and nothing was written.
    Lost,
    /// An error, and yet it was written.
    WrittenUnheard,
    /// An error before anything was begun.
    NotBegun,
    /// Somebody else takes the partition just before.
    Fenced,
    /// An error, and what is there cannot be read: the process died in the middle of it.
    Torn,
    /// It takes this long by [`MemoryLog::timed`]'s clock, and works.
    Slow(Duration),
}

#[derive(Debug)]
struct OwnerRow {
    epoch: u64,
    claimant: Claimant,
    /// By the store's clock; `None` without a lease.
    until: Option<Duration>,
}

#[derive(Debug, Default)]
struct Store {
    owners: BTreeMap<PartitionId, OwnerRow>,
    /// When the store's clock began, and how far it was set ahead since.
    clock: Option<Instant>,
    ahead: Duration,
    /// Milliseconds that have passed, if time is somebody else's.
    timed: Option<Arc<AtomicU64>>,
    records: BTreeMap<(PartitionId, u64), Vec<u8>>,
    snapshots: BTreeMap<PartitionId, Stored>,
    faults: VecDeque<Fault>,
    acquire_faults: VecDeque<Fault>,
    appends: u64,
}

impl Store {
    fn epoch(&self, partition: PartitionId) -> u64 {
        self.owners.get(&partition).map_or(0, |row| row.epoch)
    }

    fn now(&mut self) -> Duration {
        if let Some(timed) = &self.timed {
            return Duration::from_millis(timed.load(Ordering::Relaxed));
        }
        self.clock.get_or_insert_with(Instant::now).elapsed() + self.ahead
    }

    fn raise(&mut self, partition: PartitionId, owner: &str) -> u64 {
        let claimant = Claimant { owner: owner.to_owned(), addr: String::new() };
        let epoch = self.epoch(partition) + 1;
        self.owners.insert(partition, OwnerRow { epoch, claimant, until: None });
        epoch
    }

    fn holder(&mut self, partition: PartitionId) -> Option<Holder> {
        let now = self.now();
        let OwnerRow { epoch, claimant, until } = self.owners.get(&partition)?;
        Some(Holder {
            owner: claimant.owner.clone(),
            addr: claimant.addr.clone(),
            epoch: *epoch,
            left: until.unwrap_or_default().saturating_sub(now),
        })
    }

    fn take(&mut self, partition: PartitionId, owner: &str) -> Result<Lease, LogError> {
        match self.acquire_faults.pop_front() {
            Some(Fault::Lost | Fault::NotBegun) => Err(LogError::Injected),
            Some(Fault::WrittenUnheard) => {
                self.raise(partition, owner);
                Err(LogError::Injected)
            }
            Some(Fault::Fenced) => {
                self.raise(partition, "somebody else");
                Ok(Lease { epoch: self.raise(partition, owner) })
            }
            Some(Fault::Torn | Fault::Slow(_)) | None => {
                Ok(Lease { epoch: self.raise(partition, owner) })
            }
        }
    }
}

/// A handle to a store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    store: Arc<Mutex<Store>>,
}

impl MemoryLog {
    /// An empty store whose clock shows these milliseconds.
    #[must_use]
    pub fn timed(passed_ms: Arc<AtomicU64>) -> Self {
        let log = Self::default();
        log.with(|store| store.timed = Some(passed_ms));
        log
    }

    /// Lets the next append fail; faults are used up in order.
    pub fn inject(&self, fault: Fault) {
        self.with(|store| store.faults.push_back(fault));
    }

    /// Lets the next taking of ownership fail; faults are used up in order.
    pub fn inject_acquire(&self, fault: Fault) {
        self.with(|store| store.acquire_faults.push_back(fault));
    }

    /// Lets nothing fail that was asked to.
    pub fn heal(&self) {
        self.with(|store| {
            store.faults.clear();
            store.acquire_faults.clear();
        });
    }

    /// Sets the store's clock ahead, so that leases lapse without anybody waiting.
    pub fn advance(&self, by: Duration) {
        self.with(|store| store.ahead += by);
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

    /// Changes one byte of the snapshots.
    pub fn corrupt_snapshots(&self) {
        self.with(|store| {
            for snapshot in store.snapshots.values_mut() {
                let middle = snapshot.bytes.len() / 2;
                snapshot.bytes[middle] ^= 1;
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn acquire(
        &mut self,
        partition: PartitionId,
        owner: &str,
    ) -> Result<Lease, LogError> {
        self.with(|store| store.take(partition, owner))
    }

    pub(super) fn renew(
        &mut self,
        partition: PartitionId,
        owner: &str,
    ) -> Result<Option<Lease>, LogError> {
        self.with(|store| {
            let row = store.owners.get(&partition).filter(|row| row.claimant.owner == owner);
            let Some(row) = row else { return Ok(None) };
            let (claimant, until) = (row.claimant.clone(), row.until);
            let lease = store.take(partition, owner)?;
            let epoch = lease.epoch;
            store.owners.insert(partition, OwnerRow { epoch, claimant, until });
            Ok(Some(lease))
        })
    }

    pub(super) fn claim(
        &mut self,
        partition: PartitionId,
        claimant: &Claimant,
        ttl: Duration,
    ) -> Result<Claimed, LogError> {
        self.with(|store| {
            let standing = store.holder(partition).filter(|holder| !holder.left.is_zero());
            if let Some(holder) = standing.filter(|holder| holder.owner != claimant.owner) {
                return Ok(Claimed::Theirs(holder));
            }
            let (lease, now) = (store.take(partition, &claimant.owner)?, store.now());
            let (epoch, claimant) = (lease.epoch, claimant.clone());
            store.owners.insert(partition, OwnerRow { epoch, claimant, until: Some(now + ttl) });
            Ok(Claimed::Ours(lease))
        })
    }

    pub(super) fn extend(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        ttl: Duration,
    ) -> Result<bool, LogError> {
        self.with(|store| {
            let until = store.now() + ttl;
            let row = store.owners.get_mut(&partition).filter(|row| row.epoch == epoch);
            Ok(row.map(|row| row.until = Some(until)).is_some())
        })
    }

    pub(super) fn release(&mut self, partition: PartitionId, epoch: u64) -> Result<(), LogError> {
        self.with(|store| {
            if let Some(row) = store.owners.get_mut(&partition).filter(|row| row.epoch == epoch) {
                row.until = None;
            }
            Ok(())
        })
    }

    pub(super) fn halt(&mut self, partition: PartitionId, name: &str) -> Result<(), LogError> {
        self.with(|store| {
            store.raise(partition, name);
            if let Some(row) = store.owners.get_mut(&partition) {
                row.until = Some(Duration::MAX);
            }
            Ok(())
        })
    }

    pub(super) fn holder(&mut self, partition: PartitionId) -> Result<Option<Holder>, LogError> {
        self.with(|store| Ok(store.holder(partition)))
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
                store.raise(partition, "somebody else");
            }
            if fault == Some(Fault::NotBegun) {
                return Err(AppendError::NotWritten(LogError::Injected));
            }
            if let (Some(Fault::Slow(took)), Some(timed)) = (fault, &store.timed) {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                timed.fetch_add(took_ms, Ordering::Relaxed);
            }
            if store.epoch(partition) != epoch {
                return Err(AppendError::Fenced { partition, epoch });
            }
            if store.records.contains_key(&(partition, seq)) {
                return Err(AppendError::Conflict { partition, seq });
            }
            if fault == Some(Fault::Torn) {
                store.records.insert((partition, seq), bytes[..bytes.len() / 2].to_vec());
            } else if fault != Some(Fault::Lost) {
                store.records.insert((partition, seq), bytes.to_vec());
                store.appends += 1;
            }
            match fault {
                None | Some(Fault::Fenced | Fault::NotBegun | Fault::Slow(_)) => Ok(()),
                Some(Fault::Lost | Fault::WrittenUnheard | Fault::Torn) => {
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
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        self.with(|store| {
            if store.epoch(partition) != epoch {
                return Err(AppendError::Fenced { partition, epoch });
            }
            if store.snapshots.get(&partition).is_some_and(|kept| kept.seq > seq) {
                return Err(AppendError::Conflict { partition, seq });
            }
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
