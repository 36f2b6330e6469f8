//! Computes where the front of each lane is and how it moves: a line in time over the numbers.
//!
//! A line starts at `f0` at the time `t0`, rises with the lane's pace and ends at a limit, so that
//! edges and pages compute the front by themselves between two publications. What was published
//! is never taken back: the next line starts where the last one has got to.
//!
//! Numbers that an edge leased and gave back are gaps. Nobody stands there, so the front passes
//! over them without spending pace. And idle time banks no credit: over an empty lane the front
//! stands at most one second of pace above the numbers handed out.

use std::collections::VecDeque;
use std::time::Duration;

use admission_api::{Gap, LaneWeights};
use keys::{Front, Lane, LaneFront, Order, Timestamp};

use crate::gaps::{GAPS_MAX, Gaps};
use crate::lanes::{share_out, split};

/// How long edges and pages may follow a line without hearing from us. Long enough to restart a
/// controller, short enough that a pace decided for another situation does no harm.
pub const LINE_VALID: Duration = Duration::from_secs(10);
/// Within this time every edge that can hear us has heard of a new line: a sync a second, an answer
/// and a document on its way.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Whoever was called and has not come after this long no longer counts as on the way in.
const CALLED_FOR: Duration = Duration::from_secs(60);
/// One position, in the unit in which parts of positions are carried over.
pub(crate) const POSITION: u64 = 1_000_000;

/// One lane of a [`FrontState`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneState {
    /// The front at `t0`.
    pub f0: u64,
    /// Pace in positions per 1000 seconds.
    pub pace_milli: u64,
    /// The line ends here.
    pub limit: u64,
    /// Numbers handed out.
    pub issued: u64,
    /// Numbers that nobody holds, above the front.
    pub gaps: Gaps,
    /// The part of a position beyond `f0`, in millionths: a slow pace would else never move.
    carried: u64,
}

impl LaneState {
    /// A lane whose front stands.
    #[must_use]
    pub fn standing(f0: u64, issued: u64) -> Self {
        Self { f0, limit: f0, issued, ..Self::default() }
    }

    /// Visitors who wait: numbers above the front that were handed out and not given back.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.people_between(self.f0, self.issued)
    }

    /// Numbers above `after`, up to and including `up_to`, that are no gaps.
    fn people_between(&self, after: u64, up_to: u64) -> u64 {
        let numbers = up_to.saturating_sub(after);
        numbers.saturating_sub(self.gaps.count_between(after, up_to))
    }

    /// The entry in the published document.
    #[must_use]
    pub fn published(&self, lane: Lane) -> LaneFront {
        let Self { f0, pace_milli, limit, issued, .. } = *self;
        LaneFront { lane, f0, pace_milli, limit, issued }
    }
}

/// The line in time of all lanes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrontState {
    /// Where the line starts.
    pub t0: Timestamp,
    /// Where it ends.
    pub until: Timestamp,
    /// By [`Lane::index`].
    pub lanes: [LaneState; 3],
    /// Spaces inside that a lane is owed, in millionths.
    owed: [i64; 3],
}

impl FrontState {
    /// Goes on from what was published; nothing is lost and nothing gained by a restart. Whoever
    /// followed an older line and has heard of no newer one must not see the front go back either,
    /// however long nobody published.
    #[must_use]
    pub fn resumed(signed: &[Front], issued: [u64; 3], now: Timestamp) -> Self {
        // As if the newest line had been published this very moment: perhaps only now it is heard.
        let heard_at = signed.last().map_or(now, |newest| newest.t0);
        let lane = |lane: Lane| {
            LaneState::standing(reach_of(signed, lane, heard_at, now), issued[lane.index()])
        };
        Self { t0: now, until: now, lanes: Lane::ALL.map(lane), owed: [0; 3] }
    }

    /// Takes in numbers that were given back. Returns how many of them the front had passed.
    pub fn give_back(&mut self, lane: Lane, first: u64, count: u64) -> u64 {
        let lane = &mut self.lanes[lane.index()];
        let last = first.saturating_add(count.saturating_sub(1)).min(lane.issued);
        if count == 0 || first == 0 || first > last {
            return 0;
        }
        lane.gaps.add(first.max(lane.f0.saturating_add(1)), last);
        last.min(lane.f0).saturating_add(1).saturating_sub(first)
    }

