//! Why the rules said no. Whoever is refused left the stock as it was.

use keys::Id128;

use super::Seat;

/// A refusal with what the buyer needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// At least one of the seats is not free; nothing was held.
    #[error("{} of the seats are taken", seats.len())]
    SeatTaken {
        /// Those of the wanted seats that are taken.
        seats: Vec<Seat>,
    },
    /// No row has that many free seats next to each other.
    #[error("no {quantity} free seats next to each other in one row")]
    NotEnoughTogether {
        /// How many were wanted.
        quantity: u32,
    },
    /// More seats than one hold may have.
    #[error("{asked} seats in one hold, the most is {max}")]
    TooManySeats {
        /// How many were wanted.
        asked: u32,
        /// The limit.
        max: u32,
    },
    /// More seats than one visitor may have at this event.
    #[error("{asked} seats on top of {have}, the most one visitor may hold and buy is {max}")]
    VisitorLimit {
        /// How many the visitor holds or has bought.
        have: u32,
        /// How many more were wanted.
        asked: u32,
        /// The limit.
        max: u32,
        /// The visitor's holds.
        holds: Vec<Id128>,
    },
    /// No such seat.
    #[error("there is no seat {seat}, the last one is {last}")]
    UnknownSeat {
        /// What was asked for.
        seat: Seat,
        /// The highest index.
        last: Seat,
    },
    /// The same seat twice in one request.
    #[error("seat {seat} is listed more than once")]
    DuplicateSeat {
        /// The seat.
        seat: Seat,
    },
    /// An empty list, or a quantity of 0.
    #[error("no seats were asked for")]
    NoSeats,
    /// No such zone.
    #[error("there is no zone of that name")]
    UnknownZone,
    /// No such hold, or it was released.
    #[error("there is no such hold")]
    UnknownHold,
    /// Somebody else's hold.
    #[error("the hold belongs to another pass")]
    ForeignHold,
    /// Its time is over; the seats are free again.
    #[error("the time of the hold is over")]
    HoldExpired,
    /// It was bought.
    #[error("the hold was bought")]
    HoldBought {
        /// As this order.
        order: Id128,
    },
    /// A payment for the hold, or with this idempotency key, is under way.
    #[error("a payment is under way")]
    PaymentInProgress {
        /// The order that it is for.
        order: Id128,
    },
    /// The provider said no; the hold stands for the time that was left.
    #[error("the payment was declined")]
    PaymentDeclined {
        /// Log sequence after the change that said so: asked again, it is the same.
        seq: u64,
    },
    /// Nobody knows yet whether the buyer was charged; the seats stay theirs until we do.
    #[error("the provider has not told yet whether the payment was made")]
    PaymentUnknown {
        /// The order that it is for.
        order: Id128,
    },
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// Too many declined payments for one hold, or of one visitor.
    #[error("{max} payments were declined, which is the most we try")]
    TooManyAttempts {
        /// The limit.
        max: u32,
    },
    /// No such order.
    #[error("there is no such order")]
    UnknownOrder,
}

impl Refusal {
    /// Stable code, the same as in the answer's `code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SeatTaken { .. } => "seat-taken",
            Self::NotEnoughTogether { .. } => "not-enough-together",
            Self::TooManySeats { .. } | Self::VisitorLimit { .. } => "too-many-seats",
            Self::UnknownSeat { .. } => "unknown-seat",
            Self::DuplicateSeat { .. } => "duplicate-seat",
            Self::NoSeats => "no-seats",
            Self::UnknownZone => "unknown-zone",
            Self::UnknownHold => "unknown-hold",
            Self::ForeignHold => "foreign-hold",
            Self::HoldExpired => "hold-expired",
            Self::HoldBought { .. } => "hold-bought",
            Self::PaymentInProgress { .. } => "payment-in-progress",
            Self::PaymentDeclined { .. } => "payment-declined",
            Self::PaymentUnknown { .. } => "payment-unknown",
            Self::IdempotencyMismatch => "idempotency-mismatch",
            Self::TooManyAttempts { .. } => "too-many-attempts",
            Self::UnknownOrder => "unknown-order",
        }
    }
}
