//! How a stadium is laid out: a pitch, and rows around it that follow each other at an even
//! distance on straight sides and round corners, cut into blocks by aisles.
//!
//! Rows are added until there are enough seats; what is too many is taken out of the last rows,
//! one seat a block in turn. Where tiers meet there is a concourse without steps: in the rows beside
//! it are the spaces for wheelchairs, each with a companion's seat. Only the position of a seat in a corner involves sine and cosine;
//! which seats exist, and what they are called, is plain arithmetic.

use std::collections::BTreeMap;
use std::f64::consts::FRAC_PI_2;

use super::{Attribute, Block, Category, MapZone, Point, Rectangle, Row, Venue};

/// Smallest and largest bowl that looks like one.
const CAPACITY_MIN: u32 = 2_000;
const CAPACITY_MAX: u32 = 200_000;

// Lengths are in tenths of a metre.
const PITCH: (i32, i32) = (1050, 680);
/// Half of the straight part of the long and of the short side.
const HALF_LONG: f64 = 365.0;
const HALF_SHORT: f64 = 180.0;
/// Radius of the first row's corners.
const RADIUS_FIRST: f64 = 250.0;
const SEAT_WIDTH: f64 = 5.0;
const ROW_DEPTH: f64 = 8.0;
const AISLE: f64 = 12.0;
/// Between two tiers.
const CONCOURSE: f64 = 40.0;
const MARGIN: f64 = 40.0;

/// Bowls from here on have three tiers.
const THREE_TIERS_FROM: u32 = 60_000;
const BLOCKS_LONG: u32 = 8;
const BLOCKS_SHORT: u32 = 4;

/// No bowl of ours has that many seats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a capacity of {capacity} seats, expected {CAPACITY_MIN} to {CAPACITY_MAX}")]
pub struct BowlError {
    /// What was asked for.
    pub capacity: u32,
}

/// How the rows are shared out among tiers, in percent, and blocks of a corner, by tier.
struct Tiers {
    percent: &'static [u32],
    corner_blocks: &'static [u32],
}

const TWO: Tiers = Tiers { percent: &[55, 45], corner_blocks: &[5, 8] };
const THREE: Tiers = Tiers { percent: &[40, 22, 38], corner_blocks: &[5, 7, 10] };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Long,
    Short,
    Corner,
}

/// A block's share of the bowl: a piece of a straight side or of a corner.
#[derive(Debug, Clone, Copy)]
struct Sector {
    side: Side,
    /// For a straight side its first corner, for a round one its centre.
    origin: (f64, f64),
    /// For a straight side the direction of the rows in quarter turns; for a corner the angle at
    /// which it begins.
    angle: f64,
    /// Along the side in tenths of a metre, or along the corner in radians.
    from: f64,
    to: f64,
}

impl Sector {
    /// Length of a row at `radius`.
    fn len(&self, radius: f64) -> f64 {
        match self.side {
            Side::Long | Side::Short => self.to - self.from,
            Side::Corner => (self.to - self.from) * radius,
        }
    }

    fn seats(&self, radius: f64) -> u32 {
        let seats = ((self.len(radius) - AISLE) / SEAT_WIDTH).floor();
        // Between 0 and a few hundred.
        seats.max(0.0) as u32
    }

    /// The point at `along` (tenths of a metre from the sector's beginning) of a row.
    fn at(&self, radius: f64, along: f64) -> (f64, f64) {
        let (x, y) = self.origin;
        match self.side {
            Side::Corner => {
                let angle = self.angle + self.from + along / radius;
                (x + radius * angle.cos(), y + radius * angle.sin())
            }
            Side::Long | Side::Short => {
                let along = self.from + along;
                // Rows run clockwise (y points down), so the outside is to their left.
                let (dx, dy) = (self.angle.cos().round(), self.angle.sin().round());
                (x + along * dx + radius * dy, y + along * dy - radius * dx)
            }
        }
    }
}

