//! A venue's seats: where each one is, what it is called, and which price zone it is in.
//!
//! An organiser draws a seat map; of a stadium that nobody drew we know the capacity, and compute
//! a bowl around the pitch from it, the same on every run.

mod bowl;
mod draft;
mod map;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sale::{Area as PlanArea, Attributes, Plan, PlanRow, Seat, Zone, ZoneId};

pub use bowl::BowlError;
pub use draft::{AreaDraft, BadMap, BlockDraft, MapDraft, RowDraft, SEATS_MAX, ZoneDraft};
pub use map::MapDocument;

/// A point of the map, in tenths of a metre.
pub type Point = (i32, i32);

/// Price zones of a bowl, dearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
}

/// A price zone as it is drawn. Its place in the map's list is its id in a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapZone {
    /// Short name in the API.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Colour on the map, like `#0072b2`.
    pub color: String,
}

/// A rectangle of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// What is special about a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// A place for a wheelchair.
    Accessible,
    /// For who comes along with somebody in a wheelchair.
    Companion,
    /// Something is in the way.
    Restricted,
}

/// Seats next to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// As printed, for example `C`.
    pub label: String,
    /// Index of its first seat.
    pub first: Seat,
    /// Where its seats are.
    pub seats: Vec<Point>,
    /// What is special about some of them, by number from 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<u32, Attribute>,
}

/// Rows between two aisles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Short name in the API.
    pub id: String,
    /// As printed, for example `104`.
    pub label: String,
    /// Id of its price zone.
    pub zone: String,
    /// 1 is nearest to the pitch.
    pub tier: u8,
    /// A polygon around it.
    pub outline: Vec<Point>,
    /// Its rows, front to back.
    pub rows: Vec<Row>,
}

/// A part of the house without seats, sold by count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Short name in the API.
    pub id: String,
    /// As printed, for example `Floor`.
    pub label: String,
    /// Id of its price zone.
    pub zone: String,
    /// How many people it holds.
    pub capacity: u32,
    /// A polygon around it.
    pub outline: Vec<Point>,
}

/// What a seat is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatName<'a> {
    /// The block's label.
    pub block: &'a str,
    /// The row's label; empty in an area.
    pub row: &'a str,
    /// The number in the row or area, from 1.
    pub number: u32,
    /// Id of the price zone.
    pub zone: &'a str,
}

impl fmt::Display for SeatName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row.is_empty() {
            true => write!(f, "{}-{}", self.block, self.number),
            false => write!(f, "{}-{}-{}", self.block, self.row, self.number),
        }
    }
}

