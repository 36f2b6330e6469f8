//! What the rules need to know of a house: its rows, its zones, its areas without seats, how far
//! each seat is from the pitch, and which seats are kept for whom. Where a seat is drawn and what it
//! is called is the venue's matter.
//!
//! An area for which tickets are sold by count is a range of units after the last seat of the last
//! row. A unit is a seat like any other to the log, the bit plane and every guard against a second
//! owner; it only cannot be asked for by its number.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Seat;
use super::seats::SeatSet;

/// Index of a zone in [`Plan::zones`].
pub type ZoneId = u8;

/// A price zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Short name in the API, for example `cat1`.
    pub id: String,
    /// Price of a seat, in minor units.
    pub price: u64,
}

/// Seats next to each other: `first` to `first + len - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanRow {
    /// Its first seat.
    pub first: Seat,
    /// How many seats it has.
    pub len: u32,
    /// The zone of all its seats.
    pub zone: ZoneId,
    /// The block that it is in: rows of one block follow each other, and stand behind each other.
    pub block: u32,
}

impl PlanRow {
    /// The seat after its last.
    #[must_use]
    pub fn end(&self) -> Seat {
        self.first + self.len
    }
}

/// Places without seats, sold by count: the units `first` to `first + len - 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Short name in the API, for example `floor`.
    pub id: String,
    /// Its first unit: the first of all areas follows the last seat.
    pub first: Seat,
    /// How many it takes.
    pub len: u32,
    /// Its zone, which has the price.
    pub zone: ZoneId,
}

impl Area {
    /// The unit after its last.
    #[must_use]
    pub fn end(&self) -> Seat {
        self.first + self.len
    }

    /// Whether the unit is one of it.
    #[must_use]
    pub fn contains(&self, unit: Seat) -> bool {
        self.first <= unit && unit < self.end()
    }
}

/// What is special about some seats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Spaces for wheelchairs.
    pub accessible: Vec<Seat>,
    /// Seats for companions, each with the accessible seat that it is next to.
    pub companions: Vec<(Seat, Seat)>,
    /// Seats that something stands in front of.
    pub restricted: Vec<Seat>,
}

/// An accessible seat and the seats next to it that are kept for companions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accessible {
    pub(super) seat: Seat,
    pub(super) companions: Vec<Seat>,
}

/// A row among those of its zone, and the distance of its nearest seat.
#[derive(Debug, Clone, Copy)]
pub(super) struct RankedRow {
    pub(super) nearest: u64,
    pub(super) row: PlanRow,
}

/// The seats of one event, as far as the rules care.
#[derive(Debug, Clone)]
pub struct Plan {
    rows: Vec<PlanRow>,
    zones: Vec<Zone>,
    areas: Vec<Area>,
    /// Of seat `n` and all before it: the sum of squared distances to the middle of the pitch.
    distances_to: Vec<u64>,
    /// Rows by zone, and in a zone by how near their nearest seat is.
    ranked: Vec<RankedRow>,
    /// Where in `ranked` the row is.
    rank_of: Vec<usize>,
    /// Where in `ranked` the zone is.
    ranks: Vec<Range<usize>>,
    /// Accessible seats by row.
    accessible: Vec<(PlanRow, Vec<Accessible>)>,
    /// Accessible seats and those of companions: for whoever asks for them.
    reserved: SeatSet,
    restricted: SeatSet,
    has_restricted: bool,
    fingerprint: String,
}

