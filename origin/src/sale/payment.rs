//! Which holds are being paid or were bought, by whom, and what became of each attempt to pay?

use std::time::Duration;

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::after::After;
use super::amend::check_open;
use super::command::{BeginPayment, Change, Outcome, PaymentBegun, Reply, Settlement};
use super::dues::{Capture, VoidDue};
use super::gateway::{Action, GatewayName};
use super::money::{Bill, Currency, Terms};
use super::receipt::Receipt;
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

/// Most authorisations that are asked for one order, gateways and used-up keys together.
const AUTHORISATIONS_MAX: u32 = 4;
/// What a buyer is told when no gateway had an answer in time.
const NOT_ANSWERED: &str = "not_answered";

/// How payments are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentRules {
    /// How long seats wait for an outcome before the authorisation is given up, to be voided.
    pub give_up_after: Duration,
    /// How long after the sale the money is captured: until then an order can be voided.
    pub capture_after: Duration,
}

impl Default for PaymentRules {
    fn default() -> Self {
        let (give_up_after, capture_after) = (Duration::from_secs(600), Duration::from_secs(60));
        Self { give_up_after, capture_after }
    }
}

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStage {
    /// The gateway was asked.
    Paying,
    /// The buyer has to do something at the gateway.
    ActionRequired,
    /// The gateway did not answer; somebody is finding out.
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
    /// What was or will be charged.
    pub bill: Bill,
    /// Where the money is.
    pub payment: PaymentView,
    /// Where tickets are sent.
    pub email: Option<String>,
    /// Where word of them is sent.
    pub phone: Option<String>,
    /// What happened to it since it was sold.
    pub after: After,
    /// What its buyer was told, for as long as they may ask again with the same key.
    pub receipt: Option<Receipt>,
    /// Log sequence after the change that brought it where it is.
    pub seq: u64,
}

/// What is asked of the gateways, as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentView {
    /// Who was asked last.
    pub gateway: GatewayName,
    /// Which authorisation of this order that is; those below it are given up.
    pub number: u32,
    /// The gateway's name for it.
    pub reference: Option<String>,
    /// What the buyer has to do.
    pub action: Option<Action>,
    /// Where its capture is.
    pub capture: Capture,
    /// The token to ask with again; empty once it is settled.
    pub(super) token: String,
    /// Until when the seats wait for an answer.
    pub(super) give_up_at: Option<Timestamp>,
}

/// What is to be asked of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeView {
    /// For which order.
    pub order: Id128,
    /// Which of its authorisations.
    pub number: u32,
    /// In minor units.
    pub amount: u64,
    /// Of these.
    pub currency: Currency,
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
    /// Absent in logs that are older than fees.
    #[serde(default)]
    pub(super) bill: Option<Bill>,
    #[serde(default)]
    pub(super) payment: PaymentView,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) locale: Option<String>,
    #[serde(default)]
    pub(super) after: After,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<Receipt>,
}

