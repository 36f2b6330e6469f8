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
        let hash = hex(&Sha256::digest(&plain));
        Ok(Self { hash, gzip: gzip(&plain), plain: plain.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_house_takes_less_than_half_a_megabyte_on_the_way() {
        let venue = Venue::bowl(94_000).unwrap();
        let map = MapDocument::new(&venue).unwrap();
        assert!(map.gzip.len() < 500_000, "{} of {}", map.gzip.len(), map.plain.len());
        assert_eq!(MapDocument::new(&venue).unwrap().hash, map.hash);
    }
}
