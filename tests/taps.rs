//! Who taps twice, or whose answer is lost, is one visitor: what their browser keeps decides.

use serde_json::{Value, json};

use crate::support::visitor::{Answer, Visitor};
use crate::support::{EVENT, Page, TestStack, eventually};

async fn inside(stack: &TestStack) -> Option<u64> {
    let (_, room) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
    room["inside"].as_u64()
}

#[tokio::test]
async fn two_taps_at_once_are_the_place_that_the_browser_keeps() {
    let stack = TestStack::start_standing().await;
    let fan = stack.visitor();
    // Both are on their way before either is answered, so neither shows a place.
    let path = format!("/events/{EVENT}");
    let (one, other) = tokio::join!(fan.open(&path), fan.open(&path));
    let given = [&one, &other].map(|answer| answer.field("set-cookie").to_owned());
    assert!(given.iter().all(|cookie| cookie.starts_with("wr_place_")), "{given:?}");
    assert_ne!(given[0], given[1]);
    let kept = fan.cookie("wr_place").unwrap();
    assert!(given.iter().any(|cookie| cookie.contains(&kept)), "one of them, as browsers do");
    let num = fan.status().await["num"].clone();
    assert_eq!(fan.arrive().await, Page::Waiting);
    assert_eq!(fan.status().await["num"], num, "and it stays that one");
    // The other number is nobody's: the next fan stands behind both, and is kept out by neither.
    let next = stack.visitor();
    assert_eq!(next.arrive().await, Page::Waiting);
    assert_eq!(next.status().await["num"], 3);
    stack.let_in(3).await;
    fan.enter().await;
    next.enter().await;
    eventually("two fans are inside", || async { inside(&stack).await == Some(2) }).await;
    stack.stop().await;
}

#[tokio::test]
async fn a_join_that_is_sent_again_with_its_key_is_the_same_visitor() {
    let stack = TestStack::start_standing().await;
    let join = async |visitor: &Visitor, key: Option<&str>| -> Answer {
        let mut fields = vec![("accept", "application/json")];
        fields.extend(key.map(|key| ("idempotency-key", key)));
        let body = json!({"event_id": EVENT});
        let answer = visitor.send("POST", "/api/v1/queue/join", &fields, Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer
    };
    let visitor = |answer: &Answer| -> Value { answer.json()["visitor"].clone() };
    // An app that has lost the answer has no cookie to show; its key says who it is.
    let [lost, again, keyless, twice] = [(); 4].map(|()| stack.visitor());
    let first = join(&lost, Some("order of the app 7")).await;
    let retry = join(&again, Some("order of the app 7")).await;
    assert_eq!(visitor(&first), visitor(&retry));
    // With neither cookie nor key nobody can tell: it is somebody else.
    let (one, other) = (join(&keyless, None).await, join(&twice, None).await);
    assert_ne!(visitor(&one), visitor(&other));
    stack.let_in(4).await;
    for visitor in [&lost, &again] {
        eventually("the turn counts", || async { visitor.claim().await.status == 200 }).await;
    }
    eventually("they are one visitor inside", || async { inside(&stack).await == Some(1) }).await;
    stack.stop().await;
}
