//! The edge's pages and their files: compressed once, filled in by slots.

use std::collections::HashMap;
use std::io::Write as _;

use admission_api::RoomSpec;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::answer::PAGE_POLICY;
use crate::template::Template;
use crate::words::{Language, Word};

const HEAD: &str = include_str!("../pages/head.html");
const CHOICE: &str = include_str!("../pages/language.html");
const WAITING: &str = include_str!("../pages/waiting.html");
const PLACE: &str = include_str!("../pages/place.html");
const NOTICE: &str = include_str!("../pages/notice.html");
const DRAW: &str = include_str!("../pages/draw.html");
const STYLE: &str = include_str!("../pages/waiting.css");
const SCRIPT: &str = include_str!("../pages/waiting.js");
const DRAW_SCRIPT: &str = include_str!("../pages/draw.js");
/// For pages and apps that show the line themselves.
const MODULE: &str = include_str!("../pages/waiting-room.mjs");

/// What a first visit may weigh, compressed: the waiting page, its script and one language.
pub const FIRST_VISIT_BYTES_MAX: usize = 20 * 1024;

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
    template: Template,
    assets: HashMap<String, Asset>,
    version: String,
    /// `Content-Security-Policy` of the pages; some carry their style in themselves.
    pub policy: String,
}

/// A page made for one visitor.
#[derive(Debug)]
pub struct Html<'a> {
    /// Its text.
    pub text: String,
    /// Its `Content-Security-Policy`.
    pub policy: &'a str,
}

/// A notice that says why a page is not shown.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// What it is about: the room's title, or the host.
    pub title: &'a str,
    /// The visitor's language.
    pub language: Language,
    /// The heading.
    pub heading: Word,
    /// One or two sentences.
    pub text: Word,
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
    /// The visitor's language.
    pub language: Language,
    /// The heading.
    pub heading: Word,
    /// One or two sentences, if there is anything to say.
    pub text: Option<Word>,
    /// How many are ahead, if that makes sense.
    pub ahead: Option<u64>,
    /// Whether there is a draw to be checked.
    pub has_draw: bool,
    /// Whether the turn has come.
    pub may_enter: bool,
}

/// What a page puts into the frame.
struct Content<'a> {
    language: Language,
    title: &'a str,
    event: &'a str,
    heading: &'a str,
    /// Saves a request where the page is compressed.
    has_own_style: bool,
    script: Option<&'static str>,
    /// The choice of a language, where a script can change it.
    choice: &'static str,
    line: String,
}

