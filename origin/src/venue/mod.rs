//! A venue's seats: where each one is, what it is called, and which price zone it is in.
//!
//! We know of a venue its name and capacity. The bowl around the pitch is computed from the
//! capacity, the same on every run, and its seats add up to the capacity exactly.

mod bowl;
mod map;

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::sale::{Plan, PlanRow, Seat, Zone, ZoneId};

pub use bowl::BowlError;
pub use map::MapDocument;

/// A point of the map, in tenths of a metre.
pub type Point = (i32, i32);

/// Price zones, dearest first. `index()` is the zone's id in a [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Along the sides, near the pitch.
    Cat1,
    /// Behind the goals and in the corners near the pitch, and along the sides further up.
    Cat2,
    /// Along the sides at the top, and the middle tier's ends and corners.
    Cat3,
    /// The ends and corners at the top.
    Cat4,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cat1, Self::Cat2, Self::Cat3, Self::Cat4];

    /// Short name in the API.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Cat1 => "cat1",
            Self::Cat2 => "cat2",
            Self::Cat3 => "cat3",
            Self::Cat4 => "cat4",
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cat1 => "Category 1",
            Self::Cat2 => "Category 2",
            Self::Cat3 => "Category 3",
            Self::Cat4 => "Category 4",
        }
    }

    /// Colour on the map: told apart by people with any kind of colour vision (Okabe-Ito).
    #[must_use]
    pub const fn color(self) -> &'static str {
        match self {
            Self::Cat1 => "#0072b2",
            Self::Cat2 => "#009e73",
            Self::Cat3 => "#e69f00",
            Self::Cat4 => "#cc79a7",
        }
    }

    /// Position in [`Category::ALL`].
    #[must_use]
    pub const fn index(self) -> ZoneId {
        match self {
            Self::Cat1 => 0,
            Self::Cat2 => 1,
            Self::Cat3 => 2,
            Self::Cat4 => 3,
        }
    }
}

/// A rectangle of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rectangle {
    /// Left.
    pub x: i32,
    /// Top.
    pub y: i32,
    /// Width.
    pub w: i32,
    /// Height.
    pub h: i32,
}

/// Seats next to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// As printed, for example `C`.
    pub label: String,
    /// Index of its first seat.
    pub first: Seat,
    /// Where its seats are.
    pub seats: Vec<Point>,
}

/// Rows between two aisles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Short name in the API.
    pub id: String,
    /// As printed, for example `104`.
    pub label: String,
    /// Its price zone.
    pub zone: Category,
    /// 1 is nearest to the pitch.
    pub tier: u8,
    /// A polygon around it.
    pub outline: Vec<Point>,
    /// Its rows, front to back.
    pub rows: Vec<Row>,
}

/// What a seat is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatName {
    /// The block's label.
    pub block: String,
    /// The row's label.
    pub row: String,
    /// The number in the row, from 1.
    pub number: u32,
    /// The price zone.
    pub zone: Category,
}

impl fmt::Display for SeatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.block, self.row, self.number)
    }
}

/// A venue with all its seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Venue {
    /// Width of the map.
    pub width: i32,
    /// Height of the map.
    pub height: i32,
    /// The pitch.
    pub field: Rectangle,
    /// The blocks, in order of their seats.
    pub blocks: Vec<Block>,
    /// How many seats there are.
    pub seats: u32,
}

impl Venue {
    /// A bowl with exactly `capacity` seats.
    ///
    /// # Errors
    /// If no bowl of ours has that many.
    pub fn bowl(capacity: u32) -> Result<Self, BowlError> {
        bowl::build(capacity)
    }

    /// What a seat is called; `None` if there is no such seat.
    #[must_use]
    pub fn name_of(&self, seat: Seat) -> Option<SeatName> {
        let starts_after = |block: &Block| block.rows.first().is_some_and(|row| row.first > seat);
        let at = self.blocks.partition_point(|block| !starts_after(block)).checked_sub(1)?;
        let block = &self.blocks[at];
        let row = block.rows.iter().rev().find(|row| row.first <= seat)?;
        let number = seat - row.first;
        ((number as usize) < row.seats.len()).then(|| SeatName {
            block: block.label.clone(),
            row: row.label.clone(),
            number: number + 1,
            zone: block.zone,
        })
    }

    /// What the rules need of it, with a price for each of [`Category::ALL`] in minor units.
    ///
    /// # Errors
    /// What does not fit together, which the bowl's tests rule out.
    pub fn plan(&self, prices: [u64; 4]) -> Result<Plan, &'static str> {
        let (mut rows, mut distances) = (Vec::new(), Vec::new());
        let mut seating = Sha256::new();
        let middle_of = |start: i32, len: i32| i64::from(start) + i64::from(len) / 2;
        let field = self.field;
        let (middle_x, middle_y) = (middle_of(field.x, field.w), middle_of(field.y, field.h));
        for (number, block) in (0_u32..).zip(&self.blocks) {
            for row in &block.rows {
                let len = u32::try_from(row.seats.len()).map_err(|_| "a row is too long")?;
                let zone = block.zone.index();
                rows.push(PlanRow { first: row.first, len, zone, block: number });
                seating.update(format!("{}-{}:{len}:{};", block.label, row.label, block.zone.id()));
                distances.extend(row.seats.iter().map(|(x, y)| {
                    let (dx, dy) = (i64::from(*x) - middle_x, i64::from(*y) - middle_y);
                    (dx * dx + dy * dy).unsigned_abs()
                }));
            }
        }
        let zones = Category::ALL.iter().zip(prices);
        let zones = zones.map(|(zone, price)| Zone { id: zone.id().into(), price }).collect();
        let fingerprint = hex(&seating.finalize()[..16]);
        Plan::new(rows, zones, distances, fingerprint)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
