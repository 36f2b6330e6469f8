//! Somebody else's site stands behind the edge as it is: a stock nginx with files, cookies and
//! redirects, and an application behind it that takes uploads and speaks WebSocket. Nothing is
//! changed there; the edge's configuration names its address and the room its paths.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::{any, post};
use futures_util::{SinkExt as _, StreamExt as _};
use servers::Nginx;
use tokio_tungstenite::tungstenite::Message as Sent;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::stack::SecondEdge;
use crate::support::{EVENT, Page, TestStack};

/// The site's own application: counts uploads' bytes, echoes what comes over a WebSocket.
async fn application() -> SocketAddr {
    async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Close(_)) || socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    }
    let app = Router::new()
        .route("/upload", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/ws", any(echo))
        .layer(axum::extract::DefaultBodyLimit::max(20 << 20));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    addr
}

/// A site as nginx's own documentation would set it up.
async fn site() -> Nginx {
    let http = format!(
        "types {{ text/html html; text/css css; }}
         map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
         server {{
             listen 127.0.0.1:{{port}};
             root {{folder}}/site;
             client_max_body_size 20m;
             location /login {{ add_header Set-Cookie 'sid=7; Path=/; HttpOnly'; return 303 /me; }}
             location /me {{ add_header Vary Cookie; return 200 'cookie: $http_cookie'; }}
             location /old {{ return 301 https://$host/new; }}
             location /events/ {{ return 200 'visitor $http_waiting_room_visitor'; }}
             location ~ ^/(upload|ws)$ {{
                 proxy_pass http://{};
                 proxy_http_version 1.1;
                 proxy_set_header Upgrade $http_upgrade;
                 proxy_set_header Connection $connection_upgrade;
             }}
         }}",
        application().await
    );
    let page = "<!doctype html><title>Ours</title>".repeat(200);
    Nginx::start(&http, &[("site/index.html", &page), ("site/style.css", "p{}")])
}

async fn before(stack: &TestStack, site: &Nginx) -> SecondEdge {
    let addr = site.addr();
    stack.second_edge(move |config| config.origin.addr = addr).await
}

#[tokio::test]
async fn pages_ranges_cookies_and_redirects_are_the_sites_own() {
    let (stack, site) = (TestStack::start_standing().await, site().await);
    let edge = before(&stack, &site).await;
    let ana = stack.visitor().moved_to(edge.addr);
    let page = ana.open("/").await;
    assert_eq!((page.status, page.field("content-type")), (200, "text/html"));
    let direct = stack.visitor().moved_to(site.addr()).open("/").await;
    assert_eq!(page.body, direct.body);
    assert_eq!(page.field("etag"), direct.field("etag"));
    let known = [("if-none-match", page.field("etag"))];
    assert_eq!(ana.send("GET", "/", &known, None).await.status, 304);
    let part = ana.send("GET", "/", &[("range", "bytes=10-19")], None).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &page.body[10..20]));
    assert_eq!(ana.open("/missing").await.status, 404);

    let login = ana.send("POST", "/login", &[], None).await;
    assert_eq!(login.status, 303);
    assert!(login.field("location").ends_with("/me"), "{}", login.field("location"));
    assert_eq!(ana.open("/me").await.text(), "cookie: sid=7", "ours are not shown to the site");
    let old = ana.open("/old").await;
    assert_eq!((old.status, old.field("location")), (301, "https://127.0.0.1/new"));
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn uploads_and_websockets_go_through() {
    let (stack, site) = (TestStack::start_standing().await, site().await);
    let edge = before(&stack, &site).await;
    let upload = vec![7; 5 << 20];
    let url = format!("http://{}/upload", edge.addr);
    let sent = reqwest::Client::new().post(&url).body(upload.clone()).send().await.unwrap();
    assert_eq!(sent.text().await.unwrap(), upload.len().to_string());
    // The same without a length: chunks as they come.
    let chunks = upload.chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
    let stream = futures_util::stream::iter(chunks.collect::<Vec<_>>());
    let body = reqwest::Body::wrap_stream(stream);
    let sent = reqwest::Client::new().post(&url).body(body).send().await.unwrap();
    assert_eq!(sent.text().await.unwrap(), upload.len().to_string());

    let request = format!("ws://{}/ws", edge.addr).into_client_request().unwrap();
    let (mut socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    for text in ["one", "two"] {
        socket.send(Sent::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Sent::text(text));
    }
    let large = vec![1_u8; 300_000];
    socket.send(Sent::binary(large.clone())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Sent::binary(large));
    socket.close(None).await.unwrap();
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn only_the_paths_of_the_sale_wait() {
    let (stack, site) = (TestStack::start_standing().await, site().await);
    let edge = before(&stack, &site).await;
    let ana = stack.visitor().moved_to(edge.addr);
    assert_eq!(ana.arrive().await, Page::Waiting);
    assert_eq!(ana.open("/").await.field("waiting-room-verdict"), "open");
    let path = format!("/events/{EVENT}");
    // However the path is spelled, the site would serve it, so it waits.
    for spelled in ["/EVENTS/{}", "//events//{}", "/%65vents/{}", "/x/../events/{}", "/events/./{}"]
    {
        let answer = ana.open(&spelled.replace("{}", EVENT)).await;
        assert_ne!(answer.field("waiting-room-verdict"), "open", "{spelled}");
    }
    stack.let_in(1).await;
    ana.enter().await;
    let inside = ana.open(&path).await.text();
    assert!(inside.starts_with("visitor ") && inside.len() > "visitor ".len(), "{inside}");
    edge.stop().await;
    stack.stop().await;
}
