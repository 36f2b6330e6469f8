//! Deals with one request from beginning to end, without knowing how it travels: reads what the
//! visitor shows (`credentials`), charges the budgets, asks `decide`, and carries the verdict out:
//! with a place (`places`), a pass, or a page. What our own addresses answer is in `queue_api`.

use std::sync::Arc;

use admission_api::{Claim, ClaimOutcome, EndReason, EndRequest, Problem, Reason, RoomMode};
use arc_swap::ArcSwap;
use keys::{Id128, Keyring, Lane, Owner, Pass, Phase, Place, StockBand, Timestamp};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::accept::Wants;
use crate::answer::Answer;
use crate::binding::{BindingKey, Reported};
use crate::client::Network;
use crate::controller::{Controller, ControllerError};
use crate::credentials::{Held, Memory, Standing};
use crate::decide::{self, Intent, Verdict, Visitor};
use crate::geo::Geo;
use crate::guard::Match;
use crate::limits::{Budget, Later, Limits};
use crate::live::{Live, RoomNow};
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::outbox::Outbox;
use crate::pages::{Notice, Pages, Rendered};
use crate::queue_api::front_url;
use crate::route::{self, Route};
use crate::score::Rhythm;
use crate::stream::Stream;
use crate::visit::Visit;
use crate::words::{Language, Word};

/// Clients whose rhythm is watched; about 100 bytes each.
const RHYTHMS_MAX: usize = 50_000;
/// Visitors of whom it is remembered that they were moved; about 100 bytes each.
const MOVED_MAX: usize = 100_000;
/// Shared passes that were told of.
const REPORTED_MAX: usize = 50_000;
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
    /// Room for streams of the front.
    pub(crate) streams: Arc<Semaphore>,
    /// What was verified, and renewed.
    pub(crate) memory: Memory,
    /// How regular clients come.
    pub(crate) rhythms: Cache<(Network, String), Rhythm>,
    /// The suspect number, and its line, of a visitor who was moved from a place of a line: a
    /// standard place that is shown again is moved to the same number.
    pub(crate) moved: Cache<(Id128, u64), (u64, u64)>,
    /// Key of the hash that binds a place to a browser.
    pub(crate) binding: BindingKey,
    /// Passes that were shown by another browser, and told of.
    pub(crate) reported: Reported,
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
    /// The pages.
    pub pages: Pages,
    /// Longest body of a request that no room has a limit for.
    pub body_bytes_max: u64,
    /// Most streams of the front at once.
    pub streams_max: usize,
    /// Key of the hash that binds a place to a browser.
    pub binding_key: Vec<u8>,
}

