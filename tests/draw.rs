//! Who comes before the opening stands in a random order that everybody can check.

use keys::{Beacon, Keyring, Lane, Timestamp};
use serde_json::{Value, json};
use waiting_room::verify_draw;

use crate::support::processes::{Service, Services};
use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, TestStack, eventually};

#[tokio::test]
async fn who_comes_before_the_opening_stands_in_the_order_that_was_drawn() {
    let stack = TestStack::start_with(|config| {
        let room = &mut config.controller.rooms[0];
        room.draw = Some(Beacon::None);
        room.opens_at = Some(Timestamp::now().plus_secs(3600));
    })
    .await;
    let early: Vec<Visitor> = (0..30).map(|_| stack.visitor()).collect();
    let mut nums = Vec::new();
    for visitor in &early {
        assert_eq!(visitor.arrive().await, Page::Waiting);
        let status = visitor.status().await;
        assert_eq!((&status["position"], &status["ahead"]), (&Value::Null, &Value::Null));
        assert_eq!(status["phase"], "scheduled");
        nums.push(status["num"].as_u64().unwrap());
    }
    let commitment = draw(&stack).await["commitment"].clone();
    assert_eq!(draw(&stack).await["opened"], Value::Null);
    assert_eq!(early[0].claim().await.status, 409);
    let place = early[0].open(&format!("/.waiting-room/place?event_id={EVENT}")).await.text();
    assert!(place.contains("gets a place by lot"), "{place}");
    assert!(place.contains(&format!("/.waiting-room/draw?event_id={EVENT}")), "{place}");

    let opens_at = Timestamp::now().plus_secs(2).as_millis();
    stack.change_room(|spec| spec["opens_at"] = json!(opens_at)).await;
    eventually("the draw is opened", || async { draw(&stack).await["opened"] != Value::Null })
        .await;
    assert_eq!(draw(&stack).await["commitment"], commitment, "as it was announced");

    let document = stack.front_document().await;
    let jwks = early[0].get("/.well-known/waiting-room/jwks.json").await;
    let keyring = Keyring::from_jwks(serde_json::from_slice(&jwks.body).unwrap()).unwrap();
    let mut positions = Vec::new();
    let mut count = 0;
    for (visitor, num) in early.iter().zip(&nums) {
        let checked = verify_draw(&document, Some(&keyring), Lane::Standard, *num).unwrap();
        assert_eq!(visitor.status().await["position"], checked.position, "number {num}");
        positions.push(checked.position);
        count = checked.count;
    }
    assert!(count >= 30 && nums.iter().all(|num| *num <= count), "{count}");
    assert!(positions.iter().all(|position| (1..=count).contains(position)), "{positions:?}");
    let mut distinct = positions.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 30, "nobody shares a position: {positions:?}");
    assert_ne!(nums, positions, "a chance of one in 10^32");

    // Numbers that were leased before the opening are over after half a second.
    eventually("who comes late stands behind, by number", || async {
        let late = stack.visitor();
        late.arrive().await;
        let status = late.status().await;
        let num = status["num"].as_u64().unwrap();
        num > count && status["position"] == num
    })
    .await;
    let page = early[0].open(&format!("/.waiting-room/draw?event_id={EVENT}")).await;
    assert_eq!(page.status, 200);
    assert_eq!(early[0].get("/.waiting-room/assets/draw.js").await.status, 200);

    let stack = stack.restarted().await;
    for (visitor, position) in early.iter().zip(&positions) {
        let visitor = visitor.moved_to(stack.edge);
        eventually("the position is as it was", || async {
            visitor.status().await["position"] == *position
        })
        .await;
        visitor.enter().await;
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_sale_stays_shut_until_the_beacon_of_its_draw_was_given() {
    let stack = TestStack::start_with(|config| {
        let room = &mut config.controller.rooms[0];
        room.draw = Some(Beacon::Operator { of: "the lottery of 1 May".into() });
        room.opens_at = Some(Timestamp::now());
    })
    .await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let path = format!("/api/v1/rooms/{EVENT}");
    eventually("the room says what it waits for", || async {
        let (_, room) = stack.operator("GET", &path, None).await;
        room["phase"] == "scheduled"
            && room["reason"] == "standing: the draw waits for the lottery of 1 May"
    })
    .await;
    assert_eq!(ana.claim().await.status, 409);

    let room = path.clone();
    let path = format!("{path}/draw");
    let given = stack.operator("POST", &path, Some(json!({"beacon": ""}))).await;
    assert_eq!((given.0, &given.1["code"]), (422, &json!("beacon-refused")));
    let given = stack.operator("POST", &path, Some(json!({"beacon": "7 11 13"}))).await;
    assert_eq!(given.0, 200, "{}", given.1);
    eventually("the draw is opened, once its announcement has been out for a while", || async {
        stack.operator("GET", &room, None).await.1["phase"] == "open"
    })
    .await;
    let again = stack.operator("POST", &path, Some(json!({"beacon": "1 2 3"}))).await;
    assert_eq!((again.0, &again.1["code"]), (409, &json!("draw-opened")));
    ana.enter().await;
    assert_eq!(draw(&stack).await["opened"]["beacon"], "NyAxMSAxMw");
    stack.stop().await;
}

#[tokio::test]
async fn a_killed_controller_changes_no_position_that_was_drawn() {
    let opens_at = Timestamp::now().plus_secs(5).as_millis();
    let room = format!("opens_at = {opens_at}\ndraw = {{ source = \"none\" }}");
    let mut services = Services::start_with("on", &room).await;
    let visitors: Vec<Visitor> = (0..5).map(|_| services.visitor()).collect();
    for visitor in &visitors {
        assert_eq!(visitor.arrive().await, Page::Waiting);
    }
    services.kill(Service::Controller); // before the opening: the secret stays as well
    services.start_again(Service::Controller).await;
    let position = async |visitor: &Visitor| visitor.status().await["position"].as_u64();
    eventually("the draw is opened", || async { position(&visitors[0]).await.is_some() }).await;
    let mut drawn = Vec::new();
    for visitor in &visitors {
        drawn.push(position(visitor).await);
    }
    services.kill(Service::Controller);
    services.start_again(Service::Controller).await;
    for (visitor, drawn) in visitors.iter().zip(drawn) {
        visitor.enter().await;
        assert_eq!(position(visitor).await, drawn);
    }
    services.stop().await;
}

/// What is published of the draw.
async fn draw(stack: &TestStack) -> Value {
    let document: Value = serde_json::from_str(&stack.front_document().await).unwrap();
    document["front"]["draw"].clone()
}
