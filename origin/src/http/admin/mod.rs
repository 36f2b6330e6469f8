//! What organisers may do, on the internal listener: describe events, draw seat maps, put on sale,
//! and look at what was sold.
//!
//! Each organiser has a token of their own, and everything they change is written to the
//! catalogue's log in their name. What a route answers is in force by then: shops and search have
//! followed.

mod blocks;
mod events;
mod export;
mod maps;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use keys::{EventId, Secret};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::App;
use super::problem::Refused;
use super::shopper::unknown_event;
use crate::catalogue::{AskError, Command, Invalid, Refusal, Reply};
use crate::config::Organiser;
use crate::partition::Unavailable;
use crate::usher;

/// Longest seat map as JSON: 150,000 seats at twenty bytes, and room.
pub const MAP_BYTES_MAX: usize = 8 << 20;
/// Longest import of a thousand things.
pub const IMPORT_BYTES_MAX: usize = 4 << 20;
/// Most entries of the audit trail in one answer.
const AUDIT_MAX: usize = 1_000;

/// What belongs to nobody but the asker.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");

/// All routes for organisers.
pub fn routes() -> Router<Arc<App>> {
    let maps = Router::new()
        .route("/admin/v1/maps", post(maps::put))
        .layer(DefaultBodyLimit::max(MAP_BYTES_MAX));
    let import = Router::new()
        .route("/admin/v1/import", post(events::import))
        .layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX));
    Router::new()
        .route("/admin/v1/events", get(events::list))
        .route("/admin/v1/events/{event}", get(events::view).put(events::set))
        .route("/admin/v1/events/{event}/status", put(events::set_status))
        .route("/admin/v1/events/{event}/blocks", get(blocks::list))
        .route("/admin/v1/events/{event}/block", post(blocks::block))
        .route("/admin/v1/events/{event}/unblock", post(blocks::unblock))
        .route("/admin/v1/events/{event}/orders", get(export::orders))
        .route("/admin/v1/events/{event}/orders.csv", get(export::orders_csv))
        .route("/admin/v1/events/{event}/seats.csv", get(export::seats_csv))
        .route("/admin/v1/venues/{venue}", get(events::view_venue).put(events::set_venue))
        .route(
            "/admin/v1/performers/{performer}",
            get(events::view_performer).put(events::set_performer),
        )
        .route("/admin/v1/maps/{map}", get(maps::view))
        .route("/admin/v1/audit", get(audit))
        .merge(maps)
        .merge(import)
}

/// An organiser who has shown their token.
struct Somebody {
    name: String,
}

impl FromRequestParts<Arc<App>> for Somebody {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
        let shown = shown.and_then(|shown| shown.strip_prefix("Bearer ")).unwrap_or("");
        match who(&app.organisers, shown) {
            Some(organiser) => Ok(Self { name: organiser.name.to_string() }),
            None => {
                let status = StatusCode::UNAUTHORIZED;
                let refused =
                    Refused::new(status, "unauthorized", "An organiser's token is required");
                let bearer = HeaderValue::from_static("Bearer");
                Err(refused.header(header::WWW_AUTHENTICATE, bearer))
            }
        }
    }
}

/// Whose token it is. All are compared, and in one time: digests have one length.
fn who<'a>(organisers: &'a [Organiser], shown: &str) -> Option<&'a Organiser> {
    let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
    let shown = digest(shown);
    let is_theirs = |token: &Secret| -> Choice { digest(token.expose()).ct_eq(&shown) };
    let mut found = None;
    for organiser in organisers {
        if is_theirs(&organiser.token).into() {
            found = Some(organiser);
        }
    }
    found
}

/// Refuses what only the process can tell that has the event's seats.
fn here(app: &App, event: &EventId) -> Result<(), Refused> {
    if app.catalogue.event(event).is_none() {
        return Err(unknown_event());
    }
    // It was passed on to its owner, unless it changed hands this very moment.
    if !app.is_ours(event) {
        return Err(Unavailable::Down.into());
    }
    match app.shops.get(event) {
        Some(_) => Ok(()),
        None => Err(Refused::new(StatusCode::CONFLICT, "never-on-sale", "It was never on sale")),
    }
}

