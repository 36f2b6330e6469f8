//! Two processes share one PostgreSQL and one of them has the event: whoever is asked, and whatever
//! is asked, the answer is the owner's.

use fake_gateway::{Delivery, FakeGateway};
use servers::Postgres;

use super::after::eventually;
use super::*;

const KEY: &str = "sk_test_of_the_shop";
const SECRET: &str = "whsec_of_the_shop_today";
const SCANNER: &str = "token-of-a-scanner-at-gate-a";
const ORGANISER: &str = "organiser-token-of-ana";

impl House {
    /// One process of several on that database.
    async fn member(keyring: &Keyring, url: &str, more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("origin-fleet-{}", Id128::random()));
        std::fs::create_dir_all(&folder).unwrap();
        keyring.save(&folder.join("keys.json")).unwrap();
        let (shutdown, told) = watch::channel(false);
        let parts = parts(told);
        let addr = parts.internal_listener.local_addr().unwrap();
        let more = format!(
            "postgres.url = \"{url}\"\ncluster.advertise = \"{addr}\"\ncluster.lease_ms = 2000\n\
             scanner_tokens = [\"{SCANNER}\"]\n\
             organisers = [{{ name = \"ana\", token = \"{ORGANISER}\" }}]\n{more}"
        );
        let origin = start(config(&folder, &more), parts).await.unwrap();
        let base = format!("http://{}", origin.public_addr());
        let internal = format!("http://{}", origin.internal_addr());
        let (keyring, client) = (keyring.clone(), client());
        Self { folder, keyring, origin: Some(origin), shutdown, client, base, internal }
    }

    /// The same visitor, who comes to this process.
    pub(super) fn same<'h>(&'h self, visitor: &Visitor<'_>) -> Visitor<'h> {
        Visitor { house: self, pass: visitor.pass.clone() }
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = self.get_internal_text("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    async fn ask_internal(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (u16, String) {
        let request = self.client.request(method, format!("{}{path}", self.internal));
        let mut request = request.bearer_auth(token).header("Idempotency-Key", "key");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// The process that has the event, and one that has not.
pub(super) async fn owner_and_other(more: &str) -> (House, House) {
    let (keyring, url) = (keyring(), Postgres::shared().database());
    let owner = House::member(&keyring, &url, more).await;
    serves(&owner).await;
    let other = House::member(&keyring, &url, more).await;
    serves(&other).await;
    assert_eq!(owner.metric("origin_partitions_up").await, 1.0);
    assert_eq!(other.metric("origin_partitions_up").await, 0.0);
    (owner, other)
}

async fn serves(house: &House) {
    let ana = house.visitor();
    let look = || async {
        let seen = house.send(ana.request(Method::GET, "/availability")).await;
        (seen.status == 200).then_some(())
    };
    eventually(look, "that it serves").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_and_a_buyer_who_comes_back_find_the_order_through_any_process() {
    let gateway = FakeGateway::start("127.0.0.1:0".parse().unwrap(), KEY).await.unwrap();
    let more = format!(
        "payment.capture_after_secs = 3600\n\
         payment.gateways = [{{ kind = \"stripe\", name = \"a\", base_url = \"{}\", \
         secret_key = \"{KEY}\", webhook_secrets = [\"{SECRET}\"] }}]",
        gateway.base_url()
    );
    let (owner, other) = owner_and_other(&more).await;
    gateway.webhooks_to(&format!("{}/api/v1/payments/a/webhook", other.base), &[SECRET]);
    let ana = other.visitor();
    let challenged = async |seat| {
        let hold = ana.hold(&[seat]).await;
        let asked = ana.pay(&hold, "pm_card_threeDSecure2Required", &hold).await.succeeds(202);
        let secret = text(&asked["payment"]["client_secret"]).to_owned();
        let intent = secret.split("_secret").next().unwrap();
        assert!(gateway.authenticate(intent, true));
        format!("/api/v1/orders/{}", text(&asked["order"]))
    };
    let order = challenged(1).await;
    let forged = Delivery { is_forged: true, tries: 1, ..Delivery::default() };
    let statuses = gateway.deliver(forged).await;
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == 400), "{statuses:?}");
    assert_eq!(owner.metric("origin_webhooks_refused_total").await, statuses.len() as f64);
    let resumed = other.client.post(format!("{}{order}/resume", other.base));
    assert_eq!(other.send(resumed).await.succeeds(200)["state"], "confirmed");

    let order = challenged(2).await;
    let statuses = gateway.deliver(Delivery { copies: 3, ..Delivery::default() }).await;
    assert!(statuses.len() >= 3 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    for house in [&owner, &other] {
        assert_eq!(house.get(&order).await.succeeds(200)["state"], "confirmed");
        assert_eq!(house.metric("origin_webhooks_parked_total").await, 0.0);
    }
    assert_eq!(gateway.totals().authorised, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_operators_and_organisers_are_served_by_any_process() {
    let (owner, other) = owner_and_other("").await;
    let ana = owner.visitor();
    let hold = ana.hold(&[1, 2, 3]).await;
    let order = ana.pay(&hold, "tok_ok", "k").await.succeeds(201);
    let barcode = |nth: usize| text(&order["tickets"][nth]["barcode"]).to_owned();
    let post = async |house: &House, path: &str, token: &str, body: Value| {
        let (status, text) = house.ask_internal(Method::POST, path, token, Some(body)).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };

    let scan = json!({ "event": FINAL, "barcode": barcode(0), "gate": "A" });
    let (status, admitted) = post(&other, "/api/v1/checkin", SCANNER, scan.clone()).await;
    assert_eq!((status, &admitted["admitted"]), (200, &json!(true)), "{admitted}");
    for house in [&owner, &other] {
        let (status, refused) = post(house, "/api/v1/checkin", SCANNER, scan.clone()).await;
        assert_eq!((status, &refused["code"]), (409, &json!("ticket-used")));
        let (status, _) =
            post(house, "/api/v1/checkin", "token-of-nobody-at-all", scan.clone()).await;
        assert_eq!(status, 401, "the owner looks at the token, too");
    }
    let scans = json!([{ "barcode": barcode(1), "gate": "A", "at": 1,
                         "scan": Id128::random().to_string() }]);
    let batch = json!({ "event": FINAL, "scans": scans });
    let (status, told) = post(&other, "/api/v1/checkin/batch", SCANNER, batch).await;
    assert_eq!((status, &told["scans"][0]["admitted"]), (200, &json!(true)), "{told}");

    let orders = format!("/internal/v1/events/{FINAL}/orders/{}", text(&order["order"]));
    let third = json!({ "tickets": [order["tickets"][2]["ticket"]] });
    let (status, given_back) = post(&other, &format!("{orders}/refund"), TOKEN, third).await;
    assert_eq!((status, &given_back["tickets"][2]["state"]), (200, &json!("void")), "{given_back}");
    let (status, refused) = post(&other, &format!("{orders}/send"), TOKEN, json!({})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("no-address")));

    let admin = |rest: &str| format!("/admin/v1/events/{FINAL}/{rest}");
    let seats = json!({ "channel": "sponsor", "seats": [10, 11] });
    let (status, blocks) = post(&other, &admin("block"), ORGANISER, seats).await;
    assert_eq!((status, &blocks["blocks"][0]["channel"]), (200, &json!("sponsor")), "{blocks}");
    let one = json!({ "channel": "sponsor", "seats": [10] });
    assert_eq!(post(&other, &admin("unblock"), ORGANISER, one).await.0, 200);

    let trail = format!("/api/v1/checkin/{FINAL}/trail");
    let attention = "/internal/v1/payments/attention".to_owned();
    for (path, token) in [
        (trail, SCANNER),
        (admin("blocks"), ORGANISER),
        (admin("orders"), ORGANISER),
        (admin("orders.csv"), ORGANISER),
        (admin("seats.csv"), ORGANISER),
        (attention, TOKEN),
        ("/internal/v1/undeliverable".to_owned(), TOKEN),
    ] {
        let asked = async |house: &House| house.ask_internal(Method::GET, &path, token, None).await;
        let (ours, theirs) = (asked(&owner).await, asked(&other).await);
        assert_eq!(ours.0, 200, "{path}: {}", ours.1);
        assert_eq!(ours, theirs, "{path}");
    }

    let loads = [&owner, &other].map(|house| house.internal("/internal/v1/load"));
    for load in futures_util::future::join_all(loads).await {
        assert_eq!(load["stock"].as_array().unwrap().len(), 1, "{load}");
        assert_eq!((&load["stock"][0]["sold"], &load["missing"]), (&json!(2), &Value::Null));
        assert!(load["requests_total"].as_u64().unwrap() > 0, "{load}");
    }
    let cancel = format!("/internal/v1/events/{FINAL}/cancel");
    assert_eq!(post(&other, &cancel, TOKEN, json!({})).await.0, 202);
    ana.holds(json!({ "seats": [20] })).await.is(409, "event-cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_tells_one_process_of_the_seat_map_all_follow_and_a_restart_too() {
    let (keyring, url) = (keyring(), Postgres::shared().database());
    let owner = House::member(&keyring, &url, "").await;
    serves(&owner).await;
    let other = House::member(&keyring, &url, "").await;
    let paused = json!({ "event": FINAL, "mode": "paused" });
    let pin = async |house: &House, body: Value| {
        let (status, told) =
            house.ask_internal(Method::PUT, "/internal/v1/mode", TOKEN, Some(body)).await;
        assert_eq!(status, 200, "{told}");
    };
    let mut seats = 0_u32..;
    let mut holds = async |house: &House, code: Option<&str>| {
        let look = || {
            let body = json!({ "seats": [seats.next()] });
            async move {
                let seen = house.visitor().holds(body).await;
                (seen.body["code"].as_str() == code).then_some(())
            }
        };
        eventually(look, &format!("a hold answered with {code:?}")).await;
    };
    // Whoever is asked, it is the owner who refuses.
    pin(&other, paused).await;
    holds(&owner, Some("mode")).await;
    let third = House::member(&keyring, &url, "").await;
    let modes = third.internal("/internal/v1/mode").await;
    assert_eq!(modes["pinned_events"][FINAL], "paused", "{modes}");
    pin(&third, json!({ "event": FINAL, "mode": null })).await;
    holds(&owner, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_answers_the_sandboxs_bank_through_any_process() {
    let (owner, other) = owner_and_other("").await;
    let ana = other.visitor();
    let hold = ana.hold(&[1]).await;
    let asked = ana.pay(&hold, "tok_action", "k").await.succeeds(202);
    let challenge = async |house: &House, secret: &str| {
        let url = format!("{}/api/v1/payments/sandbox/challenge", house.base);
        let body = json!({ "client_secret": secret, "is_approved": true });
        house.send(house.client.post(url).json(&body)).await
    };
    let secret = text(&asked["payment"]["client_secret"]);
    let answered = challenge(&other, secret).await.succeeds(200);
    assert_eq!(answered["order_url"], asked["order_url"]);
    for house in [&owner, &other] {
        challenge(house, "nobody").await.is(404, "unknown-order");
    }
    let resume = format!("{}/api/v1/orders/{}/resume", other.base, text(&asked["order"]));
    assert_eq!(other.send(other.client.post(resume)).await.succeeds(200)["state"], "confirmed");
}
