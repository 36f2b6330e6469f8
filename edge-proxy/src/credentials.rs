//! What a visitor shows: passes and places, verified once and remembered, and the cookies that
//! they live in.
//!
//! A pass slides: it gets a later end while it is used, until the controller says otherwise.

use std::sync::Arc;

use admission_api::{Renewal, RenewalOutcome};
use keys::{EventId, Id128, Lane, Pass, Place, Sealed, Statement, Timestamp, Verified};
use quick_cache::sync::Cache;

use crate::answer::Answer;
use crate::cookies::{self, Kind};
use crate::desk::Desk;
use crate::limits::{Budget, Later};
use crate::live::RoomNow;
use crate::visit::Visit;

/// Passes that were verified and are remembered, and their renewals; about 400 bytes each.
const PASSES_MAX: usize = 50_000;
/// Places that are remembered: those who have just come. Who waits asks for the front, which needs no
/// place, so more would only be more.
const PLACES_MAX: usize = 8_192;
/// A pass whose renewal failed is not renewed again before this.
const RENEWAL_PAUSE_SECS: u64 = 5;

/// A verified statement and its text.
pub struct Held<T> {
    /// What it says.
    pub claims: Arc<Verified<T>>,
    /// How it is written.
    pub sealed: Sealed<T>,
    /// Whether the client showed this one before all others.
    pub is_first_shown: bool,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self {
            claims: Arc::clone(&self.claims),
            sealed: Sealed::new(self.sealed.as_str()),
            is_first_shown: self.is_first_shown,
        }
    }
}

/// A place that the visitor holds now, and whether the cookie is to be written again.
pub(crate) struct Standing {
    pub place: Held<Place>,
    pub is_new: bool,
}

/// What is remembered of what visitors show.
pub(crate) struct Memory {
    passes: Cache<String, Arc<Verified<Pass>>>,
    pub places: Cache<String, Arc<Verified<Place>>>,
    renewals: Cache<Id128, Renewing>,
}

/// Whether a pass is to be renewed.
#[derive(Debug, Clone, Copy)]
enum Renewing {
    /// Not before this: the controller was asked just now, or has no later end to give.
    NotBefore(Timestamp),
    /// The controller says it is over.
    Ended,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            passes: Cache::new(PASSES_MAX),
            places: Cache::new(PLACES_MAX),
            renewals: Cache::new(PASSES_MAX),
        }
    }
}

impl Memory {
    /// Forgets what was verified, for the keys have changed.
    pub(crate) fn forget_verified(&self) {
        self.passes.clear();
        self.places.clear();
    }
}

impl Desk {
    pub(crate) fn pass(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
    ) -> Result<Option<Held<Pass>>, Later> {
        let held = self.shown(visit, Kind::Pass, room.event(), &self.memory.passes)?;
        Ok(held.filter(|pass| {
            pass.claims.generation == room.room.pass_generation
                && self.holds(&pass.claims, visit.now)
        }))
    }

    /// Whether no end of a pass is known. What origin or controller told counts, for it may leave a
    /// grace; else what the controller said when it was to be renewed.
    fn holds(&self, pass: &Pass, now: Timestamp) -> bool {
        if self.live.is_ending(&pass.jti) {
            return !self.live.is_revoked(&pass.jti, now);
        }
        !matches!(self.memory.renewals.get(&pass.jti), Some(Renewing::Ended))
    }

    /// The place that the visitor shows; in the lane where it belongs now.
    pub(crate) fn place(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
    ) -> Result<Option<Standing>, Later> {
        let held = self.shown(visit, Kind::Place, room.event(), &self.memory.places)?;
        let Some(place) = held.filter(|place| place.claims.line == room.room.line) else {
            return Ok(None);
        };
        let claims: &Place = &place.claims;
        let restored = self.live.restored(&claims.aud, &claims.sub);
        if let Some(restored) = restored.filter(|_| claims.lane == Lane::Suspect)
            && restored.line == claims.line
        {
            let back = Place {
                lane: Lane::Standard,
                num: restored.standard_num,
                back: None,
                ..claims.clone()
            };
            return Ok(self.seal(&back, visit.now).map(|place| Standing { place, is_new: true }));
        }
        Ok(Some(Standing { place, is_new: false }))
    }

