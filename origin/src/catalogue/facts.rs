//! What is known of an event, a venue and a performer, and is it sound?
//!
//! What comes from outside is a *draft*: its shape is known, its values are not. Only
//! [`EventDraft::check`] and its like make *facts* of it, and only facts are written to the log.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use keys::{Slug, Timestamp};
use serde::{Deserialize, Serialize};

const NAME_CHARS_MAX: usize = 200;
const STAGE_CHARS_MAX: usize = 80;
const DESCRIPTION_CHARS_MAX: usize = 2_000;
const PERFORMERS_MAX: usize = 32;
const PRICES_MAX: usize = 64;
/// A million of a currency with two decimals: above any seat ever sold.
const AMOUNT_MAX: u64 = 100_000_000;
const CAPACITY_MAX: u32 = 1_000_000;
/// Years in which events take place.
const YEARS: std::ops::RangeInclusive<i16> = 2000..=2100;

/// A value that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found:?}, expected {expected}")]
pub struct Invalid {
    /// Which.
    pub field: &'static str,
    /// What is there, cut to 80 characters.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

impl Invalid {
    fn new(field: &'static str, found: &str, expected: &'static str) -> Self {
        Self { field, found: found.chars().take(80).collect(), expected }
    }
}

/// A venue as somebody describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VenueDraft {
    /// Its name.
    pub name: String,
    /// Its city.
    pub city: String,
    /// ISO 3166 code.
    pub country: String,
    /// How many people it holds.
    #[serde(default)]
    pub capacity: Option<u32>,
}

/// A venue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct VenueFacts {
    /// Its name.
    pub name: String,
    /// Its city.
    pub city: String,
    /// ISO 3166 code in lower case.
    pub country: String,
    /// How many people it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
}

/// A performer, or a team, as somebody describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PerformerDraft {
    /// Its name.
    pub name: String,
}

/// A performer, or a team.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct PerformerFacts {
    /// Its name.
    pub name: String,
}

/// What a seat of a zone costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ZonePrice {
    /// The zone of the seat map.
    pub zone: Slug,
    /// In minor units of the event's currency.
    pub amount: u64,
}

/// Where an event's seats come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seating {
    /// A bowl that is computed from the number of its seats.
    Bowl(u32),
    /// A seat map, by the hash of its content.
    Map(String),
}

/// An event as somebody describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EventDraft {
    /// `Spain – Argentina`.
    pub title: String,
    /// `football`.
    pub category: Slug,
    /// `2026 World Cup`.
    #[serde(default)]
    pub competition: Option<String>,
    /// `Final`, or `Group A`.
    #[serde(default)]
    pub stage: Option<String>,
    /// A few sentences.
    #[serde(default)]
    pub description: Option<String>,
    /// `2026-07-19T15:00` by the clocks there, or `2026-07-19` while the hour is not known.
    pub starts_at_local: String,
    /// `America/New_York`, or a fixed offset such as `UTC-4`.
    pub time_zone: String,
    /// Where.
    #[serde(default)]
    pub venue: Option<Slug>,
    /// Who.
    #[serde(default)]
    pub performers: Vec<Slug>,
    /// ISO 4217 code.
    pub currency: String,
    /// What a seat costs, by zone.
    #[serde(default)]
    pub prices: Vec<ZonePrice>,
    /// Its seats; without, it can be announced and not sold.
    #[serde(default)]
    pub seating: Option<Seating>,
    /// Until then nobody chooses seats: the best that are left are given out.
    #[serde(default)]
    pub best_only_until: Option<Timestamp>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct EventFacts {
    /// `Spain – Argentina`.
    pub title: String,
    /// `football`.
    pub category: Slug,
    /// `2026 World Cup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub competition: Option<String>,
    /// `Final`, or `Group A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// A few sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it begins; midnight while the hour is not known.
    pub starts_at: Timestamp,
    /// The same by the clocks there, RFC 3339 with offset.
    pub starts_at_local: String,
    /// Whether the hour is known.
    pub is_hour_known: bool,
    /// The zone as it was given.
    pub time_zone: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue: Option<Slug>,
    /// Who.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub performers: Vec<Slug>,
    /// ISO 4217 code.
    pub currency: String,
    /// What a seat costs, by zone, each zone once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<ZonePrice>,
    /// Its seats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seating: Option<Seating>,
    /// Until then nobody chooses seats: the best that are left are given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_only_until: Option<Timestamp>,
}

