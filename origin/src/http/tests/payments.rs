//! Payments over HTTP, against gateways that misbehave: whatever happens, the gateways' ledgers
//! and our orders say the same in the end.

use fake_gateway::{Call, Delivery, Effect, FakeGateway, LineKind, Order, Script};

use super::*;

const KEY: &str = "sk_test_of_the_shop";
const OLD_SECRET: &str = "whsec_of_yesterday";
const NEW_SECRET: &str = "whsec_of_today_and_on";

/// An origin with one or two gateways that speak like Stripe.
struct Market {
    house: House,
    a: FakeGateway,
    b: FakeGateway,
}

impl Market {
    async fn open(gateways: &[&str], more: &str) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let a = FakeGateway::start(any, KEY).await.unwrap();
        let b = FakeGateway::start(any, KEY).await.unwrap();
        let listed: Vec<String> = [("a", &a), ("b", &b)]
            .iter()
            .filter(|(name, _)| gateways.contains(name))
            .map(|(name, gateway)| {
                format!(
                    "{{ kind = \"stripe\", name = \"{name}\", base_url = \"{}\", \
                     secret_key = \"{KEY}\", webhook_secrets = [\"{OLD_SECRET}\", \"{NEW_SECRET}\"] }}",
                    gateway.base_url()
                )
            })
            .collect();
        let more = format!(
            "payment.capture_after_secs = 0\n\
             payment.gateways = [{}]\n{more}",
            listed.join(", ")
        );
        let house = House::open_with(&more).await;
        for gateway in [&a, &b] {
            let name = if std::ptr::eq(gateway, &a) { "a" } else { "b" };
            let url = format!("{}/api/v1/payments/{name}/webhook", house.base);
            gateway.webhooks_to(&url, &[NEW_SECRET]);
        }
        Self { house, a, b }
    }

    /// A visitor with one seat held, and what it costs.
    async fn held(&self, seat: u32) -> (Visitor<'_>, String, u64) {
        let visitor = self.house.visitor();
        let hold = visitor.holds(json!({ "seats": [seat] })).await.succeeds(201);
        let total = hold["total"].as_u64().unwrap();
        (visitor, hold["hold"].as_str().unwrap().to_owned(), total)
    }

    /// Waits until all that was sold, and nothing else, is captured, each order once.
    async fn settles(&self, orders: usize, total: u64) {
        let is_settled = async || {
            let (a, b) = (self.a.totals(), self.b.totals());
            a.captured + b.captured == orders as u64 && a.reserved + b.reserved == 0
        };
        eventually(is_settled, || format!("{:?} {:?}", self.a.totals(), self.b.totals())).await;
        let captured = [&self.a, &self.b].into_iter().flat_map(FakeGateway::ledger);
        let captured: Vec<_> = captured.filter(|line| line.kind == LineKind::Captured).collect();
        let mut of: Vec<_> = captured
            .iter()
            .map(|line| line.metadata["payment"].split(':').next().unwrap().to_owned())
            .collect();
        of.sort();
        of.dedup();
        assert_eq!(of.len(), orders, "each order once: {captured:?}");
        assert_eq!(captured.iter().map(|line| line.amount).sum::<u64>(), total);
        assert_eq!(self.house.stock().await["sold"], orders, "one seat an order");
    }

    async fn confirmed(&self, visitor: &Visitor<'_>, hold: &str, token: &str, key: &str) -> Value {
        let mut last = Value::Null;
        for _ in 0..2000 {
            let seen = visitor.pay(hold, token, key).await;
            if seen.status == StatusCode::CREATED {
                return seen.body;
            }
            assert!([409, 503, 202].contains(&seen.status.as_u16()), "{}", seen.body);
            last = seen.body;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never confirmed, the last answer was {last}")
    }
}

async fn eventually(is_so: impl AsyncFn() -> bool, what: impl Fn() -> String) {
    for _ in 0..2000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {}", what());
}

#[tokio::test]
async fn what_was_promised_is_reserved_confirmed_and_captured_once() {
    let terms = "pricing.events.wc2026-final = { ticket_fee = 150, \
                 order_fee = 200, tax_basis_points = 725, is_tax_included = false }";
    let market = Market::open(&["a"], terms).await;
    let ana = market.house.visitor();
    let hold = ana.holds(json!({ "seats": [1] })).await.succeeds(201);
    let tickets = hold["bill"]["tickets"].as_u64().unwrap();
    let (fees, sum) = (350, tickets + 350);
    let tax = (sum * 725 + 5000) / 10_000;
    assert_eq!(
        hold["bill"],
        json!({"tickets": tickets, "fees": fees, "tax": tax, "is_tax_included": false})
    );
    assert_eq!((&hold["total"], &hold["currency"]), (&json!(sum + tax), &json!("USD")));
    let order = ana.pay(hold["hold"].as_str().unwrap(), "pm_card_visa", "k").await.succeeds(201);
    assert_eq!((&order["total"], &order["bill"]), (&hold["total"], &hold["bill"]));
    market.settles(1, sum + tax).await;
    assert!(market.a.ledger().iter().all(|line| line.currency == "usd"));
}

