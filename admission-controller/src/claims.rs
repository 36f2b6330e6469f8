//! Judges one claim: may this place enter now?
//!
//! Whoever was let in once is let in again, whatever the room does since: the store remembers the
//! pass, and a repeated claim is answered with it. A place whose pass has ended is used up.

use keys::{Front, Lane, Order, Pass, Phase, Place, Risk, Timestamp};

use crate::front;

/// A score below this is worth telling the origin about.
const SCORE_LOW_RISK: u8 = 60;

/// What is known of the visitor who claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The visitor's pass, if there was a claim that counted.
    pub claimed: Option<Claimed>,
    /// Whether the visitor was judged a likely bot.
    pub suspicion: Option<Flag>,
}

/// What became of a claim that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The pass still holds.
    Inside(PassRecord),
    /// It has ended.
    Ended,
}

/// A judgement that was not made in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The number kept in the `standard` lane.
    pub standard_num: u64,
    /// The number in the `suspect` lane.
    pub suspect_num: u64,
    /// Whether it was taken back.
    pub is_restored: bool,
}

/// A pass as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassRecord {
    /// The visitor.
    pub sub: keys::Id128,
    /// The pass.
    pub jti: keys::Id128,
    /// The lane it came through.
    pub lane: Lane,
    /// The number it came with.
    pub num: u64,
    /// How likely a bot.
    pub risk: Risk,
    /// Generation of passes.
    pub generation: u64,
    /// When the claim counted.
    pub first_at: Timestamp,
    /// When it was issued or last renewed.
    pub renewed_at: Timestamp,
    /// When it ends unless renewed.
    pub exp: Timestamp,
    /// When the place ends: until then it must be remembered as used.
    pub place_exp: Timestamp,
}

impl PassRecord {
    /// Stands for a place that was made void before anybody claimed it: it has ended already.
    #[must_use]
    pub fn void(sub: keys::Id128, now: Timestamp, place_exp: Timestamp) -> Self {
        Self {
            sub,
            jti: keys::Id128::from_bytes([0; 16]),
            lane: Lane::Standard,
            num: 0,
            risk: Risk::Low,
            generation: 0,
            first_at: now,
            renewed_at: now,
            exp: now,
            place_exp,
        }
    }

    /// The statement to sign. Signing it twice gives the same text.
    #[must_use]
    pub fn claims(&self, iss: keys::Owner, aud: keys::EventId) -> Pass {
        Pass {
            iss,
            aud,
            sub: self.sub,
            jti: self.jti,
            iat: self.renewed_at.floor_to_secs(),
            nbf: self.first_at.floor_to_secs(),
            exp: self.exp.floor_to_secs(),
            lane: self.lane,
            risk: self.risk,
            generation: self.generation,
        }
    }
}

/// The room as far as a claim is concerned.
#[derive(Debug, Clone, Copy)]
pub struct RoomFacts<'a> {
    /// What it is doing.
    pub phase: Phase,
    /// Whether everybody is let in.
    pub is_off: bool,
    /// Every front that was signed and may still be followed.
    pub signed: &'a [Front],
    /// In which order each lane's numbers stand, by [`Lane::index`].
    pub orders: [Order; 3],
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was counted before.
    Repeat(PassRecord),
    /// Its pass has ended.
    Used,
    /// It may enter now, with the number `num` of `lane`.
    Enter {
        /// The lane that counts.
        lane: Lane,
        /// The number that counts.
        num: u64,
    },
    /// The front of its lane has not reached it.
    NotYet {
        /// That front.
        front: u64,
    },
    /// The visitor's place is another one.
    Moved {
        /// Its number in the `suspect` lane.
        suspect_num: u64,
    },
    /// Nobody enters any more.
    Shut,
}

/// Judges a place that was verified and belongs to this line.
#[must_use]
pub fn judge(place: &Place, known: &Known, room: &RoomFacts<'_>, now: Timestamp) -> Verdict {
    match &known.claimed {
        Some(Claimed::Inside(record)) => return Verdict::Repeat(record.clone()),
        Some(Claimed::Ended) => return Verdict::Used,
        None => {}
    }
    let (lane, num) = match (place.lane, known.suspicion) {
        (Lane::Suspect, Some(flag)) if flag.is_restored => (Lane::Standard, flag.standard_num),
        (Lane::Priority | Lane::Standard, Some(flag)) if !flag.is_restored => {
            return Verdict::Moved { suspect_num: flag.suspect_num };
        }
        (lane, _) => (lane, place.num),
    };
    match room.phase {
        Phase::SoldOut | Phase::Closed => return Verdict::Shut,
        // Paused stops the front, not those whom it has called already.
        Phase::Scheduled | Phase::Open | Phase::Paused => {}
    }
    let front = front::effective(room.signed, lane, now);
    let has_come = room.orders[lane.index()].position(num).is_some_and(|at| at <= front);
    if room.is_off || has_come { Verdict::Enter { lane, num } } else { Verdict::NotYet { front } }
}

/// How likely a bot, as the pass says it.
#[must_use]
pub const fn risk(lane: Lane, score: u8) -> Risk {
    match lane {
        Lane::Suspect => Risk::High,
        Lane::Priority | Lane::Standard if score < SCORE_LOW_RISK => Risk::Medium,
        Lane::Priority | Lane::Standard => Risk::Low,
    }
}

