//! The map of a venue as a document that never changes under its address.

use bytes::Bytes;
use serde::Serialize as _;
use sha2::{Digest as _, Sha256};

use super::{Venue, hex};
use crate::squeeze::gzip;

/// A map as it is served: by content hash, for ever.
#[derive(Debug, Clone)]
pub struct MapDocument {
    /// Names the content.
    pub hash: String,
    /// The JSON text.
    pub plain: Bytes,
    /// The same, compressed.
    pub gzip: Bytes,
}

impl MapDocument {
    /// Writes the map down.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which no map of ours does.
    pub fn new(venue: &Venue) -> Result<Self, serde_json::Error> {
        let mut plain = Vec::new();
        venue.serialize(&mut serde_json::Serializer::new(&mut plain))?;
        let hash = hex(&Sha256::digest(&plain)[..16]);
        Ok(Self { hash, gzip: gzip(&plain), plain: plain.into() })
    }
}
