//! What the store keeps of a draw. Not a part of the room: edges get rooms before the opening, and
//! the secret must not reach them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Beacon, Draw, Opened};
use serde::{Deserialize, Serialize};

/// A draw that was announced.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawRecord {
    /// Revealed at the opening.
    pub secret: [u8; 32],
    /// What is mixed in.
    pub beacon: Beacon,
    /// Its value: given by an operator, or fixed at the opening.
    pub value: Option<Vec<u8>>,
    /// How many numbers of each lane are drawn among; fixed at the opening.
    pub counts: Option<[u64; 3]>,
}

impl DrawRecord {
    /// What everybody may know of it now.
    #[must_use]
    pub fn published(&self) -> Draw {
        let opened = self.counts.map(|counts| Opened {
            secret: URL_SAFE_NO_PAD.encode(self.secret),
            beacon: URL_SAFE_NO_PAD.encode(self.value.as_deref().unwrap_or_default()),
            counts,
        });
        Draw { opened, ..Draw::announced(&self.secret, self.beacon.clone()) }
    }
}

impl fmt::Debug for DrawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret: _, beacon, value, counts } = self;
        f.debug_struct("DrawRecord")
            .field("secret", &"***")
            .field("beacon", beacon)
            .field("value", value)
            .field("counts", counts)
            .finish()
    }
}

/// What became of a value that an operator gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It counts.
    Done,
    /// The draw was opened before.
    Opened,
    /// Another value was given before.
    Already,
    /// The beacon is of another kind.
    OtherKind,
    /// There is no draw.
    Missing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_shown_before_the_opening() {
        let record =
            DrawRecord { secret: [7; 32], beacon: Beacon::None, value: None, counts: None };
        assert!(format!("{record:?}").contains("***") && !format!("{record:?}").contains('7'));
        assert_eq!(record.published(), Draw::announced(&[7; 32], Beacon::None));
        let opened = DrawRecord { counts: Some([0, 9, 0]), ..record }.published();
        let order = opened.order(&"final".parse().unwrap(), 1, keys::Lane::Standard).unwrap();
        assert!((1..=9).contains(&order.position(1).unwrap()));
    }
}