/// The sectors of a tier, clockwise from the left end of the upper long side.
fn sectors(corner_blocks: u32) -> Vec<Sector> {
    let mut sectors = Vec::new();
    let (l, s) = (HALF_LONG, HALF_SHORT);
    let sides = [
        (Side::Long, (-l, -s), 0.0, 2.0 * l),
        (Side::Short, (l, -s), FRAC_PI_2, 2.0 * s),
        (Side::Long, (l, s), 2.0 * FRAC_PI_2, 2.0 * l),
        (Side::Short, (-l, s), 3.0 * FRAC_PI_2, 2.0 * s),
    ];
    for (at, (side, origin, angle, len)) in sides.into_iter().enumerate() {
        let blocks = if side == Side::Long { BLOCKS_LONG } else { BLOCKS_SHORT };
        let piece = len / f64::from(blocks);
        sectors.extend((0..blocks).map(|block| Sector {
            side,
            origin,
            angle,
            from: piece * f64::from(block),
            to: piece * f64::from(block + 1),
        }));
        // The corner after this side is centred where the next side begins.
        let centre = sides[(at + 1) % sides.len()].1;
        let piece = FRAC_PI_2 / f64::from(corner_blocks);
        sectors.extend((0..corner_blocks).map(|block| Sector {
            side: Side::Corner,
            origin: centre,
            angle: angle - FRAC_PI_2,
            from: piece * f64::from(block),
            to: piece * f64::from(block + 1),
        }));
    }
    sectors
}

fn category(side: Side, tier: usize, tiers: usize) -> Category {
    let is_top = tier + 1 == tiers;
    match side {
        Side::Long if tier == 0 => Category::Cat1,
        Side::Short | Side::Corner if tier == 0 => Category::Cat2,
        Side::Long if is_top => Category::Cat3,
        Side::Short | Side::Corner if is_top => Category::Cat4,
        Side::Long => Category::Cat2,
        Side::Short | Side::Corner => Category::Cat3,
    }
}

/// Seats of each row of each block of each tier.
struct Layout {
    tiers: Vec<Tier>,
}

struct Tier {
    sectors: Vec<Sector>,
    /// Radius of each row's corners, front to back.
    radii: Vec<f64>,
    /// Seats by row, then by block.
    seats: Vec<Vec<u32>>,
}

impl Tier {
    /// Blocks that have seats.
    fn blocks(&self) -> usize {
        let has_seats = |block: &usize| self.seats.iter().any(|row| row[*block] > 0);
        (0..self.sectors.len()).filter(has_seats).count()
    }
}

impl Layout {
    fn with_rows(rows: u32, shape: &Tiers) -> Self {
        let mut left = rows;
        let mut radius = RADIUS_FIRST;
        let last = shape.percent.len() - 1;
        let mut tiers = Vec::new();
        for (tier, (percent, corners)) in shape.percent.iter().zip(shape.corner_blocks).enumerate()
        {
            let count = if tier == last { left } else { (rows * percent / 100).min(left) };
            left -= count;
            let radii: Vec<f64> =
                (0..count).map(|row| radius + f64::from(row) * ROW_DEPTH).collect();
            let sectors = sectors(*corners);
            let seats = radii
                .iter()
                .map(|r| sectors.iter().map(|sector| sector.seats(*r)).collect())
                .collect();
            radius += f64::from(count) * ROW_DEPTH + CONCOURSE;
            tiers.push(Tier { sectors, radii, seats });
        }
        Self { tiers }
    }

    fn capacity(&self) -> u32 {
        self.tiers.iter().flat_map(|tier| tier.seats.iter().flatten()).sum()
    }

    /// Takes `excess` seats out of the last rows, in turn.
    fn trim(&mut self, mut excess: u32) {
        let rows = self.tiers.iter_mut().rev().flat_map(|tier| tier.seats.iter_mut().rev());
        for row in rows {
            while excess > 0 && row.iter().any(|seats| *seats > 0) {
                for seats in row.iter_mut().filter(|seats| **seats > 0).take(excess as usize) {
                    *seats -= 1;
                    excess -= 1;
                }
            }
        }
    }
}

