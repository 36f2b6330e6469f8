//! A code or a ticket opens the priority lane as often as it may, and guessing opens nothing.

use admission_api::RoomMode;
use serde_json::{Value, json};

use crate::support::stack::standing;
use crate::support::visitor::{Answer, Visitor};
use crate::support::{EVENT, Page, TestStack, eventually};

async fn codes(stack: &TestStack, spec: Value) -> Vec<String> {
    let path = format!("/api/v1/rooms/{EVENT}/codes");
    let (status, said) = stack.operator("POST", &path, Some(spec)).await;
    assert_eq!(status, 201, "{said}");
    said["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().into()).collect()
}

async fn join(visitor: &Visitor, code: &str) -> Answer {
    visitor.post("/api/v1/queue/join", json!({"event_id": EVENT, "access_code": code})).await
}

#[tokio::test]
async fn a_code_opens_the_priority_lane_once_however_often_it_is_sent() {
    let stack = TestStack::start_standing().await;
    let made = codes(&stack, json!({"label": "fan club", "generate": {"count": 3}})).await;
    assert_eq!((made.len(), made[0].len()), (3, 14), "{made:?}");
    // First a place, then the code, from the page's form, in any spelling.
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let num = ana.status().await["num"].clone();
    let joined = join(&ana, &made[0].to_lowercase()).await;
    let said = joined.json();
    assert_eq!((joined.status, &said["lane"], &said["num"]), (200, &json!("priority"), &json!(1)));
    assert_eq!(ana.status().await["lane"], "priority");
    // The answer was lost: the same place asks again, at another edge.
    let edge = stack.second_edge(|_| {}).await;
    let again = ana.moved_to(edge.addr);
    let again = join(&again, &made[0]).await;
    assert_eq!((again.status, &again.json()["num"]), (200, &json!(1)), "{num}");
    edge.stop().await;
    // Somebody else is refused, and keeps the place that they were given.
    let ben = stack.visitor();
    let refused = join(&ben, &made[0]).await;
    assert_eq!((refused.status, refused.code().as_str()), (410, "code-used"));
    assert_eq!(ben.status().await["lane"], "standard");
    assert_eq!(join(&ben, &made[1]).await.json()["num"], 2);
    // Without a place, and with the same key of the request: one visitor, one number.
    let [first, retry] = [stack.visitor(), stack.visitor()];
    let send = async |visitor: &Visitor| {
        let fields = [("idempotency-key", "one and the same"), ("accept", "application/json")];
        let body = json!({"event_id": EVENT, "access_code": made[2]});
        visitor.send("POST", "/api/v1/queue/join", &fields, Some(body)).await
    };
    let (first, retry) = (send(&first).await, send(&retry).await);
    assert_eq!((first.status, retry.status), (201, 201), "{}", retry.text());
    assert_eq!(first.json()["num"], retry.json()["num"]);
    assert_eq!(first.json()["visitor"], retry.json()["visitor"]);
    let (_, listed) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}/codes"), None).await;
    let batch = &listed["batches"][0];
    assert_eq!((&batch["codes"], &batch["used"]), (&json!(3), &json!(3)), "{listed}");
    assert!(!listed.to_string().contains(&made[0]), "codes are told once");
    stack.stop().await;
}

#[tokio::test]
async fn the_priority_lane_goes_first_and_no_further_than_it_may() {
    let stack = TestStack::start_with(|config| {
        let room = &mut config.controller.rooms[0];
        room.mode = RoomMode::On;
        room.pace = standing();
        room.lanes.priority_max = Some(2);
    })
    .await;
    let made = codes(&stack, json!({"label": "VIP", "uses": 5, "generate": {"count": 1}})).await;
    let (late, vips) = (stack.visitor(), [stack.visitor(), stack.visitor(), stack.visitor()]);
    for _ in 0..20 {
        assert_eq!(stack.visitor().arrive().await, Page::Waiting);
    }
    assert_eq!(late.arrive().await, Page::Waiting);
    let before = late.status().await["position"].clone();
    for vip in &vips[..2] {
        assert_eq!(join(vip, &made[0]).await.json()["lane"], "priority");
    }
    let full = join(&vips[2], &made[0]).await;
    assert_eq!((full.status, full.code().as_str()), (409, "lane-full"));
    assert_eq!(vips[2].status().await["lane"], "standard");
    assert_eq!(late.status().await["position"], before, "nobody's position moves back");
    stack.set_pace(2.0).await;
    eventually("the first of the lane is inside", || async { vips[0].claim().await.status == 200 })
        .await;
    assert_eq!(late.claim().await.code(), "not-yet");
    stack.stop().await;
}

