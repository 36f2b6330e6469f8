//! The thread that takes, keeps an eye on and gives back partitions, when several processes share
//! a store.
//!
//! A writer keeps its own lease, so nothing that holds up this thread costs us a partition that we
//! have. What this thread knows about the others is a hint: a request that was passed on to the
//! wrong one is refused there and asked for anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use keys::Owner;

use super::{Members, Place, Places, Step, steps};
use crate::load::Window;
use crate::log::{Log, LogError, PartitionId};
use crate::metrics::Metrics;
use crate::partition::{Clock, Partition, PartitionError, PartitionSetup, Tenure};
use crate::sales::Sales;

/// Opens one more way to the store.
pub type OpenLog = Box<dyn Fn() -> Result<Log, LogError> + Send>;

/// What a keeper works with.
pub struct KeeperParts {
    /// Who we are.
    pub owner: Owner,
    /// Where the others reach us.
    pub addr: String,
    /// How long a lease stands that nobody renews.
    pub ttl: Duration,
    /// How many partitions there are.
    pub partitions: u32,
    /// Who else is there.
    pub members: Members,
    /// The way to the store.
    pub open_log: OpenLog,
    /// Where the writers are put, and what they serve.
    pub sales: Arc<Sales>,
    /// Where it is told who has what.
    pub places: Arc<Places>,
    /// Our clock.
    pub clock: Clock,
    /// Whether a damaged last record may be put aside.
    pub may_cut_damaged_tail: bool,
    /// After how many changes a snapshot is taken.
    pub snapshot_changes: u64,
    /// Where busy time is counted.
    pub window: Arc<Window>,
    /// Where the rest is counted.
    pub metrics: Arc<Metrics>,
}

/// The way to the keeper's thread.
#[derive(Debug)]
pub struct Keeper {
    nudge: Nudge,
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Asks a keeper to look again now.
#[derive(Debug, Clone)]
pub struct Nudge(SyncSender<()>);

impl Nudge {
    /// Looks again soon, rather than at the next round.
    pub fn nudge(&self) {
        // A full channel means that it will look anyway.
        let _ = self.0.try_send(());
    }
}

impl Keeper {
    /// Takes what is to be taken now, then starts the thread that goes on with it.
    ///
    /// # Errors
    /// If the store cannot be asked, or there is no thread.
    pub fn start(parts: KeeperParts) -> Result<Self, PartitionError> {
        let failed = |source| PartitionError::Log { partition: 0, source };
        let log = (parts.open_log)().map_err(failed)?;
        let mut rounds = Rounds { parts, log, writers: BTreeMap::new() };
        rounds.round().map_err(failed)?;
        let (wake, woken) = sync_channel(1);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopping);
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || rounds.run(&woken, &stop))
            .map_err(|source| PartitionError::Thread { partition: 0, source })?;
        Ok(Self { nudge: Nudge(wake), is_stopping, thread })
    }

    /// The way to ask it to look again.
    #[must_use]
    pub fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }

    /// Gives everything back and ends.
    pub fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.nudge.nudge();
        if self.thread.join().is_err() {
            tracing::error!("the keeper of partitions had panicked");
        }
    }
}

struct Rounds {
    parts: KeeperParts,
    log: Log,
    writers: BTreeMap<PartitionId, Writer>,
}

/// A writer of ours.
struct Writer {
    partition: Partition,
    thread: JoinHandle<()>,
}

impl Rounds {
    fn run(&mut self, woken: &Receiver<()>, is_stopping: &AtomicBool) {
        while !is_stopping.load(Ordering::Relaxed) {
            if woken.recv_timeout(self.parts.ttl / 3) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            if is_stopping.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = self.round() {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the store did not tell who owns what");
            }
        }
        // All are told before the first is waited for.
        self.writers.values().for_each(|writer| writer.partition.stop());
        for partition in self.writers.keys().copied().collect::<Vec<_>>() {
            self.give(partition);
        }
        if let Err(error) = self.parts.members.leave(&self.parts.addr) {
            tracing::warn!(%error, "we are not taken off the list of members, it forgets by itself");
        }
    }

