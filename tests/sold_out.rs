//! Whoever waits is told within five seconds that everything is sold, and within five seconds that
//! something came back; nobody loses their place over it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use admission_api::{LoadReport, PaceLimits, RoomMode, Stock};
use axum::Router;
use axum::routing::get;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::stack::standing;
use crate::support::visitor::Visitor;
use crate::support::{EVENT, Page, TestStack, eventually};

/// The longest that news of the stock may take.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// An origin's report of which a test sets the stock.
#[derive(Clone)]
struct BoxOffice(Arc<Mutex<Stock>>);

impl BoxOffice {
    async fn with(free: u64) -> (Self, String) {
        let stock = Stock {
            event: EVENT.parse().unwrap(),
            capacity: 1000,
            free,
            held: 0,
            paying: 0,
            sold: 1000 - free,
            blocked: 0,
            holds: 0,
            expected_returns: vec![],
        };
        let office = Self(Arc::new(Mutex::new(stock)));
        let reporting = office.clone();
        let app =
            Router::new().fallback(get(move || async move { axum::Json(reporting.report()) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (office, url)
    }

    fn report(&self) -> LoadReport {
        LoadReport {
            at: keys::Timestamp::now(),
            window_ms: 5000,
            requests_total: 0,
            errors_total: 0,
            latency: admission_api::Latency::default(),
            queue_delay: admission_api::Latency::default(),
            service: admission_api::Latency::default(),
            seat_mode_level: 0,
            db_cpu: Some(0.1),
            db_cpu_source: "test".into(),
            stock: vec![self.0.lock().unwrap().clone()],
        }
    }

    fn set_free(&self, free: u64) {
        let mut stock = self.0.lock().unwrap();
        (stock.free, stock.sold) = (free, stock.capacity - free);
    }
}

/// A sale with few seats left, whose room stands still or moves slowly.
async fn sale(pace: PaceLimits) -> (TestStack, BoxOffice) {
    let (office, url) = BoxOffice::with(100).await;
    let stack = TestStack::start_with(|config| {
        config.controller.origin.as_mut().unwrap().load_url = url;
        config.controller.rooms[0].mode = RoomMode::On;
        config.controller.rooms[0].pace = pace;
        config.edge.limits.place_per_minute = 10_000.try_into().unwrap(); // we look often
    })
    .await;
    (stack, office)
}

/// Waits for news and says how long they took.
async fn told<F: Future<Output = bool>>(who: &str, since: Instant, is_told: impl Fn() -> F) {
    eventually(&format!("{who} is told"), is_told).await;
    let took = since.elapsed();
    println!("{who}: told after {:.1} s", took.as_secs_f64());
    assert!(took < TOLD_WITHIN, "{who} was told after {took:?}");
}

async fn phase(visitor: &Visitor) -> Value {
    visitor.status().await["phase"].clone()
}

#[tokio::test]
async fn clients_are_told_within_five_seconds_and_stay_in_line() {
    let (stack, office) = sale(standing()).await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Waiting);
    let num = ana.status().await["num"].clone();
    let front = || async {
        let document: Value = serde_json::from_str(&stack.front_document().await).unwrap();
        document["front"].clone()
    };
    eventually("the stock is known to be small", || async { front().await["stock"] == "few" })
        .await;
    let near = front().await["poll"]["near_secs"].clone();
    assert_eq!(ana.status().await["poll_secs"], near, "news are near: everybody asks often");

    office.set_free(0);
    let since = Instant::now();
    let page = format!("/.waiting-room/place?event_id={EVENT}");
    tokio::join!(
        told("the front", since, || async { front().await["phase"] == "sold_out" }),
        told("an app", since, || async { phase(&ana).await == "sold_out" }),
        told("a browser without script", since, || async {
            ana.open(&page).await.text().contains("Sold out")
        }),
    );
    assert_eq!(ana.claim().await.code(), "sale-over");
    let late = stack.visitor();
    let refused = late.post("/api/v1/queue/join", json!({"event_id": EVENT})).await;
    assert_eq!(
        (refused.code().as_str(), &refused.json()["phase"]),
        ("sale-over", &json!("sold_out"))
    );

    office.set_free(20);
    let since = Instant::now();
    told("an app, of returns", since, || async { phase(&ana).await == "open" }).await;
    assert_eq!(ana.status().await["num"], num, "the place is the one of before");
    assert_eq!(late.arrive().await, Page::Waiting);
    assert!(late.status().await["num"].as_u64() > num.as_u64(), "who comes later stands behind");
    stack.let_in(num.as_u64().unwrap()).await;
    ana.enter().await;
    stack.stop().await;
}

#[tokio::test]
async fn a_stream_tells_at_once() {
    let slow = PaceLimits { per_sec_min: 0.5, per_sec_max: 0.5, per_sec_start: 0.5, ..standing() };
    let (stack, office) = sale(slow).await;
    let crowd: Vec<Visitor> = (0..8).map(|_| stack.visitor()).collect();
    for visitor in &crowd {
        visitor.arrive().await;
    }
    let near = crowd.last().unwrap();
    let url = format!("http://{}/api/v1/queue/{EVENT}/stream", stack.edge);
    let stream =
        reqwest::Client::new().get(url).header("waiting-room-place", near.place().as_str());
    let stream = stream.header("user-agent", crate::support::visitor::CHROME);
    let answer = stream.header("accept-language", "en").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut chunks = answer.bytes_stream();
    office.set_free(0);
    let since = Instant::now();
    let mut heard = String::new();
    while !heard.contains("\"phase\":\"sold_out\"") {
        let chunk = tokio::time::timeout(TOLD_WITHIN, chunks.next()).await.unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap()));
    }
    let took = since.elapsed();
    println!("a stream: told after {:.1} s", took.as_secs_f64());
    assert!(took < TOLD_WITHIN, "{took:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_and_goes_on_by_itself() {
    let (stack, office) = sale(standing()).await;
    let browser = Browser::start().await;
    browser.open(stack.edge, &format!("/events/{EVENT}")).await;
    let shows =
        |state: &str| format!("return document.querySelector('main').dataset.state === '{state}'");
    browser.until("the page waits", &shows("waiting")).await;
    browser
        .until(
            "the page says that few are left",
            "return !document.getElementById('notice').hidden",
        )
        .await;

    office.set_free(0);
    let since = Instant::now();
    told("the page", since, || async { browser.tells(&shows("sold_out")).await == true }).await;
    browser.picture("sold-out").await;
    let number = "return document.getElementById('position').dataset.value";
    let before = browser.tells(number).await;
    office.set_free(20);
    browser.until("the page waits again", &shows("waiting")).await;
    assert_eq!(browser.tells(number).await, before, "at the place of before");
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}
