//! A usual request is carried to the origin by the edge itself, any other by Pingora's proxy; whoever
//! asks cannot tell which, whatever the origin answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::stack::SecondEdge;
use crate::support::{TestStack, eventually};

/// What the origin answers, byte by byte; connections stay open unless the answer says otherwise.
#[rustfmt::skip] // reads in columns
const ANSWERS: [(&str, &[u8]); 16] = [
    ("/length",      b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Case: a\r\nx-case: b\r\n\r\nhello"),
    ("/empty",       b"HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n"),
    ("/chunked",     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"),
    ("/trailer",     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
    ("/until-close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=1\r\n\r\nto the end"),
    ("/old",         b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold but here"),
    ("/nothing",     b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"),
    ("/unchanged",   b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n"),
    ("/elsewhere",   b"HTTP/1.1 302 Found\r\nLocation: /x?a=b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"),
    ("/hinted",      b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("/fails",       b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"),
    ("/odd-bytes",   b"HTTP/1.1 200 OK\r\nX-Name: Andr\xe9\r\nContent-Length: 2\r\n\r\nok"),
    ("/cut",         b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 50\r\n\r\nnot all"),
    ("/cut-chunk",   b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"),
    ("/no-http",     b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("/two-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
];

/// An origin that answers so, and what it has seen.
struct Origin {
    addr: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicU32,
    /// Clients that went away from `/never`.
    gone: AtomicU32,
    waiting: AtomicU32,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Self { addr, seen: kept }
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer = match path {
            // Promises to stay, and goes.
            "/leaves" => {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye";
                let _ = stream.write_all(answer).await;
                return;
            }
            "/never" => {
                seen.waiting.fetch_add(1, Ordering::SeqCst);
                let mut byte = [0];
                if matches!(stream.read(&mut byte).await, Ok(0) | Err(_)) {
                    seen.gone.fetch_add(1, Ordering::SeqCst);
                }
                return;
            }
            path => ANSWERS.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes),
        };
        let answer = answer.unwrap_or(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let is_head = head.starts_with("HEAD ");
        let text = String::from_utf8_lossy(answer);
        // Of several heads the last one is the answer's.
        let last = text.rfind("HTTP/").unwrap_or(0);
        let end = text[last..].find("\r\n\r\n").map_or(0, |at| last + at + 4).min(answer.len());
        let sent = if is_head { &answer[..end] } else { answer };
        let is_last = text.contains("close") || !text.starts_with("HTTP/1.1");
        if stream.write_all(sent).await.is_err() || is_last {
            return;
        }
    }
}

/// The origin, and an edge that goes there.
async fn an_edge_before_it() -> (TestStack, Origin, SecondEdge) {
    let stack = TestStack::start().await;
    let origin = Origin::start().await;
    let edge = stack.second_edge(|config| config.origin.addr = origin.addr).await;
    (stack, origin, edge)
}

/// What a client gets: status, fields but those of the connection and the time, and the body, if it
/// is whole.
async fn got(edge: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let client = reqwest::Client::builder();
    let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let method: reqwest::Method = method.parse().unwrap();
    let mut asked = client.request(method, format!("http://{edge}{path}"));
    for (name, value) in fields {
        asked = asked.header(*name, *value);
    }
    let answer = match asked.send().await {
        Ok(answer) => answer,
        Err(error) => return format!("no answer: {}", error.is_request()),
    };
    let mut fields: Vec<String> = answer
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "connection", "keep-alive"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()))
        .collect();
    fields.sort_unstable();
    let status = answer.status().as_u16();
    let body = match answer.bytes().await {
        Ok(body) => body.escape_ascii().to_string(),
        Err(_) => "incomplete".to_owned(),
    };
    format!("{status}\n{}\n\n{body}", fields.join("\n"))
}

#[tokio::test]
async fn whoever_asks_cannot_tell_who_carried_the_request() {
    let (stack, _, edge) = an_edge_before_it().await;
    for (path, _) in ANSWERS {
        for method in ["GET", "HEAD"] {
            // A field about transfer makes the request an unusual one.
            let by_pingora = got(edge.addr, method, path, &[("te", "trailers")]).await;
            let by_edge = got(edge.addr, method, path, &[]).await;
            let again = got(edge.addr, method, path, &[]).await;
            assert_eq!(by_edge, by_pingora, "{method} {path}");
            assert_eq!(again, by_edge, "{method} {path}");
        }
    }
    let whole = got(edge.addr, "GET", "/trailer", &[]).await;
    assert!(whole.starts_with("200\n") && whole.ends_with("\n\nabc"), "{whole}");
    let cut = got(edge.addr, "GET", "/cut", &[]).await;
    assert!(cut.ends_with("incomplete"), "{cut}");
    assert!(got(edge.addr, "GET", "/no-http", &[]).await.starts_with("502\n"));
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn a_connection_that_the_origin_left_is_replaced_without_a_word() {
    let (stack, origin, edge) = an_edge_before_it().await;
    for _ in 0..30 {
        let answer = got(edge.addr, "GET", "/leaves", &[]).await;
        assert!(answer.starts_with("200\n") && answer.ends_with("bye"), "{answer}");
    }
    let before = origin.seen.connections.load(Ordering::SeqCst);
    for _ in 0..30 {
        got(edge.addr, "GET", "/length", &[]).await;
    }
    let opened = origin.seen.connections.load(Ordering::SeqCst) - before;
    // One that is just being given back is not waited for.
    assert!(opened < 10, "connections are kept, but {opened} were opened");
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn whoever_goes_away_takes_the_request_along() {
    let (stack, origin, edge) = an_edge_before_it().await;
    let mut client = TcpStream::connect(edge.addr).await.unwrap();
    client.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let seen = Arc::clone(&origin.seen);
    eventually("the origin is asked", || async { seen.waiting.load(Ordering::SeqCst) == 1 }).await;
    drop(client);
    eventually("the origin may stop", || async { seen.gone.load(Ordering::SeqCst) == 1 }).await;
    edge.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let (stack, _, edge) = an_edge_before_it().await;
    let mut client = TcpStream::connect(edge.addr).await.unwrap();
    let asked = "GET /length HTTP/1.1\r\nhost: a\r\n\r\nGET /fails HTTP/1.1\r\nhost: a\r\n\r\n\
                 GET /chunked HTTP/1.1\r\nhost: a\r\n\r\n\
                 GET /odd-bytes HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\n\r\n";
    client.write_all(asked.as_bytes()).await.unwrap();
    let mut answered = Vec::new();
    client.read_to_end(&mut answered).await.unwrap();
    let answered = String::from_utf8_lossy(&answered);
    let at = |what: &str| answered.find(what).unwrap_or_else(|| panic!("{what} in {answered}"));
    let order = [at("hello"), at("oops"), at("defg"), at("X-Name")];
    assert!(order.is_sorted(), "{order:?} {answered}");
    assert_eq!(answered.matches("HTTP/1.1 ").count(), 4, "{answered}");
    edge.stop().await;
    stack.stop().await;
}
