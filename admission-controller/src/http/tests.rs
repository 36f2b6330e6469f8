//! Tells over HTTP, on a free port, what the controller answers whom.

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

#[tokio::test]
async fn each_role_opens_its_own_doors_only() {
    let stage = Stage::with(OPEN).await;
    let doors = [
        (Method::POST, "/edge/v1/lease", EDGE),
        (Method::POST, "/edge/v1/sync", EDGE),
        (Method::POST, "/edge/v1/claim", EDGE),
        (Method::POST, "/edge/v1/renew", EDGE),
        (Method::POST, "/edge/v1/end", EDGE),
        (Method::GET, "/api/v1/rooms", OPERATOR),
        (Method::PUT, "/api/v1/rooms/other", OPERATOR),
        (Method::DELETE, "/api/v1/rooms/other", OPERATOR),
        (Method::GET, "/api/v1/rooms/wc2026-final/state", OPERATOR),
        (Method::GET, "/api/v1/rooms/wc2026-final/decisions", OPERATOR),
        (Method::POST, "/api/v1/rooms/wc2026-final/pause", OPERATOR),
        (Method::POST, "/api/v1/rooms/wc2026-final/resume", OPERATOR),
        (Method::POST, "/api/v1/rooms/wc2026-final/pace", OPERATOR),
        (Method::GET, "/api/v1/suspicions", SECURITY),
        (Method::POST, "/api/v1/suspicions/wc2026-final/AAAA/restore", SECURITY),
    ];
    for (method, path, role) in doors {
        for token in ["", "wrong-token-0123456789", EDGE, OPERATOR, SECURITY] {
            let (status, problem) = answer(stage.request(method.clone(), path, token)).await;
            let is_refused = matches!(status.as_u16(), 401 | 403);
            assert_eq!(is_refused, token != role, "{method} {path} with {token}: {problem}");
            if is_refused {
                let is_known = [EDGE, OPERATOR, SECURITY].contains(&token);
                assert_eq!(problem["code"], if is_known { "wrong-role" } else { "token-required" });
            }
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_code() {
    let stage = Stage::with(OPEN).await;
    let request = |method, path, token| stage.request(method, path, token);
    let long = vec![b' '; 80 << 10];
    let json = |request: reqwest::RequestBuilder, body: &str| {
        request.header("content-type", "application/json").body(body.to_owned())
    };
    let room = "/api/v1/rooms/wc2026-final";
    let pace = "/api/v1/rooms/wc2026-final/pace";
    let cases = [
        (request(Method::GET, "/nowhere", ""), 404, "not-found"),
        (request(Method::DELETE, "/health", ""), 405, "method-not-allowed"),
        (request(Method::GET, "/edge/v1/lease", EDGE), 405, "method-not-allowed"),
        (request(Method::POST, "/edge/v1/lease", EDGE).body("{}"), 415, "unsupported-media-type"),
        (json(request(Method::POST, "/edge/v1/lease", EDGE), "{"), 400, "malformed-body"),
        (json(request(Method::POST, "/edge/v1/lease", EDGE), "{}"), 422, "unexpected-body"),
        (
            json(request(Method::POST, "/edge/v1/lease", EDGE), &String::from_utf8(long).unwrap()),
            413,
            "body-too-large",
        ),
        (request(Method::GET, "/api/v1/rooms/Nowhere/state", OPERATOR), 404, "unknown-room"),
        (request(Method::POST, "/api/v1/rooms/nowhere/pause", OPERATOR), 404, "unknown-room"),
        (json(request(Method::PUT, room, OPERATOR), "{}"), 422, "unexpected-body"),
        (json(request(Method::POST, pace, OPERATOR), "{}"), 422, "no-change"),
        (json(request(Method::POST, pace, OPERATOR), r#"{"per_sec_max":0}"#), 422, "room-refused"),
        (request(Method::GET, "/api/v1/suspicions?after=x", SECURITY), 400, "malformed-query"),
        (
            json(
                request(
                    Method::POST,
                    "/api/v1/suspicions/wc2026-final/AAAAAAAAAAAAAAAAAAAAAA/restore",
                    SECURITY,
                ),
                r#"{"why":"x"}"#,
            ),
            404,
            "unknown-suspicion",
        ),
    ];
    for (request, status, code) in cases {
        let (got, problem) = answer(request).await;
        assert_eq!((got.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["type"], format!("urn:waiting-room:{code}"));
    }
    stage.end().await;
}

#[tokio::test]
async fn a_visitor_comes_in_once_and_leaves() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 3).await;
    assert_eq!((lease.first, lease.count), (1, 3));
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    let first = stage
        .eventually(async || match stage.claim(&place).await {
            ClaimOutcome::Admitted { pass, is_first: true } => Some(pass),
            _ => None,
        })
        .await;
    let ClaimOutcome::Admitted { pass, is_first: false } = stage.claim(&place).await else {
        panic!("a repeated claim is answered like the first");
    };
    assert_eq!(pass.as_str(), first.as_str(), "with the same pass");
    let event = FINAL.parse().unwrap();
    let claims = stage.keyring.open(&pass, &event, Timestamp::now()).unwrap();
    assert_eq!((claims.lane, claims.risk), (Lane::Standard, Risk::Medium));

    let renewal = Renewal { edge: edge(), pass: pass.clone() };
    let renewed: RenewalOutcome = stage.edge("/edge/v1/renew", &renewal).await;
    assert!(matches!(renewed, RenewalOutcome::Renewed { .. }));
    let request = EndRequest { edge: edge(), pass: pass.clone(), reason: EndReason::Finished };
    for _ in 0..2 {
        let (status, _) = stage.post("/edge/v1/end", EDGE, &request).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    assert_eq!(stage.claim(&place).await, ClaimOutcome::Used);
    let renewed: RenewalOutcome = stage.edge("/edge/v1/renew", &renewal).await;
    assert_eq!(renewed, RenewalOutcome::Ended);
    stage
        .eventually(async || {
            let revoked = stage.sync(&sync(1)).await.revoked;
            revoked.iter().any(|revoked| revoked.jti == claims.jti).then_some(())
        })
        .await;
    stage.end().await;
}

#[tokio::test]
async fn a_hundred_parallel_claims_of_one_place_count_once() {
    let stage = Stage::with("mode = \"off\"").await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let claim = Claim { edge: edge(), place: place.clone(), score: 90, reasons: Vec::new() };
        let request = stage.request(Method::POST, "/edge/v1/claim", EDGE).json(&claim);
        claims.spawn(
            async move { request.send().await.unwrap().json::<ClaimOutcome>().await.unwrap() },
        );
    }
    let outcomes = claims.join_all().await;
    let firsts = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ClaimOutcome::Admitted { is_first: true, .. }))
        .count();
    assert_eq!(firsts, 1);
    let passes: std::collections::HashSet<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            ClaimOutcome::Admitted { pass, .. } => pass.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(passes.len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn places_that_prove_nothing_are_refused() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let older = Lease { line: lease.line - 1, ..lease.clone() };
    let forged = Sealed::new(format!(
        "{}x",
        stage.place(&lease, Lane::Standard, 1, Id128::random()).as_str()
    ));
    let pass = Sealed::new(stage.admitted().await.as_str());
    let cases = [
        (forged, "signature"),
        (Sealed::new("x"), "malformed"),
        (pass, "type"),
        (stage.place(&older, Lane::Standard, 1, Id128::random()), "line"),
    ];
    for (place, code) in cases {
        let outcome = stage.claim(&place).await;
        assert!(matches!(outcome, ClaimOutcome::Refused { .. }), "{code}: {outcome:?}");
        if code != "signature" {
            assert_eq!(outcome, ClaimOutcome::Refused { code: code.to_owned() });
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn an_edge_speaks_for_itself_only() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    let pass = stage.admitted().await;
    let event = FINAL.parse().unwrap();
    let lease = LeaseRequest { edge: edge(), event, lane: Lane::Standard, count: 1 };
    let claim = Claim { edge: edge(), place, score: 50, reasons: Vec::new() };
    let renewal = Renewal { edge: edge(), pass: pass.clone() };
    let end = EndRequest { edge: edge(), pass, reason: EndReason::Left };
    let requests = [
        ("/edge/v1/lease", serde_json::to_value(lease)),
        ("/edge/v1/sync", serde_json::to_value(sync(1))),
        ("/edge/v1/claim", serde_json::to_value(claim)),
        ("/edge/v1/renew", serde_json::to_value(renewal)),
        ("/edge/v1/end", serde_json::to_value(end)),
    ];
    for (path, body) in requests {
        let (status, problem) = stage.post(path, EDGE_2, &body.unwrap()).await;
        assert_eq!(
            (status.as_u16(), problem["code"].as_str()),
            (403, Some("wrong-edge")),
            "{path}"
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn a_number_is_claimed_by_whom_it_was_given_to() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let place = |num| stage.place(&lease, Lane::Standard, num, Id128::random());
    stage.admitted_with(1).await;
    let refused = ClaimOutcome::Refused { code: "number".into() };
    assert_eq!(stage.claim(&place(1)).await, refused, "somebody else came in with it");
    assert_eq!(stage.claim(&place(0)).await, refused);
    // The front opens numbers ahead of those that were handed out.
    stage.eventually(async || (stage.claim(&place(10)).await == refused).then_some(())).await;
    stage.end().await;
}

#[tokio::test]
async fn an_edge_that_was_cut_off_may_tell_all_at_once() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 40_000).await;
    let gap = |first| {
        let event = FINAL.parse().unwrap();
        Gap { event, line: lease.line, lane: Lane::Standard, first, count: 1 }
    };
    let gaps: Vec<Gap> = (20_000..40_000).map(gap).collect();
    let told = Sync { gaps, ..sync(1) };
    assert!(serde_json::to_vec(&told).unwrap().len() > 1 << 20);
    stage.sync(&told).await;
    stage.end().await;
}

#[tokio::test]
async fn a_controller_without_its_store_says_so_to_whoever_watches_it() {
    let stage = Stage::with(OPEN).await;
    assert_eq!(stage.get("/health", "").await.0, StatusCode::OK);
    stage.controller.store().close().await;
    let said = stage
        .eventually(async || {
            let response = stage.request(Method::GET, "/health", "").send().await.unwrap();
            let status = response.status();
            (status == StatusCode::SERVICE_UNAVAILABLE).then_some(response)
        })
        .await;
    let said: Value = said.json().await.unwrap();
    assert_eq!(said["status"], "degraded");
    assert!(said["parts"]["control"].as_str().unwrap().starts_with("no front for"), "{said}");
    stage.end().await;
}

#[tokio::test]
async fn before_the_opening_places_are_given_and_nobody_enters() {
    let opens_at = Timestamp::now().plus_secs(3600).as_millis();
    let stage = Stage::with(&format!("opens_at = {opens_at}")).await;
    let lease = stage.lease(Lane::Standard, 5).await;
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    assert_eq!(stage.claim(&place).await, ClaimOutcome::NotYet { front: 0 });
    let front = stage.front().await;
    assert_eq!((front.phase, front.at(Lane::Standard, Timestamp::now())), (Phase::Scheduled, 0));
    stage.end().await;
}

#[tokio::test]
async fn a_paused_front_stands_but_who_was_called_may_enter() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 500).await;
    let called = stage.place(&lease, Lane::Standard, 1, Id128::random());
    stage
        .eventually(async || {
            let front = stage.front().await;
            (front.at(Lane::Standard, Timestamp::now()) >= 1).then_some(())
        })
        .await;
    let (status, room) = stage.post(&format!("/api/v1/rooms/{FINAL}/pause"), OPERATOR, &()).await;
    assert_eq!((status, &room["phase"]), (StatusCode::OK, &json!("paused")));
    let front = stage.front().await;
    assert_eq!(front.phase, Phase::Paused);
    assert!(front.lanes.iter().all(|lane| lane.pace_milli == 0));
    assert!(matches!(stage.claim(&called).await, ClaimOutcome::Admitted { .. }));
    let last = stage.place(&lease, Lane::Standard, 500, Id128::random());
    assert!(matches!(stage.claim(&last).await, ClaimOutcome::NotYet { .. }));
    let (_, room) = stage.post(&format!("/api/v1/rooms/{FINAL}/resume"), OPERATOR, &()).await;
    assert_eq!(room["phase"], "open");
    let (_, log) = stage.get(&format!("/api/v1/rooms/{FINAL}/decisions"), OPERATOR).await;
    let deeds: Vec<&str> = log["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["who"] == "olga")
        .filter_map(|entry| entry["reason"].as_str())
        .collect();
    assert_eq!(deeds, ["paused", "resumed"]);
    stage.end().await;
}

#[tokio::test]
async fn rooms_are_created_changed_and_deleted_by_version() {
    let stage = Stage::with(OPEN).await;
    let path = "/api/v1/rooms/derby";
    let spec = json!({"event": "derby", "title": "Derby", "guard": {"paths": ["/derby"]}});
    let put = |spec: &Value, version: Option<&str>| {
        let request = stage.request(Method::PUT, path, OPERATOR).json(spec);
        answer(match version {
            Some(version) => request.header("if-match", version),
            None => request,
        })
    };
    let (status, room) = put(&spec, None).await;
    assert_eq!((status, &room["version"]), (StatusCode::CREATED, &json!(1)));
    assert_eq!(put(&spec, None).await.0.as_u16(), 428);
    let mut changed = spec.clone();
    changed["title"] = json!("The derby");
    let (status, room) = put(&changed, Some("\"1\"")).await;
    assert_eq!((status, &room["version"]), (StatusCode::OK, &json!(2)));
    let (status, problem) = put(&spec, Some("1")).await;
    assert_eq!((status.as_u16(), &problem["version"]), (412, &json!(2)));
    let delete = |path: &str, version: &str| {
        answer(stage.request(Method::DELETE, path, OPERATOR).header("if-match", version))
    };
    let (status, problem) = delete(path, "1").await;
    assert_eq!((status.as_u16(), &problem["version"]), (412, &json!(2)));
    let gone = "/api/v1/rooms/gone";
    assert_eq!(delete(gone, "1").await.0.as_u16(), 412);
    let elsewhere = json!({"event": "gone", "title": "Gone", "guard": {"paths": ["/gone"]}});
    let request = stage.request(Method::PUT, gone, OPERATOR).header("if-match", "1");
    let (status, problem) = answer(request.json(&elsewhere)).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (412, Some("version-conflict")));
    let reply = stage.sync(&sync(1)).await;
    assert_eq!((reply.rooms.len(), reply.fronts.len()), (2, 2));
    let (status, _) = delete(path, "2").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stage.get(&format!("{path}/state"), OPERATOR).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stage.sync(&sync(2)).await.rooms.len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn the_pace_rises_on_what_edges_see_and_says_why() {
    let stage = Stage::with(OPEN).await;
    stage.lease(Lane::Standard, 5000).await;
    let mut latency = Latency::default();
    latency.record_ms(40.0);
    let seen = OriginSeen { window_ms: 1000, requests_total: 1, latency, ..OriginSeen::default() };
    let room = stage
        .eventually(async || {
            let seq = Timestamp::now().as_millis();
            stage.sync(&Sync { origin: seen.clone(), ..sync(seq) }).await;
            let room = stage.room().await;
            (room["binding"] == "rising").then_some(room)
        })
        .await;
    assert!(room["reason"].as_str().unwrap().contains("rising: p95 42 ms of 250 ms"), "{room}");
    assert!(room["pace_per_sec"].as_f64().unwrap() > 20.0);
    let (_, state) = stage.get(&format!("/api/v1/rooms/{FINAL}/state"), OPERATOR).await;
    assert_eq!(state["signals"][1]["is_fresh"], true);
    assert_eq!(state["pace"]["terms"][0]["target"], 250.0);
    let (_, log) = stage.get(&format!("/api/v1/rooms/{FINAL}/decisions"), OPERATOR).await;
    let bindings: Vec<&Value> =
        log["decisions"].as_array().unwrap().iter().map(|entry| &entry["binding"]).collect();
    assert!(bindings.contains(&&json!("rising")), "{log}");
    stage.end().await;
}

#[tokio::test]
async fn given_back_numbers_are_passed_and_only_by_whom_they_were_leased_to() {
    let stage = Stage::with(SLOW).await;
    let lease = stage.lease(Lane::Standard, 1000).await;
    let gap = Gap {
        event: FINAL.parse().unwrap(),
        line: lease.line,
        lane: Lane::Standard,
        first: 1,
        count: 999,
    };
    let foreign = Sync { edge: "edge-2".parse().unwrap(), gaps: vec![gap.clone()], ..sync(1) };
    let (status, _) = stage.post("/edge/v1/sync", EDGE_2, &foreign).await;
    assert_eq!(status, StatusCode::OK);
    stage.lease(Lane::Standard, 1).await;
    stage.eventually(async || (stage.room().await["waiting"] == 1001).then_some(())).await;
    stage.sync(&Sync { gaps: vec![gap], ..sync(1) }).await;
    let front = stage
        .eventually(async || {
            let front = stage.front().await.at(Lane::Standard, Timestamp::now());
            (front >= 999).then_some(front)
        })
        .await;
    assert_eq!(front, 999, "and not beyond");
    stage.end().await;
}

#[tokio::test]
async fn a_suspect_has_the_suspect_place_until_somebody_takes_it_back() {
    let stage = Stage::with(OPEN).await;
    let (standard, suspect) =
        (stage.lease(Lane::Standard, 1).await, stage.lease(Lane::Suspect, 1).await);
    let sub = Id128::random();
    let suspicion = Suspicion {
        event: FINAL.parse().unwrap(),
        line: standard.line,
        sub,
        edge: edge(),
        at: Timestamp::now(),
        score: 4,
        reasons: vec![Reason { code: "ua_library".into(), detail: "curl".into(), points: 60 }],
        standard_num: standard.first,
        suspect_num: suspect.first,
        network: "203.0.113.0/24".into(),
        country: None,
        asn: None,
        user_agent: "curl/8".into(),
    };
    let traffic =
        RoomTraffic { event: suspicion.event.clone(), joined_total: 1, bypassed_total: 2 };
    let told = Sync { suspicions: vec![suspicion], rooms: vec![traffic], ..sync(1) };
    for _ in 0..2 {
        stage.sync(&told).await; // a repeated one is not counted twice
    }
    let room = stage.room().await;
    assert_eq!((&room["joined_total"], &room["bypassed_total"]), (&json!(1), &json!(2)));
    let place = stage.place(&standard, Lane::Standard, standard.first, sub);
    assert_eq!(stage.claim(&place).await, ClaimOutcome::Moved { suspect_num: suspect.first });

    let (_, list) = stage.get(&format!("/api/v1/suspicions?event={FINAL}"), SECURITY).await;
    assert_eq!(list["suspicions"][0]["state"], "moved");
    assert_eq!(list["suspicions"][0]["suspicion"]["reasons"][0]["code"], "ua_library");
    let restore = format!("/api/v1/suspicions/{FINAL}/{sub}/restore");
    let (status, _) = stage.post(&restore, SECURITY, &json!({"why": " "})).await;
    assert_eq!(status.as_u16(), 422);
    for _ in 0..2 {
        let (status, entry) = stage.post(&restore, SECURITY, &json!({"why": "a regular"})).await;
        assert_eq!((status, &entry["restored_by"]), (StatusCode::OK, &json!("sam")));
    }
    assert_eq!(stage.sync(&sync(2)).await.restored[0].standard_num, standard.first);
    stage
        .eventually(async || {
            matches!(stage.claim(&place).await, ClaimOutcome::Admitted { .. }).then_some(())
        })
        .await;
    stage.end().await;
}

#[tokio::test]
async fn a_restart_takes_a_new_epoch_and_the_front_goes_on() {
    let stage = Stage::with(OPEN).await;
    stage.lease(Lane::Standard, 100_000).await;
    let before = stage
        .eventually(async || {
            let front = stage.front().await;
            (front.at(Lane::Standard, Timestamp::now()) > 10).then_some(front)
        })
        .await;
    let reached = before.at(Lane::Standard, Timestamp::now());
    let pass = stage.admitted_with(5).await;
    let stage = stage.restarted().await;
    let after = stage.front().await;
    assert!(after.epoch > before.epoch);
    assert!(after.at(Lane::Standard, after.t0) >= reached, "{after:?} after {reached}");
    assert_eq!(after.line, before.line);
    let ClaimOutcome::Admitted { pass: again, is_first: false } = stage.claim(&pass.0).await else {
        panic!("the claim was counted before the restart");
    };
    assert_eq!(again.as_str(), pass.1.as_str());
    stage.end().await;
}

impl Stage {
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

#[tokio::test]
async fn the_inside_is_never_fuller_than_allowed() {
    let room = "mode = \"auto\"\npace = { per_sec_min = 1.0, per_sec_max = 500.0, \
         per_sec_start = 500.0, latency_p95_ms = 250.0, db_cpu = 0.8, inside_max = 2 }";
    let stage = Stage::with(room).await;
    let lease = stage.lease(Lane::Standard, 50).await;
    let place = |num| stage.place(&lease, Lane::Standard, num, Id128::from_bytes([num as u8; 16]));
    let (first, second, third) = (place(1), place(2), place(3));
    let enters = async |place: &Sealed<Place>| match stage.claim(place).await {
        ClaimOutcome::Admitted { pass, .. } => Some(pass),
        _ => None,
    };
    let pass = stage.eventually(async || enters(&first).await).await;
    stage.eventually(async || enters(&second).await).await;
    stage.eventually(async || (stage.room().await["binding"] == "inside").then_some(())).await;
    assert_eq!(stage.claim(&third).await, ClaimOutcome::NotYet { front: 2 });
    let request = EndRequest { edge: edge(), pass, reason: EndReason::Left };
    stage.post("/edge/v1/end", EDGE, &request).await;
    stage.eventually(async || enters(&third).await).await;
    let fourth = place(4);
    stage.eventually(async || (stage.room().await["inside"] == 2).then_some(())).await;
    assert_eq!(stage.claim(&fourth).await, ClaimOutcome::NotYet { front: 3 });
    stage.end().await;
}

#[tokio::test]
async fn when_nothing_is_left_the_room_says_so() {
    // An origin that has sold everything but two seats, which are in a hold.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (held, seen) = watch::channel(2_u64);
    let origin = axum::Router::new().route(
        "/internal/v1/load",
        axum::routing::get(move || {
            let held = *seen.borrow();
            async move {
                axum::Json(LoadReport {
                    at: Timestamp::now(),
                    window_ms: 5000,
                    requests_total: 0,
                    errors_total: 0,
                    latency: Latency::default(),
                    queue_delay: Latency::default(),
                    service: Latency::default(),
                    seat_mode_level: 0,
                    db_cpu: Some(0.1),
                    db_cpu_source: "test".into(),
                    stock: vec![Stock {
                        event: FINAL.parse().unwrap(),
                        capacity: 100,
                        free: 0,
                        held,
                        paying: 0,
                        sold: 100 - held,
                        blocked: 0,
                        holds: 1,
                        expected_returns: Vec::new(),
                    }],
                })
            }
        }),
    );
    let serving = tokio::spawn(async move { axum::serve(listener, origin).await });
    let section =
        format!("origin = {{ load_url = \"http://{addr}\", token = \"origin-token-0123456789\" }}");
    let stage = Stage::with_origin(OPEN, &section).await;
    let until = async |phase: &str, band: &str| {
        stage
            .eventually(async || {
                let room = stage.room().await;
                (room["phase"] == phase && room["stock_band"] == band).then_some(room)
            })
            .await
    };
    let room = until("open", "in_holds").await;
    assert_eq!((&room["binding"], &room["pace_per_sec"]), (&json!("stock"), &json!(0.0)));
    held.send(0).unwrap();
    until("sold_out", "none").await;
    let request = LeaseRequest {
        edge: edge(),
        event: FINAL.parse().unwrap(),
        lane: Lane::Standard,
        count: 1,
    };
    let (status, problem) = stage.post("/edge/v1/lease", EDGE, &request).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (409, Some("room-shut")));
    serving.abort();
    stage.end().await;
}

#[tokio::test]
async fn pages_keys_metrics_and_health_are_for_everybody() {
    let stage = Stage::with(OPEN).await;
    let get = async |path| stage.request(Method::GET, path, "").send().await.unwrap();
    let home = get("/").await;
    assert_eq!(home.headers()["location"], "/console");
    for path in ["/console", "/security", "/assets/pages.css", "/assets/console.js"] {
        let page = get(path).await;
        assert_eq!(page.status(), StatusCode::OK, "{path}");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{path}");
    }
    let keys = get("/.well-known/waiting-room/jwks.json").await.text().await.unwrap();
    assert!(keys.contains("\"kid\"") && !keys.contains("\"d\""), "public halves only");
    stage.admitted().await;
    let metrics = get("/metrics").await.text().await.unwrap();
    for line in [
        "admission_claims_total{outcome=\"admitted\"} 1",
        "admission_leases_total{lane=\"standard\"} 1",
        "admission_front{event=\"wc2026-final\",lane=\"standard\"}",
        "admission_store_commit_seconds_count",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let (_, health) = stage.get("/health", "").await;
    assert_eq!(health["status"], "ok", "{health}");
    stage.end().await;
}

/// The public key of drand's quicknet.
const QUICKNET: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

#[tokio::test]
async fn a_draw_is_opened_by_its_round_of_drand_and_stays_as_announced() {
    // What quicknet has signed as its round 123.
    let signature = "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482\
                     e26cd02df835d3546d23c4b13e0dfc92";
    let has_happened = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let knows = std::sync::Arc::clone(&has_happened);
    let round = move || async move {
        // Until the round has taken place, the network answers so.
        if !knows.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StatusCode::NOT_FOUND);
        }
        Ok(axum::Json(json!({"round": 123, "signature": signature})))
    };
    let chain = "a0".repeat(32);
    let router =
        axum::Router::new().route(&format!("/{chain}/public/123"), axum::routing::get(round));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let now = Timestamp::now();
    let draw = format!("{{ source = \"drand\", chain = \"{chain}\", round = 123 }}");
    let room = format!("{OPEN}\nopens_at = {}\ndraw = {draw}", now.as_millis());
    // A network with quicknet's key, whose round 123 comes a second after the opening.
    let genesis_secs = now.as_secs() + 2 - 122 * 3;
    let drand = format!(
        "[drand]\nurl = \"{url}\"\n[[drand.chains]]\nhash = \"{chain}\"\n\
         public_key = \"{QUICKNET}\"\ngenesis_secs = {genesis_secs}\nperiod_secs = 3\n"
    );
    let stage = Stage::with_origin(&room, &drand).await;
    let path = format!("/api/v1/rooms/{FINAL}");
    let reason = "standing: the draw waits for round 123 of drand";
    let waiting = async || {
        let (_, room) = stage.get(&path, OPERATOR).await;
        (room["phase"] == "scheduled" && room["reason"] == reason).then_some(room)
    };
    let room = stage.eventually(waiting).await;
    let (status, refused) =
        stage.post(&format!("{path}/draw"), OPERATOR, &json!({"beacon": "mine"})).await;
    assert_eq!((status.as_u16(), &refused["code"]), (409, &json!("no-operator-beacon")));
    let mut other = room["spec"].clone();
    other["draw"]["round"] = json!(124);
    let change = stage.request(Method::PUT, &path, OPERATOR).json(&other);
    let (status, refused) = answer(change.header("if-match", room["version"].to_string())).await;
    assert_eq!((status.as_u16(), &refused["key"]), (422, &json!("draw")));

    has_happened.store(true, std::sync::atomic::Ordering::Relaxed);
    let opened = async || {
        let (_, document) = stage.get(&format!("{path}/front"), "").await;
        let front: Front = serde_json::from_value(document["front"].clone()).unwrap();
        (front.phase == Phase::Open).then_some(front)
    };
    let front = stage.eventually(opened).await;
    let draw = front.draw.as_ref().unwrap().opened.as_ref().unwrap();
    assert_eq!(draw.beacon, "-497wpvyTbUYceyMefOh5L0FV7wN_O6e0dkk5p0cYNw");
    stage.end().await;
}
