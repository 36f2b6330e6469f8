//! Answers operators: rooms, their state, and changes to them. Every change is noted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use admission_api::{RoomError, RoomSpec};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use keys::EventId;
use serde::Deserialize;
use serde_json::json;

use super::shape::{RoomShape, RoomsShape, StateShape};
use super::{Body, Caller, Refusal, fresh};
use crate::app::App;
use crate::config::check_source;
use crate::control::RoomView;
use crate::store::{Deed, Given, Put};

/// Entries of a page of decisions, unless asked for otherwise.
const DECISIONS_DEFAULT: u64 = 200;
/// Most entries of a page.
const DECISIONS_MAX: u64 = 1000;
/// A leader that lives has published a change by then: it looks twice a second.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(1500);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a change is tried again when somebody else changed the room meanwhile.
const TRIES_MAX: usize = 5;

pub(super) fn view(app: &App, event: &str) -> Result<Arc<RoomView>, Refusal> {
    let event: EventId = event.parse().map_err(|_| Refusal::unknown_room(event))?;
    let snapshot = app.snapshot.load();
    snapshot.rooms.get(&event).cloned().ok_or_else(|| Refusal::unknown_room(event.as_str()))
}

/// A room that was just changed, once the change is published: by us, or by the leader soon.
pub(super) async fn changed(
    app: &App,
    event: &EventId,
    status: StatusCode,
) -> Result<Response, Refusal> {
    let published = |view: &RoomView| view.front().map(|front| (front.epoch, front.seq));
    let before = view(app, event.as_str()).ok().and_then(|view| published(&view));
    let deadline = Instant::now() + PUBLISHED_WITHIN;
    loop {
        let now = app.clock.now();
        app.tick(now).await?;
        let is_last = app.epoch().is_some() || Instant::now() >= deadline;
        match view(app, event.as_str()) {
            Ok(view) if is_last || published(&view) > before => {
                return Ok((status, fresh(RoomShape::of(app, &view, now))).into_response());
            }
            Err(refusal) if is_last => return Err(refusal),
            Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

pub(super) async fn rooms(State(app): State<Arc<App>>) -> Response {
    let now = app.clock.now();
    let snapshot = app.snapshot.load();
    let rooms = snapshot.rooms.values().map(|view| RoomShape::of(&app, view, now)).collect();
    fresh(RoomsShape { controller: app.name.clone(), epoch: app.epoch(), now, rooms })
}

pub(super) async fn room(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
) -> Result<Response, Refusal> {
    Ok(fresh(RoomShape::of(&app, &*view(&app, &event)?, app.clock.now())))
}

pub(super) async fn state(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
) -> Result<Response, Refusal> {
    Ok(fresh(StateShape::of(&app, &*view(&app, &event)?, app.clock.now())))
}

/// The signed front, for everybody.
pub(super) async fn front(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
) -> Result<Response, Refusal> {
    let view = view(&app, &event)?;
    let Some((front, sealed)) = view.front().zip(view.sealed.as_ref()) else {
        return Err(Refusal::new(503, "no-key", "no key may sign at the moment"));
    };
    let cache = [(header::CACHE_CONTROL, "public, s-maxage=1, stale-while-revalidate=5")];
    Ok((cache, axum::Json(json!({"front": front, "signed": sealed}))).into_response())
}

#[derive(Deserialize)]
pub(super) struct Page {
    since: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn decisions(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
    query: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Page { since, limit }) = query.map_err(|_| {
        Refusal::new(400, "malformed-query", "the query is not since=<id>&limit=<n>")
    })?;
    let event = view(&app, &event)?.room.spec.event.clone();
    let limit = limit.unwrap_or(DECISIONS_DEFAULT).min(DECISIONS_MAX);
    let decisions = app.store.entries(event, since, limit).await?;
    let last_id = decisions.last().map_or(since.unwrap_or(0), |entry| entry.id);
    Ok(fresh(json!({"decisions": decisions, "last_id": last_id})))
}

pub(super) async fn put(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
    headers: HeaderMap,
    Body(spec): Body<RoomSpec>,
) -> Result<Response, Refusal> {
    if spec.event.as_str() != event {
        let refusal = Refusal::new(422, "room-refused", "the room does not fit");
        return Err(refusal.with("key", "event").with("expected", "the event of the path"));
    }
    let fits = spec.check().and_then(|()| check_source(&spec, app.drand.as_ref()));
    fits.and_then(|()| match view(&app, &event) {
        Ok(old) => check_draw(&old, &spec),
        Err(_) => Ok(()),
    })
    .map_err(|error| {
        let refusal = Refusal::new(422, "room-refused", "the room does not fit");
        refusal.detail(error.to_string()).with("key", error.key).with("expected", error.expected)
    })?;
    let event = spec.event.clone();
    let Some(version) = wanted_version(&headers)? else {
        let deed = deed(&app, &who, &event, "room created".to_owned());
        return match app.store.create(spec, deed).await? {
            Put::Done(_) => changed(&app, &event, StatusCode::CREATED).await,
            Put::Conflict { version } => Err(Refusal::new(
                428,
                "version-required",
                "the room exists: If-Match says which version is to be changed",
            )
            .with("version", version)),
            Put::Missing => Err(Refusal::unknown_room(event.as_str())),
        };
    };
    let what = view(&app, event.as_str())
        .map_or_else(|_| "room changed".to_owned(), |old| difference(&old.room.spec, &spec));
    let deed = deed(&app, &who, &event, format!("{what}, version {}", version.saturating_add(1)));
    match app.store.change(spec, version, deed).await? {
        Put::Done(_) => changed(&app, &event, StatusCode::OK).await,
        Put::Conflict { version } => Err(other_version(Some(version))),
        Put::Missing => Err(other_version(None)),
    }
}

/// What was announced of a draw stays, and nobody who was called by number is drawn afterwards.
fn check_draw(old: &RoomView, new: &RoomSpec) -> Result<(), RoomError> {
    let has_moved = || old.front().is_some_and(|front| front.lanes.iter().any(|l| l.f0 > 0));
    match (&old.draw, &new.draw) {
        (Some(announced), new) if Some(&announced.beacon) != new.as_ref() => {
            Err(RoomError { key: "draw", expected: "what was announced, and that stays" })
        }
        (None, Some(_)) if has_moved() => {
            Err(RoomError { key: "draw", expected: "announced before anybody was called" })
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// What is to be noted together with a change.
fn deed(app: &App, who: &str, event: &EventId, what: String) -> Deed {
    tracing::info!(who, event = event.as_str(), what, "operator: a room is to be changed");
    Deed { who: who.to_owned(), at: app.clock.now(), what }
}

/// The version that `If-Match` names, if there is one.
fn wanted_version(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(None) };
    match wanted.to_str().ok().and_then(etag_number) {
        Some(version) => Ok(Some(version)),
        None => {
            let refusal = Refusal::new(400, "malformed-version", "If-Match is not a version");
            Err(refusal.detail("expected the room's version, for example \"3\""))
        }
    }
}

/// The room stands at another version than the one named, or is gone.
fn other_version(version: Option<u64>) -> Refusal {
    let refusal = Refusal::new(412, "version-conflict", "the room has changed meanwhile");
    refusal.with("version", version)
}

/// Which parts of a room a change touches, for the log.
fn difference(old: &RoomSpec, new: &RoomSpec) -> String {
    let parts = [
        ("title", old.title != new.title),
        ("mode", old.mode != new.mode),
        ("guard", old.guard != new.guard),
        ("opens_at", old.opens_at != new.opens_at),
        ("draw", old.draw != new.draw),
        ("is_paused", old.is_paused != new.is_paused),
        ("pace", old.pace != new.pace),
        ("lanes", old.lanes != new.lanes),
        ("passes", old.passes != new.passes),
        ("forward", old.forward != new.forward),
        ("message", old.message != new.message),
    ];
    let touched: Vec<&str> = parts.iter().filter(|part| part.1).map(|part| part.0).collect();
    if touched.is_empty() {
        "room written unchanged".to_owned()
    } else {
        format!("room changed: {}", touched.join(", "))
    }
}

fn etag_number(text: &str) -> Option<u64> {
    text.trim().trim_start_matches("W/").trim_matches('"').parse().ok()
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let version = wanted_version(&headers)?;
    let event: EventId = event.parse().map_err(|_| Refusal::unknown_room(&event))?;
    let deed = deed(&app, &who, &event, "room deleted, its places are void".to_owned());
    match app.store.delete(event.clone(), version, deed).await? {
        Put::Done(_) => {
            app.tick(app.clock.now()).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Put::Conflict { version } => Err(other_version(Some(version))),
        Put::Missing if version.is_some() => Err(other_version(None)),
        Put::Missing => Err(Refusal::unknown_room(event.as_str())),
    }
}

pub(super) async fn pause(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
) -> Result<Response, Refusal> {
    edit(&app, &who, &event, "paused".to_owned(), |spec| spec.is_paused = true).await
}

pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
) -> Result<Response, Refusal> {
    edit(&app, &who, &event, "resumed".to_owned(), |spec| spec.is_paused = false).await
}

/// Body of `POST …/pace`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaceChange {
    per_sec_min: Option<f64>,
    per_sec_max: Option<f64>,
}

pub(super) async fn pace(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
    Body(change): Body<PaceChange>,
) -> Result<Response, Refusal> {
    let old = view(&app, &event)?.room.spec.pace;
    let mut parts = Vec::new();
    if let Some(min) = change.per_sec_min {
        parts.push(format!("per_sec_min {} → {min}", old.per_sec_min));
    }
    if let Some(max) = change.per_sec_max {
        parts.push(format!("per_sec_max {} → {max}", old.per_sec_max));
    }
    if parts.is_empty() {
        return Err(Refusal::new(422, "no-change", "neither per_sec_min nor per_sec_max is given"));
    }
    let reason = format!("pace set: {}", parts.join(", "));
    edit(&app, &who, &event, reason, |spec| {
        let pace = &mut spec.pace;
        pace.per_sec_min = change.per_sec_min.unwrap_or(pace.per_sec_min);
        pace.per_sec_max = change.per_sec_max.unwrap_or(pace.per_sec_max);
        // The start is only of use to a new room; it must not stand in the way of a bound.
        if pace.per_sec_min <= pace.per_sec_max {
            pace.per_sec_start = pace.per_sec_start.clamp(pace.per_sec_min, pace.per_sec_max);
        }
    })
    .await
}

/// Longest value of a beacon: it is published in every front.
const BEACON_BYTES_MAX: usize = 200;

/// Body of `POST …/draw`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BeaconValue {
    beacon: String,
}

pub(super) async fn draw(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
    Body(BeaconValue { beacon }): Body<BeaconValue>,
) -> Result<Response, Refusal> {
    let line = view(&app, &event)?.line();
    if !(1..=BEACON_BYTES_MAX).contains(&beacon.len()) || beacon.chars().any(char::is_control) {
        let refusal = Refusal::new(422, "beacon-refused", "this is no value of a beacon");
        return Err(refusal.detail("expected 1 to 200 bytes without control characters"));
    }
    let event = line.event.clone();
    let deed = deed(&app, &who, &event, format!("value of the draw's beacon given: {beacon}"));
    match app.store.give_beacon(line, beacon.into_bytes(), deed).await? {
        Given::Done => changed(&app, &event, StatusCode::OK).await,
        Given::Opened => Err(Refusal::new(409, "draw-opened", "the draw was opened before")),
        Given::Already => {
            Err(Refusal::new(409, "beacon-given", "the beacon's value was given before"))
        }
        Given::OtherKind | Given::Missing => {
            let title = "the room has no draw whose beacon an operator gives";
            Err(Refusal::new(409, "no-operator-beacon", title))
        }
    }
}

/// Changes a room whatever its version is, again if somebody else came first.
async fn edit(
    app: &App,
    who: &str,
    event: &str,
    reason: String,
    change: impl Fn(&mut RoomSpec),
) -> Result<Response, Refusal> {
    let room = view(app, event)?.room.clone();
    let event = room.spec.event.clone();
    let mut spec = room.spec;
    let mut version = room.version;
    for _ in 0..TRIES_MAX {
        change(&mut spec);
        spec.check().map_err(|error| {
            let refusal = Refusal::new(422, "room-refused", "the room does not fit");
            let refusal = refusal.detail(error.to_string());
            refusal.with("key", error.key).with("expected", error.expected)
        })?;
        let deed = deed(app, who, &event, reason.clone());
        match app.store.change(spec.clone(), version, deed).await? {
            Put::Done(_) => return changed(app, &event, StatusCode::OK).await,
            Put::Missing => break,
            Put::Conflict { .. } => {
                app.tick(app.clock.now()).await?;
                let room = view(app, event.as_str())?.room.clone();
                (spec, version) = (room.spec, room.version);
            }
        }
    }
    Err(Refusal::new(409, "room-busy", "the room is being changed by others"))
}
