//! Reads events as openfootball lists them: the matches and stadiums of a World Cup, and the
//! fixtures of leagues.
//!
//! Ids are made of what is listed, so that the same list gives the same ids: a match's number is
//! its line in the file and must not change once tickets were sold; a fixture is named by league,
//! season and the two teams, for its day may still move. Kick-offs of the World Cup carry their UTC
//! offset; those of a league are by the clocks of its country.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use keys::{EventId, Slug};
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization as _;

use super::decide::Item;
use super::facts::{EventDraft, Invalid, PerformerDraft, Seating, VenueDraft, ZonePrice};
use super::prices::prices;
use crate::venue::Category;

const MATCHES: &str = include_str!("../../../config/samples/world-cup-2026-matches.csv");
const STADIUMS: &str = include_str!("../../../config/samples/world-cup-2026-stadiums.csv");
const FIXTURES: &str = include_str!("../../../config/samples/league-fixtures-2025-26.csv");

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where the lists come from; `None` is the list that is built in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Matches.
    pub matches: Option<PathBuf>,
    /// Stadiums.
    pub stadiums: Option<PathBuf>,
    /// Whether the built-in league fixtures are listed as well.
    pub with_leagues: bool,
}

/// Why the lists were refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{file} cannot be read")]
    Io {
        /// Which.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not what was expected.
    #[error("{file}, line {line}")]
    Line {
        /// Which file.
        file: String,
        /// Which line, the heading being the first.
        line: usize,
        /// What was expected.
        source: Invalid,
    },
    /// It is not CSV with these columns.
    #[error("{file} is not CSV with the columns {columns}")]
    Csv {
        /// Which file.
        file: String,
        /// Which columns were expected.
        columns: &'static str,
        /// The cause.
        source: csv::Error,
    },
    /// Two lines are one event.
    #[error("{file}, line {line}: {id} is listed twice")]
    Twice {
        /// Which file.
        file: String,
        /// Which line.
        line: usize,
        /// Which event.
        id: EventId,
    },
}

/// A list of events by a name for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its name.
    pub name: String,
    /// The CSV text.
    pub text: String,
}

impl List {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is too long.
    pub fn load(path: &std::path::Path) -> Result<Self, ImportError> {
        let name = path.display().to_string();
        let io = |source| ImportError::Io { file: name.clone(), source };
        if fs::metadata(path).map_err(io)?.len() > FILE_BYTES_MAX {
            return Err(io(std::io::Error::other("the file is longer than 16 MiB")));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        Ok(Self { name, text })
    }

    fn load_or(path: Option<&PathBuf>, name: &str, text: &str) -> Result<Self, ImportError> {
        let built_in = || Ok(Self { name: name.to_owned(), text: text.to_owned() });
        path.map_or_else(built_in, |path| Self::load(path))
    }

    fn lines<T: serde::de::DeserializeOwned>(
        &self,
        columns: &'static str,
    ) -> Result<Vec<T>, ImportError> {
        let lines: Result<Vec<T>, csv::Error> =
            csv::Reader::from_reader(self.text.as_bytes()).deserialize().collect();
        lines.map_err(|source| ImportError::Csv { file: self.name.clone(), columns, source })
    }

    fn refuse(&self, line: usize) -> impl Fn(Invalid) -> ImportError + '_ {
        move |source| ImportError::Line { file: self.name.clone(), line, source }
    }
}

/// All that the sources list, in an order in which everything comes before what refers to it.
///
/// # Errors
/// The file, the line and what was expected there.
pub fn items(sources: &Sources) -> Result<Vec<Item>, ImportError> {
    let stadiums = List::load_or(sources.stadiums.as_ref(), "built-in stadiums", STADIUMS)?;
    let matches = List::load_or(sources.matches.as_ref(), "built-in matches", MATCHES)?;
    let mut items = world_cup(&matches, &stadiums)?;
    if sources.with_leagues {
        items.extend(built_in_leagues()?);
    }
    Ok(items)
}

