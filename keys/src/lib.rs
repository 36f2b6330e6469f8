//! Signed statements: who may sign which, how they are written, and why one is refused.
//!
//! A statement is a compact JWS (RFC 7515) with `alg` EdDSA over Ed25519 (RFC 8037). Four kinds
//! exist: a [`Place`] (signed by an edge), a [`Pass`] and a [`Front`] (signed by the controller)
//! and a [`Ticket`] (signed by the origin). Text from outside is a [`Sealed`]; only
//! [`Keyring::open`] turns it into a [`Verified`], and whoever needs a checked statement asks
//! for that type.

mod draw;
mod fields;
mod file;
mod jws;
mod keyring;
mod sealed;
mod secret;
mod statement;
mod time;

pub use draw::{Beacon, Draw, DrawError, Opened, Order, Seed, SeedFacts};
pub use fields::{EventId, FieldError, Id128, Lane, Owner, Risk, Slug};
pub use file::{Jwk, Jwks, KeyFileError};
pub use jws::Refusal;
pub use keyring::{Key, Keyring, Role, SKEW_SECS, SignError, Validity};
pub use sealed::{Sealed, Verified};
pub use secret::Secret;
pub use statement::{Front, LaneFront, Pass, Phase, Place, PollHint, Statement, StockBand, Ticket};
pub use time::Timestamp;
