//! Decides how many visitors a second may come in, and says why in one sentence.
//!
//! Additive increase, multiplicative decrease: the pace creeps up while the origin is well below
//! its targets and somebody waits, and falls by a third when one of them is missed. It is a first
//! law, slow on purpose: who is let in now is felt at the origin over minutes.
//!
//! Old news never raises the pace, and fast errors are no good news: an origin that answers
//! `503` in a millisecond is overloaded, whatever its p95 says.

use std::time::Duration;

use admission_api::PaceLimits;
use keys::Timestamp;
use serde::{Deserialize, Serialize};

/// A signal older than this holds the pace: three reports were missed.
pub const FRESH: Duration = Duration::from_secs(3);
/// Silence longer than this makes the pace decay towards the floor.
pub const HOLD: Duration = Duration::from_secs(10);
/// After this long the distance to the floor has halved.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// The time in which one additive increase is spent.
const CONTROL_PERIOD: Duration = Duration::from_secs(1);
/// At most one cut in two control periods: the first must have had a chance to be felt. And none
/// before the reports cover only what came after the last one, see [`Source::window`].
const CUT_EVERY: Duration = Duration::from_secs(2);
/// A report is this old at most when the next one replaces it.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A report that claims to cover more is not believed: it would put off cuts for ever.
const WINDOW_MAX: Duration = Duration::from_secs(60);
/// What is left of the pace after a cut.
const CUT_TO: f64 = 0.7;
/// The pace rises only while every signal is below this share of its target.
const RISE_BELOW: f64 = 0.8;
/// One control period adds this share of the pace, and at least 1.
const RISE_SHARE: f64 = 0.05;
/// More failed requests than this share count as overload, however fast they failed.
pub const ERROR_SHARE_MAX: f64 = 0.05;
/// Longest gap between two steps that counts; idle time banks nothing, and costs nothing either.
const STEP_MAX: Duration = Duration::from_secs(2);

/// What one source says about the origin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Source {
    /// How long ago it said so.
    pub age: Duration,
    /// The time that its numbers cover: a spike stays in them for this long.
    pub window: Duration,
    /// p95 of the requests that did not fail; `None` if there were none.
    pub p95_ms: Option<f64>,
    /// Failed of all requests, 0 to 1; `None` if there were too few to tell.
    pub error_share: Option<f64>,
    /// Busy share of the database's processor, 0 to 1, if the source knows it.
    pub db_cpu: Option<f64>,
}

impl Source {
    fn is_fresh(&self) -> bool {
        self.age <= FRESH
    }
}

/// Seats of the event, as far as the pace needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Seats that anyone may still take.
    pub free: u64,
    /// Seats in the hands of those inside: held or being paid.
    pub in_hands: u64,
}

/// Everything that goes into one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Signals {
    /// The origin's own report; `None` if it was never heard.
    pub origin: Option<Source>,
    /// Whether the origin is asked for reports at all: then its silence counts as silence.
    pub is_origin_asked: bool,
    /// What edges saw; `None` if no edge was heard.
    pub edges: Option<Source>,
    /// Requests under way at the origin, as edges see it.
    pub in_flight: u64,
    /// Visitors who wait.
    pub waiting: u64,
    /// Passes that have not ended.
    pub inside: u64,
    /// Visitors whose turn has come lately and who have not claimed yet.
    pub called: u64,
    /// Share of those called that does not come, as learned: 0 to 1.
    pub noshow_share: f64,
    /// Stock, if the origin tells it.
    pub left: Option<Left>,
}

/// What one step leaves to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// What the law allows, also while the front stands for another reason.
    pub per_sec: f64,
    /// When the last step was made.
    pub stepped_at: Timestamp,
    /// When the pace was last cut.
    pub cut_at: Option<Timestamp>,
    /// When there was news last that says how the origin fares, or the start.
    pub news_at: Timestamp,
}

impl State {
    /// Begins at a pace.
    #[must_use]
    pub const fn starting(per_sec: f64, now: Timestamp) -> Self {
        Self { per_sec, stepped_at: now, cut_at: None, news_at: now }
    }
}

