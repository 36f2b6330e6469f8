//! One writer for the seats of several events: takes commands in batches, decides, writes one
//! record, and answers only once that record is on the disk.
//!
//! While a batch is being written the next one collects in the channel, so the disk's delay is
//! shared by all who wait for it. If a write fails, the state in memory may be ahead of the log;
//! it is thrown away and read back before anybody is served again. Who waited hears that we
//! cannot tell, never that it worked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{EventId, Owner, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::load::Window;
use crate::log::{AppendError, Log, LogError, PartitionId};
use crate::metrics::{LogFailure, Metrics, Up};
use crate::record::{self, Entry, FIRST_LINK, Link, Record, RecordError, Snapshot};
use crate::sale::{Command, Misfit, Plan, Refusal, Reply, Rules, State};
use crate::shelf::Shelf;

/// Most commands in one record: at this size the disk's delay is paid for many times over, and a
/// record stays below 200 KB.
const BATCH_MAX: usize = 512;
/// Commands that may wait for the writer: about 100 ms of work; more would only wait longer.
pub const CHANNEL_MAX: usize = 4096;
/// A snapshot is taken after this many changes: replaying as many takes well under a second.
const CHANGES_PER_SNAPSHOT: u64 = 20_000;
/// How often an idle writer looks whether it is to stop, or a hold is overdue.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// How long a writer without a working log waits before it tries again.
const RELOAD_PAUSE: Duration = Duration::from_millis(500);
/// Records that are read back at a time.
const READ_LIMIT: u32 = 1024;

/// Where the partition's time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

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
    /// Its events.
    pub events: Vec<EventSetup>,
    /// Its store.
    pub log: Log,
    /// Its clock.
    pub clock: Clock,
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
    /// A record before the last one cannot be read.
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
        source: serde_json::Error,
    },
    /// Somebody else owns the partition now.
    #[error("partition {partition} was taken over")]
    Fenced {
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

/// Whose commands a partition serves: the highest of `hash(event, partition)`, so that adding a
/// partition moves only the events that go to it.
#[must_use]
pub fn partition_of(event: &EventId, partitions: u32) -> PartitionId {
    let weight = |partition: &PartitionId| -> [u8; 32] {
        let hash = Sha256::new().chain_update(partition.to_be_bytes());
        hash.chain_update(event.as_str()).finalize().into()
    };
    (0..partitions).max_by_key(weight).unwrap_or(0)
}

struct Job {
    event: EventId,
    command: Command,
    answer: oneshot::Sender<Result<Answer, Unavailable>>,
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
        write!(f, "Job({} {})", self.event, self.command.label())
    }
}

impl Partition {
    /// Reads the log and starts the writer's thread.
    ///
    /// # Errors
    /// If the log cannot be read, or does not fit the events.
    pub fn start(setup: PartitionSetup) -> Result<(Self, JoinHandle<()>), PartitionError> {
        let partition = setup.partition;
        let (jobs, queue) = sync_channel(CHANNEL_MAX);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let metrics = Arc::clone(&setup.metrics);
        let mut writer = Writer::open(setup)?;
        let stop = Arc::clone(&is_stopping);
        let up = metrics.up();
        let thread = std::thread::Builder::new()
            .name(format!("partition-{partition}"))
            .spawn(move || writer.run(&queue, &stop, up))
            .map_err(|source| PartitionError::Thread { partition, source })?;
        Ok((Self { jobs, is_stopping, metrics }, thread))
    }

    /// Asks one thing; the answer is durable when it comes.
    ///
    /// # Errors
    /// If there is no room in the channel or no working log.
    pub async fn ask(&self, event: &EventId, command: Command) -> Result<Answer, Unavailable> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Unavailable::Down);
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { event: event.clone(), command, answer };
        match self.jobs.try_send(job) {
            Ok(()) => answered.await.unwrap_or(Err(Unavailable::Down)),
            Err(TrySendError::Full(_)) => {
                self.metrics.channel_full_total.inc();
                Err(Unavailable::Busy)
            }
            Err(TrySendError::Disconnected(_)) => Err(Unavailable::Down),
        }
    }

    /// Tells the writer to finish the batch it is at and end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Who writes, and what was written so far.
