//! Who shops? Each buyer knows what they were told and nothing else, asks for something at random,
//! and asks again where there was no answer.

use keys::{Id128, Timestamp};
use loadtest::history::{Held, History, Keyed, Paying, Returned, Sold, TicketSeen};
use loadtest::rng::Rng;

use super::super::{Answer, Unavailable};
use super::ABSENT_AFTER;
use super::house::SEATS;
use crate::sale::{
    AfterCommand, BeginPayment, ChargeView, Command, EntryStage, Extension, GatewayName, HoldView,
    OrderStage, OrderView, Party, PartySeats, Pick, RefundAsk, Refusal, Reply, Scan, Want,
};

/// By how much time in the core may have run ahead while a hold stood; see [`crate::steady`].
const LEAD_SECS: u64 = 30;

/// A hold that a buyer was told of.
#[derive(Debug, Clone)]
struct Mine {
    hold: Id128,
    seats: Vec<u32>,
}

/// A payment whose end a buyer was not told yet.
#[derive(Debug, Clone)]
struct Attempt {
    key: String,
    hold: Id128,
    seats: Vec<u32>,
}

/// An order that a buyer was told of.
#[derive(Debug, Clone)]
struct Bought {
    order: Id128,
    hold: Id128,
    key: String,
    tickets: Vec<(u32, Id128)>,
    /// Tickets that are being given back, under which key, and since when.
    returning: Option<(Vec<Id128>, String, Timestamp)>,
    returned: Vec<Id128>,
}

/// Somebody who shops.
pub(super) struct Buyer {
    sub: Id128,
    mine: Vec<Mine>,
    attempt: Option<Attempt>,
    bought: Vec<Bought>,
    entry: Option<Id128>,
}

/// A question, and what its asker does with the answer.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) buyer: usize,
    pub(super) command: Command,
    pub(super) sent_at: Timestamp,
    about: About,
}

#[derive(Debug, Clone)]
enum About {
    Hold(Id128),
    Release,
    Entry,
    Pay(Attempt),
    PayAgain(Id128),
    Refund(Id128),
    Gate,
}

/// A payment that has begun, to be taken to the gateway by the process that was asked.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) buyer: usize,
    pub(super) charge: ChargeView,
}

pub(super) fn id(chance: &mut Rng) -> Id128 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&chance.next().to_be_bytes());
    bytes[8..].copy_from_slice(&chance.next().to_be_bytes());
    Id128::from_bytes(bytes)
}

fn some<T: Clone>(of: &[T], chance: &mut Rng) -> Option<T> {
    of.get(usize::try_from(chance.below(of.len() as u64)).ok()?).cloned()
}

fn seats(chance: &mut Rng, at_least: u64) -> Vec<u32> {
    let many = at_least + chance.below(3);
    let mut seats: Vec<u32> = (0..many).map(|_| chance.below(SEATS.into()) as u32).collect();
    seats.sort_unstable();
    seats.dedup();
    seats
}

impl Buyer {
    pub(super) fn new(chance: &mut Rng) -> Self {
        Self { sub: id(chance), mine: vec![], attempt: None, bought: vec![], entry: None }
    }

    /// What they ask next.
    pub(super) fn ask(&mut self, buyer: usize, chance: &mut Rng, now: Timestamp) -> Question {
        let (command, about) = self.choose(chance, now);
        Question { buyer, command, sent_at: now, about }
    }

    /// What they ask who only want to know what became of it all; `None` if they do.
    pub(super) fn ask_last(
        &self,
        buyer: usize,
        chance: &mut Rng,
        now: Timestamp,
    ) -> Option<Question> {
        let open = self.bought.iter().find(|bought| bought.returning.is_some());
        let (command, about) = match (&self.attempt, open) {
            (Some(attempt), _) => self.pay(attempt.clone(), chance),
            (None, Some(bought)) => refund(bought)?,
            (None, None) => return None,
        };
        Some(Question { buyer, command, sent_at: now, about })
    }

