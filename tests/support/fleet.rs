//! Two controllers on one Redis, three edges and behind them a small shop, or an origin that sells;
//! all but the small shop are processes of their own, to be killed, frozen and started again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keys::{Front, Key, Keyring, Lane, Role, Timestamp, Validity};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::visitor::Visitor;
use super::{EVENT, eventually};

const CONTROLLERS: [&str; 2] = ["controller-1", "controller-2"];
const EDGES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];
const ORIGIN: &str = "origin";
const OPERATOR: &str = "operator-token-0123456789";
/// Opens the origin's ledger and its report of load.
pub const INTERNAL: &str = "internal-token-0123456789";

/// The fleet; dropping it kills it.
pub struct Fleet {
    dir: TempDir,
    /// All controllers share it.
    pub redis: servers::Redis,
    /// Follows it, if there is one: then the address of the store is the relay's, and what counts must
    /// be on a replica.
    spare: Option<(servers::Redis, servers::Relay)>,
    controllers: [Option<Child>; 2],
    edges: [Option<Child>; 3],
    origin: Option<Child>,
    controller_addrs: [SocketAddr; 2],
    edge_addrs: [SocketAddr; 3],
    /// The origin's listener for those who run it, if there is one.
    internal_addr: SocketAddr,
    http: reqwest::Client,
}

impl Fleet {
    /// Starts everything, with a room whose front moves by this many positions a second.
    pub async fn start(per_sec: f64) -> Self {
        Self::start_before(Some(start_shop().await), per_sec, false).await
    }

    /// The same with a replica of Redis that can take over.
    pub async fn start_replicated(per_sec: f64) -> Self {
        Self::start_before(Some(start_shop().await), per_sec, true).await
    }

    /// The same in front of an origin that sells the event.
    pub async fn start_selling(per_sec: f64) -> Self {
        Self::start_before(None, per_sec, false).await
    }

    async fn start_before(shop: Option<SocketAddr>, per_sec: f64, is_replicated: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let redis = servers::Redis::start_with(&[("appendonly", "yes"), ("appendfsync", "always")]);
        let spare = is_replicated.then(|| {
            let spare = servers::Redis::start();
            spare.follow(redis.port());
            redis.until_followed();
            (spare, servers::Relay::to(redis.port()))
        });
        let store = match &spare {
            None => format!("urls = [\"{}\"]", redis.url()),
            Some((_, address)) => {
                format!("urls = [\"redis://127.0.0.1:{}/\"], replicas_min = 1", address.port())
            }
        };
        write_keys(dir.path());
        let ports: Vec<u16> = super::processes::free_ports(10);
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let controller_addrs = [at(ports[0]), at(ports[1])];
        let edge_addrs = [at(ports[2]), at(ports[3]), at(ports[4])];
        let (shop_addr, internal_addr) = (shop.unwrap_or(at(ports[8])), at(ports[9]));
        let text = format!(
            "listen = \"{shop_addr}\"\ninternal_listen = \"{internal_addr}\"\nname = \"{ORIGIN}\"\n\
             data_dir = \"{ORIGIN}\"\nkeyring = \"{ORIGIN}.json\"\ninternal_token = \"{INTERNAL}\"\n\
             [live]\npinned_mode = \"map\"\n"
        );
        std::fs::write(dir.path().join(format!("{ORIGIN}.toml")), text).unwrap();
        for (name, addr) in CONTROLLERS.iter().zip(controller_addrs) {
            let tokens = EDGES.map(|edge| {
                format!(
                    "{{ name = \"{edge}\", role = \"edge\", token = \"{edge}-token-0123456789\" }},"
                )
            });
            let text = format!(
                "listen = \"{addr}\"\nname = \"{name}\"\ndata_dir = \"{name}\"\n\
                 keyring = \"{name}.json\"\ntokens = [\n{}\n\
                 {{ name = \"olga\", role = \"operator\", token = \"{OPERATOR}\" }}]\n\
                 store = {{ kind = \"redis\", {store} }}\n\
                 [[rooms]]\nevent = \"{EVENT}\"\ntitle = \"Final\"\nmode = \"on\"\n\
                 guard = {{ paths = [\"/events/{EVENT}\", \"/api/v1/events/{EVENT}\"] }}\n\
                 pace = {{ per_sec_min = {per_sec:.3}, per_sec_max = {per_sec:.3}, \
                 per_sec_start = {per_sec:.3}, latency_p95_ms = 20000.0, db_cpu = 1.0 }}\n",
                tokens.join("\n"),
            );
            std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        }
        for (index, (name, addr)) in EDGES.iter().zip(edge_addrs).enumerate() {
            // Each begins with another controller.
            let (first, other) = (controller_addrs[index % 2], controller_addrs[(index + 1) % 2]);
            let text = format!(
                "name = \"{name}\"\nlisten = \"{addr}\"\nadmin_listen = \"{}\"\n\
                 keyring = \"{name}.json\"\nbinding_secret = \"the-same-at-all-edges\"\n\
                 [origin]\naddr = \"{shop_addr}\"\n\
                 [controller]\nurl = \"http://{first}\"\nother_urls = [\"http://{other}\"]\n\
                 token = \"{name}-token-0123456789\"\n\
                 [client]\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
                 [limits]\nopen_per_minute = 1000000\nplace_per_minute = 100000\n",
                at(ports[5 + index]),
            );
            std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        }
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let mut fleet = Self {
            dir,
            redis,
            spare,
            controllers: [None, None],
            edges: [None, None, None],
            origin: None,
            controller_addrs,
            edge_addrs,
            internal_addr,
            http: http.unwrap(),
        };
        fleet.start_controller(0);
        fleet.start_controller(1);
        (0..EDGES.len()).for_each(|index| fleet.start_edge(index));
        fleet.until_all_serve().await;
        if shop.is_none() {
            fleet.start_origin().await;
        }
        fleet
    }

