//! The edge's configuration: read once, checked at the door.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use keys::{Owner, Secret};
use serde::Deserialize;

use crate::client::Cidr;

/// Why a configuration was refused: the file, the key and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is no TOML, or a key is unknown, missing or of the wrong type.
    #[error("{path}: {source}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Names the line, the key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A value does not fit.
    #[error("{path}: {key} is not {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}

/// The whole configuration of one edge.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// This edge's name: the owner of its key and `iss` of its places.
    pub name: Owner,
    /// Where visitors are served.
    pub listen: SocketAddr,
    /// Where metrics and health are served.
    pub admin_listen: SocketAddr,
    /// Worker threads.
    #[serde(default = "default_threads")]
    pub threads: usize,
    /// Key file: this edge's signing key, the controllers' public keys.
    pub keyring: PathBuf,
    /// Where requests go.
    pub origin: OriginConfig,
    /// Who says who may enter.
    pub controller: ControllerConfig,
    /// Certificate and key, if the edge ends TLS.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Who is believed about a client's address.
    #[serde(default)]
    pub client: ClientConfig,
    /// Rate limits.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The frame of the pages.
    #[serde(default)]
    pub pages: PagesConfig,
    /// Country and network look-ups.
    #[serde(default)]
    pub geo: GeoConfig,
    /// Key of the hash that binds a place to a browser; the same at all edges. Without it, it is
    /// made from the key file, and changes with that.
    #[serde(default)]
    pub binding_secret: Option<Secret>,
}

/// `[origin]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginConfig {
    /// Its address.
    pub addr: SocketAddr,
    /// Name for TLS towards it; without it, plain HTTP.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// Longest wait for a connection, in milliseconds.
    #[serde(default = "default_connect_ms")]
    pub connect_ms_max: u64,
    /// Longest silence of the origin within a response, in seconds. Streams need a heartbeat
    /// shorter than this.
    #[serde(default = "default_read_secs")]
    pub read_secs_max: u64,
    /// Longest body of a request that no room has a limit for, in bytes.
    #[serde(default = "default_body_bytes")]
    pub body_bytes_max: u64,
}

/// `[controller]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerConfig {
    /// Its base URL.
    pub url: String,
    /// Base URLs of further controllers on the same store: asked in turn while one does not answer.
    #[serde(default)]
    pub other_urls: Vec<String>,
    /// Bearer token of the role `edge`.
    pub token: Secret,
}

/// `[tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// `[client]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<Cidr>,
}

/// `[limits]`: requests a minute. Each also allows a burst of a quarter of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests of visitors that have neither place nor pass, by network.
    pub new_per_minute: NonZeroU32,
    /// Requests with a valid place, by place: a page polls every few seconds.
    pub place_per_minute: NonZeroU32,
    /// Requests with a valid pass, by pass: a shop page loads a few dozen files.
    pub pass_per_minute: NonZeroU32,
    /// Requests for unguarded paths and shared documents, by network: whole offices share one.
    pub open_per_minute: NonZeroU32,
    /// Codes that are typed, right or wrong, by network: what keeps guessing slow.
    pub codes_per_minute: NonZeroU32,
    /// Longest request head, in bytes.
    pub head_bytes_max: usize,
    /// Longest time for a request head to arrive, in milliseconds.
    pub head_ms_max: u64,
    /// Longest pause between two requests of a connection, in seconds.
    pub idle_secs_max: u64,
    /// Most streams of the front at once; each holds a connection of about 12 KB.
    pub streams_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections of one network at once, unless it is one of `trusted_proxies`; a mobile
    /// carrier has thousands of visitors behind one address.
    pub connections_per_network_max: usize,
}

/// `[pages]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagesConfig {
    /// HTML file with slots, around every page of the edge; `edge-proxy/PAGE.md` describes it.
    #[serde(default)]
    pub template: Option<PathBuf>,
}

/// `[geo]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeoConfig {
    /// MaxMind DB file with countries.
    #[serde(default)]
    pub country: Option<PathBuf>,
    /// MaxMind DB file with autonomous systems.
    #[serde(default)]
    pub asn: Option<PathBuf>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let per_minute = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self {
            new_per_minute: per_minute(100),
            place_per_minute: per_minute(120),
            pass_per_minute: per_minute(600),
            open_per_minute: per_minute(3000),
            codes_per_minute: per_minute(20),
            head_bytes_max: 16 * 1024,
            head_ms_max: 10_000,
            idle_secs_max: 60,
            streams_max: 10_000,
            connections_max: 200_000,
            connections_per_network_max: 10_000,
        }
    }
}