/// A bowl with exactly `capacity` seats.
pub fn build(capacity: u32) -> Result<Venue, BowlError> {
    if !(CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity) {
        return Err(BowlError { capacity });
    }
    let shape = if capacity < THREE_TIERS_FROM { &TWO } else { &THREE };
    let mut layout = (1..=400)
        .map(|rows| Layout::with_rows(rows, shape))
        .find(|layout| layout.capacity() >= capacity)
        .ok_or(BowlError { capacity })?;
    layout.trim(layout.capacity() - capacity);

    let reach =
        layout.tiers.iter().filter_map(|tier| tier.radii.last()).fold(0.0, |a: f64, b| a.max(*b));
    let half = (HALF_LONG + reach + MARGIN, HALF_SHORT + reach + MARGIN);
    let place = |(x, y): (f64, f64)| -> Point {
        // A few thousand at most.
        ((x + half.0).round() as i32, (y + half.1).round() as i32)
    };
    let mut blocks = Vec::new();
    let mut first = 0;
    let tiers = layout.tiers.len();
    let blocks_total = layout.tiers.iter().map(Tier::blocks).sum();
    let mut spaces = Spaces { total: wheelchair_spaces(capacity), given: 0, blocks_total, seen: 0 };
    for (at, tier) in layout.tiers.iter().enumerate() {
        for (number, sector) in tier.sectors.iter().enumerate() {
            let mut rows = Vec::new();
            let mut reach = (f64::MAX, 0.0_f64);
            for (row, (radius, seats)) in tier.radii.iter().zip(&tier.seats).enumerate() {
                let count = seats[number];
                if count == 0 {
                    continue;
                }
                reach = (reach.0.min(*radius), reach.1.max(*radius));
                // Centred between the aisles.
                let start = (sector.len(*radius) - f64::from(count - 1) * SEAT_WIDTH) / 2.0;
                let along = |seat: u32| start + f64::from(seat) * SEAT_WIDTH;
                let seats = (0..count).map(|seat| place(sector.at(*radius, along(seat)))).collect();
                rows.push(Row { label: row_label(row), first, seats, attributes: BTreeMap::new() });
                first += count;
            }
            if rows.is_empty() {
                continue;
            }
            // Of the lowest tier the last row is beside the concourse, of the others the first.
            let beside = if at == 0 { rows.last_mut() } else { rows.first_mut() };
            if let Some(row) = beside {
                spaces.mark(row);
            }
            let label = ((at + 1) * 100 + number + 1).to_string();
            blocks.push(Block {
                id: label.clone(),
                label,
                zone: category(sector.side, at, tiers).id().to_owned(),
                tier: u8::try_from(at + 1).unwrap_or(u8::MAX),
                outline: outline(sector, reach).into_iter().map(place).collect(),
                rows,
            });
        }
    }
    let field = Rectangle {
        x: half.0.round() as i32 - PITCH.0 / 2,
        y: half.1.round() as i32 - PITCH.1 / 2,
        w: PITCH.0,
        h: PITCH.1,
    };
    let size = |half: f64| 2 * half.round() as i32;
    let zones = Category::ALL.map(|zone| MapZone {
        id: zone.id().to_owned(),
        name: zone.name().to_owned(),
        color: zone.color().to_owned(),
    });
    let (width, height) = (size(half.0), size(half.1));
    let (zones, areas) = (zones.into(), Vec::new());
    Ok(Venue { width, height, field, zones, blocks, areas, seats: first })
}

/// How many spaces for wheelchairs a house has: what the ADA Standards of 2010 ask of one, in
/// 221.2.1.1. Their 221.3 asks for a companion's seat beside each.
fn wheelchair_spaces(capacity: u32) -> u32 {
    match capacity {
        ..=5_000 => 6 + (capacity - 500).div_ceil(150),
        _ => 36 + (capacity - 5_000).div_ceil(200),
    }
}

/// Shares the spaces for wheelchairs out among all blocks, so that there are some at every price.
struct Spaces {
    total: u32,
    given: u32,
    blocks_total: usize,
    /// Blocks that were looked at.
    seen: usize,
}

impl Spaces {
    /// Gives a block its share of what is still to be given: pairs from the aisle on, in this row.
    fn mark(&mut self, row: &mut Row) {
        self.seen += 1;
        let due = u64::from(self.total) * self.seen as u64 / self.blocks_total as u64;
        let due = u32::try_from(due).unwrap_or(self.total);
        let room = u32::try_from(row.seats.len() / 2).unwrap_or(u32::MAX);
        let pairs = (due - self.given).min(room);
        self.given += pairs;
        for pair in 0..pairs {
            row.attributes.insert(2 * pair + 1, Attribute::Accessible);
            row.attributes.insert(2 * pair + 2, Attribute::Companion);
        }
    }
}

/// A polygon around the rows between two radii.
fn outline(sector: &Sector, (near, far): (f64, f64)) -> Vec<(f64, f64)> {
    let (near, far) = (near - ROW_DEPTH / 2.0, far + ROW_DEPTH / 2.0);
    let steps = if sector.side == Side::Corner { 4 } else { 1 };
    let edge = |radius: f64, step: u32| {
        let gap = AISLE / 4.0;
        let len = sector.len(radius) - 2.0 * gap;
        sector.at(radius, gap + len * f64::from(step) / f64::from(steps))
    };
    let inner = (0..=steps).map(|step| edge(near, step));
    let outer = (0..=steps).rev().map(|step| edge(far, step));
    inner.chain(outer).collect()
}

