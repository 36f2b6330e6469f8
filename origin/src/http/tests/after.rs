//! What becomes of tickets that were sold: they open a gate once, or are given back, and the money
//! with them.

use std::process::Command;

use super::*;

const SCANNER: &str = "token-of-a-scanner-at-gate-a";

/// Asks until the answer is what we want to see.
pub(super) async fn eventually<T, F>(mut look: impl FnMut() -> F, what: &str) -> T
where
    F: Future<Output = Option<T>>,
{
    for _ in 0..400 {
        if let Some(seen) = look().await {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never saw {what}");
}

impl House {
    async fn post(&self, path: &str, token: &str, body: Value) -> Seen {
        let url = format!("{}{path}", self.internal);
        self.send(self.client.post(url).bearer_auth(token).json(&body)).await
    }

    async fn check_in(&self, barcode: &str, gate: &str) -> Seen {
        let body = json!({ "event": FINAL, "barcode": barcode, "gate": gate });
        self.post("/api/v1/checkin", SCANNER, body).await
    }

    async fn refund(&self, order: &Value, tickets: Option<&[&Value]>, key: &str) -> Seen {
        let path = format!("/internal/v1/events/{FINAL}/orders/{}/refund", text(&order["order"]));
        let request = self.client.post(format!("{}{path}", self.internal)).bearer_auth(TOKEN);
        let body = tickets.map_or(json!({}), |tickets| json!({ "tickets": tickets }));
        self.send(request.header("Idempotency-Key", key).json(&body)).await
    }

    pub(super) async fn view_order(&self, order: &Value) -> Value {
        self.get(&format!("/api/v1/orders/{}", text(&order["order"]))).await.succeeds(200)
    }

    async fn totals(&self) -> Value {
        self.internal("/internal/v1/sandbox/ledger").await["totals"].clone()
    }
}

impl Visitor<'_> {
    async fn buys(&self, seats: &[u32]) -> Value {
        let hold = self.hold(seats).await;
        self.pay(&hold, "tok_ok", &format!("key-{hold}")).await.succeeds(201)
    }
}

fn barcode(order: &Value, nth: usize) -> &str {
    text(&order["tickets"][nth]["barcode"])
}

async fn open_with(more: &str) -> House {
    House::open_with(&format!("scanner_tokens = [\"{SCANNER}\"]\n{more}")).await
}

#[tokio::test]
async fn a_gate_opens_once_for_a_ticket_of_this_event_and_for_nothing_else() {
    let house = open_with("").await;
    let order = house.visitor().buys(&[10, 11]).await;
    let good = barcode(&order, 0);
    let seen = house.check_in(good, "gate a").await.succeeds(200);
    assert_eq!((&seen["admitted"], &seen["seat"]), (&json!(true), &order["tickets"][0]["label"]));
    let again = house.check_in(good, "gate b").await.is(409, "ticket-used");
    assert_eq!((&again.body["gate"], &again.body["used_at"]), (&json!("gate a"), &seen["at"]));
    assert_eq!(house.view_order(&order).await["tickets"][0]["state"], "used");

    let other = barcode(&order, 1);
    let at = other.len() - 9;
    let swapped = if other.as_bytes()[at] == b'A' { "B" } else { "A" };
    let bent = format!("{}{swapped}{}", &other[..at], &other[at + 1..]);
    house.check_in(&bent, "gate a").await.is(422, "barcode-refused");
    house.check_in("", "gate a").await.is(422, "barcode-refused");
    house.check_in(&"x".repeat(9000), "gate a").await.is(422, "barcode-refused");
    house.check_in(other, "").await.is(422, "invalid-request");
    let body = json!({ "event": FINAL, "barcode": other, "gate": "a" });
    house
        .post("/api/v1/checkin", "somebody-elses-token", body.clone())
        .await
        .is(401, "unauthorized");
    house.post("/api/v1/checkin", TOKEN, body).await.succeeds(200);
    // A scanner's token opens gates and nothing else.
    let cancel = format!("/internal/v1/events/{FINAL}/cancel");
    house.post(&cancel, SCANNER, json!({})).await.is(401, "unauthorized");
}

#[tokio::test]
async fn a_scanner_without_a_network_needs_the_public_keys_and_a_jose_library_only() {
    let house = open_with("").await;
    let order = house.visitor().buys(&[10]).await;
    let jwks = serde_json::to_string(&house.keyring.public_jwks()).unwrap();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join(".tools/python/bin/python");
    let script = root.join("tests/support/verify_ticket.py");
    let arguments = [jwks.as_str(), FINAL, "origin-1", barcode(&order, 0)];
    let done = Command::new(&python).arg(&script).args(arguments).output();
    let done =
        done.unwrap_or_else(|error| panic!("{}: {error}; scripts/install test", python.display()));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let claims: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(claims["seat"], order["tickets"][0]["label"]);
}

#[tokio::test]
async fn what_a_scanner_let_in_while_it_was_offline_is_told_later_and_conflicts_are_shown() {
    let house = open_with("").await;
    let order = house.visitor().buys(&[10, 11]).await;
    house.check_in(barcode(&order, 0), "gate a").await.succeeds(200);
    let at = Timestamp::now().as_millis() - 60_000;
    let scan = |nth: usize| {
        let scan = Id128::from_bytes([u8::try_from(nth).unwrap(); 16]);
        json!({ "barcode": barcode(&order, nth), "gate": "van", "scan": scan, "at": at })
    };
    let mut foreign = scan(1);
    foreign["barcode"] = json!("a.b.c");
    let batch = json!({ "event": FINAL, "scans": [scan(0), scan(1), foreign] });
    for _ in 0..2 {
        let told = house.post("/api/v1/checkin/batch", SCANNER, batch.clone()).await.succeeds(200);
        assert_eq!(told["scans"][0]["code"], "ticket-used");
        assert_eq!(
            (&told["scans"][1]["admitted"], &told["scans"][1]["at"]),
            (&json!(true), &json!(at))
        );
        assert_eq!(told["scans"][2]["code"], "barcode-refused");
    }
    house.refund(&house.visitor().buys(&[12]).await, None, "r").await.succeeds(200);
    let trail = house.internal(&format!("/api/v1/checkin/{FINAL}/trail")).await;
    let what: Vec<_> =
        trail["entries"].as_array().unwrap().iter().map(|e| text(&e["what"])).collect();
    assert_eq!(what, ["used", "conflict", "used", "void"]);
    let after = trail["entries"][1]["seq"].as_u64().unwrap();
    let rest = house.internal(&format!("/api/v1/checkin/{FINAL}/trail?after={after}")).await;
    assert_eq!(rest["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refund_frees_the_seat_voids_the_ticket_and_gives_the_money_back_once() {
    let house = open_with("").await;
    let order = house.visitor().buys(&[10]).await;
    let old = barcode(&order, 0).to_owned();
    for _ in 0..2 {
        let refunded = house.refund(&order, None, "r-1").await.succeeds(200);
        assert_eq!(
            (&refunded["state"], &refunded["refunds"][0]["amount"]),
            (&json!("refunded"), &order["total"])
        );
    }
    house.refund(&order, None, "r-2").await.is(410, "ticket-void");
    house
        .refund(&order, Some(&[&order["tickets"][0]["ticket"]]), "r-1")
        .await
        .is(422, "idempotency-mismatch");
    house.check_in(&old, "gate a").await.is(410, "ticket-void");
    house.get(text(&order["tickets"][0]["qr_url"])).await.is(410, "ticket-void");
    let resold = house.visitor().buys(&[10]).await;
    house.check_in(&old, "gate a").await.is(410, "ticket-void");
    house.check_in(barcode(&resold, 0), "gate a").await.succeeds(200);
    house.refund(&resold, None, "r").await.is(409, "ticket-used");
    // Nothing was captured yet, so the authorisation is voided and nobody pays for a refund.
    eventually(|| async { (house.totals().await["voided"] == 1).then_some(()) }, "the void").await;
    let money = || async {
        (house.view_order(&order).await["refunds"][0]["money"] == "returned").then_some(())
    };
    eventually(money, "the money with the buyer").await;
    assert_eq!(house.totals().await["refunded_amount"], 0);
}

#[tokio::test]
async fn money_that_was_captured_is_paid_back_ticket_by_ticket_whatever_crashes() {
    let mut house = open_with("payment.capture_after_secs = 0").await;
    let order = house.visitor().buys(&[10, 11, 12]).await;
    let total = order["total"].as_u64().unwrap();
    eventually(
        || async { (house.totals().await["captured_amount"] == total).then_some(()) },
        "the capture",
    )
    .await;
    let one =
        house.refund(&order, Some(&[&order["tickets"][1]["ticket"]]), "one").await.succeeds(200);
    assert_eq!((&one["state"], &one["tickets"][1]["state"]), (&json!("confirmed"), &json!("void")));
    assert_eq!(one["tickets"][0]["state"], "valid");
    house.refund(&order, None, "rest").await.succeeds(200);
    house.stop().await;
    house.start("payment.capture_after_secs = 0").await;
    eventually(
        || async { (house.totals().await["refunded_amount"] == total).then_some(()) },
        "the refunds",
    )
    .await;
    let returned = || async {
        let order = house.view_order(&order).await;
        let refunds = order["refunds"].as_array().unwrap();
        refunds.iter().all(|refund| refund["money"] == "returned").then_some(refunds.len())
    };
    assert_eq!(eventually(returned, "the money with the buyer").await, 2);
    assert_eq!(house.totals().await["refunded_amount"], total);
    assert_eq!(house.stock().await["sold"], 0);
}

#[tokio::test]
async fn a_cancelled_event_refunds_everybody_even_across_a_restart() {
    let mut house = open_with("").await;
    let mut orders = Vec::new();
    for seat in 0..5 {
        orders.push(house.visitor().buys(&[seat]).await);
    }
    let cancel = format!("/internal/v1/events/{FINAL}/cancel");
    let told = house.post(&cancel, TOKEN, json!({})).await.succeeds(202);
    assert_eq!(told["orders_left"], 5);
    house.stop().await;
    house.start("").await;
    eventually(|| async { (house.stock().await["sold"] == 0).then_some(()) }, "all refunded").await;
    house.visitor().holds(json!({ "seats": [1] })).await.is(409, "event-cancelled");
    eventually(|| async { (house.totals().await["voided"] == 5).then_some(()) }, "all voided")
        .await;
    for order in &orders {
        let seen = house.view_order(order).await;
        assert_eq!(
            (&seen["state"], seen["refunds"].as_array().unwrap().len()),
            (&json!("refunded"), 1)
        );
    }
}
