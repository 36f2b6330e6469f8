//! What people see of a room, as JSON. `API.md` describes the same with an example.

use admission_api::{RoomMode, RoomSpec, Stock};
use keys::{EventId, Front, Lane, Owner, Phase, StockBand, Timestamp};
use serde::Serialize;

use crate::app::{App, Traffic, lock};
use crate::control::{RoomView, band};
use crate::pace::{Binding, ERROR_SHARE_MAX, FRESH, Source};

#[derive(Serialize)]
pub(super) struct RoomShape {
    event: EventId,
    title: String,
    mode: RoomMode,
    phase: Phase,
    line: u64,
    pass_generation: u64,
    version: u64,
    spec: RoomSpec,
    pace_per_sec: f64,
    reason: String,
    binding: Binding,
    inside: u64,
    called: u64,
    waiting: u64,
    joined_total: u64,
    bypassed_total: u64,
    admitted_total: u64,
    lanes: Vec<LaneShape>,
    stock: Option<StockShape>,
    stock_band: Option<StockBand>,
    opens_at: Option<Timestamp>,
    message: Option<String>,
}

#[derive(Serialize)]
struct LaneShape {
    lane: Lane,
    front: u64,
    issued: u64,
    waiting: u64,
    pace_per_sec: f64,
}

#[derive(Serialize)]
struct StockShape {
    capacity: u64,
    free: u64,
    held: u64,
    paying: u64,
    sold: u64,
}

impl From<&Stock> for StockShape {
    fn from(stock: &Stock) -> Self {
        let Stock { capacity, free, held, paying, sold, .. } = *stock;
        Self { capacity, free, held, paying, sold }
    }
}

impl RoomShape {
    pub fn of(app: &App, view: &RoomView, now: Timestamp) -> Self {
        let spec = view.room.spec.clone();
        let traffic = lock(&app.traffic).get(&spec.event).copied();
        let Traffic { joined_total, bypassed_total, admitted_total } = traffic.unwrap_or_default();
        let front = view.front();
        let lanes = Lane::ALL.into_iter().map(|lane| {
            let entry = front.and_then(|front| front.lane(lane));
            LaneShape {
                lane,
                front: front.map_or(0, |front| front.at(lane, now)),
                issued: entry.map_or(0, |entry| entry.issued),
                waiting: view.waiting[lane.index()],
                pace_per_sec: entry.map_or(0.0, |entry| per_sec(entry.pace_milli)),
            }
        });
        Self {
            event: spec.event.clone(),
            title: spec.title.clone(),
            mode: spec.mode,
            phase: view.phase,
            line: view.room.line,
            pass_generation: view.room.pass_generation,
            version: view.room.version,
            pace_per_sec: view.decision.pace_per_sec,
            reason: view.decision.reason.clone(),
            binding: view.decision.binding,
            inside: view.inside,
            called: view.called,
            waiting: view.waiting.iter().sum(),
            joined_total,
            bypassed_total,
            admitted_total,
            lanes: lanes.collect(),
            stock: view.stock.as_ref().map(StockShape::from),
            stock_band: view.stock.as_ref().map(band),
            opens_at: spec.opens_at,
            message: spec.message.clone(),
            spec,
        }
    }
}

#[derive(Serialize)]
pub(super) struct RoomsShape {
    pub controller: Owner,
    pub epoch: Option<u64>,
    pub now: Timestamp,
    pub rooms: Vec<RoomShape>,
}

#[derive(Serialize)]
pub(super) struct StateShape {
    now: Timestamp,
    room: RoomShape,
    pace: PaceShape,
    signals: [SignalShape; 2],
    edges: Vec<EdgeShape>,
    front: Option<Front>,
}

#[derive(Serialize)]
struct PaceShape {
    per_sec: f64,
    published_per_sec: f64,
    binding: Binding,
    reason: String,
    changed_at: Timestamp,
    per_sec_min: f64,
    per_sec_max: f64,
    terms: [TermShape; 5],
}

#[derive(Serialize)]
struct TermShape {
    name: &'static str,
    value: Option<f64>,
    target: Option<f64>,
    unit: &'static str,
    is_over: bool,
}

#[derive(Serialize)]
struct SignalShape {
    name: &'static str,
    age_ms: Option<u64>,
    is_fresh: bool,
    p95_ms: Option<f64>,
    error_share: Option<f64>,
    requests_total: Option<u64>,
    db_cpu: Option<f64>,
    db_cpu_source: Option<String>,
}

#[derive(Serialize)]
struct EdgeShape {
    edge: Owner,
    age_ms: u64,
    in_flight: u64,
}

impl StateShape {
    pub fn of(app: &App, view: &RoomView, now: Timestamp) -> Self {
        let heard = lock(&app.heard);
        let report = heard.report();
        let mut origin = signal("origin", heard.origin(now));
        origin.requests_total = report.map(|report| report.requests_total);
        origin.db_cpu_source = report.map(|report| report.db_cpu_source.clone());
        let mut edges = signal("edges", heard.edges(now));
        edges.requests_total = edges.age_ms.map(|_| heard.edges_sum(now).0);
        let seen = heard.edges_seen(now);
        drop(heard);
        let limits = view.room.spec.pace;
        let inputs = view.decision.inputs;
        let inside = count(inputs.inside + inputs.called);
        Self {
            now,
            pace: PaceShape {
                per_sec: view.law_per_sec,
                published_per_sec: view.decision.pace_per_sec,
                binding: view.decision.binding,
                reason: view.decision.reason.clone(),
                changed_at: view.changed_at,
                per_sec_min: limits.per_sec_min,
                per_sec_max: limits.per_sec_max,
                terms: [
                    term("latency", inputs.p95_ms, Some(limits.latency_p95_ms), "ms"),
                    term("errors", inputs.error_share, Some(ERROR_SHARE_MAX), "share"),
                    term("database", inputs.db_cpu, Some(limits.db_cpu), "share"),
                    term("inside", Some(inside), limits.inside_max.map(count), "visitors"),
                    // Beyond the target, fewer come than are to.
                    term(
                        "noshow",
                        Some(inputs.noshow_share),
                        Some(1.0 - 1.0 / limits.noshow_factor_max),
                        "share",
                    ),
                ],
            },
            signals: [origin, edges],
            edges: seen
                .into_iter()
                .map(|edge| EdgeShape {
                    edge: edge.edge,
                    age_ms: millis(edge.age),
                    in_flight: edge.in_flight,
                })
                .collect(),
            front: view.front().cloned(),
            room: RoomShape::of(app, view, now),
        }
    }
}

fn signal(name: &'static str, source: Option<Source>) -> SignalShape {
    SignalShape {
        name,
        age_ms: source.map(|source| millis(source.age)),
        is_fresh: source.is_some_and(|source| source.age <= FRESH),
        p95_ms: source.and_then(|source| source.p95_ms),
        error_share: source.and_then(|source| source.error_share),
        requests_total: None,
        db_cpu: source.and_then(|source| source.db_cpu),
        db_cpu_source: None,
    }
}

fn term(
    name: &'static str,
    value: Option<f64>,
    target: Option<f64>,
    unit: &'static str,
) -> TermShape {
    let is_over = value.zip(target).is_some_and(|(value, target)| value > target);
    TermShape { name, value, target, unit, is_over }
}

fn millis(age: std::time::Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss)] // thousandths of positions a second
fn per_sec(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss)] // visitors inside
fn count(count: u64) -> f64 {
    count as f64
}
