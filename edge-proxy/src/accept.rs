//! What kind of answer a client wants: a page to look at, or data.

/// The two kinds of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A person's browser that navigates.
    Page,
    /// A program, or a script of a page.
    Data,
}

/// Most entries of an `Accept` field that are looked at.
const ENTRIES_MAX: usize = 32;

/// Reads `Accept` with its quality values (RFC 9110, section 12.5.1).
///
/// HTML must be named and not be liked less than JSON to count: `*/*` alone is what programs send.
#[must_use]
pub fn wants(accept: Option<&str>) -> Wants {
    let accept = accept.unwrap_or("*/*");
    let (mut html, mut json) = (0_u16, 0_u16);
    for entry in accept.split(',').take(ENTRIES_MAX) {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let quality = parts
            .filter_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .next()
            .map_or(1000, quality_milli);
        let is_any = |names: [&str; 2]| names.iter().any(|name| media.eq_ignore_ascii_case(name));
        if is_any(["text/html", "application/xhtml+xml"]) {
            html = html.max(quality);
        } else if is_any(["application/json", "application/problem+json"]) {
            json = json.max(quality);
        }
    }
    if html > 0 && html >= json { Wants::Page } else { Wants::Data }
}

fn quality_milli(text: &str) -> u16 {
    let value: f32 = text.trim().parse().unwrap_or(0.0);
    if !(0.0..=1.0).contains(&value) {
        return 0;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1000
    let milli = (value * 1000.0).round() as u16;
    milli
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_page_is_for_whoever_prefers_html() {
        check(Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Wants::Page);
        check(Some("text/html"),                                  Wants::Page);
        check(Some("TEXT/HTML;q=0.5"),                            Wants::Page);
        check(Some("application/json"),                           Wants::Data);
        check(Some("application/json;q=0.9, text/html"),          Wants::Page);
        check(Some("application/json, text/html;q=0.9"),          Wants::Data);
        check(Some("text/html;q=0"),                              Wants::Data);
        check(Some("*/*"),                                        Wants::Data);
        check(Some("application/grpc"),                           Wants::Data);
        check(Some("text/html;q=banana"),                         Wants::Data);
        check(Some(""),                                           Wants::Data);
        check(None,                                               Wants::Data);
    }

    #[track_caller]
    fn check(accept: Option<&str>, expected: Wants) {
        assert_eq!(wants(accept), expected, "{accept:?}");
    }
}
