//! Does a whole run work, and is a server that breaks a promise found out over HTTP?
//!
//! The server here is a toy of the contract in ARCHITECTURE.md: enough to serve a crowd, with a
//! fault to switch on.

#![allow(clippy::unwrap_used)] // all of this is a test

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{
    EventId, Front, Id128, Key, Keyring, Lane, LaneFront, Pass, Phase, Place, PollHint, Risk, Role,
    Sealed, Timestamp, Validity,
};
use loadtest::client::{Target, Targets};
use loadtest::crowd::Shares;
use loadtest::{DriveOptions, LedgerSource, Promise, Report, drive, plot};
use serde_json::{Value, json};

const SEATS: usize = 400;
const PACE: u64 = 60;
const PRICE: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    SellsTwice,
    LetsEverybodyIn,
    ForgetsOrders,
    ChargesTwice,
    SameNumber,
}

struct Server {
    fault: Fault,
    keyring: Keyring,
    started: Timestamp,
    state: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    issued: u64,
    seq: u64,
    passes: BTreeMap<Id128, String>,
    taken: BTreeSet<usize>,
    holds: BTreeMap<String, Vec<usize>>,
    orders: BTreeMap<String, Value>,
    charges: Vec<Value>,
    asked: BTreeSet<String>,
}

#[tokio::test]
async fn a_crowd_comes_waits_buys_and_finds_nothing_wrong() {
    let report = run(Fault::None, 120).await;
    assert!(report.is_clean(), "{}", report.text());
    println!("{}", report.text());
    assert!(report.is_complete, "{}", report.text());
    assert_eq!(report.places_issued, 120);
    assert!(report.orders > 60, "{}", report.text());
    assert!(report.conflicts > 0, "{}", report.text());
    assert!(report.declined > 0 && report.payments_unknown > 0, "{}", report.text());
    assert_eq!(report.errors, 0, "{}", report.text());
    let ended: u64 = report.kinds.iter().flat_map(|k| &k.outcomes).map(|(_, count)| count).sum();
    assert_eq!(ended, 120, "{}", report.text());
    assert!(plot::svg(&report).ends_with("</svg>\n"));
    assert!(serde_json::to_value(&report).unwrap()["verdict"]["checks"].is_array());
}

#[tokio::test]
async fn a_server_that_sells_twice_is_found_out() {
    breaks(Fault::SellsTwice, Promise::SeatSoldOnce).await;
}

#[tokio::test]
async fn a_server_that_lets_everybody_in_is_found_out() {
    breaks(Fault::LetsEverybodyIn, Promise::NoneAboveFront).await;
}

#[tokio::test]
async fn a_server_that_forgets_orders_is_found_out() {
    breaks(Fault::ForgetsOrders, Promise::OrdersLast).await;
}

#[tokio::test]
async fn a_server_that_charges_twice_is_found_out() {
    breaks(Fault::ChargesTwice, Promise::ChargesMatch).await;
}

#[tokio::test]
async fn a_server_that_gives_a_number_twice_is_found_out() {
    breaks(Fault::SameNumber, Promise::NumberOnce).await;
}

async fn breaks(fault: Fault, promise: Promise) {
    let report = run(fault, 60).await;
    assert!(report.verdict.broken().contains(&promise), "{}", report.text());
}

async fn run(fault: Fault, visitors: usize) -> Report {
    let address = serve(fault).await;
    let edge = Target::parse(&address, Targets::Loopback).unwrap();
    let ledger = Target::parse(&format!("{address}/ledger"), Targets::Loopback).unwrap();
    let options = DriveOptions {
        think: Duration::from_millis(20),
        max: Duration::from_secs(60),
        shares: Shares::new(0.75, 0.1, 0.05, 0.05).unwrap(),
        ledger: Some(LedgerSource { target: ledger, token: "t".into() }),
        ..DriveOptions::new(vec![edge], event(), visitors, Duration::from_secs(1))
    };
    drive(options).await.unwrap()
}