    /// The order is known now: the gaps so far were numbers, and each goes where its number stands.
    pub fn draw(&mut self, orders: &[Order; 3], counts: [u64; 3]) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.issued = lane.issued.max(counts[index]);
            let (gaps, f0) = (std::mem::take(&mut lane.gaps), lane.f0);
            let numbers = gaps.iter().flat_map(|(first, last)| first..=last).take(GAPS_MAX);
            for at in numbers.filter_map(|num| orders[index].position(num)).filter(|at| *at > f0) {
                lane.gaps.add(at, at);
            }
        }
    }

    /// Visitors who wait, over all lanes.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.lanes.iter().map(LaneState::waiting).sum()
    }

    /// Numbers that may enter although nobody holds them yet, in the lanes that count.
    #[must_use]
    pub fn open_ahead(&self, counts: [bool; 3]) -> u64 {
        let lanes = self.lanes.iter().zip(counts).filter(|(_, counts)| *counts);
        lanes.map(|(lane, _)| lane.f0.saturating_sub(lane.issued)).sum()
    }

    /// Visitors whom the front has called since `last` was published, as far as we know who is
    /// there: for a controller that finds `last` at its start.
    #[must_use]
    pub fn called_since(last: &Front, issued: [u64; 3], gaps: &[Gap], now: Timestamp) -> u64 {
        let people = |entry: &LaneFront| {
            let mut lane = LaneState::standing(entry.f0, issued[entry.lane.index()]);
            for gap in gaps.iter().filter(|gap| gap.lane == entry.lane && gap.count > 0) {
                lane.gaps.add(gap.first, gap.first.saturating_add(gap.count - 1));
            }
            let reached = last.at(entry.lane, now).min(lane.issued);
            lane.people_between(entry.f0, reached)
        };
        last.lanes.iter().map(people).sum()
    }

    /// The same with every lane standing where its line starts: what may not be published does not
    /// move.
    pub fn stand(&mut self) {
        for lane in &mut self.lanes {
            (lane.pace_milli, lane.limit) = (0, lane.f0);
        }
    }
}

/// What moves the front.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drive {
    /// Positions a second over all lanes; 0 while the front stands.
    pub pace_per_sec: f64,
    /// How the lanes share it.
    pub weights: LaneWeights,
    /// How many may be let in beyond those already called, if that is bounded.
    pub headroom: Option<u64>,
    /// Numbers handed out, by [`Lane::index`].
    pub issued: [u64; 3],
    /// Whether everybody is let in: the front keeps up with the numbers.
    pub is_off: bool,
    /// The front does not stand below this, by [`Lane::index`]: see [`followed`].
    pub followed: [u64; 3],
    /// By what the pace of a lane where somebody waits is multiplied, as not all who are called come,
    /// by [`Lane::index`]: see [`crate::noshow`]. It moves no limit.
    pub haste: [f64; 3],
}

/// A new line, and how many visitors the front has called since the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The new line.
    pub state: FrontState,
    /// Visitors whose turn came, by [`Lane::index`].
    pub called: [u64; 3],
}

