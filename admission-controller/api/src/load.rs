//! What an origin tells the controller about itself.

use keys::{EventId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// The answer to `GET /internal/v1/load` at the origin: the state of the last window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// When it was made.
    pub at: Timestamp,
    /// The time that `latency`, `requests_total` and `errors_total` cover, in milliseconds.
    pub window_ms: u64,
    /// Requests answered in the window.
    pub requests_total: u64,
    /// Of these, answered with a 5xx.
    pub errors_total: u64,
    /// Time to answer those that did not fail.
    pub latency: Latency,
    /// How long commands waited for the writer.
    #[serde(default)]
    pub queue_delay: Latency,
    /// How long the writer then took until they were durable and answered.
    #[serde(default)]
    pub service: Latency,
    /// How much of the seat map is shown: 0 is everything, 4 the best available seats only; 5 is a
    /// sale that an operator has paused.
    #[serde(default)]
    pub seat_mode_level: u8,
    /// Share of the database's processor that is busy, 0 to 1; absent if it cannot be told.
    pub db_cpu: Option<f64>,
    /// Where `db_cpu` comes from, for people: for example `sqlite writer busy share`.
    pub db_cpu_source: String,
    /// Stock of every event that is on sale.
    pub stock: Vec<Stock>,
}

/// An event's seats by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// The event.
    pub event: EventId,
    /// All of them.
    pub capacity: u64,
    /// For whoever takes them.
    pub free: u64,
    /// In holds that are not being paid.
    pub held: u64,
    /// In orders that are being paid.
    pub paying: u64,
    /// Sold.
    pub sold: u64,
    /// Kept back by the organiser.
    #[serde(default)]
    pub blocked: u64,
    /// How many holds `held` is made of.
    #[serde(default)]
    pub holds: u64,
    /// Seats of `held` that will likely come back unpaid, by the minute of their deadline: the
    /// first number is for the next sixty seconds.
    #[serde(default)]
    pub expected_returns: Vec<u64>,
}
