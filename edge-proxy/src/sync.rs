//! Reports to the controller once a second, and takes over what is new.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use admission_api::{OriginSeen, Sync};
use keys::{Id128, Keyring, Timestamp};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::desk::Desk;

/// How often; the front document is fetched no more often than this.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often until the controller was heard for the first time.
const FIRST_SYNC_EVERY: Duration = Duration::from_millis(100);
/// How often key files are looked at, and idle budgets forgotten, in syncs.
const HOUSEKEEPING_EVERY: u64 = 5;
/// The last report may take this long; an edge stops in seconds even when the controller is gone.
const FAREWELL_TIME_MAX: Duration = Duration::from_millis(500);

/// Runs until `shutdown`.
pub async fn run(desk: Arc<Desk>, keyring_path: PathBuf, mut shutdown: watch::Receiver<bool>) {
    let session = Id128::random();
    let mut seq = 0;
    let mut last = Instant::now();
    let mut keys_changed = modified(&keyring_path);
    loop {
        let every = if desk.live.heard_at().is_some() { SYNC_EVERY } else { FIRST_SYNC_EVERY };
        let mut pause = tokio::time::interval(every);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pause.reset();
        seq += 1;
        sync(&desk, session, seq, &mut last).await;
        send_ends(&desk).await;
        if seq % HOUSEKEEPING_EVERY == 0 {
            let changed = modified(&keyring_path);
            if changed != keys_changed {
                keys_changed = changed;
                reload_keys(&desk, &keyring_path);
            }
            let desk = Arc::clone(&desk);
            tokio::task::spawn_blocking(move || desk.limits.forget_idle());
        }
        let is_stopping = tokio::select! {
            _ = pause.tick() => false,
            () = stopping(&mut shutdown) => true,
        };
        if is_stopping {
            // What was not handed out is given back, so that the front does not wait for it.
            let farewell = async {
                sync(&desk, session, seq + 1, &mut last).await;
                send_ends(&desk).await;
            };
            let _ = tokio::time::timeout(FAREWELL_TIME_MAX, farewell).await;
            return;
        }
    }
}

/// Resolves when `shutdown` says so, or can no longer say anything.
pub async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|is_stopping| *is_stopping).await;
}

async fn sync(desk: &Desk, session: Id128, seq: u64, last: &mut Instant) {
    let gaps = desk.gaps();
    let drained = desk.outbox.drain();
    let window = last.elapsed();
    *last = Instant::now();
    let origin = OriginSeen {
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        in_flight: u64::try_from(desk.metrics.origin_in_flight.get()).unwrap_or(0),
        ..drained.origin
    };
    let report = Sync {
        edge: desk.name.clone(),
        seq,
        session,
        gaps,
        suspicions: drained.suspicions,
        origin,
        rooms: drained.traffic,
        revoked_after: desk.live.revoked_upto(),
    };
    match desk.controller.sync(&report).await {
        Ok(reply) => {
            let keyring = desk.keyring.load_full();
            let refusals = desk.live.hear(reply, &keyring, &desk.pages, Timestamp::now());
            for refusal in refusals {
                desk.metrics.refusals_total.with_label_values(&[refusal.label()]).inc();
                tracing::error!(%refusal, "a front does not verify: is the controller's key trusted here?");
            }
        }
        Err(error) => {
            desk.metrics.controller_failures_total.with_label_values(&["sync"]).inc();
            desk.outbox.failures.warn("sync", &error);
            desk.numbers.keep_gaps(report.gaps);
            desk.outbox.keep(report.suspicions, &desk.metrics);
        }
    }
}

async fn send_ends(desk: &Desk) {
    let mut ends = desk.outbox.drain_ends().into_iter();
    for end in ends.by_ref() {
        if let Err(error) = desk.controller.end(&end).await {
            desk.metrics.controller_failures_total.with_label_values(&["end"]).inc();
            desk.outbox.failures.warn("end", &error);
            desk.outbox.end(end, &desk.metrics);
            break;
        }
    }
    for end in ends {
        desk.outbox.end(end, &desk.metrics);
    }
}

fn reload_keys(desk: &Desk, path: &std::path::Path) {
    match Keyring::load(path) {
        Ok(keyring) => {
            desk.replace_keys(keyring);
            tracing::info!(path = %path.display(), "keys were read again");
        }
        Err(error) => {
            tracing::error!(%error, "keys are kept as they were");
        }
    }
}

fn modified(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}
