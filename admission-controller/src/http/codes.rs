//! Access codes of the priority lane: operators bring them or have them made, and edges' visitors
//! use them. Codes are told once, when they are made; afterwards nobody can read them here.

use std::sync::Arc;

use admission_api::{
    CodesSpec, Generate, NoPriority, PriorityOutcome, PriorityProof, PriorityRequest,
};
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use keys::{Place, Sealed, Ticket, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::edge::opened;
use super::operator::view;
use super::{Body, Caller, Refusal, fresh};
use crate::app::App;
use crate::codes::{Code, Purpose, ticket_hash};
use crate::control::RoomView;
use crate::store::{Deed, Grant, NewBatch};

/// Most codes in one request.
const CODES_AT_ONCE: usize = 10_000;
/// Longest name of a batch, in characters.
const LABEL_CHARS_MAX: usize = 100;
/// Characters of codes that are made: the fewest leave a million million of them.
const CHARS: std::ops::RangeInclusive<u8> = 8..=32;

fn refuse(expected: &str) -> Refusal {
    let refusal = Refusal::new(422, "codes-refused", "these codes do not fit");
    refusal.detail(format!("expected {expected}"))
}

/// What an operator wants kept, checked: each code in its one spelling.
fn checked(spec: CodesSpec) -> Result<(NewBatch, Vec<Code>, bool), Refusal> {
    let label = spec.label.trim().to_owned();
    if label.is_empty() || label.chars().count() > LABEL_CHARS_MAX || label.contains('\n') {
        return Err(refuse("a label of 1 to 100 characters on one line"));
    }
    if spec.uses == 0 {
        return Err(refuse("uses above 0"));
    }
    let is_backwards = spec.valid_from.zip(spec.valid_until).is_some_and(|(from, to)| from >= to);
    if is_backwards {
        return Err(refuse("valid_from before valid_until"));
    }
    let codes = match (spec.codes.as_slice(), spec.generate) {
        ([], Some(Generate { count, chars })) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if !(1..=CODES_AT_ONCE).contains(&count) || !CHARS.contains(&chars) {
                return Err(refuse("1 to 10000 codes of 8 to 32 characters"));
            }
            let made = (0..count).map(|_| Code::random(usize::from(chars)));
            made.collect::<Result<Vec<_>, _>>().map_err(|error| {
                tracing::error!(%error, "http: no code could be made");
                Refusal::new(503, "no-code", "no code can be made at the moment")
            })?
        }
        ([], None) | ([_, ..], Some(_)) => return Err(refuse("either codes or generate")),
        (codes, None) if codes.len() > CODES_AT_ONCE => {
            return Err(refuse("at most 10000 codes at once"));
        }
        (codes, None) => {
            let typed = codes.iter().map(|text| Code::typed(text));
            let all: Option<Vec<Code>> = typed.collect();
            all.ok_or_else(|| refuse("codes of 4 to 64 letters and digits"))?
        }
    };
    let CodesSpec { uses, valid_from, valid_until, generate, .. } = spec;
    Ok((NewBatch { label, uses, valid_from, valid_until }, codes, generate.is_some()))
}

pub(super) async fn add(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
    Body(spec): Body<CodesSpec>,
) -> Result<Response, Refusal> {
    let line = view(&app, &event)?.line();
    let (batch, codes, are_ours) = checked(spec)?;
    let hash = |code: &Code| code.hash(Purpose::Access, &line.event, line.line);
    let hashes = codes.iter().map(hash).collect();
    let deed = deed(&app, who, &event, format!("access codes added: {}", batch.label));
    let added = app.store.add_codes(line.clone(), batch, hashes, deed).await?;
    let added = added.ok_or_else(|| Refusal::unknown_room(&event))?;
    let told = if are_ours { codes.iter().map(Code::shown).collect() } else { Vec::new() };
    let said = json!({"event": event, "batch": added.batch, "added": added.added, "codes": told});
    Ok((StatusCode::CREATED, fresh(said)).into_response())
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
) -> Result<Response, Refusal> {
    let batches = app.store.code_batches(view(&app, &event)?.line()).await?;
    Ok(fresh(json!({"batches": batches})))
}

