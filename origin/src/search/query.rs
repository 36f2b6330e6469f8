//! What may be asked of the search, and is it sound?
//!
//! A query is a few words and a few filters, read by us: there is no query language that could be
//! made to explode. Whatever is too long is refused before anything is looked up.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::words::{folded, words};

/// Longest text of words.
pub const TEXT_BYTES_MAX: usize = 200;
/// Most words; more are refused, for each costs a look-up.
pub const WORDS_MAX: usize = 10;
/// Longest value of a filter.
const VALUE_BYTES_MAX: usize = 200;
/// Most events in one answer.
pub const LIMIT_MAX: usize = 200;
/// Events in an answer that asks for no number.
const LIMIT: usize = 50;

/// How much is left of an event on sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// Plenty.
    Available,
    /// At most one seat in twenty.
    FewLeft,
    /// None.
    SoldOut,
}

impl Band {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Available, Self::FewLeft, Self::SoldOut];

    /// The band of so many free seats of so many.
    #[must_use]
    pub const fn of(free: u64, capacity: u64) -> Self {
        match free {
            0 => Self::SoldOut,
            _ if free.saturating_mul(20) <= capacity => Self::FewLeft,
            _ => Self::Available,
        }
    }

    /// The name in the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::FewLeft => "few_left",
            Self::SoldOut => "sold_out",
        }
    }
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// What fits best first.
    Relevance,
    /// What comes first in time.
    Date,
}

/// Where the page before ended: the key of its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// How little it fits: the opposite of the score, so that less is better.
    pub unfit: u32,
    /// When it begins, in milliseconds.
    pub starts_at: u64,
    /// The event.
    pub ordinal: u32,
}

/// What is asked, as it arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryText {
    /// Words.
    pub q: String,
    /// City.
    pub city: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Competition.
    pub competition: Option<String>,
    /// First day.
    pub from: Option<String>,
    /// Last day.
    pub to: Option<String>,
    /// Least price of the cheapest seat.
    pub price_min: Option<String>,
    /// Most price of the cheapest seat.
    pub price_max: Option<String>,
    /// Currency of the prices.
    pub currency: Option<String>,
    /// How much is left.
    pub availability: Option<String>,
    /// Status.
    pub status: Option<String>,
    /// Order.
    pub sort: Option<String>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many.
    pub limit: Option<String>,
}

/// What is asked, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Words, folded; the last one may be the beginning of one.
    pub words: Vec<String>,
    /// City, folded.
    pub city: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Competition, folded.
    pub competition: Option<String>,
    /// First day, like 20260719.
    pub from: Option<u32>,
    /// Last day.
    pub to: Option<u32>,
    /// Least price of the cheapest seat, in minor units.
    pub price_min: Option<u64>,
    /// Most price of the cheapest seat, in minor units.
    pub price_max: Option<u64>,
    /// Currency of the prices: others are not compared.
    pub currency: String,
    /// How much is left.
    pub availability: Option<Band>,
    /// Label of the status.
    pub status: Option<String>,
    /// Order.
    pub sort: Sort,
    /// After which event.
    pub after: Option<Key>,
    /// How many.
    pub limit: usize,
}

/// A part of the query that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not {expected}")]
pub struct BadQuery {
    /// Which.
    pub name: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

const STATUSES: [&str; 5] = ["announced", "scheduled", "on_sale", "off_sale", "cancelled"];

impl QueryText {
    /// Checks it; prices are in `currency` unless it says otherwise.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn check(&self, currency: &str) -> Result<Query, BadQuery> {
        let bad = |name, expected| BadQuery { name, expected };
        if self.q.len() > TEXT_BYTES_MAX {
            return Err(bad("q", "at most 200 bytes"));
        }
        let words: Vec<String> = words(&self.q).take(WORDS_MAX + 1).collect();
        if words.len() > WORDS_MAX {
            return Err(bad("q", "at most 10 words"));
        }
        let sort = match self.sort.as_deref() {
            None if words.is_empty() => Sort::Date,
            None | Some("relevance") => Sort::Relevance,
            Some("date") => Sort::Date,
            Some(_) => return Err(bad("sort", "relevance or date")),
        };
        let availability = match self.availability.as_deref() {
            None => None,
            Some(label) => {
                let band = Band::ALL.into_iter().find(|band| band.label() == label);
                Some(band.ok_or(bad("availability", "available, few_left or sold_out"))?)
            }
        };
        let status = self.status.as_deref();
        if status.is_some_and(|status| !STATUSES.contains(&status)) {
            return Err(bad("status", "announced, scheduled, on_sale, off_sale or cancelled"));
        }
        let limit = match &self.limit {
            None => LIMIT,
            Some(limit) => {
                let limit = limit.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                limit.ok_or(bad("limit", "1 to 200"))?
            }
        };
        let currency = self.currency.as_deref().unwrap_or(currency);
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(bad("currency", "an ISO 4217 code like USD"));
        }
        let mut query = Query {
            words,
            city: value("city", self.city.as_ref())?.map(|city| folded(&city)),
            category: value("category", self.category.as_ref())?,
            competition: value("competition", self.competition.as_ref())?.map(|c| folded(&c)),
            from: day("from", self.from.as_ref())?,
            to: day("to", self.to.as_ref())?,
            price_min: price("price_min", self.price_min.as_ref())?,
            price_max: price("price_max", self.price_max.as_ref())?,
            currency: currency.to_owned(),
            availability,
            status: status.map(str::to_owned),
            sort,
            after: None,
            limit,
        };
        if let Some(cursor) = &self.cursor {
            let after = query.open_cursor(cursor);
            query.after = Some(after.ok_or(bad("cursor", "the next of this very query"))?);
        }
        Ok(query)
    }
}

