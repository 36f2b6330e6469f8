//! What was sold, as JSON and as CSV for a spreadsheet.
//!
//! Everything here reads what the writers have published, and takes none of their time; only what
//! is kept out of sale is asked of them.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use keys::{EventId, Id128};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::problem::Refused;
use super::super::shopper::unknown_event;
use super::super::{App, Shop};
use super::{PRIVATE, Somebody, here};
use crate::partition::{Answer, Unavailable};
use crate::sale::{Block, Command, OrderStage, OrderView, Reply};
use crate::venue::SeatName;

/// Most orders in one answer.
const ORDERS_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersQuery {
    after: Option<Id128>,
    #[serde(default = "orders_max")]
    limit: usize,
}

const fn orders_max() -> usize {
    ORDERS_MAX
}

/// An event that has begun, as long as its writer keeps what we read up to date.
fn shop(app: &App, event: &str) -> Result<Arc<Shop>, Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    here(app, &event)?;
    let shop = app.shops.get(&event).ok_or_else(unknown_event)?;
    if shop.shelf.is_fresh() { Ok(shop) } else { Err(Unavailable::Down.into()) }
}

const fn label(stage: OrderStage) -> &'static str {
    match stage {
        OrderStage::Paying | OrderStage::Unknown | OrderStage::ActionRequired => "paying",
        OrderStage::Sold => "confirmed",
    }
}

/// Orders by id: `{"orders", "next"}`.
pub async fn orders(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(event): Path<String>,
    query: Result<Query<OrdersQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(OrdersQuery { after, limit }) =
        query.map_err(|_| Refused::invalid("expected after=<order id> and limit=<number>"))?;
    let shop = shop(&app, &event)?;
    let limit = limit.clamp(1, ORDERS_MAX);
    let mut orders = shop.shelf.orders();
    orders.retain(|order| after.is_none_or(|after| order.order > after));
    orders.truncate(limit);
    let next = orders.last().filter(|_| orders.len() == limit).map(|last| last.order);
    let listed = orders.iter().map(|order| {
        let seats = order.seats.iter().map(|(seat, _)| name(&shop, *seat));
        json!({
            "order": order.order,
            "state": label(order.stage),
            "name": order.name,
            "at": order.at,
            "seats": seats.collect::<Vec<_>>(),
            "total": order.bill.total,
            "currency": shop.event.facts.currency,
            "seq": order.seq,
        })
    });
    let body = json!({ "orders": listed.collect::<Value>(), "next": next });
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// One line an order.
pub async fn orders_csv(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let shop = shop(&app, &event)?;
    let written = tokio::task::spawn_blocking(move || {
        let mut sheet =
            Sheet::new(&["order", "state", "at", "name", "seats", "total", "currency"])?;
        for order in shop.shelf.orders() {
            let seats: Vec<_> = order.seats.iter().map(|(seat, _)| name(&shop, *seat)).collect();
            let (id, at) = (order.order.to_string(), order.at.to_string());
            let (seats, total) = (seats.join(" "), order.bill.total.to_string());
            let currency = &shop.event.facts.currency;
            sheet.line(&[&id, label(order.stage), &at, &order.name, &seats, &total, currency])?;
        }
        sheet.finish()
    });
    csv(written.await, "orders.csv")
}

/// One line a seat; `of` is its order, or the channel that keeps it out of sale.
pub async fn seats_csv(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let shop = shop(&app, &event)?;
    let Answer { reply, .. } = app.sales.ask(&shop.event.id, Command::ListBlocks).await?;
    let Reply::Blocks(blocks) = reply else { return Err(Refused::internal()) };
    let written = tokio::task::spawn_blocking(move || {
        let mut channels: Vec<Option<&str>> = vec![None; shop.venue.capacity() as usize];
        for Block { channel, runs } in &blocks {
            for seat in runs.iter().flat_map(|run| run.seats()) {
                if let Some(slot) = channels.get_mut(seat as usize) {
                    *slot = Some(channel);
                }
            }
        }
        let sold = shop.shelf.orders();
        let mut by_seat: Vec<Option<&OrderView>> = vec![None; shop.venue.capacity() as usize];
        for order in &sold {
            // A seat whose ticket is void may be another's by now.
            let valid = order.seats.iter().filter(|(_, t)| !order.after.voids.contains_key(t));
            for (seat, _) in valid {
                if let Some(slot) = by_seat.get_mut(*seat as usize) {
                    *slot = Some(order);
                }
            }
        }
        let taken = shop.shelf.taken();
        let mut sheet =
            Sheet::new(&["seat", "block", "row", "number", "zone", "price", "state", "of"])?;
        for ((seat, order), channel) in (0..).zip(&by_seat).zip(&channels) {
            let Some(named) = shop.venue.name_of(seat) else { continue };
            let state = match order.map(|order| order.stage) {
                Some(OrderStage::Sold) => "sold",
                Some(OrderStage::Paying | OrderStage::Unknown | OrderStage::ActionRequired) => {
                    "paying"
                }
                None if channel.is_some() => "blocked",
                None if taken.is_taken(seat) => "held",
                None => "free",
            };
            let price = shop.event.facts.price_of(named.zone).unwrap_or(0).to_string();
            let (number, index) = (named.number.to_string(), seat.to_string());
            let order = order.map(|order| order.order.to_string());
            let of = order.or(channel.map(str::to_owned)).unwrap_or_default();
            let SeatName { block, row, zone, .. } = named;
            sheet.line(&[&index, block, row, &number, zone, &price, state, &of])?;
        }
        sheet.finish()
    });
    csv(written.await, "seats.csv")
}

fn name(shop: &Shop, seat: crate::sale::Seat) -> String {
    shop.venue.name_of(seat).map(|name| name.to_string()).unwrap_or_default()
}

/// A CSV text that a spreadsheet can open without running what buyers wrote.
struct Sheet(csv::Writer<Vec<u8>>);

impl Sheet {
    fn new(heading: &[&str]) -> Result<Self, csv::Error> {
        let mut sheet = Self(csv::Writer::from_writer(Vec::new()));
        sheet.line(heading)?;
        Ok(sheet)
    }

    fn line(&mut self, fields: &[&str]) -> Result<(), csv::Error> {
        self.0.write_record(fields.iter().map(|field| harmless(field)))
    }

    fn finish(self) -> Result<Vec<u8>, csv::Error> {
        self.0.into_inner().map_err(|error| csv::Error::from(error.into_error()))
    }
}

/// A spreadsheet takes what begins like this for a formula; a quotation mark makes it text.
fn harmless(field: &str) -> String {
    match field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{field}"),
        false => field.to_owned(),
    }
}

fn csv(
    written: Result<Result<Vec<u8>, csv::Error>, tokio::task::JoinError>,
    file: &str,
) -> Result<Response, Refused> {
    let text = written.map_err(|_| Refused::internal())?.map_err(|error| {
        tracing::error!(%error, "a table cannot be written");
        Refused::internal()
    })?;
    let kind = HeaderValue::from_static("text/csv; charset=utf-8");
    let disposition = format!("attachment; filename=\"{file}\"");
    let disposition = HeaderValue::try_from(disposition).map_err(|_| Refused::internal())?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, PRIVATE),
    ];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_buyer_runs_a_formula_at_the_organisers() {
        for name in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert_eq!(harmless(name), format!("'{name}"));
        }
        assert_eq!(harmless("Ana"), "Ana");
    }
}