impl Plan {
    /// A plan of `rows` that follow each other without a gap, and one distance a seat.
    ///
    /// `fingerprint` names the seating: a log written under another one is refused.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn new(
        rows: Vec<PlanRow>,
        zones: Vec<Zone>,
        distances: Vec<u64>,
        fingerprint: String,
    ) -> Result<Self, &'static str> {
        let mut next = 0;
        for row in &rows {
            if row.first != next || row.len == 0 {
                return Err("rows leave a gap, overlap or are empty");
            }
            if usize::from(row.zone) >= zones.len() {
                return Err("a row is in a zone that does not exist");
            }
            next += row.len;
        }
        if distances.len() != next as usize {
            return Err("not one distance a seat");
        }
        let nearest = |row: &PlanRow| {
            let seats = row.first as usize..row.end() as usize;
            distances[seats].iter().copied().min().unwrap_or(u64::MAX)
        };
        let mut order: Vec<(ZoneId, u64, usize)> =
            rows.iter().enumerate().map(|(at, row)| (row.zone, nearest(row), at)).collect();
        order.sort_unstable();
        let mut rank_of = vec![0; rows.len()];
        for (rank, (_, _, at)) in order.iter().enumerate() {
            rank_of[*at] = rank;
        }
        let before = |zone: usize| order.partition_point(|(z, ..)| usize::from(*z) < zone);
        let ranks = (0..zones.len()).map(|zone| before(zone)..before(zone + 1)).collect();
        let ranked =
            order.iter().map(|(_, nearest, at)| RankedRow { nearest: *nearest, row: rows[*at] });
        let sum = |sum: &mut u64, distance: &u64| {
            *sum = sum.saturating_add(*distance);
            Some(*sum)
        };
        Ok(Self {
            ranked: ranked.collect(),
            distances_to: distances.iter().scan(0, sum).collect(),
            rows,
            zones,
            areas: Vec::new(),
            rank_of,
            ranks,
            accessible: Vec::new(),
            reserved: SeatSet::empty(next),
            restricted: SeatSet::empty(next),
            has_restricted: false,
            fingerprint,
        })
    }

    /// Adds areas that are sold by count. The fingerprint must tell plans with other areas apart.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn with_areas(mut self, areas: Vec<Area>) -> Result<Self, &'static str> {
        let mut next = self.seats();
        for (at, area) in areas.iter().enumerate() {
            if area.first != next || area.len == 0 {
                return Err("areas leave a gap, overlap or are empty");
            }
            if usize::from(area.zone) >= self.zones.len() {
                return Err("an area is in a zone that does not exist");
            }
            if areas[..at].iter().any(|other| other.id == area.id) {
                return Err("two areas have one name");
            }
            next = next.checked_add(area.len).ok_or("areas are too large")?;
        }
        self.areas = areas;
        Ok(self)
    }

    /// Tells what is special about some seats. It may change while they are sold.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn with_attributes(mut self, attributes: Attributes) -> Result<Self, &'static str> {
        let Attributes { mut accessible, mut companions, restricted } = attributes;
        self.reserved = SeatSet::empty(self.seats());
        self.restricted = SeatSet::empty(self.seats());
        self.accessible.clear();
        accessible.sort_unstable();
        companions.sort_unstable();
        for seat in accessible {
            let row = *self.row_of(seat).ok_or("an accessible seat does not exist")?;
            if !self.reserved.insert(seat) {
                return Err("an accessible seat is listed twice");
            }
            let space = Accessible { seat, companions: Vec::new() };
            match self.accessible.last_mut() {
                Some((known, spaces)) if known.first == row.first => spaces.push(space),
                _ => self.accessible.push((row, vec![space])),
            }
        }
        for (seat, of) in companions {
            let row = self.row_of(seat).filter(|_| seat.abs_diff(of) == 1).map(|row| row.first);
            let mut spaces =
                self.accessible.iter_mut().filter(|(known, _)| Some(known.first) == row);
            let space = spaces.find_map(|(_, spaces)| spaces.iter_mut().find(|s| s.seat == of));
            let space = space.ok_or("a companion's seat is not next to an accessible seat")?;
            if !self.reserved.insert(seat) {
                return Err("a companion's seat is accessible itself, or listed twice");
            }
            space.companions.push(seat);
        }
        for seat in restricted {
            if !self.restricted.insert(seat) {
                return Err("a seat of restricted view does not exist or is listed twice");
            }
            self.has_restricted = true;
        }
        Ok(self)
    }

    /// How many seats there are in rows: the highest that can be asked for, and one.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.rows.last().map_or(0, PlanRow::end)
    }

    /// How many there are in rows and areas.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.areas.last().map_or(self.seats(), Area::end)
    }

    /// The rows, in order of their seats.
    #[must_use]
    pub fn rows(&self) -> &[PlanRow] {
        &self.rows
    }

    /// The zones.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The zone called `id`.
    #[must_use]
    pub fn zone_named(&self, id: &str) -> Option<ZoneId> {
        let at = self.zones.iter().position(|zone| zone.id == id)?;
        ZoneId::try_from(at).ok()
    }

    /// The areas that are sold by count.
    #[must_use]
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// The area called `id`.
    #[must_use]
    pub fn area_named(&self, id: &str) -> Option<&Area> {
        self.areas.iter().find(|area| area.id == id)
    }

    /// The area that a unit belongs to; a seat of a row belongs to none.
    #[must_use]
    pub fn area_of(&self, unit: Seat) -> Option<&Area> {
        let at = self.areas.partition_point(|area| area.end() <= unit);
        self.areas.get(at).filter(|area| area.first <= unit)
    }

    /// Name of this seating.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The row of a seat.
    #[must_use]
    pub fn row_of(&self, seat: Seat) -> Option<&PlanRow> {
        self.rows.get(self.row_at(seat))
    }

    /// The zone of a seat or unit.
    #[must_use]
    pub fn zone_of(&self, seat: Seat) -> Option<ZoneId> {
        let area = || self.area_of(seat).map(|area| area.zone);
        self.row_of(seat).map(|row| row.zone).or_else(area)
    }

    /// The price of a seat or unit; 0 if there is none such.
    #[must_use]
    pub fn price_of(&self, seat: Seat) -> u64 {
        let zone = self.zone_of(seat).and_then(|zone| self.zones.get(usize::from(zone)));
        zone.map_or(0, |zone| zone.price)
    }

    /// Index of the row of a seat; as many as there are if it has none.
    fn row_at(&self, seat: Seat) -> usize {
        self.rows.partition_point(|row| row.end() <= seat)
    }

    /// Where in [`Plan::ranked`] the row of a seat is.
    pub(super) fn rank_of(&self, seat: Seat) -> Option<usize> {
        self.rank_of.get(self.row_at(seat)).copied()
    }

    /// Sum of the squared distances of `first..end` to the middle of the pitch.
    pub(super) fn distance(&self, first: Seat, end: Seat) -> u64 {
        let to = |end: Seat| match end.checked_sub(1) {
            Some(last) => self.distances_to.get(last as usize).copied().unwrap_or(u64::MAX),
            None => 0,
        };
        to(end).saturating_sub(to(first))
    }

    /// Rows by zone, and in a zone nearest first.
    pub(super) fn ranked(&self) -> &[RankedRow] {
        &self.ranked
    }

    /// Where in [`Plan::ranked`] the rows of a zone are.
    pub(super) fn ranks(&self, zone: ZoneId) -> Range<usize> {
        self.ranks.get(usize::from(zone)).cloned().unwrap_or(0..0)
    }

    /// Each row with the next one of its block, if that has the same price.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = (&PlanRow, &PlanRow)> {
        let pairs = self.rows.windows(2).map(|pair| (&pair[0], &pair[1]));
        pairs.filter(|(front, back)| front.block == back.block && front.zone == back.zone)
    }

    /// Accessible seats by row.
    pub(super) fn accessible(&self) -> &[(PlanRow, Vec<Accessible>)] {
        &self.accessible
    }

    /// Whether a seat is given only to whoever asks for it, or for one of its kind.
    pub(super) fn is_reserved(&self, seat: Seat) -> bool {
        self.reserved.contains(seat)
    }

    /// How many of `first..end` have a restricted view.
    pub(super) fn restricted(&self, first: Seat, end: Seat) -> u32 {
        if self.has_restricted { self.restricted.count_in(first, end) } else { 0 }
    }
}
