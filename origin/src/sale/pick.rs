//! Which seats does a wish come to? First whether it makes sense, then whether the event and the
//! visitor may, then what the stock has.

use std::collections::BTreeMap;

use keys::{Id128, Timestamp};

use super::Seat;
use super::best::{Score, accessible, best};
use super::command::{Party, PartySeats, Pick, Want};
use super::holds::SEATS_PER_ORDER_LIMIT;
use super::plan::{Area, ZoneId};
use super::refusal::Refusal;
use super::seats::SeatSet;
use super::state::State;

/// A pick that makes sense in this house.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Understood<'a> {
    /// Ascending, none of them twice.
    pub(super) seats: Vec<Seat>,
    /// Each area once.
    pub(super) areas: Vec<(&'a Area, u32)>,
}

/// Seats that were found, ascending, and how good they are if we chose.
pub(super) type Picked = (Vec<Seat>, Option<Score>);

impl State {
    /// What a visitor gets.
    pub(super) fn wanted(
        &self,
        sub: Id128,
        want: &Want,
        now: Timestamp,
    ) -> Result<Picked, Refusal> {
        let max = self.rules.seats_per_order_max;
        match want {
            Want::Pick(pick) => {
                check_quantity(pick.quantity(), max)?;
                let understood = self.understand(pick)?;
                self.check_choosing(&understood, now)?;
                self.check_visitor(sub, pick.quantity())?;
                Ok((self.find(&understood, None)?, None))
            }
            Want::Best(party) => {
                check_quantity(party.seats.quantity(), max)?;
                let zones = self.zones(party)?;
                self.check_visitor(sub, party.seats.quantity())?;
                self.find_best(party, &zones)
            }
        }
    }

    /// What somebody at the box office gets, who may also have what `channel` keeps.
    pub(super) fn wanted_at_box_office(
        &self,
        want: &Want,
        channel: Option<&str>,
    ) -> Result<Picked, Refusal> {
        match want {
            Want::Pick(pick) => {
                check_quantity(pick.quantity(), SEATS_PER_ORDER_LIMIT)?;
                let understood = self.understand(pick)?;
                let kept = channel.and_then(|channel| self.blocked.get(channel));
                Ok((self.find(&understood, kept)?, None))
            }
            Want::Best(party) => {
                check_quantity(party.seats.quantity(), SEATS_PER_ORDER_LIMIT)?;
                self.find_best(party, &self.zones(party)?)
            }
        }
    }

    /// Whether all that is picked exists and is named once.
    pub(super) fn understand(&self, pick: &Pick) -> Result<Understood<'_>, Refusal> {
        let last = self.plan.seats().saturating_sub(1);
        if let Some(seat) = pick.seats.iter().find(|seat| **seat >= self.plan.seats()) {
            return Err(Refusal::UnknownSeat { seat: *seat, last });
        }
        let mut areas: BTreeMap<Seat, (&Area, u32)> = BTreeMap::new();
        for wanted in &pick.areas {
            let area = self.plan.area_named(&wanted.area).ok_or(Refusal::UnknownArea)?;
            let (_, sum) = areas.entry(area.first).or_insert((area, 0));
            *sum = sum.saturating_add(wanted.quantity);
        }
        let mut seats = pick.seats.clone();
        seats.sort_unstable();
        if let Some(twice) = seats.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Refusal::DuplicateSeat { seat: twice[0] });
        }
        let areas = areas.into_values().filter(|(_, quantity)| *quantity > 0).collect();
        Ok(Understood { seats, areas })
    }

    /// Whether seats may be chosen by now.
    pub(super) fn check_choosing(
        &self,
        understood: &Understood<'_>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        match self.rules.best_only_until {
            Some(until) if now < until && !understood.seats.is_empty() => {
                Err(Refusal::BestAvailableOnly { until })
            }
            _ => Ok(()),
        }
    }

    /// Whether the visitor may have so many more.
    pub(super) fn check_visitor(&self, sub: Id128, asked: u32) -> Result<(), Refusal> {
        let have = self.seats_by_visitor.get(&sub).copied().unwrap_or(0);
        let max = self.rules.seats_per_visitor_max;
        if have.saturating_add(asked) <= max {
            return Ok(());
        }
        // A hold whose answer never arrived is among these: its owner can look at it or free it.
        let holds = self.holds_of(sub).take(SEATS_PER_ORDER_LIMIT as usize).collect();
        Err(Refusal::VisitorLimit { have, asked, max, holds })
    }

    /// The seats of a pick, ascending; all of them are free, or kept by whoever may have them.
    pub(super) fn find(
        &self,
        understood: &Understood<'_>,
        kept: Option<&SeatSet>,
    ) -> Result<Vec<Seat>, Refusal> {
        let is_kept = |seat: Seat| kept.is_some_and(|kept| kept.contains(seat));
        let is_taken = |seat: &Seat| !self.free().contains(*seat) && !is_kept(*seat);
        let taken: Vec<Seat> = understood.seats.iter().copied().filter(is_taken).collect();
        if !taken.is_empty() {
            return Err(Refusal::SeatTaken { seats: taken });
        }
        let mut seats = understood.seats.clone();
        for (area, asked) in &understood.areas {
            let (first, end, asked) = (area.first, area.end(), *asked);
            let kept = kept.into_iter().flat_map(|kept| kept.seats(first, end));
            let units = kept.chain(self.free().seats(first, end)).take(asked as usize);
            let before = seats.len();
            seats.extend(units);
            let left = u32::try_from(seats.len() - before).unwrap_or(u32::MAX);
            if left < asked {
                return Err(Refusal::AreaFull { area: area.id.clone(), asked, left });
            }
        }
        seats.sort_unstable();
        Ok(seats)
    }

    fn zones(&self, party: &Party) -> Result<Vec<ZoneId>, Refusal> {
        let named =
            party.zones.iter().map(|id| self.plan.zone_named(id).ok_or(Refusal::UnknownZone));
        let mut zones = named.collect::<Result<Vec<_>, _>>()?;
        if zones.is_empty() {
            zones = self.all_zones();
        }
        zones.sort_unstable();
        zones.dedup();
        if let Some(max) = party.price_max {
            let prices = self.plan.zones();
            zones.retain(|zone| prices.get(usize::from(*zone)).is_some_and(|z| z.price <= max));
        }
        Ok(zones)
    }

    pub(super) fn all_zones(&self) -> Vec<ZoneId> {
        (0..=ZoneId::MAX).take(self.plan.zones().len()).collect()
    }

    fn find_best(&self, party: &Party, zones: &[ZoneId]) -> Result<Picked, Refusal> {
        let found = match party.seats {
            PartySeats::Any { quantity } => best(&self.stock, zones, quantity, party.may_split),
            PartySeats::Accessible { spaces, companions } => {
                accessible(&self.stock, zones, (spaces, companions), party.may_split)
            }
        };
        let quantity = party.seats.quantity();
        let (score, seats) = found.ok_or(Refusal::NotEnoughTogether { quantity })?;
        Ok((seats, Some(score)))
    }
}

/// Whether one hold may have that many.
pub(super) fn check_quantity(asked: u32, max: u32) -> Result<(), Refusal> {
    match asked {
        0 => Err(Refusal::NoSeats),
        _ if asked > max => Err(Refusal::TooManySeats { asked, max }),
        _ => Ok(()),
    }
}
