//! The edge ends TLS, speaks HTTP/2, and marks its cookies accordingly.

use reqwest::Version;

use crate::support::{EVENT, TestStack, python};

#[tokio::test]
async fn a_browser_is_served_over_tls_and_http_2() {
    let dir = tempfile::tempdir().unwrap();
    python("make_certificate.py", dir.path());
    let tls = edge_proxy::TlsConfig {
        cert: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
    };
    let stack = TestStack::start_with(|config| {
        config.controller.rooms[0].mode = admission_api::RoomMode::On;
    })
    .await;
    let edge = stack.second_edge(|config| config.tls = Some(tls)).await;
    let certificate = std::fs::read(dir.path().join("cert.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&certificate).unwrap()])
        .resolve("localhost", edge.addr)
        .no_proxy()
        .build()
        .unwrap();
    let url = |path: &str| format!("https://localhost:{}{path}", edge.addr.port());

    let page = client
        .get(url(&format!("/events/{EVENT}")))
        .header("accept", "text/html")
        .header("accept-language", "en")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0")
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
