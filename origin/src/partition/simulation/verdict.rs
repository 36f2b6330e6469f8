//! Were the promises kept? Compares what buyers were told, what the log says and what the gateway
//! has, which are three accounts of the same sale.

use std::collections::BTreeMap;

use keys::{EventId, Id128};
use loadtest::checker::{Bounds, Finding, check};
use loadtest::history::{Ledger, Reread};

use super::super::Answer;
use super::super::book::Book;
use super::{Simulation, crowd};
use crate::record::{self, Entry, FIRST_LINK};
use crate::sale::{
    AfterCommand, AfterReply, Change, Command, Extension, OrderStage, Refusal, Reply, Saved, Scan,
    State,
};

/// A change of the log, and when it was decided.
type Logged = (Change, keys::Timestamp);

impl Simulation {
    /// Everything that is broken; nothing, if the promises were kept.
    pub(super) fn verdict(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        let Some(live) = self.house.book(0).map(saved) else {
            return vec!["nobody serves in the end".to_owned()];
        };
        let log = match self.log() {
            Ok(log) => log,
            Err(fault) => return vec![fault],
        };
        for is_whole in [true, false] {
            match self.house.load(is_whole) {
                Ok(book) if saved(&book) == live => {}
                Ok(_) => faults.push(format!("replay: differs, whole {is_whole}")),
                Err(error) => faults.push(format!("replay: {error:?}")),
            }
        }
        if faults.is_empty() {
            let state = self.agree(&log, &mut faults);
            self.money(&state, &mut faults);
            self.gates(&state, &mut faults);
            self.read_again(&state);
        }
        self.judge(&mut faults);
        faults
    }

    /// What the checker of histories says.
    pub(super) fn judge(&mut self, faults: &mut Vec<String>) {
        self.history.ledger = Ledger::Charges(self.till.charges());
        // Who was never told may have bought all the same; the other account has that.
        self.history.unresolved_total = self.till.books.len() as u64;
        for checked in check(&self.history, Bounds::default()).checks {
            if let Finding::Broken { examples, .. } = checked.finding {
                faults.push(format!("{:?}: {}", checked.promise, examples.join("; ")));
            }
        }
    }

    /// All changes in order, or how the chain is broken.
    fn log(&mut self) -> Result<Vec<Logged>, String> {
        let mut store = crate::log::Log::Memory(self.house.log.clone());
        let (mut log, mut link) = (Vec::new(), FIRST_LINK);
        let mut last = keys::Timestamp::default();
        for stored in store.read(0, 0, u32::MAX).map_err(|error| error.to_string())? {
            let read = record::decode::<Entry>(stored.seq, &stored.bytes, &link);
            let (record, next) = read.map_err(|error| format!("chain: {error}"))?;
            if record.seq != log.len() as u64 {
                return Err(format!("chain: record {} stands at {}", record.seq, log.len()));
            }
            if record.at < last {
                return Err(format!("time: goes back to {} at {}", record.at, record.seq));
            }
            (last, link) = (record.at, next);
            log.extend(record.entries.into_iter().map(|entry| (entry.change, record.at)));
        }
        Ok(log)
    }

    /// Whether each answer was what the log says at its sequence number: the state in the end.
    fn agree(&self, log: &[Logged], faults: &mut Vec<String>) -> State {
        let mut book = self.house.load(true).expect("it was read before");
        let mut by_seq: BTreeMap<u64, Vec<(&Command, &Answer)>> = BTreeMap::new();
        for (command, answer) in &self.house.answers {
            by_seq.entry(answer.seq).or_default().push((command, answer));
        }
        let last = book.states.remove(&self.house.event).expect("it is on sale");
        let mut state = self.house.fresh();
        let (mut given_up_at, mut paid_by) = (BTreeMap::new(), BTreeMap::new());
        for seq in 0..=log.len() as u64 {
            for (command, answer) in by_seq.remove(&seq).unwrap_or_default() {
                if let Some(fault) = disagrees(&state, command, &answer.reply, log, seq) {
                    faults.push(format!("answer at {seq}: {fault}"));
                }
            }
            if let Some((change, at)) = log.get(seq as usize) {
                match change {
                    Change::PaymentBegun(begun) => {
                        given_up_at.insert(begun.order, begun.give_up_at);
                        paid_by.insert(begun.hold, begun.order);
                    }
                    Change::Extended { hold, by: Extension::Outage, until } => {
                        if let Some(order) = paid_by.get(hold) {
                            given_up_at.insert(*order, Some(*until));
                        }
                    }
                    // The seats go by a known outcome, or because nobody waits for it any more.
                    Change::PaymentDeclined { order, .. }
                        if !self.declined.contains(order)
                            && given_up_at.get(order).is_none_or(|end| *end > Some(*at)) =>
                    {
                        faults.push(format!("paying: {order} ended at {seq}, and nobody said so"));
                    }
                    _ => {}
                }
                state.set_next_seq(seq);
                state.evolve(change, *at).expect("it was replayed before");
            }
        }
        if let Some((seq, _)) = by_seq.first_key_value() {
            faults.push(format!("answer at {seq}: the log ends at {}", log.len()));
        }
        last
    }

