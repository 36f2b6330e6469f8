//! What may be asked of tickets that are sold: check-in by scanners, refunds and cancelling by
//! operators, and tickets sent once more.
//!
//! A scanner's token opens the gates and nothing else. A barcode is verified here like everywhere:
//! only the statement inside it is believed.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use keys::{EventId, Id128, Sealed, Ticket, Timestamp, Verified};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::body::Json;
use super::internal::{Trusted, bearer, is_same};
use super::orders::idempotency_key;
use super::pass_on::{CommandId, Gathered, IsFromPeer};
use super::problem::Refused;
use super::public::{PRIVATE, find_order, unsigned};
use super::shopper::unknown_event;
use super::{App, Shop, admin, views};
use crate::catalogue::{self, Status};
use crate::partition::Answer;
use crate::sale::{
    AfterCommand, AfterReply, Command, PostCommand, RefundAsk, Reply, SEATS_PER_ORDER_LIMIT, Scan,
    TrailWhat,
};
use crate::venue::hex;

/// Most scans that a scanner tells at once: more come in the next request.
const SCANS_MAX: usize = 200;
const GATE_CHARS_MAX: usize = 40;
/// Most entries of the trail in one answer, and about.
const TRAIL_MAX: usize = 1000;
/// Most undeliverable messages of an event in one answer.
const UNDELIVERABLE_MAX: usize = 100;
/// In whose name the catalogue is changed from here.
const OPERATOR: &str = "operator";

/// Routes of the internal listener.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/checkin", post(check_in))
        .route("/api/v1/checkin/batch", post(check_in_later))
        .route("/api/v1/checkin/{event}/trail", get(trail))
        .route("/internal/v1/events/{event}/orders/{order}/refund", post(refund))
        .route("/internal/v1/events/{event}/orders/{order}/send", post(send_for_operator))
        .route("/internal/v1/events/{event}/cancel", post(cancel))
        .route("/internal/v1/undeliverable", get(undeliverable))
}

/// Whoever may open gates: a scanner by its token, or an operator.
pub(super) struct Scanner;