pub(super) async fn revoke_batch(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path((event, batch)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let line = view(&app, &event)?.line();
    let unknown = || Refusal::new(404, "unknown-batch", "there is no such batch of codes");
    let batch: u64 = batch.parse().map_err(|_| unknown())?;
    let deed = deed(&app, who, &event, format!("access codes taken back: batch {batch}"));
    if app.store.revoke_batch(line, batch, deed).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(unknown())
}

/// Body of `POST …/codes/revoke`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneCode {
    code: String,
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(Caller(who)): Extension<Caller>,
    Path(event): Path<String>,
    Body(OneCode { code }): Body<OneCode>,
) -> Result<Response, Refusal> {
    let line = view(&app, &event)?.line();
    let unknown = || Refusal::new(404, "unknown-code", "there is no such code");
    let code = Code::typed(&code).ok_or_else(unknown)?;
    let hash = code.hash(Purpose::Access, &line.event, line.line);
    let deed = deed(&app, who, &event, "an access code taken back".to_owned());
    if app.store.revoke_code(line, hash, deed).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(unknown())
}

/// A visitor shows an edge why their place should be a priority one.
pub(super) async fn grant(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<PriorityRequest>,
) -> Result<Response, Refusal> {
    caller.is_edge(&request.edge)?;
    let now = app.clock.now();
    let outcome = match judge(&app, &request.place, &request.proof, now).await? {
        Ok(num) => PriorityOutcome::Granted { num },
        Err(why) => PriorityOutcome::Refused { why },
    };
    let label = match outcome {
        PriorityOutcome::Granted { .. } => "granted",
        PriorityOutcome::Refused { why } => why.label(),
    };
    app.metrics.priority_total.with_label_values(&[label]).inc();
    Ok(fresh(outcome))
}

async fn judge(
    app: &App,
    place: &Sealed<Place>,
    proof: &PriorityProof,
    now: Timestamp,
) -> Result<Result<u64, NoPriority>, Refusal> {
    let Ok((place, view)) = opened(app, place, now) else {
        return Ok(Err(NoPriority::PlaceRefused));
    };
    let line = view.line();
    if place.moves < app.store.known(line.clone(), place.sub, now).await?.moves {
        return Ok(Err(NoPriority::PlaceMoved));
    }
    let (hash, is_ticket) = match proof {
        PriorityProof::Code(text) => match Code::typed(text) {
            Some(code) => (code.hash(Purpose::Access, &line.event, line.line), false),
            None => return Ok(Err(NoPriority::UnknownCode)),
        },
        PriorityProof::Ticket(ticket) => match counting_ticket(app, &view, ticket, now) {
            Some(ticket) => (ticket_hash(&ticket, &line.event, line.line), true),
            None => return Ok(Err(NoPriority::TicketRefused)),
        },
    };
    let at_most = view.room.spec.lanes.priority_max;
    Ok(app.store.grant(line, Grant { sub: place.sub, hash, is_ticket, at_most }, now).await?)
}

/// A ticket that verifies, holds, and is of an event that the room counts.
fn counting_ticket(
    app: &App,
    view: &RoomView,
    ticket: &Sealed<Ticket>,
    now: Timestamp,
) -> Option<Ticket> {
    let ticket = app.keyring.load().open_for_any_event(ticket, now).ok()?.into_inner();
    view.room.spec.priority_for.contains(&ticket.aud).then_some(ticket)
}

fn deed(app: &App, who: String, event: &str, what: String) -> Deed {
    tracing::info!(who, event, what, "operator: access codes");
    Deed { who, at: app.clock.now(), what }
}