    /// Whether the gateway has what was sold, and nothing else.
    fn money(&self, state: &State, faults: &mut Vec<String>) {
        let mut reserved: BTreeMap<Id128, u64> = BTreeMap::new();
        for charge in self.till.charges().into_iter().filter(|charge| charge.is_live) {
            let order: Id128 = charge.order.parse().expect("it is an id");
            *reserved.entry(order).or_default() += charge.amount - charge.refunded;
        }
        for id in state.orders() {
            let Some(order) = state.order(id).filter(|order| order.stage == OrderStage::Sold)
            else {
                faults.push(format!("money: {id} is not settled"));
                continue;
            };
            let refunded: u64 = order.after.refunds.iter().map(|refund| refund.amount).sum();
            let (paid, due) = (reserved.remove(&id).unwrap_or(0), order.bill.total - refunded);
            if paid != due {
                faults.push(format!("money: {id} costs {due}, {paid} was paid"));
            }
        }
        for (id, paid) in reserved.into_iter().filter(|(_, paid)| *paid > 0) {
            faults.push(format!("money: {paid} was paid for {id}, which is no order"));
        }
    }

    /// Whether a gate opened once for a ticket, and never for one that was given back.
    fn gates(&self, state: &State, faults: &mut Vec<String>) {
        let mut let_in: BTreeMap<Id128, Id128> = BTreeMap::new();
        for (command, answer) in &self.house.answers {
            let Command::After(AfterCommand::CheckIn(Scan { scan, ticket, .. })) = command else {
                continue;
            };
            if !matches!(answer.reply, Reply::After(AfterReply::Admitted { .. })) {
                continue;
            }
            if let Some(before) = let_in.insert(*ticket, *scan).filter(|before| before != scan) {
                faults.push(format!("gate: {ticket} let in {before} and {scan}"));
            }
        }
        for order in state.orders().filter_map(|id| state.order(id)) {
            let both = order.after.voids.keys().filter(|ticket| let_in.contains_key(ticket));
            faults.extend(both.map(|ticket| format!("gate: {ticket} let in and was given back")));
        }
    }

    /// Everybody looks at their orders once more.
    fn read_again(&mut self, state: &State) {
        for sold in &mut self.history.orders {
            let order = sold.order.parse().ok().and_then(|id| state.order(id));
            sold.reread = match &order {
                None => Reread::Gone,
                Some(order) if order.seats.len() == sold.seats.len() => Reread::Same,
                Some(order) => Reread::Changed(format!("{} seats", order.seats.len())),
            };
        }
        let told = self.buyers.iter().flat_map(crowd::Buyer::orders);
        let told = told.filter_map(|id| state.order(id));
        self.history.tickets =
            told.flat_map(|order| crowd::tickets(&order).collect::<Vec<_>>()).collect();
    }
}

fn saved(book: &Book) -> Vec<(EventId, Saved)> {
    book.states.iter().map(|(event, state)| (event.clone(), state.save())).collect()
}

/// How an answer differs from what the log says.
fn disagrees(
    state: &State,
    command: &Command,
    reply: &Reply,
    log: &[Logged],
    seq: u64,
) -> Option<String> {
    let at = seq.checked_sub(1).and_then(|last| log.get(last as usize)).map(|(_, at)| *at);
    let mut state = state.clone();
    let mut ask = |command: &Command| state.apply(command, at.unwrap_or_default()).1;
    match (command, reply) {
        (_, Reply::Hold(told)) => {
            let sub = match command {
                Command::Hold { sub, .. }
                | Command::ViewHold { sub, .. }
                | Command::Amend { sub, .. }
                | Command::Extend { sub, .. } => *sub,
                _ => return Some(format!("{command:?} is answered with a hold")),
            };
            match ask(&Command::ViewHold { hold: told.hold, sub }) {
                Reply::Hold(logged) => {
                    let told = crate::sale::HoldView { score: None, ..told.clone() };
                    (logged != told).then(|| format!("told {told:?}, the log has {logged:?}"))
                }
                other => Some(format!("told {told:?}, the log has {other:?}")),
            }
        }
        (_, Reply::Order(told)) => match ask(&Command::ViewOrder { order: told.order }) {
            Reply::Order(logged) if logged == *told => None,
            other => Some(format!("told {told:?}, the log has {other:?}")),
        },
        (_, Reply::Charge(told)) => match ask(&Command::ViewOrder { order: told.order }) {
            Reply::Order(logged)
                if logged.payment.number == told.number && logged.bill.total == told.amount =>
            {
                None
            }
            other => Some(format!("told {told:?}, the log has {other:?}")),
        },
        (Command::Release { hold, sub }, Reply::Freed) => {
            match ask(&Command::ViewHold { hold: *hold, sub: *sub }) {
                Reply::Hold(logged) => {
                    Some(format!("told that it is free, the log has {logged:?}"))
                }
                _ => None,
            }
        }
        (_, Reply::Refused(Refusal::SeatTaken { seats })) => {
            let free = seats.iter().find(|seat| state.free().contains(**seat));
            free.map(|seat| format!("told that seat {seat} is taken, and it is free"))
        }
        _ => None,
    }
}