struct Writer {
    setup: PartitionSetup,
    epoch: u64,
    book: Book,
    changes_since_snapshot: u64,
}

/// The log, added up.
struct Book {
    states: BTreeMap<EventId, State>,
    seq: u64,
    at: Timestamp,
    link: Link,
}

impl Writer {
    fn open(mut setup: PartitionSetup) -> Result<Self, PartitionError> {
        let partition = setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        let lease = setup.log.acquire(partition, &setup.owner).map_err(failed)?;
        let (book, replayed) = Book::load(&mut setup)?;
        tracing::info!(
            partition,
            epoch = lease.epoch,
            seq = book.seq,
            replayed,
            "partition {partition} serves from change {} on, epoch {}",
            book.seq,
            lease.epoch
        );
        let mut writer = Self { setup, epoch: lease.epoch, book, changes_since_snapshot: replayed };
        writer.publish_all();
        Ok(writer)
    }

    fn run(&mut self, queue: &Receiver<Job>, is_stopping: &AtomicBool, up: Up) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut up = Some(up);
        while !is_stopping.load(Ordering::Relaxed) {
            match queue.recv_timeout(self.idle_for()) {
                Ok(job) => batch.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(queue.try_iter().take(BATCH_MAX - batch.len()));
            if up.is_none() {
                refuse(&mut batch);
            } else if !self.serve(&mut batch) {
                up = None;
            }
            if up.is_some() {
                continue;
            }
            match self.reload() {
                Ok(()) => up = Some(self.setup.metrics.up()),
                Err(PartitionError::Fenced { partition }) => {
                    tracing::error!(partition, "partition {partition} was taken over, ending");
                    break;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "the log cannot be read back, trying again");
                    // Who comes meanwhile waits in the channel, and is refused after the pause.
                    std::thread::park_timeout(RELOAD_PAUSE);
                }
            }
        }
        refuse(&mut queue.try_iter().collect());
        if up.is_some() && self.changes_since_snapshot > 0 {
            self.snapshot();
        }
    }

    fn idle_for(&self) -> Duration {
        let next = self.book.states.values().filter_map(State::next_deadline).min();
        next.map_or(IDLE_TICK, |at| at.since((self.setup.clock)()).min(IDLE_TICK))
    }

    /// Decides a batch, writes it and answers it. `false` if the log failed.
    fn serve(&mut self, batch: &mut Vec<Job>) -> bool {
        let started = Instant::now();
        let now = (self.setup.clock)().max(self.book.at);
        let mut entries = Vec::new();
        self.expire(now, &mut entries);
        let decided = self.decide(batch, now, &mut entries);
        if entries.is_empty() {
            answer(decided);
            if !batch.is_empty() {
                self.setup.window.busy(started, Instant::now());
            }
            batch.clear();
            return true;
        }
        let size = entries.len() as u64;
        let record = Record { seq: self.book.seq, epoch: self.epoch, at: now, entries };
        let appending = Instant::now();
        let appended = self.append(&record);
        self.setup.metrics.append_seconds.observe(appending.elapsed().as_secs_f64());
        self.setup.window.busy(started, Instant::now());
        batch.clear();
        if !appended {
            for (_, waiting) in decided {
                let _ = waiting.send(Err(Unavailable::Down));
            }
            return false;
        }
        self.book.seq += size;
        self.book.at = now;
        self.setup.metrics.changes_total.inc_by(size);
        self.publish(&record.entries);
        answer(decided.into_iter().map(|(a, w)| (Answer { seq: self.book.seq, ..a }, w)));
        self.changes_since_snapshot += size;
        if self.changes_since_snapshot >= CHANGES_PER_SNAPSHOT {
            self.snapshot();
        }
        true
    }

    fn expire(&mut self, now: Timestamp, entries: &mut Vec<Entry>) {
        for (event, state) in &mut self.book.states {
            let due: Vec<_> = state.due(now).take(BATCH_MAX).collect();
            for hold in due {
                let (changes, _) = state.apply(&Command::Expire { hold }, now);
                self.setup.metrics.expired_total.inc_by(changes.len() as u64);
                entries
                    .extend(changes.into_iter().map(|c| Entry { event: event.clone(), change: c }));
            }
        }
    }

    fn decide(
        &mut self,
        batch: &mut Vec<Job>,
        now: Timestamp,
        entries: &mut Vec<Entry>,
    ) -> Vec<(Answer, oneshot::Sender<Result<Answer, Unavailable>>)> {
        let mut decided = Vec::with_capacity(batch.len());
        for Job { event, command, answer } in batch.drain(..) {
            let Some(state) = self.book.states.get_mut(&event) else {
                let _ = answer.send(Err(Unavailable::Down));
                continue;
            };
            let (changes, reply) = state.apply(&command, now);
            self.setup.metrics.commanded(&command, &reply);
            if !changes.is_empty()
                && let Some(opening) = state.opening()
            {
                let opened = state.evolve(&opening, now);
                debug_assert_eq!(opened, Ok(()), "a state accepts its own seating");
                entries.push(Entry { event: event.clone(), change: opening });
            }
            entries.extend(changes.into_iter().map(|c| Entry { event: event.clone(), change: c }));
            decided.push((Answer { seq: self.book.seq, reply }, answer));
        }
        decided
    }

    /// Writes a record; `true` once it is durable.
    fn append(&mut self, record: &Record) -> bool {
        let partition = self.setup.partition;
        let (bytes, link) = match record::encode(record, &self.book.link) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(partition, %error, "a record cannot be written as JSON");
                return false;
            }
        };
        match self.setup.log.append(partition, self.epoch, record.seq, &bytes) {
            Ok(()) => {
                self.book.link = link;
                true
            }
            Err(error) => {
                let kind = match error {
                    AppendError::Fenced { .. } => LogFailure::Fenced,
                    AppendError::Conflict { .. } => LogFailure::Conflict,
                    AppendError::Unknown(_) => LogFailure::Unknown,
                };
                self.setup.metrics.log_failed(kind);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(
                    partition,
                    seq = record.seq,
                    %error,
                    cause,
                    "record {} of partition {partition} was not written, reading the log back",
                    record.seq
                );
                false
            }
        }
    }

    /// Throws the state away and reads it from the log, unless somebody else owns it by now.
    fn reload(&mut self) -> Result<(), PartitionError> {
        let partition = self.setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        if self.setup.log.epoch(partition).map_err(failed)? != self.epoch {
            return Err(PartitionError::Fenced { partition });
        }
        // A new epoch also fences off our own append, should it still be on its way.
        let lease = self.setup.log.acquire(partition, &self.setup.owner).map_err(failed)?;
        self.epoch = lease.epoch;
        let (book, replayed) = Book::load(&mut self.setup)?;
        self.book = book;
        self.changes_since_snapshot = replayed;
        self.publish_all();
        tracing::warn!(partition, seq = self.book.seq, "partition {partition} serves again");
        Ok(())
    }

    /// A failed snapshot costs time at the next start and nothing else.
    fn snapshot(&mut self) {
        let partition = self.setup.partition;
        let book = &self.book;
        let snapshot = Snapshot {
            seq: book.seq,
            at: book.at,
            link: URL_SAFE_NO_PAD.encode(book.link),
            events: book.states.iter().map(|(id, state)| (id.clone(), state.save())).collect(),
        };
        let written = match serde_json::to_vec(&snapshot) {
            Ok(bytes) => self.setup.log.put_snapshot(partition, book.seq, &bytes),
            Err(error) => {
                tracing::error!(partition, %error, "a snapshot cannot be written as JSON");
                return;
            }
        };
        match written {
            Ok(()) => self.changes_since_snapshot = 0,
            Err(error) => tracing::warn!(partition, %error, "a snapshot was not kept"),
        }
    }

    fn publish(&self, entries: &[Entry]) {
        for setup in &self.setup.events {
            let Some(state) = self.book.states.get(&setup.event) else { continue };
            if entries.iter().any(|entry| entry.event == setup.event) {
                let changes = entries.iter().filter(|entry| entry.event == setup.event);
                setup.shelf.publish(state, changes.map(|e| &e.change), self.book.seq);
            }
        }
    }

    fn publish_all(&mut self) {
        for setup in &self.setup.events {
            if let Some(state) = self.book.states.get(&setup.event) {
                setup.shelf.publish_all(state, self.book.seq);
            }
        }
    }
}

