//! Which glyphs stand for a text? Any name can be printed: what no font has is spelled in Latin.
//!
//! A line is cut where the direction or the font changes and each piece is shaped by itself, so
//! that Arabic joins and runs from right to left beside a Latin word. The fonts are read once, how
//! a script is shaped is worked out once, and lines that come again are kept: most of a ticket is
//! what the last one said.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use krilla::text::{Font, GlyphId, KrillaGlyph};
use quick_cache::sync::Cache;
use rustybuzz::{Direction, Script, ShapePlan, UnicodeBuffer, script};
use unicode_bidi::BidiInfo;

/// Fonts of the machine that may be added: a name needs few scripts, and each stays in memory.
pub const MORE_FONTS_MAX: usize = 8;
/// Largest font file that is read: the whole of Noto's Chinese, Japanese and Korean is 19 MB.
const FONT_BYTES_MAX: u64 = 64 << 20;
/// Lines that are kept of each weight: all that we say ourselves, and the events on sale; 2 MB.
const LINES_KEPT_MAX: usize = 512;
/// Longest line that is kept, in bytes: a page is not wider.
const LINE_KEPT_BYTES_MAX: usize = 160;
/// Ways of shaping that are kept of each font: a script each way.
const PLANS_KEPT_MAX: usize = 32;

/// How heavy the letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// For reading.
    Regular,
    /// For finding.
    Bold,
}

/// Why a font cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FontError {
    /// The file cannot be read.
    #[error("font {path} cannot be read")]
    Io {
        /// Which.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("font {path} has {bytes} bytes, the most we read is {FONT_BYTES_MAX}")]
    TooLarge {
        /// Which.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// It is no font.
    #[error("{path} is not a TrueType or OpenType font")]
    NoFont {
        /// Which.
        path: String,
    },
}

struct Face {
    shaper: rustybuzz::Face<'static>,
    font: Font,
    plans: RwLock<Vec<(Direction, Script, Arc<ShapePlan>)>>,
}

impl Face {
    fn new(bytes: &'static [u8]) -> Option<Self> {
        let shaper = rustybuzz::Face::from_slice(bytes, 0)?;
        Some(Self { shaper, font: Font::new(bytes.into(), 0)?, plans: RwLock::default() })
    }

    /// How a script is shaped in a direction.
    fn plan(&self, direction: Direction, script: Script) -> Arc<ShapePlan> {
        let is_it = |(d, s, _): &&(Direction, Script, _)| (*d, *s) == (direction, script);
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, plan)) = plans.iter().find(is_it) {
            return Arc::clone(plan);
        }
        drop(plans);
        let known = Some(script).filter(|script| *script != script::UNKNOWN);
        let plan = Arc::new(ShapePlan::new(&self.shaper, direction, known, None, &[]));
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if plans.len() < PLANS_KEPT_MAX {
            plans.push((direction, script, Arc::clone(&plan)));
        }
        plan
    }

    fn has(&self, letter: char) -> bool {
        self.shaper.glyph_index(letter).is_some()
    }
}

/// Fonts of one weight, in the order in which they are asked for a glyph.
struct Case {
    faces: Vec<Face>,
    lines: Cache<String, Arc<Line>>,
}

impl Case {
    fn new(faces: Vec<Face>) -> Self {
        Self { faces, lines: Cache::new(LINES_KEPT_MAX) }
    }
}

/// The fonts.
pub struct Letters {
    regular: Case,
    bold: Case,
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letters({} regular, {} bold)", self.regular.faces.len(), self.bold.faces.len())
    }
}

/// Glyphs of one font in one direction.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The font.
    pub font: Font,
    /// What they stand for.
    pub text: String,
    /// The glyphs, from left to right.
    pub glyphs: Vec<KrillaGlyph>,
    /// Their width in ems.
    pub width: f32,
}

