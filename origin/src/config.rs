//! What may be configured, and is it sound? Checked once; an error says file, key and what was
//! expected.

mod payment;
mod post;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use keys::{EventId, Owner, Secret};
use serde::Deserialize;

use crate::catalogue::Sources;
use crate::live::{Limits, Mode};
use crate::log::RowsMode;
use crate::pay::SandboxRules;
use crate::sale::{Rules, SEATS_PER_ORDER_LIMIT};
use crate::store::{HotOptions, POOL_DEFAULT, PostgresOptions};
use crate::ticket::MORE_FONTS_MAX;

pub use payment::{GatewaySetup, PaymentConfig, PricingConfig};
pub use post::PostConfig;

/// Most scanners' tokens: each is compared with.
const SCANNERS_MAX: usize = 100;

/// Replaying as many changes takes well under a second.
const SNAPSHOT_CHANGES: u64 = 20_000;
/// A lease is renewed three times in this time; a process that freezes is replaced after it.
const LEASE_MS: u64 = 3000;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file} cannot be read")]
    Io {
        /// Which.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not TOML, or not with our keys.
    #[error("{file} is not a configuration of the origin: {detail}")]
    Toml {
        /// Which file.
        file: String,
        /// Line, key and what was expected.
        detail: String,
    },
    /// A value does not fit.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// Which key, dotted.
        key: &'static str,
        /// What is there.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// Most organisers: a small office.
const ORGANISERS_MAX: usize = 64;

/// Who may change the catalogue, and their token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organiser {
    /// By which the audit trail names them.
    pub name: Owner,
    /// Their bearer token.
    pub token: Secret,
}

/// `[cluster]`: several processes share one PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where the others reach our internal listener, as `host:port`; no two processes have the same.
    pub advertise: String,
    /// How long a partition waits for a process that says nothing any more.
    pub lease: Duration,
}

