//! What visitors may ask: the shop's pages, events, maps, and the sale itself.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keys::{EventId, Id128};

use super::problem::Refused;
use super::{App, after, catalogue, documents, list_page, orders, pages, payments, views};
use crate::partition::Unavailable;
use crate::sale::{OrderStage, OrderView};
use crate::ticket::TicketError;

/// What may be kept by a browser for ever.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What belongs to one visitor.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// All public routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(list_page::index))
        .route("/events/{event}", get(pages::event))
        .route("/orders/{order}", get(pages::order))
        .route("/offers/{event}/{entry}", get(pages::waitlist))
        .route("/sandbox/bank", get(pages::bank))
        .route("/assets/{name}", get(pages::asset))
        .route("/api/v1/openapi.json", get(pages::description))
        .merge(catalogue::routes())
        .route("/api/v1/maps/{hash}", get(map))
        .route("/api/v1/events/{event}/orders", axum::routing::post(orders::make))
        .route("/api/v1/orders/{order}", get(view_order))
        .route("/api/v1/orders/{order}/resume", axum::routing::post(orders::resume))
        .route("/api/v1/payments/{gateway}/webhook", axum::routing::post(payments::webhook))
        .route("/api/v1/payments/{gateway}/challenge", axum::routing::post(payments::challenge))
        .route("/api/v1/orders/{order}/tickets.pdf", get(documents::of_order))
        .route("/api/v1/orders/{order}/send", axum::routing::post(after::send_for_buyer))
        .route("/api/v1/orders/{order}/event.ics", get(documents::calendar))
        .route("/api/v1/orders/{order}/tickets/{ticket}/{document}", get(documents::of_ticket))
}

async fn map(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let map = app.maps.get(&hash);
    let map = map.ok_or_else(|| Refused::not_found("unknown-map", "No such map"))?;
    let mut response = pages::squeezed(&asked, &map.plain, &map.gzip);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, IMMUTABLE);
    Ok(response)
}

/// A ticket could not be made: the visitor need not know why.
pub(super) fn unsigned(error: &TicketError) -> Refused {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a ticket cannot be made");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refused::new(status, "unavailable", "Tickets cannot be made right now").retry()
}

/// Finds an order by its id alone, wherever it was bought. Needs no pass, so it reads what was
/// published and leaves the writers to those who buy.
pub(super) fn find_order(app: &App, order: &str) -> Result<(EventId, OrderView), Refused> {
    let unknown = || Refused::not_found("unknown-order", "No such order");
    let order: Id128 = order.parse().map_err(|_| unknown())?;
    let mut are_fresh = true;
    for (event, shop) in app.shops.all().iter() {
        let is_fresh = shop.shelf.is_fresh();
        are_fresh &= is_fresh;
        match shop.shelf.order(order) {
            // What is sold stays sold; anything else may have changed since.
            Some(order) if is_fresh || order.stage == OrderStage::Sold => {
                return Ok((event.clone(), order));
            }
            Some(_) | None => {}
        }
    }
    Err(if are_fresh { unknown() } else { Unavailable::Down.into() })
}

async fn view_order(
    State(app): State<Arc<App>>,
    Path(order): Path<String>,
) -> Result<Response, Refused> {
    let (event, order) = find_order(&app, &order)?;
    let shop = app.shops.get(&event).ok_or_else(Refused::internal)?;
    let body = views::order(&app, &shop, &order).map_err(|error| unsigned(&error))?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}
