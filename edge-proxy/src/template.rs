//! The frame around the edge's pages, ours or the operator's: is it fit to be shown?
//!
//! What the frame must have is checked when the edge starts, so that a slip is an error at once and
//! not an empty page on the day of the sale. `edge-proxy/PAGE.md` tells operators what they may do.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Our own frame.
const OURS: &str = include_str!("../pages/shell.html");
/// Largest frame: every visitor loads it, at the busiest moment of the year.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// What a frame must have, once each, and in this order.
const NEEDED: [&str; 5] = ["lang", "dir", "head", "language", "line"];
/// What it may have.
const OFFERED: [&str; 2] = ["title", "event_id"];

/// A frame that was found fit.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    /// The hashes of its styles, for `Content-Security-Policy`.
    style_hashes: Vec<String>,
}

/// Why a frame was refused.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("template {path} cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("template {path}: {fault}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Too large.
    #[error("{len_bytes} bytes long, the most is {TEMPLATE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// No such slot.
    #[error(
        "line {line} has a slot {{{{{name}}}}}; expected one of lang, dir, head, language, line, title, event_id"
    )]
    UnknownSlot {
        /// Where.
        line: usize,
        /// Its name.
        name: String,
    },
    /// A slot is not closed.
    #[error("line {line} has a {{{{ without its }}}}")]
    OpenSlot {
        /// Where.
        line: usize,
    },
    /// The slots are not those that are needed.
    #[error(
        "expected the slots {{{{lang}}}}, {{{{dir}}}}, {{{{head}}}}, {{{{language}}}} and {{{{line}}}} once each and in this order, found {found}"
    )]
    Slots {
        /// Those that it has.
        found: String,
    },
    /// The page's policy allows no script but ours.
    #[error("line {line} has a script; the pages run none but the edge's own")]
    Script {
        /// Where.
        line: usize,
    },
    /// The page's policy ignores it.
    #[error("line {line} has a style attribute, which browsers ignore here; use a style element")]
    StyleAttribute {
        /// Where.
        line: usize,
    },
    /// A style is not closed, or has slots in it, and so no hash.
    #[error("line {line} has a style element that is not closed or has a slot in it")]
    Style {
        /// Where.
        line: usize,
    },
}

impl Default for Template {
    fn default() -> Self {
        Self { text: OURS.to_owned(), style_hashes: Vec::new() }
    }
}

impl Template {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it cannot be read, or is unfit.
    pub fn load(path: &Path) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TemplateError::Io { path: path.to_owned(), source })?;
        Self::parse(text).map_err(|fault| TemplateError::Unfit { path: path.to_owned(), fault })
    }

    /// Checks a text.
    ///
    /// # Errors
    /// If it is unfit.
    pub fn parse(text: String) -> Result<Self, Fault> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(Fault::TooLong { len_bytes: text.len() });
        }
        check_slots(&text)?;
        let lower = text.to_ascii_lowercase();
        let line = |at: usize| line_of(&text, at);
        if let Some(at) = lower.find("<script") {
            return Err(Fault::Script { line: line(at) });
        }
        let (mut style_hashes, mut from) = (Vec::new(), 0);
        while let Some(start) = lower[from..].find("<style").map(|at| from + at) {
            let content = lower[start..].find('>').map(|at| start + at + 1);
            let end = lower[start..].find("</style").map(|at| start + at);
            let (Some(content), Some(end)) = (content, end) else {
                return Err(Fault::Style { line: line(start) });
            };
            let Some(style) = text.get(content..end).filter(|style| !style.contains("{{")) else {
                return Err(Fault::Style { line: line(start) });
            };
            style_hashes.push(style_hash(style));
            from = end + 1;
        }
        // An attribute follows a space, and what is in an element of its own does not matter.
        let attribute = ["style=\"", "style='", "style ="]
            .iter()
            .find_map(|style| lower.find(&format!(" {style}")));
        if let Some(at) = attribute {
            return Err(Fault::StyleAttribute { line: line(at) });
        }
        Ok(Self { text, style_hashes })
    }

    /// The frame, with its slots.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `style-src` for a page in this frame that carries `style` of our own.
    #[must_use]
    pub fn style_policy(&self, style: &str) -> String {
        let own = style_hash(style);
        let hashes = std::iter::once(&own).chain(&self.style_hashes);
        hashes.fold("style-src 'self'".to_owned(), |policy, hash| format!("{policy} {hash}"))
    }
}

fn check_slots(text: &str) -> Result<(), Fault> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find("{{").map(|at| from + at) {
        let line = line_of(text, open);
        let Some(close) = text[open..].find("}}").map(|at| open + at) else {
            return Err(Fault::OpenSlot { line });
        };
        let name = &text[open + 2..close];
        if !NEEDED.contains(&name) && !OFFERED.contains(&name) {
            let name = name.chars().take(40).collect();
            return Err(Fault::UnknownSlot { line, name });
        }
        found.push(name);
        from = close + 2;
    }
    let needed: Vec<&str> = found.into_iter().filter(|name| NEEDED.contains(name)).collect();
    match needed == NEEDED {
        true => Ok(()),
        false if needed.is_empty() => Err(Fault::Slots { found: "none of them".to_owned() }),
        false => Err(Fault::Slots { found: needed.join(", ") }),
    }
}

fn style_hash(style: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(style)))
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../config/page.html");

    #[test]
    fn ours_and_the_example_are_fit() {
        Template::parse(OURS.to_owned()).unwrap();
        let example = Template::parse(EXAMPLE.to_owned()).unwrap();
        assert_eq!(example.style_policy("p{}").matches("'sha256-").count(), 2);
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_is_wrong_with_a_template_is_named() {
        //    replaced in the example         by                                fault
        check("{{title}}",                    "{{titel}}",                      "has a slot {{titel}}; expected one of");
        check("{{title}}",                    "{{title",                        "has a slot {{title");
        check("{{line}}",                     "{{line",                         "has a {{ without its }}");
        check("{{line}}",                     "",                               "found lang, dir, head, language");
        check("{{line}}",                     "{{line}}{{line}}",               "found lang, dir, head, language, line, line");
        check("{{head}}",                     "{{line}}",                       "found lang, dir, line, language, line");
        check("<header",                      "<ScRiPt src=/x></script><header", "has a script; the pages run none");
        check("<header",                      "<header style='color:red'",      "has a style attribute");
        check("</style>",                     "",                               "not closed");
        check("<style>",                      "<style>/*{{title}}*/",           "slot in it");
        check("<header",                      &"x".repeat(TEMPLATE_BYTES_MAX),  "the most is 65536");
    }

    #[track_caller]
    fn check(from: &str, to: &str, named: &str) {
        assert!(EXAMPLE.contains(from), "{from}");
        let fault = Template::parse(EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(fault.contains(named), "{fault}");
    }

    #[test]
    fn lines_are_counted_as_editors_do() {
        let text = OURS.replace("</body>", "<script></script>\n</body>");
        assert_eq!(Template::parse(text).unwrap_err(), Fault::Script { line: 9 });
    }
}
