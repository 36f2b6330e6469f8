//! What time is it, if the clock may be set while we sell?
//!
//! Deadlines are compared with a time that never runs back and never jumps ahead: a clock that is
//! set an hour forward must not free every hold in the house, and one that is set an hour back must
//! not keep them for an hour longer. Time may lead what has really passed by two seconds at once,
//! and by a tenth in the long run, so that a clock that was put right is caught up with and nobody
//! is a day behind for ever. It waits for a clock that is behind by running a tenth slower.

use std::time::Duration;

use keys::Timestamp;

/// How far time may jump ahead at once: a clock that is nudged, and no more.
const LEAD_MAX: Duration = Duration::from_secs(2);
/// Of what passes, one part in this many may be caught up, or waited.
const CATCH_UP: u32 = 10;

/// What two clocks say: one that people set, and one that only ever runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Time of day.
    pub wall: Timestamp,
    /// Since some moment that does not change.
    pub elapsed: Duration,
}

/// Whether the clock could be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It could.
    Yes,
    /// It is behind the time that we have told already.
    HeldBack,
    /// It is further ahead than can have passed.
    HeldUp,
}

/// A time that only runs forward, and not much faster than time does.
#[derive(Debug, Clone)]
pub struct Steady {
    told: Timestamp,
    elapsed: Duration,
    /// The earliest that may be told.
    earliest: Duration,
    /// What was told plus what has passed since, since the epoch: a clock that was set back and
    /// then put right is followed at once.
    reckoned: Duration,
    /// The latest that may be told. It and the others are finer than what is told, for we are asked
    /// many times in a millisecond.
    latest: Duration,
}

impl Steady {
    /// Begins with what the clock says, or with `logged` if that is later.
    #[must_use]
    pub fn new(logged: Timestamp, reading: Reading) -> Self {
        let told = logged.max(reading.wall);
        let reckoned = since_epoch(told);
        let (earliest, latest) = (reckoned, reckoned + LEAD_MAX);
        Self { told, elapsed: reading.elapsed, earliest, reckoned, latest }
    }

    /// The latest time that was told.
    #[cfg(test)]
    pub(crate) fn told(&self) -> Timestamp {
        self.told
    }

    /// The time now.
    pub fn now(&mut self, reading: Reading) -> (Timestamp, Followed) {
        let passed = reading.elapsed.saturating_sub(self.elapsed);
        self.elapsed += passed;
        self.reckoned += passed;
        self.latest = (self.latest + passed + passed / CATCH_UP).min(self.reckoned + LEAD_MAX);
        self.earliest += passed - passed / CATCH_UP;
        let told = |at| Timestamp::default().plus(at);
        let (earliest, latest) = (told(self.earliest), told(self.latest));
        let followed = match reading.wall {
            wall if wall < earliest => Followed::HeldBack,
            wall if wall > latest => Followed::HeldUp,
            _ => Followed::Yes,
        };
        self.told = reading.wall.min(latest).max(earliest);
        self.earliest = self.earliest.max(since_epoch(self.told));
        self.reckoned = self.reckoned.max(since_epoch(self.told));
        (self.told, followed)
    }
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_millis(at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn time_runs_forward_and_never_much_faster_than_it_passes() {
        //     wall and elapsed, in ms                        told      followed
        check(&[(1_000, 1_000), (2_000, 2_000)],               2_000, Followed::Yes);
        check(&[(1_000, 1_000), (500, 1_000)],                 1_000, Followed::HeldBack);
        check(&[(1_000, 1_000), (500, 2_000)],                 1_900, Followed::HeldBack);
        check(&[(9_000_000, 0), (5_400_000, 0), (6_000_000, 600_000)],
                                                           9_540_000, Followed::HeldBack);
        check(&[(1_000, 1_000), (3_500, 2_000)],               3_500, Followed::Yes); // nudged
        check(&[(1_000, 1_000), (3_601_000, 2_000)],           4_000, Followed::HeldUp);
        // Asking often gains nothing: only what passes is caught up, a tenth faster.
        check(&[(1_000, 1_000), (3_601_000, 1_000), (3_601_000, 1_000)], 3_000, Followed::HeldUp);
        check(&[(1_000, 1_000), (3_601_000, 1_000), (3_611_000, 11_000), (3_611_000, 11_000)],
                                                              14_000, Followed::HeldUp);
    }

    #[test]
    fn a_clock_that_was_set_back_and_put_right_is_followed_at_once() {
        //     an hour passes while the clock is an hour behind
        check(
            &[(9_000_000, 0), (5_400_000, 1_000), (9_000_000, 3_600_000), (12_600_000, 3_600_000)],
            12_600_000,
            Followed::Yes,
        );
    }

    #[test]
    fn asking_many_times_in_a_millisecond_does_not_slow_time_down() {
        let reading = |micros: u64| Reading {
            wall: Timestamp::from_millis(5_000 + micros / 1000),
            elapsed: Duration::from_micros(micros),
        };
        let mut steady = Steady::new(Timestamp::default(), reading(0));
        for micros in (0..60_000_000).step_by(300) {
            let expected = (reading(micros).wall, Followed::Yes);
            assert_eq!(steady.now(reading(micros)), expected, "after {micros} microseconds");
        }
    }

    #[track_caller]
    fn check(readings: &[(u64, u64)], told: u64, followed: Followed) {
        let reading = |(wall, elapsed): (u64, u64)| Reading {
            wall: Timestamp::from_millis(wall),
            elapsed: Duration::from_millis(elapsed),
        };
        let mut steady = Steady::new(Timestamp::default(), reading(readings[0]));
        let mut last = (Timestamp::default(), Followed::Yes);
        for at in &readings[1..] {
            last = steady.now(reading(*at));
        }
        assert_eq!(last, (Timestamp::from_millis(told), followed), "{readings:?}");
    }
}
