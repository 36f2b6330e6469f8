//! Which seats are the best for a party that does not choose?
//!
//! Together in one row of their zones, leaving no single seat alone if that can be had, then without
//! a restricted view, then nearest to the middle of the pitch, then the lowest index, so that every
//! replay and every machine answers the same. Whoever may be split sits as close as possible in one
//! row, else in two rows one behind the other. Accessible seats and those of companions are given
//! only to whoever asks for them, each companion next to an accessible seat.

use serde::Serialize;

use super::Seat;
use super::plan::{Accessible, PlanRow, ZoneId};
use super::seats::Run;
use super::stock::{Lengths, Stock};

/// How a party sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// Next to each other; of accessible seats, in one row.
    Together,
    /// In one row, with others between them.
    OneRow,
    /// In two rows, one behind the other; of accessible seats, in several rows.
    SeveralRows,
}

/// How good the seats are: lower is better, compared from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Score {
    /// How the party sits.
    pub arrangement: Arrangement,
    /// Seats of others within the party, or by which its rows differ in length and start.
    pub spread: u32,
    /// Single seats that are left over between this party and others.
    pub alone: u32,
    /// Seats with a restricted view.
    pub restricted: u32,
    /// Sum of the squared distances to the middle of the pitch.
    pub distance: u64,
}

/// Seats that were found, ascending.
pub(super) type Found = (Score, Vec<Seat>);
/// A way to choose: the distances of its seats, and the seats.
type Way = (u64, Vec<Seat>);

/// The best seats of these zones for a party of `quantity`.
pub(super) fn best(
    stock: &Stock,
    zones: &[ZoneId],
    quantity: u32,
    may_split: bool,
) -> Option<Found> {
    let quantity = quantity.max(1);
    let together = together(stock, zones, quantity);
    let found = together.map(|(score, first)| (score, (first..first + quantity).collect()));
    match found {
        None if may_split => {
            one_row(stock, zones, quantity).or_else(|| two_rows(stock, zones, quantity))
        }
        found => found,
    }
}

/// The best run of free seats: its score and its first seat.
fn together(stock: &Stock, zones: &[ZoneId], quantity: u32) -> Option<(Score, Seat)> {
    let mut best: Option<(Score, Seat)> = None;
    // Whatever a row of the second kind has leaves somebody alone.
    let kinds = [(0, Lengths::leaving_none_alone(quantity)), (1, Lengths::at_least(quantity))];
    for (alone, lengths) in kinds {
        for zone in zones {
            for ranked in stock.rows(*zone, lengths) {
                // No seat of this row or of any later one of its zone is nearer than `nearest`.
                let bound = ranked.nearest.saturating_mul(u64::from(quantity));
                if best.is_some_and(|(score, _)| {
                    score.alone <= alone && score.restricted == 0 && score.distance < bound
                }) {
                    break;
                }
                if let Some(found) = best_in_row(stock, &ranked.row, quantity) {
                    best = Some(best.map_or(found, |known| known.min(found)));
                }
            }
        }
        if best.is_some_and(|(score, _)| score.alone <= alone) {
            break;
        }
    }
    best
}

fn best_in_row(stock: &Stock, row: &PlanRow, quantity: u32) -> Option<(Score, Seat)> {
    let runs = stock.open().runs(row.first, row.end()).filter(|run| run.len >= quantity);
    runs.flat_map(|run| placements(stock, run, quantity)).min()
}

/// All ways to seat that many next to each other in a run.
fn placements(stock: &Stock, run: Run, quantity: u32) -> impl Iterator<Item = (Score, Seat)> + '_ {
    let plan = stock.plan();
    (0..=run.len.saturating_sub(quantity)).map(move |left| {
        let (first, right) = (run.first + left, run.len - quantity - left);
        let score = Score {
            arrangement: Arrangement::Together,
            spread: 0,
            alone: u32::from(left == 1) + u32::from(right == 1),
            restricted: plan.restricted(first, first + quantity),
            distance: plan.distance(first, first + quantity),
        };
        (score, first)
    })
}

/// As close as can be in one row, with others between.
fn one_row(stock: &Stock, zones: &[ZoneId], quantity: u32) -> Option<Found> {
    let rows = zones.iter().flat_map(|zone| stock.rows(*zone, Lengths::at_least(1)));
    let found = rows.filter_map(|ranked| {
        let row = ranked.row;
        let seats: Vec<Seat> = stock.open().seats(row.first, row.end()).collect();
        let windows = seats.windows(quantity as usize).map(|party| {
            let span = party.last().zip(party.first()).map_or(0, |(last, first)| last - first);
            let score = score(stock, Arrangement::OneRow, span + 1 - quantity, party);
            (score, party)
        });
        windows.min().map(|(score, party)| (score, party.to_vec()))
    });
    found.min()
}

