//! What becomes of a ticket once it is sold? It is used once, or it is void and its seat is free.
//!
//! A void ticket, the seat that goes back and the money that is owed are one change, so none is ever
//! without the others. An order that is given back as a whole before its money was asked for is
//! voided at the gateway; any other refund waits until the money is ours and is paid back then.
//! A cancelled event sells nothing more, and its orders are refunded a few at a time: how far that
//! has come is in the orders, so a crash in the middle forgets nothing and repeats nothing.

use std::collections::{BTreeMap, BTreeSet};

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::command::{Change, Reply};
use super::dues::Capture;
use super::gateway::GatewayName;
use super::payment::{Order, OrderStage, void_of};
use super::post::{Delivery, Message};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};

/// Most scans of one used ticket that are kept: enough to see that it was copied.
const CONFLICTS_MAX: usize = 20;
/// Most orders that are refunded by one command: a record stays small, and buyers of other events
/// do not wait.
pub const CANCEL_MAX: usize = 100;
/// The idempotency key of a refund because the event was cancelled.
const CANCELLED: &str = "event-cancelled";

/// A request to give tickets back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundAsk {
    /// Of which order.
    pub order: Id128,
    /// Which tickets; `None` for all that are valid.
    pub tickets: Option<Vec<Id128>>,
    /// The idempotency key; counts per order.
    pub key: String,
    /// Digest of what was asked with that key.
    pub body: String,
}

/// A barcode that was scanned and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The scan's own id: told again, it is the same scan.
    pub scan: Id128,
    /// The ticket.
    pub ticket: Id128,
    /// Where.
    pub gate: String,
    /// When, if a scanner that was offline tells it later.
    pub at: Option<Timestamp>,
}

/// One thing that is asked of tickets that are sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterCommand {
    /// Give tickets back.
    Refund(RefundAsk),
    /// Tell that the gateway has paid a refund back.
    Repaid {
        /// Of which order.
        order: Id128,
        /// Which of its refunds.
        refund: u32,
    },
    /// Sell nothing more, and refund what was sold.
    CancelEvent,
    /// Refund the next orders of a cancelled event.
    CancelNext,
    /// Let somebody in.
    CheckIn(Scan),
    /// What happened to tickets since.
    Trail {
        /// After this log sequence.
        after: u64,
        /// About how many.
        limit: usize,
    },
}

impl AfterCommand {
    /// Name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refund(_) => "refund",
            Self::Repaid { .. } => "repaid",
            Self::CancelEvent => "cancel_event",
            Self::CancelNext => "cancel_next",
            Self::CheckIn(_) => "check_in",
            Self::Trail { .. } => "trail",
        }
    }
}

/// What is answered to it.
#[derive(Debug, Clone, PartialEq)]
pub enum AfterReply {
    /// The event is cancelled, and so many orders are still to be refunded.
    Cancelling {
        /// How many.
        left: u64,
    },
    /// Let them in.
    Admitted {
        /// To this seat.
        seat: Seat,
        /// Since when.
        at: Timestamp,
    },
    /// What happened to tickets.
    Trail(Vec<TrailEntry>),
}

/// What is written to the log of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "after", rename_all = "snake_case", deny_unknown_fields)]
pub enum AfterChange {
    /// Tickets are void, their seats free and this much is owed.
    TicketsVoided {
        /// Of which order.
        order: Id128,
        /// Which.
        tickets: Vec<Id128>,
        /// In minor units.
        amount: u64,
        /// The idempotency key.
        key: String,
        /// Digest of what was asked with it.
        body: String,
        /// Whether the order's authorisation is voided, because no money was asked for yet.
        is_void: bool,
    },
    /// The gateway has paid it back.
    Repaid {
        /// Of which order.
        order: Id128,
        /// Which of its refunds.
        refund: u32,
    },
    /// Nothing more is sold.
    EventCancelled,
    /// Somebody was let in.
    CheckedIn {
        /// Of which order.
        order: Id128,
        /// With this ticket.
        ticket: Id128,
        /// Where.
        gate: String,
        /// When.
        at: Timestamp,
        /// The scan.
        scan: Id128,
    },
    /// A ticket that was used, or is void, was let in by a scanner that did not know.
    Conflict {
        /// Of which order.
        order: Id128,
        /// With this ticket.
        ticket: Id128,
        /// Where.
        gate: String,
        /// When.
        at: Timestamp,
        /// The scan.
        scan: Id128,
    },
}

