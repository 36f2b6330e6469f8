//! Did the server keep its promises? Reads the history and names every contradiction in it.
//!
//! Doubt is decided in the server's favour: a check fails only where no order of events between
//! the times of asking and answering could have been right. So a failure is a fault of the server,
//! never of the network, and what cannot be decided is called unproven, which is not clean either.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keys::{Front, Lane, Timestamp};
use serde::Serialize;

use crate::history::{Charge, History, Joined, Keyed, Ledger, Reread, Returned, Sold};

/// Most examples of one fault that a report carries.
const EXAMPLES_MAX: usize = 10;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// Somebody was admitted at all; without it the other checks say little.
    SomebodyServed,
    /// No seat is in two orders.
    SeatSoldOnce,
    /// No seat has two owners at one time.
    SeatOwnedOnce,
    /// No pass for a position that the front had not reached.
    NoneAboveFront,
    /// One pass for each visitor, one visitor for each pass.
    AdmittedOnce,
    /// No number of a lane was given to two visitors.
    NumberOnce,
    /// Who came earlier has the lower number, but for a bounded time.
    OrderOfJoins,
    /// Whoever has a place keeps it: only a judgement moves them to another lane.
    PlaceKept,
    /// An order is the hold it was made of: same seats, a ticket for each, the sum of the prices.
    OrdersAddUp,
    /// A confirmed order is still there at the end.
    OrdersLast,
    /// Each seat of a confirmed order has one live ticket, and none once it was given back.
    TicketsLive,
    /// The same idempotency key has the same answer.
    KeysRepeat,
    /// What was charged is what was sold, once for each order.
    ChargesMatch,
    /// The front never goes back.
    FrontMonotonic,
    /// Every statement verifies with the published keys.
    StatementsVerify,
}

impl Promise {
    /// As a sentence.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SomebodyServed => "somebody was admitted",
            Self::SeatSoldOnce => "no seat in two orders",
            Self::SeatOwnedOnce => "no seat with two owners at once",
            Self::NoneAboveFront => "no admission above the front",
            Self::AdmittedOnce => "nobody admitted twice",
            Self::NumberOnce => "no number given twice",
            Self::OrderOfJoins => "who came first has the lower number",
            Self::PlaceKept => "nobody lost their place",
            Self::OrdersAddUp => "orders add up",
            Self::OrdersLast => "orders are still there at the end",
            Self::TicketsLive => "one live ticket for each seat that was sold",
            Self::KeysRepeat => "the same key has the same answer",
            Self::ChargesMatch => "charges equal sales",
            Self::FrontMonotonic => "the front never went back",
            Self::StatementsVerify => "every statement verifies",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// No contradiction.
    Kept,
    /// Contradictions.
    Broken {
        /// How many.
        faults_total: u64,
        /// The first of them.
        examples: Vec<String>,
    },
    /// It could not be decided.
    Unproven {
        /// Why.
        why: String,
    },
}

/// One promise, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which.
    pub promise: Promise,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// How many things were looked at; 0 means the promise was not put to the test.
    pub checked_total: u64,
    /// A measurement or reservation for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// In the order of [`Promise`].
    pub checks: Vec<Check>,
}

impl Verdict {
    /// Whether every promise was kept, and none is unproven.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.finding == Finding::Kept)
    }

    /// The check of a promise, if it was made.
    #[must_use]
    pub fn of(&self, promise: Promise) -> Option<&Check> {
        self.checks.iter().find(|check| check.promise == promise)
    }

    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<Promise> {
        let is_broken = |check: &&Check| matches!(check.finding, Finding::Broken { .. });
        self.checks.iter().filter(is_broken).map(|check| check.promise).collect()
    }
}

/// Bounds that a run states beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Two joins further apart than this are never swapped; absent means that it is only measured.
    pub swap_max: Option<Duration>,
}

