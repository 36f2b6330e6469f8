//! Is a seat map that somebody drew sound, and which seats does it come to?
//!
//! A draft is what an organiser sends; a [`Venue`] is what we sell from. Every seat has a name and
//! a point of its own, seats next to each other in a row are next to each other on the map's list,
//! and numbers of seats follow the order of the draft, so the same draft gives the same seats.

use std::collections::{BTreeMap, BTreeSet};

use keys::Slug;
use serde::Deserialize;

use super::{Area, Attribute, Block, MapZone, Point, Rectangle, Row, Venue};

/// Most seats and places of a map: above any house there is.
pub const SEATS_MAX: u32 = 150_000;
const ZONES_MAX: usize = 64;
const BLOCKS_MAX: usize = 2_000;
const AREAS_MAX: usize = 64;
const ROWS_MAX: usize = 500;
const ROW_SEATS_MAX: usize = 500;
const OUTLINE_MAX: usize = 200;
const LABEL_CHARS_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 60;
/// Longest side of a map, in tenths of a metre: ten kilometres.
const SIDE_MAX: i32 = 100_000;

/// A seat map as somebody drew it. Lengths are in tenths of a metre.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapDraft {
    /// Width of the map.
    pub width: i32,
    /// Height of the map.
    pub height: i32,
    /// The pitch, or the stage; best seats are nearest to its middle.
    pub field: Rectangle,
    /// Price zones, dearest first.
    pub zones: Vec<ZoneDraft>,
    /// Blocks of seats.
    #[serde(default)]
    pub blocks: Vec<BlockDraft>,
    /// Areas without seats.
    #[serde(default)]
    pub areas: Vec<AreaDraft>,
}

/// A price zone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneDraft {
    /// Short name in the API.
    pub id: Slug,
    /// Name for people.
    pub name: String,
    /// Colour on the map, like `#0072b2`.
    pub color: String,
}

/// Rows between two aisles.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockDraft {
    /// As printed, for example `104`; each once.
    pub label: String,
    /// Its price zone.
    pub zone: Slug,
    /// 1 is nearest to the field.
    #[serde(default = "first_tier")]
    pub tier: u8,
    /// A polygon around it; without, a rectangle around its seats.
    #[serde(default)]
    pub outline: Vec<Point>,
    /// Its rows, front to back.
    pub rows: Vec<RowDraft>,
}

const fn first_tier() -> u8 {
    1
}

/// Seats next to each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowDraft {
    /// As printed, for example `C`; each once in a block.
    pub label: String,
    /// Where its seats are, by number from 1.
    pub seats: Vec<Point>,
    /// Numbers of places for wheelchairs.
    #[serde(default)]
    pub accessible: Vec<u32>,
    /// Numbers of seats for who comes along with them.
    #[serde(default)]
    pub companion: Vec<u32>,
    /// Numbers of seats with a restricted view.
    #[serde(default)]
    pub restricted: Vec<u32>,
}

/// An area where people stand, or sit where they like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaDraft {
    /// As printed, for example `Floor`; no block has it.
    pub label: String,
    /// Its price zone.
    pub zone: Slug,
    /// How many people it holds.
    pub capacity: u32,
    /// A polygon around it.
    pub outline: Vec<Point>,
}

/// Why a seat map was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {found}, expected {expected}")]
pub struct BadMap {
    /// Where in the draft, like `blocks[3].rows[0].label`.
    pub place: String,
    /// What is there.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

fn bad<T>(
    place: impl Into<String>,
    found: impl std::fmt::Display,
    expected: &'static str,
) -> Result<T, BadMap> {
    let found = found.to_string().chars().take(80).collect();
    Err(BadMap { place: place.into(), found, expected })
}

impl MapDraft {
    /// Makes a venue of it.
    ///
    /// # Errors
    /// The first thing that does not fit, and where it is.
    pub fn check(self) -> Result<Venue, BadMap> {
        let Self { width, height, field, zones, blocks, areas } = self;
        for (place, side) in [("width", width), ("height", height)] {
            if !(1..=SIDE_MAX).contains(&side) {
                return bad(place, side, "1 to 100000 tenths of a metre");
            }
        }
        let bounds = Bounds { width, height };
        bounds.field(field)?;
        let zones = checked_zones(zones)?;
        if blocks.len() > BLOCKS_MAX {
            return bad("blocks", blocks.len(), "at most 2000 of them");
        }
        if areas.len() > AREAS_MAX {
            return bad("areas", areas.len(), "at most 64 of them");
        }
        let mut drawing = Drawing::new(bounds, &zones);
        let mut drawn = Vec::with_capacity(blocks.len());
        for (at, block) in blocks.into_iter().enumerate() {
            drawn.push(drawing.block(&format!("blocks[{at}]"), block)?);
        }
        let mut laid_out = Vec::with_capacity(areas.len());
        for (at, area) in areas.into_iter().enumerate() {
            laid_out.push(drawing.area(&format!("areas[{at}]"), area)?);
        }
        let (seats, used) = (drawing.seats, drawing.used);
        if drawing.places + seats == 0 {
            return bad("blocks", "no seat", "at least one seat or area");
        }
        if let Some(zone) = zones.iter().find(|zone| !used.contains(&zone.id)) {
            return bad("zones", &zone.id, "zones that have seats");
        }
        Ok(Venue { width, height, field, zones, blocks: drawn, areas: laid_out, seats })
    }
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    width: i32,
    height: i32,
}

impl Bounds {
    fn field(self, field: Rectangle) -> Result<(), BadMap> {
        let Rectangle { x, y, w, h } = field;
        let is_inside = x >= 0
            && y >= 0
            && w > 0
            && h > 0
            && x.checked_add(w).is_some_and(|right| right <= self.width)
            && y.checked_add(h).is_some_and(|bottom| bottom <= self.height);
        let found = format!("{w} by {h} at {x},{y}");
        if is_inside { Ok(()) } else { bad("field", found, "a rectangle on the map") }
    }

