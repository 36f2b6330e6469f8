//! How is a snapshot written while the sale goes on?
//!
//! The writer copies its books, which takes milliseconds; a thread of its own turns the copy into
//! bytes and brings them to the store over a connection of its own. The epoch goes along: a
//! snapshot of somebody who was taken over meanwhile is refused by the store.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use super::PartitionError;
use crate::failpoint;
use crate::log::{Log, PartitionId};
use crate::metrics::{LogFailure, Metrics};
use crate::record::{self, Snapshot};

/// Who keeps snapshots.
pub(super) enum Snapshots {
    /// A thread. Dropping it waits for the one that it is at.
    Thread {
        /// Taken when dropped: the thread ends with its channel.
        jobs: Option<SyncSender<(u64, Snapshot)>>,
        thread: Option<JoinHandle<()>>,
    },
    /// The writer itself, at once: in a simulation nothing happens beside it.
    #[cfg(test)]
    AtOnce(std::cell::RefCell<Keeper>),
}

impl Snapshots {
    pub(super) fn start(
        partition: PartitionId,
        log: Log,
        metrics: Arc<Metrics>,
    ) -> Result<Self, PartitionError> {
        let (jobs, queue) = sync_channel(1);
        let mut keeper = Keeper { partition, log, metrics };
        let thread = std::thread::Builder::new()
            .name(format!("snapshot-{partition}"))
            .spawn(move || keeper.run(&queue))
            .map_err(|source| PartitionError::Thread { partition, source })?;
        Ok(Self::Thread { jobs: Some(jobs), thread: Some(thread) })
    }

    #[cfg(test)]
    pub(super) fn at_once(partition: PartitionId, log: Log, metrics: Arc<Metrics>) -> Self {
        Self::AtOnce(std::cell::RefCell::new(Keeper { partition, log, metrics }))
    }

    /// Hands over a snapshot that `epoch` may keep. If the one before is still being written, this
    /// one is left out: the next will be newer.
    pub(super) fn keep(&self, epoch: u64, snapshot: Snapshot) {
        let jobs = match self {
            Self::Thread { jobs: Some(jobs), .. } => jobs,
            Self::Thread { jobs: None, .. } => return,
            #[cfg(test)]
            Self::AtOnce(keeper) => return keeper.borrow_mut().keep(epoch, snapshot),
        };
        match jobs.try_send((epoch, snapshot)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!("a snapshot was left out, the one before is still being written");
            }
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("no snapshots are written any more, the next start takes longer");
            }
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        match self {
            Self::Thread { jobs, thread } => {
                *jobs = None;
                if let Some(thread) = thread.take() {
                    // A panic in there was reported by then, and costs time at the next start only.
                    let _ = thread.join();
                }
            }
            #[cfg(test)]
            Self::AtOnce(_) => {}
        }
    }
}

/// The way from a snapshot to the store.
pub(super) struct Keeper {
    partition: PartitionId,
    log: Log,
    metrics: Arc<Metrics>,
}

impl Keeper {
    fn run(&mut self, queue: &Receiver<(u64, Snapshot)>) {
        while let Ok((epoch, snapshot)) = queue.recv() {
            self.keep(epoch, snapshot);
        }
    }

    fn keep(&mut self, epoch: u64, snapshot: Snapshot) {
        let (partition, began) = (self.partition, Instant::now());
        failpoint!("snapshot-begun");
        let bytes = match record::seal_snapshot(&snapshot) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(partition, %error, "a snapshot cannot be written as JSON");
                return;
            }
        };
        let seq = snapshot.seq;
        // Its memory goes before the bytes are sent: it may be as large as they are.
        drop(snapshot);
        failpoint!("snapshot-encoded");
        match self.log.put_snapshot(partition, epoch, seq, &bytes) {
            Ok(()) => {
                let (bytes, took_ms) = (bytes.len(), began.elapsed().as_millis());
                tracing::debug!(partition, seq, bytes, took_ms, "a snapshot is kept");
            }
            Err(error) => {
                self.metrics.log_failed(LogFailure::Snapshot);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(partition, %error, cause, "a snapshot was not kept");
            }
        }
        failpoint!("snapshot-done");
    }
}
