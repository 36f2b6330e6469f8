//! What does the whole crowd share? The client, the counters, and what a CDN would hold for it:
//! the front, the keys and the map.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use keys::{EventId, Front, Jwks, Keyring, Refusal, Sealed, Statement, Timestamp, Verified};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::answers::FrontAnswer;
use crate::client::{Answer, Edges, Http, NoAnswer};
use crate::crowd::Shares;
use crate::history::History;
use crate::page;
use crate::stats::{Stats, Step, lock};

/// Keys are fetched again at most this often when a statement names one that is not known.
const KEYS_REFRESH_MIN: Duration = Duration::from_secs(1);
/// Most requests of the run itself under way at once.
const OWN_IN_FLIGHT_MAX: usize = 32;

/// What all visitors share.
#[derive(Debug)]
pub struct World {
    /// Where the edges are.
    pub edges: Edges,
    /// What is on sale.
    pub event: EventId,
    /// The path of the event's page.
    pub page: String,
    /// The path of the front.
    pub front_path: String,
    /// The cookie of a place.
    pub place_cookie: String,
    /// The cookie of a pass.
    pub pass_cookie: String,
    /// The crowd's seed.
    pub seed: u64,
    /// Who they are.
    pub shares: Shares,
    /// Mean time to think.
    pub think: Duration,
    /// Whether each visitor has an address of its own.
    pub is_forwarded: bool,
    /// Whether all read one copy of the front, as behind a CDN.
    pub has_cdn: bool,
    /// The crowd's client.
    pub http: Http,
    /// The run's own: what it must see does not wait behind the crowd.
    pub own: Http,
    /// What happened so far.
    pub stats: Stats,
    /// What was told.
    pub history: Mutex<History>,
    /// Set when the run is over: nobody begins anything new.
    pub is_closing: AtomicBool,
    front: RwLock<Option<Arc<Front>>>,
    keyring: RwLock<Arc<Keyring>>,
    keys_fetched: tokio::sync::Mutex<Option<Instant>>,
    map: OnceCell<usize>,
}

/// What a [`World`] is made of.
#[derive(Debug)]
pub struct WorldParts {
    /// Where the edges are.
    pub edges: Edges,
    /// What is on sale.
    pub event: EventId,
    /// The path of the event's page; absent means `/events/{event}`.
    pub page: Option<String>,
    /// The crowd's seed.
    pub seed: u64,
    /// Who they are.
    pub shares: Shares,
    /// Mean time to think.
    pub think: Duration,
    /// Whether each visitor has an address of its own.
    pub is_forwarded: bool,
    /// Whether all read one copy of the front.
    pub has_cdn: bool,
    /// Most requests under way at once.
    pub in_flight_max: usize,
}

impl World {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new(parts: WorldParts) -> Self {
        let WorldParts { edges, event, page, seed, shares, think, .. } = parts;
        Self {
            edges,
            page: page.unwrap_or_else(|| format!("/events/{event}")),
            front_path: format!("/api/v1/queue/{event}/front"),
            place_cookie: format!("wr_place_{event}"),
            pass_cookie: format!("wr_pass_{event}"),
            event,
            seed,
            shares,
            think,
            is_forwarded: parts.is_forwarded,
            has_cdn: parts.has_cdn,
            http: Http::new(parts.in_flight_max),
            own: Http::new(OWN_IN_FLIGHT_MAX),
            stats: Stats::new(),
            history: Mutex::default(),
            is_closing: AtomicBool::new(false),
            front: RwLock::default(),
            keyring: RwLock::default(),
            keys_fetched: tokio::sync::Mutex::default(),
            map: OnceCell::new(),
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// The front as the CDN has it.
    #[must_use]
    pub fn front(&self) -> Option<Arc<Front>> {
        self.front.read().ok()?.clone()
    }

    /// A plain `GET` of a shared document, in nobody's name.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get(&self, step: Step, path: &str, due: Instant) -> Result<Answer, NoAnswer> {
        self.get_as(None, step, path, due).await
    }

