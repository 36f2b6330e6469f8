//! Who may follow which event's map, and at which level?

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::{EventId, Id128};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::feed::{Feed, Reading};
use super::mode::Mode;
use super::pins::Pins;
use crate::load::Window;
use crate::metrics::Metrics;
use crate::shelf::Shelf;

/// A feed that nobody reads is forgotten after twice this time at the latest.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(30);
/// Of so many readers one measures how late frames are: enough for a p99, and no lock for most.
const PROBE_EVERY: u64 = 16;

/// How many may follow, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams of this process.
    pub streams_max: usize,
    /// Of one event.
    pub per_event_max: usize,
    /// Of one pass.
    pub per_visitor_max: u32,
    /// Longest life of a stream; its reader comes back, which shows the edge that they are there.
    pub life: Duration,
}

/// Why somebody cannot follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There are no streams at this level.
    #[error("there are no streams at the level {}", .0.label())]
    Mode(Mode),
    /// The process has enough of them.
    #[error("as many follow as this process can serve")]
    Full,
    /// The event has enough of them.
    #[error("as many follow this event as one may have")]
    EventFull,
    /// The visitor has enough of them.
    #[error("this pass has {max} streams already")]
    VisitorFull {
        /// As many as they may have.
        max: u32,
    },
}

impl JoinError {
    /// Name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mode(_) => "mode",
            Self::Full => "full",
            Self::EventFull => "event_full",
            Self::VisitorFull { .. } => "visitor_full",
        }
    }
}

/// The levels: what the load asks for, and what an operator has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// By load.
    pub by_load: Mode,
    /// What operators have set.
    pub pins: Pins,
}

impl Levels {
    /// The level of an event.
    #[must_use]
    pub fn of(&self, event: &EventId) -> Mode {
        self.pins.of_event(event).unwrap_or(self.by_load)
    }
}

/// All feeds of this process and who reads them.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    places: Arc<Semaphore>,
    feeds: Mutex<HashMap<EventId, Arc<Feed>>>,
    visitors: Mutex<HashMap<Id128, u32>>,
    levels: watch::Sender<Levels>,
    joined: AtomicU64,
    stopping: watch::Receiver<bool>,
    window: Arc<Window>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A place among those who follow, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    hub: Arc<Hub>,
    sub: Id128,
    /// Whether this reader measures how late it is.
    is_probe: bool,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut visitors = lock(&self.hub.visitors);
        if let Some(streams) = visitors.get_mut(&self.sub) {
            *streams -= 1;
            if *streams == 0 {
                visitors.remove(&self.sub);
            }
        }
        drop(visitors);
        self.hub.metrics.live_streams.dec();
    }
}

impl Place {
    /// Tells that a frame which was cut at `cut_at` is written only now.
    pub fn wrote(&self, cut_at: Instant) {
        if self.is_probe {
            let now = Instant::now();
            self.hub.window.fanned_out(now.saturating_duration_since(cut_at), now);
        }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.hub.metrics
    }

    /// Turns true when the origin stops.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.hub.stopping.clone()
    }
}

impl Hub {
    /// Nobody follows yet.
    #[must_use]
    pub fn new(
        limits: Limits,
        pins: Pins,
        window: Arc<Window>,
        metrics: Arc<Metrics>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (levels, _) = watch::channel(Levels { by_load: Mode::default(), pins });
        Self {
            limits,
            places: Arc::new(Semaphore::new(limits.streams_max)),
            feeds: Mutex::new(HashMap::new()),
            visitors: Mutex::new(HashMap::new()),
            levels,
            joined: AtomicU64::new(0),
            stopping,
            window,
            metrics,
        }
    }

