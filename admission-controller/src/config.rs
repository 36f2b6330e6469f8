//! The controller's configuration: one TOML file, checked once, at the door.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use admission_api::{RoomError, RoomSpec};
use keys::{Beacon, Owner, Secret};
use serde::Deserialize;

use crate::drand::Chain;

/// Why the configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("configuration {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind. The line itself is not shown: it may
    /// be the one with a token.
    #[error("configuration {path} does not fit in line {line}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The cause.
        source: Box<toml::de::Error>,
    },
    /// A value that does not fit.
    #[error("{key} is not {expected}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A room that does not fit.
    #[error("room {event} does not fit")]
    Room {
        /// The room.
        event: keys::EventId,
        /// The cause, with the key.
        source: RoomError,
    },
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Leases, claims, syncs.
    Edge,
    /// Rooms and pace.
    Operator,
    /// Suspicions.
    Security,
}

/// `[[tokens]]`: a bearer token and what it is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who uses it; appears in the log of decisions.
    pub name: String,
    /// What it may be used for.
    pub role: TokenRole,
    /// The token.
    pub token: Secret,
}

/// `[origin]`: where the origin tells its load.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginConfig {
    /// `http://` or `https://`; without a path, `/internal/v1/load` is meant.
    pub load_url: String,
    /// The bearer token it asks for.
    pub token: Secret,
}

impl OriginConfig {
    /// The full address of the report.
    #[must_use]
    pub fn full_url(&self) -> String {
        let after_scheme = self.load_url.split_once("://").map_or("", |(_, rest)| rest);
        match after_scheme.split_once('/') {
            Some((_, path)) if !path.is_empty() => self.load_url.clone(),
            Some(_) | None => format!("{}/internal/v1/load", self.load_url.trim_end_matches('/')),
        }
    }
}

/// `[drand]`: where the rounds of drand networks are published.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrandConfig {
    /// `http://` or `https://`, for example `https://api.drand.sh`.
    pub url: String,
    /// The networks whose rounds a draw may wait for: quicknet, unless others are named.
    #[serde(default = "quicknet")]
    pub chains: Vec<Chain>,
}

fn quicknet() -> Vec<Chain> {
    vec![Chain::quicknet()]
}

/// `[store]`: where rooms, numbers, fronts and claims are kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum StoreConfig {
    /// In a file in `data_dir`: one controller alone.
    #[default]
    Embedded,
    /// In Redis 7: as many controllers as you like, one of which moves the fronts.
    Redis {
        /// One address, or some nodes of a cluster; `rediss://` for TLS. After a failover it leads
        /// to the new primary.
        urls: Vec<RedisUrl>,
        /// Who must have signed the server's certificate, in PEM; absent: whom this machine
        /// believes.
        #[serde(default)]
        ca_file: Option<PathBuf>,
        /// So many replicas must have a number, claim, code or front before it counts. With 0, what
        /// a failover loses may be counted again.
        #[serde(default)]
        replicas_min: u32,
        /// Whether they are a cluster.
        #[serde(default)]
        cluster: bool,
        /// What all keys begin with: installations that share a server have different ones.
        #[serde(default = "default_prefix")]
        prefix: String,
    },
}

fn default_prefix() -> String {
    "waiting-room".to_owned()
}

/// A `redis://` or `rediss://` address. It may have a password in it, so it is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Takes any text; the start checks it.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The address.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Everything a controller is told at its start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerConfig {
    /// Where it listens, for edges and people.
    pub listen: SocketAddr,
    /// Its name: `iss` of the fronts and passes it signs.
    pub name: Owner,
    /// Where the embedded store keeps its file.
    pub data_dir: PathBuf,
    /// Which store it is.
    #[serde(default)]
    pub store: StoreConfig,
    /// Its key file: its own key with the secret half, and the public halves of the edges. Read
    /// again when it changes.
    pub keyring: PathBuf,
    /// Who may talk to it.
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// Whose load it watches; without it, the pace follows what edges see.
    #[serde(default)]
    pub origin: Option<OriginConfig>,
    /// Who is asked for rounds of drand; without it, no room may have one for a beacon.
    #[serde(default)]
    pub drand: Option<DrandConfig>,
    /// Rooms that exist from the start. What operators changed since the last start stays, unless
    /// the file changed too.
    #[serde(default)]
    pub rooms: Vec<RoomSpec>,
}

