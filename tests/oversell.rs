//! No seat is sold twice, whoever runs for it.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{EVENT, Page, TestStack, eventually};

#[tokio::test]
async fn a_race_for_one_seat_has_one_winner() {
    let stack = TestStack::start().await;
    let mut race = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let visitor = stack.visitor();
        race.spawn(async move {
            visitor.enter().await;
            let answer = visitor.hold(&[4711]).await;
            (answer.status, answer.code())
        });
    }
    let answers = race.join_all().await;
    let won = answers.iter().filter(|(status, _)| *status == 201).count();
    let lost =
        answers.iter().filter(|(status, code)| *status == 409 && code == "seat-taken").count();
    assert_eq!((won, lost), (1, 49), "{answers:?}");
    stack.stop().await;
}

#[tokio::test]
async fn two_thousand_visitors_do_not_get_more_than_five_hundred_seats() {
    const VISITORS: u32 = 2000;
    const SEATS: u32 = 500;
    let stack = TestStack::start().await;
    // Workers with connections of their own; each visitor is new to everybody.
    let mut crowd = tokio::task::JoinSet::new();
    for worker in 0..20 {
        let visitors: Vec<_> =
            (0..VISITORS / 20).map(|n| (stack.visitor(), worker * 100 + n)).collect();
        crowd.spawn(async move {
            let mut bought = Vec::new();
            for (visitor, number) in visitors {
                visitor.enter().await;
                let first = number.wrapping_mul(2_654_435_761) % SEATS;
                let seats: Vec<u32> = (0..1 + number % 4).map(|n| (first + n) % SEATS).collect();
                let hold = visitor.hold(&seats).await;
                assert!(matches!(hold.status, 201 | 409), "{} {}", hold.status, hold.text());
                if hold.status != 201 {
                    continue;
                }
                let order =
                    visitor.pay(&hold.json()["hold"], "tok_ok", &format!("key-{number}")).await;
                assert_eq!(order.status, 201, "{}", order.text());
                let order = order.json();
                let sold = order["seats"].as_array().unwrap();
                bought.extend(sold.iter().map(|seat| seat["seat"].as_u64().unwrap()));
            }
            bought
        });
    }
    let bought: Vec<u64> = crowd.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<u64> = bought.iter().copied().collect();
    assert_eq!(distinct.len(), bought.len(), "a seat was sold twice");
    assert!(bought.iter().all(|seat| *seat < u64::from(SEATS)));
    assert!(bought.len() > 250, "only {} seats were sold", bought.len());
    stack.stop().await;
}

#[tokio::test]
async fn refusals_say_why_and_leave_the_stock_alone() {
    let stack = TestStack::start().await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!((ana.arrive().await, ben.arrive().await), (Page::Shop, Page::Shop));
    let holds = format!("/api/v1/events/{EVENT}/holds");
    let free = || async {
        let body = ana.get(&format!("/api/v1/events/{EVENT}/availability")).await.json();
        body["free"].as_u64().unwrap()
    };
    let all = free().await;
    let nine: Vec<u32> = (0..9).collect();
    for (seats, status, code) in [
        (&[999_999][..], 422, "unknown-seat"),
        (&nine[..], 422, "too-many-seats"),
        (&[][..], 422, "no-seats"),
    ] {
        let answer = ana.hold(seats).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{seats:?}");
        assert_eq!(answer.field("content-type"), "application/problem+json");
        assert!(answer.json()["seq"].is_u64(), "{}", answer.text());
    }
    let hold = ana.hold(&[1, 2]).await.json();
    assert_eq!(free().await, all - 2);

    let foreign = ben.pay(&hold["hold"], "tok_ok", "ben-1").await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "foreign-hold"));
    let path = format!("{holds}/{}", hold["hold"].as_str().unwrap());
    let foreign = ben.send("DELETE", &path, &[("accept", "application/json")], None).await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "foreign-hold"));
    let taken = ben.hold(&[2, 3]).await;
    assert_eq!((taken.status, taken.json()["seats"].clone()), (409, json!([2])));
    assert_eq!(free().await, all - 2);

    let released = ana.send("DELETE", &path, &[("accept", "application/json")], None).await;
    assert_eq!(released.status, 204);
    assert_eq!(free().await, all);
    for body in [json!({"seats": "all"}), json!([]), json!({"seats": [-1]}), json!({})] {
        let answer = ana.post(&holds, body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body} {}", answer.status);
        assert_eq!(answer.field("content-type"), "application/problem+json");
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_payment_is_made_once_however_it_goes() {
    let stack = TestStack::start().await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let hold = ana.hold(&[10, 11]).await.json();

    let declined = ana.pay(&hold["hold"], "tok_declined", "a").await;
    assert_eq!((declined.status, declined.code().as_str()), (402, "payment-declined"));
    // The same key and body again: the same answer, and nothing is charged.
    assert_eq!(ana.pay(&hold["hold"], "tok_declined", "a").await.json(), declined.json());
    let other_body = ana.pay(&hold["hold"], "tok_ok", "a").await;
    assert_eq!((other_body.status, other_body.code().as_str()), (422, "idempotency-mismatch"));

    // No answer from the provider, though it did charge: told to retry, and then it is known.
    let first = ana.pay(&hold["hold"], "tok_timeout", "b").await;
    assert_eq!((first.status, first.code().as_str()), (503, "payment-unknown"));
    assert!(!first.field("retry-after").is_empty());
    let pay = || ana.pay(&hold["hold"], "tok_timeout", "b");
    eventually("the payment is settled", || async { pay().await.status == 201 }).await;
    let answer = pay().await;
    let order = answer.json();
    assert_eq!(pay().await.json(), order);

    // One live charge for the order, of the right amount; the declined one is not live.
    let ledger = stack.ledger().await;
    let entries = ledger["entries"].as_array().unwrap();
    let of_order = entries.iter().filter(|entry| entry["order"] == order["order"]);
    let live: Vec<_> = of_order.filter(|entry| entry["state"] == "authorised").collect();
    assert_eq!(live.len(), 1, "{ledger}");
    assert_eq!(live[0]["amount"], order["total"], "{ledger}");
    let ticket = &order["tickets"][0];
    let qr = ana.get(ticket["qr_url"].as_str().unwrap()).await;
    assert_eq!((qr.status, qr.field("content-type")), (200, "image/svg+xml"));
    stack.stop().await;
}
