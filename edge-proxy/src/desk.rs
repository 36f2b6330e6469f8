//! Deals with one request from beginning to end, without knowing how it travels: reads what the
//! visitor shows, charges the budgets, asks `decide`, and carries the verdict out.

use std::sync::Arc;
use std::time::Instant;

use admission_api::{
    Claim, ClaimOutcome, EndReason, EndRequest, LeaseRequest, Problem, Reason, Renewal,
    RenewalOutcome, RoomMode, Suspicion,
};
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keys::{
    EventId, Id128, Keyring, Lane, Owner, Pass, Phase, Place, Sealed, Statement, Timestamp,
    Verified,
};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::accept::Wants;
use crate::answer::Answer;
use crate::controller::{Controller, ControllerError};
use crate::cookies::{self, Kind};
use crate::decide::{self, Intent, Verdict, Visitor};
use crate::geo::Geo;
use crate::guard::Match;
use crate::limits::{Budget, Later, Limits};
use crate::live::{Live, RoomNow};
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::outbox::Outbox;
use crate::pages::{Notice, Pages, PlaceText, safe_path};
use crate::route::{self, Route};
use crate::score::{Evidence, Judgement, Rhythm, judge};
use crate::visit::Visit;

/// Statements that were verified and are remembered; about 400 bytes each.
const REMEMBERED_MAX: usize = 50_000;
/// Clients whose rhythm is watched; about 100 bytes each.
const RHYTHMS_MAX: usize = 50_000;
/// A pass whose renewal failed is not renewed again before this.
const RENEWAL_PAUSE_SECS: u64 = 5;
/// After how long a client comes back when the controller is silent.
const HOLD_ON_SECS: u64 = 3;

/// Everything that dealing with a request needs.
pub struct Desk {
    /// This edge.
    pub name: Owner,
    /// The keys that are known now.
    pub keyring: ArcSwap<Keyring>,
    /// The rooms.
    pub live: Live,
    /// Numbers to hand out.
    pub numbers: Numbers,
    /// The controller.
    pub controller: Controller,
    /// What goes to the controller with the next sync.
    pub outbox: Outbox,
    /// Rate limits.
    pub limits: Limits,
    /// Country and network.
    pub geo: Geo,
    /// The pages.
    pub pages: Pages,
    /// What is counted.
    pub metrics: Metrics,
    /// Longest body of a request that no room has a limit for.
    pub body_bytes_max: u64,
    passes: Cache<String, Arc<Verified<Pass>>>,
    places: Cache<String, Arc<Verified<Place>>>,
    rhythms: Cache<(crate::client::Network, String), Rhythm>,
    renewals: Cache<Id128, Timestamp>,
    binding: Hmac<Sha256>,
}

/// The parts that [`Desk::new`] puts together.
pub struct DeskParts {
    /// This edge.
    pub name: Owner,
    /// The keys.
    pub keyring: Keyring,
    /// The controller.
    pub controller: Controller,
    /// Rate limits.
    pub limits: Limits,
    /// Country and network.
    pub geo: Geo,
    /// What is counted.
    pub metrics: Metrics,
    /// Longest body of a request that no room has a limit for.
    pub body_bytes_max: u64,
    /// Key of the hash that binds a place to a browser.
    pub binding_key: Vec<u8>,
}

/// What becomes of a request.
pub enum Outcome {
    /// The edge answers.
    Answer(Answer),
    /// The origin answers.
    Forward(Box<Forward>),
}

/// A request on its way to the origin.
#[derive(Default)]
pub struct Forward {
    /// The room that guards it, if one does.
    pub room: Option<Arc<RoomNow>>,
    /// The pass that lets it through.
    pub pass: Option<Held<Pass>>,
    /// `Set-Cookie` values for the answer.
    pub cookies: Vec<String>,
    /// Longest body.
    pub body_bytes_max: u64,
    /// What was decided.
    pub verdict: &'static str,
}

/// A verified statement and its text.
pub struct Held<T> {
    /// What it says.
    pub claims: Arc<Verified<T>>,
    /// How it is written.
    pub sealed: Sealed<T>,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { claims: Arc::clone(&self.claims), sealed: Sealed::new(self.sealed.as_str()) }
    }
}

/// A place that the visitor holds now, and whether the cookie is to be written again.
struct Standing {
    place: Held<Place>,
    is_new: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventBody {
    event_id: EventId,
    #[serde(default)]
    evidence: Option<Evidence>,
}

/// What a visitor is told about their place; see ARCHITECTURE.md.
#[derive(Serialize)]
struct Status<'a> {
    state: &'static str,
    event_id: &'a EventId,
    title: &'a str,
    phase: Phase,
    lane: Lane,
    num: u64,
    position: u64,
    front: u64,
    ahead: u64,
    issued_at: u64,
    expires_at: u64,
    visitor: Id128,
    place: &'a str,
    poll_secs: u32,
    front_url: String,
    claim_url: &'static str,
}

