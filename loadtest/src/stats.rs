//! What has happened so far? Counters and latencies that all visitors write to.
//!
//! Latency counts from when a request was *due*, not from when it could be sent: a client that
//! waits for a slow server and only then starts its next clock would hide the waiting it caused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::crowd::Kind;

/// Longest latency that is told apart, in microseconds: two minutes.
const LATENCY_MICROS_MAX: u64 = 120_000_000;
/// Most kinds of refusals that are told apart; the rest is counted as `other`.
const REFUSALS_MAX: usize = 256;

/// A step of a visitor's way: one kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The event's page, or the join of a client without pages: what begins a visit.
    Arrive,
    /// Where do I stand?
    Status,
    /// The shared document.
    Front,
    /// My turn.
    Claim,
    /// The shop's page, with a pass.
    Page,
    /// The event's description.
    Event,
    /// The seat map's geometry.
    Map,
    /// Which seats are free?
    Availability,
    /// Takes seats.
    Hold,
    /// Gives them back.
    Release,
    /// Pays.
    Order,
    /// Goodbye.
    Leave,
    /// Reads an order again at the end of the run.
    Reread,
    /// What only the run itself asks for: keys and the ledger.
    Other,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 14] = [
        Self::Arrive,
        Self::Status,
        Self::Front,
        Self::Claim,
        Self::Page,
        Self::Event,
        Self::Map,
        Self::Availability,
        Self::Hold,
        Self::Release,
        Self::Order,
        Self::Leave,
        Self::Reread,
        Self::Other,
    ];

    /// The name used in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arrive => "arrive",
            Self::Status => "status",
            Self::Front => "front",
            Self::Claim => "claim",
            Self::Page => "page",
            Self::Event => "event",
            Self::Map => "map",
            Self::Availability => "availability",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Order => "order",
            Self::Leave => "leave",
            Self::Reread => "reread",
            Self::Other => "other",
        }
    }
}

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With tickets.
    Bought,
    /// As intended, without.
    Left,
    /// The turn came and nobody claimed it.
    NoShow,
    /// Nothing was left.
    SoldOut,
    /// The hold ended before it was paid.
    HoldLost,
    /// Refused: no pass, or a pass that ended too early.
    TurnedAway,
    /// An order whose outcome never became known.
    Unresolved,
    /// Too many tries without a useful answer.
    Failed,
    /// The run was over first.
    Unfinished,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Bought,
        Self::Left,
        Self::NoShow,
        Self::SoldOut,
        Self::HoldLost,
        Self::TurnedAway,
        Self::Unresolved,
        Self::Failed,
        Self::Unfinished,
    ];

    /// The name used in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bought => "bought",
            Self::Left => "left",
            Self::NoShow => "no-show",
            Self::SoldOut => "sold out",
            Self::HoldLost => "hold lost",
            Self::TurnedAway => "turned away",
            Self::Unresolved => "unresolved",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }
}

/// One counter that only grows, or a gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }
    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A refusal's kind: where, status (0 for no answer at all), code.
pub type RefusalKey = (Step, u16, String);

/// All counters of a run.
#[derive(Debug)]
pub struct Stats {
    /// Visitors who have arrived.
    pub arrived: Count,
    /// Of these, the ones who have not gone (a gauge).
    pub present: Count,
    /// Visitors who got a place.
    pub joined: Count,
    /// Of these, in the `suspect` lane.
    pub suspects: Count,
    /// Visitors who stand in the line (a gauge).
    pub waiting: Count,
    /// Visitors with a pass.
    pub admitted: Count,
    /// Of these, without a waiting page.
    pub admitted_at_once: Count,
    /// Visitors inside (a gauge).
    pub inside: Count,
    /// Holds.
    pub holds: Count,
    /// Seats that were gone when asked for.
    pub conflicts: Count,
    /// Orders.
    pub orders: Count,
    /// Payments that were declined.
    pub declined: Count,
    /// Payments whose outcome was unknown at first.
    pub unknown: Count,
    /// Tickets.
    pub tickets: Count,
    /// Requests that were answered.
    pub answered: Count,
    /// Requests that were told to come back later.
    pub put_off: Count,
    /// Requests without an answer, and answers that make no sense: 5xx and unknown shapes.
    pub errors: Count,
    steps: Mutex<BTreeMap<Step, Histogram<u64>>>,
    in_line: Mutex<Option<Histogram<u64>>>,
    refusals: Mutex<BTreeMap<RefusalKey, u64>>,
    outcomes: Mutex<BTreeMap<(Kind, Outcome), u64>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

/// A lock whose holder may have panicked: counters are whole at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).ok()
}

