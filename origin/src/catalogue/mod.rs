//! Which events are there, where and when, and which of them are on sale?

mod import;
mod prices;

use std::collections::BTreeMap;

use keys::{EventId, Timestamp};

pub use import::{CatalogueError, Sources};

/// Whether tickets can be bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not yet.
    Announced,
    /// Yes, behind the waiting room.
    OnSale,
}

impl Status {
    /// The name in the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::OnSale => "on_sale",
        }
    }
}

/// A stadium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stadium {
    /// Its name.
    pub name: String,
    /// Its city, by which matches name it.
    pub city: String,
    /// ISO 3166 code in lower case.
    pub country: String,
    /// How many seats it has.
    pub capacity: u32,
}

/// A match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// `Spain – Argentina`.
    pub title: String,
    /// `Final`, or `Group A`.
    pub stage: String,
    /// Kick-off.
    pub starts_at: Timestamp,
    /// Kick-off by the clocks there, RFC 3339 with offset.
    pub starts_at_local: String,
    /// Where.
    pub stadium: Stadium,
    /// Whether tickets can be bought.
    pub status: Status,
    /// Price by category in minor units.
    pub prices: [u64; 4],
}

impl Event {
    /// One sentence about it.
    #[must_use]
    pub fn description(&self) -> String {
        let Self { title, stage, stadium: Stadium { name, city, .. }, .. } = self;
        format!("2026 World Cup, {stage}: {title} at {name}, {city}.")
    }
}

/// All events, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    events: Vec<Event>,
    by_id: BTreeMap<EventId, usize>,
}

impl Catalogue {
    /// Reads the files and marks what is on sale.
    ///
    /// # Errors
    /// The file, the line and what was expected there.
    pub fn import(sources: &Sources, on_sale: &[EventId]) -> Result<Self, CatalogueError> {
        let events = import::events(sources, on_sale)?;
        let by_id = events.iter().enumerate().map(|(at, e)| (e.id.clone(), at)).collect();
        Ok(Self { events, by_id })
    }

    /// The event with this id.
    #[must_use]
    pub fn event(&self, id: &EventId) -> Option<&Event> {
        self.by_id.get(id).map(|at| &self.events[*at])
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}
