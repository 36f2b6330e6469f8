//! The seats, holds and orders of one event, and how a command changes them.
//!
//! [`State::apply`] decides and [`State::evolve`] carries out; the log holds what was decided and
//! replay is `evolve` alone. `evolve` trusts nobody: a change that does not fit, such as a second
//! owner for a seat, is an error and never a state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::best::best;
use super::command::{BeginPayment, Change, Command, Outcome, Reply, Want};
use super::plan::Plan;
use super::refusal::Refusal;
use super::seats::SeatSet;

/// How long we can still tell that a hold expired rather than never was, in seconds.
const EXPIRED_KEPT_SECS: u64 = 3600;
/// How many expired holds we can tell that of: a bound on memory, 5 MB.
const EXPIRED_KEPT_MAX: usize = 100_000;
/// How long a declined payment's idempotency key is remembered, in seconds.
const DECLINED_KEPT_SECS: u64 = 24 * 3600;
/// How many declined payments we remember: a bound on memory, 50 MB.
const DECLINED_KEPT_MAX: usize = 100_000;
/// Most payments that are tried for one hold: enough for a wallet of cards, not for a card tester.
const ATTEMPTS_MAX: u32 = 10;
/// Most declined payments of one visitor that we remember at once, whatever they were for: giving
/// a hold back and holding again starts no new count.
const DECLINED_PER_VISITOR_MAX: u32 = 30;
/// Most seats that a hold can have under any configuration: a hold outlives a restart with a lower
/// `seats_per_order_max`, and must still find a ticket for each seat.
pub const SEATS_PER_ORDER_LIMIT: u32 = 100;

/// What the operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a hold stands.
    pub hold: Duration,
    /// Most seats in a hold.
    pub seats_per_order_max: u32,
    /// Most seats that one visitor may hold and buy.
    pub seats_per_visitor_max: u32,
}

/// Seats by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// For whoever takes them.
    pub free: u64,
    /// In holds that are not being paid.
    pub held: u64,
    /// In orders that are being paid.
    pub paying: u64,
    /// Sold.
    pub sold: u64,
}

/// A hold as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldView {
    /// Its id.
    pub hold: Id128,
    /// Its seats, each with its price in minor units.
    pub seats: Vec<(Seat, u64)>,
    /// Until when it stands.
    pub until: Timestamp,
    /// Whether it is being paid.
    pub is_paying: bool,
}

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStage {
    /// The provider was asked.
    Paying,
    /// The provider did not answer; somebody is finding out.
    Unknown,
    /// Paid.
    Sold,
}

/// An order as its buyer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    /// Its id.
    pub order: Id128,
    /// Where it is.
    pub stage: OrderStage,
    /// Its seats, each with its ticket.
    pub seats: Vec<(Seat, Id128)>,
    /// The buyer's name.
    pub name: String,
    /// When it was sold, or payment began.
    pub at: Timestamp,
    /// Price of each seat when it was held, in minor units.
    pub prices: Vec<u64>,
    /// What was or will be charged, in minor units.
    pub total: u64,
    /// Log sequence after the change that brought it where it is.
    pub seq: u64,
}

/// A change that does not fit the state: the log and the code disagree, and we must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A seat would get a second owner, or does not exist.
    #[error("seat {seat} is not free")]
    SeatNotFree {
        /// Which.
        seat: Seat,
    },
    /// There is no such hold or order in the state that the change starts from.
    #[error("no hold or order {id} in the state that {change} starts from")]
    NotThere {
        /// Which.
        id: Id128,
        /// What was to happen.
        change: &'static str,
    },
    /// An id is used twice.
    #[error("id {id} is used twice")]
    Twice {
        /// Which.
        id: Id128,
    },
    /// Not one price a seat.
    #[error("{prices} prices for {seats} seats")]
    Prices {
        /// How many seats.
        seats: usize,
        /// How many prices.
        prices: usize,
    },
    /// The sale began with another seating.
    #[error("the sale began with the seating {logged} and the venue now has {now}")]
    OtherPlan {
        /// Then.
        logged: String,
        /// Now.
        now: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    sub: Id128,
    seats: Vec<Seat>,
    #[serde(default)]
    prices: Vec<u64>,
    until: Timestamp,
    attempts: u32,
    paying: Option<Id128>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    hold: Id128,
    sub: Id128,
    key: String,
    seats: Vec<Seat>,
    #[serde(default)]
    prices: Vec<u64>,
    tickets: Vec<Id128>,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    at: Timestamp,
    stage: OrderStage,
    #[serde(default)]
    seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Attempt {
    body: String,
    /// Absent once it was declined.
    order: Option<Id128>,
    /// Log sequence after that.
    #[serde(default)]
    declined_seq: u64,
}

/// All that a restart needs; the rest is computed from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    plan: Option<String>,
    holds: Vec<(Id128, Hold)>,
    orders: Vec<(Id128, Order)>,
    attempts: Vec<(Id128, String, Attempt)>,
    expired: VecDeque<(Timestamp, Id128, Id128)>,
    declined: VecDeque<(Timestamp, Id128, String)>,
}