#[tokio::test]
async fn fifty_times_the_same_key_at_once_is_one_order_and_one_payment() {
    let market = Market::open(&["a"], "").await;
    let (ana, hold, total) = market.held(1).await;
    let body = json!({ "hold": hold, "payment_token": "pm_card_visa", "name": "Ana" });
    let mut clicks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request = ana.request(Method::POST, "/orders").header("Idempotency-Key", "k");
        clicks.spawn(request.json(&body).send());
    }
    let mut bodies = std::collections::BTreeSet::new();
    while let Some(answer) = clicks.join_next().await {
        let answer = answer.unwrap().unwrap();
        match answer.status().as_u16() {
            201 => {
                bodies.insert(answer.text().await.unwrap());
            }
            409 => assert!(answer.headers().contains_key("retry-after")),
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }
    let again = ana.request(Method::POST, "/orders").header("Idempotency-Key", "k");
    bodies.insert(again.json(&body).send().await.unwrap().text().await.unwrap());
    assert_eq!(bodies.len(), 1, "the same bytes: {bodies:?}");
    ana.pay(&hold, "pm_card_mastercard", "k").await.is(422, "idempotency-mismatch");
    market.settles(1, total).await;
    assert_eq!(market.a.totals().authorised, 1);
}

#[tokio::test]
async fn a_declined_card_says_why_twice_in_the_same_bytes_and_the_hold_stands() {
    let market = Market::open(&["a"], "").await;
    let (ana, hold, total) = market.held(1).await;
    let poor = "pm_card_visa_chargeDeclinedInsufficientFunds";
    let first = ana.pay(&hold, poor, "k1").await.is(402, "payment-declined");
    assert_eq!(first.body["decline_code"], "insufficient_funds");
    assert_eq!(ana.pay(&hold, poor, "k1").await.body, first.body);
    assert_eq!(market.a.calls(Call::Create), 1);
    ana.pay(&hold, "pm_card_visa", "k2").await.succeeds(201);
    market.settles(1, total).await;
}

#[tokio::test]
async fn a_payment_without_an_answer_is_found_out_by_the_same_key_and_made_once() {
    //                 how the first call ends
    for script in [
        Script::silent(Call::Create, Effect::Happens),
        Script::silent(Call::Create, Effect::None),
        Script::failing(Call::Create, 429, Effect::None),
    ] {
        let market = Market::open(&["a"], "payment.timeout_ms = 500").await;
        market.a.script(script.clone().times(1));
        let (ana, hold, total) = market.held(1).await;
        let unknown = ana.pay(&hold, "pm_card_visa", "k").await.is(503, "payment-unknown");
        let order = market.confirmed(&ana, &hold, "pm_card_visa", "k").await;
        assert_eq!(order["order"], unknown.body["order"], "one order: {script:?}");
        market.settles(1, total).await;
        assert_eq!(market.a.totals().authorised, 1, "{script:?}");
    }
}