impl AfterChange {
    pub(super) const fn order(&self) -> Option<Id128> {
        match self {
            Self::TicketsVoided { order, .. }
            | Self::Repaid { order, .. }
            | Self::CheckedIn { order, .. }
            | Self::Conflict { order, .. } => Some(*order),
            Self::EventCancelled => None,
        }
    }

    pub(super) fn brings_message(&self) -> Option<(Id128, Message)> {
        match self {
            Self::TicketsVoided { order, key, .. } if key == CANCELLED => {
                Some((*order, Message::Cancelled))
            }
            Self::TicketsVoided { order, .. } => Some((*order, Message::Refund)),
            _ => None,
        }
    }

    pub(super) const fn moves_stock(&self) -> bool {
        matches!(self, Self::TicketsVoided { .. })
    }
}

/// Everything that happened to an order after it was sold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct After {
    /// Tickets that were used; one that is not here was not.
    pub uses: BTreeMap<Id128, Use>,
    /// Tickets that are void.
    pub voids: BTreeMap<Id128, VoidTicket>,
    /// Tickets that were let in although they were used or void.
    pub conflicts: Vec<(Id128, Use)>,
    /// What was given back.
    pub refunds: Vec<Refund>,
    /// What was sent.
    pub deliveries: Vec<Delivery>,
}

/// A ticket's use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub gate: String,
    /// The scan.
    pub scan: Id128,
    /// Log sequence after it was written down.
    pub seq: u64,
}

/// A ticket that is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidTicket {
    /// Since when.
    pub at: Timestamp,
    /// Log sequence after it was written down.
    pub seq: u64,
}

/// Tickets that were given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// The idempotency key.
    pub key: String,
    /// Digest of what was asked with it.
    pub body: String,
    /// In minor units.
    pub amount: u64,
    /// When.
    pub at: Timestamp,
    /// Where the money is.
    pub money: Money,
}

/// Where the money of a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Money {
    /// To be paid back once it is ours.
    Owed,
    /// The order's authorisation is being voided: it never becomes ours.
    Voiding,
    /// With the buyer.
    Returned,
}

/// What happened to a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailEntry {
    /// Log sequence after it was written down.
    pub seq: u64,
    /// The ticket.
    pub ticket: Id128,
    /// Its seat.
    pub seat: Seat,
    /// What happened.
    pub what: TrailWhat,
    /// When.
    pub at: Timestamp,
    /// Where; empty if at no gate.
    pub gate: String,
}

/// What can happen to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailWhat {
    /// It was used.
    Used,
    /// It is void.
    Void,
    /// It was let in although it was used or void.
    Conflict,
}

/// A refund to be paid back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundDue {
    /// The order.
    pub order: Id128,
    /// Which of its refunds.
    pub refund: u32,
    /// The authorisation that was captured.
    pub number: u32,
    /// By whom.
    pub gateway: GatewayName,
    /// The gateway's name for it.
    pub reference: Option<String>,
    /// In minor units.
    pub amount: u64,
    /// When it was given back.
    pub since: Timestamp,
}

/// What is found by other ways than the order's id; all of it is in the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aftermath {
    orders_by_ticket: BTreeMap<Id128, Id128>,
    /// Sold orders with a ticket that is not void.
    valid: BTreeSet<Id128>,
    /// Refunds whose money is owed.
    owed: BTreeSet<(Id128, u32)>,
    /// Tickets by when something happened to them.
    trail: BTreeSet<(u64, Id128)>,
    pub(super) cancelled_at: Option<Timestamp>,
}

impl Aftermath {
    /// Takes in an order that is sold.
    pub(super) fn sold(&mut self, id: Id128, order: &Order) {
        self.orders_by_ticket.extend(order.tickets.iter().map(|ticket| (*ticket, id)));
        self.follow(id, order);
    }

