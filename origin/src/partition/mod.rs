//! One writer for the seats of several events: takes commands in batches, decides, writes one
//! record, and answers only once that record is on the disk.
//!
//! This file is the way to a writer and what it is started with; [`writer`] is the loop, [`book`]
//! what its log adds up to.

mod book;
mod claim;
mod error;
#[cfg(any(test, feature = "planted-bugs"))]
mod planted;
mod snapshots;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keys::{EventId, Owner};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use self::snapshots::Snapshots;
use self::writer::Writer;
use crate::load::Window;
use crate::log::{Log, PartitionId};
use crate::metrics::Metrics;
use crate::sale::{Command, Misfit, Plan, Reply, Rules};
use crate::shelf::Shelf;
use crate::steady::Reading;

pub use self::claim::Tenure;
pub use self::error::PartitionError;

/// Commands that may wait for the writer: about 100 ms of work; more would only wait longer.
pub const CHANNEL_MAX: usize = 4096;

/// Where the partition's time comes from.
pub type Clock = Arc<dyn Fn() -> Reading + Send + Sync>;

/// An event whose seats a partition keeps.
#[derive(Debug, Clone)]
pub struct EventSetup {
    /// Its id.
    pub event: EventId,
    /// Its seats.
    pub plan: Arc<Plan>,
    /// Its rules.
    pub rules: Rules,
    /// Where its stock is published.
    pub shelf: Arc<Shelf>,
}

/// What a partition runs with.
pub struct PartitionSetup {
    /// Which partition.
    pub partition: PartitionId,
    /// Who runs it.
    pub owner: Owner,
    /// The events it begins with; more may be opened while it runs.
    pub events: Vec<EventSetup>,
    /// Whether it shares the store with others.
    pub tenure: Tenure,
    /// Its store.
    pub log: Log,

    /// Its clock.
    pub clock: Clock,
    /// Whether a damaged last record may be put aside, which forgets what it sold.
    pub may_cut_damaged_tail: bool,
    /// After how many changes a snapshot is taken.
    pub snapshot_changes: u64,
    /// Where busy time is counted.
    pub window: Arc<Window>,
    /// Where the rest is counted.
    pub metrics: Arc<Metrics>,
}

/// An answer and the log sequence at which it was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Sequence number of the next change: everything below it is in this answer.
    pub seq: u64,
    /// The answer.
    pub reply: Reply,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many commands wait.
    #[error("too many requests wait for the writer")]
    Busy,
    /// The writer has no working log, or is stopping. What was asked may or may not have happened.
    #[error("the writer cannot reach its log")]
    Down,
}

/// Why an event cannot be sold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The writer cannot be asked now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Its sale began with other seats.
    #[error("the seats of {event} are sold already")]
    Seating {
        /// Which event.
        event: EventId,
        /// What differs.
        source: Misfit,
    },
}

/// Whose commands a partition serves: the highest of `hash(event, partition)`, so that adding a
/// partition moves only the events that go to it.
#[must_use]
pub fn partition_of(event: &EventId, partitions: u32) -> PartitionId {
    if partitions <= 1 {
        return 0;
    }
    let weight = |partition: &PartitionId| -> [u8; 32] {
        let hash = Sha256::new().chain_update(partition.to_be_bytes());
        hash.chain_update(event.as_str()).finalize().into()
    };
    (0..partitions).max_by_key(weight).unwrap_or(0)
}

/// What is put into a writer's channel.
enum Job {
    /// A command to be decided.
    Ask(Ask),
    /// An event that is to be sold from now on.
    Open(EventSetup, oneshot::Sender<Result<(), OpenError>>),
}

struct Ask {
    event: EventId,
    command: Command,
    asked_at: Instant,
    answer: oneshot::Sender<Result<Answer, Unavailable>>,
}

impl Job {
    /// How long its sender has waited; `None` if it is nobody's command.
    fn waited(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Ask(ask) => Some(now.saturating_duration_since(ask.asked_at)),
            Self::Open(..) => None,
        }
    }

    /// Tells whoever waits that there is no working log.
    fn refuse(self) {
        // Who has gone away does not need to know.
        match self {
            Self::Ask(Ask { answer, .. }) => drop(answer.send(Err(Unavailable::Down))),
            Self::Open(_, done) => drop(done.send(Err(Unavailable::Down.into()))),
        }
    }
}

/// The way to a partition.
#[derive(Debug, Clone)]
pub struct Partition {
    jobs: SyncSender<Job>,
    is_stopping: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ask(ask) => write!(f, "Ask({} {})", ask.event, ask.command.label()),
            Self::Open(setup, _) => write!(f, "Open({})", setup.event),
        }
    }
}

impl Partition {
    /// Takes the partition, reads the log and starts the writer's thread. `snapshots` is a second
    /// way to the same store, so that snapshots do not hold up the writer.
    ///
    /// # Errors
    /// If the log cannot be read or does not fit the events, or somebody else's lease stands.
    pub fn start(
        setup: PartitionSetup,
        snapshots: Log,
    ) -> Result<(Self, JoinHandle<()>), PartitionError> {
        let partition = setup.partition;
        let (jobs, queue) = sync_channel(CHANNEL_MAX);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let metrics = Arc::clone(&setup.metrics);
        let snapshots = Snapshots::start(partition, snapshots, Arc::clone(&metrics))?;
        let mut writer = Writer::open(setup, snapshots)?;
        let stop = Arc::clone(&is_stopping);
        let thread = std::thread::Builder::new()
            .name(format!("partition-{partition}"))
            .spawn(move || writer.run(&queue, &stop))
            .map_err(|source| PartitionError::Thread { partition, source })?;
        Ok((Self { jobs, is_stopping, metrics }, thread))
    }

    /// Asks one thing; the answer is durable when it comes.
    ///
    /// # Errors
    /// If there is no room in the channel or no working log.
    pub async fn ask(&self, event: &EventId, command: Command) -> Result<Answer, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let asked_at = Instant::now();
        self.send(Job::Ask(Ask { event: event.clone(), command, asked_at, answer }))?;
        answered.await.unwrap_or(Err(Unavailable::Down))
    }

    /// Sells an event from now on. One that is sold already stays as it is; nothing is written
    /// until something is sold.
    ///
    /// # Errors
    /// If the writer cannot be asked, or seats of that event were sold under another seating.
    pub async fn open(&self, setup: EventSetup) -> Result<(), OpenError> {
        let (done, answered) = oneshot::channel();
        self.send(Job::Open(setup, done))?;
        answered.await.unwrap_or(Err(OpenError::Unavailable(Unavailable::Down)))
    }

    fn send(&self, job: Job) -> Result<(), Unavailable> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Unavailable::Down);
        }
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                self.metrics.channel_full_total.inc();
                Unavailable::Busy
            }
            TrySendError::Disconnected(_) => Unavailable::Down,
        })
    }

    /// Tells the writer to finish the batch it is at and end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