impl Order {
    pub(super) fn bill(&self) -> Bill {
        self.bill.unwrap_or_else(|| Terms::default().bill(&self.prices))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) body: String,
    /// Absent once it was declined.
    pub(super) order: Option<Id128>,
    /// Log sequence after that.
    #[serde(default)]
    pub(super) declined_seq: u64,
    /// Why it was declined, as the gateway says it.
    #[serde(default)]
    pub(super) declined_code: Option<String>,
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_payment(&self, begin: &BeginPayment, now: Timestamp) -> Decided {
        let refuse = |refusal| (Vec::new(), Err(refusal));
        if let Some(attempt) = self.attempts.get(&(begin.sub, begin.key.clone())) {
            if attempt.body != begin.body {
                return refuse(Refusal::IdempotencyMismatch);
            }
            let Some(order) = attempt.order else {
                let (seq, code) = (attempt.declined_seq, attempt.declined_code.clone());
                return refuse(Refusal::PaymentDeclined { seq, code });
            };
            return match self.orders.get(&order).map(|order| order.stage) {
                Some(OrderStage::Sold | OrderStage::ActionRequired) => (Vec::new(), Ok(())),
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
        if let Err(refusal) = check_open(found) {
            return refuse(refusal);
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
        if self.is_cancelled() {
            return refuse(Refusal::EventCancelled);
        }
        let Some(gateway) = begin.gateway.clone() else { return refuse(Refusal::NoGateway) };
        let begun = PaymentBegun {
            hold: begin.hold,
            order: begin.order,
            key: begin.key.clone(),
            body: begin.body.clone(),
            tickets: begin.tickets.iter().copied().take(found.seats.len()).collect(),
            name: begin.name.clone(),
            email: begin.email.clone(),
            phone: begin.phone.clone(),
            locale: begin.locale.clone(),
            bill: Some(found.terms.bill(&found.prices)),
            gateway,
            token: begin.token.clone(),
            give_up_at: Some(now.plus(self.rules.payment.give_up_after)),
        };
        (vec![Change::PaymentBegun(begun)], Ok(()))
    }

    pub(super) fn decide_moving(
        &self,
        order: Id128,
        number: u32,
        gateway: &GatewayName,
    ) -> Decided {
        let refuse = |refusal| (Vec::new(), Err(refusal));
        let Some(found) = self.orders.get(&order) else { return refuse(Refusal::UnknownOrder) };
        let is_open = self.paying.contains(&order) && found.payment.number == number;
        if !is_open {
            // Somebody was faster: the order as it stands is the answer.
            return (Vec::new(), Ok(()));
        }
        if number + 1 >= AUTHORISATIONS_MAX {
            return refuse(Refusal::PaymentUnknown { order });
        }
        (vec![Change::PaymentMoved { order, gateway: gateway.clone() }], Ok(()))
    }

    pub(super) fn decide_settling(&self, told: &Settlement, now: Timestamp) -> Vec<Change> {
        if told.notice.as_ref().is_some_and(|id| self.dues.has_noticed(id)) {
            return Vec::new();
        }
        let (order, reference) = (told.order, told.reference.clone());
        let is_told = |payment: &PaymentView| {
            payment.number == told.number && payment.gateway == told.gateway
        };
        let found = self.orders.get(&order).filter(|order| is_told(&order.payment));
        let mut changes = match found {
            None => self.decide_void(told, now),
            Some(found) => match (found.stage, &told.outcome) {
                (OrderStage::Sold, outcome) => decide_capture(order, found, outcome),
                // Less than was asked for is not what was agreed: it will be voided.
                (_, Outcome::Authorised { amount }) if *amount < found.bill().total => {
                    let code = Some(NOT_ANSWERED.to_owned());
                    vec![self.declined_now(order, found, code, true, now)]
                }
                (_, Outcome::Authorised { .. }) => vec![self.sold_now(order, reference, now)],
                (_, Outcome::Captured { amount }) => {
                    let captured = Change::Captured { order, amount: *amount };
                    vec![self.sold_now(order, reference, now), captured]
                }
                (OrderStage::Paying | OrderStage::Unknown, Outcome::ActionRequired(action)) => {
                    vec![Change::PaymentAction { order, reference, action: action.clone() }]
                }
                (OrderStage::Paying, Outcome::Unknown) => vec![Change::PaymentUnknown { order }],
                (OrderStage::ActionRequired, Outcome::ActionRequired(_))
                | (OrderStage::ActionRequired | OrderStage::Unknown, Outcome::Unknown) => {
                    Vec::new()
                }
                (_, Outcome::GivenUp) => {
                    let code = Some(NOT_ANSWERED.to_owned());
                    vec![self.declined_now(order, found, code, true, now)]
                }
                (stage, Outcome::Declined { code }) => {
                    // A buyer with a client secret could try another card behind our back.
                    let is_void_owed = stage == OrderStage::ActionRequired;
                    vec![self.declined_now(order, found, code.clone(), is_void_owed, now)]
                }
            },
        };
        if let Some(id) = told.notice.as_ref().filter(|_| !changes.is_empty()) {
            changes.push(Change::Noticed { id: id.clone() });
        }
        changes
    }

    /// Money that is reserved for nobody: the order is no more, or is paid otherwise.
    fn decide_void(&self, told: &Settlement, now: Timestamp) -> Vec<Change> {
        let Settlement { order, number, gateway, reference, outcome, .. } = told;
        // An authorisation that was never begun here, or was begun elsewhere, is not ours to judge.
        let is_ours = |live: &Order| live.payment.number > *number;
        if !self.orders.get(order).is_none_or(is_ours) {
            return Vec::new();
        }
        match outcome {
            Outcome::Authorised { .. } | Outcome::ActionRequired(_) | Outcome::Captured { .. }
                if !self.dues.owes(*order, *number) =>
            {
                vec![Change::VoidOwed(VoidDue {
                    order: *order,
                    number: *number,
                    gateway: gateway.clone(),
                    reference: reference.clone(),
                    since: now,
                })]
            }
            _ => Vec::new(),
        }
    }

    /// Nobody answered for so long that the seats must go back. What was asked for will be voided,
    /// so that is its outcome, whatever became of it.
    pub(super) fn decide_giving_up(&self, order: Id128, now: Timestamp) -> Vec<Change> {
        let found = self.orders.get(&order);
        let found = found.filter(|o| o.payment.give_up_at.is_some_and(|at| at <= now));
        let given_up = found
            .map(|found| self.declined_now(order, found, Some(NOT_ANSWERED.to_owned()), true, now));
        given_up.into_iter().collect()
    }

    fn sold_now(&self, order: Id128, reference: Option<String>, now: Timestamp) -> Change {
        let capture_at = Some(now.plus(self.rules.payment.capture_after));
        Change::Sold { order, reference, capture_at }
    }

    fn declined_now(
        &self,
        order: Id128,
        found: &Order,
        code: Option<String>,
        is_void_owed: bool,
        now: Timestamp,
    ) -> Change {
        // The time that was left when payment began: waiting for a gateway is not the buyer's
        // fault.
        let until = self.holds.get(&found.hold).map_or(now, |hold| hold.until);
        let until = now.plus(until.since(found.at));
        Change::PaymentDeclined { order, until, code, is_void_owed }
    }

    /// What to answer to a payment that began, or was begun with the same key before.
    pub(super) fn reply_to_payment(&self, begin: &BeginPayment, change: Option<&Change>) -> Reply {
        if change.is_some() {
            return self.charge(begin.order);
        }
        let earlier = self.attempts.get(&(begin.sub, begin.key.clone()));
        earlier.and_then(|a| a.order).map_or(Reply::Nothing, |id| self.view_order(id))
    }

    /// What to answer to whoever told what became of a payment.
    pub(super) fn reply_to_settling(&self, order: Id128, change: Option<&Change>) -> Reply {
        match change {
            Some(Change::PaymentDeclined { code, .. }) => {
                let (seq, code) = (self.next_seq, code.clone());
                Reply::Refused(Refusal::PaymentDeclined { seq, code })
            }
            Some(Change::PaymentUnknown { order }) => {
                Reply::Refused(Refusal::PaymentUnknown { order: *order })
            }
            _ => self.view_order(order),
        }
    }

    /// What to ask of the gateway for an order.
    pub(super) fn charge(&self, id: Id128) -> Reply {
        let Some(order) = self.orders.get(&id) else { return Reply::Nothing };
        let Bill { total, currency, .. } = order.bill();
        let number = order.payment.number;
        Reply::Charge(ChargeView { order: id, number, amount: total, currency })
    }

    pub(super) fn view_order(&self, id: Id128) -> Reply {
        let order = self.order(id).map(Box::new);
        order.map_or(Reply::Refused(Refusal::UnknownOrder), Reply::Order)
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
            bill: order.bill(),
            payment: order.payment.clone(),
            email: order.email.clone(),
            phone: order.phone.clone(),
            after: order.after.clone(),
            receipt: order.receipt.clone(),
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
        let PaymentBegun { hold, order, key, body, tickets, name, email, .. } = begun.clone();
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
            bill: begun.bill,
            payment: PaymentView {
                gateway: begun.gateway.clone(),
                token: begun.token.clone(),
                give_up_at: begun.give_up_at,
                ..PaymentView::default()
            },
            phone: begun.phone.clone(),
            locale: begun.locale.clone(),
            after: After::default(),
            receipt: None,
        };
        let attempt = Attempt { body, order: Some(order), declined_seq: 0, declined_code: None };
        self.attempts.insert((held.sub, key), attempt);
        self.begin_order(order, new)
    }

    pub(super) fn payment_unknown(&mut self, order: Id128, seq: u64) -> Result<(), Misfit> {
        let known = self.open_order(order, "payment_unknown")?;
        known.stage = OrderStage::Unknown;
        known.seq = seq;
        Ok(())
    }

    pub(super) fn payment_moved(
        &mut self,
        order: Id128,
        gateway: &GatewayName,
        at: Timestamp,
    ) -> Result<(), Misfit> {
        let known = self.open_order(order, "payment_moved")?;
        let given_up = void_of(order, &known.payment, at);
        known.stage = OrderStage::Paying;
        known.payment.number += 1;
        known.payment.gateway = gateway.clone();
        known.payment.reference = None;
        known.payment.action = None;
        self.dues.owe(given_up);
        Ok(())
    }

    pub(super) fn payment_action(
        &mut self,
        order: Id128,
        reference: Option<&str>,
        action: &Action,
        seq: u64,
    ) -> Result<(), Misfit> {
        let known = self.open_order(order, "payment_action")?;
        known.stage = OrderStage::ActionRequired;
        known.seq = seq;
        known.payment.action = Some(action.clone());
        known.payment.reference = reference.map(str::to_owned);
        Ok(())
    }

    pub(super) fn payment_declined(
        &mut self,
        order: Id128,
        until: Timestamp,
        code: Option<String>,
        is_void_owed: bool,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), Misfit> {
        let Order { hold, sub, key, payment, .. } = self.end_payment(order, "payment_declined")?;
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
            attempt.declined_code = code;
        }
        *self.declined_by_visitor.entry(sub).or_default() += 1;
        self.declined_since.push_back((at, sub, key));
        if is_void_owed {
            self.dues.owe(void_of(order, &payment, at));
        }
        Ok(())
    }

    pub(super) fn sold(
        &mut self,
        id: Id128,
        reference: Option<&str>,
        capture_at: Option<Timestamp>,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), Misfit> {
        let mut paid = self.end_payment(id, "sold")?;
        self.holds.remove(&paid.hold);
        self.holds_by_visitor.remove(&(paid.sub, paid.hold));
        self.bought.insert(paid.hold, id);
        self.counts.sold += paid.seats.len() as u64;
        let PaymentView { gateway, number, reference: heard, .. } = paid.payment;
        paid.payment = PaymentView {
            gateway,
            number,
            reference: reference.map(str::to_owned).or(heard),
            capture: capture_at.map_or(Capture::Nothing, |at| Capture::Due { at, tries: 0 }),
            ..PaymentView::default()
        };
        (paid.stage, paid.at, paid.seq) = (OrderStage::Sold, at, seq);
        self.dues.paid(at, id, &paid);
        self.aftermath.sold(id, &paid);
        self.orders.insert(id, paid);
        Ok(())
    }

    fn open_order(&mut self, id: Id128, change: &'static str) -> Result<&mut Order, Misfit> {
        let is_open = self.paying.contains(&id);
        let open = self.orders.get_mut(&id).filter(|_| is_open);
        open.ok_or(Misfit::NotThere { id, change })
    }

    fn begin_order(&mut self, id: Id128, order: Order) -> Result<(), Misfit> {
        if self.orders.contains_key(&id) || order.tickets.len() != order.seats.len() {
            return Err(Misfit::Twice { id });
        }
        if let Some(hold) = self.holds.get_mut(&order.hold) {
            hold.paying = Some(id);
            self.deadlines.remove(&(hold.until, order.hold));
        }
        if let Some(at) = order.payment.give_up_at {
            self.deadlines.insert((at, order.hold));
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
        if let Some(at) = order.payment.give_up_at {
            self.deadlines.remove(&(at, order.hold));
        }
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

/// What an order that is sold learns of its capture.
fn decide_capture(order: Id128, found: &Order, outcome: &Outcome) -> Vec<Change> {
    match (found.payment.capture, outcome) {
        (Capture::Due { .. }, Outcome::Captured { amount }) => {
            vec![Change::Captured { order, amount: *amount }]
        }
        (Capture::Due { .. }, Outcome::Declined { .. }) => vec![Change::CaptureLost { order }],
        _ => Vec::new(),
    }
}

/// What is to be voided of a payment that is given up.
pub(super) fn void_of(order: Id128, payment: &PaymentView, since: Timestamp) -> VoidDue {
    let PaymentView { gateway, number, reference, .. } = payment.clone();
    VoidDue { order, number, gateway, reference, since }
}
