//! How things look in the API: the JSON of holds and orders.

use std::convert::Infallible;

use keys::{EventId, Id128, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::{App, Shop};
use crate::sale::{
    Bill, Channel, Currency, Delivery, DeliveryState, Extension, HoldView, Message, Money,
    OrderStage, OrderView, Score, Seat, Told,
};
use crate::ticket::TicketError;
use crate::venue::{Attribute, SeatName};

/// A seat of a hold or order. Of types, for this is most of what a sale answers: as a tree of
/// values it took a fifth of the time of a request.
#[derive(Debug, Serialize)]
struct SeatBody<'a> {
    seat: Seat,
    label: String,
    block: &'a str,
    row: &'a str,
    number: u32,
    zone: &'a str,
    area: Option<&'a str>,
    attribute: Option<Attribute>,
    price: u64,
}

/// A hold as its owner sees it.
#[derive(Debug, Serialize)]
pub struct HoldBody<'a> {
    hold: Id128,
    event: &'a EventId,
    seats: Vec<Option<SeatBody<'a>>>,
    expires_at: Timestamp,
    expires_at_max: Timestamp,
    extensions: &'a [Extension],
    is_paying: bool,
    is_offer: bool,
    score: Option<Score>,
    seq: u64,
    #[serde(flatten)]
    bill: BillBody,
}

/// What it costs and of what that is made.
#[derive(Debug, Serialize)]
struct BillBody {
    total: u64,
    currency: Currency,
    bill: BillParts,
}

#[derive(Debug, Serialize)]
struct BillParts {
    tickets: u64,
    fees: u64,
    tax: u64,
    is_tax_included: bool,
}

impl From<Bill> for BillBody {
    fn from(bill: Bill) -> Self {
        let Bill { currency, tickets, fees, tax, is_tax_included, total } = bill;
        Self { total, currency, bill: BillParts { tickets, fees, tax, is_tax_included } }
    }
}

fn seat(shop: &Shop, seat: Seat, price: u64) -> Option<SeatBody<'_>> {
    let name = shop.venue.name_of(seat)?;
    let label = name.to_string();
    let SeatName { block, row, number, zone } = name;
    let area = shop.venue.area_of(seat).map(|area| area.id.as_str());
    let attribute = shop.venue.attribute_of(seat);
    Some(SeatBody { seat, label, block, row, number, zone, area, attribute, price })
}

/// A hold.
pub fn hold<'a>(shop: &'a Shop, hold: &'a HoldView, seq: u64) -> HoldBody<'a> {
    HoldBody {
        hold: hold.hold,
        event: &shop.event.id,
        seats: hold.seats.iter().map(|(s, price)| seat(shop, *s, *price)).collect(),
        expires_at: hold.until,
        expires_at_max: hold.until_max,
        extensions: &hold.extensions,
        is_paying: hold.is_paying,
        is_offer: hold.is_offer,
        score: hold.score,
        seq,
        bill: hold.bill.into(),
    }
}

/// An order; it has tickets once it is confirmed. Its `seq` is its own, so that it reads the same
/// whenever it is asked for.
pub fn order(app: &App, shop: &Shop, order: &OrderView) -> Result<Value, TicketError> {
    let sign = |_, ticket| app.printer.barcode(&app.passes, shop, order, ticket);
    let (state, tickets) = match order.stage {
        OrderStage::Sold if order.after.voids.len() == order.seats.len() => {
            ("refunded", tickets(shop, order, sign)?)
        }
        OrderStage::Sold => ("confirmed", tickets(shop, order, sign)?),
        OrderStage::ActionRequired => ("action-required", json!([])),
        OrderStage::Paying | OrderStage::Unknown => ("paying", json!([])),
    };
    Ok(written(shop, order, &shop.event.facts.title, state, tickets))
}

/// A confirmed order as its buyer was told of it.
pub fn receipt(shop: &Shop, order: &OrderView, told: &Told) -> Value {
    let kept = |at: usize, _| -> Result<String, Infallible> {
        // A receipt has as many barcodes as its order has tickets.
        Ok(told.barcodes.get(at).cloned().unwrap_or_default())
    };
    let Ok(tickets) = tickets(shop, order, kept);
    written(shop, order, &told.title, "confirmed", tickets)
}

