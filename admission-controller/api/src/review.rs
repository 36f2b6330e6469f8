//! What the security team sees of a visitor that was judged a likely bot.

use keys::{EventId, Id128, Owner, Timestamp};
use serde::{Deserialize, Serialize};

/// One observation that spoke for or against a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code: snake_case, for example `ua_library`.
    pub code: String,
    /// What was seen, for people; cut to 200 characters.
    pub detail: String,
    /// How many points it took off the score.
    pub points: u8,
}

/// A visitor whose place was put into the `suspect` lane, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// The event.
    pub event: EventId,
    /// The line's generation.
    pub line: u64,
    /// The visitor, `sub` of the place.
    pub sub: Id128,
    /// The edge that judged.
    pub edge: Owner,
    /// When.
    pub at: Timestamp,
    /// 1 (surely a bot) to 99 (nothing speaks for one).
    pub score: u8,
    /// The evidence, heaviest first.
    pub reasons: Vec<Reason>,
    /// The number in the `standard` lane that is kept for the visitor, should the judgement be
    /// taken back.
    pub standard_num: u64,
    /// The number in the `suspect` lane.
    pub suspect_num: u64,
    /// Network, shortened to /24 or /48.
    pub network: String,
    /// Country code, if known.
    pub country: Option<String>,
    /// Autonomous system, if known, for example `AS3320 Deutsche Telekom AG`.
    pub asn: Option<String>,
    /// `User-Agent`, cut to 200 characters.
    pub user_agent: String,
}
