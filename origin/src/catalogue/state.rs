//! Events, venues and performers as the log adds them up.
//!
//! The log holds decided [`Change`]s with who made them and when; [`State::evolve`] carries them
//! out, and a start is nothing but all of them in order. Events are never removed, so each has an
//! *ordinal*, its place in the order in which they came, by which others keep lists of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keys::{EventId, Slug, Timestamp};
use serde::{Deserialize, Serialize};

use super::facts::{EventFacts, PerformerFacts, VenueFacts};
use crate::record::{FIRST_LINK, Link};

/// Whether tickets can be bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Not yet.
    Announced,
    /// From a known time on.
    Scheduled {
        /// When.
        opens_at: Timestamp,
    },
    /// Yes, behind the waiting room.
    OnSale,
    /// No more, or not now.
    OffSale,
    /// It does not take place.
    Cancelled,
}

impl Status {
    /// The name in the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Scheduled { .. } => "scheduled",
            Self::OnSale => "on_sale",
            Self::OffSale => "off_sale",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What changed, and all that the state is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A venue is new or was changed.
    VenueSet {
        /// Which.
        venue: Slug,
        /// What is known of it.
        facts: VenueFacts,
        /// Digest of what was imported; absent if a person did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        imported: Option<String>,
    },
    /// A performer is new or was changed.
    PerformerSet {
        /// Which.
        performer: Slug,
        /// What is known of it.
        facts: PerformerFacts,
        /// Digest of what was imported; absent if a person did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        imported: Option<String>,
    },
    /// An event is new or was changed.
    EventSet {
        /// Which.
        event: EventId,
        /// What is known of it.
        facts: Box<EventFacts>,
        /// Digest of what was imported; absent if a person did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        imported: Option<String>,
    },
    /// An event was put on sale, taken off, scheduled or cancelled.
    StatusSet {
        /// Which.
        event: EventId,
        /// What it is now.
        #[serde(flatten)]
        status: Status,
    },
    /// Somebody did something to an event's seats, which its own log tells in full.
    Noted {
        /// To which event.
        event: EventId,
        /// What.
        action: String,
        /// With what.
        detail: String,
    },
}

/// A change and who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The organiser, or what in us did it.
    pub by: String,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

/// How something came here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Digest of what was imported last.
    pub imported: Option<String>,
    /// Whether a person has changed it; an import leaves it alone then.
    pub is_by_hand: bool,
}

impl Origin {
    fn follow(&self, imported: Option<&String>) -> Self {
        match imported {
            Some(digest) => Self { imported: Some(digest.clone()), is_by_hand: self.is_by_hand },
            None => Self { imported: self.imported.clone(), is_by_hand: true },
        }
    }
}

/// A venue of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueRecord {
    /// Its id.
    pub id: Slug,
    /// What is known of it.
    pub facts: VenueFacts,
    /// Log sequence after its last change.
    pub version: u64,
    /// How it came here.
    pub origin: Origin,
}

/// A performer of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerformerRecord {
    /// Its id.
    pub id: Slug,
    /// What is known of it.
    pub facts: PerformerFacts,
    /// Log sequence after its last change.
    pub version: u64,
    /// How it came here.
    pub origin: Origin,
}

/// An event of the catalogue, with all that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its place in the order in which events came.
    pub ordinal: u32,
    /// What is known of it.
    pub facts: EventFacts,
    /// Where it takes place.
    pub venue: Option<Arc<VenueRecord>>,
    /// Who performs.
    pub performers: Vec<Arc<PerformerRecord>>,
    /// Whether tickets can be bought.
    pub status: Status,
    /// Whether it was ever on sale: from then on its seats are what they are.
    pub has_begun: bool,
    /// Log sequence after its last change.
    pub version: u64,
    /// Log sequence after the last change of it or of what it refers to.
    pub touched: u64,
    /// How it came here.
    pub origin: Origin,
}

impl Event {
    /// Name of its venue; empty without one, which nothing on sale is.
    #[must_use]
    pub fn venue_name(&self) -> &str {
        self.venue.as_ref().map_or("", |venue| &venue.facts.name)
    }

    /// City of its venue; empty without one, which nothing on sale is.
    #[must_use]
    pub fn city(&self) -> &str {
        self.venue.as_ref().map_or("", |venue| &venue.facts.city)
    }

    /// One sentence about it.
    #[must_use]
    pub fn description(&self) -> String {
        let facts = &self.facts;
        if let Some(description) = &facts.description {
            return description.clone();
        }
        let what = [facts.competition.as_deref(), facts.stage.as_deref()];
        let what = what.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let place = self.venue.as_ref().map(|venue| &venue.facts);
        let place = place.map(|v| format!(" at {}, {}", v.name, v.city)).unwrap_or_default();
        match what.is_empty() {
            true => format!("{}{place}.", facts.title),
            false => format!("{what}: {}{place}.", facts.title),
        }
    }
}

