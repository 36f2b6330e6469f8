//! What is on: the search, and what is known of an event, a venue, a performer.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keys::{EventId, Slug, Timestamp};
use serde_json::{Value, json};

use super::App;
use super::problem::Refused;
use super::shopper::unknown_event;
use crate::catalogue::{Event, Seating, Status};
use crate::search::{Band, Counted, Facets, Found, QueryText};
use crate::venue::Category;

/// What everybody may keep for a moment: how much is left is a few seconds old at most.
const BRIEF: HeaderValue = HeaderValue::from_static("public, max-age=5");
/// Most events on the page of a venue or a performer; the search has them all.
const LISTED_MAX: usize = 200;

/// All routes about what is on.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/{event}", get(event))
        // The same outside of what waiting rooms guard, for who has a ticket or an offer and no pass.
        .route("/api/v1/listings/{event}", get(event))
        .route("/api/v1/venues/{venue}", get(venue))
        .route("/api/v1/performers/{performer}", get(performer))
}

fn brief(body: Value) -> Response {
    ([(header::CACHE_CONTROL, BRIEF)], axum::Json(body)).into_response()
}

async fn events(
    State(app): State<Arc<App>>,
    asked: Result<Query<QueryText>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(asked) = asked.map_err(|rejection| invalid_query(&rejection.body_text()))?;
    let found = find(&app, &asked).await?;
    Ok(brief(listed(&found)))
}

/// What is found, once there is room for one more search.
pub(super) async fn find(app: &App, asked: &QueryText) -> Result<Found, Refused> {
    let query = asked
        .check(app.pricing.search_currency.code())
        .map_err(|bad| invalid_query(&bad.to_string()))?;
    let place = Arc::clone(&app.searches).acquire_owned().await;
    let place = place.map_err(|_| Refused::internal())?;
    let search = Arc::clone(&app.search);
    let found = tokio::task::spawn_blocking(move || {
        let _place = place;
        search.find(&query)
    });
    found.await.map_err(|_| Refused::internal())?.map_err(|error| {
        tracing::error!(%error, "the search failed");
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The search failed").retry()
    })
}

fn invalid_query(detail: &str) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-query", "Invalid query").detail(detail)
}

async fn event(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    let event = app.catalogue.event(&event).ok_or_else(unknown_event)?;
    Ok(brief(description(&app, &event)))
}

async fn venue(
    State(app): State<Arc<App>>,
    Path(venue): Path<String>,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-venue", "No such venue");
    let id: Slug = venue.parse().map_err(|_| unknown())?;
    let state = app.catalogue.read();
    let venue = state.venue(&id).ok_or_else(unknown)?;
    let events = state.events_at(&id);
    let listed = events.iter().take(LISTED_MAX).map(|event| summary(event, None));
    Ok(brief(json!({
        "id": venue.id,
        "name": venue.facts.name,
        "city": venue.facts.city,
        "country": venue.facts.country,
        "capacity": venue.facts.capacity,
        "events_total": events.len(),
        "events": listed.collect::<Value>(),
    })))
}

async fn performer(
    State(app): State<Arc<App>>,
    Path(performer): Path<String>,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-performer", "No such performer");
    let id: Slug = performer.parse().map_err(|_| unknown())?;
    let state = app.catalogue.read();
    let performer = state.performer(&id).ok_or_else(unknown)?;
    let events = state.events_of(&id);
    let listed = events.iter().take(LISTED_MAX).map(|event| summary(event, None));
    Ok(brief(json!({
        "id": performer.id,
        "name": performer.facts.name,
        "events_total": events.len(),
        "events": listed.collect::<Value>(),
    })))
}

fn listed(found: &Found) -> Value {
    let events = found.events.iter().map(|(event, band)| summary(event, *band));
    let read_as =
        found.read_as.iter().map(|(word, read_as)| json!({ "word": word, "read_as": read_as }));
    json!({
        "events": events.collect::<Value>(),
        "total": found.total,
        "next": found.next,
        "facets": facets(&found.facets),
        "read_as": read_as.collect::<Value>(),
    })
}

