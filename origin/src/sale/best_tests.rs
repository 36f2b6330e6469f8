use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::sale::plan::{Attributes, Plan, Zone};

const MIDDLE: i64 = 10;

/// Rows of these lengths in zones 0 and 1 by turns, two to a block; each row is 3 further away.
fn plan(lens: &[u32], attributes: Attributes) -> Arc<Plan> {
    plan_of(lens, |at| u8::from(at % 2 == 1), attributes)
}

fn plan_of(lens: &[u32], zone_of: impl Fn(usize) -> u8, attributes: Attributes) -> Arc<Plan> {
    let (mut rows, mut distances, mut first) = (Vec::new(), Vec::new(), 0);
    for (at, len) in lens.iter().enumerate() {
        rows.push(PlanRow { first, len: *len, zone: zone_of(at), block: at as u32 / 2 });
        for seat in 0..*len {
            let (x, y) = (i64::from(seat) - MIDDLE, 3 * at as i64);
            distances.push((x * x + y * y).unsigned_abs());
        }
        first += len;
    }
    let zone = |id: &str| Zone { id: id.into(), price: 100 };
    let plan = Plan::new(rows, vec![zone("a"), zone("b")], distances, "test".into()).unwrap();
    Arc::new(plan.with_attributes(attributes).unwrap())
}

/// Rows as text: `.` is free, `x` taken.
fn stock(plan: Arc<Plan>, rows: &[&str]) -> Stock {
    let marks = rows.concat();
    let taken = marks.bytes().enumerate().filter(|(_, mark)| *mark == b'x');
    let taken: Vec<Seat> = taken.map(|(at, _)| at as Seat).collect();
    let mut stock = Stock::full(plan);
    stock.take(&taken).unwrap();
    stock
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
    let stock = stock(plan(&[21], Attributes::default()), &[row]);
    let found = best(&stock, &[0], quantity, false).map(|(_, seats)| seats[0]);
    assert_eq!(found, expected, "{quantity} in {row}");
}

#[test]
#[rustfmt::skip] // reads in columns
fn whoever_may_be_split_sits_close_in_one_row_or_in_two_behind_each_other() {
    use Arrangement::{OneRow, SeveralRows, Together};
    //          front row        back row      quantity  found
    check_split("xx..xxxxxxx.", "xxxxxxxxxxxx",       2, Some((Together,    &[2, 3])));
    check_split("xx.x.xxxxxx.", "xxxxxxxxxxxx",       2, Some((OneRow,      &[2, 4])));
    check_split("xx..xxxxx.x.", "xxxxxxxxxxxx",       3, Some((OneRow,      &[2, 3, 9])));
    check_split("xx..xxxxxxxx", "xx..xxxxxxxx",       4, Some((SeveralRows, &[2, 3, 14, 15])));
    check_split("xx..xxxxx..x", "xxxxxxxxx..x",       6, None); // never in more than two rows' parts
    check_split("x..xxxxxxxxx", "xxxxxxxxx.xx",       3, Some((SeveralRows, &[1, 2, 21])));
    check_split("xxxxxxxxxxxx", "xxxxxxxxxxxx",       1, None);
}

#[track_caller]
fn check_split(front: &str, back: &str, quantity: u32, expected: Option<(Arrangement, &[Seat])>) {
    let stock = stock(plan_of(&[12, 12], |_| 0, Attributes::default()), &[front, back]);
    let found = best(&stock, &[0], quantity, true);
    let found = found.map(|(score, seats)| (score.arrangement, seats));
    let expected = expected.map(|(arrangement, seats)| (arrangement, seats.to_vec()));
    assert_eq!(found, expected, "{quantity} in {front} and {back}");
    let together = best(&stock, &[0], quantity, false).is_some();
    assert_eq!(together, found.is_some_and(|(a, _)| a == Arrangement::Together), "unasked");
}

/// One row of 20 with spaces at 0, 4, 9 and 19; companions beside all but 19, on both sides of 9.
fn accessible_row(taken: &str) -> Stock {
    let accessible = vec![0, 4, 9, 19];
    let companions = vec![(1, 0), (5, 4), (8, 9), (10, 9)];
    let restricted = vec![12, 13];
    stock(plan(&[20], Attributes { accessible, companions, restricted }), &[taken])
}

#[test]
#[rustfmt::skip] // reads in columns
fn companions_sit_beside_accessible_seats_which_others_are_not_given() {
    //               taken                  spaces, companions  found
    check_accessible("....................",           (1, 0),  Some(&[9]));
    check_accessible("....................",           (1, 1),  Some(&[9, 10]));
    check_accessible("..........x.........",           (1, 1),  Some(&[8, 9]));
    check_accessible("........x.x.........",           (1, 1),  Some(&[4, 5]));
    check_accessible("....................",           (2, 1),  Some(&[4, 9, 10]));
    check_accessible("....................",           (3, 3),  Some(&[0, 1, 4, 5, 9, 10]));
    check_accessible("....................",           (4, 3),  Some(&[0, 1, 4, 5, 9, 10, 19]));
    check_accessible("....................",           (4, 4),  None);
    check_accessible(".x...x..x.x.........",           (1, 1),  None);
    check_accessible("....................",           (5, 0),  None);
}

