//! Answers edges: numbers, claims, renewals, ends, and what is new once a second.

use std::sync::Arc;

use admission_api::{
    Claim, ClaimOutcome, EndRequest, Held, HeldNumber, LEASE_VALID, Lease, LeaseRequest, Renewal,
    RenewalOutcome, Sync, SyncReply,
};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use keys::{Id128, Phase, Place, Refusal as Refused, Sealed, Timestamp};

use super::{Body, Caller, Refusal, fresh};
use crate::app::{App, lock};
use crate::claims::{self, Back, Claimed, PassRecord, Verdict};
use crate::control::RoomView;
use crate::front;
use crate::store::{ComeBack, Counted, LineId, PassId, Published, RenewTo};

/// Most numbers in one lease: 250 ms of 200 000 joins a second.
const LEASE_COUNT_MAX: u64 = 50_000;

/// Most fronts and most numbers of an edge that are looked at.
const HELD_MAX: usize = 3000;

pub(super) async fn lease(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<LeaseRequest>,
) -> Result<Response, Refusal> {
    caller.is_edge(&request.edge)?;
    let snapshot = app.snapshot.load();
    let Some(view) = snapshot.rooms.get(&request.event) else {
        return Err(Refusal::unknown_room(request.event.as_str()));
    };
    if request.count == 0 {
        return Err(Refusal::new(422, "no-count", "a lease is of at least one number"));
    }
    match view.phase {
        Phase::SoldOut | Phase::Closed => {
            return Err(Refusal::new(409, "room-shut", "nobody joins this line any more"));
        }
        Phase::Scheduled | Phase::Open | Phase::Paused => {}
    }
    let request = LeaseRequest { count: request.count.min(LEASE_COUNT_MAX), ..request };
    let line = view.line();
    let generation = line.line;
    let (edge, now) = (request.edge.clone(), app.clock.now());
    let leased = app.store.lease(line, request.lane, request.count, edge, now).await?;
    let Some(first) = leased else {
        return Err(Refusal::unknown_room(request.event.as_str()));
    };
    app.metrics.leases_total.with_label_values(&[request.lane.label()]).inc();
    let count = request.count;
    let valid_ms = u64::try_from(LEASE_VALID.as_millis()).unwrap_or(0);
    Ok(fresh(Lease { line: generation, first, count, valid_ms }))
}

pub(super) async fn sync(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(sync): Body<Sync>,
) -> Result<Response, Refusal> {
    caller.is_edge(&sync.edge)?;
    let now = app.clock.now();
    if let Some(held) = &sync.held {
        take_in_held(&app, held, now);
    }
    if !app.is_ready() {
        return Err(Refusal::starting());
    }
    if !lock(&app.heard).is_repeated(&sync) {
        if !sync.gaps.is_empty() {
            app.store.give_back(sync.edge.clone(), sync.gaps.clone()).await?;
        }
        for suspicion in &sync.suspicions {
            if app.snapshot.load().rooms.contains_key(&suspicion.event) {
                let event = suspicion.event.as_str();
                app.metrics.suspicions_total.with_label_values(&[event]).inc();
            }
        }
        if !sync.suspicions.is_empty() {
            let kept = app.store.suspect(sync.suspicions.clone()).await?;
            for (event, dropped) in kept.dropped {
                let labels = [event.as_str()];
                app.metrics.suspicions_dropped_total.with_label_values(&labels).inc_by(dropped);
            }
        }
        // From here on nothing fails: what was taken in is noted as taken in.
        let snapshot = app.snapshot.load();
        let known = sync.rooms.iter().filter(|room| snapshot.rooms.contains_key(&room.event));
        for room in known {
            let event = room.event.as_str();
            app.metrics.joined_total.with_label_values(&[event]).inc_by(room.joined_total);
            app.metrics.bypassed_total.with_label_values(&[event]).inc_by(room.bypassed_total);
            let mut traffic = lock(&app.traffic);
            let traffic = traffic.entry(room.event.clone()).or_default();
            traffic.joined_total = traffic.joined_total.saturating_add(room.joined_total);
            traffic.bypassed_total = traffic.bypassed_total.saturating_add(room.bypassed_total);
        }
        lock(&app.heard).synced(&sync, now);
    }
    let (revoked, revoked_upto) = app.store.revoked_after(sync.revoked_after, now).await?;
    let snapshot = app.snapshot.load();
    Ok(fresh(SyncReply {
        rooms: snapshot.rooms.values().map(|view| view.room.clone()).collect(),
        fronts: snapshot.rooms.values().filter_map(|view| view.sealed.clone()).collect(),
        revoked,
        revoked_upto,
        restored: snapshot.restored.clone(),
        wants_held: app.store.is_settling(),
    }))
}

