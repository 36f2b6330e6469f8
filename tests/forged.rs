//! The origin believes only what the controller signed: who finds its address gains nothing.

use serde_json::json;

use crate::support::{EVENT, Page, TestStack};

#[tokio::test]
async fn the_origin_refuses_whoever_comes_without_a_verified_pass() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let pass = ana.cookie("wr_pass").unwrap();
    let place = ana.place();
    let (signed, signature) = pass.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let none = format!("{signed}.");
    let direct = stack.visitor().moved_to(stack.origin);
    let path = format!("/api/v1/events/{EVENT}/holds");
    for (what, shown) in [
        ("nothing", ""),
        ("a forged pass", forged.as_str()),
        ("a pass without signature", none.as_str()),
        ("a place", place.as_str()),
        ("nonsense", "x.y.z"),
    ] {
        let fields = [
            ("accept", "application/json"),
            ("waiting-room-pass", shown),
            ("waiting-room-visitor", "AAAAAAAAAAAAAAAAAAAAAA"),
            ("waiting-room-risk", "low"),
        ];
        let answer = direct.send("POST", &path, &fields, Some(json!({"seats": [1]}))).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "pass-required"), "{what}");
    }
    // The true pass is good at the origin itself, too: it is the signature that counts.
    let fields = [("accept", "application/json"), ("waiting-room-pass", pass.as_str())];
    let answer = direct.send("POST", &path, &fields, Some(json!({"seats": [1]}))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    stack.stop().await;
}

#[tokio::test]
async fn the_edge_takes_a_forged_place_for_none() {
    let stack = TestStack::start_standing().await;
    let (ana, eve) = (stack.visitor(), stack.visitor());
    assert_eq!(ana.arrive().await, Page::Waiting);
    let place = ana.place();
    let mut forged = place.as_str().to_owned();
    let at = forged.len() - 10;
    let flipped = if forged[at..].starts_with('A') { "B" } else { "A" };
    forged.replace_range(at..=at, flipped);
    eve.set_cookie(&format!("wr_place_{EVENT}"), &forged);
    assert_eq!(eve.arrive().await, Page::Waiting);
    assert_eq!(eve.ahead().await, 1, "eve stands behind Ana");
    assert!(stack.edge_metric("edge_refusals_total").await >= 1.0);
    stack.stop().await;
}