impl ControllerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first thing that does not fit: file, key, and what was expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(&text, path)?;
        // Relative paths are taken from the file's folder, wherever the program is started.
        let folder = path.parent().unwrap_or(Path::new("."));
        config.data_dir = folder.join(config.data_dir);
        config.keyring = folder.join(config.keyring);
        if let StoreConfig::Redis { ca_file: Some(ca_file), .. } = &mut config.store {
            *ca_file = folder.join(&ca_file);
        }
        Ok(config)
    }

    /// Reads and checks a text; `path` is for messages.
    ///
    /// # Errors
    /// As [`ControllerConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|source| refused(text, path, source))?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types alone do not say; done again at the start, for configurations that were
    /// put together by a program.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: String, expected| Err(ConfigError::Value { key, expected });
        for (index, token) in self.tokens.iter().enumerate() {
            if token.name.is_empty() || token.name.len() > 64 {
                return refuse(format!("tokens[{index}].name"), "1 to 64 bytes long");
            }
            if token.role == TokenRole::Edge && token.name.parse::<Owner>().is_err() {
                return refuse(
                    format!("tokens[{index}].name"),
                    "the name of the edge that shows it",
                );
            }
            if self.tokens[..index].iter().any(|other| other.token == token.token) {
                let expected = "a token of its own: each has one role";
                return refuse(format!("tokens[{index}].token"), expected);
            }
        }
        if let StoreConfig::Redis { urls, ca_file, replicas_min, cluster, prefix } = &self.store {
            let is_one = urls.len() == 1;
            if urls.is_empty() || urls.len() > 64 || !(is_one || *cluster) {
                return refuse("store.urls".to_owned(), "one address, or 1 to 64 of a cluster");
            }
            // What follows a # would turn the check of certificates off.
            let is_one = |url: &RedisUrl| {
                !url.expose().contains('#') && redis::Client::open(url.expose()).is_ok()
            };
            if !urls.iter().all(is_one) {
                let expected = "a list of redis:// or rediss:// addresses without #";
                return refuse("store.urls".to_owned(), expected);
            }
            let is_tls = |url: &RedisUrl| url.expose().starts_with("rediss://");
            if ca_file.is_some() && !urls.iter().all(is_tls) {
                return refuse("store.ca_file".to_owned(), "set only for rediss:// addresses");
            }
            if *replicas_min > 8 || (*replicas_min > 0 && *cluster) {
                return refuse("store.replicas_min".to_owned(), "0 to 8, and 0 for a cluster");
            }
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !(1..=40).contains(&prefix.len()) || !prefix.chars().all(is_plain) {
                let expected = "1 to 40 characters of a to z, 0 to 9 and -";
                return refuse("store.prefix".to_owned(), expected);
            }
        }
        if let Some(origin) = &self.origin {
            let is_http = ["http://", "https://"].iter().any(|s| origin.load_url.starts_with(s));
            if !is_http {
                return refuse("origin.load_url".to_owned(), "an http:// or https:// address");
            }
        }
        let is_http = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if self.drand.as_ref().is_some_and(|drand| !is_http(&drand.url)) {
            return refuse("drand.url".to_owned(), "an http:// or https:// address");
        }
        for (index, room) in self.rooms.iter().enumerate() {
            room.check()
                .and_then(|()| check_source(room, self.drand.as_ref()))
                .map_err(|source| ConfigError::Room { event: room.event.clone(), source })?;
            if self.rooms[..index].iter().any(|other| other.event == room.event) {
                return refuse(format!("rooms[{index}].event"), "an event of its own");
            }
        }
        Ok(())
    }
}

/// Whether somebody can be asked for the beacon of a room's draw, and nobody can know it before the
/// opening.
pub(crate) fn check_source(room: &RoomSpec, drand: Option<&DrandConfig>) -> Result<(), RoomError> {
    let refuse = |key, expected| Err(RoomError { key, expected });
    let Some(Beacon::Drand { chain, round }) = &room.draw else { return Ok(()) };
    let Some(drand) = drand else {
        return refuse("draw", "possible without [drand] in the configuration");
    };
    let Some(chain) = drand.chains.iter().find(|known| known.hash == *chain) else {
        return refuse("draw.chain", "the hash of one of drand.chains");
    };
    if room.opens_at.is_some_and(|opens_at| chain.takes_place_at(*round) <= opens_at) {
        return refuse("draw.round", "a round that takes place after opens_at");
    }
    Ok(())
}

