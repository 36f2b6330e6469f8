//! The statements themselves: what each says and between which times it holds.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::draw::{Draw, DrawError, Order};
use crate::fields::{EventId, Id128, Lane, Owner, Risk};
use crate::keyring::Role;
use crate::time::{Timestamp, numeric_date};

/// A kind of signed statement. Implementors refuse unknown and duplicate claims.
pub trait Statement: Serialize + DeserializeOwned {
    /// The JWS `typ` header.
    const TYP: &'static str;
    /// The only role whose keys may sign it.
    const ROLE: Role;
    /// Longest text that is read at all, in bytes.
    const BYTES_MAX: usize;

    /// Who signed it, `iss`.
    fn issuer(&self) -> &Owner;
    /// For which event it holds, `aud`.
    fn audience(&self) -> &EventId;
    /// From when (inclusive) and until when (exclusive) it holds.
    fn times(&self) -> (Timestamp, Timestamp);
}

/// "Number `num` in lane `lane` of event `aud`", signed by an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The edge that issued it.
    pub iss: Owner,
    /// The event.
    pub aud: EventId,
    /// The visitor's random id, chosen by the edge.
    pub sub: Id128,
    /// The lane whose numbers `num` counts.
    pub lane: Lane,
    /// The number in the lane, from 1.
    pub num: u64,
    /// When it was issued.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// Until when it keeps its number.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// The line's generation: a deleted and re-created event makes old places void.
    pub line: u64,
    /// Short keyed hash that binds it to the client.
    pub fpr: String,
    /// The visitor had a turn before and stands at this position now, whatever the number says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<u64>,
    /// How often it was moved to another device; with a lower count than the last it is void.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moves: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Statement for Place {
    const TYP: &'static str = "wr-place+jwt";
    const ROLE: Role = Role::Edge;
    const BYTES_MAX: usize = 1024;

    fn issuer(&self) -> &Owner {
        &self.iss
    }
    fn audience(&self) -> &EventId {
        &self.aud
    }
    fn times(&self) -> (Timestamp, Timestamp) {
        (self.iat, self.exp)
    }
}

/// "Visitor `sub` may shop at event `aud` until `exp`", signed by the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The controller that issued it.
    pub iss: Owner,
    /// The event.
    pub aud: EventId,
    /// The place's `sub`.
    pub sub: Id128,
    /// This pass.
    pub jti: Id128,
    /// When it was issued or last renewed.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// From when it holds.
    #[serde(with = "numeric_date")]
    pub nbf: Timestamp,
    /// Until when it holds.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// The lane that it came through.
    pub lane: Lane,
    /// How likely the visitor is a bot.
    pub risk: Risk,
    /// Generation of passes: bumping the event's revokes all that came before.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// The `fpr` of the place that it came from: binds it to the client.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fpr: String,
}

impl Statement for Pass {
    const TYP: &'static str = "wr-pass+jwt";
    const ROLE: Role = Role::Controller;
    const BYTES_MAX: usize = 1024;

    fn issuer(&self) -> &Owner {
        &self.iss
    }
    fn audience(&self) -> &EventId {
        &self.aud
    }
    fn times(&self) -> (Timestamp, Timestamp) {
        (self.nbf, self.exp)
    }
}

/// "The front of event `aud` moves like this", signed by the controller; everybody's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// The controller that published it.
    pub iss: Owner,
    /// The event.
    pub aud: EventId,
    /// When it was published.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// Until when it may be shown at all; `until_ms` below ends the line in time much sooner.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// The line's generation, as in a place.
    pub line: u64,
    /// Who was leader when it was published; a document of an older epoch is refused.
    pub epoch: u64,
    /// Counts publications within an epoch.
    pub seq: u64,
    /// What the room is doing.
    pub phase: Phase,
    /// When the sale opens, in milliseconds since the epoch; absent if it has no such time.
    pub opens_at: Option<Timestamp>,
    /// Start of the line in time, in milliseconds since the epoch.
    pub t0: Timestamp,
    /// Where the line in time ends and the front stands, in milliseconds since the epoch.
    pub until: Timestamp,
    /// One entry a lane, in the order of [`Lane::ALL`].
    pub lanes: Vec<LaneFront>,
    /// Why the pace is what it is, one sentence for people.
    pub reason: String,
    /// The draw among those who came before the opening, once there is one.
    pub draw: Option<Draw>,
    /// How much is left to buy, as the organiser lets it be known.
    pub stock: Option<StockBand>,
    /// When a client should look again.
    pub poll: PollHint,
    /// The operator's message to visitors, plain text.
    pub message: Option<String>,
}

impl Statement for Front {
    const TYP: &'static str = "wr-front+jwt";
    const ROLE: Role = Role::Controller;
    const BYTES_MAX: usize = 8192;

