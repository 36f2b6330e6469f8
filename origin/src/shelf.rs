//! Which seats of an event can be seen as taken, by whoever does not write.
//!
//! The writer changes a copy of the taken seats after each durable batch; readers take the whole
//! as one text that is made at most once a batch, however many ask.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::sale::{Change, Counts, State};

/// The published stock of one event.
#[derive(Debug)]
pub struct Shelf {
    seats: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    seq: u64,
    counts: Counts,
    /// Seat 0 is bit 0 of byte 0.
    taken: Vec<u8>,
    body: Option<Bytes>,
}

impl Shelf {
    /// Nothing taken yet.
    #[must_use]
    pub fn new(seats: u32) -> Self {
        let taken = vec![0; seats.div_ceil(8) as usize];
        let counts = Counts { free: u64::from(seats), ..Counts::default() };
        Self { seats, inner: Mutex::new(Inner { seq: 0, counts, taken, body: None }) }
    }

    /// Follows one batch of changes that the state went through. `seq` is the next change's.
    pub fn publish<'a>(
        &self,
        state: &State,
        mut changes: impl Iterator<Item = &'a Change>,
        seq: u64,
    ) {
        if changes.any(Change::moves_stock) {
            self.publish_all(state, seq);
        } else {
            self.lock().counts = state.counts();
        }
    }

    /// Takes over the whole state.
    pub fn publish_all(&self, state: &State, seq: u64) {
        let mut inner = self.lock();
        inner.seq = seq;
        inner.counts = state.counts();
        inner.body = None;
        state.free().write_missing(&mut inner.taken);
    }

    /// Seats by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The answer to `GET …/availability` and the sequence number it stands for.
    #[must_use]
    pub fn availability(&self) -> (u64, Bytes) {
        let mut inner = self.lock();
        if let Some(body) = &inner.body {
            return (inner.seq, body.clone());
        }
        let body = serde_json::json!({
            "seq": inner.seq,
            "seats": self.seats,
            "free": inner.counts.free,
            "taken": STANDARD.encode(&inner.taken),
        });
        let body = Bytes::from(body.to_string());
        inner.body = Some(body.clone());
        (inner.seq, body)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