fn value(name: &'static str, value: Option<&String>) -> Result<Option<String>, BadQuery> {
    match value {
        // An empty field of a form is none.
        Some(value) if value.trim().is_empty() => Ok(None),
        Some(value) if value.len() > VALUE_BYTES_MAX => {
            Err(BadQuery { name, expected: "at most 200 bytes" })
        }
        Some(value) => Ok(Some(value.trim().to_owned())),
        None => Ok(None),
    }
}

fn day(name: &'static str, text: Option<&String>) -> Result<Option<u32>, BadQuery> {
    let Some(text) = value(name, text)? else { return Ok(None) };
    let day: Option<jiff::civil::Date> = text.parse().ok();
    let number = |day: jiff::civil::Date| {
        let (year, month, day) = (day.year(), day.month(), day.day());
        u32::try_from(i32::from(year) * 10_000 + i32::from(month) * 100 + i32::from(day)).ok()
    };
    let day = day.and_then(number).filter(|_| text.len() == 10);
    day.map(Some).ok_or(BadQuery { name, expected: "a day like 2026-07-19" })
}

fn price(name: &'static str, text: Option<&String>) -> Result<Option<u64>, BadQuery> {
    let Some(text) = value(name, text)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| BadQuery { name, expected: "a number of minor units" })
}

impl Query {
    /// A cursor to the events after `key`. It is bound to the query, lest another one goes on at a
    /// place that means nothing in it.
    #[must_use]
    pub fn cursor(&self, key: Key) -> String {
        let mut bytes = Vec::with_capacity(20);
        bytes.extend(key.unfit.to_be_bytes());
        bytes.extend(key.starts_at.to_be_bytes());
        bytes.extend(key.ordinal.to_be_bytes());
        bytes.extend(self.mark());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn open_cursor(&self, cursor: &str) -> Option<Key> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|bytes| bytes.len() == 20)?;
        let (unfit, rest) = bytes.split_first_chunk()?;
        let (starts_at, rest) = rest.split_first_chunk()?;
        let (ordinal, mark) = rest.split_first_chunk()?;
        let key = Key {
            unfit: u32::from_be_bytes(*unfit),
            starts_at: u64::from_be_bytes(*starts_at),
            ordinal: u32::from_be_bytes(*ordinal),
        };
        (mark == self.mark()).then_some(key)
    }

    /// Tells queries apart, whatever page of them is asked for.
    fn mark(&self) -> [u8; 4] {
        let same = Self { after: None, limit: 0, ..self.clone() };
        let digest: [u8; 32] = Sha256::digest(format!("{same:?}")).into();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_is_too_much_or_unknown_is_refused_by_name() {
        check("q",            |q| q.q = "x".repeat(201));
        check("q",            |q| q.q = "a ".repeat(11));
        check("city",         |q| q.city = Some("x".repeat(201)));
        check("from",         |q| q.from = Some("2026-02-30".into()));
        check("to",           |q| q.to = Some("tomorrow".into()));
        check("price_max",    |q| q.price_max = Some("-1".into()));
        check("currency",     |q| q.currency = Some("usd".into()));
        check("availability", |q| q.availability = Some("some".into()));
        check("status",       |q| q.status = Some("open".into()));
        check("sort",         |q| q.sort = Some("price".into()));
        check("limit",        |q| q.limit = Some("0".into()));
        check("limit",        |q| q.limit = Some("201".into()));
        check("cursor",       |q| q.cursor = Some("AAAA".into()));
    }

    #[track_caller]
    fn check(name: &str, bend: impl Fn(&mut QueryText)) {
        let mut asked = QueryText::default();
        asked.check("USD").unwrap();
        bend(&mut asked);
        assert_eq!(asked.check("USD").unwrap_err().name, name);
    }

    #[test]
    fn a_cursor_goes_on_in_its_own_query_only() {
        let mut asked = QueryText { q: "final".into(), ..QueryText::default() };
        let key = Key { unfit: 7, starts_at: 1_784_487_600_000, ordinal: 103 };
        asked.cursor = Some(asked.check("USD").unwrap().cursor(key));
        asked.limit = Some("3".into());
        assert_eq!(asked.check("USD").unwrap().after, Some(key));
        asked.q = "finals".into();
        assert_eq!(asked.check("USD").unwrap_err().name, "cursor");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_band_tells_how_much_is_left() {
        assert_eq!(Band::of(0, 100),   Band::SoldOut);
        assert_eq!(Band::of(1, 100),   Band::FewLeft);
        assert_eq!(Band::of(5, 100),   Band::FewLeft);
        assert_eq!(Band::of(6, 100),   Band::Available);
        assert_eq!(Band::of(1, 1),     Band::Available);
    }
}
