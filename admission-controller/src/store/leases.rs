//! Which edge was given which numbers lately: what is given back is checked against it.

use std::collections::BTreeMap;
use std::time::Duration;

use admission_api::Gap;
use keys::{EventId, Lane, Owner, Timestamp};

use super::LineId;
use crate::gaps::Gaps;

/// Leases that are remembered of a lane; the oldest are forgotten and what is given back of them is
/// not believed.
pub(super) const LEASES_MAX: usize = 8192;
/// A lease not given back after this long never is.
pub(super) const LEASE_REMEMBERED: Duration = Duration::from_secs(60);
/// Most gaps between two control periods. What is beyond costs the front a little time.
pub(super) const NEW_GAPS_MAX: usize = 10_000;

/// Which edge was given which numbers lately.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_first: BTreeMap<(EventId, u64, Lane, u64), Leased>,
}

#[derive(Debug)]
struct Leased {
    last: u64,
    edge: Owner,
    at: Timestamp,
    /// What was given back of it.
    returned: Gaps,
}

impl Leases {
    /// These numbers went to this edge.
    pub fn add(
        &mut self,
        line: LineId,
        lane: Lane,
        numbers: (u64, u64),
        edge: Owner,
        now: Timestamp,
    ) {
        if self.by_first.len() >= LEASES_MAX {
            self.by_first.retain(|_, leased| now.since(leased.at) < LEASE_REMEMBERED);
        }
        if self.by_first.len() >= LEASES_MAX {
            let oldest = self.by_first.iter().min_by_key(|(_, leased)| leased.at);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.by_first.remove(&key);
            }
        }
        let (first, last) = numbers;
        let leased = Leased { last, edge, at: now, returned: Gaps::default() };
        self.by_first.insert((line.event, line.line, lane, first), leased);
    }

    /// Whether these numbers were this edge's to give back: nobody declares other people's numbers
    /// empty, for the front passes over empty ones for free.
    pub fn covers(&self, edge: &Owner, gap: &Gap) -> bool {
        let Gap { event, line, lane, first, count } = gap;
        let key = |first| (event.clone(), *line, *lane, first);
        let leased = self.by_first.range(key(0)..=key(*first)).next_back();
        let last = first.saturating_add(count.saturating_sub(1));
        *count > 0 && leased.is_some_and(|(_, leased)| leased.edge == *edge && last <= leased.last)
    }

    /// Takes numbers back. What remains are those that were not taken back before: an edge that
    /// heard no answer tells us again.
    pub fn take_back(&mut self, gap: &Gap) -> Vec<Gap> {
        let Gap { event, line, lane, first, count } = gap;
        let key = |first| (event.clone(), *line, *lane, first);
        let leased = self.by_first.range_mut(key(0)..=key(*first)).next_back();
        let Some((_, leased)) = leased.filter(|_| *count > 0) else { return Vec::new() };
        let last = first.saturating_add(count - 1);
        let mut new = Vec::new();
        let mut from = *first;
        for (start, end) in leased.returned.iter().filter(|(_, end)| *end >= *first) {
            if start > last {
                break;
            }
            if start > from {
                new.push(Gap { first: from, count: start - from, ..gap.clone() });
            }
            from = end.saturating_add(1);
        }
        if from <= last {
            new.push(Gap { first: from, count: last - from + 1, ..gap.clone() });
        }
        leased.returned.add(*first, last);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn numbers_that_are_given_back_again_do_not_count_again() {
        let mut leases = Leases::default();
        let line = LineId { event: "e".parse().unwrap(), line: 1 };
        let (edge, now) = ("edge-1".parse().unwrap(), Timestamp::from_secs(1_800_000_000));
        leases.add(line, Lane::Standard, (1, 100), edge, now);
        //                first  count    new
        check(&mut leases,   10,    10,   &[(10, 10)]);
        check(&mut leases,   10,    10,   &[]);
        check(&mut leases,    5,    30,   &[(5, 5), (20, 15)]);
        check(&mut leases,   40,    10,   &[(40, 10)]);
        check(&mut leases,   30,    71,   &[(35, 5), (50, 51)]);
        check(&mut leases,    1,   100,   &[(1, 4)]);
    }

    #[track_caller]
    fn check(leases: &mut Leases, first: u64, count: u64, expected: &[(u64, u64)]) {
        let event = "e".parse().unwrap();
        let gap = Gap { event, line: 1, lane: Lane::Standard, first, count };
        assert!(leases.covers(&"edge-1".parse().unwrap(), &gap));
        let new: Vec<_> = leases.take_back(&gap).iter().map(|gap| (gap.first, gap.count)).collect();
        assert_eq!(new, expected, "{first} and {count}");
    }
}