impl Stats {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        let zero = Count::default;
        let steps = Step::ALL.into_iter().filter_map(|step| Some((step, histogram()?))).collect();
        Self {
            arrived: zero(),
            present: zero(),
            joined: zero(),
            suspects: zero(),
            waiting: zero(),
            admitted: zero(),
            admitted_at_once: zero(),
            inside: zero(),
            holds: zero(),
            conflicts: zero(),
            orders: zero(),
            declined: zero(),
            unknown: zero(),
            tickets: zero(),
            answered: zero(),
            put_off: zero(),
            errors: zero(),
            steps: Mutex::new(steps),
            in_line: Mutex::new(Histogram::new_with_bounds(1, 86_400_000, 3).ok()),
            refusals: Mutex::default(),
            outcomes: Mutex::default(),
        }
    }

    /// A request was answered this long after it was due.
    pub fn took(&self, step: Step, latency: Duration) {
        self.answered.up();
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = lock(&self.steps).get_mut(&step) {
            histogram.saturating_record(micros.max(1));
        }
    }

    /// A visitor was admitted after this time in the line.
    pub fn stood(&self, time: Duration) {
        if let Some(histogram) = lock(&self.in_line).as_mut() {
            histogram.saturating_record(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// A request was refused, or got no answer (status 0).
    pub fn refused(&self, step: Step, status: u16, code: &str) {
        let mut refusals = lock(&self.refusals);
        let mut key = (step, status, code.chars().take(64).collect());
        if refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&key) {
            key.2 = "other".to_owned();
        }
        *refusals.entry(key).or_default() += 1;
    }

    /// A visit has ended.
    pub fn ended(&self, kind: Kind, outcome: Outcome) {
        *lock(&self.outcomes).entry((kind, outcome)).or_default() += 1;
    }

    /// Refusals by kind.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<RefusalKey, u64> {
        lock(&self.refusals).clone()
    }

    /// Visits by how they ended.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<(Kind, Outcome), u64> {
        lock(&self.outcomes).clone()
    }

    /// Latencies of the steps that happened, in milliseconds.
    #[must_use]
    pub fn latencies(&self) -> BTreeMap<Step, Quantiles> {
        let steps = lock(&self.steps);
        let happened = steps.iter().filter(|(_, histogram)| !histogram.is_empty());
        happened.map(|(step, histogram)| (*step, Quantiles::of(histogram, 1e3))).collect()
    }

    /// Time in the line of those who were admitted, in seconds.
    #[must_use]
    pub fn time_in_line(&self) -> Quantiles {
        lock(&self.in_line)
            .as_ref()
            .map_or_else(Quantiles::default, |histogram| Quantiles::of(histogram, 1e3))
    }
}

/// A distribution in five numbers; the unit is that of whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    #[allow(clippy::cast_precision_loss)] // a day in microseconds is far below 2^52
    fn of(histogram: &Histogram<u64>, per_unit: f64) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / per_unit;
        Self {
            count: histogram.len(),
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
            max: histogram.max() as f64 / per_unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_by_step_in_milliseconds() {
        let stats = Stats::new();
        for millis in 1..=100 {
            stats.took(Step::Hold, Duration::from_millis(millis));
        }
        stats.took(Step::Order, Duration::from_secs(10_000)); // beyond what is told apart
        let told = stats.latencies();
        assert_eq!(told.len(), 2);
        assert_eq!(told[&Step::Hold].count, 100);
        assert!((told[&Step::Hold].p50 - 50.0).abs() < 0.5, "{told:?}");
        assert!((told[&Step::Order].max / 120_000.0 - 1.0).abs() < 0.01, "{told:?}");
    }

    #[test]
    fn kinds_of_refusals_are_bounded() {
        let stats = Stats::new();
        for n in 0..1_000 {
            stats.refused(Step::Hold, 400, &format!("code-{n}"));
        }
        let refusals = stats.refusals();
        assert_eq!(refusals.len(), REFUSALS_MAX + 1);
        assert_eq!(refusals.values().sum::<u64>(), 1_000);
    }
}