/// The built-in league fixtures.
///
/// # Errors
/// None, as a test shows.
pub fn built_in_leagues() -> Result<Vec<Item>, ImportError> {
    leagues(&List { name: "built-in fixtures".to_owned(), text: FIXTURES.to_owned() })
}

#[derive(Debug, Deserialize)]
struct MatchLine {
    round: String,
    group: String,
    date: String,
    time: String,
    home: String,
    away: String,
    city: String,
}

#[derive(Debug, Deserialize)]
struct StadiumLine {
    name: String,
    city: String,
    country: String,
    capacity: u32,
}

#[derive(Debug, Deserialize)]
struct FixtureLine {
    competition: String,
    round: String,
    date: String,
    time: String,
    home: String,
    away: String,
}

/// What lines have come to, each thing once.
#[derive(Default)]
struct Gathered {
    items: Vec<Item>,
    performers: BTreeSet<Slug>,
    events: BTreeSet<EventId>,
}

impl Gathered {
    fn performer(&mut self, prefix: &str, name: &str) -> Result<Slug, Invalid> {
        let id: Slug = id("home", &format!("{prefix}{}", slug(name)), name)?;
        if self.performers.insert(id.clone()) {
            let facts = PerformerDraft { name: name.to_owned() }.check()?;
            self.items.push(Item::Performer { id: id.clone(), facts });
        }
        Ok(id)
    }

    fn event(&mut self, id: EventId, draft: EventDraft) -> Result<bool, Invalid> {
        let facts = Box::new(draft.check()?);
        self.items.push(Item::Event { id: id.clone(), facts });
        Ok(self.events.insert(id))
    }
}

/// The matches of a World Cup and its stadiums.
///
/// # Errors
/// The file, the line and what was expected there.
pub fn world_cup(matches: &List, stadiums: &List) -> Result<Vec<Item>, ImportError> {
    let columns = "name, city, country and capacity";
    let mut gathered = Gathered::default();
    let mut venues: Vec<(String, Slug, u32)> = Vec::new();
    for (at, line) in stadiums.lines::<StadiumLine>(columns)?.into_iter().enumerate() {
        let refused = stadiums.refuse(at + 2);
        let id: Slug = id("name", &slug(&line.name), &line.name).map_err(&refused)?;
        let StadiumLine { name, city, country, capacity } = line;
        venues.push((city.clone(), id.clone(), capacity));
        let draft = VenueDraft { name, city, country, capacity: Some(capacity) };
        gathered.items.push(Item::Venue { id, facts: draft.check().map_err(&refused)? });
    }
    let columns = "round, group, date, time, home, away and city";
    for (at, line) in matches.lines::<MatchLine>(columns)?.into_iter().enumerate() {
        let refused = matches.refuse(at + 2);
        let event_id = match_id(at + 1, &line).map_err(&refused)?;
        let venue = venues.iter().find(|(city, ..)| *city == line.city);
        let unknown = || invalid("city", &line.city, "the city of a stadium");
        let (_, venue, capacity) = venue.ok_or_else(unknown).map_err(&refused)?;
        let teams = [&line.home, &line.away].map(|name| gathered.performer("", name));
        let [home, away] = teams;
        let performers = vec![home.map_err(&refused)?, away.map_err(&refused)?];
        let unread = || invalid("time", &line.time, "an hour and an offset like 15:00 UTC-4");
        let (clock, zone) = line.time.split_once(' ').ok_or_else(unread).map_err(&refused)?;
        let draft = EventDraft {
            title: format!("{} – {}", line.home, line.away),
            category: id("category", "football", "football").map_err(&refused)?,
            competition: Some("2026 World Cup".to_owned()),
            stage: Some(if line.group.is_empty() { &line.round } else { &line.group }.clone()),
            description: None,
            starts_at_local: format!("{}T{clock}", line.date),
            time_zone: zone.to_owned(),
            venue: Some(venue.clone()),
            performers,
            currency: "USD".to_owned(),
            prices: zone_prices(prices(&line.round)).map_err(&refused)?,
            seating: Some(Seating::Bowl(*capacity)),
            best_only_until: None,
        };
        if !gathered.event(event_id.clone(), draft).map_err(&refused)? {
            let (file, line) = (matches.name.clone(), at + 2);
            return Err(ImportError::Twice { file, line, id: event_id });
        }
    }
    Ok(gathered.items)
}

