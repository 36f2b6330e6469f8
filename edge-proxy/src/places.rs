//! Places: issued in the lane that the judgement says, moved to another one, and signed by this
//! edge.

use std::sync::Arc;

use admission_api::{LeaseRequest, Suspicion};
use keys::{EventId, Id128, Lane, Place, Timestamp};

use crate::controller::ControllerError;
use crate::credentials::{Held, Standing};
use crate::desk::Desk;
use crate::live::RoomNow;
use crate::numbers::NoNumber;
use crate::score::{Evidence, Judgement, judge};
use crate::visit::Visit;

impl Desk {
    /// A new place for this visitor, in the lane that the judgement says.
    pub(crate) async fn issue(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        judgement: &Judgement,
        sub: Id128,
    ) -> Result<Standing, ControllerError> {
        let event = room.event();
        let (standard_num, line) = self.number(event, Lane::Standard, room.room.line).await?;
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
            back: None,
            moves: 0,
        };
        let standing = if judgement.is_suspect() {
            self.suspect(visit, &place, judgement).await
        } else {
            Ok(self.seal(&place, visit.now).map(|place| Standing { place, is_new: true }))
        };
        let unsigned = ControllerError::Status { call: "sign", status: 500 };
        let standing = match standing.and_then(|standing| standing.ok_or(unsigned)) {
            Ok(standing) => standing,
            Err(error) => {
                // Nobody has this number, and the front must not wait for it.
                self.numbers.give_back(event, Lane::Standard, line, standard_num);
                return Err(error);
            }
        };
        self.outbox.joined(event);
        self.metrics.places_total.with_label_values(&[standing.place.claims.lane.label()]).inc();
        Ok(standing)
    }

    pub(crate) async fn moved_if_suspect(
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

    /// Moves a standard place into the `suspect` lane and tells the security team why: once, for a
    /// place that is shown again has the number that it got the first time.
    async fn suspect(
        &self,
        visit: &Visit<'_>,
        place: &Place,
        judgement: &Judgement,
    ) -> Result<Option<Standing>, ControllerError> {
        let lease = async {
            let (suspect_num, line) = self.number(&place.aud, Lane::Suspect, place.line).await?;
            let suspicion = self.suspicion(visit, place, judgement, (suspect_num, line));
            self.outbox.suspect(suspicion, &self.metrics);
            Ok::<_, ControllerError>((suspect_num, line))
        };
        let key = (place.sub, place.line);
        let (suspect_num, line) = self.moved.get_or_insert_async(&key, lease).await?;
        let moved =
            Place { lane: Lane::Suspect, num: suspect_num, line, back: None, ..place.clone() };
        Ok(self.seal(&moved, visit.now).map(|place| Standing { place, is_new: true }))
    }

    fn suspicion(
        &self,
        visit: &Visit<'_>,
        place: &Place,
        judgement: &Judgement,
        (suspect_num, line): (u64, u64),
    ) -> Suspicion {
        let agent = visit.readable("user-agent").unwrap_or_default();
        Suspicion {
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
            user_agent: agent.chars().take(200).collect(),
        }
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
        self.numbers.take(event, lane, line, lease).await.map_err(|why| match why {
            NoNumber::Lease(error) => error,
            NoNumber::Lately => ControllerError::Lately { call: "lease" },
        })
    }

    /// The place of a visitor who has come back and stands at this position now.
    pub(crate) fn back_at(
        &self,
        visit: &Visit<'_>,
        standing: &Standing,
        lane: Lane,
        num: u64,
        position: u64,
    ) -> Option<Standing> {
        let claims = Place::clone(&standing.place.claims);
        let back = Place { lane, num, back: Some(position), ..claims };
        self.seal(&back, visit.now).map(|place| Standing { place, is_new: true })
    }

    /// Signs, and takes our own word for it.
    pub(crate) fn seal(&self, place: &Place, now: Timestamp) -> Option<Held<Place>> {
        let keyring = self.keyring.load();
        let (sealed, claims) = match keyring.seal_own(place.clone(), now) {
            Ok(both) => both,
            Err(error) => {
                self.outbox.key_trouble.keys("no place can be signed", &error);
                return None;
            }
        };
        let claims = Arc::new(claims);
        self.memory.places.insert(sealed.as_str().to_owned(), Arc::clone(&claims));
        Some(Held { claims, sealed, is_first_shown: false })
    }

    pub(crate) fn is_shared(&self, visit: &Visit<'_>, place: &Place) -> bool {
        self.is_foreign(visit, &place.fpr)
    }

    pub(crate) fn judge(
        &self,
        visit: &Visit<'_>,
        evidence: Option<&Evidence>,
        is_shared: bool,
    ) -> Judgement {
        let agent: String =
            visit.readable("user-agent").unwrap_or_default().chars().take(200).collect();
        let key = (visit.network, agent);
        let rhythm = self.rhythms.get(&key).unwrap_or_default().with(visit.now);
        self.rhythms.insert(key, rhythm);
        if is_shared {
            self.metrics.shared_places_total.inc();
        }
        judge(&visit.facts(rhythm, is_shared), evidence)
    }
}