impl Pages {
    /// Compresses the files, and puts pages into this frame.
    #[must_use]
    pub fn new(template: Template) -> Self {
        let mut hash = Sha256::new();
        for text in [STYLE, SCRIPT, DRAW_SCRIPT, MODULE, Language::names_for_script()] {
            hash.update(text);
        }
        for language in Language::all() {
            hash.update(language.for_script());
        }
        let version: String =
            hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let slots = [
            ("english", Language::ENGLISH.for_script().replace('\'', "\\'")),
            ("keys", Language::names_for_script().to_owned()),
            ("asset_version", version.clone()),
        ];
        let script = fill(SCRIPT, &slots);
        let javascript = "text/javascript; charset=utf-8";
        let files = [
            ("waiting.css".to_owned(), "text/css; charset=utf-8", STYLE),
            ("waiting.js".to_owned(), javascript, script.as_str()),
            ("draw.js".to_owned(), javascript, DRAW_SCRIPT),
            ("waiting-room.mjs".to_owned(), javascript, MODULE),
        ];
        let words = Language::all().map(|language| {
            let name = format!("words.{}.txt", language.code);
            (name, "text/plain; charset=utf-8", language.for_script())
        });
        let assets = files.into_iter().chain(words).map(|(name, media_type, text)| {
            (name, Asset { content: Rendered::new(text.as_bytes()), media_type })
        });
        let assets = assets.collect();
        let policy = format!("{PAGE_POLICY}; {}", template.style_policy(STYLE));
        Self { template, assets, version, policy }
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
            ("languages", without_script(spec)),
        ];
        let content = Content {
            language: Language::ENGLISH,
            title: &spec.title,
            event: spec.event.as_str(),
            heading: Language::ENGLISH.say(Word::WAITING),
            has_own_style: true,
            script: Some("waiting.js"),
            choice: CHOICE,
            line: fill(WAITING, &slots),
        };
        Rendered::new(self.framed(content).as_bytes())
    }

    /// What the first visit to a room weighs, compressed: page, script, and the words of the
    /// language that has the longest.
    #[must_use]
    pub fn first_visit_bytes(&self, page: &Rendered) -> usize {
        let len = |asset: &Asset| asset.content.gzip.len();
        let words = self.assets.iter().filter(|(name, _)| name.starts_with("words."));
        let words = words.map(|(_, asset)| len(asset)).max().unwrap_or_default();
        page.gzip.len() + self.asset("waiting.js").map_or(0, len) + words
    }

    /// The page for browsers without script.
    #[must_use]
    pub fn place(&self, text: PlaceText<'_>) -> Html<'_> {
        let say = |word| escape(text.language.say(word));
        let enter = if text.may_enter {
            // A link, because entering is just asking for the page again.
            let (to, enter) = (escape(text.to), say(Word::ENTER));
            format!(
                "<p><a class=\"button enter\" data-test=\"enter\" href=\"{to}\">{enter}</a></p>"
            )
        } else {
            String::new()
        };
        let ahead = text.ahead.map_or(String::new(), |ahead| {
            let label = say(Word::AHEAD);
            format!(
                "<p class=\"label\">{label}</p>\n  <p class=\"number\" data-test=\"ahead\">{ahead}</p>"
            )
        });
        let event = escape(text.event);
        let draw = if text.has_draw {
            let check = say(Word::CHECK_DRAW);
            format!("<p><a href=\"/.waiting-room/draw?event_id={event}\">{check}</a></p>")
        } else {
            String::new()
        };
        let slots = [
            ("heading", say(text.heading)),
            ("text", text.text.map_or(String::new(), say)),
            ("ahead", ahead),
            ("event_id", event),
            ("to", percent_encode(text.to)),
            ("enter_form", enter),
            ("draw_link", draw),
            ("check", say(Word::CHECK)),
            ("kept", say(Word::PLACE_KEPT)),
        ];
        self.html(Content {
            language: text.language,
            title: text.title,
            event: text.event,
            heading: text.language.say(text.heading),
            has_own_style: false,
            script: None,
            choice: "",
            line: fill(PLACE, &slots),
        })
    }

    /// The page on which a browser checks the draw. What its script may have to say is in it.
    #[must_use]
    pub fn draw(&self, spec: &RoomSpec, language: Language) -> Html<'_> {
        let say = |word| escape(language.say(word));
        let words = language.for_draw().map(|(name, word)| {
            let word = escape(word);
            format!("<li data-word=\"{name}\">{word}</li>")
        });
        let slots = [
            ("event_id", spec.event.to_string()),
            ("heading", say(Word::CHECK_DRAW)),
            ("lead", say(Word::DRAW_LEAD)),
            ("reading", say(Word::DRAW_READING)),
            ("number", say(Word::POSITION)),
            ("position", say(Word::DRAW_POSITION)),
            ("among", say(Word::DRAW_AMONG)),
            ("from", say(Word::DRAW_FROM)),
            ("commitment", say(Word::DRAW_COMMITMENT)),
            ("mixed", say(Word::DRAW_MIXED)),
            ("secret", say(Word::DRAW_SECRET)),
            ("steps", say(Word::DRAW_STEPS)),
            ("no_script", say(Word::DRAW_NO_SCRIPT)),
            ("document", say(Word::DRAW_DOCUMENT)),
            ("back", say(Word::DRAW_BACK)),
            ("words", words.collect()),
        ];
        self.html(Content {
            language,
            title: &spec.title,
            event: spec.event.as_str(),
            heading: language.say(Word::CHECK_DRAW),
            has_own_style: false,
            script: Some("draw.js"),
            choice: "",
            line: fill(DRAW, &slots),
        })
    }

    /// A notice.
    #[must_use]
    pub fn notice(&self, notice: Notice<'_>) -> Html<'_> {
        let say = |word| escape(notice.language.say(word));
        let slots = [
            ("heading", say(notice.heading)),
            ("text", say(notice.text)),
            ("again", say(Word::AGAIN)),
            ("soon", say(Word::AGAIN_SOON)),
        ];
        self.html(Content {
            language: notice.language,
            title: notice.title,
            event: "",
            heading: notice.language.say(notice.heading),
            has_own_style: false,
            script: None,
            choice: "",
            line: fill(NOTICE, &slots),
        })
    }

    fn html(&self, content: Content<'_>) -> Html<'_> {
        Html { text: self.framed(content), policy: &self.policy }
    }

    fn framed(&self, content: Content<'_>) -> String {
        let address = |file| format!("/.waiting-room/assets/{file}?v={}", self.version);
        let mut files = match content.has_own_style {
            true => format!("<style>{STYLE}</style>"),
            false => format!("<link rel=\"stylesheet\" href=\"{}\">", address("waiting.css")),
        };
        if let Some(script) = content.script {
            files.push_str(&format!("\n<script src=\"{}\" defer></script>", address(script)));
        }
        let title = escape(content.title);
        let head =
            [("heading", escape(content.heading)), ("title", title.clone()), ("files", files)];
        let slots = [
            ("lang", content.language.code.to_owned()),
            ("dir", content.language.direction().to_owned()),
            ("head", fill(HEAD, &head)),
            ("title", title),
            ("event_id", escape(content.event)),
            ("language", content.choice.to_owned()),
            ("line", content.line),
        ];
        fill(self.template.text(), &slots)
    }
}

/// What somebody without script reads who does not read English. The page is the same for all, so
/// every language is in it; the page that it leads to is in the visitor's.
fn without_script(spec: &RoomSpec) -> String {
    let others = Language::all().filter(|language| *language != Language::ENGLISH);
    let line = |language: Language| {
        let say = |word| escape(language.say(word));
        format!(
            "<p class=\"quiet\" lang=\"{}\" dir=\"{}\">{}. {} <a href=\"/.waiting-room/place?event_id={}\">{}</a></p>",
            language.code,
            language.direction(),
            say(Word::WAITING),
            say(Word::PLACE_KEPT),
            spec.event,
            say(Word::CHECK),
        )
    };
    others.map(line).collect()
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

    fn spec(title: &str) -> RoomSpec {
        let spec = serde_json::json!({ "event": "e", "title": title, "guard": { "paths": ["/"] } });
        serde_json::from_value(spec).unwrap()
    }

    fn text(page: &Rendered) -> String {
        String::from_utf8(page.plain.to_vec()).unwrap()
    }

    #[test]
    fn what_visitors_and_operators_write_is_escaped() {
        let pages = Pages::new(Template::default());
        let place = PlaceText {
            title: "<b>&\"'",
            event: "e",
            to: "/x?a=\"><script>",
            language: Language::wanted(Some("fr")),
            heading: Word::YOUR_TURN,
            text: Some(Word::YOUR_TURN_TEXT),
            ahead: Some(1),
            has_draw: true,
            may_enter: true,
        };
        let html = pages.place(place).text;
        assert!(!html.contains("<b>") && !html.contains("<script"), "{html}");
        assert!(html.contains("<html lang=\"fr\" dir=\"ltr\">"), "{html}");
        let html = text(&pages.waiting(&spec("<b>{{line}}\"")));
        assert!(!html.contains("<b>") && html.contains("&lt;b&gt;{{line}}&quot;"), "{html}");
    }

    #[test]
    fn the_first_visit_stays_under_20_kilobytes_in_three_requests() {
        let pages = Pages::new(Template::default());
        let page = pages.waiting(&spec("Final"));
        let total = pages.first_visit_bytes(&page);
        assert!(total < FIRST_VISIT_BYTES_MAX, "{total} bytes");
        let html = text(&page);
        assert_eq!(html.matches("/.waiting-room/assets/").count(), 1, "beside the page, one file");
    }

    #[test]
    fn who_has_no_script_and_no_english_finds_their_language() {
        let pages = Pages::new(Template::default());
        let html = text(&pages.waiting(&spec("Final")));
        let (_, noscript) = html.split_once("<noscript>").unwrap();
        let (noscript, _) = noscript.split_once("</noscript>").unwrap();
        for language in Language::all() {
            let is_there = noscript.contains(&escape(language.say(Word::CHECK)));
            assert!(is_there || language == Language::ENGLISH, "{}", language.code);
        }
        assert!(noscript.contains("lang=\"ar\" dir=\"rtl\""), "{noscript}");
    }

    #[test]
    fn the_draw_is_checked_in_every_language_without_a_word_missing() {
        let pages = Pages::new(Template::default());
        let script: Vec<&str> = DRAW_SCRIPT.split("words(\"").skip(1).collect();
        let said: Vec<&str> = script.iter().filter_map(|rest| rest.split('"').next()).collect();
        assert!(said.len() > 10, "{said:?}");
        for language in Language::all() {
            let html = pages.draw(&spec("Final"), language).text;
            assert!(!html.contains("{{"), "{html}");
            for word in &said {
                assert!(html.contains(&format!("data-word=\"{word}\"")), "{word} is missing");
            }
        }
        let html = pages.draw(&spec("Final"), Language::wanted(Some("ar"))).text;
        assert!(html.contains("<html lang=\"ar\" dir=\"rtl\">"), "{html}");
    }

    #[test]
    fn an_operators_frame_is_around_every_page() {
        let frame = include_str!("../../config/page.html");
        let pages = Pages::new(Template::parse(frame.to_owned()).unwrap());
        let notice = Notice {
            title: "Final",
            language: Language::wanted(Some("ar")),
            heading: Word::HOLD_ON,
            text: Word::HOLD_ON_TEXT,
        };
        for html in [text(&pages.waiting(&spec("Final"))), pages.notice(notice).text] {
            assert!(html.contains("<b>Arena</b> <span dir=\"auto\">Final</span>"), "{html}");
            assert!(!html.contains("{{"), "{html}");
        }
        let page = pages.waiting(&spec("Final"));
        assert!(pages.first_visit_bytes(&page) < FIRST_VISIT_BYTES_MAX, "so may theirs be");
        assert_eq!(pages.policy.matches("'sha256-").count(), 2, "{}", pages.policy);
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
