//! Moving a place from one device to another by a code that is good once.

use keys::{EventId, Owner, Place, Sealed, Timestamp};
use serde::{Deserialize, Serialize};

/// `POST /edge/v1/transfer`: a visitor wants a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// The edge.
    pub edge: Owner,
    /// The place as the visitor showed it.
    pub place: Sealed<Place>,
}

/// The answer to a [`TransferRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TransferOutcome {
    /// Here it is; a code that the visitor had before is good no more.
    Open {
        /// The code, as people type it.
        code: String,
        /// It is good until here.
        until: Timestamp,
    },
    /// The place was used, and the visit is over.
    Used,
    /// It was moved to another device already.
    Gone,
    /// It is no place of this line: see [`crate::ClaimOutcome::Refused`].
    Refused {
        /// Why.
        code: String,
    },
    /// As many codes are open as there may be.
    Full,
}

/// `POST /edge/v1/redeem`: a code was typed at another device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedeemRequest {
    /// The edge.
    pub edge: Owner,
    /// The event.
    pub event: EventId,
    /// The code.
    pub code: String,
    /// Tells who asks from others, and nothing else: whose answer was lost asks again.
    pub asker: String,
}

/// The answer to a [`RedeemRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RedeemOutcome {
    /// The device has the place now: for the edge to sign, bound to the new browser.
    Moved {
        /// What the new place says, but for issuer, time of issue and binding.
        place: Box<Place>,
        /// Whether the visitor is inside: then a claim answers with the pass.
        is_inside: bool,
    },
    /// There is no such code, it was used, or its time is over.
    Unknown,
}
