//! How an answer is written in HTTP/1.1: its bytes but for the date, made once where many get it.

use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;

use crate::answer::Answer;

/// Longest a connection's answers are put together before they are written.
pub const OUT_BYTES_MAX: usize = 64 * 1024;

/// An answer's bytes, ready but for `Date` and `Connection`.
#[derive(Debug, Clone)]
pub struct Prebuilt {
    /// Status line and fields, each with its line end.
    head: Bytes,
    /// What follows them; empty if the status has no body.
    pub body: Bytes,
    /// Whether the body's length is told.
    pub has_length: bool,
    /// What was decided.
    pub verdict: &'static str,
}

impl Prebuilt {
    /// The bytes of an answer.
    #[must_use]
    pub fn new(answer: &Answer) -> Self {
        let status =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
        let (name, verdict) = answer.verdict_field();
        let own = [(name, verdict)];
        let fields = answer.fields.iter().map(|(name, value)| (*name, &**value));
        for (name, value) in own.into_iter().chain(fields) {
            // What operators and visitors write never ends a line.
            let value: String =
                value.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect();
            head.extend([name, ": ", &value, "\r\n"]);
        }
        let has_length = !matches!(answer.status, 204 | 304);
        if has_length {
            head.extend(["content-length: ", &answer.body.len().to_string(), "\r\n"]);
        }
        let body = if has_length { answer.body.clone() } else { Bytes::new() };
        Self { head: head.into(), body, has_length, verdict: answer.verdict }
    }

    /// Appends the whole answer. `is_head` leaves the body away, `is_last` says that the connection
    /// ends.
    pub fn write(&self, out: &mut Vec<u8>, date: &Date, is_head: bool, is_last: bool) {
        let body: &[u8] = if is_head { &[] } else { &self.body };
        out.reserve(self.head.len() + body.len() + 64);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date.0.as_bytes());
        out.extend_from_slice(if is_last { b"\r\nconnection: close\r\n\r\n" } else { b"\r\n\r\n" });
        out.extend_from_slice(body);
    }
}

/// The `Date` of answers that are written within one second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Date(String);

impl Date {
    /// That second (RFC 9110, section 5.6.7).
    #[must_use]
    pub fn at(secs: u64) -> Self {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        Self(httpdate::fmt_http_date(at))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: &Answer, is_head: bool, is_last: bool) -> String {
        let mut out = Vec::new();
        Prebuilt::new(answer).write(&mut out, &Date::at(784_111_777), is_head, is_last);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_is_written_with_its_length_date_and_end() {
        let answer = Answer::empty(200, "document").body("text/plain", "hello").with("x", "a\r\nb");
        let head = "HTTP/1.1 200 OK\r\nwaiting-room-verdict: document\r\n\
                    cache-control: private, no-store\r\ncontent-type: text/plain\r\nx: ab\r\n\
                    content-length: 5\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert_eq!(written(&answer, false, false), format!("{head}\r\nhello"));
        assert_eq!(written(&answer, true, true), format!("{head}connection: close\r\n\r\n"));
    }

    #[test]
    fn what_has_no_body_has_no_length() {
        for status in [204, 304] {
            let text = written(&Answer::empty(status, "x"), false, false);
            assert!(!text.contains("content-length"), "{text}");
            assert!(text.ends_with("\r\n\r\n"), "{text}");
        }
    }
}
