//! Who came first enters first, nobody enters early, and nobody enters twice.

use std::time::Duration;

use serde_json::json;

use crate::support::{EVENT, Page, TestStack, eventually};

#[tokio::test]
async fn who_came_first_enters_first() {
    let stack = TestStack::start_standing().await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!(ana.arrive().await, Page::Waiting);
    assert_eq!(ben.arrive().await, Page::Waiting);
    assert_eq!(ana.ahead().await, 0);
    assert_eq!(ben.ahead().await, 1);

    stack.let_in(1).await;
    eventually("Ana's turn has come", || async { ana.status().await["state"] == "your_turn" })
        .await;
    assert_eq!(ana.arrive().await, Page::Shop);
    stack.stop().await;
}

#[tokio::test]
async fn a_turn_that_has_not_come_is_not_given() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let answer = ana.claim().await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "not-yet"));
    assert_eq!(ana.arrive().await, Page::Waiting);
    let refused = ana.get(&format!("/api/v1/events/{EVENT}/availability")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "waiting"));
    assert!(!refused.field("retry-after").is_empty());
    stack.stop().await;
}

#[tokio::test]
async fn with_room_inside_nobody_sees_a_waiting_page() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    assert!(ana.cookie("wr_pass").is_some());
    let seats = ana.get(&format!("/api/v1/events/{EVENT}/availability")).await;
    assert_eq!(seats.status, 200, "{}", seats.text());
    stack.stop().await;
}

#[tokio::test]
async fn a_claim_is_counted_once_however_often_it_is_made() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    stack.let_in(1).await;
    eventually("the turn has come", || async { ana.status().await["state"] == "your_turn" }).await;
    // Copies of one place, as from many tabs at once, each without the pass of the others.
    let place = ana.place();
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let tab = stack.visitor();
        tab.set_cookie(&format!("wr_place_{EVENT}"), place.as_str());
        claims.spawn(async move { tab.claim().await.json()["pass"].as_str().map(str::to_owned) });
    }
    let mut passes = claims.join_all().await;
    passes.sort();
    passes.dedup();
    assert_eq!(passes.len(), 1, "{passes:?}");
    assert!(passes[0].is_some());
    stack.stop().await;
}

#[tokio::test]
async fn leaving_ends_the_pass_and_the_place_is_used() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let (place, pass) = (ana.place(), ana.cookie("wr_pass").unwrap());
    assert_eq!(ana.post("/api/v1/queue/leave", json!({"event_id": EVENT})).await.status, 204);
    assert_eq!(ana.cookie("wr_pass"), None);

    ana.set_cookie(&format!("wr_pass_{EVENT}"), &pass);
    let refused = ana.get(&format!("/api/v1/events/{EVENT}/availability")).await;
    assert_eq!(refused.code(), "waiting");
    ana.set_cookie(&format!("wr_place_{EVENT}"), place.as_str());
    eventually("the controller has heard of it", || async {
        ana.claim().await.code() == "place-used"
    })
    .await;
    stack.stop().await;
}

#[tokio::test]
async fn a_restored_cookie_keeps_the_place() {
    let stack = TestStack::start_standing().await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!(ana.arrive().await, Page::Waiting);
    assert_eq!(ben.arrive().await, Page::Waiting);
    for _ in 0..5 {
        assert_eq!(ana.arrive().await, Page::Waiting); // reloads do not cost the place
    }
    assert_eq!(ana.ahead().await, 0);
    // Without cookies the place travels in a field.
    let bare = stack.visitor();
    let place = ana.place();
    let fields = [("waiting-room-place", place.as_str())];
    let path = format!("/api/v1/queue/status?event_id={EVENT}");
    let status = bare.send("GET", &path, &fields, None).await.json();
    assert_eq!(status["num"], ana.status().await["num"]);
    stack.stop().await;
}

