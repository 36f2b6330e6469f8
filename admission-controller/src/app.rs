//! What all requests share, and how a front gets from the control loop to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use keys::{EventId, Keyring, Owner, Timestamp};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::config::{DrandConfig, Token};
use crate::control::{CONTROL_PERIOD, Control, ControlError, HeardNow, Inbox, Snapshot};
use crate::metrics::Metrics;
use crate::signals::{Heard, Sight};
use crate::store::{LineId, Store, StoreError, Turn};

/// How often the key file is looked at.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// Ten control periods in which nothing was published: no hiccup any more.
const SILENT_MAX: Duration = Duration::from_secs(5);
/// How often a controller that does not lead looks what the leader has published, and whether there
/// is one. With half a second of the leader and one of the edge, a change is everywhere within two.
const FOLLOW_PERIOD: Duration = Duration::from_millis(200);

/// Shared by all requests and tasks.
#[derive(Debug)]
pub(crate) struct App {
    pub name: Owner,
    pub tokens: Vec<Token>,
    /// Who is asked for rounds of drand.
    pub drand: Option<DrandConfig>,
    pub clock: Arc<Clock>,
    pub store: Store,
    pub keyring: ArcSwap<Keyring>,
    pub snapshot: ArcSwap<Snapshot>,
    pub heard: Arc<Mutex<Heard>>,
    pub metrics: Metrics,
    pub control: tokio::sync::Mutex<Control>,
    pub inbox: Mutex<Inbox>,
    pub traffic: Mutex<BTreeMap<EventId, Traffic>>,
    pub trouble: Mutex<Trouble>,
    /// Whether we lead, as of the last look; `None` before the first.
    pub turn: Mutex<Option<Turn>>,
    /// Whether all rooms are known: before, edges would take those that are not for deleted.
    pub is_ready: AtomicBool,
    /// When the control loop came round last, by a clock that nobody sets.
    pub came_round_at: Mutex<Instant>,
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

impl App {
    /// One control period: the leader moves the fronts, everybody shows them.
    pub async fn tick(&self, now: Timestamp) -> Result<(), ControlError> {
        let mut control = self.control.lock().await;
        let ticked = self.look(&mut control, now).await;
        if ticked.is_err() {
            self.metrics.publish_failures_total.with_label_values(&["store"]).inc();
        }
        let settled = self.settle().await;
        let mut trouble = lock(&self.trouble);
        if let Err(error) = &ticked
            && trouble.store.is_none()
        {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "control: nothing was published");
        }
        let error = ticked.as_ref().err().map(ToString::to_string);
        trouble.store = error.or((!settled).then(|| StoreError::Distrusted.to_string()));
        drop(trouble);
        // Nobody helps a store that others share by starting us again.
        if ticked.is_ok() || self.store.is_shared() {
            *lock(&self.came_round_at) = Instant::now();
        }
        ticked
    }

    async fn look(&self, control: &mut Control, now: Timestamp) -> Result<(), ControlError> {
        let inbox = std::mem::take(&mut *lock(&self.inbox));
        let turn = self.store.lead(now).await;
        if turn.is_err() {
            self.metrics.is_leader.set(0);
        }
        let turn = turn?;
        self.note_turn(&turn);
        self.exchange_sights(now).await?;
        let heard = HeardNow::of(&lock(&self.heard), now);
        let snapshot = match turn {
            Turn::Leads { epoch } => {
                control.lead(epoch);
                let keyring = self.keyring.load_full();
                control.tick(&self.store, &keyring, &heard, inbox, &self.metrics, now).await?
            }
            Turn::Follows { .. } => control.follow(&self.store, &heard, &self.metrics, now).await?,
        };
        let is_unsigned = snapshot.rooms.values().any(|room| room.sealed.is_none());
        lock(&self.trouble).keyring =
            is_unsigned.then(|| format!("no key of {} may sign fronts and passes now", self.name));
        let rooms = &snapshot.rooms;
        lock(&self.traffic).retain(|event, _| rooms.contains_key(event));
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// Looks until all rooms are known. A store that is shared may need a while to be trusted; what
    /// edges hold is taken in meanwhile.
    ///
    /// # Errors
    /// If the embedded store fails.
    pub async fn get_ready(
        &self,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), ControlError> {
        loop {
            match self.tick(self.clock.now()).await {
                Ok(()) if !self.store.is_settling() && !self.snapshot.load().is_partial => {
                    return Ok(());
                }
                Err(error) if !self.store.is_shared() => return Err(error),
                Ok(()) | Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_PERIOD) => {}
                () = told_to_stop(shutdown) => return Ok(()),
            }
        }
    }

    /// From now on, requests are answered.
    pub fn is_now_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// Whether requests are answered.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Says so when the lead has changed.
    fn note_turn(&self, turn: &Turn) {
        let before = lock(&self.turn).replace(turn.clone());
        let is_leader = matches!(turn, Turn::Leads { .. });
        self.metrics.is_leader.set(i64::from(is_leader));
        if before.as_ref() == Some(turn) {
            return;
        }
        match turn {
            Turn::Leads { epoch } => {
                #[allow(clippy::cast_precision_loss)] // seconds since the epoch, below 2^52
                self.metrics.epoch.set(*epoch as f64);
                self.metrics.takeovers_total.inc();
                tracing::info!(epoch, "control: we lead");
            }
            Turn::Follows { leader } => tracing::info!(leader, "control: we follow"),
        }
    }

    /// Our epoch, if we lead.
    pub fn epoch(&self) -> Option<u64> {
        match &*lock(&self.turn) {
            Some(Turn::Leads { epoch }) => Some(*epoch),
            Some(Turn::Follows { .. }) | None => None,
        }
    }

    /// Edges speak to one controller; what they saw of the origin, the leader must know.
    async fn exchange_sights(&self, now: Timestamp) -> Result<(), StoreError> {
        let sights = lock(&self.heard).sights(now);
        let word =
            serde_json::to_string(&sights).map_err(|error| StoreError::Failed(Arc::new(error)))?;
        for (name, word) in self.store.meet(word).await? {
            if name == self.name.as_str() {
                continue;
            }
            // Another version may say something else; its edges are then not heard here.
            let sights: Vec<Sight> = serde_json::from_str(&word).unwrap_or_default();
            lock(&self.heard).relayed(sights, now);
        }
        Ok(())
    }

    /// A step towards trusting the store again, if it may have lost writes. Whether it is trusted.
    async fn settle(&self) -> bool {
        if !self.store.is_settling() {
            return true;
        }
        match self.store.settle(self.epoch()).await {
            Ok(is_done) => {
                if is_done {
                    self.metrics.store_settled_total.inc();
                }
                is_done
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "control: what the store lost is not back yet");
                false
            }
        }
    }

    /// Runs the control loop until told to stop.
    pub async fn run_control(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        loop {
            let period = if self.epoch().is_some() { CONTROL_PERIOD } else { FOLLOW_PERIOD };
            let next = tokio::time::Instant::now() + period;
            self.clock.follow(Timestamp::now());
            // A failure is logged there, and the next period tries again.
            let _ = self.tick(self.clock.now()).await;
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
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
        let silent = lock(&self.came_round_at).elapsed();
        (silent > SILENT_MAX).then_some(silent)
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
        lock(&self.traffic).entry(event.clone()).or_default().admitted_total += 1;
    }
}

fn changed_at(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
