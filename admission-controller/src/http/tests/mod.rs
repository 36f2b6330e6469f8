//! Tells over HTTP, on a free port, what the controller answers whom.

mod claims;
mod doors;
mod rooms;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use admission_api::{
    Claim, ClaimOutcome, EndReason, EndRequest, Gap, Latency, Lease, LeaseRequest, LoadReport,
    OriginSeen, Reason, Renewal, RenewalOutcome, RoomTraffic, Stock, Suspicion, Sync, SyncReply,
};
use keys::{
    Front, Id128, Key, Keyring, Lane, Owner, Pass, Phase, Place, Risk, Role, Sealed, Timestamp,
    Validity,
};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::ControllerConfig;
use crate::start::{Controller, ControllerParts, start};

const EDGE: &str = "edge-token-0123456789";
const EDGE_2: &str = "edge-2-token-0123456789";
const OPERATOR: &str = "operator-token-0123456789";
const SECURITY: &str = "security-token-0123456789";
const FINAL: &str = "wc2026-final";
/// Longest wait for something that happens at the next control period.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A controller with one room, an edge's key, and somebody who talks to it.
struct Stage {
    addr: SocketAddr,
    directory: PathBuf,
    /// What edges and controller sign with.
    keyring: Keyring,
    client: reqwest::Client,
    stop: watch::Sender<bool>,
    controller: Controller,
    room: String,
    origin: String,
}

/// The part of the room's configuration that tests change.
const OPEN: &str = "mode = \"auto\"\npace = { per_sec_min = 1.0, per_sec_max = 50.0, \
     per_sec_start = 20.0, latency_p95_ms = 250.0, db_cpu = 0.8 }";
/// As slow as it gets: the front opens two positions and then one in 1000 seconds.
const SLOW: &str = "mode = \"auto\"\npace = { per_sec_min = 0.0, per_sec_max = 0.001, \
     per_sec_start = 0.001, latency_p95_ms = 250.0, db_cpu = 0.8 }";

impl Stage {
    async fn with(room: &str) -> Self {
        Self::with_origin(room, "").await
    }