/// What becomes of a request.
pub enum Outcome {
    /// The edge answers.
    Answer(Answer),
    /// The origin answers.
    Forward(Box<Forward>),
    /// The front is pushed until the stream is over.
    Stream(Box<Stream>),
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

impl Desk {
    /// Puts the parts together.
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
            pages: parts.pages,
            metrics: parts.metrics,
            body_bytes_max: parts.body_bytes_max,
            streams: Arc::new(Semaphore::new(parts.streams_max)),
            memory: Memory::default(),
            rhythms: Cache::new(RHYTHMS_MAX),
            moved: Cache::new(MOVED_MAX),
            reported: Reported::new(REPORTED_MAX),
            binding: BindingKey::new(&parts.binding_key),
        }
    }

    /// Replaces the keys and forgets what the old ones verified.
    pub fn replace_keys(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
        self.memory.forget_verified();
    }

    /// Whether a request's body is to be read before [`Desk::deal`]: those to our own addresses.
    #[must_use]
    pub fn reads_body(&self, visit: &Visit<'_>) -> bool {
        let route = route::route(visit.head.method.as_str(), visit.path());
        match route {
            Route::Join
            | Route::Claim
            | Route::Evidence
            | Route::Leave
            | Route::Transfer
            | Route::Redeem => true,
            Route::Front(_)
            | Route::Stream(_)
            | Route::Status
            | Route::Jwks
            | Route::PlacePage
            | Route::DrawPage
            | Route::Description
            | Route::Asset(_)
            | Route::Nothing
            | Route::WrongMethod(_)
            | Route::Foreign => false,
        }
    }

    /// Charges a request whose body is about to be read.
    ///
    /// # Errors
    /// The answer, if the network sends too many.
    pub fn charge_body(&self, visit: &Visit<'_>) -> Result<(), Answer> {
        self.charge(Budget::Open(visit.network)).map_err(|later| {
            let answer = self.too_often(visit, later);
            self.metrics.decided(answer.verdict);
            answer
        })
    }

    /// Deals with one request.
    pub async fn deal(self: &Arc<Self>, visit: &Visit<'_>, body: &[u8]) -> Outcome {
        let dealt = match route::route(visit.head.method.as_str(), visit.path()) {
            Route::Foreign => self.deal_with_foreign(visit).await,
            Route::Stream(event) if visit.head.method == http::Method::GET => {
                self.stream(visit, &event)
            }
            route => self.deal_with_own(visit, route, body).await.map(Outcome::Answer),
        };
        let outcome = dealt.unwrap_or_else(|later| Outcome::Answer(self.too_often(visit, later)));
        let verdict = match &outcome {
            Outcome::Answer(answer) => answer.verdict,
            Outcome::Forward(forward) => forward.verdict,
            Outcome::Stream(_) => "stream",
        };
        self.metrics.decided(verdict);
        outcome
    }

    /// Ends a pass because the origin said so.
    pub fn end(&self, pass: &Held<Pass>, reason: EndReason, now: Timestamp) {
        self.live.revoke(&pass.claims, reason, now);
        let request = EndRequest { edge: self.name.clone(), pass: pass.sealed.clone(), reason };
        self.outbox.end(request, &self.metrics);
    }

    async fn deal_with_foreign(&self, visit: &Visit<'_>) -> Result<Outcome, Later> {
        let rooms = self.live.rooms();
        let found = rooms.find(visit.host, visit.path());
        let (room, verdict) = match found {
            Some((Match::Guarded(_), room)) => return self.deal_with_guarded(visit, room).await,
            Some((Match::Bypass(_), room)) => {
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
        if let Some(pass) = self.pass(visit, room)? {
            self.charge(Budget::Pass(pass.claims.sub))?;
            if let Some(answer) = self.refused_pass(visit, room, &pass.claims) {
                return Ok(Outcome::Answer(answer));
            }
            // A pass that the controller knows to be over is none; its visitor joins or waits.
            if let Some(pass) = self.renewed(visit, room, pass).await {
                return self.deal_with_visitor(visit, room, Some(pass), None).await;
            }
        }
        let standing = self.place(visit, room)?;
        self.charge(match &standing {
            Some(standing) => Budget::Place(standing.place.claims.sub),
            None => Budget::New(visit.network),
        })?;
        self.deal_with_visitor(visit, room, None, standing).await
    }

    async fn deal_with_visitor(
        &self,
        visit: &Visit<'_>,
        room: &Arc<RoomNow>,
        pass: Option<Held<Pass>>,
        standing: Option<Standing>,
    ) -> Result<Outcome, Later> {
        let visitor = match (&pass, &standing) {
            (Some(_), _) => Visitor::Admitted,
            (None, Some(standing)) => {
                Visitor::InLine { position: room.position(&standing.place.claims) }
            }
            (None, None) => Visitor::New,
        };
        let lane = standing.as_ref().map_or(Lane::Standard, |standing| standing.place.claims.lane);
        let intent = Intent::of(visit.head.method.as_str(), visit.wants(), visit.is_prefetch());
        let now = decide::RoomNow {
            mode: room.room.spec.mode,
            phase: room.phase(),
            front: room.front_at(lane, visit.now),
        };
        let verdict = decide::decide(visitor, intent, now);
        if let (Verdict::Forward, Some(pass)) = (verdict, pass) {
            return Ok(self.forward(visit, room, pass, Vec::new()));
        }
        match (verdict, standing) {
            (Verdict::Claim, Some(standing)) => self.claim_and_forward(visit, room, standing).await,
            (Verdict::Wait, Some(standing)) => {
                Ok(Outcome::Answer(self.waiting_page(visit, room, Some(&standing), verdict)))
            }
            (Verdict::Join { may_enter }, _) => {
                let judgement = self.judge(visit, None, false);
                match self.issue(visit, room, &judgement, Id128::random()).await {
                    Ok(standing) if may_enter && self.is_turn(visit, room, &standing.place) => {
                        self.claim_and_forward(visit, room, standing).await
                    }
                    Ok(standing) => Ok(Outcome::Answer(self.waiting_page(
                        visit,
                        room,
                        Some(&standing),
                        verdict,
                    ))),
                    Err(error) => Ok(Outcome::Answer(self.no_number(visit, room, &error))),
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

    pub(crate) fn is_turn(&self, visit: &Visit<'_>, room: &RoomNow, place: &Held<Place>) -> bool {
        let has_come = || {
            let front = room.front_at(place.claims.lane, visit.now);
            room.position(&place.claims).is_some_and(|position| position <= front)
        };
        match room.phase() {
            Phase::Open | Phase::Paused => room.room.spec.mode == RoomMode::Off || has_come(),
            Phase::Scheduled | Phase::SoldOut | Phase::Closed => false,
        }
    }

    pub(crate) async fn claim(
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
            Ok(ClaimOutcome::Back { .. }) => "back",
            Ok(ClaimOutcome::Used) => "used",
            Ok(ClaimOutcome::Gone) => "gone",
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
    ) -> Result<Outcome, Later> {
        if let Some(answer) = self.refused_turn(visit, room, &standing.place.claims.fpr) {
            return Ok(Outcome::Answer(answer));
        }
        let judgement = self.judge(visit, None, self.is_shared(visit, &standing.place.claims));
        let page = |standing: &Standing| {
            Outcome::Answer(self.waiting_page(visit, room, Some(standing), Verdict::Wait))
        };
        let claimed = self.claim(&standing.place, judgement.score, judgement.reasons.clone()).await;
        Ok(match claimed {
            Ok(ClaimOutcome::Admitted { pass, .. }) => match self.accept_pass(&pass, room, visit) {
                Some(pass) => {
                    let cookies = self.place_cookie(visit, room, &standing).into_iter().collect();
                    self.forward(visit, room, pass, cookies)
                }
                None => page(&standing),
            },
            Ok(ClaimOutcome::Moved { suspect_num }) => {
                let moved = Place {
                    lane: Lane::Suspect,
                    num: suspect_num,
                    back: None,
                    ..Place::clone(&standing.place.claims)
                };
                match self.seal(&moved, visit.now) {
                    Some(place) => page(&Standing { place, is_new: true }),
                    None => page(&standing),
                }
            }
            Ok(ClaimOutcome::Back { lane, num, position, .. }) => {
                page(&self.back_at(visit, &standing, lane, num, position).unwrap_or(standing))
            }
            // Used up, or void: this visitor stands at the end of the line again, and the new
            // place is charged like anybody's: a used one must not be a source of new ones.
            Ok(ClaimOutcome::Used | ClaimOutcome::Gone | ClaimOutcome::Refused { .. }) => {
                self.charge(Budget::New(visit.network))?;
                match self.issue(visit, room, &judgement, Id128::random()).await {
                    Ok(standing) => page(&standing),
                    Err(error) => Outcome::Answer(self.no_number(visit, room, &error)),
                }
            }
            Ok(ClaimOutcome::NotYet { .. } | ClaimOutcome::Shut) | Err(_) => page(&standing),
        })
    }

    fn forward(
        &self,
        visit: &Visit<'_>,
        room: &Arc<RoomNow>,
        pass: Held<Pass>,
        mut cookies: Vec<String>,
    ) -> Outcome {
        if !pass.is_first_shown {
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

    fn waiting_page(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: Option<&Standing>,
        verdict: Verdict,
    ) -> Answer {
        let page = &room.waiting_page;
        let policy = &self.pages.policy;
        let answer = waiting_answer(page, policy, visit.field("accept-encoding"), verdict.label());
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

    /// When to look again: soon where news are near, of the turn or of what is left.
    pub(crate) fn poll_secs(
        &self,
        room: &RoomNow,
        standing: Option<&Standing>,
        now: Timestamp,
    ) -> u32 {
        let secs = self.turn_secs(room, standing, now);
        let Some(front) = &room.front else { return secs };
        match front.claims.stock {
            // It may all be sold at any moment, and everybody is told within five seconds.
            Some(StockBand::Few | StockBand::InHolds) => {
                secs.min(front.claims.poll.near_secs.max(1))
            }
            Some(StockBand::Plenty | StockBand::None) | None => secs,
        }
    }

    /// When to look again as far as the turn goes: the nearer, the sooner.
    pub(crate) fn turn_secs(
        &self,
        room: &RoomNow,
        standing: Option<&Standing>,
        now: Timestamp,
    ) -> u32 {
        let Some(front) = &room.front else { return 5 };
        let (near, far) = (front.claims.poll.near_secs.max(1), front.claims.poll.far_secs.max(1));
        let Some(standing) = standing else { return far };
        let claims = &standing.place.claims;
        let Some(position) = room.position(claims) else { return far.max(near) };
        let ahead = position.saturating_sub(room.front_at(claims.lane, now));
        let pace = front.claims.lane(claims.lane).map_or(0, |lane| lane.pace_milli);
        // A tenth of the wait that the present pace means.
        let wait_secs = ahead.saturating_mul(1000).checked_div(pace).unwrap_or(u64::from(far) * 10);
        u32::try_from(wait_secs / 10).unwrap_or(far).clamp(near, far.max(near))
    }

    /// No number could be leased for a place.
    pub(crate) fn no_number(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        error: &ControllerError,
    ) -> Answer {
        self.controller_failed("lease", error);
        self.hold_on(visit, &room.room.spec.title)
    }

    /// The controller is silent and a new visitor needs it.
    pub(crate) fn hold_on(&self, visit: &Visit<'_>, title: &str) -> Answer {
        let problem = Problem::new(503, "hold-on", "No place can be given at this moment");
        let page = self.pages.notice(Notice {
            title,
            language: Language::wanted(visit.field("accept-language")),
            heading: Word::HOLD_ON,
            text: Word::HOLD_ON_TEXT,
        });
        Answer::refusal(&problem, visit.wants(), page, "hold_on").retry_after(HOLD_ON_SECS)
    }

    fn too_often(&self, visit: &Visit<'_>, Later(wait): Later) -> Answer {
        let problem = Problem::new(429, "too-many-requests", "Too many requests");
        let page = self.pages.notice(Notice {
            title: visit.host,
            language: Language::wanted(visit.field("accept-language")),
            heading: Word::TOO_MANY,
            text: Word::TOO_MANY_TEXT,
        });
        Answer::refusal(&problem, visit.wants(), page, "limit").retry_after(wait.as_secs() + 1)
    }

    /// The origin did not answer; for the shell, which alone learns of it.
    #[must_use]
    pub fn origin_failed(
        &self,
        wants: Wants,
        language: Language,
        host: &str,
        status: u16,
    ) -> Answer {
        let problem = match status {
            413 => Problem::new(413, "body-too-large", "Body too large"),
            504 => Problem::new(504, "origin-timeout", "The shop did not answer in time"),
            _ => Problem::new(502, "origin-unreachable", "The shop does not answer"),
        };
        let page = self.pages.notice(Notice {
            title: host,
            language,
            heading: if status == 413 { Word::TOO_LARGE } else { Word::AWAY },
            text: Word::AWAY_TEXT,
        });
        Answer::refusal(&problem, wants, page, "origin_failed").retry_after(HOLD_ON_SECS)
    }

    pub(crate) fn charge(&self, budget: Budget) -> Result<(), Later> {
        self.limits.charge(budget).inspect_err(|_| {
            self.metrics.limited_total.with_label_values(&[budget.label()]).inc();
        })
    }

    pub(crate) fn controller_failed(&self, call: &'static str, error: &ControllerError) {
        self.metrics.controller_failures_total.with_label_values(&[call]).inc();
        self.outbox.failures.warn(call, error);
    }
}

/// The waiting page for a client.
#[must_use]
pub fn waiting_answer(
    page: &Rendered,
    policy: &str,
    accept_encoding: Option<&str>,
    verdict: &'static str,
) -> Answer {
    let (body, encoding) = page.for_client(accept_encoding);
    let answer = Answer::empty(200, verdict)
        .html(body, policy)
        .with("vary", "Accept, Accept-Encoding, Cookie");
    match encoding {
        Some(encoding) => answer.with("content-encoding", encoding),
        None => answer,
    }
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

/// What is answered to one that takes too long to come.
#[must_use]
pub fn body_too_slow() -> Answer {
    Answer::problem(&Problem::new(408, "body-too-slow", "Body too slow"), "refuse")
}

/// What is answered to a request for something else than a path.
#[must_use]
pub fn no_target() -> Answer {
    let problem = Problem::new(400, "no-target", "No such kind of target")
        .detail("expected a path, or a URL with http:// or https://");
    Answer::problem(&problem, "refuse")
}

/// What is answered to a request without exactly one host.
#[must_use]
pub fn no_host() -> Answer {
    let problem = Problem::new(400, "no-host", "Exactly one host is needed");
    Answer::problem(&problem, "refuse")
}