    /// How long a stream lives at most.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.limits.life
    }

    /// The level of an event.
    #[must_use]
    pub fn mode(&self, event: &EventId) -> Mode {
        self.levels.borrow().of(event)
    }

    /// All levels.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.levels.borrow().clone()
    }

    /// Changes the levels and tells whoever follows; `true` if they are other ones now.
    pub fn set_levels(&self, change: impl FnOnce(&mut Levels)) -> bool {
        let is_changed = self.levels.send_if_modified(|levels| {
            let before = levels.clone();
            change(levels);
            *levels != before
        });
        self.metrics.seat_mode.set(i64::from(self.levels.borrow().by_load.level()));
        is_changed
    }

    /// Share of the streams that may be open which are open.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub fn streams_share(&self) -> f64 {
        let open = self.limits.streams_max - self.places.available_permits();
        open as f64 / self.limits.streams_max as f64
    }

    /// Lets a visitor follow an event.
    ///
    /// # Errors
    /// Why not.
    pub fn join(
        self: &Arc<Self>,
        event: &EventId,
        shelf: &Arc<Shelf>,
        sub: Id128,
    ) -> Result<(Reading, Place), JoinError> {
        let joined = self.try_join(event, shelf, sub);
        if let Err(error) = &joined {
            self.metrics.live_refused_total.with_label_values(&[error.label()]).inc();
        }
        joined
    }

    fn try_join(
        self: &Arc<Self>,
        event: &EventId,
        shelf: &Arc<Shelf>,
        sub: Id128,
    ) -> Result<(Reading, Place), JoinError> {
        let mode = self.mode(event);
        if mode.frames_every().is_none() {
            return Err(JoinError::Mode(mode));
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| JoinError::Full)?;
        {
            let max = self.limits.per_visitor_max;
            let mut visitors = lock(&self.visitors);
            let streams = visitors.entry(sub).or_insert(0);
            if *streams >= max {
                return Err(JoinError::VisitorFull { max });
            }
            *streams += 1;
        }
        self.metrics.live_streams.inc();
        let joined = self.joined.fetch_add(1, Ordering::Relaxed);
        let is_probe = joined.is_multiple_of(PROBE_EVERY);
        let place = Place { hub: Arc::clone(self), sub, is_probe, _permit: permit };
        let mut feeds = lock(&self.feeds);
        if let Some(feed) = feeds.get(event) {
            if feed.readers() >= self.limits.per_event_max {
                return Err(JoinError::EventFull);
            }
            return Ok((feed.join(), place));
        }
        let news = shelf.news();
        let (seq, plane) = shelf.plane();
        let feed = Arc::new(Feed::new(seq, plane, mode));
        feeds.insert(event.clone(), Arc::clone(&feed));
        let reading = feed.join();
        let (hub, event, shelf) = (Arc::clone(self), event.clone(), Arc::clone(shelf));
        tokio::spawn(async move { hub.follow(&event, &shelf, &feed, news).await });
        Ok((reading, place))
    }

    /// Cuts frames while anybody reads them.
    async fn follow(
        &self,
        event: &EventId,
        shelf: &Shelf,
        feed: &Feed,
        mut news: watch::Receiver<u64>,
    ) {
        let mut levels = self.levels.subscribe();
        let mut stopping = self.stopping.clone();
        let mut looks = tokio::time::interval(IDLE_LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_idle = false;
        let mut cut_at = tokio::time::Instant::now();
        let mut is_due = false;
        loop {
            let every = self.mode(event).frames_every();
            let due_at = cut_at + every.unwrap_or_default();
            tokio::select! {
                biased;
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
                changed = levels.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    feed.tell_mode(self.mode(event));
                }
                _ = looks.tick() => {
                    let is_idle = feed.readers() == 0;
                    if is_idle && was_idle && self.forget(event) {
                        return;
                    }
                    was_idle = is_idle;
                }
                changed = news.changed(), if !is_due => {
                    if changed.is_err() {
                        return;
                    }
                    is_due = true;
                }
                () = tokio::time::sleep_until(due_at), if is_due && every.is_some() => {
                    // Marked as seen before the seats are read: what comes later wakes us again.
                    news.mark_unchanged();
                    let (seq, plane) = shelf.plane();
                    is_due = false;
                    if feed.cut(seq, &plane) {
                        cut_at = tokio::time::Instant::now();
                        self.metrics.live_frames_total.inc();
                    }
                }
            }
        }
    }

    /// Forgets a feed unless somebody has come.
    fn forget(&self, event: &EventId) -> bool {
        let mut feeds = lock(&self.feeds);
        if feeds.get(event).is_some_and(|feed| feed.readers() > 0) {
            return false;
        }
        feeds.remove(event);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
