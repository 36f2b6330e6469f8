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
pub fn values<'f, 'n>(
    fields: impl Iterator<Item = &'f [u8]>,
    name: &'n str,
) -> impl Iterator<Item = &'f str> {
    // Cut as bytes: somebody else's cookie with an odd byte must not hide ours.
    fields.flat_map(|field| field.split(|byte| *byte == b';')).filter_map(move |pair| {
        let rest = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
        let value = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        let inner = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
        str::from_utf8(inner.unwrap_or(value)).ok()
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
        check(&["wr_pass_e = abc "],                   &["abc"]);
        check(&[],                                     &[]);
    }

    #[track_caller]
    fn check(fields: &[&str], expected: &[&str]) {
        let found: Vec<&str> =
            values(fields.iter().map(|field| field.as_bytes()), "wr_pass_e").collect();
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