/// What an edge holds is put back should the store have lost it. Fronts are ours by their
/// signature; a number is believed within bounds.
fn take_in_held(app: &App, held: &Held, now: Timestamp) {
    let keyring = app.keyring.load();
    for sealed in held.fronts.iter().take(HELD_MAX) {
        if let Ok(front) = keyring.open_for_any_event(sealed, now) {
            let (front, sealed) = (front.into_inner(), Some(sealed.clone()));
            app.store.see_front(Published { front, sealed, told: None });
        }
    }
    for HeldNumber { event, line, lane, num } in held.numbers.iter().take(HELD_MAX) {
        let line = LineId { event: event.clone(), line: *line };
        app.store.see_number(&line, *lane, *num);
    }
}

pub(super) async fn claim(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(claim): Body<Claim>,
) -> Result<Response, Refusal> {
    caller.is_edge(&claim.edge)?;
    let outcome = judge(&app, &claim).await?;
    let label = match &outcome {
        ClaimOutcome::Admitted { is_first: true, .. } => "admitted",
        ClaimOutcome::Admitted { is_first: false, .. } => "repeated",
        ClaimOutcome::NotYet { .. } => "not_yet",
        ClaimOutcome::Moved { .. } => "moved",
        ClaimOutcome::Back { .. } => "back",
        ClaimOutcome::Used => "used",
        ClaimOutcome::Gone => "gone",
        ClaimOutcome::Refused { .. } => "refused",
        ClaimOutcome::Shut => "shut",
    };
    app.metrics.claims_total.with_label_values(&[label]).inc();
    Ok(fresh(outcome))
}

async fn judge(app: &App, claim: &Claim) -> Result<ClaimOutcome, Refusal> {
    let now = app.clock.now();
    let (place, view) = match opened(app, &claim.place, now) {
        Ok(opened) => opened,
        Err(code) => return Ok(ClaimOutcome::Refused { code }),
    };
    let known = app.store.known(view.line(), place.sub, now).await?;
    let facts = view.facts();
    let (lane, num, has_returned) = match claims::judge(&place, &known, &facts, now) {
        Verdict::Used => return Ok(ClaimOutcome::Used),
        Verdict::Gone => return Ok(ClaimOutcome::Gone),
        Verdict::Shut => return Ok(ClaimOutcome::Shut),
        Verdict::NotYet { front } => return Ok(ClaimOutcome::NotYet { front }),
        Verdict::Moved { suspect_num } => return Ok(ClaimOutcome::Moved { suspect_num }),
        Verdict::Back { back, front } => return Ok(still_behind(&place, back, front)),
        Verdict::Repeat(record) => return admitted(app, &place, &record, false, now),
        Verdict::Enter { lane, num } => {
            (lane, num, matches!(known.claimed, Some(Claimed::Back(_))))
        }
        Verdict::Return { lane, num, at_least, at_most, why } => {
            let (sub, place_exp) = (place.sub, place.exp);
            let to = ComeBack { sub, lane, num, at_least, at_most, place_exp };
            let Some(position) = app.store.come_back(view.line(), to, now).await? else {
                return Ok(match known.claimed {
                    Some(_) => ClaimOutcome::Used,
                    None => ClaimOutcome::Refused { code: "number".to_owned() },
                });
            };
            if !facts.is_off && position > front::effective(&view.signed, lane, now) {
                return Ok(ClaimOutcome::Back { lane, num, position, why });
            }
            (lane, num, true)
        }
    };
    let rules = view.room.spec.passes;
    let record = PassRecord {
        sub: place.sub,
        jti: Id128::random(),
        lane,
        num,
        risk: claims::risk(lane, claim.score),
        generation: view.room.pass_generation,
        first_at: now,
        renewed_at: now,
        exp: now.plus_secs(rules.idle_secs.min(rules.max_secs)).floor_to_secs(),
        place_exp: place.exp,
        has_returned,
    };
    match app.store.claim(view.line(), record.clone(), now).await? {
        Counted::First => {
            app.came(&place.aud);
            admitted(app, &place, &record, true, now)
        }
        Counted::Repeat(record) => admitted(app, &place, &record, false, now),
        Counted::Ended => Ok(ClaimOutcome::Used),
        Counted::NotTheirs => Ok(ClaimOutcome::Refused { code: "number".to_owned() }),
        Counted::NoLine => Ok(ClaimOutcome::Refused { code: "line".to_owned() }),
    }
}

