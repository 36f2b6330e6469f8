//! Who brings the tables up to date when the writer does not do it itself?
//!
//! A follower reads the log behind the writer, from a cursor that is kept with the tables and
//! changed in the same transaction, so that no record is written twice or left out whatever is
//! killed when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Mirror, RowStore, RowsError};
use crate::log::{Log, PartitionId};
use crate::metrics::{LogFailure, Metrics};
use crate::record;

/// How far the tables may be behind while nothing goes wrong.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a store that failed, or tables that somebody else follows, are left alone.
const FAILED_PAUSE: Duration = Duration::from_secs(2);
/// Records of one transaction: as many as a busy writer makes in the pause. A row that changes in
/// several of them is written once.
const RECORDS_MAX: u32 = 128;

/// What a follower works with.
#[derive(Debug)]
pub struct FollowerSetup {
    /// Which partition's log.
    pub partition: PartitionId,
    /// A handle of its own.
    pub log: Log,
    /// The tables.
    pub rows: RowStore,
    /// With several processes: only while the writer is at this address, so that one follows.
    pub only_of: Option<String>,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
}

/// Follows the log of one partition.
#[derive(Debug)]
pub struct Follower {
    setup: FollowerSetup,
    /// Absent until it is read, and after a failure.
    at: Option<(u64, Mirror)>,
}

impl Follower {
    /// A follower that has read nothing yet.
    #[must_use]
    pub fn new(setup: FollowerSetup) -> Self {
        Self { setup, at: None }
    }

    /// Runs on a thread of its own until it is to stop, or the partition is.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn spawn(mut self, is_stopping: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
        let name = format!("rows-{}", self.setup.partition);
        std::thread::Builder::new().name(name).spawn(move || self.run(&is_stopping))
    }

    fn run(&mut self, is_stopping: &AtomicBool) {
        while !is_stopping.load(Ordering::Relaxed) {
            match self.step() {
                Ok(followed) if followed < RECORDS_MAX as usize => {
                    std::thread::park_timeout(PAUSE);
                }
                Ok(_) => {}
                Err(RowsError::Guard { partition, seq, why }) => {
                    self.setup.metrics.log_failed(LogFailure::Guard);
                    self.stop_the_sale(&why);
                    tracing::error!(
                        partition,
                        seq,
                        why,
                        "the rows of partition {partition} do not fit its log at {seq}: nothing \
                         more is sold there until somebody has looked, see origin/TABLES.md"
                    );
                    return;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    let partition = self.setup.partition;
                    tracing::warn!(partition, %error, cause, "the rows are left behind for now");
                    self.at = None;
                    std::thread::park_timeout(FAILED_PAUSE);
                }
            }
        }
    }

    /// Follows the next records: how many there were.
    ///
    /// # Errors
    /// See [`RowsError`]; after all but a guard's it may be tried again.
    pub fn step(&mut self) -> Result<usize, RowsError> {
        let FollowerSetup { partition, log, rows, only_of, .. } = &mut self.setup;
        if let Some(addr) = only_of
            && log.holder(*partition)?.is_none_or(|holder| holder.addr != *addr)
        {
            self.at = None;
            return Ok(0);
        }
        let (from, mirror) = match &mut self.at {
            Some(at) => at,
            None => self.at.insert(rows.load(*partition)?),
        };
        let stored = log.read(*partition, *from, RECORDS_MAX)?;
        let records = stored.iter().map(|stored| record::peek(stored.seq, &stored.bytes));
        let records: Vec<_> = records.collect::<Result<_, _>>()?;
        if records.is_empty() {
            return Ok(0);
        }
        let changes = super::project(*partition, mirror, &records)?;
        rows.write(*partition, *from, &changes)?;
        *from = changes.to;
        mirror.follow(changes);
        Ok(records.len())
    }

    /// Nobody appends to the partition any more, in whatever process.
    fn stop_the_sale(&mut self, why: &str) {
        let partition = self.setup.partition;
        if let Err(error) = self.setup.log.halt(partition, why) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(partition, %error, cause, "partition {partition} cannot be halted");
        }
    }
}
