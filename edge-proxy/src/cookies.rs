//! Our two cookies of an event: found among others, written with the right attributes.

use keys::EventId;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `wr_place_<event>`.
    Place,
    /// `wr_pass_<event>`.
    Pass,
}

/// The cookie's name.
#[must_use]
pub fn name(kind: Kind, event: &EventId) -> String {
    match kind {
        Kind::Place => format!("wr_place_{event}"),
        Kind::Pass => format!("wr_pass_{event}"),
    }
}

/// All values with this name in all `Cookie` fields, in order, without surrounding quotes.
///
/// A client may send several of one name (other paths, other hosts); whoever asks takes the first
/// one that verifies.
pub fn values<'a>(fields: &'a [&'a str], name: &'a str) -> impl Iterator<Item = &'a str> {
    fields
        .iter()
        .flat_map(|field| field.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .map(|value| {
            value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value)
        })
}

/// A `Set-Cookie` value that keeps `value` for `age_secs`.
#[must_use]
pub fn set(kind: Kind, event: &EventId, value: &str, age_secs: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    let name = name(kind, event);
    format!("{name}={value}; Path=/; Max-Age={age_secs}; HttpOnly; SameSite=Lax{secure}")
}

/// A `Set-Cookie` value that removes the cookie.
#[must_use]
pub fn clear(kind: Kind, event: &EventId, is_secure: bool) -> String {
    set(kind, event, "", 0, is_secure)
}

/// A `Cookie` field without our cookies, for the origin; `None` if nothing is left. Bytes, because
/// some browsers and shops write others than ASCII, and those are not ours to drop.
#[must_use]
pub fn without_ours(field: &[u8]) -> Option<Vec<u8>> {
    let theirs: Vec<&[u8]> = field
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.starts_with(b"wr_place_") && !pair.starts_with(b"wr_pass_"))
        .filter(|pair| !pair.is_empty())
        .collect();
    (!theirs.is_empty()).then(|| theirs.join(&b"; "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_cookie_is_found_among_others() {
        check(&["wr_pass_e=abc"],                      &["abc"]);
        check(&["a=b; wr_pass_e=abc; c=d"],            &["abc"]);
        check(&["a=b;wr_pass_e=abc"],                  &["abc"]);
        check(&["wr_pass_e=\"abc\""],                  &["abc"]);
        check(&["wr_pass_e=1; wr_pass_e=2"],           &["1", "2"]);
        check(&["wr_pass_e=1", "wr_pass_e=2"],         &["1", "2"]);
        check(&["wr_pass_ee=abc; xwr_pass_e=abc"],     &[]);
        check(&["wr_pass_e; =; ;;"],                   &[]);
        check(&["wr_pass_e=a=b"],                      &["a=b"]);
        check(&[],                                     &[]);
    }

    #[track_caller]
    fn check(fields: &[&str], expected: &[&str]) {
        let found: Vec<&str> = values(fields, "wr_pass_e").collect();
        assert_eq!(found, expected, "{fields:?}");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_origin_sees_all_cookies_but_ours() {
        for (field, expected) in [
            (&b"a=b; wr_place_e=1; wr_pass_e=2; c=d"[..],  Some(&b"a=b; c=d"[..])),
            (b"a=\xe9;wr_place_e=1",                       Some(b"a=\xe9")),
            (b"wr_place_e=1",                              None),
            (b" ; ",                                       None),
        ] {
            assert_eq!(without_ours(field).as_deref(), expected, "{}", field.escape_ascii());
        }
    }
}