/// The limit that binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// None: the pace rises.
    Rising,
    /// A signal is between 80 % and 100 % of its target.
    NearTarget,
    /// p95 is above its target.
    Latency,
    /// Too many requests fail.
    Errors,
    /// The database's processor is above its target.
    Database,
    /// `per_sec_max`.
    Maximum,
    /// `per_sec_min`: a cut would go below it.
    Minimum,
    /// Nobody waits.
    Demand,
    /// `inside_max`.
    Inside,
    /// Nothing is free at the moment.
    Stock,
    /// There is no news.
    Stale,
    /// The sale has not opened.
    Scheduled,
    /// The operator stopped the front.
    Paused,
    /// Nothing is left.
    SoldOut,
    /// The room gives passes silently.
    Off,
}

impl Binding {
    /// All of them, for metrics.
    pub const ALL: [Self; 15] = [
        Self::Rising,
        Self::NearTarget,
        Self::Latency,
        Self::Errors,
        Self::Database,
        Self::Maximum,
        Self::Minimum,
        Self::Demand,
        Self::Inside,
        Self::Stock,
        Self::Stale,
        Self::Scheduled,
        Self::Paused,
        Self::SoldOut,
        Self::Off,
    ];

    /// The name used in metrics and decisions.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rising => "rising",
            Self::NearTarget => "near_target",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Database => "database",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
            Self::Demand => "demand",
            Self::Inside => "inside",
            Self::Stock => "stock",
            Self::Stale => "stale",
            Self::Scheduled => "scheduled",
            Self::Paused => "paused",
            Self::SoldOut => "sold_out",
            Self::Off => "off",
        }
    }
}

/// The numbers a decision rests on, as they are kept and shown.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Inputs {
    /// The worse p95 of the fresh sources.
    pub p95_ms: Option<f64>,
    /// The worse error share of the fresh sources.
    pub error_share: Option<f64>,
    /// The database's processor.
    pub db_cpu: Option<f64>,
    /// Passes that have not ended.
    pub inside: u64,
    /// Called lately and not claimed.
    pub called: u64,
    /// Waiting.
    pub waiting: u64,
    /// Share of those called that does not come, as learned: 0 to 1.
    #[serde(default)]
    pub noshow_share: f64,
}

/// What a step decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Visitors a second who are to come in; 0 while the front stands. The front moves faster if
    /// not all who are called come.
    pub pace_per_sec: f64,
    /// How many more may be let in at this moment, if `inside_max` bounds it.
    pub headroom: Option<u64>,
    /// The limit that binds.
    pub binding: Binding,
    /// One sentence for people, with the numbers.
    pub reason: String,
    /// Whether a target was missed.
    pub is_over_target: bool,
    /// What it rests on.
    pub inputs: Inputs,
}

/// A signal beside its target.
#[derive(Clone, Copy)]
struct Measured {
    binding: Binding,
    value: f64,
    target: f64,
}

impl Measured {
    fn share(self) -> f64 {
        self.value / self.target
    }
}

