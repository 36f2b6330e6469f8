//! What a visitor may do with seats before paying: hold them, look, give them back.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use keys::Id128;
use serde::Deserialize;
use serde_json::Value;

use super::body::Json;
use super::live::refused_by;
use super::pass_on::CommandId;
use super::problem::Refused;
use super::public::PRIVATE;
use super::shopper::Shopper;
use super::{App, Shop, views};
use crate::live::Mode;
use crate::partition::Answer;
use crate::sale::{Command, Reply, Seat, Want};

/// Routes of holds.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/events/{event}/holds", post(make_hold))
        .route("/api/v1/events/{event}/holds/{hold}", get(view_hold).delete(release))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldBody {
    seats: Option<Vec<Seat>>,
    best: Option<BestBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BestBody {
    zone: Option<String>,
    quantity: u32,
}

async fn make_hold(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    CommandId(hold): CommandId,
    Json(body): Json<HoldBody>,
) -> Result<Response, Refused> {
    let want = match (body.seats, body.best) {
        (Some(seats), None) => Want::Seats(seats),
        (None, Some(BestBody { zone, quantity })) => Want::Best { zone, quantity },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refused::invalid("expected either seats or best"));
        }
    };
    let mode = app.hub.mode(shopper.event());
    let is_offered = match want {
        Want::Seats(_) => mode.takes_named_seats(),
        Want::Best { .. } => mode != Mode::Paused,
    };
    if !is_offered {
        return Err(refused_by(mode, shopper.event()));
    }
    let command = Command::Hold { hold, sub: shopper.pass.sub, want };
    let answer = app.sales.ask(shopper.event(), command).await?;
    let body = hold_body(shopper.shop(), answer)?;
    let location = format!("/api/v1/events/{}/holds/{hold}", shopper.event());
    let location = HeaderValue::try_from(location).map_err(|_| Refused::internal())?;
    let headers = [(header::CACHE_CONTROL, PRIVATE), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, axum::Json(body)).into_response())
}

async fn view_hold(
    State(app): State<Arc<App>>,
    Path((_, hold)): Path<(String, String)>,
    shopper: Shopper,
) -> Result<Response, Refused> {
    let command = Command::ViewHold { hold: hold_id(&hold)?, sub: shopper.pass.sub };
    let answer = app.sales.ask(shopper.event(), command).await?;
    let body = hold_body(shopper.shop(), answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

async fn release(
    State(app): State<Arc<App>>,
    Path((_, hold)): Path<(String, String)>,
    shopper: Shopper,
) -> Result<Response, Refused> {
    let command = Command::Release { hold: hold_id(&hold)?, sub: shopper.pass.sub };
    let Answer { seq, reply } = app.sales.ask(shopper.event(), command).await?;
    match reply {
        Reply::Freed => {
            Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, PRIVATE)]).into_response())
        }
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

fn hold_body(shop: &Shop, Answer { seq, reply }: Answer) -> Result<Value, Refused> {
    match reply {
        Reply::Hold(hold) => Ok(views::hold(shop, &hold, seq)),
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

pub(super) fn hold_id(text: &str) -> Result<Id128, Refused> {
    text.parse().map_err(|_| Refused::not_found("unknown-hold", "No such hold"))
}
