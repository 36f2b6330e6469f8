//! Moves a place, or the visit of whoever is inside, to another device: this one shows a code, and
//! the other one types it.
//!
//! Only the controller knows which codes are open, and each is good once; whose answer was lost may
//! ask again from the same browser and network. The place is signed anew
//! for the browser that typed it; the one of before counts fewer moves, which makes it void.

use std::sync::Arc;

use admission_api::{
    ClaimOutcome, Problem, RedeemOutcome, RedeemRequest, TransferOutcome, TransferRequest,
};
use keys::Place;
use serde::Serialize;

use crate::answer::Answer;
use crate::controller::ControllerError;
use crate::credentials::Standing;
use crate::desk::Desk;
use crate::limits::{Budget, Later};
use crate::live::RoomNow;
use crate::queue_api::{Asked, place_moved};
use crate::visit::Visit;

#[derive(Serialize)]
struct Code<'a> {
    code: &'a str,
    expires_at: u64,
    redeem_url: &'static str,
}

impl Desk {
    /// A code for the place that is shown.
    pub(crate) async fn transfer(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        _asked: Asked,
    ) -> Result<Answer, Later> {
        let standing = match self.charged_place(visit, &room)? {
            Ok(standing) => standing,
            Err(refused) => return Ok(refused),
        };
        // Whoever has copied a place must not carry it away with a code.
        if let Some(answer) = self.refused_turn(visit, &room, &standing.place.claims.fpr) {
            return Ok(answer);
        }
        let request =
            TransferRequest { edge: self.name.clone(), place: standing.place.sealed.clone() };
        Ok(match self.controller.transfer(&request).await {
            Ok(TransferOutcome::Open { code, until }) => Answer::json(
                201,
                "transfer",
                &Code {
                    code: &code,
                    expires_at: until.as_secs(),
                    redeem_url: "/api/v1/queue/transfer/redeem",
                },
            ),
            Ok(TransferOutcome::Used) => refused(410, "place-used", "This place was used"),
            Ok(TransferOutcome::Gone) => {
                self.without_cookies(Answer::problem(&place_moved(), "refuse"), visit, &room)
            }
            Ok(TransferOutcome::Refused { code }) => {
                let problem = Problem::new(403, "place-refused", "This is no place of this line");
                Answer::problem(&problem.with("reason", code), "refuse")
            }
            Ok(TransferOutcome::Full) => {
                refused(503, "codes-taken", "No more codes are given at this moment")
                    .retry_after(60)
            }
            Err(error) => self.no_controller("transfer", visit, &room, &error),
        })
    }

    /// The code of another device.
    pub(crate) async fn redeem(
        &self,
        visit: &Visit<'_>,
        room: Arc<RoomNow>,
        asked: Asked,
    ) -> Result<Answer, Later> {
        self.charge(Budget::Code(visit.network))?;
        let Some(code) = asked.code else {
            return Ok(refused(422, "code-required", "A code is needed"));
        };
        let event = room.event().clone();
        let asker = format!("{}@{}", self.fingerprint(visit), visit.network);
        let request = RedeemRequest { edge: self.name.clone(), event, code, asker };
        let (place, is_inside) = match self.controller.redeem(&request).await {
            Ok(RedeemOutcome::Moved { place, is_inside }) => (place, is_inside),
            Ok(RedeemOutcome::Unknown) => {
                let problem = Problem::new(404, "unknown-code", "This code is good for nothing")
                    .detail("it was never given, was used, or its time is over: get a new one");
                return Ok(Answer::problem(&problem, "refuse"));
            }
            Err(error) => return Ok(self.no_controller("redeem", visit, &room, &error)),
        };
        let place = Place {
            iss: self.name.clone(),
            iat: visit.now.floor_to_secs(),
            fpr: self.fingerprint(visit),
            ..*place
        };
        let Some(place) = self.seal(&place, visit.now) else {
            return Ok(self.hold_on(visit, &room.room.spec.title));
        };
        let standing = Standing { place, is_new: true };
        if !is_inside {
            return Ok(self.status_answer(visit, &room, &standing, 200, "transfer"));
        }
        // Inside already: the claim is a repeated one and gives the pass, for this browser now.
        let judgement = self.judge(visit, None, false);
        let claimed = self.claim(&standing.place, judgement.score, judgement.reasons).await;
        let pass = match claimed {
            Ok(ClaimOutcome::Admitted { pass, .. }) => self.accept_pass(&pass, &room, visit),
            Ok(_) | Err(_) => None,
        };
        let Some(pass) = pass else {
            // The place is here; its claim can be asked for again.
            return Ok(self.status_answer(visit, &room, &standing, 200, "transfer"));
        };
        let status = self.status_of(visit, &room, &standing, "admitted");
        let answer = Answer::json(200, "transfer", &status);
        let answer = self.with_place_cookie(answer, visit, &room, &standing);
        Ok(answer.with("set-cookie", self.pass_cookie(visit, &room, &pass)))
    }

    fn no_controller(
        &self,
        call: &'static str,
        visit: &Visit<'_>,
        room: &RoomNow,
        error: &ControllerError,
    ) -> Answer {
        self.controller_failed(call, error);
        self.hold_on(visit, &room.room.spec.title)
    }
}

fn refused(status: u16, code: &str, title: &str) -> Answer {
    Answer::problem(&Problem::new(status, code, title), "refuse")
}
