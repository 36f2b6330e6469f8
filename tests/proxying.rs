//! Any origin can stand behind the edge: what is not guarded passes untouched, streams flow, and
//! clients cannot speak in the edge's name.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{EVENT, TestStack};

/// A site that is not ours.
async fn foreign_site() -> SocketAddr {
    async fn echo(headers: HeaderMap, request: Request) -> impl IntoResponse {
        let fields: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let fields = fields.join("\n");
        (
            [("cache-control", "public, max-age=60"), ("set-cookie", "theirs=1; Path=/")],
            format!("{fields}\n\n{}", body.len()),
        )
    }
    async fn stream() -> impl IntoResponse {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
        tokio::spawn(async move {
            for n in 0.. {
                if sender.send(Ok(format!("data: {n}\n\n"))).await.is_err() {
                    break;
                }
            }
        });
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|item| (item, receiver))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(stream))
    }
    let app = Router::new()
        .route("/stream", get(stream))
        .route("/redirect", get(|| async { axum::response::Redirect::to("/elsewhere") }))
        .fallback(any(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    addr
}

/// An edge of its own before that site, with the stack's controller.
async fn in_front_of(
    site: SocketAddr,
) -> (TestStack, SocketAddr, tokio::sync::watch::Sender<bool>) {
    let mut edge_config = None;
    let stack = TestStack::start_with(|config| edge_config = Some(config.edge.clone())).await;
    let mut config = edge_config.unwrap();
    config.origin.addr = site;
    config.controller.url = format!("http://{}", stack.controller);
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let parts = edge_proxy::EdgeParts { listener: bind(), admin_listener: bind(), shutdown };
    let edge = edge_proxy::start(config, parts).unwrap();
    let addr = edge.addr;
    let front = format!("http://{addr}/api/v1/queue/{EVENT}/front");
    crate::support::eventually("the edge knows the room", || async {
        reqwest::get(&front).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    (stack, addr, stop)
}

#[tokio::test]
async fn what_is_not_guarded_passes_untouched() {
    let (stack, addr, stop) = in_front_of(foreign_site().await).await;
    let ana = stack.visitor().moved_to(addr);
    let forged = [
        ("accept", "text/html"),
        ("waiting-room-visitor", "forged"),
        ("Waiting-Room-Pass", "forged"),
        ("x-own", "kept"),
        ("cookie", "theirs=1; wr_pass_x=ours"),
    ];
    let answer = ana.send("GET", "/anything?a=b", &forged, None).await;
    let seen = answer.text();
    assert_eq!(answer.status, 200);
    assert!(!seen.contains("forged") && seen.contains("x-own: kept"), "{seen}");
    assert!(seen.contains("cookie: theirs=1\n"), "{seen}");
    assert!(
        seen.contains("x-forwarded-for: 10.") && seen.contains("x-forwarded-proto: http"),
        "{seen}"
    );
    assert_eq!(answer.field("cache-control"), "public, max-age=60");
    assert_eq!(ana.open("/redirect").await.field("location"), "/elsewhere");
    let upload = serde_json::json!({"x": "y".repeat(500_000)});
    assert!(ana.post("/upload", upload).await.text().ends_with("500008"));
    stop.send(true).unwrap();
    stack.stop().await;
}

#[tokio::test]
async fn those_inside_are_named_to_the_origin_and_their_pages_are_theirs_alone() {
    let (stack, addr, stop) = in_front_of(foreign_site().await).await;
    let ana = stack.visitor().moved_to(addr);
    let answer = ana.open(&format!("/events/{EVENT}/seats")).await;
    let seen = answer.text();
    assert_eq!(answer.field("waiting-room-verdict"), "forward");
    for fact in ["waiting-room-pass: ey", "waiting-room-lane: standard", "waiting-room-risk: low"] {
        assert!(seen.contains(fact), "{fact} in {seen}");
    }
    assert!(seen.contains(&format!("waiting-room-event: {EVENT}")));
    assert_eq!(answer.field("cache-control"), "private, max-age=60");
    stop.send(true).unwrap();
    stack.stop().await;
}

#[tokio::test]
async fn a_stream_flows_while_it_is_being_written() {
    let (stack, addr, stop) = in_front_of(foreign_site().await).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    // The stream never ends, so whatever arrives was passed on as it came.
    while !seen.contains("data: 10\n") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    stop.send(true).unwrap();
    stack.stop().await;
}
