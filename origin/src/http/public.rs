//! What visitors may ask: the shop's pages, events, maps, and the sale itself.

use std::sync::Arc;

use admission_api::headers;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keys::{EventId, Id128};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::body::Json;
use super::guard::ProviderTook;
use super::holds::hold_id;
use super::problem::Refused;
use super::shopper::{Shopper, unknown_event};
use super::{App, Shop, documents, pages, views};
use crate::checkout::Checked;
use crate::partition::{Answer, Unavailable};
use crate::sale::{BeginPayment, OrderStage, OrderView, Refusal, Reply, SEATS_PER_ORDER_LIMIT};
use crate::ticket::TicketError;
use crate::venue::hex;

const NAME_CHARS_MAX: usize = 100;
/// RFC 5321.
const EMAIL_BYTES_MAX: usize = 254;
const KEY_BYTES_MAX: usize = 255;
const TOKEN_BYTES_MAX: usize = 64;

/// What may be kept by a browser for ever.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What everybody may keep for half a minute.
const SHORT: HeaderValue = HeaderValue::from_static("public, max-age=30");
/// What belongs to one visitor.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// All public routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(pages::index))
        .route("/events/{event}", get(pages::event))
        .route("/orders/{order}", get(pages::order))
        .route("/assets/{name}", get(pages::asset))
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/{event}", get(event))
        .route("/api/v1/maps/{hash}", get(map))
        .route("/api/v1/events/{event}/orders", axum::routing::post(make_order))
        .route("/api/v1/orders/{order}", get(view_order))
        .route("/api/v1/orders/{order}/tickets.pdf", get(documents::of_order))
        .route("/api/v1/orders/{order}/event.ics", get(documents::calendar))
        .route("/api/v1/orders/{order}/tickets/{ticket}/{document}", get(documents::of_ticket))
}

async fn events(State(app): State<Arc<App>>) -> Response {
    let headers = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, SHORT)];
    (headers, app.documents.events.clone()).into_response()
}

async fn event(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    let document = app.documents.event.get(&event).ok_or_else(unknown_event)?;
    let headers = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, SHORT)];
    Ok((headers, document.clone()).into_response())
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

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OrderBody {
    hold: String,
    payment_token: String,
    name: String,
    #[serde(default)]
    email: Option<String>,
}

impl OrderBody {
    fn check(&self) -> Result<(), Refused> {
        let name = self.name.trim();
        if name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || name.chars().any(char::is_control)
        {
            return Err(Refused::invalid("name is not 1 to 100 printable characters"));
        }
        let is_address = |email: &String| {
            let (user, host) = email.split_once('@').unwrap_or(("", ""));
            email.len() <= EMAIL_BYTES_MAX
                && !user.is_empty()
                && !host.is_empty()
                && !email.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        if !self.email.as_ref().is_none_or(is_address) {
            return Err(Refused::invalid("email is not an address like name@example.org"));
        }
        let token = &self.payment_token;
        let is_token = token.len() <= TOKEN_BYTES_MAX
            && token.strip_prefix("tok_").is_some_and(|rest| !rest.is_empty())
            && token.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if !is_token {
            // The token itself is not repeated: it may be the card number we do not want.
            let detail = "payment_token is not a token like tok_ok; we never take card data";
            return Err(Refused::invalid(detail));
        }
        Ok(())
    }
}

async fn make_order(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    asked: HeaderMap,
    Json(body): Json<OrderBody>,
) -> Result<Response, Refused> {
    let key = idempotency_key(&asked)?;
    body.check()?;
    let shop = shopper.shop();
    // A digest of what was understood, so that spacing and order of members do not matter.
    let digest = serde_json::to_vec(&body).map_err(|_| Refused::internal())?;
    let order = Id128::random();
    // Money is taken only if tickets can be made.
    check_signing(&app, shop, order)?;
    let begin = BeginPayment {
        hold: hold_id(&body.hold)?,
        sub: shopper.pass.sub,
        key,
        body: hex(&Sha256::digest(&digest)),
        order,
        tickets: (0..SEATS_PER_ORDER_LIMIT).map(|_| Id128::random()).collect(),
        name: body.name.trim().to_owned(),
        email: body.email,
    };
    let event = shopper.event().clone();
    let Checked { answer, provider_took } =
        app.checkout.pay(event, begin, body.payment_token).await?;
    let took = ProviderTook(provider_took);
    let Answer { seq, reply } = answer;
    let mut response = match reply {
        Reply::Order(order) => match order.stage {
            OrderStage::Sold => confirmed(&app, shop, &order)?,
            OrderStage::Paying | OrderStage::Unknown => {
                let order = order.order;
                Refused::sale(&Refusal::PaymentInProgress { order }, seq).into_response()
            }
        },
        Reply::Refused(refusal) => Refused::sale(&refusal, seq).into_response(),
        _ => Refused::internal().into_response(),
    };
    response.extensions_mut().insert(took);
    Ok(response)
}

fn confirmed(app: &App, shop: &Shop, order: &OrderView) -> Result<Response, Refused> {
    let body = views::order(app, shop, order).map_err(|error| unsigned(&error))?;
    let location = format!("/api/v1/orders/{}", order.order);
    let location = HeaderValue::try_from(location).map_err(|_| Refused::internal())?;
    let headers = [(header::CACHE_CONTROL, PRIVATE), (header::LOCATION, location)];
    let finish = [(headers::COMMAND, headers::COMMAND_FINISH)];
    Ok((StatusCode::CREATED, headers, finish, axum::Json(body)).into_response())
}

fn check_signing(app: &App, shop: &Shop, order: Id128) -> Result<(), Refused> {
    let probe = OrderView {
        order,
        stage: OrderStage::Paying,
        seats: Vec::new(),
        name: String::new(),
        at: keys::Timestamp::now(),
        prices: Vec::new(),
        total: 0,
        seq: 0,
    };
    app.printer
        .barcode(&app.passes, shop, &probe, (0, order))
        .map(|_| ())
        .map_err(|error| unsigned(&error))
}

pub(super) fn unsigned(error: &TicketError) -> Refused {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a ticket cannot be made");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refused::new(status, "unavailable", "Tickets cannot be made right now").retry()
}

fn idempotency_key(asked: &HeaderMap) -> Result<String, Refused> {
    let missing = || {
        let status = StatusCode::BAD_REQUEST;
        Refused::new(status, "idempotency-key-required", "Idempotency-Key is required")
            .detail("expected 1 to 255 printable ASCII characters")
    };
    let key = asked.get("idempotency-key").and_then(|key| key.to_str().ok()).ok_or_else(missing)?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX { Err(missing()) } else { Ok(key.to_owned()) }
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
    let shop = app.shop(&event).ok_or_else(Refused::internal)?;
    let body = views::order(&app, &shop, &order).map_err(|error| unsigned(&error))?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}
