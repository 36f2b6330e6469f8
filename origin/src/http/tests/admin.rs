//! What an organiser does, from a drawn hall to a sold ticket.

use servers::Postgres;

use super::*;

pub(super) const ANA: &str = "organiser-token-of-ana";
const BEN: &str = "organiser-token-of-ben";
pub(super) const ORGANISERS: &str = "organisers = [\
    { name = \"ana\", token = \"organiser-token-of-ana\" }, \
    { name = \"ben\", token = \"organiser-token-of-ben\" }]";

impl House {
    pub(super) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/admin/v1{path}", self.internal);
        self.client.request(method, url).bearer_auth(ANA)
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Seen {
        self.send(self.admin(Method::PUT, path).json(&body)).await
    }

    pub(super) async fn change(&self, path: &str, version: u64, body: Value) -> Seen {
        let request = self.admin(Method::PUT, path).header("if-match", format!("\"{version}\""));
        self.send(request.json(&body)).await
    }

    pub(super) async fn admin_get(&self, path: &str) -> Seen {
        self.send(self.admin(Method::GET, path)).await
    }

    pub(super) async fn draw(&self, map: &Value) -> Seen {
        self.send(self.admin(Method::POST, "/maps").json(map)).await
    }

    pub(super) fn visitor_of(&self, event: &str) -> String {
        let pass = self.pass(event, 0, 600);
        self.keyring.seal(&pass, Timestamp::now()).unwrap().as_str().to_owned()
    }

    pub(super) async fn hold_at(&self, event: &str, pass: &str, body: Value) -> Seen {
        let url = format!("{}/api/v1/events/{event}/holds", self.base);
        self.send(self.client.post(url).header("waiting-room-pass", pass).json(&body)).await
    }

    pub(super) async fn buy_at(&self, event: &str, pass: &str, hold: &Value) -> Value {
        let url = format!("{}/api/v1/events/{event}/orders", self.base);
        let body = json!({ "hold": hold["hold"], "payment_token": "tok_ok", "name": "=Cyd" });
        let request = self.client.post(url).header("waiting-room-pass", pass);
        let request = request.header("idempotency-key", "key").json(&body);
        self.send(request).await.succeeds(201)
    }
}

/// A hall of ten seats.
pub(super) fn hall() -> Value {
    let row = |y: i32, label: &str| {
        let seats: Vec<_> = (0..5).map(|x| json!([100 + x * 5, y])).collect();
        json!({ "label": label, "seats": seats })
    };
    json!({
        "width": 300, "height": 300, "field": { "x": 90, "y": 10, "w": 50, "h": 20 },
        "zones": [{ "id": "stalls", "name": "Stalls", "color": "#0072b2" }],
        "blocks": [{ "label": "S", "zone": "stalls", "rows": [row(100, "1"), row(108, "2")] }],
    })
}

pub(super) fn recital(map: &str) -> Value {
    json!({
        "title": "Žofia plays Dvořák", "category": "concert",
        "starts_at_local": "2027-03-01T19:30", "time_zone": "Europe/Prague",
        "venue": "rudolfinum", "performers": ["zofia"], "currency": "EUR",
        "prices": [{ "zone": "stalls", "amount": 4500 }], "seating": { "map": map },
    })
}

const VENUE: &str = "{\"name\":\"Rudolfinum\",\"city\":\"Praha\",\"country\":\"CZ\"}";

