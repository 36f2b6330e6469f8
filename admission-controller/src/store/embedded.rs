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

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admission_api::{EndReason, Gap, Restored, Revoked, Room, RoomMode, RoomSpec, Suspicion};
use keys::{Beacon, EventId, Front, Id128, Lane, Risk, Timestamp};
use prometheus::Histogram;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::{
    Counted, Deed, DrawRecord, Entry, EntryKind, Given, Judged, JudgedState, Law, LineId, Numbered,
    PassId, Put, RenewTo, Restore, Restorer, RoomStatus, StoreError, Suspected,
};
use crate::claims::{Claimed, Flag, Known, PassRecord};

/// Most operations waiting for the thread; beyond it callers wait, and their requests time out.
const QUEUE_MAX: usize = 4096;
/// Most operations in one transaction: keeps the wait of the first within a few milliseconds.
const BATCH_MAX: usize = 256;
/// How long to wait for another process to let go of the file, for example its dying predecessor.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// Decisions about the pace that are kept: a change a second for almost three hours.
const DECISIONS_MAX: i64 = 10_000;
/// What people did is kept apart from those, so that no busy sale pushes it out.
const DEEDS_MAX: i64 = 50_000;
/// Most suspicions of a line: more than any review gets through, and some 200 MB with evidence.
#[cfg(not(test))]
const SUSPICIONS_MAX: u64 = 200_000;
#[cfg(test)]
const SUSPICIONS_MAX: u64 = 20;
/// A used place is remembered for this long after its end: edges' clocks may be behind ours.
const USED_FOR_SECS: u64 = 3600;
/// Numbers stay exact in every language up to here.
const NUMBER_MAX: u64 = 1 << 53;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rooms (event TEXT PRIMARY KEY, room TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS configured (event TEXT PRIMARY KEY, spec TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (
    event TEXT, lane INTEGER, issued INTEGER NOT NULL, PRIMARY KEY (event, lane)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (
    event TEXT, line INTEGER, lane INTEGER, first INTEGER, count INTEGER NOT NULL,
    PRIMARY KEY (event, line, lane, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fronts (
    event TEXT, epoch INTEGER, seq INTEGER, line INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    front TEXT NOT NULL, PRIMARY KEY (event, epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passes (
    event TEXT, sub BLOB, line INTEGER NOT NULL, jti BLOB NOT NULL, lane INTEGER NOT NULL,
    num INTEGER NOT NULL, risk INTEGER NOT NULL, generation INTEGER NOT NULL,
    first_at INTEGER NOT NULL, renewed_at INTEGER NOT NULL, exp INTEGER NOT NULL,
    place_exp INTEGER NOT NULL, ended TEXT,
    PRIMARY KEY (event, sub)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS passes_by_number ON passes (event, line, lane, num)
    WHERE num > 0;
CREATE TABLE IF NOT EXISTS laws (
    event TEXT PRIMARY KEY, line INTEGER NOT NULL, per_sec REAL NOT NULL, called INTEGER NOT NULL,
    at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS draws (
    event TEXT PRIMARY KEY, line INTEGER NOT NULL, secret BLOB NOT NULL, beacon TEXT NOT NULL,
    value BLOB, counts TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suspicions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, sub BLOB NOT NULL,
    state TEXT NOT NULL, restored_at INTEGER, restored_by TEXT, why TEXT,
    until_ms INTEGER NOT NULL, suspicion TEXT NOT NULL, UNIQUE (event, sub));
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, entry TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_event ON entries (event, id);
CREATE INDEX IF NOT EXISTS entries_by_kind ON entries (json_extract(entry, '$.kind') = 'pace', id);
";

/// A handle to the thread; clones share it.
#[derive(Debug, Clone)]
pub struct Embedded {
    jobs: mpsc::Sender<Message>,
    epoch: u64,
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

/// What the thread knows without asking the file.
#[derive(Default)]
struct Memory {
    rooms: BTreeMap<EventId, RoomMemory>,
    /// Ends of passes in the order in which they happened, each with its place in that order.
    revoked: VecDeque<(u64, Revoked)>,
    /// The last place given. It begins with the time of opening in microseconds, so that an edge
    /// that knows the order of an earlier start hears everything again.
    revoked_upto: u64,
}

impl Memory {
    fn revoke(&mut self, record: &PassRecord, from: Timestamp) {
        self.revoked_upto += 1;
        let revoked = Revoked { jti: record.jti, from, until: record.exp };
        self.revoked.push_back((self.revoked_upto, revoked));
    }
}

struct RoomMemory {
    room: Room,
    issued: [u64; 3],
    inside: u64,
    passes: HashMap<Id128, Slot>,
    /// The numbers of `passes`, 0 excepted: each lets in one visitor.
    used: HashSet<(Lane, u64)>,
    /// When passes end, earliest first; entries of renewed passes are put back when met.
    ends: BinaryHeap<Reverse<(Timestamp, Id128)>>,
    flags: HashMap<Id128, Flag>,
    /// Rows, those of visitors who had entered before included.
    suspicions: u64,
}

enum Slot {
    Inside(Box<PassRecord>),
    Used { until: Timestamp, lane: Lane, num: u64 },
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
        Ok(Self { jobs, epoch })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) async fn close(&self) {
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
                    StoreError::Failed(_) | StoreError::Closed => Outcome::Failed,
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

    pub(super) async fn status(&self, now: Timestamp) -> Result<Vec<RoomStatus>, StoreError> {
        self.run(move |memory, _| {
            memory.revoked.retain(|(_, revoked)| revoked.until > now);
            let rooms = memory.rooms.values_mut().map(|room| {
                room.end_expired(now);
                RoomStatus { room: room.room.clone(), inside: room.inside, issued: room.issued }
            });
            Ok(rooms.collect())
        })
        .await
    }

    pub(super) async fn configure(
        &self,
        spec: RoomSpec,
        now: Timestamp,
    ) -> Result<Option<Room>, StoreError> {
        self.run(move |memory, tx| {
            let event = spec.event.clone();
            let last: Option<String> = tx
                .prepare_cached("SELECT spec FROM configured WHERE event = ?")
                .and_then(|mut q| q.query_row([event.as_str()], |row| row.get(0)).optional())
                .map_err(failed)?;
            // A spec that an older version wrote differently counts as another one.
            let is_known = last.is_some_and(|last| {
                serde_json::from_str::<RoomSpec>(&last).is_ok_and(|last| last == spec)
            });
            if is_known {
                return Ok(None);
            }
            execute(
                tx,
                "INSERT OR REPLACE INTO configured (event, spec) VALUES (?, ?)",
                params![event.as_str(), json(&spec)?],
            )?;
            let room = match memory.rooms.get(&event).map(|room| room.room.version) {
                None => memory.create(tx, spec, now)?,
                Some(_) => memory.change(tx, spec)?,
            };
            let deed = Deed {
                who: "configuration".to_owned(),
                at: now,
                what: format!("room taken from the configuration, version {}", room.version),
            };
            note(tx, &event, EntryKind::Config, deed)?;
            Ok(Some(room))
        })
        .await
    }

    pub(super) async fn create(&self, spec: RoomSpec, deed: Deed) -> Result<Put, StoreError> {
        self.run(move |memory, tx| match memory.rooms.get(&spec.event) {
            Some(room) => Ok(Put::Conflict { version: room.room.version }),
            None => {
                let room = memory.create(tx, spec, deed.at)?;
                let what = format!("{}, line {}", deed.what, room.line);
                note(tx, &room.spec.event, EntryKind::Operator, Deed { what, ..deed })?;
                Ok(Put::Done(Box::new(room)))
            }
        })
        .await
    }

    pub(super) async fn change(
        &self,
        spec: RoomSpec,
        version: u64,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.run(move |memory, tx| match memory.rooms.get(&spec.event) {
            None => Ok(Put::Missing),
            Some(room) if room.room.version != version => {
                Ok(Put::Conflict { version: room.room.version })
            }
            Some(_) => {
                let room = memory.change(tx, spec)?;
                note(tx, &room.spec.event, EntryKind::Operator, deed)?;
                Ok(Put::Done(Box::new(room)))
            }
        })
        .await
    }

    pub(super) async fn delete(
        &self,
        event: EventId,
        version: Option<u64>,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.rooms.get(&event).map(|room| room.room.clone()) else {
                return Ok(Put::Missing);
            };
            if version.is_some_and(|version| version != room.version) {
                return Ok(Put::Conflict { version: room.version });
            }
            for sql in [
                "DELETE FROM rooms WHERE event = ?",
                "DELETE FROM lanes WHERE event = ?",
                "DELETE FROM gaps WHERE event = ?",
                "DELETE FROM fronts WHERE event = ?",
                "DELETE FROM passes WHERE event = ?",
                "DELETE FROM laws WHERE event = ?",
                "DELETE FROM draws WHERE event = ?",
                "DELETE FROM suspicions WHERE event = ?",
            ] {
                execute(tx, sql, [event.as_str()])?;
            }
            note(tx, &event, EntryKind::Operator, deed)?;
            memory.rooms.remove(&event);
            Ok(Put::Done(Box::new(room)))
        })
        .await
    }

    pub(super) async fn lease(
        &self,
        line: LineId,
        lane: Lane,
        count: u64,
    ) -> Result<Option<u64>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let issued = room.issued[lane.index()];
            let next = issued.saturating_add(count);
            if count == 0 || next > NUMBER_MAX {
                return Ok(None);
            }
            execute(
                tx,
                "INSERT OR REPLACE INTO lanes (event, lane, issued) VALUES (?, ?, ?)",
                params![line.event.as_str(), lane_number(lane), int(next)],
            )?;
            room.issued[lane.index()] = next;
            Ok(Some(issued + 1))
        })
        .await
    }

    pub(super) async fn give_back(&self, gaps: Vec<Gap>) -> Result<(), StoreError> {
        self.run(move |_, tx| {
            for gap in gaps {
                execute(
                    tx,
                    "INSERT OR REPLACE INTO gaps (event, line, lane, first, count)
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        gap.event.as_str(),
                        int(gap.line),
                        lane_number(gap.lane),
                        int(gap.first),
                        int(gap.count)
                    ],
                )?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn gaps(&self, line: LineId) -> Result<Vec<Gap>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached("SELECT lane, first, count FROM gaps WHERE event = ? AND line = ?")
                .map_err(failed)?;
            let rows = query.query_map(params![line.event.as_str(), int(line.line)], |row| {
                Ok(Gap {
                    event: line.event.clone(),
                    line: line.line,
                    lane: lane_at(row, 0)?,
                    first: number_at(row, 1)?,
                    count: number_at(row, 2)?,
                })
            });
            rows.and_then(Iterator::collect).map_err(failed)
        })
        .await
    }

    pub(super) async fn put_fronts(&self, fronts: Vec<Front>) -> Result<(), StoreError> {
        self.run(move |_, tx| {
            // All or none: a refusal must leave nothing behind in the shared transaction.
            for front in &fronts {
                let newest: Option<(i64, i64)> = tx
                    .prepare_cached(
                        "SELECT epoch, seq FROM fronts WHERE event = ?
                         ORDER BY epoch DESC, seq DESC LIMIT 1",
                    )
                    .and_then(|mut query| {
                        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
                        query.query_row([front.aud.as_str()], read).optional()
                    })
                    .map_err(failed)?;
                if newest.is_some_and(|newest| newest >= (int(front.epoch), int(front.seq))) {
                    let (epoch, seq) = (front.epoch, front.seq);
                    return Err(StoreError::Superseded { event: front.aud.clone(), epoch, seq });
                }
            }
            for front in &fronts {
                let event = front.aud.as_str();
                execute(
                    tx,
                    "DELETE FROM fronts WHERE event = ? AND until_ms < ?",
                    params![event, int(front.t0.as_millis())],
                )?;
                execute(
                    tx,
                    "INSERT INTO fronts (event, epoch, seq, line, until_ms, front)
                     VALUES (?, ?, ?, ?, ?, ?)",
                    params![
                        event,
                        int(front.epoch),
                        int(front.seq),
                        int(front.line),
                        int(front.until.as_millis()),
                        json(front)?
                    ],
                )?;
                let opened = front.draw.as_ref().and_then(|draw| draw.opened.as_ref());
                for entry in &front.lanes {
                    // Numbers that are drawn among stand anywhere until the last of them is passed.
                    let is_drawing =
                        opened.is_some_and(|opened| entry.f0 < opened.counts[entry.lane.index()]);
                    if is_drawing {
                        continue;
                    }
                    execute(
                        tx,
                        "DELETE FROM gaps
                         WHERE event = ? AND line = ? AND lane = ? AND first + count <= ?",
                        params![event, int(front.line), lane_number(entry.lane), int(entry.f0)],
                    )?;
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn keep_laws(&self, laws: Vec<Law>) -> Result<(), StoreError> {
        self.run(move |_, tx| {
            for law in laws {
                execute(
                    tx,
                    "INSERT OR REPLACE INTO laws (event, line, per_sec, called, at)
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        law.event.as_str(),
                        int(law.line),
                        law.per_sec,
                        int(law.called),
                        int(law.at.as_millis())
                    ],
                )?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn law(&self, line: LineId) -> Result<Option<Law>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached("SELECT per_sec, called, at FROM laws WHERE event = ? AND line = ?")
                .map_err(failed)?;
            let law = query.query_row(params![line.event.as_str(), int(line.line)], |row| {
                Ok(Law {
                    event: line.event.clone(),
                    line: line.line,
                    per_sec: row.get(0)?,
                    called: number_at(row, 1)?,
                    at: number_at(row, 2).map(Timestamp::from_millis)?,
                })
            });
            law.optional().map_err(failed)
        })
        .await
    }

    pub(super) async fn announce_draw(
        &self,
        line: LineId,
        beacon: Beacon,
        fresh_secret: [u8; 32],
    ) -> Result<Option<DrawRecord>, StoreError> {
        self.run(move |memory, tx| {
            if memory.line(&line).is_none() {
                return Ok(None);
            }
            if let Some(known) = read_draw(tx, &line)? {
                return Ok(Some(known));
            }
            execute(
                tx,
                "INSERT OR REPLACE INTO draws (event, line, secret, beacon, value, counts)
                 VALUES (?, ?, ?, ?, NULL, NULL)",
                params![line.event.as_str(), int(line.line), fresh_secret, json(&beacon)?],
            )?;
            Ok(Some(DrawRecord { secret: fresh_secret, beacon, value: None, counts: None }))
        })
        .await
    }

    pub(super) async fn draw(&self, line: LineId) -> Result<Option<DrawRecord>, StoreError> {
        self.run(move |_, tx| read_draw(tx, &line)).await
    }

    pub(super) async fn give_beacon(
        &self,
        line: LineId,
        value: Vec<u8>,
        deed: Deed,
    ) -> Result<Given, StoreError> {
        self.run(move |_, tx| {
            let Some(draw) = read_draw(tx, &line)? else { return Ok(Given::Missing) };
            match draw.beacon {
                Beacon::Operator { .. } => {}
                Beacon::None | Beacon::Drand { .. } => return Ok(Given::OtherKind),
            }
            if draw.counts.is_some() {
                return Ok(Given::Opened);
            }
            if draw.value.is_some() {
                return Ok(Given::Already);
            }
            execute(
                tx,
                "UPDATE draws SET value = ? WHERE event = ? AND line = ?",
                params![value, line.event.as_str(), int(line.line)],
            )?;
            note(tx, &line.event, EntryKind::Operator, deed)?;
            Ok(Given::Done)
        })
        .await
    }

    pub(super) async fn open_draw(
        &self,
        line: LineId,
        value: Vec<u8>,
    ) -> Result<Option<DrawRecord>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let Some(draw) = read_draw(tx, &line)? else { return Ok(None) };
            if draw.counts.is_some() {
                return Ok(Some(draw));
            }
            let value = draw.value.unwrap_or(value);
            execute(
                tx,
                "UPDATE draws SET value = ?, counts = ? WHERE event = ? AND line = ?",
                params![value, json(&room.issued)?, line.event.as_str(), int(line.line)],
            )?;
            Ok(Some(DrawRecord { value: Some(value), counts: Some(room.issued), ..draw }))
        })
        .await
    }

    pub(super) async fn fronts(&self, line: LineId) -> Result<Vec<Front>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached(
                    "SELECT front FROM fronts WHERE event = ? AND line = ? ORDER BY epoch, seq",
                )
                .map_err(failed)?;
            let rows = query
                .query_map(params![line.event.as_str(), int(line.line)], |row| {
                    row.get::<_, String>(0)
                })
                .map_err(failed)?;
            rows.map(|text| parse("a front", &text.map_err(failed)?)).collect()
        })
        .await
    }

    pub(super) async fn known(
        &self,
        line: LineId,
        sub: Id128,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        self.run(move |memory, _| {
            let Some(room) = memory.line(&line) else { return Ok(Known::default()) };
            let claimed = room.claimed(sub, now);
            Ok(Known { claimed, suspicion: room.flags.get(&sub).copied() })
        })
        .await
    }

    pub(super) async fn claim(
        &self,
        line: LineId,
        record: PassRecord,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(Counted::NoLine) };
            match room.claimed(record.sub, now) {
                Some(Claimed::Inside(record)) => return Ok(Counted::Repeat(record)),
                Some(Claimed::Ended) => return Ok(Counted::Ended),
                None => {}
            }
            if !room.may_use(record.lane, record.num) {
                return Ok(Counted::NotTheirs);
            }
            execute(
                tx,
                "INSERT INTO passes (event, sub, line, jti, lane, num, risk, generation, first_at,
                                     renewed_at, exp, place_exp, ended)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                params![
                    line.event.as_str(),
                    record.sub.as_bytes(),
                    int(line.line),
                    record.jti.as_bytes(),
                    lane_number(record.lane),
                    int(record.num),
                    risk_number(record.risk),
                    int(record.generation),
                    int(record.first_at.as_millis()),
                    int(record.renewed_at.as_millis()),
                    int(record.exp.as_millis()),
                    int(record.place_exp.as_millis()),
                ],
            )?;
            room.enter(record);
            Ok(Counted::First)
        })
        .await
    }

    pub(super) async fn renew(
        &self,
        line: LineId,
        pass: PassId,
        to: RenewTo,
        now: Timestamp,
    ) -> Result<Option<PassRecord>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let Some(Claimed::Inside(mut record)) = room.claimed(pass.sub, now) else {
                return Ok(None);
            };
            if record.jti != pass.jti || record.generation < to.generation {
                return Ok(None);
            }
            let latest = record.first_at.plus_secs(to.max_secs);
            let exp = now.plus_secs(to.idle_secs).min(latest).floor_to_secs();
            if exp > record.exp {
                (record.exp, record.renewed_at) = (exp, now);
                execute(
                    tx,
                    "UPDATE passes SET exp = ?, renewed_at = ? WHERE event = ? AND sub = ?",
                    params![
                        int(exp.as_millis()),
                        int(now.as_millis()),
                        line.event.as_str(),
                        pass.sub.as_bytes()
                    ],
                )?;
                room.passes.insert(pass.sub, Slot::Inside(Box::new(record.clone())));
            }
            Ok(Some(record))
        })
        .await
    }

    pub(super) async fn end(
        &self,
        line: LineId,
        pass: PassId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(false) };
            let Some(Claimed::Inside(record)) = room.claimed(pass.sub, now) else {
                return Ok(false);
            };
            if record.jti != pass.jti {
                return Ok(false);
            }
            execute(
                tx,
                "UPDATE passes SET ended = ? WHERE event = ? AND sub = ?",
                params![reason.label(), line.event.as_str(), pass.sub.as_bytes()],
            )?;
            room.leave(&record);
            memory.revoke(&record, now.plus_secs(reason.grace_secs()));
            Ok(true)
        })
        .await
    }

    pub(super) async fn revoked_after(
        &self,
        after: u64,
        now: Timestamp,
    ) -> Result<(Vec<Revoked>, u64), StoreError> {
        self.run(move |memory, _| {
            let from = memory.revoked.partition_point(|(at, _)| *at <= after);
            let newer = memory.revoked.range(from..).map(|(_, revoked)| revoked);
            let revoked = newer.filter(|revoked| revoked.until > now).cloned().collect();
            Ok((revoked, memory.revoked_upto))
        })
        .await
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run(move |memory, tx| {
            let at = int(now.as_millis());
            // An ended pass stays until it would have ended by itself: edges are told of it.
            execute(
                tx,
                "DELETE FROM passes WHERE place_exp <= ? AND exp <= ?",
                [int(now.minus_secs(USED_FOR_SECS).as_millis()), at],
            )?;
            for (event, sub) in swept_suspicions(tx, at)? {
                if let Some(room) = memory.rooms.get_mut(&event) {
                    room.flags.remove(&sub);
                    room.suspicions = room.suspicions.saturating_sub(1);
                }
            }
            for (is_pace, most) in [(1, DECISIONS_MAX), (0, DEEDS_MAX)] {
                execute(
                    tx,
                    "DELETE FROM entries WHERE (json_extract(entry, '$.kind') = 'pace') = ?1
                     AND id <= (SELECT id FROM entries
                                WHERE (json_extract(entry, '$.kind') = 'pace') = ?1
                                ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    [is_pace, most],
                )?;
            }
            for room in memory.rooms.values_mut() {
                room.end_expired(now);
                let used = &mut room.used;
                room.passes.retain(|_, slot| match slot {
                    Slot::Inside(_) => true,
                    Slot::Used { until, lane, num } => {
                        let is_kept = *until > now;
                        if !is_kept {
                            used.remove(&(*lane, *num));
                        }
                        is_kept
                    }
                });
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn suspect(
        &self,
        suspicions: Vec<Suspicion>,
    ) -> Result<Suspected, StoreError> {
        self.run(move |memory, tx| {
            let mut counts = Suspected::default();
            for suspicion in suspicions {
                let line = LineId { event: suspicion.event.clone(), line: suspicion.line };
                let Some(room) = memory.line(&line) else { continue };
                if room.flags.contains_key(&suspicion.sub) {
                    continue;
                }
                if room.suspicions >= SUSPICIONS_MAX {
                    *counts.dropped.entry(suspicion.event).or_default() += 1;
                    continue;
                }
                let state = if room.passes.contains_key(&suspicion.sub) {
                    JudgedState::AdmittedBefore
                } else {
                    JudgedState::Moved
                };
                let until = suspicion.at.plus_secs(room.room.spec.passes.place_secs);
                let added = execute(
                    tx,
                    "INSERT OR IGNORE INTO suspicions (event, sub, state, until_ms, suspicion)
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        suspicion.event.as_str(),
                        suspicion.sub.as_bytes(),
                        state.label(),
                        int(until.as_millis()),
                        json(&suspicion)?
                    ],
                )?;
                counts.added += u64::from(added > 0);
                room.suspicions += u64::from(added > 0);
                if added > 0 && state == JudgedState::Moved {
                    room.flags.insert(suspicion.sub, flag(&suspicion, false));
                }
            }
            Ok(counts)
        })
        .await
    }

    pub(super) async fn suspicions(
        &self,
        event: Option<EventId>,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Judged>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached(
                    "SELECT id, state, restored_at, restored_by, why, suspicion FROM suspicions
                     WHERE (?1 IS NULL OR event = ?1) AND id < ?2 ORDER BY id DESC LIMIT ?3",
                )
                .map_err(failed)?;
            let event = event.as_ref().map(EventId::as_str);
            let before = before.map_or(i64::MAX, int);
            let rows =
                query.query_map(params![event, before, int(limit)], judged_row).map_err(failed)?;
            rows.map(|row| row.map_err(failed)?.parsed()).collect()
        })
        .await
    }

    pub(super) async fn restore(
        &self,
        event: EventId,
        sub: Id128,
        by: Restorer,
    ) -> Result<Restore, StoreError> {
        self.run(move |memory, tx| {
            let Some(judged) = read_judged(tx, &event, sub)? else { return Ok(Restore::Missing) };
            match judged.state {
                JudgedState::AdmittedBefore => return Ok(Restore::AdmittedBefore),
                JudgedState::Restored => return Ok(Restore::Done(Box::new(judged))),
                JudgedState::Moved => {}
            }
            execute(
                tx,
                "UPDATE suspicions SET state = ?, restored_at = ?, restored_by = ?, why = ?
                 WHERE event = ? AND sub = ?",
                params![
                    JudgedState::Restored.label(),
                    int(by.at.as_millis()),
                    by.who,
                    by.why,
                    event.as_str(),
                    sub.as_bytes()
                ],
            )?;
            let what = format!("restored {sub}: {}", by.why);
            let deed = Deed { who: by.who.clone(), at: by.at, what };
            note(tx, &event, EntryKind::Security, deed)?;
            if let Some(room) = memory.rooms.get_mut(&event) {
                room.flags.insert(sub, flag(&judged.suspicion, true));
            }
            Ok(Restore::Done(Box::new(Judged {
                state: JudgedState::Restored,
                restored_at: Some(by.at),
                restored_by: Some(by.who),
                why: Some(by.why),
                ..judged
            })))
        })
        .await
    }

    pub(super) async fn restored(&self) -> Result<Vec<Restored>, StoreError> {
        self.run(|memory, _| {
            let restored = memory.rooms.values().flat_map(|room| {
                let (event, line) = (&room.room.spec.event, room.room.line);
                room.flags.iter().filter(|(_, flag)| flag.is_restored).map(move |(sub, flag)| {
                    let standard_num = flag.standard_num;
                    Restored { event: event.clone(), line, sub: *sub, standard_num }
                })
            });
            Ok(restored.collect())
        })
        .await
    }

    pub(super) async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.run(move |_, tx| {
            for entry in entries {
                append_one(tx, &entry)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn entries(
        &self,
        event: EventId,
        since: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Numbered>, StoreError> {
        self.run(move |_, tx| {
            let sql = match since {
                Some(_) => {
                    "SELECT id, entry FROM entries WHERE event = ?1 AND id > ?2
                     ORDER BY id LIMIT ?3"
                }
                None => {
                    "SELECT id, entry FROM (SELECT id, entry FROM entries
                     WHERE event = ?1 AND id > ?2 ORDER BY id DESC LIMIT ?3) ORDER BY id"
                }
            };
            let mut query = tx.prepare_cached(sql).map_err(failed)?;
            let after = since.map_or(0, int);
            let rows = query
                .query_map(params![event.as_str(), after, int(limit)], |row| {
                    Ok((number_at(row, 0)?, row.get::<_, String>(1)?))
                })
                .map_err(failed)?;
            rows.map(|row| {
                let (id, text) = row.map_err(failed)?;
                Ok(Numbered { id, entry: parse("a decision", &text)? })
            })
            .collect()
        })
        .await
    }
}

impl Memory {
    fn line(&mut self, line: &LineId) -> Option<&mut RoomMemory> {
        self.rooms.get_mut(&line.event).filter(|room| room.room.line == line.line)
    }

    fn create(
        &mut self,
        tx: &Transaction<'_>,
        spec: RoomSpec,
        now: Timestamp,
    ) -> Result<Room, StoreError> {
        let event = spec.event.clone();
        // From the clock, so that places of before do not fit when the file was lost. Passes of an
        // event of this name that was deleted must not fit either, so theirs starts there as well.
        let line = count_up(tx, "line", now.as_secs())?;
        let room = Room { spec, line, pass_generation: line, version: 1 };
        execute(
            tx,
            "INSERT INTO rooms (event, room) VALUES (?, ?)",
            params![event.as_str(), json(&room)?],
        )?;
        self.rooms.insert(event, RoomMemory::new(room.clone()));
        Ok(room)
    }

    fn change(&mut self, tx: &Transaction<'_>, spec: RoomSpec) -> Result<Room, StoreError> {
        let event = spec.event.clone();
        let Some(memory) = self.rooms.get_mut(&event) else {
            return Err(StoreError::Closed);
        };
        let room = Room { spec, version: memory.room.version + 1, ..memory.room.clone() };
        execute(
            tx,
            "UPDATE rooms SET room = ? WHERE event = ?",
            params![json(&room)?, event.as_str()],
        )?;
        memory.room = room.clone();
        Ok(room)
    }

    /// Reads everything that is kept in memory.
    ///
    /// Ends of passes get new places, above `revoked_upto`: everybody hears of them again.
    fn read(db: &Connection, now: Timestamp, revoked_upto: u64) -> Result<Self, StoreError> {
        let revoked_upto = now.as_millis().saturating_mul(1000).max(revoked_upto);
        let mut memory = Self { revoked_upto, ..Self::default() };
        let mut query = db.prepare("SELECT room FROM rooms").map_err(failed)?;
        let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        for text in rows {
            let room: Room = parse("a room", &text.map_err(failed)?)?;
            memory.rooms.insert(room.spec.event.clone(), RoomMemory::new(room));
        }
        let mut query = db.prepare("SELECT event, lane, issued FROM lanes").map_err(failed)?;
        let rows = query
            .query_map([], |row| Ok((event_at(row, 0)?, lane_at(row, 1)?, number_at(row, 2)?)))
            .map_err(failed)?;
        for row in rows {
            let (event, lane, issued) = row.map_err(failed)?;
            if let Some(room) = memory.rooms.get_mut(&event) {
                room.issued[lane.index()] = issued;
            }
        }
        let mut query = db
            .prepare(
                "SELECT event, sub, jti, lane, num, risk, generation, first_at, renewed_at, exp,
                        place_exp, ended IS NOT NULL FROM passes",
            )
            .map_err(failed)?;
        let rows = query.query_map([], pass_row).map_err(failed)?;
        let mut ended = Vec::new();
        for row in rows {
            let (event, record, has_ended) = row.map_err(failed)?;
            let Some(room) = memory.rooms.get_mut(&event) else { continue };
            if has_ended && record.exp > now {
                ended.push(record.clone());
            }
            if has_ended || record.exp <= now {
                room.use_up(&record);
            } else {
                room.enter(record);
            }
        }
        for record in ended {
            memory.revoke(&record, now);
        }
        let mut query =
            db.prepare("SELECT event, count(*) FROM suspicions GROUP BY event").map_err(failed)?;
        let rows = query
            .query_map([], |row| Ok((event_at(row, 0)?, number_at(row, 1)?)))
            .map_err(failed)?;
        for row in rows {
            let (event, count) = row.map_err(failed)?;
            if let Some(room) = memory.rooms.get_mut(&event) {
                room.suspicions = count;
            }
        }
        let mut query = db
            .prepare(
                "SELECT id, state, restored_at, restored_by, why, suspicion FROM suspicions
                 WHERE state <> 'admitted_before'",
            )
            .map_err(failed)?;
        let rows = query.query_map([], judged_row).map_err(failed)?;
        for row in rows {
            let Judged { state, suspicion, .. } = row.map_err(failed)?.parsed()?;
            if let Some(room) = memory.rooms.get_mut(&suspicion.event) {
                let is_restored = state == JudgedState::Restored;
                room.flags.insert(suspicion.sub, flag(&suspicion, is_restored));
            }
        }
        Ok(memory)
    }
}

impl RoomMemory {
    fn new(room: Room) -> Self {
        Self {
            room,
            issued: [0; 3],
            inside: 0,
            passes: HashMap::new(),
            used: HashSet::new(),
            ends: BinaryHeap::new(),
            flags: HashMap::new(),
            suspicions: 0,
        }
    }

    /// Whether a visitor who has not come in may do so under this number. A room that lets in
    /// everybody does not ask where the number is from.
    fn may_use(&self, lane: Lane, num: u64) -> bool {
        let is_off = self.room.spec.mode == RoomMode::Off;
        let is_handed_out = (1..=self.issued[lane.index()]).contains(&num);
        (is_handed_out || is_off) && !self.used.contains(&(lane, num))
    }

    fn claimed(&self, sub: Id128, now: Timestamp) -> Option<Claimed> {
        self.passes.get(&sub).map(|slot| match slot {
            Slot::Inside(record) if record.exp > now => Claimed::Inside((**record).clone()),
            Slot::Inside(_) | Slot::Used { .. } => Claimed::Ended,
        })
    }

    fn enter(&mut self, record: PassRecord) {
        self.inside += 1;
        self.take(record.lane, record.num);
        self.ends.push(Reverse((record.exp, record.sub)));
        self.passes.insert(record.sub, Slot::Inside(Box::new(record)));
    }

    fn leave(&mut self, record: &PassRecord) {
        self.inside = self.inside.saturating_sub(1);
        self.use_up(record);
    }

    fn use_up(&mut self, record: &PassRecord) {
        let PassRecord { lane, num, .. } = *record;
        self.take(lane, num);
        let until = record.place_exp.plus_secs(USED_FOR_SECS).max(record.exp);
        self.passes.insert(record.sub, Slot::Used { until, lane, num });
    }

    fn take(&mut self, lane: Lane, num: u64) {
        if num > 0 {
            self.used.insert((lane, num));
        }
    }

    fn end_expired(&mut self, now: Timestamp) {
        while let Some(Reverse((exp, sub))) = self.ends.peek().copied() {
            if exp > now {
                break;
            }
            self.ends.pop();
            let Some(Slot::Inside(record)) = self.passes.get(&sub) else { continue };
            if record.exp > now {
                self.ends.push(Reverse((record.exp, sub)));
            } else {
                let record = record.clone();
                self.leave(&record);
            }
        }
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
                *known = Memory::read(&tx, Timestamp::now(), known.revoked_upto)?;
            }
        }
        execute(&tx, "RELEASE job", [])?;
    }
    tx.commit().map_err(failed)
}

/// Notes a deed in the log, in the transaction that does it.
fn note(
    tx: &Transaction<'_>,
    event: &EventId,
    kind: EntryKind,
    deed: Deed,
) -> Result<(), StoreError> {
    let entry = Entry {
        at: deed.at,
        event: event.clone(),
        kind,
        who: Some(deed.who),
        old_per_sec: None,
        new_per_sec: None,
        binding: None,
        reason: deed.what,
        inputs: None,
    };
    append_one(tx, &entry)
}

fn append_one(tx: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    execute(
        tx,
        "INSERT INTO entries (event, entry) VALUES (?, ?)",
        params![entry.event.as_str(), json(entry)?],
    )?;
    Ok(())
}

/// Deletes suspicions of places that have ended, and tells whose they were.
fn swept_suspicions(tx: &Transaction<'_>, at: i64) -> Result<Vec<(EventId, Id128)>, StoreError> {
    let mut query = tx
        .prepare_cached("DELETE FROM suspicions WHERE until_ms <= ? RETURNING event, sub")
        .map_err(failed)?;
    let rows = query.query_map([at], |row| Ok((event_at(row, 0)?, Id128::from_bytes(row.get(1)?))));
    rows.and_then(Iterator::collect).map_err(failed)
}

fn flag(suspicion: &Suspicion, is_restored: bool) -> Flag {
    let Suspicion { standard_num, suspect_num, .. } = *suspicion;
    Flag { standard_num, suspect_num, is_restored }
}

fn execute(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<usize, StoreError> {
    tx.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(failed)
}

/// The next value of a counter: above the last one, and at least `floor`.
fn count_up(tx: &Transaction<'_>, name: &str, floor: u64) -> Result<u64, StoreError> {
    tx.query_row(
        "INSERT INTO counters (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = max(value + 1, ?2) RETURNING value",
        params![name, int(floor)],
        |row| number_at(row, 0),
    )
    .map_err(failed)
}

fn read_draw(tx: &Transaction<'_>, line: &LineId) -> Result<Option<DrawRecord>, StoreError> {
    let mut query = tx
        .prepare_cached(
            "SELECT secret, beacon, value, counts FROM draws WHERE event = ? AND line = ?",
        )
        .map_err(failed)?;
    let read = |row: &Row<'_>| {
        let texts: (String, Option<String>) = (row.get(1)?, row.get(3)?);
        Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Option<Vec<u8>>>(2)?, texts))
    };
    let row = query
        .query_row(params![line.event.as_str(), int(line.line)], read)
        .optional()
        .map_err(failed)?;
    let Some((secret, value, (beacon, counts))) = row else { return Ok(None) };
    let counts = counts.map(|text| parse("the counts of a draw", &text)).transpose()?;
    Ok(Some(DrawRecord { secret, beacon: parse("a beacon", &beacon)?, value, counts }))
}

