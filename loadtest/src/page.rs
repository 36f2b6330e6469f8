//! What does a page do while it waits, and what does its browser say about itself?
//!
//! Pure: the same front, position and time give the same next step, as in the waiting page.

use std::time::Duration;

use keys::{Front, Lane, Phase, Timestamp};
use serde_json::{Value, json};

use crate::rng::Rng;

/// What a page does with a front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The front has reached it: claim.
    Claim,
    /// Look again after this.
    Look(Duration),
    /// Nothing to wait for any more.
    Over,
}

/// A page near its turn looks as often as `near_secs` says, one far away as `far_secs` says, and
/// in between after an eighth of the time that is left. A paused room still lets in whoever it
/// called before.
#[must_use]
pub fn next(front: &Front, lane: Lane, position: u64, now: Timestamp) -> Next {
    match front.phase {
        Phase::SoldOut | Phase::Closed => return Next::Over,
        Phase::Scheduled | Phase::Open | Phase::Paused => {}
    }
    let reached = front.at(lane, now);
    let near = Duration::from_secs(u64::from(front.poll.near_secs.max(1)));
    let far = Duration::from_secs(u64::from(front.poll.far_secs.max(1))).max(near);
    let has_opened = matches!(front.phase, Phase::Open | Phase::Paused);
    if has_opened && reached > 0 && position <= reached {
        return Next::Claim;
    }
    if let (Phase::Scheduled, Some(opens_at)) = (front.phase, front.opens_at) {
        return Next::Look((opens_at.since(now) / 8).clamp(near, far));
    }
    let pace_milli = front.lane(lane).map_or(0, |entry| entry.pace_milli);
    if front.phase != Phase::Open || pace_milli == 0 {
        return Next::Look(far);
    }
    let ahead = position.saturating_sub(reached);
    let wait_ms = ahead.saturating_mul(1_000_000).div_ceil(pace_milli);
    let wait = Duration::from_millis(wait_ms);
    // Within the document's own line in time the page needs no other to know its moment.
    if wait <= near { Next::Look(wait) } else { Next::Look((wait / 8).clamp(near, far)) }
}

/// A header's name and value.
type Header = (&'static str, &'static str);

/// What a client says about itself, for pages and for requests of pages' scripts.
#[derive(Debug)]
pub struct Agent {
    /// Headers of a navigation, in the order in which the browser sends them.
    pub navigation: &'static [Header],
    /// Headers of a script's request.
    pub fetch: &'static [Header],
}

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const HTML_CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

/// Browsers as they speak plain HTTP/1.1 (no client hints and no brotli without TLS).
pub static BROWSERS: [Agent; 3] = [
    Agent {
        navigation: &[
            ("connection", "keep-alive"),
            ("upgrade-insecure-requests", "1"),
            ("user-agent", CHROME),
            ("accept", HTML_CHROME),
            ("accept-encoding", "gzip, deflate"),
            ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ],
        fetch: &[
            ("connection", "keep-alive"),
            ("user-agent", CHROME),
            ("accept", "application/json, */*;q=0.5"),
            ("accept-encoding", "gzip, deflate"),
            ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ],
    },
    Agent {
        navigation: &[
            ("user-agent", FIREFOX),
            ("accept", HTML),
            ("accept-language", "es-MX,es;q=0.8,en-US;q=0.5,en;q=0.3"),
            ("accept-encoding", "gzip, deflate"),
            ("connection", "keep-alive"),
            ("upgrade-insecure-requests", "1"),
            ("priority", "u=0, i"),
        ],
        fetch: &[
            ("user-agent", FIREFOX),
            ("accept", "application/json, */*;q=0.5"),
            ("accept-language", "es-MX,es;q=0.8,en-US;q=0.5,en;q=0.3"),
            ("accept-encoding", "gzip, deflate"),
            ("connection", "keep-alive"),
        ],
    },
    Agent {
        navigation: &[
            ("upgrade-insecure-requests", "1"),
            ("accept", HTML),
            ("user-agent", SAFARI),
            ("accept-language", "fr-CA,fr;q=0.9"),
            ("accept-encoding", "gzip, deflate"),
            ("connection", "keep-alive"),
        ],
        fetch: &[
            ("accept", "application/json, */*;q=0.5"),
            ("user-agent", SAFARI),
            ("accept-language", "fr-CA,fr;q=0.9"),
            ("accept-encoding", "gzip, deflate"),
            ("connection", "keep-alive"),
        ],
    },
];