/// A change that does not fit the state: the log and the code disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{change} refers to {id}, which is not there")]
pub struct Misfit {
    /// What was to happen.
    pub change: &'static str,
    /// What is missing.
    pub id: String,
}

/// The catalogue, added up.
#[derive(Debug)]
pub struct State {
    events: BTreeMap<EventId, Arc<Event>>,
    order: Vec<EventId>,
    venues: BTreeMap<Slug, Arc<VenueRecord>>,
    performers: BTreeMap<Slug, Arc<PerformerRecord>>,
    events_by_venue: BTreeMap<Slug, BTreeSet<EventId>>,
    events_by_performer: BTreeMap<Slug, BTreeSet<EventId>>,
    /// Events by their last touch.
    touched: BTreeSet<(u64, u32)>,
    /// Events that are to go on sale by themselves.
    scheduled: BTreeSet<(Timestamp, EventId)>,
    /// Log sequence of the next change.
    seq: u64,
    /// Time of the last change.
    at: Timestamp,
    /// Digests of the log after each record: by them a follower knows that it has followed this
    /// log and no other.
    links: BTreeMap<u64, Link>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            order: Vec::new(),
            venues: BTreeMap::new(),
            performers: BTreeMap::new(),
            events_by_venue: BTreeMap::new(),
            events_by_performer: BTreeMap::new(),
            touched: BTreeSet::new(),
            scheduled: BTreeSet::new(),
            seq: 0,
            at: Timestamp::default(),
            links: BTreeMap::from([(0, FIRST_LINK)]),
        }
    }
}

impl State {
    /// An event.
    #[must_use]
    pub fn event(&self, id: &EventId) -> Option<&Arc<Event>> {
        self.events.get(id)
    }

    /// A venue.
    #[must_use]
    pub fn venue(&self, id: &Slug) -> Option<&Arc<VenueRecord>> {
        self.venues.get(id)
    }

    /// A performer.
    #[must_use]
    pub fn performer(&self, id: &Slug) -> Option<&Arc<PerformerRecord>> {
        self.performers.get(id)
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All events by id, from the one after `after` on.
    pub fn events_after(&self, after: Option<&EventId>) -> impl Iterator<Item = &Arc<Event>> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.events.range::<EventId, _>((from, std::ops::Bound::Unbounded)).map(|(_, event)| event)
    }

    /// Events that were touched at or after log sequence `seq`, in the order of their touch.
    pub fn touched_since(&self, seq: u64) -> impl Iterator<Item = &Arc<Event>> {
        let touched = self.touched.range((seq + 1, 0)..);
        touched.filter_map(|(_, at)| self.events.get(self.order.get(*at as usize)?))
    }

    /// Events of a venue, soonest first.
    #[must_use]
    pub fn events_at(&self, venue: &Slug) -> Vec<&Arc<Event>> {
        self.soonest_first(self.events_by_venue.get(venue))
    }

    /// Events of a performer, soonest first.
    #[must_use]
    pub fn events_of(&self, performer: &Slug) -> Vec<&Arc<Event>> {
        self.soonest_first(self.events_by_performer.get(performer))
    }

    fn soonest_first(&self, ids: Option<&BTreeSet<EventId>>) -> Vec<&Arc<Event>> {
        let ids = ids.into_iter().flatten();
        let mut events: Vec<_> = ids.filter_map(|id| self.events.get(id)).collect();
        events.sort_by_key(|event| (event.facts.starts_at, event.ordinal));
        events
    }

