//! Seats that an organiser keeps out of sale, by channel: sponsors, the box office, a camera.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use keys::EventId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::body::Json;
use super::super::problem::Refused;
use super::super::shopper::unknown_event;
use super::{PRIVATE, Somebody, here};
use crate::catalogue::Command as Entry;
use crate::partition::Answer;
use crate::sale::{AreaPick, Command, Pick, Reply, Seat};

const CHANNEL_CHARS_MAX: usize = 40;
/// Seats in one request: the largest block of any house.
const SEATS_MAX: usize = 5_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockBody {
    channel: String,
    #[serde(default)]
    seats: Vec<Seat>,
    #[serde(default)]
    areas: Vec<AreaPick>,
}

impl BlockBody {
    fn check(self) -> Result<(String, Pick), Refused> {
        let channel = self.channel.trim();
        let is_sound = !channel.is_empty()
            && channel.chars().count() <= CHANNEL_CHARS_MAX
            && !channel.chars().any(char::is_control);
        if !is_sound {
            return Err(Refused::invalid("channel is not 1 to 40 printable characters"));
        }
        if self.seats.len() > SEATS_MAX {
            return Err(Refused::invalid("more than 5000 seats, send them in parts"));
        }
        Ok((channel.to_owned(), Pick { seats: self.seats, areas: self.areas }))
    }
}

/// What is kept out of sale: `{"blocks":[{"channel","runs"}],"seq"}`.
pub async fn list(
    State(app): State<Arc<App>>,
    _: Somebody,
    Path(event): Path<String>,
) -> Result<Response, Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    here(&app, &event)?;
    answer(&app, &event).await
}

/// Keeps seats out of sale; all or none, and asking again is safe.
pub async fn block(
    State(app): State<Arc<App>>,
    by: Somebody,
    Path(event): Path<String>,
    Json(body): Json<BlockBody>,
) -> Result<Response, Refused> {
    let (channel, pick) = body.check()?;
    change(&app, &by, &event, "block", Command::Block { pick, channel }).await
}

/// Puts seats of a channel on sale again; all or none.
pub async fn unblock(
    State(app): State<Arc<App>>,
    by: Somebody,
    Path(event): Path<String>,
    Json(body): Json<BlockBody>,
) -> Result<Response, Refused> {
    let (channel, pick) = body.check()?;
    change(&app, &by, &event, "unblock", Command::Unblock { pick, channel }).await
}

/// Writes down who asks for what, then asks: the trail may tell of something that was refused,
/// and never misses something that was done.
async fn change(
    app: &Arc<App>,
    by: &Somebody,
    event: &str,
    action: &'static str,
    command: Command,
) -> Result<Response, Refused> {
    let event: EventId = event.parse().map_err(|_| unknown_event())?;
    here(app, &event)?;
    let detail = match &command {
        Command::Block { pick, channel } | Command::Unblock { pick, channel } => {
            let places = pick.areas.iter().map(|area| u64::from(area.quantity)).sum::<u64>();
            format!("{channel}: seats {:?}, places {places}", pick.seats)
        }
        _ => String::new(),
    };
    app.clerk.ask(&by.name, Entry::Note { event: event.clone(), action, detail }).await?;
    let Answer { seq, reply } = app.sales.ask(&event, command).await?;
    match reply {
        Reply::Refused(refusal) => Err(Refused::sale(&refusal, seq)),
        _ => answer(app, &event).await,
    }
}

async fn answer(app: &App, event: &EventId) -> Result<Response, Refused> {
    let Answer { seq, reply } = app.sales.ask(event, Command::ListBlocks).await?;
    let Reply::Blocks(blocks) = reply else { return Err(Refused::internal()) };
    let listed = blocks.iter().map(|block| json!({ "channel": block.channel, "runs": block.runs }));
    let body = json!({ "blocks": listed.collect::<Value>(), "seq": seq });
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}