#[tokio::test]
async fn a_paused_line_stands_and_goes_on_where_it_was() {
    let stack = TestStack::start_standing().await;
    let visitors: Vec<_> = (0..30).map(|_| stack.visitor()).collect();
    for visitor in &visitors {
        assert_eq!(visitor.arrive().await, Page::Waiting);
    }
    let answer = stack.operator("POST", &format!("/api/v1/rooms/{EVENT}/pause"), None).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    stack.set_pace(50.0).await;
    let url = format!("/api/v1/queue/{EVENT}/front");
    eventually("everybody is told", || async {
        stack.visitor().get(&url).await.json()["front"]["phase"] == "paused"
    })
    .await;
    let stood = stack.front().await;
    let answer = stack.operator("POST", &format!("/api/v1/rooms/{EVENT}/resume"), None).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let last = visitors.last().unwrap();
    eventually("the last one's turn has come", || async {
        last.status().await["state"] == "your_turn"
    })
    .await;
    assert!(stood < 30, "the front moved to {stood} while the room was paused");
    stack.stop().await;
}

#[tokio::test]
async fn the_front_is_one_document_for_everybody() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let path = format!("/api/v1/queue/{EVENT}/front");
    let answer = ana.get(&path).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.field("cache-control").contains("public")
            && answer.field("cache-control").contains("s-maxage=1")
    );
    assert_eq!(answer.field("set-cookie"), "");
    // One for everybody, but for how it is compressed.
    assert_eq!(answer.field("vary"), "Accept-Encoding");
    // Its signature verifies with the published keys, whoever asks.
    let jwks = ana.get("/.well-known/waiting-room/jwks.json").await.json();
    let keyring = keys::Keyring::from_jwks(serde_json::from_value(jwks).unwrap()).unwrap();
    let signed = keys::Sealed::<keys::Front>::new(answer.json()["signed"].as_str().unwrap());
    let event = EVENT.parse().unwrap();
    let front = keyring.open(&signed, &event, keys::Timestamp::now()).unwrap().into_inner();
    let plain: keys::Front = serde_json::from_value(answer.json()["front"].clone()).unwrap();
    assert_eq!(front, plain);
    stack.stop().await;
}

#[tokio::test]
async fn looking_takes_no_place() {
    let stack = TestStack::start_standing().await;
    let path = format!("/events/{EVENT}");
    let ana = stack.visitor();
    let head = ana.send("HEAD", &path, &[("accept", "text/html")], None).await;
    assert_eq!((head.status, head.field("set-cookie")), (200, ""));
    let options = ana.send("OPTIONS", &path, &[], None).await;
    assert_eq!((options.status, options.field("set-cookie")), (204, ""));
    let prefetch = [("accept", "text/html"), ("sec-purpose", "prefetch")];
    assert_eq!(ana.send("GET", &path, &prefetch, None).await.field("set-cookie"), "");
    let post = ana.post(&path, json!({})).await;
    assert_eq!((post.status, post.code().as_str()), (503, "waiting"));
    assert_eq!(ana.arrive().await, Page::Waiting);
    assert_eq!(ana.ahead().await, 0);
    stack.stop().await;
}

#[tokio::test]
async fn a_browser_without_script_is_served_too() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let path = format!("/.waiting-room/place?event_id={EVENT}&to=/events/{EVENT}");
    let page = ana.open(&path).await.text();
    assert!(page.contains("data-test=\"ahead\">0<") && !page.contains("Enter now"), "{page}");
    stack.let_in(1).await;
    let link = format!("href=\"/events/{EVENT}\"");
    eventually("the page offers to enter", || async {
        let page = ana.open(&path).await.text();
        page.contains("Enter now") && page.contains(&link)
    })
    .await;
    assert_eq!(ana.arrive().await, Page::Shop);
    stack.stop().await;
}

#[tokio::test]
async fn a_room_can_be_made_and_removed_while_running() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    assert_eq!(ana.open("/events/other").await.field("waiting-room-verdict"), "open");
    let room = json!({
        "event": "other", "title": "Another sale", "mode": "on",
        "guard": {"paths": ["/events/other"]},
    });
    let made = stack.operator("PUT", "/api/v1/rooms/other", Some(room)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let sees = async |verdict: &'static str| {
        let answer = stack.visitor().open("/events/other").await;
        answer.field("waiting-room-verdict") == verdict
    };
    let since = std::time::Instant::now();
    eventually("the edge guards it", || sees("join")).await;
    assert!(since.elapsed() < Duration::from_secs(3), "took {:?}", since.elapsed());
    assert_eq!(stack.operator("DELETE", "/api/v1/rooms/other", None).await.0, 204);
    eventually("the edge lets it go", || sees("open")).await;
    stack.stop().await;
}