fn default_threads() -> usize {
    2
}
fn default_connect_ms() -> u64 {
    2_000
}
fn default_read_secs() -> u64 {
    60
}
fn default_body_bytes() -> u64 {
    10 << 20
}

impl EdgeConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names the file, the key and what was expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        let mut config = Self::parse(&text, path)?;
        // Relative paths are taken from the file's folder, wherever the program is started.
        let folder = path.parent().unwrap_or(Path::new("."));
        let tls = config.tls.iter_mut().flat_map(|tls| [&mut tls.cert, &mut tls.key]);
        let geo = [&mut config.geo.country, &mut config.geo.asn].into_iter().flatten();
        let pages = config.pages.template.iter_mut();
        for file in tls.chain(geo).chain(pages).chain([&mut config.keyring]) {
            *file = folder.join(&file);
        }
        Ok(config)
    }

    /// Checks a text; `path` is only named in errors.
    ///
    /// # Errors
    /// Names the file, the key and what was expected.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|source| ConfigError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let refuse =
            |key, expected| Err(ConfigError::Value { path: path.to_owned(), key, expected });
        if !(1..=256).contains(&config.threads) {
            return refuse("threads", "between 1 and 256");
        }
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if !is_url(&config.controller.url) {
            return refuse("controller.url", "a URL with http:// or https://");
        }
        let others = &config.controller.other_urls;
        if others.len() > 15 || !others.iter().all(is_url) {
            return refuse("controller.other_urls", "a list of at most 15 such URLs");
        }
        if !(1..=600_000).contains(&config.origin.connect_ms_max) {
            return refuse("origin.connect_ms_max", "between 1 and 600000");
        }
        if !(1..=86_400).contains(&config.origin.read_secs_max) {
            return refuse("origin.read_secs_max", "between 1 and 86400");
        }
        if !(1024..=1 << 20).contains(&config.limits.head_bytes_max) {
            return refuse("limits.head_bytes_max", "between 1024 and 1048576");
        }
        if !(100..=600_000).contains(&config.limits.head_ms_max) {
            return refuse("limits.head_ms_max", "between 100 and 600000");
        }
        if !(1..=3600).contains(&config.limits.idle_secs_max) {
            return refuse("limits.idle_secs_max", "between 1 and 3600");
        }
        if config.limits.streams_max > 1_000_000 {
            return refuse("limits.streams_max", "at most 1000000");
        }
        if !(1..=10_000_000).contains(&config.limits.connections_max) {
            return refuse("limits.connections_max", "between 1 and 10000000");
        }
        if !(1..=config.limits.connections_max).contains(&config.limits.connections_per_network_max)
        {
            return refuse(
                "limits.connections_per_network_max",
                "at least 1, at most connections_max",
            );
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../config/edge-proxy.toml");

    #[test]
    fn the_sample_is_a_configuration() {
        let config = EdgeConfig::parse(SAMPLE, Path::new("config/edge-proxy.toml")).unwrap();
        assert_eq!(config.limits.new_per_minute.get(), 100);
        assert_eq!(format!("{:?}", config.controller.token), "***");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_does_not_fit_is_named() {
        //    replace                          by                                 named
        check("threads = 2",                   "threads = 0",                     "threads is not between 1 and 256");
        check("threads = 2",                   "thread = 2",                      "unknown field `thread`");
        check("name = \"edge-1\"",             "name = \"Edge 1\"",               "owner \"Edge 1\" is not");
        check("http://127.0.0.1:7001",         "ftp://x",                         "controller.url is not a URL");
        check("# other_urls = [\"http://127.0.0.1:7011\"]", "other_urls = [\"7011\"]",     "controller.other_urls is not a list");
        check("127.0.0.1:7002",                "nowhere",                         "invalid socket address");
        check("new_per_minute = 100",          "new_per_minute = 0",              "nonzero");
        check("\"127.0.0.1/32\"",              "\"localhost\"",                   "is not an address range");
        check("change-me-edge-1-token",        "short",                           "16 to 256 printable");
        check("head_ms_max = 10000",           "head_ms_max = 1",                 "limits.head_ms_max is not between");
    }

    #[track_caller]
    fn check(from: &str, to: &str, named: &str) {
        assert!(SAMPLE.contains(from), "{from} is not in the sample");
        let text = SAMPLE.replacen(from, to, 1);
        let error = EdgeConfig::parse(&text, Path::new("edge.toml")).unwrap_err().to_string();
        assert!(error.contains("edge.toml") && error.contains(named), "{error}");
    }
}
