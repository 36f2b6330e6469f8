//! In which language, and with which words, does the edge speak to a visitor?
//!
//! `pages/words` has a file for each language and `keys.txt`, which names the words in their order:
//! in the first line those of the waiting page's script, in the second those that only pages made
//! by the server use as well, in the third those of the page that checks the draw.

/// The names of the words.
const KEYS: &str = include_str!("../pages/words/keys.txt");

/// Every language and its words.
const LANGUAGES: [Language; 10] = [
    Language { code: "en", words: include_str!("../pages/words/en.txt") },
    Language { code: "ar", words: include_str!("../pages/words/ar.txt") },
    Language { code: "de", words: include_str!("../pages/words/de.txt") },
    Language { code: "es", words: include_str!("../pages/words/es.txt") },
    Language { code: "fr", words: include_str!("../pages/words/fr.txt") },
    Language { code: "it", words: include_str!("../pages/words/it.txt") },
    Language { code: "ja", words: include_str!("../pages/words/ja.txt") },
    Language { code: "ko", words: include_str!("../pages/words/ko.txt") },
    Language { code: "pt", words: include_str!("../pages/words/pt.txt") },
    Language { code: "zh", words: include_str!("../pages/words/zh.txt") },
];

/// A language that the edge speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    /// Its code, as in `lang`.
    pub code: &'static str,
    words: &'static str,
}

/// A word of the pages that the server makes: its name in `keys.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word(&'static str);

impl Word {
    pub const AGAIN: Self = Self("again");
    pub const AGAIN_SOON: Self = Self("againSoon");
    pub const AHEAD: Self = Self("ahead");
    pub const AWAY: Self = Self("away");
    pub const AWAY_TEXT: Self = Self("awayText");
    pub const CHECK: Self = Self("check");
    pub const CHECK_DRAW: Self = Self("checkDraw");
    pub const CLOSED: Self = Self("closed");
    pub const DRAW_AMONG: Self = Self("drawAmong");
    pub const DRAW_BACK: Self = Self("drawBack");
    pub const DRAW_COMMITMENT: Self = Self("drawCommitment");
    pub const DRAW_DOCUMENT: Self = Self("drawDocument");
    pub const DRAW_FROM: Self = Self("drawFrom");
    pub const DRAW_LEAD: Self = Self("drawLead");
    pub const DRAW_MIXED: Self = Self("drawMixed");
    pub const DRAW_NO_SCRIPT: Self = Self("drawNoScript");
    pub const DRAW_POSITION: Self = Self("drawPosition");
    pub const DRAW_READING: Self = Self("drawReading");
    pub const DRAW_SECRET: Self = Self("drawSecret");
    pub const DRAW_STEPS: Self = Self("drawSteps");
    pub const DRAW_TEXT: Self = Self("drawText");
    pub const ENTER: Self = Self("enter");
    pub const HOLD_ON: Self = Self("hold_on");
    pub const HOLD_ON_TEXT: Self = Self("hold_onText");
    pub const NO_PLACE: Self = Self("noPlace");
    pub const NO_PLACE_TEXT: Self = Self("noPlaceText");
    pub const OTHER_BROWSER: Self = Self("otherBrowser");
    pub const OTHER_BROWSER_TEXT: Self = Self("otherBrowserText");
    pub const PAUSED: Self = Self("paused");
    pub const PAUSED_TEXT: Self = Self("pausedText");
    pub const PLACE_KEPT: Self = Self("placeKept");
    pub const POSITION: Self = Self("position");
    pub const SCHEDULED: Self = Self("scheduled");
    pub const SCHEDULED_TEXT: Self = Self("scheduledText");
    pub const SOLD_OUT: Self = Self("sold_out");
    pub const SOLD_OUT_TEXT: Self = Self("sold_outText");
    pub const TOO_LARGE: Self = Self("tooLarge");
    pub const TOO_MANY: Self = Self("tooMany");
    pub const TOO_MANY_TEXT: Self = Self("tooManyText");
    pub const WAITING: Self = Self("waiting");
    pub const YOUR_TURN: Self = Self("your_turn");
    pub const YOUR_TURN_TEXT: Self = Self("your_turnText");
}

