//! As many events as a test or a benchmark wants, made of real names: the same seed gives the same
//! events.
//!
//! Teams are those of the built-in fixtures, cities those of the World Cup and of clubs that are
//! named after theirs. Everything else is drawn.

use std::collections::BTreeSet;

use keys::Slug;

use super::decide::Item;
use super::facts::{EventDraft, PerformerDraft, Seating, VenueDraft, ZonePrice};
use super::import::{ImportError, Sources, items, slug};
use crate::venue::Category;

/// Kinds of events, and how many in a hundred.
const CATEGORIES: [(&str, u64); 6] = [
    ("football", 40),
    ("concert", 25),
    ("theatre", 12),
    ("basketball", 10),
    ("comedy", 8),
    ("festival", 5),
];
const HOUSES: [&str; 8] =
    ["Arena", "Stadium", "Hall", "Theatre", "Garden", "Dome", "Park", "Pavilion"];
const TOURS: [&str; 8] = [
    "World Tour",
    "Summer Nights",
    "Farewell Tour",
    "Unplugged",
    "Live",
    "Greatest Hits",
    "On Ice",
    "The Musical",
];
const ACTS: [&str; 12] = [
    "Northern", "Velvet", "Electric", "Golden", "Midnight", "Silver", "Wild", "Paper", "Crystal",
    "Hollow", "Royal", "Distant",
];
const BANDS: [&str; 12] = [
    "Lights",
    "Foxes",
    "Horizon",
    "Choir",
    "Engines",
    "Rivers",
    "Echoes",
    "Tigers",
    "Orchestra",
    "Brothers",
    "Machine",
    "Gardens",
];
/// Time zones of events.
const ZONES: [(&str, &str); 4] = [
    ("Europe/London", "GBP"),
    ("Europe/Berlin", "EUR"),
    ("America/New_York", "USD"),
    ("America/Los_Angeles", "USD"),
];
const VENUES_PER_CITY: u64 = 3;
/// Words of club names that are no cities.
const NOT_CITIES: [&str; 20] = [
    "fc",
    "afc",
    "united",
    "city",
    "town",
    "rovers",
    "real",
    "athletic",
    "club",
    "sporting",
    "wanderers",
    "albion",
    "county",
    "hotspur",
    "villa",
    "palace",
    "forest",
    "academica",
    "union",
    "stade",
];

/// Draws numbers: SplitMix64, for its state is one number and its result the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.below(of.len() as u64);
        // The remainder is below a length.
        &of[usize::try_from(at).unwrap_or(0)]
    }
}

/// `count` events with their venues and performers, in an order in which everything comes before
/// what refers to it.
///
/// # Errors
/// None, as a test shows.
pub fn synthetic(count: u32, seed: u64) -> Result<Vec<Item>, ImportError> {
    let sources = Sources { with_leagues: true, ..Sources::default() };
    let listed = items(&sources)?;
    let teams = listed.iter().filter_map(|item| match item {
        Item::Performer { facts, .. } => Some(facts.name.clone()),
        Item::Venue { .. } | Item::Event { .. } => None,
    });
    let teams: Vec<String> = teams.collect::<BTreeSet<_>>().into_iter().collect();
    let mut made = Vec::new();
    let (cities, teams) = (cities(&listed, &teams), teams);
    let venues = venues(&cities, &mut made);
    let acts: Vec<String> =
        ACTS.iter().flat_map(|act| BANDS.iter().map(move |band| format!("{act} {band}"))).collect();
    for name in teams.iter().chain(&acts) {
        let draft = PerformerDraft { name: name.clone() };
        if let (Ok(id), Ok(facts)) = (performer(name), draft.check()) {
            made.push(Item::Performer { id, facts });
        }
    }
    let mut dice = Dice(seed);
    for number in 0..count {
        made.extend(event(number, &teams, &acts, &venues, &mut dice));
    }
    Ok(made)
}

fn performer(name: &str) -> Result<Slug, keys::FieldError> {
    format!("x-{}", slug(name)).chars().take(64).collect::<String>().parse()
}

