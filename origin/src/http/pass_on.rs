//! Is the event's writer in another process? Then the request goes there as it came, and the
//! answer comes back as it was given.
//!
//! The owner has everything that belongs to an event (seats, stock, payments, streams), so a whole
//! request is passed on and nothing is kept in two places. A request is tried a second time only
//! if nothing can have been done, or if doing it twice is doing it once: the hold's id is drawn
//! here, an order has its idempotency key. It is passed on once: a receiver that is not the owner
//! says so.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use keys::{EventId, Id128, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::internal::is_token;
use super::listener::HandOver;
use super::problem::Refused;
use super::{App, BODY_BYTES_MAX};
use crate::log::PartitionId;
use crate::metrics::{Metrics, PassedOn};
use crate::ownership::{Nudge, Place, Places};
use crate::partition::Unavailable;
use crate::pay::webhook;

/// Path prefix of what is passed on, on the internal listener.
pub const PREFIX: &str = "/internal/v1/passed-on";
/// How long a process that is there takes to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an owner may take to begin its answer: above what a payment may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(18);
/// How long we wait to hear who has a partition that just changed hands.
const MOVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long every other process has to tell of itself: the controller asks each second, and what it
/// hears late is worth less than what it hears at once.
const GATHER_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest of these answers: stock of ten thousand events.
const GATHERED_BYTES_MAX: usize = 4 << 20;
/// Connections that are kept for the next request, by process.
const IDLE_MAX: usize = 256;

/// Shows that we are one of the processes.
const TOKEN: HeaderName = HeaderName::from_static("waiting-room-internal");
/// The id that what the request makes shall have.
const COMMAND_ID: HeaderName = HeaderName::from_static("waiting-room-command-id");
/// Of an answer: it was the wrong process, and nothing was done.
const NOT_OWNER: HeaderName = HeaderName::from_static("waiting-room-not-owner");
/// Headers that are about one connection (RFC 9110, 7.6.1).
const OF_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The way to the other processes.
pub struct PassOn {
    client: Client<HttpConnector, Body>,
    token: HeaderValue,
    places: Arc<Places>,
    nudge: Nudge,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for PassOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PassOn({:?})", self.places)
    }
}

/// The id that what a request makes shall have: drawn by whoever met the request first.
#[derive(Debug, Clone, Copy)]
pub struct CommandId(pub Id128);

impl<S: Send + Sync> FromRequestParts<S> for CommandId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self(Id128::random())))
    }
}

/// Says that another process has passed a request on.
#[derive(Debug, Clone, Copy)]
pub(super) struct FromPeer;

/// Whether another process asks: then it is about this process alone.
pub(super) struct IsFromPeer(pub bool);

impl<S: Send + Sync> FromRequestParts<S> for IsFromPeer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<FromPeer>().is_some()))
    }
}

/// What came of asking another process.
enum Asked {
    /// This.
    Answered(Response),
    /// It was surely not done.
    NotDone,
    /// Nobody knows.
    Unknown,
}

/// On the internal listener: lets only the other processes in, and notes what they say.
pub async fn received(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let shown = request.headers_mut().remove(TOKEN);
    if !shown.is_some_and(|shown| is_token(&app, shown.to_str().unwrap_or(""))) {
        let status = StatusCode::UNAUTHORIZED;
        return Refused::new(status, "unauthorized", "A token is required").into_response();
    }
    let id = request.headers_mut().remove(COMMAND_ID);
    if let Some(id) = id.and_then(|id| id.to_str().ok()?.parse().ok()) {
        request.extensions_mut().insert(CommandId(id));
    }
    request.extensions_mut().insert(FromPeer);
    next.run(request).await
}

/// Serves what is ours here and passes the rest on.
pub async fn pass_on(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(others) = &app.others else { return next.run(request).await };
    let is_from_peer = request.extensions().get::<FromPeer>().is_some();
    match target(request.uri().path()) {
        Target::Here => next.run(request).await,
        Target::Event(event) => {
            let partition = app.sales.partition_of(&event);
            match others.places.of(partition) {
                Place::There(_) if is_from_peer => {
                    others.nudge.nudge();
                    not_owner()
                }
                Place::There(addr) if request.headers().contains_key(header::UPGRADE) => {
                    others.tunnel(&addr, request).await
                }
                Place::There(_) => match Whole::read(request).await {
                    Ok(whole) => others.to_owner(partition, whole, next).await,
                    Err(refused) => refused.into_response(),
                },
                // What is unknown or not allowed is told here even if nobody has the partition.
                Place::Here | Place::Nowhere => next.run(request).await,
            }
        }
        Target::Named(name) => {
            let whole = match Whole::read(request).await {
                Ok(whole) => whole,
                Err(refused) => return refused.into_response(),
            };
            // It is only a way: the owner checks who says so.
            let event = name(&whole.body).filter(|event| app.catalogue.event(event).is_some());
            let partition = event.map(|event| app.sales.partition_of(&event));
            match partition.map(|partition| (partition, others.places.of(partition))) {
                Some((_, Place::There(_))) if is_from_peer => {
                    others.nudge.nudge();
                    not_owner()
                }
                Some((partition, Place::There(_))) => others.to_owner(partition, whole, next).await,
                Some((_, Place::Here | Place::Nowhere)) | None => next.run(whole.request()).await,
            }
        }
        Target::Order if is_from_peer => next.run(request).await,
        Target::Order => others.to_anybody(request, next).await,
    }
}