async fn serve(fault: Fault) -> String {
    let now = Timestamp::now();
    let validity = Validity {
        use_from: now.minus_secs(60),
        use_until: now.plus_secs(3_600),
        valid_until: now.plus_secs(7_200),
        revoked_at: None,
    };
    let key = |role, owner: &str| Key::generate(role, owner.parse().unwrap(), validity);
    let keyring = Keyring::new([key(Role::Edge, "edge"), key(Role::Controller, "controller")]);
    let server = Arc::new(Server { fault, keyring, started: now, state: Mutex::default() });
    let app = Router::new()
        .route("/.well-known/waiting-room/jwks.json", get(jwks))
        .route("/events/final", get(page))
        .route("/api/v1/queue/join", post(page))
        .route("/api/v1/queue/status", get(status))
        .route("/api/v1/queue/final/front", get(front))
        .route("/api/v1/queue/claim", post(claim))
        .route("/api/v1/queue/leave", post(|| async { StatusCode::NO_CONTENT }))
        .route("/api/v1/events/final", get(description))
        .route("/map", get(|| async { "{}" }))
        .route("/api/v1/events/final/availability", get(availability))
        .route("/api/v1/events/final/holds", post(hold))
        .route("/api/v1/events/final/holds/{hold}", delete(release))
        .route("/api/v1/events/final/orders", post(order))
        .route("/api/v1/orders/{order}", get(read_order))
        .route("/ledger", get(books))
        .with_state(server);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

type App = State<Arc<Server>>;

fn event() -> EventId {
    "final".parse().unwrap()
}

fn problem(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, json!({"code": code, "status": status.as_u16()}).to_string()).into_response()
}

async fn jwks(State(server): App) -> String {
    serde_json::to_string(&server.keyring.public_jwks()).unwrap()
}

impl Server {
    fn front(&self, now: Timestamp) -> Front {
        let mut line = self.state.lock().unwrap();
        line.seq += 1;
        let moved = now.since(self.started).as_millis() as u64 * PACE / 1_000;
        let entry = |lane, f0, pace_milli| LaneFront {
            lane,
            f0,
            pace_milli,
            limit: line.issued.max(f0) + 1_000,
            issued: line.issued,
        };
        Front {
            iss: "controller".parse().unwrap(),
            aud: event(),
            iat: now,
            exp: now.plus_secs(60),
            line: 1,
            epoch: 1,
            seq: line.seq,
            phase: Phase::Open,
            opens_at: None,
            t0: now,
            until: now.plus_secs(5),
            lanes: vec![entry(Lane::Standard, moved, PACE * 1_000), entry(Lane::Suspect, 0, 0)],
            reason: String::new(),
            draw: None,
            stock: None,
            poll: PollHint { near_secs: 1, far_secs: 2 },
            message: None,
        }
    }

    fn place_of(&self, headers: &HeaderMap) -> Option<Place> {
        let text = match headers.get("waiting-room-place") {
            Some(place) => place.to_str().ok()?,
            None => {
                let cookies = headers.get("cookie")?.to_str().ok()?;
                cookies.split("; ").find_map(|cookie| cookie.strip_prefix("wr_place_final="))?
            }
        };
        let opened = self.keyring.open(&Sealed::new(text), &event(), Timestamp::now());
        opened.ok().map(keys::Verified::into_inner)
    }

    fn pass(&self, place: &Place) -> String {
        let now = Timestamp::now();
        let mut line = self.state.lock().unwrap();
        let pass = line.passes.entry(place.sub).or_insert_with(|| {
            let pass = Pass {
                iss: "controller".parse().unwrap(),
                aud: event(),
                sub: place.sub,
                jti: Id128::random(),
                iat: now,
                nbf: now,
                exp: now.plus_secs(600),
                lane: place.lane,
                risk: Risk::Low,
                generation: 1,
                fpr: String::new(),
            };
            self.keyring.seal(&pass, now).unwrap().as_str().to_owned()
        });
        pass.clone()
    }

    fn status(&self, place: &Place) -> Value {
        let text = self.keyring.seal(place, Timestamp::now()).unwrap();
        json!({"state": "waiting", "lane": "standard", "num": place.num, "position": place.num,
            "place": text.as_str()})
    }
}

/// Page and join: both give a place.
async fn page(State(server): App, headers: HeaderMap) -> Response {
    if let Some(place) = server.place_of(&headers) {
        return server.status(&place).to_string().into_response();
    }
    let now = Timestamp::now();
    let mut line = server.state.lock().unwrap();
    line.issued += 1;
    let num = if server.fault == Fault::SameNumber { line.issued / 2 + 1 } else { line.issued };
    drop(line);
    let place = Place {
        iss: "edge".parse().unwrap(),
        aud: event(),
        sub: Id128::random(),
        lane: Lane::Standard,
        num,
        iat: now,
        exp: now.plus_secs(600),
        line: 1,
        fpr: String::new(),
        back: None,
        moves: 0,
    };
    let text = server.keyring.seal(&place, now).unwrap();
    let cookie = format!("wr_place_final={}; Path=/; HttpOnly", text.as_str());
    let headers = [("set-cookie", cookie), ("waiting-room-verdict", "wait".to_owned())];
    let mut response = (headers, server.status(&place).to_string()).into_response();
    if server.fault == Fault::LetsEverybodyIn {
        let pass = format!("wr_pass_final={}; Path=/", server.pass(&place));
        response.headers_mut().append("set-cookie", pass.parse().unwrap());
    }
    response
}

