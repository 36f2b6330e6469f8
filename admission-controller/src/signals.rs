//! Gathers what is known of the origin: its own reports, asked for once a second, and what edges
//! saw. Everything is kept with the time at which it was heard, by our clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admission_api::{Latency, LoadReport, OriginSeen, Sync};
use keys::{Id128, Owner, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::app::told_to_stop;
use crate::clock::Clock;
use crate::config::OriginConfig;
use crate::pace::{FRESH, Source};

/// How often the origin is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an answer; the next question is due then.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest report that is read: thousands of events fit.
const REPORT_BYTES_MAX: usize = 1 << 20;
/// What edges saw counts for this long: enough requests to tell a p95, and no old ones.
const SEEN_FOR: Duration = Duration::from_secs(3);
/// Fewer requests say nothing about the share of failures.
const REQUESTS_MIN: u64 = 5;
/// An edge not heard for this long is forgotten.
const EDGE_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Most edges that are told apart; the rest still sync, but their sight of the origin is lost.
const EDGES_MAX: usize = 1000;

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    is_origin_asked: bool,
    report: Option<(LoadReport, Timestamp)>,
    edges: BTreeMap<Owner, EdgeHeard>,
}

#[derive(Debug)]
struct EdgeHeard {
    session: Id128,
    seq: u64,
    at: Timestamp,
    in_flight: u64,
    windows: VecDeque<(Timestamp, OriginSeen)>,
    /// Whether it spoke to us, and not to another controller.
    is_ours: bool,
}

/// The last sync of an edge, as controllers tell each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sight {
    edge: Owner,
    session: Id128,
    seq: u64,
    origin: OriginSeen,
}

/// An edge, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSeen {
    /// Its name.
    pub edge: Owner,
    /// How long ago it synced.
    pub age: Duration,
    /// Requests under way at the origin.
    pub in_flight: u64,
}

impl Heard {
    /// Nothing yet.
    #[must_use]
    pub fn new(is_origin_asked: bool) -> Self {
        Self { is_origin_asked, ..Self::default() }
    }

    /// Whether the origin is asked for reports.
    #[must_use]
    pub fn is_origin_asked(&self) -> bool {
        self.is_origin_asked
    }

    /// The origin answered.
    pub fn reported(&mut self, report: LoadReport, now: Timestamp) {
        self.report = Some((report, now));
    }

    /// Whether this sync was taken in before.
    #[must_use]
    pub fn is_repeated(&self, sync: &Sync) -> bool {
        let edge = self.edges.get(&sync.edge);
        edge.is_some_and(|edge| edge.session == sync.session && edge.seq >= sync.seq)
    }

    /// An edge synced with us.
    pub fn synced(&mut self, sync: &Sync, now: Timestamp) {
        let Sync { edge, session, seq, origin, .. } = sync.clone();
        self.take_in(Sight { edge, session, seq, origin }, true, now);
    }

    /// The last sync of every edge that spoke to us of late.
    #[must_use]
    pub fn sights(&self, now: Timestamp) -> Vec<Sight> {
        let ours =
            self.edges.iter().filter(|(_, heard)| heard.is_ours && now.since(heard.at) <= SEEN_FOR);
        let sight = |(edge, heard): (&Owner, &EdgeHeard)| {
            let origin = heard.windows.back()?.1.clone();
            Some(Sight { edge: edge.clone(), session: heard.session, seq: heard.seq, origin })
        };
        ours.filter_map(sight).collect()
    }

    /// Edges synced with another controller. What was heard before says nothing new.
    pub fn relayed(&mut self, sights: Vec<Sight>, now: Timestamp) {
        for sight in sights {
            let known = self.edges.get(&sight.edge);
            if known.is_none_or(|known| known.session != sight.session || known.seq < sight.seq) {
                self.take_in(sight, false, now);
            }
        }
    }