/// The seats, holds and orders of one event.
#[derive(Debug, Clone)]
pub struct State {
    plan: Arc<Plan>,
    rules: Rules,
    opened: Option<String>,
    free: SeatSet,
    counts: Counts,
    holds: BTreeMap<Id128, Hold>,
    orders: BTreeMap<Id128, Order>,
    /// By visitor and idempotency key.
    attempts: BTreeMap<(Id128, String), Attempt>,
    /// Holds that time can free.
    deadlines: BTreeSet<(Timestamp, Id128)>,
    /// Orders whose payment is not settled.
    paying: BTreeSet<Id128>,
    /// Which order a hold became.
    bought: BTreeMap<Id128, Id128>,
    seats_by_visitor: BTreeMap<Id128, u32>,
    /// Visitors and their holds.
    holds_by_visitor: BTreeSet<(Id128, Id128)>,
    declined_by_visitor: BTreeMap<Id128, u32>,
    /// Log sequence of the next change.
    next_seq: u64,
    /// Expired holds and whose they were.
    expired: BTreeMap<Id128, Id128>,
    expired_since: VecDeque<(Timestamp, Id128, Id128)>,
    declined_since: VecDeque<(Timestamp, Id128, String)>,
}

impl State {
    /// All seats free.
    #[must_use]
    pub fn new(plan: Arc<Plan>, rules: Rules) -> Self {
        let free = SeatSet::full(plan.capacity());
        let counts = Counts { free: u64::from(plan.capacity()), ..Counts::default() };
        Self {
            plan,
            rules,
            opened: None,
            free,
            counts,
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            attempts: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            paying: BTreeSet::new(),
            bought: BTreeMap::new(),
            seats_by_visitor: BTreeMap::new(),
            holds_by_visitor: BTreeSet::new(),
            declined_by_visitor: BTreeMap::new(),
            next_seq: 0,
            expired: BTreeMap::new(),
            expired_since: VecDeque::new(),
            declined_since: VecDeque::new(),
        }
    }

    /// Tells where in the log the next change will be; orders remember it.
    pub fn set_next_seq(&mut self, seq: u64) {
        self.next_seq = seq;
    }

    /// Carries out one command at `now`: what changed, and what to answer.
    ///
    /// # Panics
    /// If a change that was decided on this very state does not fit it, which is a fault in this
    /// file; the partition's thread ends and nothing more is sold.
    pub fn apply(&mut self, command: &Command, now: Timestamp) -> (Vec<Change>, Reply) {
        let (changes, verdict) = match command {
            Command::Hold { hold, sub, want } => self.decide_hold(*hold, *sub, want, now),
            Command::ViewHold { hold, sub } => match self.touch(*hold, *sub, now) {
                Ok(()) => (Vec::new(), Ok(())),
                Err(refused) => refused,
            },
            Command::Release { hold, sub } => self.decide_release(*hold, *sub, now),
            Command::BeginPayment(begin) => self.decide_payment(begin, now),
            Command::Settle { order, outcome } => {
                (self.decide_settling(*order, *outcome, now), Ok(()))
            }
            Command::Expire { hold } => (self.decide_expiry(*hold, now), Ok(())),
            Command::ViewOrder { .. } | Command::ListPaying => (Vec::new(), Ok(())),
        };
        for change in &changes {
            self.evolve(change, now).expect("a change fits the state that it was decided on");
        }
        let reply = match verdict {
            Err(refusal) => Reply::Refused(refusal),
            Ok(()) => self.reply(command, &changes),
        };
        (changes, reply)
    }

