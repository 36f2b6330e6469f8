//! What does one visitor do? What the pages do: arrive, wait, claim, look, hold, pay or give up.
//!
//! A visitor is one task that sleeps between its steps. Whoever waits in the line reads the crowd's
//! one copy of the front and makes no request of its own, so twenty thousand of them cost a timer
//! each. An answer of unknown shape is counted and ends the visit; nothing here panics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use keys::{Front, Id128, Lane, Pass, Phase, Place, Sealed, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::answers::{
    Availability, ClaimAnswer, EventAnswer, FrontAnswer, HoldAnswer, OrderAnswer, SaleOver, Status,
    Taken,
};
use crate::client::{Answer, NoAnswer};
use crate::crowd::{Kind, Payment, Person, Wish, choose};
use crate::history::{Admitted, Joined};
use crate::page::{self, Agent, Next};
use crate::stats::{Outcome, Step, lock};
use crate::world::World;

/// Most tries of one request before the visitor goes home.
const TRIES_MAX: u32 = 10;
/// Most times an order is asked for again before its outcome counts as unknown.
const ORDER_TRIES_MAX: u32 = 20;
/// Most claims of one visitor: a room may be paused after it has called them.
const CLAIMS_MAX: u32 = 300;
/// Most attempts to get seats.
const HOLD_TRIES_MAX: u32 = 6;
/// The first pause after no answer; it doubles from try to try.
const BACKOFF: Duration = Duration::from_millis(200);
/// The longest such pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// One visit from arrival to end.
#[derive(Debug)]
pub struct Visitor {
    world: Arc<World>,
    index: u64,
    person: Person,
    agent: &'static Agent,
    /// When the next request is due; its latency counts from here.
    due: Instant,
    place: Option<Box<str>>,
    pass: Option<Box<str>>,
    spot: Option<Spot>,
    jti: Option<Id128>,
    joined_at: Option<Timestamp>,
    is_waiting: bool,
    is_inside: bool,
    /// An order was sent and its outcome is not known.
    is_paying: bool,
    outcome: Outcome,
}

/// Where a visitor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    lane: Lane,
    num: u64,
    position: u64,
}

/// One request.
struct Ask<'a> {
    step: Step,
    method: Method,
    path: &'a str,
    body: Option<Bytes>,
    key: Option<&'a str>,
}

impl<'a> Ask<'a> {
    fn get(step: Step, path: &'a str) -> Self {
        Self { step, method: Method::GET, path, body: None, key: None }
    }

    fn post(step: Step, path: &'a str, body: &Value) -> Self {
        let body = Some(Bytes::from(body.to_string()));
        Self { step, method: Method::POST, path, body, key: None }
    }
}

impl Visitor {
    /// Number `index` of the crowd, who is due to arrive at `due`.
    #[must_use]
    pub fn new(world: Arc<World>, index: u64, due: Instant) -> Self {
        let person = Person::nth(world.seed, index, &world.shares);
        let agent = match person.kind {
            Kind::Bot => &page::SCRIPT,
            Kind::Buyer | Kind::GivesUp | Kind::NoShow | Kind::Looker => {
                &page::BROWSERS[person.browser % page::BROWSERS.len()]
            }
        };
        world.stats.arrived.up();
        world.stats.present.up();
        Self {
            world,
            index,
            person,
            agent,
            due,
            place: None,
            pass: None,
            spot: None,
            jti: None,
            joined_at: None,
            is_waiting: false,
            is_inside: false,
            is_paying: false,
            outcome: Outcome::Unfinished,
        }
    }

    /// The whole visit.
    pub async fn visit(mut self) {
        self.outcome = match self.way().await {
            Ok(outcome) | Err(outcome) => outcome,
        };
    }

