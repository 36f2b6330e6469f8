//! What do operators and strangers meet: odd requests, files, reports, a start and a restart?

use super::*;

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
