//! Which seats of an event can be seen as taken, by whoever does not write.
//!
//! The writer changes a copy of the taken seats after each durable batch; readers take the whole
//! as bytes that are made at most once a batch, however many ask. Orders are copied here as well:
//! anybody may ask for any order id, and must not take the writer's time from those who buy.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keys::{Id128, Timestamp};
use serde_json::json;
use tokio::sync::watch;

use crate::live::{Plane, Returns, encode_snapshot};
use crate::sale::{Change, Counts, OrderView, Plan, State};
use crate::squeeze::gzip;

/// The published stock and orders of one event.
#[derive(Debug)]
pub struct Shelf {
    zones: Vec<ZoneSeats>,
    areas: Vec<ZoneSeats>,
    inner: Mutex<Inner>,
    documents: Mutex<Option<Documents>>,
    news: watch::Sender<u64>,
}

/// The seats of a zone or area: first and length of what lies side by side.
#[derive(Debug)]
struct ZoneSeats {
    id: String,
    runs: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Inner {
    seq: u64,
    counts: Counts,
    taken: Plane,
    returns: Returns,
    orders: HashMap<Id128, OrderView>,
    is_fresh: bool,
}

/// What is told about the seats at one moment, in every form, each made when first asked for.
#[derive(Debug)]
struct Documents {
    seq: u64,
    made_at: Instant,
    free: u64,
    taken: Plane,
    bodies: [Option<Body>; 3],
}

/// A form in which the seats are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON with the bit plane in base64.
    Json,
    /// A snapshot frame.
    Frame,
    /// JSON with how many are free in each zone.
    Zones,
}

/// Bytes to answer with, and what they stand for.
#[derive(Debug, Clone)]
pub struct Body {
    /// Up to where in the log.
    pub seq: u64,
    /// As they are.
    pub plain: Bytes,
    /// Compressed.
    pub gzip: Bytes,
}

impl Inner {
    fn follow_seats(&mut self, state: &State, seq: u64) {
        self.seq = seq;
        self.taken.rewrite(|bytes| state.free().write_missing(bytes));
    }
}

impl Shelf {
    /// Nothing taken yet, and all in one.
    #[must_use]
    pub fn new(seats: u32) -> Self {
        let inner = Inner {
            seq: 0,
            counts: Counts { free: u64::from(seats), ..Counts::default() },
            taken: Plane::empty(seats),
            returns: Returns::default(),
            orders: HashMap::new(),
            is_fresh: false,
        };
        let (news, _) = watch::channel(0);
        let (zones, areas) = (Vec::new(), Vec::new());
        Self { zones, areas, inner: Mutex::new(inner), documents: Mutex::new(None), news }
    }

    /// The same with the zones and areas of a plan.
    #[must_use]
    pub fn with_zones(mut self, plan: &Plan) -> Self {
        self.zones = zones_of(plan);
        let areas = plan.areas().iter();
        let areas = areas.map(|area| (area.id.clone(), vec![(area.first, area.len)]));
        self.areas = areas.map(|(id, runs)| ZoneSeats { id, runs }).collect();
        self
    }