/// The fixtures of leagues. They have neither venue nor seats: they can be found and not sold.
///
/// # Errors
/// The file, the line and what was expected there.
pub fn leagues(fixtures: &List) -> Result<Vec<Item>, ImportError> {
    let columns = "competition, round, date, time, home and away";
    let mut gathered = Gathered::default();
    for (at, line) in fixtures.lines::<FixtureLine>(columns)?.into_iter().enumerate() {
        let refused = fixtures.refuse(at + 2);
        let FixtureLine { competition, round, date, time, home, away } = line;
        let unknown = || invalid("competition", &competition, "a league whose country we know");
        let league = LEAGUES.iter().find(|league| competition.starts_with(league.name));
        let league = league.ok_or_else(unknown).map_err(&refused)?;
        let season = slug(competition[league.name.len()..].trim());
        let ids = [&home, &away].map(|name| gathered.performer(league.country_prefix, name));
        let [first, second] = ids;
        let performers = vec![first.map_err(&refused)?, second.map_err(&refused)?];
        let text = format!("{}-{season}-{}-{}", league.id, slug(&home), slug(&away));
        let mut event_id: EventId = id("home", &cut(&text), &home).map_err(&refused)?;
        // Where teams meet twice at the same place in a season, the later one has its round.
        if gathered.events.contains(&event_id) {
            let text = format!("{}-{}", cut_to(&text, 48), slug(&round));
            event_id = id("round", &cut(&text), &round).map_err(&refused)?;
        }
        let hour = if time.is_empty() { String::new() } else { format!("T{time:0>5}") };
        let draft = EventDraft {
            title: format!("{home} – {away}"),
            category: id("category", "football", "football").map_err(&refused)?,
            competition: Some(competition),
            stage: (!round.trim().is_empty()).then_some(round),
            description: None,
            starts_at_local: format!("{date}{hour}"),
            time_zone: league.time_zone.to_owned(),
            venue: None,
            performers,
            currency: league.currency.to_owned(),
            prices: Vec::new(),
            seating: None,
            best_only_until: None,
        };
        if !gathered.event(event_id.clone(), draft).map_err(&refused)? {
            let (file, line) = (fixtures.name.clone(), at + 2);
            return Err(ImportError::Twice { file, line, id: event_id });
        }
    }
    Ok(gathered.items)
}

/// What the list of fixtures does not say of a league.
struct League {
    name: &'static str,
    id: &'static str,
    country_prefix: &'static str,
    time_zone: &'static str,
    currency: &'static str,
}

/// By name; a name that begins like another one comes first if it is longer.
#[rustfmt::skip] // reads in columns
const LEAGUES: [League; 20] = [
    league("Österr. Bundesliga",       "at1", "at-", "Europe/Vienna",    "EUR"),
    league("Österr. 2. Liga",          "at2", "at-", "Europe/Vienna",    "EUR"),
    league("Belgium First Division A", "be1", "be-", "Europe/Brussels",  "EUR"),
    league("Deutsche Bundesliga",      "de1", "de-", "Europe/Berlin",    "EUR"),
    league("Deutsche 2. Bundesliga",   "de2", "de-", "Europe/Berlin",    "EUR"),
    league("English Premier League",   "en1", "en-", "Europe/London",    "GBP"),
    league("English Championship",     "en2", "en-", "Europe/London",    "GBP"),
    league("English League One",       "en3", "en-", "Europe/London",    "GBP"),
    league("English League Two",       "en4", "en-", "Europe/London",    "GBP"),
    league("Spain Primera División",   "es1", "es-", "Europe/Madrid",    "EUR"),
    league("Spain Segunda División",   "es2", "es-", "Europe/Madrid",    "EUR"),
    league("French Ligue 1",           "fr1", "fr-", "Europe/Paris",     "EUR"),
    league("French Ligue 2",           "fr2", "fr-", "Europe/Paris",     "EUR"),
    league("Greek Super League",       "gr1", "gr-", "Europe/Athens",    "EUR"),
    league("Italian Serie A",          "it1", "it-", "Europe/Rome",      "EUR"),
    league("Italian Serie B",          "it2", "it-", "Europe/Rome",      "EUR"),
    league("Netherlands Eredivisie",   "nl1", "nl-", "Europe/Amsterdam", "EUR"),
    league("Portuguese Primeira Liga", "pt1", "pt-", "Europe/Lisbon",    "EUR"),
    league("Scottish Premiership",     "sc1", "sc-", "Europe/London",    "GBP"),
    league("Turkish Süper Lig",        "tr1", "tr-", "Europe/Istanbul",  "TRY"),
];

