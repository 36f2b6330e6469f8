//! What may be asked of an event's seats, what is answered, and what is written down.

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::holds::HoldView;
use super::payment::OrderView;
use super::refusal::Refusal;

/// Which seats a visitor wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// These, all or none.
    Seats(Vec<Seat>),
    /// The best that are together.
    Best {
        /// In this zone, or anywhere.
        zone: Option<String>,
        /// How many.
        quantity: u32,
    },
}

/// A request to start paying for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginPayment {
    /// What is to be paid.
    pub hold: Id128,
    /// Who pays: `sub` of the pass.
    pub sub: Id128,
    /// The client's idempotency key; counts per `sub`.
    pub key: String,
    /// Digest of what was asked with that key.
    pub body: String,
    /// The order that it becomes if all goes well.
    pub order: Id128,
    /// Ids for its tickets, at least as many as seats.
    pub tickets: Vec<Id128>,
    /// The buyer's name, as printed.
    pub name: String,
    /// Where the tickets are sent.
    pub email: Option<String>,
}

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The money is reserved.
    Authorised,
    /// It is not, and it will not be.
    Declined,
    /// No answer.
    Unknown,
}

/// One thing that is asked of an event's seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take seats out of stock for a while.
    Hold {
        /// Id of the new hold.
        hold: Id128,
        /// For whom.
        sub: Id128,
        /// Which seats.
        want: Want,
    },
    /// Look at a hold.
    ViewHold {
        /// Which.
        hold: Id128,
        /// Who asks.
        sub: Id128,
    },
    /// Give a hold back.
    Release {
        /// Which.
        hold: Id128,
        /// Who asks.
        sub: Id128,
    },
    /// Start paying; from here on time does not free the seats.
    BeginPayment(BeginPayment),
    /// Tell what became of a payment.
    Settle {
        /// Of which order.
        order: Id128,
        /// What.
        outcome: Outcome,
    },
    /// Free a hold whose time is over. The timer says so; the state decides.
    Expire {
        /// Which.
        hold: Id128,
    },
    /// Look at an order.
    ViewOrder {
        /// Which.
        order: Id128,
    },
    /// List the orders whose payment is not settled.
    ListPaying,
}

impl Command {
    /// Name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "hold",
            Self::ViewHold { .. } => "view_hold",
            Self::Release { .. } => "release",
            Self::BeginPayment(_) => "begin_payment",
            Self::Settle { .. } => "settle",
            Self::Expire { .. } => "expire",
            Self::ViewOrder { .. } => "view_order",
            Self::ListPaying => "list_paying",
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The hold as it stands.
    Hold(HoldView),
    /// The hold is gone and its seats are free.
    Freed,
    /// The seats are the buyer's until the payment is settled: charge this much.
    Charge {
        /// For this order.
        order: Id128,
        /// In minor units.
        amount: u64,
    },
    /// The order as it stands.
    Order(OrderView),
    /// Orders whose payment is not settled.
    Paying(Vec<Id128>),
    /// There was nothing to do.
    Nothing,
    /// No, and nothing changed but perhaps that an overdue hold was freed.
    Refused(Refusal),
}

/// What is written to the log, and all that the state is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// The sale began with this seating.
    Opened {
        /// Name of the seating.
        plan: String,
    },
    /// Seats were taken out of stock.
    Held {
        /// By this hold.
        hold: Id128,
        /// For whom.
        sub: Id128,
        /// Which.
        seats: Vec<Seat>,
        /// What each costs, in minor units: what was promised is what will be charged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prices: Vec<u64>,
        /// Until when.
        until: Timestamp,
    },
    /// A hold was given back.
    Released {
        /// Which.
        hold: Id128,
    },
    /// A hold's time was over.
    Expired {
        /// Which.
        hold: Id128,
    },
    /// A hold is being paid.
    PaymentBegun(PaymentBegun),
    /// The provider did not answer.
    PaymentUnknown {
        /// Of which order.
        order: Id128,
    },
    /// The buyer was not charged; the hold stands again.
    PaymentDeclined {
        /// Of which order.
        order: Id128,
        /// Until when.
        until: Timestamp,
    },
    /// The seats are sold and the tickets valid.
    Sold {
        /// As which order.
        order: Id128,
    },
}

/// That a hold is being paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentBegun {
    /// Which hold.
    pub hold: Id128,
    /// As which order.
    pub order: Id128,
    /// The client's idempotency key.
    pub key: String,
    /// Digest of what was asked with it.
    pub body: String,
    /// One ticket a seat.
    pub tickets: Vec<Id128>,
    /// The buyer's name.
    pub name: String,
    /// Where the tickets are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Change {
    /// The order that it changes, if any.
    #[must_use]
    pub const fn order(&self) -> Option<Id128> {
        match self {
            Self::PaymentBegun(PaymentBegun { order, .. })
            | Self::PaymentUnknown { order }
            | Self::PaymentDeclined { order, .. }
            | Self::Sold { order } => Some(*order),
            Self::Opened { .. }
            | Self::Held { .. }
            | Self::Released { .. }
            | Self::Expired { .. } => None,
        }
    }

    /// Whether seats went out of stock or came back.
    #[must_use]
    pub const fn moves_stock(&self) -> bool {
        match self {
            Self::Held { .. } | Self::Released { .. } | Self::Expired { .. } => true,
            Self::Opened { .. }
            | Self::PaymentBegun(_)
            | Self::PaymentUnknown { .. }
            | Self::PaymentDeclined { .. }
            | Self::Sold { .. } => false,
        }
    }
}
