//! A whole stack on free ports in a temporary folder.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use admission_api::PaceLimits;
use admission_controller::TokenRole;
use serde_json::Value;
use tempfile::TempDir;
use waiting_room::{Demo, Stack, StackConfig, token_of};

use super::visitor::Visitor;
use super::{EVENT, PATIENCE};

/// A running stack; dropping it leaves the folder to be removed.
pub struct TestStack {
    stack: Option<Stack>,
    config: StackConfig,
    dir: TempDir,
    /// Where visitors are served.
    pub edge: SocketAddr,
    /// The controller.
    pub controller: SocketAddr,
    /// The origin, past the edge.
    pub origin: SocketAddr,
    /// The origin's load report and ledger.
    pub internal: SocketAddr,
    /// The edge's metrics.
    pub admin: SocketAddr,
}

impl TestStack {
    /// A stack with the sample's settings and an open room in which a line forms when it must.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A stack whose front stands: nobody enters until [`TestStack::let_in`].
    pub async fn start_standing() -> Self {
        Self::start_with(|config| config.controller.rooms[0].pace = standing()).await
    }

    /// A stack with changed settings.
    pub async fn start_with(change: impl FnOnce(&mut StackConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Demo::open(dir.path(), 0).unwrap().config().unwrap();
        let room = &mut config.controller.rooms[0];
        room.mode = admission_api::RoomMode::Auto;
        room.pace = PaceLimits {
            per_sec_min: 100.0,
            per_sec_max: 2000.0,
            per_sec_start: 1000.0,
            // Debug builds on a busy machine are slow, and no test here is about the pace.
            latency_p95_ms: 20_000.0,
            db_cpu: 1.0,
            inside_max: None,
            noshow_factor_max: 5.0,
        };
        // A busy machine is not what the seat map should follow here.
        config.origin.pinned_mode = Some(origin::live::Mode::Map);
        // One machine stands for a crowd.
        config.edge.limits.open_per_minute = 1_000_000.try_into().unwrap();
        // Thousands of fixtures at each start tell no test anything.
        config.origin.sources.with_leagues = false;
        change(&mut config);
        Self::start_in(dir, config).await
    }

    async fn start_in(dir: TempDir, config: StackConfig) -> Self {
        let stack = Stack::start(config.clone()).await.unwrap();
        let this = Self {
            edge: stack.edge_addr,
            controller: stack.controller_addr,
            origin: stack.origin_addr,
            internal: stack.origin_internal_addr,
            admin: stack.edge_admin_addr,
            stack: Some(stack),
            config,
            dir,
        };
        this.until_the_edge_knows_the_room().await;
        this
    }

    async fn until_the_edge_knows_the_room(&self) {
        let url = format!("http://{}/api/v1/queue/{EVENT}/front", self.edge);
        eventually("the edge serves a front", || async {
            reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// Stops the stack and waits until it has.
    pub async fn stop(mut self) {
        self.stack.take().unwrap().stop().await;
    }

    /// The same stack after a stop and a start, on other ports.
    pub async fn restarted(self) -> Self {
        let Self { stack, config, dir, .. } = self;
        stack.unwrap().stop().await;
        Self::start_in(dir, config).await
    }

    /// Changes the room as the console does; panics if that is refused.
    pub async fn change_room(&self, change: impl FnOnce(&mut Value)) {
        let path = format!("/api/v1/rooms/{EVENT}");
        let (_, mut room) = self.operator("GET", &path, None).await;
        change(&mut room["spec"]);
        let token = token_of(&self.config.controller, TokenRole::Operator).unwrap();
        let request = reqwest::Client::new()
            .put(format!("http://{}{path}", self.controller))
            .header("authorization", format!("Bearer {token}"))
            .header("if-match", room["version"].to_string())
            .json(&room["spec"]);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }

    /// The front as everybody gets it: the plain text with its signed twin.
    pub async fn front_document(&self) -> String {
        let url = format!("http://{}/api/v1/queue/{EVENT}/front", self.edge);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// A visitor from a network of their own.
    pub fn visitor(&self) -> Visitor {
        Visitor::at(self.edge)
    }

    /// Lets `count` more visitors in and stops the front again.
    pub async fn let_in(&self, count: u64) {
        let before = self.front().await;
        self.set_pace(200.0).await;
        eventually("the front has moved", || async { self.front().await >= before + count }).await;
        self.set_pace(0.0).await;
    }

    /// Sets floor and ceiling of the pace.
    pub async fn set_pace(&self, per_sec: f64) {
        let body = serde_json::json!({"per_sec_min": per_sec, "per_sec_max": per_sec.max(0.001)});
        let path = format!("/api/v1/rooms/{EVENT}/pace");
        let answer = self.operator("POST", &path, Some(body)).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    }

    /// The front of the standard lane at this moment, as everybody can read it.
    pub async fn front(&self) -> u64 {
        let url = format!("http://{}/api/v1/queue/{EVENT}/front", self.edge);
        let body: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let front: keys::Front = serde_json::from_value(body["front"].clone()).unwrap();
        front.at(keys::Lane::Standard, keys::Timestamp::now())
    }

    /// The address of a page of the controller, with the token of whoever looks at it.
    pub fn page_of(&self, role: TokenRole) -> String {
        let page = if role == TokenRole::Security { "security" } else { "console" };
        let token = token_of(&self.config.controller, role).unwrap();
        format!("/{page}#token={token}")
    }

    /// Asks the controller as an operator.
    pub async fn operator(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask(TokenRole::Operator, method, path, body).await
    }

    /// Asks the controller as the security team.
    pub async fn security(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask(TokenRole::Security, method, path, body).await
    }

    async fn ask(
        &self,
        role: TokenRole,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let token = token_of(&self.config.controller, role).unwrap();
        let url = format!("http://{}{path}", self.controller);
        let mut request = reqwest::Client::new()
            .request(method.parse().unwrap(), url)
            .header("authorization", format!("Bearer {token}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Asks the origin as an organiser.
    pub async fn organiser(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let token = self.config.origin.organisers[0].token.expose();
        let url = format!("http://{}{path}", self.internal);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        let mut request = request.bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Changes an event as an organiser who has seen it as it is now does.
    pub async fn change_event(&self, change: impl FnOnce(&mut Value)) {
        let path = format!("/admin/v1/events/{EVENT}");
        let (_, mut seen) = self.organiser("GET", &path, None).await;
        change(&mut seen["event"]);
        let token = self.config.origin.organisers[0].token.expose();
        let request = reqwest::Client::new()
            .put(format!("http://{}{path}", self.internal))
            .bearer_auth(token)
            .header("if-match", format!("\"{}\"", seen["version"]))
            .json(&seen["event"]);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }

    /// Asks the origin as the people who run it do; the key makes it happen once.
    pub async fn runs_origin(&self, path: &str, body: Value, key: &str) -> Value {
        let url = format!("http://{}/internal/v1/events/{EVENT}{path}", self.internal);
        let token = self.config.origin.internal_token.expose();
        let request = reqwest::Client::new().post(url).bearer_auth(token);
        let answer = request.header("idempotency-key", key).json(&body).send().await.unwrap();
        let status = answer.status();
        let body = answer.json().await.unwrap();
        assert!(status.is_success(), "{path} answers {status}: {body}");
        body
    }

    /// Sets the level of the seat map, or gives it back to the load.
    pub async fn pin_seat_mode(&self, mode: Option<&str>) {
        let url = format!("http://{}/internal/v1/mode", self.internal);
        let token = self.config.origin.internal_token.expose();
        let request =
            reqwest::Client::new().put(url).header("authorization", format!("Bearer {token}"));
        let answer = request.json(&serde_json::json!({ "mode": mode })).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Everything that the sandbox was asked to charge.
    pub async fn ledger(&self) -> Value {
        let url = format!("http://{}/internal/v1/sandbox/ledger", self.internal);
        let token = self.config.origin.internal_token.expose();
        let request =
            reqwest::Client::new().get(url).header("authorization", format!("Bearer {token}"));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The folder with configuration, keys and data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A metric of the edge: the sum over its labels.
    pub async fn edge_metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.admin);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }
}

/// A second edge before another origin or with other settings, and the stack's controller.
pub struct SecondEdge {
    /// Where visitors are served.
    pub addr: SocketAddr,
    edge: edge_proxy::Edge,
    stop: tokio::sync::watch::Sender<bool>,
}

impl SecondEdge {
    /// Stops it and waits until it has.
    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        self.edge.stopped().await;
    }
}

impl TestStack {
    /// Starts a second edge; the change sees the first one's settings.
    pub async fn second_edge(
        &self,
        change: impl FnOnce(&mut edge_proxy::EdgeConfig),
    ) -> SecondEdge {
        let mut config = self.config.edge.clone();
        config.origin.addr = self.origin;
        config.controller.url = format!("http://{}", self.controller);
        change(&mut config);
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (stop, shutdown) = tokio::sync::watch::channel(false);
        let parts = edge_proxy::EdgeParts { listener: bind(), admin_listener: bind(), shutdown };
        let edge = edge_proxy::start(config, parts).unwrap();
        let health = format!("http://{}/health", edge.admin_addr);
        eventually("the second edge has heard the controller", || async {
            reqwest::get(&health).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        SecondEdge { addr: edge.addr, edge, stop }
    }
}

/// A pace of nothing.
pub fn standing() -> PaceLimits {
    PaceLimits {
        per_sec_min: 0.0,
        per_sec_max: 0.001,
        per_sec_start: 0.0,
        latency_p95_ms: 20_000.0,
        db_cpu: 1.0,
        inside_max: None,
        noshow_factor_max: 5.0,
    }
}

/// Waits until `is_so`, looking again and again; panics with `what` when patience ends. Looks
/// seldom enough to stay within the rate limits that the visitors are under.
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let waiting = async {
        loop {
            look.tick().await;
            if is_so().await {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never happened: {what}");
}
