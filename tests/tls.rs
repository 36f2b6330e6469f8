//! The edge ends TLS, speaks HTTP/2, and marks its cookies accordingly.

use reqwest::Version;

use crate::support::stack::SecondEdge;
use crate::support::{EVENT, TestStack, python};

/// A stack in which visitors wait, and a second edge that speaks TLS.
async fn an_edge_with_tls() -> (TestStack, SecondEdge, reqwest::Certificate) {
    let dir = tempfile::tempdir().unwrap();
    python("make_certificate.py", dir.path());
    let cert = dir.path().join("cert.pem");
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(&cert).unwrap()).unwrap();
    let tls = edge_proxy::TlsConfig { cert, key: dir.path().join("key.pem") };
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].mode = admission_api::RoomMode::On;
    })
    .await;
    let edge = stack.second_edge(|config| config.tls = Some(tls)).await;
    (stack, edge, certificate)
}

fn client(edge: &SecondEdge, certificate: reqwest::Certificate) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_certs_only([certificate])
        .resolve("localhost", edge.addr)
        .no_proxy()
        .user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0")
}

#[tokio::test]
async fn a_browser_is_served_over_tls_and_http_2() {
    let (stack, edge, certificate) = an_edge_with_tls().await;
    let client = client(&edge, certificate).build().unwrap();
    let url = |path: &str| format!("https://localhost:{}{path}", edge.addr.port());

    let page = client
        .get(url(&format!("/events/{EVENT}")))
        .header("accept", "text/html")
        .header("accept-language", "en")
        .send()
        .await
        .unwrap();
    assert_eq!((page.status().as_u16(), page.version()), (200, Version::HTTP_2));
    let cookie = page.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("wr_place_") && cookie.ends_with("; Secure"), "{cookie}");
    assert!(page.text().await.unwrap().contains("You are in line"));

    let list = client.get(url("/api/v1/events")).send().await.unwrap();
    assert_eq!((list.status().as_u16(), list.version()), (200, Version::HTTP_2), "proxied");
    edge.stop().await;
    stack.stop().await;
}

/// A hot document is left to the connection, whole, and goes out as the client makes room for it.
#[tokio::test]
async fn a_client_with_a_small_window_gets_the_whole_page() {
    let (stack, edge, certificate) = an_edge_with_tls().await;
    let port = edge.addr.port();
    let page = format!("https://localhost:{port}/events/{EVENT}");
    let quick = client(&edge, certificate.clone()).build().unwrap();
    let arrived = quick.get(&page).header("accept", "text/html").send().await.unwrap();
    let place = arrived.headers()["set-cookie"].to_str().unwrap();
    let place = place.split(';').next().unwrap().to_owned();
    let slow = client(&edge, certificate).http2_initial_stream_window_size(500).build().unwrap();
    let ask = |client: &reqwest::Client, url: &str| {
        client.get(url).header("accept", "text/html").header("cookie", place.clone()).send()
    };
    let front = format!("https://localhost:{port}/api/v1/queue/{EVENT}/front");
    // The page is still under way when the front is asked for and answered.
    let (slowly, front) = (ask(&slow, &page).await.unwrap(), ask(&slow, &front).await.unwrap());
    assert!(front.text().await.unwrap().contains("lanes"));
    let whole = ask(&quick, &page).await.unwrap().text().await.unwrap();
    assert!(whole.len() > 5000, "many windows long: {}", whole.len());
    assert_eq!(slowly.text().await.unwrap(), whole);
    edge.stop().await;
    stack.stop().await;
}