    /// Carries out one change that was decided at `at`.
    ///
    /// # Errors
    /// If it does not fit; the state may be half changed then and must be thrown away.
    pub fn evolve(&mut self, change: &Change, at: Timestamp) -> Result<(), Misfit> {
        self.forget(at);
        self.next_seq += 1;
        let seq = self.next_seq;
        match change {
            Change::Opened { plan } => {
                if plan != self.plan.fingerprint() {
                    let now = self.plan.fingerprint().to_owned();
                    return Err(Misfit::OtherPlan { logged: plan.clone(), now });
                }
                self.opened = Some(plan.clone());
            }
            Change::Held { hold, sub, seats, prices, until } => {
                let new = Hold {
                    sub: *sub,
                    seats: seats.clone(),
                    prices: self.prices_or(prices.clone(), seats)?,
                    until: *until,
                    attempts: 0,
                    paying: None,
                };
                self.add_hold(*hold, new)?;
            }
            Change::Released { hold } => {
                self.take_hold(*hold, "released")?;
            }
            Change::Expired { hold } => {
                let Hold { sub, .. } = self.take_hold(*hold, "expired")?;
                self.expired.insert(*hold, sub);
                self.expired_since.push_back((at, *hold, sub));
            }
            Change::PaymentBegun { hold, order, key, body, tickets, name, email } => {
                let missing = || Misfit::NotThere { id: *hold, change: "payment_begun" };
                let held = self.holds.get(hold).filter(|h| h.paying.is_none());
                let held = held.ok_or_else(missing)?;
                let new = Order {
                    hold: *hold,
                    sub: held.sub,
                    key: key.clone(),
                    seats: held.seats.clone(),
                    prices: held.prices.clone(),
                    tickets: tickets.clone(),
                    name: name.clone(),
                    email: email.clone(),
                    at,
                    stage: OrderStage::Paying,
                    seq,
                };
                let order_of = Some(*order);
                let attempt = Attempt { body: body.clone(), order: order_of, declined_seq: 0 };
                self.attempts.insert((held.sub, key.clone()), attempt);
                self.begin_order(*order, new)?;
            }
            Change::PaymentUnknown { order } => {
                let known = self.orders.get_mut(order).filter(|o| o.stage != OrderStage::Sold);
                let missing = Misfit::NotThere { id: *order, change: "payment_unknown" };
                let known = known.ok_or(missing)?;
                known.stage = OrderStage::Unknown;
                known.seq = seq;
            }
            Change::PaymentDeclined { order, until } => {
                let Order { hold, sub, key, .. } = self.end_payment(*order, "payment_declined")?;
                let missing = Misfit::NotThere { id: hold, change: "payment_declined" };
                let held = self.holds.get_mut(&hold).ok_or(missing)?;
                held.paying = None;
                held.until = *until;
                held.attempts += 1;
                self.counts.held += held.seats.len() as u64;
                self.deadlines.insert((*until, hold));
                if let Some(attempt) = self.attempts.get_mut(&(sub, key.clone())) {
                    attempt.order = None;
                    attempt.declined_seq = seq;
                }
                *self.declined_by_visitor.entry(sub).or_default() += 1;
                self.declined_since.push_back((at, sub, key));
            }
            Change::Sold { order } => {
                let paid = self.end_payment(*order, "sold")?;
                self.holds.remove(&paid.hold);
                self.holds_by_visitor.remove(&(paid.sub, paid.hold));
                self.bought.insert(paid.hold, *order);
                self.counts.sold += paid.seats.len() as u64;
                self.orders.insert(*order, Order { stage: OrderStage::Sold, at, seq, ..paid });
            }
        }
        Ok(())
    }

