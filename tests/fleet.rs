//! Two controllers on one Redis and three edges lose each in turn, and nobody's place suffers: order
//! is kept, nobody enters early, no number is given twice, no front goes back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use keys::{Lane, Phase, Place, Timestamp};
use serde_json::json;

use crate::support::fleet::Fleet;
use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, eventually};

/// Visitors who have joined, in their order, each with their number.
#[derive(Default)]
struct Line {
    visitors: Vec<(u64, Visitor)>,
}

impl Line {
    /// Somebody joins at this edge, as soon as that is possible, behind all others.
    async fn join(&mut self, fleet: &Fleet, edge: usize) {
        let visitor = fleet.visitor(edge);
        eventually("somebody can join", || async { visitor.arrive().await == Page::Waiting }).await;
        let num = number(&visitor);
        // Numbers are leased for half a second: whoever comes that close may stand before.
        assert!(self.visitors.iter().all(|(other, _)| *other != num), "{num} was given twice");
        self.visitors.push((num, visitor));
    }

    /// All whose turn has come enter, at another edge than the one that they joined at; the others
    /// are kept out.
    async fn nobody_enters_early(&self, fleet: &Fleet) {
        for (at, (num, visitor)) in self.visitors.iter().enumerate() {
            let edge = (at + 1) % 3;
            let visitor = visitor.moved_to(fleet.edge_addrs()[edge]);
            let is_inside = visitor.arrive().await == Page::Shop;
            let front = fleet.front(edge).await.unwrap();
            let reached = front.at(Lane::Standard, Timestamp::now());
            assert!(!is_inside || *num <= reached, "{num} is inside, the front at {reached}");
        }
    }

    async fn all_enter(&self) {
        for (_, visitor) in &self.visitors {
            visitor.enter().await;
        }
    }
}

/// What is in a place, unverified: these tests made the keys.
fn number(visitor: &Visitor) -> u64 {
    use base64::Engine as _;
    let place = visitor.place();
    let claims = place.as_str().split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice::<Place>(&claims).unwrap().num
}

#[tokio::test]
async fn a_line_outlives_each_controller_and_redis() {
    let mut fleet = Fleet::start(4.0).await;
    let watch = fleet.watch_fronts();
    let mut line = Line::default();
    for edge in [0, 1, 2, 0, 1, 2] {
        line.join(&fleet, edge).await;
    }
    for _ in 0..2 {
        let leader = fleet.until_somebody_leads().await;
        let other = 1 - leader;
        fleet.kill_controller(leader).await;
        let since = Instant::now();
        // The other answers at once, and leads soon.
        line.join(&fleet, 0).await;
        line.join(&fleet, 1).await;
        eventually("the other leads", || async { fleet.is_leader(other).await == Some(true) })
            .await;
        println!("controller {other} leads {:?} after the other was killed", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(6), "the joins included");
        line.nobody_enters_early(&fleet).await;
        fleet.start_controller(leader);
        eventually("it follows", || async { fleet.is_leader(leader).await == Some(false) }).await;
    }
    fleet.redis.stop_immediate();
    line.nobody_enters_early(&fleet).await;
    fleet.redis.restart();
    let since = Instant::now();
    for edge in [2, 1, 0] {
        line.join(&fleet, edge).await;
    }
    println!("joins went on {:?} after Redis was back", since.elapsed());
    line.nobody_enters_early(&fleet).await;
    line.all_enter().await;
    let numbers: BTreeSet<u64> = line.visitors.iter().map(|(num, _)| *num).collect();
    assert_eq!(numbers.len(), line.visitors.len());
    watch.end().await;
}

