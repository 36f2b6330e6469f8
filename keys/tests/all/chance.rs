//! Is a drawn position independent of everything that a visitor or an edge could choose?
//!
//! Pearson's χ² on tables of what is known of a visitor against where they come to stand, over many
//! draws with fixed secrets: the same result on every run. Each statistic is held against the
//! 99.9 % quantile, so a fair draw with other secrets would fail one of the tables once in 300 times.

use keys::{EventId, Lane, Seed, SeedFacts};
use sha2::{Digest as _, Sha256};

/// Visitors of one draw.
const COUNT: u64 = 1000;
/// Draws.
const DRAWS: u64 = 80;

/// Counts by row and column.
struct Table<const ROWS: usize, const COLUMNS: usize>([[u64; COLUMNS]; ROWS]);

impl<const ROWS: usize, const COLUMNS: usize> Table<ROWS, COLUMNS> {
    fn empty() -> Self {
        Self([[0; COLUMNS]; ROWS])
    }

    /// Counts a visitor of a class who stands at `position` of [`COUNT`], from 0.
    fn count(&mut self, class: usize, position: u64) {
        let column = position * COLUMNS as u64 / COUNT;
        self.0[class][usize::try_from(column).unwrap()] += 1;
    }

    /// Pearson's statistic of independence, with `(ROWS - 1)(COLUMNS - 1)` degrees of freedom.
    fn statistic(&self) -> f64 {
        let of_rows = self.0.map(|row| row.iter().sum::<u64>() as f64);
        let of_columns: Vec<f64> =
            (0..COLUMNS).map(|at| self.0.iter().map(|row| row[at] as f64).sum()).collect();
        let all: f64 = of_rows.iter().sum();
        let cells = self.0.iter().zip(of_rows).flat_map(|(row, of_row)| {
            row.iter().zip(&of_columns).map(move |(cell, of_column)| {
                let expected = of_row * of_column / all;
                (*cell as f64 - expected).powi(2) / expected
            })
        });
        cells.sum()
    }
}

/// Which of three edges gave out a number: they lease blocks of unequal sizes in turn.
fn edges() -> Vec<usize> {
    let mut edges = Vec::new();
    for (turn, len) in [7, 1, 13, 2, 29, 5].into_iter().cycle().enumerate() {
        if edges.len() as u64 >= COUNT {
            break;
        }
        edges.extend(std::iter::repeat_n(turn % 3, len));
    }
    edges
}

#[test]
fn a_position_does_not_depend_on_when_where_or_as_whom_somebody_came() {
    let event: EventId = "final".parse().unwrap();
    let edges = edges();
    let mut by_time = Table::<10, 10>::empty();
    let mut by_edge = Table::<3, 10>::empty();
    let mut by_id = Table::<16, 4>::empty();
    let mut by_parity = Table::<2, 2>::empty();
    let mut first_and_last = Table::<2, 10>::empty();
    for secret in 0..DRAWS {
        let secret = Sha256::digest(secret.to_be_bytes());
        let seed = Seed::derive(SeedFacts {
            secret: &secret,
            beacon: b"beacon",
            event: &event,
            line: 1,
            lane: Lane::Standard,
            count: COUNT,
        });
        for number in 0..COUNT {
            let position = seed.permute(COUNT, number);
            let at = usize::try_from(number).unwrap();
            // Ids are random; any of their bits would do.
            let id = Sha256::digest([&secret[..], &number.to_be_bytes()].concat())[0] >> 4;
            by_time.count(at / 100, position);
            by_edge.count(edges[at], position);
            by_id.count(usize::from(id), position);
            by_parity.0[at % 2][usize::try_from(position % 2).unwrap()] += 1;
            if !(10..990).contains(&at) {
                first_and_last.count(at / 500, position);
            }
        }
    }
    //    what is known                 statistic                    99.9 % quantile of χ², degrees
    check("when they came", by_time.statistic(), 126.08); // 81
    check("by which edge", by_edge.statistic(), 42.31); // 18
    check("with which id", by_id.statistic(), 80.08); // 45
    check("odd or even", by_parity.statistic(), 10.83); // 1
    check("as the first or the last", first_and_last.statistic(), 27.88); // 9
}

#[test]
fn the_statistic_finds_an_order_that_is_not_random() {
    // Who comes early stands a little further ahead: one of twenty is moved.
    let mut table = Table::<10, 10>::empty();
    for number in 0..COUNT * DRAWS {
        let (number, draw) = (number % COUNT, number / COUNT);
        let position = (number * 7919 + draw * 4111) % COUNT;
        let is_moved = (number + draw).is_multiple_of(20);
        let moved = if is_moved { number } else { position };
        table.count(usize::try_from(number / 100).unwrap(), moved);
    }
    assert!(table.statistic() > 126.08, "{}", table.statistic());
}

#[track_caller]
fn check(what: &str, statistic: f64, bound: f64) {
    assert!(statistic < bound, "{what}: {statistic:.1}, a fair draw stays below {bound}");
}
