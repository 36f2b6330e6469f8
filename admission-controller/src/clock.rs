//! Tells the time without jumps: the wall clock as it was at the start, and what has passed since.
//!
//! Somebody sets the wall clock back by a minute, and a front that follows it would stand for a
//! minute; set forward, it would let in a minute's worth at once. Here time passes evenly, never
//! goes back, and drifts towards the wall clock slowly enough that no pace notices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::Timestamp;

/// How fast we follow the wall clock: a twentieth of the time that passes. Faster and lines in time
/// would be visibly too short; slower and a machine that slept would be wrong for too long.
const FOLLOW_SHARE: u32 = 20;
/// A greater distance from the wall clock is worth a word in the log.
const DISTANCE_TOLD: Duration = Duration::from_secs(2);

/// The time, for everything a controller decides.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// The time at `started`, in milliseconds, as far as we have followed the wall clock.
    base_ms: AtomicU64,
    /// The latest time told.
    last_ms: AtomicU64,
    /// The moment of the last step towards the wall clock, in milliseconds since `started`.
    followed_ms: AtomicU64,
    is_far: AtomicBool,
}

impl Clock {
    /// Starts at the time that the wall clock tells.
    pub fn starting(wall: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            base_ms: AtomicU64::new(wall.as_millis()),
            last_ms: AtomicU64::new(wall.as_millis()),
            followed_ms: AtomicU64::new(0),
            is_far: AtomicBool::new(false),
        }
    }

    /// The time. Never earlier than what was told before.
    pub fn now(&self) -> Timestamp {
        let now = self.base_ms.load(Ordering::Relaxed).saturating_add(self.passed_ms());
        let last = self.last_ms.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_millis(now.max(last))
    }

    /// Takes a small step towards the wall clock. One task does this, regularly.
    pub fn follow(&self, wall: Timestamp) {
        let passed_ms = self.passed_ms();
        let since_ms = passed_ms - self.followed_ms.swap(passed_ms, Ordering::Relaxed);
        let base_ms = self.base_ms.load(Ordering::Relaxed);
        let now = Timestamp::from_millis(base_ms.saturating_add(passed_ms));
        self.base_ms.store(followed(base_ms, now, wall, since_ms), Ordering::Relaxed);
        let distance = now.since(wall).max(wall.since(now));
        let is_far = distance > DISTANCE_TOLD;
        if is_far && !self.is_far.swap(is_far, Ordering::Relaxed) {
            tracing::warn!(
                distance_secs = distance.as_secs(),
                "clock: the machine's clock was set; it is followed slowly"
            );
        } else {
            self.is_far.store(is_far, Ordering::Relaxed);
        }
    }

    fn passed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The new base after `since_ms` have passed, if the wall clock tells `wall` at our `now`.
fn followed(base_ms: u64, now: Timestamp, wall: Timestamp, since_ms: u64) -> u64 {
    let step_ms_max = since_ms / u64::from(FOLLOW_SHARE);
    let (now, wall) = (now.as_millis(), wall.as_millis());
    if wall >= now {
        base_ms.saturating_add((wall - now).min(step_ms_max))
    } else {
        base_ms.saturating_sub((now - wall).min(step_ms_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_clock_that_was_set_is_followed_slowly() {
        //    wall clock               followed by
        check(NOW,                            0);
        check(NOW.plus_secs(3600),           25);
        check(NOW.minus_secs(3600),         -25);
        check(Timestamp::from_millis(NOW.as_millis() + 3),  3);
        check(Timestamp::from_millis(NOW.as_millis() - 3), -3);
    }

    #[track_caller]
    fn check(wall: Timestamp, expected_ms: i64) {
        let base_ms = NOW.as_millis() - 10_000;
        let after = followed(base_ms, NOW, wall, 500);
        assert_eq!(after.cast_signed() - base_ms.cast_signed(), expected_ms);
    }

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::starting(NOW);
        std::thread::sleep(Duration::from_millis(60));
        let before = clock.now();
        clock.follow(NOW.minus_secs(3600));
        assert!(clock.now() >= before);
        assert!(clock.now().since(NOW) < Duration::from_secs(60));
    }
}