impl VenueDraft {
    /// Makes facts of it.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub fn check(self) -> Result<VenueFacts, Invalid> {
        let Self { name, city, country, capacity } = self;
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_alphabetic()) {
            let expected = "an ISO 3166 code of two letters";
            return Err(Invalid::new("country", &country, expected));
        }
        if capacity.is_some_and(|capacity| capacity == 0 || capacity > CAPACITY_MAX) {
            let found = capacity.unwrap_or(0).to_string();
            return Err(Invalid::new("capacity", &found, "1 to 1000000 people"));
        }
        Ok(VenueFacts {
            name: text("name", &name, NAME_CHARS_MAX, "1 to 200 printable characters")?,
            city: text("city", &city, NAME_CHARS_MAX, "1 to 200 printable characters")?,
            country: country.to_ascii_lowercase(),
            capacity,
        })
    }
}

impl PerformerDraft {
    /// Makes facts of it.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub fn check(self) -> Result<PerformerFacts, Invalid> {
        let expected = "1 to 200 printable characters";
        Ok(PerformerFacts { name: text("name", &self.name, NAME_CHARS_MAX, expected)? })
    }
}

impl EventDraft {
    /// Makes facts of it. Whether its venue, performers and map exist is not asked here.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub fn check(self) -> Result<EventFacts, Invalid> {
        let optional = |field, value: &Option<String>, max, expected| {
            value.as_deref().map(|value| text(field, value, max, expected)).transpose()
        };
        let start = start(&self.starts_at_local, &self.time_zone)?;
        if self.performers.len() > PERFORMERS_MAX {
            let found = self.performers.len().to_string();
            return Err(Invalid::new("performers", &found, "at most 32 of them"));
        }
        if let Some(twice) = first_twice(&self.performers) {
            return Err(Invalid::new("performers", twice.as_str(), "each of them once"));
        }
        if let Some(until) = self.best_only_until.filter(|until| *until > start.at) {
            let expected = "a time before the event begins, in milliseconds since the epoch";
            return Err(Invalid::new("best_only_until", &until.as_millis().to_string(), expected));
        }
        let (names, long) = ("1 to 200 printable characters", "1 to 2000 printable characters");
        Ok(EventFacts {
            title: text("title", &self.title, NAME_CHARS_MAX, names)?,
            competition: optional("competition", &self.competition, NAME_CHARS_MAX, names)?,
            stage: optional("stage", &self.stage, STAGE_CHARS_MAX, "1 to 80 characters")?,
            description: optional("description", &self.description, DESCRIPTION_CHARS_MAX, long)?,
            category: self.category,
            starts_at: start.at,
            starts_at_local: start.local,
            is_hour_known: start.is_hour_known,
            time_zone: self.time_zone,
            venue: self.venue,
            performers: self.performers,
            currency: currency(self.currency)?,
            prices: prices(self.prices)?,
            seating: self.seating.map(seating).transpose()?,
            best_only_until: self.best_only_until,
        })
    }
}

impl From<&EventFacts> for EventDraft {
    /// What a change of an event begins with.
    fn from(facts: &EventFacts) -> Self {
        // `2026-07-19T15:00:00-04:00`: the zone is told apart, and so is an hour nobody knows.
        let len = if facts.is_hour_known { 19 } else { 10 };
        let local = facts.starts_at_local.get(..len).unwrap_or(&facts.starts_at_local);
        Self {
            title: facts.title.clone(),
            category: facts.category.clone(),
            competition: facts.competition.clone(),
            stage: facts.stage.clone(),
            description: facts.description.clone(),
            starts_at_local: local.to_owned(),
            time_zone: facts.time_zone.clone(),
            venue: facts.venue.clone(),
            performers: facts.performers.clone(),
            currency: facts.currency.clone(),
            prices: facts.prices.clone(),
            seating: facts.seating.clone(),
            best_only_until: facts.best_only_until,
        }
    }
}

impl EventFacts {
    /// The day by the clocks there, as a number like 20260719.
    #[must_use]
    pub fn day(&self) -> u32 {
        let digits = self.starts_at_local.get(..10).unwrap_or_default().bytes();
        let digits = digits.filter(u8::is_ascii_digit);
        digits.fold(0, |day, digit| day * 10 + u32::from(digit - b'0'))
    }

