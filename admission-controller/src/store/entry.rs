//! What is kept for people: decisions about the pace, what operators did, who was judged.

use admission_api::Suspicion;
use keys::{EventId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::pace::{Binding, Inputs};

/// Who or what made an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The control law.
    Pace,
    /// An operator.
    Operator,
    /// The security team.
    Security,
    /// The configuration at a start.
    Config,
}

/// One entry in the log of decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The event.
    pub event: EventId,
    /// Who or what.
    pub kind: EntryKind,
    /// The token's name, for people.
    pub who: Option<String>,
    /// The pace before.
    pub old_per_sec: Option<f64>,
    /// The pace from now on.
    pub new_per_sec: Option<f64>,
    /// The limit that binds.
    pub binding: Option<Binding>,
    /// Why, or what was done.
    pub reason: String,
    /// The numbers it rests on.
    pub inputs: Option<Inputs>,
}

/// An entry with its number in the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbered {
    /// The number.
    pub id: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What became of a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedState {
    /// The place is in the `suspect` lane.
    Moved,
    /// It went back to the `standard` lane.
    Restored,
    /// The visitor had entered before the judgement, which changed nothing.
    AdmittedBefore,
}

impl JudgedState {
    /// The name used in the store.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Restored => "restored",
            Self::AdmittedBefore => "admitted_before",
        }
    }
}

/// A suspicion with what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Its number, to page by.
    pub id: u64,
    /// What became of it.
    pub state: JudgedState,
    /// When it was taken back.
    pub restored_at: Option<Timestamp>,
    /// By whom.
    pub restored_by: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// The judgement as the edge sent it.
    pub suspicion: Suspicion,
}
