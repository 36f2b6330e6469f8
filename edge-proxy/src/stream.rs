//! Pushes the front to those whose turn is near, so that they need not ask: server-sent events, each
//! the shared document, made once for everybody.
//!
//! A stream costs a connection, so there are only so many, and only for places near the front; who
//! gets none asks as before and misses nothing.

use std::sync::Arc;
use std::time::Duration;

use admission_api::Problem;
use bytes::Bytes;
use keys::EventId;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::answer::{Answer, NO_STORE};
use crate::desk::{Desk, Outcome};
use crate::limits::{Budget, Later};
use crate::live::RoomNow;
use crate::visit::Visit;

/// A stream that has nothing to say says so this often: proxies close what is silent.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// A stream ends after this long; its client asks again, and is judged again.
const STREAM_TIME_MAX: Duration = Duration::from_secs(300);
/// When to ask again if all streams are taken.
const TAKEN_RETRY_SECS: u64 = 30;

/// The fields of a stream's answer.
pub const FIELDS: [(&str, &str); 4] = [
    ("content-type", "text/event-stream"),
    ("cache-control", NO_STORE),
    ("x-accel-buffering", "no"),
    ("x-content-type-options", "nosniff"),
];

/// One visitor's stream.
pub struct Stream {
    desk: Arc<Desk>,
    event: EventId,
    heard: watch::Receiver<u64>,
    /// Entity tag of the front that was sent last.
    sent: String,
    until: Instant,
    _room: OwnedSemaphorePermit,
}

impl Stream {
    /// The next bytes to send; `None` when the stream is over. Losing a call loses nothing.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if Instant::now() >= self.until {
                return None;
            }
            {
                let rooms = self.desk.live.rooms();
                // A room that is gone, or a front that nobody knows, ends it: asking tells why.
                let front = rooms.get(&self.event)?.front.as_ref()?;
                if front.etag != self.sent {
                    self.sent.clone_from(&front.etag);
                    return Some(front.pushed.clone());
                }
            }
            match tokio::time::timeout(HEARTBEAT_EVERY, self.heard.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b": \n\n")),
            }
        }
    }
}

impl Desk {
    /// A stream for a place near the front.
    ///
    /// # Errors
    /// If the budget is used up.
    pub(crate) fn stream(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        event: &EventId,
    ) -> Result<Outcome, Later> {
        let refuse = |problem: Problem, secs| {
            Ok(Outcome::Answer(Answer::problem(&problem, "refuse").retry_after(secs)))
        };
        let Some(room) = self.live.rooms().get(event).cloned() else {
            return self.no_room(visit).map(Outcome::Answer);
        };
        let Some(standing) = self.place(visit, &room)? else {
            self.charge(Budget::New(visit.network))?;
            return refuse(Problem::new(404, "no-place", "You have no place in this line"), 1);
        };
        self.charge(Budget::Place(standing.place.claims.sub))?;
        let poll_secs = self.turn_secs(&room, Some(&standing), visit.now);
        if poll_secs > near_secs(&room) {
            let problem = Problem::new(409, "not-near", "Your turn is not near yet")
                .detail("read the front instead")
                .with("poll_secs", poll_secs);
            return refuse(problem, u64::from(poll_secs));
        }
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let problem = Problem::new(503, "streams-taken", "All streams are taken")
                .detail("read the front instead");
            return refuse(problem, TAKEN_RETRY_SECS);
        };
        Ok(Outcome::Stream(Box::new(Stream {
            desk: Arc::clone(self),
            event: event.clone(),
            heard: self.live.heard(),
            sent: String::new(),
            until: Instant::now() + STREAM_TIME_MAX,
            _room: permit,
        })))
    }
}

fn near_secs(room: &RoomNow) -> u32 {
    room.front.as_ref().map_or(0, |front| front.claims.poll.near_secs.max(1))
}
