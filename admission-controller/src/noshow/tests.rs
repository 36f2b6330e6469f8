//! A line in virtual time: people are called, come after a random while or never, and what is
//! judged is how many come in.

use std::collections::BTreeMap;
use std::time::Duration;

use admission_api::LaneWeights;
use keys::{Lane, Timestamp};

use super::*;
use crate::front::{self, Drive, FrontState};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const TICK_MS: u64 = 500;
const TARGET: f64 = 20.0;
const FACTOR_MAX: f64 = 5.0;
const SEEDS: u64 = 5;

/// A crowd and a controller.
struct Sim {
    random: u64,
    now_ms: u64,
    state: FrontState,
    noshows: NoShows,
    /// How many come, by the tick in which they do.
    coming: BTreeMap<u64, u64>,
    /// Called and written off.
    absent_total: u64,
    issued: u64,
    /// Share that does not come, and within what time the others do.
    absent: f64,
    within_ms: (u64, u64),
    pace: f64,
    /// Arrivals of each second.
    arrivals: Vec<u64>,
}

impl Sim {
    fn new(seed: u64, absent: f64, within_secs: (u64, u64)) -> Self {
        Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1,
            now_ms: 0,
            state: FrontState::default(),
            noshows: NoShows::resumed([0.0; 3], 0, START),
            coming: BTreeMap::new(),
            absent_total: 0,
            issued: 10_000_000,
            absent,
            within_ms: (within_secs.0 * 1000, within_secs.1 * 1000),
            pace: TARGET,
            arrivals: Vec::new(),
        }
    }

    /// 0 to 1 (SplitMix64, Steele, Lea and Flood 2014).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        to_f64((z ^ (z >> 31)) >> 11) / to_f64(1 << 53)
    }

    fn now(&self) -> Timestamp {
        START.plus(Duration::from_millis(self.now_ms))
    }

    /// One control period, in the order of the controller.
    fn tick(&mut self) {
        let came = self.coming.remove(&(self.now_ms / TICK_MS)).unwrap_or(0);
        self.noshows.came([0, came, 0], TARGET, self.now());
        let drive = Drive {
            pace_per_sec: self.pace,
            weights: LaneWeights { priority: 0, standard: 1, suspect: 0, ..LaneWeights::default() },
            headroom: None,
            issued: [0, self.issued, 0],
            is_off: false,
            followed: [0; 3],
            haste: self.noshows.haste(FACTOR_MAX),
        };
        let before = self.state.lanes[Lane::Standard.index()].f0;
        let front::Advance { state, called } = front::advance(&self.state, &drive, self.now());
        let f0 = state.lanes[Lane::Standard.index()].f0;
        assert!(f0 >= before, "the front went back from {before} to {f0}");
        let most = FACTOR_MAX * TARGET * 0.5 + 1.0;
        assert!(to_f64(f0 - before) <= most, "{} in half a second", f0 - before);
        self.state = state;
        self.noshows.called(called);
        for _ in 0..called.iter().sum::<u64>() {
            if self.chance() < self.absent {
                self.absent_total += 1;
            } else {
                self.comes();
            }
        }
        if self.now_ms.is_multiple_of(1000) {
            self.arrivals.push(0);
        }
        if let Some(second) = self.arrivals.last_mut() {
            *second += came;
        }
        self.now_ms += TICK_MS;
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below a minute
    fn comes(&mut self) {
        let (least, most) = self.within_ms;
        let delay_ms = least + (self.chance() * to_f64(most - least)) as u64;
        *self.coming.entry((self.now_ms + delay_ms) / TICK_MS + 1).or_default() += 1;
    }

    fn run(&mut self, secs: u64) -> &mut Self {
        for _ in 0..secs * 1000 / TICK_MS {
            self.tick();
        }
        self
    }

    /// Mean arrivals a second over the last `secs`.
    fn mean(&self, secs: usize) -> f64 {
        let last = &self.arrivals[self.arrivals.len() - secs..];
        to_f64(last.iter().sum()) / to_f64(secs as u64)
    }

    #[track_caller]
    fn keeps_the_target(&self, what: &str) {
        let mean = self.mean(120);
        let share = self.noshows.shares()[Lane::Standard.index()];
        assert!(
            (0.9 * TARGET..=1.1 * TARGET).contains(&mean),
            "{what}: {mean:.1} a second come of {TARGET}, share {share:.2}"
        );
    }
}

