//! What goes into the store and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use admission_api::Room;
use keys::{EventId, Front, Id128, Lane, Place, Sealed, Timestamp};
use serde::{Deserialize, Serialize};

use super::entry::Judged;
use crate::claims::PassRecord;
use crate::pace::Decision;
use crate::turns::{Mark, Over};

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
    /// It was done, on fewer servers than must have it: a failover may undo it.
    #[error("what was written is on too few servers of the store")]
    Unreplicated,
    /// The server was demoted and follows another one now; nothing happened.
    #[error("store is a replica, and takes nothing")]
    Demoted,
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
    /// Claims that have counted, by [`Lane::index`]. They only grow while the store stays open.
    pub admitted_total: [u64; 3],
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
    /// Whose turn is over.
    #[serde(default)] // one from before turns had an end has none
    pub over: Over,
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
    /// Share of those called that does not come, as learned: 0 to 1, by [`Lane::index`].
    pub noshow_shares: [f64; 3],
    /// When the front had reached which position.
    pub marks: Vec<Mark>,
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

/// Names a pass: the visitor and the pass itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassId {
    /// The visitor.
    pub sub: Id128,
    /// The pass.
    pub jti: Id128,
}

/// Who comes back, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComeBack {
    /// The visitor.
    pub sub: Id128,
    /// The lane.
    pub lane: Lane,
    /// The number that the visitor came with.
    pub num: u64,
    /// The position is at least this, and behind that of whoever came back before,
    pub at_least: u64,
    /// and at most this.
    pub at_most: u64,
    /// When the place ends.
    pub place_exp: Timestamp,
}

/// A batch of access codes that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// What people call it.
    pub label: String,
    /// How many visitors may use each code.
    pub uses: u32,
    /// They are good from here,
    pub valid_from: Option<Timestamp>,
    /// and until here.
    pub valid_until: Option<Timestamp>,
}

/// A batch that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Its number.
    pub batch: u64,
    /// How many of its codes are new, and had room.
    pub added: u64,
}

/// Who is to have a number in the priority lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The visitor.
    pub sub: Id128,
    /// What is kept of the code or the ticket.
    pub hash: [u8; 32],
    /// A ticket need not be known, and counts once.
    pub is_ticket: bool,
    /// The lane has no more places than this.
    pub at_most: Option<u64>,
}

/// A place that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What is kept of the code.
    pub hash: [u8; 32],
    /// The place.
    pub place: Place,
    /// The code is good until here.
    pub until: Timestamp,
}

/// Who uses a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeem {
    /// What is kept of the code.
    pub hash: [u8; 32],
    /// Tells who asks from others.
    pub asker: String,
    /// The id that a pass goes on under.
    pub fresh_jti: Id128,
}

/// A place that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// The place, with its count of moves.
    pub place: Place,
    /// Whether its visitor is inside.
    pub is_inside: bool,
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
