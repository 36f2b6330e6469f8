//! Who is shopping? Whoever shows a verified pass for the event in the path.
//!
//! The pass is the only thing we believe: the edge's other `waiting-room-*` headers are for
//! services that cannot check signatures, and could come from anybody who found our address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use admission_api::headers;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use keys::{EventId, Pass, Sealed, Timestamp, Verified};

use super::problem::Refused;
use super::{App, Shop};
use crate::catalogue::Status;
use crate::sale::Refusal;

/// Set once a request has shown a verified pass; the guard counts only these for the pace.
#[derive(Debug, Clone, Default)]
pub struct SawPass(pub Arc<AtomicBool>);

/// The event that a path sells, if it is a sale route's.
pub fn sale_event(path: &str) -> Option<EventId> {
    let (event, _) = path.strip_prefix("/api/v1/events/")?.split_once('/')?;
    event.parse().ok()
}

/// Whether a request to a sale route shows a pass that is good.
pub fn shows_pass(app: &App, path: &str, headers: &HeaderMap) -> bool {
    let Some(event) = sale_event(path) else { return false };
    let opened =
        sealed(headers, &event).map(|pass| app.passes.open(&pass, &event, Timestamp::now()));
    opened.is_some_and(|opened| opened.is_ok())
}

/// A visitor with a verified pass, at an event that is on sale.
#[derive(Debug)]
pub struct Shopper {
    event: EventId,
    shop: Arc<Shop>,
    /// The pass.
    pub pass: Arc<Verified<Pass>>,
}

/// The same at an event that is or was on sale: what is held can be paid or given back even when
/// nothing more is sold.
#[derive(Debug)]
pub struct Holder(pub Shopper);

impl Shopper {
    /// Where the visitor shops.
    pub fn shop(&self) -> &Shop {
        &self.shop
    }

    /// For which event.
    pub fn event(&self) -> &EventId {
        &self.event
    }

    /// Whether seats are sold now.
    pub fn check_on_sale(&self) -> Result<(), Refused> {
        match self.shop.event.status {
            Status::OnSale => Ok(()),
            Status::Cancelled => {
                Err(Refused::sale(&Refusal::EventCancelled, self.shop.shelf.seq()))
            }
            Status::Announced | Status::Scheduled { .. } | Status::OffSale => Err(not_on_sale()),
        }
    }
}

impl FromRequestParts<Arc<App>> for Shopper {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let Holder(shopper) = Holder::from_request_parts(parts, app).await?;
        shopper.check_on_sale()?;
        Ok(shopper)
    }
}

impl FromRequestParts<Arc<App>> for Holder {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|_| unknown_event())?;
        let named = params.iter().find(|(name, _)| *name == "event");
        let event: EventId =
            named.and_then(|(_, value)| value.parse().ok()).ok_or_else(unknown_event)?;
        if app.catalogue.event(&event).is_none() {
            return Err(unknown_event());
        }
        let opened = sealed(&parts.headers, &event)
            .and_then(|sealed| app.passes.open(&sealed, &event, Timestamp::now()).ok());
        let Some(pass) = opened else {
            app.metrics.pass_refused_total.inc();
            let refused =
                Refused::new(StatusCode::FORBIDDEN, "pass-required", "A pass is required");
            return Err(refused.detail("come through the waiting room of this event"));
        };
        if let Some(verified) = parts.extensions.get::<SawPass>() {
            verified.0.store(true, Ordering::Relaxed);
        }
        let shop = app.shops.get(&event).ok_or_else(not_on_sale)?;
        Ok(Self(Shopper { event, shop, pass }))
    }
}

/// No event of that name.
pub fn unknown_event() -> Refused {
    Refused::not_found("unknown-event", "No such event")
}

fn not_on_sale() -> Refused {
    Refused::new(StatusCode::CONFLICT, "not-on-sale", "Tickets are not on sale")
}

/// The pass as it was sent: in our header, else in the event's cookie.
fn sealed(headers: &HeaderMap, event: &EventId) -> Option<Sealed<Pass>> {
    let text = |value: &axum::http::HeaderValue| value.to_str().ok().map(str::to_owned);
    if let Some(pass) = headers.get(headers::PASS) {
        return text(pass).map(Sealed::new);
    }
    let name = format!("wr_pass_{event}");
    headers.get_all(header::COOKIE).iter().filter_map(text).find_map(|cookies| {
        let found = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
        found.filter(|(key, _)| *key == name).map(|(_, value)| Sealed::new(value)).next()
    })
}