/// A script with a common library's defaults.
pub static SCRIPT: Agent = Agent {
    navigation: &[
        ("user-agent", "python-requests/2.32.5"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
    ],
    fetch: &[
        ("user-agent", "python-requests/2.32.5"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
    ],
};

/// What the waiting page saw of a person.
#[must_use]
pub fn evidence_of_person(rng: &mut Rng) -> Value {
    let is_touch = rng.chance(0.6);
    let touches = if is_touch { 2 + rng.below(20) } else { 0 };
    let pointers = if is_touch { touches } else { 20 + rng.below(400) };
    json!({
        "webdriver": false, "headless_ua": false, "automation_globals": false,
        "languages": 1 + rng.below(3), "outer_equals_inner": is_touch, "software_gl": false,
        "pointer_events": pointers, "key_events": rng.below(6), "touch_events": touches,
        "untrusted_events": 0,
    })
}

/// The address a visitor comes from, by index: networks that exist for benchmarks (RFC 2544) and
/// beyond them documentation (RFC 3849), a network of its own for each visitor.
#[must_use]
pub fn address(index: u64) -> String {
    const BENCHMARK: u64 = 1 << 17; // 198.18.0.0/15
    let byte = |shift: u32| (index >> shift) & 0xff;
    if index < BENCHMARK {
        format!("198.{}.{}.{}", 18 + (index >> 16), byte(8), byte(0))
    } else {
        format!("2001:db8:{:x}:{:x}::1", (index >> 16) & 0xffff, index & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use keys::{LaneFront, PollHint};

    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns; the front is 100 at the start and moves by 10 a second
    fn a_page_looks_more_often_as_its_turn_comes_near() {
        //    phase            position  at_ms  next
        check(Phase::Open,          100,     0, Next::Claim);
        check(Phase::Open,          101,     0, Next::Look(Duration::from_millis(100)));
        check(Phase::Open,          101,   100, Next::Claim);
        check(Phase::Open,          120,     0, Next::Look(Duration::from_secs(2)));
        check(Phase::Open,          180,     0, Next::Look(Duration::from_secs(2)));
        check(Phase::Open,          500,     0, Next::Look(Duration::from_secs(5)));
        check(Phase::Open,       50_000,     0, Next::Look(Duration::from_secs(30)));
        check(Phase::Paused,        100,     0, Next::Claim);
        check(Phase::Paused,        101,     0, Next::Look(Duration::from_secs(30)));
        check(Phase::Scheduled,       1,     0, Next::Look(Duration::from_secs(30)));
        check(Phase::SoldOut,       100,     0, Next::Over);
        check(Phase::Closed,        100,     0, Next::Over);
    }

    #[track_caller]
    fn check(phase: Phase, position: u64, at_ms: u64, expected: Next) {
        let t0 = Timestamp::from_secs(1_000);
        let standard = LaneFront {
            lane: Lane::Standard,
            f0: 100,
            pace_milli: 10_000,
            limit: 90_000,
            issued: 90_000,
        };
        let front = Front {
            iss: "controller".parse().unwrap(),
            aud: "final".parse().unwrap(),
            iat: t0,
            exp: t0.plus_secs(60),
            line: 1,
            epoch: 1,
            seq: 1,
            phase,
            opens_at: None,
            t0,
            until: t0.plus_secs(10),
            lanes: vec![standard],
            reason: String::new(),
            draw: None,
            stock: None,
            poll: PollHint { near_secs: 2, far_secs: 30 },
            message: None,
        };
        let now = t0.plus(Duration::from_millis(at_ms));
        assert_eq!(next(&front, Lane::Standard, position, now), expected);
        // A lane that the document does not have never moves.
        let other = next(&front, Lane::Suspect, position, now);
        assert!(matches!(other, Next::Look(_) | Next::Over), "{other:?}");
    }

    #[test]
    fn each_visitor_has_a_network_of_its_own() {
        let indexes = (0..300).chain(65_000..66_000).chain(131_000..132_000).chain([19_999_999]);
        let all: Vec<String> = indexes.map(address).collect();
        assert!(all.iter().all(|text| text.parse::<IpAddr>().is_ok()), "{all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
