//! What our own addresses answer: join, status, claim, evidence, leave, the front, and the page for
//! browsers without script. The shapes are in ARCHITECTURE.md.

use std::sync::Arc;

use admission_api::{CameBack, ClaimOutcome, EndReason, Problem};
use bytes::Bytes;
use keys::{EventId, Id128, Lane, Pass, Phase, Place};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::credentials::{Held, Standing};
use crate::decide;
use crate::desk::Desk;
use crate::limits::{Budget, Later};
use crate::live::{RoomNow, front_answer};
use crate::pages::{PlaceText, safe_path};
use crate::route::Route;
use crate::score::Evidence;
use crate::visit::Visit;
use crate::words::{Language, Word};

/// What clients may ask, and what they are answered (OpenAPI).
const DESCRIPTION: &str = include_str!("../openapi.json");

/// What a request says. Each address reads what concerns it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    event_id: EventId,
    #[serde(default)]
    evidence: Option<Evidence>,
    /// A code that was shown on another device.
    #[serde(default)]
    pub code: Option<String>,
    /// A code that opens the priority lane.
    #[serde(default)]
    pub access_code: Option<String>,
    /// A ticket that may.
    #[serde(default)]
    pub ticket: Option<String>,
}

/// What a visitor is told about their place; see ARCHITECTURE.md.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    state: &'static str,
    event_id: &'a EventId,
    title: &'a str,
    phase: Phase,
    lane: Lane,
    num: u64,
    position: Option<u64>,
    front: u64,
    ahead: Option<u64>,
    issued_at: u64,
    expires_at: u64,
    visitor: Id128,
    /// The visitor has come back to where they stand, and will not another time.
    came_back: bool,
    /// A turn is kept for this long.
    claim_secs: u64,
    place: &'a str,
    poll_secs: u32,
    front_url: String,
    claim_url: &'static str,
}

impl Desk {
    pub(crate) async fn deal_with_own(
        &self,
        visit: &Visit<'_>,
        route: Route,
        body: &[u8],
    ) -> Result<Answer, Later> {
        match route {
            Route::Front(event) => {
                self.charge(Budget::Open(visit.network))?;
                Ok(self.front_document(visit, &event))
            }
            Route::Jwks => {
                self.charge(Budget::Open(visit.network))?;
                let jwks = self.keyring.load().public_jwks();
                Ok(Answer::json(200, "document", &jwks).cached("public, max-age=60"))
            }
            Route::Description => {
                self.charge(Budget::Open(visit.network))?;
                Ok(Answer::empty(200, "document")
                    .cached("public, max-age=300")
                    .body("application/json", Bytes::from_static(DESCRIPTION.as_bytes())))
            }
            Route::Asset(name) => {
                self.charge(Budget::Open(visit.network))?;
                Ok(self.asset(visit, &name))
            }
            Route::Join => self.with_body(visit, body, Self::join).await,
            Route::Claim => self.with_body(visit, body, Self::claim_by_api).await,
            Route::Evidence => self.with_body(visit, body, Self::evidence).await,
            Route::Leave => self.with_body(visit, body, Self::leave).await,
            Route::Transfer => self.with_body(visit, body, Self::transfer).await,
            Route::Redeem => self.with_body(visit, body, Self::redeem).await,
            Route::Status => {
                let event = visit.query("event_id").and_then(|text| text.parse().ok());
                match event.and_then(|event: EventId| self.live.rooms().get(&event).cloned()) {
                    Some(room) => self.status(visit, &room).await,
                    None => self.no_room(visit),
                }
            }
            Route::PlacePage => {
                let event = visit.query("event_id").and_then(|text| text.parse().ok());
                match event.and_then(|event: EventId| self.live.rooms().get(&event).cloned()) {
                    Some(room) => self.place_page(visit, &room).await,
                    None => self.no_room(visit),
                }
            }
            Route::DrawPage => {
                let event = visit.query("event_id").and_then(|text| text.parse().ok());
                match event.and_then(|event: EventId| self.live.rooms().get(&event).cloned()) {
                    Some(room) => {
                        self.charge(Budget::Open(visit.network))?;
                        let language = Language::wanted(visit.field("accept-language"));
                        let page = self.pages.draw(&room.room.spec, language);
                        Ok(Answer::page(200, "document", page))
                    }
                    None => self.no_room(visit),
                }
            }
            Route::WrongMethod(allow) => {
                self.charge(Budget::New(visit.network))?;
                let problem = Problem::new(405, "method-not-allowed", "Method not allowed");
                Ok(Answer::problem(&problem.detail(format!("allowed: {allow}")), "refuse")
                    .with("allow", allow))
            }
            // A stream is dealt with before; HEAD of one has nothing to say.
            Route::Nothing | Route::Foreign | Route::Stream(_) => {
                self.charge(Budget::New(visit.network))?;
                let problem = Problem::new(404, "no-such-address", "No such address");
                Ok(Answer::problem(&problem, "refuse"))
            }
        }
    }

