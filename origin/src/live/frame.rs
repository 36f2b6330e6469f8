//! How do changes of a seat map travel? As bytes that are the same for everybody.
//!
//! A frame says what it leads to, never how it came about: each run of seats carries its state, so
//! a frame may be applied twice, or on top of something newer than it began with. That is what
//! lets a reader join in the middle. `LIVE.md` describes the bytes for whoever writes a client;
//! the vectors at the end of this file are the same as there.

use bytes::Bytes;

/// First byte of a frame with changes.
const CHANGES: u8 = 1;
/// First byte of a frame with all seats.
const SNAPSHOT: u8 = 2;
/// Longest varint: 64 bits, seven at a time.
const VARINT_BYTES_MAX: usize = 10;

/// A bit a seat, set if it is taken: seat 0 is bit 0 of byte 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    seats: u32,
    bytes: Vec<u8>,
}

impl Plane {
    /// Nothing taken.
    #[must_use]
    pub fn empty(seats: u32) -> Self {
        Self { seats, bytes: vec![0; seats.div_ceil(8) as usize] }
    }

    /// How many seats there are.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// The bits.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lets somebody write the bits; whatever they do, the length stays and so does the unused
    /// rest of the last byte.
    pub fn rewrite(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.bytes.resize(self.seats.div_ceil(8) as usize, 0);
        let used = self.seats % 8;
        if let Some(last) = self.bytes.last_mut()
            && used != 0
        {
            *last &= (1 << used) - 1;
        }
    }

    /// Whether a seat is taken; one that does not exist is not.
    #[must_use]
    pub fn is_taken(&self, seat: u32) -> bool {
        let byte = self.bytes.get((seat / 8) as usize).copied().unwrap_or(0);
        byte >> (seat % 8) & 1 == 1
    }

    /// How many of `len` seats from `first` on are free.
    #[must_use]
    pub fn free_among(&self, first: u32, len: u32) -> u32 {
        // Rows are short, and this is asked once a change at most.
        let end = first.saturating_add(len).min(self.seats);
        (first..end).map(|seat| u32::from(!self.is_taken(seat))).sum()
    }

    fn set(&mut self, seat: u32, is_taken: bool) {
        if let Some(byte) = self.bytes.get_mut((seat / 8) as usize) {
            let bit = 1 << (seat % 8);
            if is_taken { *byte |= bit } else { *byte &= !bit }
        }
    }
}

/// Seats next to each other that have become free or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: u32,
    /// How many.
    pub len: u32,
    /// What they are now.
    pub is_taken: bool,
}

/// A frame taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// What differs from `base` at the latest, and maybe from later ones.
    Changes {
        /// Whoever knows this state, or a later one, may apply it.
        base: u64,
        /// What is known afterwards.
        seq: u64,
        /// In ascending order, none touching.
        runs: Vec<Run>,
    },
    /// Everything.
    Snapshot {
        /// What is known afterwards.
        seq: u64,
        /// All seats.
        plane: Plane,
    },
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They end too early.
    #[error("the frame ends within a number or the plane")]
    Short,
    /// The first byte is none of ours.
    #[error("the frame begins with {0}, expected 1 or 2")]
    Kind(u8),
    /// A number does not fit into 64 bits.
    #[error("a number of the frame is longer than 64 bits")]
    Number,
    /// Seats that do not exist.
    #[error("the frame speaks of seat {seat}, and there are {seats}")]
    Seat {
        /// Which.
        seat: u64,
        /// How many there are.
        seats: u32,
    },
    /// A run of no seats.
    #[error("the frame has an empty run")]
    EmptyRun,
    /// It is about another house.
    #[error("the frame is about {told} seats, expected {seats}")]
    OtherHouse {
        /// How many it tells.
        told: u64,
        /// How many there are.
        seats: u32,
    },
    /// More bytes than the plane has.
    #[error("the frame goes on after the plane")]
    Long,
}

/// The seats that differ between two planes of one house, as runs.
#[must_use]
pub fn difference(old: &Plane, new: &Plane) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let bytes = old.bytes.iter().zip(&new.bytes).enumerate();
    for (at, (was, is)) in bytes.filter(|(_, (was, is))| was != is) {
        for bit in (0..8).filter(|bit| (was ^ is) >> bit & 1 == 1) {
            // A house has fewer seats than a u32 counts.
            let seat = u32::try_from(at * 8 + bit).unwrap_or(u32::MAX);
            let is_taken = is >> bit & 1 == 1;
            match runs.last_mut() {
                Some(run) if run.first + run.len == seat && run.is_taken == is_taken => {
                    run.len += 1
                }
                _ => runs.push(Run { first: seat, len: 1, is_taken }),
            }
        }
    }
    runs
}

