//! What controller, operators and load tests may ask, on a listener of its own.

use std::sync::Arc;
use std::time::Instant;

use admission_api::{LoadReport, Stock};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keys::{EventId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::body::Json;
use super::pass_on::{Gathered, IsFromPeer};
use super::problem::Refused;
use super::shopper::unknown_event;
use super::{App, Shop};
use super::{pages, payments};
use crate::live::{Levels, Mode, Pins};
use crate::load;
use crate::partition::Unavailable;
use crate::sale::Counts;
use crate::usher;

/// Most entries of the ledger in one answer.
const LEDGER_MAX: u32 = 10_000;

/// All internal routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/internal/v1/openapi.json", get(pages::internal_description))
        .route("/internal/v1/load", get(load_of_all))
        .route("/internal/v1/mode", get(view_mode).put(pin_mode))
        .route("/internal/v1/sandbox/ledger", get(ledger))
        .route("/internal/v1/payments/attention", get(attention))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
}

/// Somebody who knows the internal token.
pub(super) struct Trusted;

impl FromRequestParts<Arc<App>> for Trusted {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        if is_token(app, bearer(&parts.headers)) {
            return Ok(Self);
        }
        let refused = Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is required");
        Err(refused.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
    }
}

/// The token that a request shows, or nothing.
pub(super) fn bearer(headers: &HeaderMap) -> &str {
    let shown = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
    shown.and_then(|shown| shown.strip_prefix("Bearer ")).unwrap_or("")
}

/// Whether this is the internal token.
pub fn is_token(app: &App, shown: &str) -> bool {
    is_same(shown, &app.internal_token)
}

/// Whether this is that token.
pub(super) fn is_same(shown: &str, token: &Secret) -> bool {
    // Digests have one length, so the comparison takes one time.
    let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
    digest(shown).ct_eq(&digest(token.expose())).into()
}

/// The load of this process; of the whole fleet, unless one of it asks. Whoever does not answer in
/// time is named in `missing`, and nothing is told of their events.
async fn load_of_all(
    State(app): State<Arc<App>>,
    _: Trusted,
    IsFromPeer(is_from_peer): IsFromPeer,
) -> Result<Response, Refused> {
    // Stock that no writer keeps up to date would be believed for ever.
    let shops = app.shops.all();
    let is_stale = |shop: &&Arc<Shop>| !shop.shelf.is_fresh() && app.is_ours(&shop.event.id);
    if let Some(shop) = shops.values().find(is_stale) {
        let refused = Refused::from(Unavailable::Down);
        return Err(refused.detail(format!("the writer of {} is down", shop.event.id)));
    }
    let mut report = report(&app, Timestamp::now(), Instant::now());
    if let Some(cpu) = &app.stores.cpu {
        let share = cpu.share().await.unwrap_or_else(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the database does not say how busy it is");
            None
        });
        report.db_cpu = share.map(|cpu| cpu.share);
        report.db_cpu_source = share.map_or("unknown", |cpu| cpu.source).to_owned();
    }
    let mut fleet = Fleet { report, missing: Vec::new() };
    if let Some(others) = app.others.as_ref().filter(|_| !is_from_peer) {
        let Gathered { answers, missing } = others.gather("/internal/v1/load").await;
        fleet = Fleet { report: load::merged(fleet.report, answers), missing };
    }
    Ok(axum::Json(fleet).into_response())
}