    fn issuer(&self) -> &Owner {
        &self.iss
    }
    fn audience(&self) -> &EventId {
        &self.aud
    }
    fn times(&self) -> (Timestamp, Timestamp) {
        (self.iat, self.exp)
    }
}

impl Front {
    /// The lane's entry, if the document has one.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> Option<&LaneFront> {
        self.lanes.iter().find(|entry| entry.lane == lane)
    }

    /// The order in which a lane's numbers stand.
    ///
    /// # Errors
    /// If what was revealed of the draw does not fit what was announced.
    pub fn order(&self, lane: Lane) -> Result<Order, DrawError> {
        match &self.draw {
            None => Ok(Order::ByNumber),
            Some(draw) => draw.order(&self.aud, self.line, lane),
        }
    }

    /// The highest position of `lane` that may enter at `now`; 0 if nobody may.
    ///
    /// The answer never decreases as `now` grows, and stands from `until` on.
    #[must_use]
    pub fn at(&self, lane: Lane, now: Timestamp) -> u64 {
        let Some(entry) = self.lane(lane) else { return 0 };
        let elapsed = now.min(self.until).since(self.t0);
        entry.after(elapsed)
    }
}

/// One lane of a [`Front`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneFront {
    /// Which lane.
    pub lane: Lane,
    /// The front at `t0`.
    pub f0: u64,
    /// Pace in positions per 1000 seconds: an integer, so that every language computes the same.
    pub pace_milli: u64,
    /// The front does not move beyond this while the line in time holds.
    pub limit: u64,
    /// Numbers handed out so far, as far as the controller knows.
    pub issued: u64,
}

impl LaneFront {
    /// The front `elapsed` after `t0`: `min(limit, f0 + pace · elapsed)`, never below `f0`.
    #[must_use]
    pub fn after(&self, elapsed: Duration) -> u64 {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let moved = self.pace_milli.saturating_mul(elapsed_ms) / 1_000_000;
        self.f0.saturating_add(moved).min(self.limit.max(self.f0))
    }
}

/// What a room is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Visitors may join, nobody enters yet.
    Scheduled,
    /// The front moves.
    Open,
    /// The operator stopped the front; places are kept.
    Paused,
    /// Nothing is left and nothing can come back.
    SoldOut,
    /// The sale is over.
    Closed,
}

impl Phase {
    /// The name used in documents and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::SoldOut => "sold_out",
            Self::Closed => "closed",
        }
    }
}

/// How much is left, coarse enough to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockBand {
    /// More than a fifth.
    Plenty,
    /// A fifth or less.
    Few,
    /// What is left is in the hands of those inside.
    InHolds,
    /// Nothing.
    None,
}

/// How often a client should fetch the document again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollHint {
    /// Shortest distance between two fetches, for those near the front, in seconds.
    pub near_secs: u32,
    /// Longest distance, for those far away, in seconds.
    pub far_secs: u32,
}

/// What a buyer takes home: "the bearer of `sub` has seat `seat` at event `aud`", signed by the
/// origin so that a scanner checks it offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The origin that issued it.
    pub iss: Owner,
    /// The event.
    pub aud: EventId,
    /// The ticket's id.
    pub sub: Id128,
    /// The seat as printed, for example `104-C-12`.
    pub seat: String,
    /// When it was issued.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// When the event is over.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
}

impl Statement for Ticket {
    const TYP: &'static str = "wr-ticket+jwt";
    const ROLE: Role = Role::Origin;
    const BYTES_MAX: usize = 1024;

    fn issuer(&self) -> &Owner {
        &self.iss
    }
    fn audience(&self) -> &EventId {
        &self.aud
    }
    fn times(&self) -> (Timestamp, Timestamp) {
        (self.iat, self.exp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_front_moves_along_its_line_and_never_past_its_limit() {
        //    f0   pace_milli  limit  elapsed_ms  front
        check(10,       1_000,   100,          0,    10);
        check(10,       1_000,   100,        999,    10);
        check(10,       1_000,   100,      1_000,    11);
        check(10,      50_000,   100,      1_000,    60);
        check(10,      50_000,   100,      9_000,   100);
        check(10,           0,   100,      9_000,    10);
        check(10,      50_000,     5,      9_000,    10); // a limit below the front holds it, no more
        check(u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX);
    }

    #[track_caller]
    fn check(f0: u64, pace_milli: u64, limit: u64, elapsed_ms: u64, expected: u64) {
        let entry = LaneFront { lane: Lane::Standard, f0, pace_milli, limit, issued: 0 };
        assert_eq!(entry.after(Duration::from_millis(elapsed_ms)), expected);
    }
}