    fn point(self, place: &str, (x, y): Point) -> Result<(), BadMap> {
        let is_inside = (0..self.width).contains(&x) && (0..self.height).contains(&y);
        if is_inside { Ok(()) } else { bad(place, format!("{x},{y}"), "a point on the map") }
    }

    fn outline(self, place: &str, outline: &[Point]) -> Result<(), BadMap> {
        let place = format!("{place}.outline");
        if !(3..=OUTLINE_MAX).contains(&outline.len()) {
            return bad(place, format!("{} points", outline.len()), "3 to 200 of them");
        }
        outline.iter().try_for_each(|point| self.point(&place, *point))
    }
}

fn checked_zones(zones: Vec<ZoneDraft>) -> Result<Vec<MapZone>, BadMap> {
    if !(1..=ZONES_MAX).contains(&zones.len()) {
        return bad("zones", zones.len(), "1 to 64 of them");
    }
    let mut checked: Vec<MapZone> = Vec::with_capacity(zones.len());
    for (at, ZoneDraft { id, name, color }) in zones.into_iter().enumerate() {
        let place = |member| format!("zones[{at}].{member}");
        if checked.iter().any(|zone| zone.id == id.as_str()) {
            return bad(place("id"), &id, "each zone once");
        }
        let is_color = color.len() == 7
            && color.starts_with('#')
            && color[1..].bytes().all(|b| b.is_ascii_hexdigit());
        if !is_color {
            return bad(place("color"), &color, "a colour like #0072b2");
        }
        let name =
            printable(&place("name"), &name, NAME_CHARS_MAX, "1 to 60 printable characters")?;
        checked.push(MapZone { id: id.into(), name, color: color.to_ascii_lowercase() });
    }
    Ok(checked)
}

fn printable(
    place: &str,
    text: &str,
    chars_max: usize,
    expected: &'static str,
) -> Result<String, BadMap> {
    let trimmed = text.trim();
    let is_sound = !trimmed.is_empty()
        && trimmed.chars().count() <= chars_max
        && !trimmed.chars().any(char::is_control);
    if is_sound { Ok(trimmed.to_owned()) } else { bad(place, format!("{text:?}"), expected) }
}

fn label(place: &str, text: &str) -> Result<String, BadMap> {
    printable(&format!("{place}.label"), text, LABEL_CHARS_MAX, "1 to 20 printable characters")
}

/// A map while it is read.
struct Drawing<'a> {
    bounds: Bounds,
    zones: &'a [MapZone],
    labels: BTreeSet<String>,
    points: BTreeSet<Point>,
    used: BTreeSet<String>,
    seats: u32,
    places: u32,
}

impl<'a> Drawing<'a> {
    fn new(bounds: Bounds, zones: &'a [MapZone]) -> Self {
        Self {
            bounds,
            zones,
            labels: BTreeSet::new(),
            points: BTreeSet::new(),
            used: BTreeSet::new(),
            seats: 0,
            places: 0,
        }
    }

    fn name(&mut self, place: &str, text: &str) -> Result<String, BadMap> {
        let label = label(place, text)?;
        if self.labels.insert(label.clone()) {
            return Ok(label);
        }
        bad(format!("{place}.label"), format!("{label:?}"), "a label that no other block has")
    }

    fn zone(&mut self, place: &str, zone: &Slug) -> Result<String, BadMap> {
        if !self.zones.iter().any(|known| known.id == zone.as_str()) {
            return bad(format!("{place}.zone"), zone, "one of the map's zones");
        }
        self.used.insert(zone.as_str().to_owned());
        Ok(zone.as_str().to_owned())
    }

