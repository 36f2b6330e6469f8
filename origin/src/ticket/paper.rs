//! How does a ticket look on paper? One page of A4 each: the event above, the seat in the middle in
//! letters to be read at arm's length, the code below the fold.
//!
//! Nothing in it depends on when it is drawn, so the same ticket is the same file byte for byte.

use std::sync::Arc;

use krilla::color::rgb;
use krilla::geom::{Path, PathBuilder, Point, Rect, Transform};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, LinearGradient, SpreadMethod, Stop, Stroke, StrokeDash};
use krilla::surface::Surface;
use krilla::{Document, SerializeSettings};
use sha2::{Digest as _, Sha256};

use super::TicketError;
use super::code::{Code, Dark};
use super::letters::{Letters, Line, Weight};
use super::words::{Language, TicketWords, local};

/// A4, in points.
const PAGE: (f32, f32) = (595.0, 842.0);
const MARGIN: f32 = 48.0;
/// Height of the coloured head.
const HEAD: f32 = 268.0;
/// Where the sheet may be folded or torn.
const FOLD: f32 = 470.0;
/// Side of the code with its quiet zone: 7.4 cm.
const CODE: f32 = 210.0;
const INK: Color = Color([0x14, 0x17, 0x1f]);
const FAINT: Color = Color([0x66, 0x6d, 0x7a]);
const HAIR: Color = Color([0xd5, 0xd9, 0xe0]);
const WHITE: Color = Color([0xff, 0xff, 0xff]);

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Color([u8; 3]);

impl From<Color> for krilla::paint::Paint {
    fn from(Color([red, green, blue]): Color) -> Self {
        rgb::Color::new(red, green, blue).into()
    }
}

/// An event's colour, dark enough for white letters on it (WCAG AA), and a brighter end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accent {
    deep: Color,
    bright: Color,
}

const ACCENTS: [Accent; 8] = [
    accent([0x12, 0x24, 0x5c], [0x2f, 0x5b, 0xc7]),
    accent([0x0b, 0x3d, 0x3a], [0x12, 0x7c, 0x6e]),
    accent([0x4a, 0x12, 0x3f], [0xa0, 0x2f, 0x7d]),
    accent([0x5a, 0x1a, 0x12], [0xb8, 0x41, 0x2d]),
    accent([0x2d, 0x1b, 0x69], [0x6c, 0x49, 0xc9]),
    accent([0x1d, 0x3a, 0x16], [0x41, 0x7d, 0x2b]),
    accent([0x0c, 0x36, 0x52], [0x17, 0x78, 0xa8]),
    accent([0x4d, 0x2c, 0x08], [0x9b, 0x5f, 0x14]),
];

const fn accent(deep: [u8; 3], bright: [u8; 3]) -> Accent {
    Accent { deep: Color(deep), bright: Color(bright) }
}

impl Accent {
    /// The colour of an event: the same for all its tickets.
    #[must_use]
    pub fn of(event: &str) -> Self {
        ACCENTS[usize::from(Sha256::digest(event)[0]) % ACCENTS.len()]
    }
}

/// The event as it is printed.
#[derive(Debug, Clone)]
pub struct Occasion<'a> {
    /// Its name.
    pub title: &'a str,
    /// Which part of a whole it is; may be empty.
    pub stage: &'a str,
    /// Its beginning by the clocks there, RFC 3339.
    pub starts_at_local: &'a str,
    /// The house.
    pub venue: &'a str,
    /// The town.
    pub city: &'a str,
    /// Its colour.
    pub accent: Accent,
}

/// One ticket as it is printed.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// Where to enter, if the house says so.
    pub gate: Option<String>,
    /// The block.
    pub block: String,
    /// The row.
    pub row: String,
    /// The seat.
    pub seat: String,
    /// The price category's name and its colour on the map, `#rrggbb`.
    pub category: (String, String),
    /// In minor units.
    pub price: u64,
    /// The ticket's number.
    pub number: String,
    /// What the code says.
    pub barcode: String,
}

/// Tickets of one order.
#[derive(Debug, Clone)]
pub struct Booklet<'a> {
    /// For what.
    pub occasion: Occasion<'a>,
    /// In which words.
    pub language: Language,
    /// The order's number.
    pub order: &'a str,
    /// Who bought them.
    pub buyer: &'a str,
    /// ISO 4217.
    pub currency: &'a str,
    /// The tickets, in order.
    pub sheets: Vec<Sheet>,
}

