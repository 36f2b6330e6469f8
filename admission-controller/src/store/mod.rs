//! Keeps what must survive: rooms, numbers, fronts, claims, suspicions and decisions.
//!
//! Every operation is small and atomic, and what it answers is durable by then: a number is never
//! handed out twice and a front never published that a crash could take back. There is no record
//! of anybody who waits; state grows with those who were let in.
//!
//! Implementations answer the same suite of tests, `suite.rs`.

mod draw;
mod embedded;
mod entry;
mod leases;
mod redis;
mod revocations;
#[cfg(test)]
mod suite;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use admission_api::{EndReason, Gap, Restored, Revoked, Room, RoomSpec, Suspicion};
use keys::{Beacon, EventId, Front, Id128, Lane, Owner, Sealed, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::draw::{DrawRecord, Given};
pub use self::embedded::Embedded;
pub use self::entry::{Entry, EntryKind, Judged, JudgedState, Numbered};
pub use self::redis::{Redis, RedisPlace};
use crate::claims::{Known, PassRecord};
use crate::pace::Decision;

/// A used place is remembered for this long after its end: edges' clocks may be behind ours.
const USED_FOR_SECS: u64 = 3600;
/// Most suspicions of a line: more than any review gets through, and some 200 MB with evidence.
#[cfg(not(test))]
const SUSPICIONS_MAX: u64 = 200_000;
#[cfg(test)]
const SUSPICIONS_MAX: u64 = 20;

/// Why the store gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It failed; nothing of the operation happened.
    #[error("store failed")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// What it holds is not what we wrote.
    #[error("store holds {what} that cannot be read")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// Why it cannot be read.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// It was closed.
    #[error("store is closed")]
    Closed,
    /// It did not answer in time. Whether the operation happened is not known.
    #[error("store does not answer")]
    Unanswered,
    /// It may have lost writes, and answers again when what was lost is brought back.
    #[error("store may have lost writes, which are being brought back")]
    Distrusted,
    /// Another controller has published since.
    #[error("front {epoch}/{seq} of {event} is older than what was published")]
    Superseded {
        /// The event.
        event: EventId,
        /// Of the refused front.
        epoch: u64,
        /// Of the refused front.
        seq: u64,
    },
}

/// What became of a change to a room.
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// It was written.
    Done(Box<Room>),
    /// The room stands at another version.
    Conflict {
        /// That version.
        version: u64,
    },
    /// There is no such room.
    Missing,
}

/// A room and what the store counts for it.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomStatus {
    /// The room.
    pub room: Room,
    /// Passes that have not ended.
    pub inside: u64,
    /// Numbers handed out, by [`Lane::index`].
    pub issued: [u64; 3],
    /// Claims that have counted. It only grows while the store stays open.
    pub admitted_total: u64,
}

/// All rooms, as far as there is an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statuses {
    /// Those that are known.
    pub rooms: Vec<RoomStatus>,
    /// There is no trusted answer about these at the moment. They are not gone.
    pub silent: Vec<EventId>,
}

/// Who moves the fronts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// We do.
    Leads {
        /// Greater than that of everybody who led before.
        epoch: u64,
    },
    /// Another controller does.
    Follows {
        /// Its name.
        leader: String,
    },
}

/// A front as other controllers need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The front.
    pub front: Front,
    /// The same, signed; absent if no key could, or after a restart of the embedded store.
    pub sealed: Option<Sealed<Front>>,
    /// What the leader knows of the room beside it.
    pub told: Option<Told>,
}

/// What a leader tells people through the other controllers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The decision.
    pub decision: Decision,
    /// What the law allows, also while the front stands.
    pub law_per_sec: f64,
    /// When the pace last changed.
    pub changed_at: Timestamp,
    /// Waiting visitors, by [`Lane::index`].
    pub waiting: [u64; 3],
    /// Called and not come.
    pub called: u64,
}

/// A line: an event and the generation of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineId {
    /// The event.
    pub event: EventId,
    /// The generation.
    pub line: u64,
}

/// What the control law leaves to the next start, beside the front.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// The event.
    pub event: EventId,
    /// Generation of the line.
    pub line: u64,
    /// What the law allows.
    pub per_sec: f64,
    /// Visitors who were called and have not come.
    pub called: u64,
    /// Share of those called that does not come, as learned: 0 to 1.
    pub noshow_share: f64,
    /// As of when.
    pub at: Timestamp,
}

/// What an operator does to a room: noted together with the change, or neither happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Name of the token.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// What, for people.
    pub what: String,
}

