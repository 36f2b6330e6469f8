//! A shared cache may stand before the edge: everybody's front comes from one fetch a second, and
//! nobody gets what was another's.

use std::time::{Duration, Instant};

use serde_json::Value;
use servers::Nginx;

use crate::support::{EVENT, Page, TestStack, eventually};

/// nginx as a CDN would be set up: it keeps what it may, as long as it may, and fetches once for
/// all who ask at the same time.
fn cache_before(stack: &TestStack) -> Nginx {
    let http = format!(
        "proxy_cache_path {{folder}}/cache keys_zone=all:10m;
         server {{
             listen 127.0.0.1:{{port}};
             location / {{
                 proxy_pass http://{};
                 proxy_http_version 1.1;
                 proxy_set_header Connection \"\";
                 proxy_set_header Host $http_host;
                 proxy_cache all;
                 proxy_cache_key $host$request_uri;
                 proxy_cache_lock on;
                 proxy_cache_use_stale updating;
                 proxy_cache_background_update on;
                 add_header X-Cache $upstream_cache_status always;
             }}
         }}",
        stack.edge
    );
    Nginx::start(&http, &[])
}

#[tokio::test]
async fn the_edge_serves_the_front_once_a_second_however_many_ask() {
    let stack = TestStack::start_standing().await;
    let cache = cache_before(&stack);
    let url = format!("http://{}/api/v1/queue/{EVENT}/front", cache.addr());
    let began = Instant::now();
    let served_before = documents(&stack).await;
    // Twenty clients that ask again as soon as they are answered, for a while.
    let askers = (0..20).map(|_| {
        let (client, url) = (reqwest::Client::new(), url.clone());
        tokio::spawn(async move {
            let (mut answers, mut newest) = (0_u64, 0);
            while began.elapsed() < Duration::from_secs(4) {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert!(answer.headers().get("set-cookie").is_none());
                let body: Value = answer.json().await.unwrap();
                let seq = body["front"]["seq"].as_u64().unwrap();
                assert!(seq >= newest, "a cache never shows an older front");
                newest = seq;
                answers += 1;
            }
            answers
        })
    });
    let mut answers = 0;
    for asker in askers.collect::<Vec<_>>() {
        answers += asker.await.unwrap();
    }
    let secs = began.elapsed().as_secs_f64();
    let fetched = documents(&stack).await - served_before;
    println!("{answers} answers in {secs:.1} s from {fetched} fetches at the edge");
    // One a second; one more for the fetch that was under way at either end.
    assert!(fetched <= secs + 2.0, "{fetched} fetches in {secs} s for {answers} answers");
    assert!(fetched < f64::from(u32::try_from(answers).unwrap()) / 4.0, "the cache was used");
    stack.stop().await;
}

#[tokio::test]
async fn no_cache_gives_one_visitor_what_was_anothers() {
    let stack = TestStack::start_standing().await;
    let cache = cache_before(&stack);
    let (ana, ben) =
        (stack.visitor().moved_to(cache.addr()), stack.visitor().moved_to(cache.addr()));
    assert_eq!(ana.arrive().await, Page::Waiting);
    assert_eq!(ben.arrive().await, Page::Waiting);
    let (hers, his) = (ana.status().await, ben.status().await);
    assert_ne!((&hers["num"], &hers["visitor"]), (&his["num"], &his["visitor"]));
    assert_eq!(ana.status().await["num"], hers["num"]);
    stack.let_in(2).await;
    ana.enter().await;
    ben.enter().await;
    // Seen twice, so that a cache could have kept it: it is Ana's all the same, and Cem's is not.
    let path = format!("/api/v1/events/{EVENT}/availability");
    for _ in 0..2 {
        let seen = ana.get(&path).await;
        assert_eq!(seen.status, 200);
        assert_ne!(seen.field("x-cache"), "HIT");
    }
    let cem = stack.visitor().moved_to(cache.addr());
    assert_eq!(cem.get(&path).await.status, 503, "who waits is not served from a cache");
    stack.stop().await;
}

#[tokio::test]
async fn a_changed_front_reaches_those_behind_a_cache_within_seconds() {
    let stack = TestStack::start_standing().await;
    let cache = cache_before(&stack);
    let url = format!("http://{}/api/v1/queue/{EVENT}/front", cache.addr());
    stack.operator("POST", &format!("/api/v1/rooms/{EVENT}/pause"), None).await;
    eventually("the pause is seen behind the cache", || async {
        let body: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        body["front"]["phase"] == "paused"
    })
    .await;
    stack.stop().await;
}

/// Shared documents that the edge has served.
async fn documents(stack: &TestStack) -> f64 {
    let text = reqwest::get(format!("http://{}/metrics", stack.admin)).await.unwrap();
    let text = text.text().await.unwrap();
    let line = text.lines().find(|line| line.contains("verdict=\"document\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}