impl Booklet<'_> {
    /// All tickets as one PDF, a page each.
    ///
    /// # Errors
    /// If a barcode is too long, or the file cannot be written.
    pub fn pdf(&self, letters: &Letters) -> Result<Vec<u8>, TicketError> {
        let mut document = Document::new_with(SerializeSettings::default());
        let title = format!("{} · {}", self.occasion.title, self.order);
        let metadata = Metadata::new().title(title).language(self.language.tag().to_owned());
        document.set_metadata(metadata.creator("Waiting Room".to_owned()));
        for (at, sheet) in self.sheets.iter().enumerate() {
            let code = Code::new(&sheet.barcode)?;
            let settings = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or(TicketError::Paper)?;
            let mut page = document.start_page_with(settings);
            let mut pen = Pen { surface: page.surface(), letters };
            self.head(&mut pen, at);
            self.seat(&mut pen, sheet);
            self.stub(&mut pen, sheet, &code);
        }
        document.finish().map_err(|_| TicketError::Paper)
    }

    fn words(&self) -> &'static TicketWords {
        self.language.ticket_words()
    }

    fn head(&self, pen: &mut Pen<'_>, at: usize) {
        let Occasion { title, stage, starts_at_local, venue, city, accent } = &self.occasion;
        pen.shade(Rect::from_xywh(0.0, 0.0, PAGE.0, HEAD), *accent);
        let (words, width) = (self.words(), PAGE.0 - 2.0 * MARGIN);
        let ticket = words.ticket.to_uppercase();
        pen.text((MARGIN, 54.0), 10.0, Weight::Bold, WHITE, &ticket);
        let count = format!("{} {} {}", at + 1, words.of, self.sheets.len());
        pen.text_to((PAGE.0 - MARGIN, 54.0), 10.0, Weight::Bold, WHITE, &count);
        let lines = pen.wrapped(title, Weight::Bold, width, &[36.0, 30.0, 24.0, 19.0], 2);
        let mut baseline = 128.0;
        if !stage.is_empty() {
            pen.fitted((MARGIN, 90.0), (13.0, width), Weight::Regular, WHITE, stage);
        }
        for (line, size) in lines {
            pen.line((MARGIN, baseline + 0.2 * (size - 36.0)), size, WHITE, &line);
            baseline += size * 1.18;
        }
        let below = 212.0;
        let (day, clock) = match local(starts_at_local) {
            Some(at) => (self.language.day(at), self.language.clock(at)),
            None => ((*starts_at_local).to_owned(), String::new()),
        };
        let when = format!("{day} · {clock}");
        let half = width * 0.52;
        pen.fitted((MARGIN, below), (14.0, half), Weight::Bold, WHITE, &when);
        pen.fitted((MARGIN, below + 18.0), (11.0, half), Weight::Regular, WHITE, words.local_time);
        let right = MARGIN + half + 20.0;
        pen.fitted((right, below), (14.0, width - half - 20.0), Weight::Bold, WHITE, venue);
        pen.fitted(
            (right, below + 18.0),
            (11.0, width - half - 20.0),
            Weight::Regular,
            WHITE,
            city,
        );
    }

    fn seat(&self, pen: &mut Pen<'_>, sheet: &Sheet) {
        let words = self.words();
        let gate = sheet.gate.as_deref().map(|gate| (words.gate, gate));
        let place = [
            (words.block, sheet.block.as_str()),
            (words.row, &sheet.row),
            (words.seat, &sheet.seat),
        ];
        // A place on a floor is in no row.
        let place = place.into_iter().filter(|(_, value)| !value.is_empty());
        let fields: Vec<_> = gate.into_iter().chain(place).collect();
        #[expect(clippy::cast_precision_loss, reason = "three or four columns")]
        let column = (PAGE.0 - 2.0 * MARGIN) / fields.len() as f32;
        let mut x = MARGIN;
        for (label, value) in fields {
            pen.text((x, HEAD + 52.0), 11.0, Weight::Regular, FAINT, label);
            pen.fitted((x, HEAD + 106.0), (54.0, column - 16.0), Weight::Bold, INK, value);
            x += column;
        }
        let chip = Rect::from_xywh(MARGIN, HEAD + 138.0, 14.0, 14.0);
        pen.fill(chip.and_then(rectangle), hex_color(&sheet.category.1).unwrap_or(FAINT));
        pen.fitted(
            (MARGIN + 22.0, HEAD + 150.0),
            (13.0, 200.0),
            Weight::Bold,
            INK,
            &sheet.category.0,
        );
        let price = self.language.money(sheet.price, self.currency);
        pen.text_to((PAGE.0 - MARGIN, HEAD + 150.0), 13.0, Weight::Bold, INK, &price);
        pen.text_to((PAGE.0 - MARGIN, HEAD + 134.0), 9.0, Weight::Regular, FAINT, words.price);
    }

    fn stub(&self, pen: &mut Pen<'_>, sheet: &Sheet, code: &Code) {
        let words = self.words();
        pen.dashed(FOLD);
        let top = FOLD + 36.0;
        // What is dark begins at the margin, as everything else does.
        pen.code(code, (MARGIN - code.quiet() * CODE, top));
        let x = MARGIN + CODE + 24.0;
        let width = PAGE.0 - MARGIN - x;
        let fields =
            [(words.name, self.buyer), (words.order, self.order), (words.number, &sheet.number)];
        let mut y = top + 26.0;
        for (label, value) in fields {
            pen.text((x, y), 9.5, Weight::Regular, FAINT, label);
            pen.fitted((x, y + 21.0), (17.0, width), Weight::Bold, INK, value);
            y += 52.0;
        }
        for (line, size) in pen.wrapped(words.show, Weight::Regular, width, &[10.5], 3) {
            pen.line((x, y), size, INK, &line);
            y += 15.0;
        }
        let mut y = PAGE.1 - 58.0;
        let lines = pen.wrapped(words.terms, Weight::Regular, PAGE.0 - 2.0 * MARGIN, &[9.0], 3);
        for (line, size) in lines {
            pen.line((MARGIN, y), size, FAINT, &line);
            y += 13.0;
        }
    }
}