    pub(crate) fn shown<T: Statement>(
        &self,
        visit: &Visit<'_>,
        kind: Kind,
        event: &EventId,
        memory: &Cache<String, Arc<Verified<T>>>,
    ) -> Result<Option<Held<T>>, Later> {
        for (at, text) in visit.candidates(kind, event).into_iter().enumerate() {
            let is_first_shown = at == 0;
            if let Some(claims) = memory.get(text) {
                let (_, until) = claims.times();
                if visit.now < until && claims.audience() == event {
                    return Ok(Some(Held { claims, sealed: Sealed::new(text), is_first_shown }));
                }
            }
            let sealed = Sealed::new(text);
            match self.keyring.load().open(&sealed, event, visit.now) {
                Ok(claims) => {
                    let claims = Arc::new(claims);
                    memory.insert(sealed.as_str().to_owned(), Arc::clone(&claims));
                    return Ok(Some(Held { claims, sealed, is_first_shown }));
                }
                Err(refusal) => {
                    self.metrics.refusals_total.with_label_values(&[refusal.label()]).inc();
                    // A forged text costs one signature check, and the network pays for it. A
                    // valid one that we forgot, or another edge issued, does not.
                    self.charge(Budget::Open(visit.network))?;
                }
            }
        }
        Ok(None)
    }

    /// A pass from the controller, verified like any other.
    pub(crate) fn accept_pass(
        &self,
        sealed: &Sealed<Pass>,
        room: &RoomNow,
        visit: &Visit<'_>,
    ) -> Option<Held<Pass>> {
        match self.keyring.load().open(sealed, room.event(), visit.now) {
            Ok(claims) => {
                let claims = Arc::new(claims);
                self.memory.passes.insert(sealed.as_str().to_owned(), Arc::clone(&claims));
                Some(Held { claims, sealed: sealed.clone(), is_first_shown: false })
            }
            Err(refusal) => {
                self.outbox.key_trouble.keys("the controller's pass does not verify", &refusal);
                None
            }
        }
    }

    /// The pass with a later end, if half its idle time is over and the controller agrees; while
    /// the controller is silent the old one holds. `None` if the controller says it has ended.
    pub(crate) async fn renewed(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        pass: Held<Pass>,
    ) -> Option<Held<Pass>> {
        let Pass { jti, exp, .. } = **pass.claims;
        let is_fresh = exp.since(visit.now).as_secs() * 2 > room.room.spec.passes.idle_secs;
        let is_pausing = match self.memory.renewals.get(&jti) {
            Some(Renewing::NotBefore(at)) => visit.now < at,
            Some(Renewing::Ended) | None => false,
        };
        // Within its grace a pass ends when it was told to.
        if is_fresh || is_pausing || self.live.is_ending(&jti) {
            return Some(pass);
        }
        let remember = |renewing| self.memory.renewals.insert(jti, renewing);
        remember(Renewing::NotBefore(visit.now.plus_secs(RENEWAL_PAUSE_SECS)));
        let renewal = Renewal { edge: self.name.clone(), pass: pass.sealed.clone() };
        match self.controller.renew(&renewal).await {
            Ok(RenewalOutcome::Renewed { pass: sealed }) => {
                match self.accept_pass(&sealed, room, visit) {
                    Some(renewed) if renewed.claims.exp > exp => Some(renewed),
                    // It has reached its maximum.
                    Some(_) => {
                        remember(Renewing::NotBefore(exp));
                        Some(pass)
                    }
                    None => Some(pass),
                }
            }
            Ok(RenewalOutcome::Ended) => {
                remember(Renewing::Ended);
                None
            }
            Err(error) => {
                self.controller_failed("renew", &error);
                Some(pass)
            }
        }
    }

    pub(crate) fn pass_cookie(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        pass: &Held<Pass>,
    ) -> String {
        let age_secs = pass.claims.exp.since(visit.now).as_secs();
        cookies::set(Kind::Pass, room.event(), pass.sealed.as_str(), age_secs, visit.is_secure)
    }

    pub(crate) fn place_cookie(
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

    pub(crate) fn with_place_cookie(
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

    pub(crate) fn without_cookies(
        &self,
        answer: Answer,
        visit: &Visit<'_>,
        room: &RoomNow,
    ) -> Answer {
        let clear = |kind| cookies::clear(kind, room.event(), visit.is_secure);
        answer.with("set-cookie", clear(Kind::Place)).with("set-cookie", clear(Kind::Pass))
    }
}