    /// Redis dies, and its replica takes over. The dead one comes back as the replica of the new one.
    pub fn fail_redis_over(&mut self) {
        let (spare, address) = self.spare.as_mut().expect("a fleet with a replica");
        self.redis.stop_immediate();
        spare.promote();
        address.turn_to(spare.port());
        self.redis.restart();
        self.redis.follow(spare.port());
        spare.until_followed();
        std::mem::swap(&mut self.redis, spare);
    }

    fn spawn(&self, command: &str, name: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_waiting-room"))
            .arg(command)
            .arg("--config")
            .arg(self.dir.path().join(format!("{name}.toml")))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Starts a controller, for the first time or again.
    pub fn start_controller(&mut self, index: usize) {
        self.controllers[index] = Some(self.spawn("controller", CONTROLLERS[index]));
    }

    /// Kills it on the spot, as a power cut would.
    pub async fn kill_controller(&mut self, index: usize) {
        let mut child = self.controllers[index].take().unwrap();
        child.kill().await.unwrap();
    }

    /// Starts an edge, for the first time or again.
    pub fn start_edge(&mut self, index: usize) {
        self.edges[index] = Some(self.spawn("edge", EDGES[index]));
    }

    /// Kills an edge on the spot.
    pub async fn kill_edge(&mut self, index: usize) {
        let mut child = self.edges[index].take().unwrap();
        child.kill().await.unwrap();
    }

    /// Starts the origin, for the first time or again, and waits until it serves.
    pub async fn start_origin(&mut self) {
        self.origin = Some(self.spawn("origin", ORIGIN));
        let health = format!("http://{}/health", self.internal_addr);
        eventually("the origin serves", || async {
            self.http.get(&health).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// Kills the origin on the spot.
    pub async fn kill_origin(&mut self) {
        let mut child = self.origin.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Where the origin is asked by those who run it.
    pub fn internal_addr(&self) -> SocketAddr {
        self.internal_addr
    }

    /// Sends it a signal: `STOP` freezes it, `CONT` lets it go on.
    pub fn signal_controller(&self, index: usize, signal: &str) {
        let pid = self.controllers[index].as_ref().unwrap().id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// What a controller says of its store: `ok`, or what is wrong.
    pub async fn store_health(&self, index: usize) -> String {
        let url = format!("http://{}/health", self.controller_addrs[index]);
        let Ok(answer) = self.http.get(url).send().await else { return "no answer".to_owned() };
        let said: Value = answer.json().await.unwrap_or(json!(null));
        said["parts"]["store"].as_str().unwrap_or("no word").to_owned()
    }

    /// The controller that leads, if one says so.
    pub async fn leader(&self) -> Option<usize> {
        for index in 0..2 {
            if self.controllers[index].is_some() && self.is_leader(index).await == Some(true) {
                return Some(index);
            }
        }
        None
    }

    /// Whether this controller says that it leads; `None` if it says nothing.
    pub async fn is_leader(&self, index: usize) -> Option<bool> {
        let url = format!("http://{}/metrics", self.controller_addrs[index]);
        let request = self.http.get(url).timeout(Duration::from_millis(500));
        let text = request.send().await.ok()?.text().await.ok()?;
        Some(text.lines().any(|line| line == "admission_is_leader 1"))
    }

    /// Waits for a leader among those that run.
    pub async fn until_somebody_leads(&self) -> usize {
        eventually("somebody leads", || async { self.leader().await.is_some() }).await;
        self.leader().await.unwrap()
    }

    /// Waits until every edge serves a front.
    pub async fn until_all_serve(&self) {
        for edge in 0..3 {
            eventually("the edge serves a front", || async { self.front(edge).await.is_some() })
                .await;
        }
    }

    /// A visitor at this edge, from a network of their own.
    pub fn visitor(&self, edge: usize) -> Visitor {
        Visitor::at(self.edge_addrs[edge])
    }

    /// Where the edges serve.
    pub fn edge_addrs(&self) -> [SocketAddr; 3] {
        self.edge_addrs
    }

    /// The front document of an edge.
    pub async fn front(&self, edge: usize) -> Option<Front> {
        self.front_of(edge, EVENT).await
    }

    /// The same of another event.
    pub async fn front_of(&self, edge: usize, event: &str) -> Option<Front> {
        read_front(&self.http, self.edge_addrs[edge], event).await
    }

    /// Asks a controller as an operator.
    pub async fn operator(
        &self,
        controller: usize,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", self.controller_addrs[controller]);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(OPERATOR);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(json!(null)))
    }

    /// Changes a room at a controller, as the operator who saw it last.
    pub async fn change_room(
        &self,
        controller: usize,
        event: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let path = format!("/api/v1/rooms/{event}");
        let (_, mut room) = self.operator(controller, "GET", &path, None).await;
        change(&mut room["spec"]);
        let request = self
            .http
            .put(format!("http://{}{path}", self.controller_addrs[controller]))
            .bearer_auth(OPERATOR)
            .header("if-match", room["version"].to_string())
            .json(&room["spec"]);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }

    /// Watches the fronts of all edges until told to stop: none of them ever goes back. One that was
    /// killed remembers nothing, and may begin with a front that a follower has not replaced yet.
    pub fn watch_fronts(&self) -> Watch {
        let is_over = Arc::new(AtomicBool::new(false));
        let tasks = self.edge_addrs.map(|addr| {
            let (http, is_over) = (self.http.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut last: Option<Front> = None;
                let mut looks = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    let front = read_front(&http, addr, EVENT).await;
                    if let (Some(last), Some(front)) = (&last, &front) {
                        no_step_back(last, front);
                    }
                    looks += u64::from(front.is_some());
                    last = front;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                looks
            })
        });
        Watch { is_over, tasks }
    }
}

async fn start_shop() -> SocketAddr {
    let shop = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = shop.local_addr().unwrap();
    let app = axum::Router::new().fallback(|| async { "the shop" });
    tokio::spawn(async move { axum::serve(shop, app).await });
    addr
}

/// A line starts where the one before has got to, or further on.
#[track_caller]
fn no_step_back(last: &Front, next: &Front) {
    let age = |front: &Front| (front.epoch, front.seq);
    assert!(age(next) >= age(last), "{:?} came after {:?}", age(next), age(last));
    let (reached, starts) = (last.at(Lane::Standard, next.t0), next.at(Lane::Standard, next.t0));
    assert!(starts >= reached, "{last:?} had got to {reached}, and then {next:?}");
}

async fn read_front(http: &reqwest::Client, addr: SocketAddr, event: &str) -> Option<Front> {
    let url = format!("http://{addr}/api/v1/queue/{event}/front");
    let body: Value = http.get(url).send().await.ok()?.json().await.ok()?;
    serde_json::from_value(body["front"].clone()).ok()
}

/// Somebody who looks at the fronts.
pub struct Watch {
    is_over: Arc<AtomicBool>,
    tasks: [tokio::task::JoinHandle<u64>; 3],
}

impl Watch {
    /// Ends it; panics if a front ever went back.
    pub async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let looks = task.await.unwrap();
            assert!(looks > 5, "{looks} looks say nothing");
        }
    }
}

/// Each has a key of its own and trusts all others.
fn write_keys(dir: &Path) {
    let now = Timestamp::now().floor_to_secs();
    let validity = Validity {
        use_from: now.minus_secs(60),
        use_until: now.plus_secs(3600),
        valid_until: now.plus_secs(7200),
        revoked_at: None,
    };
    let key = |role, owner: &str| Key::generate(role, owner.parse().unwrap(), validity);
    let keys = CONTROLLERS.map(|name| key(Role::Controller, name)).into_iter();
    let edges = EDGES.map(|name| key(Role::Edge, name));
    let keys: Vec<Key> = keys.chain(edges).chain([key(Role::Origin, ORIGIN)]).collect();
    let public = Keyring::new(keys.clone()).public_jwks();
    for (own, name) in keys.iter().zip(CONTROLLERS.iter().chain(&EDGES).chain([&ORIGIN])) {
        let public = Keyring::from_jwks(public.clone()).unwrap();
        let others = public.keys().filter(|key| key.owner != own.owner).cloned();
        let all: Vec<Key> = others.chain([own.clone()]).collect();
        Keyring::new(all).save(&dir.join(format!("{name}.json"))).unwrap();
    }
}
