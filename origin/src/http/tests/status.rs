//! What does an event's status mean to those who hold, and to those who have bought?

use super::admin::{ORGANISERS, prepared, recital};
use super::after::eventually;
use super::*;

const EVENT: &str = "recital";

async fn opened() -> House {
    let house = House::open_with(ORGANISERS).await;
    let map = prepared(&house).await;
    house.put("/events/recital", recital(&map)).await.succeeds(201);
    house.becomes("on_sale").await;
    house
}

impl House {
    async fn becomes(&self, status: &str) {
        let body = json!({ "status": status });
        let seen = self.put("/events/recital/status", body).await.succeeds(200);
        assert_eq!(seen["status"], status);
    }

    fn of_hold(&self, method: Method, pass: &str, hold: &Value, path: &str) -> RequestBuilder {
        let url =
            format!("{}/api/v1/events/{EVENT}/holds/{}{path}", self.base, text(&hold["hold"]));
        self.client.request(method, url).header("waiting-room-pass", pass)
    }
}

#[tokio::test]
async fn off_sale_nobody_holds_anew_and_what_is_held_is_kept_paid_and_given_back() {
    let house = opened().await;
    let (ana, ben) = (house.visitor_of(EVENT), house.visitor_of(EVENT));
    let hold = house.hold_at(EVENT, &ana, json!({ "seats": [0, 1, 2] })).await.succeeds(201);
    let other = house.hold_at(EVENT, &ben, json!({ "seats": [5] })).await.succeeds(201);
    house.becomes("off_sale").await;
    house.hold_at(EVENT, &ben, json!({ "seats": [6] })).await.is(409, "not-on-sale");
    let ask = async |request: RequestBuilder| house.send(request).await;
    let seen = ask(house.of_hold(Method::GET, &ana, &hold, "")).await.succeeds(200);
    assert_eq!(seen["seats"], hold["seats"]);
    let more = house.of_hold(Method::PATCH, &ana, &hold, "");
    ask(more.json(&json!({ "add": { "seats": [3] } }))).await.is(409, "not-on-sale");
    let less = house.of_hold(Method::PATCH, &ana, &hold, "");
    ask(less.json(&json!({ "drop": { "seats": [2] } }))).await.succeeds(200);
    let longer = house.of_hold(Method::POST, &ana, &hold, "/extend");
    ask(longer.json(&json!({ "reason": "checkout" }))).await.succeeds(200);
    ask(house.of_hold(Method::DELETE, &ben, &other, "")).await.succeeds(204);
    let order = house.buy_at(EVENT, &ana, &hold).await;
    assert_eq!(order["tickets"].as_array().unwrap().len(), 2);
    let again = house.get(&format!("/api/v1/orders/{}", text(&order["order"]))).await;
    assert_eq!(again.succeeds(200)["tickets"], order["tickets"]);
    let path = format!("/api/v1/orders/{}/tickets.pdf", text(&order["order"]));
    assert_eq!(house.get(&path).await.status, 200);
}

#[tokio::test]
async fn who_cancels_an_event_refunds_all_of_it_whichever_way_it_is_asked() {
    for by_operator in [false, true] {
        let mut house = opened().await;
        let (ana, ben) = (house.visitor_of(EVENT), house.visitor_of(EVENT));
        let hold = house.hold_at(EVENT, &ana, json!({ "seats": [0, 1] })).await.succeeds(201);
        let order = house.buy_at(EVENT, &ana, &hold).await;
        let open = house.hold_at(EVENT, &ben, json!({ "seats": [5] })).await.succeeds(201);
        if by_operator {
            let url = format!("{}/internal/v1/events/{EVENT}/cancel", house.internal);
            let asked = house.client.post(url).bearer_auth(TOKEN).json(&json!({}));
            house.send(asked).await.succeeds(202);
        } else {
            house.becomes("cancelled").await;
        }
        assert_eq!(house.admin_get("/events/recital").await.succeeds(200)["status"], "cancelled");
        let found = house.get("/api/v1/events/recital").await.succeeds(200);
        assert_eq!((&found["status"], &found["map_url"]), (&json!("cancelled"), &Value::Null));
        house.hold_at(EVENT, &ben, json!({ "seats": [6] })).await.is(409, "event-cancelled");
        let url = format!("{}/api/v1/events/{EVENT}/orders", house.base);
        let body = json!({ "hold": open["hold"], "payment_token": "tok_ok", "name": "Ben" });
        let pay = house.client.post(url).header("waiting-room-pass", &ben);
        let pay = pay.header("idempotency-key", "key").json(&body);
        house.send(pay).await.is(409, "event-cancelled");
        let path = format!("/api/v1/orders/{}", text(&order["order"]));
        let look = async || {
            let seen = house.get(&path).await.succeeds(200);
            (seen["state"] == "refunded").then_some(seen)
        };
        let refunded = eventually(look, "the refund").await;
        assert_eq!(refunded["refunds"][0]["amount"], order["total"]);
        assert_eq!(refunded["tickets"][0]["state"], "void");
        let reversed = async || {
            let totals = house.internal("/internal/v1/sandbox/ledger").await["totals"].clone();
            (totals["voided"] == 1).then_some(())
        };
        eventually(reversed, "that the money is free again").await;
        let list = house.admin_get("/events/recital/orders").await.succeeds(200);
        assert_eq!(list["orders"][0]["order"], order["order"]);
        house
            .put("/events/recital/status", json!({ "status": "on_sale" }))
            .await
            .is(409, "cancelled");
        house.stop().await;
        house.start(ORGANISERS).await;
        assert_eq!(house.get(&path).await.succeeds(200)["state"], "refunded");
    }
}
