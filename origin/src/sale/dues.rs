//! What is still to be done at the gateways: money to be captured, and authorisations to be voided.
//!
//! All of it is in the log, so a crash forgets nothing. A capture is written down before the
//! gateway is asked, with the time of the next try: from then on the order cannot be voided any
//! more, only refunded. An authorisation that is given up is written down before anything else is
//! asked for, and stays until the gateway has said that it reserves nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::after::RefundDue;
use super::command::{Change, Reply};
use super::gateway::GatewayName;
use super::money::Currency;
use super::payment::{Order, OrderStage};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};

/// Most entries of a kind in one list of work: the next round brings the next ones.
const WORK_MAX: usize = 256;
/// Longest pause between two tries to capture.
const CAPTURE_PAUSE_MAX: Duration = Duration::from_secs(600);
/// How long an idempotency key of a paid order is remembered, in seconds.
const PAID_KEPT_SECS: u64 = 24 * 3600;
/// How long the id of a webhook is remembered, in seconds: gateways repeat them for three days.
const NOTICED_KEPT_SECS: u64 = 4 * 24 * 3600;
/// How many of these: a bound on memory, 20 MB.
const NOTICED_KEPT_MAX: usize = 100_000;

/// Where the capture of an order's money is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// There is nothing to capture: it is not sold, or was given back before.
    #[default]
    Nothing,
    /// To be tried.
    Due {
        /// Not before.
        at: Timestamp,
        /// How often it was tried.
        tries: u32,
    },
    /// It is ours.
    Captured {
        /// In minor units.
        amount: u64,
    },
    /// The gateway says that there is nothing reserved any more: the buyer has a ticket and paid
    /// nothing. Somebody has to look at it.
    Lost,
}

/// An order whose payment is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The order.
    pub order: Id128,
    /// The authorisation that counts.
    pub number: u32,
    /// Who was asked.
    pub gateway: GatewayName,
    /// The gateway's name for it.
    pub reference: Option<String>,
    /// The buyer's token.
    pub token: String,
    /// In minor units.
    pub amount: u64,
    /// Of these.
    pub currency: Currency,
    /// Where it is.
    pub stage: OrderStage,
    /// When the gateway was asked first.
    pub asked_at: Timestamp,
}

/// Money to be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureDue {
    /// The order.
    pub order: Id128,
    /// The authorisation.
    pub number: u32,
    /// Who reserves it.
    pub gateway: GatewayName,
    /// The gateway's name for it.
    pub reference: Option<String>,
    /// In minor units.
    pub amount: u64,
    /// When it was sold.
    pub since: Timestamp,
}

/// An authorisation to be voided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidDue {
    /// The order that it was for.
    pub order: Id128,
    /// Which of its authorisations.
    pub number: u32,
    /// Who may reserve it.
    pub gateway: GatewayName,
    /// The gateway's name for it, if we heard it.
    pub reference: Option<String>,
    /// Since when it is to be voided.
    pub since: Timestamp,
}

/// What is to be done at the gateways now, each list cut to a few hundred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentWork {
    /// Orders whose payment is not settled.
    pub unsettled: Vec<Unsettled>,
    /// Money whose time to be captured has come.
    pub captures: Vec<CaptureDue>,
    /// Authorisations to be voided.
    pub voids: Vec<VoidDue>,
    /// How many authorisations are to be voided in all.
    pub voids_total: u64,
    /// How many orders are sold and not captured, due or not.
    pub uncaptured_total: u64,
    /// Since when the oldest of these is sold.
    pub uncaptured_since: Option<Timestamp>,
    /// Orders that were sold and cannot be captured.
    pub lost: Vec<Id128>,
    /// Money that is to be paid back.
    pub refunds: Vec<RefundDue>,
    /// How many refunds are owed, whether their money was captured or not.
    pub refunds_total: u64,
}