    /// `Err` is a visit that ended early: it is an outcome like the others.
    async fn way(&mut self) -> Result<Outcome, Outcome> {
        let has_entered = Box::pin(self.arrive()).await?;
        if !has_entered {
            self.set_waiting(true);
            self.wait_in_line().await?;
            self.set_waiting(false);
        }
        Box::pin(self.shop(has_entered)).await
    }

    /// True if there was no line to wait in.
    async fn arrive(&mut self) -> Result<bool, Outcome> {
        let world = Arc::clone(&self.world);
        if self.person.kind == Kind::Bot {
            self.join().await?;
        } else {
            let answer = self.ask(Ask::get(Step::Arrive, &world.page)).await?;
            if self.jti.is_some() {
                world.stats.admitted_at_once.up();
                return Ok(true);
            }
            if !answer.status.is_success() {
                return Err(Outcome::TurnedAway);
            }
            if self.place.is_none() {
                self.join().await?; // a page that is not guarded itself: its script would join
            }
        }
        if self.jti.is_none() {
            self.read_status().await?;
        }
        if self.jti.is_some() {
            world.stats.admitted_at_once.up();
        }
        Ok(self.jti.is_some())
    }

    async fn join(&mut self) -> Result<(), Outcome> {
        let body = json!({"event_id": self.world.event.as_str()});
        let answer = self.ask(Ask::post(Step::Arrive, "/api/v1/queue/join", &body)).await?;
        match answer.json::<Status>() {
            Some(status) if answer.status.is_success() => self.take_status(status, &answer).await,
            Some(_) if answer.status.is_client_error() => Err(Outcome::TurnedAway),
            Some(_) | None => Err(self.odd(Step::Arrive, &answer)),
        }
    }

    async fn read_status(&mut self) -> Result<(), Outcome> {
        let path = format!("/api/v1/queue/status?event_id={}", self.world.event);
        let answer = self.ask(Ask::get(Step::Status, &path)).await?;
        match answer.json::<Status>() {
            Some(status) if answer.status.is_success() => self.take_status(status, &answer).await,
            Some(_) if answer.status.is_client_error() => Err(Outcome::TurnedAway),
            Some(_) | None => Err(self.odd(Step::Status, &answer)),
        }
    }

    async fn take_status(&mut self, status: Status, answer: &Answer) -> Result<(), Outcome> {
        if let Some(place) = &status.place {
            self.see_place(place, answer.sent_at, answer.at).await;
        }
        if let Some(pass) = &status.pass {
            self.see_pass(pass, answer.at).await;
        }
        if let Some(spot) = &mut self.spot {
            spot.position = status.position.unwrap_or(spot.num);
        }
        let is_placed = self.spot.is_some() || self.jti.is_some();
        if is_placed { Ok(()) } else { Err(self.odd(Step::Status, answer)) }
    }

    async fn wait_in_line(&mut self) -> Result<(), Outcome> {
        let world = Arc::clone(&self.world);
        let mut claims = 0;
        loop {
            let front = if world.has_cdn { world.front() } else { self.fetch_front().await? };
            let (Some(front), Some(spot)) = (front, self.spot) else {
                self.pause(Duration::from_secs(1)).await?;
                continue;
            };
            match page::next(&front, spot.lane, spot.position, Timestamp::now()) {
                Next::Over => return Err(Outcome::SoldOut),
                Next::Look(after) => {
                    // Chance as in the page, or a whole crowd would look in the same millisecond.
                    let chance = self.person.rng.unit();
                    let early = Duration::from_millis(50).max(after / 5);
                    let scatter = early.mul_f64(2.0 * chance).min(Duration::from_secs(5));
                    self.pause(after.max(early) - early + scatter).await?;
                }
                Next::Claim if self.person.kind == Kind::NoShow => return Err(Outcome::NoShow),
                Next::Claim => {
                    claims += 1;
                    if claims > CLAIMS_MAX {
                        return Err(Outcome::Failed);
                    }
                    if Box::pin(self.claim()).await? {
                        return Ok(());
                    }
                    self.pause(Duration::from_secs(u64::from(front.poll.near_secs.max(1)))).await?;
                }
            }
        }
    }

