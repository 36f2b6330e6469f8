//! Which holds are being paid or were bought, by whom, and what became of each attempt to pay?

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::command::{BeginPayment, Change, Outcome, PaymentBegun, Reply};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};

/// How long a declined payment's idempotency key is remembered, in seconds.
pub(super) const DECLINED_KEPT_SECS: u64 = 24 * 3600;
/// How many declined payments we remember: a bound on memory, 50 MB.
const DECLINED_KEPT_MAX: usize = 100_000;
/// Most payments that are tried for one hold: enough for a wallet of cards, not for a card tester.
pub(super) const ATTEMPTS_MAX: u32 = 10;
/// Most declined payments of one visitor that we remember at once, whatever they were for: giving
/// a hold back and holding again starts no new count.
pub(super) const DECLINED_PER_VISITOR_MAX: u32 = 30;

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) hold: Id128,
    pub(super) sub: Id128,
    pub(super) key: String,
    pub(super) seats: Vec<Seat>,
    #[serde(default)]
    pub(super) prices: Vec<u64>,
    pub(super) tickets: Vec<Id128>,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    pub(super) at: Timestamp,
    pub(super) stage: OrderStage,
    #[serde(default)]
    pub(super) seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) body: String,
    /// Absent once it was declined.
    pub(super) order: Option<Id128>,
    /// Log sequence after that.
    #[serde(default)]
    pub(super) declined_seq: u64,
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_payment(&self, begin: &BeginPayment, now: Timestamp) -> Decided {
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
        let begun = PaymentBegun {
            hold: begin.hold,
            order: begin.order,
            key: begin.key.clone(),
            body: begin.body.clone(),
            tickets: begin.tickets.iter().copied().take(found.seats.len()).collect(),
            name: begin.name.clone(),
            email: begin.email.clone(),
        };
        (vec![Change::PaymentBegun(begun)], Ok(()))
    }

    pub(super) fn decide_settling(
        &self,
        order: Id128,
        outcome: Outcome,
        now: Timestamp,
    ) -> Vec<Change> {
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

    /// What to answer to a payment that began, or was begun with the same key before.
    pub(super) fn reply_to_payment(&self, begin: &BeginPayment, change: Option<&Change>) -> Reply {
        if change.is_some() {
            return Reply::Charge { order: begin.order, amount: self.total(begin.order) };
        }
        let earlier = self.attempts.get(&(begin.sub, begin.key.clone()));
        earlier.and_then(|a| a.order).map_or(Reply::Nothing, |id| self.view_order(id))
    }

    /// What to answer to whoever told what became of a payment.
    pub(super) fn reply_to_settling(&self, order: Id128, change: Option<&Change>) -> Reply {
        match change {
            Some(Change::PaymentDeclined { .. }) => {
                Reply::Refused(Refusal::PaymentDeclined { seq: self.next_seq })
            }
            Some(Change::PaymentUnknown { order }) => {
                Reply::Refused(Refusal::PaymentUnknown { order: *order })
            }
            _ => self.view_order(order),
        }
    }

    pub(super) fn view_order(&self, id: Id128) -> Reply {
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

    /// Holds that are not sold: id, order if it is being paid, how many seats, and until when.
    pub fn open_holds(&self) -> impl Iterator<Item = (Id128, Option<Id128>, u32, Timestamp)> + '_ {
        self.holds.iter().map(|(id, hold)| {
            let seats = u32::try_from(hold.seats.len()).unwrap_or(u32::MAX);
            (*id, hold.paying, seats, hold.until)
        })
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn payment_begun(
        &mut self,
        begun: &PaymentBegun,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), Misfit> {
        let PaymentBegun { hold, order, key, body, tickets, name, email } = begun.clone();
        let held = self.holds.get(&hold).filter(|held| held.paying.is_none());
        let held = held.ok_or(Misfit::NotThere { id: hold, change: "payment_begun" })?;
        let new = Order {
            hold,
            sub: held.sub,
            key: key.clone(),
            seats: held.seats.clone(),
            prices: held.prices.clone(),
            tickets,
            name,
            email,
            at,
            stage: OrderStage::Paying,
            seq,
        };
        let attempt = Attempt { body, order: Some(order), declined_seq: 0 };
        self.attempts.insert((held.sub, key), attempt);
        self.begin_order(order, new)
    }

    pub(super) fn payment_unknown(&mut self, order: Id128, seq: u64) -> Result<(), Misfit> {
        let known = self.orders.get_mut(&order).filter(|o| o.stage != OrderStage::Sold);
        let missing = Misfit::NotThere { id: order, change: "payment_unknown" };
        let known = known.ok_or(missing)?;
        known.stage = OrderStage::Unknown;
        known.seq = seq;
        Ok(())
    }

    pub(super) fn payment_declined(
        &mut self,
        order: Id128,
        until: Timestamp,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), Misfit> {
        let Order { hold, sub, key, .. } = self.end_payment(order, "payment_declined")?;
        let missing = Misfit::NotThere { id: hold, change: "payment_declined" };
        let held = self.holds.get_mut(&hold).ok_or(missing)?;
        held.paying = None;
        held.until = until;
        held.attempts += 1;
        self.counts.held += held.seats.len() as u64;
        self.deadlines.insert((until, hold));
        if let Some(attempt) = self.attempts.get_mut(&(sub, key.clone())) {
            attempt.order = None;
            attempt.declined_seq = seq;
        }
        *self.declined_by_visitor.entry(sub).or_default() += 1;
        self.declined_since.push_back((at, sub, key));
        Ok(())
    }

    pub(super) fn sold(&mut self, order: Id128, at: Timestamp, seq: u64) -> Result<(), Misfit> {
        let paid = self.end_payment(order, "sold")?;
        self.holds.remove(&paid.hold);
        self.holds_by_visitor.remove(&(paid.sub, paid.hold));
        self.bought.insert(paid.hold, order);
        self.counts.sold += paid.seats.len() as u64;
        self.orders.insert(order, Order { stage: OrderStage::Sold, at, seq, ..paid });
        Ok(())
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
    pub(super) fn forget_declined(&mut self, at: Timestamp) {
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
