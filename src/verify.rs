//! Recomputes a place's position in the draw from published values only.

use keys::{Beacon, Draw, DrawError, Front, Keyring, Lane, Order, Refusal, Sealed, Timestamp};
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
    /// What was announced: to be compared with what was noted before the opening.
    pub commitment: String,
    /// What was mixed in.
    pub beacon: Beacon,
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
        Order::ByNumber => {
            Err(VerifyError::Nothing("this line has no draw: numbers are positions"))
        }
        Order::Unknown => Err(VerifyError::Nothing("the draw has not been opened yet")),
        order @ Order::Drawn { count, .. } => {
            let position = order.position(num).unwrap_or_default();
            let Some(Draw { commitment, beacon, .. }) = front.draw else {
                return Err(VerifyError::Nothing("this line has no draw: numbers are positions"));
            };
            Ok(Checked { count, position, is_signed: keyring.is_some(), commitment, beacon })
        }
    }
}

#[cfg(test)]
mod tests {
    use keys::{Key, LaneFront, Opened, Phase, PollHint, Role, Validity};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn keyring() -> Keyring {
        let validity = Validity {
            use_from: NOW.minus_secs(60),
            use_until: NOW.plus_secs(3600),
            valid_until: NOW.plus_secs(7200),
            revoked_at: None,
        };
        Keyring::new([Key::generate(Role::Controller, "c".parse().unwrap(), validity)])
    }

    fn front(draw: Option<Draw>) -> Front {
        let entry = |lane| LaneFront { lane, f0: 0, pace_milli: 0, limit: 0, issued: 40 };
        Front {
            iss: "c".parse().unwrap(),
            aud: "e".parse().unwrap(),
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            epoch: 1,
            seq: 1,
            phase: Phase::Open,
            opens_at: None,
            t0: NOW,
            until: NOW.plus_secs(10),
            lanes: Lane::ALL.map(entry).to_vec(),
            reason: String::new(),
            draw,
            stock: None,
            poll: PollHint { near_secs: 1, far_secs: 15 },
            message: None,
        }
    }

    fn opened(secret: &str) -> Option<Draw> {
        let opened = Opened { secret: secret.into(), beacon: String::new(), counts: [0, 40, 0] };
        Some(Draw { opened: Some(opened), ..Draw::announced(b"secret", Beacon::None) })
    }

    fn document(front: &Front, signed: &Front, keyring: &Keyring) -> String {
        let signed = keyring.seal(signed, NOW).unwrap();
        json!({"front": front, "signed": signed}).to_string()
    }

    #[test]
    fn what_was_published_gives_every_position() {
        let (keyring, front) = (keyring(), front(opened("c2VjcmV0")));
        let text = document(&front, &front, &keyring);
        let position = |num| verify_draw(&text, Some(&keyring), Lane::Standard, num).unwrap();
        let mut all: Vec<u64> = (1..=40).map(|num| position(num).position).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=40).collect::<Vec<u64>>());
        let late = position(41);
        assert_eq!((late.count, late.position, late.is_signed), (40, 41, true));
        assert_eq!(late.beacon, Beacon::None);
        let unsigned = verify_draw(&text, None, Lane::Standard, 41).unwrap();
        assert_eq!(unsigned, Checked { is_signed: false, ..position(41) });
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_does_not_hold_is_refused() {
        let keyring = keyring();
        let good = front(opened("c2VjcmV0"));
        let tampered = front(opened("b3RoZXI"));
        let announced = front(Some(Draw::announced(b"secret", Beacon::None)));
        let other = Keyring::new([Key::generate(Role::Controller, "c".parse().unwrap(), Validity {
            use_from: NOW, use_until: NOW.plus_secs(1), valid_until: NOW.plus_secs(1), revoked_at: None,
        })]);
        let refused = |front: &Front, signed: &Front, known: &Keyring| {
            let text = document(front, signed, &keyring);
            verify_draw(&text, Some(known), Lane::Standard, 1).unwrap_err()
        };
        assert!(matches!(refused(&tampered, &tampered, &keyring), VerifyError::Draw(DrawError::Commitment)));
        assert!(matches!(refused(&good, &announced, &keyring), VerifyError::Differs));
        assert!(matches!(refused(&good, &good, &other), VerifyError::Signature(_)));
        assert!(matches!(refused(&announced, &announced, &keyring), VerifyError::Nothing(_)));
        assert!(matches!(refused(&front(None), &front(None), &keyring), VerifyError::Nothing(_)));
        let broken = verify_draw("{}", None, Lane::Standard, 1);
        assert!(matches!(broken, Err(VerifyError::Document(_))));
    }
}