/// Checks everything.
#[must_use]
pub fn check(history: &History, bounds: Bounds) -> Verdict {
    let mut checks = vec![
        somebody_served(history),
        seat_sold_once(history),
        seat_owned_once(history),
        none_above_front(history),
        admitted_once(history),
        number_once(history),
        order_of_joins(history, bounds.swap_max),
        place_kept(history),
        orders_add_up(history),
        orders_last(history),
        tickets_live(history),
        keys_repeat(history),
    ];
    if history.ledger != Ledger::NotAsked {
        checks.push(charges_match(history));
    }
    checks.push(front_monotonic(history));
    checks.push(statements_verify(history));
    Verdict { checks }
}

/// Collects faults while a check goes on.
#[derive(Default)]
struct Faults {
    total: u64,
    examples: Vec<String>,
}

impl Faults {
    fn add(&mut self, describe: impl FnOnce() -> String) {
        self.total += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(describe());
        }
    }

    fn into_check(self, promise: Promise, checked: usize) -> Check {
        let finding = if self.total == 0 {
            Finding::Kept
        } else {
            Finding::Broken { faults_total: self.total, examples: self.examples }
        };
        Check { promise, finding, checked_total: checked as u64, note: None }
    }
}

fn somebody_served(history: &History) -> Check {
    let finding = if history.admitted.is_empty() {
        Finding::Unproven { why: "nobody was admitted".to_owned() }
    } else {
        Finding::Kept
    };
    let checked_total = history.admitted.len() as u64;
    Check { promise: Promise::SomebodyServed, finding, checked_total, note: None }
}

fn seat_sold_once(history: &History) -> Check {
    let mut faults = Faults::default();
    let mut sold: BTreeMap<u32, &Sold> = BTreeMap::new();
    let mut checked = 0;
    let returned = returned(history);
    for order in &history.orders {
        for seat in &order.seats {
            checked += 1;
            if returned.contains_key(&(order.order.as_str(), *seat)) {
                continue;
            }
            if let Some(other) = sold.insert(*seat, order) {
                faults.add(|| format!("seat {seat} is in {} and in {}", other.order, order.order));
            }
        }
    }
    faults.into_check(Promise::SeatSoldOnce, checked)
}

/// When seats of orders were given back.
fn returned(history: &History) -> BTreeMap<(&str, u32), Timestamp> {
    let mut returned = BTreeMap::new();
    for Returned { order, seats, at } in &history.returned {
        for seat in seats {
            let first = returned.entry((order.as_str(), *seat)).or_insert(*at);
            *first = (*first).min(*at);
        }
    }
    returned
}

/// When the gateway first decided anything about an order.
fn first_decided(history: &History) -> BTreeMap<&str, Timestamp> {
    let mut decided = BTreeMap::new();
    let Ledger::Charges(charges) = &history.ledger else { return decided };
    // What has no amount is a key that was closed before it was used.
    for charge in charges.iter().filter(|charge| charge.amount > 0) {
        if let Some(at) = charge.at {
            let first = decided.entry(charge.order.as_str()).or_insert(at);
            *first = (*first).min(at);
        }
    }
    decided
}

/// A time in which a seat surely belonged to a hold or to the order made of it.
#[derive(Clone, Copy)]
struct Owned<'a> {
    seat: u32,
    from: Timestamp,
    until: Timestamp,
    hold: &'a str,
}

