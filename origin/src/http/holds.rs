//! What a visitor may do with seats before paying: hold them, look, change one's mind, get more
//! time, give them back.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use keys::{EventId, Id128, Timestamp};
use serde::Deserialize;

use super::body::Json;
use super::live::refused_by;
use super::pass_on::CommandId;
use super::problem::Refused;
use super::public::PRIVATE;
use super::shopper::{Holder, Shopper};
use super::{App, Shop, views};
use crate::live::Mode;
use crate::partition::Answer;
use crate::sale::{
    AreaPick, Command, Extension, Party, PartySeats, Pick, Refusal, Reply, Seat, Want,
};
use crate::store::Mark;

/// Most zones in one wish: a house has a handful.
const ZONES_MAX: usize = 64;

/// Room for a hold of as many seats as an order may have by default, as JSON.
const HOLD_BYTES: usize = 2048;

/// Routes of holds.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/events/{event}/holds", post(make_hold))
        .route("/api/v1/events/{event}/holds/{hold}", get(view_hold).patch(amend).delete(release))
        .route("/api/v1/events/{event}/holds/{hold}/extend", post(extend))
}

/// Seats and places that are wanted, or a wish that leaves the choice to us.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldBody {
    seats: Option<Vec<Seat>>,
    areas: Option<Vec<AreaPick>>,
    best: Option<BestBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BestBody {
    zone: Option<String>,
    #[serde(default)]
    zones: Vec<String>,
    price_max: Option<u64>,
    quantity: Option<u32>,
    accessible: Option<u32>,
    companions: Option<u32>,
    #[serde(default = "is_together")]
    together: bool,
}

const fn is_together() -> bool {
    true
}

impl HoldBody {
    fn want(self) -> Result<Want, Refused> {
        match self {
            Self { best: Some(best), seats: None, areas: None } => Ok(Want::Best(best.party()?)),
            Self { best: None, seats, areas } if seats.is_some() || areas.is_some() => {
                let (seats, areas) = (seats.unwrap_or_default(), areas.unwrap_or_default());
                Ok(Want::Pick(Pick { seats, areas }))
            }
            _ => Err(Refused::invalid("expected either seats and areas, or best")),
        }
    }
}

impl BestBody {
    fn party(self) -> Result<Party, Refused> {
        let Self { zone, mut zones, price_max, quantity, accessible, companions, together } = self;
        zones.extend(zone);
        if zones.len() > ZONES_MAX {
            return Err(Refused::invalid(format!("expected at most {ZONES_MAX} zones")));
        }
        let seats = match (quantity, accessible, companions.unwrap_or(0)) {
            (Some(quantity), None, 0) => PartySeats::Any { quantity },
            (None, Some(spaces), companions) if companions <= spaces => {
                PartySeats::Accessible { spaces, companions }
            }
            _ => {
                let expected = "expected quantity, or accessible with no more companions than that";
                return Err(Refused::invalid(expected));
            }
        };
        Ok(Party { zones, price_max, seats, may_split: !together })
    }
}

/// Seats that come to a hold and go from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AmendBody {
    #[serde(default)]
    add: PickBody,
    #[serde(default)]
    drop: PickBody,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PickBody {
    seats: Vec<Seat>,
    areas: Vec<AreaPick>,
}

impl PickBody {
    fn pick(self) -> Pick {
        let Self { seats, areas } = self;
        Pick { seats, areas }
    }
}

/// Why more time is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendBody {
    #[serde(deserialize_with = "asked_for")]
    pub(super) reason: Extension,
}

fn asked_for<'de, D: serde::Deserializer<'de>>(reason: D) -> Result<Extension, D::Error> {
    let reason = Extension::deserialize(reason)?;
    if Extension::ALL.contains(&reason) {
        return Ok(reason);
    }
    Err(serde::de::Error::custom("expected checkout or more-time"))
}

async fn make_hold(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    CommandId(hold): CommandId,
    Json(body): Json<HoldBody>,
) -> Result<Response, Refused> {
    let want = body.want()?;
    let names_seats = matches!(&want, Want::Pick(pick) if !pick.seats.is_empty());
    check_mode(&app, shopper.event(), names_seats)?;
    if let Want::Pick(pick) = &want
        && pick.areas.is_empty()
    {
        check_marks(&app, &shopper, &pick.seats, hold).await?;
    }
    let command = Command::Hold { hold, sub: shopper.pass.sub, want };
    let answered = app.sales.ask(shopper.event(), command).await.map_err(Refused::from);
    let body = match answered.and_then(|answer| hold_body(shopper.shop(), answer)) {
        Ok(body) => body,
        Err(refused) => {
            app.stores.hot.unmark(shopper.event(), hold).await;
            return Err(refused);
        }
    };
    let location = format!("/api/v1/events/{}/holds/{hold}", shopper.event());
    let location = HeaderValue::try_from(location).map_err(|_| Refused::internal())?;
    let headers = [(header::CACHE_CONTROL, PRIVATE), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, body).into_response())
}