    fn count(&mut self, place: &str, more: u32) -> Result<(), BadMap> {
        let total = self.seats.saturating_add(self.places).saturating_add(more);
        if total > SEATS_MAX {
            bad(place, total, "at most 150000 seats and places")
        } else {
            Ok(())
        }
    }

    fn block(&mut self, place: &str, draft: BlockDraft) -> Result<Block, BadMap> {
        let label = self.name(place, &draft.label)?;
        let zone = self.zone(place, &draft.zone)?;
        if !(1..=ROWS_MAX).contains(&draft.rows.len()) {
            return bad(format!("{place}.rows"), draft.rows.len(), "1 to 500 of them");
        }
        let mut labels = BTreeSet::new();
        let mut rows = Vec::with_capacity(draft.rows.len());
        for (at, row) in draft.rows.into_iter().enumerate() {
            let place = format!("{place}.rows[{at}]");
            let row = self.row(&place, row)?;
            if !labels.insert(row.label.clone()) {
                let found = format!("{:?}", row.label);
                return bad(format!("{place}.label"), found, "a label that no other row has");
            }
            rows.push(row);
        }
        let outline = match draft.outline.is_empty() {
            true => around(&rows, self.bounds),
            false => {
                self.bounds.outline(place, &draft.outline)?;
                draft.outline
            }
        };
        Ok(Block { id: label.clone(), label, zone, tier: draft.tier.max(1), outline, rows })
    }

    fn row(&mut self, place: &str, draft: RowDraft) -> Result<Row, BadMap> {
        let label = label(place, &draft.label)?;
        if !(1..=ROW_SEATS_MAX).contains(&draft.seats.len()) {
            return bad(format!("{place}.seats"), draft.seats.len(), "1 to 500 of them");
        }
        // A row has at most 500.
        let count = u32::try_from(draft.seats.len()).unwrap_or(u32::MAX);
        self.count(place, count)?;
        for (at, point) in draft.seats.iter().enumerate() {
            let place = || format!("{place}.seats[{at}]");
            self.bounds.point(&place(), *point)?;
            if !self.points.insert(*point) {
                let found = format!("{},{}", point.0, point.1);
                return bad(place(), found, "a point that no other seat has");
            }
        }
        let mut attributes: BTreeMap<u32, Attribute> = BTreeMap::new();
        for (member, numbers, attribute) in [
            ("accessible", draft.accessible, Attribute::Accessible),
            ("companion", draft.companion, Attribute::Companion),
            ("restricted", draft.restricted, Attribute::Restricted),
        ] {
            for number in numbers {
                let place = format!("{place}.{member}");
                if !(1..=count).contains(&number) {
                    return bad(place, number, "the number of a seat of this row");
                }
                if attributes.insert(number, attribute).is_some() {
                    return bad(place, number, "each seat in one of the three lists");
                }
            }
        }
        let is_accessible = |number: u32| attributes.get(&number) == Some(&Attribute::Accessible);
        let alone = attributes.iter().find(|(number, attribute)| {
            let beside = [number.saturating_sub(1), **number + 1];
            **attribute == Attribute::Companion && !beside.into_iter().any(is_accessible)
        });
        if let Some((number, _)) = alone {
            let expected = "the number of a seat next to an accessible one";
            return bad(format!("{place}.companion"), number, expected);
        }
        let first = self.seats;
        self.seats += count;
        Ok(Row { label, first, seats: draft.seats, attributes })
    }

    fn area(&mut self, place: &str, draft: AreaDraft) -> Result<Area, BadMap> {
        let label = self.name(place, &draft.label)?;
        let zone = self.zone(place, &draft.zone)?;
        if draft.capacity == 0 {
            return bad(format!("{place}.capacity"), 0, "at least 1");
        }
        self.count(&format!("{place}.capacity"), draft.capacity)?;
        self.places += draft.capacity;
        self.bounds.outline(place, &draft.outline)?;
        let AreaDraft { capacity, outline, .. } = draft;
        Ok(Area { id: label.clone(), label, zone, capacity, outline })
    }
}

/// A rectangle around rows, a seat's width away from them.
fn around(rows: &[Row], bounds: Bounds) -> Vec<Point> {
    const AWAY: i32 = 4;
    let points = || rows.iter().flat_map(|row| &row.seats);
    let least = |of: fn(&Point) -> i32| points().map(of).min().unwrap_or(0).saturating_sub(AWAY);
    let most = |of: fn(&Point) -> i32| points().map(of).max().unwrap_or(0).saturating_add(AWAY);
    let (left, top) = (least(|p| p.0).max(0), least(|p| p.1).max(0));
    let right = most(|p| p.0).min(bounds.width - 1);
    let bottom = most(|p| p.1).min(bounds.height - 1);
    vec![(left, top), (right, top), (right, bottom), (left, bottom)]
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
