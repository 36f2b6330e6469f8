//! How does a batch of commands become durable, and only then answers?
//!
//! While a batch is being written the next one collects in the channel, so the disk's delay is
//! shared by all who wait for it. If a write fails, the state in memory may be ahead of the log;
//! it is thrown away and read back before anybody is served again. Who waited hears that we
//! cannot tell, never that it worked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::Timestamp;
use tokio::sync::oneshot;

use super::book::Book;
use super::claim::{Claim, Kept};
#[cfg(any(test, feature = "planted-bugs"))]
use super::planted;
use super::snapshots::Snapshots;
use super::{Answer, Ask, EventSetup, Job, OpenError, PartitionError, PartitionSetup, Unavailable};
use crate::failpoint;
use crate::log::AppendError;
use crate::metrics::{LogFailure, Metrics, Up};
use crate::record::{self, Entry, Record, Snapshot};
use crate::sale::{Command, Misfit, Refusal, Reply, State};
use crate::shelf::Shelf;
use crate::steady::{Followed, Steady};

/// Most commands in one record: at this size the disk's delay is paid for many times over, and a
/// record stays below 200 KB.
const BATCH_MAX: usize = 512;
/// While somebody waits a snapshot is put off, until there are so many times the changes.
const SNAPSHOT_PATIENCE: u64 = 5;
/// How often a record that surely was not written is tried again before the state is read back.
const APPEND_TRIES: u32 = 3;
/// Pause between two of these.
const APPEND_PAUSE: Duration = Duration::from_millis(50);
/// A log that is further ahead of the clock than this at the start, or behind it, is worth a word.
const LOG_AHEAD: Duration = Duration::from_secs(120);
/// A log that ended longer ago than this at the start: nothing was sold for so long, or the clock is
/// ahead. Which of the two, nobody can tell us, so open holds get the time back either way.
const OUTAGE_MIN: Duration = Duration::from_secs(10);
/// How often an idle writer looks whether it is to stop, or a hold is overdue.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// How long a writer without a working log waits before it tries again.
const RELOAD_PAUSE: Duration = Duration::from_millis(500);

/// What follows a turn of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next turn.
    Go,
    /// The next turn, after a pause: the log cannot be read.
    Pause,
    /// Nothing: the partition is somebody else's.
    End,
}

/// A writer that serves. Dropping it, by whatever, tells that its shelves are stale.
struct Serving {
    shelves: Vec<Arc<Shelf>>,
    _up: Up,
}

impl Serving {
    fn new(events: &[EventSetup], up: Up) -> Self {
        let mut serving = Self { shelves: Vec::new(), _up: up };
        serving.follow(events);
        serving
    }

    /// Keeps the shelves of these events fresh, and no others.
    fn follow(&mut self, events: &[EventSetup]) {
        self.shelves.iter().for_each(|shelf| shelf.set_fresh(false));
        self.shelves = events.iter().map(|event| Arc::clone(&event.shelf)).collect();
        self.shelves.iter().for_each(|shelf| shelf.set_fresh(true));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shelves.iter().for_each(|shelf| shelf.set_fresh(false));
    }
}

/// Who writes, and what was written so far.
pub(super) struct Writer {
    pub(super) setup: PartitionSetup,
    pub(super) claim: Claim,
    snapshots: Snapshots,
    pub(super) steady: Steady,
    pub(super) book: Book,
    /// Present while commands are decided.
    serving: Option<Serving>,
    changes_since_snapshot: u64,
    /// When the log ended, if that is long ago and holds are to get the time back.
    outage_since: Option<Timestamp>,
}

impl Writer {
    pub(super) fn open(
        mut setup: PartitionSetup,
        snapshots: Snapshots,
    ) -> Result<Self, PartitionError> {
        let partition = setup.partition;
        failpoint!("takeover-begun");
        let mut claim = Claim::take(&mut setup)?;
        failpoint!("takeover-claimed");
        let began = Instant::now();
        let (book, replayed) = match Book::load(&mut setup, &mut claim) {
            Ok(loaded) => loaded,
            Err(error) => {
                claim.release(&mut setup.log);
                return Err(error);
            }
        };
        tracing::info!(
            partition,
            epoch = claim.epoch,
            seq = book.seq,
            replayed,
            took_ms = began.elapsed().as_millis(),
            "partition {partition} serves from change {} on, epoch {}",
            book.seq,
            claim.epoch
        );
        let reading = (setup.clock)();
        let ahead = book.at.since(reading.wall);
        if ahead > LOG_AHEAD {
            tracing::warn!(
                partition,
                ahead_secs = ahead.as_secs(),
                "the log of partition {partition} is {} seconds ahead of the clock: time runs \
                 slower for holds until the clock has caught up, check it",
                ahead.as_secs()
            );
        }
        let outage = reading.wall.since(book.at);
        let outage_since = (book.seq > 0 && outage > OUTAGE_MIN).then_some(book.at);
        if outage_since.is_some() && outage > LOG_AHEAD {
            tracing::warn!(
                partition,
                outage_secs = outage.as_secs(),
                "the log of partition {partition} ended {} seconds ago: open holds get that time \
                 back. If it did not end then, this machine's clock is ahead, check it",
                outage.as_secs()
            );
        }
        let steady = Steady::new(book.at, reading);
        let changes_since_snapshot = replayed;
        let serving = None;
        let mut writer = Self {
            setup,
            claim,
            snapshots,
            steady,
            book,
            serving,
            changes_since_snapshot,
            outage_since,
        };
        writer.publish_all();
        writer.serving = Some(writer.up());
        Ok(writer)
    }