/// A suspicion as it is read, its text not yet parsed.
struct JudgedRow {
    judged: (u64, String, Option<u64>, Option<String>, Option<String>),
    suspicion: String,
}

impl JudgedRow {
    fn parsed(self) -> Result<Judged, StoreError> {
        let (id, state, restored_at, restored_by, why) = self.judged;
        let state = parse("the state of a suspicion", &format!("\"{state}\""))?;
        let restored_at = restored_at.map(Timestamp::from_millis);
        let suspicion = parse("a suspicion", &self.suspicion)?;
        Ok(Judged { id, state, restored_at, restored_by, why, suspicion })
    }
}

fn judged_row(row: &Row<'_>) -> rusqlite::Result<JudgedRow> {
    let restored_at = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
    let judged = (number_at(row, 0)?, row.get(1)?, restored_at, row.get(3)?, row.get(4)?);
    Ok(JudgedRow { judged, suspicion: row.get(5)? })
}

fn read_judged(
    tx: &Transaction<'_>,
    event: &EventId,
    sub: Id128,
) -> Result<Option<Judged>, StoreError> {
    let row = tx
        .prepare_cached(
            "SELECT id, state, restored_at, restored_by, why, suspicion FROM suspicions
             WHERE event = ? AND sub = ?",
        )
        .and_then(|mut query| {
            query.query_row(params![event.as_str(), sub.as_bytes()], judged_row).optional()
        })
        .map_err(failed)?;
    row.map(JudgedRow::parsed).transpose()
}