/// How many suspicions were kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspected {
    /// New ones.
    pub added: u64,
    /// New ones that were not kept, for the line has as many as we keep.
    pub dropped: BTreeMap<EventId, u64>,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// It counted.
    First,
    /// It had been counted; this is the pass.
    Repeat(PassRecord),
    /// It had been counted, and the pass has ended.
    Ended,
    /// The number was never handed out, or another visitor has come in with it.
    NotTheirs,
    /// There is no such line.
    NoLine,
}

/// What became of a wish to take a pass away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The visitor was inside, and is no more.
    Ended,
    /// The visitor had not come in: the place is void.
    Voided,
    /// The pass had ended before.
    EndedBefore,
    /// There is no such line.
    NoLine,
}

/// What became of a wish to restore.
#[derive(Debug, Clone, PartialEq)]
pub enum Restore {
    /// The judgement is taken back, now or before.
    Done(Box<Judged>),
    /// The visitor had entered before the judgement.
    AdmittedBefore,
    /// Nobody was judged under this id.
    Missing,
}

/// Where the controller's state is kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// In a file of this machine.
    Embedded(Embedded),
    /// In Redis, with other controllers.
    Redis(Redis),
}

impl Store {
    /// Opens the embedded store in a directory, which is created if need be.
    ///
    /// # Errors
    /// If the file cannot be opened, is in use, or holds what we did not write.
    pub fn embedded(
        directory: &Path,
        commit_secs: prometheus::Histogram,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Embedded::open(directory, commit_secs, now).map(Self::Embedded)
    }