/// The next line: starts where the old one has got to at `now`, and never below.
#[must_use]
pub fn advance(old: &FrontState, drive: &Drive, now: Timestamp) -> Advance {
    let elapsed = now.min(old.until).since(old.t0);
    let arrived_per_sec: [f64; 3] = std::array::from_fn(|lane| {
        let arrived = drive.issued[lane].saturating_sub(old.lanes[lane].issued);
        to_f64(arrived) / now.since(old.t0).as_secs_f64().max(0.1)
    });
    // How far each lane has got.
    let reached: [Reached; 3] = std::array::from_fn(|lane| reach(&old.lanes[lane], elapsed));
    let issued: [u64; 3] =
        std::array::from_fn(|lane| drive.issued[lane].max(old.lanes[lane].issued));
    let is_waiting: [bool; 3] = std::array::from_fn(|lane| {
        old.lanes[lane].people_between(reached[lane].walked, issued[lane]) > 0
    });
    let paces = split(drive.pace_per_sec, drive.weights, is_waiting, arrived_per_sec);
    let pace_millis: [u64; 3] = std::array::from_fn(|lane| {
        to_milli(if is_waiting[lane] { paces[lane] * drive.haste[lane] } else { paces[lane] })
    });
    let ahead: [u64; 3] = std::array::from_fn(|lane| {
        issued[lane].saturating_add(to_milli(paces[lane]).div_ceil(1000))
    });
    let fronts: [u64; 3] = std::array::from_fn(|lane| {
        let Reached { plain, walked, .. } = reached[lane];
        let front =
            if drive.is_off { plain.max(issued[lane]) } else { plain.max(walked.min(ahead[lane])) };
        front.max(drive.followed[lane])
    });
    let people = |lane: usize, after: u64, up_to: u64| old.lanes[lane].people_between(after, up_to);
    let passed: u64 = (0..3).map(|lane| people(lane, old.lanes[lane].f0, fronts[lane])).sum();

    let mut owed = old.owed;
    let spaces = drive.headroom.map(|headroom| {
        // Whom the old line has let in since it was computed has taken a space already.
        let headroom = headroom.saturating_sub(passed);
        let claims: [u64; 3] =
            std::array::from_fn(|lane| if is_waiting[lane] { pace_millis[lane] } else { 0 });
        if claims == [0; 3] {
            // Nobody waits: what is ahead of the numbers stays in the standard lane, for a number
            // once opened in a lane where nobody comes would be kept free for ever.
            return [0, headroom, 0];
        }
        share_out(headroom, claims, &mut owed)
    });

    let mut called = [0; 3];
    let mut lanes = old.lanes.clone();
    for (index, lane) in lanes.iter_mut().enumerate() {
        let f0 = fronts[index];
        let limit = match spaces {
            _ if drive.is_off => ahead[index],
            _ if drive.pace_per_sec <= 0.0 => f0,
            None => ahead[index],
            Some(spaces) => ahead[index].min(lane.gaps.walk(f0, spaces[index])),
        };
        called[index] = people(index, lane.f0.min(lane.issued), f0.min(issued[index]));
        lane.issued = issued[index];
        lane.carried = if is_waiting[index] { reached[index].carried } else { 0 };
        (lane.f0, lane.pace_milli, lane.limit) = (f0, pace_millis[index], limit.max(f0));
        lane.gaps.forget_up_to(f0);
    }
    let state = FrontState { t0: now, until: now.plus(LINE_VALID), lanes, owed };
    Advance { state, called }
}

/// How far a lane has got along its old line.
#[derive(Clone, Copy)]
struct Reached {
    /// By the line as it was published.
    plain: u64,
    /// With what gaps have saved.
    walked: u64,
    /// The part of a position on top.
    carried: u64,
}

fn reach(lane: &LaneState, elapsed: Duration) -> Reached {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let moved = lane.pace_milli.saturating_mul(elapsed_ms).saturating_add(lane.carried);
    let room = lane.limit.saturating_sub(lane.f0);
    let steps = (moved / POSITION).min(room);
    let plain = lane.f0.saturating_add(steps);
    // Steps saved by gaps that became known late are made up for, within the old limit.
    let walked = lane.gaps.walk(lane.f0, steps).min(lane.limit).max(plain);
    // A step that was due but had no space stays due: the lane pays for its turn when it gets the
    // space, and would lose both if it had to save up for the step again.
    let carried = if moved / POSITION > room { POSITION - 1 } else { moved % POSITION };
    Reached { plain, walked: lane.gaps.walk(walked, 0), carried }
}

/// The highest position of `lane` that may enter at `now`, over everything that was signed and
/// still holds: a lowered pace never refuses somebody whom an edge let in.
#[must_use]
pub fn effective(signed: &[Front], lane: Lane, now: Timestamp) -> u64 {
    let newest = signed.iter().max_by_key(|front| (front.epoch, front.seq));
    let valid = signed.iter().filter(|front| front.until > now);
    valid.chain(newest).map(|front| front.at(lane, now)).max().unwrap_or(0)
}

