//! Is the sale the same whatever it is kept in, and whatever becomes of Redis?

use std::time::Instant;

use servers::{Postgres, Redis};

use super::*;

/// Visitors who want the same seat at once.
const RIVALS: usize = 8;

/// Exactly one of many gets a seat that is free, and the others hear that it is taken.
async fn race(house: &House, seat: u32, what: &str) {
    let rivals: Vec<_> = (0..RIVALS).map(|_| house.visitor()).collect();
    let wishes = rivals.iter().map(|rival| rival.holds(json!({ "seats": [seat] })));
    let mut won = 0;
    for seen in futures_util::future::join_all(wishes).await {
        match seen.status.as_u16() {
            201 => won += 1,
            _ => assert!(seen.is(409, "seat-taken").body["seq"].is_u64()),
        }
    }
    assert_eq!(won, 1, "{what}");
}

#[tokio::test]
async fn redis_flushed_frozen_or_gone_changes_only_how_fast_a_refusal_comes() {
    let mut redis = Redis::start();
    let store = format!("redis = {{ url = \"{}\", timeout_ms = 50 }}", redis.url());
    let house = House::open_with(&store).await;
    let taken = async || house.visitor().holds(json!({ "seats": [0] })).await;
    race(&house, 0, "with Redis").await;
    taken().await.is(409, "seat-taken");
    redis.command(&["FLUSHALL"]);
    taken().await.is(409, "seat-taken");
    race(&house, 1, "flushed").await;
    redis.pause();
    race(&house, 2, "frozen").await;
    taken().await.is(409, "seat-taken");
    redis.resume();
    race(&house, 3, "thawed").await;
    redis.stop_immediate();
    race(&house, 4, "gone").await;
    taken().await.is(409, "seat-taken");
    redis.restart();
    race(&house, 5, "back").await;
    assert_eq!(house.stock().await["held"], 6);
}

#[tokio::test]
async fn a_mark_says_no_until_it_ends_and_goes_with_its_hold() {
    let redis = Redis::start();
    let store = format!("redis = {{ url = \"{}\", timeout_ms = 1000 }}", redis.url());
    let house = House::open_with(&store).await;
    let ana = house.visitor();
    let seat_key = format!("wr:{{{FINAL}}}:seat:7");
    redis.command(&["SET", &seat_key, "nobody", "PX", "300"]);
    // The connection may take longer than one answer is waited for; then the writer says yes.
    let since = Instant::now();
    let hold = loop {
        let seen = ana.holds(json!({ "seats": [7] })).await;
        if seen.status == StatusCode::CREATED {
            break seen.body["hold"].as_str().unwrap().to_owned();
        }
        let seats = seen.is(409, "seat-taken").body["seats"].clone();
        assert_eq!(seats, json!([7]));
        assert!(since.elapsed() < Duration::from_secs(20), "the mark does not end");
    };
    redis.command(&["DEL", &seat_key]);
    let other = ana.hold(&[8]).await;
    let marked = redis.command(&["GET", &format!("wr:{{{FINAL}}}:seat:8")]);
    assert_eq!(marked, other);
    // Too many: the writer's reason, and the marks are gone.
    house.visitor().holds(json!({ "seats": [9, 7] })).await.is(409, "seat-taken");
    assert_eq!(redis.command(&["GET", &format!("wr:{{{FINAL}}}:seat:9")]), "");
    for hold in [hold, other] {
        ana.release(&hold).await.succeeds(204);
    }
    assert_eq!(redis.command(&["DBSIZE"]), "0");
    house.visitor().hold(&[7, 8]).await;
}

#[tokio::test]
async fn the_sale_runs_on_postgres_and_its_rows_are_there_with_the_answer() {
    let server = Postgres::shared();
    let url = server.database();
    let store = format!("postgres = {{ url = \"{url}\" }}");
    let mut house = House::open_with(&store).await;
    let ana = house.visitor();
    let hold = ana.hold(&[0, 1]).await;
    let status = "SELECT DISTINCT status FROM seats";
    assert_eq!(server.sql(&url, status), "held");
    let order = ana.pay(&hold, "tok_ok", "key-1").await.succeeds(201);
    assert_eq!(server.sql(&url, status), "sold");
    let live = "SELECT count(*) FROM tickets WHERE state = 'live'";
    assert_eq!(server.sql(&url, live), "2");
    let sold = server.sql(&url, "SELECT order_id, total FROM orders WHERE state = 'sold'");
    assert_eq!(sold, format!("{}|{}", text(&order["order"]), order["total"]));
    race(&house, 2, "on PostgreSQL").await;
    let load = house.internal("/internal/v1/load").await;
    assert_eq!(load["db_cpu_source"], "host of postgres");

    house.stop().await;
    house.start(&store).await;
    let stock = house.stock().await;
    assert_eq!((&stock["sold"], &stock["held"]), (&json!(2), &json!(1)));
    house.visitor().holds(json!({ "seats": [0] })).await.is(409, "seat-taken");
    race(&house, 3, "after a restart").await;
}
