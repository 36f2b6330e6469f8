//! How does an event of the catalogue become seats that can be sold?

use std::sync::Arc;

use keys::EventId;

use crate::board::Board;
use crate::catalogue::{Event, Seating, Status};
use crate::http::Shop;
use crate::partition::EventSetup;
use crate::sale::{Rules, Terms};
use crate::shelf::Shelf;
use crate::store::{Blobs, Hash, StoreError};
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
    /// A stadium cannot be laid out.
    #[error(transparent)]
    Bowl(#[from] BowlError),
    /// A seat plan does not fit together.
    #[error("seat plan of {event}: {why}")]
    Plan {
        /// For which event.
        event: EventId,
        /// What does not fit.
        why: &'static str,
    },
    /// The store of seat maps failed.
    #[error("seat maps")]
    Blobs(#[from] StoreError),
    /// A blob is no seat map.
    #[error("a seat map cannot be read")]
    NoMap(#[source] serde_json::Error),
    /// A map is not JSON.
    #[error("a seat map cannot be written as JSON")]
    Unwritten,
    /// We are stopping.
    #[error("the origin is stopping")]
    Stopping,
}

impl Hall {
    /// Draws a venue.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which no map of ours does.
    pub fn drawn(venue: Venue) -> Result<Self, StandError> {
        let map = MapDocument::new(&venue).map_err(|_| StandError::Unwritten)?;
        Ok(Self { venue: Arc::new(venue), map: Arc::new(map) })
    }
}

/// Where halls come from, and those that are laid out already.
#[derive(Debug)]
pub struct Halls {
    blobs: Blobs,
    bowls: Board<u32, Hall>,
    maps: Board<String, Hall>,
}

impl Halls {
    /// Halls whose maps are kept there.
    #[must_use]
    pub fn new(blobs: Blobs) -> Self {
        Self { blobs, bowls: Board::default(), maps: Board::default() }
    }

    /// The hall of an event.
    ///
    /// # Errors
    /// If it has no seats, or they cannot be laid out.
    pub async fn of(&self, event: &Event) -> Result<Hall, StandError> {
        let missing = |why| StandError::Plan { event: event.id.clone(), why };
        match &event.facts.seating {
            Some(Seating::Bowl(seats)) => self.bowl(*seats).await,
            Some(Seating::Map(hash)) => {
                self.drawn(hash).await?.ok_or_else(|| missing("its seat map is not there"))
            }
            None => Err(missing("it has no seats")),
        }
    }

    async fn bowl(&self, seats: u32) -> Result<Hall, StandError> {
        if let Some(known) = self.bowls.get(&seats) {
            return Ok(Hall::clone(&known));
        }
        // Laying out a stadium takes a moment of processor time.
        let made = tokio::task::spawn_blocking(move || Hall::drawn(Venue::bowl(seats)?));
        let hall = made.await.map_err(|_| StandError::Stopping)??;
        self.bowls.put(seats, hall.clone());
        Ok(hall)
    }

    /// The hall of a seat map that was kept; `None` if there is none.
    ///
    /// # Errors
    /// If the store fails, or has something else under that hash.
    pub async fn drawn(&self, hash: &str) -> Result<Option<Hall>, StandError> {
        if let Some(known) = self.maps.get(hash) {
            return Ok(Some(Hall::clone(&known)));
        }
        let Ok(name) = hash.parse::<Hash>() else { return Ok(None) };
        let Some(bytes) = self.blobs.get(name).await? else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || {
            let venue = serde_json::from_slice(&bytes).map_err(StandError::NoMap)?;
            Hall::drawn(venue)
        });
        let hall = read.await.map_err(|_| StandError::Stopping)??;
        self.maps.put(hash.to_owned(), hall.clone());
        Ok(Some(hall))
    }

    /// Keeps a seat map.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep(&self, hall: &Hall) -> Result<(), StandError> {
        self.blobs.put_if_absent(&hall.map.plain).await?;
        self.maps.put(hall.map.hash.clone(), hall.clone());
        Ok(())
    }
}

impl Stand {
    /// Sells the seats of a hall.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn new(event: Arc<Event>, hall: Hall, rules: Rules) -> Result<Self, StandError> {
        let Hall { venue, map } = hall;
        let id = event.id.clone();
        let plan = venue.plan(|zone| event.facts.price_of(zone));
        let plan = plan.map_err(|why| StandError::Plan { event: id.clone(), why })?;
        let unknown = |_| StandError::Plan { event: id.clone(), why: "its currency is unknown" };
        let currency = event.facts.currency.parse().map_err(unknown)?;
        let best_only_until = event.facts.best_only_until;
        let terms = Terms { currency, ..rules.terms };
        let is_offering = rules.is_offering && event.status == Status::OnSale;
        let rules = Rules { terms, best_only_until, is_offering, ..rules };
        let shelf = Arc::new(Shelf::new(plan.capacity()).with_zones(&plan));
        let setup =
            EventSetup { event: id, plan: Arc::new(plan), rules, shelf: Arc::clone(&shelf) };
        let map_url = format!("/api/v1/maps/{}", map.hash);
        Ok(Self { shop: Shop { event, venue, map_url, shelf, terms: rules.terms }, setup, map })
    }
}
