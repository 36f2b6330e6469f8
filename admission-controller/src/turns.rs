//! Remembers, coarsely, when the front had reached which position: so who has missed their turn.
//!
//! Nothing is kept of anybody who waits: a few dozen marks a line say how far everybody had been
//! called at some time, and whoever stands below the mark of `claim_secs` ago has had their time.
//! A mark is set after the fact, so a turn is kept for a little longer than promised, never shorter.
//!
//! Time that nobody could use does not count. While the room is not open, and while no controller
//! moved the front, the marks are put off.

use std::collections::VecDeque;
use std::time::Duration;

use admission_api::PassRules;
use keys::Timestamp;
use serde::{Deserialize, Serialize};

/// Marks over the whole of the time that is looked back: how exact it is.
const MARKS: u64 = 64;
/// Shortest distance between two marks.
const EVERY_MIN: Duration = Duration::from_millis(500);
/// Two looks further apart than this had nobody between them who moved the front.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// How far everybody had been called at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    at: Timestamp,
    /// The fronts, by [`keys::Lane::index`].
    fronts: [u64; 3],
}

/// Up to which positions turns are over, by [`keys::Lane::index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Over {
    /// Up to here the turn was missed; whoever has not come may come back once.
    pub missed: [u64; 3],
    /// Up to here it is too late for that as well.
    pub lost: [u64; 3],
}

/// The marks of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    /// The oldest first; fronts never fall.
    marks: VecDeque<Mark>,
    looked_at: Timestamp,
}

impl Turns {
    /// As they were kept at `kept_at`; nobody had a turn since.
    #[must_use]
    pub fn resumed(marks: Vec<Mark>, kept_at: Timestamp) -> Self {
        Self { marks: marks.into(), looked_at: kept_at }
    }

    /// To be kept.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.marks.iter().copied().collect()
    }

    /// One look: the front is there, and visitors could claim since the last look, or not.
    pub fn look(&mut self, fronts: [u64; 3], is_open: bool, rules: &PassRules, now: Timestamp) {
        let passed = now.since(self.looked_at);
        self.looked_at = now;
        if !is_open || passed > AWAY_AFTER {
            for mark in &mut self.marks {
                mark.at = mark.at.plus(passed);
            }
            return;
        }
        let kept_secs = rules.claim_secs.saturating_add(rules.return_secs);
        let every = Duration::from_secs(kept_secs) / u32::try_from(MARKS).unwrap_or(u32::MAX);
        let is_due = self
            .marks
            .back()
            .is_none_or(|last| now.since(last.at) >= every.max(EVERY_MIN) && last.fronts != fronts);
        if is_due && fronts != [0; 3] {
            self.marks.push_back(Mark { at: now, fronts });
        }
        // The newest mark of those that are too old says the same as all before it.
        let old = |mark: &Mark| now.since(mark.at) >= Duration::from_secs(kept_secs);
        while self.marks.get(1).is_some_and(old) {
            self.marks.pop_front();
        }
    }

    /// Whose turn is over.
    #[must_use]
    pub fn over(&self, rules: &PassRules, now: Timestamp) -> Over {
        let before = |secs: u64| {
            let age = Duration::from_secs(secs);
            let marks = self.marks.iter().rev();
            marks.map(|mark| (now.since(mark.at) >= age, mark.fronts)).find(|(is_old, _)| *is_old)
        };
        let fronts = |secs| before(secs).map_or([0; 3], |(_, fronts)| fronts);
        Over {
            missed: fronts(rules.claim_secs),
            lost: fronts(rules.claim_secs.saturating_add(rules.return_secs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_800_000_000);
    const RULES: fn() -> PassRules =
        || PassRules { claim_secs: 100, return_secs: 60, ..PassRules::default() };

    /// The standard lane moves by one position a second from noon on, looked at each half second.
    fn walked(turns: &mut Turns, from_ms: u64, to_ms: u64, is_open: bool) {
        for at_ms in (from_ms..=to_ms).step_by(500) {
            let now = NOON.plus(Duration::from_millis(at_ms));
            turns.look([0, at_ms / 1000, 0], is_open, &RULES(), now);
        }
    }

    fn standard(turns: &Turns, secs: u64) -> (u64, u64) {
        let over = turns.over(&RULES(), NOON.plus_secs(secs));
        (over.missed[1], over.lost[1])
    }

    #[test]
    fn a_turn_is_kept_for_its_time_and_hardly_longer() {
        let mut turns = Turns::resumed(vec![], NOON);
        walked(&mut turns, 0, 99_000, true);
        assert_eq!(standard(&turns, 99), (0, 0));
        walked(&mut turns, 99_500, 300_000, true);
        let (missed, lost) = standard(&turns, 300);
        // Called at 200 s at the latest, and at 140 s; a mark is set every two and a half seconds.
        assert!((196..=200).contains(&missed), "{missed}");
        assert!((136..=140).contains(&lost), "{lost}");
        assert!(turns.marks.len() <= 70, "{}", turns.marks.len());
    }

    #[test]
    fn time_that_nobody_could_use_does_not_count() {
        let mut turns = Turns::resumed(vec![], NOON);
        walked(&mut turns, 0, 50_000, true);
        // Paused for an hour: the front stands, and with it the time.
        for secs in 51..3651 {
            turns.look([0, 50, 0], false, &RULES(), NOON.plus_secs(secs));
        }
        assert_eq!(standard(&turns, 3650), (0, 0));
        for secs in 3651..3751 {
            turns.look([0, 50, 0], true, &RULES(), NOON.plus_secs(secs));
        }
        assert!((48..=50).contains(&standard(&turns, 3750).0), "{turns:?}");
        // A controller that was away for an hour goes on where the last one stopped.
        let mut turns = Turns::resumed(turns.marks(), NOON.plus_secs(3700));
        turns.look([0, 50, 0], true, &RULES(), NOON.plus_secs(7300));
        assert!(standard(&turns, 7300).0 < 30, "{turns:?}");
    }

    #[test]
    fn over_an_idle_line_no_marks_gather() {
        let mut turns = Turns::resumed(vec![], NOON);
        for secs in 0..1000 {
            turns.look([0, 7, 0], true, &RULES(), NOON.plus_secs(secs));
        }
        assert_eq!((turns.marks.len(), standard(&turns, 1000)), (1, (7, 7)));
    }
}