fn pass_row(row: &Row<'_>) -> rusqlite::Result<(EventId, PassRecord, bool)> {
    let at = |column| number_at(row, column).map(Timestamp::from_millis);
    let record = PassRecord {
        sub: Id128::from_bytes(row.get(1)?),
        jti: Id128::from_bytes(row.get(2)?),
        lane: lane_at(row, 3)?,
        num: number_at(row, 4)?,
        risk: risk_at(row, 5)?,
        generation: number_at(row, 6)?,
        first_at: at(7)?,
        renewed_at: at(8)?,
        exp: at(9)?,
        place_exp: at(10)?,
    };
    Ok((event_at(row, 0)?, record, row.get(11)?))
}

fn event_at(row: &Row<'_>, column: usize) -> rusqlite::Result<EventId> {
    row.get::<_, String>(column)?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn number_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn lane_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Lane> {
    let number: i64 = row.get(column)?;
    let lane = Lane::ALL.into_iter().find(|lane| lane_number(*lane) == number);
    lane.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Priority => 0,
        Lane::Standard => 1,
        Lane::Suspect => 2,
    }
}

fn risk_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Risk> {
    let number: i64 = row.get(column)?;
    let risk = [Risk::Low, Risk::Medium, Risk::High].into_iter();
    let risk = risk.into_iter().find(|risk| risk_number(*risk) == number);
    risk.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn risk_number(risk: Risk) -> i64 {
    match risk {
        Risk::Low => 0,
        Risk::Medium => 1,
        Risk::High => 2,
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(failed)
}

fn parse<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|source| StoreError::Unreadable { what, source: Arc::new(source) })
}

