//! A hold keeps its seats for its time and not longer; a payment that has begun is not cut off.

use std::time::Duration;

use crate::support::{EVENT, Page, TestStack, eventually};

#[tokio::test]
async fn seats_come_back_when_a_hold_has_expired() {
    let stack =
        TestStack::start_with(|config| config.origin.rules.hold = Duration::from_secs(1)).await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!((ana.arrive().await, ben.arrive().await), (Page::Shop, Page::Shop));
    let hold = ana.hold(&[7]).await;
    assert_eq!(hold.status, 201, "{}", hold.text());
    assert_eq!(ben.hold(&[7]).await.code(), "seat-taken");
    eventually("the seat is free again", || async { ben.hold(&[7]).await.status == 201 }).await;

    let late = ana.pay(&hold.json()["hold"], "tok_ok", "late").await;
    assert_eq!((late.status, late.code().as_str()), (410, "hold-expired"));
    let ledger = stack.ledger().await;
    assert_eq!(ledger["entries"], serde_json::json!([]), "no gateway heard of it");
    stack.stop().await;
}

#[tokio::test]
async fn a_payment_that_has_begun_keeps_its_seats() {
    let stack = TestStack::start_with(|config| {
        config.origin.rules.hold = Duration::from_secs(1);
        config.origin.sandbox.slow = Duration::from_secs(2);
    })
    .await;
    let (ana, ben) = (stack.visitor(), stack.visitor());
    assert_eq!((ana.arrive().await, ben.arrive().await), (Page::Shop, Page::Shop));
    let hold = ana.hold(&[8]).await.json();
    let paying = tokio::spawn({
        let ana = ana.clone();
        async move { ana.pay(&hold["hold"], "tok_slow", "slow").await }
    });
    // The hold's time passes while the provider takes its own.
    eventually("the payment is over", || async {
        assert_eq!(ben.hold(&[8]).await.code(), "seat-taken");
        paying.is_finished()
    })
    .await;
    let order = paying.await.unwrap();
    assert_eq!(order.status, 201, "{}", order.text());
    let path = format!("/api/v1/orders/{}", order.json()["order"].as_str().unwrap());
    assert_eq!(ben.get(&path).await.json()["event"], EVENT);
    stack.stop().await;
}