    fn choose(&mut self, chance: &mut Rng, now: Timestamp) -> (Command, About) {
        let (sub, mine) = (self.sub, some(&self.mine, chance));
        // What may be paid already is left as it is.
        let is_free = |mine: &Mine| self.attempt.as_ref().is_none_or(|a| a.hold != mine.hold);
        let mine = mine.filter(is_free);
        let roll = chance.below(100);
        match (roll, mine) {
            (0..20, Some(mine)) if self.attempt.is_none() => {
                let key = id(chance).to_string();
                let attempt = Attempt { key, hold: mine.hold, seats: mine.seats };
                self.attempt = Some(attempt.clone());
                self.pay(attempt, chance)
            }
            (0..20, _) if self.attempt.is_some() => {
                let attempt = self.attempt.clone().expect("it is there");
                self.pay(attempt, chance)
            }
            (20..26, Some(mine)) => {
                let drop = Pick::seats(vec![mine.seats[0]]);
                let add = Pick::seats(seats(chance, 0));
                let command = Command::Amend { hold: mine.hold, sub, add, drop };
                (command, About::Hold(mine.hold))
            }
            (26..30, Some(mine)) => {
                let by = Extension::ALL[chance.below(2) as usize];
                (Command::Extend { hold: mine.hold, sub, by }, About::Hold(mine.hold))
            }
            (30..36, Some(mine)) => {
                self.mine.retain(|other| other.hold != mine.hold);
                (Command::Release { hold: mine.hold, sub }, About::Release)
            }
            (36..42, Some(mine)) => {
                (Command::ViewHold { hold: mine.hold, sub }, About::Hold(mine.hold))
            }
            (42..50, _) if self.entry.is_none() => {
                let entry = id(chance);
                self.entry = Some(entry);
                let quantity = 1 + chance.below(2) as u32;
                (Command::Join { entry, sub, zone: None, quantity, contact: None }, About::Entry)
            }
            (42..50, _) => {
                let entry = self.entry.expect("it is there");
                let command = match chance.below(4) {
                    0 => Command::Leave { entry },
                    1 => Command::ViewEntry { entry },
                    _ => Command::AcceptOffer { entry },
                };
                (command, About::Entry)
            }
            (50..64, _) if !self.bought.is_empty() => self.after(chance, now),
            (64..76, _) => {
                let hold = id(chance);
                let seats = PartySeats::Any { quantity: 1 + chance.below(3) as u32 };
                let party = Party { zones: vec![], price_max: None, seats, may_split: true };
                (Command::Hold { hold, sub, want: Want::Best(party) }, About::Hold(hold))
            }
            _ => {
                let hold = id(chance);
                let want = Want::Pick(Pick::seats(seats(chance, 1)));
                (Command::Hold { hold, sub, want }, About::Hold(hold))
            }
        }
    }

    /// Pays, for the first time or once more with the same key; ids are new each time, as the API
    /// draws them.
    fn pay(&self, attempt: Attempt, chance: &mut Rng) -> (Command, About) {
        let begin = BeginPayment {
            hold: attempt.hold,
            sub: self.sub,
            key: attempt.key.clone(),
            body: "body".into(),
            order: id(chance),
            tickets: (0..8).map(|_| id(chance)).collect(),
            name: "Ana".into(),
            email: None,
            phone: None,
            locale: None,
            gateway: Some(GatewayName::default()),
            token: if chance.chance(0.8) { "tok_ok".into() } else { "tok_declined".into() },
        };
        (Command::BeginPayment(begin), About::Pay(attempt))
    }

    /// Something about an order that is theirs.
    fn after(&mut self, chance: &mut Rng, now: Timestamp) -> (Command, About) {
        let at = chance.below(self.bought.len() as u64) as usize;
        let bought = &mut self.bought[at];
        if chance.chance(0.5) {
            let attempt = Attempt { key: bought.key.clone(), hold: bought.hold, seats: Vec::new() };
            let (command, _) = self.pay(attempt, chance);
            return (command, About::PayAgain(self.bought[at].order));
        }
        // At the gate, now and then with what was given back.
        if chance.chance(0.3)
            && let Some((_, ticket)) = some(&bought.tickets, chance)
        {
            let scan = Scan { scan: id(chance), ticket, gate: "A".into(), at: None };
            return (Command::After(AfterCommand::CheckIn(scan)), About::Gate);
        }
        if bought.returning.is_none() {
            let left = bought.tickets.iter().map(|(_, ticket)| *ticket);
            let left: Vec<_> = left.filter(|t| !bought.returned.contains(t)).collect();
            let many = if chance.chance(0.5) { 1 } else { left.len() };
            let tickets: Vec<_> = left.into_iter().take(many).collect();
            if !tickets.is_empty() {
                let key = id(chance).to_string();
                bought.returning = Some((tickets, key, now));
            }
        }
        let order = bought.order;
        refund(bought).unwrap_or((Command::ViewOrder { order }, About::Release))
    }

