//! A visitor with a browser's manners: keeps cookies, follows what the pages say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use keys::{Place, Sealed};
use serde_json::{Value, json};

use super::{EVENT, eventually};

/// What a visitor sees after asking for the event's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The waiting page.
    Waiting,
    /// The shop.
    Shop,
    /// Something else: the status.
    Other(u16),
}

/// A visitor.
#[derive(Clone)]
pub struct Visitor {
    http: reqwest::Client,
    edge: SocketAddr,
    addr: String,
    agent: String,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
}

/// An answer: status, fields, body.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: reqwest::header::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A field as text, empty if it is absent.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a usual browser says of itself.
pub const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/156.0.0.0 Safari/537.36";

impl Visitor {
    /// A visitor from a network of their own.
    pub fn at(edge: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
        let addr = std::net::Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_string();
        // The services in other processes install one for themselves only.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { http, edge, addr, agent: CHROME.into(), cookies: Arc::default() }
    }

    /// The same visitor with another browser.
    pub fn with_agent(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.agent);
        self
    }

    /// Somebody else who was given this visitor's cookies.
    pub fn thief(&self) -> Self {
        let mut thief = Self::at(self.edge).with_agent("Mozilla/5.0 (Thief) Firefox/140.0");
        thief.cookies = Arc::new(Mutex::new(self.cookies.lock().unwrap().clone()));
        thief
    }

    /// The same browser in another network, as of a telephone that leaves the house.
    pub fn elsewhere(&self) -> Self {
        Self { addr: Self::at(self.edge).addr, ..self.clone() }
    }

    /// The same browser at another address, for a second edge or the bare origin.
    pub fn moved_to(&self, addr: SocketAddr) -> Self {
        Self { edge: addr, ..self.clone() }
    }

    /// Sends a request with cookies, and keeps those of the answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.edge);
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .header("x-forwarded-for", &self.addr)
            .header("user-agent", &self.agent)
            .header("accept-language", "en")
            .header("accept-encoding", "identity");
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(k, v)| format!("{k}={v}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let mut jar = self.cookies.lock().unwrap();
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.into(), value.into());
            }
        }
        let (status, fields) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, fields, body: answer.bytes().await.unwrap().to_vec() }
    }

    /// Asks for a page as a browser does.
    pub async fn open(&self, path: &str) -> Answer {
        self.send("GET", path, &[("accept", "text/html,*/*;q=0.8")], None).await
    }

    /// Asks for data as a script does.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("accept", "application/json")], None).await
    }

    /// Sends data as a script does.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("accept", "application/json")], Some(body)).await
    }

    /// Opens the event's page.
    pub async fn arrive(&self) -> Page {
        let answer = self.open(&format!("/events/{EVENT}")).await;
        match (answer.status, answer.field("waiting-room-verdict")) {
            (200, "wait" | "join" | "show") => Page::Waiting,
            (200, "forward") => Page::Shop,
            (status, _) => Page::Other(status),
        }
    }

    /// Opens the event's page, and again when the turn has come, until inside.
    pub async fn enter(&self) {
        eventually("the visitor is inside", || async { self.arrive().await == Page::Shop }).await;
    }

    /// How many are ahead.
    pub async fn ahead(&self) -> u64 {
        self.status().await["ahead"].as_u64().unwrap()
    }

    /// What the edge says of the visitor's place.
    pub async fn status(&self) -> Value {
        self.get(&format!("/api/v1/queue/status?event_id={EVENT}")).await.json()
    }

    /// Claims the turn, as the page's button does.
    pub async fn claim(&self) -> Answer {
        self.post("/api/v1/queue/claim", json!({"event_id": EVENT})).await
    }

    /// Takes these seats.
    pub async fn hold(&self, seats: &[u32]) -> Answer {
        self.post(&format!("/api/v1/events/{EVENT}/holds"), json!({"seats": seats})).await
    }

    /// Pays for a hold.
    pub async fn pay(&self, hold: &Value, token: &str, key: &str) -> Answer {
        let body = json!({"hold": hold, "payment_token": token, "name": "Ana Fan"});
        let fields = [("accept", "application/json"), ("idempotency-key", key)];
        self.send("POST", &format!("/api/v1/events/{EVENT}/orders"), &fields, Some(body)).await
    }

    /// The place as text.
    pub fn place(&self) -> Sealed<Place> {
        Sealed::new(self.cookie("wr_place").unwrap())
    }

    /// One of our cookies, by the beginning of its name.
    pub fn cookie(&self, prefix: &str) -> Option<String> {
        let jar = self.cookies.lock().unwrap();
        jar.iter().find(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value.clone())
    }

    /// Puts a cookie into the jar.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.into(), value.into());
    }
}
