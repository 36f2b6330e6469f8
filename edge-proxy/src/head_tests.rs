use std::io::Cursor;

use pingora_core::protocols::http::v1::server::HttpSession;
use proptest::prelude::*;

use super::*;

#[test]
#[rustfmt::skip] // reads in columns
fn only_what_is_framed_plainly_is_answered_here() {
    //    request line and fields                                          body, if usual
    check("GET /x HTTP/1.1|host: a",                                        Some(0));
    check("GET /x?y=/../z HTTP/1.1|Host:a|Cookie: a=b",                     Some(0));
    check("HEAD /x HTTP/1.1|host: a|connection: keep-alive",                Some(0));
    check("GET /x HTTP/1.1|host: a|connection: close",                      Some(0));
    check("POST /x HTTP/1.1|host: a|content-length: 12",                    Some(12));
    check("POST /x HTTP/1.1|host: a",                                       Some(0));
    check("DELETE /x HTTP/1.1|host: a",                                     Some(0));
    check("GET /x HTTP/1.1|host: a|content-length: 0",                      Some(0));
    check("GET /x HTTP/1.0|host: a",                                        None);
    check("GET /x HTTP/1.1",                                                None);
    check("GET /x HTTP/1.1|host: a|host: a",                                None);
    check("GET http://a/x HTTP/1.1|host: a",                                None);
    check("OPTIONS * HTTP/1.1|host: a",                                     None);
    check("CONNECT a:443 HTTP/1.1|host: a",                                 None);
    check("GET /x HTTP/1.1|host: a|content-length: 1",                      None);
    check("PUT /x HTTP/1.1|host: a|content-length: 1",                      None);
    check("POST /x HTTP/1.1|host: a|content-length: 1|content-length: 1",   None);
    check("POST /x HTTP/1.1|host: a|content-length: 1, 1",                  None);
    check("POST /x HTTP/1.1|host: a|content-length: +1",                    None);
    check("POST /x HTTP/1.1|host: a|content-length: 123456789",             None);
    check("POST /x HTTP/1.1|host: a|transfer-encoding: chunked",            None);
    check("POST /x HTTP/1.1|host: a|Transfer-Encoding: identity",           None);
    check("POST /x HTTP/1.1|host: a|content-length: 1|expect: 100-continue", None);
    check("GET /x HTTP/1.1|host: a|upgrade: websocket|connection: upgrade", None);
    check("GET /x HTTP/1.1|host: a|connection: keep-alive, te",             None);
    check("GET /x HTTP/1.1|host: a|te: trailers",                           None);
    check("GET /x HTTP/1.1|host : a",                                       None);
    check("GET /x HTTP/1.1|host: a| folded",                                None);
    check("GET /x?y#z HTTP/1.1|host: a",                                    None);
    check("GET /\u{1} HTTP/1.1|host: a",                                    None);
}

#[track_caller]
fn check(lines: &str, expected: Option<usize>) {
    let bytes = format!("{}\r\n\r\n", lines.replace('|', "\r\n"));
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let body = match Head::read(bytes.as_bytes(), &mut fields) {
        Read::Usual(head) => Some(head.body_bytes),
        Read::Unusual => None,
    };
    assert_eq!(body, expected, "{lines}");
    compare(bytes.as_bytes());
}

/// If we take it, Pingora reads the very same request from the same bytes.
fn compare(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let Read::Usual(head) = Head::read(bytes, &mut fields) else { return };
    let text = bytes.escape_ascii().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut session = HttpSession::new(Box::new(Cursor::new(bytes.to_vec())));
        let read = session.read_request().await;
        assert!(matches!(read, Ok(Some(_))), "{text}: {read:?}");
        let theirs = session.req_header().clone();
        assert_eq!(theirs.method.as_str(), head.method, "{text}");
        assert_eq!(theirs.raw_path(), head.target.as_bytes(), "{text}");
        assert_eq!(theirs.headers.len(), head.fields.len(), "{text}");
        for field in head.fields {
            let mut all = theirs.headers.get_all(field.name).iter();
            let is_there = all.any(|value| value.as_bytes() == field.value);
            assert!(is_there, "{} of {text}", field.name);
        }
        let rest = &bytes[head.bytes..];
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = session.read_body_bytes().await {
            body.extend_from_slice(&chunk);
        }
        let expected = &rest[..head.body_bytes.min(rest.len())];
        if rest.len() >= head.body_bytes {
            assert_eq!(body.as_slice(), expected, "{text}");
        }
        if let Some(parts) = head.to_parts() {
            assert_eq!(parts.uri.path(), head.path(), "{text}");
            assert_eq!(parts.method, theirs.method, "{text}");
            assert_eq!(parts.headers, theirs.headers, "{text}");
            // What is decided here is decided of the request that Pingora sends on.
            let target = parts.uri.path_and_query().unwrap();
            assert_eq!(target.as_str().as_bytes(), theirs.raw_path(), "{text}");
        }
    });
}

/// A request of odd parts, some of them twice.
fn odd_request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "get", "PUT", "G\tT", ""]);
    let target = prop_oneof![
        Just("/x".to_owned()),
        Just("/x?y#z".to_owned()),
        Just("/%2e%2e//x\\y;z".to_owned()),
        Just("http://b/x".to_owned()),
        "/[ -~]{0,12}",
    ];
    let version = prop::sample::select(vec!["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1"]);
    let name = prop::sample::select(vec![
        "Host",
        "host",
        "Content-Length",
        "content-length ",
        "Transfer-Encoding",
        "Connection",
        "X-Forwarded-For",
        "Cookie",
        " folded",
        "Upgrade",
        "x_y",
        "",
    ]);
    let value = prop_oneof![
        Just("a".to_owned()),
        Just("5".to_owned()),
        Just("chunked".to_owned()),
        Just("keep-alive".to_owned()),
        Just("close".to_owned()),
        "[ -~\t]{0,12}",
        "[\\x80-\\xff]{0,3}",
    ];
    let end = prop::sample::select(vec!["\r\n", "\n", "\r", "\r\n "]);
    let field = (name, value, end);
    let fields = prop::collection::vec(field, 0..6);
    (method, target, version, any::<bool>(), fields, prop::collection::vec(any::<u8>(), 0..12))
        .prop_map(|(method, target, version, has_host, fields, rest)| {
            let mut bytes = format!("{method} {target} {version}\r\n");
            if has_host {
                bytes.push_str("host: a\r\n");
            }
            for (name, value, end) in fields {
                bytes.extend([name, ": ", &value, end]);
            }
            bytes.push_str("\r\n");
            let mut bytes = bytes.into_bytes();
            bytes.extend(rest);
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_answered_here_pingora_reads_alike(bytes in odd_request()) {
        compare(&bytes);
    }

    #[test]
    fn a_flipped_byte_is_read_alike_or_handed_on(at in 0..120_usize, byte in any::<u8>()) {
        let mut bytes = b"POST /api/v1/queue/join?x=1 HTTP/1.1\r\nHost: shop.example\r\n\
            Content-Type: application/json\r\nContent-Length: 4\r\nCookie: a=b\r\n\r\n1234GET".to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        compare(&bytes);
    }
}