    fn up(&self) -> Serving {
        Serving::new(&self.setup.events, self.setup.metrics.up())
    }

    /// Takes what is in the channel, a batch at a time, until it is told to stop.
    pub(super) fn run(&mut self, queue: &Receiver<Job>, is_stopping: &AtomicBool) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while !is_stopping.load(Ordering::Relaxed) {
            match queue.recv_timeout(self.idle_for()) {
                Ok(job) => batch.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(queue.try_iter().take(BATCH_MAX - batch.len()));
            match self.step(&mut batch) {
                Next::Go => {}
                // Who comes meanwhile waits in the channel, and is refused after the pause.
                Next::Pause => std::thread::park_timeout(RELOAD_PAUSE),
                Next::End => break,
            }
        }
        self.close();
        queue.try_iter().for_each(Job::refuse);
    }

    /// One turn: whatever a writer does between two looks into its channel. It answers the whole
    /// batch, waits for nothing but its log, and is what the simulation runs, too.
    pub(super) fn step(&mut self, batch: &mut Vec<Job>) -> Next {
        let is_idle = batch.is_empty();
        match self.claim.keep(&mut self.setup.log) {
            Kept::Yes => {}
            Kept::Unsure => self.serving = None,
            Kept::Lost => {
                batch.drain(..).for_each(Job::refuse);
                self.taken_over();
                return Next::End;
            }
        }
        if self.serving.is_none() {
            batch.drain(..).for_each(Job::refuse);
        } else if !self.serve_counted(batch) {
            self.serving = None;
        }
        if self.serving.is_some() {
            let patience = if is_idle { 1 } else { SNAPSHOT_PATIENCE };
            let most = self.setup.snapshot_changes * patience;
            if self.changes_since_snapshot >= most {
                self.at_work(Self::snapshot);
            }
            return Next::Go;
        }
        match self.at_work(Self::reload) {
            Ok(()) => {
                self.serving = Some(self.up());
                Next::Go
            }
            Err(PartitionError::Fenced { .. }) => {
                self.taken_over();
                Next::End
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the log cannot be read back, trying again");
                Next::Pause
            }
        }
    }

    /// Serves nobody any more, and lets others have the partition.
    pub(super) fn close(&mut self) {
        // No snapshot here: stopping has its time, and replay is short.
        self.serving = None;
        self.claim.release(&mut self.setup.log);
    }

    fn taken_over(&self) {
        let partition = self.setup.partition;
        self.setup.metrics.log_failed(LogFailure::Fenced);
        tracing::error!(partition, "partition {partition} was taken over, ending");
    }

