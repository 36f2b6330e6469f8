//! What a visitor may see of the seats: all of them, as a stream or at once, or how many are free.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keys::{EventId, Statement as _, Timestamp};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::listener::HandOver;
use super::problem::Refused;
use super::shopper::Shopper;
use super::{App, pages};
use crate::live::{JoinError, Mode, Reader, Wire};
use crate::partition::Unavailable;
use crate::shelf::{Body, Form, Shelf};

/// The level of the seat map, on every answer of a sale.
pub const SEAT_MODE: HeaderName = HeaderName::from_static("seat-mode");
/// Media type of a frame.
const FRAME: &str = "application/vnd.waiting-room.seats";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// What an edge may keep and give to everybody it lets in; browsers ask each time. There is
/// nothing personal in it, and the address and `Vary` are all that it depends on.
const SHARED: HeaderValue = HeaderValue::from_static("public, max-age=0, s-maxage=2");
/// And as long as that, we tell the same ourselves.
const SHARED_FOR: Duration = Duration::from_secs(2);
/// A stream that is refused for want of room is worth asking for again after so many seconds.
const FULL_RETRY_SECS: HeaderValue = HeaderValue::from_static("30");

/// Routes of the live map.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/events/{event}/availability", get(availability))
        .route("/api/v1/events/{event}/zones", get(zones))
        .route("/api/v1/events/{event}/stream", get(stream))
        .route("/api/v1/events/{event}/ws", get(socket))
}

/// Refuses what the level does not offer, and names what it does.
pub fn refused_by(mode: Mode, event: &EventId) -> Refused {
    let path = |rest: &str| format!("/api/v1/events/{event}/{rest}");
    let (title, allowed) = match mode {
        // A stream was asked for: at these levels the same is had by asking for it.
        Mode::Map | Mode::SlowMap | Mode::Polled => ("Ask for the seats", path("availability")),
        Mode::List => ("The seat map rests", path("zones")),
        Mode::BestOnly => ("Best available seats only", path("holds")),
        Mode::Paused => ("The sale is paused", path("zones")),
    };
    let refused = Refused::new(StatusCode::CONFLICT, "mode", title);
    refused.with("mode", mode.label()).with("allowed", allowed)
}

async fn availability(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let shelf = fresh_shelf(&shopper)?;
    let mode = app.hub.mode(shopper.event());
    if !mode.shows_seats() {
        return Err(refused_by(mode, shopper.event()));
    }
    let wants_frame = asked
        .get_all(header::ACCEPT)
        .iter()
        .any(|accepted| String::from_utf8_lossy(accepted.as_bytes()).contains(FRAME));
    let (form, kind) = match wants_frame {
        true => (Form::Frame, HeaderValue::from_static(FRAME)),
        false => (Form::Json, JSON),
    };
    let (cache, age_max) = match mode.frames_every() {
        Some(_) => (PRIVATE, Duration::ZERO),
        None => (SHARED, SHARED_FOR),
    };
    tell(&asked, &shelf.told(form, age_max), kind, cache)
}

async fn zones(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let shelf = fresh_shelf(&shopper)?;
    let (cache, age_max) = match app.hub.mode(shopper.event()) {
        Mode::Map | Mode::SlowMap => (PRIVATE, Duration::ZERO),
        Mode::Polled | Mode::List | Mode::BestOnly | Mode::Paused => (SHARED, SHARED_FOR),
    };
    tell(&asked, &shelf.told(Form::Zones, age_max), JSON, cache)
}

fn fresh_shelf(shopper: &Shopper) -> Result<Arc<Shelf>, Refused> {
    let shelf = &shopper.shop().shelf;
    if shelf.is_fresh() { Ok(Arc::clone(shelf)) } else { Err(Unavailable::Down.into()) }
}

fn tell(
    asked: &HeaderMap,
    body: &Body,
    kind: HeaderValue,
    cache: HeaderValue,
) -> Result<Response, Refused> {
    let etag = format!("\"{}\"", body.seq);
    let etag = HeaderValue::try_from(etag).map_err(|_| Refused::internal())?;
    let mut response = if pages::is_known(asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        pages::squeezed(asked, &body.plain, &body.gzip)
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, cache);
    headers.insert(header::ETAG, etag);
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    since: Option<u64>,
}

async fn stream(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    method: Method,
    since: Result<Query<Since>, QueryRejection>,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let headers = [(header::CONTENT_TYPE, EVENTS), (header::CACHE_CONTROL, PRIVATE)];
    let response = (StatusCode::OK, headers).into_response();
    let last = asked.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    follow(&app, &shopper, &method, since, last, Wire::Events, response)
}

async fn socket(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    method: Method,
    since: Result<Query<Since>, QueryRejection>,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let says = |name: HeaderName, word: &str| {
        let values = asked.get_all(name);
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
    };
    let key = asked.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let is_upgrade = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let (true, Some(key)) = (is_upgrade, key) else {
        let refused = Refused::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", "A WebSocket");
        let refused = refused.header(header::UPGRADE, HeaderValue::from_static("websocket"));
        let version = HeaderValue::from_static("13");
        return Err(refused.header(header::SEC_WEBSOCKET_VERSION, version));
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept.map_err(|_| Refused::internal())?),
    ];
    let response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    follow(&app, &shopper, &method, since, None, Wire::WebSocket, response)
}

/// Gives a visitor a place among those who follow, and the listener the connection to serve.
fn follow(
    app: &App,
    shopper: &Shopper,
    method: &Method,
    since: Result<Query<Since>, QueryRejection>,
    last: Option<u64>,
    wire: Wire,
    mut response: Response,
) -> Result<Response, Refused> {
    let Query(Since { since }) = since.map_err(|_| Refused::invalid("expected since=<number>"))?;
    let shelf = fresh_shelf(shopper)?;
    if method != Method::GET {
        return Ok(response); // HEAD has the same head, and no stream
    }
    let joined = app.hub.join(shopper.event(), &shelf, shopper.pass.sub);
    let (reading, place) = joined.map_err(|error| match error {
        JoinError::Mode(mode) => refused_by(mode, shopper.event()),
        JoinError::Full | JoinError::EventFull => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let refused = Refused::new(status, "streams-full", "Too many follow the map");
            refused.header(header::RETRY_AFTER, FULL_RETRY_SECS)
        }
        JoinError::VisitorFull { max } => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let refused = Refused::new(status, "too-many-streams", "Too many streams of one pass");
            refused.with("max", max).header(header::RETRY_AFTER, FULL_RETRY_SECS)
        }
    })?;
    // A reader who knows more than there is comes from another log: they get everything.
    let (seq, _) = shelf.plane();
    let known = last.or(since).filter(|known| *known <= seq);
    let (_, ends) = shopper.pass.times();
    let left = ends.since(Timestamp::now()).min(app.hub.life());
    let until = Instant::now() + left;
    let reader = Reader { reading, place, known, until, wire };
    response.extensions_mut().insert(HandOver::new(reader));
    Ok(response)
}
