//! Seat maps: checked once, kept for ever under the hash of what they are.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::App;
use super::super::body::Json;
use super::super::pages::squeezed;
use super::super::problem::Refused;
use super::{MAP_BYTES_MAX, PRIVATE, Somebody};
use crate::stand::{Hall, StandError};
use crate::venue::{BadMap, MapDraft};

/// Keeps a seat map, and tells the hash by which events refer to it. Sending it again is safe.
pub async fn put(
    State(app): State<Arc<App>>,
    _: Somebody,
    Json(draft): Json<MapDraft, MAP_BYTES_MAX>,
) -> Result<Response, Refused> {
    // Checking 150,000 seats takes a moment of processor time.
    let hall = tokio::task::spawn_blocking(move || draft.check().map(Hall::drawn)).await;
    let hall = hall.map_err(|_| Refused::internal())?.map_err(bad_map)?;
    let hall = hall.map_err(|_| Refused::internal())?;
    app.halls.keep(&hall).await.map_err(failed)?;
    let body = json!({
        "map": hall.map.hash,
        "seats": hall.venue.seats,
        "areas": hall.venue.areas.len(),
        "zones": hall.venue.zones,
    });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// A seat map, whether or not anything is sold by it.
pub async fn view(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(map): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-map", "No such seat map");
    let hall = hall(&app, &map).await?.ok_or_else(unknown)?;
    let mut response = squeezed(&asked, &hall.map.plain, &hall.map.gzip);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().insert(header::CACHE_CONTROL, PRIVATE);
    Ok(response)
}

/// The hall of a map.
pub(super) async fn hall(app: &App, hash: &str) -> Result<Option<Hall>, Refused> {
    app.halls.drawn(hash).await.map_err(failed)
}

fn bad_map(bad: BadMap) -> Refused {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let refused = Refused::new(status, "invalid-map", "The seat map is not sound");
    refused.detail(bad.to_string()).with("place", bad.place)
}

fn failed(error: StandError) -> Refused {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(%error, cause, "a seat map cannot be kept or read");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refused::new(status, "unavailable", "Seat maps cannot be reached").retry()
}
