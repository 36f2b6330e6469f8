//! Recomputes a place's position in the draw from published values only.

use keys::{DrawError, Front, Keyring, Lane, Order, Refusal, Sealed, Timestamp};
use serde::Deserialize;

/// Why nothing could be computed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The document is not a front as edges serve it.
    #[error("the document is not a front as the edge serves it: {0}")]
    Document(#[from] serde_json::Error),
    /// The signature.
    #[error("the document's signature does not hold: {0}")]
    Signature(#[from] Refusal),
    /// The signed text says something else than the plain one.
    #[error("the document says something else than what was signed")]
    Differs,
    /// What was revealed does not fit what was announced.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// There is nothing to check yet.
    #[error("{0}")]
    Nothing(&'static str),
}

#[derive(Deserialize)]
struct Document {
    front: Front,
    signed: Sealed<Front>,
}

/// What was computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// How many were drawn among.
    pub count: u64,
    /// The position of the number.
    pub position: u64,
    /// Whether the signature was checked too.
    pub is_signed: bool,
}

/// Checks the commitment and computes the position of `num`; with a keyring, the signature too.
///
/// # Errors
/// If the document is none, does not hold, or has no opened draw.
pub fn verify_draw(
    document: &str,
    keyring: Option<&Keyring>,
    lane: Lane,
    num: u64,
) -> Result<Checked, VerifyError> {
    let Document { front, signed } = serde_json::from_str(document)?;
    if let Some(keyring) = keyring {
        // At the time it was made: a draw is checked long after its document has ended.
        let at = Timestamp::from_secs(front.iat.as_secs());
        if keyring.open(&signed, &front.aud, at)?.into_inner() != front {
            return Err(VerifyError::Differs);
        }
    }
    match front.order(lane)? {
        Order::ByNumber => Err(VerifyError::Nothing("this line has no draw: numbers are positions")),
        Order::Unknown => Err(VerifyError::Nothing("the draw has not been opened yet")),
        order @ Order::Drawn { count, .. } => {
            let position = order.position(num).unwrap_or_default();
            Ok(Checked { count, position, is_signed: keyring.is_some() })
        }
    }
}