async fn status(State(server): App, headers: HeaderMap) -> Response {
    match server.place_of(&headers) {
        Some(place) => server.status(&place).to_string().into_response(),
        None => problem(404, "no-place"),
    }
}

async fn front(State(server): App) -> String {
    let now = Timestamp::now();
    let front = server.front(now);
    let signed = server.keyring.seal(&front, now).unwrap();
    json!({"front": front, "signed": signed.as_str()}).to_string()
}

async fn claim(State(server): App, headers: HeaderMap) -> Response {
    let Some(place) = server.place_of(&headers) else { return problem(404, "no-place") };
    let pass = server.pass(&place);
    let cookie = format!("wr_pass_final={pass}; Path=/");
    ([("set-cookie", cookie)], json!({"state": "admitted", "pass": pass}).to_string())
        .into_response()
}

async fn description() -> String {
    json!({"id": "final", "seats_per_order_max": 4, "map_url": "/map"}).to_string()
}

async fn availability(State(server): App) -> String {
    // An old map: nothing of the hot zone is shown as taken, so that visitors run into each other.
    let line = server.state.lock().unwrap();
    let mut taken = vec![0_u8; SEATS / 8];
    for seat in line.taken.iter().filter(|seat| **seat >= 64) {
        taken[seat / 8] |= 1 << (seat % 8);
    }
    let free = SEATS - line.taken.len();
    json!({"seq": 1, "seats": SEATS, "free": free, "taken": STANDARD.encode(taken)}).to_string()
}

fn seats(seats: &[usize]) -> Value {
    seats.iter().map(|seat| json!({"seat": seat, "price": PRICE})).collect()
}

async fn hold(State(server): App, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut line = server.state.lock().unwrap();
    let chosen: Vec<usize> = match body["best"]["quantity"].as_u64() {
        Some(quantity) => {
            (0..SEATS).filter(|seat| !line.taken.contains(seat)).take(quantity as usize).collect()
        }
        None => {
            let seats = body["seats"].as_array().unwrap();
            seats.iter().map(|seat| seat.as_u64().unwrap() as usize).collect()
        }
    };
    if chosen.iter().any(|seat| line.taken.contains(seat)) {
        return problem(409, "seat-taken");
    }
    if server.fault != Fault::SellsTwice {
        line.taken.extend(&chosen);
    }
    let hold = Id128::random().to_string();
    line.holds.insert(hold.clone(), chosen.clone());
    let total = PRICE * chosen.len() as u64;
    let answer = json!({"hold": hold, "seats": seats(&chosen), "total": total, "currency": "USD",
        "expires_at": Timestamp::now().plus_secs(60), "seq": 1});
    (StatusCode::CREATED, answer.to_string()).into_response()
}

async fn release(State(server): App, Path(hold): Path<String>) -> StatusCode {
    let mut line = server.state.lock().unwrap();
    for seat in line.holds.remove(&hold).unwrap_or_default() {
        line.taken.remove(&seat);
    }
    StatusCode::NO_CONTENT
}

async fn order(State(server): App, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let token = body["payment_token"].as_str().unwrap();
    let mut line = server.state.lock().unwrap();
    if token == "tok_declined" {
        line.charges.push(json!({"amount": 1, "state": "declined"}));
        return problem(402, "payment-declined");
    }
    if token == "tok_timeout" && line.asked.insert(key) {
        return problem(503, "payment-unknown");
    }
    let Some(chosen) = line.holds.get(body["hold"].as_str().unwrap()).cloned() else {
        return problem(410, "hold-expired");
    };
    let order = Id128::random().to_string();
    let tickets: Vec<Value> =
        chosen.iter().map(|seat| json!({"ticket": format!("{order}-{seat}")})).collect();
    let total = PRICE * chosen.len() as u64;
    let answer = json!({"order": order, "state": "confirmed", "seats": seats(&chosen),
        "total": total, "tickets": tickets});
    if server.fault != Fault::ForgetsOrders {
        line.orders.insert(order.clone(), answer.clone());
    }
    let times = if server.fault == Fault::ChargesTwice { 2 } else { 1 };
    for _ in 0..times {
        line.charges.push(json!({"order": order, "amount": total, "state": "captured"}));
    }
    (StatusCode::CREATED, answer.to_string()).into_response()
}

async fn read_order(State(server): App, Path(order): Path<String>) -> Response {
    match server.state.lock().unwrap().orders.get(&order) {
        Some(order) => order.to_string().into_response(),
        None => problem(404, "unknown-order"),
    }
}

async fn books(State(server): App) -> String {
    json!({"charges": server.state.lock().unwrap().charges}).to_string()
}