    /// Counts the time of some work as busy, from its first moment on.
    fn at_work<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (window, partition) = (Arc::clone(&self.setup.window), self.setup.partition);
        window.begin(partition, Instant::now());
        let done = work(self);
        window.end(partition, Instant::now());
        done
    }

    /// Serves a batch, and counts how long its commands have waited and how long it took.
    fn serve_counted(&mut self, batch: &mut Vec<Job>) -> bool {
        let began = Instant::now();
        let waited: Vec<_> = batch.iter().filter_map(|job| job.waited(began)).collect();
        let is_served = self.at_work(|writer| writer.serve(batch));
        let now = Instant::now();
        self.setup.window.served(&waited, now.saturating_duration_since(began), now);
        is_served
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
    pub(super) fn serve(&mut self, batch: &mut Vec<Job>) -> bool {
        let now = self.now();
        let mut entries = Vec::new();
        self.give_time_back(now, &mut entries);
        self.expire(now, &mut entries);
        let decided = self.decide(batch, now, &mut entries);
        if entries.is_empty() {
            self.outage_since = None;
            answer(decided);
            return true;
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        let decided = planted::answered_early(decided);
        let size = entries.len() as u64;
        let record = Record { seq: self.book.seq, epoch: self.claim.epoch, at: now, entries };
        failpoint!("append-begun");
        let appending = Instant::now();
        let appended = self.append(&record);
        self.setup.metrics.append_seconds.observe(appending.elapsed().as_secs_f64());
        if !appended {
            for (_, waiting) in decided {
                let _ = waiting.send(Err(Unavailable::Down));
            }
            return false;
        }
        failpoint!("append-done");
        self.outage_since = None;
        self.book.seq += size;
        self.book.at = now;
        self.setup.metrics.changes_total.inc_by(size);
        self.publish(&record.entries);
        failpoint!("reply-begun");
        answer(decided);
        self.changes_since_snapshot += size;
        true
    }

    /// What is not written down in the end is decided again.
    fn give_time_back(&mut self, now: Timestamp, entries: &mut Vec<Entry>) {
        let Some(since) = self.outage_since else { return };
        for (event, state) in &mut self.book.states {
            let changes = state.give_time_back(since, now);
            entries.extend(changes.into_iter().map(|c| Entry { event: event.clone(), change: c }));
        }
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
            #[cfg(any(test, feature = "planted-bugs"))]
            planted::expire_paying(event, state, now, entries);
        }
    }

    fn decide(
        &mut self,
        batch: &mut Vec<Job>,
        now: Timestamp,
        entries: &mut Vec<Entry>,
    ) -> Vec<Decided> {
        #[cfg(any(test, feature = "planted-bugs"))]
        let before = planted::before(&self.book.states);
        let mut decided = Vec::with_capacity(batch.len());
        for job in batch.drain(..) {
            let Ask { event, command, answer, .. } = match job {
                Job::Ask(ask) => ask,
                Job::Open(setup, done) => {
                    // Who has gone away does not need to know.
                    let _ = done.send(self.open_event(setup));
                    continue;
                }
            };
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
            #[cfg(any(test, feature = "planted-bugs"))]
            let command = planted::forgetful(command);
            #[cfg(not(any(test, feature = "planted-bugs")))]
            let (changes, reply) = state.apply(&command, now);
            #[cfg(any(test, feature = "planted-bugs"))]
            let (changes, reply) = {
                let old = before.as_ref().and_then(|before| before.get(&event));
                planted::apply(old, state, &command, now)
            };
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

    /// Sells an event from now on. The seats of one that is sold already stay whose they are, under
    /// the new rules; its stock is published on the new shelf.
    fn open_event(&mut self, setup: EventSetup) -> Result<(), OpenError> {
        let event = setup.event.clone();
        let logged = self.book.states.get(&event).and_then(State::seating);
        match (logged, setup.plan.fingerprint()) {
            (Some(logged), now) if logged != now => {
                let source = Misfit::OtherPlan { logged: logged.to_owned(), now: now.to_owned() };
                return Err(OpenError::Seating { event, source });
            }
            (Some(_), _) => {
                if let Some(state) = self.book.states.get_mut(&event) {
                    state.set_rules(setup.rules);
                }
            }
            (None, _) => {
                let state = State::new(Arc::clone(&setup.plan), setup.rules);
                self.book.states.insert(event.clone(), state);
            }
        }
        if let Some(state) = self.book.states.get(&event) {
            setup.shelf.publish_all(state, self.book.seq);
        }
        self.setup.events.retain(|known| known.event != event);
        self.setup.events.push(setup);
        if let Some(serving) = &mut self.serving {
            serving.follow(&self.setup.events);
        }
        Ok(())
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
            match self.setup.log.append(partition, self.claim.epoch, record.seq, &bytes) {
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
            #[cfg(any(test, feature = "planted-bugs"))]
            Err(AppendError::Fenced { .. })
                if planted::append_anyway(&mut self.setup.log, partition, record) =>
            {
                true
            }
            Err(error) => {
                let kind = match error {
                    AppendError::Fenced { .. } => LogFailure::Fenced,
                    AppendError::Conflict { .. } => LogFailure::Conflict,
                    AppendError::Guard { .. } => LogFailure::Guard,
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
        if !self.claim.retake(&mut self.setup.log).map_err(failed)? {
            return Err(PartitionError::Fenced { partition });
        }
        let (book, replayed) = Book::load(&mut self.setup, &mut self.claim)?;
        // It may have been given back in a record that was written unheard.
        self.outage_since = self.outage_since.filter(|since| *since == book.at);
        self.book = book;
        self.changes_since_snapshot = replayed;
        self.publish_all();
        tracing::warn!(partition, seq = self.book.seq, "partition {partition} serves again");
        Ok(())
    }

    /// A failed snapshot costs time at the next start and nothing else.
    pub(super) fn snapshot(&mut self) {
        let book = &self.book;
        let snapshot = Snapshot {
            seq: book.seq,
            at: book.at,
            link: URL_SAFE_NO_PAD.encode(book.link),
            events: book.states.iter().map(|(id, state)| (id.clone(), state.save())).collect(),
        };
        self.snapshots.keep(self.claim.epoch, snapshot);
        // Kept or not, the next one waits its turn: trying at every batch would stall the sale.
        self.changes_since_snapshot = 0;
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

/// An answer, and who waits for it.
pub(super) type Decided = (Answer, oneshot::Sender<Result<Answer, Unavailable>>);

pub(super) fn answer(decided: impl IntoIterator<Item = Decided>) {
    for (answer, waiting) in decided {
        // Who has gone away does not need to know.
        let _ = waiting.send(Ok(answer));
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
