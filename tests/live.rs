//! Whoever looks at the seats sees them go without asking, and is offered what is left when the
//! box office cannot show them.

use admission_api::RoomMode;
use serde_json::{Value, json};

use crate::support::browser::{Browser, selector};
use crate::support::{EVENT, Page, TestStack};

/// The frames of `origin/LIVE.md`: what is known before, the bytes, and what has changed then.
const VECTORS: &str = r#"[
    [0, 50000, [1, 0, 1], 0],
    [7, 50000, [1, 7, 2, 0, 9], 4],
    [7, 50000, [1, 7, 2, 3, 2, 0, 5], 2],
    [300, 50000, [1, 172, 2, 128, 1, 232, 7, 17, 223, 254, 2, 2], 8],
    [0, 11, [2, 172, 2, 11, 9, 2], 3],
    [9, 11, [1, 7, 2, 0, 9], 0],
    [6, 11, [1, 7, 2, 0, 9], "gap"],
    [0, 11, [], "refused"],
    [0, 11, [9], "refused"],
    [0, 11, [1, 0, 1, 0], "refused"],
    [0, 11, [1, 0, 1, 0, 1], "refused"],
    [0, 11, [1, 0, 1, 9, 7], "refused"],
    [0, 11, [2, 0, 10, 0, 0], "refused"]
]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_follows_the_seats_and_the_level() {
    let stack =
        TestStack::start_with(|config| config.controller.rooms[0].mode = RoomMode::Off).await;
    let browser = Browser::start().await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser.wait_for(&selector("best-hold")).await;
    let free = "document.querySelector('[data-test=free-count]').textContent";
    browser.until("all are free", &format!("return {free} === '82,500 seats free'")).await;

    // One look at the seats when the page came, and not another one: the stream tells.
    let looks = "performance.getEntriesByType('resource')\
                 .filter((entry) => entry.name.endsWith('/availability')).length";
    assert_eq!(browser.tells(&format!("return {looks}")).await, 1);
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    assert_eq!(ana.hold(&[1, 2, 3, 4]).await.status, 201);
    let is_told = format!("return {free} === '82,496 seats free'");
    browser.until("the page hears of the hold", &is_told).await;
    assert_eq!(browser.tells(&format!("return {looks}")).await, 1, "it was not told, it asked");

    let shows = |what: &str| {
        format!("return document.getElementById('choosing').dataset.shows === '{what}'")
    };
    for (mode, what) in [("list", "zones"), ("map", "seats"), ("best-only", "best")] {
        stack.pin_seat_mode(Some(mode)).await;
        browser.until(&format!("the page shows {what}"), &shows(what)).await;
        browser.picture(&format!("level-{mode}")).await;
    }
    let note = browser.wait_for(&selector("mode-note")).await;
    assert!(note.text().await.unwrap().contains("Best available still works"));
    browser.click("best-hold").await;
    browser.wait_for(&selector("hold-countdown")).await;

    let script = format!(
        "const done = arguments[arguments.length - 1];
         import('/assets/frames.js').then(({{ applyFrame, knowNothing, NoFrame }}) => {{
           const results = {VECTORS}.map(([seq, seats, bytes]) => {{
             const known = {{ ...knowNothing(seats), seq }};
             try {{
               return applyFrame(known, Uint8Array.from(bytes))?.length ?? 'gap';
             }} catch (error) {{
               return error instanceof NoFrame ? 'refused' : String(error);
             }}
           }});
           done(results);
         }}, (error) => done(String(error)));"
    );
    let found = browser.client.execute_async(&script, vec![]).await.unwrap();
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    // A run's change is counted for the seats that were otherwise before, and all were free.
    let expected: Vec<_> = vectors.iter().map(|vector| vector[3].clone()).collect();
    assert_eq!(found, json!(expected));
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}
