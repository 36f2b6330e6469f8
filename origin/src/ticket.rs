//! What does the buyer take home? A signed statement about one seat, and its QR code.
//!
//! Tickets are signed when they are shown, with the time of the sale: the same order gives the
//! same barcode for as long as the key does, and a rolled key gives a fresh one that lives longer.

use fast_qr::convert::Builder as _;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder};
use keys::{EventId, Id128, Keyring, Owner, Sealed, SignError, Ticket, Timestamp};

/// A ticket is valid until this long after kick-off, in seconds: extra time, penalties, a delay.
const EVENT_SECS: u64 = 12 * 3600;

/// Why there is no QR code.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// The barcode cannot be signed.
    #[error("the ticket cannot be signed")]
    Sign(#[from] SignError),
    /// It does not fit into a QR code.
    #[error("a barcode of {len_bytes} bytes does not fit into a QR code")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
}

/// What a ticket says.
#[derive(Debug, Clone)]
pub struct TicketFacts<'a> {
    /// Who issues it.
    pub issuer: &'a Owner,
    /// For which event.
    pub event: &'a EventId,
    /// Kick-off.
    pub starts_at: Timestamp,
    /// Its id.
    pub ticket: Id128,
    /// The seat as printed.
    pub seat: String,
    /// When it was sold.
    pub sold_at: Timestamp,
}

/// Signs a ticket.
///
/// # Errors
/// If no key of the issuer may sign now.
pub fn barcode(
    keyring: &Keyring,
    facts: &TicketFacts<'_>,
    now: Timestamp,
) -> Result<Sealed<Ticket>, TicketError> {
    let iat = facts.sold_at.floor_to_secs();
    // Events of the past can be sold in a test; their tickets hold for a day from the sale.
    let exp = facts.starts_at.plus_secs(EVENT_SECS).max(iat.plus_secs(24 * 3600));
    let claims = Ticket {
        iss: facts.issuer.clone(),
        aud: facts.event.clone(),
        sub: facts.ticket,
        seat: facts.seat.clone(),
        iat,
        exp,
    };
    Ok(keyring.seal(&claims, now)?)
}

/// A barcode as an SVG image.
///
/// # Errors
/// If it is too long.
pub fn qr_svg(barcode: &str) -> Result<String, TicketError> {
    let too_long = |_| TicketError::TooLong { len_bytes: barcode.len() };
    let code = QRBuilder::new(barcode).ecl(ECL::M).build().map_err(too_long)?;
    Ok(SvgBuilder::default().margin(4).to_str(&code))
}
