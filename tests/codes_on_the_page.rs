//! A fan types codes into the waiting page: one that opens the priority lane, and one that brings the
//! place from the telephone to the laptop. Two browsers and the real line, with nothing played.

use serde_json::{Value, json};

use crate::support::browser::{Browser, selector};
use crate::support::{EVENT, Page, TestStack, eventually};

/// Whether the page speaks of a lane, which it does to those who were taken for bots.
const LANE: &str = "return !document.getElementById('lane').hidden";

/// The page sees who drives it, and would say so after three seconds and when it enters: these are to
/// be people.
const SAYS_NOTHING: &str = "const real = window.fetch;
    window.fetch = (url, init) => {
        if (`${url}`.endsWith('/evidence')) return Promise.reject(new TypeError('not sent'));
        if (!`${url}`.endsWith('/claim')) return real(url, init);
        const { evidence, ...rest } = JSON.parse(init.body);
        return real(url, { ...init, body: JSON.stringify(rest) });
    };";

/// Opens the event's page from an address of their own, and waits for the number.
async fn waits(browser: &Browser, stack: &TestStack, addr: &str) {
    browser.comes_from(addr).await;
    let script = json!({"source": SAYS_NOTHING});
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", script).await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser.wait_for("main[data-state=waiting]").await;
    let knows = "return document.getElementById('position').textContent !== ''";
    browser.until("it knows its place", knows).await;
    assert_eq!(browser.tells(LANE).await, json!(false), "nobody is taken for a bot");
}

async fn number(browser: &Browser) -> Value {
    browser.tells("return document.getElementById('position').textContent").await
}

async fn types(browser: &Browser, details: &str, field: &str, code: &str, button: &str) {
    eventually("the code can be typed", || async {
        browser.tells(&format!("document.getElementById('{details}').open = true")).await;
        let field = browser.wait_for(&selector(field)).await;
        field.clear().await.is_ok() && field.send_keys(code).await.is_ok()
    })
    .await;
    browser.click(button).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_brings_the_place_from_the_telephone_to_the_laptop() {
    let stack = TestStack::start_standing().await;
    assert_eq!(stack.visitor().arrive().await, Page::Waiting);
    let (phone, laptop) = (Browser::start().await, Browser::start().await);
    phone.screen(390, 844).await;
    waits(&phone, &stack, "10.9.0.1").await;
    waits(&laptop, &stack, "10.9.0.2").await;
    let place = number(&phone).await;
    assert_ne!(place, number(&laptop).await, "two browsers, two places");
    phone.tells("document.getElementById('move').open = true").await;
    phone.click("show-code").await;
    let shown = "return /^[A-Z0-9]{4}-[A-Z0-9]{4}/.test(document.getElementById('moving-code').textContent)";
    phone.until("the telephone shows a code", shown).await;
    let code = phone.wait_for(&selector("moving-code")).await.text().await.unwrap();
    types(&laptop, "move", "their-code", "AAAA-AAAA", "use-code").await;
    let said = "return document.getElementById('move-said').textContent.includes('not good')";
    laptop.until("a code of nobody's is refused", said).await;
    assert_ne!(number(&laptop).await, place, "and nothing has moved");
    types(&laptop, "move", "their-code", &code.to_lowercase(), "use-code").await;
    let moved = format!("return document.getElementById('position').textContent === {place}");
    laptop.until("the laptop has the place", &moved).await;
    laptop.picture("codes-laptop").await;
    stack.set_pace(1.0).await;
    laptop.wait_for("main[data-state=your_turn]").await;
    laptop.click("enter").await;
    laptop.wait_for(&selector("best-hold")).await;
    // The telephone knows nothing of it until it asks to come in, too.
    phone.click("enter").await;
    phone.wait_for("html[data-state=expired]").await;
    let said = "return document.getElementById('lead').textContent.includes('another device')";
    phone.until("the telephone says where the place is", said).await;
    phone.picture("codes-moved").await;
    for browser in [phone, laptop] {
        browser.client.clone().close().await.unwrap();
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_types_an_access_code_and_stands_in_the_priority_lane() {
    let stack = TestStack::start_standing().await;
    for _ in 0..5 {
        assert_eq!(stack.visitor().arrive().await, Page::Waiting);
    }
    let spec = json!({"label": "fan club", "codes": ["FANS-2026"]});
    let path = format!("/api/v1/rooms/{EVENT}/codes");
    assert_eq!(stack.operator("POST", &path, Some(spec)).await.0, 201);
    let (fan, other) = (Browser::start().await, Browser::start().await);
    waits(&fan, &stack, "10.9.0.3").await;
    waits(&other, &stack, "10.9.0.4").await;
    let place = number(&fan).await;
    types(&fan, "access", "access-code", "no such code", "use-access").await;
    let said =
        "return document.getElementById('access-said').textContent.includes('does not count')";
    fan.until("a code that is none is refused", said).await;
    assert_eq!(number(&fan).await, place, "and the place is kept");
    types(&fan, "access", "access-code", "fans 2026", "use-access").await;
    fan.until("it counts", "return document.getElementById('position').textContent === '1'").await;
    fan.picture("codes-priority").await;
    // It is good once: not for the next one who types it.
    types(&other, "access", "access-code", "FANS-2026", "use-access").await;
    other.until("it was used", said).await;
    assert_eq!(other.tells(LANE).await, json!(false));
    let (_, listed) = stack.operator("GET", &path, None).await;
    assert_eq!(listed["batches"][0]["used"], 1, "{listed}");
    // The lane goes first: its fan is called before the five who came earlier.
    stack.set_pace(1.0).await;
    fan.wait_for("main[data-state=your_turn]").await;
    fan.click("enter").await;
    fan.wait_for(&selector("best-hold")).await;
    eventually("one is inside", || async {
        let (_, room) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
        room["inside"] == 1
    })
    .await;
    for browser in [fan, other] {
        browser.client.clone().close().await.unwrap();
    }
    stack.stop().await;
}