fn facets(facets: &Facets) -> Value {
    let counted = |values: &[Counted]| -> Value {
        let values = values.iter().map(|c| json!({ "value": c.value, "count": c.count }));
        values.collect()
    };
    json!({
        "city": counted(&facets.city),
        "category": counted(&facets.category),
        "competition": counted(&facets.competition),
        "month": counted(&facets.month),
        "price": counted(&facets.price),
        "availability": counted(&facets.availability),
    })
}

/// An event in a list.
pub fn summary(event: &Event, band: Option<Band>) -> Value {
    let facts = &event.facts;
    let venue = event.venue.as_ref().map(|venue| &venue.facts);
    let seats = match facts.seating {
        Some(Seating::Bowl(seats)) => Some(seats),
        Some(Seating::Map(_)) | None => None,
    };
    let performers = event
        .performers
        .iter()
        .map(|performer| json!({ "id": performer.id, "name": performer.facts.name }));
    json!({
        "id": event.id,
        "title": facts.title,
        "category": facts.category,
        "competition": facts.competition,
        "stage": facts.stage,
        "starts_at": facts.starts_at,
        "starts_at_local": facts.starts_at_local,
        "is_hour_known": facts.is_hour_known,
        "venue": venue.map(|venue| &venue.name),
        "venue_id": facts.venue,
        "city": venue.map(|venue| &venue.city),
        "country": venue.map(|venue| &venue.country),
        "performers": performers.collect::<Value>(),
        "status": event.status.label(),
        "opens_at": match event.status {
            Status::Scheduled { opens_at } => Some(opens_at),
            _ => None,
        },
        "availability": band.map(Band::label),
        "capacity": seats.or_else(|| venue.and_then(|venue| venue.capacity)),
        "price_from": facts.price_from(),
        "currency": facts.currency,
    })
}

fn description(app: &App, event: &Event) -> Value {
    // Maps exist for events that are or were on sale.
    let shop = app.shops.get(&event.id);
    let drawn = shop.as_ref().map(|shop| shop.venue.zones.as_slice()).unwrap_or_default();
    let zones = event.facts.prices.iter().map(|price| {
        let zone = drawn.iter().find(|zone| zone.id == price.zone.as_str());
        let of_bowl = Category::ALL.into_iter().find(|zone| zone.id() == price.zone.as_str());
        let name = zone.map(|zone| zone.name.as_str()).or(of_bowl.map(Category::name));
        let color = zone.map(|zone| zone.color.as_str()).or(of_bowl.map(Category::color));
        json!({
            "id": price.zone,
            "name": name.unwrap_or(price.zone.as_str()),
            "price": price.amount,
            "color": color,
        })
    });
    let band = shop
        .as_ref()
        .filter(|_| event.status == Status::OnSale)
        .map(|shop| Band::of(shop.shelf.counts().free, u64::from(shop.venue.capacity())));
    let mut described = summary(event, band);
    described["description"] = event.description().into();
    if let Some(shop) = &shop {
        described["capacity"] = shop.venue.capacity().into();
    }
    described["zones"] = zones.collect();
    let areas = shop.as_ref().map(|shop| shop.venue.areas.as_slice()).unwrap_or_default();
    let areas = areas.iter().map(|area| {
        json!({
            "id": area.id,
            "label": area.label,
            "zone": area.zone,
            "capacity": area.capacity,
            "price": event.facts.price_of(&area.zone),
        })
    });
    described["areas"] = areas.collect();
    let now = Timestamp::now();
    described["best_only_until"] = json!(event.facts.best_only_until.filter(|until| now < *until));
    let terms = app.rules_of(&event.id).terms;
    described["fees"] = json!({
        "ticket_fee": terms.ticket_fee,
        "order_fee": terms.order_fee,
        "tax_basis_points": terms.tax_basis_points,
        "is_tax_included": terms.is_tax_included,
    });
    described["seats_per_order_max"] = app.rules.seats_per_order_max.into();
    described["hold_secs"] = app.rules.hold.as_secs().into();
    described["map_url"] = match event.status {
        Status::OnSale => shop.map(|shop| shop.map_url.clone()).into(),
        _ => Value::Null,
    };
    described
}
