//! Edge and controller cut apart: those inside stay inside, places are kept, nobody enters early.

use crate::support::processes::{Service, Services};
use crate::support::{EVENT, Page, eventually};

#[tokio::test]
async fn those_inside_stay_inside_while_the_controller_is_gone() {
    let mut services = Services::start("on").await;
    let (ana, ben) = (services.visitor(), services.visitor());
    assert_eq!(ana.arrive().await, Page::Waiting);
    eventually("Ana's turn has come", || async { ana.claim().await.status == 200 }).await;
    assert_eq!(ana.arrive().await, Page::Shop);
    assert_eq!(ben.arrive().await, Page::Waiting);

    services.kill(Service::Controller);
    let availability = format!("/api/v1/events/{EVENT}/availability");
    assert_eq!(ana.get(&availability).await.status, 200);
    assert_eq!(ben.arrive().await, Page::Waiting, "the page is served, the place is kept");
    let num = ben.status().await["num"].clone();
    // Numbers that were leased before are given out, for a moment.
    let path = format!("/events/{EVENT}");
    eventually("nobody gets a number that no controller gave", || async {
        services.visitor().open(&path).await.status == 503
    })
    .await;
    let late = services.visitor();
    let answer = late.open(&path).await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("Please hold on"));
    assert!(!answer.field("retry-after").is_empty());
    let claim = ben.claim().await;
    assert!(matches!(claim.status, 409 | 503), "{}", claim.status);

    services.start_again(Service::Controller).await;
    eventually("Ben's claim is heard", || async { ben.claim().await.status == 200 }).await;
    assert_eq!(ben.status().await["num"], num);
    assert_eq!(ana.get(&availability).await.status, 200, "Ana's pass holds");
    services.stop().await;
}