/// A text as it is drawn.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Its pieces, from left to right.
    pub pieces: Vec<Piece>,
    /// Their width in ems.
    pub width: f32,
}

impl Letters {
    /// Our own fonts and those in the given files.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub fn load<P: AsRef<Path>>(more: &[P]) -> Result<Self, FontError> {
        let own = |files: [&'static [u8]; 2]| -> Vec<Face> {
            files.into_iter().filter_map(Face::new).collect()
        };
        // Noto for Latin, Greek and Cyrillic; DejaVu for what it lacks. Both come as crates.
        let mut regular = own([notosans::REGULAR_TTF, dejavu::sans::regular()]);
        let mut bold = own([notosans::BOLD_TTF, dejavu::sans::bold()]);
        for path in more.iter().take(MORE_FONTS_MAX) {
            let path = path.as_ref();
            let named = || path.display().to_string();
            let failed = |source| FontError::Io { path: named(), source };
            let bytes = std::fs::metadata(path).map_err(failed)?.len();
            if bytes > FONT_BYTES_MAX {
                return Err(FontError::TooLarge { path: named(), bytes });
            }
            // Fonts are read once and live as long as we do.
            let bytes: &'static [u8] = std::fs::read(path).map_err(failed)?.leak();
            for faces in [&mut regular, &mut bold] {
                faces.push(Face::new(bytes).ok_or_else(|| FontError::NoFont { path: named() })?);
            }
        }
        Ok(Self { regular: Case::new(regular), bold: Case::new(bold) })
    }

    /// Shapes a text in one line.
    #[must_use]
    pub fn line(&self, text: &str, weight: Weight) -> Arc<Line> {
        let case = match weight {
            Weight::Regular => &self.regular,
            Weight::Bold => &self.bold,
        };
        if text.len() > LINE_KEPT_BYTES_MAX {
            return Arc::new(Line::shaped(text, &case.faces));
        }
        if let Some(line) = case.lines.get(text) {
            return line;
        }
        let line = Arc::new(Line::shaped(text, &case.faces));
        case.lines.insert(text.to_owned(), Arc::clone(&line));
        line
    }
}

impl Line {
    fn shaped(text: &str, faces: &[Face]) -> Self {
        let text = readable(text, |letter| faces.iter().any(|face| face.has(letter)));
        let mut line = Self::default();
        let info = BidiInfo::new(&text, None);
        for paragraph in &info.paragraphs {
            let (levels, runs) = info.visual_runs(paragraph, paragraph.range.clone());
            for run in runs {
                let is_rtl = levels.get(run.start).is_some_and(|level| level.is_rtl());
                let mut pieces: Vec<Piece> = one_face_each(&text[run], faces)
                    .map(|(at, text)| shape(&faces[at], text, is_rtl))
                    .collect();
                if is_rtl {
                    pieces.reverse();
                }
                line.width += pieces.iter().map(|piece| piece.width).sum::<f32>();
                line.pieces.append(&mut pieces);
            }
        }
        line
    }
}

/// The text with what no font has spelled in Latin letters, and without what is never seen.
fn readable(text: &str, has: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_plain = |letter: char| !is_unseen(letter) && has(letter);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let (mut said, mut foreign) = (String::new(), String::new());
    let spell = |foreign: &mut String, said: &mut String| {
        if !foreign.is_empty() {
            said.push_str(deunicode::deunicode_with_tofu(foreign, "?").trim());
            foreign.clear();
        }
    };
    for letter in text.chars().filter(|letter| !is_unseen(*letter)) {
        if has(letter) {
            spell(&mut foreign, &mut said);
            said.push(letter);
        } else {
            foreign.push(letter);
        }
    }
    spell(&mut foreign, &mut said);
    Cow::Owned(said)
}

/// Controls, and what only tells how others are to be set: directions, joiners, variants.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e01ef}')
}

