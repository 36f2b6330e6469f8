//! Answers the security team: who was judged a bot, why, and taking that back.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use keys::{EventId, Id128};
use serde::Deserialize;
use serde_json::json;

use super::{Body, Caller, Refusal, fresh};
use crate::app::App;
use crate::store::{Restore, Restorer};

/// Entries of a page, unless asked for otherwise.
const PAGE_DEFAULT: u64 = 100;
/// Most entries of a page: each carries its evidence.
const PAGE_MAX: u64 = 500;
/// Longest reason for taking a judgement back, in characters.
const WHY_CHARS_MAX: usize = 500;

#[derive(Deserialize)]
pub(super) struct Page {
    event: Option<String>,
    after: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Refusal> {
    let malformed =
        || Refusal::new(400, "malformed-query", "the query is not event=<id>&after=<id>&limit=<n>");
    let Query(Page { event, after, limit }) = query.map_err(|_| malformed())?;
    let event = event.filter(|event| !event.is_empty());
    let event: Option<EventId> =
        event.map(|event| event.parse().map_err(|_| malformed())).transpose()?;
    let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    // One more than asked for tells whether there is another page.
    let mut suspicions = app.store.suspicions(event, after, limit + 1).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = suspicions.len() > shown;
    suspicions.truncate(shown);
    let next = suspicions.last().filter(|_| has_more).map(|last| last.id);
    let snapshot = app.snapshot.load();
    let events: Vec<&EventId> = snapshot.rooms.keys().collect();
    Ok(fresh(json!({"suspicions": suspicions, "next": next, "events": events})))
}

/// Body of `POST …/restore`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    why: String,
}

pub(super) async fn restore(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path((event, sub)): Path<(String, String)>,
    Body(Why { why }): Body<Why>,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::new(404, "unknown-suspicion", "nobody was judged under this id");
    let event: EventId = event.parse().map_err(|_| unknown())?;
    let sub: Id128 = sub.parse().map_err(|_| unknown())?;
    let why = why.trim().to_owned();
    if why.is_empty() || why.chars().count() > WHY_CHARS_MAX {
        let refusal = Refusal::new(422, "why-required", "a reason is needed");
        return Err(refusal.detail(format!("expected why of 1 to {WHY_CHARS_MAX} characters")));
    }
    let now = app.clock.now();
    tracing::info!(who, event = event.as_str(), %sub, why, "security: a visitor is to be restored");
    let by = Restorer { who, why, at: now };
    match app.store.restore(event.clone(), sub, by).await? {
        Restore::Done(judged) => {
            if judged.restored_at == Some(now) {
                app.tick(now).await?;
            }
            Ok(fresh(judged))
        }
        Restore::AdmittedBefore => Err(Refusal::new(
            409,
            "admitted-before",
            "the visitor had entered before the judgement, which changed nothing",
        )),
        Restore::Missing => Err(unknown()),
    }
}
