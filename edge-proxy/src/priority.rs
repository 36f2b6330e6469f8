//! The priority lane: a place moves there for an access code or a ticket that counts.
//!
//! The controller counts a code once for each visitor, so whoever has a place may ask again after an
//! answer that was lost. Who has none and sends an `Idempotency-Key` is the same visitor again.

use admission_api::{NoPriority, PriorityOutcome, PriorityProof, PriorityRequest, Problem};
use hmac::Mac as _;
use keys::{Id128, Lane, Place, Sealed};

use crate::answer::Answer;
use crate::credentials::Standing;
use crate::desk::Desk;
use crate::limits::{Budget, Later};
use crate::live::RoomNow;
use crate::queue_api::Asked;
use crate::visit::Visit;

/// Longest `Idempotency-Key` that is read.
const KEY_BYTES_MAX: usize = 128;

impl Asked {
    /// Why the visitor should stand in the priority lane, if there is a reason.
    pub(crate) fn proof(&self) -> Option<PriorityProof> {
        let code = self.access_code.clone().map(PriorityProof::Code);
        let ticket = self.ticket.as_deref().map(Sealed::new).map(PriorityProof::Ticket);
        code.or(ticket)
    }
}

impl Desk {
    /// The id of a visitor who joins: another one each time, but the same for a request that is
    /// sent again with its `Idempotency-Key`, at every edge that has our binding secret.
    pub(crate) fn new_visitor(&self, visit: &Visit<'_>, room: &RoomNow) -> Id128 {
        let key = visit.field("idempotency-key");
        let Some(key) = key.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())) else {
            return Id128::random();
        };
        let mut mac = self.binding.mac();
        let line = room.room.line.to_string();
        for part in ["waiting-room visitor", room.event().as_str(), &line, key] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        Id128::from_bytes(id)
    }

    /// Charges a code that was typed: guessing is slow from one network and for one place.
    pub(crate) fn charge_code(&self, visit: &Visit<'_>, sub: Id128) -> Result<(), Later> {
        self.charge(Budget::Code(visit.network))?;
        self.charge(Budget::CodeOf(sub))
    }

    /// Moves a place to the priority lane; one that was issued for this very request gives its
    /// number back.
    pub(crate) async fn join_priority(
        &self,
        visit: &Visit<'_>,
        room: &RoomNow,
        standing: Standing,
        proof: PriorityProof,
    ) -> Answer {
        let (is_new, status) = (standing.is_new, if standing.is_new { 201 } else { 200 });
        let claims = Place::clone(&standing.place.claims);
        let refused = |why: NoPriority| {
            let problem = refusal(why).with("place", standing.place.sealed.as_str());
            let answer = Answer::problem(&problem, "refuse");
            self.with_place_cookie(answer, visit, room, &standing)
        };
        match claims.lane {
            Lane::Priority => return self.status_answer(visit, room, &standing, status, "status"),
            // A code would be spent on somebody who goes back there with the claim.
            Lane::Suspect => return refused(NoPriority::PlaceRefused),
            Lane::Standard => {}
        }
        let place = standing.place.sealed.clone();
        let request = PriorityRequest { edge: self.name.clone(), place, proof };
        let num = match self.controller.priority(&request).await {
            Ok(PriorityOutcome::Granted { num }) => num,
            Ok(PriorityOutcome::Refused { why }) => return refused(why),
            Err(error) => {
                self.controller_failed("priority", &error);
                let answer = self.hold_on(visit, &room.room.spec.title);
                return self.with_place_cookie(answer, visit, room, &standing);
            }
        };
        let moved = Place { lane: Lane::Priority, num, back: None, ..claims.clone() };
        let Some(place) = self.seal(&moved, visit.now) else {
            return self.hold_on(visit, &room.room.spec.title);
        };
        if is_new {
            self.numbers.give_back(room.event(), Lane::Standard, claims.line, claims.num);
        }
        let standing = Standing { place, is_new: true };
        self.status_answer(visit, room, &standing, status, "join")
    }
}

fn refusal(why: NoPriority) -> Problem {
    let (status, title) = match why {
        NoPriority::UnknownCode => (404, "There is no such code"),
        NoPriority::CodeUsed => (410, "This was used as often as it may be"),
        NoPriority::CodeNotYet => (409, "The time of this code has not come"),
        NoPriority::CodeOver => (410, "The time of this code is over"),
        NoPriority::CodeRevoked => (410, "This code was taken back"),
        NoPriority::TicketRefused => (403, "This ticket does not count here"),
        NoPriority::LaneFull => (409, "The priority lane is full"),
        NoPriority::PlaceUsed => (410, "This place was used"),
        NoPriority::PlaceMoved => (410, "This place was moved to another device"),
        NoPriority::PlaceRefused => (403, "This place cannot go to the priority lane"),
    };
    Problem::new(status, why.label(), title).detail("the place that you have is kept")
}