    async fn fetch_front(&mut self) -> Result<Option<Arc<Front>>, Outcome> {
        let world = Arc::clone(&self.world);
        let answer = Box::pin(self.ask(Ask::get(Step::Front, &world.front_path))).await?;
        let front = answer.json::<FrontAnswer>();
        if front.is_none() {
            world.odd(Step::Front, &answer);
        }
        Ok(front.map(|answer| Arc::new(answer.front)))
    }

    /// True if the visitor has a pass now.
    async fn claim(&mut self) -> Result<bool, Outcome> {
        let event = self.world.event.as_str();
        let body = match self.person.kind {
            Kind::Bot => json!({"event_id": event}),
            Kind::Buyer | Kind::GivesUp | Kind::NoShow | Kind::Looker => {
                let evidence = page::evidence_of_person(&mut self.person.rng);
                json!({"event_id": event, "evidence": evidence})
            }
        };
        let answer = self.ask(Ask::post(Step::Claim, "/api/v1/queue/claim", &body)).await?;
        match answer.status.as_u16() {
            200 => {
                if let Some(pass) = answer.json::<ClaimAnswer>().and_then(|claim| claim.pass) {
                    self.see_pass(&pass, answer.at).await;
                }
                if self.jti.is_some() { Ok(true) } else { Err(self.odd(Step::Claim, &answer)) }
            }
            409 if answer.code() == "not-yet" => Ok(false),
            410 if answer.code() == "sale-over" => {
                let phase = answer.json::<SaleOver>().and_then(|over| over.phase);
                match phase {
                    Some(Phase::SoldOut | Phase::Closed) => Err(Outcome::SoldOut),
                    Some(Phase::Scheduled | Phase::Open | Phase::Paused) | None => Ok(false),
                }
            }
            // The place may have moved to another lane: the status says where.
            409 | 410 => {
                let before = self.spot;
                self.read_status().await?;
                let has_moved = self.spot != before || answer.status.as_u16() == 409;
                if self.jti.is_some() || has_moved {
                    Ok(self.jti.is_some())
                } else {
                    Err(Outcome::TurnedAway)
                }
            }
            _ => Err(Outcome::TurnedAway),
        }
    }

    async fn shop(&mut self, has_page: bool) -> Result<Outcome, Outcome> {
        let world = Arc::clone(&self.world);
        let is_bot = self.person.kind == Kind::Bot;
        let base = format!("/api/v1/events/{}", world.event);
        if !has_page && !is_bot {
            self.ask_inside(Ask::get(Step::Page, &world.page)).await?;
        }
        let answer = self.ask_inside(Ask::get(Step::Event, &base)).await?;
        let Some(event) = answer.json::<EventAnswer>() else {
            return Err(self.odd(Step::Event, &answer));
        };
        if let Some(map_url) = event.map_url.as_deref().filter(|_| !is_bot) {
            world.look_at_map(map_url, Instant::now()).await;
            self.due = Instant::now();
        }
        let path = format!("{base}/availability");
        let map = if is_bot { None } else { Some(self.look(&path).await?) };
        if self.person.kind == Kind::NoShow {
            return Ok(Outcome::NoShow); // entered without a line, and is not there either
        }
        self.think().await?;
        if self.person.kind == Kind::Looker {
            return self.leave().await;
        }

        let quantity = self.person.quantity.min(event.seats_per_order_max);
        let Some(hold) = self.take_seats(&base, &path, map, quantity).await? else {
            self.leave().await?;
            return Ok(Outcome::SoldOut);
        };
        self.think().await?;
        if self.person.kind == Kind::GivesUp {
            if !self.person.is_polite {
                return Ok(Outcome::Left); // closes the page; the hold ends by itself
            }
            self.release(&base, &hold).await?;
            return self.leave().await;
        }
        self.pay(&base, &hold).await
    }

