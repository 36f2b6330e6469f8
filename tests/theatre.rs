//! What a fan finds in a house that is no stadium, in a real browser: standing room, spaces for
//! wheelchairs, an organiser who gives the seats out, and what becomes of tickets afterwards.

use std::time::Duration;

use admission_api::RoomMode;
use fantoccini::Locator;
use serde_json::{Value, json};
use waiting_room::StackConfig;

use crate::support::browser::{Browser, selector};
use crate::support::mail::Mail;
use crate::support::{EVENT, Page, TestStack, axe, eventually};

/// Stalls of eight rows, in the last of which are two spaces for wheelchairs, each with a
/// companion's seat beside it; a pillar; a balcony; and standing room for forty.
fn theatre() -> Value {
    let row = |label: &str, count: i32, y: i32| {
        let seats: Vec<_> = (0..count).map(|at| json!([260 + at * 6 - count * 3, y])).collect();
        json!({ "label": label, "seats": seats })
    };
    let mut stalls: Vec<Value> = (0..8)
        .map(|at| row(&char::from(b'A' + at).to_string(), 24, 120 + i32::from(at) * 8))
        .collect();
    stalls[3]["restricted"] = json!([1]);
    stalls[7]["accessible"] = json!([1, 3]);
    stalls[7]["companion"] = json!([2, 4]);
    let balcony: Vec<Value> = (0..3).map(|at| row(&at.to_string(), 30, 210 + at * 8)).collect();
    json!({
        "width": 520, "height": 260, "field": { "x": 180, "y": 10, "w": 160, "h": 50 },
        "zones": [
            { "id": "stalls", "name": "Stalls", "color": "#0072b2" },
            { "id": "balcony", "name": "Balcony", "color": "#e69f00" },
            { "id": "pit", "name": "Standing room", "color": "#009e73" },
        ],
        "blocks": [
            { "label": "Stalls", "zone": "stalls", "rows": stalls },
            { "label": "Balcony", "zone": "balcony", "rows": balcony },
        ],
        "areas": [{ "label": "Pit", "zone": "pit", "capacity": 40,
                    "outline": [[190, 70], [330, 70], [330, 105], [190, 105]] }],
    })
}

/// The theatre on sale, and a browser that may shop.
async fn open(
    configured: impl FnOnce(&mut StackConfig),
    changed: impl FnOnce(&mut Value),
) -> (TestStack, Browser) {
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].mode = RoomMode::Off;
        config.origin.on_sale = Vec::new();
        config.origin.rules.payment.capture_after = Duration::ZERO;
        configured(config);
    })
    .await;
    let (status, map) = stack.organiser("POST", "/admin/v1/maps", Some(theatre())).await;
    assert_eq!(status, 201, "{map}");
    stack
        .change_event(|event| {
            event["seating"] = json!({ "map": map["map"] });
            event["prices"] = json!([
                { "zone": "stalls", "amount": 6000 },
                { "zone": "balcony", "amount": 4000 },
                { "zone": "pit", "amount": 2500 },
            ]);
            event["starts_at_local"] = json!("2030-03-01T19:30");
            changed(event);
        })
        .await;
    let path = format!("/admin/v1/events/{EVENT}/status");
    let (status, said) = stack.organiser("PUT", &path, Some(json!({ "status": "on_sale" }))).await;
    assert_eq!(status, 200, "{said}");
    let browser = Browser::start().await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser.until("it chooses", "return !document.getElementById('choosing').hidden").await;
    (stack, browser)
}

impl Browser {
    /// Presses a stepper's plus, so many times.
    async fn counts_up(&self, stepper: &str, times: u32) {
        let plus = format!("{} + button", selector(stepper));
        for _ in 0..times {
            self.wait_for(&plus).await.click().await.unwrap();
        }
    }

    /// Chooses what begins like this from a list, once it is there.
    async fn selects(&self, list: &str, begins: &str) {
        let script = format!(
            "const list = document.querySelector('{}');
             const wanted = [...list.options].find((option) => option.text.startsWith('{begins}'));
             if (!wanted) return false;
             list.value = wanted.value;
             list.dispatchEvent(new Event('change', {{ bubbles: true }}));
             return true;",
            selector(list).replace('"', "")
        );
        self.until(&format!("{list} has {begins}"), &script).await;
    }

