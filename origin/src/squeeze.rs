//! Compresses what is served often, once.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// `plain` as gzip. Writing to memory does not fail; if it did, the text would be empty and the
/// plain one is served.
#[must_use]
pub fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let squeezed = encoder.write_all(plain).and_then(|()| encoder.finish());
    squeezed.unwrap_or_default().into()
}
