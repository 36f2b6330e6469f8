//! What the edge knows of the rooms at this moment: replaced as a whole once a second, read by
//! every request without a lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use admission_api::{EndReason, Restored, Revoked, Room, RoomSpec, SyncReply};
use arc_swap::ArcSwap;
use bytes::Bytes;
use keys::{
    DrawError, EventId, Front, Id128, Keyring, Lane, Order, Pass, Phase, Place, Refusal, Sealed,
    Timestamp,
};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::cookies::{self, Kind};
use crate::decide::Verdict;
use crate::desk::waiting_answer;
use crate::guard::{Match, Readings, Rules};
use crate::hot::{Document, Encodings};
use crate::pages::{FIRST_VISIT_BYTES_MAX, Pages, Rendered};

/// A room and its newest front.
#[derive(Debug)]
pub struct RoomNow {
    /// The room as the controller runs it.
    pub room: Room,
    /// The newest front, once one has been heard.
    pub front: Option<FrontNow>,
    /// Which requests it guards.
    pub rules: Rules,
    /// The waiting page for this room.
    pub waiting_page: Rendered,
    /// The same, ready to be sent to whoever has a place.
    pub waiting_encodings: Encodings,
    /// Name of the cookie with a place of this room.
    pub place_cookie: String,
    /// Name of the cookie with a pass of this room.
    pub pass_cookie: String,
}

/// A verified front and the document that everybody gets.
#[derive(Debug, Clone)]
pub struct FrontNow {
    /// What it says.
    pub claims: Arc<Front>,
    /// The same as it was signed.
    pub sealed: Sealed<Front>,
    /// The document as it is served.
    pub document: Rendered,
    /// Its entity tag; weak, for it is the same in every encoding.
    pub etag: String,
    /// The document, ready to be sent.
    pub encodings: Encodings,
    /// The document as an event of a stream.
    pub pushed: Bytes,
    /// The answer for whoever has this one already.
    pub not_modified: Arc<Document>,
    /// In which order each lane's numbers stand, by [`Lane::index`].
    orders: [Order; 3],
    /// Where each lane's front was when this was heard, by [`Lane::index`]: it is never shown
    /// further back.
    floors: [u64; 3],
}

impl FrontNow {
    fn at(&self, lane: Lane, now: Timestamp) -> u64 {
        self.claims.at(lane, now).max(self.floors[lane.index()])
    }
}

