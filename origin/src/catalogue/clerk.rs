//! Who writes the catalogue? Whoever has something to change: follow the log to its end, decide,
//! append.
//!
//! The catalogue has a partition of the log to itself, and no standing owner. A process that wants
//! to write takes the epoch; if another one did so since, its append is fenced, and it follows,
//! decides again and appends again. Changes are a few a minute, so nobody waits long, and every
//! process of a fleet can take them without passing requests on. Followers read once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keys::{Id128, Owner, Timestamp};
use tokio::sync::oneshot;

use super::decide::{Command, Refusal, Reply, decide};
use super::state::{Change, Entry, Misfit, State};
use super::{Catalogue, Item};
use crate::log::{AppendError, Log, LogError, PartitionId};
use crate::partition::Clock;
use crate::record::{self, Link, Record, RecordError};

/// The catalogue's partition of the log: far above those of the sale.
pub const PARTITION: PartitionId = 1_000_000;
/// Things in one import, and so in one record: it stays below a few MB.
pub const ITEMS_PER_RECORD: usize = 1_000;

/// Requests that may wait for the thread.
const CHANNEL_MAX: usize = 256;
/// How often the log is looked at for what others wrote, and for events whose time has come.
const TICK: Duration = Duration::from_secs(1);
/// How often the thread looks whether it is to stop.
const STOP_TICK: Duration = Duration::from_millis(100);
/// Records that are read at a time.
const READ_LIMIT: u32 = 64;
/// How often a change is tried again because another process was faster.
const TRIES: u32 = 8;

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The store failed.
    #[error("log of the catalogue")]
    Log(#[from] LogError),
    /// A record could not be appended.
    #[error("log of the catalogue")]
    Append(#[source] AppendError),
    /// A record cannot be read.
    #[error("log of the catalogue")]
    Record(#[from] RecordError),
    /// A record cannot be written.
    #[error("a change of the catalogue cannot be written as JSON")]
    Unwritten(#[source] serde_json::Error),
    /// A record is whole but does not fit what came before it.
    #[error("change {seq} of the catalogue does not fit")]
    Misfit {
        /// Where.
        seq: u64,
        /// The cause.
        source: Misfit,
    },
    /// Other processes were faster every time.
    #[error("other processes keep changing the catalogue")]
    Contended,
    /// The operating system gave no thread.
    #[error("no thread for the catalogue")]
    Thread(#[source] std::io::Error),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many requests wait.
    #[error("too many requests wait for the catalogue")]
    Busy,
    /// The log cannot be reached. What was asked may or may not have happened.
    #[error("the catalogue cannot reach its log")]
    Down,
}

/// An entry of the log, with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Where in the log.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who and what.
    pub entry: Entry,
}

/// What the catalogue is kept with.
pub struct ClerkSetup {
    /// Who keeps it.
    pub owner: Owner,
    /// Its store.
    pub log: Log,
    /// Its clock.
    pub clock: Clock,
}

enum Job {
    Ask { by: String, command: Command, answer: oneshot::Sender<Result<(Reply, u64), AskError>> },
    Audit { from: u64, limit: usize, answer: oneshot::Sender<Result<Vec<Audited>, AskError>> },
}

/// The way to the catalogue's thread.
#[derive(Debug)]
pub struct Clerk {
    jobs: SyncSender<Job>,
    is_stopping: Arc<AtomicBool>,
}

impl Clerk {
    /// Reads the log, makes the changes that the configuration asks for, and starts the thread.
    ///
    /// # Errors
    /// If the log cannot be read or written, or the rules refuse what the configuration asks for.
    pub fn start(
        setup: ClerkSetup,
        first: impl IntoIterator<Item = Command>,
    ) -> Result<(Self, Arc<Catalogue>, JoinHandle<()>), StartError> {
        let catalogue = Arc::new(Catalogue::new(State::default()));
        let mut scribe = Scribe::new(setup, Arc::clone(&catalogue));
        scribe.follow()?;
        for command in first {
            scribe.carry_out("configuration", &command)?;
        }
        let (jobs, queue) = sync_channel(CHANNEL_MAX);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopping);
        let thread = std::thread::Builder::new().name("catalogue".to_owned());
        let thread = thread.spawn(move || scribe.run(&queue, &stop));
        let thread =
            thread.map_err(|error| StartError::Catalogue(CatalogueError::Thread(error)))?;
        Ok((Self { jobs, is_stopping }, catalogue, thread))
    }

    /// Asks for one change in somebody's name; durable, and seen by all readers, once it returns
    /// with the log sequence after it.
    ///
    /// # Errors
    /// If the rules refuse it, or there is no answer now.
    pub async fn ask(&self, by: &str, command: Command) -> Result<(Reply, u64), AskError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Ask { by: by.to_owned(), command, answer })?;
        answered.await.unwrap_or(Err(AskError::Down))
    }

    /// Reads who changed what, from log sequence `from` on.
    ///
    /// # Errors
    /// If there is no answer now.
    pub async fn audit(&self, from: u64, limit: usize) -> Result<Vec<Audited>, AskError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Audit { from, limit, answer })?;
        answered.await.unwrap_or(Err(AskError::Down))
    }

    fn send(&self, job: Job) -> Result<(), AskError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => AskError::Busy,
            TrySendError::Disconnected(_) => AskError::Down,
        })
    }

    /// Tells the thread to finish what it is at and end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Why the catalogue does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its log.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// What the configuration asks for.
    #[error("catalogue")]
    Refused(#[from] Refusal),
}

