//! What the rules need to know of a house: its rows, its zones and how far each seat is from the
//! pitch. Where a seat is drawn and what it is called is the venue's matter.

use serde::{Deserialize, Serialize};

use super::Seat;

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
}

/// The seats of one event, as far as the rules care.
#[derive(Debug, Clone)]
pub struct Plan {
    rows: Vec<PlanRow>,
    zones: Vec<Zone>,
    /// Squared distance of each seat to the middle of the pitch.
    distances: Vec<u64>,
    /// Rows by how near their nearest seat is.
    nearest_first: Vec<(u64, PlanRow)>,
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
            let seats = row.first as usize..(row.first + row.len) as usize;
            distances[seats].iter().copied().min().unwrap_or(u64::MAX)
        };
        let mut nearest_first: Vec<_> = rows.iter().map(|row| (nearest(row), *row)).collect();
        nearest_first.sort_by_key(|(distance, row)| (*distance, row.first));
        Ok(Self { rows, zones, distances, nearest_first, fingerprint })
    }

    /// How many seats there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.first + row.len)
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

    /// Name of this seating.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The row of a seat.
    #[must_use]
    pub fn row_of(&self, seat: Seat) -> Option<&PlanRow> {
        let at = self.rows.partition_point(|row| row.first + row.len <= seat);
        self.rows.get(at)
    }

    /// The price of a seat; 0 if there is no such seat.
    #[must_use]
    pub fn price_of(&self, seat: Seat) -> u64 {
        let zone = self.row_of(seat).and_then(|row| self.zones.get(usize::from(row.zone)));
        zone.map_or(0, |zone| zone.price)
    }

    /// Squared distance of a seat to the middle of the pitch.
    pub(super) fn distance(&self, seat: Seat) -> u64 {
        self.distances.get(seat as usize).copied().unwrap_or(u64::MAX)
    }

    /// Rows with the distance of their nearest seat, nearest first.
    pub(super) fn nearest_first(&self) -> &[(u64, PlanRow)] {
        &self.nearest_first
    }
}
