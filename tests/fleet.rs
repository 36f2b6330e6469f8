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
    let room = json!({
        "event": "other", "title": "Another sale", "mode": "on",
        "guard": {"paths": ["/events/other"]},
    });
    let everywhere = async |what: &str, phase: Option<Phase>, since: Instant| {
        for edge in 0..3 {
            eventually(what, || async {
                fleet.front_of(edge, "other").await.map(|front| front.phase) == phase
            })
            .await;
        }
        println!("{what} everywhere after {:?}", since.elapsed());
        since.elapsed()
    };
    let mut slowest = Duration::ZERO;
    // Each step at the other controller.
    let path = "/api/v1/rooms/other";
    let since = Instant::now();
    let made = fleet.operator(0, "PUT", path, Some(room)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    slowest = slowest.max(everywhere("created", Some(Phase::Open), since).await);
    let since = Instant::now();
    let paused = fleet.operator(1, "POST", &format!("{path}/pause"), None).await;
    assert_eq!(paused.0, 200, "{}", paused.1);
    slowest = slowest.max(everywhere("paused", Some(Phase::Paused), since).await);
    let since = Instant::now();
    let resumed = fleet.operator(0, "POST", &format!("{path}/resume"), None).await;
    assert_eq!(resumed.0, 200, "{}", resumed.1);
    slowest = slowest.max(everywhere("resumed", Some(Phase::Open), since).await);
    let since = Instant::now();
    assert_eq!(fleet.operator(1, "DELETE", path, None).await.0, 204);
    slowest = slowest.max(everywhere("deleted", None, since).await);
    println!("the slowest change was everywhere after {slowest:?}");
    // Generous, for a debug build on a busy machine; what is printed is what counts.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
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
