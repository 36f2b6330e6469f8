//! Odd requests get the right answer, whatever stands behind the edge: never the edge's own failure,
//! never a way around the line, never a second request hidden in the first.

use std::net::SocketAddr;
use std::time::Duration;

use servers::Nginx;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{EVENT, TestStack, python};

/// What a site shows to those inside, and to nobody else.
const INSIDE: &str = "the seats of those inside";

/// A site that reads paths generously, as nginx does: it decodes, merges and resolves.
fn generous_site() -> Nginx {
    let http = format!(
        "server {{
             listen 127.0.0.1:{{port}};
             location / {{ return 200 'outside'; }}
             location ~* ^/events/ {{ return 200 '{INSIDE}'; }}
         }}"
    );
    Nginx::start(&http, &[])
}

/// One request on a connection of its own, and all that comes back.
async fn exchange(edge: SocketAddr, request: &[u8]) -> Answered {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // A connection that the edge has reset was answered before.
    let is_over = tokio::time::timeout(Duration::from_secs(8), reading).await.is_ok();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    Answered { status, text, is_over }
}

struct Answered {
    status: u16,
    text: String,
    /// Whether the connection ended; every request here asks for that.
    is_over: bool,
}

impl Answered {
    fn field(&self, name: &str) -> &str {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let field = head.lines().filter_map(|line| line.split_once(": "));
        field.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v).next().unwrap_or("")
    }

    /// Why this is no answer for somebody who stands outside.
    fn fault(&self, expected: &[u16]) -> Option<String> {
        let answers = self.text.matches("HTTP/1.").count();
        let verdict = self.field("waiting-room-verdict");
        let fault = if !expected.contains(&self.status) {
            format!("{} instead of {expected:?}", self.status)
        } else if self.text.contains(INSIDE) || verdict == "forward" {
            "walked around the line".to_owned()
        } else if answers != 1 {
            format!("{answers} answers")
        } else if self.status == 503 && self.field("retry-after").is_empty() {
            "503 without Retry-After".to_owned()
        } else if !self.is_over {
            "the connection stays open".to_owned()
        } else {
            return None;
        };
        Some(format!("{fault}: {}", self.text.lines().next().unwrap_or_default()))
    }
}

/// What is sent, `P` standing for the guarded path; the statuses that are right.
type Row = (&'static str, &'static [u16]);

