//! Processes of the origin that can be killed and frozen, and visitors who remember what they were
//! told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use keys::{Id128, Key, Keyring, Lane, Pass, Risk, Role, Sealed, Ticket, Timestamp, Validity};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use servers::{Process, free_port};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub const EVENT: &str = "wc2026-final";
const TOKEN: &str = "internal-token-of-tests";
/// How long a lease of these tests stands.
pub const LEASE: Duration = Duration::from_millis(1000);
/// Whatever we wait for happens within this time, or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys, data and a store that outlive every process.
pub struct World {
    folder: TempDir,
    keyring: Keyring,
    postgres: Option<String>,
    client: Client,
    seats: AtomicU32,
}

/// One process, in one of its lives.
pub struct Node {
    process: Option<Process>,
    config: PathBuf,
    pub base: String,
    internal: String,
}

/// A way to a server that can be cut: bytes then go nowhere, and nobody is told.
pub struct Wire {
    pub addr: SocketAddr,
    is_cut: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Wire {
    /// To the server in this address of a database.
    pub async fn to(url: &str) -> Self {
        let (_, rest) = url.split_once('@').unwrap();
        let target = rest.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        let server = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                let (target, mut cut) = (target.clone(), cut.clone());
                open.spawn(async move {
                    let Ok(there) = TcpStream::connect(target).await else { return };
                    let ((mut from, mut to), (mut back, mut answer)) =
                        (here.into_split(), there.into_split());
                    let carrying = async {
                        tokio::join!(
                            tokio::io::copy(&mut from, &mut answer),
                            tokio::io::copy(&mut back, &mut to)
                        )
                    };
                    let is_cut = async { cut.wait_for(|is_cut| *is_cut).await.is_ok() };
                    let was_cut = tokio::select! {
                        _ = carrying => false,
                        is_cut = is_cut => is_cut,
                    };
                    if was_cut {
                        // Held open in silence.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { addr, is_cut, server }
    }

    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a visitor heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A success with this body.
    Done(Value),
    /// A refusal with this status and code.
    No(u16, String),
    /// Nothing: the connection broke.
    Silence,
}

impl Heard {
    fn of(said: Option<(u16, Value)>) -> Self {
        match said {
            None => Self::Silence,
            Some((200 | 201 | 204, body)) => Self::Done(body),
            Some((status, body)) => {
                Self::No(status, body["code"].as_str().unwrap_or("").to_owned())
            }
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    #[track_caller]
    pub fn done(self) -> Value {
        match self {
            Self::Done(body) => body,
            other => panic!("expected a success: {other:?}"),
        }
    }

    /// No answer, or one that says so: it may or may not have happened.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Silence | Self::No(503, _))
    }
}

impl World {
    pub fn sqlite() -> Self {
        Self::new(None)
    }

    pub fn postgres(url: String) -> Self {
        Self::new(Some(url))
    }

    fn new(postgres: Option<String>) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let folder = TempDir::new().unwrap();
        let now = Timestamp::now();
        let validity = Validity {
            // A clock may be set an hour forward or back.
            use_from: now.minus_secs(3 * 3600),
            use_until: now.plus_secs(3 * 3600),
            valid_until: now.plus_secs(4 * 3600),
            revoked_at: None,
        };
        let keyring = Keyring::new([
            Key::generate(Role::Origin, "origin-1".parse().unwrap(), validity),
            Key::generate(Role::Controller, "controller-1".parse().unwrap(), validity),
        ]);
        keyring.save(&folder.path().join("keys.json")).unwrap();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { folder, keyring, postgres, client, seats: AtomicU32::new(0) }
    }

    /// A process that has the store for itself.
    pub fn node(&self) -> Node {
        self.configured(false, "")
    }

    /// The same with more configuration.
    pub fn node_with(&self, more: &str) -> Node {
        self.configured(false, more)
    }

    /// A process among several.
    pub fn member(&self) -> Node {
        self.configured(true, "")
    }

    /// The same with more configuration.
    pub fn member_with(&self, more: &str) -> Node {
        self.configured(true, more)
    }

    /// A process among several whose way to the database is this one.
    pub fn member_behind(&self, wire: &Wire) -> Node {
        let direct = self.postgres.clone().expect("a world with a PostgreSQL");
        let (login, rest) = direct.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        let node = self.configured(true, "");
        let text = std::fs::read_to_string(&node.config).unwrap();
        let behind = format!("{login}@{}/{database}", wire.addr);
        std::fs::write(&node.config, text.replace(&direct, &behind)).unwrap();
        node
    }

    fn configured(&self, is_shared: bool, more: &str) -> Node {
        let (port, internal) = (free_port(), free_port());
        let folder = self.folder.path().display();
        let mut text = format!(
            "listen = \"127.0.0.1:{port}\"\ninternal_listen = \"127.0.0.1:{internal}\"
             data_dir = \"{folder}/data\"\nname = \"origin-1\"\nkeyring = \"{folder}/keys.json\"
             internal_token = \"{TOKEN}\"\nsandbox.timeout_ms = 1\nsale.seats_per_visitor_max = 100
             log.snapshot_changes = 15\n{more}\n"
        );
        if let Some(url) = &self.postgres {
            text += &format!("postgres.url = \"{url}\"\n");
        }
        if is_shared {
            let lease_ms = LEASE.as_millis();
            text += &format!(
                "cluster.advertise = \"127.0.0.1:{internal}\"\ncluster.lease_ms = {lease_ms}\n"
            );
        }
        let config = self.folder.path().join(format!("origin-{port}.toml"));
        std::fs::write(&config, text).unwrap();
        Node {
            process: None,
            config,
            base: format!("http://127.0.0.1:{port}"),
            internal: format!("http://127.0.0.1:{internal}"),
        }
    }

    /// A file of its own for a test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files of the embedded store.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn visitor(&self) -> Visitor<'_> {
        let now = Timestamp::now();
        let pass = Pass {
            iss: "controller-1".parse().unwrap(),
            aud: EVENT.parse().unwrap(),
            sub: Id128::random(),
            jti: Id128::random(),
            iat: now.minus_secs(2 * 3600),
            nbf: now.minus_secs(2 * 3600),
            exp: now.plus_secs(2 * 3600),
            lane: Lane::Standard,
            risk: Risk::Low,
            generation: 1,
            fpr: String::new(),
        };
        let sealed = self.keyring.seal(&pass, now).unwrap();
        Visitor { world: self, pass: sealed.as_str().to_owned() }
    }

    /// What a scanner reads in a barcode, if it believes it.
    pub fn scan(&self, barcode: &str) -> Option<Ticket> {
        let sealed = Sealed::<Ticket>::new(barcode);
        let opened = self.keyring.open(&sealed, &EVENT.parse().unwrap(), Timestamp::now());
        opened.ok().map(|ticket| (*ticket).clone())
    }

    /// A seat that nobody has asked for yet.
    pub fn fresh_seat(&self) -> u32 {
        self.seats.fetch_add(1, Ordering::Relaxed)
    }
}

impl Node {
    /// Starts it and waits until it serves the event, by itself or by passing on.
    pub async fn start(&mut self, world: &World) {
        self.start_with(world, "").await;
        let visitor = world.visitor();
        eventually("it serves", async || visitor.availability(self).await.is_done()).await;
    }

    /// Starts it with faults in its environment, and does not wait for more than that it listens
    /// or has ended.
    pub async fn start_with(&mut self, world: &World, env: &str) {
        self.process = None;
        let folder = TempDir::new().unwrap();
        let mut args: Vec<String> = env.split_whitespace().map(str::to_owned).collect();
        args.push(env!("CARGO_BIN_EXE_origin-under-test").to_owned());
        args.push(self.config.display().to_string());
        let mut process = Process::new(folder, Path::new("env"), &args, "KILL");
        process.start(|_| true);
        self.process = Some(process);
        let url = format!("{}/metrics", self.internal);
        eventually("it listens", async || {
            self.has_ended() || world.client.get(&url).send().await.is_ok()
        })
        .await;
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn freeze(&self) {
        self.process.as_ref().unwrap().pause();
    }

    pub fn resume(&self) {
        self.process.as_ref().unwrap().resume();
    }

    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().pid()
    }

    /// Whether it is dead or a zombie.
    pub fn has_ended(&self) -> bool {
        matches!(self.state(), None | Some('Z' | 'X'))
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.state() == Some('T')
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// What an operator hears of the internal listener.
    pub async fn operator(
        &self,
        world: &World,
        method: Method,
        path: &str,
        body: Option<(&Value, &str)>,
    ) -> Heard {
        let request = world.client.request(method, format!("{}{path}", self.internal));
        let mut request = request.bearer_auth(TOKEN);
        if let Some((body, key)) = body {
            request = request.json(body).header("idempotency-key", key);
        }
        heard(request).await
    }

    /// The sandbox's books, if they can be read.
    pub async fn ledger(&self, world: &World) -> Option<Value> {
        let url = format!("{}/internal/v1/sandbox/ledger", self.internal);
        let answer = world.client.get(url).bearer_auth(TOKEN).send().await.ok()?;
        let text = answer.text().await.ok()?;
        serde_json::from_str(&text).ok().filter(|body: &Value| body["entries"].is_array())
    }

    /// The value of a metric, by its name with labels.
    pub async fn metric(&self, world: &World, name: &str) -> Option<f64> {
        let answer = world.client.get(format!("{}/metrics", self.internal)).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }
}

/// Somebody with a pass.
pub struct Visitor<'a> {
    world: &'a World,
    pass: String,
}

impl Visitor<'_> {
    async fn ask(&self, node: &Node, method: Method, path: &str, body: Option<Value>) -> Heard {
        self.ask_with(node, method, path, body, None).await
    }

    async fn ask_with(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Heard {
        Heard::of(self.send(node, method, path, body, key).await)
    }

    /// Status and body; `None` if the connection broke.
    async fn send(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Option<(u16, Value)> {
        let mut request = self.world.client.request(method, format!("{}{path}", node.base));
        request = request.header("waiting-room-pass", &self.pass);
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        said(request).await
    }

    pub async fn availability(&self, node: &Node) -> Heard {
        let path = format!("/api/v1/events/{EVENT}/availability");
        self.ask(node, Method::GET, &path, None).await
    }

    pub async fn hold(&self, node: &Node, seats: &[u32]) -> Heard {
        let path = format!("/api/v1/events/{EVENT}/holds");
        self.ask(node, Method::POST, &path, Some(json!({ "seats": seats }))).await
    }

    pub async fn view(&self, node: &Node, hold: &str) -> Heard {
        let path = format!("/api/v1/events/{EVENT}/holds/{hold}");
        self.ask(node, Method::GET, &path, None).await
    }

    pub async fn release(&self, node: &Node, hold: &str) -> Heard {
        let path = format!("/api/v1/events/{EVENT}/holds/{hold}");
        self.ask(node, Method::DELETE, &path, None).await
    }

    pub async fn buy(&self, node: &Node, hold: &str, key: &str, token: &str) -> Heard {
        let path = format!("/api/v1/events/{EVENT}/orders");
        let body = json!({ "hold": hold, "payment_token": token, "name": "Ana" });
        self.ask_with(node, Method::POST, &path, Some(body), Some(key)).await
    }

    /// The same with all that is answered: a status and a body, or nothing.
    pub async fn pay(
        &self,
        node: &Node,
        hold: &str,
        key: &str,
        token: &str,
    ) -> Option<(u16, Value)> {
        let path = format!("/api/v1/events/{EVENT}/orders");
        let body = json!({ "hold": hold, "payment_token": token, "name": "Ana" });
        self.send(node, Method::POST, &path, Some(body), Some(key)).await
    }

    pub async fn order(&self, node: &Node, order: &str) -> Heard {
        self.ask(node, Method::GET, &format!("/api/v1/orders/{order}"), None).await
    }
}

async fn heard(request: RequestBuilder) -> Heard {
    Heard::of(said(request).await)
}

/// Status and body; `None` if the connection broke.
async fn said(request: RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// What visitors were told, to be compared with what is there later.
#[derive(Default)]
pub struct Memory<'a> {
    told: Mutex<Vec<Told<'a>>>,
}

struct Told<'a> {
    visitor: Arc<Visitor<'a>>,
    hold: Value,
    order: Option<Value>,
}

impl<'a> Memory<'a> {
    /// One visitor after the other holds two seats, and every second one buys them, until
    /// something breaks or there were `most`. How many were told yes.
    pub async fn shop(&self, world: &'a World, node: &Node, most: usize) -> usize {
        for done in 0..most {
            let visitor = Arc::new(world.visitor());
            let seats = [world.fresh_seat(), world.fresh_seat()];
            let hold = match visitor.hold(node, &seats).await {
                Heard::Done(hold) => hold,
                open if open.is_open() => return done,
                other => panic!("fresh seats are free: {other:?}"),
            };
            let id = hold["hold"].as_str().unwrap().to_owned();
            let mut order = None;
            let mut is_broken = false;
            if done % 2 == 0 {
                match visitor.buy(node, &id, "key", "tok_ok").await {
                    Heard::Done(bought) => order = Some(bought),
                    open if open.is_open() => is_broken = true,
                    other => panic!("a hold can be bought: {other:?}"),
                }
            }
            self.told.lock().unwrap().push(Told { visitor, hold, order });
            if is_broken {
                return done;
            }
        }
        most
    }

    /// Several shop at once.
    pub async fn rush(&self, world: &'a World, node: &Node, visitors: usize, most: usize) {
        let all = (0..visitors).map(|_| self.shop(world, node, most));
        futures_util::future::join_all(all).await;
    }

    /// Everything that was acknowledged is there, and no seat has two owners.
    pub async fn check(&self, node: &Node) -> usize {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let mut owners: BTreeMap<u64, String> = BTreeMap::new();
        for Told { visitor, hold, order } in &told {
            let id = hold["hold"].as_str().unwrap();
            let seen = match order {
                None => visitor.view(node, id).await,
                Some(order) => {
                    let seen = visitor.order(node, order["order"].as_str().unwrap()).await;
                    let body = seen.clone().done();
                    assert_eq!(body["state"], "confirmed", "{body}");
                    assert_eq!(body["tickets"].as_array().unwrap().len(), 2, "{body}");
                    let again = visitor.buy(node, id, "key", "tok_ok").await.done();
                    assert_eq!(again["order"], order["order"], "the same key, the same order");
                    seen
                }
            };
            // A hold whose payment nobody was told of may have been bought.
            let body = match seen {
                Heard::No(409, code) if code == "hold-bought" => hold.clone(),
                other => other.done(),
            };
            for seat in body["seats"].as_array().unwrap() {
                let seat = seat["seat"].as_u64().unwrap();
                let owner = owners.insert(seat, id.to_owned());
                assert_eq!(owner, None, "seat {seat} has two owners, {id} is one");
            }
        }
        let count = told.len();
        self.told.lock().unwrap().extend(told);
        count
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "it never came that {what}");
}
