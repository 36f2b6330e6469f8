//! Who waits for seats that come free, and whose turn is it?
//!
//! First come, first served, by event, zone and quantity. Whenever seats come free, by whatever, and
//! before anybody else is served, the first in turn for whom the free seats of a zone suffice gets an
//! offer: a hold under the id of the entry. Declined or lapsed, its seats come free and are offered
//! on. An entry gets one offer and is gone with it, so nobody sits at the head of the line and lets
//! offers pass.
//!
//! A single seat passes by a head that waits for two, and goes to the first who waits for one; is
//! there nobody, it is on sale. The head keeps its turn, and gets both once a second seat is free
//! next to whatever is still on sale. Nothing is hoarded for a large party that may never be complete.
//!
//! While the sale rests nothing is offered: an offer that runs out while nobody may buy is none. What
//! came free meanwhile is offered before anything else when it goes on.
//!
//! Who left an address hears of the offer by mail, once ([`super::word`]); anybody may look.
//!
//! The seats of an offer are of one zone, and together if they can be. Accessible seats and those of
//! companions are not offered to people who did not ask for them; they go on sale.

use std::collections::BTreeMap;

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::best::best;
use super::command::{Change, Reply};
use super::holds::HoldView;
use super::pick::check_quantity;
use super::plan::ZoneId;
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};
use super::stock::Lengths;
use super::word::Contact;

/// Where an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryStage {
    /// It waits; so many came before it.
    Waiting {
        /// How many.
        ahead: u64,
    },
    /// Seats are kept for it, until they are accepted or the time is over.
    Offered(HoldView),
    /// It accepted, and has a hold like any other.
    Accepted(HoldView),
    /// It was bought.
    Bought {
        /// As this order.
        order: Id128,
    },
    /// The time of the offer, or of the hold that it became, is over.
    Lapsed,
}

/// An entry as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// Its id.
    pub entry: Id128,
    /// Who joined; the owner of the hold that it becomes.
    pub sub: Id128,
    /// Where it is.
    pub stage: EntryStage,
    /// Where word of an offer goes, as long as there may be one.
    pub contact: Option<Contact>,
}

/// Somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Who came earlier has a lower one.
    pub(super) number: u64,
    sub: Id128,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) zone: Option<String>,
    pub(super) quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contact: Option<Contact>,
}

/// What a restart needs of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedWaitlist {
    next_number: u64,
    entries: Vec<(Id128, Entry)>,
}

/// All who wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waitlist {
    entries: BTreeMap<Id128, Entry>,
    /// By what is waited for: entries by number.
    lines: BTreeMap<(Option<ZoneId>, u32), BTreeMap<u64, Id128>>,
    by_visitor: BTreeMap<Id128, Id128>,
    next_number: u64,
}

impl Waitlist {
    pub(super) fn save(&self) -> SavedWaitlist {
        let entries = self.entries.iter().map(|(id, entry)| (*id, entry.clone())).collect();
        SavedWaitlist { next_number: self.next_number, entries }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Id128, &Entry)> {
        self.entries.iter()
    }

    fn insert(&mut self, id: Id128, zone: Option<ZoneId>, entry: Entry) {
        let line = self.lines.entry((zone, entry.quantity)).or_default();
        line.insert(entry.number, id);
        self.by_visitor.insert(entry.sub, id);
        self.entries.insert(id, entry);
    }

    fn ahead_of(&self, number: u64) -> u64 {
        self.lines.values().map(|line| line.range(..number).count() as u64).sum()
    }
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_joining(
        &self,
        entry: Id128,
        sub: Id128,
        (zone, quantity): (Option<&str>, u32),
        contact: Option<&Contact>,
    ) -> Decided {
        // The answer was lost on its way and somebody asks again: it is the same entry.
        if self.waitlist.by_visitor.get(&sub) == Some(&entry) {
            return (Vec::new(), Ok(()));
        }
        match self.check_joining(sub, zone, quantity) {
            Err(refusal) => (Vec::new(), Err(refusal)),
            Ok(()) => {
                let (zone, contact) = (zone.map(str::to_owned), contact.cloned());
                (vec![Change::Joined { entry, sub, zone, quantity, contact }], Ok(()))
            }
        }
    }

