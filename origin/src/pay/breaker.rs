//! Is a gateway worth asking? A breaker that opens when too many of the last calls failed.
//!
//! Only calls that tell of the gateway's health count as failed: no answer in time, 5xx, 429. A
//! declined card is an answer like any other. Time is an argument, counted from any beginning.

use std::time::Duration;

/// The window that is looked at, in slots of one second.
const WINDOW_SECS: u64 = 10;
/// Fewer calls than these say nothing.
const SAMPLES_MIN: u32 = 20;
/// It opens above this share of failed calls, in percent.
const FAILED_PERCENT_MAX: u32 = 5;
/// How long it stays open before somebody may try.
const OPEN_FOR: Duration = Duration::from_secs(5);
/// How many may try, and must all succeed, for it to close.
const PROBES: u32 = 3;
/// Probes that have told nothing by then are given up, and others may try.
const PROBES_WITHIN: Duration = Duration::from_secs(30);

/// Where a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerPhase {
    /// Calls go through.
    Closed,
    /// A few calls try.
    HalfOpen,
    /// None do.
    Open,
}

/// Leave for one call. Its outcome counts only in the phase that it was given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    phase_number: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    calls: u32,
    failed: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    HalfOpen { since: Duration, given: u32, succeeded: u32 },
    Open { until: Duration },
}

/// A breaker for one gateway.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// Counts phases, so that a late answer is not taken for a probe's.
    phase_number: u64,
    slots: [Slot; WINDOW_SECS as usize],
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed, phase_number: 0, slots: Default::default() }
    }
}