const fn league(
    name: &'static str,
    id: &'static str,
    country_prefix: &'static str,
    time_zone: &'static str,
    currency: &'static str,
) -> League {
    League { name, id, country_prefix, time_zone, currency }
}

fn zone_prices(prices: [u64; 4]) -> Result<Vec<ZonePrice>, Invalid> {
    let priced = Category::ALL.iter().zip(prices);
    let priced = priced
        .map(|(zone, amount)| Ok(ZonePrice { zone: id("zone", zone.id(), zone.id())?, amount }));
    priced.collect()
}

fn match_id(number: usize, line: &MatchLine) -> Result<EventId, Invalid> {
    let (home, away) = (slug(&line.home), slug(&line.away));
    let text = match (line.group.as_str(), line.round.as_str()) {
        ("", "Final") => "wc2026-final".to_owned(),
        ("", "Match for third place") => "wc2026-third-place".to_owned(),
        ("", round) => format!("wc2026-{}-m{number:03}-{home}-{away}", slug(round)),
        _ => format!("wc2026-m{number:03}-{home}-{away}"),
    };
    id("home", &cut(&text), &line.home)
}

fn invalid(field: &'static str, found: &str, expected: &'static str) -> Invalid {
    Invalid { field, found: found.chars().take(80).collect(), expected }
}

fn id<T: std::str::FromStr>(field: &'static str, slug: &str, found: &str) -> Result<T, Invalid> {
    slug.parse().map_err(|_| invalid(field, found, "names that fit into an id"))
}

/// An id has at most 64 characters.
fn cut(text: &str) -> String {
    cut_to(text, 64)
}

fn cut_to(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect::<String>().trim_end_matches('-').to_owned()
}

