//! Events, venues and performers as an organiser sees and changes them.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keys::{EventId, Slug, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::body::Json;
use super::super::problem::Refused;
use super::super::shopper::unknown_event;
use super::{IMPORT_BYTES_MAX, PRIVATE, Somebody, ask, maps, seen, versioned};
use crate::catalogue::{
    Command, Event, EventDraft, Expect, ITEMS_PER_RECORD, Item, KnownMap, Origin, PerformerDraft,
    PerformerRecord, Refusal, Reply, Seating, Status, VenueDraft, VenueRecord,
};
use crate::sale::Counts;

/// Most events in one answer.
const LIST_MAX: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    after: Option<EventId>,
    #[serde(default = "list_max")]
    limit: usize,
}

const fn list_max() -> usize {
    LIST_MAX
}

/// All events by id: `{"events", "next"}`.
pub async fn list(
    State(app): State<Arc<App>>,
    _: Somebody,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(ListQuery { after, limit }) =
        query.map_err(|_| Refused::invalid("expected after=<event id> and limit=<number>"))?;
    let limit = limit.clamp(1, LIST_MAX);
    let events: Vec<_> = {
        let state = app.catalogue.read();
        state.events_after(after.as_ref()).take(limit).cloned().collect()
    };
    let next = events.last().filter(|_| events.len() == limit).map(|last| last.id.clone());
    let listed = events.iter().map(|event| {
        json!({
            "id": event.id,
            "title": event.facts.title,
            "starts_at_local": event.facts.starts_at_local,
            "status": event.status.label(),
            "version": event.version,
            "counts": counts(&app, &event.id),
        })
    });
    let body = json!({ "events": listed.collect::<Value>(), "next": next });
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// One event, with what a change of it begins with.
pub async fn view(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    answer(&app, StatusCode::OK, &event)
}

fn answer(app: &App, status: StatusCode, event: &EventId) -> Result<Response, Refused> {
    let event = app.catalogue.event(event).ok_or_else(unknown_event)?;
    versioned(status, event.version, body(app, &event))
}

fn body(app: &App, event: &Event) -> Value {
    json!({
        "id": event.id,
        "version": event.version,
        "status": event.status.label(),
        "opens_at": match event.status {
            Status::Scheduled { opens_at } => Some(opens_at),
            _ => None,
        },
        "has_begun": event.has_begun,
        "event": EventDraft::from(&event.facts),
        "counts": counts(app, &event.id),
        "origin": origin(&event.origin),
    })
}

fn counts(app: &App, event: &EventId) -> Value {
    let Some(shop) = app.shops.get(event) else { return Value::Null };
    let Counts { free, held, paying, sold, blocked } = shop.shelf.counts();
    json!({
        "capacity": shop.venue.capacity(),
        "free": free,
        "held": held,
        "paying": paying,
        "sold": sold,
        "blocked": blocked,
    })
}

fn origin(origin: &Origin) -> Value {
    json!({ "imported": origin.imported.is_some(), "by_hand": origin.is_by_hand })
}

/// Makes an event, or with `If-Match` changes it.
pub async fn set(
    State(app): State<Arc<App>>,
    by: Somebody,
    Path(event): Path<String>,
    headers: HeaderMap,
    Json(draft): Json<EventDraft>,
) -> Result<Response, Refused> {
    let id: EventId = event.parse().map_err(|_| not_a_slug())?;
    let expect = seen(&headers)?.map_or(Expect::Absent, Expect::Version);
    let facts = Box::new(draft.check()?);
    let map = match &facts.seating {
        Some(Seating::Map(hash)) => {
            let hall = maps::hall(&app, hash).await?.ok_or(Refusal::UnknownMap(hash.clone()))?;
            let zones = hall.venue.zones.iter().map(|zone| zone.id.clone()).collect();
            Some(KnownMap { hash: hash.clone(), zones })
        }
        Some(Seating::Bowl(_)) | None => None,
    };
    let command = Command::SetEvent { id: id.clone(), facts, expect, map };
    let (reply, _) = ask(&app, &by.name, command).await?;
    answer(&app, created(reply), &id)
}

const fn created(reply: Reply) -> StatusCode {
    match reply {
        Reply::Set { is_new: true } => StatusCode::CREATED,
        Reply::Set { is_new: false } | Reply::Imported(_) => StatusCode::OK,
    }
}

fn not_a_slug() -> Refused {
    Refused::invalid("the id is not 1 to 64 of a-z, 0-9 and -, starting with a letter or digit")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusBody {
    status: StatusName,
    opens_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusName {
    Announced,
    Scheduled,
    OnSale,
    OffSale,
    Cancelled,
}

/// Puts an event on sale, takes it off, schedules or cancels it.
pub async fn set_status(
    State(app): State<Arc<App>>,
    by: Somebody,
    Path(event): Path<String>,
    headers: HeaderMap,
    Json(body): Json<StatusBody>,
) -> Result<Response, Refused> {
    let id: EventId = event.parse().map_err(|_| unknown_event())?;
    let status = match (body.status, body.opens_at) {
        (StatusName::Announced, None) => Status::Announced,
        (StatusName::Scheduled, Some(opens_at)) => Status::Scheduled { opens_at },
        (StatusName::OnSale, None) => Status::OnSale,
        (StatusName::OffSale, None) => Status::OffSale,
        (StatusName::Cancelled, None) => Status::Cancelled,
        (StatusName::Scheduled, None) | (_, Some(_)) => {
            return Err(Refused::invalid("opens_at belongs to scheduled, and to nothing else"));
        }
    };
    let expect = seen(&headers)?;
    ask(&app, &by.name, Command::SetStatus { id: id.clone(), status, expect }).await?;
    answer(&app, StatusCode::OK, &id)
}

/// One venue.
pub async fn view_venue(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(venue): Path<String>,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-venue", "No such venue");
    let id: Slug = venue.parse().map_err(|_| unknown())?;
    let venue = app.catalogue.read().venue(&id).cloned();
    venue_answer(StatusCode::OK, &*venue.ok_or_else(unknown)?)
}

fn venue_answer(status: StatusCode, venue: &VenueRecord) -> Result<Response, Refused> {
    let body = json!({
        "id": venue.id,
        "version": venue.version,
        "venue": venue.facts,
        "origin": origin(&venue.origin),
    });
    versioned(status, venue.version, body)
}

/// Makes a venue, or with `If-Match` changes it.
pub async fn set_venue(
    State(app): State<Arc<App>>,
    by: Somebody,
    Path(venue): Path<String>,
    headers: HeaderMap,
    Json(draft): Json<VenueDraft>,
) -> Result<Response, Refused> {
    let id: Slug = venue.parse().map_err(|_| not_a_slug())?;
    let expect = seen(&headers)?.map_or(Expect::Absent, Expect::Version);
    let facts = draft.check()?;
    let (reply, _) =
        ask(&app, &by.name, Command::SetVenue { id: id.clone(), facts, expect }).await?;
    let venue = app.catalogue.read().venue(&id).cloned().ok_or_else(Refused::internal)?;
    venue_answer(created(reply), &venue)
}

/// One performer.
pub async fn view_performer(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(performer): Path<String>,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-performer", "No such performer");
    let id: Slug = performer.parse().map_err(|_| unknown())?;
    let performer = app.catalogue.read().performer(&id).cloned();
    performer_answer(StatusCode::OK, &*performer.ok_or_else(unknown)?)
}

fn performer_answer(status: StatusCode, performer: &PerformerRecord) -> Result<Response, Refused> {
    let body = json!({
        "id": performer.id,
        "version": performer.version,
        "performer": performer.facts,
        "origin": origin(&performer.origin),
    });
    versioned(status, performer.version, body)
}

/// Makes a performer, or with `If-Match` changes it.
pub async fn set_performer(
    State(app): State<Arc<App>>,
    by: Somebody,
    Path(performer): Path<String>,
    headers: HeaderMap,
    Json(draft): Json<PerformerDraft>,
) -> Result<Response, Refused> {
    let id: Slug = performer.parse().map_err(|_| not_a_slug())?;
    let expect = seen(&headers)?.map_or(Expect::Absent, Expect::Version);
    let facts = draft.check()?;
    let command = Command::SetPerformer { id: id.clone(), facts, expect };
    let (reply, _) = ask(&app, &by.name, command).await?;
    let performer = app.catalogue.read().performer(&id).cloned().ok_or_else(Refused::internal)?;
    performer_answer(created(reply), &performer)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    items: Vec<ItemDraft>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum ItemDraft {
    Venue { id: Slug, venue: VenueDraft },
    Performer { id: Slug, performer: PerformerDraft },
    Event { id: EventId, event: Box<EventDraft> },
}

/// Takes in what is new or changed and was not changed by a person; asking again is safe.
pub async fn import(
    State(app): State<Arc<App>>,
    by: Somebody,
    Json(ImportBody { items }): Json<ImportBody, IMPORT_BYTES_MAX>,
) -> Result<Response, Refused> {
    if items.len() > ITEMS_PER_RECORD {
        return Err(Refused::invalid("more than 1000 items, send them in parts"));
    }
    let mut checked = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let of_item = |invalid| Refused::from(invalid).with("item", at);
        checked.push(match item {
            ItemDraft::Venue { id, venue } => {
                Item::Venue { id, facts: venue.check().map_err(of_item)? }
            }
            ItemDraft::Performer { id, performer } => {
                Item::Performer { id, facts: performer.check().map_err(of_item)? }
            }
            ItemDraft::Event { id, event } => {
                Item::Event { id, facts: Box::new(event.check().map_err(of_item)?) }
            }
        });
    }
    let (reply, seq) = ask(&app, &by.name, Command::Import(checked)).await?;
    let Reply::Imported(imported) = reply else { return Err(Refused::internal()) };
    let mut body = json!(imported);
    body["seq"] = seq.into();
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}
