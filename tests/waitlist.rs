//! Who waits for a seat and gets an offer takes and pays it without standing in line again.

use serde_json::{Value, json};

use crate::support::{EVENT, Page, TestStack};

const SEATS: u32 = 82_500;
/// Most seats in one request of an organiser's.
const SEATS_AT_ONCE: usize = 5_000;

#[tokio::test]
async fn an_offer_is_taken_through_the_edge_by_its_link_alone() {
    let stack = TestStack::start().await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!((ana.arrive().await, ben.arrive().await), (Page::Shop, Page::Shop));
    let held = ben.hold(&[0, 1]).await.json();
    let rest: Vec<u32> = (2..SEATS).collect();
    for seats in rest.chunks(SEATS_AT_ONCE) {
        let block = json!({ "channel": "sponsor", "seats": seats });
        let path = format!("/admin/v1/events/{EVENT}/block");
        let (status, said) = stack.organiser("POST", &path, Some(block)).await;
        assert_eq!(status, 200, "{said}");
    }

    let waitlist = format!("/api/v1/events/{EVENT}/waitlist");
    let entry = ana.post(&waitlist, json!({ "quantity": 2 })).await;
    assert_eq!(entry.status, 201, "{}", entry.text());
    let entry = entry.json();
    let released = format!("/api/v1/events/{EVENT}/holds/{}", held["hold"].as_str().unwrap());
    let released = ben.send("DELETE", &released, &[("accept", "application/json")], None).await;
    assert_eq!(released.status, 204);

    // The same person on another device: no cookie, no place, no pass; only the link.
    let link = entry["entry_url"].as_str().unwrap();
    let device = stack.visitor();
    let turned_away = device.post(&waitlist, json!({ "quantity": 2 })).await;
    assert_eq!((turned_away.status, turned_away.code().as_str()), (503, "waiting"));
    let offered = device.get(link).await.json();
    assert_eq!((&offered["state"], &offered["hold"]["seats"]), (&json!("offered"), &held["seats"]));
    let accepted = device.send("POST", &format!("{link}/accept"), &[], None).await;
    assert_eq!((accepted.status, &accepted.json()["state"]), (200, &json!("accepted")));
    let body = json!({ "payment_token": "tok_ok", "name": "Ana Fan" });
    let orders = format!("{link}/orders");
    let pay = || device.send("POST", &orders, &[("idempotency-key", "k")], Some(body.clone()));
    let order = pay().await;
    assert_eq!(order.status, 201, "{}", order.text());
    let order = order.json();
    assert_eq!(order["seats"], held["seats"]);
    assert_eq!(pay().await.json(), order, "asked again, it is the same order");
    let bought = device.get(link).await.json();
    assert_eq!((&bought["state"], &bought["order_url"]), (&json!("bought"), &order["order_url"]));
    assert_eq!(device.cookie("wr_"), None, "nobody was put in line for it");
    let entries: Value = stack.ledger().await["entries"].clone();
    let charged = entries.as_array().unwrap().iter().filter(|entry| entry["state"] == "authorised");
    assert_eq!(charged.count(), 1, "{entries}");
    stack.stop().await;
}
