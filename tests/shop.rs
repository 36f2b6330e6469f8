//! What a fan can do in the shop, in a real browser: search, choose, pay though the bank asks back,
//! wait for seats that are sold out, and find the tickets again. axe looks at every page of it.

use admission_api::RoomMode;
use serde_json::json;

use crate::support::browser::{Browser, selector};
use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, TestStack, axe};

const SEATS: u32 = 82_500;
/// Most seats in one request of an organiser's.
const SEATS_AT_ONCE: usize = 5_000;

async fn open_shop() -> (TestStack, Browser) {
    let stack =
        TestStack::start_with(|config| config.controller.rooms[0].mode = RoomMode::Off).await;
    (stack, Browser::start().await)
}

impl Browser {
    /// From the seats to a checkout with a name in it.
    async fn holds_two(&self, stack: &TestStack) {
        self.open(stack.edge, &format!("/events/{EVENT}")).await;
        self.click("best-hold").await;
        self.writes("checkout-name", "Ana Fan").await;
        self.writes("checkout-email", "ana@example.org").await;
    }

    async fn says(&self, name: &str) -> String {
        self.wait_for(&selector(name)).await.text().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_that_asks_back_is_answered_and_every_answer_leads_on() {
    let (stack, browser) = open_shop().await;
    browser.holds_two(&stack).await;
    browser.click("pay-action").await;
    browser.click("pay").await;

    // No: nothing is charged, and seats and words are still there for another card.
    browser.click("to-bank").await;
    axe::finds_nothing(&browser, "the sandbox's bank").await;
    browser.click("bank-decline").await;
    browser.wait_for(&selector("order-declined")).await;
    axe::finds_nothing(&browser, "a declined order").await;
    browser.click("back-to-checkout").await;
    let name = browser.wait_for(&selector("checkout-name")).await.prop("value").await.unwrap();
    assert_eq!(name.as_deref(), Some("Ana Fan"));
    assert!(browser.says("hold-countdown").await.contains(':'));

    // No answer: the order waits for one. Yes: there are tickets, whatever is reloaded meanwhile.
    browser.click("pay-action").await;
    browser.click("pay").await;
    browser.click("to-bank").await;
    browser.click("bank-leave").await;
    browser.wait_for(&selector("order-action-open")).await;
    axe::finds_nothing(&browser, "an order that waits for the bank").await;
    browser.client.refresh().await.unwrap();
    browser.click("to-bank").await;
    browser.click("bank-approve").await;
    browser.wait_for(&selector("ticket-qr")).await;
    browser.client.refresh().await.unwrap();
    browser.wait_for(&selector("ticket-qr")).await;
    browser.until_says("order-state", "confirmed").await;
    axe::finds_nothing(&browser, "an order with tickets").await;

    let entries = stack.ledger().await["entries"].clone();
    let is_live = |state: &str| ["authorised", "captured"].contains(&state);
    let entries = entries.as_array().unwrap().iter();
    let live = entries.filter(|entry| is_live(entry["state"].as_str().unwrap()));
    assert_eq!(live.count(), 1, "one of the two payments is charged, and no other");
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_says_what_is_wrong_beside_the_field_and_gives_more_time_when_asked() {
    let (stack, browser) = open_shop().await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser.click("best-hold").await;
    browser.wait_for(&selector("pay")).await;
    let wrong =
        |field: &str| format!("document.getElementById('{field}-error').textContent !== ''");
    browser.writes("checkout-phone", "0171 5550100").await;
    browser.click("pay").await;
    browser.until("the name is missing", &format!("return {}", wrong("checkout-name"))).await;
    let both = format!("return {} && {}", wrong("checkout-name"), wrong("checkout-phone"));
    browser.until("the number has no country", &both).await;
    let focused = "return document.activeElement.id";
    assert_eq!(browser.tells(focused).await, "checkout-name", "the first of them is gone to");
    axe::finds_nothing(&browser, "a checkout with errors").await;

    let left = "return Number(document.querySelector('[data-test=hold-countdown]').textContent.split(':')[0])";
    assert!(browser.tells(left).await.as_u64().unwrap() < 10);
    browser.click("more-time").await;
    browser.until("there are five minutes more", &format!("{left} >= 13")).await;

    browser.click("pay-declined").await;
    browser.writes("checkout-name", "Ana Fan").await;
    browser
        .tells("document.getElementById('checkout-phone').value = '+49 171 5550100'; return 1")
        .await;
    browser.click("pay").await;
    browser.until_says("pay-note", "declined").await;
    browser.click("pay-ok").await;
    browser.click("pay").await;
    browser.wait_for(&selector("ticket-qr")).await;
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

/// An event of which two seats are left, in somebody's hold.
async fn sell_out(stack: &TestStack) -> (Visitor, String) {
    let ben = stack.visitor();
    assert_eq!(ben.arrive().await, Page::Shop);
    let held = ben.hold(&[0, 1]).await.json();
    let rest: Vec<u32> = (2..SEATS).collect();
    for seats in rest.chunks(SEATS_AT_ONCE) {
        let block = json!({ "channel": "sponsor", "seats": seats });
        let path = format!("/admin/v1/events/{EVENT}/block");
        let (status, said) = stack.organiser("POST", &path, Some(block)).await;
        assert_eq!(status, 200, "{said}");
    }
    let path = format!("/api/v1/events/{EVENT}/holds/{}", held["hold"].as_str().unwrap());
    (ben, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sold_out_is_waited_for_offered_and_bought() {
    let (stack, browser) = open_shop().await;
    let (ben, held) = sell_out(&stack).await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser.wait_for(&selector("waitlist")).await;
    axe::finds_nothing(&browser, "an event that is sold out").await;
    browser.click("join").await;
    browser.until_says("entry-ahead", "Next").await;
    axe::finds_nothing(&browser, "a place in the waitlist").await;

    ben.send("DELETE", &held, &[("accept", "application/json")], None).await;
    browser.client.refresh().await.unwrap();
    browser.wait_for(&selector("offer-accept")).await;
    axe::finds_nothing(&browser, "an offer").await;
    browser.click("offer-accept").await;
    browser.writes("checkout-name", "Ana Fan").await;
    axe::finds_nothing(&browser, "the checkout of an offer").await;
    browser.click("pay").await;
    browser.wait_for(&selector("ticket-qr")).await;
    assert!(browser.says("order-id").await.len() > 20);

    // Whoever comes back to the place they had is led to what became of it.
    browser.client.back().await.unwrap();
    browser.wait_for(&selector("ticket-qr")).await;
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_searched_with_and_without_script_and_forgives_a_slip() {
    let (stack, browser) = open_shop().await;
    browser.open(stack.edge, "/").await;
    browser.until_says("found", "104 events").await;
    axe::finds_nothing(&browser, "the list").await;
    browser.writes("filter-text", "argentnia").await;
    browser.until_says("read-as", "argentina").await;
    assert_eq!(browser.tells("return location.search").await, "?q=argentnia");
    axe::finds_nothing(&browser, "a search with a slip").await;

    // A page of results, then the next one below it.
    browser.open(stack.edge, "/").await;
    let cards = "document.querySelectorAll('[data-test=event-card]').length";
    assert_eq!(browser.tells(&format!("return {cards}")).await, 40);
    browser.click("more").await;
    browser.until("there are more", &format!("return {cards} === 80")).await;

    let page = reqwest::get(format!("http://{}/?q=final&city=", stack.edge)).await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("Spain – Argentina") && page.contains("href=\"/events/wc2026-final\""));
    let odd = reqwest::get(format!("http://{}/?from=nonsense", stack.edge)).await.unwrap();
    assert_eq!(odd.status(), 422);
    assert!(odd.text().await.unwrap().contains("Show all events"));
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axe_finds_nothing_in_light_and_dark_and_nothing_is_wider_than_a_phone() {
    let (stack, browser) = open_shop().await;
    for (scheme, width) in [("light", 1280), ("dark", 320)] {
        browser.prefers(scheme, "no-preference").await;
        browser.screen(width, 800).await;
        let is_wide = "return document.documentElement.scrollWidth > innerWidth";
        browser.open(stack.edge, "/").await;
        axe::finds_nothing(&browser, &format!("the list, {scheme}, {width}")).await;
        assert_eq!(browser.tells(is_wide).await, false, "the list, {width}");
        browser.picture(&format!("shop-list-{scheme}")).await;
        for mode in ["map", "list", "best-only", "paused"] {
            stack.pin_seat_mode(Some(mode)).await;
            browser.open(stack.edge, &format!("/events/{EVENT}")).await;
            browser.until("it chooses", "return !document.getElementById('choosing').hidden").await;
            axe::finds_nothing(&browser, &format!("{mode}, {scheme}, {width}")).await;
            assert_eq!(browser.tells(is_wide).await, false, "{mode}, {width}");
            browser.picture(&format!("shop-{mode}-{scheme}")).await;
        }
        stack.pin_seat_mode(Some("map")).await;
        browser.open(stack.edge, &format!("/events/{EVENT}")).await;
        browser.click("best-hold").await;
        browser.wait_for(&selector("pay")).await;
        axe::finds_nothing(&browser, &format!("the checkout, {scheme}, {width}")).await;
        assert_eq!(browser.tells(is_wide).await, false, "the checkout, {width}");
        browser.picture(&format!("shop-checkout-{scheme}")).await;
        browser.click("release").await;
        browser.wait_for(&selector("best-hold")).await;
    }
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

/// Tells each stretch in which the page's own thread did nothing else: `[from, for]` in ms.
const HEARTBEAT: &str = "
    window.stretches = [];
    const { port1, port2 } = new MessageChannel();
    let last = performance.now();
    port1.onmessage = () => {
        const now = performance.now();
        if (now - last > 10) window.stretches.push([Math.round(last), Math.round(now - last)]);
        last = now;
        port2.postMessage(0);
    };
    port2.postMessage(0);
    window.longTasks = [];
    new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((task) =>
        [Math.round(task.startTime), Math.round(task.duration)]))).observe({ type: 'longtask', buffered: true });
";

/// A figure for people, of a machine that has nothing else to do:
/// `cargo test --test promises -- --ignored --nocapture how_long_a_stadium`.
#[ignore = "a measurement, and no promise that a busy machine could keep"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_stadium_keeps_the_page_busy() {
    let (stack, browser) = open_shop().await;
    let source = json!({ "source": HEARTBEAT });
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", source).await;
    for rate in [1, 1, 4, 4] {
        browser.devtools("Emulation.setCPUThrottlingRate", json!({ "rate": rate })).await;
        browser.open(stack.edge, &format!("/events/{EVENT}")).await;
        browser
            .until("the map is drawn", "return 'drawn' in document.getElementById('map').dataset")
            .await;
        let told = browser.tells("return [window.longTasks, window.stretches]").await;
        let longest = |of: &serde_json::Value| {
            of.as_array().unwrap().iter().filter_map(|task| task[1].as_u64()).max().unwrap_or(0)
        };
        println!(
            "{rate}x slower: longest task {} ms, longest stretch {} ms; {told}",
            longest(&told[0]),
            longest(&told[1])
        );
    }
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}
