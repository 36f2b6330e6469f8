//! What did the last seconds look like? A ring of one-second counts, for the controller's pace and
//! for the level of the seat map.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admission_api::{Latency, LoadReport};

/// Seconds that a report covers: long enough for a p95 at ten requests a second, short enough for
/// the pace to follow.
pub const WINDOW_SECS: u64 = 10;
/// Seconds that decide on the level of the seat map, beside the one that is running: it must be
/// quicker than the pace.
const STRAIN_SECS: u64 = 2;

/// Counts of the last [`WINDOW_SECS`] seconds.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Slot>,
    /// Since when each writer has been at the work that it is at.
    busy_since: Vec<Option<Instant>>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    second: u64,
    requests: u64,
    errors: u64,
    latency: Latency,
    queue_delay: Latency,
    service: Latency,
    fanout_lag: Latency,
    /// By writer.
    busy: Vec<Duration>,
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
    /// Time that commands waited for their writer.
    pub queue_delay: Latency,
    /// Time that the writer then took.
    pub service: Latency,
    /// Share of the time that the busiest writer was busy, 0 to 1.
    pub busy_share: f64,
}

impl Window {
    /// An empty window for that many writers.
    #[must_use]
    pub fn new(writers: u32, now: Instant) -> Self {
        let slots = vec![Slot::default(); WINDOW_SECS as usize + 1];
        let busy_since = vec![None; writers.max(1) as usize];
        Self { began: now, inner: Mutex::new(Inner { slots, busy_since }) }
    }

    /// Counts one answered request.
    pub fn answered(&self, took: Duration, is_error: bool, now: Instant) {
        let second = self.second(now);
        let mut inner = self.lock();
        let Some(slot) = slot(&mut inner.slots, second) else { return };
        slot.requests += 1;
        if is_error {
            slot.errors += 1;
        } else {
            slot.latency.record_ms(took.as_secs_f64() * 1000.0);
        }
    }

    /// A writer begins some work; it counts from now on, not only once it is done.
    pub fn begin(&self, writer: u32, now: Instant) {
        if let Some(since) = self.lock().busy_since.get_mut(writer as usize) {
            *since = Some(now);
        }
    }

    /// A writer ends its work; work that crosses seconds is shared out among them.
    pub fn end(&self, writer: u32, until: Instant) {
        let mut inner = self.lock();
        let from = inner.busy_since.get_mut(writer as usize).and_then(Option::take);
        let Some(from) = from else { return };
        let kept = self.second(until).saturating_sub(WINDOW_SECS);
        let mut at = from.max(self.began + Duration::from_secs(kept));
        while at < until {
            let second = self.second(at);
            let end = (self.began + Duration::from_secs(second + 1)).min(until);
            if let Some(slot) = slot(&mut inner.slots, second) {
                slot.busy.resize(slot.busy.len().max(writer as usize + 1), Duration::ZERO);
                slot.busy[writer as usize] += end.saturating_duration_since(at);
            }
            at = end;
        }
    }

    /// What the last full seconds, and the one that is running, add up to.
    #[must_use]
    pub fn seen(&self, now: Instant) -> Seen {
        let current = self.second(now);
        let first = (current + 1).saturating_sub(WINDOW_SECS);
        let since = self.began + Duration::from_secs(first);
        let mut seen = Seen {
            window: now.saturating_duration_since(since),
            requests: 0,
            errors: 0,
            latency: Latency::default(),
            queue_delay: Latency::default(),
            service: Latency::default(),
            busy_share: 0.0,
        };
        let inner = self.lock();
        let running = inner.busy_since.iter().map(|from| {
            from.map_or(Duration::ZERO, |from| now.saturating_duration_since(from.max(since)))
        });
        let mut busy: Vec<Duration> = running.collect();
        for slot in inner.slots.iter().filter(|slot| (first..=current).contains(&slot.second)) {
            seen.requests += slot.requests;
            seen.errors += slot.errors;
            seen.latency.add(&slot.latency);
            seen.queue_delay.add(&slot.queue_delay);
            seen.service.add(&slot.service);
            for (sum, more) in busy.iter_mut().zip(&slot.busy) {
                *sum += *more;
            }
        }
        // The busiest one is the one that people wait for; idle others do not help them.
        let busiest = busy.into_iter().max().unwrap_or_default();
        if !seen.window.is_zero() {
            seen.busy_share = (busiest.as_secs_f64() / seen.window.as_secs_f64()).clamp(0.0, 1.0);
        }
        seen
    }