/// What was learned of the lane in which everybody stands here.
fn absent_share(sim: &Sim) -> f64 {
    sim.noshows.shares()[Lane::Standard.index()]
}

#[test]
#[rustfmt::skip] // reads in columns
fn whoever_is_absent_as_many_come_as_are_to() {
    //    absent  come within s
    check(0.0,    (0, 60));
    check(0.3,    (0, 60));
    check(0.8,    (0, 60));
    check(0.3,    (0, 5));
    check(0.8,    (0, 5));
    check(0.8,    (0, 110));
    check(0.8,    (30, 60)); // nobody comes at once
}

#[track_caller]
fn check(absent: f64, within_secs: (u64, u64)) {
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, absent, within_secs);
        for _ in 0..42 {
            sim.run(10);
            let mean = sim.mean(10);
            assert!(
                mean < 2.5 * TARGET,
                "{mean} while {absent} absent are learned, {within_secs:?}"
            );
        }
        for _ in 0..5 {
            let what = format!("{absent} absent, within {within_secs:?} s, seed {seed}");
            sim.run(120).keeps_the_target(&what);
        }
    }
}

#[test]
fn without_haste_the_absent_would_leave_the_origin_idle() {
    let mut sim = Sim::new(1, 0.8, (0, 60));
    for _ in 0..1200 {
        sim.noshows = NoShows::resumed([0.0; 3], 0, sim.now());
        sim.tick();
    }
    assert!(sim.mean(120) < 0.25 * TARGET, "{}", sim.mean(120));
}

#[test]
fn a_share_that_changes_is_followed() {
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, 0.3, (0, 60));
        sim.run(600).keeps_the_target("at first");
        sim.absent = 0.8;
        sim.run(540).keeps_the_target("many absent");
        sim.absent = 0.0;
        sim.run(60);
        // All of those called at five times the pace come: it cannot be undone, but it is bounded.
        let mut worst: f64 = 0.0;
        for _ in 0..30 {
            sim.run(10);
            worst = worst.max(sim.mean(10));
        }
        assert!(worst < 4.0 * TARGET, "{worst}");
        sim.run(240).keeps_the_target("all come");
    }
}

#[test]
fn a_pause_banks_nothing_and_makes_nobody_absent() {
    for seed in 0..SEEDS {
        for within_secs in [(0, 3), (0, 60)] {
            let mut sim = Sim::new(seed, 0.3, within_secs);
            sim.run(600);
            sim.pace = 0.0;
            sim.run(5).run(85);
            let stands_at = sim.state.lanes[Lane::Standard.index()].f0;
            sim.run(90);
            assert_eq!(sim.state.lanes[Lane::Standard.index()].f0, stands_at);
            sim.pace = TARGET;
            let mut worst: f64 = 0.0;
            for _ in 0..30 {
                sim.run(10);
                worst = worst.max(sim.mean(10));
            }
            assert!(
                worst < 1.5 * TARGET,
                "{worst} a second after the pause, within {within_secs:?}"
            );
            sim.keeps_the_target("after the pause");
        }
    }
}

#[test]
fn a_burst_after_an_idle_hour_is_let_in_at_the_pace() {
    let mut sim = Sim::new(1, 0.8, (0, 60));
    sim.issued = 40_000;
    sim.run(300);
    assert!(absent_share(&sim) > 0.7, "learned: {}", absent_share(&sim));
    sim.run(3600);
    assert!(
        absent_share(&sim) < 0.1,
        "what was learned long ago has faded: {}",
        absent_share(&sim)
    );
    let front = sim.state.lanes[Lane::Standard.index()].f0;
    assert!(
        (sim.issued..=sim.issued + 20).contains(&front),
        "at most a second of plain pace ahead of the numbers"
    );
    (sim.issued, sim.absent, sim.within_ms) = (10_000_000, 0.0, (0, 2000));
    for _ in 0..12 {
        sim.run(10);
        assert!(sim.mean(10) < 1.5 * TARGET, "{}", sim.mean(10));
    }
}

