//! Which room guards a request: host and path rules.
//!
//! The origin gets the path as it came and may read it in another way than we do: decode escapes
//! once or twice, resolve dots before or after, drop path parameters, ignore case. So a path is
//! judged in every such reading: one that hits a guard is enough to guard it, and an exemption
//! counts only if it is spelled out and no reading leads elsewhere.

use admission_api::Guard;

/// What a room's rules say about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The room does not guard it.
    Open,
    /// The room guards its neighbours and lets it through.
    Bypass(Closeness),
    /// The room guards it.
    Guarded(Closeness),
}

/// How closely a rule fits; of two rooms the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closeness {
    /// The room names this host, instead of any.
    names_host: bool,
    /// Length of the longest prefix that fits.
    prefix_len: usize,
}

/// A room's rules, ready to be matched.
#[derive(Debug, Clone)]
pub struct Rules {
    hosts: Vec<String>,
    /// Folded prefixes without the last `/`.
    paths: Vec<String>,
    /// As written and folded.
    bypass: Vec<(String, String)>,
}

impl From<&Guard> for Rules {
    fn from(guard: &Guard) -> Self {
        let written = |prefix: &String| prefix.trim_end_matches('/').to_owned();
        let folded = |prefix: &String| fold(prefix).trim_end_matches('/').to_owned();
        Self {
            hosts: guard.hosts.iter().map(|host| host.trim_end_matches('.').to_owned()).collect(),
            paths: guard.paths.iter().map(folded).collect(),
            bypass: guard.bypass.iter().map(|prefix| (written(prefix), folded(prefix))).collect(),
        }
    }
}

impl Rules {
    /// Judges a request by its host (without port and last dot, any case) and its path.
    #[must_use]
    pub fn matches(&self, host: &str, path: &Readings<'_>) -> Match {
        let names_host = self.hosts.iter().any(|guarded| guarded.eq_ignore_ascii_case(host));
        if !names_host && !self.hosts.is_empty() {
            return Match::Open;
        }
        let guards = |reading: &String| {
            self.paths.iter().filter(|prefix| covers(prefix, reading)).map(String::len).max()
        };
        let Some(prefix_len) = path.folded.iter().filter_map(guards).max() else {
            return Match::Open;
        };
        let closeness = Closeness { names_host, prefix_len };
        let is_exempt = self.bypass.iter().any(|(written, folded)| {
            covers(written, path.raw) && path.folded.iter().all(|reading| covers(folded, reading))
        });
        if is_exempt { Match::Bypass(closeness) } else { Match::Guarded(closeness) }
    }
}

/// Whole segments: `/a` covers `/a` and `/a/b`, not `/ab`; the empty prefix covers all.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path in all the ways an origin might read it; a usual path has just one.
#[derive(Debug)]
pub struct Readings<'a> {
    raw: &'a str,
    folded: Vec<String>,
}

impl<'a> Readings<'a> {
    /// Reads a path.
    #[must_use]
    pub fn of(raw: &'a str) -> Self {
        if is_plain(raw) {
            let names = raw.strip_suffix('/').filter(|names| !names.is_empty()).unwrap_or(raw);
            return Self { raw, folded: vec![names.to_owned()] };
        }
        let once = decode(raw.as_bytes());
        let twice = decode(&once);
        let mut folded = Vec::new();
        for level in [raw.as_bytes(), &once, &twice] {
            // What was escaped to look like path may end it at the origin.
            let end = level.iter().position(|byte| matches!(byte, b'?' | b'#' | 0));
            for part in [level, &level[..end.unwrap_or(level.len())]] {
                let text = fold(&String::from_utf8_lossy(part));
                for names in [segments(&text, false), segments(&text, true)] {
                    add(&mut folded, joined(&names));
                    add(&mut folded, joined(&resolved(&names)));
                }
            }
        }
        Self { raw, folded }
    }
}

/// Whether every reading is the path itself: lower-case names between single slashes.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let is_doubled = byte == b'/' && before == b'/';
            before = byte;
            matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'/') && !is_doubled
        })
}

fn add(readings: &mut Vec<String>, reading: String) {
    if !readings.contains(&reading) {
        readings.push(reading);
    }
}

/// `\` as `/`, lower case.
fn fold(path: &str) -> String {
    path.replace('\\', "/").to_lowercase()
}

/// The segments that are not empty, with or without their parameters (`;…`).
fn segments(path: &str, has_parameters: bool) -> Vec<&str> {
    let name = |segment| match has_parameters {
        true => segment,
        false => str::split(segment, ';').next().unwrap_or_default(),
    };
    path.split('/').map(name).filter(|name| !name.is_empty()).collect()
}