    /// Looks at who has what, takes and gives, and tells where everything is.
    fn round(&mut self) -> Result<(), LogError> {
        self.bury();
        let alive = self.beat()?;
        let mut holders = Vec::new();
        let mut of_old = Vec::new();
        for partition in 0..self.parts.partitions {
            let holder = self.log.holder(partition)?.filter(|holder| !holder.left.is_zero());
            let is_here = self.writers.contains_key(&partition);
            if !is_here && holder.as_ref().is_some_and(|h| h.addr == self.parts.addr) {
                of_old.push(Step::Take(partition));
            }
            let addr = holder.map(|holder| holder.addr);
            holders.push(if is_here { Some(self.parts.addr.clone()) } else { addr });
        }
        // What a former life of ours has is taken at once: nobody else may, until it lapses.
        let steps = [of_old, steps(&self.parts.addr, &alive, &holders)].concat();
        self.tell(&holders);
        for step in steps {
            match step {
                Step::Take(partition) => self.take(partition),
                Step::Give(partition) => self.give(partition),
            }
            self.tell(&holders);
            // Replay takes a while, and we are alive meanwhile.
            self.beat()?;
        }
        Ok(())
    }

    fn beat(&self) -> Result<BTreeSet<String>, LogError> {
        self.parts.members.beat(&self.parts.addr, self.parts.ttl)
    }

    /// Puts away writers that have ended: they were taken over, or panicked.
    fn bury(&mut self) {
        let is_over = |(_, writer): &(&PartitionId, &Writer)| writer.thread.is_finished();
        let over: Vec<_> = self.writers.iter().filter(is_over).map(|(p, _)| *p).collect();
        over.into_iter().for_each(|partition| self.give(partition));
    }

    fn take(&mut self, partition: PartitionId) {
        match self.open(partition) {
            Ok(writer) => {
                self.parts.sales.put_writer(partition, writer.partition.clone());
                self.writers.insert(partition, writer);
            }
            Err(PartitionError::Held { partition }) => {
                tracing::debug!(partition, "somebody else was quicker");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(partition, %error, cause, "partition {partition} cannot be taken");
            }
        }
    }

    fn open(&self, partition: PartitionId) -> Result<Writer, PartitionError> {
        let failed = |source| PartitionError::Log { partition, source };
        let parts = &self.parts;
        let setup = PartitionSetup {
            partition,
            owner: parts.owner.clone(),
            events: parts.sales.events_of(partition),
            tenure: Tenure::Leased { addr: parts.addr.clone(), ttl: parts.ttl },
            log: (parts.open_log)().map_err(failed)?,
            clock: Arc::clone(&parts.clock),
            may_cut_damaged_tail: parts.may_cut_damaged_tail,
            snapshot_changes: parts.snapshot_changes,
            window: Arc::clone(&parts.window),
            metrics: Arc::clone(&parts.metrics),
        };
        let snapshots = (parts.open_log)().map_err(failed)?;
        let (partition, thread) = Partition::start(setup, snapshots)?;
        Ok(Writer { partition, thread })
    }

    fn give(&mut self, partition: PartitionId) {
        let Some(writer) = self.writers.remove(&partition) else { return };
        // Nobody is sent to it any more before it ends.
        self.parts.sales.take_writer(partition);
        writer.partition.stop();
        if writer.thread.join().is_err() {
            tracing::error!(partition, "the writer of partition {partition} had panicked");
        }
    }

    fn tell(&self, holders: &[Option<String>]) {
        let place = |(partition, holder): (PartitionId, &Option<String>)| match holder {
            _ if self.writers.contains_key(&partition) => Place::Here,
            Some(addr) if *addr != self.parts.addr => Place::There(addr.clone()),
            Some(_) | None => Place::Nowhere,
        };
        self.parts.places.set((0..).zip(holders).map(place).collect());
    }
}