/// Cuts a text where the font changes. Marks stay with the letter before them if its font can.
fn one_face_each<'a>(
    text: &'a str,
    faces: &'a [Face],
) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let face = faces.iter().position(|face| face.has(first)).unwrap_or(0);
        let stays = |letter: char| {
            let wanted = faces.iter().position(|face| face.has(letter)).unwrap_or(0);
            let joins =
                letter == ' ' || unicode_bidi::bidi_class(letter) == unicode_bidi::BidiClass::NSM;
            wanted == face || (joins && faces[face].has(letter))
        };
        let end = rest
            .char_indices()
            .find(|(_, letter)| !stays(*letter))
            .map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end.max(first.len_utf8()));
        rest = after;
        Some((face, piece))
    })
}

fn shape(face: &Face, text: &str, is_rtl: bool) -> Piece {
    let mut buffer = UnicodeBuffer::new();
    buffer.push_str(text);
    buffer.guess_segment_properties();
    buffer.set_direction(if is_rtl { Direction::RightToLeft } else { Direction::LeftToRight });
    let plan = face.plan(buffer.direction(), buffer.script());
    let shaped = rustybuzz::shape_with_plan(&face.shaper, &plan, buffer);
    let em = f32::from(i16::try_from(face.shaper.units_per_em()).unwrap_or(1000));
    let (infos, positions) = (shaped.glyph_infos(), shaped.glyph_positions());
    let mut starts: Vec<usize> = infos.iter().map(|info| info.cluster as usize).collect();
    starts.sort_unstable();
    starts.dedup();
    #[expect(clippy::cast_precision_loss, reason = "an advance is a few thousand units")]
    let ems = |units: i32| units as f32 / em;
    let glyphs: Vec<_> = infos
        .iter()
        .zip(positions)
        .map(|(info, at)| {
            let start = info.cluster as usize;
            let end =
                starts.get(starts.partition_point(|s| *s <= start)).copied().unwrap_or(text.len());
            KrillaGlyph::new(
                GlyphId::new(info.glyph_id),
                ems(at.x_advance),
                ems(at.x_offset),
                ems(at.y_offset),
                ems(at.y_advance),
                start..end,
                None,
            )
        })
        .collect();
    let width = glyphs.iter().map(|glyph| glyph.x_advance).sum();
    Piece { font: face.font.clone(), text: text.to_owned(), glyphs, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_name_is_printed_in_its_own_letters_or_spelled_in_latin_ones() {
        //    name                     printed as             pieces
        check("Zoë Núñez",             "Zoë Núñez",            1);
        check("Łukasz Żółć",           "Łukasz Żółć",          1);
        check("Ελένη Παππά",           "Ελένη Παππά",          1);
        check("Юлія Ґрунь",            "Юлія Ґрунь",           1);
        check("Nguyễn Thị Ánh",        "Nguyễn Thị Ánh",       1);
        check("ليلى حداد",             "ليلى حداد",            1);
        check("Ana ليلى",              "Ana ليلى",             2);
        check("דנה כהן",               "דנה כהן",              1);
        check("王小明",                 "Wang Xiao Ming",       1);
        check("山田 太郎",              "Shan Tian Tai Lang",  1);
        check("A\u{202e}na\u{0}",      "Ana",                  1);
        check("",                      "",                     0);
    }

    #[track_caller]
    fn check(name: &str, printed: &str, pieces: usize) {
        let letters = Letters::load::<&Path>(&[]).unwrap();
        for weight in [Weight::Regular, Weight::Bold] {
            let line = letters.line(name, weight);
            let text: String = line.pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!((text.as_str(), line.pieces.len()), (printed, pieces), "{name}");
            let is_missing = |glyph: &KrillaGlyph| glyph.glyph_id.to_u32() == 0;
            let missing =
                line.pieces.iter().flat_map(|piece| &piece.glyphs).filter(|g| is_missing(g));
            assert_eq!(missing.count(), 0, "{name}: glyphs are missing");
        }
    }
}
