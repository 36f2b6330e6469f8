//! Each service is killed in the middle, as by a power cut, and nobody loses what they had.

use serde_json::Value;

use crate::support::processes::{Service, Services};
use crate::support::{EVENT, Page, eventually};

#[tokio::test]
async fn a_killed_controller_never_moves_the_front_back_nor_gives_a_number_twice() {
    let mut services = Services::start("on").await;
    let early = services.visitor();
    assert_eq!(early.arrive().await, Page::Waiting);
    eventually("the turn has come", || async { early.claim().await.status == 200 }).await;
    let pass = early.cookie("wr_pass");
    for _ in 0..3 {
        assert_eq!(services.visitor().arrive().await, Page::Waiting);
    }
    let before = services.front().await;
    let last = services.visitor();
    assert_eq!(last.arrive().await, Page::Waiting);
    let num = last.status().await["num"].as_u64().unwrap();

    services.kill(Service::Controller);
    services.start_again(Service::Controller).await;
    let late = services.visitor();
    eventually("joins go on", || async { late.arrive().await == Page::Waiting }).await;
    assert!(late.status().await["num"].as_u64().unwrap() > num, "a number was given twice");
    let front = services.front().await;
    assert!(front >= before, "the front went back from {before} to {front}");
    // The claim was durable before it was answered: the same place gets the same pass.
    early.set_cookie(&format!("wr_pass_{EVENT}"), "gone");
    assert_eq!(early.claim().await.status, 200);
    let again = early.cookie("wr_pass");
    assert_eq!(jti(again.as_deref()), jti(pass.as_deref()), "admitted twice");
    services.stop().await;
}

#[tokio::test]
async fn a_killed_origin_keeps_every_hold_and_order_that_it_confirmed() {
    let mut services = Services::start("auto").await;
    let (ana, ben) = (services.visitor(), services.visitor());
    assert_eq!((ana.arrive().await, ben.arrive().await), (Page::Shop, Page::Shop));
    let bought = ana.hold(&[1, 2]).await.json();
    let order = ana.pay(&bought["hold"], "tok_ok", "one").await;
    assert_eq!(order.status, 201, "{}", order.text());
    let held = ben.hold(&[3]).await.json();

    services.kill(Service::Origin);
    let down = ben.get(&format!("/api/v1/events/{EVENT}/availability")).await;
    assert_eq!((down.status, down.code().as_str()), (502, "origin-unreachable"));
    services.start_again(Service::Origin).await;

    let path = format!("/api/v1/orders/{}", order.json()["order"].as_str().unwrap());
    eventually("the origin answers", || async { ben.get(&path).await.status == 200 }).await;
    assert_eq!(ben.get(&path).await.json()["tickets"], order.json()["tickets"]);
    assert_eq!(ben.hold(&[1]).await.code(), "seat-taken");
    let paid = ben.pay(&held["hold"], "tok_ok", "two").await;
    assert_eq!(paid.status, 201, "{}", paid.text());
    services.stop().await;
}

#[tokio::test]
async fn a_killed_edge_takes_nobodys_place_or_pass() {
    let mut services = Services::start("on").await;
    let (ana, ben) = (services.visitor(), services.visitor());
    assert_eq!(ana.arrive().await, Page::Waiting);
    eventually("Ana's turn has come", || async { ana.claim().await.status == 200 }).await;
    assert_eq!(ben.arrive().await, Page::Waiting);
    let num = ben.status().await["num"].clone();

    services.kill(Service::Edge);
    services.start_again(Service::Edge).await;
    assert_eq!(ana.arrive().await, Page::Shop);
    assert_eq!(ben.status().await["num"], num);
    ben.enter().await;
    services.stop().await;
}

#[tokio::test]
async fn a_stopped_service_stops_within_two_seconds() {
    let mut services = Services::start("auto").await;
    let ana = services.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    // The visitor's connection stays open, as a browser's does.
    for service in Service::ALL {
        let took = services.terminate(service).await;
        assert!(took.as_secs_f64() < 2.0, "{service:?} took {took:?}");
    }
}

fn jti(pass: Option<&str>) -> Option<String> {
    use base64::Engine as _;
    let payload = pass?.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}
