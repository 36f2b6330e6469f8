//! What was the crowd told? Every answer that promises something, with the times around it.
//!
//! A request is sent at one time and answered at a later one; the server decided somewhere in
//! between. Both ends are kept wherever the checker needs to know which way to be generous.
//! Entries are made only from statements whose signature fits; the others are counted in
//! [`History::unverified`].

use keys::{Front, Id128, Lane, Timestamp};

/// A place was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who of the crowd.
    pub person: u64,
    /// The visitor, as the place names them.
    pub sub: Id128,
    /// The line's generation.
    pub line: u64,
    /// The lane.
    pub lane: Lane,
    /// The number.
    pub num: u64,
    /// When it was asked for.
    pub sent_at: Timestamp,
    /// When it was received.
    pub at: Timestamp,
    /// False for a place in another lane that replaced an earlier one: its order is not that of
    /// arrival.
    pub is_first: bool,
}

/// A pass was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The visitor.
    pub sub: Id128,
    /// The pass.
    pub jti: Id128,
    /// The lane.
    pub lane: Lane,
    /// The position it was given for, if the visitor ever saw one.
    pub position: Option<u64>,
    /// When it was received.
    pub at: Timestamp,
}

/// Seats were given into a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The hold.
    pub hold: String,
    /// The seats.
    pub seats: Vec<u32>,
    /// When the answer was received: from here on they are surely held.
    pub from: Timestamp,
    /// Until when they surely are: its end as told, or earlier, when a release was sent.
    pub until: Timestamp,
    /// What it costs.
    pub total: u64,
}

/// What became of an order when it was read again at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// It was not, for there are more than are read again.
    NotAsked,
    /// As it was.
    Same,
    /// Something else than what was confirmed.
    Changed(String),
    /// The origin knows of no such order.
    Gone,
    /// No answer that says either.
    Unread(String),
}

/// An order was confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sold {
    /// The order.
    pub order: String,
    /// The hold that it was made of.
    pub hold: String,
    /// The seats.
    pub seats: Vec<u32>,
    /// The price of each.
    pub prices: Vec<u64>,
    /// What was charged, in minor units.
    pub total: u64,
    /// Number of tickets.
    pub tickets: usize,
    /// When it was confirmed.
    pub at: Timestamp,
    /// What became of it.
    pub reread: Reread,
}

/// A payment was seen under way: somebody was told so who asked with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paying {
    /// The order that it is to become.
    pub order: String,
    /// The hold that is being paid.
    pub hold: String,
    /// The seats.
    pub seats: Vec<u32>,
    /// When that was received: from here on the seats wait for the gateway.
    pub from: Timestamp,
    /// Until when nobody gives up waiting.
    pub until: Timestamp,
}

/// A request with an idempotency key was answered for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The visitor and the key; what was asked with it was always the same.
    pub key: String,
    /// The order, or why there is none.
    pub answer: String,
}

/// Tickets were given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Of which order.
    pub order: String,
    /// The seats.
    pub seats: Vec<u32>,
    /// When that was asked for: from here on they may be somebody else's.
    pub at: Timestamp,
}

/// A ticket, as its order showed it when it was read again at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketSeen {
    /// The order.
    pub order: String,
    /// The seat.
    pub seat: u32,
    /// The ticket.
    pub ticket: String,
    /// Whether it lets somebody in, or has done so.
    pub is_live: bool,
}

/// One authorisation in the payment sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Charge {
    /// The order that it pays for.
    pub order: String,
    /// How much.
    pub amount: u64,
    /// False if it was declined or voided.
    pub is_live: bool,
    /// What was paid back of it.
    pub refunded: u64,
    /// When the gateway decided: nobody knew before.
    pub at: Option<Timestamp>,
}

/// The payment sandbox's books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ledger {
    /// Nobody asked for them.
    #[default]
    NotAsked,
    /// They could not be read.
    Unread(String),
    /// What was charged during the run.
    Charges(Vec<Charge>),
}

/// Everything the crowd was told.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Places.
    pub joined: Vec<Joined>,
    /// Passes: one entry for each first sight of a pass by a visitor.
    pub admitted: Vec<Admitted>,
    /// Holds.
    pub holds: Vec<Held>,
    /// Orders.
    pub orders: Vec<Sold>,
    /// Payments that were seen under way.
    pub paying: Vec<Paying>,
    /// Answers to requests with an idempotency key.
    pub keyed: Vec<Keyed>,
    /// Tickets that were given back.
    pub returned: Vec<Returned>,
    /// Tickets of orders that were read again at the end.
    pub tickets: Vec<TicketSeen>,
    /// Orders whose outcome the visitor never learned.
    pub unresolved_total: u64,
    /// Signed fronts, as the run's observer fetched them.
    pub fronts: Vec<Front>,
    /// Statements that no published key had signed, or whose time or kind was wrong: what and why.
    /// At most [`History::UNVERIFIED_MAX`] are kept.
    pub unverified: Vec<String>,
    /// How many there were.
    pub unverified_total: u64,
    /// The payment sandbox's books.
    pub ledger: Ledger,
}

impl History {
    /// Most descriptions of unverified statements that are kept: enough to see a pattern.
    pub const UNVERIFIED_MAX: usize = 20;

    /// Notes a statement that could not be verified.
    pub fn note_unverified(&mut self, what: String) {
        self.unverified_total += 1;
        if self.unverified.len() < Self::UNVERIFIED_MAX {
            self.unverified.push(what);
        }
    }

    /// Notes that a release or a change of it was sent: the hold may have ended from then on.
    pub fn release(&mut self, hold: &str, sent_at: Timestamp) {
        // It was taken a moment ago, so it stands near the end.
        if let Some(held) = self.holds.iter_mut().rev().find(|held| held.hold == hold) {
            held.until = held.until.min(sent_at);
        }
    }

    /// Notes a front, unless it is the newest one already.
    pub fn note_front(&mut self, front: &Front) {
        if self.fronts.last() != Some(front) {
            self.fronts.push(front.clone());
        }
    }
}
