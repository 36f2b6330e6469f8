//! One fan's way in a real browser: from the shop's list through the waiting page to the QR code.

use admission_api::RoomMode;

use crate::support::browser::{Browser, selector};
use crate::support::{EVENT, TestStack, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_comes_from_the_list_to_the_qr_code() {
    let stack =
        TestStack::start_with(|config| config.controller.rooms[0].mode = RoomMode::On).await;
    let browser = Browser::start().await;
    browser.open(stack.edge, "/").await;
    browser.picture("1-list").await;
    browser.wait_for(&format!("a[href=\"/events/{EVENT}\"]")).await.click().await.unwrap();

    browser.wait_for(&selector("enter")).await;
    browser.picture("2-waiting").await;
    browser.click("enter").await;

    browser.wait_for(&selector("best-hold")).await;
    browser.picture("3-seats").await;
    browser.click("best-hold").await;
    browser.wait_for(&selector("hold-countdown")).await;
    browser.wait_for(&selector("checkout-name")).await.send_keys("Ana Fan").await.unwrap();
    browser.picture("4-checkout").await;
    browser.click("pay").await;

    let qr = browser.wait_for(&selector("ticket-qr")).await;
    let source = qr.prop("src").await.unwrap().unwrap();
    eventually("the QR code is drawn", || async {
        let width = browser.client.execute(
            "return document.querySelector('[data-test=\"ticket-qr\"]').naturalWidth",
            vec![],
        );
        width.await.is_ok_and(|width| width.as_f64().is_some_and(|width| width > 0.0))
    })
    .await;
    browser.picture("5-tickets").await;
    let svg = reqwest::get(source).await.unwrap();
    assert_eq!(svg.headers()["content-type"], "image/svg+xml");
    let ledger = stack.ledger().await.to_string();
    assert!(ledger.contains("captured") || ledger.contains("authorised"), "{ledger}");
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}