/// Lower case, accents folded, everything else a single hyphen.
#[must_use]
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.nfd().flat_map(char::to_lowercase) {
        let folded = match letter {
            'a'..='z' | '0'..='9' => letter,
            'ø' => 'o',
            'ı' => 'i',
            'ł' => 'l',
            'ß' => 's',
            _ if unicode_normalization::char::is_combining_mark(letter) => continue,
            _ if slug.ends_with('-') || slug.is_empty() => continue,
            _ => '-',
        };
        slug.push(folded);
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::EventFacts;
    use crate::venue::Venue;

    fn events(items: &[Item]) -> Vec<(&EventId, &EventFacts)> {
        let events = items.iter().filter_map(|item| match item {
            Item::Event { id, facts } => Some((id, &**facts)),
            Item::Venue { .. } | Item::Performer { .. } => None,
        });
        events.collect()
    }

    #[test]
    fn all_104_matches_are_listed_and_the_final_is_the_last() {
        let items = items(&Sources::default()).unwrap();
        let events = events(&items);
        assert_eq!(events.len(), 104);
        let (id, last) = events[103];
        assert_eq!(id.as_str(), "wc2026-final");
        assert_eq!(
            (last.title.as_str(), last.stage.as_deref()),
            ("Spain – Argentina", Some("Final"))
        );
        assert_eq!(last.venue.as_ref().unwrap().as_str(), "metlife-stadium");
        assert_eq!(last.seating, Some(Seating::Bowl(82_500)));
        assert_eq!(last.price_of("cat1"), Some(673_000));
        assert_eq!(last.starts_at_local, "2026-07-19T15:00:00-04:00");
        let ids: Vec<_> = events.iter().map(|(id, _)| id.to_string()).collect();
        for expected in [
            "wc2026-m001-mexico-south-africa",
            "wc2026-third-place",
            "wc2026-semi-final-m101-france-spain",
        ] {
            assert!(ids.iter().any(|id| id == expected), "{expected} is not in {ids:#?}");
        }
        assert!(ids.iter().any(|id| id.ends_with("-germany-curacao")), "{ids:#?}");
    }

    #[test]
    fn every_stadium_adds_up_to_its_capacity() {
        let items = items(&Sources::default()).unwrap();
        let venues = items.iter().filter_map(|item| match item {
            Item::Venue { facts, .. } => facts.capacity,
            Item::Performer { .. } | Item::Event { .. } => None,
        });
        let venues: Vec<_> = venues.collect();
        assert_eq!(venues.len(), 16);
        for capacity in venues {
            assert_eq!(Venue::bowl(capacity).unwrap().seats, capacity);
        }
    }

    #[test]
    fn all_6784_fixtures_are_listed_each_under_an_id_of_its_own() {
        let items = built_in_leagues().unwrap();
        let events = events(&items);
        assert_eq!(events.len(), 6_784);
        let find = |id: &str| events.iter().find(|(known, _)| known.as_str() == id).unwrap().1;
        let first = find("at1-2025-26-lask-sturm-graz");
        assert_eq!(first.starts_at_local, "2025-08-01T19:30:00+02:00");
        assert_eq!((first.stage.as_deref(), &first.venue), (Some("1. Round"), &None));
        let unknown_hour = events.iter().filter(|(_, event)| !event.is_hour_known);
        assert!(unknown_hour.count() > 1_000, "many kick-offs are not fixed yet");
        let teams = items.iter().filter(|item| matches!(item, Item::Performer { .. }));
        assert!(teams.count() > 350);
    }

    #[test]
    fn names_are_folded_into_slugs() {
        for (name, expected) in [
            ("Beşiktaş İstanbul JK", "besiktas-istanbul-jk"),
            ("1. FC Köln", "1-fc-koln"),
            ("Bodø/Glimt", "bodo-glimt"),
            ("  Levi's Stadium ", "levi-s-stadium"),
            ("Curaçao", "curacao"),
        ] {
            assert_eq!(slug(name), expected);
        }
    }

    #[test]
    fn a_line_that_does_not_fit_is_named() {
        let stadiums = List { name: "s.csv".into(), text: STADIUMS.into() };
        let heading = "round,group,date,time,home,away,city\n";
        for (line, expected) in [
            ("Final,,2026-02-30,15:00 UTC-4,A,B,Toronto", "starts_at_local"),
            ("Final,,2026-07-19,15:00,A,B,Toronto", "time"),
            ("Final,,2026-07-19,15:00 UTC-400,A,B,Toronto", "time_zone"),
            ("Final,,2026-07-19,15:00 UTC-4,A,B,Atlantis", "city"),
            ("Group,,2026-07-19,15:00 UTC-4,,B,Toronto", "home"),
        ] {
            let matches = List { name: "m.csv".into(), text: format!("{heading}{line}\n") };
            let error = world_cup(&matches, &stadiums).unwrap_err();
            let ImportError::Line { line: 2, source, .. } = error else { panic!("{error}") };
            assert_eq!(source.field, expected, "{line}");
        }
        let twice = format!("{heading}Final,,2026-07-19,15:00 UTC-4,A,B,Toronto\n").repeat(1)
            + "Final,,2026-07-19,15:00 UTC-4,A,B,Toronto\n";
        let matches = List { name: "m.csv".into(), text: twice };
        let error = world_cup(&matches, &stadiums).unwrap_err();
        assert!(matches!(error, ImportError::Twice { line: 3, .. }), "{error}");
    }
}
