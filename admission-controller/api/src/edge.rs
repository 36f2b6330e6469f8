//! What edges and controller say to each other.

use std::time::Duration;

use keys::{EventId, Front, Id128, Lane, Owner, Pass, Place, Sealed, Timestamp};
use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::review::{Reason, Suspicion};
use crate::room::Room;

/// `POST /edge/v1/lease`: an edge asks for numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The edge.
    pub edge: Owner,
    /// The event.
    pub event: EventId,
    /// The lane.
    pub lane: Lane,
    /// How many; the controller may give fewer, never more.
    pub count: u64,
}

/// How long leased numbers may be handed out, which bounds how far two joins can be swapped: of two
/// joins at different edges, the later of which began this long after the earlier was answered, the
/// later has the higher number. Long enough for a slow answer to be of use.
pub const LEASE_VALID: Duration = Duration::from_millis(500);

/// A block of numbers that only the asking edge may hand out: `first` to `first + count - 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The line's generation.
    pub line: u64,
    /// The first number.
    pub first: u64,
    /// How many, at least 1.
    pub count: u64,
    /// They may be handed out to visitors who came within this time after they were asked for, in
    /// milliseconds; the rest goes back as a [`Gap`].
    pub valid_ms: u64,
}

/// Leased numbers that were not handed out and never will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The event.
    pub event: EventId,
    /// The line's generation.
    pub line: u64,
    /// The lane.
    pub lane: Lane,
    /// The first number.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// `POST /edge/v1/sync`, once a second: what an edge has seen, and what is new for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The edge.
    pub edge: Owner,
    /// Counts the edge's syncs, so that a repeated one is not counted twice. Starts anew with
    /// `session`.
    pub seq: u64,
    /// Random for each start of the edge.
    pub session: Id128,
    /// Numbers given back.
    pub gaps: Vec<Gap>,
    /// Visitors judged likely bots since the last sync.
    pub suspicions: Vec<Suspicion>,
    /// The origin as the edge saw it since the last sync.
    pub origin: OriginSeen,
    /// Traffic by room since the last sync.
    pub rooms: Vec<RoomTraffic>,
    /// Ends of passes are known up to here: `revoked_upto` of the last answer of this controller, 0
    /// at first.
    pub revoked_after: u64,
    /// What the edge holds, if it was asked for or the last sync failed: a store that lost writes
    /// is given it back.
    #[serde(default)]
    pub held: Option<Held>,
}

/// What an edge holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The newest front of each room.
    pub fronts: Vec<Sealed<Front>>,
    /// The highest numbers.
    pub numbers: Vec<HeldNumber>,
}

/// The highest number of a lane that an edge was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldNumber {
    /// The event.
    pub event: EventId,
    /// The line's generation.
    pub line: u64,
    /// The lane.
    pub lane: Lane,
    /// The number.
    pub num: u64,
}

/// The origin as an edge saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSeen {
    /// The time covered, in milliseconds.
    pub window_ms: u64,
    /// Requests that the origin answered.
    pub requests_total: u64,
    /// Of these, 5xx; and those that got no answer.
    pub errors_total: u64,
    /// Requests under way right now.
    pub in_flight: u64,
    /// Time to the first byte of those that did not fail.
    pub latency: Latency,
}

/// A room's traffic at an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomTraffic {
    /// The event.
    pub event: EventId,
    /// Places issued.
    pub joined_total: u64,
    /// Requests let through because their path is exempt.
    pub bypassed_total: u64,
}

/// The answer to a [`Sync`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReply {
    /// All rooms; one that is missing has been deleted.
    pub rooms: Vec<Room>,
    /// The newest signed front of each room.
    pub fronts: Vec<Sealed<Front>>,
    /// Passes that ended before their time and would still verify: those after `revoked_after`.
    pub revoked: Vec<Revoked>,
    /// To be sent with the next sync.
    pub revoked_upto: u64,
    /// Visitors whose judgement was taken back.
    pub restored: Vec<Restored>,
    /// The next sync is to tell what the edge holds.
    #[serde(default)]
    pub wants_held: bool,
}

