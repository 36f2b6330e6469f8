//! How is the pace shared among the lanes?
//!
//! By weight, and what one lane does not need goes to the others. A cap bounds what a lane takes from
//! those who wait elsewhere: `priority` from `standard`, `suspect` from both. It does not make anybody
//! wait for nobody's benefit: with nobody there, the capped lane gets what is left.

use admission_api::LaneWeights;
use keys::Lane;

use crate::front::POSITION;

/// A lane without waiting visitors is given its recent arrivals and this much more.
const ARRIVALS_MARGIN: f64 = 1.5;

/// Positions a second for each lane, by [`Lane::index`].
pub(crate) fn split(
    pace: f64,
    lanes: LaneWeights,
    is_waiting: [bool; 3],
    arriving: [f64; 3],
) -> [f64; 3] {
    let weights = [lanes.priority, lanes.standard, lanes.suspect].map(f64::from);
    let total: f64 = weights.iter().sum();
    if pace <= 0.0 || total <= 0.0 {
        return [0.0; 3];
    }
    let [standard, suspect] = [Lane::Standard, Lane::Suspect].map(Lane::index);
    let caps = [lanes.priority_percent_max, None, lanes.suspect_percent_max];
    let mut needs: [f64; 3] = std::array::from_fn(|lane| {
        let need = if is_waiting[lane] { f64::INFINITY } else { arriving[lane] * ARRIVALS_MARGIN };
        caps[lane].map_or(need, |percent| need.min(pace * f64::from(percent) / 100.0))
    });
    if is_waiting[standard] {
        needs[suspect] = needs[suspect].min(pace * weights[suspect] / total);
    }
    let mut given = fill(pace, weights, needs);
    let left = pace - given.iter().sum::<f64>();
    if left > 0.0 {
        // Whoever still waits is kept back by a cap alone: the first lane goes first.
        match (0..3).find(|lane| is_waiting[*lane]) {
            Some(first) => given[first] += left,
            None => {
                for lane in 0..3 {
                    given[lane] += left * weights[lane] / total;
                }
            }
        }
    }
    given
}

/// Shares the pace by weight, and gives no lane more than it needs.
fn fill(pace: f64, weights: [f64; 3], needs: [f64; 3]) -> [f64; 3] {
    let mut given = [0.0; 3];
    let mut left = pace;
    let mut open: Vec<usize> =
        (0..3).filter(|lane| needs[*lane] > 0.0 && weights[*lane] > 0.0).collect();
    // Each round satisfies a lane or ends: three rounds at most.
    while !open.is_empty() && left > 0.0 {
        let unit = left / open.iter().map(|lane| weights[*lane]).sum::<f64>();
        let (modest, greedy): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|lane| needs[**lane] <= unit * weights[**lane]);
        if modest.is_empty() {
            for lane in greedy {
                given[lane] = unit * weights[lane];
            }
            return given;
        }
        for lane in modest {
            given[lane] = needs[lane];
            left -= needs[lane];
        }
        open = greedy;
    }
    // Lanes without weight are served when nobody else needs the pace.
    for lane in (0..3).filter(|lane| weights[*lane] <= 0.0 && needs[*lane] > 0.0) {
        let part = needs[lane].min(left.max(0.0));
        given[lane] += part;
        left -= part;
    }
    given
}

