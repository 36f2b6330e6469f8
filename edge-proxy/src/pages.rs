//! The edge's pages and their files: compressed once, filled in by slots.

use std::collections::HashMap;
use std::io::Write as _;

use admission_api::RoomSpec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::answer::PAGE_POLICY;

const WAITING: &str = include_str!("../pages/waiting.html");
const PLACE: &str = include_str!("../pages/place.html");
const NOTICE: &str = include_str!("../pages/notice.html");
const DRAW: &str = include_str!("../pages/draw.html");
const STYLE: &str = include_str!("../pages/waiting.css");
const SCRIPT: &str = include_str!("../pages/waiting.js");
const DRAW_SCRIPT: &str = include_str!("../pages/draw.js");
/// For pages and apps that show the line themselves.
const MODULE: &str = include_str!("../pages/waiting-room.mjs");
const ENGLISH: &str = include_str!("../pages/words/en.txt");
/// The words of the other languages, each fetched by those who read it.
const WORDS: [(&str, &str); 9] = [
    ("words.ar.txt", include_str!("../pages/words/ar.txt")),
    ("words.de.txt", include_str!("../pages/words/de.txt")),
    ("words.es.txt", include_str!("../pages/words/es.txt")),
    ("words.fr.txt", include_str!("../pages/words/fr.txt")),
    ("words.it.txt", include_str!("../pages/words/it.txt")),
    ("words.ja.txt", include_str!("../pages/words/ja.txt")),
    ("words.ko.txt", include_str!("../pages/words/ko.txt")),
    ("words.pt.txt", include_str!("../pages/words/pt.txt")),
    ("words.zh.txt", include_str!("../pages/words/zh.txt")),
];

/// A document in both encodings.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// As it is.
    pub plain: Bytes,
    /// Compressed with gzip.
    pub gzip: Bytes,
}

impl Rendered {
    /// Compresses a text.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self { plain: Bytes::copy_from_slice(text), gzip: gzip(text) }
    }

    /// The body for a client, and its `Content-Encoding` if it has one.
    #[must_use]
    pub fn for_client(&self, accept_encoding: Option<&str>) -> (Bytes, Option<&'static str>) {
        if accept_encoding.is_some_and(accepts_gzip) {
            (self.gzip.clone(), Some("gzip"))
        } else {
            (self.plain.clone(), None)
        }
    }
}

/// A file of the waiting page.
#[derive(Debug, Clone)]
pub struct Asset {
    /// Its content.
    pub content: Rendered,
    /// Its media type.
    pub media_type: &'static str,
}

/// All pages.
#[derive(Debug)]
pub struct Pages {
    assets: HashMap<&'static str, Asset>,
    version: String,
    /// `Content-Security-Policy` of the waiting page, which carries its style in itself.
    pub policy: String,
}

/// A notice that says why a page is not shown.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// What it is about: the room's title, or the host.
    pub title: &'a str,
    /// The heading.
    pub heading: &'a str,
    /// One or two sentences.
    pub text: &'a str,
}

/// What the page for browsers without script says about a place.
#[derive(Debug, Clone, Copy)]
pub struct PlaceText<'a> {
    /// The room's title.
    pub title: &'a str,
    /// The event.
    pub event: &'a str,
    /// Where the visitor wanted to go: a path of this site.
    pub to: &'a str,
    /// The heading.
    pub heading: &'a str,
    /// One or two sentences.
    pub text: &'a str,
    /// How many are ahead, as shown; empty if it makes no sense.
    pub ahead: &'a str,
    /// Whether there is a draw to be checked.
    pub has_draw: bool,
    /// Whether the turn has come.
    pub may_enter: bool,
}

impl Pages {
    /// Compresses the files.
    #[must_use]
    pub fn new() -> Self {
        let mut hash = Sha256::new();
        for text in [STYLE, SCRIPT, DRAW_SCRIPT, MODULE, ENGLISH] {
            hash.update(text);
        }
        for (_, text) in WORDS {
            hash.update(text);
        }
        let version: String =
            hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let slots =
            [("english", ENGLISH.trim().replace('\'', "\\'")), ("asset_version", version.clone())];
        let script = fill(SCRIPT, &slots);
        let javascript = "text/javascript; charset=utf-8";
        let words = WORDS.map(|(name, text)| (name, "text/plain; charset=utf-8", text));
        let files = [
            ("waiting.css", "text/css; charset=utf-8", STYLE),
            ("waiting.js", javascript, script.as_str()),
            ("draw.js", javascript, DRAW_SCRIPT),
            ("waiting-room.mjs", javascript, MODULE),
        ];
        let files = files.into_iter().chain(words);
        let assets = files.map(|(name, media_type, text)| {
            (name, Asset { content: Rendered::new(text.as_bytes()), media_type })
        });
        let style = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!("{PAGE_POLICY}; style-src 'self' 'sha256-{style}'");
        Self { assets: assets.collect(), version, policy }
    }

    /// Whether a file asked for as `version` is the one we have: such an address never changes.
    #[must_use]
    pub fn is_version(&self, version: &str) -> bool {
        self.version == version
    }

