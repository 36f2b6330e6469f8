//! Speaks HTTP: routes, roles, and one place that turns errors into refusals.

mod codes;
mod edge;
mod operator;
mod pages;
mod passes;
mod security;
mod shape;
#[cfg(test)]
mod tests;
mod transfer;

use std::sync::Arc;

use admission_api::Problem;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{delete, get, post};
use keys::Owner;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::app::{App, lock};
use crate::config::TokenRole;
use crate::control::ControlError;
use crate::store::StoreError;

/// Where edges sync; also heard while the store is not trusted yet.
const SYNC: &str = "/edge/v1/sync";
/// Longest sync. An edge that was cut off sends what has gathered, thousands of gaps and suspicions
/// with their evidence; were that refused, it would send the same again for ever. Only edges, which
/// have shown a token, may send so much.
const SYNC_BYTES_MAX: usize = 16 << 20;
/// Longest other body: a room with 64 long paths fits several times.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Ten thousand access codes of the longest kind.
const CODES_BYTES_MAX: usize = 1 << 20;
/// An edge that is silent for this long is worth a word in `/health`.
const EDGE_SILENT_SECS: u64 = 5;

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let guarded = |routes: Router<Arc<App>>, roles: &'static [TokenRole]| {
        let guard = Guard { app: Arc::clone(&app), roles };
        routes.route_layer(middleware::from_fn_with_state(guard, authorize))
    };
    let edge = Router::new()
        .route("/edge/v1/lease", post(edge::lease))
        .route(SYNC, post(edge::sync).layer(DefaultBodyLimit::max(SYNC_BYTES_MAX)))
        .route("/edge/v1/claim", post(edge::claim))
        .route("/edge/v1/renew", post(edge::renew))
        .route("/edge/v1/end", post(edge::end))
        .route("/edge/v1/transfer", post(transfer::open))
        .route("/edge/v1/redeem", post(transfer::redeem))
        .route("/edge/v1/priority", post(codes::grant));
    let room = get(operator::room).put(operator::put).delete(operator::delete);
    let operator = Router::new()
        .route("/api/v1/rooms", get(operator::rooms))
        .route("/api/v1/rooms/{event}", room)
        .route("/api/v1/rooms/{event}/state", get(operator::state))
        .route("/api/v1/rooms/{event}/decisions", get(operator::decisions))
        .route("/api/v1/rooms/{event}/pause", post(operator::pause))
        .route("/api/v1/rooms/{event}/resume", post(operator::resume))
        .route("/api/v1/rooms/{event}/pace", post(operator::pace))
        .route("/api/v1/rooms/{event}/draw", post(operator::draw));
    let many = DefaultBodyLimit::max(CODES_BYTES_MAX);
    let operator = operator
        .route("/api/v1/rooms/{event}/codes", get(codes::list).post(codes::add).layer(many))
        .route("/api/v1/rooms/{event}/codes/revoke", post(codes::revoke))
        .route("/api/v1/rooms/{event}/codes/{batch}", delete(codes::revoke_batch));
    let security = Router::new()
        .route("/api/v1/suspicions", get(security::list))
        .route("/api/v1/suspicions/{event}/{sub}/restore", post(security::restore));
    let passes = Router::new()
        .route("/api/v1/rooms/{event}/passes/revoke", post(passes::revoke_all))
        .route("/api/v1/rooms/{event}/passes/{visitor}/revoke", post(passes::revoke));
    Router::new()
        .route("/", get(|| async { Redirect::to("/console") }))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/.well-known/waiting-room/jwks.json", get(jwks))
        .route("/api/v1/rooms/{event}/front", get(operator::front))
        .merge(pages::routes())
        .merge(guarded(edge, &[TokenRole::Edge]))
        .merge(guarded(operator, &[TokenRole::Operator]))
        .merge(guarded(security, &[TokenRole::Security]))
        .merge(guarded(passes, &[TokenRole::Operator, TokenRole::Security]))
        .fallback(|| async { Refusal::new(404, "not-found", "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(405, "method-not-allowed", "this method does not exist here")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    retry_after_secs: Option<u32>,
}

impl Refusal {
    pub fn new(status: u16, code: &str, title: &str) -> Self {
        Self { problem: Box::new(Problem::new(status, code, title)), retry_after_secs: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.problem = Box::new(self.problem.detail(detail));
        self
    }

    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.problem = Box::new(self.problem.with(name, value));
        self
    }

    pub fn starting() -> Self {
        let refusal = Self::new(503, "starting", "the rooms are not known yet");
        Self { retry_after_secs: Some(1), ..refusal }
    }

    pub fn unknown_room(event: &str) -> Self {
        let detail = format!("event {:?} has no room", event.chars().take(64).collect::<String>());
        Self::new(404, "unknown-room", "there is no such room").detail(detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&*self.problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            // The control loop says so once, and not with every visitor.
            StoreError::Unanswered
            | StoreError::Unreplicated
            | StoreError::Demoted
            | StoreError::Distrusted => {
                tracing::debug!(%error, "http: a request failed for the store");
            }
            error => tracing::error!(
                error = &error as &dyn std::error::Error,
                "http: a request failed for the store"
            ),
        }
        let refusal = Self::new(503, "store-unavailable", "the store does not answer");
        Self { retry_after_secs: Some(1), ..refusal }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Store(error) => error.into(),
        }
    }
}

impl From<keys::SignError> for Refusal {
    fn from(error: keys::SignError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "http: a pass could not be signed"
        );
        let refusal = Self::new(503, "no-key", "no key may sign at the moment");
        Self { retry_after_secs: Some(5), ..refusal }
    }
}