    /// Follows one batch of changes that the state went through. `seq` is the next change's.
    pub fn publish<'a>(&self, state: &State, changes: impl Iterator<Item = &'a Change>, seq: u64) {
        let mut inner = self.lock();
        let mut is_moved = false;
        for change in changes {
            is_moved |= change.moves_stock();
            inner.returns.follow(change);
            let Some(id) = change.order() else { continue };
            match state.order(id) {
                Some(order) => inner.orders.insert(id, order),
                None => inner.orders.remove(&id),
            };
        }
        inner.counts = state.counts();
        if is_moved {
            inner.follow_seats(state, seq);
            drop(inner);
            self.news.send_replace(seq);
        }
    }

    /// Takes over the whole state.
    pub fn publish_all(&self, state: &State, seq: u64) {
        let mut inner = self.lock();
        inner.orders = state.orders().filter_map(|id| Some((id, state.order(id)?))).collect();
        inner.counts = state.counts();
        inner.returns.restart(state.open_holds());
        inner.follow_seats(state, seq);
        drop(inner);
        // The same sequence may now mean other seats, if what had been written was put aside.
        *self.documents.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.news.send_replace(seq);
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

    /// All orders as they were last written, by id.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderView> {
        let mut orders: Vec<_> = self.lock().orders.values().cloned().collect();
        orders.sort_unstable_by_key(|order| order.order);
        orders
    }

    /// The taken seats.
    #[must_use]
    pub fn taken(&self) -> Plane {
        self.lock().taken.clone()
    }

    /// Seats by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Open holds, and how many of their seats will likely come back in each minute from `now` on.
    #[must_use]
    pub fn expected_returns(&self, now: Timestamp) -> (u64, Vec<f64>) {
        let inner = self.lock();
        (inner.returns.holds(), inner.returns.expected(now))
    }

    /// Wakes whoever follows the seats; the value is the sequence of [`Shelf::plane`].
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Sequence number of the next change.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.lock().seq
    }

    /// The taken seats and the sequence number they stand for.
    #[must_use]
    pub fn plane(&self) -> (u64, Plane) {
        let inner = self.lock();
        (inner.seq, inner.taken.clone())
    }

    /// The seats in some form, as they are now or were at most `age_max` ago.
    #[must_use]
    pub fn told(&self, form: Form, age_max: Duration) -> Body {
        let mut kept = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let current = {
            let inner = self.lock();
            let is_kept =
                |kept: &&mut Documents| kept.seq == inner.seq || kept.made_at.elapsed() < age_max;
            match kept.as_mut().filter(is_kept) {
                Some(_) => None,
                None => Some((inner.seq, inner.counts.free, inner.taken.clone())),
            }
        };
        // Made outside of the lock that the writer needs.
        if let Some((seq, free, taken)) = current {
            let made_at = Instant::now();
            *kept = Some(Documents { seq, made_at, free, taken, bodies: [None, None, None] });
        }
        let documents = kept.as_mut().expect("made above, or kept from before");
        documents.body(form, &self.zones, &self.areas)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Documents {
    fn body(&mut self, form: Form, zones: &[ZoneSeats], areas: &[ZoneSeats]) -> Body {
        let Self { seq, free, taken, bodies, .. } = self;
        let made = bodies[form as usize].get_or_insert_with(|| {
            let plain = match form {
                Form::Json => Bytes::from(
                    json!({
                        "seq": seq,
                        "seats": taken.seats(),
                        "free": free,
                        "taken": STANDARD.encode(taken.bytes()),
                    })
                    .to_string(),
                ),
                Form::Frame => encode_snapshot(*seq, taken),
                Form::Zones => {
                    let told = |parts: &[ZoneSeats]| -> serde_json::Value {
                        parts.iter().map(|part| part.told(taken)).collect()
                    };
                    let (zones, areas) = (told(zones), told(areas));
                    let told = json!({ "seq": seq, "free": free, "zones": zones, "areas": areas });
                    Bytes::from(told.to_string())
                }
            };
            Body { seq: *seq, gzip: gzip(&plain), plain }
        });
        made.clone()
    }
}

impl ZoneSeats {
    fn told(&self, taken: &Plane) -> serde_json::Value {
        let sum = |count: fn(&Plane, u32, u32) -> u32| -> u32 {
            self.runs.iter().map(|(first, len)| count(taken, *first, *len)).sum()
        };
        let (seats, free) = (sum(|_, _, len| len), sum(Plane::free_among));
        json!({ "id": self.id, "seats": seats, "free": free })
    }
}

fn zones_of(plan: &Plan) -> Vec<ZoneSeats> {
    let ids = plan.zones().iter().map(|zone| zone.id.clone());
    let mut zones: Vec<_> = ids.map(|id| ZoneSeats { id, runs: Vec::new() }).collect();
    let rows = plan.rows().iter().map(|row| (row.zone, row.first, row.len));
    let areas = plan.areas().iter().map(|area| (area.zone, area.first, area.len));
    for (zone, next, more) in rows.chain(areas) {
        // A plan has no row or area in a zone that it has not.
        let Some(zone) = zones.get_mut(usize::from(zone)) else { continue };
        match zone.runs.last_mut() {
            Some((first, len)) if *first + *len == next => *len += more,
            _ => zone.runs.push((next, more)),
        }
    }
    zones.retain(|zone| !zone.runs.is_empty());
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Venue;

    #[test]
    fn zones_add_up_to_the_house() {
        let venue = Venue::bowl(50_000).unwrap();
        let shelf = Shelf::new(50_000).with_zones(&venue.plan(|_| Some(1)).unwrap());
        let told: serde_json::Value =
            serde_json::from_slice(&shelf.told(Form::Zones, Duration::ZERO).plain).unwrap();
        let zones = told["zones"].as_array().unwrap();
        let sum = |name: &str| zones.iter().map(|zone| zone[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((zones.len(), sum("seats"), sum("free")), (4, 50_000, 50_000));
    }
}
