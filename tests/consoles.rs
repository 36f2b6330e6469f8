//! The SRE sees what the front does and why, and steers it; the security team sees who was judged a bot,
//! on what evidence, and gives a place back. Both in a browser, on the controller's own pages.

use admission_controller::TokenRole;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{EVENT, Page, TestStack, axe, eventually};

/// Looks at a page as it is, in light and dark, on a laptop and on the narrowest telephone.
async fn everybody_can_read(browser: &Browser, what: &str) {
    for scheme in ["light", "dark"] {
        browser.prefers(scheme, "no-preference").await;
        for (width, height) in [(1280, 900), (320, 640)] {
            browser.screen(width, height).await;
            axe::finds_nothing(browser, &format!("{what}, {scheme}, {width} wide")).await;
            let is_wide = "return document.documentElement.scrollWidth > innerWidth";
            assert_eq!(browser.tells(is_wide).await, json!(false), "{what} at {width}");
            browser.picture(&format!("{}-{width}-{scheme}", what.replace(' ', "-"))).await;
        }
    }
    browser.screen(1280, 900).await;
}

async fn spec(stack: &TestStack) -> Value {
    let (_, room) = stack.operator("GET", &format!("/api/v1/rooms/{EVENT}"), None).await;
    room["spec"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_why_and_steers() {
    let stack = TestStack::start().await;
    let (buyer, undecided) = (stack.visitor(), stack.visitor());
    for visitor in [&buyer, &undecided] {
        assert_eq!(visitor.arrive().await, Page::Shop);
    }
    let hold = buyer.hold(&[1, 2, 3]).await.json();
    assert_eq!(buyer.pay(&hold["hold"], "tok_ok", "console").await.status, 201);
    assert_eq!(undecided.hold(&[10, 11]).await.status, 201);
    let browser = Browser::start().await;
    browser.open(stack.controller, "/console#token=not-a-token-of-ours").await;
    let refused = "return !document.getElementById('token-why').hidden";
    browser.until("a token that is none is refused", refused).await;
    // In the same tab, where only what follows the # is another.
    browser.open(stack.controller, &stack.page_of(TokenRole::Operator)).await;
    browser.until_says("reason", "a second").await;
    assert_eq!(browser.tells("return location.hash").await, "", "nobody reads the token there");

    browser.until_says("stock", "sold 3").await;
    browser.until_says("stock", "held 2").await;
    for part in ["sold", "held"] {
        let is_painted = format!(
            "const part = document.querySelector('.stock-bar .{part}');
             return part.getBoundingClientRect().width >= 2
                && getComputedStyle(part).backgroundColor !== 'rgba(0, 0, 0, 0)'"
        );
        assert_eq!(browser.tells(&is_painted).await, json!(true), "what is {part} is painted");
    }

    browser.click("pause").await;
    eventually("the front stands", || async { spec(&stack).await["is_paused"] == true }).await;
    browser.until_says("decisions", "paused").await;
    browser.until_says("pause", "Resume").await;
    everybody_can_read(&browser, "console paused").await;
    browser.click("pause").await;
    eventually("it goes on", || async { spec(&stack).await["is_paused"] == false }).await;
    browser.until_says("pause", "Pause").await;

    browser.writes("pace-min", "2").await;
    browser.writes("pace-max", "50").await;
    browser.click("pace-save").await;
    eventually("the bounds are these", || async {
        let pace = spec(&stack).await["pace"].clone();
        (pace["per_sec_min"].as_f64(), pace["per_sec_max"].as_f64()) == (Some(2.0), Some(50.0))
    })
    .await;
    browser.writes("pace-min", "60").await;
    browser.click("pace-save").await;
    browser.until_says("result", "The least pace is above the most").await;
    assert_eq!(
        spec(&stack).await["pace"]["per_sec_min"],
        json!(2.0),
        "what is odd changes nothing"
    );

    browser.writes("message", "Doors <b>open</b> at six").await;
    browser.click("message-save").await;
    eventually("visitors are told", || async {
        stack.front_document().await.contains("Doors <b>open</b> at six")
    })
    .await;
    everybody_can_read(&browser, "console").await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_security_team_reads_the_evidence_and_gives_the_place_back() {
    let stack = TestStack::start_standing().await;
    let agent = "python-requests/2.32.3 <script>document.title='taken'</script>";
    let judged = stack.visitor().with_agent(agent);
    assert_eq!(judged.arrive().await, Page::Waiting);
    assert_eq!(judged.status().await["lane"], "suspect");
    let browser = Browser::start().await;
    browser.open(stack.controller, &stack.page_of(TokenRole::Security)).await;
    browser.until_says("suspicions", "python-requests").await;
    assert_eq!(browser.tells("return document.title").await, "Security · Waiting Room");
    browser.until_says("counts", "program, not a browser 1").await;
    browser.writes("filter-text", "nobody is called so").await;
    browser.until("nobody passes", "return !document.getElementById('nothing').hidden").await;
    browser.writes("filter-text", "python").await;
    browser.until("one passes", "return document.getElementById('rows').rows.length === 1").await;
    browser.tells("document.querySelector('#rows button').click()").await;
    browser.until_says("detail", "program, not a browser").await;
    everybody_can_read(&browser, "security").await;

    browser.click("restore").await;
    assert_eq!(judged.status().await["lane"], "suspect", "not without saying why");
    browser.writes("why", "a reader for the blind, called us").await;
    browser.click("restore").await;
    browser.until_says("detail", "The place is back at number").await;
    browser.until_says("detail", "a reader for the blind").await;
    eventually("it stands in its lane", || async { judged.status().await["lane"] == "standard" })
        .await;
    stack.stop().await;
}