impl Breaker {
    /// How long until it is worth asking leave; `None` is at once.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until } if until > now => Some(until - now),
            State::HalfOpen { since, given, .. } if given >= PROBES => {
                let until = since + PROBES_WITHIN;
                (until > now).then(|| Duration::from_secs(1).min(until - now))
            }
            State::Open { .. } | State::HalfOpen { .. } | State::Closed => None,
        }
    }

    /// Asks leave for one call at `now`.
    ///
    /// # Errors
    /// How long until it is worth asking again.
    pub fn admit(&mut self, now: Duration) -> Result<Leave, Duration> {
        if let Some(wait) = self.wait(now) {
            return Err(wait);
        }
        match self.state {
            State::Open { .. } => self.half_open(now),
            State::HalfOpen { given, .. } if given >= PROBES => self.half_open(now),
            State::HalfOpen { .. } | State::Closed => {}
        }
        if let State::HalfOpen { given, .. } = &mut self.state {
            *given += 1;
        }
        Ok(Leave { phase_number: self.phase_number })
    }

    /// Tells how a call went.
    pub fn record(&mut self, leave: Leave, is_failed: bool, now: Duration) {
        if leave.phase_number != self.phase_number {
            return;
        }
        match &mut self.state {
            State::Open { .. } => {}
            State::HalfOpen { .. } if is_failed => self.open(now),
            State::HalfOpen { succeeded, .. } => {
                *succeeded += 1;
                if *succeeded >= PROBES {
                    self.turn(State::Closed);
                    self.slots = Default::default();
                }
            }
            State::Closed => {
                self.count(is_failed, now);
                let (calls, failed) = self.seen(now);
                if calls >= SAMPLES_MIN && failed * 100 > calls * FAILED_PERCENT_MAX {
                    self.open(now);
                }
            }
        }
    }

    /// Where it is at `now`.
    #[must_use]
    pub fn phase(&self, now: Duration) -> BreakerPhase {
        match self.state {
            State::Closed => BreakerPhase::Closed,
            State::Open { until } if until > now => BreakerPhase::Open,
            State::HalfOpen { .. } | State::Open { .. } => BreakerPhase::HalfOpen,
        }
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.phase_number += 1;
    }

    fn open(&mut self, now: Duration) {
        self.turn(State::Open { until: now + OPEN_FOR });
    }

    fn half_open(&mut self, now: Duration) {
        self.turn(State::HalfOpen { since: now, given: 0, succeeded: 0 });
    }

    fn count(&mut self, is_failed: bool, now: Duration) {
        let second = now.as_secs();
        let slot = &mut self.slots[(second % WINDOW_SECS) as usize];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot.calls += 1;
        slot.failed += u32::from(is_failed);
    }

    /// Calls of the window, and how many of them failed.
    fn seen(&self, now: Duration) -> (u32, u32) {
        let first = (now.as_secs() + 1).saturating_sub(WINDOW_SECS);
        let counted = self.slots.iter().filter(|slot| slot.second >= first);
        counted.fold((0, 0), |(calls, failed), slot| (calls + slot.calls, failed + slot.failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Makes calls a millisecond apart from `from` on, every `failed_every`th of which fails.
    fn call(breaker: &mut Breaker, from: u64, calls: u64, failed_every: u64) {
        for n in 1..=calls {
            let now = at(from + n);
            if let Ok(leave) = breaker.admit(now) {
                breaker.record(leave, failed_every > 0 && n % failed_every == 0, now);
            }
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn it_opens_above_five_percent_of_at_least_twenty_calls() {
        //    calls  every nth fails   phase
        check(   19,  1,               BreakerPhase::Closed); // too few to tell
        check(   20,  1,               BreakerPhase::Open);
        check(   20, 20,               BreakerPhase::Closed); // 5 % is not above 5 %
        check(  100, 16,               BreakerPhase::Open);   // 6 %
        check( 1000, 21,               BreakerPhase::Closed);
        check( 1000,  0,               BreakerPhase::Closed); // declines count as answers
    }

    #[track_caller]
    fn check(calls: u64, failed_every: u64, expected: BreakerPhase) {
        let mut breaker = Breaker::default();
        call(&mut breaker, 1000, calls, failed_every);
        assert_eq!(breaker.phase(at(1000 + calls)), expected, "{calls}, every {failed_every}th");
    }

    #[test]
    fn failures_of_more_than_ten_seconds_ago_are_forgotten() {
        let mut breaker = Breaker::default();
        call(&mut breaker, 0, 19, 1);
        call(&mut breaker, 10_000, 100, 0);
        assert_eq!(breaker.phase(at(10_200)), BreakerPhase::Closed);
        let mut breaker = Breaker::default();
        call(&mut breaker, 0, 19, 1);
        call(&mut breaker, 9000, 100, 0);
        assert_eq!(breaker.phase(at(9200)), BreakerPhase::Open, "they were nine seconds ago");
    }

    #[test]
    fn after_five_seconds_three_may_try_and_all_must_succeed() {
        let opened = || {
            let mut breaker = Breaker::default();
            call(&mut breaker, 0, 20, 1);
            breaker
        };
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(4020)), Err(at(1000)));
        let probes: Vec<Leave> = (0..3).map(|_| breaker.admit(at(5020)).unwrap()).collect();
        assert!(breaker.admit(at(5020)).is_err(), "a fourth does not try");
        for probe in &probes {
            assert_eq!(breaker.phase(at(5100)), BreakerPhase::HalfOpen);
            breaker.record(*probe, false, at(5100));
        }
        assert_eq!(breaker.phase(at(5100)), BreakerPhase::Closed);

        let mut breaker = opened();
        let probe = breaker.admit(at(5020)).unwrap();
        breaker.record(probe, true, at(5100));
        assert_eq!(breaker.admit(at(5200)), Err(at(4900)), "one failed probe opens it again");
    }

    #[test]
    fn a_late_answer_is_not_taken_for_a_probes() {
        let mut breaker = Breaker::default();
        let late = breaker.admit(at(0)).unwrap();
        call(&mut breaker, 0, 20, 1);
        let _probe = breaker.admit(at(5020)).unwrap();
        breaker.record(late, true, at(5030));
        assert_eq!(breaker.phase(at(5030)), BreakerPhase::HalfOpen);
    }

    #[test]
    fn probes_that_never_answer_do_not_close_it_for_ever() {
        let mut breaker = Breaker::default();
        call(&mut breaker, 0, 20, 1);
        for _ in 0..3 {
            breaker.admit(at(5020)).unwrap();
        }
        assert!(breaker.admit(at(35_019)).is_err());
        assert!(breaker.admit(at(35_020)).is_ok());
    }
}