/// Everything that a recital needs, but the recital.
pub(super) async fn prepared(house: &House) -> String {
    let venue: Value = serde_json::from_str(VENUE).unwrap();
    house.put("/venues/rudolfinum", venue).await.succeeds(201);
    house.put("/performers/zofia", json!({ "name": "Žofia" })).await.succeeds(201);
    let drawn = house.draw(&hall()).await.succeeds(201);
    assert_eq!((&drawn["seats"], &drawn["zones"][0]["id"]), (&json!(10), &json!("stalls")));
    drawn["map"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_event_that_was_just_made_is_found_and_sold_at_once_and_after_a_restart() {
    is_made_found_and_sold(ORGANISERS).await;
}

#[tokio::test]
async fn organisers_work_the_same_on_postgres() {
    let server = Postgres::shared();
    let config = || format!("{ORGANISERS}\npostgres = {{ url = \"{}\" }}", server.database());
    is_made_found_and_sold(&config()).await;
    two_change_one_event(&config()).await;
    is_blocked_until_unblocked(&config()).await;
}

async fn is_made_found_and_sold(config: &str) {
    let mut house = House::open_with(config).await;
    let map = prepared(&house).await;
    let made = house.put("/events/recital", recital(&map)).await;
    assert_eq!(made.headers["etag"], format!("\"{}\"", made.body["version"]));
    assert_eq!(made.succeeds(201)["status"], "announced");
    let pass = house.visitor_of("recital");
    house.hold_at("recital", &pass, json!({ "seats": [0] })).await.is(409, "not-on-sale");

    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    let hold = house.hold_at("recital", &pass, json!({ "seats": [0, 1] })).await.succeeds(201);
    assert_eq!((&hold["total"], &hold["seats"][0]["label"]), (&json!(9000), &json!("S-1-1")));
    let found = house.get("/api/v1/events?q=dvorak+praha").await.succeeds(200);
    assert_eq!(found["total"], 1);
    assert_eq!(found["events"][0]["status"], "on_sale");
    let event = house.get("/api/v1/events/recital").await.succeeds(200);
    assert_eq!(
        event["zones"][0],
        json!({ "id": "stalls", "name": "Stalls", "price": 4500, "color": "#0072b2" })
    );
    assert_eq!(event["map_url"], format!("/api/v1/maps/{map}"));
    let drawn = house.get(event["map_url"].as_str().unwrap()).await.succeeds(200);
    assert_eq!(drawn["blocks"][0]["rows"][1]["first"], 5);
    let venue = house.get("/api/v1/venues/rudolfinum").await.succeeds(200);
    assert_eq!((&venue["city"], &venue["events"][0]["id"]), (&json!("Praha"), &json!("recital")));
    let performer = house.get("/api/v1/performers/zofia").await.succeeds(200);
    assert_eq!(performer["events_total"], 1);
    let order = house.buy_at("recital", &pass, &hold).await;

    house.stop().await;
    house.start(config).await;
    let again = house.get(&format!("/api/v1/orders/{}", order["order"].as_str().unwrap())).await;
    assert_eq!(again.succeeds(200)["tickets"], order["tickets"]);
    house.hold_at("recital", &pass, json!({ "seats": [1] })).await.is(409, "seat-taken");
    let other = house.visitor_of("recital");
    house.hold_at("recital", &other, json!({ "best": { "quantity": 2 } })).await.succeeds(201);
    assert_eq!(house.get("/api/v1/events?q=dvorak").await.succeeds(200)["total"], 1);
}

#[tokio::test]
async fn what_was_sold_is_told_to_the_organiser() {
    let house = House::open_with(ORGANISERS).await;
    let map = prepared(&house).await;
    house.put("/events/recital", recital(&map)).await.succeeds(201);
    house.admin_get("/events/recital/orders").await.is(409, "never-on-sale");
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    let pass = house.visitor_of("recital");
    let hold = house.hold_at("recital", &pass, json!({ "seats": [3, 4] })).await.succeeds(201);
    let order = house.buy_at("recital", &pass, &hold).await;
    let held = house.visitor_of("recital");
    house.hold_at("recital", &held, json!({ "seats": [7] })).await.succeeds(201);

    let seen = house.admin_get("/events/recital").await.succeeds(200);
    let counts =
        json!({ "capacity": 10, "free": 7, "held": 1, "paying": 0, "sold": 2, "blocked": 0 });
    assert_eq!(seen["counts"], counts);
    let orders = house.admin_get("/events/recital/orders").await.succeeds(200);
    assert_eq!(orders["orders"][0]["order"], order["order"]);
    assert_eq!(orders["orders"][0]["seats"], json!(["S-1-4", "S-1-5"]));
    let sheet = house.admin_get("/events/recital/orders.csv").await;
    assert_eq!(sheet.headers["content-type"], "text/csv; charset=utf-8");
    let sheet = sheet.body.as_str().unwrap().to_owned();
    assert!(sheet.contains(",'=Cyd,S-1-4 S-1-5,9000,EUR"), "{sheet}");
    let sheet = house.admin_get("/events/recital/seats.csv").await;
    let sheet = sheet.body.as_str().unwrap().to_owned();
    assert_eq!(sheet.lines().count(), 11);
    assert!(sheet.contains("3,S,1,4,stalls,4500,sold,"), "{sheet}");
    assert!(sheet.contains("7,S,2,3,stalls,4500,held,"), "{sheet}");
    let list = house.admin_get("/events?after=recita&limit=1").await.succeeds(200);
    assert_eq!((&list["events"][0]["id"], &list["next"]), (&json!("recital"), &json!("recital")));
}

#[tokio::test]
async fn who_has_no_organisers_token_changes_nothing() {
    let house = House::open_with(ORGANISERS).await;
    let url = format!("{}/admin/v1/venues/dome", house.internal);
    for token in ["", "x", TOKEN, &ANA[..ANA.len() - 1]] {
        let request = house.client.put(&url).bearer_auth(token).body(VENUE);
        let seen = house.send(request.header("content-type", "application/json")).await;
        assert_eq!(seen.headers["www-authenticate"], "Bearer");
        seen.is(401, "unauthorized");
    }
    // Nor is any of it on the visitors' listener.
    let public = house.client.get(format!("{}/admin/v1/events", house.base)).bearer_auth(ANA);
    house.send(public).await.is(404, "not-found");
    house.get("/api/v1/venues/dome").await.is(404, "unknown-venue");
}

#[tokio::test]
async fn two_organisers_do_not_overwrite_each_other_and_the_trail_tells_who_did_what() {
    two_change_one_event(ORGANISERS).await;
}

async fn two_change_one_event(config: &str) {
    let house = House::open_with(config).await;
    let map = prepared(&house).await;
    let version =
        house.put("/events/recital", recital(&map)).await.succeeds(201)["version"].as_u64();
    let version = version.unwrap();
    let mut renamed = recital(&map);
    renamed["title"] = "Žofia plays Smetana".into();
    house.put("/events/recital", renamed.clone()).await.is(428, "if-match-required");
    house.change("/events/recital", version - 1, renamed.clone()).await.is(412, "version-mismatch");
    let url = format!("{}/admin/v1/events/recital", house.internal);
    let by_ben = house.client.put(url).bearer_auth(BEN).json(&renamed);
    let by_ben = by_ben.header("if-match", format!("\"{version}\""));
    let changed = house.send(by_ben).await.succeeds(200);
    assert_eq!(changed["event"]["title"], "Žofia plays Smetana");
    let late = house.change("/events/recital", version, recital(&map)).await;
    assert_eq!(late.is(412, "version-mismatch").body["version"], changed["version"]);

    let trail = house.admin_get("/audit").await.succeeds(200);
    let entries = trail["entries"].as_array().unwrap();
    let last = entries.last().unwrap();
    let fields = (&last["by"], &last["change"], &last["event"]);
    assert_eq!(fields, (&json!("ben"), &json!("event_set"), &json!("recital")));
    assert!(last["at"].as_u64().is_some());
    let first = house.admin_get("/audit?from=3&limit=2").await.succeeds(200);
    assert_eq!((&first["entries"][0]["seq"], &first["next"]), (&json!(3), &json!(5)));
}

#[tokio::test]
async fn what_an_organiser_may_not_do_is_refused_by_name() {
    let house = House::open_with(ORGANISERS).await;
    let map = prepared(&house).await;
    let bent = |name: &str, value: Value| {
        let mut event = recital(&map);
        event[name] = value;
        event
    };
    let unknown_map = "0".repeat(64);
    #[rustfmt::skip] // reads in columns
    let refusals = [
        (bent("title", json!("")),                         422, "invalid-request"),
        (bent("starts_at_local", json!("2027-03-28T02:30")), 422, "invalid-request"), // skipped
        (bent("price", json!(1)),                          422, "invalid-request"),
        (bent("venue", json!("nowhere")),                  422, "unknown-venue"),
        (bent("performers", json!(["nobody"])),            422, "unknown-performer"),
        (bent("seating", json!({ "map": unknown_map })),   422, "unknown-map"),
        (bent("seating", json!({ "bowl": 5000 })),         409, "not-sellable"),
        (bent("prices", json!([])),                        409, "not-sellable"),
    ];
    for (event, status, code) in refusals {
        house.put("/events/recital", event).await.is(status, code);
    }
    house.put("/events/No%20Slug", recital(&map)).await.is(422, "invalid-request");
    house
        .put("/events/recital/status", json!({ "status": "on_sale" }))
        .await
        .is(404, "unknown-event");
    house.put("/events/recital", bent("seating", json!(null))).await.succeeds(201);
    house
        .put("/events/recital/status", json!({ "status": "on_sale" }))
        .await
        .is(409, "not-sellable");
    let past = json!({ "status": "scheduled", "opens_at": 1 });
    house.put("/events/wc2026-third-place/status", past).await.is(422, "opens-in-the-past");

    let mut map = hall();
    map["blocks"][0]["rows"][1]["seats"][0] = json!([100, 100]);
    let seen = house.draw(&map).await;
    assert_eq!(seen.body["place"], "blocks[0].rows[1].seats[0]");
    seen.is(422, "invalid-map");
}

#[tokio::test]
async fn seats_that_were_sold_stay_where_they_are() {
    let house = House::open_with(ORGANISERS).await;
    let map = prepared(&house).await;
    house.put("/events/recital", recital(&map)).await.succeeds(201);
    let opened = house.put("/events/recital/status", json!({ "status": "on_sale" })).await;
    let version = opened.succeeds(200)["version"].as_u64().unwrap();
    let mut wider = hall();
    wider["width"] = json!(301);
    let other = house.draw(&wider).await.succeeds(201)["map"].clone();
    let moved = house.change("/events/recital", version, recital(other.as_str().unwrap())).await;
    assert_eq!(moved.is(409, "sale-began").body["what"], "seating");

    // Off sale, nobody holds; on sale again, the same seats are there.
    let pass = house.visitor_of("recital");
    house.hold_at("recital", &pass, json!({ "seats": [0] })).await.succeeds(201);
    house.put("/events/recital/status", json!({ "status": "off_sale" })).await.succeeds(200);
    house.hold_at("recital", &pass, json!({ "seats": [1] })).await.is(409, "not-on-sale");
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    house.hold_at("recital", &pass, json!({ "seats": [1] })).await.succeeds(201);
    house.put("/events/recital/status", json!({ "status": "cancelled" })).await.succeeds(200);
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.is(409, "cancelled");
}

#[tokio::test]
async fn an_event_opens_by_itself_at_its_time() {
    let house = House::open_with(ORGANISERS).await;
    let map = prepared(&house).await;
    house.put("/events/recital", recital(&map)).await.succeeds(201);
    let opens_at = Timestamp::now().plus(Duration::from_millis(500));
    let scheduled = json!({ "status": "scheduled", "opens_at": opens_at });
    house.put("/events/recital/status", scheduled).await.succeeds(200);
    let pass = house.visitor_of("recital");
    let opened = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let seen = house.hold_at("recital", &pass, json!({ "seats": [0] })).await;
            if seen.status == 201 {
                return Timestamp::now();
            }
            seen.is(409, "not-on-sale");
            tokio::task::yield_now().await;
        }
    });
    assert!(opened.await.unwrap() >= opens_at);
}