    async fn with_body<'a, F>(
        &'a self,
        visit: &'a Visit<'a>,
        body: &[u8],
        handler: impl FnOnce(&'a Self, &'a Visit<'a>, Arc<RoomNow>, Asked) -> F,
    ) -> Result<Answer, Later>
    where
        F: Future<Output = Result<Answer, Later>>,
    {
        let is_json = visit.field("content-type").is_some_and(|media| {
            media.split(';').next().is_some_and(|m| m.trim() == "application/json")
        });
        if !is_json {
            self.charge(Budget::New(visit.network))?;
            let problem = Problem::new(415, "unsupported-media-type", "Unsupported media type")
                .detail("expected application/json");
            return Ok(Answer::problem(&problem, "refuse"));
        }
        match serde_json::from_slice::<Asked>(body) {
            Ok(asked) => match self.live.rooms().get(&asked.event_id).cloned() {
                Some(room) => handler(self, visit, room, asked).await,
                None => self.no_room(visit),
            },
            Err(error) => {
                self.charge(Budget::New(visit.network))?;
                let problem = Problem::new(400, "malformed-body", "Malformed body")
                    .detail(format!("expected {{\"event_id\": …}}: {error}"));
                Ok(Answer::problem(&problem, "refuse"))
            }
        }
    }

    async fn join(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        asked: Asked,
    ) -> Result<Answer, Later> {
        if let Some(standing) = self.place(visit, &room)? {
            self.charge(Budget::Place(standing.place.claims.sub))?;
            return match asked.proof() {
                Some(proof) => {
                    self.charge_code(visit, standing.place.claims.sub)?;
                    Ok(self.join_priority(visit, &room, standing, proof).await)
                }
                None => Ok(self.status_answer(visit, &room, &standing, 200, "status")),
            };
        }
        self.charge(Budget::New(visit.network))?;
        if decide::is_over(room.phase()) {
            return Ok(shut(room.phase()));
        }
        let (proof, sub) = (asked.proof(), self.new_visitor(visit, &room));
        if proof.is_some() {
            self.charge_code(visit, sub)?;
        }
        let judgement = self.judge(visit, asked.evidence.as_ref(), false);
        match self.issue(visit, &room, &judgement, sub).await {
            Ok(standing) => Ok(match proof {
                Some(proof) => self.join_priority(visit, &room, standing, proof).await,
                None => self.status_answer(visit, &room, &standing, 201, "join"),
            }),
            Err(error) => Ok(self.no_number(visit, &room, &error)),
        }
    }

    async fn status(&self, visit: &Visit<'_>, room: &Arc<RoomNow>) -> Result<Answer, Later> {
        match self.place(visit, room)? {
            Some(standing) => {
                self.charge(Budget::Place(standing.place.claims.sub))?;
                let is_inside = self.pass(visit, room)?.is_some();
                if is_inside {
                    let status = self.status_of(visit, room, &standing, "admitted");
                    return Ok(Answer::json(200, "status", &status));
                }
                Ok(self.status_answer(visit, room, &standing, 200, "status"))
            }
            None => {
                self.charge(Budget::New(visit.network))?;
                Ok(Answer::problem(&no_place(), "refuse"))
            }
        }
    }

