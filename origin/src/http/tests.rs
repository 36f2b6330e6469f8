mod admin;
mod after;
mod fleet;
mod hall;
mod payments;
mod post;
mod replies;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use keys::{Id128, Key, Keyring, Lane, Pass, Place, Risk, Role, Ticket, Timestamp, Validity};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Origin, OriginConfig, OriginParts, StartError, start};

mod described;
mod live;
mod model;
mod stores;
mod waitlist;

const FINAL: &str = "wc2026-final";
const TOKEN: &str = "internal-token-of-tests";

/// An origin on free ports, with keys and data in a folder of its own.
struct House {
    folder: PathBuf,
    keyring: Keyring,
    origin: Option<Origin>,
    shutdown: watch::Sender<bool>,
    client: Client,
    base: String,
    internal: String,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Somebody with a pass.
struct Visitor<'a> {
    house: &'a House,
    pass: String,
}

struct Seen {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Seen {
    #[track_caller]
    fn is(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:waiting-room:{code}"));
        self
    }
    #[track_caller]
    fn succeeds(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

fn keyring() -> Keyring {
    let now = Timestamp::now();
    let validity = Validity {
        use_from: now.minus_secs(60),
        use_until: now.plus_secs(3600),
        valid_until: now.plus_secs(7200),
        revoked_at: None,
    };
    Keyring::new([
        Key::generate(Role::Origin, "origin-1".parse().unwrap(), validity),
        Key::generate(Role::Controller, "controller-1".parse().unwrap(), validity),
        Key::generate(Role::Edge, "edge-1".parse().unwrap(), validity),
    ])
}

fn config(folder: &Path, more: &str) -> OriginConfig {
    let folder = folder.display();
    let text = format!(
        "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\ndata_dir = \"{folder}/data\"
         name = \"origin-1\"\nkeyring = \"{folder}/keys.json\"\ninternal_token = \"{TOKEN}\"
         sandbox.timeout_ms = 1\npayment.absent_after_secs = 0\n{more}"
    );
    OriginConfig::from_toml(&text, "test").unwrap()
}

fn parts(shutdown: watch::Receiver<bool>) -> OriginParts {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    OriginParts { listener: bind(), internal_listener: bind(), shutdown }
}

fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}

impl House {
    async fn open() -> Self {
        Self::open_with("").await
    }

    async fn open_with(more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("origin-http-{}", Id128::random()));
        std::fs::create_dir_all(&folder).unwrap();
        let keyring = keyring();
        keyring.save(&folder.join("keys.json")).unwrap();
        let (shutdown, _) = watch::channel(false);
        let mut house = Self {
            folder,
            keyring,
            origin: None,
            shutdown,
            client: client(),
            base: String::new(),
            internal: String::new(),
        };
        house.start(more).await;
        house
    }

    async fn start(&mut self, more: &str) {
        let (shutdown, told) = watch::channel(false);
        let origin = start(config(&self.folder, more), parts(told)).await.unwrap();
        self.base = format!("http://{}", origin.public_addr());
        self.internal = format!("http://{}", origin.internal_addr());
        self.shutdown = shutdown;
        self.origin = Some(origin);
    }

    async fn stop(&mut self) {
        self.shutdown.send(true).unwrap();
        let stopped = self.origin.take().unwrap().stopped();
        tokio::time::timeout(Duration::from_secs(5), stopped).await.unwrap();
    }

    fn pass(&self, event: &str, from: i64, secs: u64) -> Pass {
        let now = Timestamp::now();
        let from = Timestamp::from_secs(now.as_secs().saturating_add_signed(from));
        Pass {
            iss: "controller-1".parse().unwrap(),
            aud: event.parse().unwrap(),
            sub: Id128::random(),
            jti: Id128::random(),
            iat: from,
            nbf: from,
            exp: from.plus_secs(secs),
            lane: Lane::Standard,
            risk: Risk::Low,
            generation: 1,
            fpr: String::new(),
        }
    }

    fn visitor(&self) -> Visitor<'_> {
        let pass = self.pass(FINAL, 0, 600);
        let sealed = self.keyring.seal(&pass, Timestamp::now()).unwrap();
        Visitor { house: self, pass: sealed.as_str().to_owned() }
    }

