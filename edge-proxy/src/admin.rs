//! The edge's metrics and health, for operators and their machines only.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keys::Timestamp;
use serde_json::json;

use crate::desk::Desk;

/// The controller is called silent after this long, in seconds.
const SILENT_SECS: u64 = 5;

/// `/metrics` and `/health`.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(desk)
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], desk.metrics.text()).into_response()
}

/// `503` until the controller was heard once; after that, a silent controller is `degraded` and
/// still `200`: those inside are served.
async fn health(State(desk): State<Arc<Desk>>) -> Response {
    let now = Timestamp::now();
    let silent_secs = desk.live.heard_at().map(|at| now.since(at).as_secs());
    let (code, status) = match silent_secs {
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Some(secs) if secs > SILENT_SECS => (StatusCode::OK, "degraded"),
        Some(_) => (StatusCode::OK, "ok"),
    };
    let rooms = desk.live.rooms().iter().count();
    let body = json!({
        "status": status,
        "edge": desk.name,
        "controller_silent_secs": silent_secs,
        "rooms": rooms,
    });
    (code, axum::Json(body)).into_response()
}