    async fn claim_by_api(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        asked: Asked,
    ) -> Result<Answer, Later> {
        if let Some(pass) = self.pass(visit, &room)? {
            self.charge(Budget::Pass(pass.claims.sub))?;
            if let Some(answer) = self.refused_pass(visit, &room, &pass.claims) {
                return Ok(answer);
            }
            return Ok(self.admitted_answer(visit, &room, &pass));
        }
        let standing = match self.charged_place(visit, &room)? {
            Ok(standing) => standing,
            Err(refused) => return Ok(refused),
        };
        if let Some(answer) = self.refused_turn(visit, &room, &standing.place.claims.fpr) {
            return Ok(answer);
        }
        let is_shared = self.is_shared(visit, &standing.place.claims);
        let judgement = self.judge(visit, asked.evidence.as_ref(), is_shared);
        let standing = match self.moved_if_suspect(visit, standing, &judgement).await {
            Ok(standing) => standing,
            Err(error) => return Ok(self.no_number(visit, &room, &error)),
        };
        let front = room.front_at(standing.place.claims.lane, visit.now);
        let not_yet = |front: u64| {
            let problem = Problem::new(409, "not-yet", "Your turn has not come yet")
                .with("front", front)
                .with("position", room.position(&standing.place.claims))
                .with("lane", standing.place.claims.lane.label());
            self.with_place_cookie(Answer::problem(&problem, "not_yet"), visit, &room, &standing)
                .retry_after(1)
        };
        if !self.is_turn(visit, &room, &standing.place) {
            return Ok(match room.phase() {
                Phase::SoldOut | Phase::Closed => shut(room.phase()),
                _ => not_yet(front),
            });
        }
        let claimed = self.claim(&standing.place, judgement.score, judgement.reasons.clone()).await;
        Ok(match claimed {
            Ok(ClaimOutcome::Admitted { pass, .. }) => {
                match self.accept_pass(&pass, &room, visit) {
                    Some(pass) => self.admitted_answer(visit, &room, &pass),
                    None => self.hold_on(visit, &room.room.spec.title),
                }
            }
            Ok(ClaimOutcome::NotYet { front }) => not_yet(front),
            Ok(ClaimOutcome::Moved { suspect_num }) => {
                let moved = Place {
                    lane: Lane::Suspect,
                    num: suspect_num,
                    back: None,
                    ..Place::clone(&standing.place.claims)
                };
                match self.seal(&moved, visit.now) {
                    Some(place) => {
                        let standing = Standing { place, is_new: true };
                        self.status_answer(visit, &room, &standing, 409, "not_yet")
                    }
                    None => self.hold_on(visit, &room.room.spec.title),
                }
            }
            Ok(ClaimOutcome::Back { lane, num, position, why }) => {
                match self.back_at(visit, &standing, lane, num, position) {
                    Some(standing) => self.came_back(visit, &room, &standing, why),
                    None => self.hold_on(visit, &room.room.spec.title),
                }
            }
            Ok(ClaimOutcome::Gone) => {
                self.without_cookies(Answer::problem(&place_moved(), "refuse"), visit, &room)
            }
            Ok(ClaimOutcome::Used) => {
                let problem =
                    Problem::new(410, "place-used", "This place was used, and its visit is over")
                        .detail("join again to stand in line anew");
                self.without_cookies(Answer::problem(&problem, "refuse"), visit, &room)
            }
            Ok(ClaimOutcome::Refused { code }) => {
                let problem = Problem::new(403, "place-refused", "This is no place of this line")
                    .with("reason", code)
                    .detail("join again to stand in line anew");
                self.without_cookies(Answer::problem(&problem, "refuse"), visit, &room)
            }
            Ok(ClaimOutcome::Shut) => shut(room.phase()),
            Err(_) => self.hold_on(visit, &room.room.spec.title),
        })
    }

    /// Too late for the turn, or back after a pass that lapsed: near the front again, this once. The
    /// refusal says all that a status does.
    fn came_back(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: &Standing,
        why: CameBack,
    ) -> Answer {
        let detail = match why {
            CameBack::TurnMissed => {
                "the turn was missed; this once, the place is kept near the front"
            }
            CameBack::PassExpired => {
                "the pass was not used for a while; this once, the place is kept near the front"
            }
        };
        let mut problem = Problem::new(409, "came-back", "You stand near the front again");
        let status = serde_json::to_value(self.status_of(visit, room, standing, "waiting"));
        if let Ok(serde_json::Value::Object(status)) = status {
            problem.more = status;
        }
        problem.more.remove("title"); // a problem has one of its own
        let problem = problem.detail(detail).with("why", why.label()).with("once", true);
        self.with_place_cookie(Answer::problem(&problem, "came_back"), visit, room, standing)
            .retry_after(1)
    }

    /// The place that is shown, and charged for what is asked of it; without one, the refusal.
    pub(crate) fn charged_place(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
    ) -> Result<Result<Standing, Answer>, Later> {
        let Some(standing) = self.place(visit, room)? else {
            self.charge(Budget::New(visit.network))?;
            return Ok(Err(Answer::problem(&no_place(), "refuse")));
        };
        self.charge(Budget::Place(standing.place.claims.sub))?;
        Ok(Ok(standing))
    }

