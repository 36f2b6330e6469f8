//! A place goes from one device to another when its visitor wants it to, and not otherwise.

use admission_api::Binding;
use serde_json::{Value, json};

use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, TestStack, eventually};

const TRANSFER: &str = "/api/v1/queue/transfer";
const REDEEM: &str = "/api/v1/queue/transfer/redeem";

async fn code(visitor: &Visitor) -> String {
    let answer = visitor.post(TRANSFER, json!({"event_id": EVENT})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["code"].as_str().unwrap().to_owned()
}

fn redeem(code: &str) -> Value {
    json!({"event_id": EVENT, "code": code})
}

fn laptop(stack: &TestStack) -> Visitor {
    stack.visitor().with_agent("Mozilla/5.0 (Macintosh) Safari/605.1.15 Version/26.0")
}

#[tokio::test]
async fn a_place_moves_to_another_device_by_a_code() {
    let stack = TestStack::start_standing().await;
    let (phone, laptop) = (stack.visitor(), laptop(&stack));
    let none = phone.post(TRANSFER, json!({"event_id": EVENT})).await;
    assert_eq!((none.status, none.code().as_str()), (404, "no-place"));
    assert_eq!(phone.arrive().await, Page::Waiting);
    let num = phone.status().await["num"].as_u64().unwrap();
    let older = code(&phone).await;
    let code = code(&phone).await;
    let refused = laptop.post(REDEEM, redeem(&older)).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "unknown-code"), "it was replaced");
    // As a person types it, at another edge than the one that gave it.
    let edge = stack.second_edge(|_| {}).await;
    let typed = code.to_lowercase().replace('-', " ");
    let moved = laptop.moved_to(edge.addr).post(REDEEM, redeem(&typed)).await;
    assert_eq!((moved.status, &moved.json()["num"]), (200, &json!(num)), "{}", moved.text());
    edge.stop().await;
    let lost = laptop.post(REDEEM, redeem(&code)).await;
    assert_eq!((lost.status, &lost.json()["num"]), (200, &json!(num)), "the answer was lost");
    let again = stack.visitor().post(REDEEM, redeem(&code)).await;
    assert_eq!((again.status, again.code().as_str()), (404, "unknown-code"), "it is good once");

    stack.let_in(num).await;
    eventually("the laptop is in", || async { laptop.claim().await.status == 200 }).await;
    assert_eq!(laptop.arrive().await, Page::Shop);
    let old = phone.claim().await;
    assert_eq!((old.status, old.code().as_str()), (410, "place-moved"), "{}", old.text());
    assert_eq!(phone.cookie("wr_place"), None);
    stack.stop().await;
}

#[tokio::test]
async fn a_visit_moves_with_everything_that_is_in_the_basket() {
    let stack = TestStack::start().await;
    let (phone, laptop) = (stack.visitor(), laptop(&stack));
    assert_eq!(phone.arrive().await, Page::Shop);
    let hold = phone.hold(&[7]).await.json();
    let moved = laptop.post(REDEEM, redeem(&code(&phone).await)).await;
    assert_eq!((moved.status, &moved.json()["state"]), (200, &json!("admitted")));
    let paid = laptop.pay(&hold["hold"], "tok_ok", "from the laptop").await;
    assert_eq!(paid.status, 201, "{}", paid.text());
    eventually("the telephone is out", || async {
        phone.get(&format!("/events/{EVENT}")).await.status == 503
    })
    .await;
    assert_eq!(phone.claim().await.code(), "place-moved");
    let (_, room) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
    assert!(room["inside"].as_u64().unwrap() <= 1, "counted once");
    stack.stop().await;
}

#[tokio::test]
async fn guessing_codes_is_slow() {
    let stack = TestStack::start_standing().await;
    let (phone, guesser) = (stack.visitor(), stack.visitor());
    assert_eq!(phone.arrive().await, Page::Waiting);
    let code = code(&phone).await;
    let mut statuses = Vec::new();
    for guess in 0..20 {
        let answer = guesser.post(REDEEM, redeem(&format!("AAAA-{guess:04}"))).await;
        statuses.push(answer.status);
    }
    assert!(statuses.iter().filter(|status| **status == 404).count() <= 8, "{statuses:?}");
    let limited = guesser.post(REDEEM, redeem(&code)).await;
    assert_eq!((limited.status, limited.code().as_str()), (429, "too-many-requests"));
    assert!(!limited.field("retry-after").is_empty());
    let honest = stack.visitor().post(REDEEM, redeem(&code)).await;
    assert_eq!(honest.status, 200, "and nobody else is slowed down");
    stack.stop().await;
}

#[tokio::test]
async fn a_pass_that_is_handed_on_is_reported_or_refused() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let id = ana.status().await["visitor"].clone();
    let reports = async || {
        let path = format!("/api/v1/suspicions?event={EVENT}");
        let (_, said) = stack.security("GET", &path, None).await;
        let all = said["suspicions"].as_array().unwrap().clone();
        all.into_iter().filter(|judged| judged["suspicion"]["sub"] == id).collect::<Vec<_>>()
    };
    // A telephone that leaves the house is no thief.
    assert_eq!(ana.elsewhere().arrive().await, Page::Shop);
    let thief = ana.thief();
    assert_eq!(thief.arrive().await, Page::Shop, "by default it is told, and no more");
    eventually("the security team is told", || async { !reports().await.is_empty() }).await;
    let told = reports().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["state"], "admitted_before", "nobody inside is moved: {told:?}");
    assert_eq!(told[0]["suspicion"]["reasons"][0]["code"], "pass_shared");
    assert!(told[0]["suspicion"]["user_agent"].as_str().unwrap().contains("Thief"));

    let bind = async |binding| {
        stack.change_room(|room| room["passes"]["binding"] = json!(binding)).await;
    };
    bind(Binding::Refuse).await;
    eventually("the thief is refused", || async { thief.arrive().await == Page::Other(403) }).await;
    assert_eq!(thief.claim().await.code(), "other-browser");
    let carried = thief.post(TRANSFER, json!({"event_id": EVENT})).await;
    assert_eq!(carried.code(), "other-browser", "nor does a code carry it away");
    thief.set_cookie(&format!("wr_pass_{EVENT}"), "gone");
    assert_eq!(thief.arrive().await, Page::Other(403), "the place is bound like the pass");
    assert_eq!(ana.elsewhere().arrive().await, Page::Shop);
    bind(Binding::Off).await;
    eventually("nobody minds", || async { ana.thief().arrive().await == Page::Shop }).await;
    stack.stop().await;
}
