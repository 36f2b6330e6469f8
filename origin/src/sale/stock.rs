//! Which seats are free, and where are runs of them? Kept up with every seat, so that a search in
//! a house that is nearly sold out does not look at rows that have nothing for it.

use std::sync::Arc;

use super::Seat;
use super::plan::{Plan, PlanRow, RankedRow, ZoneId};
use super::seats::SeatSet;

/// Rows that are passed over at once if none of them has what is wanted.
const ROWS_PER_CHUNK: usize = 64;
/// A run is counted by its length up to this.
const LENGTH_MAX: u32 = 63;

/// Lengths of runs as bits: bit `n` stands for runs of `n` seats, the last for longer ones, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lengths(u64);

impl Lengths {
    /// Runs in which that many can sit.
    pub(super) fn at_least(quantity: u32) -> Self {
        Self(u64::MAX << quantity.min(LENGTH_MAX))
    }

    /// Runs in which that many can sit so that no single seat is left over.
    pub(super) fn leaving_none_alone(quantity: u32) -> Self {
        let Self(longer) = Self::at_least(quantity + 2);
        Self(longer | 1 << quantity.min(LENGTH_MAX))
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The free seats of an event.
#[derive(Debug, Clone)]
pub(super) struct Stock {
    plan: Arc<Plan>,
    free: SeatSet,
    /// Those that are given to whoever does not choose.
    open: SeatSet,
    /// Lengths of the runs in `open`, by rank of the row.
    lengths: Vec<Lengths>,
    /// The same for each chunk of rows.
    chunks: Vec<Lengths>,
    /// Free units and seats of `open`, by zone.
    open_by_zone: Vec<u32>,
}

impl Stock {
    /// Everything is free.
    pub(super) fn full(plan: Arc<Plan>) -> Self {
        let capacity = plan.capacity();
        let rows = plan.ranked().len();
        let mut open_by_zone = vec![0; plan.zones().len()];
        let mut open = SeatSet::empty(capacity);
        for seat in (0..capacity).filter(|seat| !plan.is_reserved(*seat)) {
            open.insert(seat);
            if let Some(zone) = plan.zone_of(seat) {
                open_by_zone[usize::from(zone)] += 1;
            }
        }
        let chunks = vec![Lengths(0); rows.div_ceil(ROWS_PER_CHUNK)];
        let lengths = vec![Lengths(0); rows];
        let free = SeatSet::full(capacity);
        let mut stock = Self { plan, free, open, lengths, chunks, open_by_zone };
        for rank in 0..rows {
            stock.measure(rank);
        }
        stock
    }

    /// The free seats.
    pub(super) fn free(&self) -> &SeatSet {
        &self.free
    }

    /// The free seats that are given to whoever does not choose.
    pub(super) fn open(&self) -> &SeatSet {
        &self.open
    }

    /// The house.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many seats and units of a zone are given to whoever does not choose.
    pub(super) fn open_in(&self, zone: ZoneId) -> u32 {
        self.open_by_zone.get(usize::from(zone)).copied().unwrap_or(0)
    }

    /// Takes seats out, all or the first that is not free and those after it not.
    pub(super) fn take(&mut self, seats: &[Seat]) -> Result<(), Seat> {
        for seat in seats {
            if !self.free.remove(*seat) {
                return Err(*seat);
            }
            if self.open.remove(*seat)
                && let Some(zone) = self.plan.zone_of(*seat)
            {
                self.open_by_zone[usize::from(zone)] -= 1;
            }
        }
        self.measure_rows(seats);
        Ok(())
    }

    /// Puts seats back.
    pub(super) fn give(&mut self, seats: &[Seat]) {
        for seat in seats {
            if self.free.insert(*seat)
                && !self.plan.is_reserved(*seat)
                && self.open.insert(*seat)
                && let Some(zone) = self.plan.zone_of(*seat)
            {
                self.open_by_zone[usize::from(zone)] += 1;
            }
        }
        self.measure_rows(seats);
    }

    /// Rows of a zone, nearest first, in which there is a run of one of these lengths.
    pub(super) fn rows(
        &self,
        zone: ZoneId,
        wanted: Lengths,
    ) -> impl Iterator<Item = &RankedRow> + '_ {
        let ranks = self.plan.ranks(zone);
        let mut rank = ranks.start;
        std::iter::from_fn(move || {
            while rank < ranks.end {
                if rank.is_multiple_of(ROWS_PER_CHUNK)
                    && !self.chunks[rank / ROWS_PER_CHUNK].meets(wanted)
                {
                    rank += ROWS_PER_CHUNK;
                    continue;
                }
                rank += 1;
                if self.lengths[rank - 1].meets(wanted) {
                    return self.plan.ranked().get(rank - 1);
                }
            }
            None
        })
    }

    fn measure_rows(&mut self, seats: &[Seat]) {
        let mut known: Option<PlanRow> = None;
        for seat in seats {
            if known.is_some_and(|row| row.first <= *seat && *seat < row.end()) {
                continue;
            }
            let Some(rank) = self.plan.rank_of(*seat) else { continue };
            known = Some(self.plan.ranked()[rank].row);
            self.measure(rank);
        }
    }

    fn measure(&mut self, rank: usize) {
        let row = self.plan.ranked()[rank].row;
        let runs = self.open.runs(row.first, row.end());
        let bits = runs.fold(0, |bits, run| bits | 1 << run.len.min(LENGTH_MAX));
        let before = std::mem::replace(&mut self.lengths[rank], Lengths(bits));
        if before.0 == bits {
            return;
        }
        let at = rank / ROWS_PER_CHUNK;
        let end = ((at + 1) * ROWS_PER_CHUNK).min(self.lengths.len());
        let rows = &self.lengths[at * ROWS_PER_CHUNK..end];
        self.chunks[at] = Lengths(rows.iter().fold(0, |bits, row| bits | row.0));
    }
}