/// Whose a request is.
#[derive(Debug)]
enum Target {
    /// Everybody can answer.
    Here,
    /// The event's owner.
    Event(EventId),
    /// The owner of the event that the body names.
    Named(fn(&[u8]) -> Option<EventId>),
    /// Whoever has the order, or the sandbox that it is paid at.
    Order,
}

/// Routes below an event that are about its seats; the last three are on the internal listener.
const OF_EVENTS: [&str; 5] = [
    "/api/v1/events/",
    "/api/v1/offers/",
    "/api/v1/checkin/",
    "/internal/v1/events/",
    "/admin/v1/events/",
];
/// What is asked of an event's entry in the catalogue, which every process has.
const OF_CATALOGUE: [&str; 1] = ["status"];

fn target(path: &str) -> Target {
    if path.starts_with("/api/v1/orders/") {
        return Target::Order;
    }
    match path.strip_prefix("/api/v1/payments/").and_then(|rest| rest.rsplit_once('/')) {
        Some((_, "webhook")) => return Target::Named(webhook::event_of),
        Some((_, "challenge")) => return Target::Order,
        _ => {}
    }
    if matches!(path, "/api/v1/checkin" | "/api/v1/checkin/batch") {
        return Target::Named(event_of_body);
    }
    let rest = OF_EVENTS.into_iter().find_map(|prefix| path.strip_prefix(prefix));
    let event = rest.and_then(|rest| rest.split_once('/'));
    let event = event
        .filter(|(_, rest)| !rest.is_empty() && !OF_CATALOGUE.contains(rest))
        .and_then(|(event, _)| event.parse().ok());
    event.map_or(Target::Here, Target::Event)
}

fn event_of_body(body: &[u8]) -> Option<EventId> {
    #[derive(Deserialize)]
    struct Body {
        event: EventId,
    }
    serde_json::from_slice(body).ok().map(|Body { event }| event)
}

fn not_owner() -> Response {
    let mut response = Refused::from(Unavailable::Down).into_response();
    response.headers_mut().insert(NOT_OWNER, HeaderValue::from_static("1"));
    response
}

/// A request that may be sent more than once.
struct Whole {
    parts: Parts,
    body: Bytes,
}

impl Whole {
    async fn read(request: Request) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            let expected = format!("at most {BODY_BYTES_MAX} bytes");
            Refused::new(status, "too-large", "The body is too large").detail(expected)
        })?;
        parts.extensions.insert(CommandId(Id128::random()));
        Ok(Self { parts, body })
    }

    /// Whether doing it twice is doing it once.
    fn is_repeatable(&self) -> bool {
        // A hold and a scan have the id that was drawn here; a webhook has its own; the others are
        // done once by themselves.
        const REPEATABLE: [&str; 7] =
            ["/holds", "/checkin", "/batch", "/webhook", "/resume", "/cancel", "/block"];
        let path = self.parts.uri.path();
        let is_one = REPEATABLE.iter().any(|end| path.ends_with(end));
        let has_key = self.parts.headers.contains_key("idempotency-key");
        match self.parts.method {
            Method::GET | Method::HEAD => true,
            Method::POST => is_one || has_key,
            _ => false,
        }
    }

    fn request(&self) -> Request {
        Request::from_parts(self.parts.clone(), Body::from(self.body.clone()))
    }
}

