//! How much of the seat map can we afford to show right now?
//!
//! Six levels, from the live map to a paused sale. Load moves the level up one step a second and
//! down one step after ten calm seconds, with thresholds for the way down below those for the way
//! up: a level that hides a part of the load must not be left because the load is hidden. Each
//! time that proves premature the calm that is asked for doubles.
//!
//! Load never pauses a sale. A queue that long refuses by itself, and whom to turn away for how
//! long is for a person to say: the last level is only ever set by an operator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What visitors get to see, from everything to nothing.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The map, with changes four times a second.
    #[default]
    Map,
    /// The map, with changes every two seconds.
    SlowMap,
    /// The map, asked for every few seconds; an edge may answer.
    Polled,
    /// A list of zones with how much is free in each.
    List,
    /// The best available seats, and nothing to look at.
    BestOnly,
    /// No new holds.
    Paused,
}

impl Mode {
    /// All of them, from the best to the worst.
    pub const ALL: [Self; 6] =
        [Self::Map, Self::SlowMap, Self::Polled, Self::List, Self::BestOnly, Self::Paused];

    /// Name in headers, problems and events.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::SlowMap => "slow-map",
            Self::Polled => "polled",
            Self::List => "list",
            Self::BestOnly => "best-only",
            Self::Paused => "paused",
        }
    }

    /// Number in metrics and reports: 0 to 5.
    #[must_use]
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The time between two frames of a stream; `None` if there are no streams.
    #[must_use]
    pub const fn frames_every(self) -> Option<Duration> {
        match self {
            Self::Map => Some(Duration::from_millis(250)),
            Self::SlowMap => Some(Duration::from_secs(2)),
            Self::Polled | Self::List | Self::BestOnly | Self::Paused => None,
        }
    }

    /// Whether every seat can be looked at.
    #[must_use]
    pub const fn shows_seats(self) -> bool {
        match self {
            Self::Map | Self::SlowMap | Self::Polled => true,
            Self::List | Self::BestOnly | Self::Paused => false,
        }
    }

    /// Whether named seats can be held. Who chose some before the map went may still ask.
    #[must_use]
    pub const fn takes_named_seats(self) -> bool {
        match self {
            Self::Map | Self::SlowMap | Self::Polled | Self::List => true,
            Self::BestOnly | Self::Paused => false,
        }
    }

    fn worse(self) -> Self {
        Self::ALL[(usize::from(self.level()) + 1).min(Self::ALL.len() - 1)]
    }

    fn better(self) -> Self {
        Self::ALL[usize::from(self.level()).saturating_sub(1)]
    }
}

/// What the level is judged by; what is not known counts as nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Signals {
    /// What one command in a hundred waits for the writer at least, in milliseconds.
    pub queue_p99_ms: f64,
    /// How late one frame in a hundred is written to its reader, in milliseconds.
    pub fanout_p99_ms: f64,
    /// Share of the machine's processors that this process uses, 0 to 1.
    pub cpu_share: f64,
    /// Share of the connections that may be open, 0 to 1.
    pub connections_share: f64,
}

/// From which value on a signal asks for the levels 1 to 4. Each asks for no more than what relieves
/// it: streams cost processor time and connections, and are gone at level 2. Only a queue that goes
/// on growing then asks for more.
type Thresholds = [f64; 4];

const NEVER: f64 = f64::INFINITY;
const QUEUE_MS: Thresholds = [50.0, 150.0, 400.0, 1000.0];
const FANOUT_MS: Thresholds = [400.0, 1500.0, NEVER, NEVER];
const CPU_SHARE: Thresholds = [0.85, 0.95, NEVER, NEVER];
const CONNECTIONS_SHARE: Thresholds = [0.75, 0.90, NEVER, NEVER];

/// For the way down, thresholds are this much lower.
const CALM_SHARE: f64 = 0.7;
/// Load stands this long before the level goes up by one.
const UP_AFTER: Duration = Duration::from_secs(1);
/// Calm stands this long before the level goes down by one.
const DOWN_AFTER: Duration = Duration::from_secs(10);
/// The longest calm that is ever asked for.
const DOWN_AFTER_MAX: Duration = Duration::from_secs(160);
/// A level that goes up again within this time had gone down too early.
const TOO_EARLY: Duration = Duration::from_secs(60);

/// The worst level that a signal asks for, if its thresholds were `scale` of what they are.
fn asked(signals: &Signals, scale: f64) -> Mode {
    let pairs = [
        (signals.queue_p99_ms, QUEUE_MS),
        (signals.fanout_p99_ms, FANOUT_MS),
        (signals.cpu_share, CPU_SHARE),
        (signals.connections_share, CONNECTIONS_SHARE),
    ];
    let steps = pairs.map(|(value, thresholds)| {
        thresholds.iter().take_while(|threshold| value >= **threshold * scale).count()
    });
    Mode::ALL[steps.into_iter().max().unwrap_or(0)]
}

/// The level, and since when it would rather be another one. Times are since any fixed moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    mode: Mode,
    loaded_since: Option<Duration>,
    calm_since: Option<Duration>,
    went_down_at: Option<Duration>,
    down_after: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            mode: Mode::Map,
            loaded_since: None,
            calm_since: None,
            went_down_at: None,
            down_after: DOWN_AFTER,
        }
    }
}

