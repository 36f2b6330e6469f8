//! Which events pass the filters, how many are there of each kind, and which come first?
//!
//! One row an event, by its ordinal, with all that filters and facets look at; names are numbers
//! here, so that a pass over every row of the catalogue is a few comparisons each. How much is left
//! is not part of it: that changes every second, and is brought along by whoever asks.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::query::{Band, Key, Query, Sort};
use super::words::folded;
use crate::catalogue::{Event, Status};

/// Most values of a facet in an answer.
const FACET_VALUES_MAX: usize = 50;
/// No name.
const NONE: u32 = u32::MAX;
/// Upper ends of price bands in minor units; the last band has none.
const PRICE_BANDS: [u64; 5] = [2_500, 5_000, 10_000, 25_000, 100_000];

/// What each row's match is worth; 0 is no match.
pub type Scores = [u32];

/// What a value of a facet is, and how many events have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// As the filter of that name takes it.
    pub value: String,
    /// How many.
    pub count: u32,
}

/// How many events there are of each kind. A facet counts what passes all filters but its own, so
/// that it shows what else could be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// By city.
    pub city: Vec<Counted>,
    /// By category.
    pub category: Vec<Counted>,
    /// By competition.
    pub competition: Vec<Counted>,
    /// By month, like `2026-07`.
    pub month: Vec<Counted>,
    /// By price of the cheapest seat, like `2500-5000`.
    pub price: Vec<Counted>,
    /// By how much is left.
    pub availability: Vec<Counted>,
}

/// What passes.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// The page, best first.
    pub page: Vec<(Key, Arc<Event>)>,
    /// How many pass in all.
    pub total: u64,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// How many of each kind.
    pub facets: Facets,
}

#[derive(Debug, Clone)]
struct Row {
    event: Arc<Event>,
    starts_at: u64,
    day: u32,
    city: u32,
    category: u32,
    competition: u32,
    currency: u32,
    price_from: Option<u64>,
}

/// Names as numbers.
#[derive(Debug, Clone, Default)]
struct Names {
    /// Folded, and as they were written first.
    numbers: HashMap<String, u32>,
    written: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        let folded = folded(name);
        if let Some(number) = self.numbers.get(&folded) {
            return *number;
        }
        let number = u32::try_from(self.written.len()).unwrap_or(NONE);
        self.written.push(name.to_owned());
        self.numbers.insert(folded, number);
        number
    }

    /// A name that nothing has is a filter that nothing passes.
    fn find(&self, folded: &str) -> u32 {
        self.numbers.get(folded).copied().unwrap_or(NONE - 1)
    }
}

/// All rows.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Row>,
    cities: Names,
    categories: Names,
    competitions: Names,
    currencies: Names,
}

/// Filters that a row fails, as bits.
const CITY: u8 = 1;
const CATEGORY: u8 = 1 << 1;
const COMPETITION: u8 = 1 << 2;
const DAY: u8 = 1 << 3;
const PRICE: u8 = 1 << 4;
const AVAILABILITY: u8 = 1 << 5;
const OTHER: u8 = 1 << 6;

impl Table {
    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes over an event as it is now. Those with lower ordinals are here already.
    pub fn put(&mut self, event: &Arc<Event>) {
        let facts = &event.facts;
        let city = event.venue.as_ref().map(|venue| self.cities.number(&venue.facts.city));
        let competition = facts.competition.as_deref().map(|name| self.competitions.number(name));
        let row = Row {
            starts_at: facts.starts_at.as_millis(),
            day: facts.day(),
            city: city.unwrap_or(NONE),
            category: self.categories.number(facts.category.as_str()),
            competition: competition.unwrap_or(NONE),
            currency: self.currencies.number(&facts.currency),
            price_from: facts.price_from(),
            event: Arc::clone(event),
        };
        let at = event.ordinal as usize;
        match self.rows.get_mut(at) {
            Some(known) => *known = row,
            // Events come in the order of their touch, so one that was changed since comes late:
            // its place is kept by the one that is there now, and overwritten in its turn.
            None => self.rows.resize(at + 1, row),
        }
    }

    /// Passes over all rows once. Without scores all of them match.
    #[must_use]
    pub fn select(
        &self,
        query: &Query,
        scores: Option<&Scores>,
        band_of: impl Fn(&Event) -> Option<Band>,
    ) -> Selected {
        let filter = Filter::new(self, query);
        let mut tally = Tally::new(self);
        let mut best = BinaryHeap::with_capacity(query.limit + 2);
        let (mut total, mut has_more) = (0, false);
        for (at, row) in self.rows.iter().enumerate() {
            let score = match scores {
                Some(scores) => match scores.get(at) {
                    Some(score) if *score > 0 => *score,
                    _ => continue,
                },
                None => 0,
            };
            let band = match row.event.status {
                Status::OnSale => band_of(&row.event),
                _ => None,
            };
            let failed = filter.failed(row, band);
            tally.count(row, band, failed, filter.currency);
            if failed != 0 {
                continue;
            }
            total += 1;
            let unfit = match query.sort {
                // Of what fits alike, what can be bought comes first.
                Sort::Relevance => {
                    let is_on_sale = u32::from(row.event.status == Status::OnSale);
                    u32::MAX - (score * 2 + is_on_sale)
                }
                Sort::Date => 0,
            };
            let key = Key { unfit, starts_at: row.starts_at, ordinal: row.event.ordinal };
            if query.after.is_some_and(|after| key <= after) {
                continue;
            }
            best.push(key);
            if best.len() > query.limit {
                best.pop();
                has_more = true;
            }
        }
        let page = best
            .into_sorted_vec()
            .into_iter()
            .filter_map(|key| Some((key, Arc::clone(&self.rows.get(key.ordinal as usize)?.event))));
        Selected { page: page.collect(), total, has_more, facets: tally.facets(self) }
    }
}