/// A JSON body, with our own words for what is wrong with it.
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let refusal =
                Refusal::new(415, "unsupported-media-type", "the body is not of a kind we read");
            return Err(refusal.detail("expected Content-Type: application/json"));
        }
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
                BytesRejection::FailedToBufferBody(cause)
                    if cause.status() == StatusCode::PAYLOAD_TOO_LARGE =>
                {
                    Refusal::new(413, "body-too-large", "the body is longer than we read")
                }
                _ => Refusal::new(400, "body-unreadable", "the body could not be read"),
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let refusal = if error.is_data() {
                Refusal::new(422, "unexpected-body", "the body does not say what it should")
            } else {
                Refusal::new(400, "malformed-body", "the body is not JSON")
            };
            refusal.detail(error.to_string())
        })
    }
}

/// Name of the token that was shown.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub String);

impl Caller {
    /// An edge speaks for itself only.
    fn is_edge(&self, edge: &Owner) -> Result<(), Refusal> {
        if self.0 == edge.as_str() {
            return Ok(());
        }
        let refusal = Refusal::new(403, "wrong-edge", "this token is another edge's");
        Err(refusal.detail(format!("the token is of {:?}, the request of {edge:?}", self.0)))
    }
}

#[derive(Clone)]
struct Guard {
    app: Arc<App>,
    /// Any of these will do.
    roles: &'static [TokenRole],
}

async fn authorize(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let shown = bearer(request.headers());
    // Every token is compared, so that the time taken says nothing about which one came close.
    let mut found = None;
    for token in &guard.app.tokens {
        let expected = token.token.expose().as_bytes();
        if shown.is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(expected))) {
            found = Some(token);
        }
    }
    let Some(token) = found else {
        let refusal = Refusal::new(401, "token-required", "a bearer token is needed");
        return Err(refusal.detail("expected Authorization: Bearer with a token of the controller"));
    };
    if !guard.roles.contains(&token.role) {
        return Err(Refusal::new(403, "wrong-role", "this token is for something else"));
    }
    if !guard.app.is_ready() && request.uri().path() != SYNC {
        return Err(Refusal::starting());
    }
    request.extensions_mut().insert(Caller(token.name.clone()));
    request.extensions_mut().insert(token.role);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// JSON that nobody keeps.
pub(crate) fn fresh(value: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(value)).into_response()
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let now = app.clock.now();
    let trouble = lock(&app.trouble).clone();
    let (origin, silent) = {
        let heard = lock(&app.heard);
        let edges = heard.edges_seen(now);
        let silent = !edges.is_empty() && edges.iter().all(|e| e.age.as_secs() > EDGE_SILENT_SECS);
        (heard.origin_trouble(now), silent)
    };
    let edges = silent.then(|| format!("no edge was heard for {EDGE_SILENT_SECS} s"));
    let silent_for = app.silent_for();
    let control = silent_for.map(|silent| format!("no front for {} s", silent.as_secs()));
    let parts = [
        ("control", control),
        ("store", trouble.store),
        ("keyring", trouble.keyring),
        ("origin", origin),
        ("edges", edges),
    ];
    let is_well = parts.iter().all(|(_, trouble)| trouble.is_none());
    let said: serde_json::Map<String, serde_json::Value> = parts
        .into_iter()
        .map(|(part, trouble)| (part.to_owned(), trouble.unwrap_or_else(|| "ok".into()).into()))
        .collect();
    let status = if is_well { "ok" } else { "degraded" };
    let code = if silent_for.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, fresh(json!({"status": status, "parts": said, "leads": app.epoch().is_some()})))
        .into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, app.metrics.text()).into_response()
}

async fn jwks(State(app): State<Arc<App>>) -> Response {
    let cache = [(header::CACHE_CONTROL, "public, max-age=60")];
    (cache, axum::Json(app.keyring.load().public_jwks())).into_response()
}