/// SQLite's integers are signed; ours never come near the end.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(Arc::from(cause.into()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use prometheus::HistogramOpts;

    use super::super::{Store, suite};
    use super::*;

    /// Tells the test below that it is the process that is to die.
    const DYING_IN: &str = "ADMISSION_STORE_DYING_IN";

    fn directory() -> PathBuf {
        std::env::temp_dir().join(format!("admission-store-{}", Id128::random()))
    }

    fn open(directory: &Path) -> Store {
        let commits = Histogram::with_opts(HistogramOpts::new("commits", "Commits.")).unwrap();
        Store::embedded(directory, commits, Timestamp::from_secs(1_800_000_000)).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_embedded_store_keeps_its_promises() {
        let directory = directory();
        suite::keeps_its_promises(async || open(&directory)).await;
        std::fs::remove_dir_all(directory).unwrap();
    }

    /// Runs itself as a process of its own, which is killed between two operations.
    #[tokio::test]
    async fn what_was_answered_survives_a_killed_process() {
        if let Some(directory) = std::env::var_os(DYING_IN) {
            let store = open(Path::new(&directory));
            let line = suite::room(&store, "killed").await;
            store.lease(line.clone(), Lane::Standard, 42).await.unwrap();
            store.lease(line.clone(), Lane::Standard, 8).await.unwrap();
            for visitor in 1..=50 {
                let record = suite::record(visitor);
                store
                    .claim(line.clone(), record, Timestamp::from_secs(1_800_000_000))
                    .await
                    .unwrap();
            }
            std::process::abort();
        }
        let directory = directory();
        let killed = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::embedded::tests::what_was_answered_survives_a_killed_process",
            ])
            .env(DYING_IN, &directory)
            .output()
            .unwrap();
        assert!(!killed.status.success(), "it was to be killed");
        let store = open(&directory);
        let status = store.status(Timestamp::from_secs(1_800_000_000)).await.unwrap();
        assert_eq!((status[0].inside, status[0].issued), (50, [0, 50, 0]));
        store.close().await;
        std::fs::remove_dir_all(directory).unwrap();
    }

    /// A store whose thread waits, so that what is asked meanwhile comes into one transaction.
    async fn busy(store: &Store) -> std::sync::mpsc::Sender<()> {
        let Store::Embedded(embedded) = store.clone();
        let (go, wait) = std::sync::mpsc::channel();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let job = embedded.run(move |_, _| {
                let _ = tell.send(());
                let _ = wait.recv();
                Ok(())
            });
            job.await.unwrap();
        });
        told.await.unwrap();
        go
    }

    #[tokio::test]
    async fn one_failed_operation_fails_no_other_and_leaves_nothing_behind() {
        let directory = directory();
        let store = open(&directory);
        let line = suite::room(&store, "failing").await;
        let Store::Embedded(embedded) = store.clone();
        let go = busy(&store).await;
        let id = line.clone();
        let failing = embedded.run::<()>(move |memory, tx| {
            execute(tx, "UPDATE lanes SET issued = 999", [])?;
            memory.line(&id).unwrap().issued = [999; 3];
            Err(failed("no"))
        });
        let waiting = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            go.send(()).unwrap();
        };
        let (first, failing, second, ()) = tokio::join!(
            store.lease(line.clone(), Lane::Standard, 10),
            failing,
            store.lease(line.clone(), Lane::Standard, 10),
            waiting
        );
        assert_eq!((first.unwrap(), second.unwrap()), (Some(1), Some(11)));
        assert!(matches!(failing, Err(StoreError::Failed(_))));
        store.close().await;
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_answered_when_the_database_takes_the_transaction_back() {
        let directory = directory();
        let store = open(&directory);
        let line = suite::room(&store, "taken-back").await;
        let Store::Embedded(embedded) = store.clone();
        let go = busy(&store).await;
        // As a full disk does it, in the middle of an operation.
        let full = embedded.run(|_, tx| tx.execute_batch("ROLLBACK").map_err(failed));
        let waiting = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            go.send(()).unwrap();
        };
        let (first, full, second, ()) = tokio::join!(
            store.lease(line.clone(), Lane::Standard, 10),
            full,
            store.lease(line.clone(), Lane::Standard, 10),
            waiting
        );
        assert!(
            first.is_err() && full.is_err() && second.is_err(),
            "{first:?} {full:?} {second:?}"
        );
        assert_eq!(
            store.lease(line, Lane::Standard, 10).await.unwrap(),
            Some(1),
            "all is as before"
        );
        store.close().await;
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn what_people_did_outlives_a_flood_of_decisions() {
        let directory = directory();
        let store = open(&directory);
        let line = suite::room(&store, "log").await;
        let at = Timestamp::from_secs(1_800_000_000);
        let decision = Entry {
            at,
            event: line.event.clone(),
            kind: EntryKind::Pace,
            who: None,
            old_per_sec: None,
            new_per_sec: Some(1.0),
            binding: None,
            reason: "1 a second".into(),
            inputs: None,
        };
        let most = usize::try_from(DECISIONS_MAX).unwrap();
        store.append(vec![decision; most + 50]).await.unwrap();
        store.sweep(at).await.unwrap();
        let kept = store.entries(line.event.clone(), Some(0), u64::MAX).await.unwrap();
        assert_eq!(kept.len(), most + 1);
        assert_eq!(kept[0].entry.kind, EntryKind::Operator, "the room was created by somebody");
        store.close().await;
        std::fs::remove_dir_all(directory).unwrap();
    }
}