/// In two rows of a block, each part together.
fn two_rows(stock: &Stock, zones: &[ZoneId], quantity: u32) -> Option<Found> {
    let has_room = |front: &PlanRow, back: &PlanRow| {
        stock.open().count_in(front.first, back.end()) >= quantity
    };
    let pairs = stock.plan().neighbours();
    let pairs = pairs.filter(|(front, back)| zones.contains(&front.zone) && has_room(front, back));
    let found = pairs.filter_map(|(front, back)| {
        (1..quantity)
            .filter_map(|ahead| two_parts(stock, (front, ahead), (back, quantity - ahead)))
            .min()
    });
    found.min()
}

fn two_parts(
    stock: &Stock,
    (front, ahead): (&PlanRow, u32),
    (back, behind): (&PlanRow, u32),
) -> Option<Found> {
    let parts = |row: &PlanRow, quantity| {
        let runs = stock.open().runs(row.first, row.end()).filter(move |run| run.len >= quantity);
        runs.flat_map(move |run| placements(stock, run, quantity)).collect::<Vec<_>>()
    };
    let behinds = parts(back, behind);
    let aheads = parts(front, ahead);
    let pairs = aheads.iter().flat_map(|ahead| behinds.iter().map(move |behind| (ahead, behind)));
    let best = pairs.map(|((one, first), (other, second))| {
        let offset = (first - front.first).abs_diff(second - back.first);
        let score = Score {
            arrangement: Arrangement::SeveralRows,
            spread: offset + ahead.abs_diff(behind),
            alone: one.alone + other.alone,
            restricted: one.restricted + other.restricted,
            distance: one.distance.saturating_add(other.distance),
        };
        (score, *first, *second)
    });
    let (score, first, second) = best.min()?;
    Some((score, (first..first + ahead).chain(second..second + behind).collect()))
}

/// The best accessible seats of these zones, so many of them with a companion's seat beside it.
pub(super) fn accessible(
    stock: &Stock,
    zones: &[ZoneId],
    (spaces, companions): (u32, u32),
    may_split: bool,
) -> Option<Found> {
    let rows = stock.plan().accessible().iter().filter(|(row, _)| zones.contains(&row.zone));
    let in_row = |(_, known): &(PlanRow, Vec<Accessible>)| choose(stock, known, spaces, companions);
    let together = rows.clone().filter_map(in_row).min();
    let (arrangement, (_, mut seats)) = match together {
        Some(found) => (Arrangement::Together, found),
        None if may_split => {
            let all: Vec<Accessible> = rows.flat_map(|(_, spaces)| spaces).cloned().collect();
            (Arrangement::SeveralRows, choose(stock, &all, spaces, companions)?)
        }
        None => return None,
    };
    seats.sort_unstable();
    Some((score(stock, arrangement, 0, &seats), seats))
}

/// The nearest of these spaces, so many of them with a companion's seat. An exact choice: the
/// cheapest way to have had `i` spaces and `j` companions, one space after the other.
fn choose(stock: &Stock, known: &[Accessible], spaces: u32, companions: u32) -> Option<Way> {
    let (spaces, companions) = (spaces as usize, companions as usize);
    if known.len() < spaces || companions > spaces {
        return None;
    }
    let is_free = |seat: &Seat| stock.free().contains(*seat);
    let distance = |seat: Seat| stock.plan().distance(seat, seat + 1);
    let mut ways: Vec<Vec<Option<Way>>> = vec![vec![None; companions + 1]; spaces + 1];
    ways[0][0] = Some((0, Vec::new()));
    for space in known.iter().filter(|space| is_free(&space.seat)) {
        let beside = space.companions.iter().copied().filter(is_free);
        let beside = beside.min_by_key(|seat| (distance(*seat), *seat));
        for had in (0..spaces).rev() {
            for with in (0..=companions).rev() {
                let Some((cost, seats)) = ways[had][with].clone() else { continue };
                let mut try_way = |with: usize, cost: u64, added: &[Seat]| {
                    let way = (cost, [seats.as_slice(), added].concat());
                    let known = &mut ways[had + 1][with];
                    if known.as_ref().is_none_or(|known| way < *known) {
                        *known = Some(way);
                    }
                };
                let cost = cost.saturating_add(distance(space.seat));
                try_way(with, cost, &[space.seat]);
                if let Some(beside) = beside.filter(|_| with < companions) {
                    let cost = cost.saturating_add(distance(beside));
                    try_way(with + 1, cost, &[space.seat, beside]);
                }
            }
        }
    }
    ways.pop().and_then(|mut ways| ways.pop()).flatten()
}

fn score(stock: &Stock, arrangement: Arrangement, spread: u32, seats: &[Seat]) -> Score {
    let plan = stock.plan();
    Score {
        arrangement,
        spread,
        alone: 0,
        restricted: seats.iter().map(|seat| plan.restricted(*seat, seat + 1)).sum(),
        distance: seats.iter().map(|seat| plan.distance(*seat, seat + 1)).sum(),
    }
}

#[cfg(test)]
#[path = "best_tests.rs"]
mod tests;
