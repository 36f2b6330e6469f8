//! The types that edges, controller and origin exchange. Types only: no I/O, no decisions; but for
//! apps, the feature `client` adds a client of the public API.

#[cfg(feature = "client")]
pub mod client;
mod edge;
mod latency;
mod load;
mod priority;
mod problem;
mod review;
mod room;
mod transfer;

/// Names of the headers between edge, origin and their clients.
pub mod headers;

pub use edge::{
    CameBack, Claim, ClaimOutcome, EndReason, EndRequest, Gap, Held, HeldNumber, LEASE_VALID,
    Lease, LeaseRequest, OriginSeen, Renewal, RenewalOutcome, Restored, Revoked, RoomTraffic, Sync,
    SyncReply,
};
pub use latency::Latency;
pub use load::{LoadReport, Stock};
pub use priority::{
    CodeBatch, CodesSpec, Generate, NoPriority, PriorityOutcome, PriorityProof, PriorityRequest,
};
pub use problem::Problem;
pub use review::{Reason, Suspicion};
pub use room::{
    Binding, Forward, Guard, LaneWeights, PaceLimits, PassRules, Room, RoomError, RoomMode,
    RoomSpec,
};
pub use transfer::{RedeemOutcome, RedeemRequest, TransferOutcome, TransferRequest};