#[tokio::test]
async fn an_import_is_taken_in_once() {
    let house = House::open_with(ORGANISERS).await;
    let venue: Value = serde_json::from_str(VENUE).unwrap();
    let mut event = recital("");
    event
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !["seating", "prices"].contains(&name.as_str()));
    let items = json!({ "items": [
        { "kind": "venue", "id": "rudolfinum", "venue": venue },
        { "kind": "performer", "id": "zofia", "performer": { "name": "Žofia" } },
        { "kind": "event", "id": "recital", "event": event },
    ] });
    let import = |items: Value| house.send(house.admin(Method::POST, "/import").json(&items));
    let first = import(items.clone()).await.succeeds(200);
    assert_eq!((&first["added"], &first["unchanged"]), (&json!(3), &json!(0)));
    let again = import(items.clone()).await.succeeds(200);
    assert_eq!((&again["added"], &again["unchanged"]), (&json!(0), &json!(3)));
    let mut bad = items;
    bad["items"][2]["event"]["currency"] = "crowns".into();
    let refused = import(bad).await;
    assert_eq!((&refused.body["field"], &refused.body["item"]), (&json!("currency"), &json!(2)));
    refused.is(422, "invalid-request");
    assert_eq!(house.get("/api/v1/events?q=dvorak").await.succeeds(200)["total"], 1);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let house = House::open().await;
    for query in [
        "limit=0",
        "sort=price",
        "cursor=x",
        "colour=red",
        "from=never",
        &format!("q={}", "x".repeat(201)),
    ] {
        house.get(&format!("/api/v1/events?{query}")).await.is(422, "invalid-query");
    }
    let page = house.get("/api/v1/events?limit=100").await.succeeds(200);
    let next = page["next"].as_str().unwrap();
    let rest = house.get(&format!("/api/v1/events?cursor={next}")).await.succeeds(200);
    assert_eq!((rest["events"].as_array().unwrap().len(), &rest["next"]), (4, &Value::Null));
}