    /// Takes in what happened to it.
    fn follow(&mut self, id: Id128, order: &Order) {
        if order.valid().next().is_some() {
            self.valid.insert(id);
        } else {
            self.valid.remove(&id);
        }
        for (at, refund) in (0_u32..).zip(&order.after.refunds) {
            match refund.money {
                Money::Owed => self.owed.insert((id, at)),
                Money::Voiding | Money::Returned => self.owed.remove(&(id, at)),
            };
        }
        let After { uses, voids, conflicts, .. } = &order.after;
        self.trail.extend(uses.iter().map(|(ticket, used)| (used.seq, *ticket)));
        self.trail.extend(voids.iter().map(|(ticket, void)| (void.seq, *ticket)));
        self.trail.extend(conflicts.iter().map(|(ticket, used)| (used.seq, *ticket)));
    }
}

impl Order {
    /// Tickets that are not void, with their seats and prices.
    pub(super) fn valid(&self) -> impl Iterator<Item = (Id128, Seat, u64)> + '_ {
        let all = self.tickets.iter().zip(&self.seats).zip(&self.prices);
        let all = all.map(|((ticket, seat), price)| (*ticket, *seat, *price));
        all.filter(|(ticket, ..)| !self.after.voids.contains_key(ticket))
    }

    /// What is given back for these tickets: their share of the bill by price, and the last ones
    /// get what is left, so that all refunds add up to what was paid.
    fn worth(&self, tickets: &[Id128]) -> u64 {
        let bill = self.bill();
        let given = self.after.refunds.iter().fold(0, |sum: u64, r| sum.saturating_add(r.amount));
        let left = bill.total.saturating_sub(given);
        if self.payment.capture == Capture::Lost {
            return 0;
        }
        if self.valid().all(|(ticket, ..)| tickets.contains(&ticket)) {
            return left;
        }
        let shares = self.valid().filter(|(ticket, ..)| tickets.contains(ticket));
        let shares = shares.map(|(.., price)| {
            let share =
                u128::from(bill.total) * u128::from(price) / u128::from(bill.tickets.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        });
        shares.fold(0, u64::saturating_add).min(left)
    }
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_after(&self, command: &AfterCommand, now: Timestamp) -> Decided {
        match command {
            AfterCommand::Refund(ask) => self.decide_refund(ask, now),
            AfterCommand::Repaid { order, refund } => {
                let is_owed = self.aftermath.owed.contains(&(*order, *refund));
                let (order, refund) = (*order, *refund);
                let repaid = is_owed.then_some(AfterChange::Repaid { order, refund });
                (repaid.into_iter().map(Change::After).collect(), Ok(()))
            }
            AfterCommand::CancelEvent if self.aftermath.cancelled_at.is_some() => {
                (Vec::new(), Ok(()))
            }
            AfterCommand::CancelEvent => (vec![Change::After(AfterChange::EventCancelled)], Ok(())),
            AfterCommand::CancelNext => (self.decide_cancelling(now), Ok(())),
            AfterCommand::CheckIn(scan) => self.decide_check_in(scan, now),
            AfterCommand::Trail { .. } => (Vec::new(), Ok(())),
        }
    }

    fn decide_refund(&self, ask: &RefundAsk, now: Timestamp) -> Decided {
        let refuse = |refusal| (Vec::new(), Err(refusal));
        let found = self.orders.get(&ask.order).filter(|order| order.stage == OrderStage::Sold);
        let Some(found) = found else { return refuse(Refusal::UnknownOrder) };
        if let Some(earlier) = found.after.refunds.iter().find(|earlier| earlier.key == ask.key) {
            return match earlier.body == ask.body {
                true => (Vec::new(), Ok(())),
                false => refuse(Refusal::IdempotencyMismatch),
            };
        }
        let valid: Vec<Id128> = found.valid().map(|(ticket, ..)| ticket).collect();
        let mut tickets = ask.tickets.clone().unwrap_or_else(|| valid.clone());
        tickets.sort_unstable();
        tickets.dedup();
        for ticket in &tickets {
            if !found.tickets.contains(ticket) {
                return refuse(Refusal::UnknownTicket);
            }
            if let Some(used) = found.after.uses.get(ticket) {
                let (at, gate) = (used.at, used.gate.clone());
                return refuse(Refusal::TicketUsed { at, gate });
            }
            if let Some(void) = found.after.voids.get(ticket) {
                return refuse(Refusal::TicketVoid { at: void.at });
            }
        }
        if tickets.is_empty() {
            let at = found.after.refunds.last().map_or(now, |refund| refund.at);
            return refuse(Refusal::TicketVoid { at });
        }
        (self.void_tickets(ask.order, found, tickets, (&ask.key, &ask.body), now), Ok(()))
    }

    fn void_tickets(
        &self,
        order: Id128,
        found: &Order,
        tickets: Vec<Id128>,
        (key, body): (&str, &str),
        now: Timestamp,
    ) -> Vec<Change> {
        let is_all = found.valid().all(|(ticket, ..)| tickets.contains(&ticket));
        // Once the gateway was asked to capture, nobody knows what a void would find.
        let is_unasked = matches!(found.payment.capture, Capture::Due { tries: 0, .. });
        let is_void = is_all && is_unasked;
        let voided = AfterChange::TicketsVoided {
            order,
            amount: found.worth(&tickets),
            tickets,
            key: key.to_owned(),
            body: body.to_owned(),
            is_void,
        };
        let mut changes = vec![Change::After(voided)];
        if is_void {
            changes.push(Change::VoidOwed(void_of(order, &found.payment, now)));
        }
        changes
    }

    fn decide_cancelling(&self, now: Timestamp) -> Vec<Change> {
        if self.aftermath.cancelled_at.is_none() {
            return Vec::new();
        }
        let next = self.aftermath.valid.iter().take(CANCEL_MAX);
        let next = next.filter_map(|id| Some((*id, self.orders.get(id)?)));
        next.flat_map(|(id, order)| {
            let tickets = order.valid().map(|(ticket, ..)| ticket).collect();
            self.void_tickets(id, order, tickets, (CANCELLED, ""), now)
        })
        .collect()
    }

    fn decide_check_in(&self, scan: &Scan, now: Timestamp) -> Decided {
        let refuse = |refusal| (Vec::new(), Err(refusal));
        let order = self.aftermath.orders_by_ticket.get(&scan.ticket);
        let found = order.and_then(|id| Some((*id, self.orders.get(id)?)));
        let Some((order, found)) = found else { return refuse(Refusal::UnknownTicket) };
        let Scan { scan: id, ticket, gate, .. } = scan.clone();
        // A scanner's clock may be ahead; nobody came in later than now.
        let at = scan.at.unwrap_or(now).min(now);
        let used = found.after.uses.get(&ticket);
        let refusal = match (found.after.voids.get(&ticket), used) {
            (_, Some(used)) if used.scan == id => return (Vec::new(), Ok(())),
            (Some(void), _) => Refusal::TicketVoid { at: void.at },
            (None, Some(used)) => Refusal::TicketUsed { at: used.at, gate: used.gate.clone() },
            (None, None) => {
                let checked_in = AfterChange::CheckedIn { order, ticket, gate, at, scan: id };
                return (vec![Change::After(checked_in)], Ok(()));
            }
        };
        // Who asks before opening the gate is told; who has opened it has let somebody in.
        let conflicts = &found.after.conflicts;
        let is_new = scan.at.is_some() && conflicts.iter().all(|(_, known)| known.scan != id);
        let conflict = AfterChange::Conflict { order, ticket, gate, at, scan: id };
        let is_kept = is_new && conflicts.len() < CONFLICTS_MAX;
        let changes = is_kept.then_some(Change::After(conflict)).into_iter().collect();
        (changes, Err(refusal))
    }

    /// What to answer to a command that was not refused, once it is carried out.
    pub(super) fn reply_after(&self, command: &AfterCommand) -> Reply {
        match command {
            AfterCommand::Refund(RefundAsk { order, .. }) | AfterCommand::Repaid { order, .. } => {
                self.view_order(*order)
            }
            AfterCommand::CancelEvent | AfterCommand::CancelNext => {
                let is_cancelled = self.aftermath.cancelled_at.is_some();
                let left = if is_cancelled { self.aftermath.valid.len() as u64 } else { 0 };
                Reply::After(AfterReply::Cancelling { left })
            }
            AfterCommand::CheckIn(scan) => self.admitted(scan.ticket).unwrap_or(Reply::Nothing),
            AfterCommand::Trail { after, limit } => {
                Reply::After(AfterReply::Trail(self.trail(*after, *limit)))
            }
        }
    }

    fn admitted(&self, ticket: Id128) -> Option<Reply> {
        let order = self.orders.get(self.aftermath.orders_by_ticket.get(&ticket)?)?;
        let at = order.after.uses.get(&ticket)?.at;
        let seat = order.seat_of(ticket)?;
        Some(Reply::After(AfterReply::Admitted { seat, at }))
    }

    /// What happened after `after`: about `limit` entries, and never half of one change.
    fn trail(&self, after: u64, limit: usize) -> Vec<TrailEntry> {
        let mut entries: Vec<TrailEntry> = Vec::new();
        let first = (after + 1, Id128::from_bytes([0; 16]));
        for (seq, ticket) in self.aftermath.trail.range(first..) {
            if entries.len() >= limit && entries.last().is_some_and(|last| last.seq != *seq) {
                break;
            }
            let order = self.aftermath.orders_by_ticket.get(ticket);
            let order = order.and_then(|order| self.orders.get(order));
            entries.extend(order.and_then(|order| order.trail_entry(*seq, *ticket)));
        }
        entries
    }

    /// Whether orders of a cancelled event are still to be refunded.
    pub(super) fn has_to_cancel(&self) -> bool {
        self.is_cancelled() && !self.aftermath.valid.is_empty()
    }

    /// Whether nothing more is sold.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.aftermath.cancelled_at.is_some()
    }

    /// Refunds that can be paid back now.
    pub(super) fn refunds_due(&self) -> impl Iterator<Item = RefundDue> + '_ {
        self.aftermath.owed.iter().filter_map(|(id, refund)| {
            let order = self.orders.get(id)?;
            let Capture::Captured { .. } = order.payment.capture else { return None };
            let owed = order.after.refunds.get(*refund as usize)?;
            Some(RefundDue {
                order: *id,
                refund: *refund,
                number: order.payment.number,
                gateway: order.payment.gateway.clone(),
                reference: order.payment.reference.clone(),
                amount: owed.amount,
                since: owed.at,
            })
        })
    }

    /// How many refunds are owed, due or not.
    pub(super) fn refunds_owed(&self) -> u64 {
        self.aftermath.owed.len() as u64
    }
}

