//! Takes passes away: one visitor's, or all of a room. Operators and the security team may, each
//! deed is noted with its reason, and every edge knows with its next sync.

use std::sync::Arc;

use admission_api::EndReason;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use keys::Id128;
use serde::Deserialize;
use serde_json::json;

use super::operator::{changed, view};
use super::{Body, Caller, Refusal, fresh};
use crate::app::App;
use crate::config::TokenRole;
use crate::store::{Deed, EntryKind, Put, Revocation};

/// Longest reason, in characters.
const WHY_CHARS_MAX: usize = 500;

/// Body of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    why: String,
}

impl Why {
    fn checked(self) -> Result<String, Refusal> {
        let why = self.why.trim().to_owned();
        if why.is_empty() || why.chars().count() > WHY_CHARS_MAX {
            let refusal = Refusal::new(422, "why-required", "a reason is needed");
            return Err(refusal.detail(format!("expected why of 1 to {WHY_CHARS_MAX} characters")));
        }
        Ok(why)
    }
}

/// `visitor` is the `sub` that place and pass share.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Extension(role): Extension<TokenRole>,
    Path((event, visitor)): Path<(String, String)>,
    Body(why): Body<Why>,
) -> Result<Response, Refusal> {
    let sub: Id128 = visitor.parse().map_err(|_| {
        let refusal = Refusal::new(422, "malformed-visitor", "this is no visitor's id");
        refusal.detail("expected the sub of a place or a pass")
    })?;
    let view = view(&app, &event)?;
    let deed = deed(&app, who, &event, format!("pass of {sub} taken away: {}", why.checked()?));
    let state = match app.store.revoke(view.line(), sub, kind(role), deed).await? {
        Revocation::Ended => "ended",
        Revocation::Voided => "voided",
        Revocation::EndedBefore => "ended_before",
        Revocation::NoLine => return Err(Refusal::unknown_room(&event)),
    };
    if state == "ended" {
        app.metrics.ends_total.with_label_values(&[EndReason::Revoked.label()]).inc();
    }
    Ok(fresh(json!({"event": event, "visitor": sub, "state": state})))
}

/// A new generation of passes: all of before are void, and everybody is outside.
pub(super) async fn revoke_all(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Extension(role): Extension<TokenRole>,
    Path(event): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Refusal> {
    let id = view(&app, &event)?.line().event;
    let deed = deed(&app, who, &event, format!("all passes taken away: {}", why.checked()?));
    match app.store.revoke_all(id.clone(), kind(role), deed).await? {
        Put::Done(_) => changed(&app, &id, StatusCode::OK).await,
        Put::Missing | Put::Conflict { .. } => Err(Refusal::unknown_room(&event)),
    }
}

fn kind(role: TokenRole) -> EntryKind {
    match role {
        TokenRole::Security => EntryKind::Security,
        TokenRole::Operator | TokenRole::Edge => EntryKind::Operator,
    }
}

fn deed(app: &App, who: String, event: &str, what: String) -> Deed {
    tracing::info!(who, event, what, "passes: to be taken away");
    Deed { who, at: app.clock.now(), what }
}