/// All that is to be done, and what was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dues {
    voids: BTreeMap<(Id128, u32), VoidDue>,
    /// By when they are due.
    captures: BTreeSet<(Timestamp, Id128)>,
    /// By when they were sold.
    uncaptured: BTreeSet<(Timestamp, Id128)>,
    lost: BTreeSet<Id128>,
    noticed: BTreeSet<String>,
    noticed_since: VecDeque<(Timestamp, String)>,
    /// Idempotency keys of orders that were paid.
    paid_since: VecDeque<(Timestamp, Id128, String)>,
}

/// What a restart needs of it; the rest is in the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SavedDues {
    voids: Vec<VoidDue>,
    noticed: VecDeque<(Timestamp, String)>,
    paid: VecDeque<(Timestamp, Id128, String)>,
}

impl Dues {
    pub(super) fn save(&self) -> SavedDues {
        SavedDues {
            voids: self.voids.values().cloned().collect(),
            noticed: self.noticed_since.clone(),
            paid: self.paid_since.clone(),
        }
    }

    pub(super) fn restore<'a>(
        saved: SavedDues,
        orders: impl Iterator<Item = (&'a Id128, &'a Order)>,
    ) -> Self {
        let mut dues = Self {
            voids: saved.voids.into_iter().map(|due| ((due.order, due.number), due)).collect(),
            noticed: saved.noticed.iter().map(|(_, id)| id.clone()).collect(),
            noticed_since: saved.noticed,
            paid_since: saved.paid,
            ..Self::default()
        };
        for (id, order) in orders {
            dues.follow(*id, order);
        }
        dues
    }

    /// Puts an order where its capture belongs.
    fn follow(&mut self, id: Id128, order: &Order) {
        match order.payment.capture {
            Capture::Due { at, .. } => {
                self.captures.insert((at, id));
                self.uncaptured.insert((order.at, id));
            }
            Capture::Lost => {
                self.lost.insert(id);
            }
            Capture::Nothing | Capture::Captured { .. } => {}
        }
    }

    /// Takes it out again.
    fn leave(&mut self, id: Id128, order: &Order) {
        if let Capture::Due { at, .. } = order.payment.capture {
            self.captures.remove(&(at, id));
            self.uncaptured.remove(&(order.at, id));
        }
    }

    pub(super) fn paid(&mut self, at: Timestamp, id: Id128, order: &Order) {
        self.paid_since.push_back((at, order.sub, order.key.clone()));
        self.follow(id, order);
    }

    pub(super) fn owe(&mut self, due: VoidDue) {
        self.voids.insert((due.order, due.number), due);
    }

    pub(super) fn owes(&self, order: Id128, number: u32) -> bool {
        self.voids.contains_key(&(order, number))
    }

    pub(super) fn has_noticed(&self, id: &str) -> bool {
        self.noticed.contains(id)
    }
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_capture(&self, order: Id128, now: Timestamp) -> Decided {
        let Some(found) = self.orders.get(&order) else {
            return (Vec::new(), Err(Refusal::UnknownOrder));
        };
        match found.payment.capture {
            Capture::Due { at, tries } if at <= now => {
                let pause = Duration::from_secs(1 << tries.min(20)).min(CAPTURE_PAUSE_MAX);
                (vec![Change::CaptureBegun { order, again_at: now.plus(pause) }], Ok(()))
            }
            _ => (Vec::new(), Ok(())),
        }
    }

    pub(super) fn decide_voided(&self, order: Id128, number: u32) -> Vec<Change> {
        let is_owed = self.dues.owes(order, number);
        if is_owed { vec![Change::Voided { order, number }] } else { Vec::new() }
    }

    pub(super) fn payment_work(&self, now: Timestamp) -> Reply {
        let dues = &self.dues;
        let unsettled = self.paying.iter().filter_map(|id| {
            let order = self.orders.get(id)?;
            let bill = order.bill();
            Some(Unsettled {
                order: *id,
                number: order.payment.number,
                gateway: order.payment.gateway.clone(),
                reference: order.payment.reference.clone(),
                token: order.payment.token.clone(),
                amount: bill.total,
                currency: bill.currency,
                stage: order.stage,
                asked_at: order.at,
            })
        });
        let captures = dues.captures.iter().take_while(|(at, _)| *at <= now);
        let captures = captures.filter_map(|(_, id)| {
            let order = self.orders.get(id)?;
            Some(CaptureDue {
                order: *id,
                number: order.payment.number,
                gateway: order.payment.gateway.clone(),
                reference: order.payment.reference.clone(),
                amount: order.bill().total,
                since: order.at,
            })
        });
        Reply::PaymentWork(Box::new(PaymentWork {
            // All of them: those that a task is at are not worked on, and must not hide others.
            unsettled: unsettled.collect(),
            captures: captures.take(WORK_MAX).collect(),
            voids: dues.voids.values().take(WORK_MAX).cloned().collect(),
            voids_total: dues.voids.len() as u64,
            uncaptured_total: dues.uncaptured.len() as u64,
            uncaptured_since: dues.uncaptured.first().map(|(at, _)| *at),
            lost: dues.lost.iter().take(WORK_MAX).copied().collect(),
            refunds: self.refunds_due().take(WORK_MAX).collect(),
            refunds_total: self.refunds_owed(),
        }))
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn capture_begun(&mut self, id: Id128, again_at: Timestamp) -> Result<(), Misfit> {
        let tries = match self.sold_order(id, "capture_begun")?.payment.capture {
            Capture::Due { tries, .. } => tries,
            _ => return Err(Misfit::NotThere { id, change: "capture_begun" }),
        };
        self.turn_capture(id, Capture::Due { at: again_at, tries: tries + 1 })
    }

    pub(super) fn turn_capture(&mut self, id: Id128, capture: Capture) -> Result<(), Misfit> {
        self.sold_order(id, "captured")?;
        if let Some(order) = self.orders.get_mut(&id) {
            self.dues.leave(id, order);
            order.payment.capture = capture;
            self.dues.follow(id, order);
        }
        Ok(())
    }

    /// An order that is paid for is not captured any more once its authorisation is to be voided.
    pub(super) fn void_owed(&mut self, due: VoidDue) -> Result<(), Misfit> {
        let VoidDue { order: id, number, .. } = due;
        let found = self.orders.get(&id);
        let is_current = found.is_some_and(|order| order.payment.number == number);
        let is_due = found.is_some_and(|o| matches!(o.payment.capture, Capture::Due { .. }));
        self.dues.owe(due);
        if is_current && is_due { self.turn_capture(id, Capture::Nothing) } else { Ok(()) }
    }

    pub(super) fn voided(&mut self, order: Id128, number: u32) -> Result<(), Misfit> {
        let removed = self.dues.voids.remove(&(order, number));
        self.money_voided(order, number);
        removed.map(|_| ()).ok_or(Misfit::NotThere { id: order, change: "voided" })
    }

    pub(super) fn noticed(&mut self, id: &str, at: Timestamp) {
        self.dues.noticed.insert(id.to_owned());
        self.dues.noticed_since.push_back((at, id.to_owned()));
    }

    /// Drops what nobody asks for any more. Depends on logged times only.
    pub(super) fn forget_paid(&mut self, at: Timestamp) {
        while let Some((since, ..)) = self.dues.paid_since.front() {
            if since.plus_secs(PAID_KEPT_SECS) > at {
                break;
            }
            if let Some((_, sub, key)) = self.dues.paid_since.pop_front() {
                let forgotten = self.attempts.remove(&(sub, key));
                if let Some(order) = forgotten.and_then(|attempt| attempt.order) {
                    self.forget_receipt(order);
                }
            }
        }
        while let Some((since, _)) = self.dues.noticed_since.front() {
            let is_old = since.plus_secs(NOTICED_KEPT_SECS) <= at;
            if !is_old && self.dues.noticed_since.len() <= NOTICED_KEPT_MAX {
                break;
            }
            if let Some((_, id)) = self.dues.noticed_since.pop_front() {
                self.dues.noticed.remove(&id);
            }
        }
    }

    fn sold_order(&self, id: Id128, change: &'static str) -> Result<&Order, Misfit> {
        let sold = self.orders.get(&id).filter(|order| order.stage == OrderStage::Sold);
        sold.ok_or(Misfit::NotThere { id, change })
    }
}