/// A surface and the letters to write on it with.
struct Pen<'a> {
    surface: Surface<'a>,
    letters: &'a Letters,
}

impl Pen<'_> {
    fn shade(&mut self, area: Option<Rect>, accent: Accent) {
        let stop = |offset, Color([red, green, blue]): Color| Stop {
            offset,
            color: rgb::Color::new(red, green, blue).into(),
            opacity: NormalizedF32::ONE,
        };
        let gradient = LinearGradient {
            x1: 0.0,
            y1: HEAD,
            x2: PAGE.0,
            y2: 0.0,
            transform: Transform::identity(),
            spread_method: SpreadMethod::Pad,
            stops: vec![
                stop(NormalizedF32::ZERO, accent.deep),
                stop(NormalizedF32::ONE, accent.bright),
            ],
            anti_alias: false,
        };
        let fill = Fill { paint: gradient.into(), ..Fill::default() };
        if let Some(path) = area.and_then(rectangle) {
            self.surface.set_stroke(None);
            self.surface.set_fill(Some(fill));
            self.surface.draw_path(&path);
        }
    }

    fn fill(&mut self, path: Option<Path>, color: Color) {
        let Some(path) = path else { return };
        self.surface.set_stroke(None);
        self.surface.set_fill(Some(Fill { paint: color.into(), ..Fill::default() }));
        self.surface.draw_path(&path);
    }

    /// A dashed line with a notch at either edge.
    fn dashed(&mut self, y: f32) {
        let mut path = PathBuilder::new();
        path.move_to(MARGIN * 0.5, y);
        path.line_to(PAGE.0 - MARGIN * 0.5, y);
        let Some(path) = path.finish() else { return };
        let dash = StrokeDash { array: vec![1.0, 5.0], offset: 0.0 };
        self.surface.set_fill(None);
        self.surface.set_stroke(Some(Stroke {
            paint: FAINT.into(),
            width: 1.4,
            line_cap: krilla::paint::LineCap::Round,
            dash: Some(dash),
            ..Stroke::default()
        }));
        self.surface.draw_path(&path);
        for x in [0.0, PAGE.0] {
            self.fill(disc((x, y), 11.0), HAIR);
        }
    }

    fn code(&mut self, code: &Code, (x, y): (f32, f32)) {
        #[expect(clippy::cast_precision_loss, reason = "a code has at most 185 modules a side")]
        let pixels = |count: usize| count as f32;
        let module = CODE / pixels(code.side());
        // A stroke each, in whole modules: a third of what rectangles in points take to write.
        let mut path = PathBuilder::new();
        for Dark { x: column, y: row, len } in code.dark() {
            path.move_to(pixels(column), pixels(row));
            path.line_to(pixels(column + len), pixels(row));
        }
        let Some(path) = path.finish() else { return };
        let transform = Transform::from_row(module, 0.0, 0.0, module, x, y + module * 0.5);
        self.surface.push_transform(&transform);
        self.surface.set_fill(None);
        self.surface.set_stroke(Some(Stroke {
            paint: Color([0, 0, 0]).into(),
            // A hair higher than it is, so that no light shows between two rows.
            width: 1.02,
            ..Stroke::default()
        }));
        self.surface.draw_path(&path);
        self.surface.pop();
    }

    fn text(&mut self, at: (f32, f32), size: f32, weight: Weight, color: Color, text: &str) {
        let line = self.letters.line(text, weight);
        self.line(at, size, color, &line);
    }

    /// Ends where the other one begins.
    fn text_to(&mut self, (x, y): (f32, f32), size: f32, weight: Weight, color: Color, text: &str) {
        let line = self.letters.line(text, weight);
        self.line((x - line.width * size, y), size, color, &line);
    }

    /// As large as fits, down to half the size; what is longer still is cut.
    fn fitted(
        &mut self,
        at: (f32, f32),
        (size, width): (f32, f32),
        weight: Weight,
        color: Color,
        text: &str,
    ) {
        let line = self.letters.line(text, weight);
        let fits = (width / line.width.max(0.01)).min(size);
        if fits >= size * 0.5 {
            return self.line(at, fits, color, &line);
        }
        let line = self.cut(text, weight, width / (size * 0.5));
        self.line(at, size * 0.5, color, &line);
    }

    /// As much of a text as fits into `width` ems, and an ellipsis.
    fn cut(&self, text: &str, weight: Weight, width: f32) -> Arc<Line> {
        let letters: Vec<char> = text.chars().collect();
        let shortened = |len: usize| {
            let text: String = letters[..len].iter().collect();
            self.letters.line(&format!("{}…", text.trim_end()), weight)
        };
        let (mut fits, mut over) = (0, letters.len());
        while over - fits > 1 {
            let middle = usize::midpoint(fits, over);
            if shortened(middle).width <= width { fits = middle } else { over = middle }
        }
        shortened(fits)
    }

    /// Lines of a text in the largest of the sizes in which they are no more than `most`.
    fn wrapped(
        &self,
        text: &str,
        weight: Weight,
        width: f32,
        sizes: &[f32],
        most: usize,
    ) -> Vec<(Arc<Line>, f32)> {
        let mut last = Vec::new();
        for size in sizes {
            let lines = self.broken(text, weight, width / size);
            let fits = lines.len() <= most && lines.iter().all(|line| line.width * size <= width);
            last = lines.into_iter().map(|line| (line, *size)).collect();
            if fits {
                return last;
            }
        }
        last.truncate(most);
        last
    }

    /// A text in lines of at most `width` ems; a word that is longer is cut. Words are measured one
    /// by one, and only whole lines are shaped.
    fn broken(&self, text: &str, weight: Weight, width: f32) -> Vec<Arc<Line>> {
        let of = |text: &str| self.letters.line(text, weight).width;
        let space = of(" ");
        let mut lines = Vec::new();
        let (mut so_far, mut taken) = (String::new(), 0.0);
        for word in text.split_whitespace() {
            let more = of(word);
            if !so_far.is_empty() && taken + space + more > width {
                lines.push(self.letters.line(&so_far, weight));
                so_far.clear();
            }
            if so_far.is_empty() && more > width {
                lines.push(self.cut(word, weight, width));
                continue;
            }
            if so_far.is_empty() {
                taken = more;
            } else {
                so_far.push(' ');
                taken += space + more;
            }
            so_far.push_str(word);
        }
        if !so_far.is_empty() {
            lines.push(self.letters.line(&so_far, weight));
        }
        lines
    }

    fn line(&mut self, (x, y): (f32, f32), size: f32, color: Color, line: &Line) {
        self.surface.set_stroke(None);
        self.surface.set_fill(Some(Fill { paint: color.into(), ..Fill::default() }));
        let mut x = x;
        for piece in &line.pieces {
            let (font, start) = (piece.font.clone(), Point::from_xy(x, y));
            self.surface.draw_glyphs(start, &piece.glyphs, font, &piece.text, size, false);
            x += piece.width * size;
        }
    }
}

fn rectangle(rect: Rect) -> Option<Path> {
    let mut path = PathBuilder::new();
    path.push_rect(rect);
    path.finish()
}

fn disc((x, y): (f32, f32), radius: f32) -> Option<Path> {
    // Four arcs; the handles of a quarter circle.
    let handle = radius * 0.552_285;
    let mut path = PathBuilder::new();
    path.move_to(x + radius, y);
    path.cubic_to(x + radius, y + handle, x + handle, y + radius, x, y + radius);
    path.cubic_to(x - handle, y + radius, x - radius, y + handle, x - radius, y);
    path.cubic_to(x - radius, y - handle, x - handle, y - radius, x, y - radius);
    path.cubic_to(x + handle, y - radius, x + radius, y - handle, x + radius, y);
    path.close();
    path.finish()
}

fn hex_color(text: &str) -> Option<Color> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let part = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    Some(Color([part(0)?, part(2)?, part(4)?]))
}
