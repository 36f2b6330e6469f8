//! An origin on free ports and those who come to it; what they see there is told in the files below.

mod admin;
mod after;
mod described;
mod fleet;
mod hall;
mod live;
mod model;
mod payments;
mod post;
mod replies;
mod running;
mod sale;
mod status;
mod stores;
mod waitlist;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use keys::{Id128, Key, Keyring, Lane, Pass, Place, Risk, Role, Ticket, Timestamp, Validity};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Origin, OriginConfig, OriginParts, StartError, start};

const FINAL: &str = "wc2026-final";
const TOKEN: &str = "internal-token-of-tests";

/// An origin on free ports, with keys and data in a folder of its own.
struct House {
    folder: PathBuf,
    keyring: Keyring,
    origin: Option<Origin>,
    shutdown: watch::Sender<bool>,
    client: Client,
    base: String,
    internal: String,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Somebody with a pass.
struct Visitor<'a> {
    house: &'a House,
    pass: String,
}

struct Seen {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Seen {
    #[track_caller]
    fn is(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:waiting-room:{code}"));
        self
    }
    #[track_caller]
    fn succeeds(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

fn keyring() -> Keyring {
    let now = Timestamp::now();
    let validity = Validity {
        use_from: now.minus_secs(60),
        use_until: now.plus_secs(3600),
        valid_until: now.plus_secs(7200),
        revoked_at: None,
    };
    Keyring::new([
        Key::generate(Role::Origin, "origin-1".parse().unwrap(), validity),
        Key::generate(Role::Controller, "controller-1".parse().unwrap(), validity),
        Key::generate(Role::Edge, "edge-1".parse().unwrap(), validity),
    ])
}

fn config(folder: &Path, more: &str) -> OriginConfig {
    let folder = folder.display();
    let text = format!(
        "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\ndata_dir = \"{folder}/data\"
         name = \"origin-1\"\nkeyring = \"{folder}/keys.json\"\ninternal_token = \"{TOKEN}\"
         sandbox.timeout_ms = 1\npayment.absent_after_secs = 0\n{more}"
    );
    OriginConfig::from_toml(&text, "test").unwrap()
}

fn parts(shutdown: watch::Receiver<bool>) -> OriginParts {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    OriginParts { listener: bind(), internal_listener: bind(), shutdown }
}

fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}

impl House {
    async fn open() -> Self {
        Self::open_with("").await
    }

    async fn open_with(more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("origin-http-{}", Id128::random()));
        std::fs::create_dir_all(&folder).unwrap();
        let keyring = keyring();
        keyring.save(&folder.join("keys.json")).unwrap();
        let (shutdown, _) = watch::channel(false);
        let mut house = Self {
            folder,
            keyring,
            origin: None,
            shutdown,
            client: client(),
            base: String::new(),
            internal: String::new(),
        };
        house.start(more).await;
        house
    }

    async fn start(&mut self, more: &str) {
        let (shutdown, told) = watch::channel(false);
        let origin = start(config(&self.folder, more), parts(told)).await.unwrap();
        self.base = format!("http://{}", origin.public_addr());
        self.internal = format!("http://{}", origin.internal_addr());
        self.shutdown = shutdown;
        self.origin = Some(origin);
    }

    async fn stop(&mut self) {
        self.shutdown.send(true).unwrap();
        let stopped = self.origin.take().unwrap().stopped();
        tokio::time::timeout(Duration::from_secs(5), stopped).await.unwrap();
    }

    fn pass(&self, event: &str, from: i64, secs: u64) -> Pass {
        let now = Timestamp::now();
        let from = Timestamp::from_secs(now.as_secs().saturating_add_signed(from));
        Pass {
            iss: "controller-1".parse().unwrap(),
            aud: event.parse().unwrap(),
            sub: Id128::random(),
            jti: Id128::random(),
            iat: from,
            nbf: from,
            exp: from.plus_secs(secs),
            lane: Lane::Standard,
            risk: Risk::Low,
            generation: 1,
            fpr: String::new(),
        }
    }

    fn visitor(&self) -> Visitor<'_> {
        let pass = self.pass(FINAL, 0, 600);
        let sealed = self.keyring.seal(&pass, Timestamp::now()).unwrap();
        Visitor { house: self, pass: sealed.as_str().to_owned() }
    }

    async fn send(&self, request: RequestBuilder) -> Seen {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Seen { status, headers, body }
    }

    async fn get(&self, path: &str) -> Seen {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    async fn internal(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.internal);
        self.send(self.client.get(url).bearer_auth(TOKEN)).await.succeeds(200)
    }

    async fn get_internal_text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.internal);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn stock(&self) -> Value {
        self.internal("/internal/v1/load").await["stock"][0].clone()
    }
}

impl Visitor<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1/events/{FINAL}{path}", self.house.base);
        self.house.client.request(method, url).header("Waiting-Room-Pass", &self.pass)
    }

    async fn holds(&self, body: Value) -> Seen {
        self.house.send(self.request(Method::POST, "/holds").json(&body)).await
    }

    async fn hold(&self, seats: &[u32]) -> String {
        let hold = self.holds(json!({ "seats": seats })).await.succeeds(201);
        hold["hold"].as_str().unwrap().to_owned()
    }

    async fn view(&self, hold: &str) -> Seen {
        self.house.send(self.request(Method::GET, &format!("/holds/{hold}"))).await
    }

    async fn release(&self, hold: &str) -> Seen {
        self.house.send(self.request(Method::DELETE, &format!("/holds/{hold}"))).await
    }

    async fn pay(&self, hold: &str, token: &str, key: &str) -> Seen {
        let body = json!({ "hold": hold, "payment_token": token, "name": "Ana" });
        self.order(body, key).await
    }

    async fn order(&self, body: Value, key: &str) -> Seen {
        let request = self.request(Method::POST, "/orders").header("Idempotency-Key", key);
        self.house.send(request.json(&body)).await
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