    /// Takes in what they were told, and notes it.
    pub(super) fn hear(
        &mut self,
        question: &Question,
        heard: Result<Answer, Unavailable>,
        (core, now): (Timestamp, Timestamp),
        history: &mut History,
    ) -> Option<Begun> {
        let Question { sent_at, about, buyer, .. } = question;
        // Whatever was asked of a hold may have changed it, from the moment it was asked.
        if let Command::Amend { hold, .. } | Command::Release { hold, .. } = &question.command {
            history.release(&hold.to_string(), *sent_at);
        }
        if let Command::Leave { entry } = &question.command {
            history.release(&entry.to_string(), *sent_at);
            self.mine.retain(|mine| mine.hold != *entry);
        }
        let reply = match heard {
            Ok(answer) => answer.reply,
            Err(_) => {
                if let About::Hold(hold) = about {
                    self.mine.retain(|mine| mine.hold != *hold);
                }
                return None;
            }
        };
        match (about, reply) {
            (About::Hold(_), Reply::Hold(view)) => self.holds(&view, (core, now), history),
            (About::Hold(hold), Reply::Refused(refusal)) => {
                let is_gone = !matches!(
                    refusal,
                    Refusal::SeatTaken { .. }
                        | Refusal::TooManySeats { .. }
                        | Refusal::VisitorLimit { .. }
                        | Refusal::DuplicateSeat { .. }
                        | Refusal::NoExtensionLeft
                        | Refusal::PaymentInProgress { .. }
                );
                if is_gone {
                    self.mine.retain(|mine| mine.hold != *hold);
                }
            }
            (About::Entry, Reply::Entry(entry)) => match entry.stage {
                EntryStage::Waiting { .. } => {}
                EntryStage::Bought { .. } | EntryStage::Lapsed => self.entry = None,
                EntryStage::Offered(view) | EntryStage::Accepted(view) => {
                    self.holds(&view, (core, now), history);
                }
            },
            (About::Entry, _) => self.entry = None,
            (About::Pay(attempt), Reply::Charge(charge)) => {
                let seats = attempt.seats.clone();
                history.paying.push(Paying {
                    order: charge.order.to_string(),
                    hold: attempt.hold.to_string(),
                    seats,
                    from: now,
                    until: believed(ABSENT_AFTER.as_secs(), now),
                });
                return Some(Begun { buyer: *buyer, charge });
            }
            (About::Pay(attempt), reply) => self.paid(attempt.clone(), reply, now, history),
            (About::PayAgain(order), reply) => {
                let key = self.bought.iter().find(|b| b.order == *order).map(|b| b.key.clone());
                self.repeat(&key.unwrap_or_default(), &reply, history);
            }
            (About::Refund(order), Reply::Order(_)) => self.refunded(*order, history),
            // Somebody was let in with it meanwhile: there is nothing to give back any more.
            (About::Refund(order), Reply::Refused(Refusal::TicketUsed { .. })) => {
                let bought = self.bought.iter_mut().find(|bought| bought.order == *order);
                bought.into_iter().for_each(|bought| bought.returning = None);
            }
            (About::Refund(_) | About::Release | About::Hold(_) | About::Gate, _) => {}
        }
        None
    }

    /// Takes in how the payment ended that they wait for.
    pub(super) fn settled(&mut self, reply: Reply, now: Timestamp, history: &mut History) {
        if let Some(attempt) = self.attempt.clone() {
            self.paid(attempt, reply, now, history);
        }
    }