/// A report, and the processes that it does not tell of.
#[derive(Debug, Serialize)]
struct Fleet {
    #[serde(flatten)]
    report: LoadReport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

fn report(app: &App, at: Timestamp, now: Instant) -> LoadReport {
    let seen = app.window.seen(now);
    let shops = app.shops.all();
    let here = shops.values().filter(|shop| app.is_ours(&shop.event.id));
    let stock = here.map(|shop| {
        let Counts { free, held, paying, sold, blocked } = shop.shelf.counts();
        let (holds, minutes) = shop.shelf.expected_returns(at);
        Stock {
            event: shop.event.id.clone(),
            capacity: u64::from(shop.venue.capacity()),
            free,
            held,
            paying,
            sold,
            blocked,
            holds,
            expected_returns: whole_seats(&minutes),
        }
    });
    LoadReport {
        at,
        window_ms: u64::try_from(seen.window.as_millis()).unwrap_or(u64::MAX),
        requests_total: seen.requests,
        errors_total: seen.errors,
        latency: seen.latency,
        queue_delay: seen.queue_delay,
        service: seen.service,
        seat_mode_level: app.hub.levels().by_load.level(),
        db_cpu: Some(seen.busy_share),
        db_cpu_source: "sqlite writer busy share".to_owned(),
        stock: stock.collect(),
    }
}

/// Rounds so that no seat gets lost: the sum of the first numbers is never off by more than half.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seats of one house
fn whole_seats(minutes: &[f64]) -> Vec<u64> {
    let (mut sum, mut told) = (0.0, 0);
    let whole = minutes.iter().map(|seats| {
        sum += seats;
        let more = (f64::round(sum) as u64).saturating_sub(told);
        told += more;
        more
    });
    whole.collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeBody {
    /// Which level to keep; nothing gives it back to the load.
    mode: Option<Mode>,
    /// For which event; nothing means all that have no level of their own.
    #[serde(default)]
    event: Option<EventId>,
}

/// Pins the level of the seat map, of all processes: `{"mode": "list" | null, "event"?}`. The
/// others follow within a second.
async fn pin_mode(
    State(app): State<Arc<App>>,
    _: Trusted,
    Json(ModeBody { mode, event }): Json<ModeBody>,
) -> Result<Response, Refused> {
    if let Some(event) = &event
        && app.catalogue.event(event).is_none()
    {
        return Err(unknown_event());
    }
    let pins = Pins::change(&app.stores.docs, app.hub.levels().pins, |pins| match (&event, mode) {
        (None, mode) => pins.pinned = mode,
        (Some(event), Some(mode)) => {
            pins.pinned_events.insert(event.clone(), mode);
        }
        (Some(event), None) => {
            pins.pinned_events.remove(event);
        }
    });
    let pins = pins.await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "the level of the seat map was not set");
        Refused::from(Unavailable::Down)
    })?;
    if app.hub.set_levels(|levels| levels.pins = pins) {
        let (event, mode) = (event.as_ref().map(EventId::as_str), mode.map(Mode::label));
        tracing::warn!(
            event,
            mode,
            "an operator set the seat map of {} to {}",
            event.unwrap_or("all events"),
            mode.unwrap_or("what the load allows")
        );
    }
    // A writer that does not hear it now hears it within a second.
    if let Err(error) = usher::tell_offering(&app).await {
        tracing::warn!(%error, "a writer does not hear whether its sale rests");
    }
    Ok(axum::Json(modes(&app)).into_response())
}

async fn view_mode(State(app): State<Arc<App>>, _: Trusted) -> Response {
    axum::Json(modes(&app)).into_response()
}

fn modes(app: &App) -> serde_json::Value {
    let Levels { by_load, pins: Pins { pinned, pinned_events } } = app.hub.levels();
    json!({ "by_load": by_load, "pinned": pinned, "pinned_events": pinned_events })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    #[serde(default)]
    after: String,
    #[serde(default = "ledger_max")]
    limit: u32,
}

fn ledger_max() -> u32 {
    LEDGER_MAX
}

/// The sandbox's ledger by order id, a page at a time: `{"totals", "entries", "next"}`.
async fn ledger(
    State(app): State<Arc<App>>,
    _: Trusted,
    query: Result<Query<LedgerQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(LedgerQuery { after, limit }) =
        query.map_err(|_| Refused::invalid("expected after=<order id> and limit=<number>"))?;
    let limit = limit.clamp(1, LEDGER_MAX);
    let sandbox = app.checkout.gateways().sandbox();
    let none = || Refused::not_found("no-sandbox", "The sandbox takes no payments here");
    let sandbox = sandbox.ok_or_else(none)?;
    let read = async { Ok((sandbox.totals().await?, sandbox.entries(after, limit).await?)) };
    let (totals, (entries, last)) = read.await.map_err(|error: crate::pay::GatewayError| {
        tracing::error!(%error, "the sandbox's ledger cannot be read");
        Refused::internal()
    })?;
    let is_full = entries.len() == limit as usize;
    let next = last.filter(|_| is_full);
    Ok(axum::Json(json!({ "totals": totals, "entries": entries, "next": next })).into_response())
}

async fn attention(
    State(app): State<Arc<App>>,
    _: Trusted,
    IsFromPeer(is_from_peer): IsFromPeer,
) -> Response {
    axum::Json(payments::attention(&app, !is_from_peer).await).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let mut counts = Counts::default();
    for shop in app.shops.all().values().filter(|shop| app.is_ours(&shop.event.id)) {
        let more = shop.shelf.counts();
        counts.free += more.free;
        counts.held += more.held;
        counts.paying += more.paying;
        counts.sold += more.sold;
        counts.blocked += more.blocked;
    }
    app.metrics.stock(counts);
    let text = app.metrics.text().map_err(|error| {
        tracing::error!(%error, "metrics cannot be written");
        Refused::internal()
    })?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn health(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let (up, expected) = (app.metrics.partitions_up(), i64::from(app.partitions_ours()));
    if up < expected {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let refused = Refused::new(status, "unavailable", "A writer has no working log");
        return Err(refused.detail(format!("{up} of {expected} writers are up")));
    }
    Ok(axum::Json(json!({ "status": "ok" })).into_response())
}
