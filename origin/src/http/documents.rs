//! What of an order can be taken away: QR codes, tickets as PDF, an entry for the calendar.
//!
//! The order's id is what opens it, as everywhere; pages are drawn away from the threads that
//! answer requests.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use keys::{EventId, Id128};
use serde::Deserialize;

use super::App;
use super::problem::Refused;
use super::public::{PRIVATE, find_order, unsigned};
use crate::sale::{OrderStage, OrderView, Refusal};
use crate::ticket::{Code, Language};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// A locale like `de`; English if there is none, or none that we write.
    lang: Option<String>,
}

impl Asked {
    fn language(&self) -> Language {
        self.lang.as_deref().map_or_else(Language::default, Language::of)
    }
}

/// The query, read or not.
type Wanted = Result<Query<Asked>, axum::extract::rejection::QueryRejection>;

fn language(query: Wanted) -> Result<Language, Refused> {
    let Query(asked) = query.map_err(|_| Refused::invalid("expected nothing but lang=<locale>"))?;
    Ok(asked.language())
}

/// `GET /api/v1/orders/{order}/tickets/{ticket}/{document}`
pub(super) async fn of_ticket(
    State(app): State<Arc<App>>,
    Path((order, ticket, document)): Path<(String, String, String)>,
    query: Wanted,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-ticket", "No such ticket");
    let ticket: Id128 = ticket.parse().map_err(|_| unknown())?;
    let (event, order) = sold(&app, &order)?.ok_or_else(unknown)?;
    let found = *order.seats.iter().find(|(_, id)| *id == ticket).ok_or_else(unknown)?;
    if let Some(void) = order.after.voids.get(&ticket) {
        return Err(Refused::sale(&Refusal::TicketVoid { at: void.at }, order.seq));
    }
    let shop = app.shops.get(&event).ok_or_else(Refused::internal)?;
    let code = || {
        let barcode = app.printer.barcode(&app.passes, &shop, &order, found);
        barcode.and_then(|barcode| Code::new(&barcode)).map_err(|error| unsigned(&error))
    };
    match document.as_str() {
        "qr.svg" => Ok(file("image/svg+xml", code()?.svg(), None)),
        "qr.png" => Ok(file("image/png", code()?.png().map_err(|error| unsigned(&error))?, None)),
        "ticket.pdf" => pdf(app, event, order, Some(ticket), language(query)?).await,
        _ => Err(Refused::not_found("not-found", "No such path")),
    }
}

/// `GET /api/v1/orders/{order}/tickets.pdf`
pub(super) async fn of_order(
    State(app): State<Arc<App>>,
    Path(order): Path<String>,
    query: Wanted,
) -> Result<Response, Refused> {
    let none = || Refused::not_found("unknown-ticket", "The order has no tickets");
    let (event, order) = sold(&app, &order)?.ok_or_else(none)?;
    if order.after.voids.len() == order.seats.len() {
        return Err(none());
    }
    pdf(app, event, order, None, language(query)?).await
}

/// `GET /api/v1/orders/{order}/event.ics`
pub(super) async fn calendar(
    State(app): State<Arc<App>>,
    Path(order): Path<String>,
) -> Result<Response, Refused> {
    let none = || Refused::not_found("unknown-ticket", "The order has no tickets");
    let (event, order) = sold(&app, &order)?.ok_or_else(none)?;
    let shop = app.shops.get(&event).ok_or_else(Refused::internal)?;
    let entry = app.printer.ics(&shop, &order);
    Ok(file("text/calendar; charset=utf-8", entry, Some("event.ics")))
}

fn sold(app: &App, order: &str) -> Result<Option<(EventId, OrderView)>, Refused> {
    let (event, order) = find_order(app, order)?;
    Ok((order.stage == OrderStage::Sold).then_some((event, order)))
}

async fn pdf(
    app: Arc<App>,
    event: EventId,
    order: OrderView,
    only: Option<Id128>,
    language: Language,
) -> Result<Response, Refused> {
    let drawn = tokio::task::spawn_blocking(move || {
        let shop = app.shops.get(&event).ok_or_else(Refused::internal)?;
        let pdf = app.printer.pdf(&app.passes, &shop, &order, only, language);
        pdf.map_err(|error| unsigned(&error))
    });
    let bytes = drawn.await.map_err(|_| Refused::internal())??;
    Ok(file("application/pdf", bytes, Some("tickets.pdf")))
}

fn file(kind: &'static str, content: impl Into<Bytes>, name: Option<&'static str>) -> Response {
    let kind = HeaderValue::from_static(kind);
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, PRIVATE)];
    let mut response = (headers, content.into()).into_response();
    let named = name.and_then(|name| format!("inline; filename=\"{name}\"").try_into().ok());
    if let Some(named) = named {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, named);
    }
    response
}
