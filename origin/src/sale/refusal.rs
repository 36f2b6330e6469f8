//! Why the rules said no. Whoever is refused left the stock as it was.
//!
//! Of several reasons the first in this order is told, whatever the command:
//! 1. the idempotency key (`idempotency-mismatch`, and what its payment came to),
//! 2. the hold or entry that is named (`unknown-hold`, `foreign-hold`, `hold-expired`,
//!    `hold-bought`, `payment-in-progress`, `offer-open`; `unknown-entry`, `no-offer`),
//! 3. what is asked for (`no-seats`, `too-many-seats`, `unknown-seat`, `unknown-area`,
//!    `unknown-zone`, `duplicate-seat`, `seat-not-held`, `not-blocked`),
//! 4. the event's rules (`best-available-only`, `no-extension-left`, `too-many-channels`,
//!    `waitlist-full`, `too-many-attempts`),
//! 5. the visitor (`already-waiting`, and `too-many-seats` over all their holds and orders),
//! 6. the stock (`seat-taken`, `area-full`, `not-enough-together`, `seats-available`).

use keys::{Id128, Timestamp};

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
    /// No such area.
    #[error("there is no area of that name")]
    UnknownArea,
    /// An area has not that many places left; nothing was held.
    #[error("{left} of {asked} places are left in {area}")]
    AreaFull {
        /// Id of the area.
        area: String,
        /// How many were wanted.
        asked: u32,
        /// How many there are.
        left: u32,
    },
    /// Seats are to be dropped from a hold that does not have them.
    #[error("{} of the seats are not in the hold", seats.len())]
    SeatNotHeld {
        /// Those seats; none if it is places in an area.
        seats: Vec<Seat>,
    },
    /// Nobody chooses seats yet.
    #[error("until {until}, seats are given out as the best available")]
    BestAvailableOnly {
        /// From when on seats can be chosen.
        until: Timestamp,
    },
    /// It had the extension, or has all the time that a hold can have.
    #[error("the hold can get no more time for that reason")]
    NoExtensionLeft,
    /// The hold is an offer that was not taken.
    #[error("the offer was not accepted yet")]
    OfferOpen,
    /// Seats are to be put on sale that the channel does not keep.
    #[error("{} of the seats are not blocked by that channel", seats.len())]
    NotBlocked {
        /// Those seats; none if it is places in an area.
        seats: Vec<Seat>,
    },
    /// More names for blocked seats than we keep.
    #[error("seats are blocked by {max} channels, which is the most")]
    TooManyChannels {
        /// The limit.
        max: u32,
    },
    /// No such entry, or it left.
    #[error("there is no such entry in the waitlist")]
    UnknownEntry,
    /// The entry still waits.
    #[error("there is no offer yet")]
    NoOffer,
    /// Nobody can wait any more.
    #[error("{max} wait already, which is the most")]
    WaitlistFull {
        /// The limit.
        max: u32,
    },
    /// A visitor waits once.
    #[error("the visitor waits already")]
    AlreadyWaiting {
        /// The entry, or the offer that it became.
        entry: Id128,
    },
    /// There is no need to wait.
    #[error("so many seats can be had now")]
    SeatsAvailable,
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
        /// The gateway's code, such as `insufficient_funds`.
        code: Option<String>,
    },
    /// No payment gateway answers now; nothing was asked for, and the hold stands.
    #[error("no payment gateway answers")]
    NoGateway,
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
    /// The event is cancelled: nothing more is sold.
    #[error("the event was cancelled")]
    EventCancelled,
    /// No such ticket.
    #[error("there is no such ticket")]
    UnknownTicket,
    /// Somebody came in with it.
    #[error("the ticket was used at {gate}")]
    TicketUsed {
        /// When.
        at: Timestamp,
        /// Where.
        gate: String,
    },
    /// It was given back.
    #[error("the ticket is void")]
    TicketVoid {
        /// Since when.
        at: Timestamp,
    },
    /// Nobody told where to send the tickets, or nothing is sent from here.
    #[error("there is no address that tickets could be sent to")]
    NoAddress,
    /// The tickets were sent a moment ago, or often.
    #[error("the tickets were sent a moment ago, or often today")]
    SendTooSoon {
        /// When they can be sent again.
        at: Timestamp,
    },
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
            Self::UnknownArea => "unknown-area",
            Self::AreaFull { .. } => "area-full",
            Self::SeatNotHeld { .. } => "seat-not-held",
            Self::BestAvailableOnly { .. } => "best-available-only",
            Self::NoExtensionLeft => "no-extension-left",
            Self::OfferOpen => "offer-open",
            Self::NotBlocked { .. } => "not-blocked",
            Self::TooManyChannels { .. } => "too-many-channels",
            Self::NoOffer => "no-offer",
            Self::UnknownEntry => "unknown-entry",
            Self::WaitlistFull { .. } => "waitlist-full",
            Self::AlreadyWaiting { .. } => "already-waiting",
            Self::SeatsAvailable => "seats-available",
            Self::UnknownHold => "unknown-hold",
            Self::ForeignHold => "foreign-hold",
            Self::HoldExpired => "hold-expired",
            Self::HoldBought { .. } => "hold-bought",
            Self::PaymentInProgress { .. } => "payment-in-progress",
            Self::PaymentDeclined { .. } => "payment-declined",
            Self::PaymentUnknown { .. } => "payment-unknown",
            Self::NoGateway => "payment-unavailable",
            Self::IdempotencyMismatch => "idempotency-mismatch",
            Self::TooManyAttempts { .. } => "too-many-attempts",
            Self::UnknownOrder => "unknown-order",
            Self::EventCancelled => "event-cancelled",
            Self::UnknownTicket => "unknown-ticket",
            Self::TicketUsed { .. } => "ticket-used",
            Self::TicketVoid { .. } => "ticket-void",
            Self::NoAddress => "no-address",
            Self::SendTooSoon { .. } => "send-too-soon",
        }
    }
}
