//! The priority lane: who may stand there, by a code or by a ticket from another sale.

use keys::{EventId, Owner, Place, Sealed, Ticket, Timestamp};
use serde::{Deserialize, Serialize};

/// `POST /edge/v1/priority`: a visitor with a place shows why it should be a priority one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityRequest {
    /// The edge.
    pub edge: Owner,
    /// The place as the visitor showed it.
    pub place: Sealed<Place>,
    /// Why.
    pub proof: PriorityProof,
}

/// Why a place should be a priority one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityProof {
    /// An access code, as it was typed.
    Code(String),
    /// A ticket that still holds, of an event that the room counts.
    Ticket(Sealed<Ticket>),
}

/// The answer to a [`PriorityRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PriorityOutcome {
    /// The place has this number in the priority lane now; asked again, the same.
    Granted {
        /// The number.
        num: u64,
    },
    /// The proof does not do, or the place does not.
    Refused {
        /// Why.
        why: NoPriority,
    },
}

/// Why a place is no priority one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoPriority {
    /// There is no such code.
    UnknownCode,
    /// It was used as often as it may be.
    CodeUsed,
    /// Its time has not come.
    CodeNotYet,
    /// Its time is over.
    CodeOver,
    /// It was taken back.
    CodeRevoked,
    /// This is no ticket that counts here.
    TicketRefused,
    /// The lane has as many places as it may have.
    LaneFull,
    /// The visitor is inside, or was.
    PlaceUsed,
    /// The place is on another device.
    PlaceMoved,
    /// It is no place of this line.
    PlaceRefused,
}

impl NoPriority {
    /// The code of the refusal.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownCode => "unknown-code",
            Self::CodeUsed => "code-used",
            Self::CodeNotYet => "code-not-yet",
            Self::CodeOver => "code-over",
            Self::CodeRevoked => "code-revoked",
            Self::TicketRefused => "ticket-refused",
            Self::LaneFull => "lane-full",
            Self::PlaceUsed => "place-used",
            Self::PlaceMoved => "place-moved",
            Self::PlaceRefused => "place-refused",
        }
    }
}

/// `POST /api/v1/rooms/{event}/codes`: access codes that an operator brings, or wants made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodesSpec {
    /// What people call them.
    pub label: String,
    /// How many visitors may use each.
    #[serde(default = "once")]
    pub uses: u32,
    /// They are good from here; absent means at once.
    #[serde(default)]
    pub valid_from: Option<Timestamp>,
    /// And until here; absent means for as long as the room is there.
    #[serde(default)]
    pub valid_until: Option<Timestamp>,
    /// Codes that are known to people already.
    #[serde(default)]
    pub codes: Vec<String>,
    /// Codes to be made.
    #[serde(default)]
    pub generate: Option<Generate>,
}

/// Codes to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How many.
    pub count: u32,
    /// Of so many characters.
    #[serde(default = "twelve")]
    pub chars: u8,
}

/// A batch of access codes, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeBatch {
    /// The batch.
    pub batch: u64,
    /// The event.
    pub event: EventId,
    /// What people call it.
    pub label: String,
    /// How many visitors may use each code.
    pub uses: u32,
    /// From when they are good.
    pub valid_from: Option<Timestamp>,
    /// Until when.
    pub valid_until: Option<Timestamp>,
    /// Whether all of them were taken back.
    pub is_revoked: bool,
    /// How many codes it has.
    pub codes: u64,
    /// How often one of them was used.
    pub used: u64,
}

fn once() -> u32 {
    1
}
fn twelve() -> u8 {
    12
}