fn seat_owned_once(history: &History) -> Check {
    let forever = Timestamp::from_millis(u64::MAX);
    let (returned, decided) = (returned(history), first_decided(history));
    let returned = &returned;
    let sold_as: BTreeMap<&str, &str> =
        history.orders.iter().map(|sold| (sold.hold.as_str(), sold.order.as_str())).collect();
    let holds = history.holds.iter().flat_map(|held| {
        let (hold, from) = (held.hold.as_str(), held.from);
        // What was bought and given back is free, however long the hold would have stood.
        let order = sold_as.get(hold).copied();
        let back = move |seat: &u32| order.and_then(|order| returned.get(&(order, *seat)).copied());
        let owned = held.seats.iter().map(move |seat| (seat, back(seat).unwrap_or(held.until)));
        owned.map(move |(seat, back)| {
            let until = held.until.min(back);
            Owned { seat: *seat, from, until, hold }
        })
    });
    let orders = history.orders.iter().flat_map(|sold| {
        let (hold, from) = (sold.hold.as_str(), sold.at);
        let until = move |seat: &u32| returned.get(&(sold.order.as_str(), *seat)).copied();
        let owned = sold.seats.iter().map(move |seat| (seat, until(seat).unwrap_or(forever)));
        owned.map(move |(seat, until)| Owned { seat: *seat, from, until, hold })
    });
    // Until the gateway has decided, nobody can know an outcome that would free the seats.
    let paying = history.paying.iter().flat_map(|paying| {
        let (hold, from) = (paying.hold.as_str(), paying.from);
        let decided = decided.get(paying.order.as_str()).copied();
        let until = paying.until.min(decided.unwrap_or(from));
        paying.seats.iter().map(move |seat| Owned { seat: *seat, from, until, hold })
    });
    let mut owned: Vec<Owned<'_>> =
        holds.chain(orders).chain(paying).filter(|owned| owned.from < owned.until).collect();
    owned.sort_by_key(|owned| (owned.seat, owned.from));

    let mut faults = Faults::default();
    let mut last: Option<Owned<'_>> = None; // of this seat, the one that ends last
    for next in &owned {
        match last.filter(|last| last.seat == next.seat) {
            Some(last) if last.hold != next.hold && next.from < last.until => faults.add(|| {
                let Owned { seat, from, hold, .. } = next;
                format!("seat {seat} was given to hold {hold} by {from}, but {} had it", last.hold)
            }),
            Some(_) | None => {}
        }
        let is_longer = last.is_none_or(|last| last.seat != next.seat || last.until < next.until);
        if is_longer {
            last = Some(*next);
        }
    }
    faults.into_check(Promise::SeatOwnedOnce, owned.len())
}

fn none_above_front(history: &History) -> Check {
    let mut fronts: Vec<&Front> = history.fronts.iter().collect();
    fronts.sort_by_key(|front| (front.t0, front.epoch, front.seq));
    let mut faults = Faults::default();
    let (mut checked, mut undecided, mut unseen) = (0, 0_u64, 0_u64);
    for admitted in &history.admitted {
        let Some(position) = admitted.position else {
            unseen += 1;
            continue;
        };
        match highest_front(&fronts, admitted.lane, admitted.at) {
            Highest::AtMost(front) => {
                checked += 1;
                if position > front {
                    let (sub, lane, at) = (admitted.sub, admitted.lane, admitted.at);
                    faults.add(|| {
                        format!("{sub} entered with {position} of {lane} at {at}, front {front}")
                    });
                }
            }
            Highest::AtLeast(front) if position <= front => checked += 1,
            Highest::AtLeast(_) => undecided += 1,
        }
    }
    let mut check = faults.into_check(Promise::NoneAboveFront, checked);
    if undecided > 0 && check.finding == Finding::Kept {
        let why = format!("no front was published after {undecided} admissions above the last one");
        check.finding = Finding::Unproven { why };
    }
    check.note = (unseen > 0).then(|| format!("{unseen} entered without ever having a number"));
    check
}

/// What can be said of the highest front that anybody could know at a time.
enum Highest {
    /// It was this or lower: a document from later says so.
    AtMost(u64),
    /// It was this or higher: all documents are older.
    AtLeast(u64),
}