#[tokio::test]
async fn codes_can_be_brought_timed_and_taken_back() {
    let stack = TestStack::start_standing().await;
    let path = format!("/api/v1/rooms/{EVENT}/codes");
    codes(&stack, json!({"label": "printed", "codes": ["GOLD-2026", "SILVER-2026"]})).await;
    let later = keys::Timestamp::now().plus_secs(3600);
    let soon = json!({"label": "tomorrow", "codes": ["LATER-2026"], "valid_from": later});
    codes(&stack, soon).await;
    for (refused, spec) in [
        ("both", json!({"label": "x", "codes": ["ABCD"], "generate": {"count": 1}})),
        ("none", json!({"label": "x"})),
        ("a short one", json!({"label": "x", "codes": ["abc"]})),
        ("no uses", json!({"label": "x", "uses": 0, "codes": ["ABCD"]})),
        ("too many", json!({"label": "x", "generate": {"count": 10_001}})),
        ("guessable", json!({"label": "x", "generate": {"count": 1, "chars": 4}})),
    ] {
        let (status, said) = stack.operator("POST", &path, Some(spec)).await;
        assert_eq!((status, &said["code"]), (422, &json!("codes-refused")), "{refused}: {said}");
    }
    let code = async |text| join(&stack.visitor(), text).await.code();
    assert_eq!(code("later 2026").await, "code-not-yet");
    let (status, _) =
        stack.operator("POST", &format!("{path}/revoke"), Some(json!({"code": "gold2026"}))).await;
    assert_eq!(status, 204);
    assert_eq!(code("GOLD-2026").await, "code-revoked");
    assert_eq!(stack.operator("DELETE", &format!("{path}/1"), None).await.0, 204);
    assert_eq!(stack.operator("DELETE", &format!("{path}/9"), None).await.0, 404);
    assert_eq!(code("SILVER-2026").await, "code-revoked");
    let mut statuses = Vec::new();
    let guesser = stack.visitor();
    for guess in 0..20 {
        statuses.push(join(&guesser, &format!("GUESS-{guess}")).await.status);
    }
    assert!(statuses.iter().filter(|status| **status == 404).count() <= 8, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429));
    stack.stop().await;
}

#[tokio::test]
async fn a_ticket_of_an_event_that_counts_opens_the_lane_once() {
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].priority_for = vec![EVENT.parse().unwrap()];
    })
    .await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let hold = ana.hold(&[11]).await.json();
    let order = ana.pay(&hold["hold"], "tok_ok", "one").await;
    assert_eq!(order.status, 201, "{}", order.text());
    let barcode = order.json()["tickets"][0]["barcode"].as_str().unwrap().to_owned();
    stack.change_room(|room| room["mode"] = json!("on")).await;
    let show = async |ticket: &str| {
        let body = json!({"event_id": EVENT, "ticket": ticket});
        stack.visitor().post("/api/v1/queue/join", body).await
    };
    let joined = show(&barcode).await;
    assert_eq!((joined.status, &joined.json()["lane"]), (201, &json!("priority")));
    assert_eq!(show(&barcode).await.code(), "code-used", "one ticket, one visitor");
    assert_eq!(show(&format!("{barcode}x")).await.code(), "ticket-refused");
    stack.change_room(|room| room["priority_for"] = json!([])).await;
    assert_eq!(show(&barcode).await.code(), "ticket-refused");
    stack.stop().await;
}