    /// Holds whose time is over at `now`, oldest first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = Id128> + '_ {
        self.deadlines.iter().take_while(move |(until, _)| *until <= now).map(|(_, hold)| *hold)
    }

    /// When the next hold's time is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Seats by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The free seats.
    #[must_use]
    pub fn free(&self) -> &SeatSet {
        &self.free
    }

    /// The change that begins the sale, if it has not begun.
    #[must_use]
    pub fn opening(&self) -> Option<Change> {
        let plan = self.plan.fingerprint().to_owned();
        self.opened.is_none().then_some(Change::Opened { plan })
    }

    /// What a restart needs.
    #[must_use]
    pub fn save(&self) -> Saved {
        let attempts = self.attempts.iter();
        Saved {
            plan: self.opened.clone(),
            holds: self.holds.iter().map(|(id, hold)| (*id, hold.clone())).collect(),
            orders: self.orders.iter().map(|(id, order)| (*id, order.clone())).collect(),
            attempts: attempts.map(|((sub, key), a)| (*sub, key.clone(), a.clone())).collect(),
            expired: self.expired_since.clone(),
            declined: self.declined_since.clone(),
        }
    }

    /// The state that was saved.
    ///
    /// # Errors
    /// If what was saved does not fit together or belongs to another seating.
    pub fn restore(plan: Arc<Plan>, rules: Rules, saved: Saved) -> Result<Self, Misfit> {
        let mut state = Self::new(plan, rules);
        if let Some(plan) = saved.plan {
            state.evolve(&Change::Opened { plan }, Timestamp::default())?;
        }
        for (id, hold) in saved.holds {
            let paying = hold.paying;
            let prices = state.prices_or(hold.prices, &hold.seats)?;
            state.add_hold(id, Hold { paying: None, prices, ..hold })?;
            if let (Some(order), Some(known)) = (paying, state.holds.get_mut(&id)) {
                known.paying = Some(order);
                state.deadlines.remove(&(known.until, id));
                state.counts.held -= known.seats.len() as u64;
                state.counts.paying += known.seats.len() as u64;
                state.paying.insert(order);
            }
        }
        for (id, order) in saved.orders {
            if order.stage == OrderStage::Sold {
                state.take_seats(order.sub, &order.seats)?;
                state.counts.sold += order.seats.len() as u64;
                state.bought.insert(order.hold, id);
            } else if !state.paying.contains(&id) {
                return Err(Misfit::NotThere { id, change: "a payment" });
            }
            let prices = state.prices_or(order.prices, &order.seats)?;
            state.orders.insert(id, Order { prices, ..order });
        }
        if let Some(id) = state.paying.iter().find(|id| !state.orders.contains_key(id)) {
            return Err(Misfit::NotThere { id: *id, change: "a payment" });
        }
        let attempts = saved.attempts.into_iter();
        state.attempts = attempts.map(|(sub, key, attempt)| ((sub, key), attempt)).collect();
        state.expired = saved.expired.iter().map(|(_, hold, sub)| (*hold, *sub)).collect();
        state.expired_since = saved.expired;
        for (_, sub, _) in &saved.declined {
            *state.declined_by_visitor.entry(*sub).or_default() += 1;
        }
        state.declined_since = saved.declined;
        Ok(state)
    }
}

type Decided = (Vec<Change>, Result<(), Refusal>);

/// Decisions: they read the state and change nothing.
impl State {
    fn decide_hold(&self, hold: Id128, sub: Id128, want: &Want, now: Timestamp) -> Decided {
        let found = match want {
            Want::Seats(seats) => self.wanted_seats(sub, seats),
            Want::Best { zone, quantity } => self.best_seats(sub, zone.as_deref(), *quantity),
        };
        match found {
            Err(refusal) => (Vec::new(), Err(refusal)),
            Ok(seats) => {
                let until = now.plus(self.rules.hold);
                let prices = seats.iter().map(|seat| self.plan.price_of(*seat)).collect();
                (vec![Change::Held { hold, sub, seats, prices, until }], Ok(()))
            }
        }
    }

