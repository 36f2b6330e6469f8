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

#[tokio::test]
async fn what_is_not_guarded_passes_untouched() {
    let stack = TestStack::start().await;
    let site = foreign_site().await;
    let edge = stack.second_edge(|config| config.origin.addr = site).await;
    let ana = stack.visitor().moved_to(edge.addr);
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
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn those_inside_are_named_to_the_origin_and_their_pages_are_theirs_alone() {
    let stack = TestStack::start().await;
    let site = foreign_site().await;
    let edge = stack.second_edge(|config| config.origin.addr = site).await;
    let ana = stack.visitor().moved_to(edge.addr);
    let answer = ana.open(&format!("/events/{EVENT}/seats")).await;
    let seen = answer.text();
    assert_eq!(answer.field("waiting-room-verdict"), "forward");
    for fact in ["waiting-room-pass: ey", "waiting-room-lane: standard", "waiting-room-risk: low"] {
        assert!(seen.contains(fact), "{fact} in {seen}");
    }
    assert!(seen.contains(&format!("waiting-room-event: {EVENT}")));
    assert_eq!(answer.field("cache-control"), "private, max-age=60");
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn a_stream_flows_while_it_is_being_written() {
    let stack = TestStack::start().await;
    let site = foreign_site().await;
    let edge = stack.second_edge(|config| config.origin.addr = site).await;
    let mut stream = TcpStream::connect(edge.addr).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    // The stream never ends, so whatever arrives was passed on as it came.
    while !seen.contains("data: 10\n") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    edge.stop().await;
    stack.stop().await;
}
