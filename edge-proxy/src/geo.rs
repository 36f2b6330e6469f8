//! Country and autonomous system of an address, from the operator's files. Without files, and for
//! unknown addresses, nothing is known.

use std::net::IpAddr;
use std::path::PathBuf;

use maxminddb::{Reader, path};

use crate::config::GeoConfig;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: not a MaxMind DB file that can be read")]
pub struct GeoError {
    path: PathBuf,
    source: maxminddb::MaxMindDbError,
}

/// The opened files.
#[derive(Debug, Default)]
pub struct Geo {
    country: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
}

impl Geo {
    /// Opens the configured files.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn open(config: &GeoConfig) -> Result<Self, GeoError> {
        let open = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| {
                    Reader::open_readfile(path)
                        .map_err(|source| GeoError { path: path.clone(), source })
                })
                .transpose()
        };
        Ok(Self { country: open(&config.country)?, asn: open(&config.asn)? })
    }

    /// ISO country code.
    #[must_use]
    pub fn country(&self, addr: IpAddr) -> Option<String> {
        let found = self.country.as_ref()?.lookup(addr).ok()?;
        let nested = found.decode_path(&path!["country", "iso_code"]).ok().flatten();
        // Some files in this format keep the code at the top.
        nested.or_else(|| found.decode_path(&path!["country_code"]).ok().flatten())
    }

    /// Number and name of the autonomous system, for example `AS3320 Deutsche Telekom AG`.
    #[must_use]
    pub fn asn(&self, addr: IpAddr) -> Option<String> {
        let found = self.asn.as_ref()?.lookup(addr).ok()?;
        let number: u32 = found.decode_path(&path!["autonomous_system_number"]).ok().flatten()?;
        let name: Option<&str> =
            found.decode_path(&path!["autonomous_system_organization"]).ok().flatten();
        Some(name.map_or_else(|| format!("AS{number}"), |name| format!("AS{number} {name}")))
    }
}
