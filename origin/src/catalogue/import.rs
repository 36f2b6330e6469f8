//! Reads matches and stadiums as openfootball lists them.
//!
//! Kick-offs carry their UTC offset, so no time zone database is needed. A match's number is its
//! line in the file: it is part of the event's id and must not change once tickets were sold.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use keys::{EventId, Timestamp};
use serde::Deserialize;

use super::prices::prices;
use super::{Event, Stadium, Status};

const MATCHES: &str = include_str!("../../../config/samples/world-cup-2026-matches.csv");
const STADIUMS: &str = include_str!("../../../config/samples/world-cup-2026-stadiums.csv");

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where the lists come from; `None` is the list that is built in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Matches.
    pub matches: Option<PathBuf>,
    /// Stadiums.
    pub stadiums: Option<PathBuf>,
}

/// Why the lists were refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file cannot be read.
    #[error("{file} cannot be read")]
    Io {
        /// Which.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not what was expected.
    #[error("{file}, line {line}: {key} is {found:?}, expected {expected}")]
    Field {
        /// Which file.
        file: String,
        /// Which line, the heading being the first.
        line: usize,
        /// Which column.
        key: &'static str,
        /// What is there.
        found: String,
        /// What was expected.
        expected: &'static str,
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
    /// An event that is to be on sale is not listed.
    #[error("catalogue.on_sale has {event}, expected the id of a match in {file}")]
    NotListed {
        /// Which event.
        event: EventId,
        /// In which file.
        file: String,
    },
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
    capacity: String,
}

/// All events, in the order of the file.
pub fn events(sources: &Sources, on_sale: &[EventId]) -> Result<Vec<Event>, CatalogueError> {
    let (stadiums_file, stadiums) = text(sources.stadiums.as_ref(), "built-in stadiums", STADIUMS)?;
    let lines: Vec<StadiumLine> =
        parse(&stadiums_file, &stadiums, "name, city, country and capacity")?;
    let stadiums =
        lines.into_iter().enumerate().map(|(at, line)| stadium(&stadiums_file, at + 2, line));
    let stadiums: Vec<Stadium> = stadiums.collect::<Result<_, _>>()?;
    let (file, matches) = text(sources.matches.as_ref(), "built-in matches", MATCHES)?;
    let lines: Vec<MatchLine> =
        parse(&file, &matches, "round, group, date, time, home, away and city")?;
    let mut events = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        let event = event(&file, at, &line, &stadiums, on_sale)?;
        if events.iter().any(|known: &Event| known.id == event.id) {
            let refused = refuse(&file, at + 2, "round", event.id.as_str());
            return Err(refused("one match for an id of its own"));
        }
        events.push(event);
    }
    let is_listed = |id: &&EventId| !events.iter().any(|event| event.id == **id);
    match on_sale.iter().find(is_listed) {
        Some(event) => Err(CatalogueError::NotListed { event: event.clone(), file }),
        None => Ok(events),
    }
}

