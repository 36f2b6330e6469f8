//! What may become of a hold before it is paid: other seats, more time.
//!
//! Time counts from the first seat. Adding seats gives no more of it; an extension does, each kind
//! once, and never beyond the longest that a hold may be.

use keys::{Id128, Timestamp};

use super::Seat;
use super::command::{Change, Extension, Pick};
use super::holds::Hold;
use super::pick::check_quantity;
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_amending(
        &self,
        hold: Id128,
        sub: Id128,
        add: &Pick,
        drop: &Pick,
        now: Timestamp,
    ) -> Decided {
        if let Err(refused) = self.touch(hold, sub, now) {
            return refused;
        }
        match self.holds.get(&hold).ok_or(Refusal::UnknownHold).and_then(|found| {
            check_open(found)?;
            self.amendment(hold, found, add, drop, now)
        }) {
            Ok(change) => (vec![change], Ok(())),
            Err(refusal) => (Vec::new(), Err(refusal)),
        }
    }

    fn amendment(
        &self,
        hold: Id128,
        found: &Hold,
        add: &Pick,
        drop: &Pick,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        if add.is_empty() && drop.is_empty() {
            return Err(Refusal::NoSeats);
        }
        let had = u32::try_from(found.seats.len()).unwrap_or(u32::MAX);
        let (more, fewer) = (add.quantity(), drop.quantity());
        let will_have = had.saturating_sub(fewer).saturating_add(more);
        // A box office may have more than visitors may; it gets no more by this way.
        check_quantity(will_have, self.rules.seats_per_order_max.max(had))?;
        if fewer > had {
            return Err(Refusal::SeatNotHeld { seats: Vec::new() });
        }
        let (add, drop) = (self.understand(add)?, self.understand(drop)?);
        if let Some(seat) = add.seats.iter().find(|seat| found.seats.binary_search(seat).is_ok()) {
            return Err(Refusal::DuplicateSeat { seat: *seat });
        }
        let mut dropped = drop.seats.clone();
        dropped.retain(|seat| found.seats.binary_search(seat).is_err());
        if !dropped.is_empty() {
            return Err(Refusal::SeatNotHeld { seats: dropped });
        }
        let mut dropped = drop.seats.clone();
        for (area, quantity) in &drop.areas {
            let units = found.seats.iter().rev().filter(|unit| area.contains(**unit));
            let before = dropped.len();
            dropped.extend(units.take(*quantity as usize));
            if dropped.len() - before < *quantity as usize {
                return Err(Refusal::SeatNotHeld { seats: Vec::new() });
            }
        }
        dropped.sort_unstable();
        self.check_choosing(&add, now)?;
        if more > fewer {
            self.check_visitor(found.sub, more - fewer)?;
        }
        let added = self.find(&add, None)?;
        let prices = added.iter().map(|seat| self.plan.price_of(*seat)).collect();
        Ok(Change::Amended { hold, added, prices, dropped })
    }

    pub(super) fn decide_extending(
        &self,
        hold: Id128,
        sub: Id128,
        by: Extension,
        now: Timestamp,
    ) -> Decided {
        if let Err(refused) = self.touch(hold, sub, now) {
            return refused;
        }
        match self.holds.get(&hold).ok_or(Refusal::UnknownHold).and_then(|found| {
            check_open(found)?;
            let until = self.longest(found).min(found.until.plus(self.rules.extension));
            match self.extensions(found).any(|left| left == by) {
                true => Ok(Change::Extended { hold, by, until }),
                false => Err(Refusal::NoExtensionLeft),
            }
        }) {
            Ok(change) => (vec![change], Ok(())),
            Err(refusal) => (Vec::new(), Err(refusal)),
        }
    }

    /// Gives back to holds, and to payments that are under way, what has passed since `since`:
    /// nobody could pay then, or the clock is wrong and it has not passed at all.
    pub fn give_time_back(&mut self, since: Timestamp, now: Timestamp) -> Vec<Change> {
        let open = self.deadlines.iter().filter(|(until, _)| *until > since);
        let changes: Vec<Change> = open
            .map(|(until, hold)| Change::Extended {
                hold: *hold,
                by: Extension::Outage,
                until: now.plus(until.since(since)),
            })
            .collect();
        for change in &changes {
            self.evolve(change, now).expect("what has a deadline can have another");
        }
        changes
    }

    /// Until when a hold can stand at most.
    pub(super) fn longest(&self, hold: &Hold) -> Timestamp {
        hold.since.plus(self.rules.hold_max).max(hold.until)
    }

    /// What could still make a hold longer.
    pub(super) fn extensions<'a>(&self, hold: &'a Hold) -> impl Iterator<Item = Extension> + 'a {
        let has_time = hold.until < self.longest(hold) && !hold.is_offer;
        let left = Extension::ALL.into_iter().filter(|by| !hold.extended.contains(by));
        left.filter(move |_| has_time)
    }
}

/// Whether its owner may do something with it now.
pub(super) fn check_open(hold: &Hold) -> Result<(), Refusal> {
    match hold.paying {
        Some(order) => Err(Refusal::PaymentInProgress { order }),
        None if hold.is_offer => Err(Refusal::OfferOpen),
        None => Ok(()),
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn amended(
        &mut self,
        id: Id128,
        added: &[Seat],
        prices: &[u64],
        dropped: &[Seat],
    ) -> Result<(), Misfit> {
        let prices = self.prices_or(prices.to_vec(), added)?;
        let missing = Misfit::NotThere { id, change: "amended" };
        let held = self.holds.get(&id).filter(|hold| hold.paying.is_none()).ok_or(missing)?;
        if let Some(seat) = dropped.iter().find(|seat| !held.seats.contains(seat)) {
            return Err(Misfit::SeatNotHeld { id, seat: *seat });
        }
        let sub = held.sub;
        self.take_seats(sub, added)?;
        self.return_seats(sub, dropped);
        let (more, fewer) = (added.len() as u64, dropped.len() as u64);
        self.counts.held = self.counts.held + more - fewer;
        if let Some(held) = self.holds.get_mut(&id) {
            let had = held.seats.iter().copied().zip(held.prices.iter().copied());
            let had = had.filter(|(seat, _)| !dropped.contains(seat));
            let mut have: Vec<(Seat, u64)> = had.chain(added.iter().copied().zip(prices)).collect();
            have.sort_unstable();
            (held.seats, held.prices) = have.into_iter().unzip();
        }
        Ok(())
    }

    pub(super) fn extended(
        &mut self,
        id: Id128,
        by: Extension,
        until: Timestamp,
    ) -> Result<(), Misfit> {
        let missing = Misfit::NotThere { id, change: "extended" };
        let is_outage = by == Extension::Outage;
        let may = |hold: &&mut Hold| hold.paying.is_none() || is_outage;
        let held = self.holds.get_mut(&id).filter(may).ok_or(missing)?;
        let before = match held.paying {
            Some(order) => {
                let missing = Misfit::NotThere { id: order, change: "extended" };
                let order = self.orders.get_mut(&order).ok_or(missing)?;
                order.payment.give_up_at.replace(until)
            }
            None => Some(std::mem::replace(&mut held.until, until)),
        };
        // Of the others one each is enough.
        if !is_outage {
            held.extended.push(by);
        }
        if let Some(before) = before {
            self.deadlines.remove(&(before, id));
        }
        self.deadlines.insert((until, id));
        Ok(())
    }
}
