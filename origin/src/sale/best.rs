//! Which seats are the best for a party that does not choose? Together in one row of the zone,
//! leaving no single seat alone if that can be had, then nearest to the middle of the pitch, then
//! the lowest index, so that every replay and every machine answers the same.

use super::Seat;
use super::plan::{Plan, PlanRow, ZoneId};
use super::seats::SeatSet;

/// Lower is better, compared from left to right.
type Score = (u32, u64, Seat);

/// The first seat of the best run of `quantity` free seats, if there is one.
#[must_use]
pub fn best(plan: &Plan, free: &SeatSet, zone: Option<ZoneId>, quantity: u32) -> Option<Seat> {
    let quantity = quantity.max(1);
    let mut best: Option<Score> = None;
    for (nearest, row) in plan.nearest_first() {
        if zone.is_some_and(|zone| row.zone != zone) || row.len < quantity {
            continue;
        }
        // No seat of this row or of any later one is nearer than `nearest`.
        let bound = nearest.saturating_mul(u64::from(quantity));
        if best.is_some_and(|(alone, distance, _)| alone == 0 && bound > distance) {
            break;
        }
        if let Some(found) = best_in_row(plan, free, row, quantity) {
            best = Some(best.map_or(found, |known| known.min(found)));
        }
    }
    best.map(|(_, _, first)| first)
}

fn best_in_row(plan: &Plan, free: &SeatSet, row: &PlanRow, quantity: u32) -> Option<Score> {
    let end = row.first + row.len;
    let mut best: Option<Score> = None;
    let mut seat = row.first;
    while seat < end {
        if !free.contains(seat) {
            seat += 1;
            continue;
        }
        let run_end = (seat..end).find(|s| !free.contains(*s)).unwrap_or(end);
        for first in seat..=run_end.saturating_sub(quantity) {
            if first + quantity > run_end {
                break;
            }
            let (left, right) = (first - seat, run_end - first - quantity);
            let alone = u32::from(left == 1) + u32::from(right == 1);
            let distance = (first..first + quantity).map(|s| plan.distance(s)).sum();
            let score = (alone, distance, first);
            best = Some(best.map_or(score, |known| known.min(score)));
        }
        seat = run_end;
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sale::plan::Zone;

    const MIDDLE: i64 = 10;

    /// Rows of these lengths in zones 0 and 1 by turns; each row is 3 further away than the last.
    fn plan(lens: &[u32]) -> Plan {
        let (mut rows, mut distances, mut first) = (Vec::new(), Vec::new(), 0);
        for (at, len) in lens.iter().enumerate() {
            rows.push(PlanRow { first, len: *len, zone: u8::from(at % 2 == 1) });
            for seat in 0..*len {
                let (x, y) = (i64::from(seat) - MIDDLE, 3 * at as i64);
                distances.push((x * x + y * y).unsigned_abs());
            }
            first += len;
        }
        let zone = |id: &str| Zone { id: id.into(), price: 100 };
        Plan::new(rows, vec![zone("a"), zone("b")], distances, "test".into()).unwrap()
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_best_run_is_together_leaves_nobody_alone_and_is_near() {
        //    row of 21 with the middle at 10     quantity  first
        check(".....................",                   2,  Some(9));
        check(".........xxx.........",                   2,  Some(7));
        check(".........xx..xxxxxxxx",                   2,  Some(11));
        check("xxxxxxx...xxxxxxxxxxx",                   2,  Some(8)); // somebody is left alone either way
        check("xx..xxx...xxxxxxxxxxx",                   2,  Some(2)); // so rather further away
        check("xxxxxxx...xxxxxxxxxxx",                   3,  Some(7));
        check("x.x.x.x.x.x.x.x.x.x.x",                   2,  None);
        check("x.x.x.x.x.x.x.x.x.x.x",                   1,  Some(9));
    }

    #[track_caller]
    fn check(row: &str, quantity: u32, expected: Option<Seat>) {
        let plan = plan(&[21]);
        let mut free = SeatSet::full(21);
        for (at, mark) in row.chars().enumerate() {
            if mark == 'x' {
                free.remove(at as u32);
            }
        }
        assert_eq!(best(&plan, &free, None, quantity), expected, "{quantity} in {row}");
    }

    /// Every run of every row, one after the other.
    fn brute_force(
        plan: &Plan,
        lens: &[u32],
        free: &SeatSet,
        zone: Option<u8>,
        quantity: u32,
    ) -> Option<Seat> {
        let mut scores = Vec::new();
        let mut start = 0;
        for (at, len) in lens.iter().enumerate() {
            let end = start + len;
            for first in start..end {
                let last = first + quantity;
                let is_free = last <= end && (first..last).all(|seat| free.contains(seat));
                if is_free && zone.is_none_or(|zone| usize::from(zone) == at % 2) {
                    let is_free_at = |seat: i64| {
                        seat >= i64::from(start)
                            && seat < i64::from(end)
                            && free.contains(seat as u32)
                    };
                    let (f, l) = (i64::from(first), i64::from(last));
                    let left = is_free_at(f - 1) && !is_free_at(f - 2);
                    let right = is_free_at(l) && !is_free_at(l + 1);
                    let distance: u64 = (first..last).map(|seat| plan.distance(seat)).sum();
                    scores.push((u32::from(left) + u32::from(right), distance, first));
                }
            }
            start = end;
        }
        scores.into_iter().min().map(|(_, _, first)| first)
    }

    proptest! {
        #[test]
        fn best_equals_brute_force(
            lens in prop::collection::vec(1..24_u32, 1..8),
            taken in prop::collection::vec(0..200_u32, 0..120),
            quantity in 1..9_u32,
            zone in prop::option::of(0..2_u8),
        ) {
            let plan = plan(&lens);
            let mut free = SeatSet::full(plan.capacity());
            for seat in taken {
                free.remove(seat);
            }
            let expected = brute_force(&plan, &lens, &free, zone, quantity);
            prop_assert_eq!(best(&plan, &free, zone, quantity), expected);
        }
    }
}