/// The origin's configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OriginFile")]
pub struct OriginConfig {
    /// Where visitors are served.
    pub listen: SocketAddr,
    /// Where the controller and operators are served.
    pub internal_listen: SocketAddr,
    /// Where the log is kept.
    pub data_dir: PathBuf,
    /// The owner of our signing key.
    pub name: Owner,
    /// The key file: our own key with its secret, the controller's without.
    pub keyring: PathBuf,
    /// Bearer token of `/internal/v1/`.
    pub internal_token: Secret,
    /// Who may change the catalogue.
    pub organisers: Vec<Organiser>,
    /// Where events come from.
    pub sources: Sources,
    /// Which of them are on sale.
    pub on_sale: Vec<EventId>,
    /// The rules of the sale.
    pub rules: Rules,
    /// How many writers share the events.
    pub partitions: u32,
    /// The PostgreSQL that keeps it all; without it, SQLite in `data_dir` does.
    pub postgres: Option<PostgresOptions>,
    /// How partitions are shared with other processes, if there are any.
    pub cluster: Option<Cluster>,
    /// Where seats are marked that somebody is about to get; without it, nowhere.
    pub redis: Option<HotOptions>,
    /// Requests under way at once.
    pub in_flight_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// How many may follow the live maps.
    pub live: Limits,
    /// A level of the seat map that is kept whatever the load.
    pub pinned_mode: Option<Mode>,
    /// Whether a damaged last record of the log may be put aside at the start.
    pub may_cut_damaged_tail: bool,
    /// After how many changes a snapshot is taken.
    pub snapshot_changes: u64,
    /// More fonts for names on tickets, asked in this order after our own.
    pub fonts: Vec<PathBuf>,
    /// Who takes the money.
    pub payment: PaymentConfig,
    /// What is added to the prices of seats.
    pub pricing: PricingConfig,
    /// Who sends messages to buyers.
    pub post: PostConfig,
    /// Tokens of scanners, which open gates and nothing else.
    pub scanner_tokens: Vec<Secret>,
    /// How the built-in payment gateway behaves.
    pub sandbox: SandboxRules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginFile {
    listen: SocketAddr,
    internal_listen: SocketAddr,
    data_dir: PathBuf,
    name: Owner,
    keyring: PathBuf,
    internal_token: Secret,
    shop_url: Option<String>,
    #[serde(default)]
    scanner_tokens: Vec<Secret>,
    mail: Option<post::MailFile>,
    sms: Option<post::SmsFile>,
    #[serde(default)]
    organisers: Vec<Organiser>,
    #[serde(default)]
    catalogue: CatalogueFile,
    #[serde(default)]
    sale: SaleFile,
    #[serde(default)]
    log: LogFile,
    postgres: Option<PostgresFile>,
    cluster: Option<ClusterFile>,
    redis: Option<RedisFile>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    tickets: TicketsFile,
    #[serde(default)]
    live: LiveFile,
    #[serde(default)]
    payment: payment::PaymentFile,
    #[serde(default)]
    pricing: PricingConfig,
    #[serde(default)]
    sandbox: SandboxFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TicketsFile {
    fonts: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CatalogueFile {
    matches: Option<PathBuf>,
    stadiums: Option<PathBuf>,
    league_fixtures: bool,
    on_sale: Vec<EventId>,
}

impl Default for CatalogueFile {
    fn default() -> Self {
        let the_final = "wc2026-final".parse().into_iter().collect();
        Self { matches: None, stadiums: None, league_fixtures: false, on_sale: the_final }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SaleFile {
    hold_secs: u64,
    /// Half of `hold_secs`, unless set.
    extension_secs: Option<u64>,
    /// Twice `hold_secs`, unless set.
    hold_secs_max: Option<u64>,
    seats_per_order_max: u32,
    seats_per_visitor_max: u32,
    offer_secs: u64,
    waitlist_max: u32,
    partitions: u32,
}

impl Default for SaleFile {
    fn default() -> Self {
        let rules = Rules::default();
        Self {
            hold_secs: rules.hold.as_secs(),
            extension_secs: None,
            hold_secs_max: None,
            seats_per_order_max: rules.seats_per_order_max,
            seats_per_visitor_max: rules.seats_per_visitor_max,
            offer_secs: rules.offer.as_secs(),
            waitlist_max: rules.waitlist_max,
            partitions: 1,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostgresFile {
    url: Secret,
    ca_file: Option<PathBuf>,
    #[serde(default = "pool_default")]
    pool_max: usize,
    cores: Option<u32>,
    #[serde(default)]
    rows: RowsFile,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RowsFile {
    #[default]
    Strict,
    Fast,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisFile {
    url: Secret,
    #[serde(default = "redis_timeout_ms")]
    timeout_ms: u64,
}

/// What a refusal may cost more while Redis is slow.
const fn redis_timeout_ms() -> u64 {
    20
}

fn pool_default() -> usize {
    POOL_DEFAULT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    advertise: String,
    #[serde(default = "lease_default")]
    lease_ms: u64,
}

fn lease_default() -> u64 {
    LEASE_MS
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogFile {
    cut_damaged_tail: bool,
    snapshot_changes: u64,
}

impl Default for LogFile {
    fn default() -> Self {
        Self { cut_damaged_tail: false, snapshot_changes: SNAPSHOT_CHANGES }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    in_flight_max: usize,
    connections_max: usize,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self { in_flight_max: 4096, connections_max: 8192 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LiveFile {
    streams_max: usize,
    streams_per_event_max: usize,
    streams_per_visitor_max: u32,
    stream_secs_max: u64,
    pinned_mode: Option<Mode>,
}

impl Default for LiveFile {
    fn default() -> Self {
        Self {
            streams_max: 50_000,
            streams_per_event_max: 50_000,
            streams_per_visitor_max: 4,
            stream_secs_max: 300,
            pinned_mode: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SandboxFile {
    timeout_ms: u64,
    slow_ms: u64,
}

impl Default for SandboxFile {
    fn default() -> Self {
        Self { timeout_ms: 1500, slow_ms: 2000 }
    }
}

impl OriginConfig {
    /// The rules of one event.
    #[must_use]
    pub fn rules_of(&self, event: &EventId) -> Rules {
        self.pricing.rules_of(event, self.rules)
    }

    /// Reads a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// File, key and what was expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Io { file: file.clone(), source })?;
        let config = Self::from_toml(&text, &file)?;
        Ok(config.relative_to(path.parent().unwrap_or(Path::new("."))))
    }

    /// Reads a text; `file` names it in errors.
    ///
    /// # Errors
    /// File, key and what was expected.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Toml {
            file: file.to_owned(),
            detail: error.to_string().trim_end().to_owned(),
        })
    }

    /// The same with relative paths taken from `folder`.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        let sources = [&mut self.sources.matches, &mut self.sources.stadiums];
        let named = [&mut self.data_dir, &mut self.keyring];
        let ca_file = self.postgres.as_mut().and_then(|postgres| postgres.ca_file.as_mut());
        let mail_ca_file = self.post.mail.as_mut().and_then(|mail| mail.ca_file.as_mut());
        let named = named.into_iter().chain(ca_file).chain(mail_ca_file).chain(&mut self.fonts);
        for path in sources.into_iter().flatten().chain(named) {
            *path = folder.join(&path);
        }
        self
    }
}

impl TryFrom<OriginFile> for OriginConfig {
    type Error = ConfigError;

    fn try_from(file: OriginFile) -> Result<Self, ConfigError> {
        let OriginFile {
            catalogue,
            sale,
            log,
            limits,
            tickets,
            live,
            payment,
            pricing,
            sandbox,
            postgres,
            cluster,
            redis,
            ..
        } = file;
        let payment = PaymentConfig::try_from(payment)?;
        if !(1..=86_400).contains(&sale.hold_secs) {
            return refuse("sale.hold_secs", sale.hold_secs, "1 to 86400 seconds");
        }
        let extension_secs = sale.extension_secs.unwrap_or(sale.hold_secs / 2);
        if extension_secs > 86_400 {
            return refuse("sale.extension_secs", extension_secs, "at most 86400 seconds");
        }
        let hold_secs_max = sale.hold_secs_max.unwrap_or(2 * sale.hold_secs);
        if !(sale.hold_secs..=2 * 86_400).contains(&hold_secs_max) {
            let expected = "at least sale.hold_secs and at most 172800 seconds";
            return refuse("sale.hold_secs_max", hold_secs_max, expected);
        }
        if !(1..=86_400).contains(&sale.offer_secs) {
            return refuse("sale.offer_secs", sale.offer_secs, "1 to 86400 seconds");
        }
        if sale.waitlist_max > 100_000 {
            return refuse("sale.waitlist_max", sale.waitlist_max, "at most 100000 entries");
        }
        if !(1..=SEATS_PER_ORDER_LIMIT).contains(&sale.seats_per_order_max) {
            return refuse("sale.seats_per_order_max", sale.seats_per_order_max, "1 to 100 seats");
        }
        if !(sale.seats_per_order_max..=10_000).contains(&sale.seats_per_visitor_max) {
            let expected = "at least sale.seats_per_order_max and at most 10000 seats";
            return refuse("sale.seats_per_visitor_max", sale.seats_per_visitor_max, expected);
        }
        if !(1..=64).contains(&sale.partitions) {
            return refuse("sale.partitions", sale.partitions, "1 to 64");
        }
        if !(1..=1_000_000).contains(&limits.in_flight_max) {
            return refuse("limits.in_flight_max", limits.in_flight_max, "1 to 1000000 requests");
        }
        if !(1..=1_000_000).contains(&limits.connections_max) {
            return refuse("limits.connections_max", limits.connections_max, "1 to 1000000");
        }
        let post = post::checked(file.mail, file.sms, file.shop_url)?;
        if file.scanner_tokens.len() > SCANNERS_MAX {
            return refuse("scanner_tokens", file.scanner_tokens.len(), "at most 100");
        }
        if tickets.fonts.len() > MORE_FONTS_MAX {
            return refuse("tickets.fonts", tickets.fonts.len(), "at most 8 files");
        }
        if !(1..=1_000_000).contains(&live.streams_max) {
            return refuse("live.streams_max", live.streams_max, "1 to 1000000 streams");
        }
        if !(1..=live.streams_max).contains(&live.streams_per_event_max) {
            let expected = "at least 1 and at most live.streams_max";
            return refuse("live.streams_per_event_max", live.streams_per_event_max, expected);
        }
        if !(1..=1000).contains(&live.streams_per_visitor_max) {
            let found = live.streams_per_visitor_max;
            return refuse("live.streams_per_visitor_max", found, "1 to 1000 streams");
        }
        if !(1..=86_400).contains(&live.stream_secs_max) {
            return refuse("live.stream_secs_max", live.stream_secs_max, "1 to 86400 seconds");
        }
        if sandbox.timeout_ms > 60_000 {
            return refuse("sandbox.timeout_ms", sandbox.timeout_ms, "at most 60000");
        }
        if sandbox.slow_ms > 60_000 {
            return refuse("sandbox.slow_ms", sandbox.slow_ms, "at most 60000");
        }
        if !(1..=1_000_000).contains(&log.snapshot_changes) {
            return refuse("log.snapshot_changes", log.snapshot_changes, "1 to 1000000 changes");
        }
        if let Some(PostgresFile { pool_max, .. }) = &postgres
            && !(2..=1000).contains(pool_max)
        {
            return refuse("postgres.pool_max", pool_max, "2 to 1000 connections");
        }
        if let Some(PostgresFile { url, .. }) = &postgres
            && tokio_postgres::Config::from_str(url.expose()).is_err()
        {
            // The URL itself must not be told.
            return refuse("postgres.url", "***", "postgres://user:password@host/database");
        }
        if let Some(PostgresFile { cores: Some(0), .. }) = &postgres {
            return refuse("postgres.cores", 0, "1 or more, or nothing");
        }
        if let Some(RedisFile { timeout_ms, .. }) = &redis
            && !(1..=1000).contains(timeout_ms)
        {
            return refuse("redis.timeout_ms", timeout_ms, "1 to 1000 milliseconds");
        }
        if let Some(ClusterFile { advertise, lease_ms }) = &cluster {
            let port = advertise.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
            let is_addr = port.is_some_and(|port| port > 0)
                && format!("http://{advertise}/").parse::<axum::http::Uri>().is_ok();
            if !is_addr {
                let expected = "host:port, where the others reach internal_listen";
                return refuse("cluster.advertise", advertise, expected);
            }
            if !(500..=60_000).contains(lease_ms) {
                return refuse("cluster.lease_ms", lease_ms, "500 to 60000 milliseconds");
            }
            if postgres.is_none() {
                return refuse("postgres", "missing", "a [postgres] that the processes share");
            }
        }
        Ok(Self {
            postgres: postgres.map(|file| PostgresOptions {
                url: file.url,
                ca_file: file.ca_file,
                pool_max: file.pool_max,
                cores: file.cores,
                rows: match file.rows {
                    RowsFile::Strict => RowsMode::Strict,
                    RowsFile::Fast => RowsMode::Fast,
                },
            }),
            redis: redis.map(|file| HotOptions {
                url: file.url,
                timeout: Duration::from_millis(file.timeout_ms),
            }),
            cluster: cluster.map(|file| Cluster {
                advertise: file.advertise,
                lease: Duration::from_millis(file.lease_ms),
            }),
            listen: file.listen,
            internal_listen: file.internal_listen,
            data_dir: file.data_dir,
            name: file.name,
            keyring: file.keyring,
            internal_token: file.internal_token,
            organisers: checked_organisers(file.organisers)?,
            sources: Sources {
                matches: catalogue.matches,
                stadiums: catalogue.stadiums,
                with_leagues: catalogue.league_fixtures,
            },
            on_sale: catalogue.on_sale,
            rules: Rules {
                post: post.rules(),
                hold: Duration::from_secs(sale.hold_secs),
                seats_per_order_max: sale.seats_per_order_max,
                seats_per_visitor_max: sale.seats_per_visitor_max,
                extension: Duration::from_secs(extension_secs),
                hold_max: Duration::from_secs(hold_secs_max),
                offer: Duration::from_secs(sale.offer_secs),
                waitlist_max: sale.waitlist_max,
                best_only_until: None,
                is_offering: true,
                terms: pricing.terms,
                payment: payment.rules,
            },
            partitions: sale.partitions,
            in_flight_max: limits.in_flight_max,
            connections_max: limits.connections_max,
            live: Limits {
                streams_max: live.streams_max,
                per_event_max: live.streams_per_event_max,
                per_visitor_max: live.streams_per_visitor_max,
                life: Duration::from_secs(live.stream_secs_max),
            },
            pinned_mode: live.pinned_mode,
            may_cut_damaged_tail: log.cut_damaged_tail,
            snapshot_changes: log.snapshot_changes,
            fonts: tickets.fonts,
            post,
            scanner_tokens: file.scanner_tokens,
            payment,
            pricing,
            sandbox: SandboxRules {
                timeout: Duration::from_millis(sandbox.timeout_ms),
                slow: Duration::from_millis(sandbox.slow_ms),
            },
        })
    }
}

fn checked_organisers(organisers: Vec<Organiser>) -> Result<Vec<Organiser>, ConfigError> {
    if organisers.len() > ORGANISERS_MAX {
        return refuse("organisers", organisers.len(), "at most 64 of them");
    }
    for (at, organiser) in organisers.iter().enumerate() {
        let before = &organisers[..at];
        if before.iter().any(|other| other.name == organiser.name) {
            return refuse("organisers.name", &organiser.name, "a name that no other has");
        }
        if before.iter().any(|other| other.token == organiser.token) {
            return refuse("organisers.token", "used twice", "a token each");
        }
    }
    Ok(organisers)
}

fn refuse<T>(
    key: &'static str,
    found: impl std::fmt::Display,
    expected: &'static str,
) -> Result<T, ConfigError> {
    Err(ConfigError::Value { key, found: found.to_string(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../config/origin.toml");

    #[test]
    fn the_sample_is_sound_and_its_comments_tell_the_defaults() {
        let sample = OriginConfig::from_toml(SAMPLE, "config/origin.toml").unwrap();
        let uncommented: String = SAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let spelled_out = OriginConfig::from_toml(&uncommented, "config/origin.toml").unwrap();
        assert_eq!(sample, OriginConfig { sources: Sources::default(), ..spelled_out });
    }

    #[test]
    fn what_does_not_fit_is_refused_with_file_key_and_expectation() {
        check("listen = \"nowhere\"", &["listen"]);
        check("colour = 1", &["colour", "expected"]);
        check("internal_token = \"short\"", &["internal_token", "16"]);
        check("sale.hold_secs = 0", &["sale.hold_secs is 0", "1 to 86400"]);
        check("sale.seats_per_order_max = 9", &["seats_per_visitor_max is 8", "at least"]);
        check("sale.partitions = 0", &["sale.partitions is 0", "1 to 64"]);
        check("sandbox.timeout_ms = 99999", &["sandbox.timeout_ms", "60000"]);
        check("log.cut_damaged_tail = 1", &["cut_damaged_tail", "boolean"]);
        check("shop_url = \"ftp://x\"", &["shop_url is ftp://x", "https"]);
        check("sms.url = \"https://x\"", &["shop_url is not there"]);
        check("log.snapshot_changes = 0", &["log.snapshot_changes is 0"]);
        check("limits.in_flight_max = 0", &["limits.in_flight_max is 0"]);
        check("limits.connections_max = 0", &["limits.connections_max is 0"]);
        check("live.streams_max = 0", &["live.streams_max is 0", "1 to 1000000"]);
        check("live.streams_per_event_max = 50001", &["at most live.streams_max"]);
        check("live.stream_secs_max = 0", &["live.stream_secs_max is 0"]);
        check("live.pinned_mode = \"fast\"", &["pinned_mode", "slow-map"]);
        check("payment.timeout_ms = 9001", &["payment.timeout_ms is 9001", "10 to 9000"]);
        check("payment.give_up_after_secs = 9", &["give_up_after_secs is 9", "30 to 1200"]);
        check("payment.capture_after_secs = 86401", &["capture_after_secs", "86400"]);
        check("payment.gateways = []", &["payment.gateways is 0", "1 to 8"]);
        let twice = "payment.gateways = [{ kind = \"sandbox\", name = \"a\" }, \
                     { kind = \"sandbox\", name = \"a\" }]";
        check(twice, &["payment.gateways is a", "of its own"]);
        let short = "payment.gateways = [{ kind = \"stripe\", name = \"a\", secret_key = \"sk\" }]";
        check(short, &["16 to 256"]);
        check("pricing.search_currency = \"usd\"", &["usd", "ISO 4217"]);
        check("pricing.terms.currency = \"USD\"", &["unknown field", "currency"]);
        check("pricing.terms.tax_basis_points = 10001", &["tax_basis_points", "10000"]);
        check("sale.seats = 9", &["seats", "expected"]);
        let redis = "redis = { url = \"redis://127.0.0.1/\", timeout_ms = 0 }";
        check(redis, &["redis.timeout_ms is 0", "1 to 1000"]);
        check("postgres.url = \"mysql://sesame@host/sale\"", &["postgres.url is ***"]);
        check(
            "postgres = { url = \"postgres://host/sale\", rows = \"slow\" }",
            &["strict", "fast"],
        );
        check("postgres = { url = \"postgres://host/sale\", cores = 0 }", &["postgres.cores is 0"]);
        let shared = "postgres.url = \"postgres://host/database\"\ncluster.advertise";
        check(&format!("{shared} = \"host\""), &["cluster.advertise is host", "host:port"]);
        check(&format!("{shared} = \":80\""), &["cluster.advertise is :80", "host:port"]);
        let fast = "\ncluster.lease_ms = 10";
        check(&format!("{shared} = \"host:80\"{fast}"), &["cluster.lease_ms is 10", "500 to"]);
        check("cluster.advertise = \"host:80\"", &["postgres is missing"]);
        check("organisers = [{ name = \"ana\", token = \"short\" }]", &["organisers", "16"]);
        let twice = "{ name = \"ana\", token = \"0123456789abcdef\" }";
        check(&format!("organisers = [{twice}, {twice}]"), &["organisers.name", "no other"]);
        check("catalogue.on_sale = [\"No Slug\"]", &["on_sale", "a-z"]);
    }

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let base = "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\ndata_dir = \"d\"
            name = \"origin-1\"\nkeyring = \"k\"\ninternal_token = \"0123456789abcdef\"\n";
        let key = line.split(' ').next().unwrap();
        let kept = base.lines().filter(|l| !l.trim().starts_with(&format!("{key} ")));
        let text: String = kept.chain([line]).flat_map(|line| [line, "\n"]).collect();
        let error = OriginConfig::from_toml(&text, "origin.toml").unwrap_err().to_string();
        for part in expected.iter().chain(&["origin.toml"]) {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    #[test]
    fn the_token_is_never_printed() {
        let config = OriginConfig::from_toml(SAMPLE, "config/origin.toml").unwrap();
        let printed = format!("{config:?}");
        assert!(!printed.contains(config.internal_token.expose()), "{printed}");
    }
}