    async fn look(&mut self, path: &str) -> Result<(u32, Taken), Outcome> {
        let answer = self.ask_inside(Ask::get(Step::Availability, path)).await?;
        let seen = answer.json::<Availability>().and_then(|seen| Some((seen.seats, seen.taken()?)));
        seen.ok_or_else(|| self.odd(Step::Availability, &answer))
    }

    /// A hold, or `None` if nothing is left.
    async fn take_seats(
        &mut self,
        base: &str,
        availability_path: &str,
        mut map: Option<(u32, Taken)>,
        mut quantity: u32,
    ) -> Result<Option<HoldAnswer>, Outcome> {
        let path = format!("{base}/holds");
        let mut wish = self.person.wish;
        for attempt in 1..=HOLD_TRIES_MAX {
            let chosen = match (&map, wish) {
                (Some((seats, taken)), Wish::Hot | Wish::Anywhere) => {
                    let is_free = |seat| taken.is_free(seat);
                    choose(wish, quantity, *seats, is_free, &mut self.person.rng)
                }
                (Some(_) | None, _) => Vec::new(),
            };
            let body = if chosen.is_empty() {
                json!({"best": {"quantity": quantity}})
            } else {
                json!({"seats": chosen})
            };
            let answer = self.ask_inside(Ask::post(Step::Hold, &path, &body)).await?;
            match (answer.status.as_u16(), answer.code().as_str()) {
                (200 | 201, _) => {
                    let Some(hold) = answer.json::<HoldAnswer>() else {
                        return Err(self.odd(Step::Hold, &answer));
                    };
                    self.world.stats.holds.up();
                    lock(&self.world.history).holds.push(hold.held(answer.at));
                    return Ok(Some(hold));
                }
                (409, "seat-taken") => {
                    self.world.stats.conflicts.up();
                    // First looks again and chooses elsewhere, then takes what it is given.
                    wish = if attempt < 3 { Wish::Anywhere } else { Wish::Best };
                    if wish == Wish::Anywhere {
                        map = Some(self.look(availability_path).await?);
                    }
                }
                (409, _) if quantity > 1 => {
                    wish = Wish::Best;
                    quantity -= 1;
                }
                (409, _) => return Ok(None),
                _ => return Err(self.odd(Step::Hold, &answer)),
            }
        }
        Ok(None)
    }

    async fn release(&mut self, base: &str, hold: &HoldAnswer) -> Result<(), Outcome> {
        let path = format!("{base}/holds/{}", hold.hold);
        // From the moment it is sent, somebody else may have the seats.
        lock(&self.world.history).release(&hold.hold, Timestamp::now());
        let ask = Ask { method: Method::DELETE, ..Ask::get(Step::Release, &path) };
        self.ask_inside(ask).await?;
        Ok(())
    }