impl PassOn {
    /// The way to the other processes.
    #[must_use]
    pub fn new(places: Arc<Places>, nudge: Nudge, token: &Secret, metrics: Arc<Metrics>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_MAX).build(connector);
        // A token with other characters fits no header, and nobody could send it to us either.
        let mut token =
            HeaderValue::try_from(token.expose()).unwrap_or_else(|_| HeaderValue::from_static(""));
        token.set_sensitive(true);
        Self { client, token, places, nudge, metrics }
    }

    /// Where things are.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    async fn to_owner(&self, partition: PartitionId, whole: Whole, next: Next) -> Response {
        let mut is_open = false;
        for _ in 0..2 {
            let place = self.places.of(partition);
            let addr = match &place {
                Place::There(addr) => addr,
                Place::Here | Place::Nowhere => return next.run(whole.request()).await,
            };
            // An owner that freezes keeps its connections; somebody else takes its partitions.
            let asked = tokio::select! {
                asked = self.ask(addr, &whole) => asked,
                () = self.places.moved(partition, &place) => Asked::Unknown,
            };
            match asked {
                Asked::Answered(response) => {
                    self.metrics.passed_on(PassedOn::Answered);
                    return response;
                }
                Asked::NotDone => {}
                Asked::Unknown => is_open = true,
            }
            if is_open && !whole.is_repeatable() {
                break;
            }
            self.nudge.nudge();
            let moved = self.places.moved(partition, &place);
            if tokio::time::timeout(MOVE_TIMEOUT, moved).await.is_err() {
                break;
            }
        }
        self.metrics.passed_on(if is_open { PassedOn::Unknown } else { PassedOn::NotDone });
        Refused::from(Unavailable::Down).into_response()
    }

    /// An order's id, or a bank's secret, does not say whose it is: we look here, then ask the
    /// others.
    async fn to_anybody(&self, request: Request, next: Next) -> Response {
        let whole = match Whole::read(request).await {
            Ok(whole) => whole,
            Err(refused) => return refused.into_response(),
        };
        let is_elsewhere =
            |status| matches!(status, StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE);
        let mut last = next.run(whole.request()).await;
        if !is_elsewhere(last.status()) {
            return last;
        }
        let mut missed = false;
        for addr in self.places.others() {
            match self.ask(&addr, &whole).await {
                Asked::Answered(response) if !is_elsewhere(response.status()) => {
                    self.metrics.passed_on(PassedOn::Answered);
                    return response;
                }
                Asked::Answered(response) => {
                    missed |= response.status() == StatusCode::SERVICE_UNAVAILABLE;
                    last = response;
                }
                Asked::NotDone | Asked::Unknown => missed = true,
            }
        }
        // Whom we did not hear may have it: "there is none" would be a guess.
        if missed { Refused::from(Unavailable::Down).into_response() } else { last }
    }

    async fn ask(&self, addr: &str, whole: &Whole) -> Asked {
        let Some(request) = self.addressed(addr, &whole.parts, whole.body.clone().into()) else {
            return Asked::NotDone;
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await;
        match answer {
            Ok(Ok(response)) if response.headers().contains_key(NOT_OWNER) => Asked::NotDone,
            Ok(Ok(response)) => {
                let (mut parts, body) = response.into_parts();
                strip(&mut parts.headers);
                Asked::Answered(Response::from_parts(parts, Body::new(body)))
            }
            Ok(Err(error)) if error.is_connect() => Asked::NotDone,
            Ok(Err(error)) => {
                tracing::warn!(addr, %error, "the owner at {addr} did not answer");
                Asked::Unknown
            }
            Err(_) => {
                tracing::warn!(addr, "the owner at {addr} did not answer in time");
                Asked::Unknown
            }
        }
    }

    /// The same request, for the internal listener of another process.
    fn addressed(&self, addr: &str, parts: &Parts, body: Body) -> Option<Request> {
        let asked = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
        let uri: Uri = format!("http://{addr}{PREFIX}{asked}").parse().ok()?;
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        *headers = parts.headers.clone();
        strip(headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(TOKEN, self.token.clone());
        headers.remove(COMMAND_ID);
        if let Some(CommandId(id)) = parts.extensions.get() {
            headers.insert(COMMAND_ID, HeaderValue::try_from(id.to_string()).ok()?);
        }
        Some(request)
    }

    /// A connection that becomes something else, such as a WebSocket: bytes go to and fro.
    async fn tunnel(&self, addr: &str, request: Request) -> Response {
        let down = || Refused::from(Unavailable::Down).into_response();
        let (parts, _) = request.into_parts();
        let Some(mut onward) = self.addressed(addr, &parts, Body::empty()) else { return down() };
        for name in [header::CONNECTION, header::UPGRADE] {
            if let Some(value) = parts.headers.get(&name) {
                onward.headers_mut().insert(name, value.clone());
            }
        }
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(onward)).await;
        let Ok(Ok(mut response)) = answer else { return down() };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = response.into_parts();
            return Response::from_parts(parts, Body::new(body));
        }
        let Ok(peer) = hyper::upgrade::on(&mut response).await else { return down() };
        self.metrics.passed_on(PassedOn::Answered);
        let (parts, _) = response.into_parts();
        let mut response = Response::from_parts(parts, Body::empty());
        response.extensions_mut().insert(HandOver::to_peer(peer));
        response
    }

    /// What each of the other processes answers to the same question about itself; whoever has
    /// none in time is named.
    pub(super) async fn gather<T: DeserializeOwned>(&self, path: &str) -> Gathered<T> {
        let members: Vec<String> = self.places.others().into_iter().collect();
        let asked = members.iter().map(|addr| async move {
            let answer = tokio::time::timeout(GATHER_TIMEOUT, self.ask_about(addr, path));
            answer.await.ok().flatten().ok_or_else(|| addr.clone())
        });
        let mut gathered = Gathered { answers: Vec::new(), missing: Vec::new() };
        for answer in futures_util::future::join_all(asked).await {
            match answer {
                Ok(answer) => gathered.answers.push(answer),
                Err(addr) => gathered.missing.push(addr),
            }
        }
        gathered
    }

    async fn ask_about<T: DeserializeOwned>(&self, addr: &str, path: &str) -> Option<T> {
        let uri: Uri = format!("http://{addr}{PREFIX}{path}").parse().ok()?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        request.headers_mut().insert(TOKEN, self.token.clone());
        let bearer = HeaderValue::try_from(format!("Bearer {}", self.token.to_str().ok()?)).ok()?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let answer = self.client.request(request).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let body = to_bytes(Body::new(answer.into_body()), GATHERED_BYTES_MAX).await.ok()?;
        serde_json::from_slice(&body).ok()
    }
}