/// Refuses at once what somebody else has marked. What the writer would refuse for another reason
/// goes to it, so that the reason is the same with and without marks.
async fn check_marks(
    app: &App,
    shopper: &Shopper,
    seats: &[Seat],
    hold: Id128,
) -> Result<(), Refused> {
    let shop = shopper.shop();
    let best_only_until = shop.event.facts.best_only_until;
    let is_sound = seats.len() <= app.rules.seats_per_order_max as usize
        && best_only_until.is_none_or(|until| until <= Timestamp::now())
        && seats.iter().all(|seat| *seat < shop.venue.seats);
    if !is_sound {
        return Ok(());
    }
    match app.stores.hot.try_mark(shopper.event(), seats, hold, app.rules.hold).await {
        Mark::Taken(seats) => Err(Refused::sale(&Refusal::SeatTaken { seats }, shop.shelf.seq())),
        Mark::Free | Mark::Unavailable => Ok(()),
    }
}

async fn view_hold(
    State(app): State<Arc<App>>,
    Path((_, hold)): Path<(String, String)>,
    Holder(shopper): Holder,
) -> Result<Response, Refused> {
    let command = Command::ViewHold { hold: hold_id(&hold)?, sub: shopper.pass.sub };
    let answer = app.sales.ask(shopper.event(), command).await?;
    let body = hold_body(shopper.shop(), answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], body).into_response())
}

async fn amend(
    State(app): State<Arc<App>>,
    Path((_, hold)): Path<(String, String)>,
    Holder(shopper): Holder,
    Json(AmendBody { add, drop }): Json<AmendBody>,
) -> Result<Response, Refused> {
    let (hold, sub) = (hold_id(&hold)?, shopper.pass.sub);
    let (add, drop) = (add.pick(), drop.pick());
    if !add.is_empty() {
        shopper.check_on_sale()?;
        check_mode(&app, shopper.event(), !add.seats.is_empty())?;
    }
    let command = Command::Amend { hold, sub, add, drop };
    let answer = app.sales.ask(shopper.event(), command).await?;
    // Its marks are of the seats that it had. Without marks the writer is asked, as ever.
    app.stores.hot.unmark(shopper.event(), hold).await;
    let body = hold_body(shopper.shop(), answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], body).into_response())
}

async fn extend(
    State(app): State<Arc<App>>,
    Path((_, hold)): Path<(String, String)>,
    Holder(shopper): Holder,
    Json(ExtendBody { reason }): Json<ExtendBody>,
) -> Result<Response, Refused> {
    let command = Command::Extend { hold: hold_id(&hold)?, sub: shopper.pass.sub, by: reason };
    let answer = app.sales.ask(shopper.event(), command).await?;
    let body = hold_body(shopper.shop(), answer)?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], body).into_response())
}

async fn release(
    State(app): State<Arc<App>>,
    Path((_, hold)): Path<(String, String)>,
    Holder(shopper): Holder,
) -> Result<Response, Refused> {
    let hold = hold_id(&hold)?;
    let command = Command::Release { hold, sub: shopper.pass.sub };
    let Answer { seq, reply } = app.sales.ask(shopper.event(), command).await?;
    match reply {
        Reply::Freed => {
            app.stores.hot.unmark(shopper.event(), hold).await;
            Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, PRIVATE)]).into_response())
        }
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

/// Whether the level of the sale offers that.
fn check_mode(app: &App, event: &EventId, names_seats: bool) -> Result<(), Refused> {
    let mode = app.hub.mode(event);
    let is_offered = match names_seats {
        true => mode.takes_named_seats(),
        false => mode != Mode::Paused,
    };
    if is_offered { Ok(()) } else { Err(refused_by(mode, event)) }
}

/// A hold as JSON.
fn hold_body(shop: &Shop, Answer { seq, reply }: Answer) -> Result<Response, Refused> {
    match reply {
        Reply::Hold(hold) => {
            let mut body = Vec::with_capacity(HOLD_BYTES);
            let written = serde_json::to_writer(&mut body, &views::hold(shop, &hold, seq));
            written.map_err(|_| Refused::internal())?;
            let json = HeaderValue::from_static("application/json");
            Ok(([(header::CONTENT_TYPE, json)], body).into_response())
        }
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => Err(Refused::internal()),
    }
}

pub(super) fn hold_id(text: &str) -> Result<Id128, Refused> {
    text.parse().map_err(|_| Refused::not_found("unknown-hold", "No such hold"))
}