    fn holds(
        &mut self,
        view: &HoldView,
        (core, now): (Timestamp, Timestamp),
        history: &mut History,
    ) {
        let seats: Vec<u32> = view.seats.iter().map(|(seat, _)| *seat).collect();
        self.mine.retain(|mine| mine.hold != view.hold);
        if !view.is_offer {
            self.mine.push(Mine { hold: view.hold, seats: seats.clone() });
        }
        let until = believed(view.until.since(core.max(now)).as_secs(), now);
        history.release(&view.hold.to_string(), now);
        let (hold, total) = (view.hold.to_string(), view.bill.total);
        history.holds.push(Held { hold, seats, from: now, until, total });
    }

    /// The payment ended, or nobody knows yet.
    fn paid(&mut self, attempt: Attempt, reply: Reply, now: Timestamp, history: &mut History) {
        self.repeat(&attempt.key, &reply, history);
        match reply {
            Reply::Order(order) if order.stage == OrderStage::Sold => {
                self.attempt = None;
                self.mine.retain(|mine| mine.hold != attempt.hold);
                if self.bought.iter().any(|bought| bought.order == order.order) {
                    return;
                }
                self.bought.push(Bought {
                    order: order.order,
                    hold: attempt.hold,
                    key: attempt.key,
                    tickets: order.seats.clone(),
                    returning: None,
                    returned: Vec::new(),
                });
                history.orders.push(sold(&order, attempt.hold, now));
            }
            // Nothing is known yet: they ask again.
            Reply::Order(_) | Reply::Nothing => {}
            Reply::Refused(Refusal::PaymentInProgress { .. } | Refusal::PaymentUnknown { .. }) => {}
            _ => self.attempt = None,
        }
    }

    /// Notes what was answered to a key, if that is for good.
    fn repeat(&self, key: &str, reply: &Reply, history: &mut History) {
        let answer = match reply {
            Reply::Order(order) if order.stage == OrderStage::Sold => order.order.to_string(),
            Reply::Refused(
                refusal @ (Refusal::PaymentDeclined { .. } | Refusal::HoldBought { .. }),
            ) => refusal.code().to_owned(),
            _ => return,
        };
        history.keyed.push(Keyed { key: format!("{} {key}", self.sub), answer });
    }

    fn refunded(&mut self, order: Id128, history: &mut History) {
        let Some(bought) = self.bought.iter_mut().find(|b| b.order == order) else { return };
        let Some((tickets, _, at)) = bought.returning.take() else { return };
        let seats = bought.tickets.iter().filter(|(_, ticket)| tickets.contains(ticket));
        let seats = seats.map(|(seat, _)| *seat).collect();
        history.returned.push(Returned { order: order.to_string(), seats, at });
        bought.returned.extend(tickets);
    }

    /// Orders that they were told of.
    pub(super) fn orders(&self) -> impl Iterator<Item = Id128> {
        self.bought.iter().map(|bought| bought.order)
    }
}

fn refund(bought: &Bought) -> Option<(Command, About)> {
    let (tickets, key, _) = bought.returning.clone()?;
    let order = bought.order;
    let ask = RefundAsk { order, tickets: Some(tickets), key, body: "body".into() };
    Some((Command::After(AfterCommand::Refund(ask)), About::Refund(order)))
}

/// Until when somebody surely has what was promised for so long, by the time that really passes.
fn believed(secs: u64, now: Timestamp) -> Timestamp {
    now.plus_secs(secs.saturating_sub(LEAD_SECS) * 10 / 11)
}

fn sold(order: &OrderView, hold: Id128, at: Timestamp) -> Sold {
    Sold {
        order: order.order.to_string(),
        hold: hold.to_string(),
        seats: order.seats.iter().map(|(seat, _)| *seat).collect(),
        prices: order.prices.clone(),
        total: order.bill.total,
        tickets: order.seats.len(),
        at,
        reread: loadtest::history::Reread::NotAsked,
    }
}

/// The tickets of an order, as they are read in the end.
pub(super) fn tickets(order: &OrderView) -> impl Iterator<Item = TicketSeen> {
    order.seats.iter().map(|(seat, ticket)| TicketSeen {
        order: order.order.to_string(),
        seat: *seat,
        ticket: ticket.to_string(),
        is_live: !order.after.voids.contains_key(ticket),
    })
}