#[track_caller]
fn check_accessible(taken: &str, asked: (u32, u32), expected: Option<&[Seat]>) {
    let stock = accessible_row(taken);
    let found = accessible(&stock, &[0], asked, false).map(|(_, seats)| seats);
    assert_eq!(found, expected.map(<[Seat]>::to_vec), "{asked:?} in {taken}");
}

#[test]
fn accessible_seats_of_several_rows_are_given_to_whoever_may_be_split() {
    let attributes =
        Attributes { accessible: vec![3, 14], companions: vec![(15, 14)], restricted: vec![] };
    let stock = stock(plan_of(&[10, 10], |_| 0, attributes), &["..........", ".........."]);
    assert_eq!(accessible(&stock, &[0], (2, 1), false), None);
    let (score, seats) = accessible(&stock, &[0], (2, 1), true).unwrap();
    assert_eq!((score.arrangement, seats), (Arrangement::SeveralRows, vec![3, 14, 15]));
}

#[test]
fn a_restricted_view_is_given_last_but_before_leaving_somebody_alone() {
    // Seats 12 and 13 are restricted; 8, 9 and 10 are kept for wheelchairs.
    let (score, seats) = best(&accessible_row("xxxxxxxxxxx........."), &[0], 2, false).unwrap();
    assert_eq!((seats, score.restricted), (vec![14, 15], 0));
    let (score, seats) = best(&accessible_row("xxxxxxxxxxx.....xxxx"), &[0], 2, false).unwrap();
    assert_eq!((seats, score.restricted, score.alone), (vec![14, 15], 0, 0));
    let (score, seats) = best(&accessible_row("xxxxxxxxxxxx...xxxxx"), &[0], 2, false).unwrap();
    assert_eq!((seats, score.restricted, score.alone), (vec![13, 14], 1, 1));
}

/// Every run of every row, one after the other.
fn brute_force(
    plan: &Plan,
    lens: &[u32],
    free: &[bool],
    zone: Option<u8>,
    quantity: u32,
) -> Option<(Score, Seat)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, len) in lens.iter().enumerate() {
        let end = start + len;
        let is_free =
            |seat: i64| (i64::from(start)..i64::from(end)).contains(&seat) && free[seat as usize];
        for first in start..end {
            let last = first + quantity;
            let fits = last <= end && (first..last).all(|seat| is_free(i64::from(seat)));
            if fits && zone.is_none_or(|zone| usize::from(zone) == at % 2) {
                let (f, l) = (i64::from(first), i64::from(last));
                let left = is_free(f - 1) && !is_free(f - 2);
                let right = is_free(l) && !is_free(l + 1);
                let score = Score {
                    arrangement: Arrangement::Together,
                    spread: 0,
                    alone: u32::from(left) + u32::from(right),
                    restricted: plan.restricted(first, last),
                    distance: (first..last).map(|seat| plan.distance(seat, seat + 1)).sum(),
                };
                found.push((score, first));
            }
        }
        start = end;
    }
    found.into_iter().min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn best_equals_brute_force(
        lens in prop::collection::vec(prop_oneof![4 => 1..24_u32, 1 => 60..200_u32], 1..8),
        taken in prop::collection::vec(0..1400_u32, 0..700),
        reserved in prop::collection::btree_set(0..200_u32, 0..6),
        restricted in prop::collection::btree_set(0..200_u32, 0..9),
        quantity in 1..9_u32,
        zone in prop::option::of(0..2_u8),
    ) {
        let seats: u32 = lens.iter().sum();
        let known = |seats_of: std::collections::BTreeSet<u32>| -> Vec<Seat> {
            seats_of.into_iter().filter(|seat| *seat < seats).collect()
        };
        let (accessible, restricted) = (known(reserved), known(restricted));
        let attributes =
            Attributes { accessible: accessible.clone(), companions: vec![], restricted };
        let plan = plan(&lens, attributes);
        let mut stock = Stock::full(Arc::clone(&plan));
        let mut free = vec![true; seats as usize];
        for seat in taken.iter().map(|seat| seat % seats) {
            // Some of them twice, which gives them back.
            match stock.free().contains(seat) {
                true => stock.take(&[seat]).unwrap(),
                false => stock.give(&[seat]),
            }
            free[seat as usize] = stock.free().contains(seat);
        }
        for seat in accessible {
            free[seat as usize] = false;
        }
        let expected = brute_force(&plan, &lens, &free, zone, quantity);
        let zones = zone.map_or(vec![0, 1], |zone| vec![zone]);
        let found = best(&stock, &zones, quantity, false).map(|(score, seats)| (score, seats[0]));
        prop_assert_eq!(found, expected);
        let open: u32 = zones.iter().map(|zone| stock.open_in(*zone)).sum();
        if zone.is_none() {
            prop_assert_eq!(open as usize, free.iter().filter(|free| **free).count());
        }
    }
}
