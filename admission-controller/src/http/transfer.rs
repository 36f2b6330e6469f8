//! Answers edges whose visitors move a place to another device.

use std::sync::Arc;

use admission_api::{RedeemOutcome, RedeemRequest, TransferOutcome, TransferRequest};
use axum::extract::{Extension, State};
use axum::response::Response;
use keys::Id128;

use super::edge::opened;
use super::{Body, Caller, Refusal, fresh};
use crate::app::App;
use crate::claims::Claimed;
use crate::codes::{Code, Purpose};
use crate::store::{Redeem, Transfer};

/// Characters of a code: with ten thousand open and ten guesses a minute from each network, a
/// hundred thousand networks find one in about ten weeks.
const CODE_CHARS: usize = 8;
/// How long a code is good.
const CODE_SECS: u64 = 10 * 60;

pub(super) async fn open(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<TransferRequest>,
) -> Result<Response, Refusal> {
    caller.is_edge(&request.edge)?;
    let now = app.clock.now();
    let (place, view) = match opened(&app, &request.place, now) {
        Ok(opened) => opened,
        Err(code) => return Ok(fresh(TransferOutcome::Refused { code })),
    };
    let known = app.store.known(view.line(), place.sub, now).await?;
    if place.moves < known.moves {
        return Ok(fresh(TransferOutcome::Gone));
    }
    match known.claimed {
        Some(Claimed::Ended(None)) => return Ok(fresh(TransferOutcome::Used)),
        Some(Claimed::Inside(_) | Claimed::Ended(Some(_)) | Claimed::Back(_)) | None => {}
    }
    let code = Code::random(CODE_CHARS).map_err(|error| {
        tracing::error!(%error, "http: no code could be made");
        Refusal::new(503, "no-code", "no code can be made at the moment")
    })?;
    let hash = code.hash(Purpose::Transfer, &place.aud, place.line);
    let until = now.plus_secs(CODE_SECS).floor_to_secs();
    let line = view.line();
    let is_open = app.store.open_transfer(line, Transfer { hash, place, until }, now).await?;
    if !is_open {
        return Ok(fresh(TransferOutcome::Full));
    }
    Ok(fresh(TransferOutcome::Open { code: code.shown(), until }))
}

pub(super) async fn redeem(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<RedeemRequest>,
) -> Result<Response, Refusal> {
    caller.is_edge(&request.edge)?;
    let now = app.clock.now();
    let snapshot = app.snapshot.load();
    let (Some(view), Some(code)) = (snapshot.rooms.get(&request.event), Code::typed(&request.code))
    else {
        return Ok(fresh(RedeemOutcome::Unknown));
    };
    let line = view.line();
    let hash = code.hash(Purpose::Transfer, &line.event, line.line);
    let redeem = Redeem { hash, asker: request.asker, fresh_jti: Id128::random() };
    let redeemed = app.store.redeem_transfer(line, redeem, now).await?;
    Ok(fresh(match redeemed {
        Some(redeemed) => {
            RedeemOutcome::Moved { place: Box::new(redeemed.place), is_inside: redeemed.is_inside }
        }
        None => RedeemOutcome::Unknown,
    }))
}