    fn check_joining(&self, sub: Id128, zone: Option<&str>, quantity: u32) -> Result<(), Refusal> {
        if self.is_cancelled() {
            return Err(Refusal::EventCancelled);
        }
        check_quantity(quantity, self.rules.seats_per_order_max)?;
        let zone = match zone {
            None => None,
            Some(id) => Some(self.plan.zone_named(id).ok_or(Refusal::UnknownZone)?),
        };
        let max = self.rules.waitlist_max;
        if self.waitlist.entries.len() >= max as usize {
            return Err(Refusal::WaitlistFull { max });
        }
        let is_offer = |hold: &Id128| self.holds.get(hold).is_some_and(|hold| hold.is_offer);
        let waiting = self.waitlist.by_visitor.get(&sub).copied();
        if let Some(entry) = waiting.or_else(|| self.holds_of(sub).find(is_offer)) {
            return Err(Refusal::AlreadyWaiting { entry });
        }
        self.check_visitor(sub, quantity)?;
        if self.zones_with(zone, quantity).next().is_some() {
            return Err(Refusal::SeatsAvailable);
        }
        Ok(())
    }

    /// The next offer that is due, or the departure of somebody who may not have one any more.
    pub(super) fn next_offer(&self, now: Timestamp) -> Option<Change> {
        if self.is_cancelled() || !self.rules.is_offering {
            return None;
        }
        let heads = self.waitlist.lines.iter().filter_map(|((zone, quantity), line)| {
            let (number, entry) = line.first_key_value()?;
            self.zones_with(*zone, *quantity).next()?;
            Some((*number, *entry, *zone))
        });
        let (_, id, zone) = heads.min()?;
        let Entry { sub, quantity, .. } = self.waitlist.entries.get(&id)?;
        if self.check_visitor(*sub, *quantity).is_err() {
            return Some(Change::Left { entry: id });
        }
        let seats = self.seats_to_offer(zone, *quantity)?;
        Some(self.hold_of(id, *sub, seats, now.plus(self.rules.offer)))
    }

