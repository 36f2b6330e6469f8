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
use keys::{EventId, Id128, Owner, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::load::Window;
use crate::log::{AppendError, Log, LogError, PartitionId};
use crate::metrics::{LogFailure, Metrics, Up};
use crate::record::{self, Entry, FIRST_LINK, Link, Record, RecordError, Snapshot};
use crate::sale::{Command, Misfit, Plan, Refusal, Reply, Rules, State};
use crate::shelf::Shelf;
use crate::steady::{Followed, Reading, Steady};

/// Most commands in one record: at this size the disk's delay is paid for many times over, and a
/// record stays below 200 KB.
const BATCH_MAX: usize = 512;
/// Commands that may wait for the writer: about 100 ms of work; more would only wait longer.
pub const CHANNEL_MAX: usize = 4096;
/// A snapshot is taken after this many changes, once nobody waits: replaying as many takes well
/// under a second.
const CHANGES_PER_SNAPSHOT: u64 = 20_000;
/// And after this many even while somebody waits: replaying as many takes a few seconds.
const CHANGES_PER_SNAPSHOT_MAX: u64 = 100_000;
/// How often a record that surely was not written is tried again before the state is read back.
const APPEND_TRIES: u32 = 3;
/// Pause between two of these.
const APPEND_PAUSE: Duration = Duration::from_millis(50);
/// A log that is further ahead of the clock than this at the start is worth a word.
const LOG_AHEAD: Duration = Duration::from_secs(120);
/// How often an idle writer looks whether it is to stop, or a hold is overdue.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// How long a writer without a working log waits before it tries again.
const RELOAD_PAUSE: Duration = Duration::from_millis(500);
/// Records that are read back at a time.
const READ_LIMIT: u32 = 1024;

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
    /// Its events.
    pub events: Vec<EventSetup>,
    /// Its store.
    pub log: Log,
    /// Its clock.
    pub clock: Clock,
    /// Whether a damaged last record may be put aside, which forgets what it sold.
    pub may_cut_damaged_tail: bool,
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
        let up = writer.up();
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

/// A writer that serves. Dropping it, by whatever, tells that its shelves are stale.
struct Serving {
    shelves: Vec<Arc<Shelf>>,
    _up: Up,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shelves.iter().for_each(|shelf| shelf.set_fresh(false));
    }
}