/// A venue with all its seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Venue {
    /// Width of the map.
    pub width: i32,
    /// Height of the map.
    pub height: i32,
    /// The pitch, or the stage: what everybody looks at.
    pub field: Rectangle,
    /// The price zones.
    pub zones: Vec<MapZone>,
    /// The blocks, in order of their seats.
    pub blocks: Vec<Block>,
    /// The areas without seats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<Area>,
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

    /// A price zone by its id.
    #[must_use]
    pub fn zone(&self, id: &str) -> Option<&MapZone> {
        self.zones.iter().find(|zone| zone.id == id)
    }

    /// What a seat is called; `None` if there is no such seat.
    #[must_use]
    pub fn name_of(&self, seat: Seat) -> Option<SeatName<'_>> {
        if seat >= self.seats {
            return self.place_of(seat - self.seats);
        }
        let (block, row, number) = self.row_of(seat)?;
        Some(SeatName { block: &block.label, row: &row.label, number, zone: &block.zone })
    }

    /// What is special about a seat.
    #[must_use]
    pub fn attribute_of(&self, seat: Seat) -> Option<Attribute> {
        let (_, row, number) = self.row_of(seat)?;
        row.attributes.get(&number).copied()
    }

    /// The area that a place belongs to; a seat belongs to none.
    #[must_use]
    pub fn area_of(&self, seat: Seat) -> Option<&Area> {
        self.area_at(seat.checked_sub(self.seats)?).map(|(area, _)| area)
    }

    /// The row of a seat, and its number there, from 1.
    fn row_of(&self, seat: Seat) -> Option<(&Block, &Row, u32)> {
        let starts_after = |block: &Block| block.rows.first().is_some_and(|row| row.first > seat);
        let at = self.blocks.partition_point(|block| !starts_after(block)).checked_sub(1)?;
        let block = &self.blocks[at];
        let row = block.rows.iter().rev().find(|row| row.first <= seat)?;
        let number = seat - row.first;
        ((number as usize) < row.seats.len()).then_some((block, row, number + 1))
    }

    /// What a place of an area is called, counted from the first area's first.
    fn place_of(&self, place: u32) -> Option<SeatName<'_>> {
        let (Area { label, zone, .. }, place) = self.area_at(place)?;
        Some(SeatName { block: label, row: "", number: place + 1, zone })
    }

    /// The area of a place, counted from the first area's first, and which of its places it is.
    fn area_at(&self, mut place: u32) -> Option<(&Area, u32)> {
        for area in &self.areas {
            if place < area.capacity {
                return Some((area, place));
            }
            place -= area.capacity;
        }
        None
    }

    /// What the rules need of it, with a price for each zone in minor units.
    ///
    /// # Errors
    /// What does not fit together, which the maps' checks rule out.
    pub fn plan(&self, price_of: impl Fn(&str) -> Option<u64>) -> Result<Plan, &'static str> {
        let (mut rows, mut distances) = (Vec::new(), Vec::new());
        let mut seating = Sha256::new();
        let middle_of = |start: i32, len: i32| i64::from(start) + i64::from(len) / 2;
        let field = self.field;
        let (middle_x, middle_y) = (middle_of(field.x, field.w), middle_of(field.y, field.h));
        let zone_id = |id: &str| {
            let zone = self.zones.iter().position(|zone| zone.id == id);
            let zone = zone.and_then(|zone| ZoneId::try_from(zone).ok());
            zone.ok_or("a block or area is in a zone that does not exist")
        };
        let mut attributes = Attributes::default();
        for (number, block) in (0_u32..).zip(&self.blocks) {
            let zone = zone_id(&block.zone)?;
            for row in &block.rows {
                let len = u32::try_from(row.seats.len()).map_err(|_| "a row is too long")?;
                rows.push(PlanRow { first: row.first, len, zone, block: number });
                seating.update(format!("{}-{}:{len}:{};", block.label, row.label, block.zone));
                row.attribute(&mut attributes);
                distances.extend(row.seats.iter().map(|(x, y)| {
                    let (dx, dy) = (i64::from(*x) - middle_x, i64::from(*y) - middle_y);
                    (dx * dx + dy * dy).unsigned_abs()
                }));
            }
        }
        let mut areas = Vec::with_capacity(self.areas.len());
        let mut next = self.seats;
        for Area { id, zone, capacity, .. } in &self.areas {
            areas.push(PlanArea {
                id: id.clone(),
                first: next,
                len: *capacity,
                zone: zone_id(zone)?,
            });
            seating.update(format!("area {id}:{capacity}:{zone};"));
            next = next.saturating_add(*capacity);
        }
        let zones = self.zones.iter().map(|zone| {
            let price = price_of(&zone.id).ok_or("a zone has no price")?;
            Ok::<_, &'static str>(Zone { id: zone.id.clone(), price })
        });
        let fingerprint = hex(&seating.finalize()[..16]);
        let plan = Plan::new(rows, zones.collect::<Result<_, _>>()?, distances, fingerprint)?;
        plan.with_areas(areas)?.with_attributes(attributes)
    }

    /// How many people it holds, on seats and in areas.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.areas.iter().fold(self.seats, |sum, area| sum.saturating_add(area.capacity))
    }
}

impl Row {
    /// Tells what is special about its seats. A companion sits next to the accessible seat, at its
    /// lower side if there is one at both.
    fn attribute(&self, attributes: &mut Attributes) {
        let seat = |number: u32| self.first + number - 1;
        let is_accessible =
            |number: &u32| self.attributes.get(number) == Some(&Attribute::Accessible);
        for (number, attribute) in &self.attributes {
            match attribute {
                Attribute::Accessible => attributes.accessible.push(seat(*number)),
                Attribute::Restricted => attributes.restricted.push(seat(*number)),
                Attribute::Companion => {
                    let beside = [number.saturating_sub(1), number + 1];
                    if let Some(of) = beside.iter().find(|number| is_accessible(number)) {
                        attributes.companions.push((seat(*number), seat(*of)));
                    }
                }
            }
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