/// How far readers may have got who have not heard of the newest line yet.
///
/// Edges fetch once a second and miss every other line. Had they followed a steep line and the next
/// one that they hear started below, the front would go back before everybody's eyes; so a lowered
/// pace takes hold [`HEARD_WITHIN`] later. Whoever is cut off for longer is dealt with by
/// [`effective`].
#[must_use]
pub fn followed(signed: &[Front], lane: Lane, now: Timestamp) -> u64 {
    reach_of(signed, lane, now, now)
}

/// Where the lines have got to at `now` that somebody could follow at `heard_at`.
fn reach_of(signed: &[Front], lane: Lane, heard_at: Timestamp, now: Timestamp) -> u64 {
    let replaced_at = signed.iter().skip(1).map(|front| Some(front.t0));
    let lately = signed.iter().zip(replaced_at.chain([None])).filter(|(_, replaced_at)| {
        replaced_at.is_none_or(|replaced_at| heard_at.since(replaced_at) < HEARD_WITHIN)
    });
    lately.map(|(front, _)| front.at(lane, now)).max().unwrap_or(0)
}

/// Visitors who were called and may be on their way in.
#[derive(Debug, Clone, Default)]
pub struct Called {
    /// When, and how many are still expected. At most two entries a second.
    waves: VecDeque<(Timestamp, u64)>,
}

impl Called {
    /// Their turn came.
    pub fn add(&mut self, count: u64, now: Timestamp) {
        if count > 0 {
            self.waves.push_back((now, count));
        }
    }

    /// They came in; the longest called are assumed to be first. Returns how many more came than
    /// were expected: numbers that were open ahead and have not been counted as called yet.
    pub fn came(&mut self, mut count: u64) -> u64 {
        while let Some((_, wave)) = self.waves.front_mut() {
            let taken = count.min(*wave);
            *wave -= taken;
            count -= taken;
            if *wave > 0 {
                break;
            }
            self.waves.pop_front();
        }
        count
    }

    /// They never existed: numbers given back after the front had passed.
    pub fn were_gaps(&mut self, mut count: u64) {
        while let Some((_, wave)) = self.waves.back_mut() {
            let taken = count.min(*wave);
            *wave -= taken;
            count -= taken;
            if *wave > 0 {
                break;
            }
            self.waves.pop_back();
        }
    }

    /// How many are still expected.
    pub fn expected(&mut self, now: Timestamp) -> u64 {
        while self.waves.front().is_some_and(|(at, _)| now.since(*at) > CALLED_FOR) {
            self.waves.pop_front();
        }
        self.waves.iter().map(|(_, count)| count).sum()
    }
}

#[allow(clippy::cast_precision_loss)] // rates of numbers far below 2^52
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rates up to 100 000 a second
fn to_milli(per_sec: f64) -> u64 {
    (per_sec.max(0.0) * 1000.0).floor() as u64
}

#[cfg(test)]
mod tests {
    use keys::{Phase, PollHint};
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const STANDARD: usize = Lane::Standard.index();
    const SUSPECT: usize = Lane::Suspect.index();

    fn at_ms(millis: u64) -> Timestamp {
        START.plus(Duration::from_millis(millis))
    }

    fn drive(pace_per_sec: f64, issued: [u64; 3]) -> Drive {
        let weights = LaneWeights::default();
        let (followed, haste) = ([0; 3], [1.0; 3]);
        Drive { pace_per_sec, weights, headroom: None, issued, is_off: false, followed, haste }
    }

    /// What is published of a state.
    fn document(state: &FrontState, seq: u64) -> Front {
        Front {
            iss: "controller-1".parse().unwrap(),
            aud: "e".parse().unwrap(),
            iat: state.t0,
            exp: state.t0.plus_secs(60),
            line: 1,
            epoch: 1,
            seq,
            phase: Phase::Open,
            opens_at: None,
            t0: state.t0,
            until: state.until,
            lanes: Lane::ALL.map(|lane| state.lanes[lane.index()].published(lane)).to_vec(),
            reason: String::new(),
            draw: None,
            stock: None,
            poll: PollHint { near_secs: 1, far_secs: 15 },
            message: None,
        }
    }