/// One step of the law. Calling it more often changes nothing but the smoothness.
#[must_use]
pub fn step(
    state: &State,
    signals: &Signals,
    limits: &PaceLimits,
    now: Timestamp,
) -> (State, Decision) {
    let elapsed = now.since(state.stepped_at);
    let fresh = || [signals.origin, signals.edges].into_iter().flatten().filter(Source::is_fresh);
    let worst = |of: fn(&Source) -> Option<f64>| fresh().filter_map(|s| of(&s)).reduce(f64::max);
    let inputs = Inputs {
        p95_ms: worst(|source| source.p95_ms),
        error_share: worst(|source| source.error_share),
        db_cpu: worst(|source| source.db_cpu),
        inside: signals.inside,
        called: signals.called,
        waiting: signals.waiting,
        noshow_share: signals.noshow_share,
    };
    let measured = [
        (Binding::Errors, inputs.error_share, ERROR_SHARE_MAX),
        (Binding::Latency, inputs.p95_ms, limits.latency_p95_ms),
        (Binding::Database, inputs.db_cpu, limits.db_cpu),
    ];
    let tightest = measured
        .into_iter()
        .filter_map(|(binding, value, target)| Some(Measured { binding, value: value?, target }))
        .max_by(|a, b| a.share().total_cmp(&b.share()));
    let over = tightest.filter(|measured| measured.share() > 1.0);
    let is_near = tightest.is_some_and(|measured| measured.share() >= RISE_BELOW);

    // Whose silence counts: the origin's if it is asked, else the edges'.
    let heard = if signals.is_origin_asked { signals.origin } else { signals.edges };
    // Somebody is in there, or asks, and no request ends: that may be an origin that hangs. A shop
    // where nobody does anything is no reason to worry, unless more are to be let in.
    let is_at_work = signals.in_flight > 0 || (signals.inside > 0 && signals.waiting > 0);
    let is_blind = is_at_work && inputs.p95_ms.is_none() && inputs.error_share.is_none();
    let is_heard = heard.is_some_and(|source| source.is_fresh());
    let news_at = if is_heard && !is_blind { now } else { state.news_at };
    let silence = match heard {
        Some(source) if !is_blind => source.age,
        Some(_) | None => now.since(state.news_at),
    };

    let clip = |per_sec: f64| per_sec.clamp(limits.per_sec_min, limits.per_sec_max);
    let before = clip(state.per_sec);
    let said = numbers(&inputs, limits);
    let mut cut_at = state.cut_at;
    let (per_sec, binding, why) = if let Some(over) = over {
        let windows = fresh().map(|source| source.window.min(WINDOW_MAX) + REPORT_EVERY);
        let felt_after = windows.fold(CUT_EVERY, Duration::max);
        // A cut in the future was made by a clock that has been set back.
        let is_felt = cut_at.is_none_or(|at| at > now || now.since(at) >= felt_after);
        let after = if is_felt { clip(before * CUT_TO) } else { before };
        if is_felt {
            cut_at = Some(now);
        }
        if after < before {
            (after, over.binding, format!("falling: {said}"))
        } else if before <= limits.per_sec_min {
            (after, Binding::Minimum, format!("held at the least that is allowed: {said}"))
        } else {
            (after, over.binding, format!("holding after a cut: {said}"))
        }
    } else if heard.is_none() || is_blind || silence > FRESH {
        let age = match heard {
            Some(_) if is_blind && is_heard => {
                format!("no request has ended at the origin for {} s", silence.as_secs())
            }
            Some(_) => format!("no news of the origin for {} s", silence.as_secs()),
            None => "no news of the origin yet".to_owned(),
        };
        if silence <= HOLD {
            (before, Binding::Stale, format!("holding: {age}"))
        } else {
            let halves = elapsed.min(STEP_MAX).as_secs_f64() / HALF_LIFE.as_secs_f64();
            let floor = limits.per_sec_min;
            let after = clip(floor + (before - floor) * 0.5_f64.powf(halves));
            (after, Binding::Stale, format!("falling to the floor of {}: {age}", rate(floor)))
        }
    } else if signals.waiting == 0 {
        (before, Binding::Demand, format!("nobody waits: {said}"))
    } else if is_near {
        (before, Binding::NearTarget, format!("holding near the target: {said}"))
    } else if before >= limits.per_sec_max {
        (before, Binding::Maximum, format!("held at the most that is allowed: {said}"))
    } else {
        let periods = elapsed.min(STEP_MAX).as_secs_f64() / CONTROL_PERIOD.as_secs_f64();
        let after = clip(before + (before * RISE_SHARE).max(1.0) * periods);
        (after, Binding::Rising, format!("rising: {said}"))
    };
    let headroom = limits
        .inside_max
        .map(|max| max.saturating_sub(signals.inside.saturating_add(signals.called)));
    let stands = if signals.left.is_some_and(|left| left.free == 0) {
        let in_hands = signals.left.map_or(0, |left| left.in_hands);
        let reason = format!(
            "standing: what is left is in the hands of those inside ({in_hands} seats held or \
             being paid)"
        );
        Some((Binding::Stock, reason))
    } else if headroom == Some(0) {
        let max = limits.inside_max.unwrap_or_default();
        let reason = format!(
            "standing: {} inside and {} called are all that {max} inside allows",
            signals.inside, signals.called
        );
        Some((Binding::Inside, reason))
    } else {
        None
    };
    // While the front stands, an idle origin says nothing about the pace it could bear: what the law
    // allows may fall, but it does not wind up.
    let (allowed, pace_per_sec, binding, reason) = match stands {
        Some((binding, reason)) => (per_sec.min(before), 0.0, binding, reason),
        None => (per_sec, per_sec, binding, format!("{} a second, {why}", rate(per_sec))),
    };
    let next = State { per_sec: allowed, stepped_at: now, cut_at, news_at };
    let is_over_target = over.is_some();
    (next, Decision { pace_per_sec, headroom, binding, reason, is_over_target, inputs })
}

