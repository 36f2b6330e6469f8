//! Are the places of a drawn hall sold as they were drawn: spaces for wheelchairs with their
//! companions, a floor by count, and no picking while the organiser wants none?

use super::admin::{ORGANISERS, hall, prepared, recital};
use super::*;

const EVENT: &str = "recital";

/// The hall of ten seats, with two spaces for wheelchairs and their companions in the second row,
/// a pillar in the first, and a floor for five.
fn drawn() -> Value {
    let mut map = hall();
    let floor = json!({ "id": "floor", "name": "Floor", "color": "#009e73" });
    map["zones"].as_array_mut().unwrap().push(floor);
    map["blocks"][0]["rows"][0]["restricted"] = json!([5]);
    map["blocks"][0]["rows"][1]["accessible"] = json!([1, 4]);
    map["blocks"][0]["rows"][1]["companion"] = json!([2, 5]);
    map["areas"] = json!([
        { "label": "Floor", "zone": "floor", "capacity": 5, "outline": [[0, 200], [50, 200], [50, 250]] },
    ]);
    map
}

async fn opened(more: Value) -> House {
    let house = House::open_with(ORGANISERS).await;
    prepared(&house).await;
    let map = house.draw(&drawn()).await.succeeds(201);
    assert_eq!((&map["seats"], &map["areas"]), (&json!(10), &json!(1)));
    let mut event = recital(text(&map["map"]));
    event["prices"].as_array_mut().unwrap().push(json!({ "zone": "floor", "amount": 1000 }));
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    house.put("/events/recital", event).await.succeeds(201);
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    house
}

fn labels(hold: &Value) -> Vec<&str> {
    hold["seats"].as_array().unwrap().iter().map(|seat| text(&seat["label"])).collect()
}

#[tokio::test]
async fn a_space_for_a_wheelchair_is_given_with_the_companion_beside_it_and_to_nobody_else() {
    let house = opened(json!({})).await;
    let event = house.get("/api/v1/events/recital").await.succeeds(200);
    let map = house.get(text(&event["map_url"])).await.succeeds(200);
    let attributes = |row: usize| map["blocks"][0]["rows"][row]["attributes"].clone();
    assert_eq!(attributes(0), json!({ "5": "restricted" }));
    let pairs = json!({ "1": "accessible", "2": "companion", "4": "accessible", "5": "companion" });
    assert_eq!(attributes(1), pairs);

    let ana = house.visitor_of(EVENT);
    let pair = json!({ "best": { "accessible": 1, "companions": 1 } });
    let hold = house.hold_at(EVENT, &ana, pair.clone()).await.succeeds(201);
    assert_eq!(labels(&hold), ["S-2-4", "S-2-5"]);
    let of = |n: usize| hold["seats"][n]["attribute"].clone();
    assert_eq!((of(0), of(1)), (json!("accessible"), json!("companion")));
    let order = house.buy_at(EVENT, &ana, &hold).await;
    assert_eq!(order["tickets"][0]["label"], "S-2-4");
    let ben = house.visitor_of(EVENT);
    let hold = house.hold_at(EVENT, &ben, pair.clone()).await.succeeds(201);
    assert_eq!(labels(&hold), ["S-2-1", "S-2-2"]);
    let cleo = house.visitor_of(EVENT);
    house.hold_at(EVENT, &cleo, pair).await.is(409, "not-enough-together");
    // Whoever asks for any seats gets the others, and the pillar only when nothing else is left.
    let dan = house.visitor_of(EVENT);
    let four = json!({ "best": { "zone": "stalls", "quantity": 4 } });
    let hold = house.hold_at(EVENT, &dan, four).await.succeeds(201);
    assert_eq!(labels(&hold), ["S-1-1", "S-1-2", "S-1-3", "S-1-4"]);
}

