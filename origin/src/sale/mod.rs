//! What happens to the seats of one event: the rules, and nothing but the rules.
//!
//! Everything here is a plain function of the state, a command and the time. Ids are drawn by the
//! caller and travel in the command, so the same commands always give the same state. What is
//! written to the log are the [`Change`]s that a command decided on, not the command: a later
//! version may decide otherwise (another hold time, a better "best available") and still replays
//! an old log to the very same seats. Refusals change nothing and cost no log.

mod best;
mod command;
mod holds;
mod payment;
mod plan;
mod refusal;
mod saved;
mod seats;
mod state;
#[cfg(test)]
mod tests;

pub use command::{BeginPayment, Change, Command, Outcome, PaymentBegun, Reply, Want};
pub use holds::{HoldView, SEATS_PER_ORDER_LIMIT};
pub use payment::{OrderStage, OrderView};
pub use plan::{Plan, PlanRow, Zone, ZoneId};
pub use refusal::Refusal;
pub use saved::Saved;
pub use seats::SeatSet;
pub use state::{Counts, Misfit, Rules, State};

/// A seat of an event's venue: its index in the map, from 0.
pub type Seat = u32;
