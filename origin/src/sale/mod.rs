//! What happens to the seats of one event: the rules, and nothing but the rules.
//!
//! Everything here is a plain function of the state, a command and the time. Ids are drawn by the
//! caller and travel in the command, so the same commands always give the same state. What is
//! written to the log are the [`Change`]s that a command decided on, not the command: a later
//! version may decide otherwise (another hold time, a better "best available") and still replays
//! an old log to the very same seats. Refusals change nothing and cost no log.

mod after;
mod amend;
mod best;
mod blocks;
mod command;
mod dues;
mod gateway;
mod holds;
mod money;
mod payment;
mod pick;
mod plan;
mod post;
mod receipt;
mod refusal;
mod saved;
mod seats;
mod state;
mod stock;
#[cfg(test)]
mod tests;
mod waitlist;
mod word;

pub use after::{
    After, AfterChange, AfterCommand, AfterReply, Money, Refund, RefundAsk, RefundDue, Scan,
    TrailEntry, TrailWhat, Use, VoidTicket,
};
pub use best::{Arrangement, Score};
pub use blocks::{Block, CHANNELS_MAX};
pub use command::{
    AreaPick, BeginPayment, Change, Command, Extension, Outcome, Party, PartySeats, PaymentBegun,
    Pick, Reply, Settlement, Want,
};
pub use dues::{Capture, CaptureDue, PaymentWork, Unsettled, VoidDue};
pub use gateway::{Action, GatewayName};
pub use holds::{HoldView, SEATS_PER_ORDER_LIMIT};
pub use money::{Bill, Currency, NotACurrency, Terms, TermsError};
pub use payment::{ChargeView, OrderStage, OrderView, PaymentRules, PaymentView};
pub use plan::{Area, Attributes, Plan, PlanRow, Zone, ZoneId};
pub use post::{
    Channel, Delivered, Delivery, DeliveryDue, DeliveryKey, DeliveryState, Message, PostChange,
    PostCommand, PostRules, PostWork,
};
pub use receipt::{Receipt, Told};
pub use refusal::Refusal;
pub use saved::Saved;
pub use seats::{Run, SeatSet};
pub use state::{Counts, Misfit, Rules, State};
pub use waitlist::{EntryStage, EntryView};
pub use word::{Contact, WordDue};

/// A seat of an event's venue: its index in the map, from 0.
pub type Seat = u32;
