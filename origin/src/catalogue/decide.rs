//! May the catalogue be changed like this, and what is written down if so?

use std::collections::{BTreeMap, BTreeSet};

use keys::{EventId, Slug, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::facts::{EventFacts, PerformerFacts, Seating, VenueFacts};
use super::state::{Change, Origin, State, Status};
use crate::venue::{Category, hex};

/// What the asker has seen of the thing that is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// That it is not there.
    Absent,
    /// This version of it.
    Version(u64),
}

/// One thing to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Item {
    /// A venue.
    Venue {
        /// Its id.
        id: Slug,
        /// What is known of it.
        #[serde(flatten)]
        facts: VenueFacts,
    },
    /// A performer.
    Performer {
        /// Its id.
        id: Slug,
        /// What is known of it.
        #[serde(flatten)]
        facts: PerformerFacts,
    },
    /// An event.
    Event {
        /// Its id.
        id: EventId,
        /// What is known of it.
        #[serde(flatten)]
        facts: Box<EventFacts>,
    },
}

/// What the seats of a map are, for an event that wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMap {
    /// Hash of its content.
    pub hash: String,
    /// Its zones.
    pub zones: Vec<String>,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make or change a venue.
    SetVenue {
        /// Which.
        id: Slug,
        /// What is known of it.
        facts: VenueFacts,
        /// What the asker has seen.
        expect: Expect,
    },
    /// Make or change a performer.
    SetPerformer {
        /// Which.
        id: Slug,
        /// What is known of it.
        facts: PerformerFacts,
        /// What the asker has seen.
        expect: Expect,
    },
    /// Make or change an event.
    SetEvent {
        /// Which.
        id: EventId,
        /// What is known of it.
        facts: Box<EventFacts>,
        /// What the asker has seen.
        expect: Expect,
        /// Its seat map, if it has one and it is there.
        map: Option<KnownMap>,
    },
    /// Put an event on sale, take it off, schedule or cancel it.
    SetStatus {
        /// Which.
        id: EventId,
        /// What it is to be.
        status: Status,
        /// What the asker has seen; nothing if it is a timer.
        expect: Option<u64>,
    },
    /// Put those on sale that never were, because the configuration says so.
    Begin(Vec<EventId>),
    /// Put those on sale whose time has come.
    OpenDue,
    /// Take in what is new or changed and was not changed by a person.
    Import(Vec<Item>),
    /// Write down what was done to an event's seats.
    Note {
        /// To which event.
        event: EventId,
        /// What.
        action: &'static str,
        /// With what.
        detail: String,
    },
}

/// What became of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// New ones.
    pub added: u32,
    /// Changed ones.
    pub changed: u32,
    /// Those that were there like this.
    pub unchanged: u32,
    /// Those that a person has changed, or whose sale forbids the change, and that were left alone.
    pub kept: u32,
}

impl std::ops::AddAssign for Imported {
    fn add_assign(&mut self, more: Self) {
        self.added += more.added;
        self.changed += more.changed;
        self.unchanged += more.unchanged;
        self.kept += more.kept;
    }
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such event.
    #[error("there is no event {0}")]
    UnknownEvent(EventId),
    /// There is no such venue.
    #[error("there is no venue {0}")]
    UnknownVenue(Slug),
    /// There is no such performer.
    #[error("there is no performer {0}")]
    UnknownPerformer(Slug),
    /// There is no such seat map.
    #[error("there is no seat map {0}")]
    UnknownMap(String),
    /// It is there already.
    #[error("{0} is there already")]
    Exists(String),
    /// It was changed since the asker has seen it.
    #[error("{id} has version {version}")]
    VersionMismatch {
        /// What.
        id: String,
        /// Its version.
        version: u64,
    },
    /// It was on sale, and that is fixed since then.
    #[error("{event} was on sale, its {what} cannot change")]
    SaleBegan {
        /// Which event.
        event: EventId,
        /// What was to change.
        what: &'static str,
    },
    /// Something is missing for a sale.
    #[error("{event} cannot be sold: {missing}")]
    NotSellable {
        /// Which event.
        event: EventId,
        /// What is missing.
        missing: String,
    },
    /// It was cancelled, and stays so.
    #[error("{0} was cancelled")]
    Cancelled(EventId),
    /// A time that is over.
    #[error("opens_at is over, expected a time to come")]
    OpensInThePast,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is so now.
    Set {
        /// Whether it is new.
        is_new: bool,
    },
    /// What became of an import.
    Imported(Imported),
}

