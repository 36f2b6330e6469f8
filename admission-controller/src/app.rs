//! What all requests share, and how a front gets from the control loop to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use admission_api::{Gap, LeaseRequest};
use arc_swap::ArcSwap;
use keys::{EventId, Keyring, Lane, Owner, Timestamp};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::config::Token;
use crate::control::{CONTROL_PERIOD, Control, ControlError, HeardNow, Inbox, Snapshot};
use crate::front::Gaps;
use crate::metrics::Metrics;
use crate::signals::Heard;
use crate::store::{LineId, Store};

/// How often the key file is looked at.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// Leases that are remembered, to check what is given back against them; the oldest are forgotten
/// and what is given back of them is not believed.
const LEASES_MAX: usize = 8192;
/// A lease not given back after this long never is.
const LEASE_REMEMBERED: Duration = Duration::from_secs(60);
/// Most gaps between two control periods. What is beyond costs the front a little time.
const GAPS_MAX: usize = 10_000;

/// Ten control periods in which nothing was published: no hiccup any more.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// Shared by all requests and tasks.
#[derive(Debug)]
pub(crate) struct App {
    pub name: Owner,
    pub tokens: Vec<Token>,
    /// Whether somebody asks drand for its rounds.
    pub has_drand: bool,
    pub clock: Arc<Clock>,
    pub store: Store,
    pub keyring: ArcSwap<Keyring>,
    pub snapshot: ArcSwap<Snapshot>,
    pub heard: Arc<Mutex<Heard>>,
    pub metrics: Metrics,
    pub control: tokio::sync::Mutex<Control>,
    pub inbox: Mutex<Inbox>,
    pub leases: Mutex<Leases>,
    pub traffic: Mutex<BTreeMap<EventId, Traffic>>,
    pub trouble: Mutex<Trouble>,
    /// When a snapshot was published last, by a clock that nobody sets.
    pub published_at: Mutex<Instant>,
}

/// What edges and claims have added up since this start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub joined_total: u64,
    pub bypassed_total: u64,
    pub admitted_total: u64,
}

/// What is wrong at the moment, for `/health`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    pub store: Option<String>,
    pub keyring: Option<String>,
}

/// Locks that are held for a few instructions only; a panic in between leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the service is to stop.
pub(crate) async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell us is gone: stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Which edge was given which numbers lately.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_first: BTreeMap<(EventId, u64, Lane, u64), Leased>,
}

#[derive(Debug)]
struct Leased {
    last: u64,
    edge: Owner,
    at: Timestamp,
    /// What was given back of it.
    returned: Gaps,
}

impl Leases {
    pub fn add(&mut self, request: &LeaseRequest, line: u64, first: u64, now: Timestamp) {
        if self.by_first.len() >= LEASES_MAX {
            self.by_first.retain(|_, leased| now.since(leased.at) < LEASE_REMEMBERED);
        }
        if self.by_first.len() >= LEASES_MAX {
            let oldest = self.by_first.iter().min_by_key(|(_, leased)| leased.at);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.by_first.remove(&key);
            }
        }
        let last = first.saturating_add(request.count.saturating_sub(1));
        let leased =
            Leased { last, edge: request.edge.clone(), at: now, returned: Gaps::default() };
        self.by_first.insert((request.event.clone(), line, request.lane, first), leased);
    }

    /// Whether these numbers were this edge's to give back: nobody declares other people's numbers
    /// empty, for the front passes over empty ones for free.
    pub fn covers(&self, edge: &Owner, gap: &Gap) -> bool {
        let Gap { event, line, lane, first, count } = gap;
        let key = |first| (event.clone(), *line, *lane, first);
        let leased = self.by_first.range(key(0)..=key(*first)).next_back();
        let last = first.saturating_add(count.saturating_sub(1));
        *count > 0 && leased.is_some_and(|(_, leased)| leased.edge == *edge && last <= leased.last)
    }

    /// Takes numbers back. What remains are those that were not taken back before: an edge that
    /// heard no answer tells us again.
    pub fn take_back(&mut self, gap: &Gap) -> Vec<Gap> {
        let Gap { event, line, lane, first, count } = gap;
        let key = |first| (event.clone(), *line, *lane, first);
        let leased = self.by_first.range_mut(key(0)..=key(*first)).next_back();
        let Some((_, leased)) = leased.filter(|_| *count > 0) else { return Vec::new() };
        let last = first.saturating_add(count - 1);
        let mut new = Vec::new();
        let mut from = *first;
        for (start, end) in leased.returned.iter().filter(|(_, end)| *end >= *first) {
            if start > last {
                break;
            }
            if start > from {
                new.push(Gap { first: from, count: start - from, ..gap.clone() });
            }
            from = end.saturating_add(1);
        }
        if from <= last {
            new.push(Gap { first: from, count: last - from + 1, ..gap.clone() });
        }
        leased.returned.add(*first, last);
        new
    }
}

