//! How is a barcode drawn? As a QR code with its quiet zone: SVG, PNG, or dark rectangles for paper.

use fast_qr::convert::Builder as _;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder, QRCode};

use super::TicketError;

/// White modules around the code; less, and some scanners do not find it (ISO/IEC 18004).
const QUIET: usize = 4;
/// Pixels a module in a PNG: prints at 300 dpi with 0.7 mm a module.
const PNG_SCALE: usize = 8;

/// A barcode as modules, dark and light.
#[derive(Debug, Clone)]
pub struct Code(QRCode);

/// Dark modules next to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dark {
    /// Column of the first, counted with the quiet zone.
    pub x: usize,
    /// Row, counted with the quiet zone.
    pub y: usize,
    /// How many.
    pub len: usize,
}

impl Code {
    /// The code of a text.
    ///
    /// # Errors
    /// If it is too long.
    pub fn new(text: &str) -> Result<Self, TicketError> {
        let too_long = |_| TicketError::TooLong { len_bytes: text.len() };
        Ok(Self(QRBuilder::new(text).ecl(ECL::M).build().map_err(too_long)?))
    }

    /// Modules along a side, quiet zone and all.
    #[must_use]
    pub fn side(&self) -> usize {
        self.0.size + 2 * QUIET
    }

    /// How much of a side is quiet zone before the first dark module.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a code has at most 185 modules a side")]
    pub fn quiet(&self) -> f32 {
        QUIET as f32 / self.side() as f32
    }

    /// The dark modules, row by row.
    #[must_use]
    pub fn dark(&self) -> Vec<Dark> {
        let mut runs: Vec<Dark> = Vec::new();
        for y in 0..self.0.size {
            for x in (0..self.0.size).filter(|x| self.0[y][*x].value()) {
                let (x, y) = (x + QUIET, y + QUIET);
                match runs.last_mut() {
                    Some(last) if last.y == y && last.x + last.len == x => last.len += 1,
                    _ => runs.push(Dark { x, y, len: 1 }),
                }
            }
        }
        runs
    }

    /// As an SVG image.
    #[must_use]
    pub fn svg(&self) -> String {
        SvgBuilder::default().margin(QUIET).to_str(&self.0)
    }

    /// As a PNG image of one bit a pixel.
    ///
    /// # Errors
    /// If it cannot be encoded, which no code of ours is too large for.
    pub fn png(&self) -> Result<Vec<u8>, TicketError> {
        let pixels = self.side() * PNG_SCALE;
        let row_bytes = pixels.div_ceil(8);
        let mut image = vec![0xff; row_bytes * pixels];
        for Dark { x, y, len } in self.dark() {
            for row in y * PNG_SCALE..(y + 1) * PNG_SCALE {
                for pixel in x * PNG_SCALE..(x + len) * PNG_SCALE {
                    image[row * row_bytes + pixel / 8] &= !(0x80 >> (pixel % 8));
                }
            }
        }
        let side = u32::try_from(pixels).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&image)?;
        writer.finish()?;
        Ok(bytes)
    }
}