/// Asks the catalogue in somebody's name, and waits until shops and search have followed.
pub(super) async fn ask(
    app: &Arc<App>,
    by: &str,
    command: Command,
) -> Result<(Reply, u64), Refused> {
    let answer = app.clerk.ask(by, command).await?;
    usher::follow(app).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "a change of the catalogue is written and not in force yet");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let refused =
            Refused::new(status, "not-in-force", "The change is written and not in force");
        refused.detail("it is tried again every second").retry()
    })?;
    Ok(answer)
}

impl From<AskError> for Refused {
    fn from(error: AskError) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            AskError::Refused(refusal) => refusal.into(),
            AskError::Busy => Self::new(unavailable, "busy", "Too many requests at once").retry(),
            AskError::Down => {
                Self::new(unavailable, "unavailable", "The catalogue cannot be changed").retry()
            }
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, code, title) = match &refusal {
            Refusal::UnknownEvent(_) => (StatusCode::NOT_FOUND, "unknown-event", "No such event"),
            Refusal::UnknownVenue(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown-venue", "No such venue")
            }
            Refusal::UnknownPerformer(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown-performer", "No such performer")
            }
            Refusal::UnknownMap(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown-map", "No such seat map")
            }
            Refusal::Exists(_) => {
                (StatusCode::PRECONDITION_REQUIRED, "if-match-required", "It is there already")
            }
            Refusal::VersionMismatch { .. } => {
                (StatusCode::PRECONDITION_FAILED, "version-mismatch", "It was changed meanwhile")
            }
            Refusal::SaleBegan { .. } => {
                (StatusCode::CONFLICT, "sale-began", "That is fixed since the sale began")
            }
            Refusal::NotSellable { .. } => {
                (StatusCode::CONFLICT, "not-sellable", "It cannot be sold like this")
            }
            Refusal::Cancelled(_) => (StatusCode::CONFLICT, "cancelled", "It was cancelled"),
            Refusal::OpensInThePast => {
                (StatusCode::UNPROCESSABLE_ENTITY, "opens-in-the-past", "That time is over")
            }
        };
        let refused = Self::new(status, code, title).detail(refusal.to_string());
        match refusal {
            Refusal::VersionMismatch { version, .. } => refused.with("version", version),
            Refusal::SaleBegan { what, .. } => refused.with("what", what),
            _ => refused,
        }
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.to_string()).with("field", invalid.field)
    }
}

/// The version that `If-Match` names; `None` without it.
fn seen(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(tag) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let version = tag.to_str().ok().and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
    let version = version.and_then(|version| version.parse().ok());
    version.map(Some).ok_or_else(|| Refused::invalid("If-Match is not a version like \"17\""))
}

/// A body with the version that it is of.
fn versioned(status: StatusCode, version: u64, body: Value) -> Result<Response, Refused> {
    let tag = HeaderValue::try_from(format!("\"{version}\"")).map_err(|_| Refused::internal())?;
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, PRIVATE)];
    Ok((status, headers, axum::Json(body)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    #[serde(default)]
    from: u64,
    #[serde(default = "audit_max")]
    limit: usize,
}

const fn audit_max() -> usize {
    AUDIT_MAX
}

/// Who changed what and when, oldest first: `{"entries", "next"}`.
async fn audit(
    State(app): State<Arc<App>>,
    _: Somebody,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(AuditQuery { from, limit }) =
        query.map_err(|_| Refused::invalid("expected from=<number> and limit=<number>"))?;
    let limit = limit.clamp(1, AUDIT_MAX);
    let audited = app.clerk.audit(from, limit).await?;
    let next = audited.last().filter(|_| audited.len() == limit).map(|last| last.seq + 1);
    let entries = audited.iter().map(|audited| {
        let mut entry = serde_json::to_value(&audited.entry).unwrap_or_default();
        entry["seq"] = audited.seq.into();
        entry["at"] = json!(audited.at);
        entry
    });
    let body = json!({ "entries": entries.collect::<Value>(), "next": next });
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_organisers_and_nobody_elses() {
        let organiser = |name: &str, token: &str| Organiser {
            name: name.parse().unwrap(),
            token: Secret::try_from(token.to_owned()).unwrap(),
        };
        let organisers = [organiser("ana", &"a".repeat(20)), organiser("ben", &"b".repeat(20))];
        let name = |shown: &str| who(&organisers, shown).map(|found| found.name.to_string());
        assert_eq!(name(&"b".repeat(20)).as_deref(), Some("ben"));
        for wrong in ["", "ana", &"a".repeat(19), &"a".repeat(21)] {
            assert_eq!(name(wrong), None);
        }
    }
}