impl Book {
    /// Reads snapshot and log: the book, and how many changes were replayed.
    fn load(setup: &mut PartitionSetup) -> Result<(Self, u64), PartitionError> {
        let partition = setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        let fresh = |setup: &EventSetup| State::new(Arc::clone(&setup.plan), setup.rules);
        let states = setup.events.iter().map(|e| (e.event.clone(), fresh(e))).collect();
        let mut book = Self { states, seq: 0, at: Timestamp::default(), link: FIRST_LINK };
        if let Some(stored) = setup.log.get_snapshot(partition).map_err(failed)? {
            book.restore(setup, &stored.bytes)?;
        }
        let snapshot_seq = book.seq;
        loop {
            let stored = setup.log.read(partition, book.seq, READ_LIMIT).map_err(failed)?;
            for (at, record) in stored.iter().enumerate() {
                match book.replay(partition, record.seq, &record.bytes) {
                    Ok(()) => {}
                    // Whole but unknown is a newer version's work, and not ours to put aside.
                    Err(PartitionError::Record {
                        source: source @ RecordError::Damaged { .. },
                        ..
                    }) => {
                        let is_last = at + 1 == stored.len()
                            && setup
                                .log
                                .read(partition, record.seq + 1, 1)
                                .map_err(failed)?
                                .is_empty();
                        if !is_last {
                            return Err(PartitionError::Record { partition, source });
                        }
                        setup.metrics.log_failed(LogFailure::Cut);
                        tracing::error!(
                            partition,
                            seq = record.seq,
                            error = %source,
                            "the last record of partition {partition} is damaged and was put aside: \
                             what it held is lost, compare with the payment provider's ledger",
                        );
                        setup.log.cut(partition, record.seq).map_err(failed)?;
                        return Ok(book.counted(snapshot_seq));
                    }
                    Err(error) => return Err(error),
                }
            }
            if stored.len() < READ_LIMIT as usize {
                return Ok(book.counted(snapshot_seq));
            }
        }
    }

    fn counted(self, since: u64) -> (Self, u64) {
        let replayed = self.seq - since;
        (self, replayed)
    }

    fn restore(&mut self, setup: &PartitionSetup, bytes: &[u8]) -> Result<(), PartitionError> {
        let partition = setup.partition;
        let snapshot: Snapshot = serde_json::from_slice(bytes)
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

fn answer(
    decided: impl IntoIterator<Item = (Answer, oneshot::Sender<Result<Answer, Unavailable>>)>,
) {
    for (answer, waiting) in decided {
        // Who has gone away does not need to know.
        let _ = waiting.send(Ok(answer));
    }
}

fn refuse(batch: &mut Vec<Job>) {
    for job in batch.drain(..) {
        let _ = job.answer.send(Err(Unavailable::Down));
    }
}

impl Metrics {
    fn commanded(&self, command: &Command, reply: &Reply) {
        let outcome = match reply {
            Reply::Refused(refusal) => Refusal::code(refusal),
            _ => "done",
        };
        self.commands_total.with_label_values(&[command.label(), outcome]).inc();
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