/// What all other processes say.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    /// Of those who have answered.
    pub answers: Vec<T>,
    /// Addresses of those who have not.
    pub missing: Vec<String>,
}

fn strip(headers: &mut HeaderMap) {
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_sale_is_the_owners_and_a_page_is_anybodys() {
        let event = |id: &str| Target::Event(id.parse().unwrap());
        check("/",                                        Target::Here);
        check("/events/wc2026-final",                     Target::Here);
        check("/api/v1/events",                           Target::Here);
        check("/api/v1/events/wc2026-final",              Target::Here);
        check("/api/v1/events/wc2026-final/",             Target::Here);
        check("/api/v1/events/No%20Slug/holds",           Target::Here);
        check("/api/v1/events/wc2026-final/availability", event("wc2026-final"));
        check("/api/v1/events/wc2026-final/holds/1",      event("wc2026-final"));
        check("/api/v1/offers/wc2026-final/0123/accept",  event("wc2026-final"));
        check("/api/v1/orders/0123",                      Target::Order);
        check("/api/v1/orders/0123/resume",               Target::Order);
        check("/api/v1/payments/sandbox/challenge",       Target::Order);
        check("/api/v1/checkin/wc2026-final/trail",       event("wc2026-final"));
        check("/internal/v1/events/wc2026-final/cancel",  event("wc2026-final"));
        check("/internal/v1/load",                        Target::Here);
        check("/admin/v1/events/wc2026-final",            Target::Here);
        check("/admin/v1/events/wc2026-final/status",     Target::Here);
        check("/admin/v1/events/wc2026-final/blocks",     event("wc2026-final"));
        check("/admin/v1/events/wc2026-final/orders.csv", event("wc2026-final"));
    }

    #[track_caller]
    fn check(path: &str, expected: Target) {
        // A function has no equal.
        assert_eq!(format!("{:?}", target(path)), format!("{expected:?}"), "{path}");
    }

    #[test]
    fn a_body_names_its_event_if_it_can_be_read() {
        let named = |path: &str, body: &str| match target(path) {
            Target::Named(name) => name(body.as_bytes()).map(|event| event.to_string()),
            other => panic!("{other:?}"),
        };
        let scan = r#"{"event":"wc2026-final","scans":[]}"#;
        let told = r#"{"data":{"object":{"metadata":{"event":"wc2026-final"}}}}"#;
        let webhook = "/api/v1/payments/a/webhook";
        assert_eq!(named("/api/v1/checkin", scan).as_deref(), Some("wc2026-final"));
        assert_eq!(named("/api/v1/checkin/batch", scan).as_deref(), Some("wc2026-final"));
        assert_eq!(named(webhook, told).as_deref(), Some("wc2026-final"));
        for body in ["", "[", "{}", r#"{"event":"No Slug"}"#, r#"{"data":{"object":{}}}"#] {
            assert_eq!((named("/api/v1/checkin", body), named(webhook, body)), (None, None));
        }
    }
}