    /// The labels of what is held or sold, as the page has them.
    async fn words_of(&self, css: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll('{css}')].map((found) => found.textContent)"
        );
        serde_json::from_value(self.tells(&script).await).unwrap()
    }

    async fn pays(&self) {
        self.wait_for(&selector("checkout-name")).await.send_keys("Ana Fan").await.unwrap();
        self.click("pay").await;
        self.wait_for(&selector("ticket-qr")).await;
    }

    /// Loads the page anew until something in it says this.
    async fn says_at_last(&self, css: &str, words: &str) {
        eventually(&format!("{css} says {words}"), || async {
            self.client.refresh().await.unwrap();
            let found = self.client.wait().at_most(Duration::from_secs(5));
            match found.for_element(Locator::Css(css)).await {
                Ok(element) => element.text().await.is_ok_and(|text| text.contains(words)),
                Err(_) => false,
            }
        })
        .await;
    }

    async fn ends(self, stack: TestStack) {
        self.client.clone().close().await.unwrap();
        stack.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standing_room_is_bought_by_count_together_with_a_seat() {
    let (stack, browser) = open(|_| {}, |_| {}).await;
    axe::finds_nothing(&browser, "a house with standing room").await;
    browser.picture("theatre-choosing").await;
    browser.counts_up("area-quantity", 3).await;
    browser.selects("block-select", "Block Balcony: 90 free").await;
    browser.click("seat-button").await;
    axe::finds_nothing(&browser, "a basket of a seat and places").await;
    browser.click("hold-seats").await;
    browser.wait_for(&selector("pay")).await;
    let held = browser.words_of(".held .seat-list strong").await;
    assert_eq!(held, ["Block Balcony, row 0, seat 1", "Pit, 3 places"]);
    browser.picture("theatre-checkout").await;
    browser.pays().await;
    assert_eq!(browser.words_of(".ticket-label").await, ["Balcony-0-1", "Pit-1", "Pit-2", "Pit-3"]);
    axe::finds_nothing(&browser, "tickets for standing room").await;

    // Who comes next sees what is left, and cannot ask for more.
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser
        .until(
            "37 places are left",
            "return document.querySelector('[data-test=area]').textContent.includes('37 free')",
        )
        .await;
    browser.ends(stack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_space_for_a_wheelchair_is_found_by_the_form_and_in_the_list_with_the_companion_beside_it()
 {
    let (stack, browser) = open(|_| {}, |_| {}).await;
    browser.tells("document.getElementById('best-more').open = true; return 1").await;
    browser.counts_up("best-accessible", 1).await;
    browser.counts_up("best-companions", 1).await;
    axe::finds_nothing(&browser, "wishes of somebody in a wheelchair").await;
    for width in [1280, 320] {
        browser.screen(width, 800).await;
        let is_wide = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.tells(is_wide).await, false, "two steppers, {width}");
    }
    browser.screen(1280, 900).await;
    browser.picture("theatre-wheelchair").await;
    browser.click("best-hold").await;
    browser.wait_for(&selector("pay")).await;
    let held = browser.words_of(".held .seat-list .seat-words").await;
    let expected = [
        "Block Stalls, row H, seat 3Stalls, wheelchair space",
        "Block Stalls, row H, seat 4Stalls, companion seat",
    ];
    assert_eq!(held, expected);
    browser.click("release").await;

    // The same by hand: the list says where the spaces are, and each button what it is.
    browser.selects("block-select", "Block Stalls: 192 free").await;
    browser.selects("row-select", "Row H: 24 free, with wheelchair spaces").await;
    axe::finds_nothing(&browser, "a row with spaces for wheelchairs").await;
    browser.picture("theatre-row").await;
    for name in ["Seat 1, wheelchair space", "Seat 2, companion seat"] {
        let button = browser.wait_for(&format!("[aria-label=\"{name}\"]")).await;
        button.click().await.unwrap();
    }
    browser.click("hold-seats").await;
    browser.pays().await;
    assert_eq!(browser.words_of(".ticket-label").await, ["Stalls-H-1", "Stalls-H-2"]);
    let feet = browser.words_of(".ticket-foot").await;
    assert!(feet[0].contains("wheelchair space") && feet[1].contains("companion seat"), "{feet:?}");
    browser.ends(stack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_organisers_hour_the_page_gives_the_best_seats_and_says_until_when() {
    let until = keys::Timestamp::now().plus_secs(3600);
    let (stack, browser) = open(|_| {}, |event| event["best_only_until"] = json!(until)).await;
    let shows = |what: &str| {
        format!("return document.getElementById('choosing').dataset.shows === '{what}'")
    };
    browser.until("there is no map", &shows("best")).await;
    let note = browser.wait_for(&selector("mode-note")).await.text().await.unwrap();
    assert!(note.contains("best available only"), "{note}");
    axe::finds_nothing(&browser, "the organiser's hour").await;
    browser.picture("theatre-best-only").await;
    browser.click("best-hold").await;
    browser.wait_for(&selector("pay")).await;
    browser.click("release").await;
    browser.until("still no map", &shows("best")).await;
    // Places without numbers are nobody's to pick: they are sold all the same.
    browser.counts_up("area-quantity", 2).await;
    browser.click("hold-seats").await;
    browser.wait_for(&selector("pay")).await;
    assert_eq!(browser.words_of(".held .seat-list strong").await, ["Pit, 2 places"]);
    browser.click("release").await;
    browser.until("still no map", &shows("best")).await;

    // The organiser ends the hour.
    stack.change_event(|event| event["best_only_until"] = Value::Null).await;
    browser.client.refresh().await.unwrap();
    browser.until("there is a map", &shows("seats")).await;
    browser.ends(stack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_or_cancelled_is_told_on_the_orders_page() {
    let (stack, browser) = open(|_| {}, |_| {}).await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let hold = ana.hold(&[0, 1]).await.json();
    let order = ana.pay(&hold["hold"], "tok_ok", "key").await.json();
    let page = order["order_url"].as_str().unwrap();
    browser.open(stack.edge, page).await;
    browser.wait_for(&selector("ticket-qr")).await;

    let path = format!("/orders/{}/refund", order["order"].as_str().unwrap());
    let one = json!({ "tickets": [order["tickets"][0]["ticket"]] });
    stack.runs_origin(&path, one, "refund-1").await;
    browser.says_at_last(&selector("refunds"), "returned to you").await;
    let states = browser.words_of("[data-test=ticket-state]").await;
    assert_eq!(states, ["Not valid any more", "Valid"]);
    axe::finds_nothing(&browser, "an order of which a ticket was given back").await;
    browser.picture("theatre-refund").await;

    stack.runs_origin("/cancel", json!({}), "cancel").await;
    browser.says_at_last(&selector("order-state"), "cancelled").await;
    browser.says_at_last(&selector("refunds"), "returned to you").await;
    assert!(browser.words_of("[data-test=ticket-qr]").await.is_empty(), "it opens no door");
    axe::finds_nothing(&browser, "an order of a cancelled event").await;
    browser.picture("theatre-cancelled").await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    browser
        .until("the event says so", "return document.body.textContent.includes('cancelled')")
        .await;
    browser.ends(stack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_that_were_just_sent_are_not_sent_again_and_the_page_says_so() {
    let mut mail = Mail::start().await;
    let (stack, browser) = open(|config| mail.serves(&mut config.origin), |_| {}).await;
    browser.click("best-hold").await;
    let email = browser.wait_for(&selector("checkout-email")).await;
    email.send_keys("ana@example.org").await.unwrap();
    browser.pays().await;
    let message = mail.next().await;
    assert_eq!(message["to"], json!(["ana@example.org"]));
    browser.says_at_last(&selector("deliveries"), "sent to a…@example.org").await;
    // The first ones have just come: so soon they are not sent again, and the page says why.
    browser.click("send-again").await;
    browser
        .until(
            "it says to wait",
            "return document.querySelector('[data-test=send-note]').textContent !== ''",
        )
        .await;
    axe::finds_nothing(&browser, "an order whose tickets were sent").await;
    browser.picture("theatre-sent").await;
    browser.ends(stack).await;
}