    #[test]
    fn a_slow_pace_moves_although_it_is_published_often() {
        let mut state = FrontState::default();
        for tick in 0..=20 {
            let mut drive = drive(0.5, [0, 100, 0]);
            drive.weights =
                LaneWeights { priority: 0, standard: 1, suspect: 0, ..LaneWeights::default() };
            state = advance(&state, &drive, at_ms(tick * 500)).state;
        }
        assert_eq!(state.lanes[STANDARD].f0, 5, "half a position a second, after ten seconds");
    }

    #[test]
    fn over_an_empty_lane_the_front_stands_one_second_of_pace_ahead() {
        let mut state = FrontState::default();
        for tick in 0..100 {
            let mut drive = drive(20.0, [0, 7, 0]);
            drive.weights =
                LaneWeights { priority: 0, standard: 1, suspect: 0, ..LaneWeights::default() };
            state = advance(&state, &drive, at_ms(tick * 500)).state;
        }
        assert_eq!(state.lanes[STANDARD].f0, 27);
        assert_eq!(document(&state, 1).at(Lane::Standard, at_ms(90_000)), 27);
        assert_eq!((state.waiting(), state.open_ahead([true; 3])), (0, 20));
        assert_eq!(state.open_ahead([true, false, true]), 0, "only in the lanes that count");
    }

    #[test]
    fn a_lane_that_was_given_the_space_uses_it_although_its_step_was_not_due() {
        // One space becomes free every two seconds, everybody called comes at once, and the pace
        // of the suspect lane is a step in twenty seconds.
        let issued = [10_000; 3];
        let mut state = FrontState::default();
        let (mut spaces, mut entered) = (0_u64, 0_u64);
        for tick in 0..24_000_u64 {
            spaces += u64::from(tick % 4 == 0);
            let headroom = Some(spaces - entered);
            let drive = Drive { headroom, ..drive(1.0, issued) };
            state = advance(&state, &drive, at_ms(tick * 500)).state;
            entered = state.lanes.iter().map(|lane| lane.f0).sum();
        }
        let shares = [0, 1, 2].map(|lane| to_f64(state.lanes[lane].f0) / to_f64(entered));
        for (share, expected) in shares.into_iter().zip([0.30, 0.65, 0.05]) {
            assert!((share - expected).abs() < 0.02, "{shares:?} of {entered}");
        }
    }

    #[test]
    fn who_was_called_since_the_last_line_was_published_is_known_after_a_restart() {
        let state = advance(&FrontState::default(), &drive(10.0, [0, 900, 0]), START).state;
        let gap = |first, count| Gap {
            event: "e".parse().unwrap(),
            line: 1,
            lane: Lane::Standard,
            first,
            count,
        };
        let last = document(&state, 1);
        let called = |millis, gaps: &[Gap]| {
            FrontState::called_since(&last, [0, 900, 0], gaps, at_ms(millis))
        };
        assert_eq!(called(0, &[]), 0);
        assert_eq!(called(3000, &[]), 30);
        assert_eq!(called(3000, &[gap(5, 10), gap(25, 100)]), 14);
        assert_eq!(called(60_000, &[]), 100, "to the end of the line");
    }

    #[test]
    fn a_lowered_pace_refuses_nobody_whom_an_edge_let_in() {
        let fast = advance(&FrontState::default(), &drive(100.0, [0, 900, 0]), START).state;
        let slow = advance(&fast, &drive(1.0, [0, 900, 0]), at_ms(1000)).state;
        let signed = [document(&fast, 1), document(&slow, 2)];
        let at = |millis| effective(&signed, Lane::Standard, at_ms(millis));
        assert_eq!(signed[1].at(Lane::Standard, at_ms(3000)), 102);
        assert_eq!(at(3000), 300, "an edge that has not heard of the new pace is at 300");
        assert_eq!(at(10_500), 109, "the old line is over");
    }