    async fn send(&self, request: RequestBuilder) -> Seen {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Seen { status, headers, body }
    }

    async fn get(&self, path: &str) -> Seen {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    async fn internal(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.internal);
        self.send(self.client.get(url).bearer_auth(TOKEN)).await.succeeds(200)
    }

    async fn get_internal_text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.internal);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn stock(&self) -> Value {
        self.internal("/internal/v1/load").await["stock"][0].clone()
    }
}

impl Visitor<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1/events/{FINAL}{path}", self.house.base);
        self.house.client.request(method, url).header("Waiting-Room-Pass", &self.pass)
    }

    async fn holds(&self, body: Value) -> Seen {
        self.house.send(self.request(Method::POST, "/holds").json(&body)).await
    }

    async fn hold(&self, seats: &[u32]) -> String {
        let hold = self.holds(json!({ "seats": seats })).await.succeeds(201);
        hold["hold"].as_str().unwrap().to_owned()
    }

    async fn view(&self, hold: &str) -> Seen {
        self.house.send(self.request(Method::GET, &format!("/holds/{hold}"))).await
    }

    async fn release(&self, hold: &str) -> Seen {
        self.house.send(self.request(Method::DELETE, &format!("/holds/{hold}"))).await
    }

    async fn pay(&self, hold: &str, token: &str, key: &str) -> Seen {
        let body = json!({ "hold": hold, "payment_token": token, "name": "Ana" });
        self.order(body, key).await
    }

    async fn order(&self, body: Value, key: &str) -> Seen {
        let request = self.request(Method::POST, "/orders").header("Idempotency-Key", key);
        self.house.send(request.json(&body)).await
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn from_the_list_of_events_to_a_ticket_in_the_hand() {
    let house = House::open().await;
    let events = house.get("/api/v1/events?limit=200").await.succeeds(200);
    let events = events["events"].as_array().unwrap();
    assert_eq!(events.len(), 104);
    let on_sale: Vec<_> = events.iter().filter(|event| event["status"] == "on_sale").collect();
    assert_eq!(on_sale.len(), 1);
    assert_eq!(on_sale[0]["id"], FINAL);
    assert_eq!((&on_sale[0]["capacity"], &on_sale[0]["currency"]), (&json!(82_500), &json!("USD")));

    let event = house.get(&format!("/api/v1/events/{FINAL}")).await.succeeds(200);
    assert_eq!(event["zones"].as_array().unwrap().len(), 4);
    let map = house.get(event["map_url"].as_str().unwrap()).await;
    assert!(map.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let map = map.succeeds(200);
    assert_eq!(map["seats"], 82_500);

    let ana = house.visitor();
    let hold = ana.holds(json!({ "best": { "zone": "cat1", "quantity": 2 } })).await.succeeds(201);
    assert_eq!(hold["total"], 2 * 673_000);
    assert_eq!(hold["seats"][0]["zone"], "cat1");
    let seat = hold["seats"][0]["seat"].as_u64().unwrap() as usize;
    let availability = house.send(ana.request(Method::GET, "/availability")).await;
    assert_eq!(availability.headers["cache-control"], "private, no-store");
    let etag = format!("\"5\", W/{}", availability.headers["etag"].to_str().unwrap());
    let known = ana.request(Method::GET, "/availability").header("if-none-match", etag);
    assert_eq!(house.send(known).await.status, 304);
    let availability = availability.succeeds(200);
    assert_eq!(availability["free"], 82_498);
    let taken = availability["taken"].as_str().unwrap();
    let taken = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, taken).unwrap();
    assert_eq!(taken[seat / 8] >> (seat % 8) & 1, 1);

    let paid = ana.pay(hold["hold"].as_str().unwrap(), "tok_ok", "key-1").await;
    assert_eq!(paid.headers["waiting-room-command"], "finish");
    let order = paid.succeeds(201);
    assert_eq!((&order["state"], &order["name"]), (&json!("confirmed"), &json!("Ana")));
    assert_eq!(order["seats"], hold["seats"]);

    let ticket = &order["tickets"][0];
    let sealed = keys::Sealed::<Ticket>::new(ticket["barcode"].as_str().unwrap());
    let ticket_claims =
        house.keyring.open(&sealed, &FINAL.parse().unwrap(), Timestamp::now()).unwrap();
    assert_eq!(ticket_claims.seat, ticket["label"].as_str().unwrap());
    let qr = house.get(ticket["qr_url"].as_str().unwrap()).await;
    assert_eq!(qr.headers["content-type"], "image/svg+xml");
    assert!(qr.body.as_str().unwrap().starts_with("<svg"));
    for (path, kind, begins) in [
        (ticket["pdf_url"].as_str().unwrap(), "application/pdf", "%PDF-"),
        (
            &format!("/api/v1/orders/{}/tickets.pdf?lang=de", text(&order["order"])),
            "application/pdf",
            "%PDF-",
        ),
        (
            &format!("/api/v1/orders/{}/event.ics", text(&order["order"])),
            "text/calendar; charset=utf-8",
            "BEGIN:VCALENDAR\r\n",
        ),
        (&ticket["qr_url"].as_str().unwrap().replace("svg", "png"), "image/png", "\u{fffd}PNG"),
    ] {
        let seen = house.get(path).await;
        assert_eq!(
            (seen.status.as_u16(), &seen.headers["content-type"]),
            (200, &kind.parse().unwrap()),
            "{path}"
        );
        assert!(seen.body.as_str().unwrap().starts_with(begins), "{path}");
        assert_eq!(seen.headers["cache-control"], "private, no-store");
    }
    house
        .get(&format!("/api/v1/orders/{}/tickets.pdf?size=9", text(&order["order"])))
        .await
        .is(422, "invalid-request");
    house
        .get(&format!(
            "/api/v1/orders/{}/tickets/{}/qr.svg",
            text(&order["order"]),
            text(&order["order"])
        ))
        .await
        .is(404, "unknown-ticket");
    let again = house.get(&format!("/api/v1{}", order["order_url"].as_str().unwrap())).await;
    assert_eq!(again.succeeds(200)["tickets"], order["tickets"]);

    let stock = house.stock().await;
    assert_eq!((&stock["sold"], &stock["free"]), (&json!(2), &json!(82_498)));
    let ledger = house.internal("/internal/v1/sandbox/ledger").await;
    assert_eq!(ledger["totals"]["authorised_amount"], 2 * 673_000);
    assert_eq!(ledger["entries"][0]["order"], order["order"]);
}

#[tokio::test]
async fn no_sale_route_opens_without_a_pass_for_this_event_that_was_verified() {
    let house = House::open().await;
    let now = Timestamp::now();
    let seal = |pass: &Pass| house.keyring.seal(pass, now).unwrap().as_str().to_owned();
    let place = Place {
        iss: "edge-1".parse().unwrap(),
        aud: FINAL.parse().unwrap(),
        sub: Id128::random(),
        lane: Lane::Standard,
        num: 1,
        iat: now,
        exp: now.plus_secs(600),
        line: 1,
        fpr: "x".into(),
        back: None,
        moves: 0,
    };
    let stranger = keyring().seal(&house.pass(FINAL, 0, 600), now).unwrap();
    let good = seal(&house.pass(FINAL, 0, 600));
    let bent = format!("{}A{}", &good[..good.len() - 9], &good[good.len() - 8..]);
    let passes = [
        ("none", String::new()),
        ("nonsense", "a.b.c".to_owned()),
        ("too long", "x".repeat(5000)),
        ("another event's", seal(&house.pass("wc2026-third-place", 0, 600))),
        ("ended", seal(&house.pass(FINAL, -700, 600))),
        ("not yet begun", seal(&house.pass(FINAL, 300, 600))),
        ("a place", house.keyring.seal(&place, now).unwrap().as_str().to_owned()),
        ("a stranger's", stranger.as_str().to_owned()),
        ("bent", bent),
    ];
    let routes = [
        (Method::GET, "/availability"),
        (Method::POST, "/holds"),
        (Method::GET, "/holds/AAAAAAAAAAAAAAAAAAAAAA"),
        (Method::DELETE, "/holds/AAAAAAAAAAAAAAAAAAAAAA"),
        (Method::POST, "/orders"),
    ];
    for (what, pass) in &passes {
        for (method, path) in &routes {
            let url = format!("{}/api/v1/events/{FINAL}{path}", house.base);
            let request =
                house.client.request(method.clone(), url).header("waiting-room-event", FINAL);
            let request = request.header("waiting-room-visitor", "AAAAAAAAAAAAAAAAAAAAAA");
            let by_header = request.try_clone().unwrap().header("waiting-room-pass", pass);
            let by_cookie = request.header("cookie", format!("wr_pass_{FINAL}={pass}"));
            for request in [by_header, by_cookie] {
                let seen = house.send(request).await;
                assert_eq!(seen.status, 403, "{what} at {method} {path}: {}", seen.body);
                seen.is(403, "pass-required");
            }
        }
    }
    let url = format!("{}/api/v1/events/{FINAL}/availability", house.base);
    let cookies = format!("a=b; wr_pass_{FINAL}={good}; c=d");
    house.send(house.client.get(url).header("cookie", cookies)).await.succeeds(200);
    assert_eq!(house.stock().await["free"], 82_500);
}

#[tokio::test]
async fn every_refusal_of_a_hold_is_told_and_leaves_the_stock_alone() {
    let house = House::open().await;
    let (ana, ben) = (house.visitor(), house.visitor());
    let hold = ana.hold(&[1, 2, 3]).await;
    let before = house.stock().await;

    let taken = ben.holds(json!({ "seats": [3, 4] })).await.is(409, "seat-taken");
    assert_eq!((&taken.body["seats"], taken.body["seq"].is_u64()), (&json!([3]), true));
    ben.holds(json!({ "seats": [] })).await.is(422, "no-seats");
    ben.holds(json!({ "seats": [5, 5] })).await.is(422, "duplicate-seat");
    ben.holds(json!({ "seats": [82_500] })).await.is(422, "unknown-seat");
    ben.holds(json!({ "seats": [10, 11, 12, 13, 14, 15, 16, 17, 18] }))
        .await
        .is(422, "too-many-seats");
    let many = ana.holds(json!({ "seats": [10, 11, 12, 13, 14, 15] })).await;
    assert_eq!(many.is(422, "too-many-seats").body["holds"], json!([hold]));
    ben.holds(json!({ "best": { "quantity": 9 } })).await.is(422, "too-many-seats");
    ben.holds(json!({ "best": { "quantity": 0 } })).await.is(422, "no-seats");
    ben.holds(json!({ "best": { "zone": "roof", "quantity": 1 } })).await.is(422, "unknown-zone");
    ben.holds(json!({})).await.is(422, "invalid-request");
    ben.holds(json!({ "seats": [1], "best": { "quantity": 1 } })).await.is(422, "invalid-request");
    ben.holds(json!({ "seats": [-1] })).await.is(422, "invalid-request");
    ben.holds(json!({ "seats": ["1"] })).await.is(422, "invalid-request");
    ben.holds(json!({ "seats": [1], "more": true })).await.is(422, "invalid-request");
    ben.view(&hold).await.is(403, "foreign-hold");
    ben.release(&hold).await.is(403, "foreign-hold");
    ben.pay(&hold, "tok_ok", "k").await.is(403, "foreign-hold");
    ben.view("AAAAAAAAAAAAAAAAAAAAAA").await.is(404, "unknown-hold");
    ben.view("nonsense").await.is(404, "unknown-hold");
    ben.release("AAAAAAAAAAAAAAAAAAAAAA").await.is(404, "unknown-hold");
    ben.pay("AAAAAAAAAAAAAAAAAAAAAA", "tok_ok", "k").await.is(404, "unknown-hold");
    assert_eq!(house.stock().await, before);

    ana.view(&hold).await.succeeds(200);
    let released = ana.release(&hold).await;
    assert_eq!(released.headers["cache-control"], "private, no-store");
    released.succeeds(204);
    ana.view(&hold).await.is(404, "unknown-hold");
    assert_eq!(house.stock().await["free"], 82_500);
}

#[tokio::test]
async fn every_refusal_of_a_payment_is_told_and_nobody_pays_twice() {
    let house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1, 2]).await;
    ana.pay(&hold, "4242424242424242", "k0").await.is(422, "invalid-request");
    let body = |name: &str| json!({ "hold": hold, "payment_token": "tok_ok", "name": name });
    ana.order(body(""), "k0").await.is(422, "invalid-request");
    ana.order(body("A\nB"), "k0").await.is(422, "invalid-request");
    ana.order(body(&"a".repeat(101)), "k0").await.is(422, "invalid-request");
    ana.order(json!({ "hold": hold }), "k0").await.is(422, "invalid-request");
    let mut with_email = body("Ana");
    with_email["email"] = "nowhere".into();
    ana.order(with_email, "k0").await.is(422, "invalid-request");
    ana.order(body("Ana"), "").await.is(400, "idempotency-key-required");
    ana.order(body("Ana"), &"k".repeat(256)).await.is(400, "idempotency-key-required");

    let declined = ana.pay(&hold, "tok_declined", "k1").await.is(402, "payment-declined");
    house.visitor().hold(&[9]).await;
    let again = ana.pay(&hold, "tok_declined", "k1").await.is(402, "payment-declined");
    assert_eq!(declined.body, again.body, "word for word");
    ana.pay(&hold, "tok_ok", "k1").await.is(422, "idempotency-mismatch");
    let order = ana.pay(&hold, "tok_ok", "k2").await.succeeds(201);
    let again = ana.pay(&hold, "tok_ok", "k2").await.succeeds(201);
    assert_eq!(order, again, "word for word");
    ana.pay(&hold, "tok_slow", "k2").await.is(422, "idempotency-mismatch");
    let bought = ana.pay(&hold, "tok_ok", "k3").await.is(409, "hold-bought");
    assert_eq!(bought.body["order"], order["order"]);
    ana.view(&hold).await.is(409, "hold-bought");
    house.get("/api/v1/orders/AAAAAAAAAAAAAAAAAAAAAA").await.is(404, "unknown-order");
    house.get("/api/v1/orders/nonsense").await.is(404, "unknown-order");
    let order = order["order"].as_str().unwrap();
    let path = format!("/api/v1/orders/{order}/tickets/AAAAAAAAAAAAAAAAAAAAAA/qr.svg");
    house.get(&path).await.is(404, "unknown-ticket");
    let totals = house.internal("/internal/v1/sandbox/ledger").await["totals"].clone();
    assert_eq!((&totals["authorised"], &totals["declined"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_leaves_one_charge_and_one_order() {
    let house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1]).await;
    let unknown = ana.pay(&hold, "tok_timeout", "k").await.is(503, "payment-unknown");
    assert!(unknown.headers.contains_key("retry-after"));
    let found = unknown.body["order_url"].as_str().unwrap().to_owned();
    let found = house.get(&format!("/api/v1{found}")).await.succeeds(200);
    assert_eq!(found["order"], unknown.body["order"]);
    assert!(["paying", "confirmed"].contains(&found["state"].as_str().unwrap()), "{found}");
    let load = house.internal("/internal/v1/load").await;
    assert_eq!(load["errors_total"], 0, "a silent provider does not slow the line");
    let order = loop {
        let seen = ana.pay(&hold, "tok_timeout", "k").await;
        if seen.status != StatusCode::SERVICE_UNAVAILABLE {
            break seen.succeeds(201);
        }
    };
    let ledger = house.internal("/internal/v1/sandbox/ledger").await;
    assert_eq!(ledger["totals"]["authorised"], 1);
    assert_eq!(ledger["entries"][0]["order"], order["order"]);

    let ben = house.visitor();
    let hold = ben.hold(&[2]).await;
    ben.pay(&hold, "tok_lost", "k").await.is(503, "payment-unknown");
    loop {
        let seen = ben.pay(&hold, "tok_lost", "k").await;
        if seen.status != StatusCode::SERVICE_UNAVAILABLE {
            seen.is(402, "payment-declined");
            break;
        }
    }
    ben.view(&hold).await.succeeds(200);
    assert_eq!(house.internal("/internal/v1/sandbox/ledger").await["totals"]["authorised"], 1);
}

#[tokio::test]
async fn what_was_being_paid_when_the_origin_stopped_is_settled_after_the_start() {
    let mut house = House::open_with("sandbox.slow_ms = 60000").await;
    let ana = house.visitor();
    let pass = ana.pass.clone();
    let (hold, other) = (ana.hold(&[1]).await, ana.hold(&[2]).await);
    ana.pay(&hold, "tok_timeout", "k1").await;
    let slow = ana.request(Method::POST, "/orders").header("Idempotency-Key", "k2");
    let body = json!({ "hold": other, "payment_token": "tok_slow", "name": "Ana" });
    let waiting = tokio::spawn(slow.json(&body).send());
    while house.stock().await["paying"] == 0 {
        tokio::task::yield_now().await;
    }
    while !ana.view(&other).await.succeeds(200)["is_paying"].as_bool().unwrap() {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    house.stop().await;
    house.start("").await;
    let ana = Visitor { house: &house, pass };
    while house.stock().await["paying"] != 0 {
        tokio::task::yield_now().await;
    }
    ana.pay(&hold, "tok_timeout", "k1").await.succeeds(201);
    // Asked again with the same key, it goes through this time.
    loop {
        let seen = ana.pay(&other, "tok_slow", "k2").await;
        if seen.status == StatusCode::CREATED {
            break;
        }
        assert!([409, 503].contains(&seen.status.as_u16()), "{}", seen.body);
    }
    let totals = house.internal("/internal/v1/sandbox/ledger").await["totals"].clone();
    assert_eq!((&totals["authorised"], &totals["voided"]), (&json!(2), &json!(0)));
    house.stop().await;
}

#[tokio::test]
async fn fifty_clicks_on_pay_make_one_order() {
    let house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1]).await;
    let body = json!({ "hold": hold, "payment_token": "tok_ok", "name": "Ana" });
    let mut clicks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request = ana.request(Method::POST, "/orders").header("Idempotency-Key", "k");
        clicks.spawn(request.json(&body).send());
    }
    let mut orders = Vec::new();
    while let Some(answer) = clicks.join_next().await {
        let answer = answer.unwrap().unwrap();
        match answer.status().as_u16() {
            201 => orders.push(answer.json::<Value>().await.unwrap()["order"].clone()),
            status => assert_eq!(status, 409),
        }
    }
    orders.dedup();
    assert_eq!(orders.len(), 1);
    assert_eq!(house.internal("/internal/v1/sandbox/ledger").await["totals"]["authorised"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_requests_for_one_seat_one_is_answered_201() {
    let house = House::open().await;
    let mut race = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let request = house.visitor().request(Method::POST, "/holds");
        race.spawn(request.json(&json!({ "seats": [77] })).send());
    }
    let answers = race.join_all().await;
    let count = |status| {
        answers.iter().filter(|answer| answer.as_ref().unwrap().status() == status).count()
    };
    assert_eq!((count(StatusCode::CREATED), count(StatusCode::CONFLICT)), (1, 199));
}

#[tokio::test]
async fn what_nobody_should_send_is_answered_with_a_problem() {
    let house = House::open().await;
    house.get("/nowhere").await.is(404, "not-found");
    house.get("/assets/nothing.js").await.is(404, "not-found");
    house.get("/assets/event.html").await.is(404, "not-found");
    house.get("/api/v1/events/nothing").await.is(404, "unknown-event");
    house.get("/api/v1/events/No%20Slug").await.is(404, "unknown-event");
    house.get("/api/v1/events/nothing/availability").await.is(404, "unknown-event");
    house.get("/api/v1/maps/nothing").await.is(404, "unknown-map");
    let put = house.client.put(format!("{}/api/v1/events", house.base));
    let put = house.send(put).await.is(405, "method-not-allowed");
    assert_eq!(put.headers["allow"], "GET,HEAD");
    let ana = house.visitor();
    let holds = || ana.request(Method::POST, "/holds");
    let json = || holds().header("content-type", "application/json");
    house.send(holds().body("{}")).await.is(415, "unsupported-media-type");
    house.send(json().body("{\"seats\":")).await.is(400, "malformed");
    house.send(json().body(vec![0xff, 0xfe])).await.is(400, "malformed");
    let deep = "[".repeat(10_000);
    house.send(json().body(deep)).await.is(422, "invalid-request");
    house.send(json().body("1".repeat(70_000))).await.is(413, "too-large");
    let third = house.pass("wc2026-third-place", 0, 600);
    let third = house.keyring.seal(&third, Timestamp::now()).unwrap();
    let url = format!("{}/api/v1/events/wc2026-third-place/availability", house.base);
    let announced = house.client.get(url).header("waiting-room-pass", third.as_str());
    house.send(announced).await.is(409, "not-on-sale");
}

#[tokio::test]
async fn pages_and_scripts_are_served_small_and_cautious() {
    let house = House::open().await;
    for path in ["/", "/events/wc2026-final", "/orders/AAAAAAAAAAAAAAAAAAAAAA", "/assets/shop.css"]
    {
        let url = format!("{}{path}", house.base);
        let plain = house.get(path).await;
        assert_eq!(plain.status, 200, "{path}");
        let policy = plain.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'; img-src 'self' data:"), "{policy}");
        assert_eq!(plain.headers["x-content-type-options"], "nosniff");
        assert_eq!(plain.headers["referrer-policy"], "same-origin");
        let small =
            house.client.get(&url).header("accept-encoding", "br, gzip").send().await.unwrap();
        assert_eq!(small.headers()["content-encoding"], "gzip", "{path}");
        let etag = plain.headers["etag"].clone();
        let same = house.client.get(&url).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(same.status(), 304, "{path}");
    }
    for path in ["/events/nothing", "/orders/nothing"] {
        let seen = house.get(path).await;
        assert_eq!(seen.status, 404);
        assert_eq!(seen.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(seen.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn the_load_report_tells_of_what_was_served_and_only_to_the_controller() {
    let house = House::open().await;
    house.visitor().hold(&[1]).await;
    // What anybody may ask for, and what is turned away, says nothing about the sale.
    for path in ["/api/v1/events", "/api/v1/events/nothing"] {
        house.get(path).await;
    }
    house.get(&format!("/api/v1/events/{FINAL}/availability")).await.is(403, "pass-required");
    let load: admission_api::LoadReport =
        serde_json::from_value(house.internal("/internal/v1/load").await).unwrap();
    assert_eq!((load.requests_total, load.errors_total, load.latency.count()), (1, 0, 1));
    assert!(load.db_cpu.unwrap() > 0.0 && load.db_cpu.unwrap() <= 1.0, "{load:?}");
    let stock = &load.stock[0];
    assert_eq!((stock.capacity, stock.free, stock.held), (82_500, 82_499, 1));
    for path in ["/internal/v1/load", "/internal/v1/sandbox/ledger"] {
        let url = format!("{}{path}", house.internal);
        house.send(house.client.get(&url)).await.is(401, "unauthorized");
        house.send(house.client.get(&url).bearer_auth("guess")).await.is(401, "unauthorized");
        house.get(path).await.is(404, "not-found");
    }
    let ledger = format!("{}/internal/v1/sandbox/ledger?limit=many", house.internal);
    house.send(house.client.get(ledger).bearer_auth(TOKEN)).await.is(422, "invalid-request");
    house.internal("/health").await;
    let metrics = house.internal("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "origin_requests_total{class=\"ok\",route=\"holds\"} 1",
        "origin_commands_total{command=\"hold\",outcome=\"done\"} 1",
        "origin_seats{state=\"held\"} 1",
        "origin_partitions_up 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_restart_keeps_what_was_sold() {
    let mut house = House::open_with("sale.partitions = 3").await;
    let ana = house.visitor();
    let hold = ana.hold(&[4]).await;
    let order = ana.pay(&hold, "tok_ok", "k").await.succeeds(201);
    let pass = ana.pass.clone();
    house.stop().await;
    house.start("sale.partitions = 3").await;
    let ana = Visitor { house: &house, pass };
    let again = ana.pay(&hold, "tok_ok", "k").await.succeeds(201);
    assert_eq!(again["tickets"], order["tickets"]);
    house.visitor().holds(json!({ "seats": [4] })).await.is(409, "seat-taken");
    house.stop().await;
    let (_shutdown, told) = watch::channel(false);
    let error = start(config(&house.folder, ""), parts(told)).await.unwrap_err();
    assert!(matches!(error, StartError::Log(_)), "{error:?}");
}

#[tokio::test]
async fn a_hold_outlives_a_restart_with_a_lower_limit_and_can_be_paid() {
    let mut house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1, 2, 3, 4, 5, 6, 7, 8]).await;
    let pass = ana.pass.clone();
    house.stop().await;
    house.start("sale.seats_per_order_max = 4").await;
    let ana = Visitor { house: &house, pass };
    let order = ana.pay(&hold, "tok_ok", "k").await.succeeds(201);
    assert_eq!(order["tickets"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn whoever_asks_for_orders_takes_no_time_of_the_writer() {
    let house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1]).await;
    let order = ana.pay(&hold, "tok_ok", "k").await.succeeds(201);
    let path = format!("/api/v1{}", order["order_url"].as_str().unwrap());
    assert_eq!(house.get(&path).await.succeeds(200), order);
    house.get("/api/v1/orders/AAAAAAAAAAAAAAAAAAAAAA").await.is(404, "unknown-order");
    let metrics = house.internal("/metrics").await;
    assert!(!metrics.as_str().unwrap().contains("command=\"view_order\""), "{metrics}");
}

#[tokio::test]
async fn an_origin_whose_partition_was_taken_over_says_so_everywhere() {
    let house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1]).await;
    let order = ana.pay(&hold, "tok_ok", "k").await.succeeds(201);
    let path = house.folder.join("data/sale.sqlite");
    let mut other = crate::log::SqliteLog::open(&path, 1).map(crate::log::Log::Sqlite).unwrap();
    other.acquire(0, "somebody else").unwrap();
    ana.holds(json!({ "seats": [2] })).await.is(503, "unavailable");
    let availability = || house.send(ana.request(Method::GET, "/availability"));
    while availability().await.status != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
    availability().await.is(503, "unavailable");
    for path in ["/internal/v1/load", "/health"] {
        let url = format!("{}{path}", house.internal);
        let seen = house.send(house.client.get(url).bearer_auth(TOKEN)).await;
        seen.is(503, "unavailable");
    }
    let path = format!("/api/v1{}", order["order_url"].as_str().unwrap());
    house.get(&path).await.succeeds(200);
    house.get("/api/v1/orders/AAAAAAAAAAAAAAAAAAAAAA").await.is(503, "unavailable");
}

#[tokio::test]
async fn a_start_that_cannot_work_is_refused() {
    let house = House::open().await;
    let empty = house.folder.join("empty.json");
    Keyring::default().save(&empty).unwrap();
    let refused = async |change: &dyn Fn(&mut OriginConfig)| {
        let mut config = config(&house.folder, "");
        change(&mut config);
        let (_shutdown, told) = watch::channel(false);
        start(config, parts(told)).await.unwrap_err()
    };
    let error = refused(&|config| config.keyring = "/nowhere".into()).await;
    assert!(matches!(error, StartError::Keys(_)), "{error:?}");
    let error = refused(&|config| config.keyring = empty.clone()).await;
    assert!(error.to_string().contains("no key that origin-1 may sign"), "{error}");
    let error = refused(&|config| config.on_sale = vec!["nothing".parse().unwrap()]).await;
    assert!(matches!(error, StartError::Catalogue(_)), "{error:?}");
    let error = refused(&|config| config.data_dir = "/proc/nowhere".into()).await;
    assert!(matches!(error, StartError::DataDir { .. }), "{error:?}");
}

#[tokio::test]
async fn a_key_that_is_no_more_in_the_file_opens_nothing() {
    let house = House::open().await;
    let ana = house.visitor();
    let passes = crate::passes::Passes::load(house.folder.join("keys.json")).unwrap();
    let (sealed, event) = (keys::Sealed::new(&ana.pass), FINAL.parse().unwrap());
    let now = Timestamp::now();
    assert!(passes.open(&sealed, &event, now).is_ok());
    assert!(passes.open(&sealed, &event, now).is_ok(), "remembered");
    assert!(passes.open(&sealed, &"other".parse().unwrap(), now).is_err());
    assert!(passes.open(&sealed, &event, now.plus_secs(3600)).is_err(), "remembered, and over");
    let path = house.folder.join("keys.json");
    std::fs::write(&path, "nonsense").unwrap();
    passes.follow();
    assert!(passes.open(&sealed, &event, now).is_ok(), "a broken file changes nothing");
    let _ = std::fs::remove_file(&path);
    keyring().save(&path).unwrap();
    passes.follow();
    assert!(passes.open(&sealed, &event, now).is_err(), "other keys");
}