    async fn pay(&mut self, base: &str, hold: &HoldAnswer) -> Result<Outcome, Outcome> {
        let path = format!("{base}/orders");
        let mut token = self.person.payment.token();
        let mut key = self.key();
        self.is_paying = true;
        for _ in 0..ORDER_TRIES_MAX {
            let name = format!("Visitor {}", self.index);
            let body = json!({"hold": hold.hold, "payment_token": token, "name": name});
            let ask = Ask { key: Some(&key), ..Ask::post(Step::Order, &path, &body) };
            let answer = match self.ask(ask).await {
                Ok(answer) => answer,
                Err(Outcome::Failed) => return Err(Outcome::Unresolved),
                Err(outcome) => return Err(outcome),
            };
            let again = answer.retry_after().unwrap_or(Duration::from_secs(1));
            match (answer.status.as_u16(), answer.code().as_str()) {
                (200 | 201, _) => {
                    let Some(order) = answer.json::<OrderAnswer>() else {
                        self.odd(Step::Order, &answer);
                        return Err(Outcome::Unresolved);
                    };
                    self.is_paying = false;
                    self.world.stats.orders.up();
                    self.world.stats.tickets.add(order.tickets.len() as u64);
                    lock(&self.world.history).orders.push(order.sold(&hold.hold, answer.at));
                    return Ok(Outcome::Bought);
                }
                (402, _) => {
                    self.world.stats.declined.up();
                    // Whether a declined payment keeps the hold is the shop's to say.
                    lock(&self.world.history).release(&hold.hold, answer.sent_at);
                    if self.person.payment != Payment::DeclinedFirst || token == "tok_ok" {
                        self.is_paying = false;
                        return Ok(Outcome::Left);
                    }
                    // Another card is another attempt, and so another key.
                    token = "tok_ok";
                    key = self.key();
                    self.think().await?;
                }
                (503, "payment-unknown") | (409, "payment-in-progress") => {
                    self.world.stats.unknown.up();
                    self.pause(again).await?;
                }
                (410, _) => {
                    self.is_paying = false;
                    return Ok(Outcome::HoldLost);
                }
                // The pass has ended: perhaps because an attempt whose answer got lost went through.
                (403 | 503, _) => return Err(Outcome::Unresolved),
                _ => {
                    self.is_paying = false;
                    return Err(self.odd(Step::Order, &answer));
                }
            }
        }
        Err(Outcome::Unresolved)
    }

    async fn leave(&mut self) -> Result<Outcome, Outcome> {
        if self.person.is_polite {
            let body = json!({"event_id": self.world.event.as_str()});
            self.ask(Ask::post(Step::Leave, "/api/v1/queue/leave", &body)).await?;
        }
        Ok(Outcome::Left)
    }

    fn key(&mut self) -> String {
        let rng = &mut self.person.rng;
        format!("{:x}-{:016x}{:016x}", self.index, rng.next(), rng.next())
    }

    /// As [`Visitor::ask`], for requests that a pass must be good for.
    async fn ask_inside(&mut self, ask: Ask<'_>) -> Result<Answer, Outcome> {
        let answer = self.ask(ask).await?;
        let verdict = answer.headers.get("waiting-room-verdict");
        // A page with one of these is the waiting page: the pass has ended.
        let is_outside = verdict.is_some_and(|v| v == "wait" || v == "join" || v == "show");
        match answer.status.as_u16() {
            200..=299 if is_outside => Err(Outcome::TurnedAway),
            200..=299 | 402 | 409 | 410 | 422 => Ok(answer),
            _ => Err(Outcome::TurnedAway),
        }
    }

    /// Asks until there is an answer that says something: not "later", not a broken server.
    async fn ask(&mut self, ask: Ask<'_>) -> Result<Answer, Outcome> {
        let Ask { step, method, path, body, key } = ask;
        let world = Arc::clone(&self.world);
        for attempt in 0..TRIES_MAX {
            if world.is_closing() {
                return Err(Outcome::Unfinished);
            }
            let Some(request) = self.request(step, &method, path, body.as_ref(), key) else {
                world.stats.errors.up();
                return Err(Outcome::Failed);
            };
            let again = match Box::pin(world.http.send(request)).await {
                Ok(answer) => {
                    world.stats.took(step, self.due.elapsed());
                    self.due = Instant::now();
                    self.see_cookies(&answer).await;
                    match self.judge(step, &answer) {
                        Judged::Final => return Ok(answer),
                        Judged::Later(after) => after,
                    }
                }
                Err(none) => {
                    self.no_answer(step, &none);
                    None
                }
            };
            let backoff = BACKOFF.saturating_mul(1 << attempt.min(8)).min(BACKOFF_MAX);
            let wait = again.unwrap_or(backoff);
            // Jitter of up to half on top: never earlier than told.
            let jitter = wait.mul_f64(self.person.rng.unit() / 2.0).min(Duration::from_secs(2));
            self.pause(wait + jitter).await?;
        }
        Err(Outcome::Failed)
    }