impl App {
    /// One control period; what comes out is published.
    pub async fn tick(&self, now: Timestamp) -> Result<(), ControlError> {
        let mut control = self.control.lock().await;
        let inbox = std::mem::take(&mut *lock(&self.inbox));
        let heard = HeardNow::of(&lock(&self.heard), now);
        let keyring = self.keyring.load_full();
        let ticked = control.tick(&self.store, &keyring, &heard, inbox, &self.metrics, now).await;
        match ticked {
            Ok(snapshot) => {
                let is_unsigned = snapshot.rooms.values().any(|room| room.sealed.is_none());
                let mut trouble = lock(&self.trouble);
                trouble.store = None;
                trouble.keyring = is_unsigned
                    .then(|| format!("no key of {} may sign fronts and passes now", self.name));
                drop(trouble);
                let rooms = &snapshot.rooms;
                lock(&self.traffic).retain(|event, _| rooms.contains_key(event));
                self.snapshot.store(Arc::new(snapshot));
                *lock(&self.published_at) = Instant::now();
                Ok(())
            }
            Err(error) => {
                self.metrics.publish_failures_total.with_label_values(&["store"]).inc();
                let mut trouble = lock(&self.trouble);
                if trouble.store.is_none() {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "control: nothing was published");
                }
                trouble.store = Some(error.to_string());
                drop(trouble);
                Err(error)
            }
        }
    }

    /// Runs the control loop until told to stop.
    pub async fn run_control(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(CONTROL_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.clock.follow(Timestamp::now());
                    // A failure is logged there, and the next period tries again.
                    let _ = self.tick(self.clock.now()).await;
                }
                () = told_to_stop(&mut shutdown) => return,
            }
        }
    }

    /// Reads the key file again whenever it has changed, until told to stop.
    pub async fn watch_keys(self: Arc<Self>, path: PathBuf, mut shutdown: watch::Receiver<bool>) {
        let mut read_at = changed_at(&path);
        let mut ticks = tokio::time::interval(KEYS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = told_to_stop(&mut shutdown) => return,
            }
            let at = changed_at(&path);
            if at == read_at {
                continue;
            }
            read_at = at;
            let file = path.display().to_string();
            match Keyring::load(&path) {
                Ok(keyring) => {
                    tracing::info!(file, keys = keyring.keys().count(), "keys: read again");
                    self.keyring.store(Arc::new(keyring));
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(file, error, "keys: cannot be read again, the old ones stay");
                }
            }
        }
    }

    /// How long nothing has been published, if that is too long: the control loop or the store's
    /// thread is gone, or the disk hangs. Whoever watches us should start us again.
    pub fn silent_for(&self) -> Option<Duration> {
        let silent = lock(&self.published_at).elapsed();
        (silent > SILENT_MAX).then_some(silent)
    }

    /// Takes numbers back into the front at the next control period.
    pub fn take_back(&self, gaps: &[Gap]) {
        let mut inbox = lock(&self.inbox);
        let room = GAPS_MAX.saturating_sub(inbox.gaps.len());
        inbox.gaps.extend(gaps.iter().take(room).cloned());
    }

    /// A beacon's value has come; the next control period opens the draw. Should that fail, the
    /// value is asked for again.
    pub fn beacon_came(&self, line: LineId, value: Vec<u8>) {
        let mut inbox = lock(&self.inbox);
        inbox.beacons.retain(|(of, _)| *of != line);
        inbox.beacons.push((line, value));
    }

    /// A claim counted.
    pub fn came(&self, event: &EventId) {
        *lock(&self.inbox).came.entry(event.clone()).or_default() += 1;
        lock(&self.traffic).entry(event.clone()).or_default().admitted_total += 1;
    }
}

fn changed_at(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn numbers_that_are_given_back_again_do_not_count_again() {
        let mut leases = Leases::default();
        let request = LeaseRequest {
            edge: "edge-1".parse().unwrap(),
            event: "e".parse().unwrap(),
            lane: Lane::Standard,
            count: 100,
        };
        leases.add(&request, 1, 1, Timestamp::from_secs(1_800_000_000));
        //                first  count    new
        check(&mut leases,   10,    10,   &[(10, 10)]);
        check(&mut leases,   10,    10,   &[]);
        check(&mut leases,    5,    30,   &[(5, 5), (20, 15)]);
        check(&mut leases,   40,    10,   &[(40, 10)]);
        check(&mut leases,   30,    71,   &[(35, 5), (50, 51)]);
        check(&mut leases,    1,   100,   &[(1, 4)]);
    }

    #[track_caller]
    fn check(leases: &mut Leases, first: u64, count: u64, expected: &[(u64, u64)]) {
        let event = "e".parse().unwrap();
        let gap = Gap { event, line: 1, lane: Lane::Standard, first, count };
        assert!(leases.covers(&"edge-1".parse().unwrap(), &gap));
        let new: Vec<_> = leases.take_back(&gap).iter().map(|gap| (gap.first, gap.count)).collect();
        assert_eq!(new, expected, "{first} and {count}");
    }
}