#[cfg(test)]
mod tests {
    use keys::{Id128, LaneFront, PollHint};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const SUB: Id128 = Id128::from_bytes([7; 16]);

    fn place(lane: Lane, num: u64) -> Place {
        Place {
            iss: "edge-1".parse().unwrap(),
            aud: "e".parse().unwrap(),
            sub: SUB,
            lane,
            num,
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            fpr: String::new(),
        }
    }

    /// A front that stands at 10 in every lane.
    fn signed() -> Front {
        let entry = |lane| LaneFront { lane, f0: 10, pace_milli: 0, limit: 10, issued: 50 };
        Front {
            iss: "controller-1".parse().unwrap(),
            aud: "e".parse().unwrap(),
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            epoch: 1,
            seq: 1,
            phase: Phase::Open,
            opens_at: None,
            t0: NOW,
            until: NOW.plus_secs(10),
            lanes: Lane::ALL.map(entry).to_vec(),
            reason: String::new(),
            draw: None,
            stock: None,
            poll: PollHint { near_secs: 1, far_secs: 15 },
            message: None,
        }
    }

    fn record() -> PassRecord {
        PassRecord {
            sub: SUB,
            jti: Id128::from_bytes([8; 16]),
            lane: Lane::Standard,
            num: 3,
            risk: Risk::Low,
            generation: 1,
            first_at: NOW,
            renewed_at: NOW,
            exp: NOW.plus_secs(600),
            place_exp: NOW.plus_secs(3600),
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_claim_counts_when_the_front_has_reached_it_and_the_room_lets_people_in() {
        use Lane::{Standard, Suspect};
        use Phase::{Closed, Open, Paused, Scheduled, SoldOut};
        let known = |claimed, suspicion| Known { claimed, suspicion };
        let flag = |is_restored| Some(Flag { standard_num: 5, suspect_num: 20, is_restored });
        let inside = || Some(Claimed::Inside(record()));
        //    lane      num  known                               phase      off    verdict
        check(Standard,  10, known(None, None),                  Open,      false, Verdict::Enter { lane: Standard, num: 10 });
        check(Standard,  11, known(None, None),                  Open,      false, Verdict::NotYet { front: 10 });
        check(Standard,  11, known(None, None),                  Open,      true,  Verdict::Enter { lane: Standard, num: 11 });
        check(Standard,  10, known(None, None),                  Paused,    false, Verdict::Enter { lane: Standard, num: 10 });
        check(Standard,  11, known(None, None),                  Scheduled, false, Verdict::NotYet { front: 10 });
        check(Standard,  10, known(None, None),                  SoldOut,   false, Verdict::Shut);
        check(Standard,  10, known(None, None),                  Closed,    true,  Verdict::Shut);
        check(Standard,  10, known(inside(), None),              SoldOut,   false, Verdict::Repeat(record()));
        check(Standard,  99, known(inside(), flag(false)),       Open,      false, Verdict::Repeat(record()));
        check(Standard,  10, known(Some(Claimed::Ended), None),  Open,      true,  Verdict::Used);
        check(Standard,   5, known(None, flag(false)),           Open,      true,  Verdict::Moved { suspect_num: 20 });
        check(Standard,   5, known(None, flag(true)),            Open,      false, Verdict::Enter { lane: Standard, num: 5 });
        check(Suspect,   20, known(None, flag(false)),           Open,      false, Verdict::NotYet { front: 10 });
        check(Suspect,   20, known(None, flag(true)),            Open,      false, Verdict::Enter { lane: Standard, num: 5 });
    }

    #[track_caller]
    fn check(lane: Lane, num: u64, known: Known, phase: Phase, is_off: bool, expected: Verdict) {
        let signed = [signed()];
        let orders = [Order::ByNumber; 3];
        let room = RoomFacts { phase, is_off, signed: &signed, orders };
        assert_eq!(judge(&place(lane, num), &known, &room, NOW), expected);
    }

    #[test]
    fn before_the_draw_nobody_has_a_turn_and_after_it_the_position_counts() {
        let order = |counts| {
            let draw = keys::Draw::announced(b"secret", keys::Beacon::None);
            let opened = keys::Opened { secret: "c2VjcmV0".into(), beacon: String::new(), counts };
            let draw = keys::Draw { opened: Some(opened), ..draw };
            draw.order(&"e".parse().unwrap(), 1, Lane::Standard).unwrap()
        };
        let drawn = order([0, 40, 0]);
        let judged = |num, order| {
            let (signed, orders) = ([signed()], [order; 3]);
            let room = RoomFacts { phase: Phase::Open, is_off: false, signed: &signed, orders };
            judge(&place(Lane::Standard, num), &Known::default(), &room, NOW)
        };
        for num in 1..=50 {
            assert_eq!(judged(num, Order::Unknown), Verdict::NotYet { front: 10 });
            let is_in = drawn.position(num).unwrap() <= 10;
            assert_eq!(matches!(judged(num, drawn), Verdict::Enter { .. }), is_in, "{num}");
        }
        let entered = (1..=50).filter(|num| judged(*num, drawn) != Verdict::NotYet { front: 10 });
        assert_eq!(entered.count(), 10);
    }

    #[test]
    fn the_pass_says_how_likely_a_bot_is_inside() {
        assert_eq!(risk(Lane::Suspect, 99), Risk::High);
        assert_eq!(risk(Lane::Standard, 59), Risk::Medium);
        assert_eq!(risk(Lane::Standard, 60), Risk::Low);
    }
}
