//! The waiting page as people meet it: in every state, light and dark, read from the left and from
//! the right, on a phone and magnified, with and without script. axe looks at all of it.
//!
//! The page comes from a real edge. What the line says is put on by a stage between the two, so
//! that states which take hours or luck to reach are one line here.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use keys::Timestamp;
use serde_json::{Value, json};

use crate::support::axe;
use crate::support::browser::{Browser, selector};
use crate::support::visitor::Visitor;
use crate::support::{EVENT, TestStack, eventually};

/// What the line says: to `status` and `join`, and as its front; the rest is the edge's own.
#[derive(Clone)]
struct Scene {
    place: (u16, Value),
    front: (u16, Value),
}

/// Stands before an edge and speaks the line's words.
struct Stage {
    addr: SocketAddr,
    scene: Arc<Mutex<Scene>>,
    /// What the edge really said, for scenes to start from.
    real: Scene,
}

impl Stage {
    async fn before(stack: &TestStack, edge: SocketAddr) -> Self {
        let visitor = stack.visitor().moved_to(edge);
        visitor.arrive().await;
        let front = serde_json::from_str(&stack.front_document().await).unwrap();
        let real = Scene { place: (200, visitor.status().await), front: (200, front) };
        let scene = Arc::new(Mutex::new(real.clone()));
        let (told, behind) = (Arc::clone(&scene), visitor);
        let answer = move |request: Request| answer(Arc::clone(&told), behind.clone(), request);
        let app = Router::new().fallback(answer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, scene, real }
    }

    /// Plays a scene: the line as in an ordinary sale, and what is special.
    fn play(&self, change: fn(&mut Scene)) {
        let mut scene = self.real.clone();
        let now = Timestamp::now().as_millis();
        let place = &mut scene.place.1;
        for (key, value) in [("num", 4210), ("position", 4210), ("front", 1200), ("ahead", 3009)] {
            place[key] = json!(value);
        }
        place["claim_secs"] = json!(600);
        let front = &mut scene.front.1["front"];
        front["phase"] = json!("open");
        front["t0"] = json!(now);
        front["until"] = json!(now + 3_600_000);
        front["reason"] = json!("as fast as the shop answers");
        for lane in front["lanes"].as_array_mut().unwrap() {
            lane["f0"] = json!(1200);
            lane["limit"] = json!(9000);
            lane["pace_milli"] = json!(5000);
        }
        change(&mut scene);
        *self.scene.lock().unwrap() = scene;
    }
}

async fn answer(scene: Arc<Mutex<Scene>>, edge: Visitor, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let scene = scene.lock().unwrap().clone();
    let said = match path.strip_prefix("/api/v1/queue/") {
        Some("status" | "join") => Some(scene.place),
        Some("claim") => Some((503, json!({"code": "busy"}))),
        Some("transfer") => Some((201, json!({"code": "K7QM-2XWF", "expires_at": 0}))),
        Some("transfer/redeem") => Some((404, json!({"code": "unknown-code"}))),
        Some("evidence") => return StatusCode::NO_CONTENT.into_response(),
        Some(other) if other.ends_with("/front") => Some(scene.front),
        Some(_) => Some((409, json!({"code": "not-near"}))),
        None => None,
    };
    if let Some((status, body)) = said {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, axum::Json(body)).into_response();
    }
    let accept = request.headers().get("accept").map_or("*/*", |value| value.to_str().unwrap());
    let target = request.uri().path_and_query().unwrap().as_str();
    let answer = edge.send("GET", target, &[("accept", accept)], None).await;
    let mut fields = HeaderMap::new();
    for name in ["content-type", "content-security-policy", "cache-control"] {
        if let Ok(value) = answer.field(name).parse() {
            fields.insert(name.parse::<axum::http::HeaderName>().unwrap(), value);
        }
    }
    (StatusCode::from_u16(answer.status).unwrap(), fields, Bytes::from(answer.body)).into_response()
}

/// The page's state, and what makes it.
type State = (&'static str, &'static str, fn(&mut Scene));

/// Every state that the page knows.
#[rustfmt::skip] // reads in columns
const STATES: [State; 11] = [
    ("waiting",   "waiting",    |_| {}),
    ("few",       "waiting",    |scene| scene.front.1["front"]["stock"] = json!("few")),
    ("suspect",   "waiting",    |scene| scene.place.1["lane"] = json!("suspect")),
    ("paused",    "paused",     |scene| {
        scene.front.1["front"]["phase"] = json!("paused");
        scene.front.1["front"]["message"] = json!("The shop has a short break.\nWe go on at noon.");
    }),
    ("scheduled", "scheduled",  |scene| {
        scene.front.1["front"]["phase"] = json!("scheduled");
        scene.front.1["front"]["opens_at"] = json!(Timestamp::now().as_millis() + 754_000);
    }),
    ("draw",      "scheduled",  |scene| {
        scene.front.1["front"]["phase"] = json!("scheduled");
        scene.front.1["front"]["opens_at"] = json!(Timestamp::now().as_millis() + 7_540_000);
        scene.front.1["front"]["draw"] =
            json!({"commitment": "AAAA", "beacon": {"source": "none"}, "opened": null});
        scene.place.1["position"] = Value::Null;
        scene.place.1["ahead"] = Value::Null;
    }),
    ("turn",      "your_turn",  |scene| scene.place.1["state"] = json!("your_turn")),
    ("sold-out",  "sold_out",   |scene| scene.front.1["front"]["phase"] = json!("sold_out")),
    ("closed",    "closed",     |scene| scene.front.1["front"]["phase"] = json!("closed")),
    ("lost",      "lost",       |scene| scene.front.0 = 503),
    ("expired",   "expired",    |scene| scene.place.0 = 410),
];

