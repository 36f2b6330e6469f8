//! How does an event of the catalogue become seats that can be sold?

use std::sync::Arc;

use keys::EventId;

use crate::catalogue::Event;
use crate::http::Shop;
use crate::partition::EventSetup;
use crate::sale::Rules;
use crate::shelf::Shelf;
use crate::venue::{BowlError, MapDocument, Venue};

/// All that belongs to an event on sale.
#[derive(Debug)]
pub struct Stand {
    /// What visitors see.
    pub shop: Shop,
    /// What its writer begins with.
    pub setup: EventSetup,
    /// The drawing of its seats.
    pub map: Arc<MapDocument>,
}

/// A venue that is laid out and drawn, for all events that take place there.
#[derive(Debug, Clone)]
pub struct Hall {
    /// Its seats.
    pub venue: Arc<Venue>,
    /// The drawing of them.
    pub map: Arc<MapDocument>,
}

/// Why an event has no seats.
#[derive(Debug, thiserror::Error)]
pub enum StandError {
    /// A stadium on sale cannot be laid out.
    #[error("seats of {event}")]
    Venue {
        /// For which event.
        event: EventId,
        /// The cause.
        source: BowlError,
    },
    /// A seat plan does not fit together.
    #[error("seat plan of {event}: {why}")]
    Plan {
        /// For which event.
        event: EventId,
        /// What does not fit.
        why: &'static str,
    },
}

impl Hall {
    /// Lays out the event's stadium.
    ///
    /// # Errors
    /// If no bowl of ours has that many seats.
    pub fn bowl(event: &Event) -> Result<Self, StandError> {
        let id = || event.id.clone();
        let venue = Venue::bowl(event.stadium.capacity)
            .map_err(|source| StandError::Venue { event: id(), source })?;
        let map = MapDocument::new(&venue)
            .map_err(|_| StandError::Plan { event: id(), why: "the map is not JSON" })?;
        Ok(Self { venue: Arc::new(venue), map: Arc::new(map) })
    }
}

impl Stand {
    /// Sells the seats of a hall.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn new(event: Event, hall: Hall, rules: Rules) -> Result<Self, StandError> {
        let Hall { venue, map } = hall;
        let id = event.id.clone();
        let plan = venue.plan(event.prices);
        let plan = plan.map_err(|why| StandError::Plan { event: id.clone(), why })?;
        let shelf = Arc::new(Shelf::new(plan.capacity()).with_zones(&plan));
        let setup =
            EventSetup { event: id, plan: Arc::new(plan), rules, shelf: Arc::clone(&shelf) };
        let map_url = format!("/api/v1/maps/{}", map.hash);
        Ok(Self { shop: Shop { event, venue, map_url, shelf, terms: rules.terms }, setup, map })
    }
}