    /// Counts commands that waited this long each, and were then answered together in `took`.
    pub fn served(&self, waited: &[Duration], took: Duration, now: Instant) {
        let second = self.second(now);
        let mut inner = self.lock();
        let Some(slot) = slot(&mut inner.slots, second) else { return };
        for waited in waited {
            slot.queue_delay.record_ms(waited.as_secs_f64() * 1000.0);
            slot.service.record_ms(took.as_secs_f64() * 1000.0);
        }
    }

    /// Counts a frame of a live map that was written this long after it was cut.
    pub fn fanned_out(&self, lag: Duration, now: Instant) {
        let second = self.second(now);
        if let Some(slot) = slot(&mut self.lock().slots, second) {
            slot.fanout_lag.record_ms(lag.as_secs_f64() * 1000.0);
        }
    }

    /// How long commands have waited lately, and how late frames were: the 99th percentile of
    /// each, in milliseconds. A writer that is stuck answers nobody, so what it is at counts too.
    #[must_use]
    pub fn strain(&self, now: Instant) -> (f64, f64) {
        let current = self.second(now);
        let recent = current.saturating_sub(STRAIN_SECS)..=current;
        let (mut queue, mut fanout) = (Latency::default(), Latency::default());
        let inner = self.lock();
        for slot in inner.slots.iter().filter(|slot| recent.contains(&slot.second)) {
            queue.add(&slot.queue_delay);
            fanout.add(&slot.fanout_lag);
        }
        let running = inner.busy_since.iter().flatten();
        let longest = running.map(|since| now.saturating_duration_since(*since)).max();
        let p99 = |latency: &Latency| latency.quantile_ms(0.99).unwrap_or(0.0);
        let stuck = longest.unwrap_or_default().as_secs_f64() * 1000.0;
        (p99(&queue).max(stuck), p99(&fanout))
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What several processes report, as one: requests add up, and of what people wait for the worst
/// counts. Each event is told of by whoever has its seats; if it is changing hands and two tell, the
/// later report counts.
#[must_use]
pub fn merged(own: LoadReport, others: Vec<LoadReport>) -> LoadReport {
    others.into_iter().fold(own, |mut sum, other| {
        sum.window_ms = sum.window_ms.max(other.window_ms);
        sum.requests_total += other.requests_total;
        sum.errors_total += other.errors_total;
        sum.latency.add(&other.latency);
        sum.queue_delay.add(&other.queue_delay);
        sum.service.add(&other.service);
        sum.seat_mode_level = sum.seat_mode_level.max(other.seat_mode_level);
        if other.db_cpu > sum.db_cpu {
            (sum.db_cpu, sum.db_cpu_source) = (other.db_cpu, other.db_cpu_source);
        }
        for stock in other.stock {
            match sum.stock.iter_mut().find(|known| known.event == stock.event) {
                Some(known) if other.at > sum.at => *known = stock,
                Some(_) => {}
                None => sum.stock.push(stock),
            }
        }
        // The oldest news in it.
        sum.at = sum.at.min(other.at);
        sum
    })
}

/// The slot of a second, unless the ring has moved on from it.
fn slot(slots: &mut [Slot], second: u64) -> Option<&mut Slot> {
    let len = slots.len() as u64;
    // The remainder is below the length, which is a usize.
    let slot = slots.get_mut(usize::try_from(second % len).unwrap_or(0))?;
    if slot.second > second {
        return None;
    }
    if slot.second != second {
        *slot = Slot { second, ..Slot::default() };
    }
    Some(slot)
}

#[cfg(test)]
mod tests {
    use admission_api::Stock;
    use keys::Timestamp;

    use super::*;

    fn report(at_secs: u64, requests: u64, cpu: Option<f64>, stock: &[(&str, u64)]) -> LoadReport {
        let stock = stock.iter().map(|(event, free)| Stock {
            event: event.parse().unwrap(),
            capacity: 100,
            free: *free,
            held: 0,
            paying: 0,
            sold: 100 - free,
            blocked: 0,
            holds: 0,
            expected_returns: Vec::new(),
        });
        let mut latency = Latency::default();
        latency.record_ms(5.0);
        LoadReport {
            at: Timestamp::from_secs(at_secs),
            window_ms: 10_000,
            requests_total: requests,
            errors_total: 1,
            queue_delay: latency.clone(),
            service: latency.clone(),
            latency,
            seat_mode_level: u8::try_from(requests).unwrap(),
            db_cpu: cpu,
            db_cpu_source: format!("of {requests}"),
            stock: stock.collect(),
        }
    }

    #[test]
    fn several_processes_report_as_one() {
        let own = report(100, 2, Some(0.2), &[("here", 10), ("moving", 7)]);
        let later = report(101, 3, None, &[("there", 20), ("moving", 5)]);
        let sum = merged(own.clone(), vec![later, report(99, 1, Some(0.9), &[("moving", 9)])]);
        let stock: Vec<_> = sum.stock.iter().map(|s| (s.event.as_str(), s.free)).collect();
        assert_eq!(stock, [("here", 10), ("moving", 5), ("there", 20)]);
        assert_eq!((sum.requests_total, sum.errors_total, sum.latency.count()), (6, 3, 3));
        assert_eq!((sum.queue_delay.count(), sum.service.count()), (3, 3));
        assert_eq!((sum.seat_mode_level, sum.at), (3, Timestamp::from_secs(99)));
        assert_eq!((sum.db_cpu, sum.db_cpu_source.as_str()), (Some(0.9), "of 1"));
        assert_eq!(merged(own.clone(), Vec::new()), own);
    }

    #[test]
    fn a_second_is_forgotten_once_the_window_has_moved_on() {
        let began = Instant::now();
        let window = Window::new(1, began);
        let at = |ms| began + Duration::from_millis(ms);
        window.answered(Duration::from_millis(3), false, at(100));
        window.answered(Duration::from_millis(3), true, at(200));
        window.begin(0, at(500));
        window.end(0, at(1500));
        let seen = window.seen(at(2000));
        assert_eq!((seen.requests, seen.errors, seen.latency.count()), (2, 1, 1));
        assert!((seen.busy_share - 0.5).abs() < 0.01, "{seen:?}");
        let seen = window.seen(at(10_500));
        assert_eq!(seen.requests, 0, "the first second is over {seen:?}");
        assert!((seen.busy_share - 0.5 / 9.5).abs() < 0.01, "{seen:?}");
    }

    #[test]
    fn strain_is_of_the_last_seconds_and_knows_a_writer_that_is_stuck() {
        let began = Instant::now();
        let window = Window::new(1, began);
        let at = |ms| began + Duration::from_millis(ms);
        let waited = [Duration::from_millis(300); 100];
        window.served(&waited, Duration::from_millis(4), at(500));
        window.fanned_out(Duration::from_millis(40), at(500));
        let (queue, fanout) = window.strain(at(2500));
        assert!((250.0..=320.0).contains(&queue) && (30.0..=50.0).contains(&fanout));
        assert_eq!(window.strain(at(3500)), (0.0, 0.0), "that is over");
        let seen = window.seen(at(3500));
        assert_eq!((seen.queue_delay.count(), seen.service.count()), (100, 100));
        window.begin(0, at(4000));
        assert!((window.strain(at(6000)).0 - 2000.0).abs() < 1.0, "it has been at it for 2 s");
    }

    #[test]
    fn the_busiest_writer_counts_and_so_does_work_that_has_not_ended() {
        let began = Instant::now();
        let window = Window::new(4, began);
        let at = |ms| began + Duration::from_millis(ms);
        window.begin(2, at(1000));
        window.begin(3, at(1500));
        let share = |now| window.seen(at(now)).busy_share;
        assert!((share(2000) - 0.5).abs() < 0.01, "{}", share(2000));
        window.end(3, at(2000));
        assert!((share(30_000) - 1.0).abs() < 0.01, "a stalled disk is no idle one");
        window.answered(Duration::ZERO, false, at(30_000));
        window.end(2, at(30_000));
        let seen = window.seen(at(30_000));
        assert!((seen.busy_share - 1.0).abs() < 0.01, "{seen:?}");
        assert_eq!(seen.requests, 1, "old seconds leave new ones alone");
        window.answered(Duration::ZERO, false, at(19_000));
        assert_eq!(window.seen(at(30_000)).requests, 1, "that second is over");
    }
}
