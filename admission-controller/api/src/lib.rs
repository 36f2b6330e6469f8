//! The types that edges, controller and origin exchange. Types only: no I/O, no decisions; but for
//! apps, the feature `client` adds a client of the public API.

#[cfg(feature = "client")]
pub mod client;
mod edge;
mod latency;
mod load;
mod problem;
mod review;
mod room;

/// Names of the headers between edge, origin and their clients.
pub mod headers;

pub use edge::{
    Claim, ClaimOutcome, EndReason, EndRequest, Gap, Held, HeldNumber, Lease, LeaseRequest,
    OriginSeen, Renewal, RenewalOutcome, Restored, Revoked, RoomTraffic, Sync, SyncReply,
};
pub use latency::Latency;
pub use load::{LoadReport, Stock};
pub use problem::Problem;
pub use review::{Reason, Suspicion};
pub use room::{
    Forward, Guard, LaneWeights, PaceLimits, PassRules, Room, RoomError, RoomMode, RoomSpec,
};
