//! Which room guards a request: host and path rules.
//!
//! The path is normalised for matching only, the origin gets it as it came. Matching errs on the
//! side of guarding: escapes are decoded, dots and double slashes resolved, case ignored, so that
//! no spelling of a guarded path walks around the line.

use admission_api::Guard;

/// What a room's rules say about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The room does not guard it.
    Open,
    /// The room guards its neighbours and lets it through.
    Bypass,
    /// The room guards it.
    Guarded,
}

/// Matches `host` (without port, any case) and a path normalised by [`normalise`].
#[must_use]
pub fn matches(guard: &Guard, host: &str, path: &str) -> Match {
    let host_fits = guard.hosts.is_empty()
        || guard.hosts.iter().any(|guarded| guarded.eq_ignore_ascii_case(host));
    let covers = |prefix: &String| is_prefix(&normalise(prefix), path);
    if !host_fits || !guard.paths.iter().any(covers) {
        Match::Open
    } else if guard.bypass.iter().any(covers) {
        Match::Bypass
    } else {
        Match::Guarded
    }
}

/// Whole segments: `/a` covers `/a` and `/a/b`, not `/ab`; `/` covers all.
fn is_prefix(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path as an origin might understand it: escapes decoded (twice, for origins that do), `\` as
/// `/`, path parameters (`;…`) dropped, `.` and `..` resolved, slashes merged, lower case.
#[must_use]
pub fn normalise(path: &str) -> String {
    let decoded = decode(&decode(path.as_bytes()));
    let text = String::from_utf8_lossy(&decoded).replace('\\', "/").to_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Decodes `%` escapes; what is no escape stays as it is.
pub fn decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            decoded.push(high << 4 | low);
            rest = &after[2..];
        } else {
            decoded.push(byte);
            rest = after;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn no_spelling_of_a_guarded_path_walks_around_the_line() {
        //    host            path                              match
        check("shop.example", "/events/final",                  Match::Guarded);
        check("SHOP.example", "/events/final",                  Match::Guarded);
        check("shop.example", "/events/final/",                 Match::Guarded);
        check("shop.example", "/events/final/seats",            Match::Guarded);
        check("shop.example", "/events/final2",                 Match::Open);
        check("shop.example", "/events",                        Match::Open);
        check("other.example", "/events/final",                 Match::Open);
        check("shop.example", "/events/final/help",             Match::Bypass);
        check("shop.example", "/events/final/helpless",         Match::Guarded);
        check("shop.example", "//events///final",               Match::Guarded);
        check("shop.example", "/./events/x/../final",           Match::Guarded);
        check("shop.example", "/events/final/help/../seats",    Match::Guarded);
        check("shop.example", "/EVENTS/Final",                  Match::Guarded);
        check("shop.example", "/%65vents/%66inal",              Match::Guarded);
        check("shop.example", "/%2565vents/final",              Match::Guarded);
        check("shop.example", "/events%2ffinal",                Match::Guarded);
        check("shop.example", "/x/%2e%2e/events/final",         Match::Guarded);
        check("shop.example", "/events;a=b/final;c",            Match::Guarded);
        check("shop.example", "\\events\\final",                Match::Guarded);
        check("shop.example", "/events/final%",                 Match::Open);
        check("shop.example", "/../../events/final",            Match::Guarded);
    }

    #[track_caller]
    fn check(host: &str, path: &str, expected: Match) {
        let guard = Guard {
            hosts: vec!["shop.example".into()],
            paths: vec!["/events/final".into(), "/api/final/".into()],
            bypass: vec!["/events/final/help".into()],
        };
        assert_eq!(matches(&guard, host, &normalise(path)), expected, "{host}{path}");
    }

    #[test]
    fn a_guard_of_slash_covers_everything() {
        let guard = Guard { hosts: vec![], paths: vec!["/".into()], bypass: vec![] };
        for path in ["/", "/x", "//", "/%2e"] {
            assert_eq!(matches(&guard, "any", &normalise(path)), Match::Guarded, "{path}");
        }
    }
}