/// A place that verifies and belongs to a line of now, or why it does not.
pub(super) fn opened(
    app: &App,
    place: &Sealed<Place>,
    now: Timestamp,
) -> Result<(Place, Arc<RoomView>), String> {
    let opened = app.keyring.load().open_for_any_event(place, now);
    let place = opened.map_err(|refused| refused.label().to_owned())?.into_inner();
    let snapshot = app.snapshot.load();
    let view = snapshot.rooms.get(&place.aud).filter(|view| view.room.line == place.line);
    let view = view.cloned().ok_or_else(|| "line".to_owned())?;
    Ok((place, view))
}

/// Whoever came back and shows the place of before is given the new one again.
fn still_behind(place: &Place, back: Back, front: u64) -> ClaimOutcome {
    let Back { lane, num, position, .. } = back;
    if place.back == Some(position) {
        return ClaimOutcome::NotYet { front };
    }
    ClaimOutcome::Back { lane, num, position, why: back.why() }
}

fn admitted(
    app: &App,
    place: &Place,
    record: &PassRecord,
    is_first: bool,
    now: Timestamp,
) -> Result<ClaimOutcome, Refusal> {
    let pass = record.claims(app.name.clone(), place.aud.clone(), place.fpr.clone());
    let pass = app.keyring.load().seal(&pass, now)?;
    Ok(ClaimOutcome::Admitted { pass, is_first })
}

pub(super) async fn renew(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(renewal): Body<Renewal>,
) -> Result<Response, Refusal> {
    caller.is_edge(&renewal.edge)?;
    let now = app.clock.now();
    let opened = app.keyring.load().open_for_any_event(&renewal.pass, now);
    let snapshot = app.snapshot.load();
    let ended = || {
        app.metrics.renewals_total.with_label_values(&["ended"]).inc();
        fresh(RenewalOutcome::Ended)
    };
    let Ok(pass) = opened else { return Ok(ended()) };
    let Some(view) = snapshot.rooms.get(&pass.aud) else { return Ok(ended()) };
    let rules = view.room.spec.passes;
    let to = RenewTo {
        idle_secs: rules.idle_secs,
        max_secs: rules.max_secs,
        generation: view.room.pass_generation,
    };
    let shown = PassRecord::shown(&pass, rules.place_secs);
    let Some(record) = app.store.renew(view.line(), shown, to, now).await? else {
        return Ok(ended());
    };
    let pass = record.claims(app.name.clone(), pass.aud.clone(), pass.fpr.clone());
    let pass = app.keyring.load().seal(&pass, now)?;
    app.metrics.renewals_total.with_label_values(&["renewed"]).inc();
    Ok(fresh(RenewalOutcome::Renewed { pass }))
}

/// `204` whether it ended now or before: the wish is fulfilled either way.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<EndRequest>,
) -> Result<Response, Refusal> {
    caller.is_edge(&request.edge)?;
    let now = app.clock.now();
    let opened = app.keyring.load().open_for_any_event(&request.pass, now);
    let pass = match opened {
        Ok(pass) => pass,
        Err(Refused::Ended { .. }) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Err(refused) => {
            let refusal = Refusal::new(422, "pass-refused", "this is no pass of ours");
            return Err(refusal.with("reason", refused.label()));
        }
    };
    let snapshot = app.snapshot.load();
    if let Some(view) = snapshot.rooms.get(&pass.aud) {
        let id = PassId { sub: pass.sub, jti: pass.jti };
        if app.store.end(view.line(), id, request.reason, now).await? {
            app.metrics.ends_total.with_label_values(&[request.reason.label()]).inc();
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