/// Decides one command.
///
/// # Errors
/// Why nothing changes.
pub fn decide(
    state: &State,
    command: &Command,
    now: Timestamp,
) -> Result<(Vec<Change>, Reply), Refusal> {
    let set = |is_new| Reply::Set { is_new };
    match command {
        Command::SetVenue { id, facts, expect } => {
            let version = state.venue(id).map(|known| known.version);
            let is_new =
                check(id.as_str(), version, *expect, || Refusal::UnknownVenue(id.clone()))?;
            let (venue, facts) = (id.clone(), facts.clone());
            Ok((vec![Change::VenueSet { venue, facts, imported: None }], set(is_new)))
        }
        Command::SetPerformer { id, facts, expect } => {
            let version = state.performer(id).map(|known| known.version);
            let unknown = || Refusal::UnknownPerformer(id.clone());
            let is_new = check(id.as_str(), version, *expect, unknown)?;
            let (performer, facts) = (id.clone(), facts.clone());
            Ok((vec![Change::PerformerSet { performer, facts, imported: None }], set(is_new)))
        }
        Command::SetEvent { id, facts, expect, map } => {
            let known = state.event(id);
            let version = known.map(|known| known.version);
            let is_new =
                check(id.as_str(), version, *expect, || Refusal::UnknownEvent(id.clone()))?;
            if let Some(known) = known {
                if known.status == Status::Cancelled {
                    return Err(Refusal::Cancelled(id.clone()));
                }
                if let Some(what) = fixed(&known.facts, facts).filter(|_| known.has_begun) {
                    return Err(Refusal::SaleBegan { event: id.clone(), what });
                }
            }
            if let Some(venue) = facts.venue.as_ref().filter(|id| state.venue(id).is_none()) {
                return Err(Refusal::UnknownVenue(venue.clone()));
            }
            let is_missing = |id: &&Slug| state.performer(id).is_none();
            if let Some(performer) = facts.performers.iter().find(is_missing) {
                return Err(Refusal::UnknownPerformer(performer.clone()));
            }
            check_prices(id, facts, map.as_ref())?;
            let (event, facts) = (id.clone(), facts.clone());
            Ok((vec![Change::EventSet { event, facts, imported: None }], set(is_new)))
        }
        Command::SetStatus { id, status, expect } => {
            let changes = decide_status(state, id, *status, *expect, now)?;
            Ok((changes, set(false)))
        }
        Command::Begin(ids) => {
            let mut changes = Vec::new();
            for id in ids {
                let known = state.event(id).ok_or_else(|| Refusal::UnknownEvent(id.clone()))?;
                if known.status == Status::Announced && !known.has_begun {
                    changes.extend(decide_status(state, id, Status::OnSale, None, now)?);
                }
            }
            Ok((changes, set(false)))
        }
        Command::OpenDue => {
            let due = state.due(now).cloned();
            let open = |event| Change::StatusSet { event, status: Status::OnSale };
            Ok((due.map(open).collect(), set(false)))
        }
        Command::Import(items) => {
            let (changes, imported) = decide_import(state, items)?;
            Ok((changes, Reply::Imported(imported)))
        }
        Command::Note { event, action, detail } => {
            if state.event(event).is_none() {
                return Err(Refusal::UnknownEvent(event.clone()));
            }
            let (event, action, detail) = (event.clone(), (*action).to_owned(), detail.clone());
            Ok((vec![Change::Noted { event, action, detail }], set(false)))
        }
    }
}

/// Whether it is new, if the asker has seen what is there.
fn check(
    id: &str,
    version: Option<u64>,
    expect: Expect,
    unknown: impl Fn() -> Refusal,
) -> Result<bool, Refusal> {
    match (version, expect) {
        (None, Expect::Absent) => Ok(true),
        (Some(version), Expect::Version(seen)) if version == seen => Ok(false),
        (Some(version), Expect::Version(_)) => {
            Err(Refusal::VersionMismatch { id: id.to_owned(), version })
        }
        (Some(_), Expect::Absent) => Err(Refusal::Exists(id.to_owned())),
        (None, Expect::Version(_)) => Err(unknown()),
    }
}

/// What may not change once tickets were sold, and would.
fn fixed(old: &EventFacts, new: &EventFacts) -> Option<&'static str> {
    if old.seating != new.seating {
        Some("seating")
    } else if old.prices != new.prices {
        Some("prices")
    } else if old.currency != new.currency {
        Some("currency")
    } else {
        None
    }
}

/// Every zone that has seats has a price, and every price a zone.
fn check_prices(id: &EventId, facts: &EventFacts, map: Option<&KnownMap>) -> Result<(), Refusal> {
    let zones: Vec<&str> = match (&facts.seating, map) {
        (None, _) => return Ok(()),
        (Some(Seating::Bowl(_)), _) => Category::ALL.iter().map(|zone| zone.id()).collect(),
        (Some(Seating::Map(hash)), Some(map)) if map.hash == *hash => {
            map.zones.iter().map(String::as_str).collect()
        }
        (Some(Seating::Map(hash)), _) => return Err(Refusal::UnknownMap(hash.clone())),
    };
    let refuse = |missing: String| Err(Refusal::NotSellable { event: id.clone(), missing });
    if let Some(zone) = zones.iter().find(|zone| facts.price_of(zone).is_none()) {
        return refuse(format!("zone {zone} of its seats has no price"));
    }
    let strange = facts.prices.iter().find(|price| !zones.contains(&price.zone.as_str()));
    match strange {
        Some(price) => refuse(format!("zone {} has a price and no seats", price.zone)),
        None => Ok(()),
    }
}