    /// Zones that have so many seats for whoever does not choose.
    fn zones_with(&self, zone: Option<ZoneId>, quantity: u32) -> impl Iterator<Item = ZoneId> + '_ {
        let zones = (0..=ZoneId::MAX).take(self.plan.zones().len());
        zones.filter(move |other| {
            zone.is_none_or(|zone| zone == *other) && self.stock.open_in(*other) >= quantity
        })
    }

    fn seats_to_offer(&self, zone: Option<ZoneId>, quantity: u32) -> Option<Vec<Seat>> {
        let zones: Vec<ZoneId> = self.zones_with(zone, quantity).collect();
        if let Some((_, seats)) = best(&self.stock, &zones, quantity, true) {
            return Some(seats);
        }
        let zone = *zones.first()?;
        let open = self.stock.open();
        let rows = self.stock.rows(zone, Lengths::at_least(1)).map(|ranked| ranked.row);
        let in_rows = rows.flat_map(|row| open.seats(row.first, row.end()));
        let areas = self.plan.areas().iter().filter(|area| area.zone == zone);
        let in_areas = areas.flat_map(|area| open.seats(area.first, area.end()));
        let mut seats: Vec<Seat> = in_areas.chain(in_rows).take(quantity as usize).collect();
        seats.sort_unstable();
        Some(seats)
    }

    /// Looking at what is overdue frees it, as with any hold.
    pub(super) fn decide_looking(&self, entry: Id128, now: Timestamp) -> Decided {
        if self.waitlist.entries.contains_key(&entry) {
            return (Vec::new(), Ok(()));
        }
        match self.owner_of_entry(entry) {
            None => (Vec::new(), Err(Refusal::UnknownEntry)),
            Some(sub) => match self.touch(entry, sub, now) {
                Err((changes, _)) => (changes, Ok(())),
                Ok(()) => (Vec::new(), Ok(())),
            },
        }
    }

    pub(super) fn decide_accepting(&self, entry: Id128, now: Timestamp) -> Decided {
        if self.waitlist.entries.contains_key(&entry) {
            return (Vec::new(), Err(Refusal::NoOffer));
        }
        let Some(sub) = self.owner_of_entry(entry) else {
            return (Vec::new(), Err(Refusal::UnknownEntry));
        };
        if let Err(refused) = self.touch(entry, sub, now) {
            return refused;
        }
        if self.is_cancelled() {
            return (Vec::new(), Err(Refusal::EventCancelled));
        }
        let is_open = self.holds.get(&entry).is_some_and(|hold| hold.is_offer);
        // Accepted already, it is told again how it stands.
        let until = now.plus(self.rules.hold);
        let accepted = is_open.then_some(Change::Accepted { hold: entry, until });
        (accepted.into_iter().collect(), Ok(()))
    }

    pub(super) fn decide_leaving(&self, entry: Id128, now: Timestamp) -> Decided {
        if self.waitlist.entries.contains_key(&entry) {
            return (vec![Change::Left { entry }], Ok(()));
        }
        match self.owner_of_entry(entry) {
            None => (Vec::new(), Err(Refusal::UnknownEntry)),
            Some(sub) => self.decide_release(entry, sub, now),
        }
    }

    /// Whose an entry was that got its offer. The id of a hold that never was one opens nothing here.
    fn owner_of_entry(&self, id: Id128) -> Option<Id128> {
        let is_other = self.holds.get(&id).is_some_and(|hold| !hold.is_entry);
        if is_other { None } else { self.owner_of(id) }
    }

    pub(super) fn view_entry(&self, id: Id128) -> Reply {
        let view = |sub, stage, contact: Option<&Contact>| {
            Reply::Entry(EntryView { entry: id, sub, stage, contact: contact.cloned() })
        };
        if let Some(entry) = self.waitlist.entries.get(&id) {
            let stage = EntryStage::Waiting { ahead: self.waitlist.ahead_of(entry.number) };
            return view(entry.sub, stage, entry.contact.as_ref());
        }
        if let Some(hold) = self.holds.get(&id) {
            let seen = self.hold_view(id, hold);
            let stage = match hold.is_offer {
                true => EntryStage::Offered(seen),
                false => EntryStage::Accepted(seen),
            };
            return view(hold.sub, stage, hold.word.as_ref().map(|word| &word.contact));
        }
        let Some(sub) = self.owner_of(id) else { return Reply::Refused(Refusal::UnknownEntry) };
        match self.bought.get(&id) {
            Some(order) => view(sub, EntryStage::Bought { order: *order }, None),
            None => view(sub, EntryStage::Lapsed, None),
        }
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn joined(
        &mut self,
        id: Id128,
        sub: Id128,
        (zone, quantity): (Option<&str>, u32),
        contact: Option<&Contact>,
    ) -> Result<(), Misfit> {
        let is_known = self.holds.contains_key(&id) || self.bought.contains_key(&id);
        if is_known || self.waitlist.entries.contains_key(&id) {
            return Err(Misfit::Twice { id });
        }
        let number = self.waitlist.next_number;
        self.waitlist.next_number += 1;
        let (zone, contact) = (zone.map(str::to_owned), contact.cloned());
        self.add_entry(id, Entry { number, sub, zone, quantity, contact })
    }

    fn add_entry(&mut self, id: Id128, entry: Entry) -> Result<(), Misfit> {
        let zone = match &entry.zone {
            None => None,
            Some(name) => {
                let known = self.plan.zone_named(name);
                Some(known.ok_or_else(|| Misfit::UnknownZone { zone: name.clone() })?)
            }
        };
        self.waitlist.insert(id, zone, entry);
        Ok(())
    }

    pub(super) fn left(&mut self, id: Id128) -> Result<(), Misfit> {
        self.remove_entry(id).map(|_| ()).ok_or(Misfit::NotThere { id, change: "left" })
    }

    /// Takes an entry out, if there is one.
    pub(super) fn remove_entry(&mut self, id: Id128) -> Option<Entry> {
        let entry = self.waitlist.entries.remove(&id)?;
        self.waitlist.by_visitor.remove(&entry.sub);
        let zone = entry.zone.as_deref().and_then(|zone| self.plan.zone_named(zone));
        if let Some(line) = self.waitlist.lines.get_mut(&(zone, entry.quantity)) {
            line.remove(&entry.number);
            if line.is_empty() {
                self.waitlist.lines.remove(&(zone, entry.quantity));
            }
        }
        Some(entry)
    }

    pub(super) fn accepted(
        &mut self,
        id: Id128,
        until: Timestamp,
        at: Timestamp,
    ) -> Result<(), Misfit> {
        let missing = Misfit::NotThere { id, change: "accepted" };
        let is_open = |hold: &&mut super::holds::Hold| hold.is_offer && hold.paying.is_none();
        let held = self.holds.get_mut(&id).filter(is_open).ok_or(missing)?;
        self.deadlines.remove(&(held.until, id));
        if let Some(word) = held.word.take() {
            self.words.remove(&(word.seq, id));
        }
        held.is_offer = false;
        held.since = at;
        held.until = until;
        self.deadlines.insert((until, id));
        Ok(())
    }

    pub(super) fn restore_waitlist(&mut self, saved: SavedWaitlist) -> Result<(), Misfit> {
        for (id, entry) in saved.entries {
            self.add_entry(id, entry)?;
        }
        self.waitlist.next_number = saved.next_number;
        Ok(())
    }
}