/// "p95 82 ms of 250 ms, database 41 % of 80 %".
fn numbers(inputs: &Inputs, limits: &PaceLimits) -> String {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let p95 = match inputs.p95_ms {
        Some(p95_ms) => format!("p95 {p95_ms:.0} ms of {:.0} ms", limits.latency_p95_ms),
        None => "no requests to measure".to_owned(),
    };
    let db = inputs
        .db_cpu
        .map(|share| format!(", database {} of {}", percent(share), percent(limits.db_cpu)));
    let errors = inputs
        .error_share
        .filter(|share| *share > ERROR_SHARE_MAX * RISE_BELOW)
        .map(|share| format!(", errors {} of {}", percent(share), percent(ERROR_SHARE_MAX)));
    p95 + &db.unwrap_or_default() + &errors.unwrap_or_default()
}

/// One decimal where it matters.
fn rate(per_sec: f64) -> String {
    if per_sec.fract().abs() < 0.05 { format!("{per_sec:.0}") } else { format!("{per_sec:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits = PaceLimits {
        per_sec_min: 1.0,
        per_sec_max: 100.0,
        per_sec_start: 10.0,
        latency_p95_ms: 250.0,
        db_cpu: 0.8,
        inside_max: Some(500),
        noshow_factor_max: 5.0,
    };
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A source that is `age_secs` old.
    fn source(age_secs: u64, p95_ms: f64, errors: f64, db: Option<f64>) -> Option<Source> {
        Some(Source {
            age: Duration::from_secs(age_secs),
            window: Duration::ZERO,
            p95_ms: Some(p95_ms),
            error_share: Some(errors),
            db_cpu: db,
        })
    }

    fn busy(origin: Option<Source>, edges: Option<Source>) -> Signals {
        Signals { origin, is_origin_asked: true, edges, waiting: 900, ..Signals::default() }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_pace_follows_the_worse_fresh_signal_and_says_so() {
        let db = Some(0.41);
        //    pace   origin                        edges                        pace   binding               reason
        check(36.0,  source(0, 82.0, 0.0, db),     None,                        37.8,  Binding::Rising,      "37.8 a second, rising: p95 82 ms of 250 ms, database 41 % of 80 %");
        check(4.0,   source(0, 82.0, 0.0, None),   None,                         5.0,  Binding::Rising,      "5 a second, rising: p95 82 ms of 250 ms");
        check(99.0,  source(0, 82.0, 0.0, None),   None,                       100.0,  Binding::Rising,      "100 a second, rising: p95 82 ms of 250 ms");
        check(100.0, source(0, 82.0, 0.0, None),   None,                       100.0,  Binding::Maximum,     "100 a second, held at the most that is allowed: p95 82 ms of 250 ms");
        check(40.0,  source(0, 210.0, 0.0, db),    None,                        40.0,  Binding::NearTarget,  "40 a second, holding near the target: p95 210 ms of 250 ms, database 41 % of 80 %");
        check(40.0,  source(0, 300.0, 0.0, db),    None,                        28.0,  Binding::Latency,     "28 a second, falling: p95 300 ms of 250 ms, database 41 % of 80 %");
        check(40.0,  source(0, 82.0, 0.0, db),     source(1, 400.0, 0.0, None), 28.0,  Binding::Latency,     "28 a second, falling: p95 400 ms of 250 ms, database 41 % of 80 %");
        check(40.0,  source(0, 82.0, 0.0, db),     source(9, 400.0, 0.0, None), 42.0,  Binding::Rising,      "42 a second, rising: p95 82 ms of 250 ms, database 41 % of 80 %");
        check(40.0,  source(0, 82.0, 0.0, Some(0.9)), None,                     28.0,  Binding::Database,    "28 a second, falling: p95 82 ms of 250 ms, database 90 % of 80 %");
        check(40.0,  source(0, 1.0, 0.3, db),      None,                        28.0,  Binding::Errors,      "28 a second, falling: p95 1 ms of 250 ms, database 41 % of 80 %, errors 30 % of 5 %");
        check(1.2,   source(0, 300.0, 0.0, None),  None,                         1.0,  Binding::Latency,     "1 a second, falling: p95 300 ms of 250 ms");
        check(1.0,   source(0, 300.0, 0.0, None),  None,                         1.0,  Binding::Minimum,     "1 a second, held at the least that is allowed: p95 300 ms of 250 ms");
        check(40.0,  source(4, 82.0, 0.0, db),     source(0, 82.0, 0.0, None),  40.0,  Binding::Stale,       "40 a second, holding: no news of the origin for 4 s");
        check(40.0,  None,                         None,                        40.0,  Binding::Stale,       "40 a second, holding: no news of the origin yet");
        check(40.0,  source(4, 82.0, 0.0, db),     source(0, 400.0, 0.0, None), 28.0,  Binding::Latency,     "28 a second, falling: p95 400 ms of 250 ms");
    }

    #[track_caller]
    fn check(
        before: f64,
        origin: Option<Source>,
        edges: Option<Source>,
        after: f64,
        binding: Binding,
        reason: &str,
    ) {
        let state = State::starting(before, NOW.minus_secs(1));
        let (next, decision) = step(&state, &busy(origin, edges), &LIMITS, NOW);
        assert!((next.per_sec - after).abs() < 1e-9, "{} instead of {after}", next.per_sec);
        assert_eq!((decision.binding, decision.reason.as_str()), (binding, reason));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_front_stands_when_the_inside_or_the_stock_says_so() {
        let left = |free, in_hands| Some(Left { free, in_hands });
        //          inside  called  left           pace   binding            reason
        check_stand(   100,     10, None,          true,  Binding::Rising,   "21 a second, rising: p95 10 ms of 250 ms");
        check_stand(   490,     10, None,          false, Binding::Inside,   "standing: 490 inside and 10 called are all that 500 inside allows");
        check_stand(   600,      0, None,          false, Binding::Inside,   "standing: 600 inside and 0 called are all that 500 inside allows");
        check_stand(   100,      0, left(1, 9),    true,  Binding::Rising,   "21 a second, rising: p95 10 ms of 250 ms");
        check_stand(   100,      0, left(0, 9),    false, Binding::Stock,    "standing: what is left is in the hands of those inside (9 seats held or being paid)");
    }

    #[track_caller]
    fn check_stand(
        inside: u64,
        called: u64,
        left: Option<Left>,
        moves: bool,
        binding: Binding,
        reason: &str,
    ) {
        let state = State::starting(20.0, NOW.minus_secs(1));
        let signals = Signals { inside, called, left, ..busy(source(0, 10.0, 0.0, None), None) };
        let (next, decision) = step(&state, &signals, &LIMITS, NOW);
        assert_eq!((decision.binding, decision.reason.as_str()), (binding, reason));
        assert_eq!(decision.pace_per_sec > 0.0, moves);
        let expected = if moves { 21.0 } else { 20.0 };
        assert_eq!(next.per_sec, expected, "what the law allows is kept while the front stands");
    }

    #[test]
    fn the_law_does_not_wind_up_while_the_front_stands() {
        let mut state = State::starting(20.0, NOW);
        for second in 1..=60_u64 {
            let signals = Signals { inside: 500, ..busy(source(0, 10.0, 0.0, None), None) };
            (state, _) = step(&state, &signals, &LIMITS, NOW.plus_secs(second));
            assert_eq!(state.per_sec, 20.0);
        }
        let signals = Signals { inside: 500, ..busy(source(0, 900.0, 0.0, None), None) };
        let (state, _) = step(&state, &signals, &LIMITS, NOW.plus_secs(61));
        assert_eq!(state.per_sec, 14.0, "but it falls");
    }

    #[test]
    fn one_spike_is_cut_once_as_long_as_reports_still_contain_it() {
        let mut state = State::starting(100.0, NOW);
        for second in 1..=10_u64 {
            let spike = source(0, 900.0, 0.0, None);
            let origin = spike.map(|s| Source { window: Duration::from_secs(10), ..s });
            (state, _) = step(&state, &busy(origin, None), &LIMITS, NOW.plus_secs(second));
        }
        assert_eq!(state.per_sec, 70.0);
        let origin = source(0, 900.0, 0.0, None);
        let origin = origin.map(|s| Source { window: Duration::from_secs(10), ..s });
        let (after, _) = step(&state, &busy(origin, None), &LIMITS, NOW.plus_secs(12));
        assert_eq!(after.per_sec, 49.0, "what is still slow after the window is cut again");
        let back = step(&state, &busy(origin, None), &LIMITS, NOW.minus_secs(60)).0;
        assert_eq!(back.per_sec, 49.0, "a clock that was set back puts off nothing");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn no_data_is_no_good_data_once_somebody_is_inside() {
        //           inside  in_flight  waiting   after 5 s  after 60 s
        check_blind(      0,         0,     900,       25.0,     Some(100.0)); // starting up
        check_blind(      5,         0,     900,       20.0,            None);
        check_blind(      0,         3,     900,       20.0,            None);
        check_blind(      5,         3,       0,       20.0,            None);
        check_blind(      5,         0,       0,       20.0,      Some(20.0)); // a quiet shop
    }

    /// `None`: less than half the pace is left.
    #[track_caller]
    fn check_blind(inside: u64, in_flight: u64, waiting: u64, soon: f64, late: Option<f64>) {
        let silent = Source { db_cpu: Some(0.1), ..Source::default() };
        let signals = Signals { inside, in_flight, waiting, ..busy(Some(silent), None) };
        let mut state = State::starting(20.0, NOW);
        for second in 1..=60_u64 {
            (state, _) = step(&state, &signals, &LIMITS, NOW.plus_secs(second));
            if second == 5 {
                assert!((state.per_sec - soon).abs() < 1.0, "{}", state.per_sec);
            }
        }
        match late {
            Some(late) => assert!((state.per_sec - late).abs() < 1e-9, "{}", state.per_sec),
            None => assert!(state.per_sec < 10.0, "{}", state.per_sec),
        }
    }

    #[test]
    fn a_step_of_the_clock_costs_no_more_than_one_step() {
        let state = State::starting(100.0, NOW);
        let (next, _) = step(&state, &busy(None, None), &LIMITS, NOW.plus_secs(86_400));
        assert!(next.per_sec > 90.0, "{}", next.per_sec);
    }

    #[test]
    fn a_pace_is_cut_at_most_once_in_two_periods() {
        let mut state = State::starting(100.0, NOW);
        let mut paces = Vec::new();
        for half_secs in 1..=8_u64 {
            let now = Timestamp::from_millis(NOW.as_millis() + half_secs * 500);
            let signals = busy(source(0, 900.0, 0.0, None), None);
            (state, _) = step(&state, &signals, &LIMITS, now);
            paces.push(state.per_sec.round());
        }
        assert_eq!(paces, [70.0, 70.0, 70.0, 70.0, 49.0, 49.0, 49.0, 49.0]);
    }

    #[test]
    fn old_news_never_raises_the_pace_and_long_silence_leads_to_the_floor() {
        let mut state = State::starting(81.0, NOW);
        for second in 1..=400_u64 {
            let before = state.per_sec;
            let signals = busy(source(second, 1.0, 0.0, None), source(second, 1.0, 0.0, None));
            (state, _) = step(&state, &signals, &LIMITS, NOW.plus_secs(second));
            assert!(second <= FRESH.as_secs() || state.per_sec <= before, "at {second} s");
            if second == HOLD.as_secs() + 30 {
                assert!((40.0..50.0).contains(&state.per_sec), "half-life, {}", state.per_sec);
            }
        }
        assert!((1.0..1.1).contains(&state.per_sec), "{}", state.per_sec);
    }

    #[test]
    fn without_waiting_visitors_the_pace_does_not_rise() {
        let state = State::starting(20.0, NOW.minus_secs(1));
        let signals = Signals { waiting: 0, ..busy(source(0, 10.0, 0.0, None), None) };
        let (next, decision) = step(&state, &signals, &LIMITS, NOW);
        assert_eq!((next.per_sec, decision.binding), (20.0, Binding::Demand));
    }

    #[test]
    fn a_new_bound_holds_at_once() {
        let state = State::starting(80.0, NOW.minus_secs(1));
        let limits = PaceLimits { per_sec_max: 5.0, ..LIMITS };
        let (next, _) = step(&state, &busy(source(0, 10.0, 0.0, None), None), &limits, NOW);
        assert_eq!(next.per_sec, 5.0);
    }

    #[test]
    fn the_loop_settles_below_the_target_of_a_simple_origin() {
        // p95 grows with the square of the pace: 250 ms at 50 a second.
        let mut state = State::starting(10.0, NOW);
        let mut over = 0;
        for second in 1..=600_u64 {
            let p95 = 0.1 * state.per_sec * state.per_sec;
            let signals = busy(source(0, p95, 0.0, None), None);
            let (next, decision) = step(&state, &signals, &LIMITS, NOW.plus_secs(second));
            over += u32::from(decision.is_over_target);
            state = next;
        }
        assert!((40.0..=50.0).contains(&state.per_sec), "{}", state.per_sec);
        assert_eq!(over, 0, "rising stops near the target");
    }
}