#[tokio::test]
async fn a_floor_is_sold_by_count_until_it_is_full_and_each_place_has_its_ticket() {
    let house = opened(json!({})).await;
    let event = house.get("/api/v1/events/recital").await.succeeds(200);
    let floor =
        json!({ "id": "Floor", "label": "Floor", "zone": "floor", "capacity": 5, "price": 1000 });
    assert_eq!((&event["areas"], &event["capacity"]), (&json!([floor]), &json!(15)));
    let places = |quantity: u32| json!({ "areas": [{ "area": "Floor", "quantity": quantity }] });
    let (ana, ben) = (house.visitor_of(EVENT), house.visitor_of(EVENT));
    let hold = house.hold_at(EVENT, &ana, places(3)).await.succeeds(201);
    assert_eq!(
        (labels(&hold), &hold["total"]),
        (vec!["Floor-1", "Floor-2", "Floor-3"], &json!(3000))
    );
    let place = &hold["seats"][0];
    assert_eq!(
        (&place["area"], &place["row"], &place["seat"]),
        (&json!("Floor"), &json!(""), &json!(10))
    );
    let full = house.hold_at(EVENT, &ben, places(3)).await.is(409, "area-full");
    assert_eq!((&full.body["area"], &full.body["left"]), (&json!("Floor"), &json!(2)));
    house.hold_at(EVENT, &ben, json!({ "seats": [10] })).await.is(422, "unknown-seat");

    let url = |path: &str| format!("{}/api/v1/events/recital/{path}", house.base);
    let asked = house.client.get(url("zones")).header("waiting-room-pass", &ben);
    let told = house.send(asked).await.succeeds(200);
    assert_eq!(told["free"], 12);
    assert_eq!(told["areas"], json!([{ "id": "Floor", "seats": 5, "free": 2 }]));
    let zones = json!([
        { "id": "stalls", "seats": 10, "free": 10 },
        { "id": "floor", "seats": 5, "free": 2 },
    ]);
    assert_eq!(told["zones"], zones);
    let asked = house.client.get(url("availability")).header("waiting-room-pass", &ben);
    let told = house.send(asked).await.succeeds(200);
    assert_eq!((&told["seats"], &told["free"]), (&json!(15), &json!(12)));

    let order = house.buy_at(EVENT, &ana, &hold).await;
    assert_eq!(order["seats"], hold["seats"]);
    let ticket = &order["tickets"][2];
    assert_eq!((&ticket["label"], &ticket["state"]), (&json!("Floor-3"), &json!("valid")));
    let pdf = house.get(text(&ticket["pdf_url"])).await;
    assert_eq!(
        (pdf.status.as_u16(), &pdf.headers["content-type"]),
        (200, &"application/pdf".parse().unwrap())
    );
    let both = json!({ "seats": [0], "areas": [{ "area": "Floor", "quantity": 2 }] });
    let hold = house.hold_at(EVENT, &ben, both).await.succeeds(201);
    assert_eq!(labels(&hold), ["S-1-1", "Floor-4", "Floor-5"]);
    let sheet = house.admin_get("/events/recital/seats.csv").await;
    let sheet = text(&sheet.body).to_owned();
    assert!(sheet.contains("10,Floor,,1,floor,1000,sold,"), "{sheet}");
    assert!(sheet.contains("14,Floor,,5,floor,1000,held,"), "{sheet}");
}

#[tokio::test]
async fn until_the_organisers_hour_is_over_nobody_chooses_seats() {
    let until = Timestamp::now().plus_secs(3600);
    let house = opened(json!({ "best_only_until": until })).await;
    let event = house.get("/api/v1/events/recital").await.succeeds(200);
    assert_eq!(event["best_only_until"], json!(until));
    let ana = house.visitor_of(EVENT);
    let chosen = json!({ "seats": [0] });
    let refused = house.hold_at(EVENT, &ana, chosen.clone()).await.is(409, "best-available-only");
    assert_eq!((&refused.body["until"], refused.body["seq"].is_u64()), (&json!(until), true));
    let best = json!({ "best": { "zone": "stalls", "quantity": 1 } });
    let hold = house.hold_at(EVENT, &ana, best).await.succeeds(201);
    let floor = json!({ "areas": [{ "area": "Floor", "quantity": 1 }] });
    house.hold_at(EVENT, &ana, floor).await.succeeds(201);
    let url = format!("{}/api/v1/events/recital/holds/{}", house.base, text(&hold["hold"]));
    let amend = house.client.patch(url).header("waiting-room-pass", &ana);
    let amend = amend.json(&json!({ "add": chosen }));
    house.send(amend).await.is(409, "best-available-only");

    // The organiser ends the hour while seats are sold, and it is over at once.
    let seen = house.admin_get("/events/recital").await.succeeds(200);
    let (version, mut event) = (seen["version"].as_u64().unwrap(), seen["event"].clone());
    assert_eq!(event["best_only_until"], json!(until));
    event["best_only_until"] = Value::Null;
    house.change("/events/recital", version, event.clone()).await.succeeds(200);
    house.hold_at(EVENT, &ana, chosen).await.succeeds(201);
    let described = house.get("/api/v1/events/recital").await.succeeds(200);
    assert_eq!(described["best_only_until"], Value::Null);
    let seen = house.admin_get("/events/recital").await.succeeds(200);
    event["best_only_until"] = json!(Timestamp::from_secs(4_000_000_000));
    let late = house.change("/events/recital", seen["version"].as_u64().unwrap(), event).await;
    assert_eq!(late.is(422, "invalid-request").body["field"], "best_only_until");
}
