//! Which seats are free? One bit a seat.

use super::Seat;

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
