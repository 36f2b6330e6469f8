//! A folder that holds everything one process needs: configuration, keys, tokens and data. It is
//! made at the first start and found again at the next.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use admission_controller::{ControllerConfig, TokenRole};
use edge_proxy::EdgeConfig;
use keys::{Id128, Key, KeyFileError, Keyring, Owner, Role, Timestamp, Validity};
use origin::OriginConfig;

use crate::stack::StackConfig;

/// How long the demo's keys sign; a demo that is older is made anew.
const KEY_DAYS: u64 = 365;

/// Why the folder could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The edge's configuration.
    #[error(transparent)]
    Edge(#[from] edge_proxy::ConfigError),
    /// The controller's configuration.
    #[error(transparent)]
    Controller(#[from] admission_controller::ConfigError),
    /// The origin's configuration.
    #[error(transparent)]
    Origin(#[from] origin::ConfigError),
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Demo {
    dir: PathBuf,
}

impl Demo {
    /// Opens the folder, and makes what is missing in it. Services listen on `base_port` and the
    /// four ports after it; 0 means any free ones.
    ///
    /// # Errors
    /// If files cannot be written.
    pub fn open(dir: &Path, base_port: u16) -> Result<Self, DemoError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DemoError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let dir = dir.canonicalize().map_err(io(dir))?;
        let demo = Self { dir };
        demo.make_keys()?;
        let port = |offset: u16| if base_port == 0 { 0 } else { base_port.saturating_add(offset) };
        let token = || format!("{}{}", Id128::random(), Id128::random());
        let (edge_token, load_token) = (token(), token());
        let slots = [
            ("{dir}", demo.dir.display().to_string()),
            ("{edge_port}", port(0).to_string()),
            ("{controller_port}", port(1).to_string()),
            ("{origin_port}", port(2).to_string()),
            ("{internal_port}", port(3).to_string()),
            ("{admin_port}", port(4).to_string()),
            ("{edge_token}", edge_token),
            ("{load_token}", load_token),
            ("{operator_token}", token()),
            ("{organiser_token}", token()),
            ("{security_token}", token()),
            ("{binding_secret}", token()),
        ];
        // All three or none: their tokens belong together.
        if demo.config_paths().iter().any(|path| !path.exists()) {
            for (path, template) in demo.config_paths().iter().zip(TEMPLATES) {
                let text = slots
                    .iter()
                    .fold(template.to_owned(), |text, (slot, value)| text.replace(slot, value));
                write_private(path, &text).map_err(io(path))?;
            }
        }
        Ok(demo)
    }

    /// Reads the three configurations.
    ///
    /// # Errors
    /// If one of them does not fit; the error names file, key and what was expected.
    pub fn config(&self) -> Result<StackConfig, DemoError> {
        let [edge, controller, origin] = self.config_paths();
        Ok(StackConfig {
            edge: EdgeConfig::load(&edge)?,
            controller: ControllerConfig::load(&controller)?,
            origin: OriginConfig::load(&origin)?,
        })
    }

    fn config_paths(&self) -> [PathBuf; 3] {
        ["edge-proxy.toml", "admission-controller.toml", "origin.toml"]
            .map(|name| self.dir.join(name))
    }

    /// A key for each service, and for each what it needs to know of the others.
    fn make_keys(&self) -> Result<(), DemoError> {
        let path = |name: &str| self.dir.join(format!("{name}.keys.json"));
        let services = [
            ("edge-1", Role::Edge),
            ("controller-1", Role::Controller),
            ("origin-1", Role::Origin),
        ];
        if services.iter().all(|(name, _)| path(name).exists()) {
            return Ok(());
        }
        let now = Timestamp::now().floor_to_secs();
        let use_until = now.plus_secs(KEY_DAYS * 86_400);
        let validity =
            Validity { use_from: now, use_until, valid_until: use_until, revoked_at: None };
        let mut public = Keyring::default();
        let mut own = Vec::new();
        for (name, role) in services {
            let owner: Owner = name.parse().expect("our own names are slugs");
            let keyring = Keyring::new([Key::generate(role, owner, validity)]);
            for key in Keyring::from_jwks(keyring.public_jwks())?.keys() {
                public.add(key.clone());
            }
            own.push((name, keyring));
        }
        for (name, mut keyring) in own {
            for key in public.keys() {
                keyring.add(key.clone());
            }
            keyring.save(&path(name))?;
        }
        Ok(())
    }
}

/// The token of a role, for printing the address of its page.
#[must_use]
pub fn token_of(config: &ControllerConfig, role: TokenRole) -> Option<&str> {
    config.tokens.iter().find(|token| token.role == role).map(|token| token.token.expose())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

const TEMPLATES: [&str; 3] = [EDGE, CONTROLLER, ORIGIN];

const EDGE: &str = r#"# Made by `waiting-room up`; edit freely. All keys: config/edge-proxy.toml.
name = "edge-1"
listen = "127.0.0.1:{edge_port}"
admin_listen = "127.0.0.1:{admin_port}"
keyring = "{dir}/edge-1.keys.json"
binding_secret = "{binding_secret}"

[origin]
addr = "127.0.0.1:{origin_port}"

[controller]
url = "http://127.0.0.1:{controller_port}"
token = "{edge_token}"

[client]
# So that `loadtest drive --forwarded` can stand for a CDN.
trusted_proxies = ["127.0.0.1/32"]
"#;

const CONTROLLER: &str = r#"# Made by `waiting-room up`; edit freely. All keys: config/admission-controller.toml.
listen = "127.0.0.1:{controller_port}"
name = "controller-1"
data_dir = "{dir}/controller"
keyring = "{dir}/controller-1.keys.json"

[origin]
load_url = "http://127.0.0.1:{internal_port}"
token = "{load_token}"

[[tokens]]
name = "edge-1"
role = "edge"
token = "{edge_token}"

[[tokens]]
name = "operator"
role = "operator"
token = "{operator_token}"

[[tokens]]
name = "security"
role = "security"
token = "{security_token}"

[[rooms]]
event = "wc2026-final"
title = "World Cup 2026 – Final"
# In a demo everybody sees the waiting page; "auto" forms a line only when the origin is full.
mode = "on"
guard.paths = ["/events/wc2026-final", "/api/v1/events/wc2026-final"]
pace = { per_sec_min = 5.0, per_sec_max = 400.0, per_sec_start = 20.0, latency_p95_ms = 250.0, db_cpu = 0.8 }
"#;

const ORIGIN: &str = r#"# Made by `waiting-room up`; edit freely. All keys: config/origin.toml.
listen = "127.0.0.1:{origin_port}"
internal_listen = "127.0.0.1:{internal_port}"
name = "origin-1"
data_dir = "{dir}/origin"
keyring = "{dir}/origin-1.keys.json"
internal_token = "{load_token}"

[[organisers]]
name = "box-office"
token = "{organiser_token}"

[catalogue]
league_fixtures = true
on_sale = ["wc2026-final"]
"#;
