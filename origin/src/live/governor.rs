//! Watches the load and moves the level of the seat map with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use super::hub::Hub;
use super::mode::{Ladder, Signals};
use crate::load::Window;

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Processor time is told in ticks of this length on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// What this process has used of its processors.
const PROC_STAT: &str = "/proc/self/stat";

/// What is watched beside the hub's own streams.
#[derive(Debug)]
pub struct Watched {
    /// The last seconds.
    pub window: Arc<Window>,
    /// Room for connections, and how much there is of it at most.
    pub connections: (Arc<Semaphore>, usize),
}

/// Moves the level until `stopping` says so.
pub async fn govern(hub: Arc<Hub>, watched: Watched, mut stopping: watch::Receiver<bool>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ladder = Ladder::default();
    let mut processor = Processor::new();
    let began = Instant::now();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
        }
        let now = Instant::now();
        let (queue_p99_ms, fanout_p99_ms) = watched.window.strain(now);
        let (room, room_max) = &watched.connections;
        let signals = Signals {
            queue_p99_ms,
            fanout_p99_ms,
            cpu_share: processor.share(now),
            connections_share: share_open(room, *room_max).max(hub.streams_share()),
        };
        let before = ladder.mode();
        let mode = ladder.step(&signals, now.saturating_duration_since(began));
        if !hub.set_levels(|levels| levels.by_load = mode) {
            continue;
        }
        let Signals { cpu_share, connections_share, .. } = signals;
        tracing::warn!(
            from = before.label(),
            to = mode.label(),
            queue_p99_ms,
            fanout_p99_ms,
            cpu_share,
            connections_share,
            "the seat map goes from {} to {}: commands wait {queue_p99_ms:.0} ms, frames are \
             {fanout_p99_ms:.0} ms late, processors {:.0} %, connections {:.0} %",
            before.label(),
            mode.label(),
            cpu_share * 100.0,
            connections_share * 100.0,
        );
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn share_open(room: &Semaphore, max: usize) -> f64 {
    max.saturating_sub(room.available_permits()) as f64 / max.max(1) as f64
}

/// How much of the machine this process used since the last look.
struct Processor {
    used: Option<(Duration, Instant)>,
    share: f64,
    processors: f64,
}

impl Processor {
    fn new() -> Self {
        let processors = std::thread::available_parallelism();
        #[allow(clippy::cast_precision_loss)] // a few thousand
        let processors = processors.map_or(1.0, |count| count.get() as f64);
        Self { used: None, share: 0.0, processors }
    }

    fn share(&mut self, now: Instant) -> f64 {
        let text = std::fs::read_to_string(Path::new(PROC_STAT));
        let Some(used) = text.ok().and_then(|text| used_by(&text)) else { return 0.0 };
        if let Some((before, at)) = self.used {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            let latest = used.saturating_sub(before).as_secs_f64() / passed / self.processors;
            // Half a second is short: one look alone says little.
            if latest.is_finite() {
                self.share = (self.share + latest.min(1.0)) / 2.0;
            }
        }
        self.used = Some((used, now));
        self.share
    }
}

/// User and system time in the kernel's line about a process (`man 5 proc`, fields 14 and 15).
fn used_by(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses, and may hold any of them.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<u32>().ok();
    let (user, system) = (ticks(fields.next())?, ticks(fields.next())?);
    Some(TICK * user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use keys::Id128;

    use super::super::hub::{JoinError, Limits};
    use super::super::mode::Mode;
    use super::super::pins::Pins;
    use super::*;
    use crate::metrics::Metrics;
    use crate::shelf::Shelf;

    #[tokio::test]
    async fn a_queue_that_grows_moves_the_level_step_by_step_and_tells_who_follows() {
        let window = Arc::new(Window::new(1, Instant::now()));
        let (stop, stopping) = watch::channel(false);
        let limits = Limits {
            streams_max: 10,
            per_event_max: 10,
            per_visitor_max: 10,
            life: Duration::from_secs(60),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let hub = Hub::new(limits, Pins::default(), Arc::clone(&window), metrics, stopping.clone());
        let hub = Arc::new(hub);
        let (event, shelf) = ("an-event".parse().unwrap(), Arc::new(Shelf::new(40)));
        let (mut reading, _place) = hub.join(&event, &shelf, Id128::random()).unwrap();
        let connections = (Arc::new(Semaphore::new(10)), 10);
        let watched = Watched { window: Arc::clone(&window), connections };
        let governing = tokio::spawn(govern(Arc::clone(&hub), watched, stopping));
        // The signal: commands have waited for two seconds, and they go on doing so.
        let loading = tokio::spawn(async move {
            loop {
                let waited = [Duration::from_secs(2); 10];
                window.served(&waited, Duration::from_millis(1), Instant::now());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut told = vec![reading.pulse().mode];
        while told.last() != Some(&Mode::BestOnly) {
            let pulsed = tokio::time::timeout(Duration::from_secs(20), reading.pulsed());
            pulsed.await.expect("the level goes on up");
            told.push(reading.pulse().mode);
        }
        assert_eq!(told, Mode::ALL[..5], "and load alone pauses no sale");
        let refused = hub.join(&event, &shelf, Id128::random()).unwrap_err();
        assert_eq!(refused, JoinError::Mode(Mode::BestOnly));
        assert_eq!(hub.metrics.seat_mode.get(), 4);
        loading.abort();
        stop.send(true).unwrap();
        governing.await.unwrap();
    }

    #[test]
    fn the_kernels_line_is_read_whatever_the_program_is_called() {
        let line = "4242 (a) b (c) S 1 4242 4242 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 8 0";
        assert_eq!(used_by(line), Some(Duration::from_secs(2)));
        assert_eq!(used_by("4242 (short) S 1"), None);
        let own = std::fs::read_to_string(PROC_STAT).unwrap();
        assert!(used_by(&own).is_some(), "{own}");
    }
}