/// What the parser says, without the text it says it about.
fn refused(text: &str, path: &Path, mut source: toml::de::Error) -> ConfigError {
    let at = source.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let is_token = text.lines().nth(line - 1).is_some_and(|line| line.contains("token"));
    if is_token && source.message().starts_with("invalid ") {
        // The parser repeats a value of the wrong type: a token without quotes, for example.
        let key = format!("{}, line {line}: token", path.display());
        return ConfigError::Value { key, expected: "a text of 16 to 256 printable characters" };
    }
    source.set_input(None);
    ConfigError::Toml { path: path.to_owned(), line, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../config/admission-controller.toml");

    #[test]
    fn the_sample_fits() {
        let config = ControllerConfig::parse(SAMPLE, Path::new("sample")).unwrap();
        assert_eq!(config.rooms[0].event.as_str(), "wc2026-final");
        assert!(config.origin.is_some());
        assert!(!format!("{config:?}").contains(config.tokens[0].token.expose()));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_draw_waits_for_a_round_that_nobody_can_know_at_the_opening() {
        let quicknet = Chain::quicknet();
        let taken = |round, secs| (quicknet.hash.clone(), round, quicknet.takes_place_at(round).plus_secs(secs));
        let (other, before) = ("8990".repeat(16), quicknet.takes_place_at(999));
        //              chain and round, opens_at                            refused for
        check_round(taken(1000, 0),                                          Some("draw.round"));
        check_round(taken(1000, 1),                                          Some("draw.round"));
        check_round(taken(u64::MAX, 0),                                      Some("draw.round")); // far, and no overflow
        check_round((other, 1000, before),                                   Some("draw.chain"));
        check_round((quicknet.hash.clone(), 1000, before),                   None);
    }

    #[track_caller]
    fn check_round(
        (chain, round, opens_at): (String, u64, keys::Timestamp),
        refused: Option<&str>,
    ) {
        let config = ControllerConfig::parse(SAMPLE, Path::new("controller.toml")).unwrap();
        let mut room = config.rooms[0].clone();
        room.opens_at = Some(opens_at);
        room.draw = Some(Beacon::Drand { chain, round });
        let drand: DrandConfig = toml::from_str("url = \"https://api.drand.sh\"").unwrap();
        let answer = check_source(&room, Some(&drand));
        assert_eq!(answer.err().map(|error| error.key), refused);
        assert_eq!(check_source(&room, None).unwrap_err().key, "draw");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_does_not_fit_is_named() {
        //    instead of                        this                               is named
        check("name = \"controller-1\"",        "nom = \"controller-1\"",          "unknown field `nom`");
        check("name = \"controller-1\"",        "name = \"Controller 1\"",         "owner");
        check("name = \"edge-1\"",              "name = \"Edge 1\"",               "tokens[0].name is not the name of the edge");
        check("role = \"operator\"",            "role = \"admin\"",                "unknown variant `admin`");
        check("change-me-operator-token",       "short",                           "16 to 256");
        check("change-me-operator-token",       "change-me-edge-1-token",          "tokens[1].token is not a token of its own");
        check("per_sec_max = 200.0",            "per_sec_max = 0.0",               "pace.per_sec_max is not above 0");
        check("mode = \"auto\"",                "draw = { source = \"none\" }",     "draw is not set only together with opens_at");
        check("# opens_at = 1764000000000",      "opens_at = 1764000000000\ndraw = { source = \"drand\", chain = \"8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce\", round = 7 } #", "draw is not possible without [drand]");
        check("kind = \"embedded\"",             "kind = \"file\"",                   "unknown variant `file`");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = []",       "store.urls is not one address");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = [\"redis://a\", \"redis://b\"]", "store.urls is not one address");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = [\"http://a\"]", "store.urls is not a list of redis:// or rediss://");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = [\"rediss://a/#insecure\"]", "store.urls is not a list of redis:// or rediss://");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = [\"redis://a\"]\nca_file = \"ca.pem\"", "store.ca_file is not set only for rediss://");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = [\"redis://a\"]\ncluster = true\nreplicas_min = 1", "store.replicas_min is not 0 to 8");
        check("kind = \"embedded\"",             "kind = \"redis\"\nurls = [\"redis://a\"]\nprefix = \"A\"", "store.prefix is not");
        check("load_url = \"http://",           "load_url = \"ftp://",             "origin.load_url is not an http:// or https:// address");
    }

    #[test]
    fn a_refused_token_is_not_shown() {
        let token = "change-me-operator-token";
        for refused in
            ["\"s3cret\"", "4711s3cret", "4711", "[\"s3cret\"]", "\"s3cret", "'s3cret\t'"]
        {
            let text = SAMPLE.replace(&format!("\"{token}\""), refused);
            let error = ControllerConfig::parse(&text, Path::new("sample")).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let said = format!("{error}: {cause:?} {error:?}");
            assert!(!said.contains("s3cret") && !said.contains("4711"), "{refused}: {said}");
            assert!(said.contains("line "), "{said}");
        }
    }

    #[track_caller]
    fn check(old: &str, new: &str, expected: &str) {
        assert!(SAMPLE.contains(old), "the sample has no {old}");
        let text = SAMPLE.replacen(old, new, 1);
        let error = ControllerConfig::parse(&text, Path::new("sample")).unwrap_err();
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said = format!("{said}: {error}");
            cause = error.source();
        }
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn an_address_without_path_means_the_report() {
        let full = |load_url: &str| {
            let token = Secret::try_from("0123456789abcdef".to_owned()).unwrap();
            OriginConfig { load_url: load_url.to_owned(), token }.full_url()
        };
        assert_eq!(full("http://o:1"), "http://o:1/internal/v1/load");
        assert_eq!(full("http://o:1/"), "http://o:1/internal/v1/load");
        assert_eq!(full("https://o/x/load"), "https://o/x/load");
    }
}