impl FromRequestParts<Arc<App>> for Scanner {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let shown = bearer(&parts.headers);
        if app.scanner_tokens.iter().any(|token| is_same(shown, token)) {
            return Ok(Self);
        }
        Trusted::from_request_parts(parts, app).await.map(|_| Self)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScanBody {
    event: EventId,
    barcode: String,
    gate: String,
    /// The scanner's own id of this scan, so that it may ask again.
    scan: Option<String>,
}

async fn check_in(
    State(app): State<Arc<App>>,
    _: Scanner,
    CommandId(drawn): CommandId,
    Json(body): Json<ScanBody>,
) -> Result<Response, Refused> {
    let ScanBody { event, barcode, gate, scan } = body;
    let gate = gate_named(gate)?;
    let scan = match scan {
        Some(scan) => {
            scan.parse().map_err(|_| Refused::invalid("scan is not an id of 22 letters"))?
        }
        None => drawn,
    };
    let shop = app.shops.get(&event).ok_or_else(unknown_event)?;
    let ticket = verified(&app, &event, barcode).ok_or_else(not_ours)?.sub;
    let scan = Scan { scan, ticket, gate, at: None };
    let answer = app.sales.ask(&event, Command::After(AfterCommand::CheckIn(scan))).await?;
    Ok(private(admitted(&shop, answer)?))
}

fn admitted(shop: &Shop, Answer { seq, reply }: Answer) -> Result<Value, Refused> {
    match reply {
        Reply::After(AfterReply::Admitted { seat, at }) => {
            let seat = shop.venue.name_of(seat).map(|name| name.to_string());
            Ok(json!({ "admitted": true, "seat": seat, "at": at, "seq": seq }))
        }
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaterBody {
    event: EventId,
    scans: Vec<LaterScan>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaterScan {
    barcode: String,
    gate: String,
    scan: String,
    /// When, in milliseconds since the epoch.
    at: u64,
}

/// What a scanner let in while it was offline. Each scan has an answer of its own; telling the same
/// scans again changes nothing.
async fn check_in_later(
    State(app): State<Arc<App>>,
    _: Scanner,
    Json(LaterBody { event, scans }): Json<LaterBody>,
) -> Result<Response, Refused> {
    if scans.len() > SCANS_MAX {
        return Err(Refused::invalid(format!("{} scans, at most {SCANS_MAX}", scans.len())));
    }
    let shop = app.shops.get(&event).ok_or_else(unknown_event)?;
    let mut answers = Vec::with_capacity(scans.len());
    for LaterScan { barcode, gate, scan, at } in scans {
        let answer = async {
            let gate = gate_named(gate)?;
            let id = scan.parse();
            let id = id.map_err(|_| Refused::invalid("scan is not an id of 22 letters"))?;
            let ticket = verified(&app, &event, barcode).ok_or_else(not_ours)?.sub;
            let at = Some(Timestamp::from_millis(at));
            let told = AfterCommand::CheckIn(Scan { scan: id, ticket, gate, at });
            admitted(&shop, app.sales.ask(&event, Command::After(told)).await?)
        };
        let mut answer = answer.await.unwrap_or_else(|refused| refused.body());
        answer["scan"] = scan.into();
        answers.push(answer);
    }
    Ok(private(json!({ "scans": answers })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrailQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// What happened to an event's tickets: used, void, or let in by mistake. A scanner that goes
/// offline takes it along.
async fn trail(
    State(app): State<Arc<App>>,
    _: Scanner,
    Path(event): Path<String>,
    query: Result<Query<TrailQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(TrailQuery { after, limit }) =
        query.map_err(|_| Refused::invalid("expected after=<seq> and limit=<number>"))?;
    let (event, shop) = named(&app, &event)?;
    let limit = limit.unwrap_or(TRAIL_MAX).clamp(1, TRAIL_MAX);
    let asked = Command::After(AfterCommand::Trail { after, limit });
    let Answer { reply, .. } = app.sales.ask(&event, asked).await?;
    let Reply::After(AfterReply::Trail(entries)) = reply else { return Err(Refused::internal()) };
    let next = entries.last().filter(|_| entries.len() >= limit).map(|entry| entry.seq);
    let entries = entries.iter().map(|entry| {
        let what = match entry.what {
            TrailWhat::Used => "used",
            TrailWhat::Void => "void",
            TrailWhat::Conflict => "conflict",
        };
        json!({
            "seq": entry.seq,
            "ticket": entry.ticket,
            "seat": shop.venue.name_of(entry.seat).map(|name| name.to_string()),
            "what": what,
            "at": entry.at,
            "gate": entry.gate,
        })
    });
    Ok(private(json!({ "entries": entries.collect::<Value>(), "next": next })))
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    /// All that are valid, if it is not there.
    tickets: Option<Vec<Id128>>,
}

async fn refund(
    State(app): State<Arc<App>>,
    _: Trusted,
    Path((event, order)): Path<(String, String)>,
    asked: HeaderMap,
    Json(body): Json<RefundBody>,
) -> Result<Response, Refused> {
    let key = idempotency_key(&asked)?;
    let most = SEATS_PER_ORDER_LIMIT as usize;
    if body.tickets.as_ref().is_some_and(|tickets| tickets.len() > most) {
        return Err(Refused::invalid(format!("more than {most} tickets")));
    }
    let digest = serde_json::to_vec(&body).map_err(|_| Refused::internal())?;
    let (event, shop) = named(&app, &event)?;
    let (order, digest) = (order_id(&order)?, hex(&Sha256::digest(&digest)));
    let ask = RefundAsk { order, tickets: body.tickets, key, body: digest };
    let answer = app.sales.ask(&event, Command::After(AfterCommand::Refund(ask))).await?;
    order_body(&app, &shop, answer)
}

async fn cancel(
    State(app): State<Arc<App>>,
    _: Trusted,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let (event, _) = named(&app, &event)?;
    // The catalogue has the last word on what takes place, and the sale follows it.
    let status = Status::Cancelled;
    let cancelled = catalogue::Command::SetStatus { id: event.clone(), status, expect: None };
    admin::ask(&app, OPERATOR, cancelled).await?;
    // The orders are refunded a few at a time by whoever sends the messages. Asked again, it tells
    // how many are left.
    let Answer { seq, reply } =
        app.sales.ask(&event, Command::After(AfterCommand::CancelEvent)).await?;
    match reply {
        Reply::After(AfterReply::Cancelling { left }) => {
            let body = json!({ "event": event, "orders_left": left, "seq": seq });
            Ok((StatusCode::ACCEPTED, private(body)).into_response())
        }
        _ => Err(Refused::internal()),
    }
}

/// `POST /api/v1/orders/{order}/send`, by whoever has the order's id.
pub(super) async fn send_for_buyer(
    State(app): State<Arc<App>>,
    Path(order): Path<String>,
) -> Result<Response, Refused> {
    let (event, found) = find_order(&app, &order)?;
    send(&app, &event, found.order).await
}

async fn send_for_operator(
    State(app): State<Arc<App>>,
    _: Trusted,
    Path((event, order)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let (event, _) = named(&app, &event)?;
    send(&app, &event, order_id(&order)?).await
}

async fn send(app: &App, event: &EventId, order: Id128) -> Result<Response, Refused> {
    let shop = app.shops.get(event).ok_or_else(unknown_event)?;
    let again = Command::Post(PostCommand::SendAgain { order });
    let sent = order_body(app, &shop, app.sales.ask(event, again).await?)?;
    Ok((StatusCode::ACCEPTED, sent).into_response())
}

/// Messages that were refused for ever, and the processes that did not tell of theirs.
#[derive(Debug, Deserialize, Serialize)]
struct Messages {
    messages: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

async fn undeliverable(
    State(app): State<Arc<App>>,
    _: Trusted,
    IsFromPeer(is_from_peer): IsFromPeer,
) -> Result<Response, Refused> {
    let mut messages = Vec::new();
    for event in app.sales.events() {
        let limit = UNDELIVERABLE_MAX;
        let list = Command::Post(PostCommand::ListUndeliverable { limit });
        let Reply::Post(work) = app.sales.ask(&event, list).await?.reply else { continue };
        messages.extend(work.due.iter().map(|due| {
            let mut message =
                views::delivery(&due.delivery, due.email.as_deref(), due.phone.as_deref());
            message["event"] = json!(event);
            message["order"] = json!(due.key.1);
            message
        }));
    }
    let own = Messages { messages, missing: Vec::new() };
    let all = match &app.others {
        Some(others) if !is_from_peer => {
            let Gathered { answers, missing } = others.gather("/internal/v1/undeliverable").await;
            let theirs = answers.into_iter().flat_map(|theirs: Messages| theirs.messages);
            Messages { messages: own.messages.into_iter().chain(theirs).collect(), missing }
        }
        _ => own,
    };
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(all)).into_response())
}

fn order_body(app: &App, shop: &Shop, Answer { seq, reply }: Answer) -> Result<Response, Refused> {
    match reply {
        Reply::Order(order) => {
            let body = views::order(app, shop, &order).map_err(|error| unsigned(&error))?;
            Ok(private(body))
        }
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

fn private(body: Value) -> Response {
    ([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response()
}

/// The statement in a barcode, if it is one of ours for this event.
fn verified(app: &App, event: &EventId, barcode: String) -> Option<Verified<Ticket>> {
    let sealed = Sealed::<Ticket>::new(barcode);
    app.passes.with_keyring(|keys| keys.open(&sealed, event, Timestamp::now())).ok()
}

fn not_ours() -> Refused {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Refused::new(status, "barcode-refused", "This is no ticket for this event")
}

fn gate_named(gate: String) -> Result<String, Refused> {
    let is_name = !gate.is_empty()
        && gate.chars().count() <= GATE_CHARS_MAX
        && !gate.chars().any(char::is_control);
    if is_name {
        Ok(gate)
    } else {
        Err(Refused::invalid("gate is not 1 to 40 printable characters"))
    }
}

fn named(app: &App, event: &str) -> Result<(EventId, Arc<Shop>), Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    let shop = app.shops.get(&event).ok_or_else(unknown_event)?;
    Ok((event, shop))
}

fn order_id(order: &str) -> Result<Id128, Refused> {
    order.parse().map_err(|_| Refused::not_found("unknown-order", "No such order"))
}