/// Who writes, and what was written so far.
struct Writer {
    setup: PartitionSetup,
    /// Names this writer and no other, so that it knows its own epochs.
    owner: String,
    epoch: u64,
    steady: Steady,
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
        let owner = format!("{} {}", setup.owner, Id128::random());
        let lease = setup.log.acquire(partition, &owner).map_err(failed)?;
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
        let reading = (setup.clock)();
        let ahead = book.at.since(reading.wall);
        if ahead > LOG_AHEAD {
            tracing::warn!(
                partition,
                ahead_secs = ahead.as_secs(),
                "the log of partition {partition} is {} seconds ahead of the clock: time stands \
                 still for holds until the clock has caught up, check it",
                ahead.as_secs()
            );
        }
        let steady = Steady::new(book.at, reading);
        let changes_since_snapshot = replayed;
        let epoch = lease.epoch;
        let mut writer = Self { setup, owner, epoch, steady, book, changes_since_snapshot };
        writer.publish_all();
        Ok(writer)
    }

    fn up(&self) -> Serving {
        let shelves: Vec<_> =
            self.setup.events.iter().map(|event| Arc::clone(&event.shelf)).collect();
        shelves.iter().for_each(|shelf| shelf.set_fresh(true));
        Serving { shelves, _up: self.setup.metrics.up() }
    }

    fn run(&mut self, queue: &Receiver<Job>, is_stopping: &AtomicBool, serving: Serving) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut serving = Some(serving);
        while !is_stopping.load(Ordering::Relaxed) {
            match queue.recv_timeout(self.idle_for()) {
                Ok(job) => batch.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(queue.try_iter().take(BATCH_MAX - batch.len()));
            let is_idle = batch.is_empty();
            if serving.is_none() {
                refuse(&mut batch);
            } else if !self.at_work(|writer| writer.serve(&mut batch)) {
                serving = None;
            }
            if serving.is_some() {
                let most = if is_idle { CHANGES_PER_SNAPSHOT } else { CHANGES_PER_SNAPSHOT_MAX };
                if self.changes_since_snapshot >= most {
                    self.at_work(Self::snapshot);
                }
                continue;
            }
            match self.at_work(Self::reload) {
                Ok(()) => serving = Some(self.up()),
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
        // No snapshot here: stopping has its time, and replay is short.
        refuse(&mut queue.try_iter().collect());
    }

    /// Counts the time of some work as busy, from its first moment on.
    fn at_work<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (window, partition) = (Arc::clone(&self.setup.window), self.setup.partition);
        window.begin(partition, Instant::now());
        let done = work(self);
        window.end(partition, Instant::now());
        done
    }

    fn idle_for(&self) -> Duration {
        let next = self.book.states.values().filter_map(State::next_deadline).min();
        next.map_or(IDLE_TICK, |at| at.since((self.setup.clock)().wall).min(IDLE_TICK))
    }

    fn now(&mut self) -> Timestamp {
        let (now, followed) = self.steady.now((self.setup.clock)());
        match followed {
            Followed::Yes => {}
            Followed::HeldBack => self.setup.metrics.clock_held("behind"),
            Followed::HeldUp => self.setup.metrics.clock_held("ahead"),
        }
        now.max(self.book.at)
    }

    /// Decides a batch, writes it and answers it. `false` if the log failed.
    fn serve(&mut self, batch: &mut Vec<Job>) -> bool {
        let now = self.now();
        let mut entries = Vec::new();
        self.expire(now, &mut entries);
        let decided = self.decide(batch, now, &mut entries);
        if entries.is_empty() {
            answer(decided);
            return true;
        }
        let size = entries.len() as u64;
        let record = Record { seq: self.book.seq, epoch: self.epoch, at: now, entries };
        let appending = Instant::now();
        let appended = self.append(&record);
        self.setup.metrics.append_seconds.observe(appending.elapsed().as_secs_f64());
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
        answer(decided);
        self.changes_since_snapshot += size;
        true
    }

    fn expire(&mut self, now: Timestamp, entries: &mut Vec<Entry>) {
        for (event, state) in &mut self.book.states {
            let due: Vec<_> = state.due(now).take(BATCH_MAX).collect();
            for hold in due {
                state.set_next_seq(self.book.seq + entries.len() as u64);
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
            // Seats for somebody who went away while waiting would be nobody's until they expire.
            if matches!(command, Command::Hold { .. }) && answer.is_closed() {
                self.setup.metrics.abandoned_total.inc();
                continue;
            }
            let opening = state.opening();
            let next_seq = self.book.seq + entries.len() as u64;
            state.set_next_seq(next_seq + u64::from(opening.is_some()));
            let (changes, reply) = state.apply(&command, now);
            self.setup.metrics.commanded(&command, &reply);
            if !changes.is_empty()
                && let Some(opening) = opening
            {
                let opened = state.evolve(&opening, now);
                debug_assert_eq!(opened, Ok(()), "a state accepts its own seating");
                entries.push(Entry { event: event.clone(), change: opening });
            }
            entries.extend(changes.into_iter().map(|c| Entry { event: event.clone(), change: c }));
            let seq = self.book.seq + entries.len() as u64;
            decided.push((Answer { seq, reply }, answer));
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
        let mut tries = 1;
        let appended = loop {
            match self.setup.log.append(partition, self.epoch, record.seq, &bytes) {
                Err(AppendError::NotWritten(error)) if tries < APPEND_TRIES => {
                    self.setup.metrics.log_failed(LogFailure::NotWritten);
                    tracing::warn!(partition, seq = record.seq, %error, "writing a record again");
                    tries += 1;
                    std::thread::sleep(APPEND_PAUSE);
                }
                appended => break appended,
            }
        };
        match appended {
            Ok(()) => {
                self.book.link = link;
                true
            }
            Err(error) => {
                let kind = match error {
                    AppendError::Fenced { .. } => LogFailure::Fenced,
                    AppendError::Conflict { .. } => LogFailure::Conflict,
                    AppendError::NotWritten(_) => LogFailure::NotWritten,
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
        // A new epoch also fences off our own append, should it still be on its way.
        let renewed = self.setup.log.renew(partition, &self.owner).map_err(failed)?;
        self.epoch = renewed.ok_or(PartitionError::Fenced { partition })?.epoch;
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
        let written = match record::seal_snapshot(&snapshot) {
            Ok(bytes) => self.setup.log.put_snapshot(partition, self.epoch, book.seq, &bytes),
            Err(error) => {
                tracing::error!(partition, %error, "a snapshot cannot be written as JSON");
                return;
            }
        };
        // Kept or not, the next one waits its turn: trying at every batch would stall the sale.
        self.changes_since_snapshot = 0;
        if let Err(error) = written {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(partition, %error, cause, "a snapshot was not kept");
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
    ///
    /// The log has everything that a snapshot has. Where the two do not fit, the log is right and
    /// the snapshot is left out; no record is judged by a snapshot.
    fn load(setup: &mut PartitionSetup) -> Result<(Self, u64), PartitionError> {
        let partition = setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        if let Some(stored) = setup.log.get_snapshot(partition).map_err(failed)? {
            let mut book = Self::empty(setup);
            let loaded = book.restore(setup, &stored.bytes).and_then(|()| book.follow(setup));
            match loaded {
                Ok(replayed) => return Ok((book, replayed)),
                Err(error @ PartitionError::Log { .. }) => return Err(error),
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
        let replayed = match book.follow(setup) {
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

    fn empty(setup: &PartitionSetup) -> Self {
        let fresh = |setup: &EventSetup| State::new(Arc::clone(&setup.plan), setup.rules);
        let states = setup.events.iter().map(|e| (e.event.clone(), fresh(e))).collect();
        Self { states, seq: 0, at: Timestamp::default(), link: FIRST_LINK }
    }

    /// Reads the log from here to its end: how many changes there were.
    fn follow(&mut self, setup: &mut PartitionSetup) -> Result<u64, PartitionError> {
        let partition = setup.partition;
        let failed = |source| PartitionError::Log { partition, source };
        let since = self.seq;
        loop {
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