/// `fronts` by `t0`, ascending. The front never goes back, so the first document from after `at`
/// bounds every one from before it that we may have missed; if its number says that we missed
/// none, the one before it is the bound.
fn highest_front(fronts: &[&Front], lane: Lane, at: Timestamp) -> Highest {
    let known = fronts.partition_point(|front| front.t0 <= at);
    let before = fronts[..known].iter().map(|front| front.at(lane, at)).max().unwrap_or(0);
    let Some(after) = fronts.get(known) else { return Highest::AtLeast(before) };
    let is_next = fronts[..known].last().is_some_and(|last| {
        (last.line, last.epoch, last.seq.saturating_add(1)) == (after.line, after.epoch, after.seq)
    });
    Highest::AtMost(if is_next { before } else { before.max(after.at(lane, at)) })
}

fn admitted_once(history: &History) -> Check {
    let mut faults = Faults::default();
    let (mut by_sub, mut by_jti) = (BTreeMap::new(), BTreeMap::new());
    for admitted in &history.admitted {
        let (sub, jti) = (admitted.sub, admitted.jti);
        if by_sub.insert(sub, jti).is_some_and(|other| other != jti) {
            faults.add(|| format!("visitor {sub} has a second pass {jti}"));
        }
        if by_jti.insert(jti, sub).is_some_and(|other| other != sub) {
            faults.add(|| format!("pass {jti} is another visitor's and {sub}'s"));
        }
    }
    faults.into_check(Promise::AdmittedOnce, history.admitted.len())
}

fn number_once(history: &History) -> Check {
    let mut faults = Faults::default();
    let mut given = BTreeMap::new();
    for Joined { sub, line, lane, num, .. } in &history.joined {
        if given.insert((line, lane, num), sub).is_some_and(|other| other != sub) {
            faults.add(|| format!("number {num} of {lane} was given to {sub} and to another"));
        }
    }
    faults.into_check(Promise::NumberOnce, history.joined.len())
}

fn order_of_joins(history: &History, swap_max: Option<Duration>) -> Check {
    let mut joined: Vec<&Joined> = history.joined.iter().filter(|joined| joined.is_first).collect();
    // Equal numbers are another promise's fault: with the later one first, none has overtaken.
    joined.sort_by_key(|joined| (joined.line, joined.lane, Reverse((joined.num, joined.at))));

    let mut faults = Faults::default();
    let (mut worst, mut swapped) = (Duration::ZERO, 0_u64);
    // Of those with higher numbers in the same lane, who was surely there first?
    let mut earliest: Option<&Joined> = None;
    for join in &joined {
        let same = earliest.filter(|e| (e.line, e.lane) == (join.line, join.lane));
        if let Some(early) = same.filter(|early| early.at < join.sent_at) {
            let apart = join.sent_at.since(early.at);
            swapped += 1;
            worst = worst.max(apart);
            if swap_max.is_some_and(|max| apart > max) {
                faults.add(|| {
                    let (num, early, lane) = (join.num, early.num, join.lane);
                    format!("{num} of {lane} came {} ms after {early}", apart.as_millis())
                });
            }
        }
        if same.is_none_or(|early| join.at < early.at) {
            earliest = Some(join);
        }
    }
    let mut check = faults.into_check(Promise::OrderOfJoins, joined.len());
    let against = match swap_max {
        Some(max) => format!("bound {} ms", max.as_millis()),
        None => "no bound was stated".to_owned(),
    };
    let worst_ms = worst.as_millis();
    check.note =
        Some(format!("{swapped} joins overtook somebody, by {worst_ms} ms at most; {against}"));
    check
}

fn place_kept(history: &History) -> Check {
    let mut faults = Faults::default();
    let mut stands: BTreeMap<u64, &Joined> = BTreeMap::new();
    for join in &history.joined {
        let Some(before) = stands.insert(join.person, join) else { continue };
        let is_judged = before.lane != join.lane;
        let is_kept = join.sub == before.sub && (is_judged || join.num == before.num);
        // A new line is a new sale of the same name: its places are new ones.
        if join.line == before.line && !is_kept {
            faults.add(|| {
                let (lane, num, was) = (join.lane, join.num, before.num);
                format!("visitor {} stood at {was} and then at {num} of {lane}", join.person)
            });
        }
    }
    faults.into_check(Promise::PlaceKept, history.joined.len())
}