#[tokio::test]
async fn a_line_outlives_the_primary_of_redis_and_a_code_counts_no_more_often() {
    let mut fleet = Fleet::start_replicated(4.0).await;
    fleet.until_somebody_leads().await;
    let watch = fleet.watch_fronts();
    let path = format!("/api/v1/rooms/{EVENT}/codes");
    let spec = json!({"label": "fans", "uses": 2, "codes": ["FANS-2026"]});
    let made = fleet.operator(0, "POST", &path, Some(spec)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let mut line = Line::default();
    for edge in 0..3 {
        line.join(&fleet, edge).await;
    }
    let join = async |visitor: &Visitor| {
        let body = json!({"event_id": EVENT, "access_code": "FANS-2026"});
        visitor.post("/api/v1/queue/join", body).await
    };
    let (ana, ben, cara) = (fleet.visitor(0), fleet.visitor(1), fleet.visitor(2));
    assert_eq!(ana.arrive().await, Page::Waiting);
    let first = join(&ana).await;
    assert_eq!(first.json()["lane"], "priority", "{}", first.text());
    let phone = fleet.visitor(2);
    assert_eq!(phone.arrive().await, Page::Waiting);
    let num = number(&phone);
    let code = phone.post("/api/v1/queue/transfer", json!({"event_id": EVENT})).await;
    let code = code.json()["code"].as_str().unwrap().to_owned();

    fleet.fail_redis_over();
    let since = Instant::now();
    for edge in 0..3 {
        line.join(&fleet, edge).await;
    }
    println!("joins went on {:?} after the replica had taken over", since.elapsed());
    line.nobody_enters_early(&fleet).await;
    // Used once before and once after: that is twice, and there is no third time.
    let again = join(&ana).await;
    assert_eq!(again.json()["num"], first.json()["num"], "{}", again.text());
    assert_eq!(join(&ben).await.json()["lane"], "priority");
    assert_eq!(join(&cara).await.code(), "code-used");
    let laptop =
        fleet.visitor(0).with_agent("Mozilla/5.0 (Macintosh) Version/26.0 Safari/605.1.15");
    let redeem = json!({"event_id": EVENT, "code": code});
    let moved = laptop.post("/api/v1/queue/transfer/redeem", redeem.clone()).await;
    assert_eq!((moved.status, &moved.json()["num"]), (200, &json!(num)), "{}", moved.text());
    fleet.fail_redis_over();
    let settled = || async {
        laptop.post("/api/v1/queue/transfer/redeem", redeem.clone()).await.status == 200
    };
    eventually("an answer that was lost is given again", settled).await;
    let thief = fleet.visitor(1).post("/api/v1/queue/transfer/redeem", redeem.clone()).await;
    assert_eq!(thief.code(), "unknown-code", "it is good once");
    line.join(&fleet, 0).await;
    line.nobody_enters_early(&fleet).await;
    line.all_enter().await;
    ana.enter().await;
    watch.end().await;
}

#[tokio::test]
async fn a_leader_that_was_frozen_publishes_nothing_old() {
    let fleet = Fleet::start(20.0).await;
    let mut line = Line::default();
    line.join(&fleet, 0).await;
    let leader = fleet.until_somebody_leads().await;
    let epoch = fleet.front(0).await.unwrap().epoch;
    let watch = fleet.watch_fronts();
    fleet.signal_controller(leader, "STOP");
    let since = Instant::now();
    eventually("the other leads", || async { fleet.is_leader(1 - leader).await == Some(true) })
        .await;
    println!("taken over {:?} after the leader froze", since.elapsed());
    for edge in 0..3 {
        eventually("all edges hear the new leader", || async {
            fleet.front(edge).await.is_some_and(|front| front.epoch > epoch)
        })
        .await;
    }
    fleet.signal_controller(leader, "CONT");
    eventually("it has found out", || async { fleet.is_leader(leader).await == Some(false) }).await;
    for edge in 0..3 {
        line.join(&fleet, edge).await;
        assert!(fleet.front(edge).await.unwrap().epoch > epoch, "an old front came back");
    }
    line.nobody_enters_early(&fleet).await;
    line.all_enter().await;
    watch.end().await;
}

#[tokio::test]
async fn edges_go_on_along_the_signed_line_and_then_hold() {
    let mut fleet = Fleet::start(5.0).await;
    let mut line = Line::default();
    for _ in 0..12 {
        line.join(&fleet, 0).await;
    }
    let watch = fleet.watch_fronts();
    // First the follower, so that nobody takes over.
    let leader = fleet.until_somebody_leads().await;
    fleet.kill_controller(1 - leader).await;
    fleet.kill_controller(leader).await;
    let last = fleet.front(0).await.unwrap();
    eventually("numbers have run out", || async {
        let joined = fleet.visitor(0).post("/api/v1/queue/join", json!({"event_id": EVENT})).await;
        joined.status == 503 && joined.code() == "hold-on"
    })
    .await;
    eventually("the line is over", || async { Timestamp::now() > last.until }).await;
    // Where it ended it stands, at every edge, and nobody behind it comes in.
    for edge in 0..3 {
        let front = fleet.front(edge).await.unwrap();
        let (at_end, later) = (front.until, Timestamp::now().plus_secs(60));
        assert_eq!(front.at(Lane::Standard, at_end), front.at(Lane::Standard, later));
    }
    line.nobody_enters_early(&fleet).await;
    fleet.start_controller(0);
    fleet.start_controller(1);
    line.join(&fleet, 1).await;
    line.all_enter().await;
    watch.end().await;
}

#[tokio::test]
async fn rooms_change_everywhere_within_two_seconds() {
    let fleet = Fleet::start(1.0).await;
    fleet.until_somebody_leads().await;
    let later = |secs| Timestamp::now().floor_to_secs().plus_secs(secs);
    let (soon, evening) = (later(3600), later(7200));
    let room = json!({
        "event": "other", "title": "Another sale", "mode": "on", "opens_at": soon,
        "guard": {"paths": ["/events/other"]},
    });
    let mut took = Vec::new();
    // What all edges are to show: the phase and the opening, or no such room.
    let mut everywhere = async |what: &str, since: Instant, expected| {
        for edge in 0..3 {
            eventually(what, || async {
                let front = fleet.front_of(edge, "other").await;
                front.map(|front| (front.phase, front.opens_at)) == expected
            })
            .await;
        }
        println!("{what} everywhere after {:?}", since.elapsed());
        took.push(since.elapsed());
    };
    // Each step at the other controller.
    let path = "/api/v1/rooms/other";
    let since = Instant::now();
    let made = fleet.operator(0, "PUT", path, Some(room)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    everywhere("scheduled", since, Some((Phase::Scheduled, Some(soon)))).await;
    let since = Instant::now();
    fleet.change_room(1, "other", |spec| spec["opens_at"] = json!(evening)).await;
    everywhere("put off", since, Some((Phase::Scheduled, Some(evening)))).await;
    let since = Instant::now();
    fleet.change_room(0, "other", |spec| spec["opens_at"] = json!(null)).await;
    everywhere("opened by hand", since, Some((Phase::Open, None))).await;
    let opens_at = later(4);
    fleet.change_room(1, "other", |spec| spec["opens_at"] = json!(opens_at)).await;
    everywhere("about to open", Instant::now(), Some((Phase::Scheduled, Some(opens_at)))).await;
    let opens_in = opens_at.since(Timestamp::now());
    let since = Instant::now() + opens_in;
    everywhere("opened by the clock", since, Some((Phase::Open, Some(opens_at)))).await;
    for at in [0, 1] {
        let since = Instant::now();
        let paused = fleet.operator(at, "POST", &format!("{path}/pause"), None).await;
        assert_eq!(paused.0, 200, "{}", paused.1);
        everywhere("paused", since, Some((Phase::Paused, Some(opens_at)))).await;
        let since = Instant::now();
        let resumed = fleet.operator(1 - at, "POST", &format!("{path}/resume"), None).await;
        assert_eq!(resumed.0, 200, "{}", resumed.1);
        everywhere("resumed", since, Some((Phase::Open, Some(opens_at)))).await;
    }
    let since = Instant::now();
    assert_eq!(fleet.operator(1, "DELETE", path, None).await.0, 204);
    everywhere("deleted", since, None).await;
    took.sort();
    let (middle, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("of {} changes the middle one took {middle:?}, the slowest {slowest:?}", took.len());
    assert!(middle < Duration::from_secs(2), "{took:?}");
    // Generous, for a debug build on a busy machine.
    assert!(slowest < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_pass_that_redis_has_forgotten_is_taken_for_what_it_says() {
    let fleet = Fleet::start(20.0).await;
    fleet.until_somebody_leads().await;
    let ana = fleet.visitor(0);
    ana.enter().await;
    let inside = async || {
        let room = fleet.operator(0, "GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
        room.1["inside"].as_u64()
    };
    eventually("she is inside", || async { inside().await == Some(1) }).await;
    let pass = ana.cookie("wr_pass").unwrap();
    fleet.redis.command(&["flushall"]);
    eventually("she is forgotten, and the room is not", || async { inside().await == Some(0) })
        .await;
    for controller in 0..2 {
        eventually("the store is trusted", || async {
            fleet.store_health(controller).await == "ok"
        })
        .await;
    }
    for edge in fleet.edge_addrs() {
        assert_eq!(ana.moved_to(edge).arrive().await, Page::Shop, "nobody inside is thrown out");
    }
    assert_eq!(inside().await, Some(0), "a pass is looked at by edges alone");
    // Half of twice the time is over: the pass is to be renewed with the next request.
    fleet.change_room(0, EVENT, |spec| spec["passes"]["idle_secs"] = json!(1500)).await;
    eventually("it is renewed", || async {
        assert_eq!(ana.arrive().await, Page::Shop);
        ana.cookie("wr_pass").unwrap() != pass
    })
    .await;
    eventually("she counts again", || async { inside().await == Some(1) }).await;
    assert_eq!(ana.moved_to(fleet.edge_addrs()[2]).arrive().await, Page::Shop);
}

#[tokio::test]
async fn a_silent_store_is_told_of_and_places_outlive_it() {
    let mut fleet = Fleet::start(20.0).await;
    fleet.until_somebody_leads().await;
    for controller in 0..2 {
        assert_eq!(fleet.store_health(controller).await, "ok");
    }
    let inside = fleet.visitor(0);
    inside.enter().await;
    fleet.redis.pause();
    for controller in 0..2 {
        eventually("a store that hangs is told of", || async {
            fleet.store_health(controller).await == "store does not answer"
        })
        .await;
    }
    assert_eq!(inside.arrive().await, Page::Shop, "whoever is inside stays there");
    fleet.redis.resume();
    fleet.redis.stop_immediate();
    eventually("one that is gone is told of", || async {
        fleet.store_health(0).await != "ok" && fleet.store_health(1).await != "ok"
    })
    .await;
    fleet.redis.restart();
    for controller in 0..2 {
        eventually("one that is back is well", || async {
            fleet.store_health(controller).await == "ok"
        })
        .await;
    }
    assert_eq!(inside.arrive().await, Page::Shop);
}