fn decide_status(
    state: &State,
    id: &EventId,
    status: Status,
    expect: Option<u64>,
    now: Timestamp,
) -> Result<Vec<Change>, Refusal> {
    let known = state.event(id).ok_or_else(|| Refusal::UnknownEvent(id.clone()))?;
    if expect.is_some_and(|seen| seen != known.version) {
        return Err(Refusal::VersionMismatch { id: id.to_string(), version: known.version });
    }
    if known.status == status {
        return Ok(Vec::new());
    }
    if known.status == Status::Cancelled {
        return Err(Refusal::Cancelled(id.clone()));
    }
    let not_sellable = |missing: &str| {
        Err(Refusal::NotSellable { event: id.clone(), missing: missing.to_owned() })
    };
    match status {
        Status::OnSale | Status::Scheduled { .. } if known.facts.seating.is_none() => {
            return not_sellable("it has no seats");
        }
        Status::OnSale | Status::Scheduled { .. } if known.facts.venue.is_none() => {
            return not_sellable("it has no venue");
        }
        Status::Scheduled { opens_at } if opens_at <= now => return Err(Refusal::OpensInThePast),
        Status::Announced if known.has_begun => {
            return Err(Refusal::SaleBegan { event: id.clone(), what: "announcement" });
        }
        Status::Announced
        | Status::Scheduled { .. }
        | Status::OnSale
        | Status::OffSale
        | Status::Cancelled => {}
    }
    Ok(vec![Change::StatusSet { event: id.clone(), status }])
}

/// What is to become of one item.
enum Fate {
    Add,
    Change,
    Leave,
    Keep,
}

fn fate(origin: Option<&Origin>, digest: &str) -> Fate {
    match origin {
        None => Fate::Add,
        Some(origin) if origin.imported.as_deref() == Some(digest) => Fate::Leave,
        Some(origin) if origin.is_by_hand => Fate::Keep,
        Some(_) => Fate::Change,
    }
}

fn decide_import(state: &State, items: &[Item]) -> Result<(Vec<Change>, Imported), Refusal> {
    let mut changes = Vec::new();
    let mut imported = Imported::default();
    let (mut venues, mut performers) = (BTreeSet::new(), BTreeSet::new());
    // Of two with one id in one import the first counts.
    let mut seen: BTreeMap<(u8, &str), ()> = BTreeMap::new();
    for item in items {
        let digest = digest(item);
        let (kind, id, origin) = match item {
            Item::Venue { id, .. } => (0, id.as_str(), state.venue(id).map(|v| &v.origin)),
            Item::Performer { id, .. } => (1, id.as_str(), state.performer(id).map(|p| &p.origin)),
            Item::Event { id, .. } => (2, id.as_str(), state.event(id).map(|e| &e.origin)),
        };
        if seen.insert((kind, id), ()).is_some() {
            return Err(Refusal::Exists(id.to_owned()));
        }
        let mut fate = fate(origin, &digest);
        if let (Item::Event { id, facts }, Fate::Change) = (item, &fate) {
            let is_fixed = |known: &super::Event| {
                known.status == Status::Cancelled
                    || (known.has_begun && fixed(&known.facts, facts).is_some())
            };
            if state.event(id).is_some_and(|known| is_fixed(known)) {
                fate = Fate::Keep;
            }
        }
        match fate {
            Fate::Leave => imported.unchanged += 1,
            Fate::Keep => imported.kept += 1,
            Fate::Add => imported.added += 1,
            Fate::Change => imported.changed += 1,
        }
        if matches!(fate, Fate::Leave | Fate::Keep) {
            continue;
        }
        let imported = Some(digest);
        changes.push(match item {
            Item::Venue { id, facts } => {
                venues.insert(id);
                Change::VenueSet { venue: id.clone(), facts: facts.clone(), imported }
            }
            Item::Performer { id, facts } => {
                performers.insert(id);
                Change::PerformerSet { performer: id.clone(), facts: facts.clone(), imported }
            }
            Item::Event { id, facts } => {
                let is_venue = |id: &Slug| state.venue(id).is_some() || venues.contains(id);
                if let Some(venue) = facts.venue.as_ref().filter(|id| !is_venue(id)) {
                    return Err(Refusal::UnknownVenue(venue.clone()));
                }
                let is_known = |id: &Slug| state.performer(id).is_some() || performers.contains(id);
                if let Some(performer) = facts.performers.iter().find(|id| !is_known(id)) {
                    return Err(Refusal::UnknownPerformer(performer.clone()));
                }
                check_prices(id, facts, None)?;
                Change::EventSet { event: id.clone(), facts: facts.clone(), imported }
            }
        });
    }
    Ok((changes, imported))
}

fn digest(item: &Item) -> String {
    // Facts are strings and numbers: they can always be written, and always alike.
    let text = serde_json::to_vec(item).unwrap_or_default();
    hex(&Sha256::digest(text)[..16])
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
