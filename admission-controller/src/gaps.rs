//! Which numbers does nobody hold, and where do they stand?
//!
//! Edges give back what they leased and did not hand out. The front passes over these numbers without
//! spending pace; with a draw each of them stands somewhere else.

use std::collections::BTreeMap;

use admission_api::Gap;
use keys::Order;

/// Most gaps remembered for a lane. Beyond it, the front spends pace on numbers nobody holds. Many,
/// for a draw scatters every gap: each number of it stands somewhere else.
pub(crate) const GAPS_MAX: usize = 65_536;
/// Most drawn numbers whose positions are computed in one go, some 20 µs each: a second and a half
/// at most. Beyond it, the front spends pace on positions nobody holds.
const SCATTERED_MAX: usize = 65_536;

/// Where the numbers of gaps stand, by the orders of their lanes.
#[must_use]
pub fn scattered(gaps: &[Gap], orders: &[Order; 3]) -> Vec<Gap> {
    let mut budget = SCATTERED_MAX;
    let mut at = Vec::new();
    for gap in gaps {
        let found = positions(gap, &orders[gap.lane.index()], budget);
        budget = budget.saturating_sub(found.iter().filter(|gap| gap.count == 1).count());
        at.extend(found);
    }
    at
}

/// One by one if they are drawn among, up to `most` of them; else as they are.
fn positions(gap: &Gap, order: &Order, most: usize) -> Vec<Gap> {
    let last = gap.first.saturating_add(gap.count.saturating_sub(1));
    let drawn = match order {
        Order::ByNumber | Order::Unknown => 0,
        Order::Drawn { count, .. } => *count,
    };
    let scattered = (gap.first..=last.min(drawn)).take(most);
    let mut at: Vec<Gap> = scattered
        .filter_map(|num| order.position(num))
        .map(|first| Gap { first, count: 1, ..gap.clone() })
        .collect();
    let first = gap.first.max(drawn.saturating_add(1));
    if gap.count > 0 && first <= last {
        at.push(Gap { first, count: last - first + 1, ..gap.clone() });
    }
    at
}

/// Sorted, disjoint ranges of numbers that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// First number to last number.
    ranges: BTreeMap<u64, u64>,
}

impl Gaps {
    /// Adds `first..=last`, merged with its neighbours. Dropped if there are too many already.
    pub fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        // A range touches ours if it begins before `last + 1` and ends at or after `first - 1`.
        while let Some((&start, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.ranges.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        if self.ranges.len() < GAPS_MAX {
            self.ranges.insert(first, last);
        }
    }

    /// How many numbers above `after`, up to and including `up_to`, are gaps.
    #[must_use]
    pub fn count_between(&self, after: u64, up_to: u64) -> u64 {
        self.ranges
            .range(..=up_to)
            .rev()
            .take_while(|(_, last)| **last > after)
            .map(|(first, last)| (*last).min(up_to).saturating_sub((*first - 1).max(after)))
            .sum()
    }

    /// The number reached from `from` by passing `steps` numbers that are no gaps; gaps directly
    /// behind it are passed as well.
    pub(crate) fn walk(&self, from: u64, steps: u64) -> u64 {
        let (mut at, mut left) = (from, steps);
        let before = self.ranges.range(..=from).next_back();
        let inside = before.filter(|(_, last)| **last > from);
        if let Some((_, last)) = inside {
            at = *last;
        }
        for (first, last) in self.ranges.range(at.saturating_add(1)..) {
            let people = first - 1 - at;
            if people > left {
                break;
            }
            left -= people;
            at = *last;
        }
        at.saturating_add(left)
    }

    /// Forgets what the front has passed.
    pub(crate) fn forget_up_to(&mut self, front: u64) {
        while let Some((&first, &last)) = self.ranges.first_key_value() {
            if last > front {
                break;
            }
            self.ranges.remove(&first);
        }
    }

    /// All ranges, first and last number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn gaps_are_passed_without_spending_pace() {
        //    gaps                     from  steps  reached
        check(&[],                        0,    10,   10);
        check(&[(1, 5)],                  0,     0,    5);
        check(&[(1, 5)],                  0,     1,    6);
        check(&[(3, 5)],                  0,     2,    5);
        check(&[(3, 5)],                  0,     1,    1);
        check(&[(3, 5), (8, 9)],          0,     4,    9);
        check(&[(3, 5), (6, 9)],          0,     3,   10); // neighbours are one gap
        check(&[(3, 9), (4, 5)],          0,     3,   10);
        check(&[(3, 5)],                  4,     0,    5);
        check(&[(3, 5)],                  5,     2,    7);
    }

    #[track_caller]
    fn check(ranges: &[(u64, u64)], from: u64, steps: u64, reached: u64) {
        let mut gaps = Gaps::default();
        for (first, last) in ranges {
            gaps.add(*first, *last);
        }
        assert_eq!(gaps.walk(from, steps), reached, "{gaps:?}");
        assert_eq!(gaps.count_between(from, reached) + steps, reached - from, "{gaps:?}");
    }
}
