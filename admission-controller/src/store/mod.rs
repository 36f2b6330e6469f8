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
mod types;

use std::path::Path;

use admission_api::{
    CodeBatch, EndReason, Gap, NoPriority, Restored, Revoked, Room, RoomSpec, Suspicion,
};
use keys::{Beacon, EventId, Id128, Lane, Owner, Timestamp};

pub use self::draw::{DrawRecord, Given};
pub use self::embedded::Embedded;
pub use self::entry::{Entry, EntryKind, Judged, JudgedState, Numbered};
pub use self::redis::{Redis, RedisPlace};
pub use self::types::{
    Added, ComeBack, Counted, Deed, Grant, Law, LineId, NewBatch, PassId, Published, Put, Redeem,
    Redeemed, RenewTo, Restore, Restorer, Revocation, RoomStatus, Statuses, StoreError, Suspected,
    Told, Transfer, Turn,
};
use crate::claims::{Known, PassRecord};

/// A used place is remembered for this long after its end: edges' clocks may be behind ours.
const USED_FOR_SECS: u64 = 3600;
/// Most codes of a line that are open at once.
const TRANSFERS_MAX: u64 = if cfg!(test) { 3 } else { 10_000 };
/// Most visitors of a line of whom it is kept that they have moved to another device.
const MOVED_MAX: u64 = 100_000;
/// Most access codes of a line.
const CODES_MAX: u64 = if cfg!(test) { 10 } else { 200_000 };
/// Most places of a line that are given for codes and tickets.
const GRANTS_MAX: u64 = 500_000;
/// Most suspicions of a line: more than any review gets through, and some 200 MB with evidence.
#[cfg(not(test))]
const SUSPICIONS_MAX: u64 = 200_000;
#[cfg(test)]
const SUSPICIONS_MAX: u64 = 20;

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

    /// Moves the end of a pass further, if it may; `None` if it has ended. One that was `shown` and
    /// that the store has forgotten counts again, as what it says of itself.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn renew(
        &self,
        line: LineId,
        shown: PassRecord,
        to: RenewTo,
        now: Timestamp,
    ) -> Result<Option<PassRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.renew(line, shown, to, now).await,
            Self::Redis(store) => store.renew(line, shown, to, now).await,
        }
    }

    /// Lets a visitor come back, once, and tells the position; again it is the same one, and 0 for
    /// whoever is inside. `None` for a visitor who may not.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn come_back(
        &self,
        line: LineId,
        to: ComeBack,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Embedded(store) => store.come_back(line, to, now).await,
            Self::Redis(store) => store.come_back(line, to, now).await,
        }
    }

    /// Keeps what a code is good for: it takes the place of one that the visitor had before. `false`
    /// if as many are kept as may be.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open_transfer(
        &self,
        line: LineId,
        transfer: Transfer,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.open_transfer(line, transfer, now).await,
            Self::Redis(store) => store.open_transfer(line, transfer, now).await,
        }
    }

    /// Uses a code, once: places with fewer moves are void from now on, and a pass that the visitor
    /// has goes on under another id. The same asker may ask again. `None` if there is no such code
    /// for them, or its time is over.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn redeem_transfer(
        &self,
        line: LineId,
        redeem: Redeem,
        now: Timestamp,
    ) -> Result<Option<Redeemed>, StoreError> {
        match self {
            Self::Embedded(store) => store.redeem_transfer(line, redeem, now).await,
            Self::Redis(store) => store.redeem_transfer(line, redeem, now).await,
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

    /// Keeps access codes by their hashes, as far as there is room; `None` if there is no such line.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn add_codes(
        &self,
        line: LineId,
        batch: NewBatch,
        hashes: Vec<[u8; 32]>,
        deed: Deed,
    ) -> Result<Option<Added>, StoreError> {
        match self {
            Self::Embedded(store) => store.add_codes(line, batch, hashes, deed).await,
            Self::Redis(store) => store.add_codes(line, batch, hashes, deed).await,
        }
    }

    /// The batches of access codes of a line, with how often they were used.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn code_batches(&self, line: LineId) -> Result<Vec<CodeBatch>, StoreError> {
        match self {
            Self::Embedded(store) => store.code_batches(line).await,
            Self::Redis(store) => store.code_batches(line).await,
        }
    }

    /// Takes a batch of access codes back: places that were given for them stay. Whether there is
    /// such a batch.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn revoke_batch(
        &self,
        line: LineId,
        batch: u64,
        deed: Deed,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.revoke_batch(line, batch, deed).await,
            Self::Redis(store) => store.revoke_batch(line, batch, deed).await,
        }
    }

    /// The same for one code.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn revoke_code(
        &self,
        line: LineId,
        hash: [u8; 32],
        deed: Deed,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.revoke_code(line, hash, deed).await,
            Self::Redis(store) => store.revoke_code(line, hash, deed).await,
        }
    }

    /// Gives a visitor a number in the priority lane, once for each proof and visitor.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn grant(
        &self,
        line: LineId,
        grant: Grant,
        now: Timestamp,
    ) -> Result<Result<u64, NoPriority>, StoreError> {
        match self {
            Self::Embedded(store) => store.grant(line, grant, now).await,
            Self::Redis(store) => store.grant(line, grant, now).await,
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

/// What is noted when a room is taken from the configuration.
fn configuration_deed(version: u64, at: Timestamp) -> Deed {
    let what = format!("room taken from the configuration, version {version}");
    Deed { who: "configuration".to_owned(), at, what }
}
