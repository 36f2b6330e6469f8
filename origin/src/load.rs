//! What did the last seconds look like? A ring of one-second counts, for the controller's pace.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admission_api::Latency;

/// Seconds that a report covers: long enough for a p95 at ten requests a second, short enough for
/// the pace to follow.
pub const WINDOW_SECS: u64 = 10;

/// Counts of the last [`WINDOW_SECS`] seconds.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    writers: u32,
    slots: Mutex<Vec<Slot>>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    second: u64,
    requests: u64,
    errors: u64,
    latency: Latency,
    busy: Duration,
}

/// What a window adds up to.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The time that is covered.
    pub window: Duration,
    /// Requests answered.
    pub requests: u64,
    /// Of these, with a 5xx.
    pub errors: u64,
    /// Time to answer the others.
    pub latency: Latency,
    /// Share of the time that the writers were busy, 0 to 1.
    pub busy_share: f64,
}

impl Window {
    /// An empty window for that many writers.
    #[must_use]
    pub fn new(writers: u32, now: Instant) -> Self {
        let slots = vec![Slot::default(); WINDOW_SECS as usize + 1];
        Self { began: now, writers: writers.max(1), slots: Mutex::new(slots) }
    }

    /// Counts one answered request.
    pub fn answered(&self, took: Duration, is_error: bool, now: Instant) {
        let second = self.second(now);
        let mut slots = self.lock();
        let slot = slot(&mut slots, second);
        slot.requests += 1;
        if is_error {
            slot.errors += 1;
        } else {
            slot.latency.record_ms(took.as_secs_f64() * 1000.0);
        }
    }

    /// Counts a writer's work; work that crosses seconds is shared out among them.
    pub fn busy(&self, from: Instant, until: Instant) {
        let mut slots = self.lock();
        let mut at = from;
        while at < until {
            let second = self.second(at);
            let end = (self.began + Duration::from_secs(second + 1)).min(until);
            slot(&mut slots, second).busy += end.saturating_duration_since(at);
            at = end;
        }
    }

    /// What the last full seconds, and the one that is running, add up to.
    #[must_use]
    pub fn seen(&self, now: Instant) -> Seen {
        let current = self.second(now);
        let first = (current + 1).saturating_sub(WINDOW_SECS);
        let mut seen = Seen {
            window: now.saturating_duration_since(self.began + Duration::from_secs(first)),
            requests: 0,
            errors: 0,
            latency: Latency::default(),
            busy_share: 0.0,
        };
        let mut busy = Duration::ZERO;
        for slot in self.lock().iter().filter(|slot| (first..=current).contains(&slot.second)) {
            seen.requests += slot.requests;
            seen.errors += slot.errors;
            seen.latency.add(&slot.latency);
            busy += slot.busy;
        }
        let available = seen.window.as_secs_f64() * f64::from(self.writers);
        if available > 0.0 {
            seen.busy_share = (busy.as_secs_f64() / available).clamp(0.0, 1.0);
        }
        seen
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot(slots: &mut [Slot], second: u64) -> &mut Slot {
    let len = slots.len() as u64;
    // The remainder is below the length, which is a usize.
    let slot = &mut slots[usize::try_from(second % len).unwrap_or(0)];
    if slot.second != second {
        *slot = Slot { second, ..Slot::default() };
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_forgotten_once_the_window_has_moved_on() {
        let began = Instant::now();
        let window = Window::new(1, began);
        let at = |ms| began + Duration::from_millis(ms);
        window.answered(Duration::from_millis(3), false, at(100));
        window.answered(Duration::from_millis(3), true, at(200));
        window.busy(at(500), at(1500));
        let seen = window.seen(at(2000));
        assert_eq!((seen.requests, seen.errors, seen.latency.count()), (2, 1, 1));
        assert!((seen.busy_share - 0.5).abs() < 0.01, "{seen:?}");
        let seen = window.seen(at(10_500));
        assert_eq!(seen.requests, 0, "the first second is over {seen:?}");
        assert!((seen.busy_share - 0.5 / 9.5).abs() < 0.01, "{seen:?}");
    }
}