impl Desk {
    /// Puts the parts together.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(parts: DeskParts) -> Self {
        Self {
            name: parts.name,
            keyring: ArcSwap::from_pointee(parts.keyring),
            live: Live::default(),
            numbers: Numbers::default(),
            controller: parts.controller,
            outbox: Outbox::default(),
            limits: parts.limits,
            geo: parts.geo,
            pages: Pages::new(),
            metrics: parts.metrics,
            body_bytes_max: parts.body_bytes_max,
            passes: Cache::new(REMEMBERED_MAX),
            places: Cache::new(REMEMBERED_MAX),
            rhythms: Cache::new(RHYTHMS_MAX),
            renewals: Cache::new(REMEMBERED_MAX),
            binding: Hmac::new_from_slice(&parts.binding_key)
                .expect("HMAC takes keys of any length"),
        }
    }

    /// Replaces the keys and forgets what the old ones verified.
    pub fn replace_keys(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
        self.passes.clear();
        self.places.clear();
    }

    /// Whether a request's body is to be read before [`Desk::deal`]: those to our own addresses.
    #[must_use]
    pub fn reads_body(&self, visit: &Visit<'_>) -> bool {
        let route = route::route(visit.head.method.as_str(), visit.path());
        matches!(route, Route::Join | Route::Claim | Route::Evidence | Route::Leave)
    }

    /// Deals with one request.
    pub async fn deal(&self, visit: &Visit<'_>, body: &[u8]) -> Outcome {
        let route = route::route(visit.head.method.as_str(), visit.path());
        let dealt = if route == Route::Foreign {
            self.deal_with_foreign(visit).await
        } else {
            self.deal_with_own(visit, route, body).await.map(Outcome::Answer)
        };
        let outcome = dealt.unwrap_or_else(|later| Outcome::Answer(self.too_often(visit, later)));
        let verdict = match &outcome {
            Outcome::Answer(answer) => answer.verdict,
            Outcome::Forward(forward) => forward.verdict,
        };
        self.metrics.decisions_total.with_label_values(&[verdict]).inc();
        outcome
    }

    /// Ends a pass because the origin said so.
    pub fn end(&self, pass: &Held<Pass>, reason: EndReason, now: Timestamp) {
        self.live.revoke(&pass.claims, reason, now);
        let request = EndRequest { edge: self.name.clone(), pass: pass.sealed.clone(), reason };
        self.outbox.end(request, &self.metrics);
    }

    async fn deal_with_own(
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
            Route::Asset(name) => {
                self.charge(Budget::Open(visit.network))?;
                Ok(self.asset(visit, &name))
            }
            Route::Join => self.with_body(visit, body, Self::join).await,
            Route::Claim => self.with_body(visit, body, Self::claim_by_api).await,
            Route::Evidence => self.with_body(visit, body, Self::evidence).await,
            Route::Leave => self.with_body(visit, body, Self::leave).await,
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
            Route::WrongMethod(allow) => {
                self.charge(Budget::New(visit.network))?;
                let problem = Problem::new(405, "method-not-allowed", "Method not allowed");
                Ok(Answer::problem(&problem.detail(format!("allowed: {allow}")), "refuse")
                    .with("allow", allow))
            }
            Route::Nothing | Route::Foreign => {
                self.charge(Budget::New(visit.network))?;
                let problem = Problem::new(404, "no-such-address", "No such address");
                Ok(Answer::problem(&problem, "refuse"))
            }
        }
    }

    async fn deal_with_foreign(&self, visit: &Visit<'_>) -> Result<Outcome, Later> {
        let rooms = self.live.rooms();
        let found = rooms.find(visit.host, visit.path());
        let (room, verdict) = match found {
            Some((Match::Guarded, room)) => return self.deal_with_guarded(visit, room).await,
            Some((Match::Bypass, room)) => {
                self.outbox.bypassed(room.event());
                (Some(Arc::clone(room)), "bypass")
            }
            // An edge that has not heard of any room does not know what is guarded.
            _ if self.live.heard_at().is_none() => {
                self.charge(Budget::New(visit.network))?;
                return Ok(Outcome::Answer(self.hold_on(visit, visit.host)));
            }
            _ => (None, "open"),
        };
        self.charge(Budget::Open(visit.network))?;
        let body_bytes_max =
            room.as_ref().map_or(self.body_bytes_max, |room| room.room.spec.forward.body_bytes_max);
        let forward = Forward { room: None, body_bytes_max, verdict, ..Forward::default() };
        Ok(Outcome::Forward(Box::new(forward)))
    }

    async fn deal_with_guarded(
        &self,
        visit: &Visit<'_>,
        room: &Arc<RoomNow>,
    ) -> Result<Outcome, Later> {
        let pass = self.pass(visit, room)?;
        let standing = if pass.is_some() { None } else { self.place(visit, room)? };
        let (visitor, budget) = match (&pass, &standing) {
            (Some(pass), _) => (Visitor::Admitted, Budget::Pass(pass.claims.sub)),
            (None, Some(standing)) => {
                let claims = &standing.place.claims;
                let position = room.position(claims);
                (Visitor::InLine { position }, Budget::Place(claims.sub))
            }
            (None, None) => (Visitor::New, Budget::New(visit.network)),
        };
        self.charge(budget)?;
        let lane = standing.as_ref().map_or(Lane::Standard, |standing| standing.place.claims.lane);
        let intent = Intent::of(visit.head.method.as_str(), visit.wants(), visit.is_prefetch());
        let now = decide::RoomNow {
            mode: room.room.spec.mode,
            phase: room.phase(),
            front: room.front_at(lane, visit.now),
        };
        let verdict = decide::decide(visitor, intent, now);
        if let (Verdict::Forward, Some(pass)) = (verdict, pass) {
            return Ok(self.forward(visit, room, pass, Vec::new()).await);
        }
        match (verdict, standing) {
            (Verdict::Claim, Some(standing)) => {
                Ok(self.claim_and_forward(visit, room, standing).await)
            }
            (Verdict::Wait, Some(standing)) => {
                Ok(Outcome::Answer(self.waiting_page(visit, room, Some(&standing), verdict)))
            }
            (Verdict::Join { may_enter }, _) => {
                let judgement = self.judge(visit, None, false);
                match self.issue(visit, room, &judgement).await {
                    Ok(standing) if may_enter && self.is_turn(visit, room, &standing.place) => {
                        Ok(self.claim_and_forward(visit, room, standing).await)
                    }
                    Ok(standing) => Ok(Outcome::Answer(self.waiting_page(
                        visit,
                        room,
                        Some(&standing),
                        verdict,
                    ))),
                    Err(error) => {
                        self.controller_failed("lease", &error);
                        Ok(Outcome::Answer(self.hold_on(visit, &room.room.spec.title)))
                    }
                }
            }
            (Verdict::Show, _) => {
                Ok(Outcome::Answer(self.waiting_page(visit, room, None, verdict)))
            }
            (Verdict::Options, _) => {
                let answer = Answer::empty(204, verdict.label());
                Ok(Outcome::Answer(answer.with("allow", "GET, HEAD, OPTIONS")))
            }
            (Verdict::Refuse | Verdict::Forward | Verdict::Claim | Verdict::Wait, standing) => {
                Ok(Outcome::Answer(self.must_wait(visit, room, standing.as_ref())))
            }
        }
    }

    // --- what a visitor shows ---

    fn pass(&self, visit: &Visit<'_>, room: &RoomNow) -> Result<Option<Held<Pass>>, Later> {
        let held = self.shown(visit, Kind::Pass, room.event(), &self.passes)?;
        Ok(held.filter(|pass| {
            pass.claims.generation == room.room.pass_generation
                && !self.live.is_revoked(&pass.claims.jti, visit.now)
        }))
    }

    /// The place that the visitor shows; in the lane where it belongs now.
    fn place(&self, visit: &Visit<'_>, room: &RoomNow) -> Result<Option<Standing>, Later> {
        let held = self.shown(visit, Kind::Place, room.event(), &self.places)?;
        let Some(place) = held.filter(|place| place.claims.line == room.room.line) else {
            return Ok(None);
        };
        let claims: &Place = &place.claims;
        let restored = self.live.restored(&claims.aud, &claims.sub);
        if let Some(restored) = restored.filter(|_| claims.lane == Lane::Suspect)
            && restored.line == claims.line
        {
            let back = Place { lane: Lane::Standard, num: restored.standard_num, ..claims.clone() };
            return Ok(self.seal(&back, visit.now).map(|place| Standing { place, is_new: true }));
        }
        Ok(Some(Standing { place, is_new: false }))
    }

    fn shown<T: Statement>(
        &self,
        visit: &Visit<'_>,
        kind: Kind,
        event: &EventId,
        memory: &Cache<String, Arc<Verified<T>>>,
    ) -> Result<Option<Held<T>>, Later> {
        for text in visit.candidates(kind, event) {
            if let Some(claims) = memory.get(&text) {
                let (_, until) = claims.times();
                if visit.now < until && claims.audience() == event {
                    return Ok(Some(Held { claims, sealed: Sealed::new(text) }));
                }
            }
            // A forged text costs one signature check, and the network pays for it.
            self.charge(Budget::Open(visit.network))?;
            let sealed = Sealed::new(text);
            match self.keyring.load().open(&sealed, event, visit.now) {
                Ok(claims) => {
                    let claims = Arc::new(claims);
                    memory.insert(sealed.as_str().to_owned(), Arc::clone(&claims));
                    return Ok(Some(Held { claims, sealed }));
                }
                Err(refusal) => {
                    self.metrics.refusals_total.with_label_values(&[refusal.label()]).inc();
                }
            }
        }
        Ok(None)
    }

    fn is_turn(&self, visit: &Visit<'_>, room: &RoomNow, place: &Held<Place>) -> bool {
        let has_come =
            || room.position(&place.claims) <= room.front_at(place.claims.lane, visit.now);
        match room.phase() {
            Phase::Open | Phase::Paused => room.room.spec.mode == RoomMode::Off || has_come(),
            Phase::Scheduled | Phase::SoldOut | Phase::Closed => false,
        }
    }

    // --- places ---

    /// A new place, in the lane that the judgement says.
    async fn issue(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        judgement: &Judgement,
    ) -> Result<Standing, ControllerError> {
        let event = room.event();
        let (standard_num, line) = self.number(event, Lane::Standard, room.room.line).await?;
        let sub = Id128::random();
        let place = Place {
            iss: self.name.clone(),
            aud: event.clone(),
            sub,
            lane: Lane::Standard,
            num: standard_num,
            iat: visit.now.floor_to_secs(),
            exp: visit.now.plus_secs(room.room.spec.passes.place_secs).floor_to_secs(),
            line,
            fpr: self.fingerprint(visit),
        };
        self.outbox.joined(event);
        let standing = if judgement.is_suspect() {
            self.suspect(visit, &place, judgement).await?
        } else {
            self.seal(&place, visit.now).map(|place| Standing { place, is_new: true })
        };
        let standing = standing.ok_or(ControllerError::Status { call: "sign", status: 500 })?;
        self.metrics.places_total.with_label_values(&[standing.place.claims.lane.label()]).inc();
        Ok(standing)
    }

    /// Moves a standard place into the `suspect` lane and tells the security team why.
    async fn suspect(
        &self,
        visit: &Visit<'_>,
        place: &Place,
        judgement: &Judgement,
    ) -> Result<Option<Standing>, ControllerError> {
        let (suspect_num, line) = self.number(&place.aud, Lane::Suspect, place.line).await?;
        let moved = Place { lane: Lane::Suspect, num: suspect_num, line, ..place.clone() };
        let cut = |text: Option<&str>| text.unwrap_or_default().chars().take(200).collect();
        let suspicion = Suspicion {
            event: place.aud.clone(),
            line,
            sub: place.sub,
            edge: self.name.clone(),
            at: visit.now,
            score: judgement.score,
            reasons: judgement.reasons.clone(),
            standard_num: place.num,
            suspect_num,
            network: visit.network.shortened(),
            country: self.geo.country(visit.addr),
            asn: self.geo.asn(visit.addr),
            user_agent: cut(visit.field("user-agent")),
        };
        self.outbox.suspect(suspicion, &self.metrics);
        Ok(self.seal(&moved, visit.now).map(|place| Standing { place, is_new: true }))
    }

    async fn number(
        &self,
        event: &EventId,
        lane: Lane,
        line: u64,
    ) -> Result<(u64, u64), ControllerError> {
        let lease = |count| {
            let request =
                LeaseRequest { edge: self.name.clone(), event: event.clone(), lane, count };
            async move { self.controller.lease(&request).await }
        };
        self.numbers.take(event, lane, line, lease).await
    }

    /// Signs, and takes our own word for it.
    fn seal(&self, place: &Place, now: Timestamp) -> Option<Held<Place>> {
        let keyring = self.keyring.load();
        let sealed = match keyring.seal(place, now) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(%error, "no place can be signed");
                return None;
            }
        };
        let claims = Arc::new(keyring.open(&sealed, &place.aud, now).ok()?);
        self.places.insert(sealed.as_str().to_owned(), Arc::clone(&claims));
        Some(Held { claims, sealed })
    }

    fn fingerprint(&self, visit: &Visit<'_>) -> String {
        let mut mac = self.binding.clone();
        for name in ["user-agent", "accept-language"] {
            mac.update(visit.field(name).unwrap_or_default().as_bytes());
            mac.update(&[0]);
        }
        URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..9])
    }

    fn is_shared(&self, visit: &Visit<'_>, place: &Place) -> bool {
        // Another edge may have another key; only our own places can be compared.
        let is_ours = place.iss == self.name;
        let is_same: bool = self.fingerprint(visit).as_bytes().ct_eq(place.fpr.as_bytes()).into();
        is_ours && !is_same
    }

    fn judge(&self, visit: &Visit<'_>, evidence: Option<&Evidence>, is_shared: bool) -> Judgement {
        let agent: String =
            visit.field("user-agent").unwrap_or_default().chars().take(200).collect();
        let key = (visit.network, agent);
        let rhythm = self.rhythms.get(&key).unwrap_or_default().with(visit.now);
        self.rhythms.insert(key, rhythm);
        if is_shared {
            self.metrics.shared_places_total.inc();
        }
        judge(&visit.facts(rhythm, is_shared), evidence)
    }

    // --- turns ---

    async fn claim(
        &self,
        place: &Held<Place>,
        score: u8,
        reasons: Vec<Reason>,
    ) -> Result<ClaimOutcome, ControllerError> {
        let claim = Claim { edge: self.name.clone(), place: place.sealed.clone(), score, reasons };
        let outcome = self.controller.claim(&claim).await;
        let label = match &outcome {
            Ok(ClaimOutcome::Admitted { .. }) => "admitted",
            Ok(ClaimOutcome::NotYet { .. }) => "not_yet",
            Ok(ClaimOutcome::Moved { .. }) => "moved",
            Ok(ClaimOutcome::Used) => "used",
            Ok(ClaimOutcome::Refused { .. }) => "refused",
            Ok(ClaimOutcome::Shut) => "shut",
            Err(error) => {
                self.controller_failed("claim", error);
                "failed"
            }
        };
        self.metrics.claims_total.with_label_values(&[label]).inc();
        outcome
    }

    /// A person navigates and their turn has come.
    async fn claim_and_forward(
        &self,
        visit: &Visit<'_>,
        room: &Arc<RoomNow>,
        standing: Standing,
    ) -> Outcome {
        let judgement = self.judge(visit, None, self.is_shared(visit, &standing.place.claims));
        let page = |standing: &Standing| {
            Outcome::Answer(self.waiting_page(visit, room, Some(standing), Verdict::Wait))
        };
        match self.claim(&standing.place, judgement.score, judgement.reasons.clone()).await {
            Ok(ClaimOutcome::Admitted { pass, .. }) => match self.accept_pass(&pass, room, visit) {
                Some(pass) => {
                    let cookies = self.place_cookie(visit, room, &standing).into_iter().collect();
                    self.forward(visit, room, pass, cookies).await
                }
                None => page(&standing),
            },
            Ok(ClaimOutcome::Moved { suspect_num }) => {
                let moved = Place {
                    lane: Lane::Suspect,
                    num: suspect_num,
                    ..Place::clone(&standing.place.claims)
                };
                match self.seal(&moved, visit.now) {
                    Some(place) => page(&Standing { place, is_new: true }),
                    None => page(&standing),
                }
            }
            // Used up, or void: this visitor stands at the end of the line again.
            Ok(ClaimOutcome::Used | ClaimOutcome::Refused { .. }) => {
                match self.issue(visit, room, &judgement).await {
                    Ok(standing) => page(&standing),
                    Err(error) => {
                        self.controller_failed("lease", &error);
                        Outcome::Answer(self.hold_on(visit, &room.room.spec.title))
                    }
                }
            }
            Ok(ClaimOutcome::NotYet { .. } | ClaimOutcome::Shut) | Err(_) => page(&standing),
        }
    }

    /// A pass from the controller, verified like any other.
    fn accept_pass(
        &self,
        sealed: &Sealed<Pass>,
        room: &RoomNow,
        visit: &Visit<'_>,
    ) -> Option<Held<Pass>> {
        match self.keyring.load().open(sealed, room.event(), visit.now) {
            Ok(claims) => {
                let claims = Arc::new(claims);
                self.passes.insert(sealed.as_str().to_owned(), Arc::clone(&claims));
                Some(Held { claims, sealed: sealed.clone() })
            }
            Err(refusal) => {
                tracing::error!(%refusal, "the controller's pass does not verify: are its keys trusted here?");
                None
            }
        }
    }

    async fn forward(
        &self,
        visit: &Visit<'_>,
        room: &Arc<RoomNow>,
        pass: Held<Pass>,
        mut cookies: Vec<String>,
    ) -> Outcome {
        let pass = self.renewed(visit, room, pass).await;
        let shown = visit.candidates(Kind::Pass, room.event());
        if shown.first().is_none_or(|text| text != pass.sealed.as_str()) {
            cookies.push(self.pass_cookie(visit, room, &pass));
        }
        Outcome::Forward(Box::new(Forward {
            room: Some(Arc::clone(room)),
            pass: Some(pass),
            cookies,
            body_bytes_max: room.room.spec.forward.body_bytes_max,
            verdict: Verdict::Forward.label(),
        }))
    }

    /// The pass with a later end, if half its idle time is over and the controller agrees; while
    /// the controller is silent the old one holds.
    async fn renewed(&self, visit: &Visit<'_>, room: &RoomNow, pass: Held<Pass>) -> Held<Pass> {
        let left = pass.claims.exp.since(visit.now).as_secs();
        let was_tried = self
            .renewals
            .get(&pass.claims.jti)
            .is_some_and(|at| visit.now < at.plus_secs(RENEWAL_PAUSE_SECS));
        if left * 2 > room.room.spec.passes.idle_secs || was_tried {
            return pass;
        }
        self.renewals.insert(pass.claims.jti, visit.now);
        let renewal = Renewal { edge: self.name.clone(), pass: pass.sealed.clone() };
        match self.controller.renew(&renewal).await {
            Ok(RenewalOutcome::Renewed { pass: sealed }) => {
                self.accept_pass(&sealed, room, visit).unwrap_or(pass)
            }
            Ok(RenewalOutcome::Ended) => pass,
            Err(error) => {
                self.controller_failed("renew", &error);
                pass
            }
        }
    }

    // --- our own addresses ---

    async fn with_body<'a, F>(
        &'a self,
        visit: &'a Visit<'a>,
        body: &[u8],
        handler: impl FnOnce(&'a Self, &'a Visit<'a>, Arc<RoomNow>, Option<Evidence>) -> F,
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
        match serde_json::from_slice::<EventBody>(body) {
            Ok(body) => match self.live.rooms().get(&body.event_id).cloned() {
                Some(room) => handler(self, visit, room, body.evidence).await,
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
        evidence: Option<Evidence>,
    ) -> Result<Answer, Later> {
        if let Some(standing) = self.place(visit, &room)? {
            self.charge(Budget::Place(standing.place.claims.sub))?;
            return Ok(self.status_answer(visit, &room, &standing, 200, "status"));
        }
        self.charge(Budget::New(visit.network))?;
        let judgement = self.judge(visit, evidence.as_ref(), false);
        match self.issue(visit, &room, &judgement).await {
            Ok(standing) => Ok(self.status_answer(visit, &room, &standing, 201, "join")),
            Err(error) => {
                self.controller_failed("lease", &error);
                Ok(self.hold_on(visit, &room.room.spec.title))
            }
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
        evidence: Option<Evidence>,
    ) -> Result<Answer, Later> {
        if let Some(pass) = self.pass(visit, &room)? {
            self.charge(Budget::Pass(pass.claims.sub))?;
            return Ok(self.admitted_answer(visit, &room, &pass));
        }
        let Some(standing) = self.place(visit, &room)? else {
            self.charge(Budget::New(visit.network))?;
            return Ok(Answer::problem(&no_place(), "refuse"));
        };
        self.charge(Budget::Place(standing.place.claims.sub))?;
        let is_shared = self.is_shared(visit, &standing.place.claims);
        let judgement = self.judge(visit, evidence.as_ref(), is_shared);
        let standing = match self.moved_if_suspect(visit, standing, &judgement).await {
            Ok(standing) => standing,
            Err(error) => {
                self.controller_failed("lease", &error);
                return Ok(self.hold_on(visit, &room.room.spec.title));
            }
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

    /// What the waiting page saw may move a place into the `suspect` lane.
    async fn evidence(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        evidence: Option<Evidence>,
    ) -> Result<Answer, Later> {
        let Some(standing) = self.place(visit, &room)? else {
            self.charge(Budget::New(visit.network))?;
            return Ok(Answer::problem(&no_place(), "refuse"));
        };
        self.charge(Budget::Place(standing.place.claims.sub))?;
        let is_shared = self.is_shared(visit, &standing.place.claims);
        let judgement = self.judge(visit, evidence.as_ref(), is_shared);
        match self.moved_if_suspect(visit, standing, &judgement).await {
            Ok(standing) if standing.is_new => {
                Ok(self.status_answer(visit, &room, &standing, 200, "evidence"))
            }
            Ok(_) => Ok(Answer::empty(204, "evidence")),
            Err(error) => {
                self.controller_failed("lease", &error);
                Ok(self.hold_on(visit, &room.room.spec.title))
            }
        }
    }

    async fn moved_if_suspect(
        &self,
        visit: &Visit<'_>,
        standing: Standing,
        judgement: &Judgement,
    ) -> Result<Standing, ControllerError> {
        let claims = &standing.place.claims;
        // Whoever was given back their place by a person is not moved again by the machine.
        let was_restored = self.live.restored(&claims.aud, &claims.sub).is_some();
        if claims.lane != Lane::Standard || !judgement.is_suspect() || was_restored {
            return Ok(standing);
        }
        let moved = self.suspect(visit, claims, judgement).await?;
        Ok(moved.unwrap_or(standing))
    }

    async fn leave(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        _evidence: Option<Evidence>,
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

    // --- answers ---

    fn front_document(&self, visit: &Visit<'_>, event: &EventId) -> Answer {
        let rooms = self.live.rooms();
        let Some(front) = rooms.get(event).and_then(|room| room.front.as_ref()) else {
            let problem = Problem::new(404, "no-such-event", "No such event");
            return Answer::problem(&problem, "document").cached("public, s-maxage=1");
        };
        // Shared by everybody behind a cache, hence no cookie and no verdict of one visitor.
        let answer = Answer::empty(200, "document")
            .cached("public, max-age=0, s-maxage=1, stale-while-revalidate=5")
            .with("etag", front.etag.clone());
        if visit.field("if-none-match").is_some_and(|tags| tags.contains(&front.etag)) {
            return Answer { status: 304, ..answer };
        }
        answer.body("application/json", front.document.clone())
    }

    fn asset(&self, visit: &Visit<'_>, name: &str) -> Answer {
        let Some(asset) = self.pages.asset(name) else {
            let problem = Problem::new(404, "no-such-address", "No such address");
            return Answer::problem(&problem, "document");
        };
        let (body, encoding) = asset.content.for_client(visit.field("accept-encoding"));
        let answer = Answer::empty(200, "document")
            .cached("public, max-age=31536000, immutable")
            .with("vary", "Accept-Encoding")
            .with("x-content-type-options", "nosniff")
            .body(asset.media_type, body);
        match encoding {
            Some(encoding) => answer.with("content-encoding", encoding),
            None => answer,
        }
    }

    fn waiting_page(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: Option<&Standing>,
        verdict: Verdict,
    ) -> Answer {
        let (body, encoding) = room.waiting_page.for_client(visit.field("accept-encoding"));
        let mut answer = Answer::page(200, verdict.label(), body)
            .with("vary", "Accept, Accept-Encoding, Cookie");
        if let Some(encoding) = encoding {
            answer = answer.with("content-encoding", encoding);
        }
        match standing {
            Some(standing) => self.with_place_cookie(answer, visit, room, standing),
            None => answer,
        }
    }

    /// Data cannot wait on a page.
    fn must_wait(&self, visit: &Visit<'_>, room: &RoomNow, standing: Option<&Standing>) -> Answer {
        let event = room.event();
        let mut problem = Problem::new(503, "waiting", "There is a line for this")
            .detail("join the line, read the front, claim when the front has reached your position")
            .with("event_id", event.as_str())
            .with("join", "/api/v1/queue/join")
            .with("front", front_url(event));
        let mut retry_secs = u64::from(self.poll_secs(room, standing, visit.now));
        if let Some(standing) = standing {
            let is_turn = self.is_turn(visit, room, &standing.place);
            problem = problem
                .with("state", if is_turn { "your_turn" } else { "waiting" })
                .with("claim", "/api/v1/queue/claim");
            if is_turn {
                retry_secs = 1;
            }
        }
        Answer::problem(&problem, Verdict::Refuse.label()).retry_after(retry_secs)
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
        let ahead = place.map(|place| {
            let front = room.front_at(place.claims.lane, visit.now);
            room.position(&place.claims).saturating_sub(front + 1)
        });
        let is_turn = place.is_some_and(|place| self.is_turn(visit, room, place));
        let ahead_text = match (room.phase(), ahead) {
            (Phase::Open | Phase::Paused, Some(ahead)) if !is_turn => {
                format!("{ahead} ahead of you")
            }
            _ => String::new(),
        };
        let (heading, text) = match (room.phase(), place.is_some(), is_turn) {
            (Phase::SoldOut, ..) => {
                ("Sold out", "Every seat is sold. There is nothing to wait for any more.")
            }
            (Phase::Closed, ..) => ("The sale is over", "There is nothing to wait for any more."),
            (_, false, _) => (
                "You have no place yet",
                "Your browser did not send a place. Please allow cookies for this site and open the page again.",
            ),
            (_, _, true) => ("It is your turn", "Enter now. Your turn is kept for you."),
            (Phase::Scheduled, ..) => {
                ("The sale has not opened yet", "You have a place. Nobody has entered yet.")
            }
            (Phase::Paused, ..) => {
                ("The line is paused", "The operator has paused the line. Your place is kept.")
            }
            (Phase::Open, ..) => {
                ("You are in line", "Your place is kept for you, also when you close this page.")
            }
        };
        let text = PlaceText {
            title: &room.room.spec.title,
            event: room.event().as_str(),
            to,
            heading,
            text,
            ahead: &ahead_text,
            may_enter: is_turn || place.is_none(),
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

    fn status_answer(
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

    fn status_of<'a>(
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
            ahead: position.saturating_sub(front.saturating_add(1)),
            issued_at: claims.iat.as_secs(),
            expires_at: claims.exp.as_secs(),
            visitor: claims.sub,
            place: standing.place.sealed.as_str(),
            poll_secs: self.poll_secs(room, Some(standing), visit.now),
            front_url: front_url(room.event()),
            claim_url: "/api/v1/queue/claim",
        }
    }

    /// When to look again: the nearer the turn, the sooner.
    fn poll_secs(&self, room: &RoomNow, standing: Option<&Standing>, now: Timestamp) -> u32 {
        let Some(front) = &room.front else { return 5 };
        let (near, far) = (front.claims.poll.near_secs.max(1), front.claims.poll.far_secs.max(1));
        let Some(standing) = standing else { return far };
        let claims = &standing.place.claims;
        let ahead = room.position(claims).saturating_sub(front.claims.at(claims.lane, now));
        let pace = front.claims.lane(claims.lane).map_or(0, |lane| lane.pace_milli);
        // A tenth of the wait that the present pace means.
        let wait_secs = ahead.saturating_mul(1000).checked_div(pace).unwrap_or(u64::from(far) * 10);
        u32::try_from(wait_secs / 10).unwrap_or(far).clamp(near, far.max(near))
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

    fn no_room(&self, visit: &Visit<'_>) -> Result<Answer, Later> {
        self.charge(Budget::New(visit.network))?;
        let problem = Problem::new(404, "no-such-event", "No such event");
        Ok(Answer::problem(&problem, "refuse"))
    }

    /// The controller is silent and a new visitor needs it.
    fn hold_on(&self, visit: &Visit<'_>, title: &str) -> Answer {
        let problem = Problem::new(503, "hold-on", "No place can be given at this moment");
        let page = self.pages.notice(Notice {
            title,
            heading: "Please hold on",
            text: "No place can be given at this moment. Nothing is wrong with your browser, and \
                   a place that you already have is kept.",
        });
        Answer::refusal(&problem, visit.wants(), &page, "hold_on").retry_after(HOLD_ON_SECS)
    }

    fn too_often(&self, visit: &Visit<'_>, Later(wait): Later) -> Answer {
        let problem = Problem::new(429, "too-many-requests", "Too many requests");
        let page = self.pages.notice(Notice {
            title: visit.host,
            heading: "Too many requests",
            text: "More requests came from your network than one visitor makes. A place that you \
                   already have is kept.",
        });
        Answer::refusal(&problem, visit.wants(), &page, "limit").retry_after(wait.as_secs() + 1)
    }

    /// The origin did not answer; for the shell, which alone learns of it.
    #[must_use]
    pub fn origin_failed(&self, wants: Wants, host: &str, status: u16) -> Answer {
        let problem = match status {
            413 => Problem::new(413, "body-too-large", "Body too large"),
            504 => Problem::new(504, "origin-timeout", "The shop did not answer in time"),
            _ => Problem::new(502, "origin-unreachable", "The shop does not answer"),
        };
        let page = self.pages.notice(Notice {
            title: host,
            heading: &problem.title,
            text: "Your place or your pass is kept. Please try again in a moment.",
        });
        Answer::refusal(&problem, wants, &page, "origin_failed").retry_after(HOLD_ON_SECS)
    }

    fn pass_cookie(&self, visit: &Visit<'_>, room: &RoomNow, pass: &Held<Pass>) -> String {
        let age_secs = pass.claims.exp.since(visit.now).as_secs();
        cookies::set(Kind::Pass, room.event(), pass.sealed.as_str(), age_secs, visit.is_secure)
    }

    fn place_cookie(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: &Standing,
    ) -> Option<String> {
        let place = standing.is_new.then_some(&standing.place)?;
        let age_secs = place.claims.exp.since(visit.now).as_secs();
        let text = place.sealed.as_str();
        Some(cookies::set(Kind::Place, room.event(), text, age_secs, visit.is_secure))
    }

    fn with_place_cookie(
        &self,
        answer: Answer,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: &Standing,
    ) -> Answer {
        match self.place_cookie(visit, room, standing) {
            Some(cookie) => answer.with("set-cookie", cookie),
            None => answer,
        }
    }

    fn without_cookies(&self, answer: Answer, visit: &Visit<'_>, room: &RoomNow) -> Answer {
        let clear = |kind| cookies::clear(kind, room.event(), visit.is_secure);
        answer.with("set-cookie", clear(Kind::Place)).with("set-cookie", clear(Kind::Pass))
    }

    fn charge(&self, budget: Budget) -> Result<(), Later> {
        self.limits.charge(budget).inspect_err(|_| {
            self.metrics.limited_total.with_label_values(&[budget.label()]).inc();
        })
    }

    fn controller_failed(&self, call: &'static str, error: &ControllerError) {
        self.metrics.controller_failures_total.with_label_values(&[call]).inc();
        self.outbox.failures.warn(call, error);
    }

    /// What the sync task reports, at the time of the call.
    #[must_use]
    pub fn gaps(&self) -> Vec<admission_api::Gap> {
        self.numbers.gaps(Instant::now())
    }
}

fn front_url(event: &EventId) -> String {
    format!("/api/v1/queue/{event}/front")
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

/// A body for our own addresses is short.
pub const BODY_BYTES_MAX: usize = 8 * 1024;

/// What is answered to a longer one.
#[must_use]
pub fn body_too_long() -> Answer {
    let problem = Problem::new(413, "body-too-large", "Body too large")
        .detail(format!("at most {BODY_BYTES_MAX} bytes"));
    Answer::problem(&problem, "refuse")
}

/// What is answered to a request without exactly one host.
#[must_use]
pub fn no_host() -> Answer {
    let problem = Problem::new(400, "no-host", "Exactly one host is needed");
    Answer::problem(&problem, "refuse")
}