    /// A file by name.
    #[must_use]
    pub fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.get(name)
    }

    /// The waiting page of a room: the same bytes for every visitor. Where the visitor wanted to
    /// go is the page's own address.
    #[must_use]
    pub fn waiting(&self, spec: &RoomSpec) -> Rendered {
        let slots = [
            ("event_id", spec.event.to_string()),
            ("title", escape(&spec.title)),
            ("to", String::new()),
            ("style", STYLE.to_owned()),
            ("asset_version", self.version.clone()),
        ];
        Rendered::new(fill(WAITING, &slots).as_bytes())
    }

    /// The page for browsers without script.
    #[must_use]
    pub fn place(&self, text: PlaceText<'_>) -> String {
        let enter = if text.may_enter {
            // A link, because entering is just asking for the page again.
            let to = escape(text.to);
            format!(
                "<p><a class=\"button enter\" data-test=\"enter\" href=\"{to}\">Enter now</a></p>"
            )
        } else {
            String::new()
        };
        let slots = [
            ("title", escape(text.title)),
            ("state_heading", escape(text.heading)),
            ("state_text", escape(text.text)),
            ("ahead", escape(text.ahead)),
            ("event_id", escape(text.event)),
            ("to", percent_encode(text.to)),
            ("enter_form", enter),
            ("draw_link", if text.has_draw { draw_link(text.event) } else { String::new() }),
            ("asset_version", self.version.clone()),
        ];
        fill(PLACE, &slots)
    }

    /// The page on which a browser checks the draw.
    #[must_use]
    pub fn draw(&self, spec: &RoomSpec) -> String {
        let slots = [
            ("event_id", spec.event.to_string()),
            ("title", escape(&spec.title)),
            ("asset_version", self.version.clone()),
        ];
        fill(DRAW, &slots)
    }

    /// A notice.
    #[must_use]
    pub fn notice(&self, notice: Notice<'_>) -> String {
        let slots = [
            ("title", escape(notice.title)),
            ("heading", escape(notice.heading)),
            ("text", escape(notice.text)),
            ("asset_version", self.version.clone()),
        ];
        fill(NOTICE, &slots)
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::new()
    }
}

fn draw_link(event: &str) -> String {
    let event = escape(event);
    format!("<p><a href=\"/.waiting-room/draw?event_id={event}\">Check the draw</a></p>")
}

/// Fills `{{slots}}` in one pass, so that a value that looks like a slot stays text.
fn fill(template: &str, slots: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            filled.push_str("{{");
            rest = after;
            continue;
        };
        if let Some((_, value)) = slots.iter().find(|(slot, _)| *slot == name) {
            filled.push_str(value);
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// Where to go after waiting: a path of this very site, or its start.
#[must_use]
pub fn safe_path(to: &str) -> &str {
    let is_path = to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains('\\')
        && !to.chars().any(char::is_control);
    if is_path { to } else { "/" }
}

/// Whether a client's `Accept-Encoding` takes gzip.
#[must_use]
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let is_refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        (coding.eq_ignore_ascii_case("gzip") || coding == "*") && !is_refused
    })
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail; an empty body would be seen at once.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_a_slot_stays_text() {
        let slots = [("a", "{{b}}".to_owned()), ("b", "secret".to_owned())];
        assert_eq!(fill("x {{a}} {{unknown}} {{", &slots), "x {{b}}  {{");
    }

    #[test]
    fn what_visitors_and_operators_write_is_escaped() {
        let pages = Pages::new();
        let text = PlaceText {
            title: "<b>&\"'",
            event: "e",
            to: "/x?a=\"><script>",
            heading: "h",
            text: "t",
            ahead: "1",
            has_draw: true,
            may_enter: true,
        };
        let html = pages.place(text);
        assert!(!html.contains("<b>") && !html.contains("<script>"), "{html}");
    }

    #[test]
    fn the_first_visit_stays_under_20_kilobytes_in_three_requests() {
        let pages = Pages::new();
        let spec =
            serde_json::json!({ "event": "e", "title": "Final", "guard": { "paths": ["/"] } });
        let page = pages.waiting(&serde_json::from_value(spec).unwrap());
        let script = pages.asset("waiting.js").unwrap().content.gzip.len();
        // Page, script, and the words of one language: that of the longest.
        let words = pages.assets.iter().filter(|(name, _)| name.starts_with("words."));
        let words = words.map(|(_, asset)| asset.content.gzip.len()).max().unwrap();
        let total = page.gzip.len() + script + words;
        assert!(total < 20 * 1024, "{total} bytes");
        let html = String::from_utf8(page.plain.to_vec()).unwrap();
        assert_eq!(html.matches("/.waiting-room/assets/").count(), 1, "beside the page, one file");
    }

    #[test]
    fn every_language_has_every_word() {
        let keys = SCRIPT.lines().find_map(|line| line.strip_prefix("const keys = '")).unwrap();
        let count = keys.split('\'').next().unwrap().split(' ').count();
        for (name, text) in WORDS.into_iter().chain([("words.en.txt", ENGLISH)]) {
            let words: Vec<&str> = text.trim().split('|').collect();
            assert_eq!(words.len(), count, "{name}");
            assert!(words.iter().all(|word| !word.is_empty() || count == 0), "{name}");
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn nobody_is_sent_to_another_site() {
        //         to                       path
        for (to, path) in [
            ("/events/final?x=1",           "/events/final?x=1"),
            ("//evil.example",              "/"),
            ("/\\evil.example",             "/"),
            ("https://evil.example",        "/"),
            ("javascript:alert(1)",         "/"),
            ("/a\r\nSet-Cookie: x",         "/"),
            ("",                            "/"),
        ] {
            assert_eq!(safe_path(to), path, "{to:?}");
        }
    }
}
