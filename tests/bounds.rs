//! Everything that comes in is bounded: requests a minute, sizes, and times.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{EVENT, Page, TestStack, eventually};

#[tokio::test]
async fn one_network_cannot_take_all_places() {
    let stack = TestStack::start_standing().await;
    let flood = stack.visitor();
    let path = format!("/events/{EVENT}");
    let mut limited = None;
    for _ in 0..200 {
        // A client without cookies: each request is a new visitor.
        let fresh = flood.thief();
        let fields = [("accept", "text/html"), ("x-forwarded-for", "198.51.100.77")];
        let answer = fresh.send("GET", &path, &fields, None).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("a flood is limited");
    assert!(!limited.field("retry-after").is_empty());
    assert!(limited.text().contains("Too many requests"));
    // Another network does not notice.
    assert_eq!(stack.visitor().arrive().await, Page::Waiting);
    stack.stop().await;
}

#[tokio::test]
async fn a_forwarded_address_from_strangers_is_not_believed() {
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].pace = crate::support::stack::standing();
        config.edge.client.trusted_proxies.clear();
    })
    .await;
    // Each of these visitors says to come from somewhere else, and all are one network.
    let mut limited = 0;
    for _ in 0..60 {
        if stack.visitor().arrive().await == Page::Other(429) {
            limited += 1;
        }
    }
    assert!(limited > 20, "{limited} of 60 were limited");
    stack.stop().await;
}

async fn raw(stack: &TestStack, chunks: &[&[u8]], pause: Duration) -> String {
    let mut stream = TcpStream::connect(stack.edge).await.unwrap();
    let mut ticks = tokio::time::interval(pause);
    for chunk in chunks {
        ticks.tick().await;
        if stream.write_all(chunk).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    // The edge may reset a connection that it refuses; what was read until then counts.
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_time() {
    let stack = TestStack::start_with(|config| config.edge.limits.head_ms_max = 300).await;
    let none = Duration::from_millis(1);

    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    let answer = raw(&stack, &[large.as_bytes()], none).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");

    // A byte every now and then does not hold a connection for ever.
    let drops: Vec<&[u8]> = b"GET / HTTP/1.1\r\nhost: a\r\nslow: yes\r\n".chunks(1).collect();
    let answer = raw(&stack, &drops, Duration::from_millis(50)).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    for (request, status) in [
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "200"),
    ] {
        let answer = raw(&stack, &[request.as_bytes()], none).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
    }
    stack.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded() {
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].forward.body_bytes_max = 2000;
    })
    .await;
    let ana = stack.visitor();
    assert_eq!(ana.arrive().await, Page::Shop);
    let long = serde_json::json!({"seats": [], "note": "x".repeat(5000)});
    let answer = ana.post(&format!("/api/v1/events/{EVENT}/holds"), long.clone()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body-too-large"));

    let chunked = format!(
        "POST /api/v1/events/{EVENT}/holds HTTP/1.1\r\nhost: a\r\ncookie: wr_pass_{EVENT}={}\r\n\
         accept: application/json\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n1388\r\n{}\r\n0\r\n\r\n",
        ana.cookie("wr_pass").unwrap(),
        "x".repeat(5000)
    );
    let answer = raw(&stack, &[chunked.as_bytes()], Duration::from_millis(1)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let answer = ana.post("/api/v1/queue/join", serde_json::json!({"x": "y".repeat(20_000)})).await;
    assert_eq!(answer.status, 413);
    stack.stop().await;
}

#[tokio::test]
async fn one_network_cannot_take_all_connections() {
    let stack = TestStack::start().await;
    let edge = stack
        .second_edge(|config| {
            config.client.trusted_proxies.clear();
            config.limits.connections_per_network_max = 3;
        })
        .await;
    // Each is asked something, so that it has been accepted when the next one comes; one that is
    // refused may be gone before that.
    let open = || async {
        let mut stream = TcpStream::connect(edge.addr).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.ok()?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.ok()?;
        (&start != b"HTTP/1.1 503").then_some(stream)
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open().await.unwrap());
    }
    let mut fourth = TcpStream::connect(edge.addr).await.unwrap();
    let mut told = String::new();
    fourth.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after"), "{told}");
    held.pop();
    eventually("there is room again", || async { open().await.is_some() }).await;
    edge.stop().await;
    stack.stop().await;
}