#[test]
fn those_written_off_who_come_after_all_make_the_front_stand() {
    let mut sim = Sim::new(1, 0.8, (0, 60));
    sim.run(600);
    let before = sim.state.lanes[Lane::Standard.index()].f0;
    // Four times the pace for a minute, on top of those who come in time.
    sim.within_ms = (0, 60_000);
    for _ in 0..(4 * 60 * 20) {
        sim.comes();
    }
    sim.run(60);
    let moved = sim.state.lanes[Lane::Standard.index()].f0 - before;
    assert!(moved < 20 * 60, "{moved} were called, less than the plain pace would");
    sim.run(60);
    let share = absent_share(&sim);
    assert!(share < 0.8, "they are learned of as well: {share}");
    let mut worst: f64 = 0.0;
    for _ in 0..60 {
        sim.run(10);
        worst = worst.max(sim.mean(10));
    }
    assert!(worst < 1.6 * TARGET, "{worst}");
    sim.run(120).keeps_the_target("afterwards");
}

#[test]
fn a_controller_that_takes_over_goes_on_with_what_was_learned() {
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, 0.8, (0, 60));
        sim.run(600);
        let called_lately = to_f64(100 * 60);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 6000
        let called = called_lately as u64;
        sim.noshows = NoShows::resumed([0.0, absent_share(&sim), 0.0], called, sim.now());
        for _ in 0..5 {
            sim.run(120);
            let mean = sim.mean(120);
            assert!((0.8 * TARGET..1.25 * TARGET).contains(&mean), "{mean} after a restart");
        }
        sim.keeps_the_target("after a restart");
    }
}

#[test]
fn when_nobody_comes_at_all_nothing_is_known() {
    let mut sim = Sim::new(1, 1.0, (0, 60));
    sim.run(600);
    assert_eq!((absent_share(&sim), sim.noshows.haste(5.0)[Lane::Standard.index()]), (0.0, 1.0));
}

#[test]
fn a_clock_that_jumps_teaches_nothing() {
    let mut sim = Sim::new(1, 0.3, (0, 60));
    sim.run(600);
    let share = absent_share(&sim);
    sim.noshows.came([0; 3], TARGET, START.minus_secs(3600));
    assert_eq!(absent_share(&sim), share, "set back");
    sim.noshows.came([0; 3], TARGET, sim.now().plus_secs(86_400));
    assert!(absent_share(&sim) < 0.01, "set on: {}", absent_share(&sim));
}

#[test]
fn each_lane_is_learned_by_itself() {
    let mut noshows = NoShows::resumed([0.0; 3], 0, START);
    // All come who are called in one lane, and every fifth in the other.
    for secs in 1..=300 {
        noshows.called([2, 10, 0]);
        noshows.came([2, 2, 0], 4.0, START.plus_secs(secs));
    }
    let [priority, standard, suspect] = noshows.shares();
    assert!(priority < 0.05 && suspect == 0.0, "{priority} {suspect}");
    assert!((0.7..=0.85).contains(&standard), "{standard}");
    let haste = noshows.haste(FACTOR_MAX);
    assert!(haste[0] < 1.06 && haste[1] > 3.0, "{haste:?}: nobody is called for others' absence");
    assert_eq!(noshows.busiest(), Lane::Standard);
    // Numbers that nobody had make nobody absent.
    noshows.called([0, 0, 500]);
    noshows.were_gaps(Lane::Suspect, 500);
    noshows.came([2, 2, 0], 4.0, START.plus_secs(400));
    assert_eq!(noshows.shares()[2], 0.0);
}

#[test]
fn the_factor_is_bounded_and_said() {
    let haste = |share, most| NoShows::resumed([0.0, share, 0.0], 0, START).haste(most);
    assert_eq!(haste(0.0, 5.0), [1.0; 3]);
    assert!((haste(0.5, 5.0)[1] - 2.0).abs() < 0.02);
    assert_eq!(haste(0.5, 1.5), [1.0, 1.5, 1.0]);
    assert_eq!(haste(0.95, 5.0), [1.0, 5.0, 1.0]);
    assert_eq!(haste(f64::NAN, 5.0), [1.0; 3]);
    assert_eq!(reason(0.0, 1.0), None);
    assert_eq!(
        reason(0.31, 1.45).as_deref(),
        Some("31 % of those called do not come: the front moves 1.4 times as fast")
    );
    assert_eq!(
        reason(0.31, 0.4).as_deref(),
        Some("more come than are to: the front moves at 40 % of it")
    );
}