    fn wanted_seats(&self, sub: Id128, seats: &[Seat]) -> Result<Vec<Seat>, Refusal> {
        let asked = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        self.check_quantity(asked)?;
        let last = self.plan.capacity().saturating_sub(1);
        if let Some(seat) = seats.iter().find(|seat| **seat > last) {
            return Err(Refusal::UnknownSeat { seat: *seat, last });
        }
        let mut sorted = seats.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Refusal::DuplicateSeat { seat: twice[0] });
        }
        self.check_visitor(sub, asked)?;
        let taken: Vec<Seat> =
            sorted.iter().copied().filter(|seat| !self.free.contains(*seat)).collect();
        if taken.is_empty() { Ok(sorted) } else { Err(Refusal::SeatTaken { seats: taken }) }
    }

    fn best_seats(
        &self,
        sub: Id128,
        zone: Option<&str>,
        quantity: u32,
    ) -> Result<Vec<Seat>, Refusal> {
        self.check_quantity(quantity)?;
        let zone = match zone {
            None => None,
            Some(id) => Some(self.plan.zone_named(id).ok_or(Refusal::UnknownZone)?),
        };
        self.check_visitor(sub, quantity)?;
        let first = best(&self.plan, &self.free, zone, quantity)
            .ok_or(Refusal::NotEnoughTogether { quantity })?;
        Ok((first..first + quantity).collect())
    }

    fn check_quantity(&self, asked: u32) -> Result<(), Refusal> {
        let max = self.rules.seats_per_order_max;
        match asked {
            0 => Err(Refusal::NoSeats),
            _ if asked > max => Err(Refusal::TooManySeats { asked, max }),
            _ => Ok(()),
        }
    }

    fn check_visitor(&self, sub: Id128, asked: u32) -> Result<(), Refusal> {
        let have = self.seats_by_visitor.get(&sub).copied().unwrap_or(0);
        let max = self.rules.seats_per_visitor_max;
        if have + asked <= max {
            return Ok(());
        }
        // A hold whose answer never arrived is among these: its owner can look at it or free it.
        let first = (sub, Id128::from_bytes([0; 16]));
        let holds = self.holds_by_visitor.range(first..).take_while(|(owner, _)| *owner == sub);
        let holds = holds.take(SEATS_PER_ORDER_LIMIT as usize).map(|(_, hold)| *hold).collect();
        Err(Refusal::VisitorLimit { have, asked, max, holds })
    }

    /// Whether `sub` may use the hold now. One that is found overdue is freed on the spot: whether
    /// the timer or the visitor came first makes no difference.
    fn touch(&self, hold: Id128, sub: Id128, now: Timestamp) -> Result<(), Decided> {
        let refuse = |refusal| Err((Vec::new(), Err(refusal)));
        if let Some(found) = self.holds.get(&hold) {
            return match found {
                found if found.sub != sub => refuse(Refusal::ForeignHold),
                found if found.paying.is_none() && found.until <= now => {
                    Err((vec![Change::Expired { hold }], Err(Refusal::HoldExpired)))
                }
                _ => Ok(()),
            };
        }
        if let Some(order) = self.bought.get(&hold) {
            let is_owner = self.orders.get(order).is_some_and(|order| order.sub == sub);
            let bought = Refusal::HoldBought { order: *order };
            return refuse(if is_owner { bought } else { Refusal::ForeignHold });
        }
        match self.expired.get(&hold) {
            Some(owner) if *owner == sub => refuse(Refusal::HoldExpired),
            Some(_) => refuse(Refusal::ForeignHold),
            None => refuse(Refusal::UnknownHold),
        }
    }

    fn decide_release(&self, hold: Id128, sub: Id128, now: Timestamp) -> Decided {
        if let Err(refused) = self.touch(hold, sub, now) {
            return refused;
        }
        if let Some(order) = self.holds.get(&hold).and_then(|found| found.paying) {
            return (Vec::new(), Err(Refusal::PaymentInProgress { order }));
        }
        (vec![Change::Released { hold }], Ok(()))
    }

    fn decide_payment(&self, begin: &BeginPayment, now: Timestamp) -> Decided {
        let refuse = |refusal| (Vec::new(), Err(refusal));
        if let Some(attempt) = self.attempts.get(&(begin.sub, begin.key.clone())) {
            if attempt.body != begin.body {
                return refuse(Refusal::IdempotencyMismatch);
            }
            let seq = attempt.declined_seq;
            let Some(order) = attempt.order else {
                return refuse(Refusal::PaymentDeclined { seq });
            };
            return match self.orders.get(&order).map(|order| order.stage) {
                Some(OrderStage::Sold) => (Vec::new(), Ok(())),
                Some(OrderStage::Unknown) => refuse(Refusal::PaymentUnknown { order }),
                Some(OrderStage::Paying) | None => refuse(Refusal::PaymentInProgress { order }),
            };
        }
        if let Err(refused) = self.touch(begin.hold, begin.sub, now) {
            return refused;
        }
        let Some(found) = self.holds.get(&begin.hold) else {
            return refuse(Refusal::UnknownHold);
        };
        if let Some(order) = found.paying {
            return refuse(Refusal::PaymentInProgress { order });
        }
        if found.attempts >= ATTEMPTS_MAX {
            return refuse(Refusal::TooManyAttempts { max: ATTEMPTS_MAX });
        }
        let declined = self.declined_by_visitor.get(&begin.sub).copied().unwrap_or(0);
        if declined >= DECLINED_PER_VISITOR_MAX {
            return refuse(Refusal::TooManyAttempts { max: DECLINED_PER_VISITOR_MAX });
        }
        if begin.tickets.len() < found.seats.len() {
            let asked = u32::try_from(found.seats.len()).unwrap_or(u32::MAX);
            let max = u32::try_from(begin.tickets.len()).unwrap_or(u32::MAX);
            return refuse(Refusal::TooManySeats { asked, max });
        }
        let change = Change::PaymentBegun {
            hold: begin.hold,
            order: begin.order,
            key: begin.key.clone(),
            body: begin.body.clone(),
            tickets: begin.tickets.iter().copied().take(found.seats.len()).collect(),
            name: begin.name.clone(),
            email: begin.email.clone(),
        };
        (vec![change], Ok(()))
    }

    fn decide_settling(&self, order: Id128, outcome: Outcome, now: Timestamp) -> Vec<Change> {
        let Some(found) = self.orders.get(&order) else { return Vec::new() };
        match (found.stage, outcome) {
            (OrderStage::Sold, _) | (OrderStage::Unknown, Outcome::Unknown) => Vec::new(),
            (OrderStage::Paying, Outcome::Unknown) => vec![Change::PaymentUnknown { order }],
            (_, Outcome::Authorised) => vec![Change::Sold { order }],
            (_, Outcome::Declined) => {
                // The time that was left when payment began: waiting for the provider is not
                // the buyer's fault.
                let until = self.holds.get(&found.hold).map_or(now, |hold| hold.until);
                vec![Change::PaymentDeclined { order, until: now.plus(until.since(found.at)) }]
            }
        }
    }

    fn decide_expiry(&self, hold: Id128, now: Timestamp) -> Vec<Change> {
        let found = self.holds.get(&hold);
        let is_over = found.is_some_and(|hold| hold.paying.is_none() && hold.until <= now);
        if is_over { vec![Change::Expired { hold }] } else { Vec::new() }
    }

    /// What to answer to a command that was not refused, once it is carried out.
    fn reply(&self, command: &Command, changes: &[Change]) -> Reply {
        match command {
            Command::Hold { hold, .. } | Command::ViewHold { hold, .. } => self.view_hold(*hold),
            Command::Release { .. } => Reply::Freed,
            Command::BeginPayment(begin) => match changes.first() {
                Some(_) => Reply::Charge { order: begin.order, amount: self.total(begin.order) },
                None => {
                    let earlier = self.attempts.get(&(begin.sub, begin.key.clone()));
                    earlier.and_then(|a| a.order).map_or(Reply::Nothing, |id| self.view_order(id))
                }
            },
            Command::Settle { order, .. } => match changes.first() {
                Some(Change::PaymentDeclined { .. }) => {
                    Reply::Refused(Refusal::PaymentDeclined { seq: self.next_seq })
                }
                Some(Change::PaymentUnknown { order }) => {
                    Reply::Refused(Refusal::PaymentUnknown { order: *order })
                }
                _ => self.view_order(*order),
            },
            Command::Expire { .. } if changes.is_empty() => Reply::Nothing,
            Command::Expire { .. } => Reply::Freed,
            Command::ViewOrder { order } => self.view_order(*order),
            Command::ListPaying => Reply::Paying(self.paying.iter().copied().collect()),
        }
    }

    fn view_hold(&self, id: Id128) -> Reply {
        match self.holds.get(&id) {
            None => Reply::Refused(Refusal::UnknownHold),
            Some(hold) => Reply::Hold(HoldView {
                hold: id,
                seats: hold.seats.iter().copied().zip(hold.prices.iter().copied()).collect(),
                until: hold.until,
                is_paying: hold.paying.is_some(),
            }),
        }
    }

    fn view_order(&self, id: Id128) -> Reply {
        self.order(id).map_or(Reply::Refused(Refusal::UnknownOrder), Reply::Order)
    }

    fn total(&self, order: Id128) -> u64 {
        self.orders.get(&order).map_or(0, |order| order.prices.iter().sum())
    }
}

