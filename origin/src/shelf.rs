//! Which seats of an event can be seen as taken, by whoever does not write.
//!
//! The writer changes a copy of the taken seats after each durable batch; readers take the whole
//! as one text that is made at most once a batch, however many ask. Orders are copied here as well:
//! anybody may ask for any order id, and must not take the writer's time from those who buy.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keys::Id128;

use crate::sale::{Change, Counts, OrderView, State};

/// The published stock and orders of one event.
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
    orders: HashMap<Id128, OrderView>,
    is_fresh: bool,
}

impl Inner {
    fn follow_seats(&mut self, state: &State, seq: u64) {
        self.seq = seq;
        self.body = None;
        state.free().write_missing(&mut self.taken);
    }
}

impl Shelf {
    /// Nothing taken yet.
    #[must_use]
    pub fn new(seats: u32) -> Self {
        let taken = vec![0; seats.div_ceil(8) as usize];
        let counts = Counts { free: u64::from(seats), ..Counts::default() };
        let orders = HashMap::new();
        let inner = Inner { seq: 0, counts, taken, body: None, orders, is_fresh: false };
        Self { seats, inner: Mutex::new(inner) }
    }

    /// Follows one batch of changes that the state went through. `seq` is the next change's.
    pub fn publish<'a>(&self, state: &State, changes: impl Iterator<Item = &'a Change>, seq: u64) {
        let mut inner = self.lock();
        let mut is_moved = false;
        for change in changes {
            is_moved |= change.moves_stock();
            let Some(id) = change.order() else { continue };
            match state.order(id) {
                Some(order) => inner.orders.insert(id, order),
                None => inner.orders.remove(&id),
            };
        }
        inner.counts = state.counts();
        if is_moved {
            inner.follow_seats(state, seq);
        }
    }

    /// Takes over the whole state.
    pub fn publish_all(&self, state: &State, seq: u64) {
        let mut inner = self.lock();
        inner.orders = state.orders().filter_map(|id| Some((id, state.order(id)?))).collect();
        inner.counts = state.counts();
        inner.follow_seats(state, seq);
    }

    /// Tells whether a writer keeps this up to date.
    pub fn set_fresh(&self, is_fresh: bool) {
        self.lock().is_fresh = is_fresh;
    }

    /// Whether a writer keeps this up to date.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.lock().is_fresh
    }

    /// An order as it was last written.
    #[must_use]
    pub fn order(&self, id: Id128) -> Option<OrderView> {
        self.lock().orders.get(&id).cloned()
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