/// Writes changes that lead from `base` to `seq`.
#[must_use]
pub fn encode_changes(base: u64, seq: u64, runs: &[Run]) -> Bytes {
    let mut bytes = vec![CHANGES];
    put(&mut bytes, base);
    put(&mut bytes, seq.saturating_sub(base));
    let mut next = 0;
    for run in runs {
        put(&mut bytes, u64::from(run.first - next));
        put(&mut bytes, u64::from(run.len) << 1 | u64::from(run.is_taken));
        next = run.first + run.len;
    }
    bytes.into()
}

/// Writes all seats as they are at `seq`.
#[must_use]
pub fn encode_snapshot(seq: u64, plane: &Plane) -> Bytes {
    let mut bytes = Vec::with_capacity(plane.bytes.len() + 2 * VARINT_BYTES_MAX);
    bytes.push(SNAPSHOT);
    put(&mut bytes, seq);
    put(&mut bytes, u64::from(plane.seats));
    bytes.extend_from_slice(&plane.bytes);
    bytes.into()
}

/// Reads a frame about a house of `seats`; whatever else the bytes are, they are refused.
///
/// # Errors
/// The first thing that is wrong.
pub fn decode(mut bytes: &[u8], seats: u32) -> Result<Frame, FrameError> {
    let (kind, rest) = bytes.split_first().ok_or(FrameError::Short)?;
    bytes = rest;
    match *kind {
        CHANGES => {
            let base = take(&mut bytes)?;
            let seq = base.checked_add(take(&mut bytes)?).ok_or(FrameError::Number)?;
            let mut runs = Vec::new();
            let mut next = 0_u64;
            while !bytes.is_empty() {
                let first = next.checked_add(take(&mut bytes)?).ok_or(FrameError::Number)?;
                let run = take(&mut bytes)?;
                let (len, is_taken) = (run >> 1, run & 1 == 1);
                next = first.checked_add(len).ok_or(FrameError::Number)?;
                if len == 0 {
                    return Err(FrameError::EmptyRun);
                }
                let beyond = FrameError::Seat { seat: next - 1, seats };
                let (Ok(first), Ok(len)) = (u32::try_from(first), u32::try_from(len)) else {
                    return Err(beyond);
                };
                if next > u64::from(seats) {
                    return Err(beyond);
                }
                runs.push(Run { first, len, is_taken });
            }
            Ok(Frame::Changes { base, seq, runs })
        }
        SNAPSHOT => {
            let seq = take(&mut bytes)?;
            let told = take(&mut bytes)?;
            if told != u64::from(seats) {
                return Err(FrameError::OtherHouse { told, seats });
            }
            let mut plane = Plane::empty(seats);
            match bytes.len().cmp(&plane.bytes.len()) {
                std::cmp::Ordering::Less => return Err(FrameError::Short),
                std::cmp::Ordering::Greater => return Err(FrameError::Long),
                std::cmp::Ordering::Equal => {}
            }
            plane.rewrite(|plane| plane.copy_from_slice(bytes));
            Ok(Frame::Snapshot { seq, plane })
        }
        kind => Err(FrameError::Kind(kind)),
    }
}

/// What a reader knows of a house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Up to where.
    pub seq: u64,
    /// The seats.
    pub plane: Plane,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It brought news.
    Yes,
    /// It told nothing that was not known.
    Old,
    /// Frames before it are missing: ask for a snapshot.
    Gap,
}