/// The one who reads and writes the log.
struct Scribe {
    log: Log,
    clock: Clock,
    catalogue: Arc<Catalogue>,
    /// Names this writer and no other.
    owner: String,
    /// The epoch that we took; `None` until there is something to write.
    epoch: Option<u64>,
}

impl Scribe {
    fn new(setup: ClerkSetup, catalogue: Arc<Catalogue>) -> Self {
        let ClerkSetup { owner, log, clock } = setup;
        let owner = format!("{owner} {}", Id128::random());
        Self { log, clock, catalogue, owner, epoch: None }
    }

    fn run(&mut self, queue: &Receiver<Job>, is_stopping: &AtomicBool) {
        let mut ticked = Instant::now();
        while !is_stopping.load(Ordering::Relaxed) {
            match queue.recv_timeout(STOP_TICK) {
                Ok(Job::Ask { by, command, answer }) => {
                    // Who has gone away does not need to know.
                    let _ = answer.send(self.answer(&by, &command));
                }
                Ok(Job::Audit { from, limit, answer }) => {
                    let _ = answer.send(self.audit(from, limit).map_err(down));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                if let Err(error) = self.tick() {
                    down(error);
                }
            }
        }
    }

    fn answer(&mut self, by: &str, command: &Command) -> Result<(Reply, u64), AskError> {
        match self.carry_out(by, command) {
            Ok(reply) => Ok((reply, self.catalogue.read().seq())),
            Err(StartError::Refused(refusal)) => Err(AskError::Refused(refusal)),
            Err(StartError::Catalogue(error)) => Err(down(error)),
        }
    }

    /// Follows others, and opens the sales whose time has come.
    fn tick(&mut self) -> Result<(), CatalogueError> {
        self.follow()?;
        let now = (self.clock)().wall;
        if self.catalogue.read().due(now).next().is_some() {
            match self.carry_out("schedule", &Command::OpenDue) {
                Ok(_) => {}
                Err(StartError::Catalogue(error)) => return Err(error),
                Err(StartError::Refused(refusal)) => {
                    tracing::error!(error = %refusal, "an event that is due cannot go on sale");
                }
            }
        }
        Ok(())
    }

    /// Reads what was appended since, by whomever.
    fn follow(&mut self) -> Result<(), CatalogueError> {
        loop {
            let (from, mut link) = {
                let state = self.catalogue.read();
                (state.seq(), state.link())
            };
            let stored = self.log.read(PARTITION, from, READ_LIMIT)?;
            let is_last = stored.len() < READ_LIMIT as usize;
            for stored in stored {
                let (record, next): (Record<Entry>, Link) =
                    record::decode(stored.seq, &stored.bytes, &link)?;
                self.evolve(&record, next)?;
                link = next;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn evolve(&self, record: &Record<Entry>, link: Link) -> Result<(), CatalogueError> {
        self.catalogue.change(|state| {
            if state.seq() != record.seq {
                let misplaced = RecordError::Misplaced { seq: record.seq, says: state.seq() };
                return Err(CatalogueError::Record(misplaced));
            }
            for Entry { change, .. } in &record.entries {
                let seq = state.seq();
                let misfit = |source| CatalogueError::Misfit { seq, source };
                state.evolve(change).map_err(misfit)?;
            }
            state.close_record(record.at, link);
            Ok(())
        })
    }

    /// Decides and writes, again for as long as others are faster.
    fn carry_out(&mut self, by: &str, command: &Command) -> Result<Reply, StartError> {
        for _ in 0..TRIES {
            let epoch = match self.epoch {
                Some(epoch) => epoch,
                None => {
                    let lease = self.log.acquire(PARTITION, &self.owner);
                    lease.map_err(CatalogueError::Log)?.epoch
                }
            };
            self.epoch = Some(epoch);
            self.follow()?;
            let (record, link, reply) = {
                let state = self.catalogue.read();
                let at = (self.clock)().wall.max(state.at());
                let (changes, reply) = decide(&state, command, at)?;
                if changes.is_empty() {
                    return Ok(reply);
                }
                let entry = |change: Change| Entry { by: by.to_owned(), change };
                let entries = changes.into_iter().map(entry).collect();
                (Record { seq: state.seq(), epoch, at, entries }, state.link(), reply)
            };
            let (bytes, next) =
                record::encode(&record, &link).map_err(CatalogueError::Unwritten)?;
            match self.log.append(PARTITION, epoch, record.seq, &bytes) {
                Ok(()) => {
                    self.evolve(&record, next)?;
                    return Ok(reply);
                }
                // Somebody else was faster.
                Err(AppendError::Fenced { .. }) => self.epoch = None,
                Err(AppendError::Conflict { .. }) => {}
                // A new epoch fences our own append off, should it still be on its way; then the
                // log tells whether it had arrived.
                Err(AppendError::Unknown(error)) => {
                    tracing::warn!(%error, "asking the log whether a change was written");
                    let lease = self.log.acquire(PARTITION, &self.owner);
                    self.epoch = Some(lease.map_err(CatalogueError::Log)?.epoch);
                    let stored = self.log.read(PARTITION, record.seq, 1);
                    let stored = stored.map_err(CatalogueError::Log)?;
                    if stored.first().is_some_and(|stored| stored.bytes == bytes) {
                        self.follow()?;
                        return Ok(reply);
                    }
                }
                Err(error @ (AppendError::NotWritten(_) | AppendError::Guard { .. })) => {
                    return Err(CatalogueError::Append(error).into());
                }
            }
        }
        Err(CatalogueError::Contended.into())
    }

    /// Entries from `from` on, oldest first.
    fn audit(&mut self, from: u64, limit: usize) -> Result<Vec<Audited>, CatalogueError> {
        let mut entries = Vec::new();
        let mut next = self.catalogue.read().record_of(from);
        loop {
            let stored = self.log.read(PARTITION, next, READ_LIMIT)?;
            for stored in &stored {
                let record: Record<Entry> = record::reread(stored.seq, &stored.bytes)?;
                let numbered = (record.seq..).zip(record.entries);
                for (seq, entry) in numbered.filter(|(seq, _)| *seq >= from) {
                    if entries.len() == limit {
                        return Ok(entries);
                    }
                    entries.push(Audited { seq, at: record.at, entry });
                }
            }
            match stored.last() {
                Some(last) if stored.len() == READ_LIMIT as usize => next = last.seq + 1,
                _ => return Ok(entries),
            }
        }
    }
}

fn down(error: CatalogueError) -> AskError {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(%error, cause, "the catalogue cannot reach its log");
    AskError::Down
}

/// The items in commands that fit into records.
pub fn imports(items: Vec<Item>) -> impl Iterator<Item = Command> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let some: Vec<Item> = items.by_ref().take(ITEMS_PER_RECORD).collect();
        (!some.is_empty()).then_some(Command::Import(some))
    })
}

#[cfg(test)]
#[path = "clerk_tests.rs"]
mod tests;