/// A pass that ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The pass.
    pub jti: Id128,
    /// It is honoured until here: see [`EndReason::grace_secs`].
    pub from: Timestamp,
    /// No need to remember it after this.
    pub until: Timestamp,
}

/// A visitor whose place goes back to the `standard` lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The event.
    pub event: EventId,
    /// The line's generation.
    pub line: u64,
    /// The visitor.
    pub sub: Id128,
    /// The number in the `standard` lane that was kept.
    pub standard_num: u64,
}

/// `POST /edge/v1/claim`: a visitor's turn has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The edge.
    pub edge: Owner,
    /// The place as the visitor showed it.
    pub place: Sealed<Place>,
    /// The score at this moment, 1 (surely a bot) to 99.
    pub score: u8,
    /// The evidence.
    pub reasons: Vec<Reason>,
}

/// The answer to a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ClaimOutcome {
    /// Counted, once; a repeated claim gets the same pass.
    Admitted {
        /// The pass.
        pass: Sealed<Pass>,
        /// Whether this claim was the one that counted.
        is_first: bool,
    },
    /// The front has not reached it. `front` is the controller's.
    NotYet {
        /// The front of the place's lane.
        front: u64,
    },
    /// It was put into the `suspect` lane, and this place is the older one.
    Moved {
        /// The number in the `suspect` lane.
        suspect_num: u64,
    },
    /// Its turn was missed, or its pass ended for want of use: it stands near the front again, this
    /// once.
    Back {
        /// The lane.
        lane: Lane,
        /// The number that it came with.
        num: u64,
        /// Where it stands now, whatever its number says.
        position: u64,
        /// Why.
        why: CameBack,
    },
    /// It was used, and the pass has ended since.
    Used,
    /// It was moved to another device.
    Gone,
    /// It is no place of this line: forged, ended, of an older line, or with somebody else's number.
    Refused {
        /// A [`keys::Refusal`] label, `line` for a place of an older line, or `number` for a number
        /// that was never handed out or that another visitor has come in with.
        code: String,
    },
    /// The room is paused, closed or sold out.
    Shut,
}

/// Why a visitor came back to the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameBack {
    /// The front had reached the place, and nobody claimed in time.
    TurnMissed,
    /// The pass was not used for a while.
    PassExpired,
}

impl CameBack {
    /// The name used in answers.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TurnMissed => "turn_missed",
            Self::PassExpired => "pass_expired",
        }
    }
}

/// `POST /edge/v1/renew`: a pass is in use and half its idle time is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The edge.
    pub edge: Owner,
    /// The pass.
    pub pass: Sealed<Pass>,
}

/// The answer to a [`Renewal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RenewalOutcome {
    /// The same pass with a later end; or the same end, once the maximum is reached.
    Renewed {
        /// The pass.
        pass: Sealed<Pass>,
    },
    /// It has ended.
    Ended,
}

/// `POST /edge/v1/end`: a pass ends now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// The edge.
    pub edge: Owner,
    /// The pass.
    pub pass: Sealed<Pass>,
    /// Why.
    pub reason: EndReason,
}

/// Why a pass ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The visitor left.
    Left,
    /// The visitor has bought.
    Finished,
    /// The origin or an operator took it away.
    Revoked,
}

impl EndReason {
    /// For how long edges still honour a pass after its end, in seconds. Its capacity is free at
    /// once; but whoever has bought may have lost the connection with the answer in it, and asks
    /// again with the same idempotency key.
    #[must_use]
    pub const fn grace_secs(self) -> u64 {
        match self {
            Self::Finished => 60,
            Self::Left | Self::Revoked => 0,
        }
    }

    /// The name used in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Finished => "finished",
            Self::Revoked => "revoked",
        }
    }
}