fn written(shop: &Shop, order: &OrderView, title: &str, state: &str, tickets: Value) -> Value {
    let priced = order.seats.iter().zip(&order.prices);
    let seats: Vec<_> = priced.map(|((s, _), price)| seat(shop, *s, *price)).collect();
    let mut body = json!({
        "order": order.order,
        "event": shop.event.id,
        "title": title,
        "state": state,
        "seats": seats,
        "name": order.name,
        "tickets": tickets,
        "seq": order.seq,
        "order_url": format!("/orders/{}", order.order),
    });
    let BillBody { total, currency, bill } = order.bill.into();
    (body["total"], body["currency"], body["bill"]) = (json!(total), json!(currency), json!(bill));
    let refunds = order.after.refunds.iter().map(|refund| {
        let money = match refund.money {
            Money::Owed | Money::Voiding => "on-its-way",
            Money::Returned => "returned",
        };
        json!({ "amount": refund.amount, "at": refund.at, "money": money })
    });
    body["refunds"] = refunds.collect();
    let (email, phone) = (order.email.as_deref(), order.phone.as_deref());
    let sent = order.after.deliveries.iter().map(|sent| delivery(sent, email, phone));
    body["deliveries"] = sent.collect();
    if let (OrderStage::ActionRequired, Some(action)) = (order.stage, &order.payment.action) {
        body["payment"] = json!({
            "gateway": order.payment.gateway,
            "client_secret": action.client_secret,
            "next_action": action.next_action,
            "resume_url": format!("/api/v1/orders/{}/resume", order.order),
        });
    }
    body
}

/// The tickets with the barcodes that `barcode` gives for the nth one.
fn tickets<E>(
    shop: &Shop,
    order: &OrderView,
    barcode: impl Fn(usize, (Seat, Id128)) -> Result<String, E>,
) -> Result<Value, E> {
    let id = order.order;
    let tickets = order.seats.iter().enumerate().map(|(at, (seat, ticket))| {
        let label = label(shop, *seat);
        if let Some(void) = order.after.voids.get(ticket) {
            let since = void.at;
            return Ok(
                json!({ "ticket": ticket, "label": label, "state": "void", "void_since": since }),
            );
        }
        let used = order.after.uses.get(ticket);
        let barcode = barcode(at, (*seat, *ticket))?;
        Ok(json!({
            "ticket": ticket,
            "label": label,
            "state": if used.is_some() { "used" } else { "valid" },
            "used_at": used.map(|used| used.at),
            "barcode": barcode,
            "qr_url": format!("/api/v1/orders/{id}/tickets/{ticket}/qr.svg"),
            "pdf_url": format!("/api/v1/orders/{id}/tickets/{ticket}/ticket.pdf"),
        }))
    });
    tickets.collect()
}

/// A message, with as much of its address as its owner needs to know it by.
pub fn delivery(delivery: &Delivery, email: Option<&str>, phone: Option<&str>) -> Value {
    let (channel, to) = match delivery.channel {
        Channel::Mail => ("mail", email.map(masked_email)),
        Channel::Sms => ("sms", phone.map(masked_phone)),
    };
    let message = match delivery.message {
        Message::Tickets => "tickets",
        Message::Refund => "refund",
        Message::Cancelled => "cancelled",
    };
    let (state, at, why) = match &delivery.state {
        DeliveryState::Due => ("due", delivery.since, None),
        DeliveryState::Sent { at } => ("sent", *at, None),
        DeliveryState::Undeliverable { at, why } => ("undeliverable", *at, Some(why)),
    };
    json!({"message": message, "channel": channel, "to": to, "state": state, "at": at, "why": why})
}

/// As much of an address as its owner needs to know it by.
pub fn masked_email(email: &str) -> String {
    let (user, host) = email.split_once('@').unwrap_or((email, ""));
    let first: String = user.chars().take(1).collect();
    format!("{first}\u{2026}@{host}")
}

fn masked_phone(phone: &str) -> String {
    let last: Vec<char> = phone.chars().rev().take(2).collect();
    format!("\u{2026}{}", last.into_iter().rev().collect::<String>())
}

fn label(shop: &Shop, seat: Seat) -> String {
    shop.venue.name_of(seat).map(|name| name.to_string()).unwrap_or_default()
}