fn orders_add_up(history: &History) -> Check {
    let holds: BTreeMap<&str, BTreeSet<u32>> = history
        .holds
        .iter()
        .map(|held| (held.hold.as_str(), held.seats.iter().copied().collect()))
        .collect();
    let mut faults = Faults::default();
    let mut by_order: BTreeMap<&str, &str> = BTreeMap::new();
    for sold in &history.orders {
        let Sold { order, hold, seats, prices, total, tickets, .. } = sold;
        let sum: u64 = prices.iter().sum();
        if sum != *total {
            faults.add(|| format!("order {order} has a total of {total}, its seats cost {sum}"));
        }
        if *tickets != seats.len() {
            faults.add(|| format!("order {order} has {tickets} tickets, {} seats", seats.len()));
        }
        let bought: BTreeSet<u32> = seats.iter().copied().collect();
        if holds.get(hold.as_str()).is_some_and(|held| *held != bought) {
            faults.add(|| format!("order {order} has other seats than its hold {hold}"));
        }
        if by_order.insert(order, hold).is_some_and(|other| other != hold) {
            faults.add(|| format!("order {order} answers for two holds"));
        }
    }
    faults.into_check(Promise::OrdersAddUp, history.orders.len())
}

fn orders_last(history: &History) -> Check {
    let mut faults = Faults::default();
    let (mut checked, mut unread) = (0, Vec::new());
    for Sold { order, reread, .. } in &history.orders {
        match reread {
            Reread::NotAsked => {}
            Reread::Same => checked += 1,
            Reread::Changed(how) => faults.add(|| format!("order {order} has changed: {how}")),
            Reread::Gone => faults.add(|| format!("order {order} is gone")),
            Reread::Unread(why) => unread.push(why),
        }
    }
    let mut check = faults.into_check(Promise::OrdersLast, checked);
    if let (Some(first), Finding::Kept) = (unread.first(), &check.finding) {
        let why = format!("{} orders could not be read again: {first}", unread.len());
        check.finding = Finding::Unproven { why };
    }
    check
}

fn tickets_live(history: &History) -> Check {
    let mut faults = Faults::default();
    let returned = returned(history);
    let mut live: BTreeMap<u32, &str> = BTreeMap::new();
    let mut given: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    let mut read: BTreeSet<&str> = BTreeSet::new();
    for seen in &history.tickets {
        let (order, seat, ticket) = (seen.order.as_str(), seen.seat, seen.ticket.as_str());
        read.insert(order);
        if given.insert(ticket, (order, seat)).is_some_and(|of| of != (order, seat)) {
            faults.add(|| format!("ticket {ticket} was given twice"));
        }
        if !seen.is_live {
            continue;
        }
        if let Some(other) = live.insert(seat, order) {
            faults.add(|| format!("seat {seat} has live tickets in {other} and in {order}"));
        }
        if returned.contains_key(&(order, seat)) {
            faults.add(|| format!("seat {seat} of {order} was given back, its ticket is live"));
        }
    }
    let read = history.orders.iter().filter(|sold| read.contains(sold.order.as_str()));
    for Sold { order, seats, .. } in read {
        for seat in seats.iter().filter(|seat| !returned.contains_key(&(order, **seat))) {
            if live.get(seat) != Some(&order.as_str()) {
                faults.add(|| format!("seat {seat} of {order} has no live ticket"));
            }
        }
    }
    faults.into_check(Promise::TicketsLive, history.tickets.len())
}

fn keys_repeat(history: &History) -> Check {
    let mut faults = Faults::default();
    let mut answers: BTreeMap<&str, &str> = BTreeMap::new();
    for Keyed { key, answer } in &history.keyed {
        let first = *answers.entry(key).or_insert(answer);
        if first != answer {
            faults.add(|| format!("key {key} was answered {first} and then {answer}"));
        }
    }
    faults.into_check(Promise::KeysRepeat, history.keyed.len())
}