    async fn with_origin(room: &str, origin: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("admission-{}", Id128::random()));
        std::fs::create_dir_all(&directory).unwrap();
        let now = Timestamp::now().floor_to_secs();
        let validity = Validity {
            use_from: now.minus_secs(60),
            use_until: now.plus_secs(3600),
            valid_until: now.plus_secs(7200),
            revoked_at: None,
        };
        let keyring = Keyring::new([
            Key::generate(Role::Controller, "controller-1".parse().unwrap(), validity),
            Key::generate(Role::Edge, "edge-1".parse().unwrap(), validity),
        ]);
        keyring.save(&directory.join("keys.json")).unwrap();
        Self::start(directory, keyring, room.to_owned(), origin.to_owned()).await
    }

    async fn start(directory: PathBuf, keyring: Keyring, room: String, origin: String) -> Self {
        let text = format!(
            r#"
            listen = "127.0.0.1:0"
            name = "controller-1"
            data_dir = "{directory}/data"
            keyring = "{directory}/keys.json"
            tokens = [
                {{ name = "edge-1", role = "edge", token = "{EDGE}" }},
                {{ name = "edge-2", role = "edge", token = "{EDGE_2}" }},
                {{ name = "olga", role = "operator", token = "{OPERATOR}" }},
                {{ name = "sam", role = "security", token = "{SECURITY}" }},
            ]
            {origin}
            [[rooms]]
            event = "{FINAL}"
            title = "Final"
            guard = {{ paths = ["/"] }}
            {room}
            "#,
            directory = directory.display(),
        );
        let config = ControllerConfig::parse(&text, &directory).unwrap();
        let listener = std::net::TcpListener::bind(config.listen).unwrap();
        let (stop, shutdown) = watch::channel(false);
        let controller = start(config, ControllerParts { listener, shutdown }).await.unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.build().unwrap();
        let addr = controller.addr();
        Self { addr, directory, keyring, client, stop, controller, room, origin }
    }

    async fn restarted(self) -> Self {
        let Self { directory, keyring, stop, controller, room, origin, .. } = self;
        stop.send(true).unwrap();
        controller.stopped().await;
        Self::start(directory, keyring, room, origin).await
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(1), self.controller.stopped()).await.unwrap();
        std::fs::remove_dir_all(self.directory).unwrap();
    }

    fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("http://{}{path}", self.addr));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path, token)).await
    }

    async fn post(&self, path: &str, token: &str, body: &impl Serialize) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path, token).json(body)).await
    }

    /// As an edge; the answer is of the type that the contract names.
    async fn edge<T: serde::de::DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        let (status, value) = self.post(path, EDGE, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        serde_json::from_value(value).unwrap()
    }

    async fn lease(&self, lane: Lane, count: u64) -> Lease {
        let request = LeaseRequest { edge: edge(), event: FINAL.parse().unwrap(), lane, count };
        self.edge("/edge/v1/lease", &request).await
    }

    fn place(&self, lease: &Lease, lane: Lane, num: u64, sub: Id128) -> Sealed<Place> {
        let now = Timestamp::now();
        let place = Place {
            iss: edge(),
            aud: FINAL.parse().unwrap(),
            sub,
            lane,
            num,
            iat: now.floor_to_secs(),
            exp: now.plus_secs(3600),
            line: lease.line,
            fpr: "x".into(),
            back: None,
            moves: 0,
        };
        self.keyring.seal(&place, now).unwrap()
    }

    async fn claim(&self, place: &Sealed<Place>) -> ClaimOutcome {
        let claim = Claim { edge: edge(), place: place.clone(), score: 50, reasons: Vec::new() };
        self.edge("/edge/v1/claim", &claim).await
    }

    /// A visitor who is let in at once.
    async fn admitted(&self) -> Sealed<Pass> {
        let lease = self.lease(Lane::Standard, 1).await;
        let place = self.place(&lease, Lane::Standard, lease.first, Id128::random());
        self.eventually(async || match self.claim(&place).await {
            ClaimOutcome::Admitted { pass, .. } => Some(pass),
            _ => None,
        })
        .await
    }

    async fn sync(&self, sync: &Sync) -> SyncReply {
        self.edge("/edge/v1/sync", sync).await
    }

    async fn room(&self) -> Value {
        let (_, rooms) = self.get("/api/v1/rooms", OPERATOR).await;
        rooms["rooms"][0].clone()
    }

    async fn front(&self) -> Front {
        let (status, value) = self.get(&format!("/api/v1/rooms/{FINAL}/front"), "").await;
        assert_eq!(status, StatusCode::OK);
        let signed: Sealed<Front> = serde_json::from_value(value["signed"].clone()).unwrap();
        let event = FINAL.parse().unwrap();
        self.keyring.open(&signed, &event, Timestamp::now()).unwrap().into_inner()
    }

    /// Looks until there is something to see.
    async fn eventually<T>(&self, look: impl AsyncFn() -> Option<T>) -> T {
        let look_on = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                if let Some(seen) = look().await {
                    return seen;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look_on).await.unwrap()
    }

    /// A visitor with a number that was reached; the place and the pass.
    async fn admitted_with(&self, num: u64) -> (Sealed<Place>, Sealed<Pass>) {
        let lease = self.lease(Lane::Standard, 1).await;
        let place = self.place(&lease, Lane::Standard, num, Id128::random());
        let pass = self.eventually(async || match self.claim(&place).await {
            ClaimOutcome::Admitted { pass, .. } => Some(pass),
            ClaimOutcome::NotYet { .. } => None,
            other => panic!("{other:?}"),
        });
        (place.clone(), pass.await)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let kind = response.headers().get("content-type").cloned();
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(kind.unwrap(), "application/problem+json", "{status}");
    }
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn edge() -> Owner {
    "edge-1".parse().unwrap()
}

fn sync(seq: u64) -> Sync {
    Sync {
        edge: edge(),
        seq,
        session: Id128::from_bytes([1; 16]),
        gaps: Vec::new(),
        suspicions: Vec::new(),
        origin: OriginSeen::default(),
        rooms: Vec::new(),
        revoked_after: 0,
        held: None,
    }
}