/// The query's filters in the table's numbers.
struct Filter<'a> {
    query: &'a Query,
    city: Option<u32>,
    category: Option<u32>,
    competition: Option<u32>,
    currency: u32,
}

impl<'a> Filter<'a> {
    fn new(table: &Table, query: &'a Query) -> Self {
        let category = query.category.as_deref().map(|name| table.categories.find(&folded(name)));
        Self {
            query,
            city: query.city.as_deref().map(|name| table.cities.find(name)),
            category,
            competition: query.competition.as_deref().map(|name| table.competitions.find(name)),
            currency: table.currencies.find(&folded(&query.currency)),
        }
    }

    /// The filters that a row fails.
    fn failed(&self, row: &Row, band: Option<Band>) -> u8 {
        let query = self.query;
        let is_other = |wanted: Option<u32>, has: u32| wanted.is_some_and(|wanted| wanted != has);
        let fails = |is_failed: bool, bit: u8| if is_failed { bit } else { 0 };
        let has_price_filter = query.price_min.is_some() || query.price_max.is_some();
        let price = row.price_from.filter(|_| row.currency == self.currency);
        let is_priced_out = has_price_filter
            && price.is_none_or(|price| {
                query.price_min.is_some_and(|min| price < min)
                    || query.price_max.is_some_and(|max| price > max)
            });
        let is_another_day = query.from.is_some_and(|from| row.day < from)
            || query.to.is_some_and(|to| row.day > to);
        let is_another_status =
            query.status.as_deref().is_some_and(|status| status != row.event.status.label());
        fails(is_other(self.city, row.city), CITY)
            | fails(is_other(self.category, row.category), CATEGORY)
            | fails(is_other(self.competition, row.competition), COMPETITION)
            | fails(is_another_day, DAY)
            | fails(is_priced_out, PRICE)
            | fails(query.availability.is_some_and(|wanted| band != Some(wanted)), AVAILABILITY)
            | fails(is_another_status, OTHER)
    }
}

/// Counts while rows pass by.
struct Tally {
    cities: Vec<u32>,
    categories: Vec<u32>,
    competitions: Vec<u32>,
    /// By year and month, like 202607.
    months: HashMap<u32, u32>,
    prices: [u32; PRICE_BANDS.len() + 1],
    bands: [u32; Band::ALL.len()],
}

impl Tally {
    fn new(table: &Table) -> Self {
        Self {
            cities: vec![0; table.cities.written.len()],
            categories: vec![0; table.categories.written.len()],
            competitions: vec![0; table.competitions.written.len()],
            months: HashMap::new(),
            prices: [0; PRICE_BANDS.len() + 1],
            bands: [0; Band::ALL.len()],
        }
    }

    fn count(&mut self, row: &Row, band: Option<Band>, failed: u8, currency: u32) {
        let add = |counts: &mut [u32], at: u32| {
            if let Some(count) = counts.get_mut(at as usize) {
                *count += 1;
            }
        };
        if failed & !CITY == 0 {
            add(&mut self.cities, row.city);
        }
        if failed & !CATEGORY == 0 {
            add(&mut self.categories, row.category);
        }
        if failed & !COMPETITION == 0 {
            add(&mut self.competitions, row.competition);
        }
        if failed & !DAY == 0 {
            *self.months.entry(row.day / 100).or_default() += 1;
        }
        if failed & !PRICE == 0
            && let Some(price) = row.price_from.filter(|_| row.currency == currency)
        {
            self.prices[PRICE_BANDS.partition_point(|end| *end <= price)] += 1;
        }
        if failed & !AVAILABILITY == 0
            && let Some(band) = band
        {
            self.bands[band as usize] += 1;
        }
    }

    fn facets(self, table: &Table) -> Facets {
        let mut months: Vec<_> = self.months.into_iter().collect();
        months.sort_unstable();
        let month = months.into_iter().map(|(month, count)| {
            let value = format!("{:04}-{:02}", month / 100, month % 100);
            Counted { value, count }
        });
        let price = self.prices.iter().enumerate().filter(|(_, count)| **count > 0);
        let price = price.map(|(at, count)| {
            let from = at.checked_sub(1).map_or(0, |before| PRICE_BANDS[before]);
            let to = PRICE_BANDS.get(at).map(|end| (end - 1).to_string()).unwrap_or_default();
            Counted { value: format!("{from}-{to}"), count: *count }
        });
        let bands = Band::ALL.into_iter().zip(self.bands).filter(|(_, count)| *count > 0);
        Facets {
            city: most(&table.cities, &self.cities),
            category: most(&table.categories, &self.categories),
            competition: most(&table.competitions, &self.competitions),
            month: month.collect(),
            price: price.collect(),
            availability: bands
                .map(|(band, count)| Counted { value: band.label().to_owned(), count })
                .collect(),
        }
    }
}

/// The values that most events have; of two alike the one that comes first by name.
fn most(names: &Names, counts: &[u32]) -> Vec<Counted> {
    let counted = names.written.iter().zip(counts).filter(|(_, count)| **count > 0);
    let mut counted: Vec<_> = counted.collect();
    counted.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
    counted.truncate(FACET_VALUES_MAX);
    counted
        .into_iter()
        .map(|(value, count)| Counted { value: value.clone(), count: *count })
        .collect()
}
