//! Judges how likely a visitor is a bot, from what is cheap and sure, and says why.
//!
//! The score goes from 1 (surely a bot) to 99 (nothing speaks for one). What was not seen never
//! counts against anybody: a keyboard, a screen reader or a browser without script must not look
//! like "no mouse = bot". A low score costs time, never the place.

use std::time::Duration;

use admission_api::Reason;
use keys::Timestamp;
use serde::Deserialize;

/// Scores below this put a place into the `suspect` lane.
pub const SUSPECT_BELOW: u8 = 30;

/// What the request itself shows. Absent fields are `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestFacts<'a> {
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// `Accept-Language`.
    pub accept_language: Option<&'a str>,
    /// `Accept-Encoding`.
    pub accept_encoding: Option<&'a str>,
    /// `Sec-CH-UA`.
    pub sec_ch_ua: Option<&'a str>,
    /// `Sec-CH-UA-Mobile`.
    pub sec_ch_ua_mobile: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    pub sec_fetch_mode: Option<&'a str>,
    /// Whether the request navigates to a page.
    pub is_navigation: bool,
    /// Whether the connection is one on which browsers send their `Sec-` fields: TLS.
    pub is_secure: bool,
    /// The place was issued to another browser.
    pub is_shared_place: bool,
    /// How regular this client's requests come.
    pub rhythm: Rhythm,
}

/// What the waiting page saw. Whatever is absent was not measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// `navigator.webdriver`.
    pub webdriver: Option<bool>,
    /// The script's own user agent says headless.
    pub headless_ua: Option<bool>,
    /// Names that automation tools leave in the page.
    pub automation_globals: Option<bool>,
    /// `navigator.languages.length`.
    pub languages: Option<u32>,
    /// Outer and inner window have the same size.
    pub outer_equals_inner: Option<bool>,
    /// Graphics are drawn in software.
    pub software_gl: Option<bool>,
    /// Pointer events seen.
    pub pointer_events: Option<u32>,
    /// Key events seen.
    pub key_events: Option<u32>,
    /// Touch events seen.
    pub touch_events: Option<u32>,
    /// Input events that the browser does not vouch for.
    pub untrusted_events: Option<u32>,
}

/// How regular a client's requests come, in constant space (Welford's running variance).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rhythm {
    last: Option<Timestamp>,
    gaps: u32,
    mean_ms: f64,
    squares: f64,
}

impl Rhythm {
    /// Fewer gaps than this say nothing.
    const GAPS_MIN: u32 = 12;
    /// Spread over mean below which no person presses reload.
    const VARIATION_MIN: f64 = 0.03;
    /// A longer pause starts the measurement anew.
    const PAUSE: Duration = Duration::from_secs(120);

    /// With one more request at `now`.
    #[must_use]
    pub fn with(self, now: Timestamp) -> Self {
        let Some(last) = self.last else { return Self { last: Some(now), ..Self::default() } };
        let gap = now.since(last);
        if gap > Self::PAUSE {
            return Self { last: Some(now), ..Self::default() };
        }
        let gap_ms = gap.as_secs_f64() * 1000.0;
        let gaps = self.gaps.saturating_add(1);
        let delta = gap_ms - self.mean_ms;
        let mean_ms = self.mean_ms + delta / f64::from(gaps);
        let squares = self.squares + delta * (gap_ms - mean_ms);
        Self { last: Some(now), gaps, mean_ms, squares }
    }

    /// Spread over mean of the gaps, once there are enough of them to tell.
    fn variation(&self) -> Option<f64> {
        if self.gaps < Self::GAPS_MIN || self.mean_ms <= 0.0 {
            return None;
        }
        Some((self.squares / f64::from(self.gaps)).sqrt() / self.mean_ms)
    }
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// 1 (surely a bot) to 99.
    pub score: u8,
    /// What took points off, heaviest first.
    pub reasons: Vec<Reason>,
}

impl Judgement {
    /// Whether the place belongs into the `suspect` lane.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.score < SUSPECT_BELOW
    }
}

/// Names under which HTTP libraries and command-line tools introduce themselves.
const LIBRARIES: &[&str] = &[
    "aiohttp",
    "apache-httpclient",
    "axios",
    "curl/",
    "go-http-client",
    "got (",
    "guzzlehttp",
    "httpclient",
    "httpie",
    "httpx",
    "java/",
    "libwww-perl",
    "node-fetch",
    "okhttp",
    "perl",
    "php/",
    "postmanruntime",
    "python-",
    "python/",
    "reqwest",
    "ruby",
    "scrapy",
    "undici",
    "wget",
];
/// Names of browsers that run without a person in front of them.
const HEADLESS: &[&str] = &["headlesschrome", "phantomjs", "slimerjs", "puppeteer", "playwright"];
/// Words by which crawlers introduce themselves.
const CRAWLERS: &[&str] = &["bot/", "bot;", "bot)", "crawler", "spider", "+http"];