#[tokio::test]
async fn blocked_seats_and_places_are_nobodys_until_they_are_unblocked() {
    is_blocked_until_unblocked(ORGANISERS).await;
}

async fn is_blocked_until_unblocked(config: &str) {
    let house = House::open_with(config).await;
    prepared(&house).await;
    let mut map = hall();
    let floor = json!({ "id": "floor", "name": "Floor", "color": "#009e73" });
    map["zones"].as_array_mut().unwrap().push(floor);
    map["areas"] = json!([
        { "label": "Floor", "zone": "floor", "capacity": 5, "outline": [[0, 200], [50, 200], [50, 250]] },
    ]);
    let map = house.draw(&map).await.succeeds(201)["map"].as_str().unwrap().to_owned();
    let mut event = recital(&map);
    let price = json!({ "zone": "floor", "amount": 1000 });
    event["prices"].as_array_mut().unwrap().push(price);
    house.put("/events/recital", event).await.succeeds(201);
    let block = json!({ "channel": "sponsor", "seats": [0, 1], "areas": [{ "area": "Floor", "quantity": 3 }] });
    let post = |path: &str, body: &Value| {
        house.send(house.admin(Method::POST, &format!("/events/recital/{path}")).json(body))
    };
    post("block", &block).await.is(409, "never-on-sale");
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    let blocks = post("block", &block).await.succeeds(200);
    assert_eq!(blocks["blocks"][0]["channel"], "sponsor");
    let pass = house.visitor_of("recital");
    house.hold_at("recital", &pass, json!({ "seats": [1] })).await.is(409, "seat-taken");
    let three = json!({ "areas": [{ "area": "Floor", "quantity": 3 }] });
    let refused = house.hold_at("recital", &pass, three).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let two = json!({ "areas": [{ "area": "Floor", "quantity": 2 }] });
    let hold = house.hold_at("recital", &pass, two).await.succeeds(201);
    assert_eq!((&hold["total"], &hold["seats"][0]["zone"]), (&json!(2000), &json!("floor")));
    let counts = house.admin_get("/events/recital").await.succeeds(200)["counts"].clone();
    assert_eq!((&counts["capacity"], &counts["blocked"]), (&json!(15), &json!(5)));
    let sheet = house.admin_get("/events/recital/seats.csv").await;
    let sheet = text(&sheet.body).to_owned();
    assert!(sheet.contains("1,S,1,2,stalls,4500,blocked,sponsor"), "{sheet}");
    assert!(sheet.contains("10,Floor,,1,floor,1000,blocked,sponsor"), "{sheet}");
    assert!(sheet.contains("13,Floor,,4,floor,1000,held,"), "{sheet}");
    let seats = json!({ "channel": "sponsor", "seats": [1] });
    post("unblock", &seats).await.succeeds(200);
    let other = house.visitor_of("recital");
    house.hold_at("recital", &other, json!({ "seats": [1] })).await.succeeds(201);
    let listed = house.admin_get("/events/recital/blocks").await.succeeds(200);
    assert_eq!(listed["blocks"].as_array().unwrap().len(), 1);
    let trail = house.admin_get("/audit").await.succeeds(200);
    let last = trail["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["action"], &last["by"]), (&json!("unblock"), &json!("ana")));
}