impl Language {
    /// The language that is spoken when none is asked for.
    pub const ENGLISH: Self = LANGUAGES[0];

    /// The first of those that a visitor asks for most (`Accept-Language`), or English.
    #[must_use]
    pub fn wanted(accept_language: Option<&str>) -> Self {
        let mut best = (0.0, Self::ENGLISH);
        for entry in accept_language.unwrap_or_default().split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default().split('-').next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            let known = LANGUAGES.iter().find(|one| one.code.eq_ignore_ascii_case(tag));
            if let Some(known) = known
                && weight.unwrap_or(1.0) > best.0
            {
                best = (weight.unwrap_or(1.0), *known);
            }
        }
        best.1
    }

    /// All of them, English first.
    pub fn all() -> impl Iterator<Item = Self> {
        LANGUAGES.into_iter()
    }

    /// Which way it is read: the value of `dir`.
    #[must_use]
    pub fn direction(self) -> &'static str {
        if self.code == "ar" { "rtl" } else { "ltr" }
    }

    /// A word in this language.
    #[must_use]
    pub fn say(self, Word(key): Word) -> &'static str {
        let lines = KEYS.lines().zip(self.words.lines());
        let mut words = lines.flat_map(|(keys, words)| keys.split(' ').zip(words.split('|')));
        words.find(|(name, _)| *name == key).map_or(key, |(_, word)| word)
    }

    /// The words of the page that checks the draw, each with its name.
    pub fn for_draw(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let line = |text: &'static str| text.lines().nth(2).unwrap_or_default();
        line(KEYS).split(' ').zip(line(self.words).split('|'))
    }

    /// What the waiting page's script needs of it: the words in order, parted by `|`.
    #[must_use]
    pub fn for_script(self) -> &'static str {
        self.words.lines().next().unwrap_or_default()
    }

    /// The names of these words, parted by spaces.
    #[must_use]
    pub fn names_for_script() -> &'static str {
        KEYS.lines().next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_word() {
        for language in Language::all() {
            assert_eq!(language.words.lines().count(), 3, "{}", language.code);
            for (keys, words) in KEYS.lines().zip(language.words.lines()) {
                let words: Vec<&str> = words.split('|').collect();
                assert_eq!(words.len(), keys.split(' ').count(), "{}", language.code);
                assert!(words.iter().all(|word| !word.is_empty()), "{}", language.code);
            }
        }
    }

    #[test]
    fn every_word_that_the_server_says_has_a_name() {
        let names = |source: &str| -> Vec<String> {
            let constants =
                source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
            let values = constants.filter_map(|line| line.split_once(": Self = Self(\""));
            values.map(|(_, value)| value.trim_end_matches("\");").to_owned()).collect()
        };
        let names = names(include_str!("words.rs"));
        assert!(names.len() > 20);
        for name in names {
            assert!(KEYS.split_whitespace().any(|key| key == name), "{name}");
        }
        assert_eq!(Language::wanted(Some("de")).say(Word::SOLD_OUT), "Ausverkauft");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_visitor_is_answered_in_the_language_they_ask_for_most() {
        //    Accept-Language                    spoken
        check(None,                              "en");
        check(Some(""),                          "en");
        check(Some("de"),                        "de");
        check(Some("de-AT,de;q=0.9,en;q=0.8"),   "de");
        check(Some("en;q=0.5, ar-EG;q=0.7"),     "ar");
        check(Some("nl, fr;q=0.4"),              "fr"); // no Dutch
        check(Some("ZH-Hant"),                   "zh");
        check(Some("ja;q=0"),                    "en"); // refused
        check(Some("*;q=x,;;,-"),                "en");
    }

    #[track_caller]
    fn check(accept_language: Option<&str>, expected: &str) {
        assert_eq!(Language::wanted(accept_language).code, expected, "{accept_language:?}");
    }
}