/// Without `.` and `..`.
fn resolved<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    for name in names {
        match *name {
            "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    kept
}

fn joined(names: &[&str]) -> String {
    format!("/{}", names.join("/"))
}

/// Decodes `%` escapes; what is no escape stays as it is.
#[must_use]
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

    #[derive(Debug, PartialEq)]
    enum Is {
        Open,
        Bypass,
        Guarded,
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn no_spelling_of_a_guarded_path_walks_around_the_line() {
        //    host            path                                        match
        check("shop.example", "/events/final",                            Is::Guarded);
        check("SHOP.example", "/events/final",                            Is::Guarded);
        check("shop.example", "/events/final/",                           Is::Guarded);
        check("shop.example", "/events/final/seats",                      Is::Guarded);
        check("shop.example", "/events/final2",                           Is::Open);
        check("shop.example", "/events",                                  Is::Open);
        check("other.example", "/events/final",                           Is::Open);
        check("shop.example", "//events///final",                         Is::Guarded);
        check("shop.example", "/./events/x/../final",                     Is::Guarded);
        check("shop.example", "/EVENTS/Final",                            Is::Guarded);
        check("shop.example", "/%65vents/%66inal",                        Is::Guarded);
        check("shop.example", "/%2565vents/final",                        Is::Guarded);
        check("shop.example", "/events%2ffinal",                          Is::Guarded);
        check("shop.example", "/x/%2e%2e/events/final",                   Is::Guarded);
        check("shop.example", "/events;a=b/final;c",                      Is::Guarded);
        check("shop.example", "\\events\\final",                          Is::Guarded);
        check("shop.example", "/events/final%",                           Is::Open);
        check("shop.example", "/../../events/final",                      Is::Guarded);
        check("shop.example", "/events/final/x/%2e%2e/%2e%2e/%2e%2e/y",   Is::Guarded); // dots kept
        check("shop.example", "/x/..;/events/final",                      Is::Guarded);
        check("shop.example", "/events/final%3Fx",                        Is::Guarded); // cut
        check("shop.example", "/events/final%23",                         Is::Guarded);
        check("shop.example", "/events/final%00",                         Is::Guarded);
        check("shop.example", "/events/final%253Fx",                      Is::Guarded);
        check("shop.example", "/a%3F/../../events/final",                 Is::Guarded);
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn an_exemption_counts_only_if_it_is_spelled_out() {
        //    host            path                                        match
        check("shop.example", "/events/final/help",                       Is::Bypass);
        check("shop.example", "/events/final/help/",                      Is::Bypass);
        check("shop.example", "/events/final/help/a%20b",                 Is::Bypass);
        check("shop.example", "/events/final/Terms/x",                    Is::Bypass);
        check("shop.example", "/events/final/helpless",                   Is::Guarded);
        check("shop.example", "/events/final/help/../seats",              Is::Guarded);
        check("shop.example", "/events/final/seats/../help",              Is::Guarded);
        check("shop.example", "/events/final/seats/..;/help",             Is::Guarded);
        check("shop.example", "/events/final/seats/%2e%2e/help",          Is::Guarded);
        check("shop.example", "/events/final/seats/%252e%252e/help",      Is::Guarded);
        check("shop.example", "/events/final/help/%2e%2e/seats",          Is::Guarded);
        check("shop.example", "/events/final/help/..%2fseats",            Is::Guarded);
        check("shop.example", "/events/final/help;x",                     Is::Guarded);
        check("shop.example", "/events/final/hel%70",                     Is::Guarded);
        check("shop.example", "/events/final//help",                      Is::Guarded);
        check("shop.example", "/EVENTS/final/HELP",                       Is::Guarded);
        check("shop.example", "/events/final/terms",                      Is::Guarded);
    }

    #[track_caller]
    fn check(host: &str, path: &str, expected: Is) {
        let guard = Guard {
            hosts: vec!["shop.example".into()],
            paths: vec!["/events/final".into(), "/api/final/".into()],
            bypass: vec!["/events/final/help".into(), "/events/final/Terms/".into()],
        };
        let is = match Rules::from(&guard).matches(host, &Readings::of(path)) {
            Match::Open => Is::Open,
            Match::Bypass(_) => Is::Bypass,
            Match::Guarded(_) => Is::Guarded,
        };
        assert_eq!(is, expected, "{host}{path}");
    }

    #[test]
    fn a_guard_of_slash_covers_everything() {
        let guard = Guard { hosts: vec![], paths: vec!["/".into()], bypass: vec![] };
        for path in ["/", "/x", "//", "/%2e", "*"] {
            let found = Rules::from(&guard).matches("any", &Readings::of(path));
            assert!(matches!(found, Match::Guarded(_)), "{path}");
        }
    }

    #[test]
    fn a_usual_path_has_one_reading() {
        assert_eq!(Readings::of("/events/final/seats").folded, ["/events/final/seats"]);
    }
}
