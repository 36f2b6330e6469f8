//! A turn is kept for a while, and whoever misses it, or lets a pass lapse, comes back once.

use admission_api::PassRules;
use keys::Timestamp;
use serde_json::json;

use crate::support::stack::standing;
use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, TestStack, eventually};

async fn start(rules: PassRules, is_standing: bool) -> TestStack {
    TestStack::start_with(|config| {
        let room = &mut config.controller.rooms[0];
        room.passes = rules;
        if is_standing {
            room.pace = standing();
        }
    })
    .await
}

async fn until_later(secs: u64) {
    let until = Timestamp::now().plus_secs(secs);
    eventually("time has passed", || async { Timestamp::now() > until }).await;
}

/// Moves the front by a few positions, so that others stand behind it.
async fn call_first(stack: &TestStack) {
    stack.set_pace(1.0).await;
    eventually("the front has moved", || async { stack.front().await >= 1 }).await;
    stack.set_pace(0.0).await;
}

async fn until_my_turn(visitor: &Visitor) {
    eventually("the turn has come", || async { visitor.status().await["state"] == "your_turn" })
        .await;
}

#[tokio::test]
async fn who_misses_a_turn_stands_near_the_front_again_once() {
    let rules = PassRules { claim_secs: 2, return_secs: 600, ..PassRules::default() };
    let stack = start(rules, true).await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let num = ana.status().await["num"].as_u64().unwrap();
    for _ in 0..40 {
        assert_eq!(stack.visitor().arrive().await, Page::Waiting);
    }
    call_first(&stack).await;
    until_my_turn(&ana).await;
    assert_eq!(ana.status().await["claim_secs"], 2);
    until_later(5).await;

    let late = ana.claim().await;
    assert_eq!((late.status, late.code().as_str()), (409, "came-back"), "{}", late.text());
    let said = late.json();
    assert_eq!((&said["why"], &said["once"]), (&json!("turn_missed"), &json!(true)), "{said}");
    let position = said["position"].as_u64().unwrap();
    let front = stack.front().await;
    assert!((front + 1..=front + 5).contains(&position), "{position}, and the front at {front}");
    let status = ana.status().await;
    assert_eq!(
        (&status["state"], &status["position"], &status["came_back"], &status["num"]),
        (&json!("waiting"), &json!(position), &json!(true), &json!(num)),
        "{status}"
    );
    assert_eq!(ana.claim().await.code(), "not-yet", "and not twice");
    // The visitor's new place is as good as any: at another edge as well, and after a restart.
    let edge = stack.second_edge(|_| {}).await;
    assert_eq!(ana.moved_to(edge.addr).status().await["position"], position);
    edge.stop().await;
    stack.let_in(position.saturating_sub(stack.front().await)).await;
    eventually("she is called again", || async { ana.claim().await.status == 200 }).await;
    assert_eq!(ana.arrive().await, Page::Shop);

    stack.stop().await;
}

#[tokio::test]
async fn a_turn_that_was_missed_twice_is_over() {
    let rules = PassRules { claim_secs: 1, return_secs: 600, ..PassRules::default() };
    let stack = start(rules, true).await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    for _ in 0..20 {
        assert_eq!(stack.visitor().arrive().await, Page::Waiting);
    }
    call_first(&stack).await;
    until_my_turn(&ana).await;
    until_later(3).await;
    assert_eq!(ana.claim().await.code(), "came-back");
    stack.set_pace(200.0).await;
    until_my_turn(&ana).await;
    // Each mark of the front is good for ten seconds' worth of the time that is looked back.
    until_later(13).await;
    assert_eq!(ana.claim().await.code(), "place-used");
    stack.stop().await;
}

#[tokio::test]
async fn time_does_not_run_while_nobody_can_claim() {
    let rules = PassRules { claim_secs: 8, return_secs: 60, ..PassRules::default() };
    let stack = start(rules, true).await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!((ana.arrive().await, ben.arrive().await), (Page::Waiting, Page::Waiting));
    let num = ana.status().await["num"].as_u64().unwrap();
    stack.let_in(num).await;
    until_my_turn(&ana).await;
    let path = format!("/api/v1/rooms/{EVENT}/pause");
    assert_eq!(stack.operator("POST", &path, None).await.0, 200);
    until_later(12).await;
    assert_eq!(ana.claim().await.status, 200, "paused stops the front, not those called");
    stack.stop().await;
}

#[tokio::test]
async fn a_pass_that_lapsed_brings_its_visitor_back_once() {
    let rules = PassRules { idle_secs: 2, max_secs: 600, ..PassRules::default() };
    let stack = start(rules, false).await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let num = ana.status().await["num"].as_u64().unwrap();
    until_later(3).await;
    let page = ana.get(&format!("/events/{EVENT}")).await;
    assert_eq!((page.status, page.code().as_str()), (503, "waiting"), "the pass has ended");
    // Nobody else is in line: the place near the front is at the front.
    eventually("she is inside again", || async { ana.arrive().await == Page::Shop }).await;
    assert_eq!(ana.status().await["num"], num, "with the place that she had");
    until_later(3).await;
    eventually("she is inside with a new place", || async { ana.arrive().await == Page::Shop })
        .await;
    assert!(ana.status().await["num"].as_u64().unwrap() > num, "at the end of the line");
    stack.stop().await;
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_gives_the_same_pass() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let num = ana.status().await["num"].as_u64().unwrap();
    stack.let_in(num).await;
    eventually("the turn has come", || async { ana.claim().await.status == 200 }).await;
    let first = ana.cookie("wr_pass").unwrap();
    // Another network, another edge, no pass: the phone woke up elsewhere.
    let edge = stack.second_edge(|_| {}).await;
    let woken = ana.elsewhere().moved_to(edge.addr);
    woken.set_cookie(&format!("wr_pass_{EVENT}"), "gone");
    let again = woken.claim().await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(woken.cookie("wr_pass").unwrap(), first);
    assert_eq!(woken.arrive().await, Page::Shop);
    edge.stop().await;
    // What is told of a room is as old as the controller's last look.
    let inside = || async {
        let (_, room) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
        room["inside"].as_u64().unwrap()
    };
    eventually("it is counted", || async { inside().await > 0 }).await;
    assert_eq!(inside().await, 1, "counted once");
    stack.stop().await;
}