    /// Events whose time to go on sale has come.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &EventId> {
        self.scheduled.iter().take_while(move |(at, _)| *at <= now).map(|(_, event)| event)
    }

    /// Log sequence of the next change.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Time of the last change.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Digest of the last record.
    #[must_use]
    pub fn link(&self) -> Link {
        self.links.last_key_value().map_or(FIRST_LINK, |(_, link)| *link)
    }

    /// Digest of the log up to `seq`, if a record ends there.
    #[must_use]
    pub fn link_at(&self, seq: u64) -> Option<Link> {
        self.links.get(&seq).copied()
    }

    /// Where the record begins that has the change at `seq`.
    #[must_use]
    pub fn record_of(&self, seq: u64) -> u64 {
        self.links.range(..=seq).next_back().map_or(0, |(begin, _)| *begin)
    }

    /// Notes that a whole record was carried out.
    pub fn close_record(&mut self, at: Timestamp, link: Link) {
        self.at = at;
        self.links.insert(self.seq, link);
    }

    /// Carries out one change.
    ///
    /// # Errors
    /// If it refers to something that is not there.
    pub fn evolve(&mut self, change: &Change) -> Result<(), Misfit> {
        self.seq += 1;
        match change {
            Change::VenueSet { venue, facts, imported } => {
                let known = self.venues.get(venue).map(|known| known.origin.clone());
                let record = VenueRecord {
                    id: venue.clone(),
                    facts: facts.clone(),
                    version: self.seq,
                    origin: known.unwrap_or_default().follow(imported.as_ref()),
                };
                let record = Arc::new(record);
                self.venues.insert(venue.clone(), Arc::clone(&record));
                for id in self.events_by_venue.get(venue).cloned().unwrap_or_default() {
                    self.touch(&id, |event| event.venue = Some(Arc::clone(&record)));
                }
            }
            Change::PerformerSet { performer, facts, imported } => {
                let known = self.performers.get(performer).map(|known| known.origin.clone());
                let record = PerformerRecord {
                    id: performer.clone(),
                    facts: facts.clone(),
                    version: self.seq,
                    origin: known.unwrap_or_default().follow(imported.as_ref()),
                };
                let record = Arc::new(record);
                self.performers.insert(performer.clone(), Arc::clone(&record));
                for id in self.events_by_performer.get(performer).cloned().unwrap_or_default() {
                    self.touch(&id, |event| {
                        for known in event.performers.iter_mut().filter(|p| p.id == record.id) {
                            *known = Arc::clone(&record);
                        }
                    });
                }
            }
            Change::EventSet { event, facts, imported } => {
                self.set_event(event, facts, imported.as_ref())?;
            }
            Change::StatusSet { event, status } => self.set_status(event, *status)?,
            Change::Noted { event, .. } => {
                if !self.events.contains_key(event) {
                    return Err(Misfit { change: "noted", id: event.to_string() });
                }
            }
        }
        Ok(())
    }

    fn set_event(
        &mut self,
        id: &EventId,
        facts: &EventFacts,
        imported: Option<&String>,
    ) -> Result<(), Misfit> {
        let missing = |id: &Slug| Misfit { change: "event_set", id: id.to_string() };
        let venue = match &facts.venue {
            Some(venue) => {
                let known = self.venues.get(venue).ok_or_else(|| missing(venue))?;
                Some(Arc::clone(known))
            }
            None => None,
        };
        let performers = facts.performers.iter().map(|performer| {
            self.performers.get(performer).cloned().ok_or_else(|| missing(performer))
        });
        let performers: Vec<_> = performers.collect::<Result<_, _>>()?;
        let known = self.events.get(id).cloned();
        if let Some(known) = &known {
            self.touched.remove(&(known.touched, known.ordinal));
            if let Some(venue) = &known.facts.venue {
                self.events_by_venue.entry(venue.clone()).or_default().remove(id);
            }
            for performer in &known.facts.performers {
                self.events_by_performer.entry(performer.clone()).or_default().remove(id);
            }
        }
        let ordinal = match &known {
            Some(known) => known.ordinal,
            None => {
                self.order.push(id.clone());
                // Four billion events would not fit into any memory.
                u32::try_from(self.order.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(venue) = &facts.venue {
            self.events_by_venue.entry(venue.clone()).or_default().insert(id.clone());
        }
        for performer in &facts.performers {
            self.events_by_performer.entry(performer.clone()).or_default().insert(id.clone());
        }
        self.touched.insert((self.seq, ordinal));
        let (status, has_begun, origin) = match known {
            Some(known) => (known.status, known.has_begun, known.origin.clone()),
            None => (Status::Announced, false, Origin::default()),
        };
        let event = Event {
            id: id.clone(),
            ordinal,
            facts: facts.clone(),
            venue,
            performers,
            status,
            has_begun,
            version: self.seq,
            touched: self.seq,
            origin: origin.follow(imported),
        };
        self.events.insert(id.clone(), Arc::new(event));
        Ok(())
    }

    fn set_status(&mut self, id: &EventId, status: Status) -> Result<(), Misfit> {
        let version = self.seq;
        let known = self.events.get(id).map(|event| event.status);
        let known = known.ok_or_else(|| Misfit { change: "status_set", id: id.to_string() })?;
        if let Status::Scheduled { opens_at } = known {
            self.scheduled.remove(&(opens_at, id.clone()));
        }
        if let Status::Scheduled { opens_at } = status {
            self.scheduled.insert((opens_at, id.clone()));
        }
        self.touch(id, |event| {
            event.status = status;
            event.has_begun |= status == Status::OnSale;
            event.version = version;
        });
        Ok(())
    }

    fn touch(&mut self, id: &EventId, change: impl FnOnce(&mut Event)) {
        let Some(event) = self.events.get_mut(id) else { return };
        let event = Arc::make_mut(event);
        self.touched.remove(&(event.touched, event.ordinal));
        event.touched = self.seq;
        self.touched.insert((event.touched, event.ordinal));
        change(event);
    }
}
