//! The store in a SQLite file of this machine, written by one thread.
//!
//! Operations are queued, and the thread runs what has gathered in one transaction: a hundred
//! claims cost one write to the disk. Answers go out after the commit. What claims need to know is
//! in memory, beside the connection, and rebuilt from the file when it is opened or when a
//! transaction failed: memory never says more than the disk.
//!
//! Every lease is written, so after `kill -9` each number is known to be handed out or not. A
//! block reserved ahead would save nothing (a commit is shared) and would leave thousands of
//! numbers of which nobody knows.

mod access;
mod fronts;
mod memory;
mod passes;
mod review;
mod rooms;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admission_api::Gap;
use keys::Timestamp;
use prometheus::Histogram;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use self::memory::Memory;
use self::rows::{SCHEMA, count_up, execute, failed};
use super::StoreError;
use super::leases::Leases;

/// Most operations waiting for the thread; beyond it callers wait, and their requests time out.
const QUEUE_MAX: usize = 4096;
/// Most operations in one transaction: keeps the wait of the first within a few milliseconds.
const BATCH_MAX: usize = 256;
/// How long to wait for another process to let go of the file, for example its dying predecessor.
const BUSY_FOR: Duration = Duration::from_secs(5);

/// A handle to the thread; clones share it.
#[derive(Debug, Clone)]
pub struct Embedded {
    jobs: mpsc::Sender<Message>,
    epoch: u64,
    leases: Arc<Mutex<Leases>>,
    /// Given back since the control loop last asked.
    new_gaps: Arc<Mutex<Vec<Gap>>>,
}

/// Locks that are held for a few instructions only; a panic in between leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs in the thread, inside the transaction. Answers when told what became of it.
type Job = Box<dyn FnOnce(&mut Memory, &Transaction<'_>) -> (Outcome, Answer) + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a job leaves behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Memory and file say the same.
    Sound,
    /// It may have written half of what it wanted.
    Failed,
}

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

impl Embedded {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// If the file cannot be opened, is in use, or holds what we did not write.
    pub fn open(
        directory: &Path,
        commit_secs: Histogram,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut db = Connection::open(directory.join("admission.sqlite")).map_err(failed)?;
        db.busy_timeout(BUSY_FOR).map_err(failed)?;
        // Exclusive: a second controller on the same file would hand out the same numbers.
        for (name, value) in [
            ("locking_mode", "EXCLUSIVE"),
            ("journal_mode", "WAL"),
            ("synchronous", "FULL"),
            ("foreign_keys", "OFF"),
        ] {
            db.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|error| {
                if error == rusqlite::Error::QueryReturnedNoRows {
                    Ok(())
                } else {
                    Err(failed(error))
                }
            })?;
        }
        db.set_prepared_statement_cache_capacity(64);
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        tx.execute_batch(SCHEMA).map_err(failed)?;
        // From the clock, so that an epoch also grows when the file was lost.
        let epoch = count_up(&tx, "epoch", now.as_secs())?;
        tx.commit().map_err(failed)?;
        let memory = Memory::read(&db, now, 0)?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("admission-store".to_owned())
            .spawn(move || write(db, memory, queue, &commit_secs))
            .map_err(failed)?;
        Ok(Self { jobs, epoch, leases: Arc::default(), new_gaps: Arc::default() })
    }

    pub(in crate::store) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(in crate::store) async fn close(&self) {
        let (tell, told) = oneshot::channel();
        if self.jobs.send(Message::Close(tell)).await.is_ok() {
            // An error means that the thread has ended, which is what we wait for.
            let _ = told.await;
        }
    }

    /// Runs `work` in the thread and answers when it is durable.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory, &Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |memory, tx| match work(memory, tx) {
            Ok(value) => {
                let answer = move |committed: Result<(), StoreError>| {
                    let _ = tell.send(committed.map(|()| value));
                };
                (Outcome::Sound, Box::new(answer))
            }
            Err(error) => {
                // These are found out by reading, before anything is written.
                let outcome = match error {
                    StoreError::Superseded { .. } | StoreError::Unreadable { .. } => Outcome::Sound,
                    StoreError::Failed(_)
                    | StoreError::Closed
                    | StoreError::Unanswered
                    | StoreError::Unreplicated
                    | StoreError::Demoted
                    | StoreError::Distrusted => Outcome::Failed,
                };
                let answer = move |_| {
                    let _ = tell.send(Err(error));
                };
                (outcome, Box::new(answer))
            }
        });
        self.jobs.send(Message::Job(job)).await.map_err(|_| StoreError::Closed)?;
        told.await.map_err(|_| StoreError::Closed)?
    }
}

/// The thread: gathers, runs, commits, answers.
fn write(
    mut db: Connection,
    memory: Memory,
    mut queue: mpsc::Receiver<Message>,
    commit_secs: &Histogram,
) {
    let mut memory = Some(memory);
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        let mut jobs = Vec::new();
        let mut closing = None;
        while let Some(message) = next {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Close(tell) => {
                    closing = Some(tell);
                    break;
                }
            }
            next = if jobs.len() < BATCH_MAX { queue.try_recv().ok() } else { None };
        }
        let started = std::time::Instant::now();
        let mut answers = Vec::with_capacity(jobs.len());
        let committed = run_batch(&mut db, &mut memory, jobs, &mut answers);
        commit_secs.observe(started.elapsed().as_secs_f64());
        if let Err(error) = &committed {
            tracing::error!(
                error = error as &dyn std::error::Error,
                operations = answers.len(),
                "store: a transaction failed and was taken back"
            );
            // Whatever the jobs wrote into memory is gone from disk.
            memory = None;
        }
        for answer in answers {
            answer(committed.clone());
        }
        if let Some(tell) = closing {
            drop(db);
            let _ = tell.send(());
            return;
        }
    }
}

fn run_batch(
    db: &mut Connection,
    memory: &mut Option<Memory>,
    jobs: Vec<Job>,
    answers: &mut Vec<Answer>,
) -> Result<(), StoreError> {
    let known = match memory {
        Some(known) => known,
        // Dropped jobs answer `Closed`, and the next batch tries again.
        None => memory.insert(Memory::read(db, Timestamp::now(), 0)?),
    };
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for job in jobs {
        execute(&tx, "SAVEPOINT job", [])?;
        let (outcome, answer) = job(known, &tx);
        answers.push(answer);
        if tx.is_autocommit() {
            // A full disk does this. What comes next would be written outside any transaction.
            return Err(failed("the database has taken the transaction back"));
        }
        match outcome {
            Outcome::Sound => {}
            Outcome::Failed => {
                execute(&tx, "ROLLBACK TO job", [])?;
                // What it has written into memory is gone from the file; the others go on.
                *known = Memory::read(&tx, Timestamp::now(), known.revocations.upto())?;
            }
        }
        execute(&tx, "RELEASE job", [])?;
    }
    tx.commit().map_err(failed)
}