fn charges_match(history: &History) -> Check {
    let promise = Promise::ChargesMatch;
    let unproven = |why: &str| {
        let finding = Finding::Unproven { why: why.to_owned() };
        Check { promise, finding, checked_total: 0, note: None }
    };
    let charges = match &history.ledger {
        Ledger::NotAsked => return unproven("the ledger was not asked for"),
        Ledger::Unread(why) => return unproven(why),
        Ledger::Charges(charges) => charges,
    };
    let mut live: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for Charge { order, amount, refunded, .. } in charges.iter().filter(|charge| charge.is_live) {
        live.entry(order).or_default().push(amount.saturating_sub(*refunded));
    }
    let returned = returned(history);
    let mut faults = Faults::default();
    let known: BTreeSet<&str> = history.orders.iter().map(|sold| sold.order.as_str()).collect();
    let mut ours = BTreeSet::new();
    for sold in history.orders.iter().filter(|sold| ours.insert(sold.order.as_str())) {
        let Sold { order, seats, total, .. } = sold;
        let back = seats.iter().filter(|seat| returned.contains_key(&(order, **seat))).count();
        match live.get(order.as_str()).map_or(&[][..], Vec::as_slice) {
            [] | [0] if back == seats.len() => {}
            [] => faults.add(|| format!("order {order} of {total} was never charged")),
            [amount] if back == 0 && amount == total => {}
            [amount] if (1..seats.len()).contains(&back) && (1..*total).contains(amount) => {}
            [amount] => faults.add(|| format!("order {order} of {total} was charged {amount}")),
            many => faults.add(|| format!("order {order} was charged {} times", many.len())),
        }
    }
    // Somebody charged and never told: an unresolved order may be one, each further one is a fault.
    let strangers = live.iter().filter(|(_, amounts)| amounts.iter().any(|amount| *amount > 0));
    let strangers: Vec<&str> =
        strangers.map(|(order, _)| *order).filter(|order| !known.contains(order)).collect();
    let excused = usize::try_from(history.unresolved_total).unwrap_or(usize::MAX);
    for order in strangers.iter().skip(excused) {
        faults.add(|| format!("{order} was charged, and nobody was told of such an order"));
    }
    let sold: u64 = history.orders.iter().map(|sold| sold.total).sum();
    let charged: u64 = live.values().flatten().sum();
    let mut check = faults.into_check(promise, ours.len());
    check.note = Some(format!("sold {sold}, charged {charged}"));
    check
}

fn front_monotonic(history: &History) -> Check {
    let mut fronts: Vec<&Front> = history.fronts.iter().collect();
    fronts.sort_by_key(|front| (front.line, front.epoch, front.seq));
    let mut faults = Faults::default();
    for pair in fronts.windows(2) {
        let [old, new] = pair else { continue };
        if old.line != new.line {
            continue;
        }
        for lane in Lane::ALL {
            // Nobody may have computed more from the old document than the new one starts with.
            let (was, is) = (old.at(lane, new.t0), new.at(lane, new.t0));
            if is < was {
                let (epoch, seq) = (new.epoch, new.seq);
                faults.add(|| format!("{lane} fell from {was} to {is} at {epoch}/{seq}"));
            }
        }
    }
    faults.into_check(Promise::FrontMonotonic, fronts.len())
}

fn statements_verify(history: &History) -> Check {
    let good = history.joined.len() + history.admitted.len() + history.fronts.len();
    let finding = if history.unverified_total == 0 {
        Finding::Kept
    } else {
        let examples = history.unverified.iter().take(EXAMPLES_MAX).cloned().collect();
        Finding::Broken { faults_total: history.unverified_total, examples }
    };
    let checked_total = good as u64 + history.unverified_total;
    Check { promise: Promise::StatementsVerify, finding, checked_total, note: None }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