#[tokio::test]
async fn a_kept_500_is_seen_through_whether_the_money_was_reserved_or_not() {
    for effect in [Effect::Happens, Effect::None] {
        let market = Market::open(&["a"], "").await;
        market.a.script(Script::failing(Call::Create, 500, effect).times(1));
        let (ana, hold, total) = market.held(1).await;
        ana.pay(&hold, "pm_card_visa", "k").await.is(503, "payment-unknown");
        market.confirmed(&ana, &hold, "pm_card_visa", "k").await;
        market.settles(1, total).await;
        assert_eq!(market.a.totals().authorised, 1, "{effect:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_fails_six_in_a_hundred_is_left_and_the_other_takes_over() {
    let market = Market::open(&["a", "b"], "").await;
    market.a.script(Script::failing(Call::Create, 500, Effect::Happens).every(16));
    let mut total = 0;
    let mut buyers = Vec::new();
    for seat in 0..120 {
        let (visitor, hold, price) = market.held(seat).await;
        total += price;
        buyers.push((visitor, hold));
    }
    // Twelve at a time, in order.
    for crowd in buyers.chunks(12) {
        let paying = crowd.iter().map(|(visitor, hold)| {
            let body = json!({ "hold": hold, "payment_token": "pm_card_visa", "name": "Ana" });
            let request = visitor.request(Method::POST, "/orders").header("Idempotency-Key", "k");
            tokio::spawn(request.json(&body).send())
        });
        for paid in paying.collect::<Vec<_>>() {
            let paid = paid.await.unwrap().unwrap();
            assert_eq!(paid.status().as_u16(), 201, "{}", paid.text().await.unwrap());
        }
    }
    let (a, b) = (market.a.totals(), market.b.totals());
    assert!(b.authorised >= 20, "the breaker opened and B served: {a:?} {b:?}");
    market.settles(120, total).await;
    let lost = market.a.totals();
    assert!(lost.voided >= 1, "what A did not answer for is voided: {lost:?}");
}

#[tokio::test]
async fn when_no_gateway_answers_buyers_are_told_to_come_back_and_declines_open_no_breaker() {
    let market = Market::open(&["a"], "").await;
    for seat in 0..25 {
        let (ana, hold, _) = market.held(seat).await;
        ana.pay(&hold, "pm_card_visa_chargeDeclined", "k").await.is(402, "payment-declined");
    }
    let (ana, hold, _) = market.held(50).await;
    ana.pay(&hold, "pm_card_visa", "k").await.succeeds(201);
    market.a.script(Script::failing(Call::Create, 503, Effect::None));
    let mut is_open = false;
    for seat in 100..130 {
        let (ana, hold, _) = market.held(seat).await;
        let seen = ana.pay(&hold, "pm_card_visa", "k").await;
        if seen.body["code"] == "payment-unavailable" {
            assert_eq!(seen.headers["retry-after"], "5");
            assert_eq!(ana.view(&hold).await.succeeds(200)["is_paying"], false, "it stands");
            is_open = true;
            break;
        }
        seen.is(503, "payment-unknown");
    }
    assert!(is_open, "the breaker never opened");
    let metrics = market.house.client.get(format!("{}/metrics", market.house.internal));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("origin_gateway_calls_total"), "{metrics}");
}

#[tokio::test]
async fn a_buyer_who_must_do_something_first_is_told_what_and_webhooks_bring_the_ticket() {
    let market = Market::open(&["a"], "").await;
    let (ana, hold, total) = market.held(1).await;
    let token = "pm_card_threeDSecure2Required";
    let asked = ana.pay(&hold, token, "k").await.succeeds(202);
    assert_eq!(asked["state"], "action-required");
    assert_eq!(asked["payment"]["next_action"]["type"], "use_stripe_sdk");
    assert_eq!(ana.pay(&hold, token, "k").await.succeeds(202), asked, "asked again, the same");
    let order = format!("/api/v1/orders/{}", asked["order"].as_str().unwrap());
    let secret = asked["payment"]["client_secret"].as_str().unwrap();
    let intent = secret.split("_secret").next().unwrap();

    assert!(market.a.authenticate(intent, true));
    let forged = Delivery { is_forged: true, tries: 1, ..Delivery::default() };
    let statuses = market.a.deliver(forged).await;
    assert!(!statuses.is_empty() && statuses.iter().all(|s| *s == 400), "{statuses:?}");
    assert_eq!(market.house.get(&order).await.succeeds(200)["state"], "action-required");

    // The same again: a second intent, so that there is something to tell.
    let (ben, other, more) = market.held(2).await;
    let asked = ben.pay(&other, token, "k").await.succeeds(202);
    let theirs = format!("/api/v1/orders/{}", asked["order"].as_str().unwrap());
    let secret = asked["payment"]["client_secret"].as_str().unwrap().to_owned();
    assert!(market.a.authenticate(secret.split("_secret").next().unwrap(), true));
    let old = Delivery { age_secs: 301, tries: 1, ..Delivery::default() };
    assert!(market.a.deliver(old).await.iter().all(|status| *status == 400), "301 s old");
    assert_eq!(market.house.get(&theirs).await.succeeds(200)["state"], "action-required");

    // Signed with the old secret and the new one, reversed, ten times.
    let (cleo, third, most) = market.held(3).await;
    let asked = cleo.pay(&third, token, "k").await.succeeds(202);
    let hers = format!("/api/v1/orders/{}", asked["order"].as_str().unwrap());
    let secret = asked["payment"]["client_secret"].as_str().unwrap().to_owned();
    assert!(market.a.authenticate(secret.split("_secret").next().unwrap(), true));
    let url = format!("{}/api/v1/payments/a/webhook", market.house.base);
    market.a.webhooks_to(&url, &[OLD_SECRET, NEW_SECRET]);
    let many = Delivery { copies: 10, order: Order::Reversed, ..Delivery::default() };
    let statuses = market.a.deliver(many).await;
    assert!(statuses.len() >= 10 && statuses.iter().all(|s| *s == 200), "{statuses:?}");
    assert_eq!(market.house.get(&hers).await.succeeds(200)["state"], "confirmed");

    // The first two come back from the gateway by themselves.
    for order in [order, theirs] {
        let resumed = market.house.client.post(format!("{}{order}/resume", market.house.base));
        assert_eq!(market.house.send(resumed).await.succeeds(200)["state"], "confirmed");
    }
    market.settles(3, total + more + most).await;
}

#[tokio::test]
async fn a_buyer_is_sent_to_their_bank_and_comes_back_to_the_order() {
    let market = Market::open(&["a"], "shop_url = \"https://tickets.example.org/\"").await;
    for (seat, is_passed) in [(1, true), (2, false)] {
        let (ana, hold, _) = market.held(seat).await;
        let asked = ana.pay(&hold, "pm_card_threeDSecure2Required", "k").await.succeeds(202);
        let redirect = &asked["payment"]["next_action"]["redirect_to_url"];
        let page = format!("https://tickets.example.org/orders/{}", text(&asked["order"]));
        assert_eq!(redirect["return_url"], page);
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let bank = client.build().unwrap().post(text(&redirect["url"]));
        let answered = bank.form(&[("is_passed", is_passed)]).send().await.unwrap();
        let back = answered.headers()["location"].to_str().unwrap();
        assert!(back.starts_with(&page), "{back}");
        let resume = format!("/api/v1/orders/{}/resume", text(&asked["order"]));
        let resumed = market.house.client.post(format!("{}{resume}", market.house.base));
        let seen = market.house.send(resumed).await;
        match is_passed {
            true => assert_eq!(seen.succeeds(200)["state"], "confirmed"),
            false => drop(seen.is(402, "payment-declined")),
        }
    }
}

#[tokio::test]
async fn a_buyer_who_fails_the_challenge_has_the_hold_again() {
    let market = Market::open(&["a"], "").await;
    let (ana, hold, total) = market.held(1).await;
    let asked = ana.pay(&hold, "pm_card_authenticationRequired", "k").await.succeeds(202);
    let secret = asked["payment"]["client_secret"].as_str().unwrap();
    assert!(market.a.authenticate(secret.split("_secret").next().unwrap(), false));
    assert!(market.a.deliver(Delivery::default()).await.iter().all(|status| *status == 200));
    ana.pay(&hold, "pm_card_authenticationRequired", "k").await.is(402, "payment-declined");
    ana.pay(&hold, "pm_card_visa", "k2").await.succeeds(201);
    market.settles(1, total).await;
}

#[tokio::test]
async fn what_a_gateway_reserves_for_nobody_is_found_in_its_list_and_voided() {
    let market = Market::open(&["a"], "payment.reconcile_secs = 1").await;
    let form = [
        ("amount", "500".to_owned()),
        ("currency", "usd".to_owned()),
        ("capture_method", "manual".to_owned()),
        ("confirm", "true".to_owned()),
        ("payment_method", "pm_card_visa".to_owned()),
        ("metadata[event]", FINAL.to_owned()),
        ("metadata[payment]", format!("{}:0", Id128::random())),
    ];
    let url = format!("{}/v1/payment_intents", market.a.base_url());
    let made = market.house.client.post(url).bearer_auth(KEY).form(&form).send().await.unwrap();
    assert_eq!(made.status(), 200);
    let is_voided = async || market.a.totals().voided == 1;
    eventually(is_voided, || format!("{:?}", market.a.totals())).await;
    market.settles(0, 0).await;
}

#[tokio::test]
async fn an_order_whose_money_is_gone_at_the_gateway_comes_before_a_person() {
    let market = Market::open(&["a"], "").await;
    market.a.script(Script::failing(Call::Capture, 503, Effect::None).times(1));
    let (ana, hold, _) = market.held(1).await;
    ana.pay(&hold, "pm_card_visa", "k").await.succeeds(201);
    let line = market.a.ledger()[0].clone();
    let url = format!("{}/v1/payment_intents/{}/cancel", market.a.base_url(), line.intent);
    let cancelled = market.house.client.post(url).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    let is_listed = async || {
        let attention = market.house.internal("/internal/v1/payments/attention").await;
        attention["payments"][0]["finding"] == "capture-lost"
    };
    eventually(is_listed, || "no finding".to_owned()).await;
}

#[tokio::test]
async fn a_webhook_about_nothing_of_ours_is_taken_and_left_alone() {
    let market = Market::open(&["a"], "").await;
    let form = [("amount", "500"), ("currency", "usd"), ("capture_method", "manual")];
    let url = format!("{}/v1/payment_intents", market.a.base_url());
    market.house.client.post(url).bearer_auth(KEY).form(&form).send().await.unwrap();
    assert_eq!(market.a.deliver(Delivery::default()).await, [200]);
    let no_such =
        market.house.client.post(format!("{}/api/v1/payments/c/webhook", market.house.base));
    market.house.send(no_such).await.is(404, "unknown-gateway");
}
