//! Does who waits for a seat get one in turn, with no second turn in the line and one bill?

use super::admin::{ORGANISERS, prepared, recital};
use super::after::eventually;
use super::post::{Sink, header};
use super::*;

const EVENT: &str = "recital";

/// A recital of ten seats that somebody holds all of: who, and the holds, with two seats each.
async fn sold_out(more: &str) -> (House, String, Vec<Value>) {
    let house = House::open_with(&format!("{ORGANISERS}\n{more}")).await;
    let map = prepared(&house).await;
    house.put("/events/recital", recital(&map)).await.succeeds(201);
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    let (mut holds, mut pass) = (Vec::new(), String::new());
    for first in [0, 2, 5, 7] {
        pass = house.visitor_of(EVENT);
        let seats = json!({ "seats": [first, first + 1] });
        holds.push(house.hold_at(EVENT, &pass, seats).await.succeeds(201));
    }
    let last = house.visitor_of(EVENT);
    house.hold_at(EVENT, &last, json!({ "seats": [4, 9] })).await.succeeds(201);
    (house, pass, holds)
}

impl House {
    async fn joins(&self, pass: &str, body: Value) -> Seen {
        let url = format!("{}/api/v1/events/{EVENT}/waitlist", self.base);
        self.send(self.client.post(url).header("waiting-room-pass", pass).json(&body)).await
    }

    async fn gives_back(&self, pass: &str, hold: &Value) {
        let url = format!("{}/api/v1/events/{EVENT}/holds/{}", self.base, text(&hold["hold"]));
        let request = self.client.delete(url).header("waiting-room-pass", pass);
        self.send(request).await.succeeds(204);
    }

    async fn accepts(&self, entry: &Value) -> Seen {
        let url = format!("{}{}/accept", self.base, text(&entry["entry_url"]));
        self.send(self.client.post(url)).await
    }

    async fn extends(&self, entry: &Value, reason: &str) -> Seen {
        let url = format!("{}{}/extend", self.base, text(&entry["entry_url"]));
        self.send(self.client.post(url).json(&json!({ "reason": reason }))).await
    }

    async fn leaves(&self, entry: &Value) -> Seen {
        let url = format!("{}{}", self.base, text(&entry["entry_url"]));
        self.send(self.client.delete(url)).await
    }

    async fn buys_offer(&self, entry: &Value, token: &str, key: &str) -> Seen {
        self.orders_offer(entry, json!({ "payment_token": token, "name": "Ana" }), key).await
    }

    async fn orders_offer(&self, entry: &Value, body: Value, key: &str) -> Seen {
        let url = format!("{}{}/orders", self.base, text(&entry["entry_url"]));
        let request = self.client.post(url).header("idempotency-key", key).json(&body);
        self.send(request).await
    }
}