/// Methods, with a body of nothing.
#[rustfmt::skip] // reads in columns
const METHODS: &[Row] = &[
    ("GET P HTTP/1.1\nhost: a\naccept: text/html",                                &[200]),
    ("HEAD P HTTP/1.1\nhost: a\naccept: text/html",                               &[200]),
    ("OPTIONS P HTTP/1.1\nhost: a",                                               &[204]),
    ("OPTIONS P HTTP/1.1\nhost: a\norigin: https://b\naccess-control-request-method: POST", &[204]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: 0",                               &[503]),
    ("PUT P HTTP/1.1\nhost: a\ncontent-length: 0",                                &[503]),
    ("DELETE P HTTP/1.1\nhost: a",                                                &[503]),
    ("PATCH P HTTP/1.1\nhost: a\ncontent-length: 0",                              &[503]),
    ("TRACE P HTTP/1.1\nhost: a",                                                 &[503]),
    ("BREW P HTTP/1.1\nhost: a",                                                  &[503]),
    ("get P HTTP/1.1\nhost: a\naccept: text/html",                                &[400, 503]),
    ("CONNECT a:443 HTTP/1.1\nhost: a",                                           &[400, 405]),
    ("CONNECT P HTTP/1.1\nhost: a",                                               &[400, 405, 503]),
    ("DELETE /api/v1/queue/join HTTP/1.1\nhost: a",                               &[405]),
    ("TRACE /api/v1/queue/status HTTP/1.1\nhost: a",                              &[405]),
    ("PRI * HTTP/2.0\n",                                                          &[400, 505]),
];

/// `Accept`, as browsers, programs and the careless send it.
#[rustfmt::skip] // reads in columns
const ACCEPTS: &[Row] = &[
    ("GET P HTTP/1.1\nhost: a\naccept: text/html;q=0.9, */*;q=0.1",               &[200]),
    ("GET P HTTP/1.1\nhost: a\naccept: application/json;q=0.9, text/html",        &[200]),
    ("GET P HTTP/1.1\nhost: a\naccept: text/html;q=0.1, application/json;q=0.9",  &[503]),
    ("GET P HTTP/1.1\nhost: a\naccept: text/html;q=0",                            &[503]),
    ("GET P HTTP/1.1\nhost: a\naccept: */*",                                      &[503]),
    ("GET P HTTP/1.1\nhost: a\naccept: application/grpc",                         &[503]),
    ("GET P HTTP/1.1\nhost: a\naccept: ;;q=,,,\"",                                &[503]),
    ("GET P HTTP/1.1\nhost: a\naccept: \\xff\\xfe",                               &[503]),
    ("GET P HTTP/1.1\nhost: a\naccept:",                                          &[503]),
    ("GET P HTTP/1.1\nhost: a",                                                   &[503]),
];

/// What would turn the connection into something else.
#[rustfmt::skip] // reads in columns
const UPGRADES: &[Row] = &[
    ("GET P HTTP/1.1\nhost: a\nconnection: upgrade, close\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", &[503]),
    ("GET P HTTP/1.1\nhost: a\nconnection: upgrade, http2-settings, close\nupgrade: h2c\nhttp2-settings: AAMAAABkAAQAAP__", &[503]),
    ("GET P HTTP/1.1\nhost: a\nconnection: upgrade, close\nupgrade: nothing\naccept: text/html", &[200]),
];

/// Spellings that a site may read as the guarded path. `Q` stands for it without its first `/`.
#[rustfmt::skip] // reads in columns
const PATHS: &[Row] = &[
    ("GET //Q HTTP/1.1\nhost: a\naccept: text/html",                              &[200]),
    ("GET /EVENTS/N HTTP/1.1\nhost: a\naccept: text/html",                        &[200]),
    ("GET /x/../Q HTTP/1.1\nhost: a\naccept: text/html",                          &[200]),
    ("GET /x/%2e%2e/Q HTTP/1.1\nhost: a\naccept: text/html",                      &[200]),
    ("GET /x/%252e%252e/Q HTTP/1.1\nhost: a\naccept: text/html",                  &[200]),
    ("GET /events%2fN HTTP/1.1\nhost: a\naccept: text/html",                      &[200]),
    ("GET /events%5cN HTTP/1.1\nhost: a\naccept: text/html",                      &[200]),
    ("GET /events;a=1/N;b HTTP/1.1\nhost: a\naccept: text/html",                  &[200]),
    ("GET /%65vents/N HTTP/1.1\nhost: a\naccept: text/html",                      &[200]),
    ("GET P%00 HTTP/1.1\nhost: a\naccept: text/html",                             &[200]),
    ("GET P?to=https://evil.example HTTP/1.1\nhost: a\naccept: text/html",        &[200]),
    ("GET P#x HTTP/1.1\nhost: a\naccept: text/html",                              &[200, 400]),
    ("GET \\Q HTTP/1.1\nhost: a\naccept: text/html",                              &[200, 400]),
    ("GET http://a/Q HTTP/1.1\nhost: a\naccept: text/html",                       &[200]),
    ("GET http://evil.example/Q HTTP/1.1\nhost: a\naccept: text/html",            &[400]),
    ("GET HTTP://a/Q HTTP/1.1\nhost: a\naccept: text/html",                       &[200]),
    ("GET http://u:p@a/Q HTTP/1.1\nhost: a\naccept: text/html",                   &[200, 400]),
    ("GET ftp://a/Q HTTP/1.1\nhost: a\naccept: text/html",                        &[400]),
    ("GET Q HTTP/1.1\nhost: a\naccept: text/html",                                &[400]),
    ("GET  P HTTP/1.1\nhost: a\naccept: text/html",                               &[400]),
    ("GET P HTTP/1.0\nhost: a\naccept: text/html",                                &[200]),
    ("GET P HTTP/1.0\naccept: text/html",                                         &[400]),
    ("GET P\n",                                                                   &[400]),
];

/// Framing and fields that two readers would read in two ways. `B` stands for a hidden request.
#[rustfmt::skip] // reads in columns
const FRAMING: &[Row] = &[
    ("GET P HTTP/1.1\nhost: a\nhost: b\naccept: text/html",                       &[400]),
    ("GET P HTTP/1.1\nhost: a, b\naccept: text/html",                             &[200, 400]),
    ("GET P HTTP/1.1\nhost:\naccept: text/html",                                  &[400]),
    ("GET P HTTP/1.1\nhost : a\naccept: text/html",                               &[400]),
    ("GET P HTTP/1.1\nhost: a\nx: 1\n folded: 2\naccept: text/html",              &[400]),
    ("GET P HTTP/1.1\nhost: a\nx: \\x00\naccept: text/html",                      &[400]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: 5\ncontent-length: 6\n\nB",       &[400, 503]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: 5, 6\n\nB",                       &[400]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: +5\n\nB",                         &[400]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: 0x5\n\nB",                        &[400]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: -1\n\nB",                         &[400]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: 99999999999999999999999\n\nB",    &[400, 413]),
    ("POST P HTTP/1.1\nhost: a\ncontent-length: 5\ntransfer-encoding: chunked\n\n0\n\nB", &[400, 503]),
    ("POST P HTTP/1.1\nhost: a\ntransfer-encoding: chunked, identity\n\n0\n\nB",  &[400, 501, 503]),
    ("POST P HTTP/1.1\nhost: a\ntransfer-encoding: xchunked\n\n0\n\nB",           &[400, 501, 503]),
    ("POST P HTTP/1.0\nhost: a\ntransfer-encoding: chunked\n\n0\n\nB",            &[400, 503]),
];

/// Finds every row that is answered wrongly.
async fn faults(edge: SocketAddr, behind: &str, tables: &[&[Row]]) -> Vec<String> {
    let mut faults = Vec::new();
    for (row, expected) in tables.iter().copied().flatten() {
        let hidden = format!("GET /events/{EVENT} HTTP/1.1\r\nhost: a\r\n\r\n");
        let (first, rest) = row.split_once('\n').unwrap();
        let first = first
            .replacen(" P", &format!(" /events/{EVENT}"), 1)
            .replacen('Q', &format!("events/{EVENT}"), 1)
            .replacen("/N", &format!("/{EVENT}"), 1)
            .replacen("%2fN", &format!("%2f{EVENT}"), 1)
            .replacen("%5cN", &format!("%5c{EVENT}"), 1);
        let (fields, body) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let body = body.replace('\n', "\r\n").replace('B', &hidden);
        let mut request = format!("{first}\r\n").into_bytes();
        if !first.starts_with("PRI") && first.contains("HTTP/") {
            for field in fields.lines() {
                request.extend(bytes(field));
                request.extend(b"\r\n");
            }
            if !fields.contains("connection:") {
                request.extend(b"connection: close\r\n");
            }
        }
        request.extend(b"\r\n");
        request.extend(body.as_bytes());
        if let Some(fault) = exchange(edge, &request).await.fault(expected) {
            faults.push(format!("before {behind}: {row:?}: {fault}"));
        }
    }
    faults
}

/// A text with `\xNN` for bytes that no text has.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

#[tokio::test]
async fn no_odd_request_walks_around_the_line_or_breaks_the_edge() {
    let stack = TestStack::start_standing().await;
    let site = generous_site();
    let addr = site.addr();
    let open = 1_000_000.try_into().unwrap();
    let before_nginx = stack
        .second_edge(|config| {
            config.origin.addr = addr;
            config.limits.new_per_minute = open;
        })
        .await;
    let before_ours = stack.second_edge(|config| config.limits.new_per_minute = open).await;
    let tables = [METHODS, ACCEPTS, UPGRADES, PATHS, FRAMING];
    let mut found = faults(before_nginx.addr, "nginx", &tables).await;
    found.extend(faults(before_ours.addr, "our origin", &tables).await);
    assert!(found.is_empty(), "{} rows:\n{}", found.len(), found.join("\n"));
    before_ours.stop().await;
    before_nginx.stop().await;
    stack.stop().await;
}

#[tokio::test]
async fn a_place_is_found_among_whatever_cookies_there_are() {
    let stack = TestStack::start_standing().await;
    let ana = stack.visitor();
    ana.arrive().await;
    let num = ana.status().await["num"].as_u64().unwrap();
    let (name, place) = (format!("wr_place_{EVENT}"), ana.cookie("wr_place").unwrap());
    let good = format!("{name}={place}");
    let hundred: String = (0..100).map(|n| format!("c{n}=v{n}; ")).collect();
    let long = format!("x={}; ", "y".repeat(7000));
    let too_long = format!("x={}; ", "y".repeat(40_000));
    #[rustfmt::skip] // reads in columns
    let rows: [(&str, String, u16); 17] = [
        ("alone",                 format!("cookie: {good}"),                                    200),
        ("others before",         format!("cookie: a=b; c; =d; ;;{good}"),                      200),
        ("no space",              format!("cookie: a=b;{good};c=d"),                            200),
        ("a hundred before",      format!("cookie: {hundred}{good}"),                           200),
        ("long ones before",      format!("cookie: {long}{good}"),                              200),
        ("too long ones",         format!("cookie: {too_long}{good}"),                          431),
        ("in quotes",             format!("cookie: {name}=\"{place}\""),                        200),
        ("spaces around",         format!("cookie:   {name} = {place}  "),                      200),
        ("bad one before",        format!("cookie: {name}=x; {good}"),                          200),
        ("good one before",       format!("cookie: {good}; {name}=x"),                          200),
        ("two fields",            format!("cookie: a=b\r\ncookie: {good}"),                     200),
        ("bytes in another",      format!("cookie: a=\\xff\\xfe; {good}"),                      200),
        ("bytes in another field", format!("cookie: a=\\xff\r\ncookie: {good}"),                200),
        ("cut short",             format!("cookie: {}", &good[..good.len() - 5]),               404),
        ("without value",         format!("cookie: {name}"),                                    404),
        ("another event's",       format!("cookie: wr_place_other={place}"),                    404),
        ("none",                  "x: y".to_owned(),                                            404),
    ];
    let mut wrong = Vec::new();
    for (what, fields, status) in rows {
        let mut request =
            format!("GET /api/v1/queue/status?event_id={EVENT} HTTP/1.1\r\n").into_bytes();
        request.extend(b"host: a\r\nconnection: close\r\naccept: application/json\r\n");
        request.extend(b"accept-language: en\r\nuser-agent: ");
        request.extend(crate::support::visitor::CHROME.as_bytes());
        request.extend(b"\r\n");
        request.extend(bytes(&fields));
        request.extend(b"\r\n\r\n");
        let answer = exchange(stack.edge, &request).await;
        let has_place = answer.text.contains(&format!("\"num\":{num},"));
        if answer.status != status || has_place != (status == 200) {
            wrong.push(format!("{what}: {} instead of {status}: {}", answer.status, answer.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stack.stop().await;
}

#[tokio::test]
async fn nobody_is_sent_to_another_site() {
    let stack = TestStack::start_with(|config| {
        config.edge.limits.place_per_minute = 10_000.try_into().unwrap();
    })
    .await;
    let ana = stack.visitor();
    ana.arrive().await;
    for to in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "%2f%2fevil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "/%0d%0aLocation:%20https://evil.example",
    ] {
        for name in ["to", "return", "next"] {
            let path = format!("/.waiting-room/place?event_id={EVENT}&{name}={to}");
            let referer = format!("http://{}//evil.example", stack.edge);
            for fields in
                [&[("accept", "text/html")][..], &[("accept", "text/html"), ("referer", &referer)]]
            {
                let answer = ana.send("GET", &path, fields, None).await;
                let text = answer.text();
                assert_eq!((answer.status, answer.field("location")), (200, ""), "{path}");
                let links =
                    text.match_indices("href=\"").map(|(at, found)| &text[at + found.len()..]);
                for link in links {
                    let link = link.split('"').next().unwrap();
                    let is_ours =
                        link.starts_with('/') && !link.starts_with("//") && !link.contains('\\')
                            || link == "data:,";
                    assert!(is_ours && !link.contains('\t'), "{path} leads to {link}");
                }
            }
        }
    }
    stack.stop().await;
}

#[tokio::test]
async fn odd_requests_over_http_2_are_answered_alike() {
    let dir = tempfile::tempdir().unwrap();
    python("make_certificate.py", dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let tls = edge_proxy::TlsConfig { cert: cert.clone(), key };
    let stack = TestStack::start_standing().await;
    let site = generous_site();
    let addr = site.addr();
    let edge = stack
        .second_edge(|config| {
            config.tls = Some(tls);
            config.origin.addr = addr;
        })
        .await;
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&std::fs::read(cert).unwrap()).unwrap()])
        .resolve("localhost", edge.addr)
        .no_proxy()
        .build()
        .unwrap();
    let path = format!("/events/{EVENT}");
    let html = "text/html";
    #[rustfmt::skip] // reads in columns
    let rows = [
        ("GET",     path.clone(),                          html,               200),
        ("HEAD",    path.clone(),                          html,               200),
        ("OPTIONS", path.clone(),                          html,               204),
        ("POST",    path.clone(),                          html,               503),
        ("TRACE",   path.clone(),                          html,               503),
        ("BREW",    path.clone(),                          html,               503),
        ("GET",     path.clone(),                          "application/json", 503),
        ("GET",     path.clone(),                          "*/*",              503),
        ("GET",     format!("/{path}"),                    html,               200),
        ("GET",     path.to_uppercase(),                   html,               200),
        ("GET",     path.replace("/events/", "/events%2f"), html,              200),
        ("GET",     path.replace("events", "events;a"),    html,               200),
        ("GET",     path.replace("events", "%65vents"),    html,               200),
        ("GET",     format!("{path}%00"),                  html,               200),
        ("DELETE",  "/api/v1/queue/join".to_owned(),       html,               405),
    ];
    for (method, path, accept, status) in rows {
        let url = format!("https://localhost:{}{path}", edge.addr.port());
        let request = client.request(method.parse().unwrap(), &url).header("accept", accept);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(answer.status().as_u16(), status, "{method} {path} {accept}");
        assert!(!answer.text().await.unwrap().contains(INSIDE), "{method} {path} {accept}");
    }
    edge.stop().await;
    stack.stop().await;
}
