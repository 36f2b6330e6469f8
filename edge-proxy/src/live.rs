//! What the edge knows of the rooms at this moment: replaced as a whole once a second, read by
//! every request without a lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use admission_api::{EndReason, Restored, Revoked, Room, SyncReply};
use arc_swap::ArcSwap;
use bytes::Bytes;
use keys::{EventId, Front, Id128, Keyring, Lane, Pass, Phase, Place, Refusal, Sealed, Timestamp};
use parking_lot::RwLock;
use serde::Serialize;

use crate::guard::{self, Match};
use crate::pages::{Pages, Rendered};

/// A room and its newest front.
#[derive(Debug)]
pub struct RoomNow {
    /// The room as the controller runs it.
    pub room: Room,
    /// The newest front, once one has been heard.
    pub front: Option<FrontNow>,
    /// The waiting page for this room.
    pub waiting_page: Rendered,
}

/// A verified front and the document that everybody gets.
#[derive(Debug, Clone)]
pub struct FrontNow {
    /// What it says.
    pub claims: Arc<Front>,
    /// The document as it is served.
    pub document: Bytes,
    /// Its entity tag.
    pub etag: String,
}

impl RoomNow {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &EventId {
        &self.room.spec.event
    }

    /// What the room is doing; before the first front is heard, nobody enters.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.front.as_ref().map_or(Phase::Scheduled, |front| front.claims.phase)
    }

    /// The front of `lane` at `now`.
    #[must_use]
    pub fn front_at(&self, lane: Lane, now: Timestamp) -> u64 {
        self.front.as_ref().map_or(0, |front| front.claims.at(lane, now))
    }

    /// Where a place stands. The draw among those who came before the opening will enter here.
    #[must_use]
    pub fn position(&self, place: &Place) -> u64 {
        place.num
    }
}

/// All rooms.
#[derive(Debug, Default)]
pub struct Rooms {
    by_event: BTreeMap<EventId, Arc<RoomNow>>,
}

impl Rooms {
    /// The room of an event.
    #[must_use]
    pub fn get(&self, event: &EventId) -> Option<&Arc<RoomNow>> {
        self.by_event.get(event)
    }

    /// All of them, by event.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RoomNow>> {
        self.by_event.values()
    }

    /// The room that guards a request, or the one that lets it bypass; a guard beats a bypass.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<(Match, &Arc<RoomNow>)> {
        if self.by_event.is_empty() {
            return None;
        }
        let path = guard::normalise(path);
        let mut bypass = None;
        for room in self.by_event.values() {
            match guard::matches(&room.room.spec.guard, host, &path) {
                Match::Guarded => return Some((Match::Guarded, room)),
                Match::Bypass => bypass = bypass.or(Some((Match::Bypass, room))),
                Match::Open => {}
            }
        }
        bypass
    }
}

/// The shared state.
#[derive(Debug, Default)]
pub struct Live {
    rooms: ArcSwap<Rooms>,
    /// Grows by what each sync brings; never held across an await.
    revoked: RwLock<HashMap<Id128, Revoked>>,
    revoked_upto: AtomicU64,
    restored: ArcSwap<HashMap<(EventId, Id128), Restored>>,
    heard_at: ArcSwap<Option<Timestamp>>,
}

#[derive(Serialize)]
struct FrontDocument<'a> {
    front: &'a Front,
    signed: &'a str,
}

impl Live {
    /// The rooms.
    pub fn rooms(&self) -> arc_swap::Guard<Arc<Rooms>> {
        self.rooms.load()
    }

    /// Whether this pass ended before its time.
    #[must_use]
    pub fn is_revoked(&self, jti: &Id128, now: Timestamp) -> bool {
        self.revoked.read().get(jti).is_some_and(|revoked| revoked.from <= now)
    }

    /// Up to where ends of passes are known, for the next sync.
    #[must_use]
    pub fn revoked_upto(&self) -> u64 {
        self.revoked_upto.load(Ordering::Relaxed)
    }

    /// A judgement of this visitor that was taken back.
    #[must_use]
    pub fn restored(&self, event: &EventId, sub: &Id128) -> Option<Restored> {
        let restored = self.restored.load();
        if restored.is_empty() {
            return None;
        }
        restored.get(&(event.clone(), *sub)).cloned()
    }

    /// When the controller was last heard.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        **self.heard_at.load()
    }

    /// Marks a pass ended here and now, before the controller's word comes round.
    pub fn revoke(&self, pass: &Pass, reason: EndReason, now: Timestamp) {
        let from = now.plus_secs(reason.grace_secs());
        let revoked = Revoked { jti: pass.jti, from, until: pass.exp };
        self.revoked.write().entry(pass.jti).or_insert(revoked);
    }

    /// Takes over what the controller said. A front that does not verify, or is older than the one
    /// we have, is not taken; the reasons come back to be logged.
    pub fn hear(
        &self,
        reply: SyncReply,
        keyring: &Keyring,
        pages: &Pages,
        now: Timestamp,
    ) -> Vec<Refusal> {
        let before = self.rooms.load_full();
        let (mut fronts, mut refusals) = (HashMap::new(), Vec::new());
        for sealed in reply.fronts {
            match keyring.open_for_any_event(&sealed, now) {
                Ok(front) => {
                    let front = front.into_inner();
                    fronts.insert(front.aud.clone(), (front, sealed));
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        let rooms = reply.rooms.into_iter().map(|room| {
            let event = room.spec.event.clone();
            let known = before.get(&event);
            let known_front = known.and_then(|known| known.front.clone());
            let front = newer(known_front, fronts.remove(&event), room.line);
            let waiting_page = match known.filter(|known| known.room.spec == room.spec) {
                Some(known) => known.waiting_page.clone(),
                None => pages.waiting(&room.spec),
            };
            (event, Arc::new(RoomNow { room, front, waiting_page }))
        });
        self.rooms.store(Arc::new(Rooms { by_event: rooms.collect() }));
        let mut revoked = self.revoked.write();
        revoked.retain(|_, revoked| revoked.until > now);
        revoked.extend(reply.revoked.into_iter().map(|revoked| (revoked.jti, revoked)));
        drop(revoked);
        self.revoked_upto.store(reply.revoked_upto, Ordering::Relaxed);
        let restored = reply.restored.into_iter().map(|r| ((r.event.clone(), r.sub), r));
        self.restored.store(Arc::new(restored.collect()));
        self.heard_at.store(Arc::new(Some(now)));
        refusals
    }
}

/// The newer of what we have and what was heard: by line, then leader's epoch, then sequence.
fn newer(
    known: Option<FrontNow>,
    heard: Option<(Front, Sealed<Front>)>,
    line: u64,
) -> Option<FrontNow> {
    let age = |front: &Front| (front.line, front.epoch, front.seq);
    let known = known.filter(|known| known.claims.line == line);
    let Some((heard, sealed)) = heard.filter(|(heard, _)| heard.line == line) else {
        return known;
    };
    if let Some(known) = known.filter(|known| age(&known.claims) >= age(&heard)) {
        return Some(known);
    }
    let document =
        serde_json::to_vec(&FrontDocument { front: &heard, signed: sealed.as_str() }).ok()?;
    let etag = format!("\"{}-{}-{}\"", heard.line, heard.epoch, heard.seq);
    Some(FrontNow { claims: Arc::new(heard), document: document.into(), etag })
}
