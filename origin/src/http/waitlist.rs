//! Who waits for seats that come free? Joining takes a pass, like any sale; after that the entry's
//! id is enough, for whoever was offered seats must not stand in line again to take them.
//!
//! `/api/v1/offers/` is no sale path, so the edge lets it through without a pass. The id is a
//! 128-bit capability, as an order's is. Whoever tries ids takes the writer's time: only so many such
//! requests may wait for it at once, and the others' place in the channel stays theirs.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use keys::{EventId, Id128};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Json;
use super::holds::ExtendBody;
use super::orders::{self, OfferOrderBody};
use super::pass_on::CommandId;
use super::problem::Refused;
use super::public::PRIVATE;
use super::shopper::{Shopper, unknown_event};
use super::{App, Shop, contact, views};
use crate::partition::{Answer, Unavailable};
use crate::sale::{Command, Contact, EntryStage, EntryView, Refusal, Reply};

/// Commands that may wait for writers on behalf of people without a pass.
pub const PASSLESS_MAX: usize = 64;

/// Routes of the waitlist.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/events/{event}/waitlist", post(join))
        .route("/api/v1/offers/{event}/{entry}", get(view).delete(leave))
        .route("/api/v1/offers/{event}/{entry}/accept", post(accept))
        .route("/api/v1/offers/{event}/{entry}/extend", post(extend))
        .route("/api/v1/offers/{event}/{entry}/orders", post(order))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBody {
    zone: Option<String>,
    quantity: u32,
    email: Option<String>,
    locale: Option<String>,
}

impl JoinBody {
    fn contact(&self) -> Result<Option<Contact>, Refused> {
        contact::check(self.email.as_deref(), None, self.locale.as_deref())?;
        let locale = self.locale.clone();
        Ok(self.email.clone().map(|email| Contact { email, locale }))
    }
}

async fn join(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    CommandId(entry): CommandId,
    Json(body): Json<JoinBody>,
) -> Result<Response, Refused> {
    let (sub, contact) = (shopper.pass.sub, body.contact()?);
    let JoinBody { zone, quantity, .. } = body;
    let command = Command::Join { entry, sub, zone, quantity, contact };
    let answer = app.sales.ask(shopper.event(), command).await?;
    let body = entry_body(shopper.shop(), answer)?;
    let location = HeaderValue::try_from(entry_url(shopper.event(), entry));
    let location = location.map_err(|_| Refused::internal())?;
    let headers = [(header::CACHE_CONTROL, PRIVATE), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, axum::Json(body)).into_response())
}

async fn view(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Refused> {
    let (shop, entry) = find(&app, path)?;
    let answer = ask(&app, &shop, Command::ViewEntry { entry }).await?;
    let body = entry_body(&shop, answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

async fn accept(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Refused> {
    let (shop, entry) = find(&app, path)?;
    let answer = ask(&app, &shop, Command::AcceptOffer { entry }).await?;
    let body = entry_body(&shop, answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// Buys what was offered and accepted.
async fn order(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
    asked: HeaderMap,
    Json(body): Json<OfferOrderBody>,
) -> Result<Response, Refused> {
    let (shop, entry) = find(&app, path)?;
    orders::buy(&app, &shop, &asked, body.of(entry), async || owner(&app, &shop, entry).await).await
}

/// More time for an offer that was accepted, as for any hold.
async fn extend(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
    Json(ExtendBody { reason }): Json<ExtendBody>,
) -> Result<Response, Refused> {
    let (shop, entry) = find(&app, path)?;
    let sub = owner(&app, &shop, entry).await?;
    let command = Command::Extend { hold: entry, sub, by: reason };
    let Answer { seq, reply } = ask(&app, &shop, command).await?;
    if let Reply::Refused(refusal) = reply {
        return Err(Refused::sale(&refusal, seq));
    }
    let answer = ask(&app, &shop, Command::ViewEntry { entry }).await?;
    let body = entry_body(&shop, answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// Whose an entry is that got its offer.
async fn owner(app: &App, shop: &Shop, entry: Id128) -> Result<Id128, Refused> {
    let Answer { seq, reply } = ask(app, shop, Command::ViewEntry { entry }).await?;
    match reply {
        Reply::Entry(EntryView { stage: EntryStage::Waiting { .. }, .. }) => {
            Err(Refused::sale(&Refusal::NoOffer, seq))
        }
        Reply::Entry(entry) => Ok(entry.sub),
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

/// Waits no more, declines the offer, or gives the hold back that it became.
async fn leave(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Refused> {
    let (shop, entry) = find(&app, path)?;
    let Answer { seq, reply } = ask(&app, &shop, Command::Leave { entry }).await?;
    match reply {
        Reply::Freed => {
            Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, PRIVATE)]).into_response())
        }
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

fn find(app: &App, (event, entry): (String, String)) -> Result<(Arc<Shop>, Id128), Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    let shop = app.shops.get(&event).ok_or_else(unknown_event)?;
    let entry = entry.parse().map_err(|_| Refused::not_found("unknown-entry", "No such entry"))?;
    Ok((shop, entry))
}

async fn ask(app: &App, shop: &Shop, command: Command) -> Result<Answer, Refused> {
    let _place = app.passless.try_acquire().map_err(|_| Unavailable::Busy)?;
    Ok(app.sales.ask(&shop.event.id, command).await?)
}

fn entry_body(shop: &Shop, Answer { seq, reply }: Answer) -> Result<Value, Refused> {
    let entry = match reply {
        Reply::Entry(entry) => entry,
        Reply::Refused(refusal) => return Err(Refused::sale(&refusal, seq)),
        _ => return Err(Refused::internal()),
    };
    let (state, ahead, hold, order) = match &entry.stage {
        EntryStage::Waiting { ahead } => ("waiting", Some(*ahead), None, None),
        EntryStage::Offered(hold) => ("offered", None, Some(hold), None),
        EntryStage::Accepted(hold) => ("accepted", None, Some(hold), None),
        EntryStage::Bought { order } => ("bought", None, None, Some(*order)),
        EntryStage::Lapsed => return Err(Refused::sale(&Refusal::HoldExpired, seq)),
    };
    let (event, id) = (&shop.event.id, entry.entry);
    Ok(json!({
        "entry": id,
        "event": event,
        "title": shop.event.facts.title,
        "state": state,
        "ahead": ahead,
        "hold": hold.map(|hold| views::hold(shop, hold, seq)),
        "order_url": order.map(|order| format!("/orders/{order}")),
        "email": entry.contact.map(|contact| views::masked_email(&contact.email)),
        "entry_url": entry_url(event, id),
        "page_url": page_url(event, id),
        "seq": seq,
    }))
}

fn entry_url(event: &EventId, entry: Id128) -> String {
    format!("/api/v1/offers/{event}/{entry}")
}

/// The page of an entry, which its mail names.
pub fn page_url(event: &EventId, entry: Id128) -> String {
    format!("/offers/{event}/{entry}")
}
