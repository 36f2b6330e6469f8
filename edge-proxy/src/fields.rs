//! Which of a request's fields the origin gets, and how its answers may be kept.
//!
//! CGI and WSGI write `-` and `_` in a field's name the same way, so a name is judged with both
//! taken for one: otherwise `Waiting_Room_Visitor` would reach such an origin as ours.

use std::borrow::Cow;

use admission_api::headers;
use http::HeaderName;

/// The fields of [`headers`] in the form in which they are set without being read again.
pub const PASS: HeaderName = HeaderName::from_static(headers::PASS);
/// See [`headers::PLACE`].
pub const PLACE: HeaderName = HeaderName::from_static(headers::PLACE);
/// See [`headers::COMMAND`].
pub const COMMAND: HeaderName = HeaderName::from_static(headers::COMMAND);
/// See [`headers::EVENT`].
pub const EVENT: HeaderName = HeaderName::from_static(headers::EVENT);
/// See [`headers::VISITOR`].
pub const VISITOR: HeaderName = HeaderName::from_static(headers::VISITOR);
/// See [`headers::LANE`].
pub const LANE: HeaderName = HeaderName::from_static(headers::LANE);
/// See [`headers::RISK`].
pub const RISK: HeaderName = HeaderName::from_static(headers::RISK);
/// See [`headers::UNTIL`].
pub const UNTIL: HeaderName = HeaderName::from_static(headers::UNTIL);
/// See [`headers::VERDICT`].
pub const VERDICT: HeaderName = HeaderName::from_static(headers::VERDICT);
/// Whom the request comes from.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// By what scheme it came.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Another target than the one that was judged; some origins follow it.
const OTHER_TARGETS: [&str; 2] = ["x-original-url", "x-rewrite-url"];
/// What only a proxy may say about whoever asked.
const SAID_BY_PROXIES: [&str; 3] = ["forwarded", "x-real-ip", "x-forwarded-"];
/// Fields that the edge writes itself.
const WRITTEN_BY_US: [&str; 2] = ["x-forwarded-for", "x-forwarded-proto"];

/// `Cache-Control` for caches of one kind or maker, which would win over what we write.
pub const TARGETED: [HeaderName; 6] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("akamai-cache-control"),
    HeaderName::from_static("vercel-cdn-cache-control"),
    HeaderName::from_static("netlify-cdn-cache-control"),
];

/// What an origin says of its connection to us, and not to the client's (RFC 9110, section 7.6.1).
pub const OF_CONNECTION: [HeaderName; 4] = [
    http::header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::UPGRADE,
];

/// Whether a client's field goes on to the origin; `name` is in lower case.
#[must_use]
pub fn goes_on(name: &str, is_from_proxy: bool) -> bool {
    // Every name that does not go on begins with one of these.
    if !name.starts_with(['w', 'x', 'f']) {
        return true;
    }
    let name = match name.contains('_') {
        true => Cow::Owned(name.replace('_', "-")),
        false => Cow::Borrowed(name),
    };
    let is_any = |names: &[&str]| names.contains(&&*name);
    let is_proxys = SAID_BY_PROXIES.iter().any(|prefix| match prefix.ends_with('-') {
        true => name.starts_with(prefix),
        false => name == *prefix,
    });
    !name.starts_with(headers::PREFIX)
        && !is_any(&OTHER_TARGETS)
        && !is_any(&WRITTEN_BY_US)
        && (is_from_proxy || !is_proxys)
}

/// The origin's `Cache-Control` values, so that only the visitor's own browser keeps the answer.
#[must_use]
pub fn only_private<'a>(cache_control: impl IntoIterator<Item = &'a str>) -> Cow<'static, str> {
    let mut values = cache_control.into_iter().peekable();
    if values.peek().is_none() {
        return Cow::Borrowed("private, no-cache");
    }
    let directives: Vec<&str> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .collect();
    let name = |directive: &str| {
        directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase()
    };
    if directives.iter().any(|directive| name(directive) == "no-store") {
        return Cow::Borrowed("private, no-store");
    }
    let dropped = ["private", "public", "s-maxage", "proxy-revalidate", "stale-while-revalidate"];
    let kept =
        directives.into_iter().filter(|directive| !dropped.contains(&name(directive).as_str()));
    Cow::Owned(std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn only_the_edge_says_who_a_visitor_is() {
        //    name                     from client  from proxy
        check("accept",                true,        true);
        check("x_custom",              true,        true);
        check("x-waiting-room-x",      true,        true);
        check("waiting-room-visitor",  false,       false);
        check("waiting_room_visitor",  false,       false);
        check("waiting-room_risk",     false,       false);
        check("x-original-url",        false,       false);
        check("x_rewrite_url",         false,       false);
        check("x-forwarded-for",       false,       false); // written anew
        check("x_forwarded_for",       false,       false);
        check("x_forwarded-proto",     false,       false);
        check("x-forwarded-host",      false,       true);
        check("x_forwarded_host",      false,       true);
        check("forwarded",             false,       true);
        check("x-real-ip",             false,       true);
        check("forwarded-x",           true,        true);
    }

    #[track_caller]
    fn check(name: &str, from_client: bool, from_proxy: bool) {
        assert_eq!(
            (goes_on(name, false), goes_on(name, true)),
            (from_client, from_proxy),
            "{name}"
        );
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_shared_cache_keeps_nothing_of_those_inside() {
        for (given, expected) in [
            (&[][..],                                     "private, no-cache"),
            (&["no-store"],                               "private, no-store"),
            (&["public, max-age=60", "No-Store"],         "private, no-store"),
            (&["private, max-age=5"],                     "private, max-age=5"),
            (&["private, public, s-maxage=9"],            "private"),
            (&["public, max-age=60, s-maxage=600"],       "private, max-age=60"),
            (&["max-age=60", "s-maxage=600, immutable"],  "private, max-age=60, immutable"),
            (&["private=\"set-cookie\", max-age=5"],      "private, max-age=5"),
            (&[""],                                       "private"),
        ] {
            assert_eq!(only_private(given.iter().copied()), expected, "{given:?}");
        }
    }
}