    fn take_in(&mut self, sight: Sight, is_ours: bool, now: Timestamp) {
        self.edges.retain(|_, edge| now.since(edge.at) < EDGE_FORGOTTEN_AFTER);
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&sight.edge) {
            return;
        }
        let edge = self.edges.entry(sight.edge).or_insert_with(|| EdgeHeard {
            session: sight.session,
            seq: 0,
            at: now,
            in_flight: 0,
            windows: VecDeque::new(),
            is_ours,
        });
        (edge.session, edge.seq, edge.at) = (sight.session, sight.seq, now);
        (edge.in_flight, edge.is_ours) = (sight.origin.in_flight, is_ours);
        edge.windows.push_back((now, sight.origin));
        while edge.windows.front().is_some_and(|(at, _)| now.since(*at) > SEEN_FOR) {
            edge.windows.pop_front();
        }
    }

    /// What the origin says of itself.
    #[must_use]
    pub fn origin(&self, now: Timestamp) -> Option<Source> {
        let (report, at) = self.report.as_ref()?;
        Some(Source {
            age: now.since(*at),
            window: Duration::from_millis(report.window_ms),
            p95_ms: report.latency.quantile_ms(0.95),
            error_share: share(report.errors_total, report.requests_total),
            db_cpu: report.db_cpu.filter(|share| share.is_finite()),
        })
    }

    /// The origin's last report itself.
    #[must_use]
    pub fn report(&self) -> Option<&LoadReport> {
        self.report.as_ref().map(|(report, _)| report)
    }

    /// What all edges saw, added up.
    #[must_use]
    pub fn edges(&self, now: Timestamp) -> Option<Source> {
        let newest = self.edges.values().map(|edge| edge.at).max()?;
        let (requests, errors, latency) = self.edges_sum(now);
        Some(Source {
            age: now.since(newest),
            window: SEEN_FOR,
            p95_ms: latency.quantile_ms(0.95),
            error_share: share(errors, requests),
            db_cpu: None,
        })
    }

    /// Requests under way at the origin, at edges that were heard lately.
    #[must_use]
    pub fn in_flight(&self, now: Timestamp) -> u64 {
        let fresh = self.edges.values().filter(|edge| now.since(edge.at) <= FRESH);
        fresh.fold(0, |sum, edge| sum.saturating_add(edge.in_flight))
    }

    /// Requests, failures and latencies that edges saw lately.
    #[must_use]
    pub fn edges_sum(&self, now: Timestamp) -> (u64, u64, Latency) {
        let windows = self.edges.values().flat_map(|edge| &edge.windows);
        let recent = windows.filter(|(at, _)| now.since(*at) <= SEEN_FOR);
        recent.fold((0, 0, Latency::default()), |(requests, errors, mut latency), (_, seen)| {
            latency.add(&seen.latency);
            (requests + seen.requests_total, errors + seen.errors_total, latency)
        })
    }

    /// The edges, for people.
    #[must_use]
    pub fn edges_seen(&self, now: Timestamp) -> Vec<EdgeSeen> {
        let edges = self.edges.iter().map(|(name, edge)| EdgeSeen {
            edge: name.clone(),
            age: now.since(edge.at),
            in_flight: edge.in_flight,
        });
        edges.collect()
    }

    /// What is wrong with the origin's reports, if anything is.
    #[must_use]
    pub fn origin_trouble(&self, now: Timestamp) -> Option<String> {
        if !self.is_origin_asked {
            return None;
        }
        match &self.report {
            None => Some("no report of the origin yet".to_owned()),
            Some((_, at)) if now.since(*at) > FRESH => {
                Some(format!("no report of the origin for {} s", now.since(*at).as_secs()))
            }
            Some(_) => None,
        }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)] // counts of a few seconds
    (whole >= REQUESTS_MIN).then(|| (part as f64 / whole as f64).min(1.0))
}

/// Why a question went unanswered.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("origin's load cannot be fetched")]
    Http(#[from] reqwest::Error),
    #[error("origin's load was answered with status {0}, expected 200")]
    Status(u16),
    #[error("origin's load is more than {REPORT_BYTES_MAX} bytes long")]
    TooLong,
    #[error("origin's load is not a report")]
    Json(#[from] serde_json::Error),
}

/// Asks the origin until told to stop.
pub async fn ask_origin(
    origin: OriginConfig,
    client: reqwest::Client,
    heard: Arc<Mutex<Heard>>,
    clock: Arc<Clock>,
    mut shutdown: watch::Receiver<bool>,
) {
    let url = origin.full_url();
    let mut ticks = tokio::time::interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_failing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = told_to_stop(&mut shutdown) => return,
        }
        let answer = tokio::select! {
            answer = ask(&client, &url, origin.token.expose()) => answer,
            () = told_to_stop(&mut shutdown) => return,
        };
        match answer {
            Ok(report) => {
                if was_failing {
                    tracing::info!(url, "signals: the origin reports its load again");
                }
                was_failing = false;
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.reported(report, clock.now());
            }
            Err(error) => {
                if !was_failing {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(url, error, "signals: the origin does not report its load");
                }
                was_failing = true;
            }
        }
    }
}

async fn ask(client: &reqwest::Client, url: &str, token: &str) -> Result<LoadReport, AskError> {
    let request = client.get(url).bearer_auth(token).timeout(ASK_TIMEOUT);
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(AskError::Status(status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > REPORT_BYTES_MAX {
            return Err(AskError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn sync(edge: &str, seq: u64, millis: f64, requests: u64, errors: u64) -> Sync {
        let mut latency = Latency::default();
        for _ in errors..requests {
            latency.record_ms(millis);
        }
        Sync {
            edge: edge.parse().unwrap(),
            seq,
            session: Id128::from_bytes([1; 16]),
            gaps: Vec::new(),
            suspicions: Vec::new(),
            origin: OriginSeen {
                window_ms: 1000,
                requests_total: requests,
                errors_total: errors,
                in_flight: 3,
                latency,
            },
            rooms: Vec::new(),
            revoked_after: 0,
            held: None,
        }
    }

    #[test]
    fn edges_are_added_up_and_old_windows_are_forgotten() {
        let mut heard = Heard::new(false);
        assert_eq!(heard.edges(NOW), None);
        heard.synced(&sync("edge-1", 1, 400.0, 90, 0), NOW);
        heard.synced(&sync("edge-2", 1, 10.0, 10, 10), NOW.plus_secs(1));
        assert_eq!(heard.in_flight(NOW.plus_secs(2)), 6);
        assert_eq!(heard.in_flight(NOW.plus_secs(10)), 0, "an edge that is silent says nothing");
        let source = heard.edges(NOW.plus_secs(2)).unwrap();
        assert_eq!((source.age, source.error_share), (Duration::from_secs(1), Some(0.1)));
        assert!(source.p95_ms.is_some_and(|p95| p95 >= 400.0));
        let source = heard.edges(NOW.plus_secs(5)).unwrap();
        assert_eq!((source.p95_ms, source.error_share), (None, None));
    }

    #[test]
    fn a_repeated_sync_is_recognised_until_the_edge_starts_anew() {
        let mut heard = Heard::new(false);
        let first = sync("edge-1", 7, 1.0, 1, 0);
        assert!(!heard.is_repeated(&first));
        heard.synced(&first, NOW);
        assert!(heard.is_repeated(&first));
        assert!(!heard.is_repeated(&Sync { seq: 8, ..first.clone() }));
        let session = Id128::from_bytes([2; 16]);
        assert!(!heard.is_repeated(&Sync { seq: 1, session, ..first }));
    }
}