#[tokio::test]
async fn an_offer_is_accepted_and_paid_with_nothing_but_its_entry() {
    let (house, pass, holds) = sold_out("").await;
    let (ana, ben) = (house.visitor_of(EVENT), house.visitor_of(EVENT));
    let wish = json!({ "zone": "stalls", "quantity": 2, "email": "ana@example.org" });
    let joined = house.joins(&ana, wish).await;
    assert_eq!(joined.headers["location"], text(&joined.body["entry_url"]));
    let entry = joined.succeeds(201);
    assert_eq!((&entry["state"], &entry["ahead"]), (&json!("waiting"), &json!(0)));
    assert_eq!((&entry["email"], &entry["hold"]), (&json!("a…@example.org"), &Value::Null));
    let second = house.joins(&ben, json!({ "quantity": 2 })).await.succeeds(201);
    assert_eq!((&second["ahead"], &second["email"]), (&json!(1), &Value::Null));
    house.accepts(&entry).await.is(409, "no-offer");
    house.extends(&entry, "checkout").await.is(409, "no-offer");
    house.buys_offer(&entry, "tok_ok", "k").await.is(409, "no-offer");

    house.gives_back(&pass, &holds[3]).await;
    let offered = house.get(text(&entry["entry_url"])).await;
    assert_eq!(offered.headers["cache-control"], "private, no-store");
    let offered = offered.succeeds(200);
    assert_eq!(
        (&offered["state"], &offered["hold"]["is_offer"]),
        (&json!("offered"), &json!(true))
    );
    let labels: Vec<_> = offered["hold"]["seats"].as_array().unwrap().iter().collect();
    assert_eq!((&labels[0]["label"], labels.len()), (&json!("S-2-3"), 2));
    // It is nobody else's meanwhile, and it is not paid before it is accepted.
    let third = house.visitor_of(EVENT);
    house.hold_at(EVENT, &third, json!({ "seats": [7] })).await.is(409, "seat-taken");
    house.buys_offer(&entry, "tok_ok", "k").await.is(409, "offer-open");
    house.extends(&entry, "checkout").await.is(409, "offer-open");

    let accepted = house.accepts(&entry).await.succeeds(200);
    assert_eq!(
        (&accepted["state"], &accepted["hold"]["seats"]),
        (&json!("accepted"), &offered["hold"]["seats"])
    );
    let again = house.accepts(&entry).await.succeeds(200);
    assert_eq!(again["hold"], accepted["hold"], "accepting twice is accepting once");
    // More time is asked for like that of any hold, each reason once, with the entry alone.
    assert_eq!(accepted["hold"]["extensions"], json!(["checkout", "more-time"]));
    let ends = |entry: &Value| entry["hold"]["expires_at"].as_u64().unwrap();
    let longer = house.extends(&entry, "checkout").await.succeeds(200);
    assert_eq!(ends(&longer), ends(&accepted) + 300_000);
    assert_eq!(longer["hold"]["extensions"], json!(["more-time"]));
    house.extends(&entry, "checkout").await.is(409, "no-extension-left");
    house.extends(&entry, "because").await.is(422, "invalid-request");
    for (body, key, status, code) in [
        (json!({ "payment_token": "tok_ok", "name": "Ana" }), "", 400, "idempotency-key-required"),
        (
            json!({ "payment_token": "4242424242424242", "name": "Ana" }),
            "k",
            422,
            "invalid-request",
        ),
        (json!({ "payment_token": "tok_ok", "name": "" }), "k", 422, "invalid-request"),
        (
            json!({ "payment_token": "tok_ok", "name": "Ana", "hold": entry["entry"] }),
            "k",
            422,
            "invalid-request",
        ),
        (json!({ "payment_token": "tok_declined", "name": "Ana" }), "no", 402, "payment-declined"),
        (json!({ "payment_token": "tok_ok", "name": "Ana" }), "no", 422, "idempotency-mismatch"),
    ] {
        house.orders_offer(&entry, body, key).await.is(status, code);
    }
    let bought = house.buys_offer(&entry, "tok_ok", "yes").await;
    let order = bought.succeeds(201);
    assert_eq!(
        (&order["seats"], &order["state"]),
        (&offered["hold"]["seats"], &json!("confirmed"))
    );
    let again = house.buys_offer(&entry, "tok_ok", "yes").await.succeeds(201);
    assert_eq!(again, order, "word for word");
    let other = house.buys_offer(&entry, "tok_ok", "more").await.is(409, "hold-bought");
    assert_eq!(other.body["order"], order["order"]);
    let seen = house.get(text(&entry["entry_url"])).await.succeeds(200);
    assert_eq!((&seen["state"], &seen["order_url"]), (&json!("bought"), &order["order_url"]));
    house.accepts(&entry).await.is(409, "hold-bought");
    house.extends(&entry, "more-time").await.is(409, "hold-bought");
    house.leaves(&entry).await.is(409, "hold-bought");
    let totals = house.internal("/internal/v1/sandbox/ledger").await["totals"].clone();
    assert_eq!((&totals["authorised"], &totals["declined"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_offer_that_is_declined_goes_to_the_next_and_nobody_waits_twice() {
    let (house, pass, holds) = sold_out("").await;
    let (ana, ben) = (house.visitor_of(EVENT), house.visitor_of(EVENT));
    let entry = house.joins(&ana, json!({ "quantity": 2 })).await.succeeds(201);
    let second = house.joins(&ben, json!({ "quantity": 2 })).await.succeeds(201);
    let twice = house.joins(&ana, json!({ "quantity": 1 })).await.is(409, "already-waiting");
    assert_eq!(twice.body["entry"], entry["entry"]);
    house.gives_back(&pass, &holds[3]).await;
    house.leaves(&entry).await.succeeds(204);
    house.get(text(&entry["entry_url"])).await.is(404, "unknown-entry");
    house.accepts(&entry).await.is(404, "unknown-entry");
    let seen = house.get(text(&second["entry_url"])).await.succeeds(200);
    assert_eq!(seen["state"], "offered");
    house.accepts(&second).await.succeeds(200);
    // Whoever gives an accepted one back gives it to the next, and else to everybody.
    house.leaves(&second).await.succeeds(204);
    house.joins(&ana, json!({ "quantity": 2 })).await.is(409, "seats-available");
}

#[tokio::test]
async fn nothing_is_offered_off_sale_or_paused_and_those_who_wait_come_first_afterwards() {
    let (house, pass, holds) = sold_out("").await;
    let passes = [house.visitor_of(EVENT), house.visitor_of(EVENT)];
    let mut entries = Vec::new();
    for pass in &passes {
        entries.push(house.joins(pass, json!({ "quantity": 2 })).await.succeeds(201));
    }
    let state = async |entry: &Value| {
        house.get(text(&entry["entry_url"])).await.succeeds(200)["state"].clone()
    };
    let set_status = async |status: &str| {
        house.put("/events/recital/status", json!({ "status": status })).await.succeeds(200);
    };
    set_status("off_sale").await;
    house.gives_back(&pass, &holds[3]).await;
    assert_eq!(state(&entries[0]).await, "waiting", "it could not be bought");
    set_status("on_sale").await;
    // Whoever asks first for the very seats comes second.
    let anybody = house.visitor_of(EVENT);
    house.hold_at(EVENT, &anybody, json!({ "seats": [7] })).await.is(409, "seat-taken");
    assert_eq!(state(&entries[0]).await, "offered");

    let pin = async |mode: Value| {
        let request = house.client.put(format!("{}/internal/v1/mode", house.internal));
        let body = json!({ "event": EVENT, "mode": mode });
        house.send(request.bearer_auth(TOKEN).json(&body)).await.succeeds(200);
    };
    pin(json!("paused")).await;
    house.leaves(&entries[0]).await.succeeds(204);
    assert_eq!(state(&entries[1]).await, "waiting", "nothing is sold just now");
    pin(Value::Null).await;
    house.hold_at(EVENT, &anybody, json!({ "seats": [7] })).await.is(409, "seat-taken");
    assert_eq!(state(&entries[1]).await, "offered");
}

#[tokio::test]
async fn an_offer_lapses_by_itself_and_says_so() {
    let (house, pass, holds) = sold_out("sale.offer_secs = 1\n").await;
    let (ana, ben) = (house.visitor_of(EVENT), house.visitor_of(EVENT));
    let entry = house.joins(&ana, json!({ "quantity": 2 })).await.succeeds(201);
    let second = house.joins(&ben, json!({ "quantity": 2 })).await.succeeds(201);
    house.gives_back(&pass, &holds[3]).await;
    for entry in [entry, second] {
        let look = || async {
            let seen = house.get(text(&entry["entry_url"])).await;
            (seen.status == StatusCode::GONE).then_some(seen)
        };
        eventually(look, "that it lapsed").await.is(410, "hold-expired");
        house.accepts(&entry).await.is(410, "hold-expired");
        house.buys_offer(&entry, "tok_ok", "k").await.is(410, "hold-expired");
        house.leaves(&entry).await.is(410, "hold-expired");
    }
    let anybody = house.visitor_of(EVENT);
    house.hold_at(EVENT, &anybody, json!({ "seats": [7, 8] })).await.succeeds(201);
}

#[tokio::test]
async fn who_may_not_join_or_has_no_entry_is_told_why() {
    let (house, _, holds) = sold_out("sale.waitlist_max = 1\n").await;
    let ana = house.visitor_of(EVENT);
    let url = format!("{}/api/v1/events/{EVENT}/waitlist", house.base);
    let bare = house.client.post(url).json(&json!({ "quantity": 1 }));
    house.send(bare).await.is(403, "pass-required");
    for (body, status, code) in [
        (json!({ "quantity": 0 }), 422, "no-seats"),
        (json!({ "quantity": 9 }), 422, "too-many-seats"),
        (json!({ "quantity": -1 }), 422, "invalid-request"),
        (json!({ "quantity": 1, "zone": "roof" }), 422, "unknown-zone"),
        (json!({ "quantity": 1, "email": "nowhere" }), 422, "invalid-request"),
        (
            json!({ "quantity": 1, "email": format!("{}@x.org", "a".repeat(250)) }),
            422,
            "invalid-request",
        ),
        (
            json!({ "quantity": 1, "email": "a@x.org", "locale": "not a tag" }),
            422,
            "invalid-request",
        ),
        (json!({ "quantity": 1, "more": true }), 422, "invalid-request"),
        (json!({}), 422, "invalid-request"),
    ] {
        house.joins(&ana, body).await.is(status, code);
    }
    house.joins(&ana, json!({ "quantity": 1 })).await.succeeds(201);
    let ben = house.visitor_of(EVENT);
    house.joins(&ben, json!({ "quantity": 1 })).await.is(409, "waitlist-full");
    // The id of a hold that was never offered opens nothing here.
    for id in ["AAAAAAAAAAAAAAAAAAAAAA", "nonsense", text(&holds[0]["hold"])] {
        let entry = json!({ "entry_url": format!("/api/v1/offers/{EVENT}/{id}") });
        house.get(text(&entry["entry_url"])).await.is(404, "unknown-entry");
        house.accepts(&entry).await.is(404, "unknown-entry");
        house.leaves(&entry).await.is(404, "unknown-entry");
        house.buys_offer(&entry, "tok_ok", "k").await.is(404, "unknown-entry");
    }
    let nowhere = json!({ "entry_url": "/api/v1/offers/nowhere/AAAAAAAAAAAAAAAAAAAAAA" });
    house.buys_offer(&nowhere, "tok_ok", "k").await.is(404, "unknown-event");
}

#[tokio::test]
async fn word_of_an_offer_comes_by_mail_once_and_names_its_page() {
    let sink = Sink::open(&["451", "ok"]);
    let (house, pass, holds) = sold_out(&sink.config()).await;
    let ana = house.visitor_of(EVENT);
    let wish = json!({ "quantity": 2, "email": "ana@example.net", "locale": "de-AT" });
    let entry = house.joins(&ana, wish).await.succeeds(201);
    house.gives_back(&pass, &holds[3]).await;
    let look = || async {
        let seen = house.get(text(&entry["entry_url"])).await.succeeds(200);
        (seen["state"] == "offered" && seen["email"].is_null()).then_some(())
    };
    eventually(look, "that word was sent").await;
    let messages = sink.messages(1).await;
    assert_eq!((messages.len(), &messages[0]["to"]), (1, &json!(["ana@example.net"])));
    let data = text(&messages[0]["data"]);
    let plain = data.replace("=\r\n", "").replace("=\n", "");
    let link = format!("https://tickets.example.org{}", text(&entry["page_url"]));
    assert!(plain.contains(&link), "{link} is not in {plain}");
    assert!(plain.contains("S-2-3, S-2-4") && plain.contains("10 Minuten"), "{plain}");
    assert!(!header(&messages[0], "message-id").contains(text(&entry["entry"])));
    let metrics = house.get_internal_text("/metrics").await;
    assert!(
        metrics.contains("origin_post_total{channel=\"mail\",outcome=\"later\"} 1"),
        "{metrics}"
    );
}