    #[test]
    fn whoever_takes_over_goes_on_from_the_line_that_edges_may_still_follow() {
        let fast = advance(&FrontState::default(), &drive(100.0, [0, 900, 0]), START).state;
        let slow = advance(&fast, &drive(1.0, [0, 900, 0]), at_ms(1000)).state;
        let slow_on = advance(&slow, &drive(1.0, [0, 900, 0]), at_ms(3000)).state;
        let signed = [document(&fast, 1), document(&slow, 2), document(&slow_on, 3)];
        let resumed = |signed: &[Front]| {
            FrontState::resumed(signed, [0, 900, 0], at_ms(4000)).lanes[STANDARD].f0
        };
        assert_eq!(
            resumed(&signed[..2]),
            400,
            "the slow line was published, and perhaps not heard"
        );
        assert_eq!(resumed(&signed), 103, "everybody has heard of a slow one");
        assert_eq!(resumed(&[]), 0);
    }

    #[test]
    fn a_space_inside_is_never_given_twice() {
        let mut state = FrontState::default();
        for tick in 0..20 {
            // Nobody comes in: two spaces are free all the time, and both were called.
            let called = state.lanes[STANDARD].f0;
            let headroom = Some(2_u64.saturating_sub(called));
            let drive = Drive { headroom, ..drive(10.0, [0, 50, 0]) };
            state = advance(&state, &drive, at_ms(tick * 500)).state;
            assert!(state.lanes[STANDARD].limit <= 2, "{state:?}");
        }
        assert_eq!(state.lanes[STANDARD].f0, 2);
    }

    #[test]
    fn who_was_called_counts_until_they_come_or_a_minute_has_passed() {
        let mut called = Called::default();
        called.add(10, START);
        called.add(5, START.plus_secs(30));
        assert_eq!(called.came(4), 0);
        called.were_gaps(2);
        assert_eq!(called.expected(START.plus_secs(30)), 9);
        assert_eq!(called.expected(START.plus_secs(61)), 3);
        assert_eq!(called.expected(START.plus_secs(91)), 0);
        assert_eq!(called.came(2), 2);
    }

    /// Something that happens to a line.
    #[derive(Debug, Clone)]
    enum Happening {
        Lease {
            lane: usize,
            count: u64,
        },
        /// The newest `count` numbers of a lane are given back.
        GiveBack {
            lane: usize,
            count: u64,
        },
        Tick {
            after_ms: u64,
            pace: f64,
            headroom: Option<u64>,
            haste: f64,
        },
        Restart {
            after_ms: u64,
        },
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let headroom = prop_oneof![Just(None), (0..50_u64).prop_map(Some)];
        prop_oneof![
            2 => (0..3_usize, 1..200_u64).prop_map(|(lane, count)| Happening::Lease { lane, count }),
            1 => (0..3_usize, 1..80_u64)
                .prop_map(|(lane, count)| Happening::GiveBack { lane, count }),
            6 => (1..3000_u64, prop_oneof![Just(0.0), 0.1..200.0_f64], headroom, 0.0..5.0_f64)
                .prop_map(|(after_ms, pace, headroom, haste)| {
                    Happening::Tick { after_ms, pace, headroom, haste }
                }),
            1 => (1..15_000_u64).prop_map(|after_ms| Happening::Restart { after_ms }),
        ]
    }

    /// Numbers up to `front` that somebody holds.
    fn people(gaps: &Gaps, front: u64) -> u64 {
        front - gaps.count_between(0, front)
    }