    /// What a seat of a zone costs.
    #[must_use]
    pub fn price_of(&self, zone: &str) -> Option<u64> {
        self.prices.iter().find(|price| price.zone.as_str() == zone).map(|price| price.amount)
    }

    /// What the cheapest seat costs.
    #[must_use]
    pub fn price_from(&self) -> Option<u64> {
        self.prices.iter().map(|price| price.amount).min()
    }
}

fn text(
    field: &'static str,
    value: &str,
    chars_max: usize,
    expected: &'static str,
) -> Result<String, Invalid> {
    let trimmed = value.trim();
    let is_sound = !trimmed.is_empty()
        && trimmed.chars().count() <= chars_max
        && !trimmed.chars().any(char::is_control);
    if is_sound { Ok(trimmed.to_owned()) } else { Err(Invalid::new(field, value, expected)) }
}

fn currency(code: String) -> Result<String, Invalid> {
    if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(code);
    }
    Err(Invalid::new("currency", &code, "an ISO 4217 code like USD"))
}

fn prices(prices: Vec<ZonePrice>) -> Result<Vec<ZonePrice>, Invalid> {
    if prices.len() > PRICES_MAX {
        return Err(Invalid::new("prices", &prices.len().to_string(), "at most 64 zones"));
    }
    if let Some(price) = prices.iter().find(|price| price.amount > AMOUNT_MAX) {
        let found = price.amount.to_string();
        return Err(Invalid::new("prices", &found, "at most 100000000 minor units"));
    }
    let zones: Vec<_> = prices.iter().map(|price| price.zone.clone()).collect();
    match first_twice(&zones) {
        Some(twice) => Err(Invalid::new("prices", twice.as_str(), "one price a zone")),
        None => Ok(prices),
    }
}

fn seating(seating: Seating) -> Result<Seating, Invalid> {
    match &seating {
        Seating::Bowl(seats) if !(2_000..=150_000).contains(seats) => {
            Err(Invalid::new("seating.bowl", &seats.to_string(), "2000 to 150000 seats"))
        }
        Seating::Map(hash) if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Err(Invalid::new("seating.map", hash, "the hash of a seat map"))
        }
        Seating::Bowl(_) | Seating::Map(_) => Ok(seating),
    }
}

fn first_twice(slugs: &[Slug]) -> Option<&Slug> {
    slugs.iter().enumerate().find(|(at, slug)| slugs[..*at].contains(slug)).map(|(_, slug)| slug)
}

struct Start {
    at: Timestamp,
    local: String,
    is_hour_known: bool,
}

fn start(local: &str, zone: &str) -> Result<Start, Invalid> {
    let time_zone = time_zone(zone).ok_or_else(|| {
        Invalid::new("time_zone", zone, "a zone like Europe/Rome, or an offset like UTC-4")
    })?;
    let refused = |expected| Invalid::new("starts_at_local", local, expected);
    let expected = "a date like 2026-07-19, or with an hour like 2026-07-19T15:00";
    let is_hour_known = local.contains('T');
    let at: DateTime = if is_hour_known {
        local.parse().map_err(|_| refused(expected))?
    } else {
        local.parse::<Date>().map_err(|_| refused(expected))?.at(0, 0, 0, 0)
    };
    if !YEARS.contains(&at.year()) {
        return Err(refused("a year from 2000 to 2100"));
    }
    let ambiguous = time_zone.to_ambiguous_zoned(at);
    // Midnight stands for an hour nobody knows: that it does not exist, or twice, is no matter.
    let zoned = if is_hour_known { ambiguous.unambiguous() } else { ambiguous.compatible() };
    let zoned = zoned.map_err(|_| refused("an hour that comes exactly once in that zone"))?;
    let millis = u64::try_from(zoned.timestamp().as_millisecond());
    let at = Timestamp::from_millis(millis.map_err(|_| refused(expected))?);
    let local = zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    Ok(Start { at, local, is_hour_known })
}