impl Order {
    fn seat_of(&self, ticket: Id128) -> Option<Seat> {
        let at = self.tickets.iter().position(|known| *known == ticket)?;
        self.seats.get(at).copied()
    }

    fn trail_entry(&self, seq: u64, ticket: Id128) -> Option<TrailEntry> {
        let seat = self.seat_of(ticket)?;
        let entry = |what, at, gate: &str| {
            Some(TrailEntry { seq, ticket, seat, what, at, gate: gate.to_owned() })
        };
        let After { uses, voids, conflicts, .. } = &self.after;
        if let Some(void) = voids.get(&ticket).filter(|void| void.seq == seq) {
            return entry(TrailWhat::Void, void.at, "");
        }
        if let Some(used) = uses.get(&ticket).filter(|used| used.seq == seq) {
            return entry(TrailWhat::Used, used.at, &used.gate);
        }
        let (_, used) = conflicts.iter().find(|(known, u)| *known == ticket && u.seq == seq)?;
        entry(TrailWhat::Conflict, used.at, &used.gate)
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn after(
        &mut self,
        change: &AfterChange,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), Misfit> {
        match change {
            AfterChange::TicketsVoided { order, tickets, amount, key, body, is_void } => {
                let money = match (amount, is_void) {
                    (0, _) => Money::Returned,
                    (_, true) => Money::Voiding,
                    (_, false) => Money::Owed,
                };
                let (key, body) = (key.clone(), body.clone());
                let refund = Refund { key, body, amount: *amount, at, money };
                self.tickets_voided(*order, tickets, refund, seq)
            }
            AfterChange::Repaid { order: id, refund } => {
                let missing = Misfit::NotThere { id: *id, change: "repaid" };
                if !self.aftermath.owed.remove(&(*id, *refund)) {
                    return Err(missing);
                }
                let order = self.orders.get_mut(id);
                let owed = order.and_then(|o| o.after.refunds.get_mut(*refund as usize));
                owed.ok_or(missing)?.money = Money::Returned;
                Ok(())
            }
            AfterChange::EventCancelled => {
                self.aftermath.cancelled_at = Some(at);
                Ok(())
            }
            AfterChange::CheckedIn { order, ticket, gate, at, scan } => {
                let used = Use { at: *at, gate: gate.clone(), scan: *scan, seq };
                self.checked_in(*order, *ticket, used)
            }
            AfterChange::Conflict { order: id, ticket, gate, at, scan } => {
                let used = Use { at: *at, gate: gate.clone(), scan: *scan, seq };
                let order = self.sold_order_mut(*id, "conflict")?;
                order.after.conflicts.push((*ticket, used));
                self.aftermath.trail.insert((seq, *ticket));
                Ok(())
            }
        }
    }

    fn tickets_voided(
        &mut self,
        id: Id128,
        tickets: &[Id128],
        refund: Refund,
        seq: u64,
    ) -> Result<(), Misfit> {
        let order = self.sold_order_mut(id, "tickets_voided")?;
        let mut seats = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let missing = Misfit::NotThere { id: *ticket, change: "tickets_voided" };
            seats.push(order.seat_of(*ticket).ok_or(missing)?);
            let void = VoidTicket { at: refund.at, seq };
            if order.after.voids.insert(*ticket, void).is_some() {
                return Err(Misfit::Twice { id: *ticket });
            }
        }
        if refund.money == Money::Voiding {
            // What was owed before is in the same authorisation.
            for earlier in &mut order.after.refunds {
                earlier.money =
                    if earlier.money == Money::Owed { Money::Voiding } else { earlier.money };
            }
        }
        order.after.refunds.push(refund);
        order.seq = seq;
        let sub = order.sub;
        self.counts.sold -= seats.len() as u64;
        self.return_seats(sub, &seats);
        if let Some(order) = self.orders.get(&id) {
            self.aftermath.follow(id, order);
        }
        Ok(())
    }

