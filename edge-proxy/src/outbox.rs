//! What goes to the controller with the next sync: bounded, and kept through its silences.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use admission_api::{EndRequest, Latency, OriginSeen, RoomTraffic, Suspicion};
use keys::{EventId, Timestamp};

use crate::controller::ControllerError;
use crate::metrics::Metrics;

/// Most suspicions kept while the controller is silent; about 1 KiB each.
const SUSPICIONS_MAX: usize = 10_000;
/// Most suspicions in one report, so that it stays well under the controller's 1 MiB.
const SUSPICIONS_PER_SYNC: usize = 500;
/// Most ends of passes kept; about 1 KiB each. A pass whose end is lost ends by its own time.
const ENDS_MAX: usize = 10_000;
/// A silent controller is logged at most this often, whatever the number of visitors.
const WARN_SECS: u64 = 5;

/// The reports.
#[derive(Debug, Default)]
pub struct Outbox {
    reports: Mutex<Reports>,
    /// Failures of the controller, logged without flooding.
    pub failures: Failures,
    /// Trouble with keys, logged without flooding.
    pub key_trouble: Failures,
}

#[derive(Debug, Default)]
struct Reports {
    suspicions: Vec<Suspicion>,
    ends: Vec<EndRequest>,
    traffic: HashMap<EventId, RoomTraffic>,
    requests_total: u64,
    errors_total: u64,
    latency: Latency,
}

/// What [`Outbox::drain`] hands out.
#[derive(Debug)]
pub struct Drained {
    /// Visitors judged likely bots.
    pub suspicions: Vec<Suspicion>,
    /// Traffic by room.
    pub traffic: Vec<RoomTraffic>,
    /// The origin as we saw it; `window_ms` and `in_flight` are the caller's to fill in.
    pub origin: OriginSeen,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Reports> {
        // Counters are sound after any single statement.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place was issued.
    pub fn joined(&self, event: &EventId) {
        self.lock().traffic_of(event).joined_total += 1;
    }

    /// A request went past the line on an exempt path.
    pub fn bypassed(&self, event: &EventId) {
        self.lock().traffic_of(event).bypassed_total += 1;
    }

    /// A visitor was judged a likely bot.
    pub fn suspect(&self, suspicion: Suspicion, metrics: &Metrics) {
        let mut reports = self.lock();
        if reports.suspicions.len() < SUSPICIONS_MAX {
            reports.suspicions.push(suspicion);
        } else {
            metrics.dropped_reports_total.inc();
        }
    }

    /// A pass has ended.
    pub fn end(&self, end: EndRequest, metrics: &Metrics) {
        let mut reports = self.lock();
        if reports.ends.len() < ENDS_MAX {
            reports.ends.push(end);
        } else {
            metrics.dropped_reports_total.inc();
        }
    }

    /// The origin answered, `millis` after it was asked.
    pub fn origin_answered(&self, millis: f64) {
        let mut reports = self.lock();
        reports.requests_total += 1;
        reports.latency.record_ms(millis);
    }

    /// The origin did not answer, or with 5xx.
    pub fn origin_failed(&self) {
        let mut reports = self.lock();
        reports.requests_total += 1;
        reports.errors_total += 1;
    }

    /// Takes some ends of passes out, the oldest ones.
    #[must_use]
    pub fn drain_ends(&self, count_max: usize) -> Vec<EndRequest> {
        let ends = &mut self.lock().ends;
        let count = ends.len().min(count_max);
        ends.drain(..count).collect()
    }

    /// Takes the rest out.
    #[must_use]
    pub fn drain(&self) -> Drained {
        let mut reports = self.lock();
        let Reports { suspicions, traffic, requests_total, errors_total, latency, .. } =
            &mut *reports;
        let count = suspicions.len().min(SUSPICIONS_PER_SYNC);
        Drained {
            suspicions: suspicions.drain(..count).collect(),
            traffic: std::mem::take(traffic).into_values().collect(),
            origin: OriginSeen {
                window_ms: 0,
                requests_total: std::mem::take(requests_total),
                errors_total: std::mem::take(errors_total),
                in_flight: 0,
                latency: std::mem::take(latency),
            },
        }
    }

    /// Takes back what must not be lost. Measurements are not put back: old ones mislead.
    pub fn keep(&self, suspicions: Vec<Suspicion>, metrics: &Metrics) {
        for suspicion in suspicions {
            self.suspect(suspicion, metrics);
        }
    }
}

impl Reports {
    fn traffic_of(&mut self, event: &EventId) -> &mut RoomTraffic {
        self.traffic.entry(event.clone()).or_insert_with(|| RoomTraffic {
            event: event.clone(),
            joined_total: 0,
            bypassed_total: 0,
        })
    }
}

/// Logs failures of one kind at most every few seconds, with the number left out.
#[derive(Debug, Default)]
pub struct Failures {
    last: Mutex<(Timestamp, u64)>,
}

impl Failures {
    /// Logs that the controller gives no answer, or counts.
    pub fn warn(&self, call: &str, error: &ControllerError) {
        if let Some(left_out) = self.turn() {
            let cause =
                std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(call, %error, cause, left_out, "controller gives no answer");
        }
    }

    /// Logs that keys do not do what they are for, or counts.
    pub fn keys(&self, what: &str, error: &dyn std::error::Error) {
        if let Some(left_out) = self.turn() {
            tracing::error!(%error, left_out, "{what}: are the right keys here, and trusted?");
        }
    }

    /// If it is time to log again: how many were left out.
    fn turn(&self) -> Option<u64> {
        let now = Timestamp::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now < last.0.plus_secs(WARN_SECS) {
            last.1 += 1;
            return None;
        }
        let left_out = last.1;
        *last = (now, 0);
        Some(left_out)
    }
}
