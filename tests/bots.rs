//! Likely bots stand in a line of their own, the security team sees why, and can take it back.

use serde_json::{Value, json};

use crate::support::{EVENT, Page, TestStack, eventually, python};

async fn suspicions(stack: &TestStack) -> Vec<Value> {
    let (status, body) =
        stack.security("GET", &format!("/api/v1/suspicions?event={EVENT}"), None).await;
    assert_eq!(status, 200, "{body}");
    let entries = body["suspicions"].as_array().unwrap();
    entries.iter().map(|entry| entry["suspicion"].clone()).collect()
}

#[tokio::test]
async fn a_script_stands_in_the_suspect_lane_with_its_reasons_listed() {
    let stack = TestStack::start_standing().await;
    let bot = stack.visitor().with_agent("python-requests/2.32.3");
    let fan = stack.visitor();
    assert_eq!(bot.arrive().await, Page::Waiting);
    assert_eq!(fan.arrive().await, Page::Waiting);
    assert_eq!(bot.status().await["lane"], "suspect");
    assert_eq!(fan.status().await["lane"], "standard");
    eventually("the security team is told", || async { !suspicions(&stack).await.is_empty() })
        .await;
    let listed = suspicions(&stack).await;
    assert_eq!(listed.len(), 1, "the fan is not listed: {listed:?}");
    assert_eq!(listed[0]["reasons"][0]["code"], "ua_library");
    assert!(listed[0]["score"].as_u64().unwrap() < 30);
    assert_eq!(listed[0]["user_agent"], "python-requests/2.32.3");
    stack.stop().await;
}

#[tokio::test]
async fn what_the_page_sees_moves_a_place_and_a_person_moves_it_back() {
    let stack = TestStack::start_standing().await;
    let (bot, behind) = (stack.visitor(), stack.visitor());
    assert_eq!(bot.arrive().await, Page::Waiting);
    assert_eq!(behind.arrive().await, Page::Waiting);
    let (standard_place, before) = (bot.place(), bot.status().await);
    let body = json!({"event_id": EVENT, "evidence": {"webdriver": true, "languages": 1}});
    let moved = bot.post("/api/v1/queue/evidence", body).await;
    assert_eq!((moved.status, moved.json()["lane"].clone()), (200, json!("suspect")));
    eventually("the security team is told", || async { !suspicions(&stack).await.is_empty() })
        .await;

    // Showing the old cookie again does not help.
    stack.let_in(2).await;
    let cheat = stack.visitor();
    cheat.set_cookie(&format!("wr_place_{EVENT}"), standard_place.as_str());
    eventually("the front is there", || async { cheat.status().await["state"] == "your_turn" })
        .await;
    let claim = cheat.claim().await;
    assert_eq!(
        (claim.status, claim.json()["lane"].clone()),
        (409, json!("suspect")),
        "{}",
        claim.text()
    );

    let listed = suspicions(&stack).await;
    let sub = listed[0]["sub"].as_str().unwrap();
    let path = format!("/api/v1/suspicions/{EVENT}/{sub}/restore");
    let restored =
        stack.security("POST", &path, Some(json!({"why": "screen reader, called us"}))).await;
    assert_eq!(restored.0, 200, "{}", restored.1);
    eventually("the place is back", || async { bot.status().await["lane"] == "standard" }).await;
    assert_eq!(bot.status().await["num"], before["num"]);
    assert_eq!(bot.claim().await.status, 200);
    stack.stop().await;
}

#[tokio::test]
async fn each_role_sees_its_own_and_nothing_else() {
    let stack = TestStack::start().await;
    assert_eq!(stack.operator("GET", "/api/v1/suspicions", None).await.0, 403);
    assert_eq!(stack.security("GET", "/api/v1/rooms", None).await.0, 403);
    let url = format!("http://{}/api/v1/rooms", stack.controller);
    let nobody = reqwest::get(&url).await.unwrap();
    assert_eq!(nobody.status(), 401);
    assert_eq!(nobody.headers()["content-type"], "application/problem+json");
    stack.stop().await;
}

#[tokio::test]
async fn country_and_network_are_named_when_there_are_files_for_it() {
    let dir = tempfile::tempdir().unwrap();
    python("make_mmdb.py", dir.path());
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].pace = crate::support::stack::standing();
        config.edge.geo.country = Some(dir.path().join("country.mmdb"));
        config.edge.geo.asn = Some(dir.path().join("asn.mmdb"));
    })
    .await;
    let bot = stack.visitor().with_agent("curl/8.9.1"); // visitors come from 10.0.0.0/8
    assert_eq!(bot.arrive().await, Page::Waiting);
    eventually("the security team is told", || async { !suspicions(&stack).await.is_empty() })
        .await;
    let listed = suspicions(&stack).await;
    assert_eq!(listed[0]["country"], "ZZ");
    assert_eq!(listed[0]["asn"], "AS64500 Example Networks");
    assert!(listed[0]["network"].as_str().unwrap().ends_with(".0/24"));
    stack.stop().await;
}