    /// What the waiting page saw may move a place into the `suspect` lane.
    async fn evidence(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        asked: Asked,
    ) -> Result<Answer, Later> {
        let standing = match self.charged_place(visit, &room)? {
            Ok(standing) => standing,
            Err(refused) => return Ok(refused),
        };
        let is_shared = self.is_shared(visit, &standing.place.claims);
        let judgement = self.judge(visit, asked.evidence.as_ref(), is_shared);
        match self.moved_if_suspect(visit, standing, &judgement).await {
            Ok(standing) if standing.is_new => {
                Ok(self.status_answer(visit, &room, &standing, 200, "evidence"))
            }
            Ok(_) => Ok(Answer::empty(204, "evidence")),
            Err(error) => Ok(self.no_number(visit, &room, &error)),
        }
    }

    async fn leave(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        _asked: Asked,
    ) -> Result<Answer, Later> {
        let pass = self.pass(visit, &room)?;
        self.charge(match &pass {
            Some(pass) => Budget::Pass(pass.claims.sub),
            None => Budget::New(visit.network),
        })?;
        if let Some(pass) = pass {
            self.end(&pass, EndReason::Left, visit.now);
        }
        Ok(self.without_cookies(Answer::empty(204, "leave"), visit, &room))
    }

    fn front_document(&self, visit: &Visit<'_>, event: &EventId) -> Answer {
        let rooms = self.live.rooms();
        let room = rooms.get(event);
        let front = room.and_then(|room| room.front.as_ref());
        let Some(front) = front.filter(|front| visit.now < front.claims.exp) else {
            // Nobody knows where the front is now: at first, or after a long silence.
            if room.is_some() || self.live.heard_at().is_none() {
                return self.hold_on(visit, visit.host);
            }
            let problem = Problem::new(404, "no-such-event", "No such event");
            return Answer::problem(&problem, "document").cached("public, s-maxage=1");
        };
        let has_it = visit.field("if-none-match").is_some_and(|tags| tags.contains(&front.etag));
        front_answer(&front.document, &front.etag, visit.field("accept-encoding"), has_it)
    }

    fn asset(&self, visit: &Visit<'_>, name: &str) -> Answer {
        let Some(asset) = self.pages.asset(name) else {
            let problem = Problem::new(404, "no-such-address", "No such address");
            return Answer::problem(&problem, "document");
        };
        let (body, encoding) = asset.content.for_client(visit.field("accept-encoding"));
        // The address names the version; another one, or none, may be another file soon.
        let is_lasting = visit.query("v").is_some_and(|version| self.pages.is_version(&version));
        let caching = if is_lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
        let answer = Answer::empty(200, "document")
            .cached(caching)
            .with("vary", "Accept-Encoding")
            .with("x-content-type-options", "nosniff")
            .body(asset.media_type, body);
        match encoding {
            Some(encoding) => answer.with("content-encoding", encoding),
            None => answer,
        }
    }

    async fn place_page(&self, visit: &Visit<'_>, room: &Arc<RoomNow>) -> Result<Answer, Later> {
        let standing = self.place(visit, room)?;
        self.charge(match &standing {
            Some(standing) => Budget::Place(standing.place.claims.sub),
            None => Budget::New(visit.network),
        })?;
        let to = visit.query("to").filter(|to| !to.is_empty()).or_else(|| self.referred(visit));
        let to = to.as_deref().map_or("/", safe_path);
        let place = standing.as_ref().map(|standing| &standing.place);
        let ahead = place.and_then(|place| {
            let front = room.front_at(place.claims.lane, visit.now);
            Some(room.position(&place.claims)?.saturating_sub(front + 1))
        });
        let is_turn = place.is_some_and(|place| self.is_turn(visit, room, place));
        let ahead = match room.phase() {
            Phase::Open | Phase::Paused if !is_turn => ahead,
            _ => None,
        };
        let (heading, text) = match (room.phase(), place.is_some(), is_turn) {
            (Phase::SoldOut, ..) => (Word::SOLD_OUT, Some(Word::SOLD_OUT_TEXT)),
            (Phase::Closed, ..) => (Word::CLOSED, None),
            (_, false, _) => (Word::NO_PLACE, Some(Word::NO_PLACE_TEXT)),
            (_, _, true) => (Word::YOUR_TURN, Some(Word::YOUR_TURN_TEXT)),
            (Phase::Scheduled, ..) if room.has_draw() => (Word::SCHEDULED, Some(Word::DRAW_TEXT)),
            (Phase::Scheduled, ..) => (Word::SCHEDULED, Some(Word::SCHEDULED_TEXT)),
            (Phase::Paused, ..) => (Word::PAUSED, Some(Word::PAUSED_TEXT)),
            (Phase::Open, ..) => (Word::WAITING, None),
        };
        let text = PlaceText {
            title: &room.room.spec.title,
            event: room.event().as_str(),
            to,
            language: Language::wanted(visit.field("accept-language")),
            heading,
            text,
            ahead,
            has_draw: room.has_draw(),
            // Asking for the page again gives a place, while there are any to give.
            may_enter: is_turn || (place.is_none() && !decide::is_over(room.phase())),
        };
        let answer = Answer::page(200, "status", self.pages.place(text));
        Ok(match &standing {
            Some(standing) => self.with_place_cookie(answer, visit, room, standing),
            None => answer,
        })
    }