    /// Counts an answer's status and decides whether it is the last word.
    fn judge(&self, step: Step, answer: &Answer) -> Judged {
        let stats = &self.world.stats;
        let status = answer.status.as_u16();
        if status < 400 {
            return Judged::Final;
        }
        let code = answer.code();
        stats.refused(step, status, &code);
        match (status, code.as_str()) {
            (503, "waiting" | "payment-unknown") => Judged::Final,
            (429 | 503, _) => {
                stats.put_off.up();
                Judged::Later(answer.retry_after())
            }
            (500.., _) => {
                stats.errors.up();
                Judged::Later(answer.retry_after())
            }
            _ => Judged::Final,
        }
    }

    fn no_answer(&self, step: Step, none: &NoAnswer) {
        self.world.stats.errors.up();
        self.world.stats.refused(step, 0, none.label());
    }

    fn request(
        &self,
        step: Step,
        method: &Method,
        path: &str,
        body: Option<&Bytes>,
        key: Option<&str>,
    ) -> Option<Request<Full<Bytes>>> {
        let world = &self.world;
        let edge = world.edges.next();
        let mut request = Request::builder().method(method).uri(edge.at(path)?);
        request = request.header(HOST, edge.authority().as_str());
        let is_navigation = *method == Method::GET && matches!(step, Step::Arrive | Step::Page);
        let said = if is_navigation { self.agent.navigation } else { self.agent.fetch };
        for (name, value) in said {
            request = request.header(*name, HeaderValue::from_static(value));
        }
        if world.is_forwarded {
            request = request.header("x-forwarded-for", page::address(self.index));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // The front is everybody's document: a page asks for it without cookies.
        if step != Step::Front {
            request = self.show(request);
        }
        request.body(Full::new(body.cloned().unwrap_or_default())).ok()
    }

    /// Shows place and pass: a browser by cookies, a script by headers.
    fn show(&self, request: http::request::Builder) -> http::request::Builder {
        let (place, pass) = (self.place.as_deref(), self.pass.as_deref());
        let mut request = request;
        if self.person.kind == Kind::Bot {
            if let Some(place) = place {
                request = request.header("waiting-room-place", place);
            }
            if let Some(pass) = pass {
                request = request.header("waiting-room-pass", pass);
            }
            return request;
        }
        let (place_name, pass_name) = (&self.world.place_cookie, &self.world.pass_cookie);
        match (place, pass) {
            (Some(place), Some(pass)) => {
                request.header(COOKIE, format!("{place_name}={place}; {pass_name}={pass}"))
            }
            (Some(place), None) => request.header(COOKIE, format!("{place_name}={place}")),
            (None, Some(pass)) => request.header(COOKIE, format!("{pass_name}={pass}")),
            (None, None) => request,
        }
    }

    async fn see_cookies(&mut self, answer: &Answer) {
        let world = Arc::clone(&self.world);
        match answer.cookie(&world.place_cookie) {
            Some("") => self.place = None,
            Some(place) => self.see_place(place, answer.sent_at, answer.at).await,
            None => {}
        }
        match answer.cookie(&world.pass_cookie) {
            Some("") => self.pass = None,
            Some(pass) => self.see_pass(pass, answer.at).await,
            None => {}
        }
    }

    async fn see_place(&mut self, text: &str, sent_at: Timestamp, at: Timestamp) {
        if self.place.as_deref() == Some(text) {
            return;
        }
        self.place = Some(text.into());
        let world = Arc::clone(&self.world);
        let Some(place) = world.open(&Sealed::<Place>::new(text), "place").await else { return };
        let (lane, num) = (place.lane, place.num);
        if self.spot.is_some_and(|spot| (spot.lane, spot.num) == (lane, num)) {
            return; // signed anew, or the same with a later end
        }
        let is_first = self.spot.is_none();
        self.spot = Some(Spot { lane, num, position: num });
        self.joined_at.get_or_insert(at);
        if is_first {
            world.stats.joined.up();
        }
        if lane == Lane::Suspect {
            world.stats.suspects.up();
        }
        let (sub, line) = (place.sub, place.line);
        let joined = Joined { person: self.index, sub, line, lane, num, sent_at, at, is_first };
        lock(&world.history).joined.push(joined);
    }

    async fn see_pass(&mut self, text: &str, at: Timestamp) {
        if self.pass.as_deref() == Some(text) {
            return;
        }
        self.pass = Some(text.into());
        let world = Arc::clone(&self.world);
        let Some(pass) = world.open(&Sealed::<Pass>::new(text), "pass").await else { return };
        if self.jti == Some(pass.jti) {
            return; // renewed
        }
        if self.jti.is_none() {
            world.stats.admitted.up();
            world.stats.inside.up();
            self.is_inside = true;
            world.stats.stood(at.since(self.joined_at.unwrap_or(at)));
        }
        self.jti = Some(pass.jti);
        let (sub, jti, lane) = (pass.sub, pass.jti, pass.lane);
        let position = self.spot.filter(|spot| spot.lane == lane).map(|spot| spot.position);
        lock(&world.history).admitted.push(Admitted { sub, jti, lane, position, at });
    }

    async fn think(&mut self) -> Result<(), Outcome> {
        let time = match self.person.kind {
            Kind::Bot => Duration::from_millis(50),
            Kind::Buyer | Kind::GivesUp | Kind::NoShow | Kind::Looker => {
                self.world.think.mul_f64(self.person.rng.exponential())
            }
        };
        self.pause(time).await
    }

    /// Sleeps; the next request is due when the sleep was to end.
    async fn pause(&mut self, time: Duration) -> Result<(), Outcome> {
        self.due = Instant::now() + time;
        tokio::time::sleep_until(self.due).await;
        if self.world.is_closing.load(Ordering::Relaxed) {
            Err(Outcome::Unfinished)
        } else {
            Ok(())
        }
    }

    fn set_waiting(&mut self, is_waiting: bool) {
        if is_waiting != self.is_waiting {
            self.is_waiting = is_waiting;
            let waiting = &self.world.stats.waiting;
            if is_waiting { waiting.up() } else { waiting.down() }
        }
    }

    fn odd(&self, step: Step, answer: &Answer) -> Outcome {
        self.world.odd(step, answer);
        Outcome::Failed
    }
}

/// Whether an answer is the last word.
enum Judged {
    /// It is.
    Final,
    /// Ask again, after this if it was said.
    Later(Option<Duration>),
}

/// However a visit ends, also when the run is over first, the counts are right.
impl Drop for Visitor {
    fn drop(&mut self) {
        self.set_waiting(false);
        let stats = &self.world.stats;
        if self.is_inside {
            stats.inside.down();
        }
        stats.present.down();
        if self.is_paying {
            lock(&self.world.history).unresolved_total += 1;
        }
        stats.ended(self.person.kind, self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Edges, Target, Targets};
    use crate::crowd::Shares;
    use crate::world::WorldParts;

    #[test]
    fn a_visitor_in_the_line_is_small() {
        let edge = Target::parse("http://127.0.0.1:1", Targets::Loopback).unwrap();
        let world = World::new(WorldParts {
            edges: Edges::new(vec![edge]).unwrap(),
            event: "final".parse().unwrap(),
            page: None,
            seed: 1,
            shares: Shares::default(),
            think: Duration::ZERO,
            is_forwarded: false,
            has_cdn: true,
            in_flight_max: 1,
        });
        let visit = Visitor::new(Arc::new(world), 0, Instant::now()).visit();
        let size_bytes = size_of_val(&visit);
        assert!(size_bytes < 2_048, "{size_bytes} bytes");
    }
}
