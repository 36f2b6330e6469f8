//! One request as the edge sees it: its head, and who sends it.

use std::net::IpAddr;

use http::header::AsHeaderName;
use http::request::Parts;
use keys::{EventId, Timestamp};

use crate::accept::{self, Wants};
use crate::client::{self, Cidr, Network};
use crate::cookies::{self, Kind};
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
    /// Host name without port.
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
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What kind of answer is wanted.
    #[must_use]
    pub fn wants(&self) -> Wants {
        accept::wants(self.field("accept"))
    }

    /// Whether the browser only fetches ahead of a possible visit.
    #[must_use]
    pub fn is_prefetch(&self) -> bool {
        let says = |name: &str| self.field(name).is_some_and(|value| value.contains("prefetch"));
        says("sec-purpose") || says("purpose")
    }

    /// The event's statements of a kind that the client shows: the field of our own first, then
    /// the cookies.
    #[must_use]
    pub fn candidates(&self, kind: Kind, event: &EventId) -> Vec<String> {
        let field = match kind {
            Kind::Place => admission_api::headers::PLACE,
            Kind::Pass => admission_api::headers::PASS,
        };
        let cookies: Vec<&str> =
            self.head.headers.get_all("cookie").iter().filter_map(|v| v.to_str().ok()).collect();
        let name = cookies::name(kind, event);
        self.field(field)
            .into_iter()
            .chain(cookies::values(&cookies, &name))
            .filter(|text| !text.is_empty())
            .take(CANDIDATES_MAX)
            .map(str::to_owned)
            .collect()
    }

    /// What the score is made from.
    #[must_use]
    pub fn facts(&self, rhythm: Rhythm, is_shared_place: bool) -> RequestFacts<'a> {
        RequestFacts {
            user_agent: self.field("user-agent"),
            accept_language: self.field("accept-language"),
            accept_encoding: self.field("accept-encoding"),
            sec_ch_ua: self.field("sec-ch-ua"),
            sec_ch_ua_mobile: self.field("sec-ch-ua-mobile"),
            sec_fetch_mode: self.field("sec-fetch-mode"),
            is_navigation: self.head.method == http::Method::GET && self.wants() == Wants::Page,
            is_secure: self.is_secure,
            is_shared_place,
            rhythm,
        }
    }
}

fn without_port(host: &str) -> Option<&str> {
    let name = if host.starts_with('[') {
        host.split_inclusive(']').next()
    } else {
        host.split(':').next()
    };
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
        let v6 = parts(|b| b.uri("/x").header("host", "[::1]:8080"));
        assert_eq!(read(&v6).unwrap().host, "[::1]");
        for head in [
            parts(|b| b.uri("/x")),
            parts(|b| b.uri("/x").header("host", "")),
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
}