/// Why a front was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontRefusal {
    /// It does not verify.
    #[error(transparent)]
    Seal(#[from] Refusal),
    /// Its draw does not hold.
    #[error(transparent)]
    Draw(#[from] DrawError),
}

impl FrontRefusal {
    /// The name used in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Seal(refusal) => refusal.label(),
            Self::Draw(_) => "draw",
        }
    }
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
        self.front.as_ref().map_or(0, |front| front.at(lane, now))
    }

    /// Where a place stands: by its number, unless its visitor came back; `None` while nobody knows: before the draw, or without a front.
    #[must_use]
    pub fn position(&self, place: &Place) -> Option<u64> {
        let front = self.front.as_ref()?;
        place.back.or_else(|| front.orders[place.lane.index()].position(place.num))
    }

    /// There will be a draw among those who come before the opening, or there was one.
    #[must_use]
    pub fn has_draw(&self) -> bool {
        self.front.as_ref().is_some_and(|front| front.claims.draw.is_some())
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

    /// The room that guards a request, or the one that lets it bypass; a guard beats a bypass, and
    /// of several rooms the one whose rule fits most closely counts.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<(Match, &Arc<RoomNow>)> {
        if self.by_event.is_empty() {
            return None;
        }
        let path = Readings::of(path);
        let fits = |found: Match| match found {
            Match::Open => None,
            Match::Bypass(closeness) => Some((false, closeness)),
            Match::Guarded(closeness) => Some((true, closeness)),
        };
        let found = self.by_event.values().map(|room| (room.rules.matches(host, &path), room));
        found.filter(|(found, _)| *found != Match::Open).max_by_key(|(found, _)| fits(*found))
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
    /// Counts what was heard, for those who wait for it.
    heard: watch::Sender<u64>,
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

    /// The newest front of each room, as it was signed.
    #[must_use]
    pub fn held_fronts(&self) -> Vec<Sealed<Front>> {
        let rooms = self.rooms.load();
        let fronts = rooms.iter().filter_map(|room| room.front.as_ref());
        fronts.map(|front| front.sealed.clone()).collect()
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

    /// Changes whenever the controller was heard.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Whether an end of this pass is known, be it over its grace or not.
    #[must_use]
    pub fn is_ending(&self, jti: &Id128) -> bool {
        self.revoked.read().contains_key(jti)
    }

    /// Marks a pass ended here and now, before the controller's word comes round.
    pub fn revoke(&self, pass: &Pass, reason: EndReason, now: Timestamp) {
        let from = now.plus_secs(reason.grace_secs());
        note(&mut self.revoked.write(), Revoked { jti: pass.jti, from, until: pass.exp });
    }

    /// Takes over what the controller said. A front that does not verify, or is older than the one
    /// we have, is not taken; the reasons come back to be logged.
    pub fn hear(
        &self,
        reply: SyncReply,
        keyring: &Keyring,
        pages: &Pages,
        now: Timestamp,
    ) -> Vec<FrontRefusal> {
        let before = self.rooms.load_full();
        let (mut fronts, mut refusals) = (HashMap::new(), Vec::new());
        for sealed in reply.fronts {
            match keyring.open_for_any_event(&sealed, now) {
                Ok(front) => {
                    let front = front.into_inner();
                    match orders(&front) {
                        Ok(orders) => {
                            fronts.insert(front.aud.clone(), (front, sealed, orders));
                        }
                        Err(error) => refusals.push(error.into()),
                    }
                }
                Err(refusal) => refusals.push(refusal.into()),
            }
        }
        let rooms = reply.rooms.into_iter().map(|room| {
            let event = room.spec.event.clone();
            let known = before.get(&event);
            let known_front = known.and_then(|known| known.front.clone());
            let front = newer(known_front, fronts.remove(&event), room.line, now);
            let (waiting_page, waiting_encodings) =
                match known.filter(|known| known.room.spec == room.spec) {
                    Some(known) => (known.waiting_page.clone(), known.waiting_encodings.clone()),
                    None => waiting(pages, &room.spec),
                };
            let rules = Rules::from(&room.spec.guard);
            let place_cookie = cookies::name(Kind::Place, &event);
            let pass_cookie = cookies::name(Kind::Pass, &event);
            let room = RoomNow {
                room,
                front,
                rules,
                waiting_page,
                waiting_encodings,
                place_cookie,
                pass_cookie,
            };
            (event, Arc::new(room))
        });
        self.rooms.store(Arc::new(Rooms { by_event: rooms.collect() }));
        let mut revoked = self.revoked.write();
        revoked.retain(|_, revoked| revoked.until > now);
        for heard in reply.revoked {
            note(&mut revoked, heard);
        }
        drop(revoked);
        self.revoked_upto.store(reply.revoked_upto, Ordering::Relaxed);
        let restored = reply.restored.into_iter().map(|r| ((r.event.clone(), r.sub), r));
        self.restored.store(Arc::new(restored.collect()));
        self.heard_at.store(Arc::new(Some(now)));
        self.heard.send_modify(|count| *count += 1);
        refusals
    }
}

fn waiting(pages: &Pages, spec: &RoomSpec) -> (Rendered, Encodings) {
    let page = pages.waiting(spec);
    let bytes = pages.first_visit_bytes(&page);
    if bytes > FIRST_VISIT_BYTES_MAX {
        let event = &spec.event;
        tracing::warn!(%event, bytes, FIRST_VISIT_BYTES_MAX, "the waiting page is heavy: shorten the template");
    }
    let encodings = Encodings::new(|encoding| {
        waiting_answer(&page, &pages.policy, encoding, Verdict::Wait.label())
    })
    .expect("the waiting page's fields are written by us");
    (page, encodings)
}

/// The front for a client; `has_it` if it has shown the entity tag. Shared by everybody behind a
/// cache, hence no cookie and no verdict of one visitor.
#[must_use]
pub fn front_answer(
    document: &Rendered,
    etag: &str,
    accept_encoding: Option<&str>,
    has_it: bool,
) -> Answer {
    let answer = Answer::empty(200, "document")
        .cached("public, max-age=0, s-maxage=1, stale-while-revalidate=5")
        .with("vary", "Accept-Encoding")
        .with("etag", etag.to_owned());
    if has_it {
        return Answer { status: 304, ..answer };
    }
    let (body, encoding) = document.for_client(accept_encoding);
    let answer = answer.body("application/json", body);
    match encoding {
        Some(encoding) => answer.with("content-encoding", encoding),
        None => answer,
    }
}

/// Of two ends of one pass the earlier counts, and it is remembered for as long as either asks.
fn note(revoked: &mut HashMap<Id128, Revoked>, heard: Revoked) {
    let known = revoked.entry(heard.jti).or_insert_with(|| heard.clone());
    known.from = known.from.min(heard.from);
    known.until = known.until.max(heard.until);
}

/// The order of each lane: computed once for a front, for a place asks for its position often.
fn orders(front: &Front) -> Result<[Order; 3], DrawError> {
    let [priority, standard, suspect] = Lane::ALL.map(|lane| front.order(lane));
    Ok([priority?, standard?, suspect?])
}

/// The newer of what we have and what was heard: by line, then leader's epoch, then sequence.
fn newer(
    known: Option<FrontNow>,
    heard: Option<(Front, Sealed<Front>, [Order; 3])>,
    line: u64,
    now: Timestamp,
) -> Option<FrontNow> {
    let age = |front: &Front| (front.line, front.epoch, front.seq);
    let known = known.filter(|known| known.claims.line == line);
    let Some((heard, sealed, orders)) = heard.filter(|(heard, ..)| heard.line == line) else {
        return known;
    };
    let floors = match known {
        Some(known) if age(&known.claims) >= age(&heard) => return Some(known),
        Some(known) => Lane::ALL.map(|lane| known.at(lane, now)),
        None => [0; 3],
    };
    let document =
        serde_json::to_vec(&FrontDocument { front: &heard, signed: sealed.as_str() }).ok()?;
    let pushed = [b"event: front\ndata: ", document.as_slice(), b"\n\n"].concat().into();
    let document = Rendered::new(&document);
    let etag = format!("W/\"{}-{}-{}\"", heard.line, heard.epoch, heard.seq);
    let answer = |encoding, has_it| front_answer(&document, &etag, encoding, has_it);
    let encodings = Encodings::new(|encoding| answer(encoding, false)).ok()?;
    let not_modified = Arc::new(Document::new(&answer(None, true)).ok()?);
    let claims = Arc::new(heard);
    Some(FrontNow {
        claims,
        sealed,
        document,
        etag,
        encodings,
        pushed,
        not_modified,
        orders,
        floors,
    })
}

#[cfg(test)]
mod tests {
    use keys::{Beacon, Draw, Key, LaneFront, Opened, PollHint, Role, Validity};
    use serde_json::json;

    use super::*;
    use crate::template::Template;

    fn room(event: &str, hosts: &[&str], paths: &[&str], bypass: &[&str]) -> Room {
        let guard = json!({ "hosts": hosts, "paths": paths, "bypass": bypass });
        let spec = json!({ "event": event, "title": event, "guard": guard });
        let spec = serde_json::from_value(spec).unwrap();
        Room { spec, line: 1, pass_generation: 1, version: 1 }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn of_overlapping_rooms_the_closest_one_guards() {
        let rooms = [
            room("all",    &[],               &["/"],              &["/static"]),
            room("events", &[],               &["/events"],        &[]),
            room("final",  &[],               &["/events/final"],  &["/events/final/help"]),
            room("vip",    &["vip.example"],  &["/"],              &[]),
        ];
        let live = Live::default();
        let reply = SyncReply {
            rooms: rooms.into(),
            fronts: vec![],
            revoked: vec![],
            revoked_upto: 0,
            restored: vec![],
            wants_held: false,
        };
        live.hear(reply, &Keyring::default(), &Pages::new(Template::default()), Timestamp::default());
        let check = |host: &str, path: &str, expected: (&str, bool)| {
            let rooms = live.rooms();
            let (found, room) = rooms.find(host, path).unwrap();
            let is_guarded = matches!(found, Match::Guarded(_));
            assert_eq!((room.event().as_str(), is_guarded), expected, "{host}{path}");
        };
        //    host            path                   room       guarded
        check("shop.example", "/",                   ("all",    true));
        check("shop.example", "/static/x",           ("all",    false));
        check("shop.example", "/events/cup",         ("events", true));
        check("shop.example", "/events/final/seats", ("final",  true));
        check("shop.example", "/events/final/help",  ("events", true)); // a guard beats a bypass
        check("vip.example",  "/events/final/seats", ("vip",    true));
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A front of the standard lane, signed, and a room that hears it.
    struct Stage {
        live: Live,
        keyring: Keyring,
    }

    impl Stage {
        fn new() -> Self {
            let validity = Validity {
                use_from: NOW.minus_secs(60),
                use_until: NOW.plus_secs(3600),
                valid_until: NOW.plus_secs(7200),
                revoked_at: None,
            };
            let key = Key::generate(Role::Controller, "c".parse().unwrap(), validity);
            Self { live: Live::default(), keyring: Keyring::new([key]) }
        }

        fn hear(&self, front: &Front, now: Timestamp) -> Vec<FrontRefusal> {
            let reply = SyncReply {
                rooms: vec![room("e", &[], &["/"], &[])],
                fronts: vec![self.keyring.seal(front, now).unwrap()],
                revoked: vec![],
                revoked_upto: 0,
                restored: vec![],
                wants_held: false,
            };
            self.live.hear(reply, &self.keyring, &Pages::new(Template::default()), now)
        }

        fn room(&self) -> Arc<RoomNow> {
            Arc::clone(self.live.rooms().get(&"e".parse().unwrap()).unwrap())
        }
    }

    fn front(seq: u64, f0: u64, draw: Option<Draw>) -> Front {
        let entry = |lane| LaneFront { lane, f0, pace_milli: 10_000, limit: f0 + 90, issued: 500 };
        Front {
            iss: "c".parse().unwrap(),
            aud: "e".parse().unwrap(),
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            epoch: 1,
            seq,
            phase: Phase::Open,
            opens_at: None,
            t0: NOW,
            until: NOW.plus_secs(10),
            lanes: Lane::ALL.map(entry).to_vec(),
            reason: String::new(),
            draw,
            stock: None,
            poll: PollHint { near_secs: 1, far_secs: 15 },
            message: None,
        }
    }

    #[test]
    fn a_front_is_never_shown_further_back_than_it_was() {
        let stage = Stage::new();
        stage.hear(&front(1, 100, None), NOW);
        assert_eq!(stage.room().front_at(Lane::Standard, NOW.plus_secs(5)), 150);
        // A slower line, heard while the steeper one was followed.
        stage.hear(&front(2, 120, None), NOW.plus_secs(5));
        assert_eq!(stage.room().front_at(Lane::Standard, NOW), 150);
        assert_eq!(stage.room().front_at(Lane::Standard, NOW.plus_secs(5)), 170);
        stage.hear(&front(3, 90, None), NOW.plus_secs(6));
        assert_eq!(stage.room().front_at(Lane::Standard, NOW.plus_secs(6)), 180);
    }

    #[test]
    fn positions_are_unknown_until_a_draw_that_holds_is_opened() {
        let stage = Stage::new();
        let place = |num| Place {
            iss: "edge-1".parse().unwrap(),
            aud: "e".parse().unwrap(),
            sub: Id128::random(),
            lane: Lane::Standard,
            num,
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            fpr: String::new(),
            back: None,
            moves: 0,
        };
        let announced = Draw::announced(b"secret", Beacon::None);
        assert_eq!(stage.hear(&front(1, 0, Some(announced.clone())), NOW), []);
        assert_eq!(stage.room().position(&place(1)), None);
        let opened = |secret: &str| {
            let (secret, beacon) = (secret.to_owned(), String::new());
            Some(Draw {
                opened: Some(Opened { secret, beacon, counts: [0, 50, 0] }),
                ..announced.clone()
            })
        };
        let other = stage.hear(&front(2, 0, opened("b3RoZXI")), NOW);
        assert_eq!(other, [FrontRefusal::Draw(DrawError::Commitment)]);
        assert_eq!(stage.room().position(&place(1)), None, "kept as it was");
        assert_eq!(stage.hear(&front(3, 0, opened("c2VjcmV0")), NOW), []);
        let mut all: Vec<u64> =
            (1..=60).filter_map(|num| stage.room().position(&place(num))).collect();
        assert_eq!(all[50..], [51, 52, 53, 54, 55, 56, 57, 58, 59, 60]);
        all.sort_unstable();
        assert_eq!(all, (1..=60).collect::<Vec<u64>>());
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_earlier_end_of_a_pass_counts() {
        let jti = Id128::random();
        let revoked = |from, until| Revoked {
            jti,
            from: Timestamp::from_secs(from),
            until: Timestamp::from_secs(until),
        };
        //   first              then               known
        for (first, then, known) in [
            (revoked(160, 900), revoked(100, 500), revoked(100, 900)),
            (revoked(100, 500), revoked(160, 900), revoked(100, 900)),
        ] {
            let mut all = HashMap::new();
            note(&mut all, first);
            note(&mut all, then);
            assert_eq!(all.get(&jti), Some(&known));
        }
    }
}
