//! One request as the edge sees it: its head, and who sends it.

use std::net::IpAddr;

use http::header::{ACCEPT, AsHeaderName, COOKIE};
use http::request::Parts;
use keys::{EventId, Timestamp};

use crate::accept::{self, Wants};
use crate::client::{self, Cidr, Network};
use crate::cookies::{self, Kind};
use crate::fields;
use crate::guard;
use crate::score::{RequestFacts, Rhythm};

/// Most statements of one kind that are looked at in a request.
const CANDIDATES_MAX: usize = 4;

/// A request's head with what follows from it.
#[derive(Debug, Clone)]
pub struct Visit<'a> {
    /// The head.
    pub head: &'a Parts,
    /// The client's address.
    pub addr: IpAddr,
    /// The network that limits are kept by.
    pub network: Network,
    /// Whether the client speaks TLS, to us or to a trusted proxy.
    pub is_secure: bool,
    /// Whether it comes through a proxy that we believe.
    pub is_from_proxy: bool,
    /// Host name without port and last dot.
    pub host: &'a str,
    /// When it came.
    pub now: Timestamp,
}

/// A request without a usable `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHost;

impl<'a> Visit<'a> {
    /// Reads a head.
    ///
    /// # Errors
    /// If it does not name exactly one host.
    pub fn read(
        head: &'a Parts,
        peer: IpAddr,
        is_tls: bool,
        trusted: &[Cidr],
        now: Timestamp,
    ) -> Result<Self, NoHost> {
        let mut hosts = head.headers.get_all("host").iter();
        let host = match (head.uri.host(), hosts.next(), hosts.next()) {
            (_, _, Some(_)) => return Err(NoHost),
            (Some(host), _, None) => host,
            (None, Some(host), None) => host.to_str().map_err(|_| NoHost)?,
            (None, None, None) => return Err(NoHost),
        };
        let host = without_port(host).ok_or(NoHost)?;
        let forwarded_for: Vec<&str> = head
            .headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        let peer = peer.to_canonical();
        let is_from_proxy = trusted.iter().any(|range| range.contains(peer));
        let says_https =
            head.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        let addr = client::client_addr(peer, &forwarded_for, trusted);
        Ok(Self {
            head,
            addr,
            network: Network::of(addr),
            is_secure: is_tls || (is_from_proxy && says_https),
            is_from_proxy,
            host,
            now,
        })
    }

    /// The path as it came.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.head.uri.path()
    }

    /// A parameter of the query, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.head.uri.query()?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| {
            (key == name).then(|| percent_decode(&value.replace('+', " ")))
        })
    }

    /// A field as text.
    #[must_use]
    pub fn field(&self, name: impl AsHeaderName) -> Option<&'a str> {
        self.head.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// What of a field can be read as text: one odd byte does not make it absent.
    #[must_use]
    pub fn readable(&self, name: impl AsHeaderName) -> Option<&'a str> {
        let value = self.head.headers.get(name)?.as_bytes();
        Some(value.utf8_chunks().next().map_or("", |chunk| chunk.valid()))
    }

    /// What kind of answer is wanted.
    #[must_use]
    pub fn wants(&self) -> Wants {
        accept::wants(self.field(ACCEPT))
    }

    /// Whether the browser only fetches ahead of a possible visit.
    #[must_use]
    pub fn is_prefetch(&self) -> bool {
        is_prefetch(|name| self.field(name))
    }

    /// The event's statements of a kind that the client shows: the field of our own first, then
    /// the cookies.
    #[must_use]
    pub fn candidates(&self, kind: Kind, event: &EventId) -> Vec<&'a str> {
        let field = match kind {
            Kind::Place => fields::PLACE,
            Kind::Pass => fields::PASS,
        };
        let cookies = self.head.headers.get_all(COOKIE).iter().map(|value| value.as_bytes());
        self.field(field)
            .into_iter()
            .chain(cookies::values(cookies, &cookies::name(kind, event)))
            .filter(|text| !text.is_empty())
            .take(CANDIDATES_MAX)
            .collect()
    }

    /// What the score is made from.
    #[must_use]
    pub fn facts(&self, rhythm: Rhythm, is_shared_place: bool) -> RequestFacts<'a> {
        RequestFacts {
            user_agent: self.readable("user-agent"),
            accept_language: self.readable("accept-language"),
            accept_encoding: self.readable("accept-encoding"),
            sec_ch_ua: self.readable("sec-ch-ua"),
            sec_ch_ua_mobile: self.readable("sec-ch-ua-mobile"),
            sec_fetch_mode: self.readable("sec-fetch-mode"),
            is_navigation: self.head.method == http::Method::GET && self.wants() == Wants::Page,
            is_secure: self.is_secure,
            is_shared_place,
            rhythm,
        }
    }
}

/// Whether what the edge reads of a request's target is what the origin is asked for: Pingora
/// takes every other form for `/`, and sends it on as it came.
#[must_use]
pub fn is_plain_target(method: &str, raw: &[u8]) -> bool {
    let has_scheme = |scheme: &[u8]| {
        raw.split_at_checked(scheme.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(scheme)
                // An authority is there, and none that parsers read in two ways.
                && !matches!(rest.first(), None | Some(b'/' | b'?' | b'#' | b'\\' | b':' | b'@'))
        })
    };
    let authority = raw.split(|byte| matches!(byte, b'/' | b'?')).nth(2).unwrap_or_default();
    match raw.first() {
        Some(b'/') => true,
        Some(b'*') => raw == b"*" && method == "OPTIONS",
        _ => (has_scheme(b"http://") || has_scheme(b"https://")) && !authority.contains(&b'\\'),
    }
}