    /// Connects to Redis.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn redis(
        place: &RedisPlace,
        name: Owner,
        call_secs: prometheus::Histogram,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Redis::open(place, name, call_secs, now).await.map(Self::Redis)
    }

    /// Takes the lead, keeps it, or tells who has it. To be called more often than the lead lasts.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn lead(&self, now: Timestamp) -> Result<Turn, StoreError> {
        match self {
            Self::Embedded(store) => Ok(Turn::Leads { epoch: store.epoch() }),
            Self::Redis(store) => store.lead(now).await,
        }
    }

    /// Whether other controllers use it as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// Whether writes may be lost and are being brought back: edges are asked what they hold.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(store) => store.is_settling(),
        }
    }

    /// One step towards trusting the store again, as the leader of this epoch or as a follower.
    /// Whether nothing is left to do.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn settle(&self, epoch: Option<u64>) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(_) => Ok(true),
            Self::Redis(store) => store.settle(epoch).await,
        }
    }

    /// An edge holds this front, which was verified: should the store lose it, it is brought back.
    pub fn see_front(&self, published: Published) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(store) => store.see_front(published),
        }
    }

    /// An edge has this number: should the store forget, it is not handed out again.
    pub fn see_number(&self, line: &LineId, lane: Lane, num: u64) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(store) => store.see_number(line, lane, num),
        }
    }

    /// Leaves word for the other controllers and takes theirs, by name. A word that is not renewed
    /// for a while is forgotten.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn meet(&self, word: String) -> Result<Vec<(String, String)>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Redis(store) => store.meet(word).await,
        }
    }

    /// Closes it; what was answered is durable anyway.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => store.close().await,
        }
    }

    /// All rooms with their counts; passes that ended by `now` count no more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn status(&self, now: Timestamp) -> Result<Statuses, StoreError> {
        match self {
            Self::Embedded(store) => store.status(now).await,
            Self::Redis(store) => store.status(now).await,
        }
    }

    /// Creates or changes a room if its configuration is another than at the last start; what
    /// operators changed meanwhile stays otherwise. `None` if nothing was to do.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn configure(
        &self,
        spec: RoomSpec,
        now: Timestamp,
    ) -> Result<Option<Room>, StoreError> {
        match self {
            Self::Embedded(store) => store.configure(spec, now).await,
            Self::Redis(store) => store.configure(spec, now).await,
        }
    }

    /// Creates a room with a line of its own; [`Put::Conflict`] if there is one.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn create(&self, spec: RoomSpec, deed: Deed) -> Result<Put, StoreError> {
        match self {
            Self::Embedded(store) => store.create(spec, deed).await,
            Self::Redis(store) => store.create(spec, deed).await,
        }
    }

    /// Changes a room that stands at `version`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn change(
        &self,
        spec: RoomSpec,
        version: u64,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        match self {
            Self::Embedded(store) => store.change(spec, version, deed).await,
            Self::Redis(store) => store.change(spec, version, deed).await,
        }
    }

    /// Deletes a room and everything that belongs to its line, if it stands at `version` or none is
    /// given. Answers with the room that was.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete(
        &self,
        event: EventId,
        version: Option<u64>,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        match self {
            Self::Embedded(store) => store.delete(event, version, deed).await,
            Self::Redis(store) => store.delete(event, version, deed).await,
        }
    }

    /// Hands out `count` numbers to an edge and tells the first; `None` if there is no such line.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn lease(
        &self,
        line: LineId,
        lane: Lane,
        count: u64,
        edge: Owner,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Embedded(store) => store.lease(line, lane, count, edge, now).await,
            Self::Redis(store) => store.lease(line, lane, count, edge, now).await,
        }
    }

    /// Takes back numbers from an edge, as far as it was given them lately and has not given them
    /// back before.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn give_back(&self, edge: Owner, gaps: Vec<Gap>) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.give_back(edge, gaps).await,
            Self::Redis(store) => store.give_back(edge, gaps).await,
        }
    }

    /// The gaps of a line that have come since the last question, or since it was resumed.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if somebody else leads.
    pub async fn new_gaps(&self, line: LineId, epoch: u64) -> Result<Vec<Gap>, StoreError> {
        match self {
            Self::Embedded(store) => Ok(store.new_gaps(&line)),
            Self::Redis(store) => store.new_gaps(line, epoch).await,
        }
    }

    /// The gaps of a line that are above the last front put.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn gaps(&self, line: LineId) -> Result<Vec<Gap>, StoreError> {
        match self {
            Self::Embedded(store) => store.gaps(line).await,
            Self::Redis(store) => store.gaps(line).await,
        }
    }

    /// Makes fronts durable; only then may they be shown. Older ones are forgotten when nobody
    /// may follow them any more.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if a newer one was put, by us or by another controller.
    pub async fn put_fronts(&self, fronts: Vec<Published>) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.put_fronts(fronts).await,
            Self::Redis(store) => store.put_fronts(fronts).await,
        }
    }

    /// Keeps what the law has come to, in place of what was kept before.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep_laws(&self, laws: Vec<Law>) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.keep_laws(laws).await,
            Self::Redis(store) => store.keep_laws(laws).await,
        }
    }

    /// What was kept of the law of a line.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn law(&self, line: LineId) -> Result<Option<Law>, StoreError> {
        match self {
            Self::Embedded(store) => store.law(line).await,
            Self::Redis(store) => store.law(line).await,
        }
    }

    /// The newest front of a line and those that could still be followed when it was put. From here
    /// on, nobody of an older epoch publishes one.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if somebody of a newer epoch was here.
    pub async fn resume(&self, line: LineId, epoch: u64) -> Result<Vec<Published>, StoreError> {
        match self {
            Self::Embedded(store) => {
                // All gaps are read next; those that are new are among them.
                drop(store.new_gaps(&line));
                store.fronts(line).await
            }
            Self::Redis(store) => store.resume(line, epoch).await,
        }
    }

    /// The same without a word to anybody.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn fronts(&self, line: LineId) -> Result<Vec<Published>, StoreError> {
        match self {
            Self::Embedded(store) => store.fronts(line).await,
            Self::Redis(store) => store.fronts(line).await,
        }
    }

    /// Announces a draw; the first secret and the first beacon count, also after a restart. `None`
    /// if there is no such line.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn announce_draw(
        &self,
        line: LineId,
        beacon: Beacon,
        fresh_secret: [u8; 32],
    ) -> Result<Option<DrawRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.announce_draw(line, beacon, fresh_secret).await,
            Self::Redis(store) => store.announce_draw(line, beacon, fresh_secret).await,
        }
    }

    /// The draw of a line, if one was announced.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn draw(&self, line: LineId) -> Result<Option<DrawRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.draw(line).await,
            Self::Redis(store) => store.draw(line).await,
        }
    }

    /// Takes the value that an operator gives for the beacon: once, and only before the opening.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn give_beacon(
        &self,
        line: LineId,
        value: Vec<u8>,
        deed: Deed,
    ) -> Result<Given, StoreError> {
        match self {
            Self::Embedded(store) => store.give_beacon(line, value, deed).await,
            Self::Redis(store) => store.give_beacon(line, value, deed).await,
        }
    }

    /// Opens a draw among all numbers that are handed out at this very moment. The first opening
    /// counts; a value that an operator gave counts instead of `value`. `None` if none was
    /// announced.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open_draw(
        &self,
        line: LineId,
        value: Vec<u8>,
    ) -> Result<Option<DrawRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.open_draw(line, value).await,
            Self::Redis(store) => store.open_draw(line, value).await,
        }
    }

    /// What is known of a visitor.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn known(
        &self,
        line: LineId,
        sub: Id128,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        match self {
            Self::Embedded(store) => store.known(line, sub, now).await,
            Self::Redis(store) => store.known(line, sub, now).await,
        }
    }

    /// Counts a claim, once: a visitor comes in with one number, and a number lets in one visitor.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn claim(
        &self,
        line: LineId,
        record: PassRecord,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        match self {
            Self::Embedded(store) => store.claim(line, record, now).await,
            Self::Redis(store) => store.claim(line, record, now).await,
        }
    }

    /// Moves the end of a pass to `exp`, if that is later; `None` if it has ended.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn renew(
        &self,
        line: LineId,
        pass: PassId,
        exp: RenewTo,
        now: Timestamp,
    ) -> Result<Option<PassRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.renew(line, pass, exp, now).await,
            Self::Redis(store) => store.renew(line, pass, exp, now).await,
        }
    }

    /// Ends a pass. Whether it had not ended before.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn end(
        &self,
        line: LineId,
        pass: PassId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.end(line, pass, reason, now).await,
            Self::Redis(store) => store.end(line, pass, reason, now).await,
        }
    }

    /// Takes a visitor's pass away, and notes who did. A visitor who has not come in yet never
    /// will with that place.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn revoke(
        &self,
        line: LineId,
        sub: Id128,
        kind: EntryKind,
        deed: Deed,
    ) -> Result<Revocation, StoreError> {
        match self {
            Self::Embedded(store) => store.revoke(line, sub, kind, deed).await,
            Self::Redis(store) => store.revoke(line, sub, kind, deed).await,
        }
    }

    /// Takes all passes of a room away: it begins a new generation of them.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn revoke_all(
        &self,
        event: EventId,
        kind: EntryKind,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        match self {
            Self::Embedded(store) => store.revoke_all(event, kind, deed).await,
            Self::Redis(store) => store.revoke_all(event, kind, deed).await,
        }
    }

    /// Passes that ended before their time and would still verify at `now`: those after the place
    /// `after` in their order, and the last place. 0 asks for all.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn revoked_after(
        &self,
        after: u64,
        now: Timestamp,
    ) -> Result<(Vec<Revoked>, u64), StoreError> {
        match self {
            Self::Embedded(store) => store.revoked_after(after, now).await,
            Self::Redis(store) => Ok(store.revoked_after(after, now)),
        }
    }

    /// Forgets what is of no use any more: passes of places that have ended, old suspicions, the
    /// oldest entries of the log.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.sweep(now).await,
            Self::Redis(store) => store.sweep(now).await,
        }
    }

    /// Keeps suspicions; one of a visitor that is known already changes nothing.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn suspect(&self, suspicions: Vec<Suspicion>) -> Result<Suspected, StoreError> {
        match self {
            Self::Embedded(store) => store.suspect(suspicions).await,
            Self::Redis(store) => store.suspect(suspicions).await,
        }
    }

    /// Suspicions, newest first, of one event or all, with an id below `before`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn suspicions(
        &self,
        event: Option<EventId>,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Judged>, StoreError> {
        match self {
            Self::Embedded(store) => store.suspicions(event, before, limit).await,
            Self::Redis(store) => store.suspicions(event, before, limit).await,
        }
    }

    /// Takes a judgement back, and notes who did.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn restore(
        &self,
        event: EventId,
        sub: Id128,
        by: Restorer,
    ) -> Result<Restore, StoreError> {
        match self {
            Self::Embedded(store) => store.restore(event, sub, by).await,
            Self::Redis(store) => store.restore(event, sub, by).await,
        }
    }

    /// Visitors whose judgement was taken back.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn restored(&self) -> Result<Vec<Restored>, StoreError> {
        match self {
            Self::Embedded(store) => store.restored().await,
            Self::Redis(store) => store.restored().await,
        }
    }

    /// Appends to the log of decisions; the oldest fall out with the next sweep.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.append(entries).await,
            Self::Redis(store) => store.append(entries).await,
        }
    }

    /// Entries of an event, oldest first: those after `since`, or the newest.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn entries(
        &self,
        event: EventId,
        since: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Numbered>, StoreError> {
        match self {
            Self::Embedded(store) => store.entries(event, since, limit).await,
            Self::Redis(store) => store.entries(event, since, limit).await,
        }
    }
}

/// Names a pass: the visitor and the pass itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassId {
    /// The visitor.
    pub sub: Id128,
    /// The pass.
    pub jti: Id128,
}

/// How far a pass may slide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewTo {
    /// It ends this long after its last use, in seconds.
    pub idle_secs: u64,
    /// It ends this long after the claim, in seconds.
    pub max_secs: u64,
    /// Passes of an older generation have ended.
    pub generation: u64,
}

/// Who takes a judgement back, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restorer {
    /// Name of the token.
    pub who: String,
    /// What it was said to be for.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// What is noted when a room is taken from the configuration.
fn configuration_deed(version: u64, at: Timestamp) -> Deed {
    let what = format!("room taken from the configuration, version {version}");
    Deed { who: "configuration".to_owned(), at, what }
}