/// A, B, … Z, AA, AB, …
fn row_label(row: usize) -> String {
    let letter = |n: usize| char::from(b'A' + u8::try_from(n % 26).unwrap_or(0));
    match row {
        0..26 => letter(row).to_string(),
        _ => format!("{}{}", letter(row / 26 - 1), letter(row)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bowl_adds_up_to_its_capacity_exactly() {
        for capacity in [2_000, 2_001, 45_000, 59_999, 60_000, 82_500, 94_000, 123_457, 200_000] {
            let venue = build(capacity).unwrap();
            let seats: usize =
                venue.blocks.iter().flat_map(|block| &block.rows).map(|row| row.seats.len()).sum();
            assert_eq!((venue.seats, seats), (capacity, capacity as usize));
            let mut next = 0;
            for row in venue.blocks.iter().flat_map(|block| &block.rows) {
                assert_eq!(row.first, next, "seats are counted through without a gap");
                next += row.seats.len() as u32;
            }
        }
        assert_eq!(build(1_999).unwrap_err(), BowlError { capacity: 1_999 });
        assert!(build(200_001).is_err());
    }

    #[test]
    fn no_two_seats_are_in_one_place_and_none_is_on_the_pitch_or_off_the_map() {
        let venue = build(82_500).unwrap();
        let mut places = BTreeSet::new();
        let field = venue.field;
        for (x, y) in venue.blocks.iter().flat_map(|b| &b.rows).flat_map(|row| &row.seats) {
            assert!(places.insert((*x, *y)), "two seats at {x},{y}");
            assert!((0..venue.width).contains(x) && (0..venue.height).contains(y));
            let is_on_pitch = (field.x..field.x + field.w).contains(x)
                && (field.y..field.y + field.h).contains(y);
            assert!(!is_on_pitch, "a seat on the pitch at {x},{y}");
        }
    }

    #[test]
    fn every_seat_has_a_name_of_its_own() {
        let venue = build(45_000).unwrap();
        let names: BTreeSet<String> =
            (0..45_000).map(|seat| venue.name_of(seat).unwrap().to_string()).collect();
        assert_eq!(names.len(), 45_000);
        assert_eq!(venue.name_of(0).unwrap().to_string(), "101-A-1");
        assert_eq!(venue.name_of(45_000), None);
    }

    #[test]
    fn all_zones_have_seats_and_the_first_is_nearest() {
        let venue = build(82_500).unwrap();
        let dearest_first =
            |zone: &str| zone.strip_prefix("cat").map(|n| 5 - n.parse::<u64>().unwrap());
        let plan = venue.plan(dearest_first).unwrap();
        for (at, zone) in Category::ALL.into_iter().enumerate() {
            let seats = (0..82_500).filter(|s| usize::from(plan.row_of(*s).unwrap().zone) == at);
            assert!(seats.count() > 5_000, "{zone:?}");
        }
        assert_eq!(plan.price_of(0), 4, "the first block is along the side");
    }

    #[test]
    fn there_are_spaces_for_wheelchairs_at_every_price_each_with_a_companions_seat() {
        for (capacity, spaces) in [(2_000, 16), (5_000, 36), (5_001, 37), (82_500, 424)] {
            let venue = build(capacity).unwrap();
            let (mut found, mut zones) = (0, BTreeSet::new());
            for block in &venue.blocks {
                for row in &block.rows {
                    let marks: Vec<Attribute> = row.attributes.values().copied().collect();
                    let (pairs, rest) = marks.as_chunks::<2>();
                    assert!(rest.is_empty());
                    for pair in pairs {
                        assert_eq!(*pair, [Attribute::Accessible, Attribute::Companion]);
                        zones.insert(block.zone.as_str());
                    }
                    found += pairs.len();
                }
            }
            assert_eq!((found, zones.len()), (spaces, 4), "{capacity}");
            // A companion is beside a wheelchair, or the plan would refuse it.
            assert!(venue.plan(|_| Some(1)).is_ok());
        }
    }

    #[test]
    fn two_runs_give_the_same_house() {
        assert_eq!(build(54_000), build(54_000));
    }
}