impl Ladder {
    /// The level.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes in the signals of now, and tells the level.
    pub fn step(&mut self, signals: &Signals, now: Duration) -> Mode {
        let is_loaded = asked(signals, 1.0) > self.mode;
        let is_calm = asked(signals, CALM_SHARE) < self.mode;
        self.loaded_since = is_loaded.then(|| self.loaded_since.unwrap_or(now));
        self.calm_since = is_calm.then(|| self.calm_since.unwrap_or(now));
        let stood = |since: Option<Duration>, long| since.is_some_and(|since| now - since >= long);
        if stood(self.loaded_since, UP_AFTER) {
            let is_early = self.went_down_at.is_some_and(|at| now - at < TOO_EARLY);
            if is_early {
                self.down_after = (self.down_after * 2).min(DOWN_AFTER_MAX);
                self.went_down_at = None;
            }
            self.mode = self.mode.worse();
            self.loaded_since = Some(now);
        } else if stood(self.calm_since, self.down_after) {
            self.mode = self.mode.better();
            self.calm_since = Some(now);
            self.went_down_at = Some(now);
        }
        let is_proven = self.went_down_at.is_some_and(|at| now - at >= TOO_EARLY);
        if is_proven && self.mode == Mode::Map {
            self.down_after = DOWN_AFTER;
            self.went_down_at = None;
        }
        self.mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn each_signal_asks_for_the_level_that_relieves_it() {
        //    queue  fan-out   CPU  connections
        asks(   0.0,     0.0, 0.00, 0.00, Mode::Map);
        asks(  49.0,   399.0, 0.84, 0.74, Mode::Map);
        asks(  50.0,     0.0, 0.00, 0.00, Mode::SlowMap);
        asks( 150.0,     0.0, 0.00, 0.00, Mode::Polled);
        asks( 400.0,     0.0, 0.00, 0.00, Mode::List);
        asks(1000.0,     0.0, 0.00, 0.00, Mode::BestOnly);
        asks(   9e9,     9e9, 1.00, 1.00, Mode::BestOnly); // pausing is for people
        asks(   0.0,   400.0, 0.00, 0.00, Mode::SlowMap);
        asks(   0.0,     9e9, 0.00, 0.00, Mode::Polled);
        asks(   0.0,     0.0, 0.86, 0.00, Mode::SlowMap);
        asks(   0.0,     0.0, 1.00, 0.00, Mode::Polled);
        asks(   0.0,     0.0, 0.00, 0.80, Mode::SlowMap);
        asks(   0.0,     0.0, 0.00, 1.00, Mode::Polled);
        asks(f64::NAN,   0.0, 0.00, 0.00, Mode::Map);
    }

    #[track_caller]
    fn asks(queue_p99_ms: f64, fanout_p99_ms: f64, cpu_share: f64, share: f64, expected: Mode) {
        let signals = Signals { queue_p99_ms, fanout_p99_ms, cpu_share, connections_share: share };
        assert_eq!(asked(&signals, 1.0), expected, "{signals:?}");
    }

    /// Plays a queue delay for some seconds, a step every half second, and tells each level with
    /// the second at which it began.
    fn play(ladder: &mut Ladder, from: u64, delays: &[(u64, f64)]) -> Vec<(u64, Mode)> {
        let mut seen = vec![(from, ladder.mode())];
        let mut second = from;
        for &(secs, queue_p99_ms) in delays {
            for _ in 0..secs {
                for half in [0, 500] {
                    let now = Duration::from_millis(second * 1000 + half);
                    let mode = ladder.step(&Signals { queue_p99_ms, ..Signals::default() }, now);
                    if seen.last().is_some_and(|(_, last)| *last != mode) {
                        seen.push((second, mode));
                    }
                }
                second += 1;
            }
        }
        seen
    }

    #[test]
    fn load_goes_up_in_order_and_comes_down_in_order() {
        use Mode::{BestOnly, List, Map, Polled, SlowMap};
        let seen = play(&mut Ladder::default(), 0, &[(20, 2000.0), (60, 1.0)]);
        let up = [(0, Map), (1, SlowMap), (2, Polled), (3, List), (4, BestOnly)];
        let down = [(30, List), (40, Polled), (50, SlowMap), (60, Map)];
        assert_eq!(seen, [up.as_slice(), down.as_slice()].concat());
    }

    #[test]
    fn a_short_peak_and_a_load_between_the_thresholds_change_nothing() {
        let mut ladder = Ladder::default();
        let peaks = [(1, 2000.0), (1, 0.0)].repeat(20);
        assert_eq!(play(&mut ladder, 0, &peaks).len(), 1, "one second is a peak");
        play(&mut ladder, 100, &[(3, 60.0)]);
        assert_eq!(ladder.mode(), Mode::SlowMap);
        let seen = play(&mut ladder, 103, &[(300, 40.0)]);
        assert_eq!(seen, [(103, Mode::SlowMap)], "40 ms is neither calm nor load at this level");
    }

    #[test]
    fn a_level_left_too_early_is_kept_longer_the_next_time() {
        let mut ladder = Ladder::default();
        let mut stays_secs = Vec::new();
        let mut halves = 0;
        let mut play_until = |is_there: fn(Mode) -> bool, queue_p99_ms| {
            let began = halves;
            let signals = Signals { queue_p99_ms, ..Signals::default() };
            while !is_there(ladder.step(&signals, Duration::from_millis(halves * 500))) {
                halves += 1;
            }
            (halves - began) / 2
        };
        for _ in 0..7 {
            play_until(|mode| mode == Mode::SlowMap, 60.0);
            stays_secs.push(play_until(|mode| mode == Mode::Map, 1.0));
        }
        assert_eq!(stays_secs, [10, 20, 40, 80, 160, 160, 160]);
    }

    #[test]
    fn a_level_has_one_name_everywhere() {
        for (at, mode) in Mode::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(mode.level()), at);
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.label());
        }
    }
}