fn text(
    path: Option<&PathBuf>,
    name: &str,
    built_in: &str,
) -> Result<(String, String), CatalogueError> {
    let Some(path) = path else { return Ok((name.to_owned(), built_in.to_owned())) };
    let file = path.display().to_string();
    let io = |source| CatalogueError::Io { file: file.clone(), source };
    if fs::metadata(path).map_err(io)?.len() > FILE_BYTES_MAX {
        return Err(io(std::io::Error::other("the file is longer than 16 MiB")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    Ok((file, text))
}

fn parse<T: serde::de::DeserializeOwned>(
    file: &str,
    text: &str,
    columns: &'static str,
) -> Result<Vec<T>, CatalogueError> {
    let lines: Result<Vec<T>, csv::Error> =
        csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
    lines.map_err(|source| CatalogueError::Csv { file: file.to_owned(), columns, source })
}

fn refuse<'a>(
    file: &'a str,
    line: usize,
    key: &'static str,
    found: &'a str,
) -> impl Fn(&'static str) -> CatalogueError + 'a {
    move |expected| CatalogueError::Field {
        file: file.to_owned(),
        line,
        key,
        found: found.chars().take(80).collect(),
        expected,
    }
}

fn stadium(file: &str, at: usize, line: StadiumLine) -> Result<Stadium, CatalogueError> {
    let refused = refuse(file, at, "capacity", &line.capacity);
    let capacity = line.capacity.parse().map_err(|_| refused("a number of seats"))?;
    Ok(Stadium { name: line.name, city: line.city, country: line.country, capacity })
}

fn event(
    file: &str,
    at: usize,
    line: &MatchLine,
    stadiums: &[Stadium],
    on_sale: &[EventId],
) -> Result<Event, CatalogueError> {
    let number = at + 1;
    let refused = |key, found| refuse(file, at + 2, key, found);
    let slug = event_slug(number, line);
    let id: EventId =
        slug.parse().map_err(|_| refused("home", &line.home)("names that fit into an event id"))?;
    let stadium = stadiums.iter().find(|stadium| stadium.city == line.city);
    let stadium = stadium.ok_or_else(|| refused("city", &line.city)("the city of a stadium"))?;
    let (starts_at, starts_at_local) = kick_off(&line.date, &line.time)
        .ok_or_else(|| refused("time", &line.time)("15:00 UTC-4, and a date like 2026-07-19"))?;
    let stage = if line.group.is_empty() { &line.round } else { &line.group };
    let status = if on_sale.contains(&id) { Status::OnSale } else { Status::Announced };
    Ok(Event {
        id,
        title: format!("{} – {}", line.home, line.away),
        stage: stage.clone(),
        starts_at,
        starts_at_local,
        stadium: stadium.clone(),
        status,
        prices: prices(&line.round),
    })
}

fn event_slug(number: usize, line: &MatchLine) -> String {
    let (home, away) = (slug(&line.home), slug(&line.away));
    match (line.group.as_str(), line.round.as_str()) {
        ("", "Final") => "wc2026-final".to_owned(),
        ("", "Match for third place") => "wc2026-third-place".to_owned(),
        ("", round) => cut(format!("wc2026-{}-m{number:03}-{home}-{away}", slug(round))),
        _ => cut(format!("wc2026-m{number:03}-{home}-{away}")),
    }
}

/// An event id has at most 64 characters; the number keeps it unique.
fn cut(text: String) -> String {
    text.chars().take(64).collect::<String>().trim_end_matches('-').to_owned()
}

/// Lower case, accents folded, everything else a single hyphen.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars().flat_map(char::to_lowercase) {
        let folded = match letter {
            'a'..='z' | '0'..='9' => letter,
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => 'a',
            'ç' => 'c',
            'è' | 'é' | 'ê' | 'ë' => 'e',
            'ì' | 'í' | 'î' | 'ï' => 'i',
            'ñ' => 'n',
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' => 'o',
            'ù' | 'ú' | 'û' | 'ü' => 'u',
            _ if slug.ends_with('-') || slug.is_empty() => continue,
            _ => '-',
        };
        slug.push(folded);
    }
    slug.trim_end_matches('-').to_owned()
}

/// `2026-07-19` and `15:00 UTC-4`: the moment, and the same as RFC 3339 with its offset.
fn kick_off(date: &str, time: &str) -> Option<(Timestamp, String)> {
    let (clock, zone) = time.split_once(' ')?;
    let hours: i8 = zone.strip_prefix("UTC")?.parse().ok()?;
    let local: DateTime = format!("{date}T{clock}:00").parse().ok()?;
    let offset = Offset::from_hours(hours).ok()?;
    let at: Instant = offset.to_timestamp(local).ok()?;
    let millis = u64::try_from(at.as_millisecond()).ok()?;
    let local =
        format!("{date}T{clock}:00{}{:02}:00", if hours < 0 { '-' } else { '+' }, hours.abs());
    Some((Timestamp::from_millis(millis), local))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Venue;

    fn sample() -> Vec<Event> {
        events(&Sources::default(), &["wc2026-final".parse().unwrap()]).unwrap()
    }

    #[test]
    fn all_104_matches_are_listed_and_the_final_is_the_last() {
        let events = sample();
        assert_eq!(events.len(), 104);
        let last = &events[103];
        assert_eq!(last.id.as_str(), "wc2026-final");
        assert_eq!((last.title.as_str(), last.stage.as_str()), ("Spain – Argentina", "Final"));
        assert_eq!(last.stadium.name, "MetLife Stadium");
        assert_eq!(last.stadium.capacity, 82_500);
        assert_eq!(last.status, Status::OnSale);
        assert_eq!(last.starts_at, Timestamp::from_secs(1_784_487_600)); // 19:00 UTC
        assert_eq!(last.starts_at_local, "2026-07-19T15:00:00-04:00");
        assert_eq!(events.iter().filter(|event| event.status == Status::OnSale).count(), 1);
    }

    #[test]
    fn ids_tell_the_match() {
        let ids: Vec<_> = sample().into_iter().map(|event| event.id.to_string()).collect();
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
        let mut stadiums: Vec<_> = sample().into_iter().map(|event| event.stadium).collect();
        stadiums.sort_by(|a, b| a.name.cmp(&b.name));
        stadiums.dedup();
        assert_eq!(stadiums.len(), 16);
        for stadium in stadiums {
            assert_eq!(Venue::bowl(stadium.capacity).unwrap().seats, stadium.capacity);
        }
    }

    #[test]
    fn a_kick_off_that_does_not_exist_is_refused() {
        assert!(kick_off("2026-02-30", "15:00 UTC-4").is_none());
        assert!(kick_off("2026-07-19", "25:00 UTC-4").is_none());
        assert!(kick_off("2026-07-19", "15:00").is_none());
        assert!(kick_off("2026-07-19", "15:00 UTC-400").is_none());
    }
}