/// Judges a request, with what the waiting page saw if it reported.
#[must_use]
pub fn judge(request: &RequestFacts<'_>, evidence: Option<&Evidence>) -> Judgement {
    let mut reasons = request_reasons(request);
    if let Some(evidence) = evidence {
        reasons.extend(evidence_reasons(evidence));
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.points));
    let lost: u32 = reasons.iter().map(|reason| u32::from(reason.points)).sum();
    let score = u8::try_from(99_u32.saturating_sub(lost).max(1)).unwrap_or(1);
    Judgement { score, reasons }
}

fn reason(code: &str, points: u8, detail: impl Into<String>) -> Reason {
    let detail: String = detail.into();
    Reason { code: code.into(), detail: detail.chars().take(200).collect(), points }
}

fn request_reasons(request: &RequestFacts<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let Some(user_agent) = request.user_agent.filter(|text| !text.trim().is_empty()) else {
        return vec![reason("ua_missing", 75, "no User-Agent, which every browser sends")];
    };
    let agent = user_agent.to_ascii_lowercase();
    let named = |names: &[&'static str]| names.iter().find(|name| agent.contains(**name)).copied();

    if let Some(name) = named(HEADLESS) {
        reasons.push(reason("ua_headless", 80, format!("User-Agent names {name}")));
    } else if let Some(name) = named(LIBRARIES) {
        reasons.push(reason("ua_library", 75, format!("User-Agent names the library {name}")));
    } else if named(CRAWLERS).is_some() {
        reasons.push(reason("ua_crawler", 70, "User-Agent says it is a crawler"));
    }

    let claims_browser = agent.starts_with("mozilla/");
    let is_chromium = agent.contains("chrome/") || agent.contains("chromium/");
    let is_other_engine = agent.contains("firefox/")
        || (agent.contains("safari/") && !is_chromium && agent.contains("version/"));
    if claims_browser {
        if request.accept_language.is_none() {
            let detail = "a browser's User-Agent without Accept-Language";
            reasons.push(reason("language_missing", 40, detail));
        }
        if request.accept_encoding.is_none() {
            let detail = "a browser's User-Agent without Accept-Encoding";
            reasons.push(reason("encoding_missing", 35, detail));
        }
    }
    if let Some(brands) = request.sec_ch_ua {
        if brands.to_ascii_lowercase().contains("headless") {
            reasons.push(reason("ch_headless", 80, "Sec-CH-UA names a headless browser"));
        }
        if is_other_engine {
            let detail = "Sec-CH-UA from a browser whose User-Agent is not Chromium's";
            reasons.push(reason("ch_vs_ua", 50, detail));
        }
    } else if is_chromium && request.is_secure && request.sec_fetch_mode.is_none() {
        let detail = "a Chromium User-Agent over TLS without Sec-CH-UA and Sec-Fetch-Mode";
        reasons.push(reason("ch_missing", 35, detail));
    }
    if request.sec_ch_ua_mobile == Some("?1") && !agent.contains("mobi") {
        let detail = "Sec-CH-UA-Mobile says phone, User-Agent does not";
        reasons.push(reason("mobile_vs_ua", 25, detail));
    }
    if let Some(mode) = request.sec_fetch_mode
        && request.is_navigation
        && mode != "navigate"
    {
        let detail = format!("Sec-Fetch-Mode {mode} on a navigation");
        reasons.push(reason("fetch_mode", 25, detail));
    }
    if let Some(variation) = request.rhythm.variation()
        && variation < Rhythm::VARIATION_MIN
    {
        let detail = format!(
            "{} requests {:.0} ms apart, varying by {:.1} %",
            request.rhythm.gaps,
            request.rhythm.mean_ms,
            variation * 100.0
        );
        reasons.push(reason("rhythm", 45, detail));
    }
    if request.is_shared_place {
        let detail = "the place was issued to another browser";
        reasons.push(reason("place_shared", 30, detail));
    }
    reasons
}

fn evidence_reasons(evidence: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if evidence.webdriver == Some(true) {
        reasons.push(reason("webdriver", 80, "navigator.webdriver is set: driven by automation"));
    }
    if evidence.automation_globals == Some(true) {
        let detail = "names in the page that only automation tools leave";
        reasons.push(reason("automation_globals", 80, detail));
    }
    if evidence.headless_ua == Some(true) {
        reasons.push(reason("headless_js", 80, "the page's own user agent says headless"));
    }
    if let Some(count) = evidence.untrusted_events.filter(|count| *count > 0) {
        let detail = format!("{count} input events that the browser does not vouch for");
        reasons.push(reason("untrusted_events", 30, detail));
    }
    if evidence.languages == Some(0) {
        reasons.push(reason("languages_empty", 30, "navigator.languages is empty"));
    }
    // Weak alone: every twentieth visitor has one of these for good reasons.
    if evidence.software_gl == Some(true) {
        reasons.push(reason("software_gl", 5, "graphics are drawn in software"));
    }
    if evidence.outer_equals_inner == Some(true) {
        reasons.push(reason("no_window_frame", 5, "the window has no frame"));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                          Chrome/156.0.0.0 Safari/537.36";
    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) \
                          AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 \
                          Safari/604.1";

    fn person(user_agent: &str) -> RequestFacts<'_> {
        RequestFacts {
            user_agent: Some(user_agent),
            accept_language: Some("en"),
            accept_encoding: Some("gzip, br"),
            is_navigation: true,
            ..RequestFacts::default()
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn bots_are_told_from_people_and_the_reason_is_named() {
        let brands = Some("\"Chromium\";v=\"156\"");
        let chrome = RequestFacts { sec_ch_ua: brands, sec_fetch_mode: Some("navigate"), is_secure: true, ..person(CHROME) };
        //    request                                                            heaviest reason       suspect
        check(&person(CHROME),                                                   None,                     false);
        check(&chrome,                                                           None,                     false);
        check(&person(FIREFOX),                                                  None,                     false);
        check(&person(SAFARI),                                                   None,                     false);
        check(&person("python-requests/2.32"),                                   Some("ua_library"),       true);
        check(&person("curl/8.9.1"),                                             Some("ua_library"),       true);
        check(&person(&CHROME.replace("Chrome", "HeadlessChrome")),              Some("ua_headless"),      true);
        check(&person("Googlebot/2.1 (+http://www.google.com/bot.html)"),        Some("ua_crawler"),       true);
        check(&RequestFacts::default(),                                          Some("ua_missing"),       true);
        check(&RequestFacts { accept_language: None, ..person(CHROME) },         Some("language_missing"), false);
        check(&RequestFacts { accept_language: None, accept_encoding: None, ..person(CHROME) },
                                                                                 Some("language_missing"), true);
        check(&RequestFacts { is_secure: true, ..person(CHROME) },               Some("ch_missing"),       false);
        check(&RequestFacts { sec_ch_ua: brands, ..person(FIREFOX) },            Some("ch_vs_ua"),         false);
        check(&RequestFacts { sec_fetch_mode: Some("cors"), ..person(CHROME) },  Some("fetch_mode"),       false);
        check(&RequestFacts { rhythm: beats(20, 1000, 0), ..person(CHROME) },    Some("rhythm"),           false);
        check(&RequestFacts { rhythm: beats(20, 1000, 400), ..person(CHROME) },  None,                     false);
        check(&RequestFacts { rhythm: beats(5, 1000, 0), ..person(CHROME) },     None,                     false);
    }

    #[track_caller]
    fn check(request: &RequestFacts<'_>, heaviest: Option<&str>, is_suspect: bool) {
        let judgement = judge(request, None);
        let first = judgement.reasons.first().map(|reason| reason.code.as_str());
        assert_eq!((first, judgement.is_suspect()), (heaviest, is_suspect), "{judgement:?}");
    }

    fn beats(count: u64, gap_ms: u64, jitter_ms: u64) -> Rhythm {
        let at = |beat: u64| Timestamp::from_millis(beat * gap_ms + (beat % 3) * jitter_ms);
        (0..=count).fold(Rhythm::default(), |rhythm, beat| rhythm.with(at(beat)))
    }

    #[test]
    fn what_the_page_did_not_see_never_counts() {
        let nothing = Evidence::default();
        assert_eq!(judge(&person(CHROME), Some(&nothing)), judge(&person(CHROME), None));
        let idle = Evidence {
            webdriver: Some(false),
            pointer_events: Some(0),
            key_events: Some(0),
            touch_events: Some(0),
            ..Evidence::default()
        };
        assert_eq!(judge(&person(CHROME), Some(&idle)).score, 99);
    }

    #[test]
    fn a_driven_browser_is_suspect_and_weak_marks_alone_are_not() {
        let driven = Evidence { webdriver: Some(true), ..Evidence::default() };
        assert!(judge(&person(CHROME), Some(&driven)).is_suspect());
        let odd = Evidence {
            software_gl: Some(true),
            outer_equals_inner: Some(true),
            ..Evidence::default()
        };
        assert!(!judge(&person(CHROME), Some(&odd)).is_suspect());
    }

    #[test]
    fn a_score_stays_between_1_and_99() {
        let all = Evidence {
            webdriver: Some(true),
            automation_globals: Some(true),
            headless_ua: Some(true),
            ..Evidence::default()
        };
        assert_eq!(judge(&person("curl/8"), Some(&all)).score, 1);
        assert_eq!(judge(&person(CHROME), None).score, 99);
    }
}
