//! What does the buyer take home? A signed statement about one seat, as a code, as paper, and as
//! an entry for the calendar.
//!
//! Tickets are signed when they are shown, with the time of the sale: the same order gives the
//! same barcode for as long as the key does, and a rolled key gives a fresh one that lives longer.

mod calendar;
mod code;
mod letters;
mod paper;
mod words;

use keys::{EventId, Id128, Keyring, Owner, Sealed, SignError, Ticket, Timestamp};
use sha2::{Digest as _, Sha256};

pub use calendar::Entry;
pub use code::{Code, Dark};
pub use letters::{FontError, Letters, MORE_FONTS_MAX, Weight};
pub use paper::{Accent, Booklet, Occasion, Sheet};
pub use words::{Language, local};

/// A ticket is valid until this long after kick-off, in seconds: extra time, penalties, a delay.
const EVENT_SECS: u64 = 12 * 3600;

/// Why there is no ticket.
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
    /// The image cannot be written.
    #[error("the QR code cannot be written as an image")]
    Image(#[from] png::EncodingError),
    /// The paper cannot be written.
    #[error("the ticket cannot be written as PDF")]
    Paper,
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

/// The number of an order or ticket for people to read out: twelve characters that tell nothing
/// of the id, for an order's id opens the order.
#[must_use]
pub fn number(id: Id128) -> String {
    // Without I, L, O and U, which are misread or misheard.
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digest = Sha256::new().chain_update(b"number").chain_update(id.to_string()).finalize();
    let mut number = String::with_capacity(14);
    for (at, byte) in digest.iter().take(12).enumerate() {
        if at > 0 && at % 4 == 0 {
            number.push('-');
        }
        number.push(char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
    }
    number
}

#[cfg(test)]
mod tests;