/// Whether a browser only fetches ahead of a possible visit, by the fields that say so.
#[must_use]
pub fn is_prefetch<'a>(field: impl Fn(&'static str) -> Option<&'a str>) -> bool {
    ["sec-purpose", "purpose"]
        .into_iter()
        .any(|name| field(name).is_some_and(|value| value.contains("prefetch")))
}

/// A host without port and last dot; `None` if nothing of use is left.
#[must_use]
pub fn without_port(host: &str) -> Option<&str> {
    let name = if host.starts_with('[') {
        host.split_inclusive(']').next()
    } else {
        host.split(':').next()
    };
    // `shop.example.` is the same host, spelled in full.
    let name = name.map(|name| name.trim_end_matches('.'));
    name.filter(|name| !name.is_empty() && name.len() <= 253)
}

fn percent_decode(text: &str) -> String {
    String::from_utf8_lossy(&guard::decode(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(http::Request::builder()).body(()).unwrap().into_parts().0
    }

    fn read(head: &Parts) -> Result<Visit<'_>, NoHost> {
        let trusted: Vec<Cidr> = vec!["10.0.0.0/8".parse().unwrap()];
        Visit::read(head, "10.0.0.1".parse().unwrap(), false, &trusted, Timestamp::default())
    }

    #[test]
    fn exactly_one_host_is_asked_for() {
        let one = parts(|b| b.uri("/x").header("host", "shop.example:8080"));
        assert_eq!(read(&one).unwrap().host, "shop.example");
        let full = parts(|b| b.uri("/x").header("host", "shop.example.:8080"));
        assert_eq!(read(&full).unwrap().host, "shop.example");
        let v6 = parts(|b| b.uri("/x").header("host", "[::1]:8080"));
        assert_eq!(read(&v6).unwrap().host, "[::1]");
        for head in [
            parts(|b| b.uri("/x")),
            parts(|b| b.uri("/x").header("host", "")),
            parts(|b| b.uri("/x").header("host", ".")),
            parts(|b| b.uri("/x").header("host", "a").header("host", "b")),
        ] {
            assert_eq!(read(&head).err(), Some(NoHost), "{head:?}");
        }
    }

    #[test]
    fn the_query_is_decoded_and_the_field_beats_the_cookie() {
        let event: EventId = "e".parse().unwrap();
        let head = parts(|b| {
            b.uri("/p?event_id=e&to=%2Fa%3Fb%3Dc%zz+d")
                .header("host", "h")
                .header("waiting-room-place", "from-field")
                .header("cookie", "a=b; wr_place_e=from-cookie")
        });
        let visit = read(&head).unwrap();
        assert_eq!(visit.query("to").as_deref(), Some("/a?b=c%zz d"));
        assert_eq!(visit.query("none"), None);
        assert_eq!(visit.candidates(Kind::Place, &event), ["from-field", "from-cookie"]);
        assert!(visit.candidates(Kind::Pass, &event).is_empty());
    }

    #[test]
    fn one_odd_byte_hides_neither_cookie_nor_user_agent() {
        let event: EventId = "e".parse().unwrap();
        let odd = |bytes: &[u8]| http::HeaderValue::from_bytes(bytes).unwrap();
        let head = parts(|b| {
            b.uri("/")
                .header("host", "h")
                .header("cookie", odd(b"name=Andr\xe9; wr_place_e=ours"))
                .header("user-agent", odd(b"Mozilla/5.0 caf\xe9"))
                .header("accept-language", odd("fr, caf\u{e9}".as_bytes()))
        });
        let visit = read(&head).unwrap();
        assert_eq!(visit.candidates(Kind::Place, &event), ["ours"]);
        assert_eq!(visit.readable("user-agent"), Some("Mozilla/5.0 caf"));
        assert_eq!(visit.field("accept-language"), Some("fr, caf\u{e9}"));
        assert_eq!(visit.readable("sec-ch-ua"), None);
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_target_is_judged_as_it_is_sent_on() {
        for (method, raw, is_plain) in [
            ("GET",      &b"/events/final"[..],           true),
            ("GET",      b"/x?y",                         true),
            ("GET",      b"http://shop.example/x",        true),
            ("GET",      b"HTTPS://shop.example",         true),
            ("GET",      b"http://shop.example?x=\\",     true),
            ("OPTIONS",  b"*",                            true),
            ("GET",      b"*",                            false),
            ("GET",      b"x:/events/final",              false),
            ("GET",      b"events/final",                 false),
            ("GET",      b"?x",                           false),
            ("GET",      b"\\events\\final",              false),
            ("GET",      b"ftp://shop.example/x",         false),
            ("GET",      b"http:/events/final",           false),
            ("GET",      b"http:///events/final",         false),
            ("GET",      b"http://shop\\events/final",    false),
            ("GET",      b"http://",                      false),
            ("CONNECT",  b"shop.example:443",             false),
            ("GET",      b"",                             false),
        ] {
            assert_eq!(is_plain_target(method, raw), is_plain, "{method} {}", raw.escape_ascii());
        }
    }
}