/// Whether nothing has to be pushed sideways to be read.
const FITS: &str = "return document.documentElement.scrollWidth <= innerWidth";

impl Stage {
    /// Plays a scene and waits until a browser shows it in a language.
    async fn shows(&self, browser: &Browser, state: &State, language: &str) {
        let (_, shown, change) = *state;
        self.play(change);
        browser.screen(1280, 900).await;
        browser.open(self.addr, &format!("/events/{EVENT}")).await;
        browser.wait_for(&format!("main[data-state={shown}]")).await;
        let speak = format!(
            "const choice = document.getElementById('language');
             choice.value = '{language}';
             choice.dispatchEvent(new Event('change'));"
        );
        browser.tells(&speak).await;
        let speaks = format!("return document.documentElement.lang === '{language}'");
        browser.until("the page speaks the language", &speaks).await;
    }
}

/// Lets axe look at a page, light and dark.
async fn axe_looks(browser: &Browser, what: &str) {
    for scheme in ["light", "dark"] {
        browser.prefers(scheme, "reduce").await;
        let what = format!("{what}-{scheme}");
        browser.picture(&format!("waiting-{what}")).await;
        axe::finds_nothing(browser, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axe_finds_nothing_in_any_state_and_nothing_is_cut_off() {
    let stack = TestStack::start_standing().await;
    let stage = Stage::before(&stack, stack.edge).await;
    let browser = Browser::start().await;
    for state in &STATES {
        for language in ["en", "ar"] {
            let what = format!("{}-{language}", state.0);
            stage.shows(&browser, state, language).await;
            axe_looks(&browser, &what).await;
            // A laptop's window at 400 %.
            browser.screen(320, 225).await;
            assert_eq!(browser.tells(FITS).await, json!(true), "{what} at 400 %");
        }
    }
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_template_is_as_good_to_read() {
    let stack = TestStack::start_standing().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/page.html");
    let edge = stack.second_edge(|config| config.pages.template = Some(file.into())).await;
    let stage = Stage::before(&stack, edge.addr).await;
    let browser = Browser::start().await;
    for (state, language) in STATES.iter().zip(["de", "ar"].into_iter().cycle()) {
        stage.shows(&browser, state, language).await;
        axe_looks(&browser, &format!("template-{}", state.0)).await;
    }
    let brand = browser.wait_for(".brand b").await.css_value("color").await.unwrap();
    assert_eq!(brand, "rgba(240, 166, 211, 1)", "the template's own style counts");
    browser.client.clone().close().await.unwrap();
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_has_a_countdown_and_time_to_get_ready() {
    let stack = TestStack::start_standing().await;
    let stage = Stage::before(&stack, stack.edge).await;
    let browser = Browser::start().await;
    stage.shows(&browser, &STATES[0], "en").await;
    // The turn comes while the page looks on, so it knows how long it is kept.
    stage.play(|scene| {
        scene.place.1["state"] = json!("your_turn");
        for lane in scene.front.1["front"]["lanes"].as_array_mut().unwrap() {
            lane["f0"] = json!(5000);
        }
    });
    let left = browser.wait_for(&selector("left")).await;
    browser.wait_for("main[data-state=your_turn]").await;
    browser.until("the time is shown", "return !document.getElementById('left-line').hidden").await;
    let first = left.text().await.unwrap();
    assert!(first == "10:00" || first.starts_with("09:"), "{first}");
    browser
        .until(
            "it runs",
            &format!("return document.getElementById('left').textContent !== '{first}'"),
        )
        .await;
    axe_looks(&browser, "countdown").await;

    browser.click("later").await;
    browser
        .until("the page is calm", "return document.documentElement.hasAttribute('data-later')")
        .await;
    assert!(
        browser.tells("return document.activeElement.id").await == "enter",
        "focus is not lost"
    );
    axe_looks(&browser, "later").await;
    // What was asked for and how long there is survive a reload, but for the wish to wait.
    browser.client.refresh().await.unwrap();
    browser
        .until("the time is known again", "return !document.getElementById('left-line').hidden")
        .await;

    browser.tells("document.getElementById('move').open = true").await;
    browser.click("show-code").await;
    browser
        .until(
            "the code is shown",
            "return document.getElementById('moving-code').textContent === 'K7QM-2XWF'",
        )
        .await;
    browser.wait_for(&selector("their-code")).await.send_keys("nonsense").await.unwrap();
    browser.click("use-code").await;
    browser
        .until(
            "a bad code is refused",
            "return document.getElementById('move-said').textContent.includes('not good')",
        )
        .await;
    axe_looks(&browser, "moving").await;
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_without_script_waits_and_enters() {
    let stack = TestStack::start_standing().await;
    let browser = Browser::start().await;
    browser.runs_script(false).await;
    browser.open(stack.edge, &format!("/events/{EVENT}?from=mail")).await;
    browser.wait_for("p.plain a").await.click().await.unwrap();
    let ahead = browser.wait_for(&selector("ahead")).await;
    assert_eq!(ahead.text().await.unwrap(), "0");
    // axe is a script itself; the page has none.
    browser.runs_script(true).await;
    axe::finds_nothing(&browser, "the place without script").await;
    browser.runs_script(false).await;
    stack.let_in(1).await;
    eventually("the link to enter is there", || async {
        browser.client.refresh().await.unwrap();
        browser.client.find(fantoccini::Locator::Css(&selector("enter"))).await.is_ok()
    })
    .await;
    browser.click("enter").await;
    eventually("the shop is open, at the address that was wanted", || async {
        let url = browser.client.current_url().await.unwrap();
        let title = browser.client.title().await.unwrap();
        url.query() == Some("from=mail") && !title.contains("line")
    })
    .await;
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}
