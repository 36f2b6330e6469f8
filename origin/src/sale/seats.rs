//! Which seats are free? One bit a seat.

use serde::{Deserialize, Serialize};

use super::Seat;

/// Seats that follow each other: `first` to `first + len - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first of them.
    pub first: Seat,
    /// How many.
    pub len: u32,
}

impl Run {
    /// Its seats.
    #[must_use]
    pub fn seats(self) -> std::ops::Range<Seat> {
        self.first..self.first.saturating_add(self.len)
    }

    /// Ascending seats, as few runs as they make.
    #[must_use]
    pub fn of(seats: &[Seat]) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for seat in seats {
            match runs.last_mut() {
                Some(run) if run.seats().end == *seat => run.len += 1,
                _ => runs.push(Self { first: *seat, len: 1 }),
            }
        }
        runs
    }
}

/// A set of seats of a fixed capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatSet {
    words: Vec<u64>,
    capacity: u32,
}

impl SeatSet {
    /// All seats of a house.
    #[must_use]
    pub fn full(capacity: u32) -> Self {
        let mut set = Self::empty(capacity);
        for seat in 0..capacity {
            set.insert(seat);
        }
        set
    }

    /// None of them.
    #[must_use]
    pub fn empty(capacity: u32) -> Self {
        Self { words: vec![0; capacity.div_ceil(64) as usize], capacity }
    }

    /// Whether the seat is in the set; a seat that does not exist is not.
    #[must_use]
    pub fn contains(&self, seat: Seat) -> bool {
        let word = self.words.get((seat / 64) as usize).copied().unwrap_or(0);
        seat < self.capacity && word >> (seat % 64) & 1 == 1
    }

    /// Adds a seat; `false` if it does not exist or was in already.
    pub fn insert(&mut self, seat: Seat) -> bool {
        if seat >= self.capacity || self.contains(seat) {
            return false;
        }
        self.words[(seat / 64) as usize] |= 1 << (seat % 64);
        true
    }

    /// Takes a seat out; `false` if it was not in.
    pub fn remove(&mut self, seat: Seat) -> bool {
        if !self.contains(seat) {
            return false;
        }
        self.words[(seat / 64) as usize] &= !(1 << (seat % 64));
        true
    }

    /// How many seats are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many of `first..end` are in it.
    #[must_use]
    pub fn count_in(&self, first: Seat, end: Seat) -> u32 {
        self.runs(first, end).map(|run| run.len).sum()
    }

    /// The seats of it in `first..end`, ascending.
    pub fn seats(&self, first: Seat, end: Seat) -> impl Iterator<Item = Seat> + '_ {
        self.runs(first, end).flat_map(Run::seats)
    }

    /// The longest runs of it in `first..end`, ascending.
    pub fn runs(&self, first: Seat, end: Seat) -> impl Iterator<Item = Run> + '_ {
        let end = end.min(self.capacity);
        let mut from = first;
        std::iter::from_fn(move || {
            let first = self.next(from, end, 0)?;
            from = self.next(first, end, u64::MAX).unwrap_or(end);
            Some(Run { first, len: from - first })
        })
    }

    /// The first seat from `from` to before `end` whose bit is set once words are flipped.
    fn next(&self, from: Seat, end: Seat, flip: u64) -> Option<Seat> {
        let mut at = from;
        while at < end {
            let word = (self.words[(at / 64) as usize] ^ flip) >> (at % 64);
            if word != 0 {
                let found = at + word.trailing_zeros();
                return (found < end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// Writes the seats that are *not* in the set as a bit plane: seat 0 is bit 0 of byte 0.
    pub fn write_missing(&self, plane: &mut Vec<u8>) {
        plane.clear();
        plane.extend(self.words.iter().flat_map(|word| (!word).to_le_bytes()));
        plane.truncate(self.capacity.div_ceil(8) as usize);
        let used = self.capacity % 8;
        if let Some(last) = plane.last_mut()
            && used != 0
        {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_the_seats_of_the_set_and_none_touch(
            seats in prop::collection::btree_set(0..200_u32, 0..150),
            first in 0..200_u32,
            len in 0..220_u32,
        ) {
            let mut set = SeatSet::empty(200);
            for seat in &seats {
                set.insert(*seat);
            }
            let expected: Vec<Seat> = seats.range(first..first + len).copied().collect();
            prop_assert_eq!(set.seats(first, first + len).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(set.count_in(first, first + len) as usize, expected.len());
            let runs: Vec<Run> = set.runs(first, first + len).collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].seats().end < pair[1].first));
            prop_assert_eq!(Run::of(&expected), runs);
        }
    }
}