    /// Path and query of the page that led here, if it is one of this site.
    fn referred(&self, visit: &Visit<'_>) -> Option<String> {
        let referer: http::Uri = visit.field("referer")?.parse().ok()?;
        (referer.host()? == visit.host)
            .then(|| referer.path_and_query().map(ToString::to_string))?
    }

    pub(crate) fn status_answer(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: &Standing,
        status: u16,
        verdict: &'static str,
    ) -> Answer {
        let state =
            if self.is_turn(visit, room, &standing.place) { "your_turn" } else { "waiting" };
        let body = self.status_of(visit, room, standing, state);
        self.with_place_cookie(Answer::json(status, verdict, &body), visit, room, standing)
    }

    pub(crate) fn status_of<'a>(
        &self,
        visit: &Visit<'_>,
        room: &'a RoomNow,
        standing: &'a Standing,
        state: &'static str,
    ) -> Status<'a> {
        let claims = &standing.place.claims;
        let front = room.front_at(claims.lane, visit.now);
        let position = room.position(claims);
        Status {
            state,
            event_id: room.event(),
            title: &room.room.spec.title,
            phase: room.phase(),
            lane: claims.lane,
            num: claims.num,
            position,
            front,
            ahead: position.map(|position| position.saturating_sub(front.saturating_add(1))),
            issued_at: claims.iat.as_secs(),
            expires_at: claims.exp.as_secs(),
            visitor: claims.sub,
            came_back: claims.back.is_some(),
            claim_secs: room.room.spec.passes.claim_secs,
            place: standing.place.sealed.as_str(),
            poll_secs: self.poll_secs(room, Some(standing), visit.now),
            front_url: front_url(room.event()),
            claim_url: "/api/v1/queue/claim",
        }
    }

    fn admitted_answer(&self, visit: &Visit<'_>, room: &RoomNow, pass: &Held<Pass>) -> Answer {
        #[derive(Serialize)]
        struct Admitted<'a> {
            state: &'static str,
            event_id: &'a EventId,
            pass: &'a str,
            until: u64,
        }
        let body = Admitted {
            state: "admitted",
            event_id: room.event(),
            pass: pass.sealed.as_str(),
            until: pass.claims.exp.as_secs(),
        };
        let cookie = self.pass_cookie(visit, room, pass);
        Answer::json(200, "claim", &body).with("set-cookie", cookie)
    }

    pub(crate) fn no_room(&self, visit: &Visit<'_>) -> Result<Answer, Later> {
        self.charge(Budget::New(visit.network))?;
        // An edge that has just started does not know yet; a 404 would end the place.
        if self.live.heard_at().is_none() {
            return Ok(self.hold_on(visit, visit.host));
        }
        let problem = Problem::new(404, "no-such-event", "No such event");
        Ok(Answer::problem(&problem, "refuse"))
    }
}

pub(crate) fn front_url(event: &EventId) -> String {
    format!("/api/v1/queue/{event}/front")
}

pub(crate) fn place_moved() -> Problem {
    Problem::new(410, "place-moved", "This place was moved to another device")
        .detail("go on there, or join again to stand in line anew")
}

fn no_place() -> Problem {
    Problem::new(404, "no-place", "You have no place in this line")
        .with("join", "/api/v1/queue/join")
}

fn shut(phase: Phase) -> Answer {
    let problem =
        Problem::new(410, "sale-over", "Nobody enters any more").with("phase", phase.label());
    Answer::problem(&problem, "refuse")
}