    fn checked_in(&mut self, id: Id128, ticket: Id128, used: Use) -> Result<(), Misfit> {
        let order = self.sold_order_mut(id, "checked_in")?;
        let missing = Misfit::NotThere { id: ticket, change: "checked_in" };
        let is_valid = order.valid().any(|(known, ..)| known == ticket);
        if !is_valid || order.after.uses.contains_key(&ticket) {
            return Err(missing);
        }
        let seq = used.seq;
        order.after.uses.insert(ticket, used);
        self.aftermath.trail.insert((seq, ticket));
        Ok(())
    }

    /// The authorisation of an order reserves nothing any more.
    pub(super) fn money_voided(&mut self, id: Id128, number: u32) {
        let order = self.orders.get_mut(&id).filter(|order| order.payment.number == number);
        let Some(order) = order else { return };
        for refund in &mut order.after.refunds {
            if refund.money == Money::Voiding {
                refund.money = Money::Returned;
            }
        }
    }

    pub(super) fn sold_order_mut(
        &mut self,
        id: Id128,
        change: &'static str,
    ) -> Result<&mut Order, Misfit> {
        let sold = self.orders.get_mut(&id).filter(|order| order.stage == OrderStage::Sold);
        sold.ok_or(Misfit::NotThere { id, change })
    }
}