/// Shares a few free spaces inside among the lanes by pace. What a lane is owed is remembered, so
/// that lanes take turns when spaces come one by one.
pub(crate) fn share_out(mut spaces: u64, claims: [u64; 3], owed: &mut [i64; 3]) -> [u64; 3] {
    let total: u64 = claims.iter().sum();
    let mut given = [0; 3];
    for lane in 0..3 {
        let part = u128::from(spaces) * u128::from(POSITION) * u128::from(claims[lane]);
        let part = i64::try_from(part / u128::from(total.max(1))).unwrap_or(i64::MAX);
        owed[lane] = if claims[lane] == 0 { 0 } else { owed[lane].saturating_add(part) };
    }
    // Each round gives one lane what it is owed: all is given after a few.
    while spaces > 0 && total > 0 {
        let lanes = (0..3).filter(|lane| claims[*lane] > 0);
        let Some(lane) = lanes.max_by_key(|lane| owed[*lane]) else { break };
        let whole = u64::try_from(owed[lane] / POSITION.cast_signed()).unwrap_or(0).max(1);
        let part = whole.min(spaces);
        given[lane] += part;
        spaces -= part;
        let paid = part.saturating_mul(POSITION);
        owed[lane] = owed[lane].saturating_sub(i64::try_from(paid).unwrap_or(i64::MAX));
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIORITY: usize = Lane::Priority.index();
    const STANDARD: usize = Lane::Standard.index();
    const SUSPECT: usize = Lane::Suspect.index();

    /// Rounding of a few sums.
    const TINY: f64 = 1e-6;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_pace_is_shared_by_weight_and_bots_never_slow_the_others() {
        let (lanes, none, all) = (LaneWeights::default(), [0.0; 3], [true; 3]);
        //           waiting                 arriving           priority standard suspect
        check(lanes, all,                    none,              [30.0, 65.0,  5.0]);
        check(lanes, [false, true, true],    none,              [ 0.0, 95.0,  5.0]);
        check(lanes, [false, true, false],   none,              [ 0.0,100.0,  0.0]);
        check(lanes, [false, false, true],   none,              [ 0.0,  0.0,100.0]);
        check(lanes, [true, false, true],    none,              [85.714, 0.0, 14.286]);
        check(lanes, [false, false, true],   [0.0, 20.0, 0.0],  [ 0.0, 30.0, 70.0]);
        check(lanes, [false, false, false],  none,              [30.0, 65.0,  5.0]);
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_cap_holds_while_somebody_waits_elsewhere_and_wastes_nothing() {
        let lanes = LaneWeights {
            priority: 80, standard: 15, suspect: 5,
            priority_percent_max: Some(50), suspect_percent_max: Some(4),
            ..LaneWeights::default()
        };
        let none = [0.0; 3];
        //           waiting                 arriving           priority standard suspect
        check(lanes, [true, true, true],     none,              [50.0, 46.0,  4.0]);
        check(lanes, [true, true, false],    none,              [50.0, 50.0,  0.0]);
        check(lanes, [false, true, true],    none,              [ 0.0, 96.0,  4.0]);
        check(lanes, [true, false, true],    none,              [96.0,  0.0,  4.0]);
        check(lanes, [true, false, false],   none,              [100.0, 0.0,  0.0]);
        check(lanes, [false, false, true],   none,              [ 0.0,  0.0,100.0]);
        check(lanes, [true, false, false],   [0.0, 20.0, 0.0],  [70.0, 30.0,  0.0]);
        check(lanes, [false, true, false],   [60.0, 0.0, 0.0],  [50.0, 50.0,  0.0]);
    }

    #[track_caller]
    fn check(lanes: LaneWeights, is_waiting: [bool; 3], arriving: [f64; 3], expected: [f64; 3]) {
        let given = split(100.0, lanes, is_waiting, arriving);
        for lane in 0..3 {
            assert!((given[lane] - expected[lane]).abs() < 0.001, "{given:?}, not {expected:?}");
        }
    }

    #[test]
    fn few_free_spaces_are_shared_in_turn() {
        let mut owed = [0; 3];
        let mut given = [0_u64; 3];
        for _ in 0..100 {
            let part = share_out(1, [30_000, 65_000, 5_000], &mut owed);
            given = std::array::from_fn(|lane| given[lane] + part[lane]);
        }
        assert_eq!(given, [30, 65, 5]);
    }

    fn lanes() -> impl Strategy<Value = LaneWeights> {
        let cap = || proptest::option::of(1..=100_u32);
        (0..100_u32, 1..100_u32, 1..100_u32, cap(), cap()).prop_map(
            |(priority, standard, suspect, priority_percent_max, suspect_percent_max)| {
                LaneWeights {
                    priority,
                    standard,
                    suspect,
                    priority_max: None,
                    priority_percent_max,
                    suspect_percent_max,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn caps_hold_and_cost_nobody_else_anything(
            pace in 0.1..1000.0_f64,
            lanes in lanes(),
            is_waiting: [bool; 3],
            arriving in proptest::array::uniform3(0.0..300.0_f64),
        ) {
            let given = split(pace, lanes, is_waiting, arriving);
            prop_assert!(given.iter().all(|part| *part >= 0.0), "{given:?}");
            let sum: f64 = given.iter().sum();
            prop_assert!((sum - pace).abs() < TINY * pace, "{given:?} is not all of {pace}");
            let above = |lane: usize, percent: Option<u32>| {
                percent.is_some_and(|most| given[lane] > pace * f64::from(most) / 100.0 + TINY)
            };
            let [priority, standard, suspect] = is_waiting;
            if above(PRIORITY, lanes.priority_percent_max) {
                prop_assert!(!standard, "priority passes its cap: {given:?}");
            }
            if above(SUSPECT, lanes.suspect_percent_max) {
                prop_assert!(!standard && !priority, "suspect passes its cap: {given:?}");
            }
            if standard {
                let uncapped = LaneWeights {
                    priority_percent_max: None,
                    suspect_percent_max: None,
                    ..lanes
                };
                let before = split(pace, uncapped, is_waiting, arriving);
                prop_assert!(given[STANDARD] + TINY >= before[STANDARD], "{given:?} {before:?}");
            }
            if suspect {
                prop_assert!(given[SUSPECT] > 0.0 || standard || priority, "nobody is shut out");
            }
        }
    }
}