/// What is published.
impl State {
    /// An order as it stands.
    #[must_use]
    pub fn order(&self, id: Id128) -> Option<OrderView> {
        self.orders.get(&id).map(|order| OrderView {
            order: id,
            stage: order.stage,
            seats: order.seats.iter().copied().zip(order.tickets.iter().copied()).collect(),
            name: order.name.clone(),
            at: order.at,
            prices: order.prices.clone(),
            total: self.total(id),
            seq: order.seq,
        })
    }

    /// The ids of all orders.
    pub fn orders(&self) -> impl Iterator<Item = Id128> + '_ {
        self.orders.keys().copied()
    }
}

/// Steps of `evolve` and `restore`.
impl State {
    /// The prices that were logged, or today's if the log is older than prices in it.
    fn prices_or(&self, logged: Vec<u64>, seats: &[Seat]) -> Result<Vec<u64>, Misfit> {
        match logged.len() {
            0 => Ok(seats.iter().map(|seat| self.plan.price_of(*seat)).collect()),
            count if count == seats.len() => Ok(logged),
            _ => Err(Misfit::Prices { seats: seats.len(), prices: logged.len() }),
        }
    }

    fn take_seats(&mut self, sub: Id128, seats: &[Seat]) -> Result<(), Misfit> {
        for seat in seats {
            if !self.free.remove(*seat) {
                return Err(Misfit::SeatNotFree { seat: *seat });
            }
        }
        self.counts.free -= seats.len() as u64;
        let count = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        *self.seats_by_visitor.entry(sub).or_default() += count;
        Ok(())
    }

