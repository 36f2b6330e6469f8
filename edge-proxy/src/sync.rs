//! Reports to the controller once a second, and takes over what is new; sends ends of passes on a
//! way of their own, so that neither waits for the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use admission_api::{EndRequest, Gap, Held, OriginSeen, Sync};
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
/// How often ends of passes are sent: a seat inside is free when the controller knows.
const ENDS_EVERY: Duration = Duration::from_millis(500);
/// Ends of passes under way at once.
const ENDS_AT_ONCE: usize = 16;

/// What one sync leaves for the next.
struct SoFar {
    synced_at: Instant,
    /// The controller asked for what we hold, or gave no answer: its store may have lost writes.
    is_held_wanted: bool,
}

/// Runs until `is_drained`: until the last request is dealt with, not until no more are accepted.
pub async fn run(desk: Arc<Desk>, keyring_path: PathBuf, mut is_drained: watch::Receiver<bool>) {
    let ends = tokio::spawn(run_ends(Arc::clone(&desk), is_drained.clone()));
    let session = Id128::random();
    let mut seq = 0;
    let mut so_far = SoFar { synced_at: Instant::now(), is_held_wanted: false };
    let mut keys_changed = modified(&keyring_path);
    loop {
        let every = if desk.live.heard_at().is_some() { SYNC_EVERY } else { FIRST_SYNC_EVERY };
        let mut pause = tokio::time::interval(every);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pause.reset();
        seq += 1;
        sync(&desk, session, seq, desk.numbers.gaps(Instant::now()), &mut so_far).await;
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
            () = stopping(&mut is_drained) => true,
        };
        if is_stopping {
            // What was not handed out is given back, so that the front does not wait for it.
            sync(&desk, session, seq + 1, desk.numbers.all_gaps(), &mut so_far).await;
            // It ends after its own last round, or with this runtime.
            let _ = ends.await;
            return;
        }
    }
}

/// Sends ends of passes, and what is left of them when the edge stops.
async fn run_ends(desk: Arc<Desk>, mut is_drained: watch::Receiver<bool>) {
    loop {
        let is_stopping = tokio::select! {
            () = tokio::time::sleep(ENDS_EVERY) => false,
            () = stopping(&mut is_drained) => true,
        };
        send_ends(&desk).await;
        if is_stopping {
            return;
        }
    }
}

/// Resolves when `shutdown` says so, or can no longer say anything.
pub async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|is_stopping| *is_stopping).await;
}

async fn sync(desk: &Desk, session: Id128, seq: u64, gaps: Vec<Gap>, so_far: &mut SoFar) {
    let drained = desk.outbox.drain();
    let window = so_far.synced_at.elapsed();
    so_far.synced_at = Instant::now();
    let held = || Held { fronts: desk.live.held_fronts(), numbers: desk.numbers.held() };
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
        held: so_far.is_held_wanted.then(held),
    };
    match desk.controller.sync(&report).await {
        Ok(reply) => {
            so_far.is_held_wanted = reply.wants_held;
            let keyring = desk.keyring.load_full();
            let refusals = desk.live.hear(reply, &keyring, &desk.pages, Timestamp::now());
            for refusal in refusals {
                desk.metrics.refusals_total.with_label_values(&[refusal.label()]).inc();
                desk.outbox.key_trouble.keys("a front does not verify", &refusal);
            }
        }
        Err(error) => {
            so_far.is_held_wanted = true;
            desk.metrics.controller_failures_total.with_label_values(&["sync"]).inc();
            desk.outbox.failures.warn("sync", &error);
            desk.numbers.keep_gaps(report.gaps);
            desk.outbox.keep(report.suspicions, &desk.metrics);
        }
    }
}

/// Sends ends until none is left, or the controller gives no answer: those are kept.
async fn send_ends(desk: &Arc<Desk>) {
    loop {
        let batch = desk.outbox.drain_ends(ENDS_AT_ONCE);
        if batch.is_empty() {
            return;
        }
        let mut sending = tokio::task::JoinSet::new();
        for end in batch {
            let desk = Arc::clone(desk);
            sending.spawn(async move { send_end(&desk, end).await });
        }
        if sending.join_all().await.contains(&false) {
            return;
        }
    }
}

/// Whether the controller has it, or never will.
async fn send_end(desk: &Desk, end: EndRequest) -> bool {
    let Err(error) = desk.controller.end(&end).await else { return true };
    desk.metrics.controller_failures_total.with_label_values(&["end"]).inc();
    desk.outbox.failures.warn("end", &error);
    if error.is_final() {
        // One that is refused must not stand in the way of all others; the pass ends by its time.
        desk.metrics.dropped_reports_total.inc();
        return true;
    }
    desk.outbox.end(end, &desk.metrics);
    false
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