/// Cities of stadiums, and the longest word of each club's name.
fn cities(listed: &[Item], teams: &[String]) -> Vec<String> {
    let known = listed.iter().filter_map(|item| match item {
        Item::Venue { facts, .. } => Some(facts.city.clone()),
        Item::Performer { .. } | Item::Event { .. } => None,
    });
    let of_clubs = teams.iter().filter_map(|team| {
        let words = team.split(|c: char| !c.is_alphanumeric());
        let is_city = |word: &&str| {
            word.chars().count() > 3 && !NOT_CITIES.contains(&word.to_lowercase().as_str())
        };
        words.filter(is_city).max_by_key(|word| word.chars().count()).map(str::to_owned)
    });
    known.chain(of_clubs).collect::<BTreeSet<_>>().into_iter().collect()
}

fn venues(cities: &[String], made: &mut Vec<Item>) -> Vec<(Slug, String)> {
    let mut venues = Vec::new();
    for (at, city) in cities.iter().enumerate() {
        for nth in 0..VENUES_PER_CITY {
            let house = HOUSES[(at + usize::try_from(nth).unwrap_or(0) * 3) % HOUSES.len()];
            let name = format!("{city} {house}");
            let draft = VenueDraft {
                name: name.clone(),
                city: city.clone(),
                country: "xx".to_owned(),
                capacity: Some(20_000),
            };
            let id = format!("x{at}-{nth}-{}", slug(&name)).chars().take(64).collect::<String>();
            if let (Ok(id), Ok(facts)) = (id.parse::<Slug>(), draft.check()) {
                venues.push((id.clone(), city.clone()));
                made.push(Item::Venue { id, facts });
            }
        }
    }
    venues
}

fn event(
    number: u32,
    teams: &[String],
    acts: &[String],
    venues: &[(Slug, String)],
    dice: &mut Dice,
) -> Option<Item> {
    let mut left = dice.below(100);
    let category = CATEGORIES.iter().find(|(_, share)| {
        let is_it = left < *share;
        left = left.saturating_sub(*share);
        is_it
    });
    let category = category.map_or("football", |(name, _)| name);
    let (venue, city) = dice.one(venues);
    let (title, performers, competition) = match category {
        "football" | "basketball" => {
            let (home, away) = (dice.one(teams), dice.one(teams));
            let names = if home == away { vec![home] } else { vec![home, away] };
            let league = format!("{} league {}", category, dice.below(20) + 1);
            (format!("{home} – {away}"), names, Some(league))
        }
        _ => {
            let act = dice.one(acts);
            (format!("{act}: {} in {city}", dice.one(&TOURS)), vec![act], None)
        }
    };
    let (zone, currency) = *dice.one(&ZONES);
    let (day, hour) = (dice.below(28) + 1, dice.below(9) + 12);
    let (year, month) = (2026 + dice.below(3), dice.below(12) + 1);
    let cheapest = (dice.below(150) + 10) * 100;
    let prices = Category::ALL.iter().rev().zip(1u64..).filter_map(|(zone, times)| {
        Some(ZonePrice { zone: zone.id().parse().ok()?, amount: cheapest * times })
    });
    let draft = EventDraft {
        title,
        category: category.parse().ok()?,
        competition,
        stage: None,
        description: None,
        starts_at_local: format!("{year}-{month:02}-{day:02}T{hour}:00"),
        time_zone: zone.to_owned(),
        venue: Some(venue.clone()),
        performers: performers.into_iter().filter_map(|name| performer(name).ok()).collect(),
        currency: currency.to_owned(),
        prices: prices.collect(),
        seating: Some(Seating::Bowl(20_000)),
        best_only_until: None,
    };
    let id = format!("x{seed:06}-{}", slug(&draft.title), seed = number);
    let id = id.chars().take(64).collect::<String>().parse().ok()?;
    Some(Item::Event { id, facts: Box::new(draft.check().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_events_and_all_of_them() {
        let made = synthetic(2_000, 7).unwrap();
        assert_eq!(made, synthetic(2_000, 7).unwrap());
        assert_ne!(made, synthetic(2_000, 8).unwrap());
        let events = made.iter().filter(|item| matches!(item, Item::Event { .. }));
        assert_eq!(events.count(), 2_000);
    }
}