    fn add_hold(&mut self, id: Id128, hold: Hold) -> Result<(), Misfit> {
        if self.holds.contains_key(&id) || self.bought.contains_key(&id) {
            return Err(Misfit::Twice { id });
        }
        self.take_seats(hold.sub, &hold.seats)?;
        self.counts.held += hold.seats.len() as u64;
        self.deadlines.insert((hold.until, id));
        self.holds_by_visitor.insert((hold.sub, id));
        self.holds.insert(id, hold);
        Ok(())
    }

    fn take_hold(&mut self, id: Id128, change: &'static str) -> Result<Hold, Misfit> {
        let is_held = self.holds.get(&id).is_some_and(|hold| hold.paying.is_none());
        let hold = self.holds.remove(&id).filter(|_| is_held);
        let hold = hold.ok_or(Misfit::NotThere { id, change })?;
        self.deadlines.remove(&(hold.until, id));
        self.holds_by_visitor.remove(&(hold.sub, id));
        for seat in &hold.seats {
            self.free.insert(*seat);
        }
        let count = hold.seats.len();
        self.counts.held -= count as u64;
        self.counts.free += count as u64;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(have) = self.seats_by_visitor.get_mut(&hold.sub) {
            *have = have.saturating_sub(count);
            if *have == 0 {
                self.seats_by_visitor.remove(&hold.sub);
            }
        }
        Ok(hold)
    }

    fn begin_order(&mut self, id: Id128, order: Order) -> Result<(), Misfit> {
        if self.orders.contains_key(&id) || order.tickets.len() != order.seats.len() {
            return Err(Misfit::Twice { id });
        }
        if let Some(hold) = self.holds.get_mut(&order.hold) {
            hold.paying = Some(id);
            self.deadlines.remove(&(hold.until, order.hold));
        }
        self.counts.held -= order.seats.len() as u64;
        self.counts.paying += order.seats.len() as u64;
        self.paying.insert(id);
        self.orders.insert(id, order);
        Ok(())
    }

    fn end_payment(&mut self, id: Id128, change: &'static str) -> Result<Order, Misfit> {
        if !self.paying.remove(&id) {
            return Err(Misfit::NotThere { id, change });
        }
        let order = self.orders.remove(&id).ok_or(Misfit::NotThere { id, change })?;
        self.counts.paying -= order.seats.len() as u64;
        Ok(order)
    }

    /// Drops what nobody needs to be told any more. Depends on logged times only.
    fn forget(&mut self, at: Timestamp) {
        while let Some((since, hold, _)) = self.expired_since.front() {
            let is_old = since.plus_secs(EXPIRED_KEPT_SECS) <= at;
            if !is_old && self.expired_since.len() <= EXPIRED_KEPT_MAX {
                break;
            }
            self.expired.remove(hold);
            self.expired_since.pop_front();
        }
        while let Some((since, ..)) = self.declined_since.front() {
            let is_old = since.plus_secs(DECLINED_KEPT_SECS) <= at;
            if !is_old && self.declined_since.len() <= DECLINED_KEPT_MAX {
                break;
            }
            if let Some((_, sub, key)) = self.declined_since.pop_front() {
                if let Some(count) = self.declined_by_visitor.get_mut(&sub) {
                    *count -= 1;
                    if *count == 0 {
                        self.declined_by_visitor.remove(&sub);
                    }
                }
                self.attempts.remove(&(sub, key));
            }
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