    proptest! {
        #[test]
        fn the_published_front_never_goes_back_and_nobody_enters_early(
            happenings in proptest::collection::vec(happening(), 1..60),
        ) {
            let mut now_ms = 0;
            let mut issued = [0_u64; 3];
            let mut state = advance(&FrontState::default(), &drive(10.0, issued), START).state;
            let mut published = document(&state, 1);
            // Every gap there ever was, for the front forgets those it has passed.
            let mut gaps = [Gaps::default(), Gaps::default(), Gaps::default()];
            for (seq, happening) in (2..).zip(happenings) {
                let (after_ms, pace, headroom, haste) = match happening {
                    Happening::Lease { lane, count } => {
                        issued[lane] += count;
                        continue;
                    }
                    Happening::GiveBack { lane, count } => {
                        let count = count.min(state.lanes[lane].issued);
                        let first = state.lanes[lane].issued + 1 - count;
                        state.give_back(Lane::ALL[lane], first, count);
                        if count > 0 {
                            gaps[lane].add(first, first + count - 1);
                        }
                        continue;
                    }
                    Happening::Restart { after_ms } => {
                        now_ms += after_ms;
                        state = FrontState::resumed(
                            std::slice::from_ref(&published),
                            issued,
                            at_ms(now_ms),
                        );
                        for (lane, gaps) in gaps.iter().enumerate() {
                            for (first, last) in gaps.iter() {
                                state.give_back(Lane::ALL[lane], first, last - first + 1);
                            }
                        }
                        (0, 5.0, None, 1.0)
                    }
                    Happening::Tick { after_ms, pace, headroom, haste } => {
                        (after_ms, pace, headroom, haste)
                    }
                };
                now_ms += after_ms;
                let now = at_ms(now_ms);
                let drive = Drive { headroom, haste: [haste; 3], ..drive(pace, issued) };
                let next = advance(&state, &drive, now).state;
                let document = document(&next, seq);
                let elapsed_ms = u64::try_from(
                    now.min(state.until).since(state.t0).as_millis()).unwrap();
                let (mut ahead, mut passed) = (0, 0);
                for lane in Lane::ALL {
                    let (old, new) = (&state.lanes[lane.index()], &next.lanes[lane.index()]);
                    let gaps = &gaps[lane.index()];
                    prop_assert!(document.at(lane, now) >= published.at(lane, now), "went back");
                    // Whom the new line calls at its start, the old pace paid for.
                    let called = people(gaps, new.f0) - people(gaps, old.f0);
                    let paid = old.pace_milli * elapsed_ms / POSITION + 1;
                    prop_assert!(called <= paid, "{called} called, {paid} paid");
                    prop_assert!(
                        called <= old.limit.saturating_sub(old.f0), "past what was signed");
                    // And its end is bounded by the numbers there are, and by the spaces inside.
                    // Haste opens no number that the plain pace would not.
                    let plain = to_milli(pace).div_ceil(1000);
                    let bound = issued[lane.index()] + plain;
                    prop_assert!(new.limit <= bound.max(new.f0), "credit was banked");
                    passed += called;
                    ahead += people(gaps, new.limit) - people(gaps, new.f0);
                }
                if let Some(headroom) = headroom {
                    let left = headroom.saturating_sub(passed);
                    prop_assert!(ahead <= left, "{ahead} called into {left} spaces");
                }
                let shared: u64 = next.lanes.iter().map(|lane| lane.pace_milli).sum();
                let most = to_milli(pace * haste.max(1.0)) + 1;
                prop_assert!(shared <= most, "more pace shared than there is");
                if next.lanes[STANDARD].waiting() > 0 {
                    let weights = LaneWeights::default();
                    let share = pace * f64::from(weights.suspect) / 100.0;
                    let most = to_milli(share * haste.max(1.0)) + 1;
                    prop_assert!(next.lanes[SUSPECT].pace_milli <= most);
                }
                (state, published) = (next, document);
            }
        }

        #[test]
        fn a_reader_who_misses_lines_never_sees_the_front_go_back(
            paces in proptest::collection::vec((0.0..500.0_f64, 1..4_usize), 2..60),
        ) {
            let issued = [0, 100_000, 0];
            let mut state = FrontState::default();
            let mut signed: Vec<Front> = Vec::new();
            let mut heard: Option<Front> = None;
            let mut missed = 0;
            for (seq, (pace, hears_every)) in (1..).zip(paces) {
                let now = at_ms(seq * 500);
                let followed = Lane::ALL.map(|lane| followed(&signed, lane, now));
                state = advance(&state, &Drive { followed, ..drive(pace, issued) }, now).state;
                signed.retain(|front| front.until > now);
                signed.push(document(&state, seq));
                missed += 1;
                if missed < hears_every {
                    continue;
                }
                missed = 0;
                let newest = document(&state, seq);
                for lane in Lane::ALL {
                    let was = heard.as_ref().map_or(0, |front| front.at(lane, now));
                    prop_assert!(newest.at(lane, now) >= was, "{lane} fell from {was}");
                }
                heard = Some(newest);
            }
        }
    }
}
