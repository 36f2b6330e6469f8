//! A pass that ends is over everywhere at once, whoever ended it, and its room inside is free.

use std::time::{Duration, Instant};

use admission_api::PassRules;
use serde_json::{Value, json};

use crate::support::fleet::Fleet;
use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, TestStack, eventually};

/// Asked for as a script does: without a pass there is no answer from the shop, and no new place.
async fn is_inside(visitor: &Visitor) -> bool {
    visitor.get(&format!("/events/{EVENT}")).await.status == 200
}

async fn inside(stack: &TestStack) -> u64 {
    let (_, room) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
    room["inside"].as_u64().unwrap()
}

#[tokio::test]
async fn what_an_operator_takes_away_is_void_at_every_edge() {
    let fleet = Fleet::start(1000.0).await;
    let visitors = [fleet.visitor(0), fleet.visitor(1), fleet.visitor(2)];
    let everywhere = |visitor: &Visitor| fleet.edge_addrs().map(|edge| visitor.moved_to(edge));
    for visitor in &visitors {
        visitor.enter().await;
        for at in everywhere(visitor) {
            assert!(is_inside(&at).await, "a pass is good at every edge");
        }
    }
    let until_out = async |visitor: &Visitor, what: &str| {
        let since = Instant::now();
        for at in everywhere(visitor) {
            eventually(what, || async { !is_inside(&at).await }).await;
        }
        println!("{what}: everywhere after {:?}", since.elapsed());
        // Generous, for a debug build on a busy machine; what is printed is what counts.
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    };
    let [ana, ben, cem] = &visitors;
    let id = ana.status().await["visitor"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/rooms/{EVENT}/passes/{id}/revoke");
    let why = Some(json!({"why": "the same card in ten rooms"}));
    // At whichever controller: the other one's edges hear of it as well.
    let (status, said) = fleet.operator(0, "POST", &path, why.clone()).await;
    assert_eq!((status, &said["state"]), (200, &json!("ended")), "{said}");
    until_out(ana, "one pass taken away").await;
    assert!(is_inside(ben).await, "and no other");
    let (_, said) = fleet.operator(1, "POST", &path, why.clone()).await;
    assert_eq!(said["state"], "ended_before");
    let used = ana.claim().await;
    assert_eq!((used.status, used.code().as_str()), (410, "place-used"));

    let path = format!("/api/v1/rooms/{EVENT}/passes/revoke");
    let (status, said) = fleet.operator(1, "POST", &path, why).await;
    assert_eq!((status, &said["inside"]), (200, &json!(0)), "{said}");
    until_out(ben, "all passes taken away").await;
    until_out(cem, "all passes taken away, the other visitor").await;
    let dora = fleet.visitor(0);
    dora.enter().await;
    assert!(is_inside(&dora.moved_to(fleet.edge_addrs()[2])).await, "passes of now are good");
}

#[tokio::test]
async fn a_place_may_be_made_void_before_its_turn() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let id = ana.status().await["visitor"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/rooms/{EVENT}/passes/{id}/revoke");
    let refused = stack.security("POST", &path, Some(json!({"why": " "}))).await;
    assert_eq!((refused.0, &refused.1["code"]), (422, &json!("why-required")));
    let (status, said) = stack.security("POST", &path, Some(json!({"why": "a farm"}))).await;
    assert_eq!((status, &said["state"]), (200, &json!("voided")), "{said}");
    let num = ana.status().await["num"].as_u64().unwrap();
    stack.let_in(num).await;
    eventually("the place is refused", || async { ana.claim().await.code() == "place-used" }).await;
    stack.stop().await;
}

#[tokio::test]
async fn room_is_free_at_once_when_a_visit_is_over() {
    let stack = TestStack::start_with(|config| {
        let passes = &mut config.controller.rooms[0].passes;
        *passes = PassRules { idle_secs: 3, max_secs: 60, ..*passes };
    })
    .await;
    let enter = async || {
        let visitor = stack.visitor();
        assert_eq!(visitor.arrive().await, Page::Shop);
        eventually("one is inside", || async { inside(&stack).await == 1 }).await;
        visitor
    };
    let until_free = async |what: &str, within_ms: u64| {
        let since = Instant::now();
        eventually(what, || async { inside(&stack).await == 0 }).await;
        println!("{what}: free after {:?}", since.elapsed());
        let within = Duration::from_millis(within_ms);
        assert!(since.elapsed() < within, "{what}: {:?}", since.elapsed());
    };

    let ana = enter().await;
    let left = ana.post("/api/v1/queue/leave", json!({"event_id": EVENT})).await;
    assert_eq!(left.status, 204);
    until_free("left", 2500).await;

    let ben = enter().await;
    let hold = ben.hold(&[3]).await.json();
    assert_eq!(ben.pay(&hold["hold"], "tok_ok", "bought").await.status, 201);
    until_free("finished", 2500).await;

    let cem = enter().await;
    let id = cem.status().await["visitor"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/rooms/{EVENT}/passes/{id}/revoke");
    let (status, _): (u16, Value) =
        stack.security("POST", &path, Some(json!({"why": "a test"}))).await;
    assert_eq!(status, 200);
    until_free("taken away", 2500).await;

    enter().await;
    // Three seconds without use, and a moment for whoever counts.
    until_free("expired", 5500).await;
    stack.stop().await;
}