/// A zone of the IANA database, which is carried in the binary, or `UTC`, `UTC-4`, `UTC+5:30`.
fn time_zone(text: &str) -> Option<TimeZone> {
    let Some(offset) = text.strip_prefix("UTC") else { return TimeZone::get(text).ok() };
    if offset.is_empty() {
        return Some(TimeZone::UTC);
    }
    let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "0"));
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let hours: i32 = hours.parse().ok().filter(|hours| (-15..=15).contains(hours))?;
    let minutes: i32 = minutes.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    let offset = Offset::from_seconds(hours * 3600 + sign * minutes * 60).ok()?;
    Some(TimeZone::fixed(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> EventDraft {
        EventDraft {
            title: "Spain – Argentina".into(),
            category: "football".parse().unwrap(),
            competition: None,
            stage: Some("Final".into()),
            description: None,
            starts_at_local: "2026-07-19T15:00".into(),
            time_zone: "America/New_York".into(),
            venue: None,
            performers: Vec::new(),
            currency: "USD".into(),
            prices: Vec::new(),
            seating: None,
            best_only_until: None,
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn an_hour_is_told_by_the_clocks_there() {
        //       local               zone               as RFC 3339                  in UTC, seconds
        starts("2026-07-19T15:00", "America/New_York", "2026-07-19T15:00:00-04:00", 1_784_487_600);
        starts("2026-07-19T15:00", "UTC-4",            "2026-07-19T15:00:00-04:00", 1_784_487_600);
        starts("2026-01-19T15:00", "America/New_York", "2026-01-19T15:00:00-05:00", 1_768_852_800);
        starts("2026-07-19T15:00", "UTC+5:30",         "2026-07-19T15:00:00+05:30", 1_784_453_400);
        starts("2026-07-19",       "Europe/Rome",      "2026-07-19T00:00:00+02:00", 1_784_412_000);
    }

    #[track_caller]
    fn starts(local: &str, zone: &str, expected: &str, secs: u64) {
        let start = start(local, zone).unwrap();
        assert_eq!((start.local.as_str(), start.at.as_secs()), (expected, secs));
        assert_eq!(start.is_hour_known, local.contains('T'));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_does_not_fit_is_refused_by_name() {
        refused("title",           |d| d.title = " ".into());
        refused("title",           |d| d.title = "a\nb".into());
        refused("title",           |d| d.title = "x".repeat(201));
        refused("stage",           |d| d.stage = Some("x".repeat(81)));
        refused("description",     |d| d.description = Some("x".repeat(2001)));
        refused("starts_at_local", |d| d.starts_at_local = "2026-02-30T10:00".into());
        refused("starts_at_local", |d| d.starts_at_local = "2026-07-19T25:00".into());
        refused("starts_at_local", |d| d.starts_at_local = "tomorrow".into());
        refused("starts_at_local", |d| d.starts_at_local = "1999-07-19T15:00".into());
        refused("starts_at_local", |d| d.starts_at_local = "2026-03-08T02:30".into()); // skipped
        refused("starts_at_local", |d| d.starts_at_local = "2026-11-01T01:30".into()); // twice
        refused("time_zone",       |d| d.time_zone = "Mars/Olympus".into());
        refused("time_zone",       |d| d.time_zone = "UTC-400".into());
        refused("performers",      |d| d.performers = vec!["a".parse().unwrap(); 2]);
        refused("currency",        |d| d.currency = "usd".into());
        refused("prices",          |d| d.prices = vec![price("a", 100_000_001)]);
        refused("prices",          |d| d.prices = vec![price("a", 1), price("a", 2)]);
        refused("seating.bowl",    |d| d.seating = Some(Seating::Bowl(150_001)));
        refused("seating.map",     |d| d.seating = Some(Seating::Map("../x".into())));
        refused("best_only_until", |d| d.best_only_until = Some(Timestamp::from_secs(1_784_487_601)));
    }

    fn price(zone: &str, amount: u64) -> ZonePrice {
        ZonePrice { zone: zone.parse().unwrap(), amount }
    }

    #[track_caller]
    fn refused(field: &str, bend: impl Fn(&mut EventDraft)) {
        draft().check().unwrap();
        let mut bent = draft();
        bend(&mut bent);
        assert_eq!(bent.check().unwrap_err().field, field);
    }

    #[test]
    fn what_a_change_begins_with_is_what_there_is() {
        for local in ["2026-07-19T15:00", "2026-07-19"] {
            let facts = EventDraft { starts_at_local: local.into(), ..draft() }.check().unwrap();
            assert_eq!(EventDraft::from(&facts).check().unwrap(), facts);
        }
    }

    #[test]
    fn the_day_is_the_one_there() {
        assert_eq!(draft().check().unwrap().day(), 20_260_719);
    }
}
