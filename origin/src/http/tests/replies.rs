//! Who asks again with the same key hears the same, byte for byte, whatever has changed meanwhile.

use super::*;

const ORGANISER: &str = "organiser-token-of-ana";

impl House {
    /// From now on another key signs tickets, and the one before it is gone.
    fn rolls_the_key(&mut self) {
        let now = Timestamp::now();
        let validity = Validity {
            use_from: now.minus_secs(60),
            use_until: now.plus_secs(3600),
            valid_until: now.plus_secs(7200),
            revoked_at: None,
        };
        let kept = self.keyring.keys().filter(|key| key.role != Role::Origin).cloned();
        let fresh = Key::generate(Role::Origin, "origin-1".parse().unwrap(), validity);
        let keyring = Keyring::new(kept.chain([fresh]).collect::<Vec<_>>());
        keyring.save(&self.folder.join("keys.json")).unwrap();
        self.keyring = keyring;
    }

    async fn retitles(&self, title: &str) {
        let url = format!("{}/admin/v1/events/{FINAL}", self.internal);
        let seen = self.send(self.client.get(&url).bearer_auth(ORGANISER)).await.succeeds(200);
        let mut draft = seen["event"].clone();
        draft["title"] = title.into();
        let change = self.client.put(&url).bearer_auth(ORGANISER);
        let change = change.header("if-match", format!("\"{}\"", seen["version"]));
        self.send(change.json(&draft)).await.succeeds(200);
    }

    async fn refunds(&self, order: &Value) {
        let order = text(&order["order"]);
        let url = format!("{}/internal/v1/events/{FINAL}/orders/{order}/refund", self.internal);
        let request = self.client.post(url).bearer_auth(TOKEN).header("Idempotency-Key", "r");
        self.send(request.json(&json!({}))).await.succeeds(200);
    }
}

/// Status, headers that count, and the bytes.
async fn asked(
    visitor: &Visitor<'_>,
    hold: &str,
    token: &str,
) -> (u16, [Option<String>; 4], String) {
    let body = json!({
        "hold": hold, "payment_token": token, "name": "Ana", "email": "ana@example.org",
    });
    let request = visitor.request(Method::POST, "/orders").header("Idempotency-Key", "k");
    let answer = request.json(&body).send().await.unwrap();
    let named = ["content-type", "location", "cache-control", "waiting-room-command"];
    let headers = named
        .map(|name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()));
    (answer.status().as_u16(), headers, answer.text().await.unwrap())
}

#[tokio::test]
async fn the_same_key_has_the_same_bytes_after_a_rolled_key_a_refund_and_a_restart() {
    let more = format!(
        "organisers = [{{ name = \"ana\", token = \"{ORGANISER}\" }}]\n\
         mail.host = \"127.0.0.1\"\nmail.port = 9\nmail.security = \"none\"\n\
         mail.from = \"Tickets <tickets@example.org>\"\nshop_url = \"https://tickets.example/\"\n"
    );
    let mut house = House::open_with(&more).await;
    let pass = house.visitor().pass;
    let ana = Visitor { house: &house, pass: pass.clone() };
    let holds = [ana.hold(&[1, 2]).await, ana.hold(&[3]).await];
    let paid = asked(&ana, &holds[0], "tok_ok").await;
    assert_eq!(paid.0, 201, "{}", paid.2);
    let order: Value = serde_json::from_str(&paid.2).unwrap();
    assert_eq!(order["deliveries"][0]["state"], "due", "{order}");
    let declined = {
        let body = json!({ "hold": holds[1], "payment_token": "tok_declined", "name": "Ana" });
        ana.order(body, "d").await.is(402, "payment-declined").body
    };
    assert_eq!(asked(&ana, &holds[0], "tok_ok").await, paid, "at once");

    house.retitles("The final that was renamed").await;
    house.refunds(&order).await;
    assert_eq!(asked(&ana, &holds[0], "tok_ok").await, paid, "given back and renamed");
    let seen = house.get(&format!("/api/v1/orders/{}", text(&order["order"]))).await;
    let seen = seen.succeeds(200);
    assert_eq!(
        (&seen["state"], &seen["title"]),
        (&json!("refunded"), &json!("The final that was renamed"))
    );

    house.stop().await;
    house.rolls_the_key();
    let other = "pricing.events.wc2026-final = { ticket_fee = 150 }\nsale.hold_secs = 120\n";
    house.start(&format!("{more}{other}")).await;
    let ana = Visitor { house: &house, pass };
    assert_eq!(asked(&ana, &holds[0], "tok_ok").await, paid, "another key signs, other terms");
    let body = json!({ "hold": holds[1], "payment_token": "tok_declined", "name": "Ana" });
    assert_eq!(ana.order(body, "d").await.is(402, "payment-declined").body, declined);
    // What is sold now is signed by the new key, and an old barcode is told from the log alone.
    let fresh = ana.hold(&[7]).await;
    let fresh = ana.pay(&fresh, "tok_ok", "k7").await.succeeds(201);
    let kid =
        |order: &Value| text(&order["tickets"][0]["barcode"]).split('.').next().unwrap().to_owned();
    assert_ne!(kid(&fresh), kid(&order));
}
