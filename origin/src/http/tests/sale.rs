//! Does a visit lead to tickets, and is every refusal on the way told and without effect?

use super::*;

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
    let (start, end) = good.split_at(good.len() - 9);
    let other = if end.starts_with('A') { 'B' } else { 'A' };
    let bent = format!("{start}{other}{}", &end[1..]);
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