    /// A plain `GET` from the address of a visitor, if visitors have addresses.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get_as(
        &self,
        visitor: Option<u64>,
        step: Step,
        path: &str,
        due: Instant,
    ) -> Result<Answer, NoAnswer> {
        let uri = self.edges.next().at(path).ok_or(NoAnswer::NotSent)?;
        let mut request = Request::builder().method(Method::GET).uri(uri);
        for (name, value) in page::BROWSERS[0].fetch {
            request = request.header(*name, *value);
        }
        if let Some(index) = visitor.filter(|_| self.is_forwarded) {
            request = request.header("x-forwarded-for", page::address(index));
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|_| NoAnswer::NotSent)?;
        let answer = self.own.send(request).await;
        match &answer {
            Ok(answer) => {
                self.stats.took(step, due.elapsed());
                if !answer.status.is_success() {
                    self.stats.refused(step, answer.status.as_u16(), &answer.code());
                }
                match answer.status.as_u16() {
                    429 | 503 => self.stats.put_off.up(),
                    500.. => self.stats.errors.up(),
                    _ => {}
                }
            }
            Err(none) => {
                self.stats.errors.up();
                self.stats.refused(step, 0, none.label());
            }
        }
        answer
    }

    /// Fetches the front as a CDN would, verifies it and keeps it. False if there was none.
    pub async fn fetch_front(&self, due: Instant) -> bool {
        let Ok(answer) = self.get(Step::Front, &self.front_path, due).await else { return false };
        if !answer.status.is_success() {
            return false;
        }
        let Some(FrontAnswer { signed, .. }) = answer.json() else {
            self.odd(Step::Front, &answer);
            return false;
        };
        let Some(front) = self.open(&signed, "front").await else { return false };
        lock(&self.history).note_front(&front);
        let front = Arc::new(front.into_inner());
        if let Ok(mut slot) = self.front.write() {
            *slot = Some(front);
        }
        true
    }

    /// Verifies a statement; one that does not verify is noted.
    pub async fn open<T: Statement>(
        &self,
        sealed: &Sealed<T>,
        what: &'static str,
    ) -> Option<Verified<T>> {
        let mut opened = self.try_open(sealed);
        if matches!(opened, Err(Refusal::UnknownKey { .. } | Refusal::KeyNotValid { .. })) {
            self.fetch_keys().await;
            opened = self.try_open(sealed);
        }
        match opened {
            Ok(verified) => Some(verified),
            Err(refusal) => {
                lock(&self.history).note_unverified(format!("{what}: {refusal}"));
                None
            }
        }
    }

    fn try_open<T: Statement>(&self, sealed: &Sealed<T>) -> Result<Verified<T>, Refusal> {
        let keyring = self.keyring.read().map(|ring| Arc::clone(&ring)).unwrap_or_default();
        keyring.open(sealed, &self.event, Timestamp::now())
    }

    /// Fetches the public keys, unless that was done just now. False if there are none.
    pub async fn fetch_keys(&self) -> bool {
        let mut fetched = self.keys_fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < KEYS_REFRESH_MIN) {
            return true;
        }
        *fetched = Some(Instant::now());
        let path = "/.well-known/waiting-room/jwks.json";
        let Ok(answer) = self.get(Step::Other, path, Instant::now()).await else { return false };
        let ring = answer.json::<Jwks>().and_then(|jwks| Keyring::from_jwks(jwks).ok());
        let Some(ring) = ring else {
            self.odd(Step::Other, &answer);
            return false;
        };
        if let Ok(mut slot) = self.keyring.write() {
            *slot = Arc::new(ring);
        }
        true
    }

    /// Fetches the map's geometry once for the whole crowd: it is immutable by its name, so a CDN
    /// or a browser's cache would have it.
    pub async fn look_at_map(&self, path: &str, due: Instant) {
        let fetch = || async {
            let answer = self.get(Step::Map, path, due).await.map_err(|_| ())?;
            if answer.status.is_success() { Ok(answer.body.len()) } else { Err(()) }
        };
        let _ = self.map.get_or_try_init(fetch).await;
    }

    /// Counts an answer that is not as expected.
    pub fn odd(&self, step: Step, answer: &Answer) {
        self.stats.errors.up();
        self.stats.refused(step, answer.status.as_u16(), "odd-shape");
    }
}