impl Known {
    /// Takes over a frame, as every client does it.
    pub fn apply(&mut self, frame: Frame) -> Applied {
        match frame {
            Frame::Snapshot { seq, plane } => {
                *self = Self { seq, plane };
                Applied::Yes
            }
            Frame::Changes { seq, .. } if seq <= self.seq => Applied::Old,
            Frame::Changes { base, .. } if base > self.seq => Applied::Gap,
            Frame::Changes { seq, runs, .. } => {
                for Run { first, len, is_taken } in runs {
                    (first..first + len).for_each(|seat| self.plane.set(seat, is_taken));
                }
                self.seq = seq;
                Applied::Yes
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, FrameError> {
    let mut number = 0_u64;
    for at in 0..VARINT_BYTES_MAX {
        let (byte, rest) = bytes.split_first().ok_or(FrameError::Short)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if at == VARINT_BYTES_MAX - 1 && bits > 1 {
            return Err(FrameError::Number);
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(FrameError::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAKEN: bool = true;
    const FREE: bool = false;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_bytes_are_those_of_the_document() {
        //    base  seq  runs                                             bytes
        check(   0,   1, &[],                                             "01 00 01");
        check(   7,   9, &[(0, 4, TAKEN)],                                "01 07 02 00 09");
        check(   7,   9, &[(3, 1, FREE), (4, 2, TAKEN)],                  "01 07 02 03 02 00 05");
        check( 300, 428, &[(1000, 8, TAKEN), (49_999, 1, FREE)],          "01 ac 02 80 01 e8 07 11 df fe 02 02");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(base: u64, seq: u64, runs: &[(u32, u32, bool)], expected: &str) {
        let runs = runs.iter().map(|&(first, len, is_taken)| Run { first, len, is_taken });
        let runs: Vec<_> = runs.collect();
        let bytes = encode_changes(base, seq, &runs);
        assert_eq!(hex(&bytes), expected);
        assert_eq!(decode(&bytes, 50_000), Ok(Frame::Changes { base, seq, runs }));
    }

    #[test]
    fn a_snapshot_is_the_plane_behind_two_numbers() {
        let mut plane = Plane::empty(11);
        for seat in [0, 3, 9] {
            plane.set(seat, true);
        }
        let bytes = encode_snapshot(300, &plane);
        assert_eq!(hex(&bytes), "02 ac 02 0b 09 02");
        assert_eq!(decode(&bytes, 11), Ok(Frame::Snapshot { seq: 300, plane }));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_is_no_frame_is_refused() {
        refuses(&[],                                        FrameError::Short);
        refuses(&[9],                                       FrameError::Kind(9));
        refuses(&[1, 0],                                    FrameError::Short);
        refuses(&[1, 0, 1, 0],                              FrameError::Short);
        refuses(&[1, 0, 1, 0, 1],                           FrameError::EmptyRun);
        refuses(&[1, 0, 1, 99, 5],                          FrameError::Seat { seat: 100, seats: 100 });
        refuses(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], FrameError::Number);
        refuses(&[2, 0, 100, 0],                            FrameError::Short);
        refuses(&[&[2, 0, 100][..], &[0; 14]].concat(),     FrameError::Long);
        refuses(&[2, 0, 99, 0],                             FrameError::OtherHouse { told: 99, seats: 100 });
    }

    #[track_caller]
    fn refuses(bytes: &[u8], expected: FrameError) {
        assert_eq!(decode(bytes, 100), Err(expected), "{bytes:?}");
    }

    #[test]
    fn a_reader_asks_again_where_frames_are_missing_and_shrugs_at_old_ones() {
        let mut known = Known { seq: 10, plane: Plane::empty(8) };
        let changes = |base, seq| Frame::Changes { base, seq, runs: Vec::new() };
        assert_eq!(known.apply(changes(11, 12)), Applied::Gap);
        assert_eq!(known.apply(changes(5, 10)), Applied::Old);
        assert_eq!(known.apply(changes(5, 12)), Applied::Yes, "it joins in the middle");
        assert_eq!(known.seq, 12);
    }

    fn planes(seats: u32) -> impl Strategy<Value = Vec<Plane>> {
        let plane = proptest::collection::vec(any::<u8>(), seats.div_ceil(8) as usize);
        proptest::collection::vec(plane, 1..12).prop_map(move |planes| {
            let made = planes.into_iter().map(|bytes| {
                let mut plane = Plane::empty(seats);
                plane.rewrite(|plane| *plane = bytes);
                plane
            });
            made.collect()
        })
    }

    proptest! {
        /// Whoever applies the frames has the plane, wherever they began and however often they
        /// hear a frame.
        #[test]
        fn frames_add_up_to_the_plane(planes in planes(203), from in 0_usize..12, again in 0_usize..12) {
            let mut frames = Vec::new();
            let mut last = Plane::empty(203);
            for (at, plane) in planes.iter().enumerate() {
                let base = at as u64 * 10;
                frames.push(encode_changes(base, base + 10, &difference(&last, plane)));
                last = plane.clone();
            }
            let from = from.min(planes.len() - 1);
            // A snapshot that was taken between two frames is as good as one at a frame.
            let mut known = Known { seq: from as u64 * 10 + 10, plane: planes[from].clone() };
            for (at, frame) in frames.iter().enumerate().skip(from.saturating_sub(again)) {
                let applied = known.apply(decode(frame, 203).unwrap());
                prop_assert_eq!(applied == Applied::Yes, at > from);
            }
            prop_assert_eq!(known.plane, last);
        }

        /// Nothing that arrives makes a reader panic, or reach beyond the house.
        #[test]
        fn garbage_is_refused_or_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0_u8..4) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let mut known = Known { seq: 0, plane: Plane::empty(100) };
            if let Ok(frame) = decode(&bytes, 100) {
                known.apply(frame);
                prop_assert!(known.plane.bytes.len() == known.plane.seats.div_ceil(8) as usize);
            }
        }

        /// A seat costs about a byte where people sit together.
        #[test]
        fn four_seats_side_by_side_cost_three_bytes_or_four(first in 0_u32..49_000) {
            let runs = [Run { first, len: 4, is_taken: true }];
            let bytes = encode_changes(1 << 20, (1 << 20) + 1, &runs);
            prop_assert!(bytes.len() <= 5 + 4, "{} bytes", bytes.len());
        }
    }
}
